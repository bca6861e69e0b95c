/* event_private.h - what the rooms of event share.
 *
 *   event.c    start and stop, the token, the numbers
 *   outbox.c   events as records: made, found, removed
 *   sender.c   the thread: tries, pauses, dead events
 *   post.c     one POST
 * Floor: event. */
#pragma once
#include "event/event.h"

#include <pthread.h>
#include <stdatomic.h>

struct event_post;
struct lease;
struct leases;
struct events {
    struct events_config cfg; /* no number is 0; its texts are ours */
    struct event_post *post;
    pthread_t thread;
    /* Where several nodes have the records, one of them sends: who has this lease. The thread's. */
    struct leases *leases; /* NULL: one process has the records */
    struct lease *lease;
    /* below 0 for the moment when an event is sent before its writer has counted it */
    atomic_int_fast64_t n_waiting;
    atomic_uint_fast64_t n_sent, n_failures, n_dead;
    atomic_bool stopping;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        uint64_t last_order; /* of an event */
        bool news;           /* an event came since the sender looked */
        char *token;         /* another one, which the sender has not taken yet; NULL: none */
    } locked;
};

/* ---- outbox.c ---- */
uint64_t event_outbox_waiting(const struct events *events);
#define EVENT_KEYS    "event/"
#define EVENT_KEY_MAX 64u
/* How many wait, and which is the last? */
MUST_USE err_code event_outbox_load(struct events *events, struct err *e);
/* The first one, key and body into empty bufs. ERR_NOT_FOUND: none waits. */
MUST_USE err_code event_outbox_head(struct events *events, struct buf *key, struct buf *body,
                                    struct err *e);
MUST_USE err_code event_outbox_remove(struct events *events, sv key, struct err *e);

/* May this node send? When it begins to, what waits is counted anew: others wrote it. */
bool event_outbox_mine(struct events *events);

/* ---- post.c ---- */
struct event_answer {
    bool taken, broken_off; /* neither: why it was not */
    char why[256];
    uint64_t wait_ms; /* that the endpoint asks for; 0: none */
};
/* token: empty, or what is sent as Authorization: Bearer; copied */
struct event_post *event_post_new(const char *url, sv token, uint64_t timeout_ms);
void event_token_free(char *token); /* overwritten; NULL: nothing */
/* Another one, by the thread that posts. */
void event_post_token(struct event_post *post, sv token);
void event_post_free(struct event_post *post);
/* Waits for the answer, at most timeout_ms, or until *stop is set and event_post_wake() called. */
void event_post(struct event_post *post, sv body, const atomic_bool *stop,
                struct event_answer *out);
/* From another thread. */
void event_post_wake(struct event_post *post);

/* ---- sender.c ---- */
void *event_sender(void *events);
