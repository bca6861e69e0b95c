/* params.c - the table of search parameters, and their paths as steps.
 *
 * A script makes the table from the official definitions (tools/gen_search_params.py, whose head
 * explains the text of a path). Paths are compiled once, at the first use, and live as long as the
 * process. Lookups go by type and code. */
#include "search/search_private.h"

#include <pthread.h>

struct row {
    uint16_t number;
    const char *type, *code;
    search_kind kind;
    const char *targets, *paths, *definition;
};
#define NUMBER    SEARCH_NUMBER
#define DATE      SEARCH_DATE
#define STRING    SEARCH_STRING
#define TOKEN     SEARCH_TOKEN
#define REFERENCE SEARCH_REFERENCE
#define COMPOSITE SEARCH_COMPOSITE
#define QUANTITY  SEARCH_QUANTITY
#define URI       SEARCH_URI
#define SPECIAL   SEARCH_SPECIAL
#define PARAM(number, type, code, kind, targets, paths, definition) \
    { number, type, code, kind, targets, paths, definition },
static const struct row rows[] = {
#include "search/params.inc"
};
#undef PARAM
#define N_ROWS (sizeof rows / sizeof rows[0])

#define COMPARTMENT(owner, member, params) { owner, member, params },
static const struct {
    const char *owner, *member, *params;
} compartments[] = {
#include "search/compartments.inc"
};
#undef COMPARTMENT
#define N_COMPARTMENTS (sizeof compartments / sizeof compartments[0])

struct compartment { /* of one type within one kind of compartment */
    size_t n;
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
};

static struct {
    struct arena *arena; /* lives as long as the process */
    struct search_param *params;
    const struct search_param ***of; /* by type, sorted by code */
    size_t *n_of;
    struct compartment **compartments; /* by owner and member; NULL: no compartment is called so */
    pthread_once_t once;
} table = { .once = PTHREAD_ONCE_INIT };

const char *search_kind_name(search_kind k)
{
    static const char *const names[SEARCH_N_KINDS] = { "number",   "date",      "string",
                                                       "token",    "reference", "composite",
                                                       "quantity", "uri",       "special" };
    return (unsigned)k < SEARCH_N_KINDS ? names[k] : "";
}

static void *need(void *p)
{
    /* the table is constant: it fits or it never did */
    if (p == NULL)
        abort();
    return p;
}

static size_t count(sv text, char c)
{
    size_t n = 1;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == c;
    return n;
}

/* ---- compiling ---- */

/* "telecom[system=phone]" */
static void compile_step(sv text, struct search_step *out)
{
    size_t open = sv_find(text, '[');
    out->name = sv_head(text, open);
    if (open == text.len)
        return;
    sv in = sv_make(text.ptr + open + 1, text.len - open - 2), member;
    if (sv_eq(in, SV_LIT("0"))) {
        out->pick = STEP_FIRST;
        return;
    }
    /* the generator writes one */
    (void)sv_cut(&in, '=', &member);
    out->pick = sv_eq(member, SV_LIT("has")) ? STEP_HAS : STEP_WITH;
    out->with = member;
    out->value = in;
}

/* Dots inside brackets are part of a URL. */
static bool cut_step(sv *rest, sv *out)
{
    size_t depth = 0, i = 0;
    if (rest->len == 0)
        return false;
    for (; i < rest->len && (depth || rest->ptr[i] != '.'); i++)
        depth += (rest->ptr[i] == '[') - (size_t)(rest->ptr[i] == ']');
    *out = sv_head(*rest, i);
    *rest = sv_tail(*rest, i + 1);
    return true;
}

