/* memory.c - the oracle: every version in one array, every answer by looking at all of it. Slow and
 * obviously right, behind one lock. */
#include "store/store_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "fhir/large.h"

struct mem_version {
    fhir_type type;
    char id[FHIR_ID_MAX];
    size_t id_len;
    struct store_commit commit;
    store_method method;
    char *json;
    struct fhir_body body; /* json.ptr is json */
    char *index;
    size_t index_len;
};

struct mem_note {
    char *key, *value;
    size_t key_len, len;
};

struct memory {
    struct store base;
    pthread_mutex_t lock;
    struct mem_version *versions; /* in order of t */
    size_t n, cap;
    struct store_commit *commits;
    size_t n_commits, cap_commits;
    struct mem_note *notes;
    size_t n_notes;
    int64_t floor_ms;
};

struct mem_bulk {
    struct store_bulk base;
    struct memory *m;
    struct mem_version *versions;
    size_t n;
};

static void *more(void *ptr, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return ptr;
    *cap = need * 2;
    ptr = realloc(ptr, *cap * size);
    if (ptr == NULL)
        abort();
    return ptr;
}

static char *copy(sv bytes)
{
    char *p = malloc(bytes.len ? bytes.len : 1);
    if (p == NULL)
        abort();
    if (bytes.len)
        memcpy(p, bytes.ptr, bytes.len);
    return p;
}

static struct mem_version version_of(fhir_type type, sv id, store_method method,
                                     const struct fhir_body *body, sv index)
{
    struct mem_version v = { .type = type, .id_len = id.len, .method = method };
    memcpy(v.id, id.ptr, id.len);
    if (method != STORE_METHOD_DELETE) {
        v.json = copy(body->json);
        v.body = *body;
        v.body.json.ptr = v.json;
        v.index = copy(index);
        v.index_len = index.len;
    }
    return v;
}

static void free_version(struct mem_version *v)
{
    free(v->json);
    free(v->index);
}

static sv id_of(const struct mem_version *v)
{
    return sv_make(v->id, v->id_len);
}

static bool is_of(const struct mem_version *v, fhir_type type, sv id)
{
    return v->type == type && sv_eq(id_of(v), id);
}

