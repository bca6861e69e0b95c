/* grant.c - scopes become filters: one for each type and letter, made when it is first asked for.
 *
 * A filter is a list of alternatives, and clauses that follow from them for walks:
 *
 *   one alternative     its parts are the clauses
 *   several             one clause, of a part of each; exact when no alternative has a second part
 *   one by context      no clauses: the index knows nothing of it */
#include "query/grant_private.h"

struct query_grant {
    const struct smart_grant *smart;
    struct arena *a;
    struct search_context cx;
    struct search_id patient;      /* type FHIR_TYPE_NONE: there is none */
    struct query_filter **filters; /* by type and letter; NULL: not made yet */
};

static const struct query_filter gives_nothing = { .extent = QUERY_NOTHING };

/* Types that hold no one's data, so a patient's app may read them all. */
static const char *const shared_types[] = {
    "ActivityDefinition",
    "CapabilityStatement",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "DeviceDefinition",
    "Endpoint",
    "EventDefinition",
    "ExampleScenario",
    "GraphDefinition",
    "HealthcareService",
    "ImplementationGuide",
    "Library",
    "Location",
    "Measure",
    "Medication",
    "MedicationKnowledge",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "Organization",
    "OrganizationAffiliation",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "SearchParameter",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Substance",
    "TerminologyCapabilities",
    "ValueSet",
};
/* Types of a patient's data that R4's compartment leaves out, and what leads to the patient. */
static const char *const beside_compartment[][2] = { { "Device", "patient" },
                                                     { "Task", "patient" } };

static bool is(fhir_type type, const char *name)
{
    return strcmp(fhir_type_name(type), name) == 0;
}

static bool is_shared(fhir_type type)
{
    for (size_t i = 0; i < sizeof shared_types / sizeof shared_types[0]; i++)
        if (is(type, shared_types[i]))
            return true;
    return false;
}

err_code query_grant_new(const struct smart_grant *smart, const struct search_context *cx,
                         struct arena *a, struct query_grant **out, struct err *e)
{
    struct query_grant *grant = ARENA_NEW(a, struct query_grant);
    size_t n = ((size_t)fhir_n_types() + 1) * SMART_N_LETTERS;
    if (grant == NULL ||
        (grant->filters = arena_calloc(a, n, sizeof(struct query_filter *))) == NULL)
        return arena_oom(a, e);
    grant->smart = smart;
    grant->a = a;
    grant->cx = (struct search_context){ cx->base, cx->now_ms, false, NULL };
    if (fhir_id_ok(smart->patient))
        grant->patient = (struct search_id){ fhir_type_find(SV_LIT("Patient")), smart->patient };
    *out = grant;
    return ERR_OK;
}

const struct search_context *query_grant_context(const struct query_grant *grant)
{
    return &grant->cx;
}

sv query_grant_patient(const struct query_grant *grant)
{
    return grant->patient.id;
}

/* ---- one scope ---- */

/* The next free clause of an alternative, with n criteria. NULL: the arena is full. */
static struct query_clause *part(struct query_grant *grant, struct query_alternative *to, size_t n)
{
    struct query_clause *clause = &to->all[to->n];
    clause->any = arena_calloc(grant->a, n, sizeof *clause->any);
    if (clause->any == NULL)
        return NULL;
    clause->n = n;
    to->n++;
    return clause;
}

