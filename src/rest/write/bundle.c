/* bundle.c - POST [base]: a Bundle is read, its entries become calls, a batch is run, and the
 * answer is written.
 *
 * A batch runs in the order of its entries. Creates and plain updates that follow each other are
 * one commit, so that five hundred of them wait for the disk once. Each other write has its own.
 *
 *   memory   the tree (LIMIT_BUNDLE_TREE_BYTES), work that is emptied after each group, and the
 *            answer (past LIMIT_MAKING_FREE_BYTES with a place for it)
 *   time     LIMIT_BUNDLE_SECONDS; then the rest of a batch is answered 504 */
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"
#include "rest/write/bundle_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define GROUP_BYTES (8u << 20) /* bytes of one commit of a batch */

/* ---- batch ---- */

/* Can nothing but the disk refuse the write? Such writes share a commit. Under scopes, an update
 * depends on what is there. */
static bool plain(const struct rest_entry *entry)
{
    const struct rest_call *call = &entry->call;
    return rest_is_write(call->it) && !rest_is_conditional(call) && call->in.if_match.len == 0 &&
           call->in.if_none_match.len == 0 &&
           (rest_entry_is(entry, "POST") ||
            (rest_entry_is(entry, "PUT") && !rest_is_immutable(call->type) &&
             !rest_grant_limits(call, call->type, SMART_U)));
}

static bool in_group(const struct rest_bundle *bundle, size_t from, const struct rest_entry *en)
{
    for (size_t i = from; i < en->at; i++) {
        const struct rest_entry *x = &bundle->entries[i];
        if (x->rc == ERR_OK && x->p.w.type == en->p.w.type && sv_eq(x->p.w.id, en->p.w.id))
            return true;
    }
    return false;
}

/* Commit the entries [from, to), which are prepared, and answer them. */
static void group_write(struct rest_bundle *bundle, size_t from, size_t to)
{
    static const struct err none;
    struct store_write writes[LIMIT_BUNDLE_ENTRIES];
    struct store_commit at;
    struct err e = none;
    err_code rc = ERR_OK;
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        if (bundle->entries[i].rc == ERR_OK)
            writes[n++] = bundle->entries[i].p.w;
    if (n)
        rc = store_commit(bundle->call->st, writes, n, &at, &e);
    n = 0;
    for (size_t i = from; i < to; i++) {
        struct rest_entry *entry = &bundle->entries[i];
        if (entry->rc == ERR_OK) {
            entry->p.w = writes[n++];
            entry->e = e;
            entry->where = "";
            entry->rc = rc == ERR_OK ? rest_written(&entry->call, &entry->p, &at, &entry->e) : rc;
        }
        rest_entry_answer(entry);
    }
}

static void batch(struct rest_bundle *bundle)
{
    size_t from = 0, bytes = 0;
    for (size_t i = 0; i < bundle->in.n; i++) {
        struct rest_entry *entry = &bundle->entries[i];
        entry->rc = rest_entry_open(entry, bundle->work, &entry->e);
        if (entry->rc == ERR_OK && (entry->rc = rest_bundle_time(bundle, &entry->e)) == ERR_OK &&
            !plain(entry)) {
            group_write(bundle, from, i);
            entry->where = "";
            entry->rc = entry->call.it->fn(&entry->call, &entry->e);
            rest_entry_answer(entry);
            from = i + 1;
        } else if (entry->rc == ERR_OK) {
            entry->rc = rest_prepare(&entry->call, &entry->p, &entry->e);
            if (entry->rc == ERR_OK && in_group(bundle, from, entry)) {
                group_write(bundle, from, i);
                from = i;
            }
            bytes += entry->p.stored.len + entry->p.index.len;
        }
        if (bytes > GROUP_BYTES) {
            group_write(bundle, from, i + 1);
            from = i + 1;
        }
        /* The entries so far are answered: their memory can go. */
        if (from == i + 1) {
            arena_reset(bundle->work);
            bytes = 0;
        }
    }
    group_write(bundle, from, bundle->in.n);
}

/* ---- the call ---- */

