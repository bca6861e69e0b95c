/* registry_private.h - what the rooms of the registry share.
 *
 *   registry.c          opening, holding, giving back, removing: the calls of registry.h
 *   registry_entry.c    entries: found by id, in order of their last use; their parts of the budget
 *   registry_janitor.c  a thread that closes what is idle and writes out what stands in memory
 * Floor: store. */
#pragma once
#include "store/registry.h"
#include "store/store_private.h"

#include <limits.h>

#define BUCKETS 512u
/* of an open store beside the files of its data: lock, log, lists, folders */
#define FILES_OWN   12u
#define FILES_MIN   20u /* the least limit of open files of data that an engine takes */
#define FILES_SPARE 8u  /* room for files to come */

_Static_assert(STORE_FILES_LEAST == FILES_OWN + FILES_MIN, "what one needs");

struct registry_entry {
    struct registry_entry *next;          /* of its bucket */
    struct registry_entry *newer, *older; /* by last use; of open ones */
    char id[33];
    enum { OPENING, OPEN, CLOSING, REMOVING } state;
    struct store *store;
    unsigned n_holders;
    bool counted;     /* it has its place among those that may be open */
    unsigned n_extra; /* descriptors beyond STORE_FILES_LEAST */
    bool denied;      /* its key is revoked: nobody gets it, and it is closed */
    bool weighed;     /* one of its holders is the janitor, for a moment: it is waited for */
    uint64_t used_us; /* when it was taken or given back last */
};

struct store_registry {
    struct store_env *env; /* borrowed */
    const struct store_engine *engine;
    char *root;      /* URI below which the stores are */
    size_t place_at; /* where the place begins in a URI of it */
    struct store_bounds bounds;
    unsigned tick_ms;     /* between looks at what is idle */
    unsigned grown_ticks; /* looks, between those at whether one has outgrown its part */
    unsigned key_ticks;   /* looks, between those at whether keys can still be had */
    pthread_t janitor;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed; /* an entry has changed its state, or lost a holder */
        pthread_cond_t tick;    /* the janitor's; the end */
        struct registry_entry *buckets[BUCKETS];
        struct registry_entry *newest, *oldest;
        unsigned n_entries, n_counted, n_extra, n_stores;
        bool has_janitor, stop;
    } locked;
};

/* ---- registry_entry.c ---- */
/* The URI of a store; its engine's place in it. */
void registry_uri(const struct store_registry *r, sv id, char out[PATH_MAX]);
bool registry_exists(const struct store_registry *r, sv id);
unsigned registry_n_files(const struct store_registry *r, sv id); /* of its data */
/* NULL: it is absent. */
struct registry_entry *registry_find_locked(struct store_registry *r, sv id);
struct registry_entry *registry_add_locked(struct store_registry *r, sv id); /* OPENING */
/* Its store is closed, and its part of the budget is free. */
void registry_drop_locked(struct store_registry *r, struct registry_entry *en);
void registry_unlink_locked(struct store_registry *r, struct registry_entry *en);
void registry_link_newest_locked(struct store_registry *r, struct registry_entry *en);
void registry_used_locked(struct store_registry *r, struct registry_entry *en);
void registry_unhold_locked(struct store_registry *r, struct registry_entry *en);
/* Nobody holds it. The lock is given back while it closes; whoever wants it meanwhile waits. */
void registry_close_locked(struct store_registry *r, struct registry_entry *en);
/* Three quarters of the budget are places of STORE_FILES_LEAST each, so that what a few take keeps
 * nobody from being opened; a quarter is given on top to those who have more files, as long as it
 * lasts. */
unsigned registry_extra_of(const struct store_registry *r);
unsigned registry_places_of(const struct store_registry *r);
unsigned registry_left_locked(const struct store_registry *r); /* of the quarter */
/* What one should have on top: an even share among those that exist, or what its files need if that
 * is more. */
unsigned registry_fit_locked(const struct store_registry *r, unsigned n_files);
/* Its part should be another: more, if there is any; less, if others have to do without. */
bool registry_misfits_locked(const struct store_registry *r, const struct registry_entry *en,
                             unsigned n_files);

/* ---- registry_janitor.c ---- */
/* Starts it when it is not at work yet. Without one (no thread to be had) stores are closed when
 * their room is needed. */
void registry_janitor_start_locked(struct store_registry *r);
