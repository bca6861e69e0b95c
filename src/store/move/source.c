/* source.c - where data stores are copied from, its records say so.
 *
 *   copyingfrom -> <mark>/<who>
 *
 * The mark is a random number. It stays the same as long as the record is there, and no server
 * starts meanwhile: so what was compared under a mark is still the same under it. Who is another
 * one with each call. A call that takes the record over, and so writes it, tells one that is about
 * to remove it. */
#include "store/move/move_private.h"

#include "base/rng.h"

#define KEY      SV_LIT(STORE_SOURCE_KEY)
#define MARK_LEN (sizeof((struct store_source *)NULL)->mark - 1)

static sv mark_of(sv text)
{
    return sv_head(text, MARK_LEN);
}

static sv text_of(const struct store_source *s)
{
    return sv_from(s->text);
}

static void name(struct store_source *s)
{
    char who[33];
    rng_hex32(who);
    (void)snprintf(s->text, sizeof s->text, "%s/%s", s->mark, who);
}

static err_code find(struct records *records, struct buf *was, bool *there, struct err *e)
{
    struct err why;
    err_code rc = records_get(records, KEY, was, &why);
    *there = rc == ERR_OK;
    return rc == ERR_OK || rc == ERR_NOT_FOUND ? ERR_OK : err_pass(e, &why);
}

/* *gone: it was changed meanwhile, and stays. */
static err_code drop(struct records *records, sv was, bool *gone, struct err *e)
{
    const struct records_write w[] = { { RECORDS_IF_SAME, KEY, was },
                                       { RECORDS_DELETE, KEY, SV_NONE } };
    struct err why;
    err_code rc = records_write(records, w, 2, &why);
    *gone = rc == ERR_OK;
    return rc == ERR_OK || rc == ERR_PRECONDITION ? ERR_OK : err_pass(e, &why);
}

err_code store_source_take(struct records *records, struct store_source *out, struct err *e)
{
    CLEANUP_BUF struct buf was = BUF_INIT(sizeof out->text);
    struct err why;
    bool there;
    TRY(find(records, &was, &there, e));
    *out = (struct store_source){ .records = records, .is_new = !there };
    if (there)
        (void)snprintf(out->mark, sizeof out->mark, "%.*s", SV_FMT(mark_of(buf_sv(&was))));
    else
        rng_hex32(out->mark);
    name(out);
    const struct records_write w[] = {
        { there ? RECORDS_IF_SAME : RECORDS_PUT_IF_ABSENT, KEY,
          there ? buf_sv(&was) : text_of(out) },
        { RECORDS_PUT, KEY, text_of(out) },
    };
    err_code rc = records_write(records, w, there ? 2 : 1, &why);
    if (rc == ERR_OK)
        return ERR_OK;
    out->records = NULL;
    return rc == ERR_EXISTS || rc == ERR_PRECONDITION
               ? ERR(e, ERR_EXISTS, "another `fhirlake copy` copies from there")
               : err_pass(e, &why);
}

void store_source_leave(struct store_source *s)
{
    struct err ignored;
    bool gone;
    if (s->records && s->is_new)
        IGNORE(drop(s->records, text_of(s), &gone, &ignored));
    s->records = NULL;
}

err_code store_source_end(struct store_source *s, struct err *e)
{
    CLEANUP_BUF struct buf was = BUF_INIT(sizeof s->text);
    bool there = false, gone;
    if (s->records)
        TRY(find(s->records, &was, &there, e));
    if (there && sv_eq_cstr(mark_of(buf_sv(&was)), s->mark))
        TRY(drop(s->records, buf_sv(&was), &gone, e));
    s->records = NULL;
    return ERR_OK;
}

err_code store_source_free(struct records *records, bool *was_there, struct err *e)
{
    const struct records_write w = { RECORDS_DELETE, KEY, SV_NONE };
    CLEANUP_BUF struct buf was = BUF_INIT(sizeof((struct store_source *)NULL)->text);
    TRY(find(records, &was, was_there, e));
    return *was_there ? records_write(records, &w, 1, e) : ERR_OK;
}

err_code store_source_check(struct records *records, const char *what, struct err *e)
{
    CLEANUP_BUF struct buf was = BUF_INIT(sizeof((struct store_source *)NULL)->text);
    bool there;
    TRY(find(records, &was, &there, e));
    return there ? ERR(e, ERR_CONFLICT,
                       "data stores of this %s are being copied, or a `fhirlake copy` from it was "
                       "cut off: let it end, or call it again; or give it up with fhirlake copy "
                       "--abandon --from ..",
                       what)
                 : ERR_OK;
}
