/* convert.c - toX() and convertsToX(): which they are, their names say.
 * Source: FHIRPath N1, 5.5 "Conversion". */
#include "fhirpath/fn/fn_private.h"

static bool to_boolean(const fp_item *v, bool *out)
{
    static const char *const yes[] = { "true", "t", "yes", "y", "1", "1.0" };
    static const char *const no[] = { "false", "f", "no", "n", "0", "0.0" };
    fp_decimal d;
    int64_t i;
    if (v->kind == FHIRPATH_STRING) {
        for (size_t k = 0; k < sizeof yes / sizeof yes[0]; k++) {
            *out = sv_eq_nocase(v->as.text, sv_from(yes[k]));
            if (*out || sv_eq_nocase(v->as.text, sv_from(no[k])))
                return true;
        }
        return false;
    }
    if (v->kind != FHIRPATH_INTEGER && v->kind != FHIRPATH_DECIMAL)
        return false;
    d = v->kind == FHIRPATH_INTEGER ? fp_decimal_of(v->as.integer) : v->as.decimal;
    if (!fp_decimal_is_whole(d, &i) || (i != 0 && i != 1))
        return false;
    *out = i == 1;
    return true;
}

/* "10.5 'mg'", "4 days", "1" */
static bool to_quantity(struct arena *a, sv text, fp_item *out)
{
    size_t end = sv_find(text, ' ');
    sv number = sv_head(text, end), unit = sv_trim(sv_tail(text, end)), word;
    struct fhirpath_quantity q = { .unit = SV_LIT("1") };
    if (sv_find(number, 'e') != number.len || sv_find(number, 'E') != number.len ||
        !fp_decimal_read(number, &q.value))
        return false;
    if (unit.len > 2 && unit.ptr[0] == '\'' && unit.ptr[unit.len - 1] == '\'') {
        q.unit = sv_make(unit.ptr + 1, unit.len - 2);
    } else if (unit.len) {
        if (!fp_calendar_word(unit, &word))
            return false;
        q.unit = unit;
        q.calendar = true;
    }
    struct fhirpath_quantity *copy = ARENA_NEW(a, struct fhirpath_quantity);
    if (copy == NULL)
        return false;
    *copy = q;
    *out = (fp_item){ .kind = FHIRPATH_QUANTITY, .as.quantity = copy };
    return true;
}

static bool to_number(const fp_item *v, fhirpath_kind to, fp_item *out)
{
    fp_decimal d;
    int64_t i = 0;
    sv t = v->as.text;
    if (v->kind == FHIRPATH_BOOLEAN)
        d = fp_decimal_of(v->as.boolean);
    else if (v->kind == FHIRPATH_INTEGER)
        d = fp_decimal_of(v->as.integer);
    else if (v->kind != FHIRPATH_STRING || !fp_decimal_read(t, &d) || sv_find(t, 'e') != t.len ||
             sv_find(t, 'E') != t.len || (to == FHIRPATH_INTEGER && sv_find(t, '.') != t.len))
        return false;
    *out = (fp_item){ .kind = (uint8_t)to };
    if (to == FHIRPATH_DECIMAL) {
        out->as.decimal = d;
        return true;
    }
    if (!fp_decimal_is_whole(d, &i) || i > INT32_MAX || i < INT32_MIN)
        return false;
    out->as.integer = i;
    return true;
}

static bool to_moment(const fp_item *v, fhirpath_kind to, fp_item *out)
{
    *out = (fp_item){ .kind = (uint8_t)to };
    if (v->kind == FHIRPATH_STRING)
        return fp_moment_read(v->as.text, to, &out->as.moment) ||
               (to == FHIRPATH_DATE &&
                fp_moment_read(v->as.text, FHIRPATH_DATETIME, &out->as.moment) &&
                to_moment(&(fp_item){ .kind = FHIRPATH_DATETIME, .as.moment = out->as.moment }, to,
                          out));
    if (to == FHIRPATH_TIME || (v->kind != FHIRPATH_DATE && v->kind != FHIRPATH_DATETIME))
        return false;
    out->as.moment = v->as.moment;
    fp_moment *m = &out->as.moment;
    if (to == FHIRPATH_DATE && m->precision > FHIRPATH_DAY)
        *m = (fp_moment){
            .year = m->year, .month = m->month, .day = m->day, .precision = FHIRPATH_DAY
        };
    return true;
}

