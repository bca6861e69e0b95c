/* earlier.c - what a finished export leaves to later ones that are asked for in the same way.
 *
 *   jobearlier/<datastore>/<name>   the time, 16 hexadecimal digits of milliseconds, then the value
 *
 * The name is a digest of what was asked for, so that no text of a caller stands in a key. Of a
 * data store the newest few are kept. All of them go with the data store (forget.c). */
#include "job/job_private.h"

#include "base/clock.h"

#define TIME_LEN 16u

struct oldest {
    struct arena *a;
    sv name; /* that is put: does not count */
    sv key;
    uint64_t at;
    size_t n;
};

/* records_each_fn */
static bool find_oldest(void *ctx, sv key, sv value)
{
    struct oldest *o = ctx;
    uint64_t at = value.len < TIME_LEN ? 0 : job_key_number(sv_head(value, TIME_LEN));
    if (sv_ends(key, o->name))
        return true;
    o->n++;
    if (o->key.len == 0 || at < o->at) {
        o->key = arena_sv(o->a, key);
        o->at = at;
    }
    return true;
}

/* Room for one more. */
static err_code make_room(struct records *r, sv datastore_id, sv name, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    for (;;) {
        struct oldest o = { .a = a, .name = name };
        TRY(records_scan(r, job_key_earlier(a, datastore_id, SV_NONE), SV_NONE, find_oldest, &o,
                         e));
        if (o.n < JOB_EARLIER_MAX)
            return ERR_OK;
        TRY(records_write(r, &(struct records_write){ RECORDS_DELETE, o.key, SV_NONE }, 1, e));
    }
}

err_code job_run_earlier_put(struct job_run *run, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    CLEANUP_BUF struct buf b = BUF_INIT(TIME_LEN + value.len + 1);
    sv ds = run->job->datastore_id;
    TRY(make_room(run->cfg->records, ds, name, e));
    TRY(buf_add_fmt(&b, e, "%016llx", (unsigned long long)clock_wall_ms()));
    TRY(buf_add(&b, value, e));
    return records_put_unsynced(run->cfg->records, job_key_earlier(a, ds, name), buf_sv(&b), e);
}

err_code job_run_earlier_get(struct job_run *run, sv name, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    size_t from = out->len;
    TRY(records_get(run->cfg->records, job_key_earlier(a, run->job->datastore_id, name), out, e));
    if (out->len - from < TIME_LEN)
        return ERR(e, ERR_CORRUPT, "what an earlier export left is damaged");
    out->len -= TIME_LEN;
    memmove(out->ptr + from, out->ptr + from + TIME_LEN, out->len - from);
    return ERR_OK;
}

err_code job_run_earlier_delete(struct job_run *run, sv name, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w = { RECORDS_DELETE, job_key_earlier(a, run->job->datastore_id, name),
                               SV_NONE };
    return records_write(run->cfg->records, &w, 1, e);
}

err_code job_earlier_delete_all(struct records *r, sv datastore_id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    for (;;) {
        struct job_keys l = { .a = a };
        struct records_write del[JOB_KEYS_MAX];
        TRY(records_scan(r, job_key_earlier(a, datastore_id, SV_NONE), SV_NONE, job_keys_add, &l,
                         e));
        if (l.n == 0)
            return ERR_OK;
        job_keys_delete(&l, del);
        TRY(records_write(r, del, l.n, e));
    }
}
