/* keys.c - the bytes of keys and values.
 *
 * Numbers are big endian, so that keys stand in the order of their numbers. In the keys of versions
 * that of the commit or load is turned over (~n), so that the newest version of a resource comes
 * first. Everything here is on disk: docs/key-layout.md draws it, and a change needs a new version
 * of the layout. */
#include "store/rocks/keys.h"

#include <assert.h>

void key_put_u64(char *out, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(out, &v, 8);
}

uint64_t key_get_u64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static void add_byte(struct key_bytes *k, unsigned char c)
{
    k->ptr[k->len++] = (char)c;
}

static void add_u64(struct key_bytes *k, uint64_t v)
{
    key_put_u64(k->ptr + k->len, v);
    k->len += 8;
}

static size_t put_varint(char *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (char)(v | 0x80);
    p[n++] = (char)v;
    return n;
}

bool key_get_varint(sv *in, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && in->len; shift += 7) {
        unsigned char c = (unsigned char)in->ptr[0];
        *in = sv_tail(*in, 1);
        v |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

struct key_bytes key_number(store_number number)
{
    struct key_bytes k = { .len = 0 };
    add_u64(&k, number);
    return k;
}

struct key_bytes key_end(store_number number)
{
    return key_number(number ? number : UINT64_MAX);
}

struct key_bytes key_version(store_number number, key_kind kind, uint64_t n)
{
    struct key_bytes k = key_number(number);
    add_byte(&k, (unsigned char)kind);
    add_u64(&k, ~n);
    return k;
}

bool key_version_split(sv key, struct key_version_parts *out)
{
    if (key.len != NUMBER_BYTES + 1 + 8)
        return false;
    const char *tail = key.ptr + NUMBER_BYTES;
    out->number = key_get_u64(key.ptr);
    if (number_b(out->number) == 0 || (tail[0] != KEY_BULK && tail[0] != KEY_ONLINE))
        return false;
    out->kind = (key_kind)tail[0];
    out->n = ~key_get_u64(tail + 1);
    return true;
}

struct key_bytes key_change(fhir_type type, key_kind kind, uint64_t n, store_number number)
{
    struct key_bytes k = { .len = 0 };
    add_byte(&k, type);
    add_byte(&k, (unsigned char)kind);
    add_u64(&k, n);
    if (number)
        add_u64(&k, number);
    return k;
}

/* ---- births ---- */

enum { BIRTHS_AT_BYTES = 3 };

void births_put(const struct births *x, char out[BIRTHS_VALUE_BYTES])
{
    char t[8];
    key_put_u64(t, x->n);
    memcpy(out, t + 5, 3);
    key_put_u64(t, x->json_bytes);
    memcpy(out + BIRTHS_AT_BYTES, t + 3, 5);
}

bool births_split(sv value, struct births *out)
{
    char t[8] = { 0 };
    if (value.len != BIRTHS_VALUE_BYTES)
        return false;
    memcpy(t + 5, value.ptr, 3);
    out->n = (uint32_t)key_get_u64(t);
    memset(t, 0, sizeof t);
    memcpy(t + 3, value.ptr + BIRTHS_AT_BYTES, 5);
    out->json_bytes = key_get_u64(t);
    return out->n > 0 && out->n <= NUMBER_K_MOST;
}

/* ---- search entries ---- */

size_t key_search(fhir_type type, uint16_t param, sv value, store_number number, entry_kind kind,
                  uint64_t n, char out[KEY_SEARCH_MAX])
{
    size_t v = value.len;
    assert(v <= SEARCH_KEY_MAX && (kind == ENTRY_BIRTHS) == (n == 0));
    char *p = out;
    *p++ = (char)type;
    *p++ = (char)(param >> 8);
    *p++ = (char)param;
    if (v)
        memcpy(p, value.ptr, v);
    p += v;
    key_put_u64(p, number);
    p += NUMBER_BYTES;
    *p++ = (char)kind;
    if (kind != ENTRY_BIRTHS) {
        key_put_u64(p, n);
        p += 8;
    }
    *p++ = (char)v;
    return (size_t)(p - out);
}

bool key_search_split(sv key, struct key_search_parts *out)
{
    const size_t births = 1 + 2 + NUMBER_BYTES + 1 + 1, others = births + 8;
    if (key.len < births)
        return false;
    size_t v = (unsigned char)key.ptr[key.len - 1];
    if (v > SEARCH_KEY_MAX || (key.len != births + v && key.len != others + v))
        return false;
    const char *p = key.ptr + 3 + v;
    *out = (struct key_search_parts){ .value = sv_make(key.ptr + 3, v),
                                      .number = key_get_u64(p),
                                      .kind = (entry_kind)p[NUMBER_BYTES] };
    const bool short_key = key.len == births + v;
    out->n = short_key ? number_b(out->number) : key_get_u64(p + NUMBER_BYTES + 1);
    return (unsigned char)p[NUMBER_BYTES] <= ENTRY_ANEW && out->n &&
           short_key == (out->kind == ENTRY_BIRTHS) &&
           number_type(out->number) == (fhir_type)key.ptr[0];
}

size_t entry_step_put(char *p, uint64_t step)
{
    assert(step > 0 && step < 1u << ENTRY_SPAN_BITS);
    return put_varint(p, step);
}

bool entry_step_next(sv *list, uint64_t *step)
{
    return key_get_varint(list, step) && *step > 0 && *step < 1u << ENTRY_SPAN_BITS;
}

struct key_bytes key_commit(char letter, uint64_t n)
{
    struct key_bytes k = { .len = 0 };
    add_byte(&k, (unsigned char)letter);
    key_put_u64(k.ptr + k.len, n);
    k.len += 8;
    return k;
}

/* ---- values of commits ---- */

enum { AT_INSTANT = 0, AT_KIND = 8, AT_BULK = 9, AT_RESOURCES = 17, AT_FORM = 25 };
_Static_assert(AT_FORM + 1 == COMMIT_VALUE_BYTES, "the form is the last byte");

void commit_value_put(const struct commit_value *c, char out[COMMIT_VALUE_BYTES])
{
    key_put_u64(out + AT_INSTANT, (uint64_t)c->instant_ms);
    out[AT_KIND] = (char)c->kind;
    key_put_u64(out + AT_BULK, c->bulk);
    key_put_u64(out + AT_RESOURCES, c->n_resources);
    out[AT_FORM] = (char)c->form;
}

bool commit_value_split(sv value, struct commit_value *out)
{
    if (value.len < AT_KIND)
        return false;
    *out = (struct commit_value){ .instant_ms = (int64_t)key_get_u64(value.ptr) };
    if (value.len >= AT_FORM) {
        out->kind = (key_kind)value.ptr[AT_KIND];
        out->bulk = key_get_u64(value.ptr + AT_BULK);
        out->n_resources = key_get_u64(value.ptr + AT_RESOURCES);
    }
    if (value.len > AT_FORM)
        out->form = (unsigned char)value.ptr[AT_FORM];
    return true;
}

/* ---- values ----
 * byte 0: bits 0-1 hole, 2-3 method, 4 online, 5 the id stands here; then varint hole_at; the id:
 * its length (1), and varint of its place in the JSON, or its bytes; online: varint version, 8
 * bytes ms.
 * Of an erased version byte 0 has bits 6 and 4 alone; then, online, varint version, 8 bytes ms. */

enum { FLAG_ONLINE = 16, FLAG_ID = 32, FLAG_ERASED = 64 };

/* An id stands at the begin of a resource, as a rule. Any place with its bytes will do. */
#define ID_LOOK_BYTES 512u

/* memmem() makes a table for each id, which costs more than the few looks that it spares. */
static const char *find_id(sv look, sv id)
{
    const char *p = look.ptr;
    for (size_t left = look.len; left >= id.len; left = look.len - (size_t)(p - look.ptr)) {
        p = memchr(p, id.ptr[0], left - id.len + 1);
        if (p == NULL || memcmp(p, id.ptr, id.len) == 0)
            return p;
        p++;
    }
    return NULL;
}

static size_t put_online(const struct value_head *h, char *p)
{
    if (!h->online)
        return 0;
    size_t n = put_varint(p, h->version);
    key_put_u64(p + n, (uint64_t)h->instant_ms);
    return n + 8;
}

size_t value_head_put(const struct value_head *h, char out[VALUE_HEAD_MAX])
{
    if (h->erased) {
        out[0] = (char)(FLAG_ERASED | (h->online ? FLAG_ONLINE : 0u));
        return 1 + put_online(h, out + 1);
    }
    sv look = sv_head(h->body.json, ID_LOOK_BYTES);
    const char *at = find_id(look, h->id);
    assert(h->id.len > 0 && h->id.len <= FHIR_ID_MAX);
    out[0] = (char)((unsigned)h->body.hole | (unsigned)h->method << 2 |
                    (h->online ? FLAG_ONLINE : 0u) | (at ? 0u : FLAG_ID));
    size_t n = 1 + put_varint(out + 1, h->body.hole_at);
    out[n++] = (char)h->id.len;
    if (at) {
        n += put_varint(out + n, (uint64_t)(at - look.ptr));
    } else {
        memcpy(out + n, h->id.ptr, h->id.len);
        n += h->id.len;
    }
    return n + put_online(h, out + n);
}

/* The id, or how far behind the header it stands: *ptr is NULL then. */
static bool split_id(unsigned char flags, sv *rest, sv *id, uint64_t *id_at)
{
    if (rest->len == 0)
        return false;
    size_t len = (unsigned char)rest->ptr[0];
    *rest = sv_tail(*rest, 1);
    *id = (sv){ NULL, len };
    if (len == 0 || len > FHIR_ID_MAX)
        return false;
    if (!(flags & FLAG_ID))
        return key_get_varint(rest, id_at);
    if (rest->len < len)
        return false;
    *id = sv_head(*rest, len);
    *rest = sv_tail(*rest, len);
    return true;
}

static bool split_online(sv *rest, struct value_head *h)
{
    if (!h->online)
        return true;
    if (!key_get_varint(rest, &h->version) || rest->len < 8)
        return false;
    h->instant_ms = (int64_t)key_get_u64(rest->ptr);
    *rest = sv_tail(*rest, 8);
    return true;
}

static bool split_erased(sv value, struct value_head *out)
{
    const unsigned char c = (unsigned char)value.ptr[0];
    struct value_head h = { .method = STORE_METHOD_DELETE,
                            .erased = true,
                            .online = c & FLAG_ONLINE };
    sv rest = sv_tail(value, 1);
    if ((c & ~(unsigned)FLAG_ONLINE) != FLAG_ERASED || !split_online(&rest, &h) || rest.len)
        return false;
    *out = h;
    return true;
}

bool value_split(sv value, struct value_head *out)
{
    struct value_head h = { .method = STORE_METHOD_IMPORT };
    uint64_t hole_at, id_at = 0;
    if (value.len == 0)
        return false;
    unsigned char c = (unsigned char)value.ptr[0];
    if (c & FLAG_ERASED)
        return split_erased(value, out);
    h.body.hole = (fhir_hole)(c & 3);
    h.method = (store_method)(c >> 2 & 3);
    h.online = c & FLAG_ONLINE;
    sv rest = sv_tail(value, 1);
    if (c >= 2 * FLAG_ID || (c & 3) == 3 || !key_get_varint(&rest, &hole_at) ||
        !split_id(c, &rest, &h.id, &id_at))
        return false;
    if (!split_online(&rest, &h) || hole_at > rest.len || id_at > rest.len ||
        (h.id.ptr == NULL && rest.len - id_at < h.id.len))
        return false;
    if (h.id.ptr == NULL)
        h.id.ptr = rest.ptr + id_at;
    h.body.hole_at = (uint32_t)hole_at;
    h.body.json = rest;
    *out = h;
    return true;
}
