/* replay.c - assertions that were used, each until it can be used no more.
 *
 *   tokenused/<seconds, 16 hexadecimal digits>/<SHA-256 of client id and jti>  -> ""
 *
 * A table in memory decides, under its lock: so of two connections with one assertion one alone
 * gets a token. The record is synced before the token is given, so a process that is killed forgets
 * none. Nothing is ever pushed out: when the table is full, nobody gets a token until some of it
 * has expired. Records that are of no use go with the sweeps of the table.
 *
 * Where other processes give tokens, too, the records decide behind the table:
 *
 *   tokenonce/<SHA-256 of client id and jti>  -> <seconds, 16 hexadecimal digits>
 *
 * It is put if it is absent, so of all processes one alone takes an assertion. There any process
 * sweeps the records of all, an hour after they have expired: another one's clock may be behind.
 * Source: RFC 7523, 3 (7); SMART App Launch 2.2, "Backend Services". */
#include "auth/issue/issue_private.h"

#include "codec/hash.h"

#define PREFIX   "tokenused/"
#define KEY_LEN  (sizeof PREFIX - 1 + 16 + 1 + SHA256_HEX_LEN)
#define SIZE_MIN 1024u /* slots; a power of two */
#define BATCH    512u  /* records of a sweep that are deleted at a time */
#define ONCE     "tokenonce/"
#define ONCE_LEN (sizeof ONCE - 1 + SHA256_HEX_LEN)
#define LATE_S   3600 /* so long records outlive their use, where clocks of others count */

struct used {
    unsigned char digest[SHA256_LEN];
    int64_t until_s; /* 0: the slot is free */
};

struct replay {
    struct records *records;
    bool is_shared; /* other processes give tokens, too */
    size_t most;
    struct {
        pthread_mutex_t lock;
        struct used *slots;
        size_t size, n;
    } locked;
};

static struct used *slot_of(struct used *slots, size_t size, const unsigned char *digest)
{
    size_t at;
    memcpy(&at, digest, sizeof at);
    for (at &= size - 1; slots[at].until_s; at = (at + 1) & (size - 1))
        if (memcmp(slots[at].digest, digest, SHA256_LEN) == 0)
            break;
    return &slots[at];
}

/* A new table without what has expired, with room for one more. What expired is put into *gone,
 * the caller's to free. */
static void sweep_locked(struct replay *r, int64_t now_s, struct used **gone, size_t *n_gone)
{
    size_t live = 0, size = SIZE_MIN;
    for (size_t i = 0; i < r->locked.size; i++)
        live += r->locked.slots[i].until_s > now_s;
    while (size < 4 * (live + 1))
        size *= 2;
    struct used *slots = calloc(size, sizeof *slots);
    *gone = calloc(r->locked.n - live + 1, sizeof **gone);
    *n_gone = 0;
    if (slots == NULL || *gone == NULL)
        abort();
    for (size_t i = 0; i < r->locked.size; i++) {
        const struct used *u = &r->locked.slots[i];
        if (u->until_s > now_s)
            *slot_of(slots, size, u->digest) = *u;
        else if (u->until_s)
            (*gone)[(*n_gone)++] = *u;
    }
    free(r->locked.slots);
    r->locked.slots = slots;
    r->locked.size = size;
    r->locked.n = live;
}

static void key_of(const struct used *u, char out[KEY_LEN + 1])
{
    char hex[SHA256_HEX_LEN];
    hash_hex(u->digest, SHA256_LEN, hex);
    (void)snprintf(out, KEY_LEN + 1, PREFIX "%016llx/%.*s", (unsigned long long)u->until_s,
                   SHA256_HEX_LEN, hex);
}

/* ---- records of this process alone ---- */

/* Records that are left over do no harm, and go with a later sweep behind a restart. */
static void forget(struct replay *r, const struct used *gone, size_t n)
{
    struct records_write w[BATCH];
    char keys[BATCH][KEY_LEN + 1];
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        for (; k < BATCH && i < n; k++, i++) {
            key_of(&gone[i], keys[k]);
            w[k] = (struct records_write){ RECORDS_DELETE, sv_make(keys[k], KEY_LEN), SV_NONE };
        }
        IGNORE(records_write(r->records, w, k, NULL));
    }
}

/* ---- records of many processes ---- */

struct once { /* the records of one assertion */
    char used[KEY_LEN + 1], once[ONCE_LEN + 1], until[17];
};

