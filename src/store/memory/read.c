/* read.c - what is asked of the oracle: one resource, cursors, the log, plans.
 *
 * A cursor is a finished list, made when it is opened: all versions of the type as of T, sorted, of
 * which the wanted ones are kept. */
#include "store/memory/memory_private.h"

#include "fhir/large.h"

err_code mem_last(struct store *st, struct store_commit *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    (void)e;
    pthread_mutex_lock(&m->lock);
    *out = mem_last_locked(m);
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

err_code mem_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                       struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    *out = (struct store_commit){ 0, 0 };
    for (size_t i = 0; i < m->n_commits && m->commits[i].instant_ms <= instant_ms; i++)
        *out = m->commits[i];
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

/* ---- one resource ---- */

static struct store_version shown(const struct mem_version *v, uint64_t rank)
{
    return (struct store_version){ .type = v->type,
                                   .id = mem_id_of(v),
                                   .number = v->number,
                                   .t = v->commit.t,
                                   .instant_ms = v->commit.instant_ms,
                                   .version = rank,
                                   .method = v->method,
                                   .erased = v->erased,
                                   .body = v->body };
}

static err_code deep_copy(struct arena *a, struct store_version *v, struct err *e)
{
    v->id = arena_sv(a, v->id);
    if (v->body.json.len)
        v->body.json = arena_sv(a, v->body.json);
    return v->id.ptr && (v->method == STORE_METHOD_DELETE || v->body.json.ptr) ? ERR_OK
                                                                               : arena_oom(a, e);
}

/* v's body lives in a. */
static err_code lighten(struct arena *a, struct store_version *v, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(2 * FHIR_CUT_MAX);
    struct fhir_body cut;
    if (v->body.json.len <= LIMIT_WHOLE_BYTES)
        return ERR_OK;
    TRY(fhir_body_cut(&v->body, &b, &cut, e));
    v->left_out = v->body.json.len - cut.json.len;
    cut.json = arena_sv(a, cut.json);
    v->body = cut;
    return cut.json.ptr ? ERR_OK : arena_oom(a, e);
}

bool mem_is_near(struct store *st, store_number number)
{
    /* every read walks all versions here */
    (void)st;
    (void)number;
    return false;
}

err_code mem_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                 struct arena *a, struct store_version *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    uint64_t rank;
    pthread_mutex_lock(&m->lock);
    const struct mem_version *v = mem_find_locked(m, type, id, as_of_t, &rank);
    if (v && v->erased)
        v = NULL;
    err_code rc = v ? ERR_OK : ERR(e, ERR_NOT_FOUND, "no such resource");
    if (v) {
        struct store_version s = shown(v, rank);
        rc = light ? lighten(a, &s, e) : ERR_OK;
        if (rc == ERR_OK)
            rc = deep_copy(a, &s, e);
        if (rc == ERR_OK)
            *out = s;
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

err_code mem_number_of(struct store *st, fhir_type type, sv id, store_number *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    uint64_t rank;
    pthread_mutex_lock(&m->lock);
    const struct mem_version *v = mem_find_locked(m, type, id, STORE_NOW, &rank);
    if (v)
        *out = v->number;
    pthread_mutex_unlock(&m->lock);
    return v ? ERR_OK : ERR(e, ERR_NOT_FOUND, "no such resource");
}

err_code mem_get_number(struct store *st, store_number number, uint64_t as_of_t, bool light,
                        struct arena *a, struct store_version *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    const struct mem_version *any = NULL;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n && any == NULL; i++)
        if (m->versions[i].number == number)
            any = &m->versions[i];
    /* versions may move, ids do not change */
    struct mem_version of = any ? *any : (struct mem_version){ .type = 0 };
    pthread_mutex_unlock(&m->lock);
    /* one whose resource was erased has no id any more */
    return any && of.id_len ? mem_get(st, of.type, mem_id_of(&of), as_of_t, light, a, out, e)
                            : ERR(e, ERR_NOT_FOUND, "no such resource");
}

/* ---- cursors ---- */

/* A cursor is a finished list, made when it is opened. */
struct mem_cursor {
    struct store_cursor base;
    struct arena *a;
    struct store_version *rows;
    size_t n, at;
};

static int by_number_then_new(const void *a, const void *b)
{
    const struct store_version *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->t < y->t ? 1 : x->t > y->t ? -1 : 0;
}

typedef bool (*pick_fn)(const struct store_version *newest, const void *ctx);

/* All versions (history) or the current one of each id of a type, as of as_of, that pick wants. */
static err_code list(struct memory *m, fhir_type type, sv only_id, uint64_t as_of, bool history,
                     pick_fn pick, const void *ctx, struct store_cursor **out, struct err *e)
{
    struct mem_cursor *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->base.ops = m->base.ops;
    c->a = arena_new(MEMORY_ANSWER_MAX);
    pthread_mutex_lock(&m->lock);
    c->rows = calloc(m->n ? m->n : 1, sizeof *c->rows);
    if (c->rows == NULL)
        abort();
    err_code rc = ERR_OK;
    for (size_t i = 0; i < m->n && m->versions[i].commit.t <= as_of; i++) {
        const struct mem_version *v = &m->versions[i];
        if (v->type == type && v->id_len && (only_id.len == 0 || sv_eq(mem_id_of(v), only_id)))
            c->rows[c->n++] = shown(v, 0);
    }
    qsort(c->rows, c->n, sizeof *c->rows, by_number_then_new);
    size_t kept = 0;
    /* one resource's versions, newest first */
    for (size_t i = 0, end; i < c->n; i = end) {
        for (end = i; end < c->n && c->rows[end].number == c->rows[i].number;)
            end++;
        for (size_t k = i; k < end; k++) {
            struct store_version v = c->rows[k];
            v.version = end - k;
            if ((history || (k == i && !v.erased)) && pick(&v, ctx)) {
                if (rc == ERR_OK)
                    rc = deep_copy(c->a, &v, e);
                c->rows[kept++] = v;
            }
        }
    }
    c->n = kept;
    pthread_mutex_unlock(&m->lock);
    *out = &c->base;
    return rc;
}

static bool pick_range(const struct store_version *v, const void *ctx)
{
    const struct store_range *r = ctx;
    return v->method != STORE_METHOD_DELETE && store_range_has(r, v->number);
}

struct after {
    const struct store_range *range;
    uint64_t t;
};

static bool pick_after(const struct store_version *v, const void *ctx)
{
    const struct after *x = ctx;
    return v->t > x->t && store_range_has(x->range, v->number);
}

static bool pick_all(const struct store_version *v, const void *ctx)
{
    (void)v;
    (void)ctx;
    return true;
}

err_code mem_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                  struct store_cursor **out, struct err *e)
{
    return list((struct memory *)st, range->type, SV_NONE, as_of_t, false, pick_range, range, out,
                e);
}

