/* page_token.c - the place of a page as text, which cursor.c seals.
 *
 *   T-b                               the first page
 *   T-s-KEY.KEY-NUMBER                       behind this row, in the order of _sort
 *   T-p-TYPE-CLAUSE-DRIVER-NUMBER-VALUE-ID   where the walk of the query is
 *
 * T is the commit that all pages of the search see. KEY and VALUE are hexadecimal digits, NUMBER is
 * that of a resource. */
#include "rest/fair/clock_private.h"
#include "rest/read/page_private.h"

#include "codec/hash.h"

struct row { /* a row, and the memory of its texts */
    struct query_row row;
    char room[QUERY_SORT_MAX * SEARCH_SORT_KEY_MAX];
};

static err_code bad_place(struct err *e)
{
    return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
}

static bool sorted_place_read(struct rest_page *page, sv text)
{
    sv keys, one;
    struct row *s = arena_calloc(page->call->a, 1, sizeof *s);
    char *room = s ? s->room : NULL;
    if (s == NULL || !sv_cut(&text, '-', &keys) || !sv_to_u64(text, &s->row.number) ||
        s->row.number == 0)
        return false;
    for (; sv_cut(&keys, '.', &one); page->n_after++) {
        if (page->n_after == QUERY_SORT_MAX || !hash_unhex(one, room, SEARCH_SORT_KEY_MAX))
            return false;
        s->row.keys[page->n_after] = sv_make(room, one.len / 2);
        room += one.len / 2;
    }
    page->after = &s->row;
    return true;
}

err_code rest_page_place_read(struct rest_page *page, sv text, struct err *e)
{
    sv t, kind, part[5];
    uint64_t n[4], newest;
    if (!sv_cut(&text, '-', &t) || !sv_to_u64(t, &page->as_of) || !sv_cut(&text, '-', &kind) ||
        page->as_of == 0)
        return bad_place(e);
    /* a database that cannot be asked does not make the token a wrong one */
    TRY(rest_reads_newest(page->call, &newest, e));
    if (page->as_of > newest)
        return bad_place(e);
    if (sv_eq(kind, SV_LIT("b")))
        return ERR_OK;
    if (sv_eq(kind, SV_LIT("s")))
        return sorted_place_read(page, text) ? ERR_OK : bad_place(e);
    for (size_t i = 0; i < 5; i++)
        if (!sv_cut(&text, '-', &part[i]))
            return bad_place(e);
    for (size_t i = 0; i < 4; i++)
        if (!sv_to_u64(part[i], &n[i]) || (i < 3 && n[i] > 1000))
            return bad_place(e);
    struct query_place *at = &page->place;
    memset(at, 0, sizeof *at);
    at->type_at = (size_t)n[0];
    at->clause = (int)n[1] - 1;
    at->driver = (size_t)n[2];
    at->number = n[3];
    if (!hash_unhex(part[4], at->value, sizeof at->value) || (text.len && !fhir_id_ok(text)))
        return bad_place(e);
    at->value_len = (uint8_t)(part[4].len / 2);
    if (text.len)
        memcpy(at->id, text.ptr, text.len);
    at->id_len = (uint8_t)text.len;
    page->from_place = true;
    return ERR_OK;
}

sv rest_page_place(const struct rest_page *page, const struct query_place *at)
{
    char hex[2 * SEARCH_KEY_MAX];
    hash_hex(at->value, at->value_len, hex);
    return arena_fmt(page->call->a, "%llu-p-%zu-%d-%zu-%llu-%.*s-%.*s",
                     (unsigned long long)page->as_of, at->type_at, at->clause + 1, at->driver,
                     (unsigned long long)at->number, 2 * at->value_len, hex, (int)at->id_len,
                     at->id);
}

sv rest_page_place_sorted(const struct rest_page *page, const struct query_row *last)
{
    CLEANUP_BUF struct buf b = BUF_INIT(8192);
    char hex[2 * SEARCH_SORT_KEY_MAX];
    /* The cap is far above what the keys of a row can take. */
    struct err ignored;
    for (size_t i = 0; i < page->n_sort; i++) {
        hash_hex((const uint8_t *)last->keys[i].ptr, last->keys[i].len, hex);
        if ((i && buf_add_char(&b, '.', &ignored) != ERR_OK) ||
            buf_add(&b, sv_make(hex, 2 * last->keys[i].len), &ignored) != ERR_OK)
            return SV_NONE;
    }
    return arena_fmt(page->call->a, "%llu-s-%.*s-%llu", (unsigned long long)page->as_of,
                     SV_FMT(buf_sv(&b)), (unsigned long long)last->number);
}
