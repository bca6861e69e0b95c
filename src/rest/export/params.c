/* params.c - what a kick-off asks for: every parameter is one row of a table.
 *
 * Values come from the query (one text, decoded) or from a Parameters resource (any value[x]). A
 * list may be divided by commas, or repeated. All faults of a request are told at once; before any
 * job exists.
 * Source: FHIR Bulk Data Access, "Query Parameters"; HealthLake's _security and _tag. */
#include "rest/answer_private.h"
#include "rest/export/export_private.h"

#include "codec/instant.h"
#include "fhir/definitions.h"

struct list {
    sv *items;
    size_t n, cap;
};

struct kick {
    struct rest_call *c;
    job_export_level level;
    bool lenient, from_body; /* from_body: the value at hand */
    struct job_export_params p;
    struct list types, filters, elements, patients, security, tag, notes;
    struct rest_issue *issues;
    size_t n_issues;
    unsigned seen; /* a bit a row of the table */
    err_code rc;   /* out of memory: later calls do nothing */
    struct err *e;
};

/* ---- faults, notes, lists ---- */

__attribute__((format(printf, 3, 0))) static sv text_of(struct kick *k, const char *name,
                                                        const char *fmt, va_list ap)
{
    char text[400];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    sv out = arena_fmt(k->c->a, "%s: %.*s", name, n < 0 ? 0 : (int)sizeof text, text);
    if (out.ptr == NULL)
        k->rc = arena_oom(k->c->a, k->e);
    return out;
}

static void add_issue(struct kick *k, const char *code, const char *name, sv text)
{
    if (k->n_issues == EXPORT_ISSUES_MAX || text.ptr == NULL)
        return;
    k->issues[k->n_issues++] = (struct rest_issue){ "error", code, text, sv_from(name) };
}

