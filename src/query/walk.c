/* walk.c - the matches of a query, one by one, from wherever the fewest candidates are.
 *
 *   open_source   for each type: ids that the query names, else the index entries of the clause
 *                 with the fewest (choose), else all resources
 *   next_*        the next candidate of that source
 *   examine       sieves of the other clauses, then the resource itself
 *
 * The place of a walk says which source it takes and how far it has come, so another request can go
 * on there. It moves with every candidate, also with those that do not match. */
#include "query/query_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "query/sieve_private.h"

/* So many entries of each clause are counted before the shortest is taken. Counting for several
 * clauses must cost less than reading a page of resources. */
#define PROBE            64u
#define TIME_CHECK_EVERY 64u
#define CHECK_BYTES      (8u << 10) /* a candidate counts once more for each of these */

/* Fewer candidates than this are read at once: that costs less than to ask sieves about them. */
#define SIEVE_MIN  12u
#define SIEVES_MAX 3u
/* A candidate in the store's memory is matched sooner than a sieve is asked. One that must come
 * from disk costs as much as ten questions. The first few of each walk are read without a question,
 * so that a query that comes again and again finds them in memory. */
#define READ_AHEAD 8u

struct query_walk {
    const struct query *q;
    struct query_place place;
    struct arena *scratch; /* memory of one candidate */
    struct arena *drivers_arena;
    fhir_type type;
    bool open;     /* there is a source of candidates for `type` */
    bool resuming; /* the place came with the request: its source must stay */
    enum { BY_IDS, BY_INDEX, BY_SCAN } how;
    /* BY_IDS */
    struct search_id *ids;
    size_t n_ids, id_at;
    /* BY_INDEX: drivers of one clause, walked one after the other */
    struct search_driver *drivers;
    size_t n_drivers;
    struct store_index_cursor *index;
    struct query_sieve *sieves[SIEVES_MAX]; /* of the clauses that are not walked */
    size_t n_sieves;
    unsigned n_unasked;
    /* BY_SCAN */
    struct store_cursor *scan;
    uint64_t n_examined; /* since it was opened */
    unsigned since_check;
    /* what makes a resource of the present type a member of the query's compartment */
    struct search_criterion member_any[SEARCH_COMPARTMENT_MAX + 1];
    struct query_clause member;
};

static const struct query_clause *clause_at(const struct query_walk *w, size_t i)
{
    const struct query_clause *c = &w->q->clauses[i];
    if (c->by_type)
        c = &c->by_type[w->place.type_at];
    return c->membership ? &w->member : c;
}

static void close_source(struct query_walk *w)
{
    store_index_close(w->index);
    store_cursor_close(w->scan);
    w->index = NULL;
    w->scan = NULL;
    for (; w->n_sieves; w->n_sieves--)
        query_sieve_close(w->sieves[w->n_sieves - 1]);
    w->open = false;
}

void query_walk_close(struct query_walk *w)
{
    if (w == NULL)
        return;
    close_source(w);
    arena_free(w->scratch);
    arena_free(w->drivers_arena);
    free(w);
}

err_code query_walk_open(const struct query *q, const struct query_place *from,
                         struct query_walk **out, struct err *e)
{
    if (from && (from->type_at >= q->n_types || from->clause >= (int)q->n_clauses))
        return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
    struct query_walk *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->q = q;
    /* one resource at a time */
    w->scratch = arena_new(query_resource_max());
    w->drivers_arena = arena_new(64u << 20);
    w->place.clause = -1;
    if (from) {
        w->place = *from;
        w->resuming = from->id_len > 0;
    }
    *out = w;
    return ERR_OK;
}

const struct query_place *query_walk_place(const struct query_walk *w)
{
    return &w->place;
}

/* ---- where to look ---- */

static bool names_ids(const struct query_clause *cl)
{
    if (cl->n != 1)
        return false;
    const struct search_criterion *c = &cl->any[0];
    return c->param == NULL ||
           (sv_eq(c->param->code, SV_LIT("_id")) && c->modifier == SEARCH_MOD_NONE);
}

static err_code use_ids(struct query_walk *w, const struct query_clause *cl, struct err *e)
{
    const struct search_criterion *c = &cl->any[0];
    size_t max = c->param ? c->n_terms : c->n_set;
    w->how = BY_IDS;
    w->n_ids = w->id_at = 0;
    w->ids = arena_alloc(w->drivers_arena, (max + 1) * sizeof *w->ids);
    if (w->ids == NULL)
        return arena_oom(w->drivers_arena, e);
    for (size_t i = 0; i < max; i++) {
        struct search_id x = c->param ? (struct search_id){ w->type, c->terms[i].code } : c->set[i];
        if (x.type == w->type && fhir_id_ok(x.id))
            w->ids[w->n_ids++] = x;
    }
    qsort(w->ids, w->n_ids, sizeof *w->ids, search_id_cmp);
    return ERR_OK;
}

