/* entry.c - the bytes of an index entry, and which entries a value has.
 *
 *   token      7 bytes of a hash of the code in lower case, 2 of the code as it stands (0 where
 *              case means nothing), 4 of the system (0 for none, all bits where the element
 *              implies it)
 *   uri        6 bytes of a hash of the URI without |version
 *   reference  'r', 6 bytes of a hash of the id (of the URL without version when it does not end
 *              in Type/id)
 *              'i', 6 bytes of a hash of identifier.value in lower case
 *              'c', type, 0, 0                  a "#x" leads to a contained resource of that type
 *              'c', type, parameter (2), entry  and it has this entry, one of those that it would
 *                                               have by itself; references of its own to other
 *                                               contained ones have a 'c' beside the 'r'
 *              'd'                              there are more than are listed
 *   string     the folded text, read without its joints and with blanks for them, at most
 *              STRING_CUT bytes, 0x00; of a name from each part on
 *   number,    'S', value; a Range, or one with a comparator: 'L', low and 'H', high. 8 bytes,
 *   quantity   ordered as doubles are, the nearest to the decimal
 *   date       'S', start when it is no longer than SHORT_S; else 'L', start and 'H', end.
 *              5 bytes, seconds
 *
 * So a criterion on one side of an interval looks at entries of that side, and a short interval
 * costs one entry. Seconds are cut, decimals rounded, hashes collide, strings end early: entries
 * propose, search_match() decides. Entries stand on disk: what is here changes only with
 * SEARCH_INDEX_FORM. */
#include "search/search_private.h"

#include <math.h>

#define HASH_LEN   6u
#define STRING_CUT 16u
#define YEAR1_S    62135596800LL /* from 0001-01-01 to 1970-01-01 */
/* of a token: what stands for its case, and for its system, beside hashes */
#define ANY_CASE   0u
#define NO_SYSTEM  0u
#define ANY_SYSTEM 0xFFFFFFFFu

/* ---- the bytes ---- */

/* Hashes are part of what stands on disk: the constants, and the steps, never change.
 * FNV-1a over the bytes, from a start of our own, then one step of degski's 64-bit mixer.
 * Source: the prime is that of FNV (http://www.isthe.com/chongo/tech/comp/fnv/), the start the
 * fraction of the golden ratio in 64 bits, the multiplier that of degski's mixer. */
#define HASH_START      0x9E3779B97F4A7C15u
#define HASH_FNV_PRIME  0x100000001B3u
#define HASH_MULTIPLIER 0xD6E8FEB86659FD93u

static uint64_t hash(sv text, bool any_case)
{
    uint64_t h = HASH_START ^ text.len;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (any_case && c >= 'A' && c <= 'Z')
            c |= 0x20;
        h = (h ^ c) * HASH_FNV_PRIME;
    }
    h ^= h >> 32;
    h *= HASH_MULTIPLIER;
    return h ^ h >> 29;
}

static void put_bytes(struct entry *e, uint64_t h, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        e->v[e->len++] = (unsigned char)(h >> (8 * i));
}

static void put_big(struct entry *e, uint64_t v, unsigned bytes)
{
    while (bytes--)
        e->v[e->len++] = (unsigned char)(v >> (8 * bytes));
}

static unsigned case_hash(sv code)
{
    unsigned h = (unsigned)(hash(code, false) >> 40) & 0xFFFF;
    return h == ANY_CASE ? 1 : h;
}

static uint32_t system_hash(sv system)
{
    uint32_t h = (uint32_t)hash(system, false);
    return system.len == 0 ? NO_SYSTEM : h == NO_SYSTEM || h == ANY_SYSTEM ? 1 : h;
}

struct entry code_entry(sv code, bool any_case)
{
    struct entry e;
    e.len = 0;
    put_bytes(&e, hash(code, true), FOLDED_LEN);
    put_bytes(&e, any_case ? ANY_CASE : case_hash(code), SEARCH_CODE_LEN - FOLDED_LEN);
    return e;
}

