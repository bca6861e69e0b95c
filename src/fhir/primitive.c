/* primitive.c - the values of FHIR's primitive types, checked by their text. One table holds name,
 * JSON kind and a description in words; one function checks each form. */
#include "fhir/primitive.h"

static const struct {
    const char *name;
    fhir_json json;
    const char *form;
} primitives[FHIR_N_PRIMITIVES] = {
    [FHIR_NOT_PRIMITIVE] = { "", FHIR_JSON_STRING, "" },
    [FHIR_BASE64BINARY] = { "base64Binary", FHIR_JSON_STRING, "base64 in groups of four" },
    [FHIR_BOOLEAN] = { "boolean", FHIR_JSON_BOOLEAN, "true or false" },
    [FHIR_CANONICAL] = { "canonical", FHIR_JSON_STRING, "a canonical URL (no white space)" },
    [FHIR_CODE] = { "code", FHIR_JSON_STRING, "a code (no white space but single blanks inside)" },
    [FHIR_DATE] = { "date", FHIR_JSON_STRING, "a date (YYYY, YYYY-MM or YYYY-MM-DD)" },
    [FHIR_DATETIME] = { "dateTime", FHIR_JSON_STRING,
                        "a dateTime (YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz)" },
    [FHIR_DECIMAL] = { "decimal", FHIR_JSON_NUMBER, "a decimal" },
    [FHIR_ID] = { "id", FHIR_JSON_STRING, "an id (1 to 64 of A-Z, a-z, 0-9, '-' and '.')" },
    [FHIR_INSTANT] = { "instant", FHIR_JSON_STRING, "an instant (YYYY-MM-DDThh:mm:ss.sss+zz:zz)" },
    [FHIR_INTEGER] = { "integer", FHIR_JSON_NUMBER, "an integer of 32 bits" },
    [FHIR_MARKDOWN] = { "markdown", FHIR_JSON_STRING,
                        "markdown (not empty, no control characters, at most 1 MB)" },
    [FHIR_OID] = { "oid", FHIR_JSON_STRING, "an OID (urn:oid:1.2.3)" },
    [FHIR_POSITIVEINT] = { "positiveInt", FHIR_JSON_NUMBER, "an integer from 1 to 2147483647" },
    [FHIR_STRING] = { "string", FHIR_JSON_STRING,
                      "a string (not empty, no control characters, at most 1 MB)" },
    [FHIR_TIME] = { "time", FHIR_JSON_STRING, "a time (hh:mm:ss)" },
    [FHIR_UNSIGNEDINT] = { "unsignedInt", FHIR_JSON_NUMBER, "an integer from 0 to 2147483647" },
    [FHIR_URI] = { "uri", FHIR_JSON_STRING, "a URI (not empty, no white space)" },
    [FHIR_URL] = { "url", FHIR_JSON_STRING, "a URL (not empty, no white space)" },
    [FHIR_UUID] = { "uuid", FHIR_JSON_STRING, "a UUID (urn:uuid: and 36 lower-case characters)" },
    [FHIR_XHTML] = { "xhtml", FHIR_JSON_STRING, "XHTML in one div element, or text without tags" },
};

fhir_primitive fhir_primitive_find(sv name)
{
    for (int p = 1; p < FHIR_N_PRIMITIVES; p++)
        if (sv_eq_cstr(name, primitives[p].name))
            return (fhir_primitive)p;
    return FHIR_NOT_PRIMITIVE;
}

const char *fhir_primitive_name(fhir_primitive p)
{
    return primitives[p].name;
}

fhir_json fhir_primitive_json(fhir_primitive p)
{
    return primitives[p].json;
}

const char *fhir_primitive_form(fhir_primitive p)
{
    return primitives[p].form;
}

/* ---- characters ---- */

#define STRING_MAX (1024u * 1024u) /* characters */

static bool too_long(sv t)
{
    size_t n = 0;
    if (t.len <= STRING_MAX)
        return false;
    for (size_t i = 0; i < t.len; i++)
        /* Every byte begins a character but a continuation byte. */
        n += ((unsigned char)t.ptr[i] & 0xC0) != 0x80;
    return n > STRING_MAX;
}

