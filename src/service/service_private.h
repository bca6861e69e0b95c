/* service_private.h - what the rooms of the service share.
 *
 *   service.c      life, routing, one log line per request     workers.c     threads for what waits
 *   door.c         refusals before a caller is known
 *   aws_json.c     the control plane's protocol: one call      errors.c      the two translation tables
 *   datastore_known.c  records kept for requests               lane.c        turns of who computes for long
 *   rights.c       the facts that a policy is asked with       parked.c      answers that wait for an end
 *   datastores.c   create, delete, describe, list              page.c        NextToken
 *   job_calls.c    start, describe, list of both kinds         tags.c        tags of a data store
 *   rest_*.c       the data plane (rest_private.h)             quota.c       request rates
 *   making.c       places for large answers that are being made
 * Floor: service. */
#pragma once
#include "service/errors.h"
#include "service/polls.h"
#include "service/quota.h"
#include "service/service.h"
#include "service/shapes.h"

#include <pthread.h>

#define DATASTORES_KNOWN 64u /* records kept for requests */

struct lane;
struct making;
struct workers;
struct writing_lock;
struct datastore_held;
struct service {
    struct service_config cfg;
    struct arena *arena; /* copies of the configuration's strings */
    struct quota *quota; /* NULL: off */
    struct polls *polls;
    struct workers *workers;
    struct
    { /* data stores that are being made, filled and removed: none of these waits for another (datastores.c) */
        struct workers *make, *fill, *remove;
    } background;
    struct late *late;              /* refusals of who asks too much */
    struct workers *rest_workers;   /* for writes and searches of the data plane */
    struct workers *bundle_workers; /* few, so that single requests go on beside large Bundles */
    struct lane *lane;
    struct making *making;
    struct { /* data stores with a conditional write under way: rest_asked.c */
        pthread_mutex_t lock;
        struct writing_lock *first;
    } conditional;
    struct { /* large resources that are in memory as a whole: rest_large.c */
        pthread_mutex_t lock;
        pthread_cond_t fewer;
        unsigned n;
    } large;
    pthread_mutex_t records_lock; /* orders read-change-write of data store records */
    struct {                      /* touch only while holding records_lock */
        unsigned n;               /* data stores that are not DELETED */
        uint64_t last_order;
    } there;
    struct {
        pthread_mutex_t lock;
        uint64_t generation; /* moves with every write of a record */
        struct datastore_held *slots[DATASTORES_KNOWN];
    } known;                      /* datastore_known.c */
    char page_key[33];            /* kept in the records */
    unsigned char cursor_key[32]; /* seals tokens of pages; made of page_key */
    atomic_bool stopping;
};

/* ---- an answer on its way ---- */
struct answer {
    unsigned status;
    const char *content_type;
    const char *error_type; /* x-amzn-errortype, or NULL */
    bool unsigned_retry;    /* add Retry-After: 1 */
    struct buf body;
};

/* ---- one call of the control plane ---- */
struct call {
    struct service *s;
    const struct http_request *req;
    const struct operation *op;
    struct auth_caller caller;
    struct arena *a;        /* the request's */
    yyjson_val *input;      /* checked against its shape */
    struct json_writer out; /* members of the answer; the braces are written around the operation */
    struct buf *fault_text; /* validation faults, when they are longer than an err holds */
    /* Describe*, which may wait for the end of what it tells of (parked.h) */
    sv watched;            /* whose end */
    bool unended;          /* it has not come */
    bool waited;           /* this is the second look */
    struct parked *parked; /* our place; NULL: none */
};
typedef err_code (*operation_fn)(struct call *c, struct err *e);
struct operation {
    const char *name;
    shape_id input, output;
    operation_fn fn;
    bool waits; /* for a peer or a disk: runs on the service's workers */
};

/* Input members. Absent and null are the same: SV_NONE, NULL, fallback. */
sv call_text(const struct call *c, const char *name);
yyjson_val *call_member(const struct call *c, const char *name);
/* The operation is about to look at something that ends, and says in c->unended whether it has. */
void call_watch(struct call *c, sv id);
struct datastore;
/* The caller may do the operation on this data store; NULL: on none ("*"); one without an id: there is none of this
 * ARN. Tags and TagKeys of the request are facts. ERR_DENIED. */
MUST_USE err_code call_allowed(struct call *c, const struct datastore *on, struct err *e);
/* The data store that the operation is on, once the caller may do it: who may not learns nothing of it.
 * ERR_DENIED, ERR_NOT_FOUND. */
MUST_USE err_code call_datastore(struct call *c, sv id, struct datastore *out, struct err *e);

/* Answers a request of the control plane; may reply later, from a worker. */
/* The i-th operation of the control plane, those that are not served at the end; NULL: there are no more. */
const char *aws_json_operation_name(size_t i);
void aws_json_handle(struct service *s, struct http_exchange *x, const char *request_id);
/* What is said in the place of an answer for which http_room() has none: always ERR_THROTTLED. */
err_code service_no_room(const struct http_request *req, struct err *e);
/* Sends an answer and logs it. op: for the log. */
void service_reply(struct http_exchange *x, struct answer *an, const char *op,
                   const char *request_id, sv access_key_id);
/* Any answer: sent, and one line in the log. body is taken. */
void service_reply_with(struct http_exchange *x, unsigned status, const struct http_header *h,
                        size_t n, struct buf *body, const char *op, const char *error,
                        const char *request_id, sv access_key_id);
