/* nodes.h - the processes that have the system's records.   Floor: store. */
#pragma once
#include "store/records.h"

#define NODE_LOST_MS 10000 /* without a word: it is taken for lost */

struct node_seen {
    sv who;  /* a UUID; leases have it as their owner */
    sv host; /* as the machine calls itself */
    int64_t pid;
    sv version;       /* of the program */
    int64_t since_ms; /* by the database's clock */
    int64_t quiet_ms; /* since its last word */
    bool is_self;
};
/* Borrowed for the call; false ends it. */
typedef bool (*node_each_fn)(void *ctx, const struct node_seen *seen);
/* By the time at which they began. One process alone: none. */
MUST_USE err_code nodes_list(struct records *r, node_each_fn each, void *ctx, struct err *e);
/* This process, as the others see it; empty: it is alone. */
sv nodes_self(const struct records *r);
/* Does it reach the database, as far as it knows? */
bool nodes_reached(const struct records *r);
