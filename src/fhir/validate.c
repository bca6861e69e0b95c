/* validate.c - one walk over a resource's tree, with the definitions beside it.
 *
 * Each object meets its structure: every member is looked up, its bit is set, its value is walked.
 * Then bits answer what is missing, what stands twice, and what excludes each other. The path is a
 * list through the frames of the stack, so a walk without issues allocates nothing. */
#include "fhir/validate.h"

#include "base/limits.h"
#include "codec/json.h"
#include "fhir/validate_private.h"

#define LOCAL_STEPS 1000000u /* '#' references times contained resources that a run compares */

#define MEMBER_WORDS 4 /* 250 members */
struct seen {
    uint64_t elements;
    uint64_t plain[MEMBER_WORDS], twin[MEMBER_WORDS]; /* a bit a member */
};

static void walk_object(struct run *r, const struct part *at, const struct fhir_structure *s,
                        const struct fhir_member *m, yyjson_val *obj);

/* ---- primitives ---- */

static void walk_primitive(struct run *r, const struct part *at, const struct fhir_member *m,
                           yyjson_val *v)
{
    sv text = SV_NONE;
    bool right;
    switch (fhir_primitive_json(m->primitive)) {
    case FHIR_JSON_STRING:
        right = yyjson_is_str(v);
        text = json_string(v);
        break;
    case FHIR_JSON_NUMBER:
        right = yyjson_is_raw(v);
        text = json_number(v);
        break;
    default:
        right = yyjson_is_bool(v);
    }
    if (!right)
        issue_add(r, at, "structure", "'%.*s' is not a JSON %s", SV_FMT(m->name),
                  (const char *const[]){ "string", "number",
                                         "boolean" }[fhir_primitive_json(m->primitive)]);
    else if (!fhir_primitive_ok(m->primitive, text))
        issue_add(r, at, "value", "'%.*s' is not %s", SV_FMT(m->name),
                  fhir_primitive_form(m->primitive));
    else if (m->element->value_set && m->primitive == FHIR_CODE && r->level >= FHIR_VALIDATE_STRICT)
        rule_code(r, at, m->element->value_set, text);
}

/* The member of obj that is m's twin (`_given` of given), or m itself. */
static yyjson_val *sibling(yyjson_val *obj, const struct fhir_member *m, bool twin)
{
    char name[128];
    int n = snprintf(name, sizeof name, "%s%.*s", twin ? "_" : "", SV_FMT(m->name));
    return yyjson_obj_getn(obj, name, (size_t)n);
}

/* Item by item beside a walk over another array; NULL past the end or when list is no array. */
struct beside {
    yyjson_arr_iter it;
    size_t next;
};

static yyjson_val *beside_at(struct beside *b, size_t i)
{
    yyjson_val *v = NULL;
    while (b->next <= i) {
        v = yyjson_arr_iter_next(&b->it);
        b->next++;
    }
    return v;
}

static void walk_primitives(struct run *r, struct part *at, const struct fhir_member *m,
                            yyjson_val *obj, yyjson_val *list)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;
    struct beside twins = { 0 };
    bool looked = false;
    for (size_t i = 0; !r->stop && (item = yyjson_arr_iter_next(&it)) != NULL; i++) {
        at->index = (int64_t)i;
        if (!yyjson_is_null(item)) {
            walk_primitive(r, at, m, item);
            continue;
        }
        if (!looked)
            twins.it = yyjson_arr_iter_with(sibling(obj, m, true));
        looked = true;
        if (!yyjson_is_obj(beside_at(&twins, i)))
            issue_add(r, at, "structure", "null in '%.*s' without its object in '_%.*s'",
                      SV_FMT(m->name), SV_FMT(m->name));
    }
}

/* ---- twins: id and extensions of a primitive ---- */

/* value: what the primitive itself holds, may be NULL. */
static void walk_twin(struct run *r, const struct part *at, const struct fhir_member *m,
                      yyjson_val *v, yyjson_val *value)
{
    if (!yyjson_is_obj(v)) {
        issue_add(r, at, "structure", "'_%.*s' is not a JSON object", SV_FMT(m->name));
        return;
    }
    walk_object(r, at, fhir_structure_find(SV_LIT("Element")), NULL, v);
    if (r->level >= FHIR_VALIDATE_STRICT && yyjson_obj_size(v) &&
        (value == NULL || yyjson_is_null(value)) && json_get(v, "extension") == NULL)
        issue_add(r, at, "invariant", "ele-1: All FHIR elements must have a @value or children");
}

