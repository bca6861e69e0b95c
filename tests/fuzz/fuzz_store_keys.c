/* Keys and values of the store: what splits is what was put together. */
#include "fuzz.h"

#include "store/rocks/keys.h"

FUZZ(data)
{
    struct key_version_parts p;
    struct value_head h;
    if (key_version_split(data, &p) && fhir_id_ok(p.id)) {
        struct key_bytes k = key_version(p.type, p.id, p.kind, p.n);
        MUST(sv_eq(sv_make(k.ptr, k.len), data));
    }
    if (value_split(data, &h)) {
        char head[VALUE_HEAD_MAX];
        struct value_head again;
        MUST(h.body.hole_at <= h.body.json.len);
        size_t n = value_head_put(&h, head);
        char *whole = malloc(n + h.body.json.len);
        memcpy(whole, head, n);
        if (h.body.json.len)
            memcpy(whole + n, h.body.json.ptr, h.body.json.len);
        MUST(value_split(sv_make(whole, n + h.body.json.len), &again));
        MUST(again.version == h.version && again.instant_ms == h.instant_ms &&
             again.method == h.method && again.body.hole == h.body.hole &&
             again.body.hole_at == h.body.hole_at);
        free(whole);
    }
}