static void mem_close(struct store *st)
{
    struct memory *m = (struct memory *)st;
    for (size_t i = 0; i < m->n; i++)
        free_version(&m->versions[i]);
    for (size_t i = 0; i < m->n_notes; i++) {
        free(m->notes[i].key);
        free(m->notes[i].value);
    }
    free(m->versions);
    free(m->commits);
    free(m->notes);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static struct store_commit last_locked(const struct memory *m)
{
    return m->n_commits ? m->commits[m->n_commits - 1] : (struct store_commit){ 0, 0 };
}

static struct store_commit mem_last(struct store *st)
{
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    struct store_commit c = last_locked(m);
    pthread_mutex_unlock(&m->lock);
    return c;
}

static err_code mem_horizon(struct store *st, struct store_commit *out, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    struct store_commit c = last_locked(m);
    int64_t now = clock_wall_ms();
    int64_t instant = now > c.instant_ms ? now : c.instant_ms;
    if (instant < m->floor_ms)
        instant = m->floor_ms;
    m->floor_ms = instant;
    *out = (struct store_commit){ c.t, instant };
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

static struct store_commit next_locked(struct memory *m)
{
    struct store_commit c = last_locked(m);
    int64_t now = clock_wall_ms();
    c.t++;
    c.instant_ms = now > c.instant_ms ? now : c.instant_ms;
    if (c.instant_ms <= m->floor_ms)
        c.instant_ms = m->floor_ms + 1;
    m->commits = more(m->commits, &m->cap_commits, m->n_commits + 1, sizeof *m->commits);
    m->commits[m->n_commits++] = c;
    return c;
}

static void add_locked(struct memory *m, struct mem_version v, struct store_commit c)
{
    m->versions = more(m->versions, &m->cap, m->n + 1, sizeof *m->versions);
    v.commit = c;
    m->versions[m->n++] = v;
}

/* Newest version with t <= as_of, NULL when there is none; *rank is its version number. */
static const struct mem_version *find_locked(const struct memory *m, fhir_type type, sv id,
                                             uint64_t as_of, uint64_t *rank)
{
    const struct mem_version *found = NULL;
    *rank = 0;
    for (size_t i = 0; i < m->n && m->versions[i].commit.t <= as_of; i++)
        if (is_of(&m->versions[i], type, id)) {
            found = &m->versions[i];
            ++*rank;
        }
    return found;
}

static err_code mem_commit(struct store *st, struct store_write *w, size_t n,
                           struct store_commit *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    err_code rc = ERR_OK;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        uint64_t rank;
        const struct mem_version *v = find_locked(m, w[i].type, w[i].id, STORE_NOW, &rank);
        bool there = v && v->method != STORE_METHOD_DELETE;
        if (w[i].method == STORE_METHOD_DELETE && !there)
            rc = ERR(e, ERR_NOT_FOUND, "there is nothing to delete");
        else if ((w[i].condition == STORE_IF_ABSENT && v) ||
                 (w[i].condition == STORE_IF_VERSION && (!there || rank != w[i].if_version)) ||
                 (w[i].condition == STORE_IF_DELETED && (!v || there || rank != w[i].if_version)))
            rc = ERR(e, ERR_PRECONDITION, "the condition does not hold");
        else {
            w[i].version = rank + 1;
            w[i].existed = there;
        }
    }
    if (rc == ERR_OK) {
        *out = next_locked(m);
        for (size_t i = 0; i < n; i++)
            add_locked(m, version_of(w[i].type, w[i].id, w[i].method, &w[i].body, w[i].index),
                       *out);
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

/* ---- bulk ---- */

static err_code mem_bulk_begin(struct store *st, struct store_bulk **out, struct err *e)
{
    (void)e;
    struct mem_bulk *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    b->base.ops = st->ops;
    b->m = (struct memory *)st;
    *out = &b->base;
    return ERR_OK;
}

static err_code mem_bulk_fill(struct store_bulk *base, struct store_bulk_item *items, size_t n,
                              struct err *e)
{
    struct mem_bulk *b = (struct mem_bulk *)base;
    if (b->versions)
        return ERR(e, ERR_INTERNAL, "a bulk load is filled twice");
    n = store_items_sort(items, n);
    b->versions = calloc(n ? n : 1, sizeof *b->versions);
    if (b->versions == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        b->versions[b->n++] = version_of(items[i].type, items[i].id, STORE_METHOD_IMPORT,
                                         &items[i].body, items[i].index);
    return ERR_OK;
}

static err_code note_put_locked(struct memory *m, sv key, sv note)
{
    size_t i = 0;
    while (i < m->n_notes && !sv_eq(sv_make(m->notes[i].key, m->notes[i].key_len), key))
        i++;
    if (i == m->n_notes) {
        m->notes = realloc(m->notes, ++m->n_notes * sizeof *m->notes);
        if (m->notes == NULL)
            abort();
        m->notes[i] = (struct mem_note){ .key = copy(key), .key_len = key.len };
    }
    free(m->notes[i].value);
    m->notes[i].value = copy(note);
    m->notes[i].len = note.len;
    return ERR_OK;
}

static err_code mem_bulk_publish(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                                 struct store_commit *out, struct err *e)
{
    (void)e;
    struct memory *m = ((struct mem_bulk *)bulks[0])->m;
    pthread_mutex_lock(&m->lock);
    *out = last_locked(m);
    for (size_t k = 0; k < n; k++) {
        struct mem_bulk *b = (struct mem_bulk *)bulks[k];
        if (b->n)
            *out = next_locked(m);
        for (size_t i = 0; i < b->n; i++)
            add_locked(m, b->versions[i], *out);
        b->n = 0; /* they are the store's now */
    }
    if (note_key.len)
        (void)note_put_locked(m, note_key, note); /* cannot fail here */
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

static bool mem_is_crowded(struct store *st)
{
    (void)st;
    return false;
}

static void mem_bulk_abort(struct store_bulk *base)
{
    struct mem_bulk *b = (struct mem_bulk *)base;
    for (size_t i = 0; i < b->n; i++)
        free_version(&b->versions[i]);
    free(b->versions);
    free(b);
}

/* ---- notes ---- */

static err_code mem_note_get(struct store *st, sv key, struct buf *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    err_code rc = ERR(e, ERR_NOT_FOUND, "no such note");
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_notes; i++)
        if (sv_eq(sv_make(m->notes[i].key, m->notes[i].key_len), key))
            rc = buf_add(out, sv_make(m->notes[i].value, m->notes[i].len), e);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static err_code mem_note_put(struct store *st, sv key, sv note, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    err_code rc = note_put_locked(m, key, note);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static err_code mem_note_delete(struct store *st, sv key, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_notes; i++)
        if (sv_eq(sv_make(m->notes[i].key, m->notes[i].key_len), key)) {
            free(m->notes[i].key);
            free(m->notes[i].value);
            m->notes[i] = m->notes[--m->n_notes];
            break;
        }
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

/* ---- reading ---- */

static struct store_version shown(const struct mem_version *v, uint64_t rank)
{
    return (struct store_version){ .type = v->type,
                                   .id = id_of(v),
                                   .t = v->commit.t,
                                   .instant_ms = v->commit.instant_ms,
                                   .version = rank,
                                   .method = v->method,
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

static bool mem_is_near(struct store *st, fhir_type type, sv id)
{
    (void)st; /* every read walks all versions here */
    (void)type;
    (void)id;
    return false;
}

static err_code mem_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                        struct arena *a, struct store_version *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    uint64_t rank;
    pthread_mutex_lock(&m->lock);
    const struct mem_version *v = find_locked(m, type, id, as_of_t, &rank);
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

/* A cursor is a finished list, made when it is opened. */
struct mem_cursor {
    struct store_cursor base;
    struct arena *a;
    struct store_version *rows;
    size_t n, at;
};

static int by_id_then_new(const void *a, const void *b)
{
    const struct store_version *x = a, *y = b;
    int c = sv_cmp(x->id, y->id);
    return c ? c : x->t < y->t ? 1 : x->t > y->t ? -1 : 0;
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
    c->a = arena_new(SIZE_MAX / 2);
    pthread_mutex_lock(&m->lock);
    c->rows = calloc(m->n ? m->n : 1, sizeof *c->rows);
    if (c->rows == NULL)
        abort();
    err_code rc = ERR_OK;
    for (size_t i = 0; i < m->n && m->versions[i].commit.t <= as_of; i++) {
        const struct mem_version *v = &m->versions[i];
        if (v->type == type && (only_id.len == 0 || sv_eq(id_of(v), only_id)))
            c->rows[c->n++] = shown(v, 0);
    }
    qsort(c->rows, c->n, sizeof *c->rows, by_id_then_new);
    size_t kept = 0;
    for (size_t i = 0, end; i < c->n; i = end) { /* one id's versions, newest first */
        for (end = i; end < c->n && sv_eq(c->rows[end].id, c->rows[i].id);)
            end++;
        for (size_t k = i; k < end; k++) {
            struct store_version v = c->rows[k];
            v.version = end - k;
            if ((k == i || history) && pick(&v, ctx)) {
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
    return v->method != STORE_METHOD_DELETE && sv_cmp(v->id, r->from_id) >= 0 &&
           (r->to_id.len == 0 || sv_cmp(v->id, r->to_id) < 0);
}

struct after {
    const struct store_range *range;
    uint64_t t;
};

static bool pick_after(const struct store_version *v, const void *ctx)
{
    const struct after *x = ctx;
    return v->t > x->t && sv_cmp(v->id, x->range->from_id) >= 0 &&
           (x->range->to_id.len == 0 || sv_cmp(v->id, x->range->to_id) < 0);
}

static bool pick_all(const struct store_version *v, const void *ctx)
{
    (void)v;
    (void)ctx;
    return true;
}

static err_code mem_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                         struct store_cursor **out, struct err *e)
{
    return list((struct memory *)st, range->type, SV_NONE, as_of_t, false, pick_range, range, out,
                e);
}

static err_code mem_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                            struct store_cursor **out, struct err *e)
{
    return list((struct memory *)st, type, id, as_of_t, true, pick_all, NULL, out, e);
}

static err_code mem_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                            uint64_t upto_t, struct store_cursor **out, struct err *e)
{
    struct after x = { range, after_t };
    return list((struct memory *)st, range->type, SV_NONE, upto_t, false, pick_after, &x, out, e);
}

static err_code mem_cursor_next(struct store_cursor *base, struct store_version *out, struct err *e)
{
    struct mem_cursor *c = (struct mem_cursor *)base;
    if (c->at == c->n)
        return ERR_EOF;
    *out = c->rows[c->at++];
    return base->light ? lighten(c->a, out, e) : ERR_OK;
}

static void mem_cursor_close(struct store_cursor *base)
{
    struct mem_cursor *c = (struct mem_cursor *)base;
    arena_free(c->a);
    free(c->rows);
    free(c);
}

static int newest_first(const void *a, const void *b)
{
    const struct store_log_row *x = a, *y = b;
    return x->t < y->t ? 1 : x->t > y->t ? -1 : sv_cmp(x->id, y->id);
}

static err_code mem_log(struct store *st, fhir_type type, uint64_t from_t, sv after_id, size_t max,
                        struct arena *a, struct store_log_row **out, size_t *n_out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    size_t n = 0;
    pthread_mutex_lock(&m->lock);
    struct store_log_row *rows = arena_alloc(a, (m->n + 1) * sizeof *rows);
    for (size_t i = 0; i < m->n && rows; i++) {
        const struct mem_version *v = &m->versions[i];
        if (v->type == type &&
            (v->commit.t < from_t || (v->commit.t == from_t && sv_cmp(id_of(v), after_id) > 0)))
            rows[n++] = (struct store_log_row){ type, v->commit.t, arena_sv(a, id_of(v)) };
    }
    pthread_mutex_unlock(&m->lock);
    if (rows == NULL)
        return arena_oom(a, e);
    qsort(rows, n, sizeof *rows, newest_first);
    *out = rows;
    *n_out = n < max ? n : max;
    return ERR_OK;
}

/* ---- the index ---- */

struct mem_index {
    struct store_index_cursor base;
    struct arena *a;
    struct store_index_hit *rows;
    size_t n, at;
};

static int by_value_then_id(const void *a, const void *b)
{
    const struct store_index_hit *x = a, *y = b;
    int c = sv_cmp(x->value, y->value);
    c = c ? c : sv_cmp(x->id, y->id);
    return c ? c : x->t < y->t ? -1 : x->t > y->t;
}

static bool in_ranges(const struct search_driver *d, sv v)
{
    for (size_t i = 0; i < d->n; i++)
        if (sv_cmp(v, sv_make(d->ranges[i].from, d->ranges[i].from_len)) >= 0 &&
            (d->ranges[i].to_len == 0 ||
             sv_cmp(v, sv_make(d->ranges[i].to, d->ranges[i].to_len)) < 0))
            return true;
    return false;
}

static err_code mem_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                               sv after_value, sv after_id, uint64_t as_of_t,
                               struct store_index_cursor **out, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    struct mem_index *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->base.ops = m->base.ops;
    c->a = arena_new(SIZE_MAX / 2);
    size_t cap = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n && m->versions[i].commit.t <= as_of_t; i++) {
        const struct mem_version *v = &m->versions[i];
        sv rest = sv_make(v->index, v->index_len), value;
        uint16_t param;
        while (v->type == type && search_index_next(&rest, &param, &value)) {
            struct store_index_hit h = { value, id_of(v), v->commit.t };
            struct store_index_hit mark = { after_value, after_id, UINT64_MAX };
            if (param != d->param || !in_ranges(d, value) ||
                (after_value.len && by_value_then_id(&h, &mark) <= 0))
                continue;
            c->rows = more(c->rows, &cap, c->n + 1, sizeof *c->rows);
            c->rows[c->n++] =
                (struct store_index_hit){ arena_sv(c->a, value), arena_sv(c->a, h.id), h.t };
        }
    }
    pthread_mutex_unlock(&m->lock);
    if (c->n)
        qsort(c->rows, c->n, sizeof *c->rows, by_value_then_id);
    *out = &c->base;
    return ERR_OK;
}

static err_code mem_index_next(struct store_index_cursor *base, struct store_index_hit *out,
                               struct err *e)
{
    (void)e;
    struct mem_index *c = (struct mem_index *)base;
    if (c->at == c->n)
        return ERR_EOF;
    *out = c->rows[c->at++];
    return ERR_OK;
}

static void mem_index_seek(struct store_index_cursor *base, sv value, sv id)
{
    struct mem_index *c = (struct mem_index *)base;
    const struct store_index_hit to = { value, id, 0 };
    for (c->at = 0; c->at < c->n && by_value_then_id(&c->rows[c->at], &to) < 0; c->at++)
        ;
}

static void mem_index_close(struct store_index_cursor *base)
{
    struct mem_index *c = (struct mem_index *)base;
    arena_free(c->a);
    free(c->rows);
    free(c);
}

static bool has_entry(const struct mem_version *v, uint16_t want, sv begin)
{
    sv rest = sv_make(v->index, v->index_len), value;
    uint16_t param;
    while (search_index_next(&rest, &param, &value))
        if (param == want && sv_starts(value, begin))
            return true;
    return false;
}

static err_code mem_settle(struct store *st, const atomic_bool *halt, struct err *e)
{
    (void)st; /* it counts one by one each time */
    (void)halt;
    (void)e;
    return ERR_OK;
}

static err_code mem_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                          struct store_commit *at, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    uint64_t n = 0, rank;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        const struct mem_version *v = &m->versions[i];
        if (v->type == type && v->method != STORE_METHOD_DELETE &&
            find_locked(m, type, id_of(v), STORE_NOW, &rank) == v)
            n += param == 0 || has_entry(v, param, value);
    }
    *at = last_locked(m);
    *out = n;
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

static err_code mem_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
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

/* Two ranges, cut at the median id, so that callers meet a bound. */
/* Two ranges as soon as there are two ids. cur is taken. */
static err_code halves(fhir_type type, struct store_cursor *cur, struct arena *a,
                       struct store_range **out, size_t *n_out, struct err *e)
{
    struct mem_cursor *c = (struct mem_cursor *)cur;
    size_t n = c->n == 0 ? 0 : c->n == 1 ? 1 : 2;
    struct store_range *r = arena_calloc(a, n + 1, sizeof *r);
    sv mid = n == 2 ? arena_sv(a, c->rows[c->n / 2].id) : SV_NONE;
    err_code rc = r == NULL || (n == 2 && mid.ptr == NULL) ? arena_oom(a, e) : ERR_OK;
    for (size_t i = 0; i < n && rc == ERR_OK; i++)
        r[i] = (struct store_range){ type, i ? mid : SV_NONE, i + 1 < n ? mid : SV_NONE };
    mem_cursor_close(cur);
    if (rc == ERR_OK) {
        *out = r;
        *n_out = n;
    }
    return rc;
}

static err_code mem_plan(struct store *st, fhir_type type, size_t target_bytes, struct arena *a,
                         struct store_range **out, size_t *n_out, struct err *e)
{
    struct store_cursor *cur;
    (void)target_bytes;
    TRY(list((struct memory *)st, type, SV_NONE, STORE_NOW, false, pick_all, NULL, &cur, e));
    return halves(type, cur, a, out, n_out, e);
}

static err_code mem_changes_plan(struct store *st, fhir_type type, uint64_t after_t,
                                 uint64_t upto_t, size_t target_bytes, struct arena *a,
                                 struct store_range **out, size_t *n_out, struct err *e)
{
    struct store_cursor *cur;
    struct store_range all = { .type = type };
    (void)target_bytes;
    TRY(mem_changes(st, &all, after_t, upto_t, &cur, e));
    return halves(type, cur, a, out, n_out, e);
}

static err_code mem_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
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

static err_code mem_stats(struct store *st, struct store_stats *out, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    *out = (struct store_stats){ 0, m->n };
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

static unsigned mem_index_form(struct store *st)
{
    (void)st;
    return SEARCH_INDEX_FORM; /* nothing in it is older than the process */
}

static void mem_weigh(struct store *st, struct store_weight *out)
{
    (void)st; /* what it holds can be written nowhere */
    *out = (struct store_weight){ 0 };
}

static err_code mem_flush(struct store *st, struct err *e)
{
    (void)st;
    (void)e;
    return ERR_OK;
}

static const struct store_ops memory_ops = {
    .close = mem_close,
    .last = mem_last,
    .horizon = mem_horizon,
    .commit = mem_commit,
    .bulk_begin = mem_bulk_begin,
    .bulk_fill = mem_bulk_fill,
    .bulk_publish = mem_bulk_publish,
    .bulk_abort = mem_bulk_abort,
    .is_crowded = mem_is_crowded,
    .note_get = mem_note_get,
    .note_put = mem_note_put,
    .note_delete = mem_note_delete,
    .is_near = mem_is_near,
    .get = mem_get,
    .scan = mem_scan,
    .cursor_next = mem_cursor_next,
    .cursor_close = mem_cursor_close,
    .history = mem_history,
    .changes = mem_changes,
    .changes_plan = mem_changes_plan,
    .changed_types = mem_changed_types,
    .log = mem_log,
    .index_scan = mem_index_scan,
    .index_next = mem_index_next,
    .index_seek = mem_index_seek,
    .index_close = mem_index_close,
    .settle = mem_settle,
    .index_form = mem_index_form,
    .count = mem_count,
    .commit_at = mem_commit_at,
    .plan = mem_plan,
    .stats = mem_stats,
    .weigh = mem_weigh,
    .flush = mem_flush,
};

err_code memory_open(struct store_env *env, void *own, const char *place, bool create,
                     unsigned n_files, struct store **out, struct err *e)
{
    (void)env;
    (void)own;
    (void)n_files;
    if (place[0])
        return ERR(e, ERR_INVALID, "a store in memory has no place: its URI is memory:");
    if (!create)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        abort();
    m->base.ops = &memory_ops;
    m->floor_ms = INT64_MIN;
    pthread_mutex_init(&m->lock, NULL);
    *out = &m->base;
    return ERR_OK;
}
