/* transaction.c - all entries of a Bundle, or none of them, as one commit.
 *
 *   open      a route for each entry; identities that the Bundle gives twice are refused
 *   attempt   as of one commit t0:
 *               identify   searches of conditional forms, new ids; DELETE, POST, PUT and PATCH
 *               prepare    links between entries, validation, index
 *               check      could each read be answered?
 *               commit     one commit, with a condition for everything that was read
 *   answer    reads as of the commit, in the order of the Bundle
 *
 * Races. The commit has three kinds of conditions. What searches found must still be so (asked.c),
 * so two transactions never both find nothing and create. With searches, each resource that is
 * written must be at its version of t0, so the whole is as if it had run alone. Whether links are
 * searches is known when all are prepared: what a patch makes is seen in no body. A patch must meet
 * the version it patched. When one of these fails, another writer was faster, and the attempt is
 * made again. When a condition of the client's fails (ifMatch, ifNoneMatch), the answer is 412.
 *
 * Reads see exactly the commit. A read may fail after its check went well: its resource was deleted
 * in between, or it meets a limit. Then it fails alone, for what is committed is committed.
 *
 * Source: FHIR R4 http.html#trules. */
#include "rest/params_private.h"
#include "rest/route_private.h"
#include "rest/write/bundle_private.h"

#include "base/clock.h"
#include "base/rng.h"

struct identity { /* a resource that the transaction is about */
    struct search_id x;
    struct rest_entry *entry;
};
struct transaction {
    struct rest_bundle *b;
    struct rest_entry **writes; /* in the order in which they are worked on */
    size_t n_writes;
    bool searches; /* some entry has a condition that is a search */
    struct rest_scope scope;
    struct search_id *gone;     /* for scope: ids that the transaction deletes */
    struct search_id *replaced; /* for b->refs.scope: ids that it deletes or updates */
    struct identity *ids;       /* sorted */
    size_t n_ids;
    struct store_write *batch;
    struct store_commit at;
    bool committed;
};

/* Note that this entry is why the transaction fails. */
static err_code blame(struct rest_entry *entry, err_code rc, struct err *e)
{
    struct rest_call *call = entry->b->call;
    struct rest_issue_list issues;
    struct err ignored;
    entry->rc = rc;
    if (e != &entry->e)
        entry->e = *e;
    if (rest_entry_issues(entry, call->a, &issues, &ignored) == ERR_OK) {
        for (size_t i = 0; i < issues.n; i++) {
            struct rest_issue *one = &issues.items[i];
            sv text = arena_fmt(call->a, "Bundle.entry[%zu]: %.*s", entry->at, SV_FMT(one->text));
            if (text.ptr)
                one->text = text;
        }
        call->issues = issues;
    }
    return rc;
}
#define TRY_ENTRY(en, call)                    \
    do {                                       \
        err_code try_rc_ = (call);             \
        if (try_rc_ != ERR_OK)                 \
            return blame((entry), try_rc_, e); \
    } while (0)

static bool writes(const struct rest_entry *entry)
{
    return rest_is_write(entry->routed.it);
}

/* ---- open ---- */

static err_code open_all(struct transaction *tx, struct err *e)
{
    static const char *const order[] = { "DELETE", "POST", "PUT", "PATCH" };
    struct rest_bundle *bundle = tx->b;
    struct rest_entry *culprit = NULL;
    for (size_t i = 0; i < bundle->in.n; i++) {
        struct rest_entry *entry = &bundle->entries[i];
        TRY_ENTRY(entry, rest_entry_open(entry, bundle->a, e));
        entry->call.entry = entry;
        entry->call.relink = rest_relink;
        entry->call.scope = &tx->scope;
        entry->routed = entry->call;
        tx->searches = tx->searches || (writes(entry) && rest_is_conditional(&entry->call));
    }
    /* PUT and PATCH are the third group. */
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < bundle->in.n; i++)
            if (writes(&bundle->entries[i]) &&
                (rest_entry_is(&bundle->entries[i], order[k]) ||
                 (k == 2 && rest_entry_is(&bundle->entries[i], order[3]))))
                tx->writes[tx->n_writes++] = &bundle->entries[i];
    err_code rc = rest_refs_collect(bundle, &culprit, e);
    if (rc != ERR_OK && culprit) {
        culprit->where = ".fullUrl";
        return blame(culprit, rc, e);
    }
    return rc;
}