static bool leads_to_patient(struct query_grant *grant, struct query_alternative *to,
                             const struct search_param *const *params, size_t n)
{
    struct query_clause *clause = part(grant, to, n);
    if (clause == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        clause->any[i] = (struct search_criterion){
            .param = params ? params[i] : NULL, .is_set = true, .set = &grant->patient, .n_set = 1
        };
    return true;
}

/* What makes a resource one of the patient's record. False: nothing does, under this letter. */
static bool of_patient(struct query_grant *grant, fhir_type type, unsigned letter,
                       struct query_alternative *to)
{
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    if (grant->patient.type == FHIR_TYPE_NONE)
        return false;
    /* The compartment has those whom Patient.link names, too. They are others. */
    if (type == grant->patient.type)
        return leads_to_patient(grant, to, NULL, 1);
    size_t n = search_compartment(grant->patient.type, type, params);
    const struct search_param *own = search_param_find(type, SV_LIT("patient"));
    /* Whoever performed, wrote or paid something is not whom it is about. */
    if (n && own && (letter & (SMART_C | SMART_U | SMART_D))) {
        params[0] = own;
        n = 1;
    }
    if (n)
        return leads_to_patient(grant, to, params, n);
    for (size_t i = 0; i < sizeof beside_compartment / sizeof beside_compartment[0]; i++)
        if (is(type, beside_compartment[i][0])) {
            params[0] = search_param_find(type, sv_from(beside_compartment[i][1]));
            return params[0] && leads_to_patient(grant, to, params, 1);
        }
    to->by_context = is(type, "Binary");
    return to->by_context || (is_shared(type) && (letter & (SMART_R | SMART_S)));
}

/* The scope as an alternative. False: it gives nothing of the type under the letter. */
static bool take_scope(struct query_grant *grant, const struct smart_scope *scope, fhir_type type,
                       unsigned letter, struct query_alternative *out)
{
    struct query_alternative to = { 0 };
    if (!(scope->letters & letter) ||
        (scope->type.len && !sv_eq_cstr(scope->type, fhir_type_name(type))))
        return false;
    to.all = arena_calloc(grant->a, scope->n_pairs + 1, sizeof *to.all);
    if (to.all == NULL || (scope->level == SMART_PATIENT && !of_patient(grant, type, letter, &to)))
        return false;
    for (size_t i = 0; i < scope->n_pairs; i++) {
        struct query_clause *clause = part(grant, &to, 1);
        struct err ignored;
        if (clause == NULL ||
            search_parse(&grant->cx, type, scope->pairs[i].name, scope->pairs[i].value, grant->a,
                         clause->any, &ignored) != ERR_OK)
            return false;
    }
    *out = to;
    return true;
}

/* ---- all scopes ---- */

/* Clauses for walks, from the alternatives. False: the arena is full. */
static bool add_clauses(struct query_grant *grant, struct query_filter *filter)
{
    size_t n = 0;
    filter->exact = true;
    for (size_t i = 0; i < filter->n_any; i++) {
        filter->exact = filter->exact && !filter->any[i].by_context &&
                        (filter->n_any == 1 || filter->any[i].n == 1);
        n += filter->any[i].n ? filter->any[i].all[0].n : 0;
        /* Nothing of it can be asked of the index. */
        if (filter->any[i].n == 0)
            return true;
    }
    if (filter->n_any == 1) {
        filter->clauses = filter->any[0].all;
        filter->n_clauses = filter->any[0].n;
        return true;
    }
    filter->clauses = arena_calloc(grant->a, 1, sizeof *filter->clauses);
    struct search_criterion *any = arena_calloc(grant->a, n, sizeof *any);
    if (filter->clauses == NULL || any == NULL)
        return false;
    filter->clauses[0] = (struct query_clause){ .any = any };
    for (size_t i = 0; i < filter->n_any; i++)
        for (size_t k = 0; k < filter->any[i].all[0].n; k++)
            any[filter->clauses[0].n++] = filter->any[i].all[0].any[k];
    filter->n_clauses = 1;
    return true;
}

static bool fill(struct query_grant *grant, fhir_type type, unsigned letter,
                 struct query_filter *filter)
{
    const struct smart_grant *smart = grant->smart;
    bool whole_record = false; /* a scope gives all that the patient's record has of the type */
    filter->any = arena_calloc(grant->a, smart->n_scopes + 1, sizeof *filter->any);
    if (filter->any == NULL)
        return false;
    /* First those without a query: they may make others needless. */
    for (unsigned with_query = 0; with_query < 2; with_query++)
        for (size_t i = 0; i < smart->n_scopes && i < SMART_SCOPES_MAX; i++) {
            const struct smart_scope *scope = &smart->scopes[i];
            bool of_record = scope->level == SMART_PATIENT;
            if ((scope->n_pairs > 0) != with_query || (of_record && whole_record) ||
                !take_scope(grant, scope, type, letter, &filter->any[filter->n_any]))
                continue;
            const struct query_alternative *taken = &filter->any[filter->n_any++];
            filter->of[i / 64] |= (uint64_t)1 << i % 64;
            if (taken->n == 0 && !taken->by_context) {
                filter->extent = QUERY_ALL;
                return true;
            }
            whole_record |= of_record && !with_query;
        }
    filter->extent = filter->n_any ? QUERY_SOME : QUERY_NOTHING;
    return filter->n_any == 0 || add_clauses(grant, filter);
}

const struct query_filter *query_grant_filter(struct query_grant *grant, fhir_type type,
                                              unsigned letter)
{
    unsigned k = 0;
    while (letter >> (k + 1))
        k++;
    struct query_filter **at = &grant->filters[type * SMART_N_LETTERS + k];
    if (*at)
        return *at;
    struct query_filter *made = ARENA_NEW(grant->a, struct query_filter);
    /* A grant that is too large for its memory gives less, never more. */
    if (made == NULL)
        return &gives_nothing;
    if (!fill(grant, type, letter, made))
        *made = gives_nothing;
    *at = made;
    return made;
}

static enum query_extent extent_of(struct query_grant *grant, fhir_type type, unsigned letters)
{
    enum query_extent least = QUERY_ALL;
    for (unsigned k = 0; k < SMART_N_LETTERS; k++) {
        if (!(letters & 1u << k))
            continue;
        enum query_extent one = query_grant_filter(grant, type, 1u << k)->extent;
        least = one < least ? one : least;
    }
    return least;
}

enum query_extent query_grant_extent(struct query_grant *grant, fhir_type type, unsigned letters)
{
    bool any = false, all = true;
    if (grant == NULL)
        return QUERY_ALL;
    if (type)
        return extent_of(grant, type, letters);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        enum query_extent one = extent_of(grant, (fhir_type)t, letters);
        any |= one != QUERY_NOTHING;
        all &= one == QUERY_ALL;
    }
    return all ? QUERY_ALL : any ? QUERY_SOME : QUERY_NOTHING;
}