static bool space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* No control characters but tab, line feed and carriage return. Eight bytes at a time: a byte below
 * 0x20 borrows into its top bit; what that finds is looked at one by one. */
static bool text_ok(sv t)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    if (t.len == 0 || too_long(t))
        return false;
    for (size_t i = 0; i < t.len;) {
        size_t n = t.len - i < 8 ? t.len - i : 8;
        uint64_t w = ones * ' ';
        memcpy(&w, t.ptr + i, n);
        if ((w - ones * 0x20) & ~w & tops)
            for (size_t k = i; k < i + n; k++)
                if ((unsigned char)t.ptr[k] < 0x20 && t.ptr[k] != '\t' && t.ptr[k] != '\n' &&
                    t.ptr[k] != '\r')
                    return false;
        i += n;
    }
    return true;
}

/* \S+ */
static bool no_space(sv t)
{
    if (t.len == 0 || too_long(t))
        return false;
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.ptr[i] <= ' ')
            return false;
    return true;
}

/* [^\s]+(\s[^\s]+)* */
static bool code_ok(sv t)
{
    /* White space may not stand at the start either. */
    bool after_space = true;
    if (too_long(t))
        return false;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        if ((unsigned char)c < ' ' && !space(c))
            return false;
        if (space(c) && after_space)
            return false;
        after_space = space(c);
    }
    return !after_space;
}

static bool id_ok(sv t)
{
    if (t.len < 1 || t.len > 64)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        if (!digit(c) && !((c | 32) >= 'a' && (c | 32) <= 'z') && c != '-' && c != '.')
            return false;
    }
    return true;
}

/* urn:oid:[0-2](\.(0|[1-9][0-9]*))+ */
static bool oid_ok(sv t)
{
    if (!sv_starts(t, SV_LIT("urn:oid:")) || t.len < 11 || t.ptr[8] < '0' || t.ptr[8] > '2')
        return false;
    for (size_t i = 9; i < t.len;) {
        if (t.ptr[i] != '.' || ++i == t.len || !digit(t.ptr[i]))
            return false;
        if (t.ptr[i] == '0')
            i++;
        else
            while (i < t.len && digit(t.ptr[i]))
                i++;
    }
    return true;
}

static bool uuid_ok(sv t)
{
    static const char form[] = "urn:uuid:xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (t.len != sizeof form - 1)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        if (form[i] == 'x' ? !digit(c) && !(c >= 'a' && c <= 'f') : c != form[i])
            return false;
    }
    return true;
}

/* Bit per byte below 128: A-Z a-z 0-9 + / */
static const uint64_t base64_set[2] = { 0x03FF880000000000u, 0x07FFFFFE07FFFFFEu };

/* Groups of four, white space anywhere, padding at the end only. */
static bool base64_ok(sv t)
{
    size_t n = 0, padding = 0;
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        if (c < 128 && (base64_set[c / 64] >> c % 64 & 1)) {
            if (padding)
                return false;
            n++;
        } else if (c == '=') {
            padding++;
        } else if (!space((char)c)) {
            return false;
        }
    }
    return n > 0 && padding <= 2 && (n + padding) % 4 == 0;
}

/* One div element, as far as its ends tell; or plain text without a tag, which says no less and can
 * do no harm: HealthLake takes it, its own examples have it. */
static bool xhtml_ok(sv t)
{
    while (t.len && space(t.ptr[0]))
        t = sv_tail(t, 1);
    while (t.len && space(t.ptr[t.len - 1]))
        t.len--;
    if (sv_find(t, '<') == t.len)
        return t.len != 0;
    if (!sv_starts(t, SV_LIT("<div")) || t.len < 6)
        return false;
    return (space(t.ptr[4]) || t.ptr[4] == '>' || t.ptr[4] == '/') &&
           (sv_ends(t, SV_LIT("</div>")) || sv_ends(t, SV_LIT("/>")));
}

/* ---- dates and times ---- */

