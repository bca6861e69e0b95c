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
    struct query_clauses clauses; /* of the present type */
};

static const struct query_clause *clause_at(const struct query_walk *walk, size_t i)
{
    return walk->clauses.at[i];
}

static void close_source(struct query_walk *walk)
{
    store_index_close(walk->index);
    store_cursor_close(walk->scan);
    walk->index = NULL;
    walk->scan = NULL;
    for (; walk->n_sieves; walk->n_sieves--)
        query_sieve_close(walk->sieves[walk->n_sieves - 1]);
    walk->open = false;
}

void query_walk_close(struct query_walk *walk)
{
    if (walk == NULL)
        return;
    close_source(walk);
    arena_free(walk->scratch);
    arena_free(walk->drivers_arena);
    free(walk);
}

err_code query_walk_open(const struct query *query, const struct query_place *from,
                         struct query_walk **out, struct err *e)
{
    /* choose() knows how many clauses there are. */
    if (from && from->type_at >= query->n_types)
        return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
    struct query_walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL)
        abort();
    walk->q = query;
    /* one resource at a time */
    walk->scratch = arena_new(query_resource_max());
    walk->drivers_arena = arena_new(64u << 20);
    walk->place.clause = -1;
    if (from) {
        walk->place = *from;
        walk->resuming = from->id_len > 0 || from->number;
    }
    *out = walk;
    return ERR_OK;
}

const struct query_place *query_walk_place(const struct query_walk *walk)
{
    return &walk->place;
}

/* ---- where to look ---- */

static err_code use_ids(struct query_walk *walk, const struct query_clause *clause, struct err *e)
{
    const struct search_criterion *c = &clause->any[0];
    size_t max = c->param ? c->n_terms : c->n_set;
    walk->how = BY_IDS;
    walk->n_ids = walk->id_at = 0;
    walk->ids = arena_alloc(walk->drivers_arena, (max + 1) * sizeof *walk->ids);
    if (walk->ids == NULL)
        return arena_oom(walk->drivers_arena, e);
    for (size_t i = 0; i < max; i++) {
        struct search_id x =
            c->param ? (struct search_id){ walk->type, c->terms[i].code } : c->set[i];
        if (x.type == walk->type && fhir_id_ok(x.id))
            walk->ids[walk->n_ids++] = x;
    }
    qsort(walk->ids, walk->n_ids, sizeof *walk->ids, search_id_cmp);
    return ERR_OK;
}

/* Drivers for every criterion of a clause. False: one of them has none, or too many ranges for the
 * arena, which is then as it was. */
static bool drivers_of(struct query_walk *walk, const struct query_clause *clause,
                       struct search_driver **out)
{
    const arena_mark before = arena_mark_get(walk->drivers_arena);
    struct search_driver *driver = arena_calloc(walk->drivers_arena, clause->n + 1, sizeof *driver);
    bool ok = driver != NULL;
    for (size_t i = 0; i < clause->n && ok; i++)
        ok = search_ranges(&clause->any[i], walk->type, walk->drivers_arena, &driver[i]) &&
             driver[i].form <= store_index_form(walk->q->src.st);
    if (!ok)
        arena_rewind(walk->drivers_arena, before);
    *out = driver;
    return ok;
}

static err_code count_entries(struct query_walk *walk, const struct search_driver *driver, size_t n,
                              size_t max, size_t *out, struct err *e)
{
    size_t count = 0;
    for (size_t i = 0; i < n && count < max; i++) {
        CLEANUP(store_index_close) struct store_index_cursor *c = NULL;
        struct store_index_hit hit;
        err_code rc;
        TRY(store_index_scan(walk->q->src.st, walk->type, &driver[i], SV_NONE, 0,
                             walk->q->src.as_of, &c, e));
        while (count < max && (rc = store_index_next(c, &hit, e)) != ERR_EOF) {
            TRY(rc);
            count++;
        }
    }
    *out = count;
    return ERR_OK;
}