/* Drivers for every criterion of a clause. False: one of them has none. */
static bool drivers_of(struct query_walk *w, const struct query_clause *cl,
                       struct search_driver **out)
{
    struct search_driver *d = arena_calloc(w->drivers_arena, cl->n + 1, sizeof *d);
    if (d == NULL)
        return false;
    for (size_t i = 0; i < cl->n; i++)
        if (!search_ranges(&cl->any[i], w->type, w->drivers_arena, &d[i]) ||
            d[i].form > store_index_form(w->q->src.st))
            return false;
    *out = d;
    return true;
}

static err_code count_entries(struct query_walk *w, const struct search_driver *d, size_t n,
                              size_t max, size_t *out, struct err *e)
{
    size_t count = 0;
    for (size_t i = 0; i < n && count < max; i++) {
        CLEANUP(store_index_close) struct store_index_cursor *c = NULL;
        struct store_index_hit hit;
        err_code rc;
        TRY(store_index_scan(w->q->src.st, w->type, &d[i], SV_NONE, SV_NONE, w->q->src.as_of, &c,
                             e));
        while (count < max && (rc = store_index_next(c, &hit, e)) != ERR_EOF) {
            TRY(rc);
            count++;
        }
    }
    *out = count;
    return ERR_OK;
}

/* Which kind of parameter narrows a search most, when two clauses have equally many entries? Lower
 * ranks do. */
static unsigned rank(const struct query_clause *cl)
{
    const struct search_criterion *c = &cl->any[0];
    if (c->is_set || c->param->kind == SEARCH_REFERENCE)
        return 0;
    if (c->param->kind == SEARCH_TOKEN)
        return sv_eq(c->param->code, SV_LIT("identifier")) ? 0 : 2;
    return c->param->kind == SEARCH_STRING ? 1 : 3;
}

/* Sieves for the other clauses, where the index can answer for them. */
static err_code open_sieves(struct query_walk *w, size_t chosen, struct err *e)
{
    const struct query *q = w->q;
    for (size_t i = 0; i < q->n_clauses && w->n_sieves < SIEVES_MAX; i++) {
        struct search_driver *d;
        struct query_sieve *s = NULL;
        if (i == chosen || !drivers_of(w, clause_at(w, i), &d))
            continue;
        TRY(query_sieve_open(q->src.st, w->type, d, clause_at(w, i)->n, q->src.as_of, &s, e));
        if (s)
            w->sieves[w->n_sieves++] = s;
    }
    return ERR_OK;
}

static err_code choose(struct query_walk *w, struct err *e)
{
    const struct query *q = w->q;
    size_t best = PROBE + 1;
    int chosen = -1;
    for (size_t i = 0; i < q->n_clauses && !w->resuming; i++) {
        struct search_driver *d;
        size_t n = PROBE;
        if (!drivers_of(w, clause_at(w, i), &d))
            continue;
        if (q->n_clauses > 1)
            TRY(count_entries(w, d, clause_at(w, i)->n, PROBE, &n, e));
        if (chosen < 0 || n < best ||
            (n == best && rank(clause_at(w, i)) < rank(clause_at(w, (size_t)chosen)))) {
            best = n;
            chosen = (int)i;
        }
    }
    if (w->resuming)
        chosen = w->place.clause;
    w->place.clause = chosen;
    if (chosen < 0) {
        w->how = BY_SCAN;
        return ERR_OK;
    }
    w->how = BY_INDEX;
    w->n_drivers = clause_at(w, (size_t)chosen)->n;
    if (!drivers_of(w, clause_at(w, (size_t)chosen), &w->drivers) || w->place.driver > w->n_drivers)
        return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
    return w->resuming || (best >= SIEVE_MIN && q->n_clauses > 1)
               ? open_sieves(w, (size_t)chosen, e)
               : ERR_OK;
}

