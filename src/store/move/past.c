/* past.c - the commits of a store, with all that they wrote, in the order of t.
 *
 * What a load brought is what it gave birth to, which stands together, and what else changed
 * between its t and the one before. Online commits are taken some hundred at a time: the logs of
 * the types say who was written at which t, and all of them are read as of the last t. A batch of
 * them ends where a resource would come a second time, and where it has many bytes.
 *
 * What was erased has a place in the log and none in the answers, so a commit can have more
 * versions than are found. Nothing else may be missing: the log and the record of the commit must
 * have the same number. */
#include "store/move/move_private.h"

#include <stdlib.h>

#define ROWS         1024u      /* commits read at a time */
#define BATCH_ROWS   4096u      /* versions of online commits; a single commit may have more */
#define BATCH_BYTES  (8u << 20) /* the same */
#define COMMIT_BYTES ((size_t)8 << 30) /* what one commit brought: in memory when it was made */

struct past {
    struct store *st;
    struct store_commit_row rows[ROWS];
    size_t at, n_rows;
    uint64_t read_t; /* rows up to this commit were read */
    struct arena *bytes;
    struct buf versions; /* struct store_version */
    struct buf log;      /* struct log_row */
};

struct log_row {
    uint64_t t;
    store_number number;
};

struct past *past_open(struct store *st, uint64_t after_t)
{
    struct past *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->st = st;
    p->read_t = after_t;
    p->bytes = arena_new(COMMIT_BYTES);
    buf_init(&p->versions, COMMIT_BYTES);
    buf_init(&p->log, COMMIT_BYTES);
    return p;
}

void past_close(struct past *p)
{
    buf_done(&p->versions);
    buf_done(&p->log);
    arena_free(p->bytes);
    free(p);
}

/* A version whose strings are the cursor's is copied. */
static err_code keep(struct past *p, const struct store_version *v, struct past_batch *b,
                     struct err *e)
{
    struct store_version mine = *v;
    mine.id = arena_sv(p->bytes, v->id);
    mine.body.json = v->method == STORE_METHOD_DELETE ? SV_NONE : arena_sv(p->bytes, v->body.json);
    if (mine.id.ptr == NULL || (v->method != STORE_METHOD_DELETE && mine.body.json.ptr == NULL))
        return arena_oom(p->bytes, e);
    b->n_bytes += mine.body.json.len;
    b->n_versions++;
    return buf_add(&p->versions, sv_make(&mine, sizeof mine), e);
}

/* ---- a load ---- */

/* What the commit wrote of those that the cursor gives, which is closed. */
static err_code keep_all(struct past *p, struct store_cursor *c, uint64_t t, struct past_batch *b,
                         struct err *e)
{
    struct store_version v;
    struct err why;
    err_code rc = ERR_OK, kept = ERR_OK;
    while (kept == ERR_OK && (rc = store_cursor_next(c, &v, &why)) == ERR_OK)
        if (v.t == t)
            kept = keep(p, &v, b, e);
    store_cursor_close(c);
    TRY(kept);
    return rc == ERR_EOF ? ERR_OK : err_pass(e, &why);
}

/* Its births stand together, so they are read in one go. */
static err_code births_of_type(struct past *p, const struct store_commit_row *row, fhir_type type,
                               struct past_batch *b, struct err *e)
{
    const store_number first = number_make(row->births, type, 0);
    const struct store_range own = { type, first, first + NUMBER_K_MOST };
    struct store_cursor *c;
    if (row->births == 0)
        return ERR_OK;
    TRY(store_scan(p->st, &own, row->t, &c, e));
    return keep_all(p, c, row->t, b, e);
}

