/* route_private.h - what the data plane offers: shapes of paths, and the table of interactions.
 *
 *   interactions.c   the table
 *   route.c          a request finds its row
 *   metadata.c       the table as a CapabilityStatement
 *
 * docs/api-fhir.md prints its tables from here.   Source: FHIR R4 http.html.   Floor: rest. */
#pragma once
#include "rest/call_private.h"

typedef err_code (*rest_fn)(struct rest_call *call, struct err *e);

struct rest_interaction {
    const char *method;
    enum rest_shape {
        REST_SYSTEM,           /* [base] */
        REST_METADATA,         /* metadata */
        REST_SMART,            /* .well-known/smart-configuration */
        REST_SYSTEM_HISTORY,   /* _history */
        REST_SYSTEM_SEARCH,    /* _search */
        REST_TYPE,             /* Patient */
        REST_TYPE_SEARCH,      /* Patient/_search */
        REST_TYPE_HISTORY,     /* Patient/_history */
        REST_TYPE_VALIDATE,    /* Patient/$validate */
        REST_INSTANCE,         /* Patient/1 */
        REST_INSTANCE_HISTORY, /* Patient/1/_history */
        REST_VERSION,          /* Patient/1/_history/2 */
        REST_EVERYTHING,       /* Patient/1/$everything */
        REST_VALIDATE,         /* Patient/1/$validate */
        REST_COMPARTMENT,      /* Patient/1/Observation, Patient/1/STAR */
        REST_EXPORT_SYSTEM,    /* $export */
        REST_EXPORT_TYPE,      /* Patient/$export */
        REST_EXPORT_GROUP,     /* Group/1/$export */
        REST_EXPORT_STATUS,    /* export/JOB */
        REST_EXPORT_FILE,      /* export/JOB/files/NAME */
        REST_ERASE,            /* Patient/1/$erase */
        REST_ERASE_VERSION,    /* Patient/1/_history/2/$erase */
        REST_PURGE,            /* Patient/1/$purge */
        REST_BULK_DELETE,      /* Patient/$bulk-delete */
        REST_ERASE_STATUS,     /* $erase/JOB */
        REST_PURGE_STATUS,     /* $purge/JOB */
        REST_BULK_STATUS,      /* $bulk-delete/JOB */
        REST_VIEW_RUN,         /* $viewdefinition-run */
        REST_N_SHAPES,
    } shape;
    const char *name;   /* of the interaction, for the log */
    const char *action; /* IAM, without "healthlake:" */
    rest_fn fn;
    bool short_work; /* done on the server's own thread */
    /* of an operation only */
    const char *definition; /* canonical */
    const char *of;         /* types it is called on, by comma; "*" all; NULL: on [base] */
};
#define OPERATION_OF_HL7(id)  "http://hl7.org/fhir/OperationDefinition/" id
#define OPERATION_OF_SQL(id)  "http://sql-on-fhir.org/OperationDefinition/" id
#define OPERATION_OF_BULK(id) "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/" id

/* ---- interactions.c ---- */
extern const struct rest_interaction rest_interactions[];
extern const size_t rest_n_interactions;

/* ---- route.c ---- */
/* Find the interaction of call->in and fill the route. ERR_NOT_FOUND, ERR_METHOD, ERR_INVALID. */
MUST_USE err_code rest_route(struct rest_call *call, struct err *e);
/* Is the type stored once and then stays? AuditEvent is. One may come under an id of the client's
 * where nothing was. */
bool rest_is_immutable(fhir_type type);
/* Is the interaction there for this type? Parameters and OperationOutcome are not made by POST. */
bool rest_offered_on(const struct rest_interaction *it, fhir_type type);
/* Is the operation called on this type? */
bool rest_called_on(const struct rest_interaction *it, fhir_type type);
/* The row is a create, update, patch or delete, conditional or not. */
static inline bool rest_is_write(const struct rest_interaction *it)
{
    return (it->shape == REST_TYPE || it->shape == REST_INSTANCE) && strcmp(it->method, "GET") != 0;
}
/* The row takes a Bundle. */
static inline bool rest_is_bundle(const struct rest_interaction *it)
{
    return it->shape == REST_SYSTEM && strcmp(it->method, "POST") == 0;
}

/* ---- metadata.c ---- */
MUST_USE err_code rest_metadata(struct rest_call *call, struct err *e);

/* ---- smart_configuration.c ---- */
MUST_USE err_code rest_smart_configuration(struct rest_call *call, struct err *e);
/* The extension of rest.security with the endpoints of the identity provider. */
void rest_oauth_uris(struct json_writer *w, const struct rest_call *call);