/* Sieves for the other clauses, where the index can answer for them. */
static err_code open_sieves(struct query_walk *walk, size_t chosen, struct err *e)
{
    const struct query *query = walk->q;
    for (size_t i = 0; i < walk->clauses.n_guiding && walk->n_sieves < SIEVES_MAX; i++) {
        struct search_driver *driver;
        struct query_sieve *sieve = NULL;
        if (i == chosen || !drivers_of(walk, clause_at(walk, i), &driver))
            continue;
        TRY(query_sieve_open(query->src.st, walk->type, driver, clause_at(walk, i)->n,
                             query->src.as_of, &sieve, e));
        if (sieve)
            walk->sieves[walk->n_sieves++] = sieve;
    }
    return ERR_OK;
}

/* The clause that is walked is the one that the place names. */
static err_code go_on(struct query_walk *walk, struct err *e)
{
    const int at = walk->place.clause;
    if (at < 0)
        return ERR_OK;
    if ((size_t)at < walk->clauses.n_guiding &&
        drivers_of(walk, clause_at(walk, (size_t)at), &walk->drivers))
        return ERR_OK;
    return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
}

/* That with the fewest entries. Its drivers are made once: they may be large. */
static err_code shortest(struct query_walk *walk, size_t *entries, struct err *e)
{
    size_t best = PROBE + 1;
    int chosen = -1;
    for (size_t i = 0; i < walk->clauses.n_guiding; i++) {
        const arena_mark before = arena_mark_get(walk->drivers_arena);
        struct search_driver *driver;
        size_t n = PROBE;
        if (!drivers_of(walk, clause_at(walk, i), &driver))
            continue;
        if (walk->clauses.n_guiding > 1)
            TRY(count_entries(walk, driver, clause_at(walk, i)->n, PROBE, &n, e));
        if (chosen < 0 || n < best ||
            (n == best && query_clause_rank(clause_at(walk, i)) <
                              query_clause_rank(clause_at(walk, (size_t)chosen)))) {
            best = n;
            chosen = (int)i;
            walk->drivers = driver;
        } else {
            arena_rewind(walk->drivers_arena, before);
        }
    }
    walk->place.clause = chosen;
    *entries = best;
    return ERR_OK;
}

static err_code choose(struct query_walk *walk, struct err *e)
{
    size_t best = 0;
    TRY(walk->resuming ? go_on(walk, e) : shortest(walk, &best, e));
    const int chosen = walk->place.clause;
    if (chosen < 0) {
        walk->how = BY_SCAN;
        return ERR_OK;
    }
    walk->how = BY_INDEX;
    walk->n_drivers = clause_at(walk, (size_t)chosen)->n;
    if (walk->place.driver > walk->n_drivers)
        return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
    return walk->resuming || (best >= SIEVE_MIN && walk->clauses.n_guiding > 1)
               ? open_sieves(walk, (size_t)chosen, e)
               : ERR_OK;
}

/* A query over several types has a criterion for each of them; drivers of the present type are
 * asked for. */
static err_code open_source(struct query_walk *walk, struct err *e)
{
    const struct query *query = walk->q;
    walk->type = query->types[walk->place.type_at];
    arena_reset(walk->drivers_arena);
    query_clauses_set(&walk->clauses, query, walk->place.type_at);
    if (walk->clauses.nothing) {
        walk->how = BY_IDS;
        walk->n_ids = walk->id_at = 0;
        walk->place.clause = -1;
        walk->open = true;
        return ERR_OK;
    }
    for (size_t i = 0; i < walk->clauses.n; i++)
        if (query_clause_names_ids(clause_at(walk, i))) {
            TRY(use_ids(walk, clause_at(walk, i), e));
            walk->place.clause = -1;
            walk->open = true;
            return ERR_OK;
        }
    TRY(choose(walk, e));
    walk->open = true;
    return ERR_OK;
}

/* ---- candidates ---- */

struct candidate {
    sv id;               /* BY_IDS */
    store_number number; /* of all others */
    uint64_t t;          /* BY_INDEX: the commit of the version that the entry is about */
    sv value;            /* BY_INDEX: the value of its entry */
    bool have;           /* BY_SCAN: v is read already */
    struct store_version v;
};