static void compile_path(sv text, struct search_path *out)
{
    size_t gt = sv_find(text, '>');
    if (gt < text.len) {
        out->only = fhir_type_find(sv_tail(text, gt + 1));
        text = sv_head(text, gt);
    }
    /* the last one: URLs hold some */
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':' && text.ptr[colon - 1] != ']')
        colon--;
    if (colon > 0 && text.ptr[colon - 1] == ':') {
        out->datatype = sv_tail(text, colon);
        text = sv_head(text, colon - 1);
    }
    if (text.len && text.ptr[0] == '^') {
        out->from_root = true;
        text = sv_tail(text, 1);
    }
    if (sv_eq(text, SV_LIT("$this")))
        text = SV_LIT("");
    out->steps = need(arena_calloc(table.arena, count(text, '.') + 1, sizeof *out->steps));
    sv step;
    while (cut_step(&text, &step))
        compile_step(step, &out->steps[out->n_steps++]);
    out->first = out->n_steps ? name_bit(out->steps[0].name) : UINT64_MAX;
    sv last = out->n_steps ? out->steps[out->n_steps - 1].name : SV_NONE;
    if (sv_eq(out->datatype, SV_LIT("string")) &&
        (sv_eq(last, SV_LIT("family")) || sv_eq(last, SV_LIT("given"))))
        out->datatype = SV_LIT(NAME_PART);
}

static void compile_paths(sv text, char sep, struct search_path **out, size_t *n)
{
    *out = need(arena_calloc(table.arena, count(text, sep), sizeof **out));
    sv one;
    while (sv_cut(&text, sep, &one))
        if (one.len)
            compile_path(one, &(*out)[(*n)++]);
}

/* "base,base ; TOKEN code:CodeableConcept ; QUANTITY valueQuantity:Quantity" */
static void compile_composite(sv text, struct search_param *param)
{
    static const struct {
        const char *name;
        search_kind kind;
    } kinds[] = { { "TOKEN", SEARCH_TOKEN },   { "QUANTITY", SEARCH_QUANTITY },
                  { "NUMBER", SEARCH_NUMBER }, { "STRING", SEARCH_STRING },
                  { "DATE", SEARCH_DATE },     { "REFERENCE", SEARCH_REFERENCE },
                  { "URI", SEARCH_URI } };
    sv part, kind;
    param->parts = need(arena_calloc(table.arena, count(text, ';'), sizeof *param->parts));
    /* the generator writes one */
    (void)sv_cut(&text, ';', &part);
    compile_paths(sv_trim(part), ',', &param->paths, &param->n_paths);
    while (sv_cut(&text, ';', &part)) {
        struct search_part *out = &param->parts[param->n_parts++];
        part = sv_trim(part);
        /* the generator writes one */
        (void)sv_cut(&part, ' ', &kind);
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (sv_eq_cstr(kind, kinds[i].name))
                out->kind = kinds[i].kind;
        compile_paths(part, '|', &out->paths, &out->n_paths);
    }
    /* DocumentReference.relationship names its two components in the wrong order (FHIR R4): what
     * stands in the elements decides. */
    for (size_t i = 0; i < param->n_parts; i++)
        if (param->parts[i].n_paths && sv_eq(param->parts[i].paths[0].datatype, SV_LIT("code")))
            param->parts[i].kind = SEARCH_TOKEN;
        else if (param->parts[i].n_paths && param->parts[i].kind == SEARCH_TOKEN &&
                 param->parts[i].n_paths == 1 &&
                 sv_eq(param->parts[i].paths[0].datatype, SV_LIT("Reference")))
            param->parts[i].kind = SEARCH_REFERENCE;
}

static int by_code(const void *a, const void *b)
{
    const struct search_param *const *param = a, *const *y = b;
    return sv_cmp((*param)->code, (*y)->code);
}