/* ---- identify ---- */

static void add_sorted(struct search_id *ids, size_t *n, struct search_id x)
{
    size_t at = *n;
    while (at && search_id_cmp(&ids[at - 1], &x) > 0) {
        ids[at] = ids[at - 1];
        at--;
    }
    ids[at] = x;
    ++*n;
}

static int by_identity(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    int c = search_id_cmp(&x->x, &y->x);
    return c ? c : (x->entry->at > y->entry->at) - (x->entry->at < y->entry->at);
}

static err_code identify(struct transaction *tx, struct err *e)
{
    struct rest_refs *refs = &tx->b->refs;
    size_t n_gone = 0;
    for (size_t i = 0; i < tx->n_writes; i++) {
        struct rest_entry *entry = tx->writes[i];
        struct rest_call *call = &entry->call;
        char uuid[37];
        entry->where = entry->in->if_none_exist.len ? ".request.ifNoneExist" : ".request.url";
        TRY_ENTRY(entry, rest_bundle_time(tx->b, e));
        /* Creates and updates take as gone what is deleted; deletions do not, for they have no
         * order among themselves. */
        tx->scope.n_gone = rest_entry_is(entry, "DELETE") ? 0 : n_gone;
        TRY_ENTRY(entry, rest_identify(call, &entry->p, e));
        entry->fresh = entry->p.has_write && rest_entry_is(entry, "POST");
        if (entry->fresh) {
            rng_uuid(uuid);
            call->id = arena_sv(call->a, sv_make(uuid, 36));
            if (call->id.ptr == NULL)
                return arena_oom(call->a, e);
        }
        struct search_id x = { call->type, call->id };
        tx->ids[tx->n_ids++] = (struct identity){ x, entry };
        if (rest_entry_is(entry, "DELETE"))
            add_sorted(tx->gone, &n_gone, x);
        if (rest_entry_is(entry, "DELETE") || rest_entry_is(entry, "PUT"))
            add_sorted(tx->replaced, &refs->scope.n_gone, x);
    }
    if (tx->n_ids)
        qsort(tx->ids, tx->n_ids, sizeof *tx->ids, by_identity);
    for (size_t i = 1; i < tx->n_ids; i++)
        if (search_id_cmp(&tx->ids[i - 1].x, &tx->ids[i].x) == 0)
            return blame(tx->ids[i].entry,
                         ERR(e, ERR_INVALID,
                             "Entry %zu is about the same resource: a transaction may name it once",
                             tx->ids[i - 1].entry->at),
                         e);
    return ERR_OK;
}

/* The search of a conditional create or update must not find another resource of the
 * transaction. */
static err_code matches_alone(struct transaction *tx, struct rest_entry *entry, struct err *e)
{
    struct query *query;
    size_t n;
    if (!rest_is_conditional(&entry->call) || !entry->p.has_write || rest_entry_is(entry, "DELETE"))
        return ERR_OK;
    TRY(rest_condition_query(&query, &entry->call, e));
    const struct rest_entry *other;
    TRY(rest_refs_pending(tx->b, query, entry->call.type, entry, &other, &n, e));
    return other == NULL ? ERR_OK
                         : ERR(e, ERR_INVALID,
                               "Entry %zu matches its search too: they would be the same resource",
                               other->at);
}

/* ---- prepare ---- */

/* The resource that is written must be at the version of the searches. */
static err_code guard(struct transaction *tx, struct rest_entry *entry, struct err *e)
{
    struct store_write *w = &entry->p.w;
    struct store_version v;
    if (!entry->p.has_write || entry->fresh || w->condition != STORE_IF_ANY)
        return ERR_OK;
    err_code rc =
        store_get_light(tx->b->call->st, w->type, w->id, tx->scope.as_of, tx->b->work, &v, e);
    if (rc == ERR_NOT_FOUND) {
        w->condition = STORE_IF_ABSENT;
        entry->p.guarded = true;
        return ERR_OK;
    }
    TRY(rc);
    w->condition = v.method == STORE_METHOD_DELETE ? STORE_IF_DELETED : STORE_IF_VERSION;
    w->if_version = v.version;
    entry->p.guarded = true;
    return ERR_OK;
}

