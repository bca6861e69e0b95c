/* parquet.c - a row as cells of Parquet. A column has the SQL type that SQL on FHIR gives its FHIR
 * type: booleans, integers and instants are what they are, everything else is text, with the digits
 * that the resource has. The tag "ansi/type" asks for another one. A value that is not of its
 * column's type is an error: a table in which it is missing would look whole.
 * Source: SQL on FHIR 2, "Type Hinting with Tags". */
#include "view/view_private.h"

#include "codec/instant.h"

#include <math.h>

/* ---- types ---- */

static const struct {
    const char *name;
    parquet_type type;
} fhir_types[] = {
    { "boolean", PARQUET_BOOLEAN },   { "integer", PARQUET_INT32 },
    { "positiveInt", PARQUET_INT32 }, { "unsignedInt", PARQUET_INT32 },
    { "integer64", PARQUET_INT64 },   { "instant", PARQUET_TIMESTAMP },
}, sql_types[] = {
    { "BOOLEAN", PARQUET_BOOLEAN },
    { "SMALLINT", PARQUET_INT32 },
    { "INT", PARQUET_INT32 },
    { "INTEGER", PARQUET_INT32 },
    { "BIGINT", PARQUET_INT64 },
    { "REAL", PARQUET_DOUBLE },
    { "FLOAT", PARQUET_DOUBLE },
    { "DOUBLE PRECISION", PARQUET_DOUBLE },
    { "DATE", PARQUET_DATE },
    { "TIMESTAMP", PARQUET_TIMESTAMP },
    { "TIMESTAMP WITH TIME ZONE", PARQUET_TIMESTAMP },
    { "DECIMAL", PARQUET_DECIMAL },
    { "DEC", PARQUET_DECIMAL },
    { "NUMERIC", PARQUET_DECIMAL },
    { "CHARACTER VARYING", PARQUET_STRING },
    { "CHAR VARYING", PARQUET_STRING },
    { "VARCHAR", PARQUET_STRING },
    { "CHARACTER", PARQUET_STRING },
    { "CHAR", PARQUET_STRING },
    { "CHARACTER LARGE OBJECT", PARQUET_STRING },
    { "CLOB", PARQUET_STRING },
    { "TIME", PARQUET_STRING },
};

/* As messages name them. */
static const char *const type_names[] = {
    [PARQUET_STRING] = "text",
    [PARQUET_BOOLEAN] = "a boolean",
    [PARQUET_INT32] = "an integer of 32 bits",
    [PARQUET_INT64] = "an integer of 64 bits",
    [PARQUET_DOUBLE] = "a number",
    [PARQUET_DATE] = "a whole date",
    [PARQUET_TIMESTAMP] = "an instant with a time zone",
    [PARQUET_DECIMAL] = "a decimal of so many digits",
};

/* A type may be a URL, and one of FHIRPath begins with a capital: ".../System.Integer". */
static parquet_type fhir_type_of(sv type)
{
    char name[16];
    for (size_t i = type.len; i-- > 0;)
        if (type.ptr[i] == '/' || type.ptr[i] == '.') {
            type = sv_tail(type, i + 1);
            break;
        }
    if (type.len == 0 || type.len >= sizeof name)
        return PARQUET_STRING;
    memcpy(name, type.ptr, type.len);
    name[0] = sv_lower(name[0]);
    for (size_t i = 0; i < sizeof fhir_types / sizeof fhir_types[0]; i++)
        if (sv_eq_cstr(sv_make(name, type.len), fhir_types[i].name))
            return fhir_types[i].type;
    return PARQUET_STRING;
}

static bool read_u8(sv text, unsigned most, uint8_t *out)
{
    uint64_t n;
    if (!sv_to_u64(sv_trim(text), &n) || n > most)
        return false;
    *out = (uint8_t)n;
    return true;
}

