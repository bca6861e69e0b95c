/* rest_page_token.c - the place of a page as text, which a token seals (rest_cursor.c).
 *
 *   T-b                                    the first page
 *   T-s-KEY.KEY-ID                         behind this row in the order of _sort; keys in hexadecimal digits
 *   T-p-TYPE-CLAUSE-DRIVER-VALUE-ID        where the walk of the query stands; VALUE in hexadecimal digits
 *
 * T is the commit as of which all pages of the search are read. */
#include "service/rest_page.h"

#include "codec/hash.h"

static err_code bad_place(struct err *e)
{
    return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
}

static bool unhex(sv text, unsigned char *out, size_t max, uint8_t *len)
{
    if (text.len % 2 || text.len / 2 > max)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        out[i / 2] = (unsigned char)(i % 2 ? out[i / 2] | v : v << 4);
    }
    *len = (uint8_t)(text.len / 2);
    return true;
}

err_code rest_page_place_read(struct rest_page *p, sv text, struct err *e)
{
    sv t, kind, part[4];
    uint64_t n[3];
    if (!sv_cut(&text, '-', &t) || !sv_to_u64(t, &p->as_of) || !sv_cut(&text, '-', &kind) ||
        p->as_of == 0 || p->as_of > store_last(p->c->st).t)
        return bad_place(e);
    if (sv_eq(kind, SV_LIT("b")))
        return ERR_OK;
    if (sv_eq(kind, SV_LIT("s")))
        return rest_order_place_read(p, text) ? ERR_OK : bad_place(e);
    for (size_t i = 0; i < 4; i++)
        if (!sv_cut(&text, '-', &part[i]))
            return bad_place(e);
    for (size_t i = 0; i < 3; i++)
        if (!sv_to_u64(part[i], &n[i]) || n[i] > 1000)
            return bad_place(e);
    struct rest_place *at = &p->place;
    memset(at, 0, sizeof *at);
    at->type_at = (size_t)n[0];
    at->clause = (int)n[1] - 1;
    at->driver = (size_t)n[2];
    if (!unhex(part[3], at->value, sizeof at->value, &at->value_len) ||
        (text.len && !fhir_id_ok(text)))
        return bad_place(e);
    if (text.len)
        memcpy(at->id, text.ptr, text.len);
    at->id_len = (uint8_t)text.len;
    p->from_place = true;
    return ERR_OK;
}

sv rest_page_place(const struct rest_page *p, const struct rest_place *at)
{
    char hex[2 * SEARCH_KEY_MAX];
    hash_hex(at->value, at->value_len, hex);
    return arena_fmt(p->c->a, "%llu-p-%zu-%d-%zu-%.*s-%.*s", (unsigned long long)p->as_of,
                     at->type_at, at->clause + 1, at->driver, 2 * at->value_len, hex,
                     (int)at->id_len, at->id);
}
