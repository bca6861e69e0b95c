/* errors.c - the error file: what handling=lenient passed over, an OperationOutcome each. */
#include "export/export_private.h"

#include "codec/hash.h"
#include "fhir/outcome.h"

#define ERRORS_MAX (64u << 20)

static err_code write_note(sv note, struct buf *out, struct err *e)
{
    struct fhir_issue issue = { .severity = "warning", .code = "not-supported", .text = note };
    TRY(fhir_outcome_write(&(struct fhir_issues){ &issue, 1, false }, ERRORS_MAX, out, e));
    return buf_add_char(out, '\n', e);
}

err_code export_errors_write(struct export_job *x, struct arena *a, struct export_object *out,
                             bool *there, struct err *e)
{
    CLEANUP_BUF struct buf lines = BUF_INIT(ERRORS_MAX);
    const struct job_texts *notes = &x->params->notes;
    struct sink_object o;
    char hex[SHA256_HEX_LEN];
    *there = notes->n != 0;
    if (notes->n == 0)
        return ERR_OK;
    for (size_t i = 0; i < notes->n; i++)
        TRY(write_note(notes->items[i], &lines, e));
    sv name = SV_LIT("error/OperationOutcome-1-0-0.ndjson");
    TRY(sink_put(x->sink, name, SV_LIT("application/fhir+ndjson"), buf_sv(&lines), &o, e));
    hash_hex(o.sha256, sizeof o.sha256, hex);
    *out = (struct export_object){ .type = fhir_type_find(SV_LIT("OperationOutcome")),
                                   .name = name,
                                   .count = notes->n,
                                   .bytes = o.bytes,
                                   .sha256 = arena_sv(a, sv_make(hex, sizeof hex)) };
    return out->sha256.ptr ? ERR_OK : arena_oom(a, e);
}