static err_code prepare(struct transaction *tx, struct err *e)
{
    for (size_t i = 0; i < tx->n_writes; i++) {
        struct rest_entry *entry = tx->writes[i];
        entry->where = entry->in->if_none_exist.len ? ".request.ifNoneExist" : ".request.url";
        TRY_ENTRY(entry, matches_alone(tx, entry, e));
        entry->where = entry->call.in.body.len ? ".resource" : ".request.url";
        TRY_ENTRY(entry, rest_bundle_time(tx->b, e));
        TRY_ENTRY(entry, rest_prepare(&entry->call, &entry->p, e));
        entry->where = "";
    }
    bool searches = tx->searches || tx->b->refs.n_found;
    for (size_t i = 0; searches && i < tx->n_writes; i++) {
        struct rest_entry *entry = tx->writes[i];
        TRY_ENTRY(entry, guard(tx, entry, e));
    }
    return ERR_OK;
}

/* ---- check ---- */

static struct rest_entry *writer_of(const struct transaction *tx, const struct rest_call *call)
{
    struct identity key = { .x = { call->type, call->id } };
    size_t lo = 0, hi = tx->n_ids;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int d = search_id_cmp(&tx->ids[mid].x, &key.x);
        if (d == 0)
            return tx->ids[mid].entry;
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* Could this read be answered after the writes? */
static err_code check_read(struct transaction *tx, struct rest_entry *entry, struct err *e)
{
    struct rest_call call = entry->call;
    enum rest_shape shape = call.it->shape;
    bool one = shape == REST_INSTANCE || shape == REST_VERSION || shape == REST_INSTANCE_HISTORY;
    const struct rest_entry *writer = one ? writer_of(tx, &call) : NULL;
    if (writer && rest_entry_is(writer, "DELETE") && shape == REST_INSTANCE)
        return ERR(e, ERR_GONE, "The transaction deletes this %s", fhir_type_name(call.type));
    if (writer)
        return ERR_OK;
    call.only_check = true;
    struct rest_param *own = rest_params_copy(call.a, &call.params, 0);
    if (own == NULL)
        return arena_oom(call.a, e);
    /* A search takes the names of some parameters away. */
    call.params.items = own;
    buf_init(&call.out.body, entry->call.out.body.max);
    err_code rc = call.it->fn(&call, e);
    buf_done(&call.out.body);
    entry->call.issues = call.issues;
    return rc;
}

static err_code check_reads(struct transaction *tx, struct err *e)
{
    for (size_t i = 0; i < tx->b->in.n; i++) {
        struct rest_entry *entry = &tx->b->entries[i];
        if (writes(entry))
            continue;
        arena_mark m = arena_mark_get(tx->b->work);
        entry->where = ".request.url";
        TRY_ENTRY(entry, rest_bundle_time(tx->b, e));
        TRY_ENTRY(entry, check_read(tx, entry, e));
        arena_rewind(tx->b->work, m);
        entry->call.issues = (struct rest_issue_list){ 0 };
    }
    return ERR_OK;
}

/* ---- commit ---- */

/* Does the write's condition fail now? Versions only grow, so a condition that refused the commit
 * still fails. */
static bool fails_now(struct transaction *tx, const struct store_write *w)
{
    struct store_version v;
    struct err ignored;
    arena_mark m = arena_mark_get(tx->b->work);
    err_code rc =
        store_get_light(tx->b->call->st, w->type, w->id, STORE_NOW, tx->b->work, &v, &ignored);
    arena_rewind(tx->b->work, m);
    bool known = rc == ERR_OK, there = known && v.method != STORE_METHOD_DELETE;
    if (w->method == STORE_METHOD_DELETE && !there)
        return true;
    return (w->condition == STORE_IF_ABSENT && known) ||
           (w->condition == STORE_IF_VERSION && (!there || v.version != w->if_version));
}

/* The commit was refused: by a condition of the client's, or because another writer was faster. */
static err_code refused(struct transaction *tx, err_code rc, bool *again, struct err *e)
{
    for (size_t i = 0; i < tx->n_writes; i++) {
        struct rest_entry *entry = tx->writes[i];
        if (!entry->p.has_write || entry->p.guarded || entry->p.w.condition == STORE_IF_ANY ||
            !fails_now(tx, &entry->p.w))
            continue;
        entry->where = ".request";
        return blame(entry, rest_refused(&entry->call, &entry->p, ERR_PRECONDITION, e), e);
    }
    *again = true;
    return rc;
}

static err_code commit(struct transaction *tx, bool *again, struct err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < tx->n_writes; i++)
        if (tx->writes[i]->p.has_write)
            tx->batch[n++] = tx->writes[i]->p.w;
    if (n == 0)
        return ERR_OK;
    err_code rc = rest_commit_asked(tx->b->call, &tx->b->asked, tx->batch, n, &tx->at, again, e);
    if (rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND)
        return refused(tx, rc, again, e);
    TRY(rc);
    tx->committed = true;
    n = 0;
    for (size_t i = 0; i < tx->n_writes; i++)
        if (tx->writes[i]->p.has_write)
            tx->writes[i]->p.w = tx->batch[n++];
    return ERR_OK;
}