/* A file as answer; likewise. f's fd is taken. */
void service_reply_file(struct http_exchange *x, const struct http_header *h, size_t n,
                        const struct http_file *f, const char *op, const char *request_id,
                        sv access_key_id);
void service_answer_error(struct answer *an, const struct err *e, sv long_message,
                          const char *request_id, const char *op);
/* Answers x when it is refused before anybody asks who calls. */
bool door_refuses(struct service *s, struct http_exchange *x, const char *request_id);
/* A FHIR answer from the data plane's door. */
void rest_handle(struct service *s, struct http_exchange *x, const char *request_id);

/* ---- rights ---- */
struct rights {
    sv arn;                       /* of the data store; "*" for what is on none */
    bool unknown;                 /* there is no such data store */
    yyjson_val *tags;             /* the data store's */
    yyjson_val *sent, *sent_keys; /* Tags and TagKeys of the request */
    bool unless_denied;           /* only an explicit deny refuses */
};
/* May the caller do the operation ("DeleteFHIRDatastore")? ERR_DENIED as auth_allows(). */
MUST_USE err_code rights_ask(struct arena *a, const struct auth_caller *who, const char *operation,
                             const struct rights *r, struct err *e);

/* ---- workers ---- */
typedef void (*work_fn)(struct service *s, void *ctx);
MUST_USE err_code workers_start(struct service *s, unsigned n, unsigned max_waiting,
                                struct workers **out, struct err *e);
/* Waits for what runs and what waits. */
void workers_stop(struct workers *w);
struct
    work_for { /* whose work it is; threads are shared out among callers, and among the places of each */
    sv caller; /* access key */
    sv place;  /* data store */
};
/* ERR_THROTTLED: too much waits already, of all or of this caller. */
MUST_USE err_code workers_add(struct workers *w, struct work_for who, work_fn fn, void *ctx,
                              struct err *e);
/* Does anything wait for a thread? Asked without a lock. */
bool workers_pressed(struct workers *w);

/* ---- data stores ---- */
struct datastore { /* a copy of a record; strings owned by the arena it was read into */
    sv id, arn, name, status;
    uint64_t order;
    int64_t created_ms;
    yyjson_val *sse, *preload, *identity, *tags; /* as they were given; NULL: not given */
    sv error_message, error_category;
};
/* ERR_NOT_FOUND in the words of the service. */
MUST_USE err_code datastore_read(struct service *s, sv id, struct arena *a, struct datastore *out,
                                 struct err *e);
MUST_USE err_code datastore_write(struct service *s, const struct datastore *d, struct err *e);
/* May its FHIR API be served? ERR_DENIED: it asks for a check of access tokens that we do not have. */
MUST_USE err_code datastore_check_strategy(const struct datastore *d, struct err *e);
/* The record as of now, shared and read only; to be released. Errors as datastore_read(). */
MUST_USE err_code datastore_hold(struct service *s, sv id, struct datastore_held **out,
                                 struct err *e);
const struct datastore *datastore_of(const struct datastore_held *h);
void datastore_release(struct datastore_held **h);
/* A record was written. */
void datastore_forget(struct service *s, sv id);
void datastores_forget_all(struct service *s); /* at the end */
sv datastore_arn(struct service *s, struct arena *a, sv id);
/* Starts the background's workers, and takes up what was being created or deleted when the process ended. */
MUST_USE err_code datastores_start(struct service *s, struct err *e);
void datastores_stop(struct service *s);
MUST_USE err_code op_create_datastore(struct call *c, struct err *e);
MUST_USE err_code op_delete_datastore(struct call *c, struct err *e);
MUST_USE err_code op_describe_datastore(struct call *c, struct err *e);
MUST_USE err_code op_list_datastores(struct call *c, struct err *e);
/* Fill a new store with generated patients (preload.c). */
MUST_USE err_code preload_run(struct service *s, struct store *st, struct err *e);

/* ---- jobs, tags ---- */
/* What job_submit() ended with, as its caller is told: a fault of the request, or of a service behind us. */
MUST_USE err_code job_submit_fault(err_code rc, struct err *e);
MUST_USE err_code op_start_export(struct call *c, struct err *e);
MUST_USE err_code op_start_import(struct call *c, struct err *e);
MUST_USE err_code op_describe_export(struct call *c, struct err *e);
MUST_USE err_code op_describe_import(struct call *c, struct err *e);
MUST_USE err_code op_list_exports(struct call *c, struct err *e);
MUST_USE err_code op_list_imports(struct call *c, struct err *e);
MUST_USE err_code op_tag_resource(struct call *c, struct err *e);
MUST_USE err_code op_untag_resource(struct call *c, struct err *e);
MUST_USE err_code op_list_tags(struct call *c, struct err *e);
/* Tags that a data store with the tags `there` (NULL: none yet) may be given. ERR_INVALID. */
MUST_USE err_code tags_check(yyjson_val *there, yyjson_val *sent, struct err *e);

/* ---- pages ---- */
/* MaxResults, or the default. */
unsigned page_size(const struct call *c);
/* Position -> NextToken, sealed for this operation, caller and request, for a day; and back: an absent token gives an
 * empty position. ERR_INVALID: not a token of ours for this list. */
MUST_USE err_code page_token_make(struct call *c, sv position, sv *out, struct err *e);
MUST_USE err_code page_token_read(struct call *c, sv *position, struct err *e);
