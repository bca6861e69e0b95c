/* crypt.c - the keys of a data store's folder, and what its files look like.
 *
 * The key file alone decides whether the files of a folder are encrypted. Whether they really are
 * is told by the begin of CURRENT, which RocksDB writes when it makes a database. */
#include "store/rocks/crypt/crypt.h"

#include "store/data_keys.h"
#include "store/rocks/crypt/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* False: there is no such file, or it begins otherwise. */
static bool is_encrypted(const char *path)
{
    char name[PATH_MAX], begin[sizeof CIPHER_MAGIC - 1];
    int n = snprintf(name, sizeof name, "%s/CURRENT", path);
    int fd = n < PATH_MAX ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    ssize_t got = pread(fd, begin, sizeof begin, 0);
    (void)close(fd);
    return got == (ssize_t)sizeof begin && memcmp(begin, CIPHER_MAGIC, sizeof begin) == 0;
}

/* Are these the keys of what stands there? RocksDB would say it in words of its own. */
static err_code check_keys(const char *path, const struct cipher_ring *ring, struct err *e)
{
    CLEANUP(cipher_free) struct cipher *c = NULL;
    char name[PATH_MAX];
    int n = snprintf(name, sizeof name, "%s/CURRENT", path);
    int fd = n < PATH_MAX ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    /* nothing was written yet, or it is damaged, and opening says so */
    if (fd < 0)
        return ERR_OK;
    err_code rc = cipher_of_file(ring, fd, &c, e);
    (void)close(fd);
    return rc;
}

err_code rocks_crypt_open(struct rocks *r, const char *path, struct err *e)
{
    if (!data_keys_there(path))
        return is_encrypted(path)
                   ? ERR(e, ERR_CORRUPT, "the data store is encrypted, and its key file is lost")
                   : ERR_OK;
    struct cipher_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        abort();
    err_code rc = data_keys_read(path, r->env->keeper, ring, e);
    if (rc == ERR_OK)
        rc = check_keys(path, ring, e);
    if (rc == ERR_OK && (r->crypt = crypt_env_new(ring)) == NULL)
        rc = ERR(e, ERR_INTERNAL,
                 "RocksDB is of another version than this program was built with: encrypted data "
                 "stores are not opened");
    if (rc != ERR_OK) {
        cipher_ring_wipe(ring);
        free(ring);
        return rc;
    }
    r->ring = ring;
    return ERR_OK;
}

void rocks_crypt_close(struct rocks *r)
{
    if (r->crypt)
        rocksdb_env_destroy(r->crypt);
    cipher_ring_wipe(r->ring);
    free(r->ring);
    r->crypt = NULL;
    r->ring = NULL;
}

err_code rocks_crypt_check(const struct rocks *r, const char *path, struct err *e)
{
    return r->ring == NULL || is_encrypted(path)
               ? ERR_OK
               : ERR(e, ERR_INTERNAL, "RocksDB did not encrypt a file of an encrypted data store");
}

void rocks_crypt_tidy(const struct rocks *r, const char *path)
{
    struct dirent *x;
    struct stat st;
    DIR *d = r->ring ? opendir(path) : NULL;
    while (d && (x = readdir(d)) != NULL) {
        if (!sv_ends(sv_from(x->d_name), SV_LIT(".log")) ||
            fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_size == 0 ||
            st.st_size >= (off_t)CIPHER_PREFIX)
            continue;
        int fd = openat(dirfd(d), x->d_name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        /* if this fails, opening does, and says so */
        if (fd >= 0 && ftruncate(fd, 0) == 0)
            (void)fdatasync(fd);
        if (fd >= 0)
            (void)close(fd);
    }
    if (d)
        closedir(d);
}

err_code rocks_encrypt(const char *place, sv id, struct key_keeper *keeper, sv key_id,
                       struct err *e)
{
    if (rocks_has_data(place) && !data_keys_there(place))
        return ERR(e, ERR_CONFLICT, "the data store has data that is not encrypted");
    return data_keys_make(place, id, keeper, key_id, e);
}

err_code rocks_keys(struct store_env *env, const char *place, struct cipher_ring *out,
                    struct err *e)
{
    return data_keys_there(place) ? data_keys_read(place, env->keeper, out, e)
                                  : ERR(e, ERR_NOT_FOUND, "the data store has no key file");
}

const struct cipher_ring *rocks_ring(struct store *st)
{
    return ((const struct rocks *)st)->ring;
}
