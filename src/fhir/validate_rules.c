/* validate_rules.c - what is asked of values beyond their form: codes of required bindings, targets
 * of references, constraints. */
#include "codec/instant.h"
#include "codec/json.h"
#include "fhir/validate_private.h"

#define PART(at, name) (&(struct part){ (at), SV_LIT(name), -1 })

/* ---- codes ---- */

/* Of the value sets that are not listed, only the shape of a currency can be asked for. */
static bool currency_ok(const struct fhir_value_set *value_set, sv code)
{
    if (strcmp(fhir_value_set_url(value_set), "http://hl7.org/fhir/ValueSet/currencies") != 0)
        return true;
    bool ok = code.len == 3;
    for (size_t i = 0; ok && i < 3; i++)
        ok = code.ptr[i] >= 'A' && code.ptr[i] <= 'Z';
    return ok;
}

void rule_code(struct run *r, const struct part *at, const struct fhir_value_set *value_set,
               sv code)
{
    if (fhir_value_set_listed(value_set) ? !fhir_value_set_has(value_set, SV_NONE, code)
                                         : !currency_ok(value_set, code))
        issue_add(r, at, "code-invalid", "The code is not in the required value set %s",
                  fhir_value_set_url(value_set));
}

static bool coding_ok(const struct fhir_value_set *value_set, yyjson_val *coding)
{
    sv system = json_string(json_get(coding, "system"));
    return system.ptr &&
           fhir_value_set_has(value_set, system, json_string(json_get(coding, "code")));
}

void rule_concept(struct run *r, const struct part *at, const struct fhir_member *member,
                  yyjson_val *obj)
{
    const struct fhir_value_set *value_set = member->element->value_set;
    if (!fhir_value_set_listed(value_set))
        return;
    bool ok = member->type->role == FHIR_ROLE_CODING ? coding_ok(value_set, obj) : false;
    yyjson_val *list = json_get(obj, "coding"), *coding;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while (!ok && (coding = yyjson_arr_iter_next(&it)) != NULL)
        ok = coding_ok(value_set, coding);
    /* nothing but extensions: they say why there is no code */
    if (!ok && list == NULL && json_get(obj, "text") == NULL && json_get(obj, "code") == NULL &&
        json_get(obj, "extension"))
        ok = true;
    if (!ok)
        issue_add(r, at, "code-invalid", "No code is from the required value set %s",
                  fhir_value_set_url(value_set));
}

/* ---- references ---- */

static bool letters(sv name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((name.ptr[i] | 32) < 'a' || (name.ptr[i] | 32) > 'z')
            return false;
    return name.len != 0;
}

/* The part of text behind its last '/', which is cut off with the '/'. */
static sv last_segment(sv *text)
{
    size_t i = text->len;
    while (i && text->ptr[i - 1] != '/')
        i--;
    sv segment = sv_tail(*text, i);
    text->len = i ? i - 1 : 0;
    return segment;
}

static size_t find_text(sv text, sv what)
{
    for (size_t i = 0; i + what.len <= text.len; i++)
        if (memcmp(text.ptr + i, what.ptr, what.len) == 0)
            return i;
    return text.len;
}

/* "Patient/1", "Patient/1/_history/2", "Patient?identifier=x", "http://host/base/Patient/1": the
 * type that the text names. FHIR_TYPE_NONE when it names none: a URN, a fragment, an address of
 * another kind. *unknown: a relative reference whose type does not exist. */
static fhir_type target_type(sv ref, bool *unknown)
{
    *unknown = false;
    if (ref.len == 0 || ref.ptr[0] == '#')
        return FHIR_TYPE_NONE;
    bool absolute = find_text(ref, SV_LIT("://")) < ref.len;
    ref = sv_head(ref, sv_find(ref, '#'));
    if (sv_find(ref, '?') < ref.len)
        return absolute ? FHIR_TYPE_NONE : fhir_type_find(sv_head(ref, sv_find(ref, '?')));
    ref = sv_head(ref, find_text(ref, SV_LIT("/_history/")));
    sv id = last_segment(&ref), name = last_segment(&ref);
    fhir_type type = fhir_type_find(name);
    if (absolute)
        return type;
    /* more than two segments, or no such */
    if (ref.len || !letters(name) || !fhir_id_ok(id))
        return FHIR_TYPE_NONE;
    *unknown = type == FHIR_TYPE_NONE;
    return type;
}

