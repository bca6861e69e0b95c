/* datastore.c - the record of a data store: its text, what it says, and its copy in memory, so that
 * not every request reads one.
 *
 *   datastore/<id>        -> the record, JSON
 *   datastoreactive/<id>  -> ""      while the data store is being created or deleted
 *   datastorekept/<id>    -> ""      while a deleted one can still be restored
 *
 *   read    note the generation; read the record; keep it unless the generation has moved since
 *   write   write the record to disk; move the generation; empty the record's slot
 *
 * Members of CreateFHIRDatastore stand in the record as the caller gave them. A copy in memory is
 * never older than the last write that this process answered; where other processes write records,
 * too, it is used for a second. A slot is chosen by the id; a new copy
 * replaces the old one. Copies are counted: the last holder frees one. */
#include "base/clock.h"
#include "event/event.h"
#include "service/plane.h"

#include <assert.h>

#define RECORD_DEPTH 16u /* nesting, with members of the request in it */

sv datastore_scheme(const struct http_request *req)
{
    return req->secure ? SV_LIT("https://") : SV_LIT("http://");
}

sv datastore_url(struct service *service, const struct http_request *req, sv id)
{
    sv root = service->cfg.public_url;
    while (root.len && root.ptr[root.len - 1] == '/')
        root.len--;
    if (root.len == 0)
        return ARENA_JOIN(req->arena, datastore_scheme(req), http_header_get(req, "Host"),
                          SV_LIT("/datastore/"), id, SV_LIT("/r4"));
    return ARENA_JOIN(req->arena, root, SV_LIT("/datastore/"), id, SV_LIT("/r4"));
}

sv datastore_arn(struct service *service, struct arena *a, sv id)
{
    return arena_fmt(a, "arn:aws:healthlake:%.*s:%.*s:datastore/fhir/%.*s",
                     SV_FMT(service->cfg.region), SV_FMT(service->cfg.account_id), SV_FMT(id));
}

static err_code not_found(sv id, struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "Data store %.*s does not exist", SV_FMT(sv_head(id, 64)));
}

/* Absent members leave what they are for at zero. */
static bool read_i64(yyjson_val *v, int64_t *out)
{
    return v == NULL || sv_to_i64(json_number(v), out);
}

static bool read_backup(yyjson_val *v, struct datastore_backup *out)
{
    int64_t days = 0;
    out->given = v != NULL;
    out->enabled = yyjson_is_true(json_get(v, "enabled"));
    out->tags = yyjson_is_true(json_get(v, "tags"));
    if (!read_i64(json_get(v, "days"), &days) || days < 0 || days > UINT16_MAX ||
        !read_i64(json_get(v, "since"), &out->enabled_ms) ||
        !read_i64(json_get(v, "ended"), &out->ended_ms) ||
        !read_i64(json_get(v, "until"), &out->until_ms))
        return false;
    out->days = (unsigned)days;
    return true;
}

static void print_backup(struct json_writer *w, const struct datastore_backup *b)
{
    if (!b->given)
        return;
    json_key(w, "backup");
    json_obj(w);
    json_kv_bool(w, "enabled", b->enabled);
    json_kv_bool(w, "tags", b->tags);
    json_kv_u64(w, "days", b->days);
    json_kv_i64(w, "since", b->enabled_ms);
    json_kv_i64(w, "ended", b->ended_ms);
    json_kv_i64(w, "until", b->until_ms);
    json_obj_end(w);
}

static err_code parse_record(struct service *service, sv json, struct arena *a,
                             struct datastore *out, struct err *e)
{
    yyjson_doc *doc;
    json = arena_sv(a, json);
    if (json.ptr == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, json, RECORD_DEPTH, &doc, e));
    yyjson_val *r = yyjson_doc_get_root(doc);
    struct datastore datastore = { .id = json_string(json_get(r, "id")),
                                   .name = json_string(json_get(r, "name")),
                                   .status = json_string(json_get(r, "status")),
                                   .sse = json_get(r, "sse"),
                                   .preload = json_get(r, "preload"),
                                   .identity = json_get(r, "identity"),
                                   .tags = json_get(r, "tags"),
                                   .error_message = json_string(json_get(r, "errorMessage")),
                                   .error_category = json_string(json_get(r, "errorCategory")),
                                   .restored_from = json_string(json_get(r, "restoredFrom")) };
    if (!read_backup(json_get(r, "backup"), &datastore.backup) ||
        !read_i64(json_get(r, "restoredAt"), &datastore.restored_at_ms) ||
        !sv_to_u64(json_number(json_get(r, "order")), &datastore.order) ||
        !sv_to_i64(json_number(json_get(r, "created")), &datastore.created_ms))
        return ERR(e, ERR_CORRUPT, "a data store's record is damaged");
    datastore.arn = datastore_arn(service, a, datastore.id);
    identity_read(a, datastore.identity, &datastore.callers);
    *out = datastore;
    return ERR_OK;
}

