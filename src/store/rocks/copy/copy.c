/* copy.c - a copy of a data store as of a commit: a snapshot, cut, compared, put in its place.
 *
 *   ABOVE/NAME              the copy
 *   ABOVE/.NAME.restoring   the same while it is made; whatever ends the process, it is of no use
 *                           to anybody, and the next try removes it
 *
 * The copy is closed and opened before it is compared with the source, so what is compared is what
 * the next opening finds. */
#include "store/rocks/copy/copy_private.h"

#include "base/file.h"
#include "store/data_keys.h"
#include "store/rocks/convert/convert_private.h"
#include "store/rocks/crypt/crypt.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define FILES_OPEN 512u

/* A data store's id is the name of its folder. */
static sv name_of(const char *place)
{
    const char *slash = strrchr(place, '/');
    return sv_from(slash ? slash + 1 : place);
}

static err_code cut_copy(struct store_env *env, void *own, const char *side, uint64_t t,
                         const atomic_bool *halt, struct err *e)
{
    struct store *st;
    TRY(rocks_open(env, own, side, false, FILES_OPEN, &st, e));
    /* entries that it would still write are those of versions that may go; the next opening goes on
     */
    reindex_close((struct rocks *)st);
    err_code rc = cut_off((struct rocks *)st, t, halt, e);
    store_close(st);
    return rc;
}

static err_code compare(struct store_env *env, void *own, struct store *from, const char *side,
                        uint64_t t, const atomic_bool *halt, struct store_sums *out, struct err *e)
{
    struct store_sums *was = malloc(sizeof *was);
    struct store *st;
    fhir_type type;
    if (was == NULL)
        abort();
    err_code rc = rocks_open(env, own, side, false, FILES_OPEN, &st, e);
    if (rc == ERR_OK) {
        rc = rocks_sums(st, STORE_NOW, halt, out, e);
        store_close(st);
    }
    if (rc == ERR_OK)
        rc = rocks_sums(from, t, halt, was, e);
    if (rc == ERR_OK && (was->at.t != out->at.t || was->at.instant_ms != out->at.instant_ms))
        rc = ERR(e, ERR_CORRUPT, "the copy of the data store ends with another commit");
    else if (rc == ERR_OK && store_sums_differ(was, out, &type))
        rc = ERR(e, ERR_CORRUPT, "the copy of the data store has other resources of type %s",
                 type && type <= fhir_n_types() ? fhir_type_name(type) : "(none)");
    free(was);
    return rc;
}

/* From now on nothing is erased until the copy is there: what is erased in between would be whole
 * in the copy. */
static err_code hold_still(struct rocks *r, struct err *e)
{
    bool under_way;
    pthread_mutex_lock(&r->order.lock);
    err_code rc = rocks_is_erasing(r, &under_way, e);
    if (rc == ERR_OK && under_way)
        rc = ERR(e, ERR_CONFLICT, "Resources of the data store are being erased; try again later");
    if (rc == ERR_OK)
        atomic_fetch_add(&r->n_copies, 1);
    pthread_mutex_unlock(&r->order.lock);
    return rc;
}

static err_code copy_held(struct store_env *env, void *own, struct store *from,
                          const struct convert_places *p, uint64_t t, const atomic_bool *halt,
                          struct store_sums *out, struct err *e)
{
    struct store_commit at;
    TRY(file_remove_tree(p->restoring, e));
    err_code rc = rocks_snapshot(from, p->restoring, &at, e);
    if (rc == ERR_OK && at.t < t)
        rc = ERR(e, ERR_INTERNAL, "a copy as of a commit that never was");
    /* what is written from now on has a key that the source has not */
    if (rc == ERR_OK && ((struct rocks *)from)->ring)
        rc = data_keys_add(p->restoring, name_of(p->main), env->keeper, e);
    if (rc == ERR_OK)
        rc = cut_copy(env, own, p->restoring, t, halt, e);
    if (rc == ERR_OK)
        rc = compare(env, own, from, p->restoring, t, halt, out, e);
    if (rc == ERR_OK)
        rc = file_sync_dir(p->restoring, e);
    if (rc == ERR_OK && rename(p->restoring, p->main) != 0)
        rc = ERR(e, err_from_errno(errno), "a folder of the data store cannot be renamed");
    if (rc == ERR_OK)
        return file_sync_dir(p->above, e);
    /* the error is known; the next try removes what this cannot */
    IGNORE(file_remove_tree(p->restoring, NULL));
    return rc;
}

err_code rocks_copy(struct store_env *env, void *own, struct store *from, const char *place,
                    uint64_t t, const atomic_bool *halt, struct store_sums *out, struct err *e)
{
    struct rocks *r = (struct rocks *)from;
    struct convert_places p;
    TRY(convert_places(place, &p, e));
    if (access(p.main, F_OK) == 0)
        return ERR(e, ERR_EXISTS, "there is a data store already where the copy is to be");
    /* of a restore that was cut off */
    TRY(file_remove_tree(p.restoring, e));
    TRY(hold_still(r, e));
    err_code rc = copy_held(env, own, from, &p, t, halt, out, e);
    atomic_fetch_sub(&r->n_copies, 1);
    return rc;
}

/* Nobody has it open; RocksDB makes nothing when it opens for reading. */
err_code rocks_sums_of(struct store_env *env, void *own, const char *place, struct store_sums *out,
                       struct err *e)
{
    struct rocks r = { .env = env, .shared = own };
    const rocksdb_options_t *options[N_CFS];
    char *bad = NULL;
    bool older;
    if (access(place, F_OK) != 0)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    TRY(rocks_look(place, &older, e));
    if (older)
        return ERR(e, ERR_UNSUPPORTED, "data store has an older layout: it has to be converted");
    TRY(rocks_crypt_open(&r, place, e));
    rocks_options_make(&r, false, FILES_OPEN, options);
    r.db = rocksdb_open_for_read_only_column_families(r.options, place, N_CFS, rocks_family_names,
                                                      options, r.cf, 0, &bad);
    err_code rc = rocks_error(bad, "opening the data store", e);
    if (rc == ERR_OK)
        rc = rocks_read_commits(&r, e);
    if (rc == ERR_OK)
        rc = sums_read(&r, r.seen.loads, r.seen.last, NULL, out, e);
    load_table_unref(r.seen.loads);
    for (int i = 0; i < N_CFS; i++)
        if (r.cf[i])
            rocksdb_column_family_handle_destroy(r.cf[i]);
    if (r.db)
        rocksdb_close(r.db);
    rocks_options_done(&r);
    rocks_crypt_close(&r);
    return rc;
}