/* "DECIMAL(18, 6)": of the other types the number in brackets bounds nothing here. */
static err_code sql_type_of(const struct view_column *c, struct parquet_column *out, struct err *e)
{
    size_t open = sv_find(c->sql_type, '(');
    sv name = sv_trim(sv_head(c->sql_type, open)), in = sv_tail(c->sql_type, open + 1), first;
    size_t i = 0, n = sizeof sql_types / sizeof sql_types[0];
    while (i < n && !sv_eq_nocase(name, sv_from(sql_types[i].name)))
        i++;
    if (i == n)
        return ERR(e, ERR_UNSUPPORTED,
                   "column %.*s: its tag ansi/type asks for a type that Parquet files are not "
                   "written with here: %.*s",
                   (int)(c->name.len > 60 ? 60 : c->name.len), c->name.ptr,
                   (int)(c->sql_type.len > 40 ? 40 : c->sql_type.len), c->sql_type.ptr);
    out->type = sql_types[i].type;
    if (out->type != PARQUET_DECIMAL)
        return ERR_OK;
    in = sv_head(in, sv_find(in, ')'));
    if (!sv_cut(&in, ',', &first) || !read_u8(first, PARQUET_DECIMAL_DIGITS, &out->precision) ||
        out->precision == 0 || (in.ptr && !read_u8(in, out->precision, &out->scale)))
        return ERR(e, ERR_INVALID,
                   "column %.*s: its tag ansi/type has no precision from 1 to %u and scale up to "
                   "it, as in DECIMAL(18, 6)",
                   (int)(c->name.len > 60 ? 60 : c->name.len), c->name.ptr, PARQUET_DECIMAL_DIGITS);
    return ERR_OK;
}

err_code view_parquet_columns(const struct view *v, struct arena *a,
                              const struct parquet_column **out, struct err *e)
{
    struct parquet_column *all = arena_calloc(a, v->n_columns + 1, sizeof *all);
    if (all == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < v->n_columns; i++) {
        const struct view_column *c = &v->columns[i];
        all[i] = (struct parquet_column){ .name = c->name,
                                          .type = fhir_type_of(c->type),
                                          .list = c->collection };
        if (c->sql_type.len)
            TRY(sql_type_of(c, &all[i], e));
    }
    *out = all;
    return ERR_OK;
}

/* ---- values ---- */

static bool is_number(const struct fhirpath_item *item)
{
    return item->kind == FHIRPATH_INTEGER || item->kind == FHIRPATH_DECIMAL ||
           (item->kind == FHIRPATH_NODE && yyjson_is_raw(item->json));
}

__extension__ typedef unsigned __int128 wide;

static wide power_of_ten(unsigned n)
{
    wide v = 1;
    while (n-- > 0)
        v *= 10;
    return v;
}

static bool read_exponent(sv text, int64_t *out)
{
    if (text.len && text.ptr[0] == '+')
        text = sv_tail(text, 1);
    return sv_to_i64(text, out) && *out >= -1000 && *out <= 1000;
}

/* A number times 10 to the power of scale, exactly. False: digits would be lost. */
static bool read_decimal(sv text, const struct parquet_column *c, struct parquet_value *out)
{
    const wide room = power_of_ten(PARQUET_DECIMAL_DIGITS - 1);
    size_t end = 0;
    int64_t power = 0;
    wide n = 0;
    while (end < text.len && text.ptr[end] != 'e' && text.ptr[end] != 'E')
        end++;
    if (end < text.len && !read_exponent(sv_tail(text, end + 1), &power))
        return false;
    const bool minus = end && text.ptr[0] == '-';
    bool point = sv_find(sv_head(text, end), '.') < end;
    /* zeros at the end of a fraction are none of its digits */
    while (point && end && text.ptr[end - 1] == '0')
        end--;
    point = false;
    for (size_t i = minus; i < end; i++) {
        if (text.ptr[i] == '.') {
            point = true;
            continue;
        }
        if (n >= room)
            return false;
        n = n * 10 + (unsigned)(text.ptr[i] - '0');
        power -= point;
    }
    for (power += c->scale; power > 0 && n; power--) {
        if (n >= room)
            return false;
        n *= 10;
    }
    for (; power < 0 && n; power++, n /= 10)
        if (n % 10)
            return false;
    if (n >= power_of_ten(c->precision))
        return false;
    if (minus)
        n = -n;
    for (size_t k = PARQUET_DECIMAL_LEN; k-- > 0; n >>= 8)
        out->as.decimal[k] = (unsigned char)n;
    return true;
}

