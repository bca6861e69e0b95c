/* policy_private.h - a policy as it is kept: what policy_read.c makes and policy.c asks.
 *
 *   policy.c          what a policy decides
 *   policy_read.c     JSON becomes the lists below
 *   policy_pattern.c  '*' and '?', ARNs part by part
 * Floor: auth. */
#pragma once
#include "auth/policy.h"
#include "base/arena.h"

#define ARN_PARTS 6u

typedef enum { OP_STRING, OP_STRING_NOCASE, OP_GLOB, OP_ARN, OP_BOOL, OP_NULL } op_kind;
typedef enum { ANY_PLAIN, ANY_VALUE, ALL_VALUES } quantifier;
typedef enum { KEY_OTHER, KEY_RESOURCE_TAG, KEY_REQUEST_TAG, KEY_TAG_KEYS } key_kind;

struct list {
    sv *items;
    size_t n;
};

struct condition {
    op_kind kind;
    bool negated, if_exists;
    quantifier over;
    sv key;
    key_kind of;
    struct list values;
};

struct statement {
    bool deny, not_action, not_resource;
    struct list actions, resources;
    struct condition *conditions;
    size_t n_conditions;
};

struct policy {
    struct arena *arena; /* holds all below, this struct too */
    struct statement *statements;
    size_t n_statements;
};

char policy_lower(char c);
bool policy_glob(sv pattern, sv text, bool nocase);
bool policy_arn_split(sv text, sv out[ARN_PARTS]);
bool policy_arn_match(sv pattern, sv text);
