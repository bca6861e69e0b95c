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

static void walk_object(struct run *r, const struct part *at,
                        const struct fhir_structure *structure, const struct fhir_member *member,
                        yyjson_val *obj);

/* ---- primitives ---- */

static void walk_primitive(struct run *r, const struct part *at, const struct fhir_member *member,
                           yyjson_val *v)
{
    sv text = SV_NONE;
    bool right;
    switch (fhir_primitive_json(member->primitive)) {
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
        issue_add(r, at, "structure", "'%.*s' is not a JSON %s", SV_FMT(member->name),
                  (const char *const[]){ "string", "number",
                                         "boolean" }[fhir_primitive_json(member->primitive)]);
    else if (!fhir_primitive_ok(member->primitive, text))
        issue_add(r, at, "value", "'%.*s' is not %s", SV_FMT(member->name),
                  fhir_primitive_form(member->primitive));
    else if (member->element->value_set && member->primitive == FHIR_CODE &&
             r->level >= FHIR_VALIDATE_STRICT)
        rule_code(r, at, member->element->value_set, text);
}

/* The member of obj that is member's twin (`_given` of given), or member itself. */
static yyjson_val *sibling(yyjson_val *obj, const struct fhir_member *member, bool twin)
{
    char name[128];
    int n = snprintf(name, sizeof name, "%s%.*s", twin ? "_" : "", SV_FMT(member->name));
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

static void walk_primitives(struct run *r, struct part *at, const struct fhir_member *member,
                            yyjson_val *obj, yyjson_val *list)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;
    struct beside twins = { 0 };
    bool looked = false;
    for (size_t i = 0; !r->stop && (item = yyjson_arr_iter_next(&it)) != NULL; i++) {
        at->index = (int64_t)i;
        if (!yyjson_is_null(item)) {
            walk_primitive(r, at, member, item);
            continue;
        }
        if (!looked)
            twins.it = yyjson_arr_iter_with(sibling(obj, member, true));
        looked = true;
        if (!yyjson_is_obj(beside_at(&twins, i)))
            issue_add(r, at, "structure", "null in '%.*s' without its object in '_%.*s'",
                      SV_FMT(member->name), SV_FMT(member->name));
    }
}

/* ---- twins: id and extensions of a primitive ---- */

/* value: what the primitive itself holds, may be NULL. */
static void walk_twin(struct run *r, const struct part *at, const struct fhir_member *member,
                      yyjson_val *v, yyjson_val *value)
{
    if (!yyjson_is_obj(v)) {
        issue_add(r, at, "structure", "'_%.*s' is not a JSON object", SV_FMT(member->name));
        return;
    }
    walk_object(r, at, fhir_structure_find(SV_LIT("Element")), NULL, v);
    if (r->level >= FHIR_VALIDATE_STRICT && yyjson_obj_size(v) &&
        (value == NULL || yyjson_is_null(value)) && json_get(v, "extension") == NULL)
        issue_add(r, at, "invariant", "ele-1: All FHIR elements must have a @value or children");
}

static void walk_twins(struct run *r, struct part *at, const struct fhir_member *member,
                       yyjson_val *obj, yyjson_val *list)
{
    struct beside values = { .it = yyjson_arr_iter_with(sibling(obj, member, false)) };
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;
    for (size_t i = 0; !r->stop && (item = yyjson_arr_iter_next(&it)) != NULL; i++) {
        yyjson_val *value = beside_at(&values, i);
        at->index = (int64_t)i;
        if (!yyjson_is_null(item))
            walk_twin(r, at, member, item, value);
        else if (value == NULL)
            /* a null on both sides is told from the other */
            issue_add(r, at, "structure", "null in '_%.*s' without its value in '%.*s'",
                      SV_FMT(member->name), SV_FMT(member->name));
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
    const struct fhir_structure *structure = fhir_structure_of(fhir_type_find(json_string(name)));
    if (structure == NULL)
        issue_add_below(r, at, SV_LIT("resourceType"), "value",
                        "'resourceType' is not a resource type of FHIR R4");
    return structure;
}

/* A resource inside one: contained of a resource, or on its own in a Bundle or Parameters. */
static void walk_resource(struct run *r, const struct part *at, const struct fhir_member *member,
                          yyjson_val *v)
{
    struct scope outer = r->scope;
    bool contained = member->element->owner->kind == FHIR_RESOURCE;
    if (contained && outer.contained) {
        issue_add(r, at, "invariant",
                  "dom-2: If the resource is contained in another resource, it SHALL NOT contain "
                  "nested Resources");
        return;
    }
    const struct fhir_structure *structure = structure_of(r, at, v);
    if (structure == NULL)
        return;
    if (contained)
        r->scope.contained = true;
    else
        r->scope = (struct scope){ .resource = v };
    walk_object(r, at, structure, NULL, v);
    r->scope = outer;
}

/* ---- objects ---- */

static void walk_complex(struct run *r, const struct part *at, const struct fhir_member *member,
                         yyjson_val *v)
{
    if (!yyjson_is_obj(v))
        issue_add(r, at, "structure", "'%.*s' is not a JSON object", SV_FMT(member->name));
    else if (member->type->role == FHIR_ROLE_ANY_RESOURCE)
        walk_resource(r, at, member, v);
    else
        walk_object(r, at, member->type, member, v);
}

static void walk_complexes(struct run *r, struct part *at, const struct fhir_member *member,
                           yyjson_val *list)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;
    for (int64_t i = 0; !r->stop && (item = yyjson_arr_iter_next(&it)) != NULL; i++) {
        at->index = i;
        walk_complex(r, at, member, item);
    }
}

/* Is v an array exactly when it has to be, and not empty? */
static bool array_ok(struct run *r, const struct part *at, const struct fhir_member *member,
                     yyjson_val *v, const char *twin)
{
    if (yyjson_is_arr(v) != member->element->many)
        issue_add(r, at, "structure", "'%s%.*s' is %s array", twin, SV_FMT(member->name),
                  member->element->many ? "not an" : "an");
    else if (member->element->many && yyjson_arr_size(v) == 0)
        issue_add(r, at, "structure", "'%s%.*s' is an empty array", twin, SV_FMT(member->name));
    else
        return true;
    return false;
}

static void walk_member(struct run *r, const struct part *up, const struct fhir_member *member,
                        bool twin, yyjson_val *obj, yyjson_val *v)
{
    struct part at = { up, member->element->name, -1 };
    if (yyjson_is_null(v))
        issue_add(r, &at, "structure", "'%s%.*s' is null", twin ? "_" : "", SV_FMT(member->name));
    else if (!array_ok(r, &at, member, v, twin ? "_" : ""))
        return;
    else if (twin && member->element->many)
        walk_twins(r, &at, member, obj, v);
    else if (twin)
        walk_twin(r, &at, member, v, sibling(obj, member, false));
    else if (member->primitive && member->element->many)
        walk_primitives(r, &at, member, obj, v);
    else if (member->primitive)
        walk_primitive(r, &at, member, v);
    else if (member->element->many)
        walk_complexes(r, &at, member, v);
    else
        walk_complex(r, &at, member, v);
}

/* Note that member was met; false (and an issue) when that must not be. */
static bool note(struct run *r, const struct part *up, struct seen *seen,
                 const struct fhir_member *member, bool twin)
{
    unsigned word = member->index / 64;
    uint64_t bit = 1ull << member->index % 64, element = 1ull << member->element->index;
    uint64_t *mine = twin ? &seen->twin[word] : &seen->plain[word];
    if (*mine & bit) {
        issue_add_below(r, up, member->element->name, "structure", "'%s%.*s' is there twice",
                        twin ? "_" : "", SV_FMT(member->name));
        return false;
    }
    if ((seen->elements & element) && !((seen->plain[word] | seen->twin[word]) & bit)) {
        issue_add_below(r, up, member->element->name, "structure",
                        "'%.*s[x]' is there with more than one type",
                        SV_FMT(member->element->name));
        return false;
    }
    *mine |= bit;
    seen->elements |= element;
    return true;
}

static const struct fhir_member *member_of(const struct fhir_structure *structure, sv name,
                                           bool *twin)
{
    const struct fhir_member *member = fhir_member_find(structure, name);
    *twin = member == NULL && name.len > 1 && name.ptr[0] == '_';
    if (!*twin)
        return member;
    member = fhir_member_find(structure, sv_tail(name, 1));
    return member && member->primitive && !member->element->attribute ? member : NULL;
}

static void after_members(struct run *r, const struct part *at,
                          const struct fhir_structure *structure, const struct fhir_member *member,
                          yyjson_val *obj, uint64_t seen)
{
    for (uint64_t missing = structure->required & ~seen; missing; missing &= missing - 1) {
        sv name = structure->elements[__builtin_ctzll(missing)].name;
        issue_add_below(r, at, name, "required", "'%.*s' is missing: %.*s requires it",
                        SV_FMT(name), SV_FMT(structure->name));
    }
    if (structure->role == FHIR_ROLE_REFERENCE && member)
        rule_reference(r, at, member, obj);
    if (r->level < FHIR_VALIDATE_STRICT) {
        /* ext-1 */
        if (structure->role == FHIR_ROLE_EXTENSION)
            rule_elements(r, at, structure, seen);
        return;
    }
    if (structure->n_rules)
        rule_elements(r, at, structure, seen);
    if (member && member->element->value_set)
        rule_concept(r, at, member, obj);
    rule_object(r, at, structure, member, obj);
    /* id alone */
    if (seen == 1 && structure->kind != FHIR_RESOURCE && structure->role != FHIR_ROLE_ELEMENT)
        issue_add(r, at, "invariant", "ele-1: All FHIR elements must have a @value or children");
}

/* member: as which obj was met, NULL for a resource and for a twin. */
static void walk_object(struct run *r, const struct part *at,
                        const struct fhir_structure *structure, const struct fhir_member *member,
                        yyjson_val *obj)
{
    if (yyjson_obj_size(obj) == 0) {
        issue_add(r, at, "structure", "An object of type %.*s is empty", SV_FMT(structure->name));
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
        const struct fhir_member *found = member_of(structure, name, &twin);
        if (found) {
            if (note(r, at, &seen, found, twin))
                walk_member(r, at, found, twin, obj, yyjson_obj_iter_get_val(key));
        } else if (structure->kind != FHIR_RESOURCE || !sv_eq(name, SV_LIT("resourceType"))) {
            issue_add_unknown(r, at, structure, name);
        } else if (++types == 2) {
            issue_add_below(r, at, name, "structure", "'resourceType' is there twice");
        }
    }
    after_members(r, at, structure, member, obj, seen.elements);
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
    const struct fhir_structure *structure = structure_of(&r, &root, resource);
    if (structure && level > FHIR_VALIDATE_MINIMAL) {
        root.name = structure->name;
        walk_object(&r, &root, structure, NULL, resource);
    }
    if (r.out_of_memory)
        return arena_oom(a, e);
    *out = r.issues;
    return ERR_OK;
}
