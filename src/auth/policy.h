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
 *   Condition              operators on keys; ...IfExists behind an operator, ForAnyValue: or
 *                          ForAllValues: in front, but not with Null
 *
 *   String[Not]Equals[IgnoreCase],   aws:ResourceTag/KEY, aws:RequestTag/KEY, aws:TagKeys,
 *   String[Not]Like, Arn[Not]Equals, iam:PassedToService
 *   Arn[Not]Like, Bool, Null
 *   [Not]IpAddress, Null             aws:SourceIp: an address, or a range such as 203.0.113.0/24
 *   Bool, Null                       aws:SecureTransport: the request came over TLS
 *   Date[Not]Equals,                 aws:CurrentTime: an instant, a day (its begin in UTC), or
 *   Date{Less,Greater}Than[Equals],  seconds since 1970; whole seconds are compared
 *   Null
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
/* Where a request comes from, and when. */
struct policy_origin {
    sv address;     /* aws:SourceIp, as inet_ntop(3) writes it */
    bool secure;    /* aws:SecureTransport */
    int64_t now_ms; /* aws:CurrentTime */
};
struct policy_context {
    const struct policy_fact *facts;
    size_t n_facts;
    bool tags_unknown; /* the resource does not exist: nothing is known of its tags */
    const struct policy_origin *origin; /* NULL: the request has none of its keys */
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
/* The statement by which it was decided: the first that allows it, or the first that denies it. */
struct policy_by {
    size_t statement; /* counted from 1; 0: none */
    sv sid;           /* the policy's; empty: it has none */
};
/* policy_decide(), and by what. */
policy_decision policy_decide_by(const struct policy *policy, sv action, sv resource,
                                 const struct policy_context *context, struct policy_by *by);

/* How a statement that names the action and the resource came out. */
struct policy_said_condition {
    sv operator, key; /* as they are written */
    const sv *values;
    size_t n_values;
    bool holds;
    bool known; /* the request has the key */
};
struct policy_said {
    size_t statement; /* counted from 1 */
    sv sid;           /* empty: it has none */
    bool deny;
    bool covers; /* all its conditions hold */
    const struct policy_said_condition *conditions;
    size_t n_conditions;
};
typedef void (*policy_said_fn)(void *ctx, const struct policy_said *said);
/* policy_decide(), told: calls fn for each statement that names the action and the resource. */
policy_decision policy_explain(const struct policy *policy, sv action, sv resource,
                               const struct policy_context *context, policy_said_fn fn, void *ctx);
/* The key of a condition in the context of a request: is it one of those above? */
bool policy_key_is_known(sv key);
/* Reads a value as IpAddress and as Date operators read theirs. False: it is none. */
bool policy_is_address(sv text);
bool policy_time_read(sv text, int64_t *out_ms);

/* Calls fn for every action pattern of the policy, those of NotAction too.
 *   statement  counted from 1 */
typedef void (*policy_action_fn)(void *ctx, size_t statement, sv action);
void policy_actions(const struct policy *policy, policy_action_fn fn, void *ctx);
/* Does a pattern of Action match an action? '*' and '?', without letter case. */
bool policy_pattern_matches(sv pattern, sv text);
/* Is there any resource and context for which the policy might allow the action? */
bool policy_could_allow(const struct policy *policy, sv action);
