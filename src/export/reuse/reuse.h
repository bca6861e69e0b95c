/* reuse.h - a full export goes on from the one before: objects that no change touched are copied.
 *
 *   key.c      which exports have the same bytes for the same resources
 *   record.c   what a finished export leaves to later ones, written and read
 *   ranges.c   ranges of the earlier export, as the changes since then left them
 *   copy.c     a range made of the earlier one's objects, and the check of some of them
 * docs/internals/jobs.md tells why this is safe.   Floor: export. */
#pragma once
#include "export/export_private.h"

struct export_earlier_range {
    struct store_range range;
    yyjson_val *note; /* of the range, as it was done */
    uint64_t bytes;   /* of its objects */
};
struct export_earlier { /* what an earlier export left */
    uint64_t t;
    sv bucket; /* empty: the one of the export that asks */
    sv folder; /* key of its folder within the bucket, with its last slash; or empty */
    struct export_earlier_range *ranges; /* by type and number */
    size_t n;
};

/* Under which name an export is remembered. False: it is not. */
bool export_reuse_key(const struct export_job *export, size_t object_bytes,
                      char out[SHA256_HEX_LEN]);
/* Does a resource of the type belong to the export by itself alone, whatever others say? */
bool export_reuse_type(const struct export_job *export, fhir_type type);

/* ERR_NOT_FOUND: there is none, or it is none of this data store's past. Owned by the arena. */
MUST_USE err_code export_reuse_read(struct export_job *export, size_t object_bytes, struct arena *a,
                                    struct export_earlier *out, struct err *e);
/* All ranges are done and the manifest is written: what a later export needs. A failure is logged
 * and harmless. */
void export_reuse_remember(struct export_job *export);
/* What is remembered is wrong. */
void export_reuse_forget(struct export_job *export);

/* Items of a type: ranges of the earlier export as they were, to be copied, and what the changes
 * touched, planned anew between them. */
typedef err_code (*export_item_fn)(void *ctx, const struct export_item *x, struct err *e);
MUST_USE err_code export_reuse_plan(struct export_job *export, const struct export_earlier *earlier,
                                    fhir_type type, size_t target, struct arena *a,
                                    export_item_fn add, void *ctx, struct err *e);
