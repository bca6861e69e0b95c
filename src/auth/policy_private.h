/* policy_private.h - a policy in memory: policy_read.c makes it, policy.c asks it.
 *
 *   policy.c            decides: is this action on this resource allowed?
 *   policy_explain.c    tells how it was decided
 *   policy_read.c       turns JSON into the lists below, or refuses the policy
 *   policy_condition.c  likewise a statement's Condition
 *   policy_value.c      ranges of addresses, and times
 *   policy_pattern.c    patterns and ARNs, part by part
 *
 * A policy never changes once it is read, so any number of threads may ask it. All texts are views
 * into its arena. Floor: auth. */
#pragma once
#include "auth/policy.h"
#include "base/arena.h"
#include "codec/json.h"

#define ARN_PARTS 6u

/* How a condition compares a value of the request with its own values. */
typedef enum {
    OP_STRING,
    OP_STRING_NOCASE,
    OP_GLOB,
    OP_ARN,
    OP_BOOL,
    OP_NULL,
    OP_ADDRESS,
    OP_TIME_EQUAL,
    OP_TIME_BEFORE,
    OP_TIME_UNTIL, /* before, or equal */
    OP_TIME_AFTER,
    OP_TIME_FROM, /* after, or equal */
} op_kind;
/* How many of the request's values must match: one (no quantifier), ForAnyValue:, ForAllValues:. */
typedef enum { ANY_PLAIN, ANY_VALUE, ALL_VALUES } quantifier;
/* Which facts a condition's key names; some keys have rules of their own (policy.h). */
typedef enum {
    KEY_OTHER,
    KEY_RESOURCE_TAG,
    KEY_REQUEST_TAG,
    KEY_TAG_KEYS,
    KEY_SOURCE_IP,
    KEY_SECURE_TRANSPORT,
    KEY_CURRENT_TIME,
} key_kind;

struct policy_net { /* a range of addresses; one address has all its bits */
    unsigned char address[16];
    unsigned bits;
};

struct list {
    sv *items;
    size_t n;
};

struct condition { /* "ForAnyValue:StringNotLikeIfExists": { "aws:TagKeys": [ ... ] } */
    op_kind kind;
    bool negated;   /* ...Not... */
    bool if_exists; /* ...IfExists: holds when the request has no such key */
    quantifier over;
    sv written; /* the operator's name */
    sv key;
    key_kind of;
    struct list values;
    union {
        struct policy_net *nets; /* values.n of them: OP_ADDRESS */
        int64_t *times_ms;       /* likewise: OP_TIME_... */
    };
};

struct statement {
    sv sid;
    bool deny;                     /* Effect */
    bool not_action, not_resource; /* the lists name what it does not cover */
    struct list actions, resources;
    struct condition *conditions;
    size_t n_conditions;
};

struct policy {
    struct arena *arena; /* holds all below, this struct too */
    struct statement *statements;
    size_t n_statements;
};

/* ---- policy_pattern.c ---- */

/* "arn:partition:service:region:account:resource" into its parts; the last keeps its colons.
 * False: it has fewer parts. */
bool policy_arn_split(sv text, sv out[ARN_PARTS]);
/* Does each part of the pattern match the same part of the ARN? */
bool policy_arn_match(sv pattern, sv text);

/* ---- policy_value.c ---- */

/* "203.0.113.0/24", "2001:db8::/32", or one address. False: it is neither. */
bool policy_net_read(sv text, struct policy_net *out);
bool policy_net_holds(const struct policy_net *net, const struct policy_net *address);

/* ---- policy_condition.c ---- */

/* Reads a Condition into the statement. ERR_INVALID names operator and key. */
MUST_USE err_code policy_conditions_read(struct arena *a, yyjson_val *v,
                                         struct statement *statement, struct err *e);
/* A string, or a list of at least one string. Each must pass `check` (NULL: any passes). */
MUST_USE err_code policy_list_read(struct arena *a, yyjson_val *v, const char *member,
                                   err_code (*check)(sv item, struct err *e), struct list *out,
                                   struct err *e);
MUST_USE err_code policy_arn_check(sv item, struct err *e);
/* A text of the policy in a message, cut: it is not secret, but it may be long. */
#define SHOWN(v) SV_FMT(sv_head((v), 64))

/* ---- policy.c ---- */

bool policy_statement_names(const struct statement *statement, sv action, sv resource);
/* Does a condition hold? *known: the request has its key. */
bool policy_condition_holds(const struct condition *condition, bool deny,
                            const struct policy_context *context, bool *known);
