/* param_table.c - the parameters of a kick-off: one row of a table each, and how one value of it is
 * read. A reader puts values into lists, and tells what is wrong as issues and notes that name the
 * parameter and repeat no value.
 *
 * A new parameter is a row here, a member of struct job_export_params, and what the export does
 * with it. Source: FHIR Bulk Data Access, "Query Parameters"; HealthLake's _security and _tag. */
#include "rest/export/kick_private.h"

#include "codec/instant.h"
#include "fhir/definitions.h"

__attribute__((format(printf, 3, 0))) static sv text_of(struct kick *kick, const char *name,
                                                        const char *fmt, va_list ap)
{
    char text[400];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    sv out = arena_fmt(kick->call->a, "%s: %.*s", name, n < 0 ? 0 : (int)sizeof text, text);
    if (out.ptr == NULL)
        kick->rc = arena_oom(kick->call->a, kick->e);
    return out;
}

static void add_issue(struct kick *kick, const char *code, const char *name, sv text)
{
    if (kick->n_issues == EXPORT_ISSUES_MAX || text.ptr == NULL)
        return;
    kick->issues[kick->n_issues++] = (struct rest_issue){ "error", code, text, sv_from(name) };
}

void kick_fault(struct kick *kick, const char *name, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_issue(kick, code, name, text_of(kick, name, fmt, ap));
    va_end(ap);
}