static err_code next_id(struct query_walk *walk, struct candidate *out)
{
    sv after = sv_make(walk->place.id, walk->place.id_len);
    while (walk->id_at < walk->n_ids) {
        sv id = walk->ids[walk->id_at++].id;
        /* It was given earlier, in this request or in one before. */
        if (sv_cmp(id, after) <= 0)
            continue;
        *out = (struct candidate){ .id = id };
        return ERR_OK;
    }
    return ERR_EOF;
}

static err_code next_entry(struct query_walk *walk, struct candidate *out, struct err *e)
{
    for (; walk->place.driver < walk->n_drivers;
         walk->place.driver++, walk->place.value_len = 0, walk->place.number = 0) {
        if (walk->index == NULL)
            TRY(store_index_scan(walk->q->src.st, walk->type, &walk->drivers[walk->place.driver],
                                 sv_make(walk->place.value, walk->place.value_len),
                                 walk->place.number, walk->q->src.as_of, &walk->index, e));
        struct store_index_hit hit;
        err_code rc = store_index_next(walk->index, &hit, e);
        if (rc == ERR_OK)
            *out = (struct candidate){ .number = hit.number, .t = hit.t, .value = hit.value };
        if (rc != ERR_EOF)
            return rc;
        store_index_close(walk->index);
        walk->index = NULL;
    }
    return ERR_EOF;
}

static err_code next_scanned(struct query_walk *walk, struct candidate *out, struct err *e)
{
    if (walk->scan == NULL) {
        struct store_range r = { .type = walk->type,
                                 .from = walk->place.number ? walk->place.number + 1 : 0 };
        TRY(store_scan(walk->q->src.st, &r, walk->q->src.as_of, &walk->scan, e));
        store_cursor_light(walk->scan);
    }
    TRY(store_cursor_next(walk->scan, &out->v, e));
    out->have = true;
    out->number = out->v.number;
    return ERR_OK;
}

/* ---- does it match ---- */

/* A walk of the index meets a resource at each of its entries. It is a match at the first of them
 * only. */
static bool first_meeting(const struct query_walk *walk, const struct candidate *c,
                          yyjson_val *root)
{
    unsigned char v[SEARCH_KEY_MAX];
    uint8_t len;
    for (size_t i = 0; i < walk->place.driver; i++)
        if (search_first_entry(&walk->drivers[i], walk->type, root, v, &len))
            return false;
    return search_first_entry(&walk->drivers[walk->place.driver], walk->type, root, v, &len) &&
           sv_eq(sv_make(v, len), c->value);
}

/* May the candidate match, as far as the index says? */
static err_code ask_sieves(struct query_walk *walk, store_number number, bool *may, struct err *e)
{
    *may = true;
    if (walk->n_sieves == 0 || store_is_near(walk->q->src.st, number))
        return ERR_OK;
    if (walk->n_unasked < READ_AHEAD) {
        walk->n_unasked++;
        return ERR_OK;
    }
    for (size_t i = 0; i < walk->n_sieves && *may; i++)
        TRY(query_sieve_has(walk->sieves[i], number, may, e));
    return ERR_OK;
}

/* The version of a candidate. *there: it is current, and the one that proposed it. */
static err_code read_candidate(struct query_walk *walk, struct candidate *c, bool *there,
                               struct err *e)
{
    const struct query_source *src = &walk->q->src;
    arena_reset(walk->scratch);
    *there = c->have;
    if (c->have)
        return ERR_OK;
    err_code rc =
        walk->how == BY_IDS
            ? store_get_light(src->st, walk->type, c->id, src->as_of, walk->scratch, &c->v, e)
            : store_get_number_light(src->st, c->number, src->as_of, walk->scratch, &c->v, e);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(rc);
    *there = c->v.method != STORE_METHOD_DELETE && (c->t == 0 || c->v.t == c->t);
    return ERR_OK;
}

/* The owner has its own place (owner_at). */
static bool is_owner_elsewhere(const struct query_walk *walk, sv id)
{
    return walk->q->owner_at != QUERY_NO_OWNER && walk->place.type_at != walk->q->owner_at &&
           walk->type == walk->q->owner.type && sv_eq(id, walk->q->owner.id);
}

