/* Keys and values of the store: what splits is what was put together. */
#include "fuzz.h"

#include "store/rocks/convert/old.h"
#include "store/rocks/keys.h"
#include "store/rocks/numbers/ids.h"

static void versions(sv data)
{
    struct key_version_parts p;
    if (!key_version_split(data, &p))
        return;
    struct key_bytes k = key_version(p.number, p.kind, p.n);
    MUST(sv_eq(sv_make(k.ptr, k.len), data));
}

static void search(sv data)
{
    struct key_search_parts p;
    char key[KEY_SEARCH_MAX];
    uint64_t step;
    if (key_search_split(data, &p)) {
        const uint16_t param =
            (uint16_t)((unsigned char)data.ptr[1] << 8 | (unsigned char)data.ptr[2]);
        size_t n = key_search(number_type(p.number), param, p.value, p.number, p.kind,
                              p.kind == ENTRY_BIRTHS ? 0 : p.n, key);
        MUST(sv_eq(sv_make(key, n), data));
    }
    for (sv list = data; list.len && entry_step_next(&list, &step);)
        MUST(step > 0 && step < 1u << ENTRY_SPAN_BITS);
}

static void ids(sv data)
{
    fhir_type type;
    char id[FHIR_ID_MAX];
    size_t len;
    if (ids_key_split(data, &type, id, &len)) {
        struct ids_key k = ids_key(type, sv_make(id, len));
        MUST(sv_eq(sv_make(k.ptr, k.len), data));
    }
}

static void values(sv data)
{
    struct value_head h, again;
    char head[VALUE_HEAD_MAX];
    if (!value_split(data, &h))
        return;
    MUST(h.body.hole_at <= h.body.json.len);
    size_t n = value_head_put(&h, head);
    char *whole = malloc(n + h.body.json.len);
    if (whole == NULL)
        abort();
    memcpy(whole, head, n);
    if (h.body.json.len)
        memcpy(whole + n, h.body.json.ptr, h.body.json.len);
    MUST(value_split(sv_make(whole, n + h.body.json.len), &again));
    MUST(sv_eq(again.id, h.id) && again.version == h.version && again.instant_ms == h.instant_ms &&
         again.method == h.method && again.body.hole == h.body.hole &&
         again.body.hole_at == h.body.hole_at);
    free(whole);
}

/* Of layout 3, which are read alone. */
static void old_ones(sv data)
{
    struct old_key key;
    struct value_head h;
    if (old_key_split(data, &key)) {
        MUST(fhir_id_ok(key.id) && key.id.ptr == data.ptr + 1);
        MUST(1 + key.id.len + 1 + 1 + 8 == data.len);
    }
    if (old_value_split(data, &h)) {
        MUST(h.body.hole_at <= h.body.json.len);
        MUST(h.body.json.ptr + h.body.json.len == data.ptr + data.len);
    }
}

FUZZ(data)
{
    struct births x;
    versions(data);
    search(data);
    ids(data);
    values(data);
    old_ones(data);
    if (births_split(data, &x)) {
        char value[BIRTHS_VALUE_BYTES];
        births_put(&x, value);
        MUST(sv_eq(sv_make(value, sizeof value), data));
    }
}
