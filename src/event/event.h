/* event.h - what happens to data stores and jobs, told to an HTTP endpoint in EventBridge's shape.
 *
 *   events_write     an event becomes a record, in the batch that makes it true
 *   events_written   the batch is on disk: the sender looks
 *   (sender)         a thread of its own: POST, and the record goes when the endpoint has taken it
 *
 *   waiting --2xx--> gone        waiting --tried `tries` times, or too many wait--> dead
 *
 * So an event is on disk exactly when what it tells is, and is sent at least once, also over a kill
 * of the process. Its id follows from what it tells: whoever gets it twice sees that. Events of one
 * subject are sent in the order in which they happened, one at a time. Nobody waits for the
 * endpoint but the sender. A dead event is a line of a file that the operator may send again.
 *
 * Source: Amazon EventBridge, "Events" (the envelope); Amazon HealthLake, "Monitoring with
 * EventBridge" (detail types and details).   Floor: event (uses store, codec, base). */
#pragma once
#include "codec/json.h"
#include "store/records.h"

struct events;

/* What an operator may want to know of the sending; the texts are for the log. */
struct events_news {
    enum {
        EVENTS_FAILING, /* the endpoint does not take them; told once, until it does */
        EVENTS_WORKING, /* it takes them again */
        EVENTS_DEAD,    /* one has become a line of the file */
        EVENTS_ON_DISK, /* the records, or that file, cannot be read or written; it goes on */
    } what;
    const char *why;
    unsigned tries;
    uint64_t n_waiting;
};
typedef void (*events_news_fn)(void *ctx, const struct events_news *news);

#define EVENTS_TRIES     16u
#define EVENTS_WAITING   100000u /* more make the oldest dead */
#define EVENTS_TOKEN_MAX 4096u
#define EVENT_BODY_MAX   (64u << 10)

struct events_config {       /* texts are copied */
    struct records *records; /* borrowed, outlives the events */
    const char *url;         /* https, or http to this machine */
    const char *token_file;  /* sent as Authorization: Bearer; NULL: none */
    const char *dead_path;   /* the file of dead events, made when there is one */
    unsigned tries;          /* 0: EVENTS_TRIES */
    uint64_t most_waiting;   /* 0: EVENTS_WAITING */
    /* 0: a second, five minutes, ten seconds. Between two tries first_wait_ms, and each time twice
     * as long, up to most_wait_ms, or what the endpoint asks for within that. */
    uint64_t first_wait_ms, most_wait_ms, timeout_ms;
    events_news_fn news; /* called by the sender, with no lock held; NULL: nobody wants to know */
    void *news_ctx;
};
/* Is it a URL that events may be sent to? ERR_INVALID: what is wrong with it. */
MUST_USE err_code events_check_url(const char *url, struct err *e);
/* Reads what waits since earlier processes, and starts the sender. ERR_INVALID: the URL, or the
 * token; ERR_DENIED: others can read the token's file. */
MUST_USE err_code events_start(const struct events_config *cfg, struct events **out, struct err *e);
/* Another token, from this file: it goes with each event from now on, and one that waits to be
 * tried again is tried at once. On failure nothing changes. Errors as of the file in
 * events_start(). */
MUST_USE err_code events_read_token(struct events *events, const char *path, struct err *e);
/* Breaks off a transfer that is under way; what waits stays for the next start. NULL is allowed. */
void events_stop(struct events *events);

struct event {               /* borrowed for the call */
    const char *detail_type; /* "Export Job Completed" */
    sv subject, state;       /* of which the id is made: "<job>", "COMPLETED" */
    sv resource;             /* ARN of the data store; its region and account are the event's */
    int64_t time_ms;
    void (*detail)(const void *of, struct json_writer *w); /* writes the members of the detail */
    const void *of;
};
/* The writing of the event's record; owned by the arena. Whoever writes events of one subject holds
 * one lock from here until the batch is written. ERR_TOO_LARGE. */
MUST_USE err_code events_write(struct events *events, const struct event *event, struct arena *a,
                               struct records_write *out, struct err *e);
/* Its batch is written. */
void events_written(struct events *events);

struct events_counts { /* since the start, but for what waits */
    uint64_t waiting, sent, failures, dead;
};
void events_count(struct events *events, struct events_counts *out);
