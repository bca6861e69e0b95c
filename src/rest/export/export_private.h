/* export_private.h - $export between its rooms.
 *
 *   kick_off.c   the kick-off: dialect, level, submission
 *   params.c     its parameters, from the query and from Parameters (kick_private.h)
 *   filter.c     _typeFilter
 *   granted.c    what the scopes of a token give of it, and whose it is
 *   status.c     status, manifest, files, cancel (status_private.h)
 *
 * Two dialects over one job table. HealthLake's posts a DataAccessRoleArn and an OutputDataConfig
 * and gets its files in S3; the Bulk Data guide's posts Parameters, or nothing, and its files are
 * served by us. Parameters are the same in both. Limits: EXPORT_*.
 * Source: FHIR Bulk Data Access STU1 to STU4; HealthLake "Exporting data with FHIR REST".
 * Floor: rest. */
#pragma once
#include "base/limits.h"
#include "rest/route_private.h"

#define EXPORT_PATIENTS_MAX LIMIT_EXPORT_PATIENTS
#define EXPORT_VALUES_MAX   512u /* values of any other parameter */
#define EXPORT_ISSUES_MAX   32u  /* issues in one answer */

/* Read every parameter of the call into out, all of it owned by the call's arena.
 *   body  a Parameters resource, or NULL
 * ERR_INVALID with all faults as the call's issues: each names its parameter and repeats no value.
 * Under Prefer: handling=lenient what is not supported is passed over and told in out->notes; what
 * is malformed, contradictory or would widen the export when passed over is refused all the same.
 * ERR_NOT_FOUND: the Group is not there. */
MUST_USE err_code rest_export_params_read(struct rest_call *call, job_export_level level,
                                          yyjson_val *body, struct job_export_params *out,
                                          struct err *e);
/* Cut the next filter off a text of several. */
sv rest_export_filter_next(sv *rest);
/* Is "Type?name=value" a filter? *out is its type if it has one, also after an error. ERR_INVALID,
 * or an error of search_parse(). Chains and _has are checked by the job engine, which has a commit
 * to ask them of. */
MUST_USE err_code rest_export_filter_check(struct rest_call *call, sv filter, fhir_type *out,
                                           struct err *e);

/* ---- granted.c ---- */
/* The export is asked for with a token: its scopes go with it, and it is the client's. Without a
 * grant nothing is done. ERR_DENIED: the scopes give none of it, or not a type that _type names. */
MUST_USE err_code rest_export_grant(struct rest_call *call, struct job_export_params *p,
                                    struct err *e);
/* May the caller ask for the job? With a token, only for those that its client started. */
MUST_USE err_code rest_export_is_his(const struct rest_call *call, const struct job *job, bool *out,
                                     struct err *e);

/* [base]/export/<jobId>, as the caller knows it. */
sv rest_export_url(const struct rest_call *call, sv job_id);

/* ---- the interactions ---- */
MUST_USE err_code rest_export(struct rest_call *call, struct err *e);
MUST_USE err_code rest_export_status(struct rest_call *call, struct err *e);
MUST_USE err_code rest_export_delete(struct rest_call *call, struct err *e);
MUST_USE err_code rest_export_file(struct rest_call *call, struct err *e);
