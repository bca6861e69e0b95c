/* own_keys.c - the keys that sign our tokens: files in a folder of the data folder.
 *
 *   <milliseconds, 16 hexadecimal digits>.pem   a private key, and when it was made
 *
 * The youngest signs. When it is OWN_KEY_DAYS old another one is made, and the one before verifies
 * for OWN_KEY_LEFT seconds more: longer than any of its tokens lives. A backup holds none of them,
 * so a folder that is restored elsewhere takes no tokens of this one. */
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

/* One state of the folder; immutable. Those before stay until the end, since somebody may be
 * looking at them; there is one more a month. */
struct signing {
    struct signing *before;
    struct jose_signer *signer, *last; /* last: of the one before; NULL: none */
    int64_t made_ms;                   /* the signer */
    struct key_ring *ring, *both;      /* both: with last; NULL: none */
};

struct own_keys {
    char folder[PATH_MAX - 64];
    _Atomic(struct signing *) now;
    pthread_mutex_t renewing; /* held while a key is made: once a month, for some milliseconds */
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

/* ---- states ---- */

static err_code jwks_of(const struct jose_signer *one, const struct jose_signer *two,
                        struct arena *a, sv *out, struct err *e)
{
    sv first, second;
    TRY(jose_signer_public(one, a, &first, e));
    if (two) {
        TRY(jose_signer_public(two, a, &second, e));
        first = ARENA_JOIN(a, first, SV_LIT(","), second);
    }
    *out = ARENA_JOIN(a, SV_LIT("{\"keys\":["), first, SV_LIT("]}"));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

static err_code ring_of(const struct jose_signer *one, const struct jose_signer *two,
                        struct key_ring **out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    struct jose_keys *keys;
    sv jwks;
    TRY(jwks_of(one, two, a, &jwks, e));
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
    TRY(ring_of(s->signer, NULL, &s->ring, e));
    if (n < 2)
        return ERR_OK;
    TRY(read_key(k, made[1], &s->last, e));
    return ring_of(s->signer, s->last, &s->both, e);
}

static err_code renew(struct own_keys *k, int64_t now_ms, struct err *e)
{
    struct signing *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    err_code rc = fill(k, now_ms, s, e);
    if (rc != ERR_OK) {
        signing_free(s);
        return rc;
    }
    s->before = atomic_load(&k->now);
    atomic_store(&k->now, s);
    return ERR_OK;
}

static bool last_counts(const struct signing *s, int64_t now_ms)
{
    return s->last && now_ms - s->made_ms < OWN_KEY_LEFT * 1000LL;
}

/* ---- calls ---- */

err_code own_keys_open(const char *folder, int64_t now_ms, struct own_keys **out, struct err *e)
{
    struct own_keys *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    pthread_mutex_init(&k->renewing, NULL);
    int n = snprintf(k->folder, sizeof k->folder, "%s", folder);
    err_code rc = n > 0 && (size_t)n < sizeof k->folder ? file_mkdirs(folder, e)
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
    const struct signing *s = atomic_load(&keys->now);
    if (is_old(s->made_ms, now_ms)) {
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
    const struct signing *s = atomic_load(&keys->now);
    return last_counts(s, now_ms) ? s->both : s->ring;
}

err_code own_keys_jwks(struct own_keys *keys, struct arena *a, int64_t now_ms, sv *out,
                       struct err *e)
{
    const struct signing *s = atomic_load(&keys->now);
    return jwks_of(s->signer, last_counts(s, now_ms) ? s->last : NULL, a, out, e);
}
