/* datastore.h - the record of a data store, as both planes read it.
 *
 *   datastore_read   a copy of your own, to change and write
 *   datastore_hold   a shared one, kept in memory from request to request, to read only
 *
 * Thread-safe, but for a rule of writers: whoever reads a record, changes it and writes it back
 * does so holding the records' lock (aws_private.h). That is this process's. What another one
 * writes in between makes the writing fail.   Floor: service. */
#pragma once
#include "codec/json.h"
#include "service/identity.h"
#include "store/records.h"

#define DATASTORE_RECORD_MAX (1u << 20) /* bytes of a record */
#define DATASTORE_MEMORY     (4u << 20) /* budget of an arena into which one is read */

struct service;
struct datastore_held;

/* Continuous backup: all zero when nobody ever asked for it. aws/backup.c has the rules. */
struct datastore_backup {
    bool given;         /* a configuration was given */
    bool enabled, tags; /* as it says; tags: a restored one gets the tags, too */
    unsigned days;      /* of retention */
    int64_t enabled_ms; /* since when; 0: never */
    int64_t ended_ms;   /* when it was disabled, or the data store deleted; 0: it goes on */
    int64_t until_ms;   /* when what is kept goes for good; 0: nothing is to go */
};

struct datastore { /* strings and values are owned by the arena into which it was read */
    sv id, arn, name;
    sv status;      /* "CREATING", "ACTIVE", "CREATE_FAILED", "DELETING", "DELETED" */
    uint64_t order; /* place in lists: unique, and growing */
    int64_t created_ms;
    yyjson_val *sse, *preload, *identity, *tags; /* as they were given; NULL: not given */
    struct identity_config callers;              /* what identity says */
    sv error_message, error_category;            /* of CREATE_FAILED */
    struct datastore_backup backup;
    sv restored_from;       /* id of the data store of which it is made; empty: of none */
    int64_t restored_at_ms; /* as of which instant */
    sv former; /* its text as it was read, where several nodes have the records; else empty */
};

/* ---- the record ---- */

/* ERR_NOT_FOUND, in the service's words; ERR_CORRUPT; ERR_IO. */
MUST_USE err_code datastore_read(struct service *service, sv id, struct arena *a,
                                 struct datastore *out, struct err *e);
/* The record as its JSON text. */
MUST_USE err_code datastore_print(const struct datastore *datastore, struct buf *out,
                                  struct err *e);
/* The writing that tells of its status, for the batch that writes the record; owned by the arena.
 * In *any: is there one? Nobody is told without events, and not of every status. Once the batch is
 * written, call events_written(). */
MUST_USE err_code datastore_told(struct service *service, const struct datastore *datastore,
                                 struct arena *a, struct records_write *out, bool *any,
                                 struct err *e);
/* The ARN of the data store with this id, whether it exists or not; owned by the arena. */
sv datastore_arn(struct service *service, struct arena *a, sv id);
/* [base] of its FHIR API as the caller of req knows it, with no slash behind: below --public-url,
 * else at the host that the caller used. In the request's arena; SV_NONE: that is full. */
sv datastore_url(struct service *service, const struct http_request *req, sv id);
/* How that begins without --public-url: "http://" or "https://". */
sv datastore_scheme(const struct http_request *req);
/* Is it being created or deleted? */
bool datastore_in_transition(const struct datastore *datastore);
/* Is it deleted, and its data still on disk, to be restored? */
bool datastore_is_kept(const struct datastore *datastore);
/* May its FHIR API be served? ERR_DENIED: it relies on checks that this server does not make. */
MUST_USE err_code datastore_check_strategy(const struct datastore *datastore, struct err *e);
/* A data store whose record says ACTIVE has a place for its data, from its creation to its
 * deletion. ERR_CORRUPT: it has none, so somebody has taken it away. The record is read anew: a
 * data store that was deleted meanwhile is none of these. */
MUST_USE err_code datastore_check_place(struct service *service, sv id, struct err *e);

/* ---- those in memory, and writing ---- */
#define DATASTORE_TRIES 20 /* of a change of a record that other nodes change, too */

/* Writes a record. Copies in memory are void from now on. If its creation or deletion has ended,
 * answers that wait for that are sent. ERR_PRECONDITION: another node has written it since it was
 * read: it is to be read, and changed, again. */
MUST_USE err_code datastore_write(struct service *service, const struct datastore *datastore,
                                  struct err *e);
/* The record as of now, shared and read only; release it soon. Errors as datastore_read(). */
MUST_USE err_code datastore_hold(struct service *service, sv id, struct datastore_held **out,
                                 struct err *e);
const struct datastore *datastore_of(const struct datastore_held *h); /* borrowed from h */
void datastore_release(struct datastore_held **h); /* NULL is no record: nothing is done */
/* The copy of this record in memory is void. */
void datastore_forget(struct service *service, sv id);
/* All copies are released; when the service ends. */
void datastores_forget_all(struct service *service);
