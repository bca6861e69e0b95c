/* params.c - the parameters of a call, from its query, a posted form, or a Bundle's entry.
 *
 * A query is decoded once into pairs. AWS's clients encode the name of a parameter twice, and such
 * a name is read as they mean it. A parameter whose value says nothing (blanks, commas) is passed
 * over by reads and refused by the conditions of writes. Source: FHIR R4 search.html#errors,
 * http.html#parameters. */
#include "rest/params_private.h"

#include "codec/uri.h"

#include <utf8proc.h>

#define PARAMS_MAX 256u        /* of a query and a form together */
#define QUERY_MAX  (32u << 10) /* bytes of a query or a form */

static bool is_utf8(sv text)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text.ptr;
    for (size_t at = 0; at < text.len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(p + at, (utf8proc_ssize_t)(text.len - at), &c);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* The name of a parameter. AWS's clients encode it twice: name%253Acontains is name:contains. */
static err_code decode_name(sv encoded, struct buf *b, bool *twice, struct err *e)
{
    TRY(uri_decode(encoded, true, b, e));
    if (b->len == 0 ||
        (memmem(b->ptr, b->len, "%3A", 3) == NULL && memmem(b->ptr, b->len, "%3a", 3) == NULL))
        return ERR_OK;
    CLEANUP_BUF struct buf once = *b;
    *b = BUF_INIT(once.max);
    *twice = true;
    return uri_decode(buf_sv(&once), false, b, e);
}

struct rest_param *rest_params_copy(struct arena *a, const struct rest_param_list *l, size_t more)
{
    struct rest_param *all = arena_calloc(a, l->n + more + 1, sizeof *all);
    if (all && l->n)
        memcpy(all, l->items, l->n * sizeof *all);
    return all;
}

err_code rest_params_add(struct rest_call *call, sv encoded, struct err *e)
{
    struct uri_pair *pairs;
    size_t n, len = encoded.len;
    TRY(uri_query_split(call->a, encoded, PARAMS_MAX, &pairs, &n, e));
    /* A page's token holds a query, and has a limit of its own. */
    for (size_t i = 0; i < n; i++)
        len -= sv_eq(pairs[i].name, SV_LIT("page")) ? pairs[i].value.len : 0;
    if (len > QUERY_MAX)
        return ERR(e, ERR_TOO_LARGE, "The query is longer than %u bytes", QUERY_MAX);
    struct rest_param *all = rest_params_copy(call->a, &call->params, n);
    size_t n_all = call->params.n;
    if (all == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < n; i++) {
        CLEANUP_BUF struct buf b = BUF_INIT(2 * (size_t)QUERY_MAX);
        struct rest_param p = { .twice = false };
        TRY(decode_name(pairs[i].name, &b, &p.twice, e));
        p.name = arena_sv(call->a, buf_sv(&b));
        buf_clear(&b);
        TRY(uri_decode(pairs[i].value, true, &b, e));
        p.value = arena_sv(call->a, buf_sv(&b));
        if (p.name.ptr == NULL || p.value.ptr == NULL)
            return arena_oom(call->a, e);
        if (!is_utf8(p.name) || !is_utf8(p.value))
            return ERR(e, ERR_INVALID, "The query is not UTF-8");
        if (memchr(p.name.ptr, 0, p.name.len) || memchr(p.value.ptr, 0, p.value.len))
            return ERR(e, ERR_INVALID, "The query holds a NUL byte");
        if (p.name.len)
            all[n_all++] = p;
    }
    call->params = (struct rest_param_list){ all, n_all };
    return ERR_OK;
}

sv rest_param(const struct rest_call *call, const char *name)
{
    for (size_t i = 0; i < call->params.n; i++)
        if (sv_eq_cstr(call->params.items[i].name, name))
            return call->params.items[i].value;
    return SV_NONE;
}

bool rest_says_nothing(sv value)
{
    for (size_t i = 0; i < value.len; i++)
        if (strchr(" \t\r\n,", value.ptr[i]) == NULL)
            return false;
    return true;
}

/* name%3Aexact is name:exact. */
static err_code with_colons(struct rest_call *call, sv *name, struct err *e)
{
    size_t n = 0;
    char *to = arena_alloc(call->a, name->len + 1);
    if (to == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < name->len; i++) {
        bool colon = sv_eq_nocase(sv_head(sv_tail(*name, i), 3), SV_LIT("%3A"));
        to[n++] = colon ? ':' : name->ptr[i];
        i += colon ? 2 : 0;
    }
    *name = sv_make(to, n);
    return ERR_OK;
}

/* A parameter that is passed over loses its name, so that the self link leaves it out. A name that
 * still has an escape was encoded twice, as one of HealthLake's clients does, and becomes what it
 * means: no parameter has a % in its name. */
err_code rest_read_names(struct rest_call *call, struct err *e)
{
    for (size_t i = 0; i < call->params.n; i++) {
        struct rest_param *p = &call->params.items[i];
        if (rest_says_nothing(p->value) && !sv_eq(p->name, SV_LIT("page")))
            p->name.len = 0;
        else if (sv_find(p->name, '%') < p->name.len)
            TRY(with_colons(call, &p->name, e));
    }
    return ERR_OK;
}

err_code rest_params_write(const struct rest_call *call, struct buf *out, struct err *e)
{
    size_t from = out->len;
    for (size_t i = 0; i < call->params.n; i++) {
        const struct rest_param *p = &call->params.items[i];
        if (p->name.len == 0 || sv_eq(p->name, SV_LIT("page")))
            continue;
        if (out->len > from)
            TRY(buf_add_char(out, '&', e));
        TRY(uri_encode(p->name, false, out, e));
        TRY(buf_add_char(out, '=', e));
        TRY(uri_encode(p->value, false, out, e));
    }
    return ERR_OK;
}

err_code rest_read_date(struct rest_call *call, const char *what, sv value, int64_t *lo,
                        int64_t *hi, struct err *e)
{
    const struct search_context cx = { call->base, 0 };
    struct search_criterion cr;
    /* The text of that error speaks of a search parameter. */
    struct err ignored;
    bool digit = value.len && value.ptr[0] >= '0' && value.ptr[0] <= '9';
    if (!digit ||
        search_parse(&cx, FHIR_TYPE_NONE, SV_LIT("_lastUpdated"), value, call->a, &cr, &ignored) !=
            ERR_OK ||
        cr.n_terms != 1)
        return ERR(
            e, ERR_INVALID,
            "%s must be a date or an instant such as 2026-01-31T12:00:00Z (a + in a query is "
            "%%2B)",
            what);
    if (lo)
        *lo = cr.terms[0].lo_ms;
    if (hi)
        *hi = cr.terms[0].hi_ms;
    return ERR_OK;
}