static void build(void)
{
    unsigned n_types = fhir_n_types();
    table.arena = arena_new(64u << 20);
    table.params = need(arena_calloc(table.arena, N_ROWS, sizeof *table.params));
    table.of = need(arena_calloc(table.arena, n_types + 1, sizeof *table.of));
    table.n_of = need(arena_calloc(table.arena, n_types + 1, sizeof *table.n_of));
    for (size_t i = 0; i < N_ROWS; i++) {
        struct search_param *param = &table.params[i];
        param->number = rows[i].number;
        param->kind = rows[i].kind;
        param->type = sv_from(rows[i].type);
        param->code = sv_from(rows[i].code);
        param->targets = sv_from(rows[i].targets);
        param->definition = sv_from(rows[i].definition);
        if (param->kind == SEARCH_COMPOSITE)
            compile_composite(sv_from(rows[i].paths), param);
        else
            compile_paths(sv_from(rows[i].paths), '|', &param->paths, &param->n_paths);
        /* none for "*": counted at 0 */
        fhir_type t = fhir_type_find(param->type);
        table.n_of[t]++;
    }
    for (unsigned t = 0; t <= n_types; t++) {
        size_t n = 0;
        table.of[t] =
            need(arena_calloc(table.arena, table.n_of[t] + table.n_of[0], sizeof **table.of));
        for (size_t i = 0; i < N_ROWS; i++) {
            fhir_type of = fhir_type_find(table.params[i].type);
            if (of == t || of == FHIR_TYPE_NONE)
                table.of[t][n++] = &table.params[i];
        }
        qsort(table.of[t], n, sizeof *table.of[t], by_code);
    }
    for (unsigned t = 1; t <= n_types; t++)
        table.n_of[t] += table.n_of[0];
}

static const struct search_param *find(fhir_type type, sv code)
{
    size_t lo = 0, hi = table.n_of[type];
    const struct search_param **param = table.of[type];
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = sv_cmp(param[mid]->code, code);
        if (c == 0)
            return param[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void add_to_compartment(struct compartment *c, fhir_type member, sv codes)
{
    sv code;
    while (sv_cut(&codes, ',', &code) && c->n < SEARCH_COMPARTMENT_MAX) {
        const struct search_param *param = find(member, code);
        if (param && param->kind == SEARCH_REFERENCE)
            c->params[c->n++] = param;
    }
}

static void build_compartments(void)
{
    size_t n_types = fhir_n_types();
    table.compartments = need(arena_calloc(table.arena, n_types + 1, sizeof(struct compartment *)));
    for (size_t i = 0; i < N_COMPARTMENTS; i++) {
        fhir_type owner = fhir_type_find(sv_from(compartments[i].owner));
        fhir_type member = fhir_type_find(sv_from(compartments[i].member));
        struct compartment **of = &table.compartments[owner];
        if (*of == NULL)
            *of = need(arena_calloc(table.arena, n_types + 1, sizeof **of));
        add_to_compartment(&(*of)[member], member, sv_from(compartments[i].params));
    }
}

static void build_all(void)
{
    build();
    build_compartments();
}

static void ready(void)
{
    pthread_once(&table.once, build_all);
}

const struct search_param *const *search_params_of(fhir_type type, size_t *n)
{
    ready();
    *n = table.n_of[type];
    return (const struct search_param *const *)table.of[type];
}

const struct search_param *search_param_find(fhir_type type, sv code)
{
    ready();
    return find(type, code);
}

bool search_is_canonical(const struct search_param *param)
{
    for (size_t i = 0; i < param->n_paths; i++)
        if (sv_eq(param->paths[i].datatype, SV_LIT("canonical")))
            return true;
    return false;
}

bool search_param_targets(const struct search_param *param, fhir_type type)
{
    sv rest = param->targets, one;
    if (sv_eq(rest, SV_LIT("*")))
        return true;
    while (sv_cut(&rest, ',', &one))
        if (sv_eq_cstr(one, fhir_type_name(type)))
            return true;
    return false;
}

/* ---- compartments ---- */

bool search_is_compartment(fhir_type owner)
{
    ready();
    return table.compartments[owner] != NULL;
}

size_t search_compartment(fhir_type owner, fhir_type member,
                          const struct search_param *out[SEARCH_COMPARTMENT_MAX])
{
    ready();
    if (table.compartments[owner] == NULL)
        return 0;
    const struct compartment *c = &table.compartments[owner][member];
    memcpy(out, c->params, c->n * sizeof c->params[0]);
    return c->n;
}