err_code datastore_read(struct service *service, sv id, struct arena *a, struct datastore *out,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(DATASTORE_RECORD_MAX);
    struct err why;
    err_code rc =
        records_get(service->cfg.records, arena_fmt(a, "datastore/%.*s", SV_FMT(id)), &b, &why);
    if (rc == ERR_NOT_FOUND)
        return not_found(id, e);
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(parse_record(service, buf_sv(&b), a, out, e));
    if (records_shared(service->cfg.records))
        out->former = arena_sv(a, buf_sv(&b));
    return ERR_OK;
}

err_code datastore_print(const struct datastore *datastore, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "id", datastore->id);
    json_kv_str(&w, "status", datastore->status);
    json_kv_i64(&w, "order", (int64_t)datastore->order);
    json_kv_i64(&w, "created", datastore->created_ms);
    if (datastore->name.ptr)
        json_kv_str(&w, "name", datastore->name);
    json_kv_given(&w, "sse", datastore->sse);
    json_kv_given(&w, "preload", datastore->preload);
    json_kv_given(&w, "identity", datastore->identity);
    json_kv_given(&w, "tags", datastore->tags);
    print_backup(&w, &datastore->backup);
    if (datastore->restored_from.len) {
        json_kv_str(&w, "restoredFrom", datastore->restored_from);
        json_kv_i64(&w, "restoredAt", datastore->restored_at_ms);
    }
    if (datastore->error_message.len) {
        json_kv_str(&w, "errorMessage", datastore->error_message);
        json_kv_str(&w, "errorCategory", datastore->error_category);
    }
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

bool datastore_in_transition(const struct datastore *datastore)
{
    return sv_eq(datastore->status, SV_LIT("CREATING")) ||
           sv_eq(datastore->status, SV_LIT("DELETING"));
}

bool datastore_is_kept(const struct datastore *datastore)
{
    return sv_eq(datastore->status, SV_LIT("DELETED")) && datastore->backup.until_ms;
}

err_code datastore_check_place(struct service *service, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    struct err why;
    if (store_registry_has(service->cfg.stores, id) ||
        datastore_read(service, id, a, &datastore, &why) != ERR_OK ||
        !sv_eq(datastore.status, SV_LIT("ACTIVE")))
        return ERR_OK;
    return ERR(e, ERR_CORRUPT, "the folder of the data store is gone");
}

err_code datastore_check_strategy(const struct datastore *datastore, struct err *e)
{
    yyjson_val *id = datastore->identity;
    sv strategy = json_string(json_get(id, "AuthorizationStrategy"));
    bool finer = yyjson_is_true(json_get(id, "FineGrainedAuthorizationEnabled"));
    if (id == NULL || (!finer && (datastore->callers.smart || sv_eq_cstr(strategy, "AWS_AUTH"))))
        return ERR_OK;
    return ERR(
        e, ERR_DENIED,
        "The AuthorizationStrategy of this data store is %.*s%s, which this server does not offer: "
        "its FHIR API is closed. StartFHIRExportJob and StartFHIRImportJob move its data into a "
        "data store with AWS_AUTH",
        SV_FMT(strategy), finer ? " with FineGrainedAuthorizationEnabled" : "");
}

/* ---- copies in memory, and writing ---- */

#define WRITE_MEMORY (256u << 10) /* of the keys of a writing, and of an event */

struct datastore_held {
    struct datastore ds;
    struct arena *arena; /* of ds */
    uint64_t read_us;    /* clock_mono_us() before it was read */
    atomic_uint n_refs;
};

static size_t slot_of(sv id)
{
    size_t h = id.len;
    for (size_t i = 0; i < id.len; i++)
        h = h * 31 + (unsigned char)id.ptr[i];
    return h % DATASTORES_KNOWN;
}

static void unref(struct datastore_held *h)
{
    if (h == NULL)
        return;
    unsigned before = atomic_fetch_sub(&h->n_refs, 1);
    assert(before > 0);
    if (before != 1)
        return;
    arena_free(h->arena);
    free(h);
}

void datastore_release(struct datastore_held **h)
{
    unref(*h);
    *h = NULL;
}

