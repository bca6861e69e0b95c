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
 * written must be at its version of t0, so the whole is as if it had run alone. A patch must meet
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
    bool searches; /* some entry depends on what a search finds */
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
static err_code blame(struct rest_entry *en, err_code rc, struct err *e)
{
    struct rest_call *c = en->b->c;
    struct rest_issue_list issues;
    struct err ignored;
    en->rc = rc;
    if (e != &en->e)
        en->e = *e;
    if (rest_entry_issues(en, c->a, &issues, &ignored) == ERR_OK) {
        for (size_t i = 0; i < issues.n; i++) {
            struct rest_issue *one = &issues.items[i];
            sv text = arena_fmt(c->a, "Bundle.entry[%zu]: %.*s", en->at, SV_FMT(one->text));
            if (text.ptr)
                one->text = text;
        }
        c->issues = issues;
    }
    return rc;
}
#define TRY_ENTRY(en, call)                 \
    do {                                    \
        err_code try_rc_ = (call);          \
        if (try_rc_ != ERR_OK)              \
            return blame((en), try_rc_, e); \
    } while (0)

static bool writes(const struct rest_entry *en)
{
    return rest_is_write(en->routed.it);
}

/* ---- open ---- */

static err_code open_all(struct transaction *tx, struct err *e)
{
    static const char *const order[] = { "DELETE", "POST", "PUT", "PATCH" };
    struct rest_bundle *b = tx->b;
    struct rest_entry *culprit = NULL;
    for (size_t i = 0; i < b->in.n; i++) {
        struct rest_entry *en = &b->entries[i];
        TRY_ENTRY(en, rest_entry_open(en, b->a, e));
        en->c.entry = en;
        en->c.relink = rest_relink;
        en->c.scope = &tx->scope;
        en->routed = en->c;
        tx->searches = tx->searches || (writes(en) && rest_is_conditional(&en->c));
    }
    /* PUT and PATCH are the third group. */
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < b->in.n; i++)
            if (writes(&b->entries[i]) && (rest_entry_is(&b->entries[i], order[k]) ||
                                           (k == 2 && rest_entry_is(&b->entries[i], order[3]))))
                tx->writes[tx->n_writes++] = &b->entries[i];
    err_code rc = rest_refs_collect(b, &culprit, e);
    if (rc != ERR_OK && culprit) {
        culprit->where = ".fullUrl";
        return blame(culprit, rc, e);
    }
    TRY(rc);
    tx->searches = tx->searches || rest_refs_conditional(b);
    return ERR_OK;
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
        struct rest_entry *en = tx->writes[i];
        struct rest_call *c = &en->c;
        char uuid[37];
        en->where = en->in->if_none_exist.len ? ".request.ifNoneExist" : ".request.url";
        TRY_ENTRY(en, rest_bundle_time(tx->b, e));
        /* Creates and updates take as gone what is deleted; deletions do not, for they have no
         * order among themselves. */
        tx->scope.n_gone = rest_entry_is(en, "DELETE") ? 0 : n_gone;
        TRY_ENTRY(en, rest_identify(c, &en->p, e));
        en->fresh = en->p.has_write && rest_entry_is(en, "POST");
        if (en->fresh) {
            rng_uuid(uuid);
            c->id = arena_sv(c->a, sv_make(uuid, 36));
            if (c->id.ptr == NULL)
                return arena_oom(c->a, e);
        }
        struct search_id x = { c->type, c->id };
        tx->ids[tx->n_ids++] = (struct identity){ x, en };
        if (rest_entry_is(en, "DELETE"))
            add_sorted(tx->gone, &n_gone, x);
        if (rest_entry_is(en, "DELETE") || rest_entry_is(en, "PUT"))
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
static err_code matches_alone(struct transaction *tx, struct rest_entry *en, struct err *e)
{
    struct query *q;
    size_t n;
    if (!rest_is_conditional(&en->c) || !en->p.has_write || rest_entry_is(en, "DELETE"))
        return ERR_OK;
    TRY(rest_condition_query(&q, &en->c, e));
    const struct rest_entry *other;
    TRY(rest_refs_pending(tx->b, q, en->c.type, en, &other, &n, e));
    return other == NULL ? ERR_OK
                         : ERR(e, ERR_INVALID,
                               "Entry %zu matches its search too: they would be the same resource",
                               other->at);
}

/* ---- prepare ---- */

/* When there are searches, every resource that is written must be at the version of the
 * searches. */
static err_code guard(struct transaction *tx, struct rest_entry *en, struct err *e)
{
    struct store_write *w = &en->p.w;
    struct store_version v;
    if (!tx->searches || en->fresh || w->condition != STORE_IF_ANY)
        return ERR_OK;
    err_code rc =
        store_get_light(tx->b->c->st, w->type, w->id, tx->scope.as_of, tx->b->work, &v, e);
    if (rc == ERR_NOT_FOUND) {
        w->condition = STORE_IF_ABSENT;
        en->p.guarded = true;
        return ERR_OK;
    }
    TRY(rc);
    w->condition = v.method == STORE_METHOD_DELETE ? STORE_IF_DELETED : STORE_IF_VERSION;
    w->if_version = v.version;
    en->p.guarded = true;
    return ERR_OK;
}