/* n digits at the start of *t as a number, -1 when there are none; *t moves behind them. */
static int digits(sv *t, size_t n)
{
    int v = 0;
    if (t->len < n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!digit(t->ptr[i]))
            return -1;
        v = v * 10 + (t->ptr[i] - '0');
    }
    t->ptr += n;
    t->len -= n;
    return v;
}

static bool take(sv *t, char c)
{
    if (t->len == 0 || t->ptr[0] != c)
        return false;
    t->ptr++;
    t->len--;
    return true;
}

static bool between(int v, int low, int high)
{
    return v >= low && v <= high;
}

static int days_in(int year, int month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* YYYY, YYYY-MM or YYYY-MM-DD; *parts says how much of it was there, 1 to 3. */
static bool date_part(sv *t, int *parts)
{
    int year = digits(t, 4);
    *parts = 1;
    if (year < 1)
        return false;
    if (!take(t, '-'))
        return true;
    int month = digits(t, 2);
    *parts = 2;
    if (!between(month, 1, 12))
        return false;
    if (!take(t, '-'))
        return true;
    *parts = 3;
    return between(digits(t, 2), 1, days_in(year, month));
}

/* hh:mm:ss with an optional fraction; 60 is a leap second. */
static bool time_part(sv *t)
{
    if (!between(digits(t, 2), 0, 23) || !take(t, ':') || !between(digits(t, 2), 0, 59) ||
        !take(t, ':') || !between(digits(t, 2), 0, 60))
        return false;
    if (!take(t, '.'))
        return true;
    if (digits(t, 1) < 0)
        return false;
    while (digits(t, 1) >= 0) {
    }
    return true;
}

/* Z or an offset up to 14:00. */
static bool zone_part(sv *t)
{
    if (take(t, 'Z'))
        return true;
    if (!take(t, '+') && !take(t, '-'))
        return false;
    int h = digits(t, 2);
    if (!between(h, 0, 14) || !take(t, ':'))
        return false;
    return between(digits(t, 2), 0, h == 14 ? 0 : 59);
}

static bool date_time_ok(sv t, bool partial)
{
    int parts;
    if (!date_part(&t, &parts))
        return false;
    if (t.len == 0)
        return partial;
    return parts == 3 && take(&t, 'T') && time_part(&t) && zone_part(&t) && t.len == 0;
}

/* ---- numbers: JSON's grammar is checked already ---- */

static bool integer_ok(sv t, int64_t low)
{
    int64_t v;
    if (t.len == 2 && t.ptr[0] == '-' && t.ptr[1] == '0')
        return false;
    return sv_to_i64(t, &v) && v >= low && v <= INT32_MAX;
}

bool fhir_primitive_ok(fhir_primitive p, sv t)
{
    int parts;
    switch (p) {
    case FHIR_BOOLEAN:
    case FHIR_DECIMAL:
        return true;
    case FHIR_STRING:
    case FHIR_MARKDOWN:
        return text_ok(t);
    case FHIR_CANONICAL:
    case FHIR_URI:
    case FHIR_URL:
        return no_space(t);
    case FHIR_CODE:
        return code_ok(t);
    case FHIR_ID:
        return id_ok(t);
    case FHIR_OID:
        return oid_ok(t);
    case FHIR_UUID:
        return uuid_ok(t);
    case FHIR_BASE64BINARY:
        return base64_ok(t);
    case FHIR_XHTML:
        return xhtml_ok(t);
    case FHIR_DATE:
        return date_part(&t, &parts) && t.len == 0;
    case FHIR_DATETIME:
        return date_time_ok(t, true);
    case FHIR_INSTANT:
        return date_time_ok(t, false);
    case FHIR_TIME:
        return time_part(&t) && t.len == 0;
    case FHIR_INTEGER:
        return integer_ok(t, INT32_MIN);
    case FHIR_UNSIGNEDINT:
        return integer_ok(t, 0);
    case FHIR_POSITIVEINT:
        return integer_ok(t, 1);
    case FHIR_NOT_PRIMITIVE:
    case FHIR_N_PRIMITIVES:
        break;
    }
    return false;
}
