/* envelope_fill.c - A stored resource becomes the text that is sent: version and instant go into
 * its hole. Exports do this for every resource, so nothing here is formatted by printf, and the
 * text of an instant is kept for the next resource of the same commit. */
#include "fhir/envelope.h"

static char *put_text(char *p, const char *text, size_t len)
{
    memcpy(p, text, len);
    return p + len;
}
#define PUT_LIT(p, s) put_text((p), (s), sizeof(s) - 1)

static char *put_u64(char *p, uint64_t v)
{
    char t[20];
    size_t n = 0;
    do {
        t[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n)
        *p++ = t[--n];
    return p;
}

/* A scan meets the instants of a few commits again and again, in no order. */
static char *put_instant(char *p, int64_t ms)
{
    static _Thread_local struct {
        bool there;
        int64_t ms;
        char text[INSTANT_LEN];
    } kept[64];
    uint64_t mixed = (uint64_t)ms * 0x9E3779B97F4A7C15u;
    size_t i = mixed >> 58;
    if (!kept[i].there || kept[i].ms != ms) {
        instant_format(ms, kept[i].text);
        kept[i].ms = ms;
        kept[i].there = true;
    }
    return put_text(p, kept[i].text, INSTANT_LEN);
}

size_t fhir_body_fill(const struct fhir_body *b, uint64_t version, int64_t instant_ms,
                      char out[FHIR_SPLICE_MAX])
{
    char *p = out;
    if (b->hole == FHIR_HOLE_NO_META)
        p = PUT_LIT(p, ",\"meta\":{");
    p = PUT_LIT(p, "\"versionId\":\"");
    p = put_u64(p, version);
    p = PUT_LIT(p, "\",\"lastUpdated\":\"");
    p = put_instant(p, instant_ms);
    p = PUT_LIT(p, "\"");
    if (b->hole == FHIR_HOLE_NO_META)
        p = PUT_LIT(p, "}");
    else if (b->hole == FHIR_HOLE_META)
        p = PUT_LIT(p, ",");
    return (size_t)(p - out);
}

size_t fhir_body_write(const struct fhir_body *b, uint64_t version, int64_t instant_ms, char *dst)
{
    char splice[FHIR_SPLICE_MAX];
    size_t n = fhir_body_fill(b, version, instant_ms, splice);
    const char *tail = b->json.ptr + b->hole_at;
    size_t tail_len = b->json.len - b->hole_at;
    char *tail_to = dst + b->hole_at + n;
    /* json may lie behind dst: nothing is written over unread */
    bool tail_first = tail_to > tail;
    if (tail_first)
        memmove(tail_to, tail, tail_len);
    memmove(dst, b->json.ptr, b->hole_at);
    memcpy(dst + b->hole_at, splice, n);
    if (!tail_first && tail_to != tail)
        memmove(tail_to, tail, tail_len);
    return b->json.len + n;
}