/* Malformed, contradictory, not there: refused whatever handling is preferred. */
static void fault(struct kick *k, const char *name, const char *code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
static void fault(struct kick *k, const char *name, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_issue(k, code, name, text_of(k, name, fmt, ap));
    va_end(ap);
}

static void push(struct kick *k, struct list *l, sv item, size_t max, const char *name)
{
    if (k->rc != ERR_OK)
        return;
    if (l->n == max) {
        fault(k, name, "too-costly", "takes at most %zu values", max);
        return;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        sv *more = arena_alloc(k->c->a, cap * sizeof *more);
        if (more == NULL) {
            k->rc = arena_oom(k->c->a, k->e);
            return;
        }
        if (l->n)
            memcpy(more, l->items, l->n * sizeof *more);
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = item;
}

/* Understood and not offered: refused, or with handling=lenient passed over and noted. */
static void unsupported(struct kick *k, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void unsupported(struct kick *k, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sv text = text_of(k, name, fmt, ap);
    va_end(ap);
    if (k->lenient && k->notes.n < EXPORT_ISSUES_MAX)
        push(k, &k->notes, text, EXPORT_ISSUES_MAX, name);
    else if (!k->lenient)
        add_issue(k, "not-supported", name, text);
}

static struct job_texts texts_of(const struct list *l)
{
    return (struct job_texts){ l->items, l->n };
}

/* ---- one value each ---- */

static void read_format(struct kick *k, const char *name, sv v)
{
    /* a plus sign that was not encoded has become a space */
    if (!sv_eq(v, SV_LIT("application/fhir+ndjson")) &&
        !sv_eq(v, SV_LIT("application/fhir ndjson")) && !sv_eq(v, SV_LIT("application/ndjson")) &&
        !sv_eq(v, SV_LIT("ndjson")))
        unsupported(k, name,
                    "only NDJSON is written: application/fhir+ndjson, application/ndjson, "
                    "ndjson");
}

static int64_t read_instant(struct kick *k, const char *name, sv v)
{
    int64_t ms = 0;
    char with_plus[64];
    if (v.len > 6 && v.len < sizeof with_plus && v.ptr[v.len - 6] == ' ') {
        /* "+01:00" that was not encoded */
        memcpy(with_plus, v.ptr, v.len);
        with_plus[v.len - 6] = '+';
        v.ptr = with_plus;
    }
    if (!instant_parse(v, &ms))
        fault(k, name, "value", "takes a FHIR instant such as 2026-01-31T08:00:00.000Z");
    /* nothing was written before 1970; 0 would be no bound */
    return ms > 0 ? ms : 1;
}

static void read_since(struct kick *k, const char *name, sv v)
{
    k->p.since_ms = read_instant(k, name, v);
}

static void read_until(struct kick *k, const char *name, sv v)
{
    k->p.until_ms = read_instant(k, name, v);
}

static void read_type(struct kick *k, const char *name, sv v)
{
    fhir_type t = fhir_type_find(v);
    if (t == FHIR_TYPE_NONE) {
        unsupported(k, name, "%s", fhir_type_slip(v, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        return;
    }
    if (!job_export_offers(k->level, t)) {
        unsupported(k, name, "%s is not exported for patients or groups, only with [base]/$export",
                    fhir_type_name(t));
        return;
    }
    for (size_t i = 0; i < k->types.n; i++)
        if (sv_eq(k->types.items[i], v))
            return;
    push(k, &k->types, v, EXPORT_VALUES_MAX, name);
}

static void read_element(struct kick *k, const char *name, sv v)
{
    sv path = v, first, second = SV_NONE;
    /* of a text that is there: always true */
    (void)sv_cut(&path, '.', &first);
    fhir_type t = fhir_type_find(first);
    if (t && sv_cut(&path, '.', &second)) {
        const struct fhir_structure *s = fhir_structure_of(t);
        bool known = fhir_member_find(s, second) != NULL || sv_eq(second, SV_LIT("resourceType"));
        for (size_t i = 0; !known && i < s->n_elements; i++)
            /* value means valueQuantity and its like */
            known = sv_eq(s->elements[i].name, second);
        if (!known) {
            unsupported(k, name, "%s has no root element of that name", fhir_type_name(t));
            return;
        }
    } else if (t) {
        fault(k, name, "value", "an element is written element or Type.element");
        return;
    }
    if (path.ptr || (t == FHIR_TYPE_NONE && sv_find(v, '.') < v.len) || first.len == 0) {
        fault(k, name, "value", "takes root elements only: element or Type.element");
        return;
    }
    push(k, &k->elements, v, EXPORT_VALUES_MAX, name);
}

static void read_patient(struct kick *k, const char *name, sv v)
{
    sv mine = arena_fmt(k->c->a, "%.*s/", SV_FMT(k->c->base));
    if (!k->from_body) {
        if (!k->patients.n && k->n_issues == 0)
            fault(k, name, "invalid", "is taken from the Parameters of a POST only");
        return;
    }
    if (mine.ptr && sv_starts(v, mine))
        v = sv_tail(v, mine.len);
    if (!sv_starts(v, SV_LIT("Patient/")) || !fhir_id_ok(sv_tail(v, 8))) {
        fault(k, name, "value", "a value is no reference to a Patient of this data store");
        return;
    }
    push(k, &k->patients, sv_tail(v, 8), EXPORT_PATIENTS_MAX, name);
}

static void read_associated(struct kick *k, const char *name, sv v)
{
    if (sv_eq(v, SV_LIT("LatestProvenanceResources")))
        k->p.associated |= JOB_ASSOCIATED_LATEST_PROVENANCE;
    else if (sv_eq(v, SV_LIT("RelevantProvenanceResources")))
        k->p.associated |= JOB_ASSOCIATED_RELEVANT_PROVENANCE;
    else
        unsupported(k, name,
                    "takes LatestProvenanceResources and RelevantProvenanceResources only");
}

static void read_organize(struct kick *k, const char *name, sv v)
{
    if (!sv_eq(v, SV_LIT("Patient")))
        unsupported(k, name, "files can be organized by Patient only");
    else
        k->p.organize_by_patient = true;
}

static void read_partial(struct kick *k, const char *name, sv v)
{
    if (!sv_eq(v, SV_LIT("true")) && !sv_eq(v, SV_LIT("false")))
        fault(k, name, "value", "takes true or false");
    k->p.partial_manifests = sv_eq(v, SV_LIT("true"));
}

static uint64_t read_size(struct kick *k, const char *name, sv v)
{
    uint64_t n = 0;
    if (!sv_to_u64(v, &n) || n == 0)
        fault(k, name, "value", "takes a whole number of bytes above 0");
    return n;
}

static void read_min(struct kick *k, const char *name, sv v)
{
    k->p.min_file_bytes = read_size(k, name, v);
}

static void read_max(struct kick *k, const char *name, sv v)
{
    k->p.max_file_bytes = read_size(k, name, v);
}

static void read_label(struct kick *k, struct list *l, const char *name, sv v)
{
    size_t bar = sv_find(v, '|');
    if (bar == 0 || bar == v.len)
        fault(k, name, "value", "takes system|code, or system| for any code of the system");
    else
        push(k, l, v, EXPORT_VALUES_MAX, name);
}

static void read_security(struct kick *k, const char *name, sv v)
{
    read_label(k, &k->security, name, v);
}

static void read_tag(struct kick *k, const char *name, sv v)
{
    read_label(k, &k->tag, name, v);
}

static void read_filter(struct kick *k, const char *name, sv v)
{
    struct err why = { 0 };
    fhir_type t;
    /* whatever handling is preferred: without its filter the export would be wider than was asked
     * for */
    if (rest_export_filter_check(k->c, v, &t, &why) != ERR_OK)
        fault(k, name, "invalid", "%s", why.msg);
    else if (!job_export_offers(k->level, t))
        fault(k, name, "not-supported", "%s is not exported at this level", fhir_type_name(t));
    else
        push(k, &k->filters, v, EXPORT_VALUES_MAX, name);
}

/* ---- the table ---- */

enum how { ONE, LIST, FILTERS };
static const struct row {
    const char *name;
    enum how how;
    void (*read)(struct kick *k, const char *name, sv v);
} rows[] = {
    { "_outputFormat", ONE, read_format },
    { "_since", ONE, read_since },
    { "_until", ONE, read_until },
    { "_type", LIST, read_type },
    { "_typeFilter", FILTERS, read_filter },
    { "_elements", LIST, read_element },
    { "patient", LIST, read_patient },
    { "includeAssociatedData", LIST, read_associated },
    { "organizeOutputBy", ONE, read_organize },
    { "allowPartialManifests", ONE, read_partial },
    { "_minimumFileSize", ONE, read_min },
    { "_maximumFileSize", ONE, read_max },
    { "_security", LIST, read_security },
    { "_tag", LIST, read_tag },
};
#define N_ROWS (sizeof rows / sizeof rows[0])

/* A name that comes from outside, fit to be told. */
static const char *printable(struct kick *k, sv name)
{
    char *s = arena_str(k->c->a, sv_head(name, 64));
    for (char *p = s; p && *p; p++)
        if (*p <= ' ' || *p > '~')
            *p = '?';
    return s ? s : "parameter";
}

static void take(struct kick *k, sv name, sv value)
{
    /* "_type=" and a bare "_type" ask for nothing */
    if (sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")) || value.len == 0)
        return;
    for (size_t i = 0; i < N_ROWS; i++) {
        const struct row *r = &rows[i];
        sv one;
        if (!sv_eq_cstr(name, r->name))
            continue;
        if (r->how == ONE && (k->seen & 1u << i))
            fault(k, r->name, "invalid", "is given more than once");
        k->seen |= 1u << i;
        if (r->how == ONE)
            r->read(k, r->name, value);
        while (r->how == FILTERS && value.ptr)
            r->read(k, r->name, rest_export_filter_next(&value));
        while (r->how == LIST && sv_cut(&value, ',', &one))
            if (sv_trim(one).len)
                r->read(k, r->name, sv_trim(one));
        return;
    }
    unsupported(k, printable(k, name), "is no parameter of $export");
}

/* The text of value[x], whichever it is. */
static sv value_of(yyjson_val *parameter)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(parameter);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        sv name = json_string(key);
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        if (!sv_starts(name, SV_LIT("value")))
            continue;
        if (yyjson_is_bool(v))
            return yyjson_get_bool(v) ? SV_LIT("true") : SV_LIT("false");
        if (yyjson_is_str(v))
            return json_string(v);
        if (sv_eq(name, SV_LIT("valueReference")))
            return json_string(json_get(v, "reference"));
        if (sv_eq(name, SV_LIT("valueCoding")))
            return json_string(json_get(v, "code"));
        return json_number(v);
    }
    return SV_NONE;
}

static void take_body(struct kick *k, yyjson_val *body)
{
    yyjson_val *list = json_get(body, "parameter"), *p;
    if (list && !yyjson_is_arr(list))
        fault(k, "parameter", "structure", "is an array in a Parameters resource");
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((p = yyjson_arr_iter_next(&it)) != NULL && k->rc == ERR_OK) {
        sv name = json_string(json_get(p, "name")), value = value_of(p);
        if (name.len == 0)
            fault(k, "parameter", "structure", "one of them has no name");
        else if (value.len == 0)
            fault(k, printable(k, name), "structure", "has no value that can be read");
        else
            take(k, name, value);
    }
}

/* ---- what belongs together ---- */

static bool type_asked(const struct kick *k, sv type)
{
    for (size_t i = 0; i < k->types.n; i++)
        if (sv_eq(k->types.items[i], type))
            return true;
    return false;
}

static unsigned bit(const char *name)
{
    for (unsigned i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return 1u << i;
    return 0;
}

static void check_together(struct kick *k)
{
    if (k->p.since_ms && k->p.until_ms && k->p.since_ms >= k->p.until_ms)
        fault(k, "_until", "invalid", "is not later than _since");
    if (k->p.min_file_bytes && k->p.max_file_bytes && k->p.min_file_bytes > k->p.max_file_bytes)
        fault(k, "_minimumFileSize", "invalid", "is larger than _maximumFileSize");
    if ((k->seen & bit("_type")) && k->types.n == 0 && k->n_issues == 0)
        fault(k, "_type", "not-supported", "none of its values is exported at this level");
    for (size_t i = 0; (k->seen & bit("_type")) && i < k->filters.n; i++) {
        sv f = k->filters.items[i];
        if (!type_asked(k, sv_head(f, sv_find(f, '?'))))
            fault(k, "_typeFilter", "invalid", "has a filter for a type that _type leaves out");
    }
    if (k->level == JOB_EXPORT_SYSTEM && (k->seen & bit("patient")))
        fault(k, "patient", "invalid", "has no meaning for the whole system; use Patient/$export");
}

/* ---- what must be there ---- */

static int by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

static err_code check_group(struct rest_call *c, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(256u << 20);
    struct store_version v;
    err_code rc = store_get(c->st, fhir_type_find(SV_LIT("Group")), c->id, STORE_NOW, a, &v, e);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && v.method == STORE_METHOD_DELETE))
        return ERR(e, ERR_NOT_FOUND, "There is no Group/%.*s", SV_FMT(c->id));
    return rc;
}

/* Once each, in order. */
static void sort_patients(struct list *l)
{
    size_t n = 0;
    if (l->n == 0)
        return;
    qsort(l->items, l->n, sizeof(sv), by_text);
    for (size_t i = 0; i < l->n; i++)
        if (i == 0 || !sv_eq(l->items[i], l->items[n - 1]))
            l->items[n++] = l->items[i];
    l->n = n;
}

static err_code check_patients(struct kick *k, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(256u << 20);
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    size_t missing = 0;
    sort_patients(&k->patients);
    for (size_t i = 0; i < k->patients.n; i++) {
        struct store_version v;
        arena_reset(a);
        err_code rc = store_get(k->c->st, patient, k->patients.items[i], STORE_NOW, a, &v, e);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND)
            return rc;
        missing += rc == ERR_NOT_FOUND || v.method == STORE_METHOD_DELETE;
    }
    if (missing)
        fault(k, "patient", "not-found", "%zu of the %zu patients named are not in this data store",
              missing, k->patients.n);
    return ERR_OK;
}

/* ---- the whole ---- */

static err_code refuse(struct kick *k, struct err *e)
{
    k->c->issues = (struct rest_issue_list){ k->issues, k->n_issues };
    return ERR(e, ERR_INVALID, "%.*s", SV_FMT(k->issues[0].text));
}

err_code rest_export_params_read(struct rest_call *c, job_export_level level, yyjson_val *body,
                                 struct job_export_params *out, struct err *e)
{
    struct kick k = { .c = c,
                      .level = level,
                      .lenient = rest_prefers(c, "handling=lenient"),
                      .e = e,
                      .p = { .level = level } };
    k.issues = arena_calloc(c->a, EXPORT_ISSUES_MAX, sizeof *k.issues);
    if (k.issues == NULL)
        return arena_oom(c->a, e);
    for (size_t i = 0; i < c->params.n; i++)
        take(&k, c->params.items[i].name, c->params.items[i].value);
    k.from_body = true;
    if (body)
        take_body(&k, body);
    check_together(&k);
    if (k.rc != ERR_OK)
        return k.rc;
    if (k.n_issues)
        return refuse(&k, e);
    if (level == JOB_EXPORT_GROUP)
        TRY(check_group(c, e));
    TRY(check_patients(&k, e));
    if (k.rc != ERR_OK)
        return k.rc;
    if (k.n_issues)
        return refuse(&k, e);
    if (level == JOB_EXPORT_GROUP)
        k.p.group_id = c->id;
    k.p.types = texts_of(&k.types);
    k.p.type_filters = texts_of(&k.filters);
    k.p.elements = texts_of(&k.elements);
    k.p.patients = texts_of(&k.patients);
    k.p.security = texts_of(&k.security);
    k.p.tag = texts_of(&k.tag);
    k.p.notes = texts_of(&k.notes);
    *out = k.p;
    return ERR_OK;
}