static err_code attempt(struct transaction *tx, bool *again, struct err *e)
{
    struct rest_bundle *bundle = tx->b;
    uint64_t newest;
    *again = false;
    arena_reset(bundle->work);
    for (size_t i = 0; i < bundle->in.n; i++) {
        struct rest_entry *entry = &bundle->entries[i];
        rest_pending_done(&entry->p);
        buf_done(&entry->call.out.body);
        entry->p = (struct rest_pending){ 0 };
        entry->call = entry->routed;
        entry->call.a = bundle->work;
        entry->call.asked = &bundle->asked;
        entry->fresh = false;
    }
    TRY(rest_newest(bundle->call, &newest, e));
    tx->scope = (struct rest_scope){ newest, tx->gone, 0 };
    bundle->refs.scope = (struct rest_scope){ tx->scope.as_of, tx->replaced, 0 };
    bundle->refs.n_found = 0;
    bundle->asked = (struct rest_asked_list){ 0 };
    tx->n_ids = 0;
    TRY(identify(tx, e));
    TRY(prepare(tx, e));
    TRY(check_reads(tx, e));
    return commit(tx, again, e);
}

/* ---- answer ---- */

static err_code answer(struct transaction *tx, struct err *e)
{
    struct rest_bundle *bundle = tx->b;
    for (size_t i = 0; i < bundle->in.n; i++) {
        struct rest_entry *entry = &bundle->entries[i];
        entry->rc = ERR_OK;
        entry->where = "";
        if (writes(entry) && entry->p.has_write) {
            entry->rc = rest_written(&entry->call, &entry->p, &tx->at, &entry->e);
        } else if (!writes(entry)) {
            entry->call.as_of = tx->committed ? tx->at.t : 0;
            entry->rc = rest_bundle_time(bundle, &entry->e);
            if (entry->rc == ERR_OK)
                entry->rc = entry->call.it->fn(&entry->call, &entry->e);
            /* Nothing was committed, so the transaction fails as a whole. */
            if (entry->rc != ERR_OK && !tx->committed) {
                trail_forget_entries(bundle->call->trail);
                *e = entry->e;
                return blame(entry, entry->rc, e);
            }
        }
        rest_entry_answer(entry);
    }
    return ERR_OK;
}

static err_code run(struct transaction *tx, struct err *e)
{
    bool again = true;
    err_code rc = ERR_OK;
    for (int i = 0; i < REST_TRIES && again; i++) {
        if (i)
            TRY(rest_bundle_time(tx->b, e));
        rc = attempt(tx, &again, e);
    }
    return again ? ERR(e, ERR_CONFLICT, REST_OVERTAKEN) : rc;
}

err_code rest_transaction(struct rest_bundle *bundle, struct err *e)
{
    struct transaction tx = { .b = bundle };
    size_t n = bundle->in.n + 1;
    tx.writes = arena_calloc(bundle->a, n, sizeof *tx.writes);
    tx.gone = arena_calloc(bundle->a, n, sizeof *tx.gone);
    tx.replaced = arena_calloc(bundle->a, n, sizeof *tx.replaced);
    tx.ids = arena_calloc(bundle->a, n, sizeof *tx.ids);
    tx.batch = arena_calloc(bundle->a, n, sizeof *tx.batch);
    if (!tx.writes || !tx.gone || !tx.replaced || !tx.ids || !tx.batch)
        return arena_oom(bundle->a, e);
    TRY(open_all(&tx, e));
    TRY(run(&tx, e));
    return answer(&tx, e);
}
