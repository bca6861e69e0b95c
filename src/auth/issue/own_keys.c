/* own_keys.c - the keys that sign our tokens: files in a folder of the data folder.
 *
 *   <milliseconds, 16 hexadecimal digits>.pem   a private key, and when it was made
 *
 * The youngest signs. When it is OWN_KEY_DAYS old another one is made, and the one before verifies
 * for OWN_KEY_LEFT seconds more: longer than any of its tokens lives. A backup holds none of them,
 * so a folder that is restored elsewhere takes no tokens of this one.
 *
 * Where several processes share the records, the keys stand there, and the folder is not made:
 *
 *   tokenkey/<number, 16 hexadecimal digits>  -> <milliseconds, 16 hexadecimal digits> LF <PEM>
 *
 * A number is put if it is absent, so of two processes that find the youngest old one makes the
 * next key. Each looks every LOOK_MS, and a key begins to sign AHEAD_MS after it was made: by then
 * everybody knows it. */
#include "auth/issue/issue_private.h"

#include "base/file.h"
#include "codec/hash.h"

#include <dirent.h>
#include <limits.h>
#include <stdatomic.h>
#include <unistd.h>

#define FILE_BYTES (16u << 10)
#define NAME_LEN   20u /* of a file */
#define DAY_MS     86400000LL
#define ON_DISK    2u /* the youngest ones; the rest is removed */
#define SHARED     "tokenkey/"
#define SHARED_LEN (sizeof SHARED - 1 + 16)
#define KEPT       3u /* of those that are shared: one may be to come */
#define LOOK_MS    10000LL
#define AHEAD_MS   60000LL

/* One state of the keys; immutable. Those before stay until the end, since somebody may be
 * looking at them; there is one more a month, and two where the keys are shared. */
struct signing {
    struct signing *before;
    /* last: of the one before; next: of the one to come; NULL: none */
    struct jose_signer *signer, *last, *next;
    int64_t made_ms, next_ms;     /* the signer, and next; 0: none */
    struct key_ring *ring, *both; /* both: with last; NULL: none */
};

struct own_keys {
    char folder[PATH_MAX - 64];
    struct records *shared; /* borrowed; NULL: the keys are files */
    _Atomic(struct signing *) now;
    _Atomic int64_t looked_ms; /* at those that are shared */
    pthread_mutex_t renewing;  /* held while a key is made: once a month, for some milliseconds */
};

static err_code path_of(const struct own_keys *k, int64_t made_ms, char out[PATH_MAX],
                        struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/%016llx.pem", k->folder, (unsigned long long)made_ms);
    return n > 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "path is too long");
}

/* ---- files ---- */

static int by_age(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x < y) - (x > y);
}

/* When the keys were made, the youngest first; at most ON_DISK. All others are removed. */
static err_code list(const struct own_keys *k, int64_t out[ON_DISK], size_t *n, struct err *e)
{
    int64_t all[64];
    size_t n_all = 0;
    char path[PATH_MAX];
    DIR *dir = opendir(k->folder);
    const struct dirent *entry;
    if (dir == NULL)
        return file_os_err(e, "the folder of keys cannot be read");
    while (n_all < 64 && (entry = readdir(dir)) != NULL) {
        sv name = sv_from(entry->d_name);
        unsigned char raw[8];
        uint64_t ms = 0;
        if (name.len != NAME_LEN || !sv_ends(name, SV_LIT(".pem")) ||
            !hash_unhex(sv_head(name, 16), raw, sizeof raw))
            continue;
        for (size_t i = 0; i < sizeof raw; i++)
            ms = ms << 8 | raw[i];
        all[n_all++] = (int64_t)ms;
    }
    (void)closedir(dir);
    qsort(all, n_all, sizeof all[0], by_age);
    *n = n_all < ON_DISK ? n_all : ON_DISK;
    memcpy(out, all, *n * sizeof out[0]);
    for (size_t i = ON_DISK; i < n_all; i++)
        if (path_of(k, all[i], path, NULL) == ERR_OK)
            (void)unlink(path);
    return ERR_OK;
}