static err_code examine(struct query_walk *walk, struct candidate *c, struct query_match *out,
                        bool *met, struct err *e)
{
    yyjson_doc *doc = NULL;
    bool may, there;
    *met = false;
    TRY(ask_sieves(walk, c->number, &may, e));
    if (!may)
        return ERR_OK;
    TRY(read_candidate(walk, c, &there, e));
    if (!there || is_owner_elsewhere(walk, c->v.id))
        return ERR_OK;
    if (!walk->q->no_trees || walk->clauses.n || walk->clauses.n_filters)
        TRY(json_read(walk->scratch, c->v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    struct search_subject s = { walk->type, c->v.id, c->v.instant_ms, yyjson_doc_get_root(doc),
                                c->v.instant_ms };
    bool meets = true;
    for (size_t i = 0; i < walk->clauses.n && meets; i++)
        if (!query_clause_asks_created(clause_at(walk, i)))
            TRY(query_clause_met(walk->q, clause_at(walk, i), &s, &meets, e));
    for (size_t i = 0; i < walk->clauses.n_filters && meets; i++)
        TRY(query_filter_met(walk->q, walk->clauses.filters[i], &s, &meets, e));
    if (!meets)
        return ERR_OK;
    /* createdAt comes last: it needs older versions to be read. */
    if (walk->q->asks_created) {
        if (c->v.version != 1) {
            TRY(query_created_ms(walk->q->src.st, walk->type, c->v.id, &s.created_ms, e));
            walk->since_check +=
                c->v.version < TIME_CHECK_EVERY ? (unsigned)c->v.version : TIME_CHECK_EVERY;
        }
        for (size_t i = 0; i < walk->q->n_clauses && meets; i++)
            if (query_clause_asks_created(clause_at(walk, i)))
                TRY(query_clause_met(walk->q, clause_at(walk, i), &s, &meets, e));
        if (!meets)
            return ERR_OK;
    }
    if (walk->how == BY_INDEX && !first_meeting(walk, c, s.root))
        return ERR_OK;
    *met = true;
    out->v = c->v;
    out->root = s.root;
    return ERR_OK;
}

static void stand_at(struct query_walk *walk, const struct candidate *c)
{
    walk->place.number = c->number;
    walk->place.id_len = (uint8_t)c->id.len;
    if (c->id.len)
        memcpy(walk->place.id, c->id.ptr, c->id.len);
    walk->place.value_len = (uint8_t)c->value.len;
    if (c->value.len)
        memcpy(walk->place.value, c->value.ptr, c->value.len);
}

err_code query_walk_next(struct query_walk *walk, uint64_t until_us, struct query_match *out,
                         struct err *e)
{
    for (;;) {
        if (walk->since_check >= TIME_CHECK_EVERY) {
            walk->since_check = 0;
            TRY(query_breathe(&walk->q->src, e));
            if (until_us && clock_mono_us() > until_us)
                return ERR(e, ERR_TIMEOUT, "The search takes too long: narrow it");
        }
        if (!walk->open) {
            if (walk->place.type_at >= walk->q->n_types)
                return ERR_EOF;
            TRY(open_source(walk, e));
        }
        struct candidate c = { 0 };
        err_code rc = walk->how == BY_IDS     ? next_id(walk, &c)
                      : walk->how == BY_INDEX ? next_entry(walk, &c, e)
                                              : next_scanned(walk, &c, e);
        if (rc == ERR_EOF) {
            close_source(walk);
            size_t next = walk->place.type_at + 1;
            memset(&walk->place, 0, sizeof walk->place);
            walk->place.type_at = next;
            walk->place.clause = -1;
            walk->resuming = false;
            continue;
        }
        TRY(rc);
        bool met;
        const struct query_place before = walk->place;
        stand_at(walk, &c);
        rc = examine(walk, &c, out, &met, e);
        /* The candidate was not compared to its end, so whoever goes on begins with it. */
        if (rc == ERR_TIMEOUT) {
            walk->place = before;
            return walk->n_examined ? rc
                                    : ERR(e, ERR_TOO_LARGE,
                                          "To compare one resource with this query takes too long: "
                                          "ask for less, or more narrowly");
        }
        TRY(rc);
        walk->n_examined++;
        walk->since_check += 1 + (unsigned)(query_whole_len(&c.v) / CHECK_BYTES);
        if (met)
            return ERR_OK;
    }
}
