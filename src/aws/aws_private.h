/* aws_private.h - what the rooms of the control plane share.
 *
 *   aws_json.c    the protocol: one call           call.c            what operations ask about their call
 *   datastore_create.c  create                     datastore_life.c  the work behind it, in the background
 *   datastores.c  delete, describe, list           datastore_answer.c  how answers tell of one
 *   job_calls.c   start, describe, list of jobs    preload.c         generated patients
 *   tags.c        tags of a data store             quota.c           request rates
 *   next_token.c  NextToken of lists
 * Floor: aws. */
#pragma once
#include "aws/aws.h"
#include "service/parked.h"
#include "aws/quota.h"
#include "auth/rights.h"

struct aws {
    struct workers *workers; /* for operations that wait for a peer */
    struct quota *quota;     /* NULL: off */
    struct {                 /* data stores that are being made, filled and removed */
        struct workers *make, *fill, *remove;
    } background;                 /* datastore_life.c */
    pthread_mutex_t records_lock; /* orders read-change-write of data store records */
    struct {                      /* touch only while holding records_lock */
        unsigned n;               /* data stores that are not DELETED */
        uint64_t last_order;
    } there;
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

/* ---- data stores ---- */
/* Starts the background's workers, and takes up what was being created or deleted when the process ended. */
MUST_USE err_code datastore_life_start(struct service *s, struct err *e);
void datastore_life_stop(struct service *s);
/* The work of a data store that is CREATING or DELETING. ERR_THROTTLED. */
MUST_USE err_code datastore_begin_work(struct service *s, const struct datastore *d, struct err *e);
/* Members of an answer: what Create and Delete tell, and an item of Describe and List. */
void datastore_answer_brief(struct call *c, const struct datastore *d);
void datastore_answer_properties(struct call *c, const struct datastore *d);
MUST_USE err_code op_create_datastore(struct call *c, struct err *e);
MUST_USE err_code op_delete_datastore(struct call *c, struct err *e);
MUST_USE err_code op_describe_datastore(struct call *c, struct err *e);
MUST_USE err_code op_list_datastores(struct call *c, struct err *e);
/* Fill a new store with generated patients (preload.c). */
MUST_USE err_code preload_run(struct service *s, struct store *st, struct err *e);

/* ---- jobs, tags ---- */
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

/* ---- next_token.c ---- */
/* MaxResults, or the default. */
unsigned page_size(const struct call *c);
/* Position -> NextToken, sealed for this operation, caller and request, for a day; and back: an absent token gives an
 * empty position. ERR_INVALID: not a token of ours for this list. */
MUST_USE err_code next_token_make(struct call *c, sv position, sv *out, struct err *e);
MUST_USE err_code next_token_read(struct call *c, sv *position, struct err *e);