static void set_membership(struct query_walk *w)
{
    const struct query *q = w->q;
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    w->member = (struct query_clause){ w->member_any, 1, true };
    if (w->place.type_at == q->owner_at) {
        w->member_any[0] =
            (struct search_criterion){ .is_set = true, .set = &q->owner, .n_set = 1 };
        return;
    }
    w->member.n = search_compartment(q->owner.type, w->type, params);
    for (size_t i = 0; i < w->member.n; i++)
        w->member_any[i] = (struct search_criterion){
            .param = params[i], .is_set = true, .set = &q->owner, .n_set = 1
        };
}

/* A query over several types has a criterion for each of them; drivers of the present type are
 * asked for. */
static err_code open_source(struct query_walk *w, struct err *e)
{
    const struct query *q = w->q;
    w->type = q->types[w->place.type_at];
    arena_reset(w->drivers_arena);
    if (q->owner.type)
        set_membership(w);
    for (size_t i = 0; i < q->n_clauses; i++)
        if (names_ids(clause_at(w, i))) {
            TRY(use_ids(w, clause_at(w, i), e));
            w->place.clause = -1;
            w->open = true;
            return ERR_OK;
        }
    TRY(choose(w, e));
    w->open = true;
    return ERR_OK;
}

/* ---- candidates ---- */

struct candidate {
    sv id;
    uint64_t t; /* the commit of the version that the entry is about; 0: any version */
    sv value;   /* BY_INDEX: the value of its entry */
    bool have;  /* BY_SCAN: v is read already */
    struct store_version v;
};

static err_code next_id(struct query_walk *w, struct candidate *out)
{
    sv after = sv_make(w->place.id, w->place.id_len);
    while (w->id_at < w->n_ids) {
        sv id = w->ids[w->id_at++].id;
        /* It was given earlier, in this request or in one before. */
        if (sv_cmp(id, after) <= 0)
            continue;
        *out = (struct candidate){ .id = id };
        return ERR_OK;
    }
    return ERR_EOF;
}

static err_code next_entry(struct query_walk *w, struct candidate *out, struct err *e)
{
    for (; w->place.driver < w->n_drivers;
         w->place.driver++, w->place.value_len = 0, w->place.id_len = 0) {
        if (w->index == NULL)
            TRY(store_index_scan(w->q->src.st, w->type, &w->drivers[w->place.driver],
                                 sv_make(w->place.value, w->place.value_len),
                                 sv_make(w->place.id, w->place.id_len), w->q->src.as_of, &w->index,
                                 e));
        struct store_index_hit hit;
        err_code rc = store_index_next(w->index, &hit, e);
        if (rc == ERR_OK)
            *out = (struct candidate){ .id = hit.id, .t = hit.t, .value = hit.value };
        if (rc != ERR_EOF)
            return rc;
        store_index_close(w->index);
        w->index = NULL;
    }
    return ERR_EOF;
}

static err_code next_scanned(struct query_walk *w, struct candidate *out, struct err *e)
{
    if (w->scan == NULL) {
        char from[FHIR_ID_MAX + 1];
        memcpy(from, w->place.id, w->place.id_len);
        /* \x01 is below every byte of an id, so the scan begins at the next id. */
        from[w->place.id_len] = '\x01';
        struct store_range r = { w->type, sv_make(from, w->place.id_len ? w->place.id_len + 1u : 0),
                                 SV_NONE };
        TRY(store_scan(w->q->src.st, &r, w->q->src.as_of, &w->scan, e));
        store_cursor_light(w->scan);
    }
    TRY(store_cursor_next(w->scan, &out->v, e));
    out->have = true;
    out->id = out->v.id;
    return ERR_OK;
}

/* ---- does it match ---- */

/* A walk of the index meets a resource at each of its entries. It is a match at the first of them
 * only. */
static bool first_meeting(const struct query_walk *w, const struct candidate *c, yyjson_val *root)
{
    unsigned char v[SEARCH_KEY_MAX];
    uint8_t len;
    for (size_t i = 0; i < w->place.driver; i++)
        if (search_first_entry(&w->drivers[i], w->type, root, v, &len))
            return false;
    return search_first_entry(&w->drivers[w->place.driver], w->type, root, v, &len) &&
           sv_eq(sv_make(v, len), c->value);
}

/* May the candidate match, as far as the index says? */
static err_code ask_sieves(struct query_walk *w, sv id, bool *may, struct err *e)
{
    *may = true;
    if (w->n_sieves == 0 || store_is_near(w->q->src.st, w->type, id))
        return ERR_OK;
    if (w->n_unasked < READ_AHEAD) {
        w->n_unasked++;
        return ERR_OK;
    }
    for (size_t i = 0; i < w->n_sieves && *may; i++)
        TRY(query_sieve_has(w->sieves[i], id, may, e));
    return ERR_OK;
}

