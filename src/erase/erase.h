/* erase.h - erasures as a kind of job: resources go, and what is left of them on disk.
 *
 * The server gives the operations to the job engine, which calls them (job/run.h). What is asked
 * for travels as a text in job_request.erase. When the job has ended, that text is gone from the
 * records: it has the id of what was erased. What counts, in job_progress: resources of which all
 * versions went, and versions, those of these and single ones; AuditEvents and members of a
 * compartment too. Of a soft one: resources of the type that are deleted, by the job or beside it.
 * Source: HealthLake's $erase, $purge and $bulk-delete.   Floor: erase. */
#pragma once
#include "job/run.h"
#include "store/store.h"

extern const struct job_kind_ops erase_ops;

typedef enum {
    ERASE_RESOURCE, /* of a type and an id; with t one version */
    ERASE_PATIENT,  /* a Patient and its compartment */
    ERASE_TYPE,     /* all of a type */
    ERASE_N_SCOPES,
} erase_scope;
struct erase_what {
    erase_scope scope;
    fhir_type type;
    sv id;      /* not of ERASE_TYPE */
    uint64_t t; /* ERASE_RESOURCE: the commit of the one version; 0: all of it */
    bool soft;  /* ERASE_TYPE: deletions are written, and histories stay */
    bool audit; /* AuditEvents about what goes, too */
    /* meta.lastUpdated of what goes, not of ERASE_RESOURCE: from_ms <= it < until_ms. 0: no
     * bound */
    int64_t from_ms, until_ms;
};
MUST_USE err_code erase_what_write(const struct erase_what *what, struct buf *out, struct err *e);
/* Strings owned by the arena. ERR_CORRUPT. */
MUST_USE err_code erase_what_read(sv text, struct arena *a, struct erase_what *out, struct err *e);