static err_code read_key(const struct own_keys *k, int64_t made_ms, struct jose_signer **out,
                         struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(FILE_BYTES);
    char path[PATH_MAX];
    TRY(path_of(k, made_ms, path, e));
    err_code rc = file_read_private(path, &b, e);
    if (rc == ERR_OK)
        rc = jose_signer_read(buf_sv(&b), OWN_KEY_ALG, out, e);
    if (b.ptr)
        explicit_bzero(b.ptr, b.len);
    if (rc != ERR_OK)
        err_context(e, "%.200s", path);
    return rc;
}

static err_code write_key(const struct own_keys *k, int64_t made_ms, struct jose_signer **out,
                          struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(FILE_BYTES);
    CLEANUP(jose_signer_free) struct jose_signer *s = NULL;
    char path[PATH_MAX];
    TRY(path_of(k, made_ms, path, e));
    TRY(jose_signer_make(OWN_KEY_ALG, &s, e));
    err_code rc = jose_signer_pem(s, &b, e);
    if (rc == ERR_OK)
        rc = file_write_atomic(path, buf_sv(&b), e);
    if (b.ptr)
        explicit_bzero(b.ptr, b.len);
    TRY(rc);
    *out = s;
    s = NULL;
    return ERR_OK;
}

/* ---- records ---- */

struct shared_key {
    uint64_t number;
    int64_t made_ms;
};
struct shared_keys { /* the youngest first */
    struct shared_key all[KEPT];
    size_t n;
    struct buf pem[KEPT];
    bool bad;
};

static bool read_u64(sv hex, uint64_t *out)
{
    unsigned char raw[8];
    if (hex.len != 16 || !hash_unhex(hex, raw, sizeof raw))
        return false;
    *out = 0;
    for (size_t i = 0; i < sizeof raw; i++)
        *out = *out << 8 | raw[i];
    return true;
}

static void shared_done(struct shared_keys *s)
{
    for (size_t i = 0; i < KEPT; i++) {
        if (s->pem[i].ptr)
            explicit_bzero(s->pem[i].ptr, s->pem[i].len);
        buf_done(&s->pem[i]);
    }
}

/* In the order of numbers: the last ones are kept. */
static bool on_shared(void *ctx, sv key, sv value)
{
    struct shared_keys *s = ctx;
    uint64_t number, made;
    s->bad |= key.len != SHARED_LEN || !read_u64(sv_tail(key, sizeof SHARED - 1), &number) ||
              !read_u64(sv_head(value, 16), &made) || value.len < 17;
    if (s->bad)
        return false;
    struct buf oldest = s->pem[KEPT - 1];
    memmove(&s->all[1], &s->all[0], (KEPT - 1) * sizeof s->all[0]);
    memmove(&s->pem[1], &s->pem[0], (KEPT - 1) * sizeof s->pem[0]);
    if (oldest.ptr)
        explicit_bzero(oldest.ptr, oldest.len);
    buf_done(&oldest);
    s->pem[0] = BUF_INIT(FILE_BYTES);
    s->all[0] = (struct shared_key){ .number = number, .made_ms = (int64_t)made };
    s->bad = buf_add(&s->pem[0], sv_tail(value, 17), NULL) != ERR_OK;
    s->n += s->n < KEPT;
    return !s->bad;
}

static err_code shared_list(const struct own_keys *k, struct shared_keys *out, struct err *e)
{
    shared_done(out);
    *out = (struct shared_keys){ 0 };
    TRY(records_scan(k->shared, SV_LIT(SHARED), SV_NONE, on_shared, out, e));
    return out->bad ? ERR(e, ERR_CORRUPT, "a key of our tokens in the records is damaged") : ERR_OK;
}

/* The key with this number, unless another process is faster. What is older than those that count
 * goes. */
static err_code shared_make(const struct own_keys *k, uint64_t number, int64_t now_ms,
                            struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(FILE_BYTES);
    CLEANUP(jose_signer_free) struct jose_signer *s = NULL;
    char key[SHARED_LEN + 1], old[SHARED_LEN + 1];
    struct err why;
    TRY(jose_signer_make(OWN_KEY_ALG, &s, e));
    err_code rc = buf_add_fmt(&b, e, "%016llx\n", (unsigned long long)now_ms);
    if (rc == ERR_OK)
        rc = jose_signer_pem(s, &b, e);
    if (rc == ERR_OK) {
        (void)snprintf(key, sizeof key, SHARED "%016llx", (unsigned long long)number);
        (void)snprintf(old, sizeof old, SHARED "%016llx",
                       (unsigned long long)(number > KEPT ? number - KEPT : 0));
        const struct records_write w[] = { { RECORDS_PUT_IF_ABSENT, sv_make(key, SHARED_LEN),
                                             buf_sv(&b) },
                                           { RECORDS_DELETE, sv_make(old, SHARED_LEN), SV_NONE } };
        rc = records_write(k->shared, w, 2, &why);
        rc = rc == ERR_OK || rc == ERR_EXISTS ? ERR_OK : err_pass(e, &why);
    }
    if (b.ptr)
        explicit_bzero(b.ptr, b.len);
    return rc;
}