static struct once once_of(const struct used *u)
{
    struct once o;
    char hex[SHA256_HEX_LEN];
    key_of(u, o.used);
    hash_hex(u->digest, SHA256_LEN, hex);
    (void)snprintf(o.once, sizeof o.once, ONCE "%.*s", SHA256_HEX_LEN, hex);
    (void)snprintf(o.until, sizeof o.until, "%016llx", (unsigned long long)u->until_s);
    return o;
}

static bool used_read(sv key, struct used *out)
{
    uint64_t until_s = 0;
    if (key.len != KEY_LEN)
        return false;
    for (size_t i = 0; i < 16; i++) {
        char c = key.ptr[sizeof PREFIX - 1 + i];
        until_s = until_s << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    out->until_s = (int64_t)until_s;
    return out->until_s > 0 &&
           hash_unhex(sv_tail(key, KEY_LEN - SHA256_HEX_LEN), out->digest, sizeof out->digest);
}

/* The client uses a jti again, long after: what stands there is of no use any more. */
static err_code take_again(struct replay *r, const struct once *o, int64_t now_s, struct err *e)
{
    CLEANUP_BUF struct buf was = BUF_INIT(sizeof o->until);
    const sv once = sv_make(o->once, ONCE_LEN);
    unsigned char raw[8];
    uint64_t until_s = 0;
    TRY(records_get(r->records, once, &was, e));
    if (!hash_unhex(buf_sv(&was), raw, sizeof raw))
        return ERR(e, ERR_CORRUPT, "the record of a used assertion is damaged");
    for (size_t i = 0; i < sizeof raw; i++)
        until_s = until_s << 8 | raw[i];
    if ((int64_t)until_s + LATE_S > now_s)
        return ERR(e, ERR_EXISTS, "the assertion was used before");
    const struct records_write w[] = { { RECORDS_IF_SAME, once, buf_sv(&was) },
                                       { RECORDS_PUT, once, sv_from(o->until) },
                                       { RECORDS_PUT, sv_make(o->used, KEY_LEN), SV_LIT("") } };
    struct err why;
    err_code rc = records_write(r->records, w, 3, &why);
    if (rc == ERR_PRECONDITION)
        return ERR(e, ERR_EXISTS, "the assertion was used before");
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

static err_code take_of_all(struct replay *r, const struct used *one, int64_t now_s, struct err *e)
{
    const struct once o = once_of(one);
    const struct records_write w[] = { { RECORDS_PUT_IF_ABSENT, sv_make(o.once, ONCE_LEN),
                                         sv_from(o.until) },
                                       { RECORDS_PUT, sv_make(o.used, KEY_LEN), SV_LIT("") } };
    struct err why;
    err_code rc = records_write(r->records, w, 2, &why);
    if (rc == ERR_EXISTS)
        return take_again(r, &o, now_s, e);
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

struct expired {
    int64_t before_s;
    struct used *all; /* BATCH */
    size_t n;
};

/* In the order of time: the first that is of use ends it. */
static bool on_expired(void *ctx, sv key, sv value)
{
    struct expired *x = ctx;
    struct used one;
    (void)value;
    if (!used_read(key, &one))
        return true;
    if (one.until_s >= x->before_s)
        return false;
    x->all[x->n++] = one;
    return x->n < BATCH;
}

/* tokenonce goes unless its jti was taken again. */
static size_t forget_writes(const struct once *o, struct records_write w[3])
{
    const sv once = sv_make(o->once, ONCE_LEN);
    w[0] = (struct records_write){ RECORDS_IF_SAME, once, sv_from(o->until) };
    w[1] = (struct records_write){ RECORDS_DELETE, once, SV_NONE };
    w[2] = (struct records_write){ RECORDS_DELETE, sv_make(o->used, KEY_LEN), SV_NONE };
    return 3;
}

static err_code forget_some(struct replay *r, const struct used *all, size_t n, struct err *e)
{
    struct once *o = calloc(n, sizeof *o);
    struct records_write *w = calloc(3 * n, sizeof *w);
    size_t n_writes = 0;
    if (o == NULL || w == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        o[i] = once_of(&all[i]);
        n_writes += forget_writes(&o[i], &w[n_writes]);
    }
    err_code rc = records_write(r->records, w, n_writes, e);
    if (rc == ERR_PRECONDITION && n == 1)
        rc = records_write(r->records, &w[2], 1, e);
    free(w);
    free(o);
    return rc;
}

/* Some of those that have expired; another sweep finds the rest. */
static void forget_of_all(struct replay *r, int64_t now_s)
{
    struct expired x = { .before_s = now_s - LATE_S };
    struct err why;
    x.all = calloc(BATCH, sizeof *x.all);
    if (x.all == NULL)
        abort();
    if (records_scan(r->records, SV_LIT(PREFIX), SV_LIT(""), on_expired, &x, &why) == ERR_OK &&
        x.n && forget_some(r, x.all, x.n, &why) == ERR_PRECONDITION)
        for (size_t i = 0; i < x.n; i++)
            IGNORE(forget_some(r, &x.all[i], 1, &why));
    free(x.all);
}

/* ---- calls ---- */

err_code replay_take(struct replay *replay, sv client_id, sv token_id, int64_t until_ms,
                     int64_t now_ms, struct err *e)
{
    struct used one = { .until_s = until_ms / 1000 + 1 };
    struct used *gone = NULL;
    size_t n_gone = 0;
    char key[KEY_LEN + 1];
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    hash_sha256_add(h, client_id);
    hash_sha256_add(h, SV_LIT("\n"));
    hash_sha256_add(h, token_id);
    hash_sha256_take(h, one.digest);
    pthread_mutex_lock(&replay->locked.lock);
    if (2 * (replay->locked.n + 1) > replay->locked.size || replay->locked.n >= replay->most)
        sweep_locked(replay, now_ms / 1000, &gone, &n_gone);
    struct used *slot = slot_of(replay->locked.slots, replay->locked.size, one.digest);
    err_code rc = slot->until_s ? ERR(e, ERR_EXISTS, "the assertion was used before") : ERR_OK;
    if (rc == ERR_OK && replay->locked.n >= replay->most)
        rc = ERR(e, ERR_THROTTLED, "more assertions are in use than are remembered");
    if (rc == ERR_OK) {
        *slot = one;
        replay->locked.n++;
    }
    pthread_mutex_unlock(&replay->locked.lock);
    const bool swept = gone != NULL;
    if (!replay->is_shared)
        forget(replay, gone, n_gone);
    else if (swept)
        forget_of_all(replay, now_ms / 1000);
    free(gone);
    TRY(rc);
    if (replay->is_shared)
        return take_of_all(replay, &one, now_ms / 1000, e);
    key_of(&one, key);
    return records_put(replay->records, sv_make(key, KEY_LEN), SV_LIT(""), e);
}

static bool on_record(void *ctx, sv key, sv value)
{
    struct replay *r = ctx;
    struct used one;
    (void)value;
    if (!used_read(key, &one))
        return true;
    struct used *gone = NULL;
    size_t n_gone;
    if (2 * (r->locked.n + 1) > r->locked.size)
        /* as of the beginning of time nothing has expired */
        sweep_locked(r, 0, &gone, &n_gone);
    free(gone);
    *slot_of(r->locked.slots, r->locked.size, one.digest) = one;
    r->locked.n++;
    return true;
}

err_code replay_open(struct records *records, size_t most, int64_t now_ms, struct replay **out,
                     struct err *e)
{
    struct replay *r = calloc(1, sizeof *r);
    struct used *gone;
    size_t n_gone;
    if (r == NULL || (r->locked.slots = calloc(SIZE_MIN, sizeof *r->locked.slots)) == NULL)
        abort();
    r->records = records;
    r->is_shared = records_shared(records);
    r->most = most;
    r->locked.size = SIZE_MIN;
    pthread_mutex_init(&r->locked.lock, NULL);
    err_code rc = records_scan(records, SV_LIT(PREFIX), SV_LIT(""), on_record, r, e);
    if (rc != ERR_OK) {
        replay_free(r);
        return rc;
    }
    sweep_locked(r, now_ms / 1000, &gone, &n_gone);
    if (r->is_shared)
        forget_of_all(r, now_ms / 1000);
    else
        forget(r, gone, n_gone);
    free(gone);
    *out = r;
    return ERR_OK;
}

void replay_free(struct replay *replay)
{
    if (replay == NULL)
        return;
    pthread_mutex_destroy(&replay->locked.lock);
    free(replay->locked.slots);
    free(replay);
}