const struct datastore *datastore_of(const struct datastore_held *h)
{
    return &h->ds;
}

err_code datastore_hold(struct service *service, sv id, struct datastore_held **out, struct err *e)
{
    size_t slot = slot_of(id);
    pthread_mutex_lock(&service->known.lock);
    uint64_t generation = service->known.generation;
    struct datastore_held *h = service->known.slots[slot];
    const uint64_t now_us = clock_mono_us();
    if (h && sv_eq(h->ds.id, id) &&
        (service->known.most_us == 0 || now_us - h->read_us < service->known.most_us)) {
        atomic_fetch_add(&h->n_refs, 1);
        *out = h;
    } else {
        h = NULL;
    }
    pthread_mutex_unlock(&service->known.lock);
    if (h)
        return ERR_OK;
    h = calloc(1, sizeof *h);
    if (h == NULL)
        abort();
    h->arena = arena_new(DATASTORE_MEMORY);
    h->read_us = now_us;
    atomic_init(&h->n_refs, 1);
    err_code rc = datastore_read(service, id, h->arena, &h->ds, e);
    if (rc != ERR_OK) {
        unref(h);
        return rc;
    }
    struct datastore_held *old = NULL;
    pthread_mutex_lock(&service->known.lock);
    if (service->known.generation == generation) {
        old = service->known.slots[slot];
        service->known.slots[slot] = h;
        atomic_fetch_add(&h->n_refs, 1);
    }
    pthread_mutex_unlock(&service->known.lock);
    unref(old);
    *out = h;
    return ERR_OK;
}

void datastore_forget(struct service *service, sv id)
{
    size_t slot = slot_of(id);
    pthread_mutex_lock(&service->known.lock);
    service->known.generation++;
    struct datastore_held *old = service->known.slots[slot];
    service->known.slots[slot] = NULL;
    pthread_mutex_unlock(&service->known.lock);
    unref(old);
}

void datastores_forget_all(struct service *service)
{
    for (size_t i = 0; i < DATASTORES_KNOWN; i++)
        datastore_release(&service->known.slots[i]);
}

/* Does the record come to a status that it did not have? One that cannot be read on disk does. Who
 * is ACTIVE once more was ACTIVE before. */
static bool has_moved(struct service *service, const struct datastore *datastore)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore before;
    struct err ignored;
    if (datastore_read(service, datastore->id, a, &before, &ignored) != ERR_OK)
        return true;
    if (sv_eq(datastore->status, SV_LIT("ACTIVE")))
        return sv_eq(before.status, SV_LIT("CREATING"));
    return !sv_eq(before.status, datastore->status);
}

/* At most four. */
static err_code write_if_same(struct service *service, sv key, sv former,
                              const struct records_write *w, size_t n, struct err *e)
{
    struct records_write all[5] = { { RECORDS_IF_SAME, key, former } };
    if (former.len == 0)
        return records_write(service->cfg.records, w, n, e);
    memcpy(all + 1, w, n * sizeof *w);
    return records_write(service->cfg.records, all, n + 1, e);
}

/* The record, and in the same batch its marks (a restart must take it up; it is to go later), and
 * what is told of a status that is new. */
err_code datastore_write(struct service *service, const struct datastore *datastore, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(WRITE_MEMORY);
    CLEANUP_BUF struct buf b = BUF_INIT(DATASTORE_RECORD_MAX);
    bool told = false;
    TRY(datastore_print(datastore, &b, e));
    const sv key = arena_fmt(a, "datastore/%.*s", SV_FMT(datastore->id));
    struct records_write w[4] = {
        { RECORDS_PUT, key, buf_sv(&b) },
        { datastore_in_transition(datastore) ? RECORDS_PUT : RECORDS_DELETE,
          arena_fmt(a, "datastoreactive/%.*s", SV_FMT(datastore->id)), SV_NONE },
        { datastore_is_kept(datastore) ? RECORDS_PUT : RECORDS_DELETE,
          arena_fmt(a, "datastorekept/%.*s", SV_FMT(datastore->id)), SV_NONE },
    };
    if (service->cfg.events && has_moved(service, datastore))
        TRY(datastore_told(service, datastore, a, &w[3], &told, e));
    err_code rc = write_if_same(service, key, datastore->former, w, told ? 4 : 3, e);
    if (rc == ERR_OK && told)
        events_written(service->cfg.events);
    /* even if writing failed: the disk decides */
    datastore_forget(service, datastore->id);
    if (rc == ERR_OK && !datastore_in_transition(datastore))
        parking_wake(service->cfg.parking, datastore->id);
    return rc;
}
