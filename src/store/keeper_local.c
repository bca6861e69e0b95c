/* keeper_local.c - data keys are wrapped by keys of a local file.
 *
 * Each key has a name that tells nothing of it: the begin of a digest. A wrapped key names the one
 * that wrapped it, so any number of older keys may stand in the file. Who takes a line out takes
 * the data of what it wrapped away. */
#include "store/keeper.h"

#include "base/file.h"
#include "codec/hash.h"
#include "codec/seal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/stat.h>

#define FILE_MAX   (64u << 10)
#define KEYS_MAX   64u
#define NAME_DIGIT 16u
#define PREFIX     "local:"
#define NAME_LEN   (sizeof PREFIX - 1 + NAME_DIGIT)

_Static_assert(SEAL_KEY_LEN == CIPHER_KEY_LEN, "keys of AES-256");

struct wrapping_key {
    char name[NAME_LEN];
    unsigned char key[CIPHER_KEY_LEN];
};
struct keys {
    size_t n;
    struct wrapping_key of[KEYS_MAX];
};
struct local {
    struct key_keeper base;
    char *path;
    struct {
        pthread_mutex_t lock;
        struct stat seen; /* of the file when it was read; all 0: it is not there */
        struct keys keys;
    } locked;
};

/* ---- the file ---- */

static bool read_hex(sv line, unsigned char key[CIPHER_KEY_LEN])
{
    char lower[2 * CIPHER_KEY_LEN];
    if (line.len != sizeof lower)
        return false;
    for (size_t i = 0; i < line.len; i++)
        lower[i] =
            line.ptr[i] >= 'A' && line.ptr[i] <= 'F' ? (char)(line.ptr[i] + 32) : line.ptr[i];
    const bool ok = hash_unhex(sv_make(lower, sizeof lower), key, CIPHER_KEY_LEN);
    OPENSSL_cleanse(lower, sizeof lower);
    return ok;
}

static bool read_base64(sv line, unsigned char key[CIPHER_KEY_LEN])
{
    CLEANUP_BUF struct buf b = BUF_INIT(128);
    if (line.len != 44 || hash_base64_decode(line, &b, NULL) != ERR_OK || b.len != CIPHER_KEY_LEN)
        return false;
    memcpy(key, b.ptr, CIPHER_KEY_LEN);
    OPENSSL_cleanse(b.ptr, b.len);
    return true;
}

static void name_of(const unsigned char key[CIPHER_KEY_LEN], char out[NAME_LEN])
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_hmac_sha256(sv_make(key, CIPHER_KEY_LEN), SV_LIT("fhirlake: name of a key"), digest);
    hash_hex(digest, sizeof digest, hex);
    memcpy(out, PREFIX, sizeof PREFIX - 1);
    memcpy(out + sizeof PREFIX - 1, hex, NAME_DIGIT);
}

static err_code parse(sv text, struct keys *out, struct err *e)
{
    sv rest = text, line;
    unsigned n_lines = 0;
    out->n = 0;
    while (sv_cut(&rest, '\n', &line)) {
        n_lines++;
        line = sv_trim(line);
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        if (out->n == KEYS_MAX)
            return ERR(e, ERR_INVALID, "the file of keys has more than %u keys", KEYS_MAX);
        struct wrapping_key *k = &out->of[out->n];
        if (!read_hex(line, k->key) && !read_base64(line, k->key))
            return ERR(e, ERR_INVALID,
                       "line %u of the file of keys is no key: 64 hexadecimal digits, or base64 of "
                       "32 bytes",
                       n_lines);
        name_of(k->key, k->name);
        out->n++;
    }
    return out->n ? ERR_OK : ERR(e, ERR_INVALID, "the file of keys has no key");
}

