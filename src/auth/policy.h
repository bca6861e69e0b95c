/* policy.h - IAM-style identity policies: may this caller do this to that?
 *
 *   { "Version": "2012-10-17", "Statement": [ { "Effect": "Allow", "Action": "healthlake:List*",
 *     "Resource": "*", "Condition": { "StringEquals": { "aws:ResourceTag/env": "test" } } } ] }
 *
 * A request is refused unless a statement allows it. A statement that denies it wins over all.
 *
 *   Action, NotAction      "service:Name" or "*", '*' and '?' match, letter case does not matter
 *   Resource, NotResource  "*" or an ARN of six parts; each part is matched for itself, letter case
 *                          matters, and only the last part's '*' reaches over a colon
 *   Condition              String[Not]Equals[IgnoreCase], String[Not]Like, Arn[Not]Equals,
 *                          Arn[Not]Like, Bool, Null; with ...IfExists; with ForAnyValue: or
 *                          ForAllValues: in front; on the keys aws:ResourceTag/KEY,
 *                          aws:RequestTag/KEY, aws:TagKeys and iam:PassedToService
 *
 * Anything that is not listed here is refused when the policy is read: Principal, other operators,
 * keys and members, policy variables. A rule that we cannot keep must not look kept.
 *
 * Where a condition's answer cannot be known, the request is refused: the condition holds for a
 * Deny and does not hold for an Allow, whatever its operator. That is so for a tag that a data
 * store has twice, under keys that differ by letter case only, and for a tag of a data store that
 * does not exist. Values of aws:TagKeys are compared without letter case where that refuses more,
 * because conditions find tags without letter case.
 *
 * Limits: POLICY_MAX_BYTES, POLICY_MAX_STATEMENTS.
 * Source: IAM User Guide, "IAM JSON policy element reference" and "Policy evaluation logic".
 * Floor: auth. */
#pragma once
#include "base/sv.h"

#define POLICY_MAX_BYTES      (64u << 10)
#define POLICY_MAX_STATEMENTS 256u

struct policy; /* immutable: any number of threads may ask at once */

/* Reads a policy from its JSON text, of which nothing is kept; the caller frees it with
 * policy_free(). ERR_INVALID, ERR_TOO_LARGE: the message names the statement (from 1) and the
 * member. */
MUST_USE err_code policy_parse(sv json, struct policy **out, struct err *e);
void policy_free(struct policy *policy);
DEFINE_CLEANUP(struct policy, policy_free)

/* What is known of a request beside its action and resource. A key with several values
 * (aws:TagKeys) is several facts. Keys are compared without letter case, values with it. */
struct policy_fact {
    sv key, value;
};
struct policy_context {
    const struct policy_fact *facts;
    size_t n_facts;
    bool tags_unknown; /* the resource does not exist: nothing is known of its tags */
};

typedef enum {
    POLICY_NOT_ALLOWED, /* no statement allows it */
    POLICY_ALLOWED,
    POLICY_DENIED, /* a statement denies it */
} policy_decision;

/* What the policy says to a request.
 *   action    "healthlake:StartFHIRExportJob"
 *   resource  the full ARN, or "*" for an action that has no resource; then only a Resource that is
 *             "*" itself covers it
 *   context   may be NULL: no facts */
policy_decision policy_decide(const struct policy *policy, sv action, sv resource,
                              const struct policy_context *context);

/* Calls fn for every action pattern of the policy, those of NotAction too.
 *   statement  counted from 1 */
typedef void (*policy_action_fn)(void *ctx, size_t statement, sv action);
void policy_actions(const struct policy *policy, policy_action_fn fn, void *ctx);
/* Does a pattern of Action match an action? '*' and '?', without letter case. */
bool policy_pattern_matches(sv pattern, sv text);
/* Is there any resource and context for which the policy might allow the action? */
bool policy_could_allow(const struct policy *policy, sv action);