void kick_push(struct kick *kick, struct kick_list *l, sv item, size_t max, const char *name)
{
    if (kick->rc != ERR_OK)
        return;
    if (l->n == max) {
        kick_fault(kick, name, "too-costly", "takes at most %zu values", max);
        return;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        sv *more = arena_grow(kick->call->a, l->items, l->cap * sizeof *more, cap * sizeof *more);
        if (more == NULL) {
            kick->rc = arena_oom(kick->call->a, kick->e);
            return;
        }
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = item;
}

void kick_unsupported(struct kick *kick, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sv text = text_of(kick, name, fmt, ap);
    va_end(ap);
    if (kick->lenient && kick->notes.n < EXPORT_ISSUES_MAX)
        kick_push(kick, &kick->notes, text, EXPORT_ISSUES_MAX, name);
    else if (!kick->lenient)
        add_issue(kick, "not-supported", name, text);
}

/* ---- one value each ---- */

static void read_format(struct kick *kick, const char *name, sv v)
{
    /* A plus sign that was not encoded has become a space. */
    if (!sv_eq(v, SV_LIT("application/fhir+ndjson")) &&
        !sv_eq(v, SV_LIT("application/fhir ndjson")) && !sv_eq(v, SV_LIT("application/ndjson")) &&
        !sv_eq(v, SV_LIT("ndjson")))
        kick_unsupported(kick, name,
                         "only NDJSON is written: application/fhir+ndjson, application/ndjson, "
                         "ndjson");
}

static int64_t read_instant(struct kick *kick, const char *name, sv v)
{
    int64_t ms = 0;
    char with_plus[64];
    if (v.len > 6 && v.len < sizeof with_plus && v.ptr[v.len - 6] == ' ') {
        /* "+01:00" that was not encoded has become " 01:00". */
        memcpy(with_plus, v.ptr, v.len);
        with_plus[v.len - 6] = '+';
        v.ptr = with_plus;
    }
    if (!instant_parse(v, &ms))
        kick_fault(kick, name, "value", "takes a FHIR instant such as 2026-01-31T08:00:00.000Z");
    /* Nothing was written before 1970, and 0 would mean no bound. */
    return ms > 0 ? ms : 1;
}

static void read_since(struct kick *kick, const char *name, sv v)
{
    kick->p.since_ms = read_instant(kick, name, v);
}

static void read_until(struct kick *kick, const char *name, sv v)
{
    kick->p.until_ms = read_instant(kick, name, v);
}

static void read_type(struct kick *kick, const char *name, sv v)
{
    fhir_type t = fhir_type_find(v);
    if (t == FHIR_TYPE_NONE) {
        kick_unsupported(kick, name, "%s", fhir_type_slip(v, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        return;
    }
    if (!job_export_offers(kick->level, t)) {
        kick_unsupported(kick, name,
                         "%s is not exported for patients or groups, only with [base]/$export",
                         fhir_type_name(t));
        return;
    }
    for (size_t i = 0; i < kick->types.n; i++)
        if (sv_eq(kick->types.items[i], v))
            return;
    kick_push(kick, &kick->types, v, EXPORT_VALUES_MAX, name);
}

static void read_element(struct kick *kick, const char *name, sv v)
{
    sv path = v, first, second = SV_NONE;
    /* This cannot fail: the text is not SV_NONE. */
    (void)sv_cut(&path, '.', &first);
    fhir_type t = fhir_type_find(first);
    if (t && sv_cut(&path, '.', &second)) {
        const struct fhir_structure *s = fhir_structure_of(t);
        bool known = fhir_member_find(s, second) != NULL || sv_eq(second, SV_LIT("resourceType"));
        for (size_t i = 0; !known && i < s->n_elements; i++)
            /* "value" means valueQuantity and its like. */
            known = sv_eq(s->elements[i].name, second);
        if (!known) {
            kick_unsupported(kick, name, "%s has no root element of that name", fhir_type_name(t));
            return;
        }
    } else if (t) {
        kick_fault(kick, name, "value", "an element is written element or Type.element");
        return;
    }
    if (path.ptr || (t == FHIR_TYPE_NONE && sv_find(v, '.') < v.len) || first.len == 0) {
        kick_fault(kick, name, "value", "takes root elements only: element or Type.element");
        return;
    }
    kick_push(kick, &kick->elements, v, EXPORT_VALUES_MAX, name);
}

static void read_patient(struct kick *kick, const char *name, sv v)
{
    sv mine = arena_fmt(kick->call->a, "%.*s/", SV_FMT(kick->call->base));
    if (!kick->from_body) {
        if (!kick->patients.n && kick->n_issues == 0)
            kick_fault(kick, name, "invalid", "is taken from the Parameters of a POST only");
        return;
    }
    if (mine.ptr && sv_starts(v, mine))
        v = sv_tail(v, mine.len);
    if (!sv_starts(v, SV_LIT("Patient/")) || !fhir_id_ok(sv_tail(v, 8))) {
        kick_fault(kick, name, "value", "a value is no reference to a Patient of this data store");
        return;
    }
    kick_push(kick, &kick->patients, sv_tail(v, 8), EXPORT_PATIENTS_MAX, name);
}

static void read_associated(struct kick *kick, const char *name, sv v)
{
    if (sv_eq(v, SV_LIT("LatestProvenanceResources")))
        kick->p.associated |= JOB_ASSOCIATED_LATEST_PROVENANCE;
    else if (sv_eq(v, SV_LIT("RelevantProvenanceResources")))
        kick->p.associated |= JOB_ASSOCIATED_RELEVANT_PROVENANCE;
    else
        kick_unsupported(kick, name,
                         "takes LatestProvenanceResources and RelevantProvenanceResources only");
}

static void read_organize(struct kick *kick, const char *name, sv v)
{
    if (!sv_eq(v, SV_LIT("Patient")))
        kick_unsupported(kick, name, "files can be organized by Patient only");
    else
        kick->p.organize_by_patient = true;
}

static void read_partial(struct kick *kick, const char *name, sv v)
{
    if (!sv_eq(v, SV_LIT("true")) && !sv_eq(v, SV_LIT("false")))
        kick_fault(kick, name, "value", "takes true or false");
    kick->p.partial_manifests = sv_eq(v, SV_LIT("true"));
}

static uint64_t read_size(struct kick *kick, const char *name, sv v)
{
    uint64_t n = 0;
    if (!sv_to_u64(v, &n) || n == 0)
        kick_fault(kick, name, "value", "takes a whole number of bytes above 0");
    return n;
}

static void read_min(struct kick *kick, const char *name, sv v)
{
    kick->p.min_file_bytes = read_size(kick, name, v);
}

static void read_max(struct kick *kick, const char *name, sv v)
{
    kick->p.max_file_bytes = read_size(kick, name, v);
}

static void read_label(struct kick *kick, struct kick_list *l, const char *name, sv v)
{
    size_t bar = sv_find(v, '|');
    if (bar == 0 || bar == v.len)
        kick_fault(kick, name, "value", "takes system|code, or system| for any code of the system");
    else
        kick_push(kick, l, v, EXPORT_VALUES_MAX, name);
}

static void read_security(struct kick *kick, const char *name, sv v)
{
    read_label(kick, &kick->security, name, v);
}

static void read_tag(struct kick *kick, const char *name, sv v)
{
    read_label(kick, &kick->tag, name, v);
}

static void read_filter(struct kick *kick, const char *name, sv v)
{
    struct err why = { 0 };
    fhir_type t;
    /* Whatever handling is preferred: without a filter the export would be wider than was asked
     * for. */
    if (rest_export_filter_check(kick->call, v, &t, &why) != ERR_OK)
        kick_fault(kick, name, "invalid", "%s", why.msg);
    else if (!job_export_offers(kick->level, t))
        kick_fault(kick, name, "not-supported", "%s is not exported at this level",
                   fhir_type_name(t));
    else
        kick_push(kick, &kick->filters, v, EXPORT_VALUES_MAX, name);
}

/* ---- the table ---- */

const struct kick_row kick_rows[] = {
    { "_outputFormat", KICK_ONE, read_format },
    { "_since", KICK_ONE, read_since },
    { "_until", KICK_ONE, read_until },
    { "_type", KICK_LIST, read_type },
    { "_typeFilter", KICK_FILTERS, read_filter },
    { "_elements", KICK_LIST, read_element },
    { "patient", KICK_LIST, read_patient },
    { "includeAssociatedData", KICK_LIST, read_associated },
    { "organizeOutputBy", KICK_ONE, read_organize },
    { "allowPartialManifests", KICK_ONE, read_partial },
    { "_minimumFileSize", KICK_ONE, read_min },
    { "_maximumFileSize", KICK_ONE, read_max },
    { "_security", KICK_LIST, read_security },
    { "_tag", KICK_LIST, read_tag },
};
_Static_assert(sizeof kick_rows / sizeof kick_rows[0] <= 32, "each has a bit in kick.seen");
const size_t kick_n_rows = sizeof kick_rows / sizeof kick_rows[0];

unsigned kick_bit(const char *name)
{
    for (unsigned i = 0; i < kick_n_rows; i++)
        if (strcmp(kick_rows[i].name, name) == 0)
            return 1u << i;
    return 0;
}