struct entry token_entry(sv code, bool any_case, sv system, bool any_system)
{
    struct entry e = code_entry(code, any_case);
    put_bytes(&e, any_system ? ANY_SYSTEM : system_hash(system),
              SEARCH_TOKEN_LEN - SEARCH_CODE_LEN);
    return e;
}

struct entry tag_entry(char tag)
{
    struct entry e;
    e.len = 0;
    e.v[e.len++] = (unsigned char)tag;
    return e;
}

static struct entry tagged_hash(char tag, sv text, bool any_case)
{
    struct entry e = tag_entry(tag);
    put_bytes(&e, hash(text, any_case), HASH_LEN);
    return e;
}

struct entry reference_entry(sv text, sv id)
{
    return tagged_hash('r', id.len ? id : canonical_url(text), false);
}

struct entry identifier_entry(sv value)
{
    return tagged_hash('i', value, true);
}

struct entry uri_entry(sv text)
{
    struct entry e;
    e.len = 0;
    put_bytes(&e, hash(canonical_url(text), false), HASH_LEN);
    return e;
}

struct entry contained_entry(fhir_type type, uint16_t param, sv value)
{
    struct entry e = tag_entry(CONTAINED_TAG);
    put_big(&e, type, 1);
    put_big(&e, param, 2);
    memcpy(e.v + e.len, value.ptr ? value.ptr : "", value.len);
    e.len = (uint8_t)(e.len + value.len);
    return e;
}

/* Order of doubles as order of bytes: the sign bit turned, negatives turned over. */
static uint64_t ordered(double d)
{
    uint64_t u;
    /* -0 is 0 */
    if (d == 0)
        d = 0;
    memcpy(&u, &d, 8);
    return u >> 63 ? ~u : u | 1ull << 63;
}

struct entry number_entry(char tag, double d)
{
    struct entry e = tag_entry(tag);
    put_big(&e, ordered(d), 8);
    return e;
}

static int64_t floor_s(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

struct entry date_entry(char tag, int64_t ms)
{
    struct entry e = tag_entry(tag);
    const int64_t top = (1LL << 40) - 1;
    int64_t s = ms == INT64_MIN ? 0 : ms == INT64_MAX ? top : floor_s(ms) + YEAR1_S;
    s = s < 0 ? 0 : s > top ? top : s;
    put_big(&e, (uint64_t)s, 5);
    return e;
}

struct entry text_entry(sv folded, bool joints_are_blanks)
{
    struct entry e;
    e.len = (uint8_t)fold_read(folded, joints_are_blanks, (char *)e.v, STRING_CUT);
    return e;
}

/* ---- entries of a value ---- */

/* Both readings of a text, from one place on. */
static size_t readings(sv folded, struct entry *out)
{
    const size_t n = folded.len == 0 ? 0 : fold_has_joint(sv_head(folded, STRING_CUT)) ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        out[i] = text_entry(folded, i);
        out[i].v[out[i].len++] = 0;
    }
    return n;
}

static size_t name_entries(sv text, struct entry out[ENTRIES_MAX])
{
    struct folded f;
    if (!fold(text, &f))
        return 0;
    size_t at = 0, n = readings(f.text, out);
    for (unsigned i = 1; i < FOLD_PARTS_MAX && fold_next_part(f.text, &at); i++)
        n += readings(sv_tail(f.text, at), out + n);
    fold_done(&f);
    return n;
}

static size_t string_entries(const struct search_value *value, struct entry out[ENTRIES_MAX])
{
    char head[FOLD_ROOM];
    if (value->parts)
        return name_entries(value->text, out);
    return readings(sv_make(head, fold_head(value->text, head)), out);
}