/* "Patient, Group or Device", cut where it gets long. */
static const char *names_of(const uint64_t *targets, char *dst, size_t cap)
{
    size_t n = 0;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const char *name = fhir_type_name((fhir_type)t);
        if (!fhir_target_ok(targets, (fhir_type)t))
            continue;
        if (n + strlen(name) + 8 > cap) {
            (void)snprintf(dst + n, cap - n, ", ...");
            break;
        }
        n += (size_t)snprintf(dst + n, cap - n, "%s%s", n ? ", " : "", name);
    }
    return dst;
}

/* Is there a contained resource of this id? True also when too many were looked at already. */
static bool contained_has(struct run *r, sv id)
{
    if (!r->scope.looked)
        r->scope.list = json_get(r->scope.resource, "contained");
    r->scope.looked = true;
    yyjson_val *item;
    yyjson_arr_iter it = yyjson_arr_iter_with(r->scope.list);
    while ((item = yyjson_arr_iter_next(&it)) != NULL) {
        if (r->local_steps == 0)
            return true;
        r->local_steps--;
        if (sv_eq(json_string(json_get(item, "id")), id))
            return true;
    }
    return false;
}

void rule_reference(struct run *r, const struct part *at, const struct fhir_member *member,
                    yyjson_val *obj)
{
    sv ref = json_string(json_get(obj, "reference"));
    char names[200];
    bool unknown;
    fhir_type type = target_type(ref, &unknown);
    if (unknown)
        issue_add(r, PART(at, "reference"), "value", "The reference names no resource type");
    else if (type != FHIR_TYPE_NONE && !fhir_target_ok(member->targets, type))
        issue_add(r, PART(at, "reference"), "value", "The reference is not to one of: %s",
                  names_of(member->targets, names, sizeof names));
    type = fhir_type_find(json_string(json_get(obj, "type")));
    if (type != FHIR_TYPE_NONE && !fhir_target_ok(member->targets, type))
        issue_add(r, PART(at, "type"), "value", "The reference is not to one of: %s",
                  names_of(member->targets, names, sizeof names));
    if (r->level < FHIR_VALIDATE_STRICT || !sv_starts(ref, SV_LIT("#")))
        return;
    /* '#' alone is the container, for what is contained */
    if (ref.len == 1 ? !r->scope.contained : !contained_has(r, sv_tail(ref, 1)))
        issue_add(r, PART(at, "reference"), "invariant",
                  "ref-1: SHALL have a contained resource if a local reference is provided");
}

/* ---- constraints ---- */

void rule_elements(struct run *r, const struct part *at, const struct fhir_structure *structure,
                   uint64_t seen)
{
    const char *told = NULL;
    for (unsigned i = 0; i < structure->n_rules; i++) {
        const struct fhir_rule *rule = &structure->rules[i];
        if ((seen & rule->present) != rule->present || (seen & rule->absent) != 0 ||
            (told && strcmp(told, rule->key) == 0))
            continue;
        told = rule->key;
        issue_add(r, at, "invariant", "%s: %s", rule->key, rule->text);
    }
}

/* Start after end? Only where both are of one kind: dates to what both tell, or moments. */
static bool period_reversed(yyjson_val *period)
{
    sv start = json_string(json_get(period, "start")), end = json_string(json_get(period, "end"));
    int64_t start_ms, end_ms;
    if (start.len > 10 && end.len > 10)
        return instant_parse(start, &start_ms) && instant_parse(end, &end_ms) && start_ms > end_ms;
    if (start.len > 10 || end.len > 10)
        return false;
    size_t n = start.len < end.len ? start.len : end.len;
    return n >= 4 && memcmp(start.ptr, end.ptr, n) > 0;
}

void rule_object(struct run *r, const struct part *at, const struct fhir_structure *structure,
                 const struct fhir_member *member, yyjson_val *obj)
{
    if (structure->role == FHIR_ROLE_PERIOD && period_reversed(obj))
        issue_add(r, at, "invariant", "per-1: If present, start SHALL have a lower value than end");
    if (member == NULL)
        return;
    if (member->simple_quantity && json_get(obj, "comparator"))
        issue_add(r, at, "invariant", "sqty-1: The comparator is not used on a SimpleQuantity");
    if (structure->role == FHIR_ROLE_META && r->scope.contained &&
        member->element->owner->kind == FHIR_RESOURCE) {
        if (json_get(obj, "versionId") || json_get(obj, "lastUpdated"))
            issue_add(r, at, "invariant",
                      "dom-4: If a resource is contained in another resource, it SHALL NOT have a "
                      "meta.versionId or a meta.lastUpdated");
        if (json_get(obj, "security"))
            issue_add(r, at, "invariant",
                      "dom-5: If a resource is contained in another resource, it SHALL NOT have a "
                      "security label");
    }
}
