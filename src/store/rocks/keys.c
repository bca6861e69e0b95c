/* keys.c - the bytes of keys and values.
 *
 * Numbers are big endian, so that keys stand in the order of their numbers. In the keys of versions
 * they are turned over (~n), so that the newest version of an id comes first. An id ends with 0x00,
 * which no id holds, so that the versions of one id stand together and in front of those of any id
 * that it begins. Everything here is on disk: docs/key-layout.md draws it, and a change needs a new
 * version of the layout. */
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

static void add(struct key_bytes *k, sv bytes)
{
    size_t n = bytes.len < sizeof k->ptr - k->len ? bytes.len : sizeof k->ptr - k->len;
    if (n)
        memcpy(k->ptr + k->len, bytes.ptr, n);
    k->len += n;
}

static void add_byte(struct key_bytes *k, unsigned char c)
{
    k->ptr[k->len++] = (char)c;
}

struct key_bytes key_id_bound(fhir_type type, sv bound)
{
    struct key_bytes k = { .len = 0 };
    add_byte(&k, type);
    /* the place behind the longest id is one byte more */
    add(&k, sv_head(bound, FHIR_ID_MAX + 1));
    return k;
}

struct key_bytes key_version_prefix(fhir_type type, sv id)
{
    /* else the range of one id could hold versions of another */
    assert(fhir_id_ok(id));
    struct key_bytes k = key_id_bound(type, id);
    add_byte(&k, 0);
    return k;
}

struct key_bytes key_version(fhir_type type, sv id, key_kind kind, uint64_t n)
{
    struct key_bytes k = key_version_prefix(type, id);
    add_byte(&k, (unsigned char)kind);
    key_put_u64(k.ptr + k.len, ~n);
    k.len += 8;
    return k;
}

struct key_bytes key_after_type(fhir_type type)
{
    return key_id_bound((fhir_type)(type + 1), SV_NONE);
}

/* The terminator 0x00 becomes 0x01. */
struct key_bytes key_after_id(fhir_type type, sv id)
{
    struct key_bytes k = key_version_prefix(type, id);
    k.ptr[k.len - 1] = 1;
    return k;
}

bool key_version_split(sv key, struct key_version_parts *out)
{
    if (key.len < 1 + 1 + 1 + 1 + 8)
        return false;
    size_t id_len = key.len - 11;
    const char *tail = key.ptr + 1 + id_len;
    if (tail[0] != 0 || (tail[1] != KEY_BULK && tail[1] != KEY_ONLINE) || id_len > FHIR_ID_MAX)
        return false;
    out->type = (fhir_type)(unsigned char)key.ptr[0];
    out->id = sv_make(key.ptr + 1, id_len);
    out->kind = (key_kind)tail[1];
    out->n = ~key_get_u64(tail + 2);
    return true;
}

struct key_bytes key_change(fhir_type type, key_kind kind, uint64_t n, sv id)
{
    struct key_bytes k = { .len = 0 };
    assert(id.len <= FHIR_ID_MAX);
    add_byte(&k, type);
    add_byte(&k, (unsigned char)kind);
    key_put_u64(k.ptr + k.len, n);
    k.len += 8;
    add(&k, id);
    return k;
}

size_t key_search(fhir_type type, uint16_t param, sv value, sv id, key_kind kind, uint64_t n,
                  char out[KEY_SEARCH_MAX])
{
    size_t v = value.len, i = id.len;
    assert(v <= SEARCH_KEY_MAX && i <= FHIR_ID_MAX);
    char *p = out;
    *p++ = (char)type;
    *p++ = (char)(param >> 8);
    *p++ = (char)param;
    memcpy(p, value.ptr, v);
    p += v;
    memcpy(p, id.ptr, i);
    p += i;
    *p++ = (char)kind;
    key_put_u64(p, n);
    p += 8;
    *p++ = (char)v;
    return (size_t)(p - out);
}

bool key_search_split(sv key, struct key_search_parts *out)
{
    const size_t fixed = 1 + 2 + 1 + 8 + 1;
    if (key.len <= fixed)
        return false;
    size_t v = (unsigned char)key.ptr[key.len - 1];
    if (v + fixed >= key.len || v > SEARCH_KEY_MAX || key.len - fixed - v > FHIR_ID_MAX)
        return false;
    const char *tail = key.ptr + key.len - 10;
    if (tail[0] != KEY_BULK && tail[0] != KEY_ONLINE)
        return false;
    out->value = sv_make(key.ptr + 3, v);
    out->id = sv_make(key.ptr + 3 + v, key.len - fixed - v);
    out->kind = (key_kind)tail[0];
    out->n = key_get_u64(tail + 1);
    return true;
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
 * byte 0: bits 0-1 hole, 2-3 method, 4 online; then varint hole_at; online: varint version, 8 bytes
 * ms */

static size_t put_varint(char *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (char)(v | 0x80);
    p[n++] = (char)v;
    return n;
}

static bool get_varint(sv *in, uint64_t *out)
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

size_t value_head_put(const struct value_head *h, char out[VALUE_HEAD_MAX])
{
    out[0] = (char)((unsigned)h->body.hole | (unsigned)h->method << 2 | (h->online ? 16u : 0u));
    size_t n = 1 + put_varint(out + 1, h->body.hole_at);
    if (h->online) {
        n += put_varint(out + n, h->version);
        key_put_u64(out + n, (uint64_t)h->instant_ms);
        n += 8;
    }
    return n;
}

bool value_split(sv value, struct value_head *out)
{
    struct value_head h = { .method = STORE_METHOD_IMPORT };
    uint64_t hole_at;
    if (value.len == 0)
        return false;
    unsigned char c = (unsigned char)value.ptr[0];
    h.body.hole = (fhir_hole)(c & 3);
    h.method = (store_method)(c >> 2 & 3);
    h.online = c & 16;
    sv rest = sv_tail(value, 1);
    if (c >= 32 || (c & 3) == 3 || !get_varint(&rest, &hole_at))
        return false;
    if (h.online) {
        if (!get_varint(&rest, &h.version) || rest.len < 8)
            return false;
        h.instant_ms = (int64_t)key_get_u64(rest.ptr);
        rest = sv_tail(rest, 8);
    }
    if (hole_at > rest.len)
        return false;
    h.body.hole_at = (uint32_t)hole_at;
    h.body.json = rest;
    *out = h;
    return true;
}