static size_t reference_entries(const struct search_value *value, struct entry out[ENTRIES_MAX])
{
    size_t n = 0;
    if (value->ref_type || value->text.len)
        out[n++] = reference_entry(value->text, value->ref_type ? value->ref_id : SV_NONE);
    sv identifier = yyjson_is_obj(value->element)
                        ? json_string(json_get(json_get(value->element, "identifier"), "value"))
                        : SV_NONE;
    if (identifier.len)
        out[n++] = identifier_entry(identifier);
    return n;
}

static size_t number_entries(const struct search_value *value, struct entry out[ENTRIES_MAX])
{
    const double lo = value->lo.ptr ? decimal_near(value->lo) : -INFINITY;
    const double hi = value->point ? lo : value->hi.ptr ? decimal_near(value->hi) : INFINITY;
    if (lo == hi) {
        out[0] = number_entry('S', lo);
        return 1;
    }
    out[0] = number_entry('L', lo);
    out[1] = number_entry('H', hi);
    return 2;
}

static size_t date_entries(const struct search_value *value, struct entry out[ENTRIES_MAX])
{
    if (value->lo_ms != INT64_MIN && value->hi_ms != INT64_MAX &&
        floor_s(value->hi_ms) - floor_s(value->lo_ms) <= SHORT_S) {
        out[0] = date_entry('S', value->lo_ms);
        return 1;
    }
    out[0] = date_entry('L', value->lo_ms);
    out[1] = date_entry('H', value->hi_ms);
    return 2;
}

size_t entries_of(const struct search_value *value, struct entry out[ENTRIES_MAX])
{
    switch (value->kind) {
    case SEARCH_TOKEN:
        if (value->code.len == 0)
            return 0;
        out[0] = token_entry(value->code, value->any_case, value->system, value->any_system);
        return 1;
    case SEARCH_URI:
        out[0] = uri_entry(value->text);
        return 1;
    case SEARCH_STRING:
        return string_entries(value, out);
    case SEARCH_REFERENCE:
        return reference_entries(value, out);
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        return number_entries(value, out);
    case SEARCH_DATE:
        return date_entries(value, out);
    default:
        return 0;
    }
}

bool is_indexed(const struct search_param *param)
{
    return param->kind != SEARCH_COMPOSITE && param->kind != SEARCH_SPECIAL &&
           param != &search_created_at && !sv_eq(param->code, SV_LIT("_id")) &&
           !sv_eq(param->code, SV_LIT("_lastUpdated"));
}

/* ---- what is new since form 1 ---- */

unsigned form_since(search_kind kind, bool inside)
{
    return kind == SEARCH_TOKEN || kind == SEARCH_URI || (kind == SEARCH_REFERENCE && !inside) ? 1
                                                                                               : 2;
}

/* Letters with single blanks between them have always been what they are. */
static bool is_plain(sv text)
{
    bool blank = true;
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        const bool letter =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (c != ' ' || blank))
            return false;
        blank = !letter;
    }
    return !blank;
}

static bool has_leap_second(yyjson_val *v)
{
    size_t i, n;
    yyjson_val *key, *x;
    sv text = json_string(v);
    if (text.len && memmem(text.ptr, text.len, ":60", 3))
        return true;
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, x) if (has_leap_second(x)) return true;
    } else if (yyjson_is_obj(v)) {
        yyjson_obj_foreach(v, i, n, key, x) if (has_leap_second(x)) return true;
    }
    return false;
}

static bool is_small(sv decimal) /* enough for form 1 */
{
    double d;
    return decimal.ptr == NULL || sv_to_double(decimal, &d);
}

size_t older_entries(const struct search_value *value, size_t n)
{
    switch (value->kind) {
    case SEARCH_STRING: /* then come the parts of names */
        return is_plain(value->text) && n ? 1 : 0;
    case SEARCH_DATE:
        return has_leap_second(value->element) ? 0 : n;
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        return is_small(value->lo) && is_small(value->hi) ? n : 0;
    default:
        return n;
    }
}