static bool digits(sv text, size_t at, size_t n, int *out)
{
    *out = 0;
    for (size_t i = at; i < at + n; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        *out = *out * 10 + (text.ptr[i] - '0');
    }
    return true;
}

/* YYYY-MM-DD: the days, by the instant of its midnight. */
static bool read_date(sv text, struct parquet_value *out)
{
    char midnight[] = "YYYY-MM-DDT00:00:00Z";
    int64_t ms;
    if (text.len != 10)
        return false;
    memcpy(midnight, text.ptr, 10);
    if (!instant_parse(sv_from(midnight), &ms))
        return false;
    out->as.integer = ms >= 0 ? ms / 86400000 : -((86399999 - ms) / 86400000);
    return true;
}

/* To the microsecond; digits behind it are cut. */
static bool read_instant(sv text, struct parquet_value *out)
{
    int64_t ms;
    int us = 0;
    size_t point = sv_find(text, '.'), n = 0;
    if (!instant_parse(text, &ms))
        return false;
    while (point < text.len && n < 6 && point + 1 + n < text.len &&
           text.ptr[point + 1 + n] >= '0' && text.ptr[point + 1 + n] <= '9')
        n++;
    if (n > 3 && !digits(text, point + 4, n - 3, &us))
        return false;
    for (size_t i = n; n > 3 && i < 6; i++)
        us *= 10;
    out->as.integer = ms * 1000 + us;
    return true;
}

static bool read_value(const struct fhirpath_item *item, sv text, const struct parquet_column *c,
                       struct arena *scratch, struct parquet_value *out)
{
    struct fhirpath_item value;
    const bool number = is_number(item);
    switch (c->type) {
    case PARQUET_STRING:
        out->as.text = text;
        return true;
    case PARQUET_BOOLEAN:
        if (!fhirpath_value(item, scratch, &value) || value.kind != FHIRPATH_BOOLEAN)
            return false;
        out->as.integer = value.as.boolean;
        return true;
    case PARQUET_INT32:
        return number && sv_to_i64(text, &out->as.integer) && out->as.integer >= INT32_MIN &&
               out->as.integer <= INT32_MAX;
    case PARQUET_INT64:
        return number && sv_to_i64(text, &out->as.integer);
    case PARQUET_DOUBLE:
        return number && sv_to_double(text, &out->as.number) && isfinite(out->as.number);
    case PARQUET_DECIMAL:
        return number && read_decimal(text, c, out);
    case PARQUET_DATE:
        return !number && read_date(text, out);
    case PARQUET_TIMESTAMP:
        return !number && read_instant(text, out);
    }
    return false;
}

static err_code put_cell(const struct parquet_column *c, size_t column,
                         const struct fhirpath_list *cell, struct arena *scratch,
                         struct parquet_rows *rows, struct err *e)
{
    struct parquet_value one, *all = &one;
    if (!c->list && (cell->n == 0 || view_is_nothing(&cell->items[0])))
        return parquet_cell(rows, column, NULL, 0, e);
    if (cell->n > 1 && (all = arena_alloc(scratch, cell->n * sizeof *all)) == NULL)
        return arena_oom(scratch, e);
    for (size_t i = 0; i < cell->n; i++) {
        sv text;
        all[i].null = view_is_nothing(&cell->items[i]);
        if (all[i].null)
            continue;
        TRY(view_text(&cell->items[i], scratch, &text, e));
        if (!read_value(&cell->items[i], text, c, scratch, &all[i]))
            return ERR(e, ERR_INVALID, "column %.*s: a value is not %s, as its type in Parquet is",
                       (int)(c->name.len > 60 ? 60 : c->name.len), c->name.ptr,
                       type_names[c->type]);
    }
    return parquet_cell(rows, column, all, cell->n, e);
}

err_code view_parquet_row(const struct view *v, const struct parquet_column *columns,
                          const struct fhirpath_list *cells, struct arena *scratch,
                          struct parquet_rows *rows, struct err *e)
{
    arena_mark mark = arena_mark_get(scratch);
    for (size_t i = 0; i < v->n_columns; i++)
        TRY(put_cell(&columns[i], i, &cells[i], scratch, rows, e));
    parquet_row_end(rows);
    arena_rewind(scratch, mark);
    return ERR_OK;
}
