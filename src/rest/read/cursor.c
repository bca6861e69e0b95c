/* cursor.c - the token of a next link: where a page begins, as of which commit, and of which query.
 *
 *   seal(2, when (8 bytes, ms), length of the place (2), mark (8), place, the query's pairs)
 *   for one data store, path and caller, and the scopes of the caller's token
 *
 * The place begins with the commit, and mark says which one that is (store_mark).
 *
 * The token holds all that the page needs, so [base]/Type?_count=N&page=TOKEN is enough. It is
 * sealed: a URL never shows what a POST search asked, and nobody can make a token that reads the
 * past. It is good for CURSOR_HOURS.
 * Source: HealthLake's next links, as its clients follow them; FHIR R4 http.html#paging. */
#include "rest/grant_private.h"
#include "rest/params_private.h"
#include "rest/read/cursor_private.h"

#include "base/clock.h"
#include "codec/seal.h"
#include "codec/uri.h"

#define CURSOR_VERSION 2
#define CURSOR_HEAD    19u
#define CURSOR_HOURS   24u
#define CURSOR_MAX     (64u << 10) /* bytes before they are sealed */
#define SKEW_MS        60000       /* a clock may have been set back so much since */

static err_code invalid(const char *why, struct err *e)
{
    return ERR(e, ERR_INVALID, "Invalid pagination token%s", why);
}

/* Parameters that say how a page is shown may differ from page to page. */
static bool may_differ(sv name)
{
    return sv_eq(name, SV_LIT("_count")) || sv_eq(name, SV_LIT("_format")) ||
           sv_eq(name, SV_LIT("_pretty"));
}

static err_code about(struct rest_call *call, sv path, sv *out, struct err *e)
{
    sv scopes;
    TRY(rest_grant_mark(call, &scopes, e));
    *out = arena_fmt(call->a, "%.*s\n%.*s\n%.*s%s%.*s", SV_FMT(call->ds->id), SV_FMT(path),
                     SV_FMT(call->caller.arn), scopes.len ? "\n" : "", SV_FMT(scopes));
    return out->ptr ? ERR_OK : arena_oom(call->a, e);
}

static uint64_t commit_of(sv place)
{
    uint64_t t = 0;
    size_t n = 0;
    while (n < place.len && place.ptr[n] >= '0' && place.ptr[n] <= '9')
        n++;
    return sv_to_u64(sv_head(place, n), &t) ? t : 0;
}