static err_code examine(struct query_walk *w, struct candidate *c, struct query_match *out,
                        bool *met, struct err *e)
{
    yyjson_doc *doc;
    *met = false;
    /* The owner has its own place (owner_at). */
    if (w->q->owner_at != QUERY_NO_OWNER && w->place.type_at != w->q->owner_at &&
        w->type == w->q->owner.type && sv_eq(c->id, w->q->owner.id))
        return ERR_OK;
    bool may;
    TRY(ask_sieves(w, c->id, &may, e));
    if (!may)
        return ERR_OK;
    arena_reset(w->scratch);
    if (!c->have) {
        err_code rc =
            store_get_light(w->q->src.st, w->type, c->id, w->q->src.as_of, w->scratch, &c->v, e);
        if (rc == ERR_NOT_FOUND)
            return ERR_OK;
        TRY(rc);
        if (c->v.method == STORE_METHOD_DELETE || (c->t && c->v.t != c->t))
            return ERR_OK;
    }
    TRY(json_read(w->scratch, c->v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    struct search_subject s = { w->type, c->v.id, c->v.instant_ms, yyjson_doc_get_root(doc),
                                c->v.instant_ms };
    bool meets = true;
    for (size_t i = 0; i < w->q->n_clauses && meets; i++)
        if (!query_clause_asks_created(clause_at(w, i)))
            TRY(query_clause_met(w->q, clause_at(w, i), &s, &meets, e));
    if (!meets)
        return ERR_OK;
    /* createdAt comes last: it needs older versions to be read. */
    if (w->q->asks_created) {
        if (c->v.version != 1) {
            TRY(query_created_ms(w->q->src.st, w->type, c->v.id, &s.created_ms, e));
            w->since_check +=
                c->v.version < TIME_CHECK_EVERY ? (unsigned)c->v.version : TIME_CHECK_EVERY;
        }
        for (size_t i = 0; i < w->q->n_clauses && meets; i++)
            if (query_clause_asks_created(clause_at(w, i)))
                TRY(query_clause_met(w->q, clause_at(w, i), &s, &meets, e));
        if (!meets)
            return ERR_OK;
    }
    if (w->how == BY_INDEX && !first_meeting(w, c, s.root))
        return ERR_OK;
    *met = true;
    out->v = c->v;
    out->root = s.root;
    return ERR_OK;
}

static void stand_at(struct query_walk *w, const struct candidate *c)
{
    w->place.id_len = (uint8_t)c->id.len;
    memcpy(w->place.id, c->id.ptr, c->id.len);
    w->place.value_len = (uint8_t)c->value.len;
    if (c->value.len)
        memcpy(w->place.value, c->value.ptr, c->value.len);
}

err_code query_walk_next(struct query_walk *w, uint64_t until_us, struct query_match *out,
                         struct err *e)
{
    for (;;) {
        if (w->since_check >= TIME_CHECK_EVERY) {
            w->since_check = 0;
            TRY(query_breathe(&w->q->src, e));
            if (until_us && clock_mono_us() > until_us)
                return ERR(e, ERR_TIMEOUT, "The search takes too long: narrow it");
        }
        if (!w->open) {
            if (w->place.type_at >= w->q->n_types)
                return ERR_EOF;
            TRY(open_source(w, e));
        }
        struct candidate c = { 0 };
        err_code rc = w->how == BY_IDS     ? next_id(w, &c)
                      : w->how == BY_INDEX ? next_entry(w, &c, e)
                                           : next_scanned(w, &c, e);
        if (rc == ERR_EOF) {
            close_source(w);
            size_t next = w->place.type_at + 1;
            memset(&w->place, 0, sizeof w->place);
            w->place.type_at = next;
            w->place.clause = -1;
            w->resuming = false;
            continue;
        }
        TRY(rc);
        bool met;
        const struct query_place before = w->place;
        stand_at(w, &c);
        rc = examine(w, &c, out, &met, e);
        /* The candidate was not compared to its end, so whoever goes on begins with it. */
        if (rc == ERR_TIMEOUT) {
            w->place = before;
            return w->n_examined ? rc
                                 : ERR(e, ERR_TOO_LARGE,
                                       "To compare one resource with this query takes too long: "
                                       "ask for less, or more narrowly");
        }
        TRY(rc);
        w->n_examined++;
        w->since_check += 1 + (unsigned)(query_whole_len(&c.v) / CHECK_BYTES);
        if (met)
            return ERR_OK;
    }
}
