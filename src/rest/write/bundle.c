/* bundle.c - POST [base]: a Bundle is read, its entries become calls, a batch is run, and the
 * answer is written.
 *
 * A batch runs in the order of its entries. Creates and plain updates that follow each other are
 * one commit, so that five hundred of them wait for the disk once. Each other write has its own.
 *
 *   memory   the tree (LIMIT_BUNDLE_TREE_BYTES), work that is emptied after each group, and the
 *            answer (past LIMIT_MAKING_FREE_BYTES with a place for it)
 *   time     LIMIT_BUNDLE_SECONDS; then the rest of a batch is answered 504 */
#include "rest/params_private.h"
#include "rest/route_private.h"
#include "rest/write/bundle_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define GROUP_BYTES (8u << 20) /* bytes of one commit of a batch */

/* ---- batch ---- */

/* Can nothing but the disk refuse the write? Such writes share a commit. */
static bool plain(const struct rest_entry *en)
{
    const struct rest_call *c = &en->c;
    return rest_is_write(c->it) && !rest_is_conditional(c) && c->in.if_match.len == 0 &&
           c->in.if_none_match.len == 0 &&
           (rest_entry_is(en, "POST") || (rest_entry_is(en, "PUT") && !rest_is_immutable(c->type)));
}

static bool in_group(const struct rest_bundle *b, size_t from, const struct rest_entry *en)
{
    for (size_t i = from; i < en->at; i++) {
        const struct rest_entry *x = &b->entries[i];
        if (x->rc == ERR_OK && x->p.w.type == en->p.w.type && sv_eq(x->p.w.id, en->p.w.id))
            return true;
    }
    return false;
}

/* Commit the entries [from, to), which are prepared, and answer them. */
static void group_write(struct rest_bundle *b, size_t from, size_t to)
{
    static const struct err none;
    struct store_write writes[LIMIT_BUNDLE_ENTRIES];
    struct store_commit at;
    struct err e = none;
    err_code rc = ERR_OK;
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        if (b->entries[i].rc == ERR_OK)
            writes[n++] = b->entries[i].p.w;
    if (n)
        rc = store_commit(b->c->st, writes, n, &at, &e);
    n = 0;
    for (size_t i = from; i < to; i++) {
        struct rest_entry *en = &b->entries[i];
        if (en->rc == ERR_OK) {
            en->p.w = writes[n++];
            en->e = e;
            en->where = "";
            en->rc = rc == ERR_OK ? rest_written(&en->c, &en->p, &at, &en->e) : rc;
        }
        rest_entry_answer(en);
    }
}

static void batch(struct rest_bundle *b)
{
    size_t from = 0, bytes = 0;
    for (size_t i = 0; i < b->in.n; i++) {
        struct rest_entry *en = &b->entries[i];
        en->rc = rest_entry_open(en, b->work, &en->e);
        if (en->rc == ERR_OK && (en->rc = rest_bundle_time(b, &en->e)) == ERR_OK && !plain(en)) {
            group_write(b, from, i);
            en->where = "";
            en->rc = en->c.it->fn(&en->c, &en->e);
            rest_entry_answer(en);
            from = i + 1;
        } else if (en->rc == ERR_OK) {
            en->rc = rest_prepare(&en->c, &en->p, &en->e);
            if (en->rc == ERR_OK && in_group(b, from, en)) {
                group_write(b, from, i);
                from = i;
            }
            bytes += en->p.stored.len + en->p.index.len;
        }
        if (bytes > GROUP_BYTES) {
            group_write(b, from, i + 1);
            from = i + 1;
        }
        /* The entries so far are answered: their memory can go. */
        if (from == i + 1) {
            arena_reset(b->work);
            bytes = 0;
        }
    }
    group_write(b, from, b->in.n);
}

/* ---- the call ---- */

static err_code open_bundle(struct rest_bundle *b, bool *transaction, struct err *e)
{
    struct rest_call *c = b->c;
    TRY(rest_json_body(c, e));
    if (c->in.idempotency_key.ptr)
        return ERR(e, ERR_INVALID,
                   "x-amz-fhir-idempotency-key is for a create; in a Bundle use ifNoneExist");
    if (rest_prefers(c, "respond-async"))
        return ERR(
            e, ERR_UNSUPPORTED,
            "Prefer: respond-async is not offered for Bundles: without it the answer comes when "
            "the Bundle is done");
    if (c->in.if_match.ptr || c->in.if_none_match.ptr || c->in.if_none_exist.ptr)
        return ERR(e, ERR_INVALID,
                   "If-Match, If-None-Match and If-None-Exist of a Bundle stand in its entries");
    int64_t ignored;
    if (rest_unmodified_read(c->in.if_unmodified_since, &ignored))
        return ERR(e, ERR_INVALID,
                   "If-Unmodified-Since is about one resource; entries of a Bundle have ifMatch");
    TRY(fhir_bundle_read(c->in.body, b->a, LIMIT_BUNDLE_ENTRIES, &b->in, e));
    *transaction = sv_eq(b->in.type, SV_LIT("transaction"));
    if (!*transaction && !sv_eq(b->in.type, SV_LIT("batch")))
        return ERR(
            e, ERR_INVALID,
            "A Bundle posted to [base] must be a batch or a transaction; one of another type "
            "is stored with POST [base]/Bundle");
    b->entries = arena_calloc(b->a, b->in.n + 1, sizeof *b->entries);
    if (b->entries == NULL)
        return arena_oom(b->a, e);
    for (size_t i = 0; i < b->in.n; i++) {
        b->entries[i].b = b;
        b->entries[i].in = &b->in.entries[i];
        b->entries[i].at = i;
        b->entries[i].where = "";
    }
    return ERR_OK;
}

static void answer_begin(struct rest_bundle *b, bool transaction)
{
    char now[INSTANT_LEN];
    instant_format(clock_wall_ms(), now);
    json_writer_init(&b->w, &b->c->out.body);
    json_obj(&b->w);
    json_kv_str(&b->w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&b->w, "type",
                transaction ? SV_LIT("transaction-response") : SV_LIT("batch-response"));
    json_kv_str(&b->w, "timestamp", sv_make(now, INSTANT_LEN));
    /* FHIR has no empty arrays. */
    if (b->in.n) {
        json_key(&b->w, "entry");
        json_arr(&b->w);
    }
}

static err_code answer_end(struct rest_bundle *b, struct err *e)
{
    if (b->in.n)
        json_arr_end(&b->w);
    json_obj_end(&b->w);
    b->c->out.status = 200;
    return json_writer_end(&b->w, e);
}

err_code rest_bundle(struct rest_call *c, struct err *e)
{
    CLEANUP(arena_free) struct arena *tree = arena_new(LIMIT_BUNDLE_TREE_BYTES);
    CLEANUP(arena_free) struct arena *work = arena_new(LIMIT_BUNDLE_WORK_BYTES);
    struct rest_bundle b = { .c = c, .a = tree, .work = work };
    bool transaction = false;
    err_code rc = open_bundle(&b, &transaction, e);
    if (rc == ERR_OK)
        answer_begin(&b, transaction);
    if (rc == ERR_OK && transaction)
        rc = rest_transaction(&b, e);
    else if (rc == ERR_OK)
        batch(&b);
    /* Entries that were not answered still own memory. */
    for (size_t i = 0; b.entries && i < b.in.n; i++) {
        rest_pending_done(&b.entries[i].p);
        buf_done(&b.entries[i].c.out.body);
    }
    return rc == ERR_OK ? answer_end(&b, e) : rc;
}
