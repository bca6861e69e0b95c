/* aws_private.h - what the rooms of the control plane share.
 *
 *   aws_json.c          the protocol: from a POST to an operation and back
 *   operations.c        which operations there are
 *   call.c              what an operation asks about its call
 *   datastores.c        Describe-, List-, Update- and DeleteFHIRDatastore(s)
 *   datastore_new.c     CreateFHIRDatastore
 *   restore.c           RestoreFHIRDatastore
 *   restore_run.c       its work
 *   backup.c            continuous backup: what a configuration means
 *   retained.c          deleted data stores whose backup is kept
 *   datastore_answer.c  how an answer tells of a data store
 *   datastore_life.c    data stores are made, filled and removed in the background
 *   preload.c           fills a new data store with generated patients
 *   job_calls.c         Start, Describe and List of export and import jobs
 *   tags.c              TagResource, UntagResource, ListTagsForResource
 *   next_token.c        NextToken of lists
 *   trail.c             what the audit log is told
 * Floor: aws. */
#pragma once
#include "auth/rights.h"
#include "aws/aws.h"
#include "service/parked.h"

/* The plane's state. */
struct aws {
    struct workers *workers; /* for operations that wait for a peer */
    struct {                 /* of datastore_life.c: data stores that are made, filled, removed */
        struct workers *make, *fill, *remove;
    } background;
    struct retained *retained;     /* deleted data stores that are kept; their thread */
    struct datastore_nodes *nodes; /* where several nodes have the records; else NULL */
    /* Held from reading the record of a data store to writing it back. */
    pthread_mutex_t records_lock;
    struct {                 /* touch only while holding records_lock */
        unsigned n;          /* data stores that are not DELETED */
        uint64_t last_order; /* of the newest data store */
    } there;
};

/* ---- one call of an operation ---- */

struct call {
    struct service *service;
    const struct http_request *req;
    const struct operation *op;
    struct auth_caller caller;
    struct arena *a;        /* the request's */
    yyjson_val *input;      /* the request's members, checked against their shape */
    struct json_writer out; /* the operation writes members; the braces are written around it */
    struct buf *fault_text; /* faults of the request, when they are longer than an err holds */
    unsigned wait_s;        /* a rate is exceeded: seconds until the call may pass */
    /* Of Describe*, whose answer may wait for the end of what it tells of (parked.h). */
    sv watched;            /* id of what may end */
    bool unended;          /* it has not ended */
    bool waited;           /* the operation is done for the second time */
    struct parked *parked; /* the answer's place; NULL: none */
};
typedef err_code (*operation_fn)(struct call *call, struct err *e);
struct operation {
    const char *name;
    shape_id input, output;
    operation_fn fn;
    bool waits; /* for a peer or a disk: it runs on the plane's workers */
};

/* The operation of X-Amz-Target; NULL: it is not served. */
const struct operation *operation_find(sv target);
/* Why operation_find() found nothing, in words for the caller. An operation of HealthLake that is
 * not served is named, so that he does not look for a fault of his own. */
sv operation_unknown(struct arena *a, sv target);

/* A member of the request. Absent and null are the same: SV_NONE, NULL. */
sv call_text(const struct call *call, const char *name);
yyjson_val *call_member(const struct call *call, const char *name);
/* A timestamp of the request in ms; 0: it is absent, and asks for nothing. */
int64_t call_time_ms(yyjson_val *v);

/* What the audit log is told of the call, with its outcome (trail.c). NULL is allowed.
 *   answer  AWS JSON that tells the ids of what was made */
void call_trail(const struct call *call, struct trail *trail, err_code rc, sv answer);
/* Of a request that was refused before it became a call. */
void call_trail_name(const struct http_request *req, struct service *service,
                     struct trail_facts *facts);

/* An operation calls this before it looks at something that may end; after its look it sets
 * call->unended. */
void call_watch(struct call *call, sv id);

/* May the caller do the operation on this data store? NULL: the operation is on none ("*"). One
 * without an id does not exist. Tags and TagKeys of the request are facts. ERR_DENIED. */
MUST_USE err_code call_allowed(struct call *call, const struct datastore *datastore, struct err *e);

/* Reads the data store that the operation is on, and checks that the caller may do it, and that the
 * data store's rate has room for it. Rights come first: a caller who may not learns nothing of the
 * data store. ERR_DENIED, ERR_NOT_FOUND, ERR_THROTTLED. */
MUST_USE err_code call_datastore(struct call *call, sv id, struct datastore *out, struct err *e);

/* ---- operations: each writes the members of its answer to call->out ---- */

MUST_USE err_code op_create_datastore(struct call *call, struct err *e);
MUST_USE err_code op_restore_datastore(struct call *call, struct err *e);
MUST_USE err_code op_update_datastore(struct call *call, struct err *e);
MUST_USE err_code op_delete_datastore(struct call *call, struct err *e);
MUST_USE err_code op_describe_datastore(struct call *call, struct err *e);
MUST_USE err_code op_list_datastores(struct call *call, struct err *e);
MUST_USE err_code op_start_export(struct call *call, struct err *e);
MUST_USE err_code op_start_import(struct call *call, struct err *e);
MUST_USE err_code op_describe_export(struct call *call, struct err *e);
MUST_USE err_code op_describe_import(struct call *call, struct err *e);
MUST_USE err_code op_list_exports(struct call *call, struct err *e);
MUST_USE err_code op_list_imports(struct call *call, struct err *e);
MUST_USE err_code op_tag_resource(struct call *call, struct err *e);
MUST_USE err_code op_untag_resource(struct call *call, struct err *e);
MUST_USE err_code op_list_tags(struct call *call, struct err *e);

/* ---- data stores ---- */

