/* operation.c - a parameter of Parameters becomes an operation. What is not understood is refused:
 * a part of another name, a part that the operation has no use for, a part that is there twice. */
#include "fhirpath/patch/patch_private.h"

static const char *const types[] = { "add", "insert", "delete", "replace", "move" };

enum { TYPE, PATH, NAME, VALUE, INDEX, SOURCE, DESTINATION, N_PARTS };
static const char *const names[] = { "type",  "path",   "name",       "value",
                                     "index", "source", "destination" };
/* What each type has beside `type`: all of it is needed. */
static const unsigned uses[] = {
    [PATCH_ADD] = 1u << PATH | 1u << NAME | 1u << VALUE,
    [PATCH_INSERT] = 1u << PATH | 1u << VALUE | 1u << INDEX,
    [PATCH_DELETE] = 1u << PATH,
    [PATCH_REPLACE] = 1u << PATH | 1u << VALUE,
    [PATCH_MOVE] = 1u << PATH | 1u << SOURCE | 1u << DESTINATION,
};

err_code patch_malformed(const struct patch_op *op, const char *why, struct err *e)
{
    return ERR(e, ERR_INVALID, "Operation %zu of the patch: %s", op->number, why);
}

err_code patch_cannot(const struct patch_op *op, const char *why, struct err *e)
{
    return ERR(e, ERR_UNPROCESSABLE, "Operation %zu of the patch (%s) cannot be applied: %s",
               op->number, types[op->type], why);
}

err_code patch_too_large(const struct patch_op *op, struct err *e)
{
    return ERR(e, ERR_TOO_LARGE,
               "Operation %zu of the patch makes the resource too large to be worked on",
               op->number);
}

static err_code value_member(const struct patch_op *op, sv key, yyjson_val *v,
                             struct patch_part *out, struct err *e)
{
    bool twin = key.ptr[0] == '_';
    const struct fhir_structure *s = fhir_structure_find(SV_LIT("Parameters.parameter"));
    const struct fhir_member *m = fhir_member_find(s, twin ? sv_tail(key, 1) : key);
    if (m == NULL || !m->element->choice || (twin && m->type))
        return patch_malformed(op, "a part has a member that no part of Parameters has", e);
    if ((out->type && out->type != m) || (twin ? out->twin : out->value))
        return patch_malformed(op, "a part has more than one value", e);
    out->type = m;
    out->suffix = sv_tail(m->name, sizeof "value" - 1);
    if (twin && !yyjson_is_obj(v))
        return patch_malformed(op, "a part has a member that no part of Parameters has", e);
    if (m->type ? !yyjson_is_obj(v) : !twin && yyjson_is_ctn(v))
        return patch_malformed(op, "the value of a part is not of the type that its name says", e);
    *(twin ? &out->twin : &out->value) = v;
    return ERR_OK;
}

err_code patch_part_read(const struct patch_op *op, yyjson_val *part, struct patch_part *out,
                         struct err *e)
{
    yyjson_obj_iter it;
    yyjson_val *key;
    struct patch_part p = { 0 };
    if (!yyjson_obj_iter_init(part, &it))
        return patch_malformed(op, "a part must be an object", e);
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        sv k = json_string(key);
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        if (sv_eq_cstr(k, "name"))
            p.name = json_string(v);
        else if (sv_eq_cstr(k, "part") && yyjson_is_arr(v) && yyjson_arr_size(v))
            p.parts = v;
        else if (sv_eq_cstr(k, "resource") && yyjson_is_obj(v))
            p.resource = v;
        else if (sv_starts(k, SV_LIT("value")) || sv_starts(k, SV_LIT("_value")))
            TRY(value_member(op, k, v, &p, e));
        /* these say nothing of what is to be done */
        else if (!sv_eq_cstr(k, "id") && !sv_eq_cstr(k, "extension"))
            return patch_malformed(op, "a part has a member that no part of Parameters has", e);
    }
    if (p.name.len == 0)
        return patch_malformed(op, "a part has no name", e);
    if ((p.type != NULL) + (p.parts != NULL) + (p.resource != NULL) > 1)
        return patch_malformed(op, "a part has more than one value", e);
    *out = p;
    return ERR_OK;
}

/* A text, or for the three places in lists a whole number. */
static err_code take(struct patch_op *op, size_t at, const struct patch_part *part, struct err *e)
{
    sv *const texts[] = { [PATH] = &op->path, [NAME] = &op->name };
    uint64_t *const numbers[] = {
        [INDEX] = &op->index, [SOURCE] = &op->source, [DESTINATION] = &op->destination
    };
    if (at >= INDEX)
        return part->type && part->type->type == NULL &&
                       sv_to_u64(json_number(part->value), numbers[at])
                   ? ERR_OK
                   : ERR(e, ERR_INVALID,
                         "Operation %zu of the patch: %s must be a valueInteger of 0 or more",
                         op->number, names[at]);
    sv text = json_string(part->value);
    if (text.len == 0)
        return ERR(e, ERR_INVALID, "Operation %zu of the patch: %s must be a %s", op->number,
                   names[at], at == TYPE ? "valueCode" : "valueString");
    if (at != TYPE) {
        *texts[at] = text;
        return ERR_OK;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (sv_eq_cstr(text, types[i])) {
            op->type = (patch_type)i;
            return ERR_OK;
        }
    return patch_malformed(op, "type must be add, insert, delete, replace or move", e);
}

err_code patch_operation(struct patch *p, yyjson_val *parameter, struct err *e)
{
    struct patch_op *op = &p->op;
    struct patch_part whole, part;
    unsigned seen = 0;
    *op = (struct patch_op){ .number = op->number };
    TRY(patch_part_read(op, parameter, &whole, e));
    if (!sv_eq_cstr(whole.name, "operation") || whole.parts == NULL)
        return patch_malformed(op, "a parameter must be named operation and have parts", e);
    yyjson_arr_iter it = yyjson_arr_iter_with(whole.parts);
    for (yyjson_val *one; (one = yyjson_arr_iter_next(&it)) != NULL;) {
        size_t at = 0;
        TRY(patch_part_read(op, one, &part, e));
        while (at < N_PARTS && !sv_eq_cstr(part.name, names[at]))
            at++;
        if (at == N_PARTS)
            return patch_malformed(op, "it has a part that no operation has", e);
        if (seen & 1u << at)
            return ERR(e, ERR_INVALID, "Operation %zu of the patch: it has more than one %s",
                       op->number, names[at]);
        seen |= 1u << at;
        if (at == VALUE)
            op->value = one;
        else
            TRY(take(op, at, &part, e));
    }
    if (!(seen & 1u << TYPE))
        return patch_malformed(op, "type must be add, insert, delete, replace or move", e);
    for (size_t at = PATH; at < N_PARTS; at++)
        if ((uses[op->type] ^ seen) & 1u << at)
            return ERR(e, ERR_INVALID, "Operation %zu of the patch: %s %s %s", op->number,
                       types[op->type], seen & 1u << at ? "has no" : "needs", names[at]);
    return ERR_OK;
}