static void walk_twins(struct run *r, struct part *at, const struct fhir_member *m, yyjson_val *obj,
                       yyjson_val *list)
{
    struct beside values = { .it = yyjson_arr_iter_with(sibling(obj, m, false)) };
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;
    for (size_t i = 0; !r->stop && (item = yyjson_arr_iter_next(&it)) != NULL; i++) {
        yyjson_val *value = beside_at(&values, i);
        at->index = (int64_t)i;
        if (!yyjson_is_null(item))
            walk_twin(r, at, m, item, value);
        else if (value == NULL)
            /* a null on both sides is told from the other */
            issue_add(r, at, "structure", "null in '_%.*s' without its value in '%.*s'",
                      SV_FMT(m->name), SV_FMT(m->name));
    }
}

/* ---- resources ---- */

/* Structure of a resource object; NULL after an issue. */
static const struct fhir_structure *structure_of(struct run *r, const struct part *at,
                                                 yyjson_val *v)
{
    if (!yyjson_is_obj(v)) {
        issue_add(r, at, "structure", "A resource is not a JSON object");
        return NULL;
    }
    yyjson_val *name = json_get(v, "resourceType");
    if (!yyjson_is_str(name)) {
        issue_add_below(r, at, SV_LIT("resourceType"), name ? "structure" : "required",
                        name ? "'resourceType' is not a JSON string" : "'resourceType' is missing");
        return NULL;
    }
    const struct fhir_structure *s = fhir_structure_of(fhir_type_find(json_string(name)));
    if (s == NULL)
        issue_add_below(r, at, SV_LIT("resourceType"), "value",
                        "'resourceType' is not a resource type of FHIR R4");
    return s;
}

/* A resource inside one: contained of a resource, or on its own in a Bundle or Parameters. */
static void walk_resource(struct run *r, const struct part *at, const struct fhir_member *m,
                          yyjson_val *v)
{
    struct scope outer = r->scope;
    bool contained = m->element->owner->kind == FHIR_RESOURCE;
    if (contained && outer.contained) {
        issue_add(r, at, "invariant",
                  "dom-2: If the resource is contained in another resource, it SHALL NOT contain "
                  "nested Resources");
        return;
    }
    const struct fhir_structure *s = structure_of(r, at, v);
    if (s == NULL)
        return;
    if (contained)
        r->scope.contained = true;
    else
        r->scope = (struct scope){ .resource = v };
    walk_object(r, at, s, NULL, v);
    r->scope = outer;
}

/* ---- objects ---- */

static void walk_complex(struct run *r, const struct part *at, const struct fhir_member *m,
                         yyjson_val *v)
{
    if (!yyjson_is_obj(v))
        issue_add(r, at, "structure", "'%.*s' is not a JSON object", SV_FMT(m->name));
    else if (m->type->role == FHIR_ROLE_ANY_RESOURCE)
        walk_resource(r, at, m, v);
    else
        walk_object(r, at, m->type, m, v);
}

static void walk_complexes(struct run *r, struct part *at, const struct fhir_member *m,
                           yyjson_val *list)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;
    for (int64_t i = 0; !r->stop && (item = yyjson_arr_iter_next(&it)) != NULL; i++) {
        at->index = i;
        walk_complex(r, at, m, item);
    }
}

/* Is v an array exactly when it has to be, and not empty? */
static bool array_ok(struct run *r, const struct part *at, const struct fhir_member *m,
                     yyjson_val *v, const char *twin)
{
    if (yyjson_is_arr(v) != m->element->many)
        issue_add(r, at, "structure", "'%s%.*s' is %s array", twin, SV_FMT(m->name),
                  m->element->many ? "not an" : "an");
    else if (m->element->many && yyjson_arr_size(v) == 0)
        issue_add(r, at, "structure", "'%s%.*s' is an empty array", twin, SV_FMT(m->name));
    else
        return true;
    return false;
}

static void walk_member(struct run *r, const struct part *up, const struct fhir_member *m,
                        bool twin, yyjson_val *obj, yyjson_val *v)
{
    struct part at = { up, m->element->name, -1 };
    if (yyjson_is_null(v))
        issue_add(r, &at, "structure", "'%s%.*s' is null", twin ? "_" : "", SV_FMT(m->name));
    else if (!array_ok(r, &at, m, v, twin ? "_" : ""))
        return;
    else if (twin && m->element->many)
        walk_twins(r, &at, m, obj, v);
    else if (twin)
        walk_twin(r, &at, m, v, sibling(obj, m, false));
    else if (m->primitive && m->element->many)
        walk_primitives(r, &at, m, obj, v);
    else if (m->primitive)
        walk_primitive(r, &at, m, v);
    else if (m->element->many)
        walk_complexes(r, &at, m, v);
    else
        walk_complex(r, &at, m, v);
}