static err_code read_keys(const char *path, struct keys *out, struct err *e)
{
    struct buf text = BUF_INIT(FILE_MAX);
    err_code rc = file_read_private(path, &text, e);
    if (rc == ERR_OK)
        rc = parse(buf_sv(&text), out, e);
    if (text.ptr)
        OPENSSL_cleanse(text.ptr, text.cap);
    buf_done(&text);
    return rc;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void read_again_locked(struct local *l)
{
    struct stat now = { 0 };
    struct keys *fresh = malloc(sizeof *fresh);
    struct err ignored;
    if (fresh == NULL)
        abort();
    /* a disk or a network that does not answer has taken no key away */
    err_code rc = stat(l->path, &now) == 0              ? ERR_OK
                  : errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND
                                                        : ERR_IO;
    if (rc == ERR_OK && !is_same(&now, &l->locked.seen)) {
        /* what is broken is half written, or a mistake */
        rc = read_keys(l->path, fresh, &ignored);
        if (rc == ERR_OK) {
            l->locked.keys = *fresh;
            l->locked.seen = now;
        }
    }
    if (rc == ERR_NOT_FOUND) {
        OPENSSL_cleanse(&l->locked.keys, sizeof l->locked.keys);
        l->locked.seen = (struct stat){ 0 };
    }
    OPENSSL_cleanse(fresh, sizeof *fresh);
    free(fresh);
}

/* ---- the table ---- */

static sv about(sv datastore_id, struct buf *out)
{
    /* an id is short */
    IGNORE(buf_add(out, SV_LIT("aws:healthlake:datastore-id="), NULL));
    IGNORE(buf_add(out, datastore_id, NULL));
    return buf_sv(out);
}

struct key_keeper *key_keeper_named(struct key_keeper *first, sv name)
{
    while (first && !sv_eq_cstr(name, first->ops->name))
        first = first->next;
    return first;
}

static err_code no_key(struct err *e)
{
    return ERR(e, ERR_DENIED, "The key of this data store is not available: access is denied");
}

/* NULL: it is not there. key_id empty: the first one. */
static bool find(struct local *l, sv key_id, struct wrapping_key *out)
{
    bool found = false;
    pthread_mutex_lock(&l->locked.lock);
    read_again_locked(l);
    for (size_t i = 0; i < l->locked.keys.n && !found; i++) {
        const struct wrapping_key *k = &l->locked.keys.of[i];
        found = key_id.len == 0 || sv_eq(key_id, sv_make(k->name, sizeof k->name));
        if (found)
            *out = *k;
    }
    pthread_mutex_unlock(&l->locked.lock);
    return found;
}

static err_code local_wrap(struct key_keeper *base, sv key_id, sv datastore_id,
                           const unsigned char key[CIPHER_KEY_LEN], struct buf *used,
                           struct buf *blob, struct err *e)
{
    CLEANUP_BUF struct buf name = BUF_INIT(128);
    struct wrapping_key k;
    (void)key_id;
    if (!find((struct local *)base, SV_NONE, &k))
        return no_key(e);
    err_code rc = buf_add(used, sv_make(k.name, sizeof k.name), e);
    if (rc == ERR_OK)
        rc = seal_close(k.key, about(datastore_id, &name), sv_make(key, CIPHER_KEY_LEN), blob, e);
    OPENSSL_cleanse(&k, sizeof k);
    return rc;
}

static err_code local_unwrap(struct key_keeper *base, sv key_id, sv blob, sv datastore_id,
                             unsigned char key[CIPHER_KEY_LEN], struct err *e)
{
    CLEANUP_BUF struct buf name = BUF_INIT(128);
    struct buf plain = BUF_INIT(128);
    struct wrapping_key k;
    if (key_id.len == 0 || !find((struct local *)base, key_id, &k))
        return no_key(e);
    err_code rc = seal_open(k.key, about(datastore_id, &name), blob, &plain, NULL);
    OPENSSL_cleanse(&k, sizeof k);
    if (rc == ERR_OK && plain.len == CIPHER_KEY_LEN)
        memcpy(key, plain.ptr, CIPHER_KEY_LEN);
    else
        rc = ERR(e, ERR_CORRUPT, "the key file of a data store was changed, or is another's");
    if (plain.ptr)
        OPENSSL_cleanse(plain.ptr, plain.cap);
    buf_done(&plain);
    return rc;
}

static void local_close(struct key_keeper *base)
{
    struct local *l = (struct local *)base;
    pthread_mutex_destroy(&l->locked.lock);
    OPENSSL_cleanse(&l->locked.keys, sizeof l->locked.keys);
    free(l->path);
    free(l);
}

static const struct key_keeper_ops local_ops = { KEEPER_LOCAL, local_wrap, local_unwrap,
                                                 local_close };

err_code key_keeper_local(const char *path, struct key_keeper **out, struct err *e)
{
    struct local *l = calloc(1, sizeof *l);
    if (l == NULL || (l->path = strdup(path)) == NULL)
        abort();
    l->base.ops = &local_ops;
    pthread_mutex_init(&l->locked.lock, NULL);
    err_code rc = ERR_OK;
    if (stat(path, &l->locked.seen) != 0)
        rc = file_os_err(e, "cannot open file");
    if (rc == ERR_OK)
        rc = read_keys(path, &l->locked.keys, e);
    if (rc != ERR_OK) {
        local_close(&l->base);
        return rc;
    }
    *out = &l->base;
    return ERR_OK;
}

void key_keeper_close(struct key_keeper *k)
{
    while (k) {
        struct key_keeper *next = k->next;
        k->ops->close(k);
        k = next;
    }
}