err_code mem_scan_numbers(struct store *st, const store_number *numbers, size_t n, uint64_t as_of_t,
                          struct store_cursor **out, struct err *e)
{
    struct mem_cursor *c = calloc(1, sizeof *c);
    err_code rc = ERR_OK;
    if (c == NULL)
        abort();
    c->base.ops = st->ops;
    c->a = arena_new(MEMORY_ANSWER_MAX);
    c->rows = calloc(n ? n : 1, sizeof *c->rows);
    if (c->rows == NULL)
        abort();
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        rc = mem_get_number(st, numbers[i], as_of_t, false, c->a, &c->rows[c->n], e);
        c->n += rc == ERR_OK;
        if (rc == ERR_NOT_FOUND)
            rc = ERR_OK;
    }
    *out = &c->base;
    return rc;
}

err_code mem_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                     struct store_cursor **out, struct err *e)
{
    return list((struct memory *)st, type, id, as_of_t, true, pick_all, NULL, out, e);
}

err_code mem_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                     uint64_t upto_t, struct store_cursor **out, struct err *e)
{
    struct after x = { range, after_t };
    return list((struct memory *)st, range->type, SV_NONE, upto_t, false, pick_after, &x, out, e);
}

err_code mem_cursor_next(struct store_cursor *base, struct store_version *out, struct err *e)
{
    struct mem_cursor *c = (struct mem_cursor *)base;
    if (c->at == c->n)
        return ERR_EOF;
    *out = c->rows[c->at++];
    return base->light ? lighten(c->a, out, e) : ERR_OK;
}

void mem_cursor_rest(struct store_cursor *base)
{
    /* all is in memory anyway */
    (void)base;
}