/* Note that m was met; false (and an issue) when that must not be. */
static bool note(struct run *r, const struct part *up, struct seen *seen,
                 const struct fhir_member *m, bool twin)
{
    unsigned word = m->index / 64;
    uint64_t bit = 1ull << m->index % 64, element = 1ull << m->element->index;
    uint64_t *mine = twin ? &seen->twin[word] : &seen->plain[word];
    if (*mine & bit) {
        issue_add_below(r, up, m->element->name, "structure", "'%s%.*s' is there twice",
                        twin ? "_" : "", SV_FMT(m->name));
        return false;
    }
    if ((seen->elements & element) && !((seen->plain[word] | seen->twin[word]) & bit)) {
        issue_add_below(r, up, m->element->name, "structure",
                        "'%.*s[x]' is there with more than one type", SV_FMT(m->element->name));
        return false;
    }
    *mine |= bit;
    seen->elements |= element;
    return true;
}

static const struct fhir_member *member_of(const struct fhir_structure *s, sv name, bool *twin)
{
    const struct fhir_member *m = fhir_member_find(s, name);
    *twin = m == NULL && name.len > 1 && name.ptr[0] == '_';
    if (!*twin)
        return m;
    m = fhir_member_find(s, sv_tail(name, 1));
    return m && m->primitive && !m->element->attribute ? m : NULL;
}

static void after_members(struct run *r, const struct part *at, const struct fhir_structure *s,
                          const struct fhir_member *m, yyjson_val *obj, uint64_t seen)
{
    for (uint64_t missing = s->required & ~seen; missing; missing &= missing - 1) {
        sv name = s->elements[__builtin_ctzll(missing)].name;
        issue_add_below(r, at, name, "required", "'%.*s' is missing: %.*s requires it",
                        SV_FMT(name), SV_FMT(s->name));
    }
    if (s->role == FHIR_ROLE_REFERENCE && m)
        rule_reference(r, at, m, obj);
    if (r->level < FHIR_VALIDATE_STRICT) {
        /* ext-1 */
        if (s->role == FHIR_ROLE_EXTENSION)
            rule_elements(r, at, s, seen);
        return;
    }
    if (s->n_rules)
        rule_elements(r, at, s, seen);
    if (m && m->element->value_set)
        rule_concept(r, at, m, obj);
    rule_object(r, at, s, m, obj);
    /* id alone */
    if (seen == 1 && s->kind != FHIR_RESOURCE && s->role != FHIR_ROLE_ELEMENT)
        issue_add(r, at, "invariant", "ele-1: All FHIR elements must have a @value or children");
}

/* m: as which obj was met, NULL for a resource and for a twin. */
static void walk_object(struct run *r, const struct part *at, const struct fhir_structure *s,
                        const struct fhir_member *m, yyjson_val *obj)
{
    if (yyjson_obj_size(obj) == 0) {
        issue_add(r, at, "structure", "An object of type %.*s is empty", SV_FMT(s->name));
        return;
    }
    if (r->depth == LIMIT_RESOURCE_DEPTH) {
        issue_add(r, at, "too-costly", "The resource is nested too deeply");
        return;
    }
    r->depth++;
    struct seen seen = { 0 };
    unsigned types = 0;
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    yyjson_val *key;
    while (!r->stop && (key = yyjson_obj_iter_next(&it)) != NULL) {
        sv name = sv_make(yyjson_get_str(key), yyjson_get_len(key));
        bool twin;
        const struct fhir_member *found = member_of(s, name, &twin);
        if (found) {
            if (note(r, at, &seen, found, twin))
                walk_member(r, at, found, twin, obj, yyjson_obj_iter_get_val(key));
        } else if (s->kind != FHIR_RESOURCE || !sv_eq(name, SV_LIT("resourceType"))) {
            issue_add_unknown(r, at, s, name);
        } else if (++types == 2) {
            issue_add_below(r, at, name, "structure", "'resourceType' is there twice");
        }
    }
    after_members(r, at, s, m, obj, seen.elements);
    r->depth--;
}

bool fhir_validate_level_named(sv name, fhir_validate_level *out)
{
    if (name.len == 0 || sv_eq(name, SV_LIT("strict")))
        *out = FHIR_VALIDATE_STRICT;
    else if (sv_eq(name, SV_LIT("structure-only")))
        *out = FHIR_VALIDATE_STRUCTURE;
    else if (sv_eq(name, SV_LIT("minimal")))
        *out = FHIR_VALIDATE_MINIMAL;
    else
        return false;
    return true;
}

err_code fhir_validate(yyjson_val *resource, fhir_validate_level level, struct arena *a,
                       struct fhir_issues *out, struct err *e)
{
    struct run r = {
        .level = level, .a = a, .scope = { .resource = resource }, .local_steps = LOCAL_STEPS
    };
    struct part root = { NULL, SV_LIT("Resource"), -1 };
    const struct fhir_structure *s = structure_of(&r, &root, resource);
    if (s && level > FHIR_VALIDATE_MINIMAL) {
        root.name = s->name;
        walk_object(&r, &root, s, NULL, resource);
    }
    if (r.out_of_memory)
        return arena_oom(a, e);
    *out = r.issues;
    return ERR_OK;
}
