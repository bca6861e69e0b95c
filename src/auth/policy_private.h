/* policy_private.h - a policy in memory: policy_read.c makes it, policy.c asks it.
 *
 *   policy.c          decides: is this action on this resource allowed?
 *   policy_read.c     turns JSON into the lists below, or refuses the policy
 *   policy_pattern.c  patterns and ARNs, part by part
 *
 * A policy never changes once it is read, so any number of threads may ask it. All texts are views
 * into its arena. Floor: auth. */
#pragma once
#include "auth/policy.h"
#include "base/arena.h"

#define ARN_PARTS 6u

/* How a condition compares a value of the request with its own values. */
typedef enum { OP_STRING, OP_STRING_NOCASE, OP_GLOB, OP_ARN, OP_BOOL, OP_NULL } op_kind;
/* How many of the request's values must match: one (no quantifier), ForAnyValue:, ForAllValues:. */
typedef enum { ANY_PLAIN, ANY_VALUE, ALL_VALUES } quantifier;
/* Which facts a condition's key names; some keys have rules of their own (policy.h). */
typedef enum { KEY_OTHER, KEY_RESOURCE_TAG, KEY_REQUEST_TAG, KEY_TAG_KEYS } key_kind;

struct list {
    sv *items;
    size_t n;
};

struct condition { /* "ForAnyValue:StringNotLikeIfExists": { "aws:TagKeys": [ ... ] } */
    op_kind kind;
    bool negated;   /* ...Not... */
    bool if_exists; /* ...IfExists: holds when the request has no such key */
    quantifier over;
    sv key;
    key_kind of;
    struct list values;
};

struct statement {
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
