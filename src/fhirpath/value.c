/* value.c - what a node is worth: its JSON read as the type that the definitions give it, and how
 * values are written. A text that is no date where a date should stand is a text.
 * Source: FHIR R4 fhirpath.html, "Using FHIR types in expressions"; FHIRPath N1, 5.5. */
#include "fhirpath/fhirpath_private.h"

#define MEMBERS_MAX 1000u /* what has more is no quantity: each look goes over all of them */

const char *fp_kind_name(uint8_t kind)
{
    static const char *const names[] = { "an object",  "a boolean", "an integer", "a decimal",
                                         "a string",   "a date",    "a dateTime", "a time",
                                         "a quantity", "a type" };
    return names[kind];
}

static bool read_number(sv text, bool whole, fp_item *out)
{
    int64_t i;
    fp_decimal d;
    if (whole && sv_to_i64(text, &i) && i >= INT32_MIN && i <= INT32_MAX) {
        *out = (fp_item){ .kind = FHIRPATH_INTEGER, .as.integer = i };
        return true;
    }
    if (!fp_decimal_read(text, &d))
        return false;
    *out = (fp_item){ .kind = FHIRPATH_DECIMAL, .as.decimal = d };
    return true;
}

static bool read_text(fhir_primitive p, sv text, fp_item *out)
{
    fhirpath_kind kind = p == FHIR_DATE                            ? FHIRPATH_DATE
                         : p == FHIR_DATETIME || p == FHIR_INSTANT ? FHIRPATH_DATETIME
                         : p == FHIR_TIME                          ? FHIRPATH_TIME
                                                                   : FHIRPATH_STRING;
    *out = (fp_item){ .kind = FHIRPATH_STRING, .as.text = text };
    fp_moment m;
    if (kind != FHIRPATH_STRING && fp_moment_read(text, kind, &m)) {
        out->kind = (uint8_t)kind;
        out->as.moment = m;
    }
    return true;
}

bool fp_value(struct arena *a, const fp_item *item, fp_item *out)
{
    (void)a;
    if (item->kind != FHIRPATH_NODE) {
        *out = *item;
        return true;
    }
    yyjson_val *v = item->json;
    if (item->structure || v == NULL)
        return false;
    if (yyjson_is_str(v))
        return read_text((fhir_primitive)item->primitive, json_string(v), out);
    if (yyjson_is_bool(v)) {
        *out = (fp_item){ .kind = FHIRPATH_BOOLEAN, .as.boolean = yyjson_get_bool(v) };
        return true;
    }
    return yyjson_is_raw(v) && read_number(json_number(v), item->primitive != FHIR_DECIMAL, out);
}

static bool is_quantity(const fp_item *item)
{
    if (item->kind != FHIRPATH_NODE || item->structure == NULL ||
        item->structure->kind != FHIR_DATATYPE)
        return false;
    return fp_derives(item->structure, fhir_structure_find(SV_LIT("Quantity")));
}

bool fp_quantity(struct arena *a, const fp_item *item, fp_item *out)
{
    fp_decimal value;
    if (item->kind == FHIRPATH_QUANTITY) {
        *out = *item;
        return true;
    }
    if (item->kind == FHIRPATH_INTEGER || item->kind == FHIRPATH_DECIMAL) {
        value = item->kind == FHIRPATH_DECIMAL ? item->as.decimal : fp_decimal_of(item->as.integer);
        struct fhirpath_quantity *q = ARENA_NEW(a, struct fhirpath_quantity);
        if (q == NULL)
            return false;
        *q = (struct fhirpath_quantity){ value, SV_LIT("1"), false };
        *out = (fp_item){ .kind = FHIRPATH_QUANTITY, .as.quantity = q };
        return true;
    }
    if (!is_quantity(item) || yyjson_obj_size(item->json) > MEMBERS_MAX ||
        json_get(item->json, "comparator") ||
        !fp_decimal_read(json_number(json_get(item->json, "value")), &value))
        return false;
    sv code = json_string(json_get(item->json, "code")),
       system = json_string(json_get(item->json, "system")),
       unit = json_string(json_get(item->json, "unit"));
    bool calendar = false;
    if (code.len && sv_eq_cstr(system, "http://unitsofmeasure.org")) {
        unit = code;
        calendar = sv_eq_cstr(code, "a") || sv_eq_cstr(code, "mo");
        if (calendar)
            unit = sv_eq_cstr(code, "a") ? SV_LIT("year") : SV_LIT("month");
    } else if (code.len && system.len) {
        unit = ARENA_JOIN(a, system, SV_LIT("|"), code);
    } else if (unit.len == 0) {
        unit = SV_LIT("1");
    }
    struct fhirpath_quantity *q = ARENA_NEW(a, struct fhirpath_quantity);
    if (q == NULL || unit.ptr == NULL)
        return false;
    *q = (struct fhirpath_quantity){ value, unit, calendar };
    *out = (fp_item){ .kind = FHIRPATH_QUANTITY, .as.quantity = q };
    return true;
}