/* Starts the background's workers. They take up what was being created or deleted when an earlier
 * process ended. */
MUST_USE err_code datastore_life_start(struct service *service, struct err *e);
void datastore_life_stop(struct service *service);

/* ---- several nodes (datastore_nodes.c) ---- */
/* Starts looking for data stores whose node has gone: begin is called for what is to be taken up.
 * Nothing, where one process has the records. */
typedef void (*datastore_begin_fn)(struct service *service, sv id);
MUST_USE err_code datastore_nodes_start(struct service *service, datastore_begin_fn begin,
                                        struct err *e);
void datastore_nodes_stop(struct service *service); /* looking */
void datastore_nodes_free(struct service *service); /* all work has ended */
/* The work on a data store is this node's, and its record still has the status. *lease: NULL with
 * one process. False: it is another's, or done. */
bool datastore_nodes_take(struct service *service, sv id, const char *status, struct lease **lease);
/* It is in a queue of this node, or is not any more. */
void datastore_nodes_queued(struct service *service, sv id, bool is);
/* The place of a new data store: behind all that there are, on any node, which are counted anew.
 * records_lock is held. */
struct datastore_place {
    char was[24], is[24];
    struct records_write writes[2];
    size_t n; /* 0: one process has the records */
};
MUST_USE err_code datastore_place_begin(struct service *service, struct datastore_place *out,
                                        struct err *e);
void datastore_place_take(struct datastore_place *place, uint64_t order);

/* Begins the work of a data store that is CREATING or DELETING. ERR_THROTTLED. */
MUST_USE err_code datastore_begin_work(struct service *service, const struct datastore *datastore,
                                       struct err *e);

/* Does fn holding records_lock, and again when another process has changed what it has read. It
 * writes its answer last. ERR_CONFLICT: that happens again and again. */
MUST_USE err_code call_change(struct call *call, operation_fn fn, struct err *e);

/* A record of a data store into the answer: its four names, or an object with all properties. */
void datastore_answer_brief(struct call *call, const struct datastore *datastore);
void datastore_answer_properties(struct call *call, const struct datastore *datastore);

/* What a new data store has beyond the members of the request. records_lock is held. */
typedef err_code (*datastore_fill_fn)(struct call *call, struct datastore *datastore,
                                      struct err *e);
/* The data store that the call asks for, or that its ClientToken has made: answered, and on its
 * way. Whether the caller may is asked before. sse: its SseConfiguration, or NULL. ERR_THROTTLED,
 * ERR_INVALID, ERR_DENIED (tags, the key), what fill gives, and those of datastore_check_key(). */
MUST_USE err_code datastore_make(struct call *call, datastore_fill_fn fill, yyjson_val *sse,
                                 struct err *e);
/* datastore_key.c: may the data store be under the customer's key that its SseConfiguration names?
 * Without a KMS, and for a key of ours, yes. Errors of auth_allows() and kms_key_ask(). */
MUST_USE err_code datastore_check_key(struct call *call, yyjson_val *sse, struct err *e);
/* The customer's key of an SseConfiguration, as it was given; SV_NONE: a key of ours, or NULL. */
sv datastore_customer_key(yyjson_val *sse);
/* Before its first data: a data key, wrapped by the customer's key in KMS, or by a key of ours; or
 * none, when the server has no keeper for it. Errors of store_registry_encrypt(). */
MUST_USE err_code datastore_encrypt(struct service *service, const struct datastore *datastore,
                                    struct err *e);
/* Is the IdentityProviderConfiguration one that this server obeys, or not given? ERR_INVALID. */
MUST_USE err_code datastore_check_identity(struct call *call, struct err *e);

/* ERR_INVALID: the request wants a backup, and this server could not restore from it. */
MUST_USE err_code backup_check(struct call *call, struct err *e);
/* A BackupConfiguration as its shape allows it, or NULL, at the instant now. */
void backup_configure(struct datastore_backup *b, yyjson_val *given, int64_t now_ms);
/* The data store is deleted: there are no new points, and what there is is kept for a while. */
void backup_end(struct datastore_backup *b, int64_t now_ms);
/* From which instant to which it can be restored. False: to none. */
bool backup_window(const struct datastore *datastore, int64_t now_ms, int64_t *from, int64_t *to);
/* Makes the data store that the record says, of another one. ERR_CANCELLED: the service is
 * stopping. */
MUST_USE err_code restore_run(struct service *service, const struct datastore *datastore,
                              struct err *e);
/* A thread removes deleted data stores when they are kept no longer. look: there is one more. */
MUST_USE err_code retained_start(struct service *service, struct retained **out, struct err *e);
void retained_look(struct retained *x);
void retained_stop(struct retained *x);

/* Fills a new store with generated patients. ERR_CANCELLED: the service is stopping. */
struct lease;
MUST_USE err_code preload_run(struct service *service, struct store *st, const struct lease *lease,
                              struct err *e);

/* May a data store that has the tags `there` be given the tags `sent`? NULL: none. ERR_INVALID: a
 * key of AWS, one that comes twice, or two that differ by letter case only. */
MUST_USE err_code tags_check(yyjson_val *there, yyjson_val *sent, struct err *e);

/* ---- lists (next_token.c) ---- */

/* MaxResults of the request, or the default. */
unsigned page_size(const struct call *call);

/* The NextToken that stands for a position in this list; it is good for a day, for this operation,
 * caller and request. And back: without a token the position is empty, the list's begin.
 * ERR_INVALID: it is not a token of ours for this list, or it is too old. */
MUST_USE err_code next_token_make(struct call *call, sv position, sv *out, struct err *e);
MUST_USE err_code next_token_read(struct call *call, sv *position, struct err *e);