/* ---- states ---- */

/* with_last: while it counts */
static err_code jwks_of(const struct signing *s, bool with_last, struct arena *a, sv *out,
                        struct err *e)
{
    const struct jose_signer *const more[] = { with_last ? s->last : NULL, s->next };
    sv all, one;
    TRY(jose_signer_public(s->signer, a, &all, e));
    for (size_t i = 0; i < 2; i++) {
        if (more[i] == NULL)
            continue;
        TRY(jose_signer_public(more[i], a, &one, e));
        all = ARENA_JOIN(a, all, SV_LIT(","), one);
    }
    *out = ARENA_JOIN(a, SV_LIT("{\"keys\":["), all, SV_LIT("]}"));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

static err_code ring_of(const struct signing *s, bool with_last, struct key_ring **out,
                        struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    struct jose_keys *keys;
    sv jwks;
    TRY(jwks_of(s, with_last, a, &jwks, e));
    TRY(jose_keys_read(jwks, &keys, e));
    *out = key_ring_fixed(&keys);
    return ERR_OK;
}

static void signing_free(struct signing *s)
{
    for (struct signing *before; s; s = before) {
        before = s->before;
        key_ring_free(s->ring);
        key_ring_free(s->both);
        jose_signer_free(s->signer);
        jose_signer_free(s->last);
        jose_signer_free(s->next);
        free(s);
    }
}

static bool is_old(int64_t made_ms, int64_t now_ms)
{
    return now_ms - made_ms >= OWN_KEY_DAYS * DAY_MS;
}

/* The folder becomes a state, with a new key when the youngest is old. */
static err_code fill(const struct own_keys *k, int64_t now_ms, struct signing *s, struct err *e)
{
    int64_t made[ON_DISK];
    size_t n;
    TRY(list(k, made, &n, e));
    const bool fresh = n == 0 || is_old(made[0], now_ms);
    if (fresh) {
        s->made_ms = now_ms;
        TRY(write_key(k, now_ms, &s->signer, e));
        TRY(list(k, made, &n, e));
    } else {
        s->made_ms = made[0];
        TRY(read_key(k, made[0], &s->signer, e));
    }
    return n < 2 ? ERR_OK : read_key(k, made[1], &s->last, e);
}

static err_code shared_signer(const struct shared_keys *all, size_t i, struct jose_signer **out,
                              struct err *e)
{
    return i < all->n ? jose_signer_read(buf_sv(&all->pem[i]), OWN_KEY_ALG, out, e) : ERR_OK;
}

/* The records become a state. *same: they are the state that is. */
static err_code fill_shared(const struct own_keys *k, int64_t now_ms, struct shared_keys *all,
                            struct signing *s, bool *same, struct err *e)
{
    const struct signing *is = atomic_load(&k->now);
    TRY(shared_list(k, all, e));
    if (all->n == 0 || is_old(all->all[0].made_ms, now_ms)) {
        TRY(shared_make(k, all->n ? all->all[0].number + 1 : 1, now_ms, e));
        TRY(shared_list(k, all, e));
    }
    if (all->n == 0)
        return ERR(e, ERR_CORRUPT, "the keys of our tokens in the records are gone");
    const bool to_come = all->n > 1 && now_ms - all->all[0].made_ms < AHEAD_MS;
    const size_t at = to_come ? 1 : 0;
    s->made_ms = all->all[at].made_ms;
    s->next_ms = to_come ? all->all[0].made_ms : 0;
    *same = is && is->made_ms == s->made_ms && is->next_ms == s->next_ms;
    if (*same)
        return ERR_OK;
    TRY(shared_signer(all, at, &s->signer, e));
    if (to_come)
        TRY(shared_signer(all, 0, &s->next, e));
    return shared_signer(all, at + 1, &s->last, e);
}

static err_code fill_any(struct own_keys *k, int64_t now_ms, struct signing *s, bool *same,
                         struct err *e)
{
    struct shared_keys all = { 0 };
    err_code rc = k->shared ? fill_shared(k, now_ms, &all, s, same, e) : fill(k, now_ms, s, e);
    shared_done(&all);
    TRY(rc);
    if (*same)
        return ERR_OK;
    TRY(ring_of(s, false, &s->ring, e));
    return s->last ? ring_of(s, true, &s->both, e) : ERR_OK;
}

static err_code renew(struct own_keys *k, int64_t now_ms, struct err *e)
{
    struct signing *s = calloc(1, sizeof *s);
    bool same = false;
    if (s == NULL)
        abort();
    err_code rc = fill_any(k, now_ms, s, &same, e);
    if (rc != ERR_OK || same) {
        signing_free(s);
        return rc;
    }
    s->before = atomic_load(&k->now);
    atomic_store(&k->now, s);
    return ERR_OK;
}

/* What is shared is looked at now and then; one caller does, and the others go on with what is
 * known. That stays as it is while the records cannot be read. */
static void look(struct own_keys *k, int64_t now_ms)
{
    int64_t last = atomic_load(&k->looked_ms);
    const int64_t age = now_ms - last;
    struct err ignored;
    if (k->shared == NULL || (age >= 0 && age < LOOK_MS) ||
        !atomic_compare_exchange_strong(&k->looked_ms, &last, now_ms))
        return;
    pthread_mutex_lock(&k->renewing);
    IGNORE(renew(k, now_ms, &ignored));
    pthread_mutex_unlock(&k->renewing);
}

static bool last_counts(const struct signing *s, int64_t now_ms)
{
    return s->last && now_ms - s->made_ms < OWN_KEY_LEFT * 1000LL;
}

/* ---- calls ---- */

err_code own_keys_open(const char *folder, struct records *records, int64_t now_ms,
                       struct own_keys **out, struct err *e)
{
    struct own_keys *k = calloc(1, sizeof *k);
    err_code rc = ERR_OK;
    if (k == NULL)
        abort();
    pthread_mutex_init(&k->renewing, NULL);
    k->shared = records_shared(records) ? records : NULL;
    atomic_init(&k->looked_ms, now_ms);
    int n = snprintf(k->folder, sizeof k->folder, "%s", folder);
    if (k->shared == NULL)
        rc = n > 0 && (size_t)n < sizeof k->folder ? file_mkdirs(folder, e)
                                                   : ERR(e, ERR_INVALID, "path is too long");
    if (rc == ERR_OK)
        rc = renew(k, now_ms, e);
    if (rc != ERR_OK) {
        own_keys_close(k);
        return rc;
    }
    *out = k;
    return ERR_OK;
}

void own_keys_close(struct own_keys *keys)
{
    if (keys == NULL)
        return;
    signing_free(atomic_load(&keys->now));
    pthread_mutex_destroy(&keys->renewing);
    free(keys);
}

err_code own_keys_sign(struct own_keys *keys, struct arena *a, sv claims, int64_t now_ms, sv *out,
                       struct err *e)
{
    look(keys, now_ms);
    const struct signing *s = atomic_load(&keys->now);
    if (keys->shared == NULL && is_old(s->made_ms, now_ms)) {
        pthread_mutex_lock(&keys->renewing);
        s = atomic_load(&keys->now);
        err_code rc = is_old(s->made_ms, now_ms) ? renew(keys, now_ms, e) : ERR_OK;
        pthread_mutex_unlock(&keys->renewing);
        TRY(rc);
        s = atomic_load(&keys->now);
    }
    return jose_sign(s->signer, a, "at+jwt", claims, out, e);
}

struct key_ring *own_keys_ring(struct own_keys *keys, int64_t now_ms)
{
    look(keys, now_ms);
    const struct signing *s = atomic_load(&keys->now);
    return last_counts(s, now_ms) ? s->both : s->ring;
}

err_code own_keys_jwks(struct own_keys *keys, struct arena *a, int64_t now_ms, sv *out,
                       struct err *e)
{
    look(keys, now_ms);
    const struct signing *s = atomic_load(&keys->now);
    return jwks_of(s, last_counts(s, now_ms), a, out, e);
}
