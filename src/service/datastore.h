/* datastore.h - the record of a data store, as both planes read it.   Floor: service. */
#pragma once
#include "codec/json.h"

#define DATASTORE_RECORD_MAX (1u << 20) /* bytes of a record */
#define DATASTORE_MEMORY     (4u << 20) /* arena in which one is read */

struct service;
struct datastore_held;
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
/* Written, and void is what was kept of the one before; who waits for its end hears of it. Holding
 * the records' lock. */
MUST_USE err_code datastore_write(struct service *s, const struct datastore *d, struct err *e);
/* It is being created or deleted. */
bool datastore_in_transition(const struct datastore *d);
/* The record as it is stored. */
MUST_USE err_code datastore_print(const struct datastore *d, struct buf *out, struct err *e);
/* May its FHIR API be served? ERR_DENIED: it asks for a check of access tokens that we do not
 * have. */
MUST_USE err_code datastore_check_strategy(const struct datastore *d, struct err *e);
/* The record as of now, shared and read only; to be released. Errors as datastore_read(). */
MUST_USE err_code datastore_hold(struct service *s, sv id, struct datastore_held **out,
                                 struct err *e);
const struct datastore *datastore_of(const struct datastore_held *h);
void datastore_release(struct datastore_held **h);
/* What is kept of this record is void. */
void datastore_forget(struct service *s, sv id);
void datastores_forget_all(struct service *s); /* at the end */
sv datastore_arn(struct service *s, struct arena *a, sv id);