/* What it wrote of other numbers. */
static err_code others_of_type(struct past *p, const struct store_commit_row *row, fhir_type type,
                               struct past_batch *b, struct err *e)
{
    const store_number first = number_make(row->births, type, 0);
    const struct store_range ranges[] = { { type, 0, row->births ? first : 0 },
                                          { type, first + NUMBER_K_MOST, 0 } };
    struct store_cursor *c;
    for (size_t i = 0; i < (row->births ? 2 : 1); i++) {
        TRY(store_changes(p->st, &ranges[i], row->t - 1, row->t, &c, e));
        TRY(keep_all(p, c, row->t, b, e));
    }
    return ERR_OK;
}

static int by_type_then_number(const void *a, const void *b)
{
    const struct store_version *x = a, *y = b;
    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static err_code take_load(struct past *p, struct past_batch *b, struct err *e)
{
    const struct store_commit_row *row = &p->rows[p->at];
    bool changed[STORE_TYPES];
    TRY(store_changed_types(p->st, row->t - 1, row->t, changed, e));
    for (unsigned type = 1; type < STORE_TYPES; type++)
        if (changed[type])
            TRY(births_of_type(p, row, (fhir_type)type, b, e));
    for (unsigned type = 1; type < STORE_TYPES; type++)
        if (changed[type] && b->n_versions < row->count)
            TRY(others_of_type(p, row, (fhir_type)type, b, e));
    if (b->n_versions)
        qsort(p->versions.ptr, b->n_versions, sizeof(struct store_version), by_type_then_number);
    b->n_commits = 1;
    return ERR_OK;
}

/* ---- online commits ---- */

static int by_commit(const void *a, const void *b)
{
    const struct log_row *x = a, *y = b;
    if (x->t != y->t)
        return x->t < y->t ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Who of a type was written in (after, upto]; there are at most so many. */
static err_code log_of_type(struct past *p, fhir_type type, uint64_t after, uint64_t upto,
                            size_t most, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(COMMIT_BYTES);
    struct store_log_row *rows;
    size_t n;
    TRY(store_log(p->st, type, upto, 0, most, a, &rows, &n, e));
    for (size_t i = 0; i < n && rows[i].t > after; i++) {
        const struct log_row row = { rows[i].t, rows[i].number };
        TRY(buf_add(&p->log, sv_make(&row, sizeof row), e));
    }
    return ERR_OK;
}

static err_code read_log(struct past *p, const struct store_commit_row *first,
                         const struct store_commit_row *last, uint64_t count, struct err *e)
{
    bool changed[STORE_TYPES];
    buf_clear(&p->log);
    TRY(store_changed_types(p->st, first->t - 1, last->t, changed, e));
    for (unsigned type = 1; type < STORE_TYPES; type++)
        if (changed[type])
            TRY(log_of_type(p, (fhir_type)type, first->t - 1, last->t, (size_t)count, e));
    if (p->log.len)
        qsort(p->log.ptr, p->log.len / sizeof(struct log_row), sizeof(struct log_row), by_commit);
    return ERR_OK;
}

/* Set of numbers: twice as many slots as rows, at least. */
struct seen {
    store_number *slots;
    size_t n;
};

static bool seen_add(struct seen *s, store_number number)
{
    size_t k = (size_t)(number * 0x9e3779b97f4a7c15ull >> 20) % s->n;
    while (s->slots[k] && s->slots[k] != number)
        k = (k + 1) % s->n;
    const bool new = s->slots[k] == 0;
    s->slots[k] = number;
    return new;
}

/* The rows of one commit are all in, or none is. */
static bool takes_commit(struct seen *s, const struct log_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!seen_add(s, rows[i].number))
            return false;
    return true;
}

/* Whom the first of these commits wrote: their numbers, and behind which row each commit ends. They
 * are all different. *n: so many commits. */
static err_code written_by(struct past *p, size_t n_commits, struct seen *seen,
                           store_number *numbers, size_t *ends, size_t *n, struct err *e)
{
    const struct log_row *rows = (const struct log_row *)(const void *)p->log.ptr;
    const size_t n_rows = p->log.len / sizeof *rows;
    size_t at = 0;
    for (*n = 0; *n < n_commits; ++*n) {
        const struct store_commit_row *row = &p->rows[p->at + *n];
        size_t end = at;
        while (end < n_rows && rows[end].t == row->t)
            end++;
        if (end - at > row->count)
            return ERR(e, ERR_CORRUPT, "the log has more versions than a commit");
        if (!takes_commit(seen, rows + at, end - at) && *n)
            break;
        for (; at < end; at++)
            numbers[at] = rows[at].number;
        ends[*n] = end;
    }
    return ERR_OK;
}

/* Each of them is written once up to the last commit, so what is current then is what it wrote. A
 * version that was erased is not given, or an older one in its place. */
static err_code take_versions(struct past *p, struct store_cursor *c, const size_t *ends, size_t n,
                              struct past_batch *b, struct err *e)
{
    const struct log_row *rows = (const struct log_row *)(const void *)p->log.ptr;
    struct store_version v;
    struct err why;
    bool waits = false, over = false;
    for (size_t i = 0, at = 0; i < n && (i == 0 || b->n_bytes <= BATCH_BYTES); i++) {
        for (; at < ends[i]; at++) {
            if (!waits && !over) {
                err_code rc = store_cursor_next(c, &v, &why);
                over = rc == ERR_EOF;
                waits = rc == ERR_OK;
                if (!over && !waits)
                    return err_pass(e, &why);
            }
            if (!waits || v.number != rows[at].number)
                continue;
            waits = false;
            if (v.t == rows[at].t)
                TRY(keep(p, &v, b, e));
        }
        b->n_commits++;
    }
    return ERR_OK;
}

static err_code take_commits(struct past *p, size_t n_commits, struct past_batch *b,
                             struct seen *seen, struct err *e)
{
    const size_t n_rows = p->log.len / sizeof(struct log_row);
    store_number *numbers = calloc(n_rows + 1, sizeof *numbers);
    size_t *ends = calloc(n_commits, sizeof *ends), n = 0;
    struct store_cursor *c = NULL;
    if (numbers == NULL || ends == NULL)
        abort();
    err_code rc = written_by(p, n_commits, seen, numbers, ends, &n, e);
    if (rc == ERR_OK)
        rc = store_scan_numbers(p->st, numbers, ends[n - 1], p->rows[p->at + n - 1].t, &c, e);
    if (rc == ERR_OK)
        rc = take_versions(p, c, ends, n, b, e);
    store_cursor_close(c);
    free(numbers);
    free(ends);
    return rc;
}

static err_code take_online(struct past *p, struct past_batch *b, struct err *e)
{
    const struct store_commit_row *first = &p->rows[p->at];
    uint64_t count = 0;
    size_t n = 0;
    while (p->at + n < p->n_rows && n < STORE_AGAIN_MOST && !first[n].is_load &&
           (n == 0 || count + first[n].count <= BATCH_ROWS))
        count += first[n++].count;
    TRY(read_log(p, first, &first[n - 1], count, e));
    struct seen seen = { .n = 2 * (p->log.len / sizeof(struct log_row)) + 1 };
    seen.slots = calloc(seen.n, sizeof *seen.slots);
    if (seen.slots == NULL)
        abort();
    err_code rc = take_commits(p, n, b, &seen, e);
    free(seen.slots);
    return rc;
}

/* ---- both ---- */

err_code past_next(struct past *p, struct past_batch *out, struct err *e)
{
    arena_reset(p->bytes);
    buf_clear(&p->versions);
    if (p->at == p->n_rows) {
        p->at = 0;
        TRY(store_commits(p->st, p->read_t, p->rows, ROWS, &p->n_rows, e));
        if (p->n_rows == 0)
            return ERR_EOF;
        p->read_t = p->rows[p->n_rows - 1].t;
    }
    *out = (struct past_batch){ .commits = &p->rows[p->at] };
    TRY(p->rows[p->at].is_load ? take_load(p, out, e) : take_online(p, out, e));
    out->versions = (const struct store_version *)(const void *)p->versions.ptr;
    p->at += out->n_commits;
    return ERR_OK;
}