static err_code prepare(struct transaction *tx, struct err *e)
{
    for (size_t i = 0; i < tx->n_writes; i++) {
        struct rest_entry *en = tx->writes[i];
        en->where = en->in->if_none_exist.len ? ".request.ifNoneExist" : ".request.url";
        TRY_ENTRY(en, matches_alone(tx, en, e));
        en->where = en->c.in.body.len ? ".resource" : ".request.url";
        TRY_ENTRY(en, rest_bundle_time(tx->b, e));
        TRY_ENTRY(en, rest_prepare(&en->c, &en->p, e));
        en->where = "";
        if (en->p.has_write)
            TRY_ENTRY(en, guard(tx, en, e));
    }
    return ERR_OK;
}

/* ---- check ---- */

static struct rest_entry *writer_of(const struct transaction *tx, const struct rest_call *c)
{
    struct identity key = { .x = { c->type, c->id } };
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
static err_code check_read(struct transaction *tx, struct rest_entry *en, struct err *e)
{
    struct rest_call t = en->c;
    enum rest_shape shape = t.it->shape;
    bool one = shape == REST_INSTANCE || shape == REST_VERSION || shape == REST_INSTANCE_HISTORY;
    const struct rest_entry *writer = one ? writer_of(tx, &t) : NULL;
    if (writer && rest_entry_is(writer, "DELETE") && shape == REST_INSTANCE)
        return ERR(e, ERR_GONE, "The transaction deletes this %s", fhir_type_name(t.type));
    if (writer)
        return ERR_OK;
    t.only_check = true;
    struct rest_param *own = rest_params_copy(t.a, &t.params, 0);
    if (own == NULL)
        return arena_oom(t.a, e);
    /* A search takes the names of some parameters away. */
    t.params.items = own;
    buf_init(&t.out.body, en->c.out.body.max);
    err_code rc = t.it->fn(&t, e);
    buf_done(&t.out.body);
    en->c.issues = t.issues;
    return rc;
}

static err_code check_reads(struct transaction *tx, struct err *e)
{
    for (size_t i = 0; i < tx->b->in.n; i++) {
        struct rest_entry *en = &tx->b->entries[i];
        if (writes(en))
            continue;
        arena_mark m = arena_mark_get(tx->b->work);
        en->where = ".request.url";
        TRY_ENTRY(en, rest_bundle_time(tx->b, e));
        TRY_ENTRY(en, check_read(tx, en, e));
        arena_rewind(tx->b->work, m);
        en->c.issues = (struct rest_issue_list){ 0 };
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
        store_get_light(tx->b->c->st, w->type, w->id, STORE_NOW, tx->b->work, &v, &ignored);
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
        struct rest_entry *en = tx->writes[i];
        if (!en->p.has_write || en->p.guarded || en->p.w.condition == STORE_IF_ANY ||
            !fails_now(tx, &en->p.w))
            continue;
        en->where = ".request";
        return blame(en, rest_refused(&en->c, &en->p, ERR_PRECONDITION, e), e);
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
    err_code rc = rest_commit_asked(tx->b->c, &tx->b->asked, tx->batch, n, &tx->at, again, e);
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
    struct rest_bundle *b = tx->b;
    arena_reset(b->work);
    for (size_t i = 0; i < b->in.n; i++) {
        struct rest_entry *en = &b->entries[i];
        rest_pending_done(&en->p);
        buf_done(&en->c.out.body);
        en->p = (struct rest_pending){ 0 };
        en->c = en->routed;
        en->c.a = b->work;
        en->c.asked = &b->asked;
        en->fresh = false;
    }
    tx->scope = (struct rest_scope){ store_last(b->c->st).t, tx->gone, 0 };
    b->refs.scope = (struct rest_scope){ tx->scope.as_of, tx->replaced, 0 };
    b->refs.n_found = 0;
    b->asked = (struct rest_asked_list){ 0 };
    tx->n_ids = 0;
    *again = false;
    TRY(identify(tx, e));
    TRY(prepare(tx, e));
    TRY(check_reads(tx, e));
    return commit(tx, again, e);
}

/* ---- answer ---- */

static err_code answer(struct transaction *tx, struct err *e)
{
    struct rest_bundle *b = tx->b;
    for (size_t i = 0; i < b->in.n; i++) {
        struct rest_entry *en = &b->entries[i];
        en->rc = ERR_OK;
        en->where = "";
        if (writes(en) && en->p.has_write) {
            en->rc = rest_written(&en->c, &en->p, &tx->at, &en->e);
        } else if (!writes(en)) {
            en->c.as_of = tx->committed ? tx->at.t : 0;
            en->rc = rest_bundle_time(b, &en->e);
            if (en->rc == ERR_OK)
                en->rc = en->c.it->fn(&en->c, &en->e);
            /* Nothing was committed, so the transaction fails as a whole. */
            if (en->rc != ERR_OK && !tx->committed) {
                *e = en->e;
                return blame(en, en->rc, e);
            }
        }
        rest_entry_answer(en);
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

err_code rest_transaction(struct rest_bundle *b, struct err *e)
{
    struct transaction tx = { .b = b };
    size_t n = b->in.n + 1;
    tx.writes = arena_calloc(b->a, n, sizeof *tx.writes);
    tx.gone = arena_calloc(b->a, n, sizeof *tx.gone);
    tx.replaced = arena_calloc(b->a, n, sizeof *tx.replaced);
    tx.ids = arena_calloc(b->a, n, sizeof *tx.ids);
    tx.batch = arena_calloc(b->a, n, sizeof *tx.batch);
    if (!tx.writes || !tx.gone || !tx.replaced || !tx.ids || !tx.batch)
        return arena_oom(b->a, e);
    TRY(open_all(&tx, e));
    TRY(run(&tx, e));
    return answer(&tx, e);
}
