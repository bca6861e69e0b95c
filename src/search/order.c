/* order.c - the key by which _sort compares a resource under a parameter.
 *
 * A key is bytes that compare as the values do: of several values the least counts, or for a
 * descending order the greatest. Longer texts are cut. A resource without a value has an empty key
 * and comes last.
 * Source: FHIR R4 search.html 3.1.1.6.1. */
#include "search/search_private.h"

#define SORT_TEXT_CUT (SEARCH_SORT_KEY_MAX - 1)

struct sorting {
    bool descending, any;
    struct buf best, one;
    err_code rc;
    struct err *e;
};

static void add(struct sorting *s, const void *bytes, size_t n)
{
    if (s->rc == ERR_OK)
        s->rc = buf_add(&s->one, sv_make(bytes, n), s->e);
}

static void add_text(struct sorting *s, sv text)
{
    add(s, text.ptr, text.len < SORT_TEXT_CUT ? text.len : SORT_TEXT_CUT);
}

static void add_folded(struct sorting *s, sv text)
{
    struct folded f;
    char read[SORT_TEXT_CUT];
    if (!fold(text, &f)) {
        add_text(s, text);
        return;
    }
    add(s, read, fold_read(f.text, false, read, sizeof read));
    fold_done(&f);
}

/* By where it begins; what begins behind that is behind it. */
static void add_number(struct sorting *s, const struct search_value *v)
{
    struct search_decimal lo = decimal_beginless;
    unsigned char key[SORT_TEXT_CUT];
    if (v->lo.ptr && !decimal_parse(v->lo, &lo))
        return;
    size_t n = decimal_order(&lo, key, sizeof key - 1);
    key[n++] = v->lo_open;
    add(s, key, n);
}

static void add_date(struct sorting *s, const struct search_value *v)
{
    unsigned char key[8];
    uint64_t at = (uint64_t)v->lo_ms ^ 1ull << 63;
    for (unsigned i = 0; i < sizeof key; i++)
        key[i] = (unsigned char)(at >> (56 - 8 * i));
    add(s, key, sizeof key);
}

static void sort_value(void *ctx, const struct search_value *v)
{
    struct sorting *s = ctx;
    if (s->rc != ERR_OK)
        return;
    buf_clear(&s->one);
    switch (v->kind) {
    case SEARCH_STRING:
        add_folded(s, v->text);
        break;
    case SEARCH_TOKEN:
        add_text(s, v->code.len ? v->code : v->text);
        break;
    case SEARCH_DATE:
        add_date(s, v);
        break;
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        add_number(s, v);
        break;
    case SEARCH_REFERENCE:
        add_text(s, v->ref_type ? v->ref_id : v->text);
        break;
    default:
        add_text(s, v->text);
        break;
    }
    int c = sv_cmp(buf_sv(&s->one), buf_sv(&s->best));
    if (s->rc == ERR_OK && (!s->any || (s->descending ? c > 0 : c < 0))) {
        struct buf t = s->best;
        s->best = s->one;
        s->one = t;
        s->any = true;
    }
}

err_code search_sort_key(const struct search_param *p, const struct search_subject *subject,
                         bool descending, struct buf *out, struct err *e)
{
    struct sorting s = { .descending = descending, .rc = ERR_OK, .e = e };
    buf_init(&s.best, 4096);
    buf_init(&s.one, 4096);
    if (sv_eq(p->code, SV_LIT("_id"))) {
        s.any = true;
        s.rc = buf_add(&s.best, subject->id, e);
    } else if (sv_eq(p->code, SV_LIT("_lastUpdated"))) {
        struct search_value v = { .kind = SEARCH_DATE, .lo_ms = subject->instant_ms };
        sort_value(&s, &v);
    } else {
        search_extract(p, subject->root, sort_value, &s);
    }
    if (s.rc == ERR_OK && s.any) {
        s.rc = buf_add_char(out, 1, e);
        if (s.rc == ERR_OK)
            s.rc = buf_add(out, buf_sv(&s.best), e);
    }
    buf_done(&s.best);
    buf_done(&s.one);
    return s.rc;
}