void mem_cursor_close(struct store_cursor *base)
{
    struct mem_cursor *c = (struct mem_cursor *)base;
    arena_free(c->a);
    free(c->rows);
    free(c);
}

static int newest_first(const void *a, const void *b)
{
    const struct store_log_row *x = a, *y = b;
    if (x->t != y->t)
        return x->t < y->t ? 1 : -1;
    return x->number < y->number ? -1 : x->number > y->number;
}

err_code mem_log(struct store *st, fhir_type type, uint64_t from_t, store_number after, size_t max,
                 struct arena *a, struct store_log_row **out, size_t *n_out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    size_t n = 0;
    pthread_mutex_lock(&m->lock);
    struct store_log_row *rows = arena_alloc(a, (m->n + 1) * sizeof *rows);
    for (size_t i = 0; i < m->n && rows; i++) {
        const struct mem_version *v = &m->versions[i];
        if (v->type == type &&
            (v->commit.t < from_t || (v->commit.t == from_t && v->number > after)))
            rows[n++] = (struct store_log_row){ v->commit.t, v->number };
    }
    pthread_mutex_unlock(&m->lock);
    if (rows == NULL)
        return arena_oom(a, e);
    qsort(rows, n, sizeof *rows, newest_first);
    *out = rows;
    *n_out = n < max ? n : max;
    return ERR_OK;
}

/* ---- plans and types ---- */

/* Two ranges, cut at the median, as soon as there are two resources: callers meet a bound. cur is
 * taken. */
static err_code halves(fhir_type type, struct store_cursor *cur, struct arena *a,
                       struct store_range **out, size_t *n_out, struct err *e)
{
    struct mem_cursor *c = (struct mem_cursor *)cur;
    size_t n = c->n == 0 ? 0 : c->n == 1 ? 1 : 2;
    struct store_range *r = arena_calloc(a, n + 1, sizeof *r);
    store_number mid = n == 2 ? c->rows[c->n / 2].number : 0;
    err_code rc = r == NULL ? arena_oom(a, e) : ERR_OK;
    for (size_t i = 0; i < n && rc == ERR_OK; i++)
        r[i] = (struct store_range){ type, i ? mid : 0, i + 1 < n ? mid : 0 };
    mem_cursor_close(cur);
    if (rc == ERR_OK) {
        *out = r;
        *n_out = n;
    }
    return rc;
}

err_code mem_plan(struct store *st, const struct store_range *part, size_t target_bytes,
                  struct arena *a, struct store_range **out, size_t *n_out, struct err *e)
{
    struct store_cursor *cur;
    (void)target_bytes;
    if (part->from || part->to) {
        struct store_range *one = arena_alloc(a, sizeof *one);
        if (one == NULL)
            return arena_oom(a, e);
        *one = *part;
        *out = one;
        *n_out = 1;
        return ERR_OK;
    }
    TRY(list((struct memory *)st, part->type, SV_NONE, STORE_NOW, false, pick_all, NULL, &cur, e));
    return halves(part->type, cur, a, out, n_out, e);
}

err_code mem_changes_plan(struct store *st, fhir_type type, uint64_t after_t, uint64_t upto_t,
                          size_t target_bytes, struct arena *a, struct store_range **out,
                          size_t *n_out, struct err *e)
{
    struct store_cursor *cur;
    struct store_range all = { .type = type };
    (void)target_bytes;
    TRY(mem_changes(st, &all, after_t, upto_t, &cur, e));
    return halves(type, cur, a, out, n_out, e);
}

err_code mem_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                           bool changed[STORE_TYPES], struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    memset(changed, 0, STORE_TYPES * sizeof changed[0]);
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++)
        if (m->versions[i].commit.t > after_t && m->versions[i].commit.t <= upto_t)
            changed[m->versions[i].type] = true;
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

err_code mem_touched(struct store *st, const struct store_range *ranges, size_t n, uint64_t after_t,
                     uint64_t upto_t, bool *touched, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < n; k++)
            if (m->versions[i].type == ranges[k].type && m->versions[i].commit.t > after_t &&
                m->versions[i].commit.t <= upto_t &&
                store_range_has(&ranges[k], m->versions[i].number))
                touched[k] = true;
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}