static err_code mark_of(struct rest_call *call, sv place, uint64_t *out, struct err *e)
{
    struct err why;
    err_code rc = store_mark(call->st, commit_of(place), out, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_UNAVAILABLE,
                   "the database has lost a commit that it showed a moment ago");
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

static err_code check_mark(struct rest_call *call, sv place, uint64_t mark, struct err *e)
{
    struct err why;
    err_code rc = store_mark_holds(call->st, commit_of(place), mark, &why);
    if (rc == ERR_PRECONDITION)
        return invalid(": the database has lost what it was made of; begin anew without it", e);
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

err_code rest_cursor_make(struct rest_call *call, sv path, sv place, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf plain = BUF_INIT(CURSOR_MAX), text = BUF_INIT(2 * CURSOR_MAX);
    sv purpose;
    uint64_t now = (uint64_t)clock_wall_ms();
    char head[CURSOR_HEAD] = { CURSOR_VERSION };
    uint64_t mark;
    TRY(mark_of(call, place, &mark, e));
    for (unsigned i = 0; i < 8; i++) {
        head[1 + i] = (char)(now >> 8 * i);
        head[11 + i] = (char)(mark >> 8 * i);
    }
    head[9] = (char)place.len;
    head[10] = (char)(place.len >> 8);
    TRY(about(call, path, &purpose, e));
    TRY(buf_add(&plain, sv_make(head, sizeof head), e));
    TRY(buf_add(&plain, place, e));
    TRY(rest_params_write(call, &plain, e));
    TRY(seal_close(call->service->cursor_key, purpose, buf_sv(&plain), &text, e));
    *out = arena_sv(call->a, buf_sv(&text));
    return out->ptr ? ERR_OK : arena_oom(call->a, e);
}

static bool among(const struct rest_param_list *l, const struct rest_param *p)
{
    for (size_t i = 0; i < l->n; i++)
        if (sv_eq(l->items[i].name, p->name) && sv_eq(l->items[i].value, p->value))
            return true;
    return false;
}

/* The call's query becomes that of the token, but for parameters that may differ. */
static err_code take_query(struct rest_call *call, sv query, struct err *e)
{
    const struct rest_param_list asked = call->params;
    call->params = (struct rest_param_list){ 0 };
    TRY(rest_params_add(call, query, e));
    const struct rest_param_list own = call->params;
    struct rest_param *all = arena_calloc(call->a, own.n + asked.n + 1, sizeof *all);
    size_t n = 0;
    if (all == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < asked.n; i++) {
        const struct rest_param *p = &asked.items[i];
        /* It was passed over. */
        if (p->name.len == 0)
            continue;
        if (may_differ(p->name) || sv_eq(p->name, SV_LIT("page")))
            all[n++] = *p;
        else if (!among(&own, p))
            return invalid(": it is of another query; send it with _count alone", e);
    }
    size_t n_asked = n;
    for (size_t i = 0; i < own.n; i++) {
        bool said = false;
        for (size_t k = 0; k < n_asked; k++)
            said |= sv_eq(all[k].name, own.items[i].name);
        if (!said || !may_differ(own.items[i].name))
            all[n++] = own.items[i];
    }
    call->params = (struct rest_param_list){ all, n };
    return ERR_OK;
}

err_code rest_cursor_open(struct rest_call *call, sv path, sv *place, struct err *e)
{
    sv token = rest_param(call, "page"), purpose, text;
    *place = SV_NONE;
    if (token.ptr == NULL)
        return ERR_OK;
    CLEANUP_BUF struct buf plain = BUF_INIT(2 * CURSOR_MAX);
    TRY(about(call, path, &purpose, e));
    if (seal_open(call->service->cursor_key, purpose, token, &plain, NULL) != ERR_OK)
        return invalid("", e);
    text = arena_sv(call->a, buf_sv(&plain));
    if (text.ptr == NULL)
        return arena_oom(call->a, e);
    if (text.len < CURSOR_HEAD || text.ptr[0] != CURSOR_VERSION)
        return invalid(": it is of another version of the server; begin anew without it", e);
    uint64_t made = 0, mark = 0;
    for (unsigned i = 0; i < 8; i++) {
        made |= (uint64_t)(unsigned char)text.ptr[1 + i] << 8 * i;
        mark |= (uint64_t)(unsigned char)text.ptr[11 + i] << 8 * i;
    }
    size_t len = (unsigned char)text.ptr[9] | (size_t)(unsigned char)text.ptr[10] << 8;
    int64_t age_ms = clock_wall_ms() - (int64_t)made;
    if (age_ms < -SKEW_MS || age_ms > (int64_t)CURSOR_HOURS * 3600 * 1000)
        return invalid(": it is older than 24 hours; begin anew without it", e);
    if (len > text.len - CURSOR_HEAD)
        return invalid("", e);
    *place = sv_make(text.ptr + CURSOR_HEAD, len);
    TRY(check_mark(call, *place, mark, e));
    return take_query(call, sv_tail(text, CURSOR_HEAD + len), e);
}

err_code rest_cursor_url(const struct rest_call *call, sv path, size_t count, sv token,
                         struct buf *out, struct err *e)
{
    sv format = rest_param(call, "_format"), pretty = rest_param(call, "_pretty");
    TRY(buf_add(out, call->base, e));
    if (path.len)
        TRY(buf_add_fmt(out, e, "/%.*s", SV_FMT(path)));
    TRY(buf_add_fmt(out, e, "?_count=%zu", count));
    if (format.len) {
        TRY(buf_add(out, SV_LIT("&_format="), e));
        TRY(uri_encode(format, false, out, e));
    }
    if (pretty.len) {
        TRY(buf_add(out, SV_LIT("&_pretty="), e));
        TRY(uri_encode(pretty, false, out, e));
    }
    TRY(buf_add(out, SV_LIT("&page="), e));
    return buf_add(out, token, e);
}