static err_code open_bundle(struct rest_bundle *bundle, bool *transaction, struct err *e)
{
    struct rest_call *call = bundle->call;
    TRY(rest_json_body(call, e));
    if (call->in.idempotency_key.ptr)
        return ERR(e, ERR_INVALID,
                   "x-amz-fhir-idempotency-key is for a create; in a Bundle use ifNoneExist");
    if (rest_prefers(call, "respond-async"))
        return ERR(
            e, ERR_UNSUPPORTED,
            "Prefer: respond-async is not offered for Bundles: without it the answer comes when "
            "the Bundle is done");
    if (call->in.if_match.ptr || call->in.if_none_match.ptr || call->in.if_none_exist.ptr)
        return ERR(e, ERR_INVALID,
                   "If-Match, If-None-Match and If-None-Exist of a Bundle stand in its entries");
    int64_t ignored;
    if (rest_unmodified_read(call->in.if_unmodified_since, &ignored))
        return ERR(e, ERR_INVALID,
                   "If-Unmodified-Since is about one resource; entries of a Bundle have ifMatch");
    TRY(fhir_bundle_read(call->in.body, bundle->a, LIMIT_BUNDLE_ENTRIES, &bundle->in, e));
    *transaction = sv_eq(bundle->in.type, SV_LIT("transaction"));
    if (!*transaction && !sv_eq(bundle->in.type, SV_LIT("batch")))
        return ERR(
            e, ERR_INVALID,
            "A Bundle posted to [base] must be a batch or a transaction; one of another type "
            "is stored with POST [base]/Bundle");
    bundle->entries = arena_calloc(bundle->a, bundle->in.n + 1, sizeof *bundle->entries);
    if (bundle->entries == NULL)
        return arena_oom(bundle->a, e);
    for (size_t i = 0; i < bundle->in.n; i++) {
        bundle->entries[i].b = bundle;
        bundle->entries[i].in = &bundle->in.entries[i];
        bundle->entries[i].at = i;
        bundle->entries[i].where = "";
    }
    return ERR_OK;
}

static void answer_begin(struct rest_bundle *bundle, bool transaction)
{
    char now[INSTANT_LEN];
    instant_format(clock_wall_ms(), now);
    json_writer_init(&bundle->w, &bundle->call->out.body);
    json_obj(&bundle->w);
    json_kv_str(&bundle->w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&bundle->w, "type",
                transaction ? SV_LIT("transaction-response") : SV_LIT("batch-response"));
    json_kv_str(&bundle->w, "timestamp", sv_make(now, INSTANT_LEN));
    /* FHIR has no empty arrays. */
    if (bundle->in.n) {
        json_key(&bundle->w, "entry");
        json_arr(&bundle->w);
    }
}

static err_code answer_end(struct rest_bundle *bundle, struct err *e)
{
    if (bundle->in.n)
        json_arr_end(&bundle->w);
    json_obj_end(&bundle->w);
    bundle->call->out.status = 200;
    return json_writer_end(&bundle->w, e);
}

/* A POST that writes nothing: a search may be a form, of a type or of all, and some operations
 * may be asked in either way. */
static bool post_reads(sv url)
{
    sv path = url;
    (void)sv_cut(&url, '?', &path);
    return sv_eq(path, SV_LIT("_search")) || sv_ends(path, SV_LIT("/_search")) ||
           sv_ends(path, SV_LIT("/$everything")) || sv_ends(path, SV_LIT("/$validate"));
}

static bool only_reads(const struct rest_bundle *bundle)
{
    for (size_t i = 0; i < bundle->in.n; i++) {
        const sv method = bundle->in.entries[i].method;
        if (!sv_eq(method, SV_LIT("GET")) && !sv_eq(method, SV_LIT("HEAD")) &&
            !(sv_eq(method, SV_LIT("POST")) && post_reads(bundle->in.entries[i].url)))
            return false;
    }
    return true;
}

err_code rest_bundle(struct rest_call *call, struct err *e)
{
    CLEANUP(arena_free) struct arena *tree = arena_new(LIMIT_BUNDLE_TREE_BYTES);
    CLEANUP(arena_free) struct arena *work = arena_new(LIMIT_BUNDLE_WORK_BYTES);
    struct rest_bundle bundle = { .call = call, .a = tree, .work = work };
    bool transaction = false;
    err_code rc = open_bundle(&bundle, &transaction, e);
    if (rc == ERR_OK && only_reads(&bundle))
        rc = rest_reads_only(call, e);
    if (rc == ERR_OK)
        answer_begin(&bundle, transaction);
    if (rc == ERR_OK && transaction)
        rc = rest_transaction(&bundle, e);
    else if (rc == ERR_OK)
        batch(&bundle);
    /* Entries that were not answered still own memory. */
    for (size_t i = 0; bundle.entries && i < bundle.in.n; i++) {
        rest_pending_done(&bundle.entries[i].p);
        buf_done(&bundle.entries[i].call.out.body);
    }
    return rc == ERR_OK ? answer_end(&bundle, e) : rc;
}
