/* snapshot.c - the system's records and the data stores that they name, linked into one folder.
 *
 * The records are taken first. A data store that is deleted between the two would be lost in the
 * backup, so the whole is taken anew then. Data stores that are being made or deleted are left out:
 * the next start makes them anew, or goes on deleting. */
#include "backup/backup_private.h"

#include "base/file.h"
#include "codec/json.h"

#include <stdio.h>

#define TRIES         5
#define RECORD_MEMORY (4u << 20)
#define IDS_BYTES     ((size_t)64 << 20)
#define RECORD_DEPTH  16u

struct naming {
    struct buf *ids;
    err_code rc;
    struct err *e;
};

/* Is its data on disk, and not in the making? */
static err_code has_data(sv json, bool *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(RECORD_MEMORY);
    yyjson_doc *doc;
    sv text = arena_sv(a, json);
    if (text.ptr == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, text, RECORD_DEPTH, &doc, e));
    yyjson_val *r = yyjson_doc_get_root(doc);
    const sv status = json_string(json_get(r, "status"));
    int64_t until;
    const bool is_kept =
        sv_to_i64(json_number(json_get(json_get(r, "backup"), "until")), &until) && until;
    *out = sv_eq(status, SV_LIT("ACTIVE")) || (sv_eq(status, SV_LIT("DELETED")) && is_kept);
    return ERR_OK;
}

/* records_each_fn */
static bool name_one(void *ctx, sv key, sv value)
{
    struct naming *n = ctx;
    const sv id = sv_tail(key, sizeof "datastore/" - 1);
    bool wanted = false;
    n->rc = has_data(value, &wanted, n->e);
    if (n->rc == ERR_OK && wanted)
        n->rc = id.len == BACKUP_ID_LEN
                    ? buf_add(n->ids, id, n->e)
                    : ERR(n->e, ERR_CORRUPT, "a data store's record is damaged");
    return n->rc == ERR_OK;
}

static err_code stores_of(const char *system, struct buf *ids, struct err *e)
{
    CLEANUP(records_close) struct records *r = NULL;
    struct naming n = { ids, ERR_OK, e };
    struct err why;
    char uri[PATH_MAX];
    TRY(backup_path(uri, e, "rocksdb:%s", system));
    err_code rc = records_open_to_read(uri, &r, &why);
    /* nothing was ever written */
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(records_scan(r, SV_LIT("datastore/"), SV_NONE, name_one, &n, e));
    return n.rc;
}

static err_code take_store(struct store_registry *stores, const char *folder, sv id, struct err *e)
{
    char path[PATH_MAX];
    struct store *st;
    struct store_commit at;
    TRY(backup_path(path, e, "%s/stores/%.*s", folder, SV_FMT(id)));
    err_code rc = store_registry_acquire(stores, id, false, &st, e);
    if (rc == ERR_OK) {
        rc = store_snapshot(st, path, &at, e);
        store_registry_release(stores, st);
    }
    if (rc != ERR_OK)
        err_context(e, "data store %.*s", SV_FMT(id));
    return rc;
}

/* ERR_GONE, ERR_NOT_FOUND: one was deleted meanwhile. */
static err_code take(struct records *records, struct store_registry *stores, const char *folder,
                     struct err *e)
{
    CLEANUP_BUF struct buf ids = BUF_INIT(IDS_BYTES);
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/stores", folder));
    TRY(file_mkdirs(path, e));
    TRY(backup_path(path, e, "%s/system", folder));
    TRY(records_snapshot(records, path, e));
    TRY(stores_of(path, &ids, e));
    for (sv rest = buf_sv(&ids); rest.len; rest = sv_tail(rest, BACKUP_ID_LEN))
        TRY(take_store(stores, folder, sv_head(rest, BACKUP_ID_LEN), e));
    return ERR_OK;
}

err_code backup_snapshot(struct records *records, struct store_registry *stores, const char *folder,
                         struct err *e)
{
    for (int tries = 0; tries < TRIES; tries++) {
        struct err why = { 0 };
        TRY(file_remove_tree(folder, e));
        err_code rc = take(records, stores, folder, &why);
        if (rc == ERR_OK)
            return ERR_OK;
        IGNORE(file_remove_tree(folder, NULL));
        if (rc != ERR_GONE && rc != ERR_NOT_FOUND)
            return err_pass(e, &why);
    }
    return ERR(e, ERR_CONFLICT,
               "a data store of the system's records has no folder, or data stores are deleted "
               "while they are copied: fhirlake check tells which");
}
