/* status_private.h - what the answer about an export is made of.
 *
 *   status.c       which answer: by the job's status, and by who keeps its files
 *   manifest.c     the manifest, or a page of it
 *   properties.c   the job as HealthLake shows it
 *
 * Floor: rest. */
#pragma once
#include "rest/export/export_private.h"

#define PAGE_FILES 50u /* on a page of a manifest, when the client takes partial ones */

/* ---- properties.c ---- */
/* The member exportJobProperties, in an object that the caller opened. */
void rest_export_properties_write(struct rest_call *call, struct json_writer *w,
                                  const struct job *job);
/* An answer of nothing else. */
MUST_USE err_code rest_export_properties_answer(struct rest_call *call, const struct job *job,
                                                struct err *e);

/* ---- manifest.c ---- */
struct rest_export_page {
    size_t from, to; /* of output and deleted, one list behind the other */
    bool next;       /* another page is there */
    bool last;       /* of a manifest that is complete */
};
/* Which part of the manifest does the call ask for? paged: the client takes partial manifests;
 * else there is one page, and it is the whole. ERR_NOT_FOUND: there is no such page, or not yet. */
MUST_USE err_code rest_export_page_of(struct rest_call *call, yyjson_val *root, bool complete,
                                      bool paged, struct rest_export_page *out, struct err *e);
/* That part, as the call's body. */
MUST_USE err_code rest_export_manifest_write(struct rest_call *call, const struct job *job,
                                             yyjson_val *root, const struct rest_export_page *p,
                                             struct err *e);
