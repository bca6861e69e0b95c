/* lease_local.c - leases where one process has the records: a list in memory.
 *
 * They end with the process, and are not lost before. So a write under one is a write. */
#include "store/store_private.h"

#include <stdlib.h>

struct local {
    struct local *next;
    const struct records *records;
    uint64_t epoch;
    char name[LEASE_NAME_MAX + 1], note[LEASE_NOTE_MAX];
    size_t note_len;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct local *first; /* by name */
static uint64_t last_epoch;

static struct local *find_locked(const struct records *r, sv name)
{
    struct local *x = first;
    while (x && (x->records != r || !sv_eq_cstr(name, x->name)))
        x = x->next;
    return x;
}

static void add_locked(struct records *r, sv name)
{
    struct local *x = calloc(1, sizeof *x), **at = &first;
    if (x == NULL)
        abort();
    x->records = r;
    x->epoch = ++last_epoch;
    (void)snprintf(x->name, sizeof x->name, "%.*s", SV_FMT(name));
    while (*at && strcmp((*at)->name, x->name) < 0)
        at = &(*at)->next;
    x->next = *at;
    *at = x;
}

static err_code take(struct records *r, const sv *names, size_t n, unsigned ms,
                     struct lease_row *out, struct err *e)
{
    size_t i = 0;
    (void)ms;
    pthread_mutex_lock(&lock);
    while (i < n && find_locked(r, names[i]))
        i++;
    if (i < n) {
        add_locked(r, names[i]);
        *out = (struct lease_row){ last_epoch, i };
    }
    pthread_mutex_unlock(&lock);
    return i < n ? ERR_OK : ERR(e, ERR_EOF, "all leases are taken");
}

static err_code renew(struct records *r, const uint64_t *epochs, size_t n, unsigned ms, bool *lost,
                      struct err *e)
{
    (void)r;
    (void)epochs;
    (void)ms;
    (void)e;
    for (size_t i = 0; i < n; i++)
        lost[i] = false;
    return ERR_OK;
}

static err_code release(struct records *r, uint64_t epoch, bool keep_note, struct err *e)
{
    (void)r;
    (void)keep_note;
    (void)e;
    pthread_mutex_lock(&lock);
    struct local **at = &first;
    while (*at && (*at)->epoch != epoch)
        at = &(*at)->next;
    struct local *x = *at;
    if (x)
        *at = x->next;
    pthread_mutex_unlock(&lock);
    free(x);
    return ERR_OK;
}

static err_code write_under(struct records *r, uint64_t epoch, const struct records_write *w,
                            size_t n, bool synced, struct err *e)
{
    (void)epoch;
    return synced ? records_write(r, w, n, e) : records_put_unsynced(r, w->key, w->value, e);
}

static err_code tell(struct records *r, uint64_t epoch, sv note, struct err *e)
{
    (void)r;
    (void)e;
    pthread_mutex_lock(&lock);
    struct local *x = first;
    while (x && x->epoch != epoch)
        x = x->next;
    if (x) {
        x->note_len = note.len;
        if (note.len)
            memcpy(x->note, note.ptr, note.len);
    }
    pthread_mutex_unlock(&lock);
    return ERR_OK;
}

/* The next one behind that epoch and name, copied. */
static bool next_locked(const struct records *r, sv prefix, const struct local *after,
                        struct local *out)
{
    for (const struct local *x = first; x; x = x->next)
        if (x->records == r && sv_starts(sv_from(x->name), prefix) &&
            (after->epoch == 0 || strcmp(x->name, after->name) > 0)) {
            *out = *x;
            return true;
        }
    return false;
}

static bool next(const struct records *r, sv prefix, struct local *x)
{
    const struct local after = *x;
    pthread_mutex_lock(&lock);
    const bool there = next_locked(r, prefix, &after, x);
    pthread_mutex_unlock(&lock);
    return there;
}

static err_code list(struct records *r, sv prefix, bool ended, lease_each_fn each, void *ctx,
                     struct err *e)
{
    struct local x = { 0 };
    bool go_on = true;
    (void)ended;
    (void)e;
    while (go_on && next(r, prefix, &x)) {
        const struct lease_seen seen = { .name = sv_from(x.name),
                                         .left_ms = INT64_MAX,
                                         .note = sv_make(x.note, x.note_len) };
        go_on = each(ctx, &seen);
    }
    return ERR_OK;
}

static err_code any(struct records *r, sv prefix, bool *out, struct err *e)
{
    struct local x = { 0 };
    (void)e;
    *out = next(r, prefix, &x);
    return ERR_OK;
}

const struct lease_ops lease_local_ops = {
    .take = take,
    .renew = renew,
    .release = release,
    .write = write_under,
    .tell = tell,
    .list = list,
    .any = any,
};
