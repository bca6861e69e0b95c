/* rest_private.h - what the data plane keeps for as long as the service lives.
 * Made by rest.c; each room that is named here has its part of it.   Floor: rest. */
#pragma once
#include "rest/fair/lane_private.h"
#include "rest/fair/late_private.h"
#include "rest/fair/making_private.h"
#include "rest/fair/polls_private.h"
#include "rest/rest.h"

struct writing_lock; /* write/asked.c */

struct rest {
    struct workers *workers; /* for writes and searches */
    /* Few, so that single requests go on beside large Bundles. */
    struct workers *bundle_workers;
    struct workers *stream_workers; /* for answers that go out while they are made */
    struct workers
        *askers; /* for tokens whose provider may have to be asked; NULL: none are taken */
    struct late *late;
    struct lane *lane;
    struct making *making;
    struct polls *polls;
    struct { /* write/asked.c: data stores with a conditional write under way */
        pthread_mutex_t lock;
        struct writing_lock *first;
    } conditional;
    struct { /* large.c: large resources that are in memory as a whole */
        pthread_mutex_t lock;
        pthread_cond_t fewer;
        unsigned n;
    } large;
};
