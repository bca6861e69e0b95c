/* asked.c - a write that depends on a search is committed only while what was found is still so.
 *
 *   search   as of a commit t0, without a lock, for as long as it takes
 *   lock     of the data store: one such write of this process is between its check and its commit
 *   check    of the resources written since t0: would the search find one more, or one less?
 *   commit   if not; else the search is made again
 *
 * So two conditional writes never both find nothing and create. One data store never waits for
 * another, and no caller waits for the search of another. Plain writes take no lock: the version
 * of a resource that was found is a condition of the commit.
 *
 * Where other processes write the data store too, the lock keeps none of them away. There the store
 * asks once more within the commit, when nothing can come between: of what was written since
 * the check, which is nothing, or little (store_commit_if()). */
#include "rest/fair/clock_private.h"
#include "rest/rest_private.h"
#include "rest/write/write_private.h"

#include "base/limits.h"

#define ASKED_MAX (LIMIT_BUNDLE_ENTRIES + LIMIT_BUNDLE_SEARCHES)
/* resources are looked at under the lock; when more have changed, a new search costs less */
#define CHANGED_MAX 1000u

/* ---- one lock for each data store that has such a write under way ---- */

struct writing_lock {
    struct writing_lock *next;
    char id[33];
    unsigned n_users; /* guarded by the list's lock */
    pthread_mutex_t lock;
};

static struct writing_lock *lock_of(struct service *service, sv id)
{
    pthread_mutex_lock(&service->rest->conditional.lock);
    struct writing_lock *l = service->rest->conditional.first;
    while (l && !sv_eq_cstr(id, l->id))
        l = l->next;
    if (l == NULL) {
        if ((l = calloc(1, sizeof *l)) == NULL)
            abort();
        (void)snprintf(l->id, sizeof l->id, "%.*s", SV_FMT(id));
        pthread_mutex_init(&l->lock, NULL);
        l->next = service->rest->conditional.first;
        service->rest->conditional.first = l;
    }
    l->n_users++;
    pthread_mutex_unlock(&service->rest->conditional.lock);
    pthread_mutex_lock(&l->lock);
    return l;
}

static void unlock(struct service *service, struct writing_lock *l)
{
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&service->rest->conditional.lock);
    if (--l->n_users == 0) {
        struct writing_lock **at = &service->rest->conditional.first;
        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
        pthread_mutex_destroy(&l->lock);
        free(l);
    }
    pthread_mutex_unlock(&service->rest->conditional.lock);
}

/* ---- what was asked ---- */

err_code rest_asked_add(struct rest_asked_list *l, struct arena *a, const struct query *query,
                        const struct rest_scope *scope, sv found, struct err *e)
{
    if (l->n == ASKED_MAX)
        return ERR(e, ERR_TOO_LARGE, "A request may go by %u searches", ASKED_MAX);
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        struct rest_asked *more =
            arena_grow(a, l->items, l->cap * sizeof *more, cap * sizeof *more);
        if (more == NULL)
            return arena_oom(a, e);
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] =
        (struct rest_asked){ query, scope ? *scope : (struct rest_scope){ 0 }, found };
    return ERR_OK;
}

bool rest_is_gone(const struct rest_scope *scope, fhir_type type, sv id)
{
    const struct search_id x = { type, id };
    return scope && scope->n_gone &&
           bsearch(&x, scope->gone, scope->n_gone, sizeof x, search_id_cmp) != NULL;
}

/* v was written after the search. Does it match now if, and only if, it was the one that was
 * found? */