bool fhirpath_value(const struct fhirpath_item *item, struct arena *a, struct fhirpath_item *out)
{
    return fp_value(a, item, out);
}

sv fp_text(struct arena *a, const fp_item *value)
{
    char room[FP_DECIMAL_LEN], moment[FP_MOMENT_LEN];
    switch ((fhirpath_kind)value->kind) {
    case FHIRPATH_BOOLEAN:
        return value->as.boolean ? SV_LIT("true") : SV_LIT("false");
    case FHIRPATH_INTEGER:
        return arena_fmt(a, "%lld", (long long)value->as.integer);
    case FHIRPATH_DECIMAL:
        return arena_sv(a, fp_decimal_write(value->as.decimal, room));
    case FHIRPATH_STRING:
        return value->as.text;
    case FHIRPATH_DATE:
    case FHIRPATH_DATETIME:
    case FHIRPATH_TIME:
        return arena_sv(a, fp_moment_write(&value->as.moment, (fhirpath_kind)value->kind, moment));
    case FHIRPATH_QUANTITY: {
        const struct fhirpath_quantity *q = value->as.quantity;
        sv quote = q->calendar ? SV_LIT("") : SV_LIT("'");
        return ARENA_JOIN(a, fp_decimal_write(q->value, room), SV_LIT(" "), quote, q->unit, quote);
    }
    default:
        return SV_NONE;
    }
}

sv fhirpath_text(const struct fhirpath_item *item, struct arena *a)
{
    fp_item v;
    if (item->kind == FHIRPATH_NODE && yyjson_is_raw(item->json))
        return json_number(item->json);
    if (item->kind == FHIRPATH_NODE && yyjson_is_str(item->json))
        return json_string(item->json);
    return fp_value(a, item, &v) || fp_quantity(a, item, &v) ? fp_text(a, &v) : SV_NONE;
}

void fhirpath_write(struct json_writer *w, const struct fhirpath_item *item, struct arena *a)
{
    char room[FP_DECIMAL_LEN];
    switch ((fhirpath_kind)item->kind) {
    case FHIRPATH_NODE:
        if (item->json)
            json_val(w, item->json);
        else
            json_null(w);
        break;
    case FHIRPATH_BOOLEAN:
        json_bool(w, item->as.boolean);
        break;
    case FHIRPATH_INTEGER:
        json_i64(w, item->as.integer);
        break;
    case FHIRPATH_DECIMAL:
        json_raw(w, fp_decimal_write(item->as.decimal, room));
        break;
    case FHIRPATH_QUANTITY:
        json_obj(w);
        json_key(w, "value");
        json_raw(w, fp_decimal_write(item->as.quantity->value, room));
        json_kv_str(w, "unit", item->as.quantity->unit);
        json_obj_end(w);
        break;
    case FHIRPATH_TYPE:
        json_str(w, item->as.type.name);
        break;
    default: {
        sv text = fp_text(a, item);
        if (text.ptr)
            json_str(w, text);
        else if (w->rc == ERR_OK)
            w->rc = arena_oom(a, &w->err);
    }
    }
}
