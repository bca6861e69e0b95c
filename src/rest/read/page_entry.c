/* page_entry.c - the pieces of a searchset: an entry, the entry of the notes, and the links.
 * Searches, histories, $everything and the delete of several write their Bundles with them.
 * Source: FHIR R4 bundle.html, search.html. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/params_private.h"
#include "rest/read/cursor_private.h"
#include "rest/read/page_private.h"
#include "rest/route_private.h"

#include "base/limits.h"

static bool wants_whole(const struct rest_page *page, const char *mode)
{
    /* _elements cuts matches only. */
    if (page->n_elements && strcmp(mode, "match") != 0)
        return true;
    return page->summary == REST_SUMMARY_FALSE && page->n_elements == 0;
}

bool rest_page_ends(const struct rest_page *page, const struct store_version *v, const char *mode)
{
    return wants_whole(page, mode) && rest_fits_alone(page->call, v);
}

err_code rest_page_entry(struct rest_page *page, struct json_writer *w, const struct query_match *m,
                         const char *mode, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(w->out->max);
    json_obj(w);
    json_kv_str(w, "fullUrl",
                arena_fmt(page->call->a, "%.*s/%s/%.*s", SV_FMT(page->call->base),
                          fhir_type_name(m->v.type), SV_FMT(m->v.id)));
    json_key(w, "resource");
    if (wants_whole(page, mode)) {
        TRY(rest_version_put(page->call, &m->v, w, e));
    } else {
        TRY(rest_may_grow(page->call, w->out->len + m->v.body.json.len, e));
        TRY(rest_subset_write(page, m, &b, e));
        json_raw(w, buf_sv(&b));
    }
    json_key(w, "search");
    json_obj(w);
    json_kv_str(w, "mode", sv_from(mode));
    json_obj_end(w);
    json_obj_end(w);
    return ERR_OK;
}

err_code rest_page_notes(struct rest_page *page, struct json_writer *w, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    if (page->notes.n == 0)
        return ERR_OK;
    TRY(rest_outcome_write(page->notes.items, page->notes.n, &b, e));
    json_obj(w);
    json_key(w, "resource");
    json_raw(w, buf_sv(&b));
    json_key(w, "search");
    json_obj(w);
    json_kv_str(w, "mode", SV_LIT("outcome"));
    json_obj_end(w);
    json_obj_end(w);
    return ERR_OK;
}

static void write_link(struct json_writer *w, const char *relation, const struct buf *url)
{
    json_obj(w);
    json_kv_str(w, "relation", sv_from(relation));
    json_kv_str(w, "url", buf_sv(url));
    json_obj_end(w);
}

err_code rest_page_link(struct rest_page *p, struct json_writer *w, const char *relation, sv page,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(256u << 10);
    TRY(rest_cursor_url(p->call, p->path, p->count, page, &b, e));
    write_link(w, relation, &b);
    return ERR_OK;
}

err_code rest_page_self(struct rest_page *page, struct json_writer *w, const char *relation,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(256u << 10);
    if (page->asked.len)
        return rest_page_link(page, w, relation, page->asked, e);
    TRY(buf_add(&b, page->call->base, e));
    if (page->path.len)
        TRY(buf_add_fmt(&b, e, "/%.*s", SV_FMT(page->path)));
    TRY(buf_add_char(&b, '?', e));
    size_t bare = b.len;
    TRY(rest_params_write(page->call, &b, e));
    if (b.len == bare)
        b.len--;
    write_link(w, relation, &b);
    return ERR_OK;
}