static err_code same_as_asked(const struct rest_asked *a, const struct store_version *v, bool *same,
                              struct err *e)
{
    const struct query *query = a->q;
    bool met = false, was = sv_eq(v->id, a->found);
    *same = true;
    if (rest_is_gone(&a->scope, v->type, v->id))
        return ERR_OK;
    if (v->method != STORE_METHOD_DELETE) {
        CLEANUP(arena_free) struct arena *mem = arena_new(json_tree_max(v->body.json.len));
        yyjson_doc *doc;
        TRY(json_read(mem, v->body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
        struct search_subject s = { v->type, v->id, v->instant_ms, yyjson_doc_get_root(doc),
                                    v->instant_ms };
        if (query->asks_created && v->version != 1)
            TRY(query_created_ms(query->src.st, v->type, v->id, &s.created_ms, e));
        TRY(query_met(query, &s, &met, e));
    }
    *same = met == was;
    return ERR_OK;
}

/* Would the search find the same as of now_t? Up to from_t that is known. */
static err_code still_so(struct store *st, const struct rest_asked *a, uint64_t from_t,
                         uint64_t now_t, size_t *n_looked, bool *so, struct err *e)
{
    const struct query *query = a->q;
    bool changed[STORE_TYPES];
    /* a database that has lost commits is not the one that was searched */
    *so = now_t >= from_t;
    if (now_t <= from_t)
        return ERR_OK;
    TRY(store_changed_types(st, from_t, now_t, changed, e));
    /* Chains and _has found their ids as of the search; a change of these types may change the
     * ids. */
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        if (changed[t] && query->goes_by[t]) {
            *so = false;
            return ERR_OK;
        }
    for (size_t i = 0; i < query->n_types; i++) {
        CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
        const struct store_range all = { .type = query->types[i] };
        struct store_version v;
        err_code rc;
        if (!changed[query->types[i]])
            continue;
        TRY(store_changes(st, &all, from_t, now_t, &cur, e));
        while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
            if (++*n_looked > CHANGED_MAX)
                *so = false;
            else
                TRY(same_as_asked(a, &v, so, e));
            if (!*so)
                return ERR_OK;
        }
        if (rc != ERR_EOF)
            return rc;
    }
    return ERR_OK;
}

struct asked_still {
    struct store_still still;
    struct rest_call *call;
    const struct rest_asked_list *list;
    uint64_t seen_t; /* as of this commit all is as it was found; 0: it was not looked at */
    size_t n_looked;
    bool overtaken;
};

static err_code look(struct asked_still *s, uint64_t newest_t, bool *so, struct err *e)
{
    for (size_t i = 0; i < s->list->n && *so; i++) {
        const struct rest_asked *a = &s->list->items[i];
        TRY(still_so(s->call->st, a, s->seen_t ? s->seen_t : a->q->src.as_of, newest_t,
                     &s->n_looked, so, e));
    }
    return ERR_OK;
}

/* Of struct store_still. */
static err_code asked_holds(struct store_still *me, uint64_t newest_t, struct err *e)
{
    struct asked_still *s = (struct asked_still *)me;
    struct rest_clock *clock = s->call->clock;
    bool so = true;
    if (clock)
        clock->has_lock = true;
    err_code rc = look(s, newest_t, &so, e);
    if (clock)
        clock->has_lock = false;
    TRY(rc);
    s->overtaken = !so;
    if (!so)
        return ERR(e, ERR_CONFLICT, REST_OVERTAKEN);
    s->seen_t = newest_t;
    return ERR_OK;
}

err_code rest_commit_asked(struct rest_call *call, const struct rest_asked_list *l,
                           struct store_write *writes, size_t n, struct store_commit *at,
                           bool *overtaken, struct err *e)
{
    struct asked_still s = { .still = { asked_holds }, .call = call, .list = l };
    uint64_t newest;
    *overtaken = false;
    rest_let_go(call);
    if (l->n == 0)
        return store_commit(call->st, writes, n, at, e);
    struct writing_lock *lock = lock_of(call->service, call->ds->id);
    /* most of it here, where nobody else waits for it */
    err_code rc = rest_newest(call, &newest, e);
    if (rc == ERR_OK)
        rc = asked_holds(&s.still, newest, e);
    if (rc == ERR_OK)
        rc = store_commit_if(call->st, writes, n, &s.still, at, e);
    unlock(call->service, lock);
    *overtaken = rc != ERR_OK && s.overtaken;
    return rc;
}
