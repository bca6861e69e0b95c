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

static void add(struct sorting *sorting, const void *bytes, size_t n)
{
    if (sorting->rc == ERR_OK)
        sorting->rc = buf_add(&sorting->one, sv_make(bytes, n), sorting->e);
}

static void add_text(struct sorting *sorting, sv text)
{
    add(sorting, text.ptr, text.len < SORT_TEXT_CUT ? text.len : SORT_TEXT_CUT);
}

static void add_folded(struct sorting *sorting, sv text)
{
    struct folded f;
    char read[SORT_TEXT_CUT];
    if (!fold(text, &f)) {
        add_text(sorting, text);
        return;
    }
    add(sorting, read, fold_read(f.text, false, read, sizeof read));
    fold_done(&f);
}

/* By where it begins; what begins behind that is behind it. */
static void add_number(struct sorting *sorting, const struct search_value *value)
{
    struct search_decimal lo = decimal_beginless;
    unsigned char key[SORT_TEXT_CUT];
    if (value->lo.ptr && !decimal_parse(value->lo, &lo))
        return;
    size_t n = decimal_order(&lo, key, sizeof key - 1);
    key[n++] = value->lo_open;
    add(sorting, key, n);
}

static void add_date(struct sorting *sorting, const struct search_value *value)
{
    unsigned char key[8];
    uint64_t at = (uint64_t)value->lo_ms ^ 1ull << 63;
    for (unsigned i = 0; i < sizeof key; i++)
        key[i] = (unsigned char)(at >> (56 - 8 * i));
    add(sorting, key, sizeof key);
}

static void sort_value(void *ctx, const struct search_value *value)
{
    struct sorting *sorting = ctx;
    if (sorting->rc != ERR_OK)
        return;
    buf_clear(&sorting->one);
    switch (value->kind) {
    case SEARCH_STRING:
        add_folded(sorting, value->text);
        break;
    case SEARCH_TOKEN:
        add_text(sorting, value->code.len ? value->code : value->text);
        break;
    case SEARCH_DATE:
        add_date(sorting, value);
        break;
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        add_number(sorting, value);
        break;
    case SEARCH_REFERENCE:
        add_text(sorting, value->ref_type ? value->ref_id : value->text);
        break;
    default:
        add_text(sorting, value->text);
        break;
    }
    int c = sv_cmp(buf_sv(&sorting->one), buf_sv(&sorting->best));
    if (sorting->rc == ERR_OK && (!sorting->any || (sorting->descending ? c > 0 : c < 0))) {
        struct buf t = sorting->best;
        sorting->best = sorting->one;
        sorting->one = t;
        sorting->any = true;
    }
}

err_code search_sort_key(const struct search_param *param, const struct search_subject *subject,
                         bool descending, struct buf *out, struct err *e)
{
    struct sorting sorting = { .descending = descending, .rc = ERR_OK, .e = e };
    buf_init(&sorting.best, 4096);
    buf_init(&sorting.one, 4096);
    if (sv_eq(param->code, SV_LIT("_id"))) {
        sorting.any = true;
        sorting.rc = buf_add(&sorting.best, subject->id, e);
    } else if (sv_eq(param->code, SV_LIT("_lastUpdated"))) {
        struct search_value value = { .kind = SEARCH_DATE, .lo_ms = subject->instant_ms };
        sort_value(&sorting, &value);
    } else {
        search_extract(param, subject->root, sort_value, &sorting);
    }
    if (sorting.rc == ERR_OK && sorting.any) {
        sorting.rc = buf_add_char(out, 1, e);
        if (sorting.rc == ERR_OK)
            sorting.rc = buf_add(out, buf_sv(&sorting.best), e);
    }
    buf_done(&sorting.best);
    buf_done(&sorting.one);
    return sorting.rc;
}