bool fp_convert(struct arena *a, const fp_item *v, fhirpath_kind to, fp_item *out)
{
    if (v->kind == to) {
        *out = *v;
        return true;
    }
    switch (to) {
    case FHIRPATH_BOOLEAN:
        *out = (fp_item){ .kind = FHIRPATH_BOOLEAN };
        return to_boolean(v, &out->as.boolean);
    case FHIRPATH_INTEGER:
    case FHIRPATH_DECIMAL:
        return to_number(v, to, out);
    case FHIRPATH_STRING:
        *out = (fp_item){ .kind = FHIRPATH_STRING, .as.text = fp_text(a, v) };
        return out->as.text.ptr != NULL;
    case FHIRPATH_DATE:
    case FHIRPATH_DATETIME:
    case FHIRPATH_TIME:
        return to_moment(v, to, out);
    case FHIRPATH_QUANTITY:
        if (v->kind == FHIRPATH_STRING)
            return to_quantity(a, v->as.text, out);
        if (v->kind == FHIRPATH_BOOLEAN)
            return fp_quantity(
                a, &(fp_item){ .kind = FHIRPATH_INTEGER, .as.integer = v->as.boolean }, out);
        return fp_quantity(a, v, out);
    default:
        return false;
    }
}

static err_code convert(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                        fp_item *out, bool *ok, struct err *e)
{
    static const struct {
        const char *name;
        fhirpath_kind kind;
    } kinds[] = { { "oBoolean", FHIRPATH_BOOLEAN }, { "oInteger", FHIRPATH_INTEGER },
                  { "oDecimal", FHIRPATH_DECIMAL }, { "oString", FHIRPATH_STRING },
                  { "oDate", FHIRPATH_DATE },       { "oDateTime", FHIRPATH_DATETIME },
                  { "oTime", FHIRPATH_TIME },       { "oQuantity", FHIRPATH_QUANTITY } };
    fp_item v, unit;
    struct fp_list l;
    bool has;
    *ok = false;
    TRY(fp_one(cx, in, &v, &has, e));
    if (has && v.kind == FHIRPATH_STRING)
        TRY(fp_steps(cx, v.as.text.len / 64, e));
    if (!has && in->n)
        has = fp_quantity(cx->a, &in->items[0], &v);
    for (size_t i = 0; has && i < sizeof kinds / sizeof kinds[0]; i++)
        if (sv_ends(sv_from(n->fn->name), sv_from(kinds[i].name)))
            *ok = fp_convert(cx->a, &v, kinds[i].kind, out);
    if (*ok && n->n_args) {
        TRY(fp_arg(cx, n, 0, &l, e));
        TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &unit, &has, e));
        struct fhirpath_quantity want = { .unit = has ? unit.as.text : SV_NONE };
        struct fhirpath_quantity *q = ARENA_NEW(cx->a, struct fhirpath_quantity);
        if (q == NULL)
            return arena_oom(cx->a, e);
        *ok = has && fp_quantity_as(&want, out->as.quantity, &want.value);
        *q = want;
        out->as.quantity = q;
    }
    return ERR_OK;
}

FN(to)
{
    fp_item v;
    bool ok;
    TRY(convert(cx, n, in, &v, &ok, e));
    return ok ? fp_put(cx, out, &v, e) : ERR_OK;
}

FN(converts_to)
{
    fp_item v;
    bool ok;
    TRY(convert(cx, n, in, &v, &ok, e));
    return in->n ? fp_put_boolean(cx, out, ok, e) : ERR_OK;
}
