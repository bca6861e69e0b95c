/* base.c - what every room of the engine stands on: RocksDB's errors in our words, and its figures.
 *
 * RocksDB reports an error as a text that holds paths and keys. rocks_error() gives the caller an
 * error code and a message without them. The figures are properties of the database: how many
 * files wait for compaction, how much memory writes have taken, how large the store is on disk. */
#include "store/rocks/rocks_private.h"

#include "base/file.h"

#include <dirent.h>

#define ANEW_BYTES ((uint64_t)64 << 20) /* of the disk, so that it can be opened */

/* RocksDB's own word for what happened, or the system's, without what stands between: paths,
 * keys. */
static const char *kind_of(const char *text)
{
    static const char *const kinds[] = {
        "Invalid argument",     "Not implemented",       "Result incomplete", "Resource busy",
        "Shutdown in progress", "Operation timed out",   "Operation aborted", "Operation expired",
        ROCKS_TRY_AGAIN,        "Column family dropped",
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strncmp(text, kinds[i], strlen(kinds[i])) == 0)
            return kinds[i];
    size_t len = strlen(text);
    for (int n = 1; n < 134; n++) {
        const char *words = strerrordesc_np(n);
        if (words && len >= strlen(words) && strcmp(text + len - strlen(words), words) == 0)
            return words;
    }
    return "input/output error";
}

/* What of it is damaged, as far as RocksDB's words tell; those can quote keys. */
static const char *damage_of(const char *text)
{
    static const struct {
        const char *sign, *words;
    } kinds[] = {
        { "consistency_checks", "stored data is damaged (the order of its files)" },
        { "checksum", "stored data is damaged (a checksum)" },
        { "too short", "stored data is damaged (a file is too short)" },
        { "magic number", "stored data is damaged (a file is of another form)" },
        { "MANIFEST", "stored data is damaged (its list of files)" },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strstr(text, kinds[i].sign))
            return kinds[i].words;
    return "stored data is damaged";
}

err_code rocks_error(char *errptr, const char *what, struct err *e)
{
    if (errptr == NULL)
        return ERR_OK;
    err_code code = ERR_IO;
    const char *why = kind_of(errptr);
    if (strstr(errptr, "No space left") || strstr(errptr, "Space limit")) {
        code = ERR_NO_SPACE;
        why = "disk is full";
    } else if (strstr(errptr, "lock hold by current process") ||
               strstr(errptr, "While lock file")) {
        code = ERR_EXISTS;
        why = "in use by another process";
    } else if (strncmp(errptr, "Corruption", 10) == 0) {
        code = ERR_CORRUPT;
        why = damage_of(errptr);
    } else if (strstr(errptr, "does not exist")) {
        code = ERR_NOT_FOUND;
        why = "does not exist";
    }
    rocksdb_free(errptr);
    return ERR(e, code, "%s: %s", what, why);
}

err_code rocks_write_error(struct rocks *r, char *errptr, const char *what, struct err *e)
{
    if (errptr)
        atomic_store(&r->has_failed, true);
    return rocks_error(errptr, what, e);
}

err_code rocks_damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "reading the data store: a record is damaged");
}

err_code rocks_iterator_end(rocksdb_iterator_t *it, rocksdb_readoptions_t *ro, err_code rc,
                            struct err *e)
{
    char *bad = NULL;
    rocksdb_iter_get_error(it, &bad);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    if (rc == ERR_OK)
        return rocks_error(bad, "reading the data store", e);
    rocksdb_free(bad);
    return rc;
}

/* Names in a folder of which is_name is true; 0 when there is no folder. */
unsigned rocks_root_count(const char *root, bool (*is_name)(sv name))
{
    unsigned n = 0;
    struct dirent *x;
    DIR *d = opendir(root);
    while (d && (x = readdir(d)) != NULL)
        n += is_name(sv_from(x->d_name));
    if (d)
        closedir(d);
    return n;
}

/* ---- figures ---- */

uint64_t rocks_files(struct rocks *r, int cf, int level)
{
    uint64_t n;
    char name[40];
    (void)snprintf(name, sizeof name, "rocksdb.num-files-at-level%d", level);
    char *text = rocksdb_property_value_cf(r->db, r->cf[cf], name);
    if (text == NULL || !sv_to_u64(sv_from(text), &n))
        n = 0;
    rocksdb_free(text);
    return n;
}

static uint64_t property(struct rocks *r, int cf, const char *name)
{
    uint64_t v;
    return rocksdb_property_int_cf(r->db, r->cf[cf], name, &v) == 0 ? v : 0;
}

bool rocks_has_failed(struct rocks *r)
{
    /* flushes and compactions count there */
    if (!atomic_load(&r->has_failed) && property(r, CF_VERSIONS, "rocksdb.background-errors"))
        atomic_store(&r->has_failed, true);
    return atomic_load(&r->has_failed);
}

bool rocks_wants_anew(struct store *st)
{
    const struct rocks *r = (const struct rocks *)st;
    uint64_t left, size;
    /* what is closed on a full disk could not be opened again, not even to be read */
    return (atomic_load(&r->has_failed) || atomic_load(&r->erase.is_done)) &&
           file_disk(r->path, &left, &size, NULL) == ERR_OK && left >= ANEW_BYTES;
}

bool rocks_had_failure(struct store *st)
{
    return atomic_load(&((const struct rocks *)st)->has_failed);
}

void rocks_weigh(struct store *st, struct store_weight *out)
{
    struct rocks *r = (struct rocks *)st;
    struct store_weight w = { 0 };
    for (int i = 0; i < N_CFS; i++)
        if (property(r, i, "rocksdb.num-entries-active-mem-table") ||
            property(r, i, "rocksdb.num-entries-imm-mem-tables"))
            w.write_bytes += property(r, i, "rocksdb.cur-size-all-mem-tables");
    /* of the whole database, whatever the column family */
    w.busy = property(r, CF_VERSIONS, "rocksdb.num-running-compactions") ||
             property(r, CF_VERSIONS, "rocksdb.num-running-flushes") ||
             atomic_load(&r->index.under_way) || atomic_load(&r->fold.under_way);
    *out = w;
}

err_code rocks_flush_family(struct rocks *r, int family, struct err *e)
{
    char *bad = NULL;
    if (property(r, family, "rocksdb.num-entries-active-mem-table") == 0 &&
        property(r, family, "rocksdb.num-entries-imm-mem-tables") == 0)
        return ERR_OK;
    rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(o, 1);
    rocksdb_flush_cf(r->db, o, r->cf[family], &bad);
    rocksdb_flushoptions_destroy(o);
    return rocks_error(bad, "writing a data store", e);
}

err_code rocks_flush(struct store *st, struct err *e)
{
    for (int i = 0; i < N_CFS; i++)
        TRY(rocks_flush_family((struct rocks *)st, i, e));
    return ERR_OK;
}
