/* comparing.h - two data stores with one history give the same answers, whatever numbers they give
 * to resources: the whole of a type as of any commit, ranges, histories, what changed, the log. */
#pragma once
#include "test.h"

#include "store/last.h"
#include "store/store.h"

static fhir_type patient, observation; /* by their names, in main() */

static uint64_t rnd_state;
static inline unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}

/* A resource as "Type/id v<version> t<t> m<method> <body>", newest state as of t. */
static inline void print_version(struct buf *out, const struct store_version *v)
{
    OK(buf_add_fmt(out, e, "%s/%.*s v%llu t%llu m%d %.*s@%u/%d\n", fhir_type_name(v->type),
                   SV_FMT(v->id), (unsigned long long)v->version, (unsigned long long)v->t,
                   (int)v->method, SV_FMT(v->body.json), v->body.hole_at, (int)v->body.hole));
}

static inline void print_cursor(struct buf *out, struct store_cursor *c)
{
    static unsigned n;
    CLEANUP_BUF struct buf place = BUF_INIT(1 << 24);
    struct store_version v;
    err_code rc;
    struct err why;
    OK(buf_add(&place, SV_LIT("front"), e));
    /* now and then bodies are to stand behind what a buffer has */
    for (;;) {
        size_t gap = n % 100;
        store_cursor_place(c, n++ % 3 ? &place : NULL, gap);
        if ((rc = store_cursor_next(c, &v, &why)) != ERR_OK)
            break;
        if (v.placed)
            assert_ptr_equal(v.body.json.ptr, place.ptr + place.len + gap);
        print_version(out, &v);
    }
    assert_sv(buf_sv(&place), SV_LIT("front"));
    assert_int_equal(rc, ERR_EOF);
    store_cursor_close(c);
}

static inline void print_range(struct buf *out, struct store *st, const struct store_range *r,
                               uint64_t t)
{
    struct store_cursor *c;
    OK(store_scan(st, r, t, &c, e));
    print_cursor(out, c);
}

static inline void print_scan(struct buf *out, struct store *st, fhir_type type, uint64_t t)
{
    print_range(out, st, &(struct store_range){ .type = type }, t);
}

static inline const char *random_id(void)
{
    static char ids[8][24];
    static unsigned k;
    char *id = ids[k++ % 8];
    unsigned n = rnd(60);
    (void)snprintf(id, 24, n % 3 ? "p%u" : "%08x-long-id.%u", n % 3 ? n : n * 2654435761u, n);
    return id;
}

/* ---- rows of a cursor ---- */

/* Two stores give different numbers, so what they answer is compared without them and sorted. That
 * each answers in the order of its own numbers is looked at besides. */
struct rows {
    struct arena *a;
    struct {
        store_number number;
        sv text;
    } row[4096];
    size_t n;
};

static inline void rows_take(struct rows *r, struct store_cursor *c)
{
    struct store_version v;
    err_code rc;
    struct err why;
    while ((rc = store_cursor_next(c, &v, &why)) == ERR_OK) {
        CLEANUP_BUF struct buf line = BUF_INIT(4096);
        print_version(&line, &v);
        assert_true(number_type(v.number) == v.type && r->n < 4096);
        r->row[r->n].number = v.number;
        r->row[r->n++].text = arena_sv(r->a, buf_sv(&line));
    }
    assert_int_equal(rc, ERR_EOF);
    store_cursor_close(c);
}

static inline int by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

static inline void assert_same_rows(const struct rows *a, const struct rows *b)
{
    static sv x[4096], y[4096];
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        x[i] = a->row[i].text;
        y[i] = b->row[i].text;
        assert_true(i == 0 || a->row[i - 1].number < a->row[i].number);
        assert_true(i == 0 || b->row[i - 1].number < b->row[i].number);
    }
    qsort(x, a->n, sizeof x[0], by_text);
    qsort(y, b->n, sizeof y[0], by_text);
    for (size_t i = 0; i < a->n; i++)
        assert_sv(x[i], y[i]);
}

/* `some` are those of `all` that are in the range. */
static inline void assert_range(const struct rows *all, const struct store_range *r,
                                const struct rows *some)
{
    size_t k = 0;
    for (size_t i = 0; i < all->n; i++) {
        if (!store_range_has(r, all->row[i].number))
            continue;
        assert_true(k < some->n && some->row[k].number == all->row[i].number);
        assert_sv(some->row[k].text, all->row[i].text);
        k++;
    }
    assert_int_equal(k, some->n);
}

/* Bounds at, in front of and behind numbers that there are. */
static inline struct store_range random_range(const struct rows *all, fhir_type type)
{
    struct store_range r = { .type = type };
    if (all->n && rnd(2))
        r.from = all->row[rnd((unsigned)all->n)].number + rnd(2);
    if (all->n && rnd(2))
        r.to = all->row[rnd((unsigned)all->n)].number + rnd(2);
    return r;
}

static inline void compare_scans(struct store *a, struct store *b, fhir_type type, uint64_t t)
{
    static struct rows x, y, some;
    struct store_cursor *c;
    const struct store_range whole = { .type = type };
    struct arena *ar = arena_new(8 << 20);
    x = y = some = (struct rows){ .a = ar };
    OK(store_scan(a, &whole, t, &c, e));
    rows_take(&x, c);
    OK(store_scan(b, &whole, t, &c, e));
    rows_take(&y, c);
    assert_same_rows(&x, &y);
    struct store_range r = random_range(&y, type);
    OK(store_scan(b, &r, t, &c, e));
    rows_take(&some, c);
    assert_range(&y, &r, &some);
    arena_free(ar);
}

static inline int by_number(const void *a, const void *b)
{
    const store_number *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Numbers of some ids, and some that nothing has, ascending, each once. */
static inline size_t listed(struct store *st, fhir_type type, const sv *ids, size_t n,
                            store_number *out)
{
    size_t k = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct err why;
        store_number number;
        if (store_number_of(st, type, ids[i], &number, &why) != ERR_OK)
            continue;
        out[k++] = number;
        if (i % 4 == 0)
            out[k++] = number_make(number_b(number) + (1u << 20), type, number_k(number));
    }
    qsort(out, k, sizeof *out, by_number);
    for (size_t i = 0; i < k; i++)
        if (kept == 0 || out[kept - 1] != out[i])
            out[kept++] = out[i];
    return kept;
}

static inline void compare_listed(struct store *a, struct store *b, fhir_type type, uint64_t t)
{
    static struct rows x, y, back;
    struct store_cursor *c;
    struct arena *ar = arena_new(8 << 20);
    store_number of_a[160], of_b[80];
    sv ids[40];
    const size_t n = rnd(40);
    x = y = back = (struct rows){ .a = ar };
    for (size_t i = 0; i < n; i++)
        ids[i] = arena_sv(ar, sv_from(random_id()));
    OK(store_scan_numbers(a, of_a, listed(a, type, ids, n, of_a), t, &c, e));
    rows_take(&x, c);
    const size_t n_of_b = listed(b, type, ids, n, of_b);
    OK(store_scan_numbers(b, of_b, n_of_b, t, &c, e));
    rows_take(&y, c);
    assert_same_rows(&x, &y);
    /* the other way round, each twice */
    for (size_t i = 0; i < n_of_b; i++)
        of_a[2 * i] = of_a[2 * i + 1] = of_b[n_of_b - 1 - i];
    OK(store_scan_numbers(b, of_a, 2 * n_of_b, t, &c, e));
    rows_take(&back, c);
    assert_int_equal(back.n, 2 * y.n);
    for (size_t i = 0; i < back.n; i++)
        assert_sv(back.row[i].text, y.row[y.n - 1 - i / 2].text);
    arena_free(ar);
}

static inline void compare_changes(struct store *a, struct store *b, fhir_type type, uint64_t after,
                                   uint64_t t)
{
    static struct rows x, y, some, cut_up;
    struct store_cursor *c;
    const struct store_range whole = { .type = type };
    struct store_range *cut;
    size_t n_cut;
    struct arena *ar = arena_new(8 << 20);
    x = y = some = cut_up = (struct rows){ .a = ar };
    OK(store_changes(a, &whole, after, t, &c, e));
    rows_take(&x, c);
    OK(store_changes(b, &whole, after, t, &c, e));
    rows_take(&y, c);
    assert_same_rows(&x, &y);
    struct store_range r = random_range(&y, type);
    OK(store_changes(b, &r, after, t, &c, e));
    rows_take(&some, c);
    assert_range(&y, &r, &some);
    OK(store_changes_plan(b, type, after, t, 1 + rnd(300), ar, &cut, &n_cut, e));
    /* end to end they are all of the type */
    for (size_t i = 0; i < n_cut; i++) {
        assert_true(cut[i].from == (i ? cut[i - 1].to : 0));
        assert_true((cut[i].to == 0) == (i + 1 == n_cut));
        OK(store_changes(b, &cut[i], after, t, &c, e));
        rows_take(&cut_up, c);
    }
    assert_range(&y, &whole, &cut_up);
    arena_free(ar);
}

/* The whole log as lines "t type/id", by pages of at most max. */
static inline size_t log_lines(struct store *st, fhir_type type, uint64_t t, size_t max,
                               struct arena *ar, sv *lines)
{
    uint64_t from = t;
    store_number after = 0;
    size_t n = 0;
    for (;;) {
        struct store_log_row *l;
        size_t got;
        OK(store_log(st, type, from, after, max, ar, &l, &got, e));
        assert_true(got <= max);
        for (size_t i = 0; i < got; i++) {
            struct store_version v;
            assert_true(l[i].t < from || (l[i].t == from && l[i].number > after));
            OK(store_get_number(st, l[i].number, l[i].t, ar, &v, e));
            assert_true(v.t == l[i].t && v.type == type && v.number == l[i].number);
            assert_true(n < 8192);
            lines[n++] = arena_fmt(ar, "%llu %.*s", (unsigned long long)v.t, SV_FMT(v.id));
            from = l[i].t;
            after = l[i].number;
        }
        if (got < max)
            return n;
    }
}

static inline void compare_logs(struct store *a, struct store *b, fhir_type type, uint64_t t)
{
    static sv x[8192], y[8192];
    struct arena *ar = arena_new(64 << 20);
    size_t nx = log_lines(a, type, t, 8192, ar, x);
    size_t ny = log_lines(b, type, t, 1 + rnd(50), ar, y);
    assert_int_equal(nx, ny);
    qsort(x, nx, sizeof x[0], by_text);
    qsort(y, ny, sizeof y[0], by_text);
    for (size_t i = 0; i < nx; i++)
        assert_sv(y[i], x[i]);
    arena_free(ar);
}

/* One resource: what it is, what it was, and its number. */
static inline void compare_one(struct store *a, struct store *b, fhir_type type, sv id, uint64_t t)
{
    struct buf x = BUF_INIT(1 << 24), y = BUF_INIT(1 << 24);
    struct arena *ar = arena_new(4 << 20);
    struct store_cursor *ca, *cb;
    struct store_version va, vb, by_number;
    store_number number;
    struct err why;
    OK(store_history(a, type, id, t, &ca, e));
    OK(store_history(b, type, id, t, &cb, e));
    print_cursor(&x, ca);
    print_cursor(&y, cb);
    err_code ra = store_get(a, type, id, t, ar, &va, &why);
    assert_int_equal(ra, store_get(b, type, id, t, ar, &vb, &why));
    if (ra == ERR_OK) {
        print_version(&x, &va);
        print_version(&y, &vb);
        OK(store_number_of(b, type, id, &number, e));
        assert_true(number == vb.number);
        OK(store_get_number(b, number, t, ar, &by_number, e));
        assert_sv(by_number.id, id);
        assert_true(by_number.t == vb.t && by_number.version == vb.version);
    }
    assert_sv(buf_sv(&y), buf_sv(&x));
    arena_free(ar);
    buf_done(&x);
    buf_done(&y);
}

/* A range is touched when store_changes() finds something in it. */
static inline void check_touched(struct store *st, fhir_type type, uint64_t after, uint64_t t)
{
    struct arena *a = arena_new(16 << 20);
    struct store_range *r;
    size_t n;
    OK(store_plan(st, type, 1 + rnd(3000), a, &r, &n, e));
    bool *touched = arena_calloc(a, n + 1, sizeof *touched);
    OK(store_touched(st, r, n, after, t, touched, e));
    for (size_t i = 0; i < n; i++) {
        CLEANUP(store_cursor_close) struct store_cursor *c = NULL;
        struct store_version v;
        struct err why;
        OK(store_changes(st, &r[i], after, t, &c, e));
        assert_int_equal(touched[i], store_cursor_next(c, &v, &why) == ERR_OK);
    }
    arena_free(a);
}

static inline void compare(struct store *a, struct store *b)
{
    uint64_t last = last_of(a).t, t = rnd(3) ? last - rnd((unsigned)(last / 2 + 1)) : STORE_NOW;
    uint64_t after = rnd((unsigned)last + 1);
    assert_int_equal(last, last_of(b).t);
    bool ta[STORE_TYPES], tb[STORE_TYPES];
    OK(store_changed_types(a, after, t, ta, e));
    OK(store_changed_types(b, after, t, tb, e));
    assert_memory_equal(ta, tb, sizeof ta);
    for (int k = 0; k < 2; k++) {
        fhir_type type = k ? patient : observation;
        compare_scans(a, b, type, t);
        compare_listed(a, b, type, t);
        compare_changes(a, b, type, after, t);
        compare_logs(a, b, type, t);
        check_touched(a, type, after, t);
        check_touched(b, type, after, t);
        compare_one(a, b, type, sv_from(random_id()), t);
    }
}

/* Some neighbours among ranges, planned again: adjacent, and from the first's start to the last's
 * end. */
static inline void check_part(struct store *st, const struct store_range *r, size_t n,
                              struct arena *a)
{
    struct store_range *parts;
    size_t n_parts;
    if (n == 0)
        return;
    size_t first = rnd((unsigned)n), last = first + rnd((unsigned)(n - first));
    struct store_range part = { r[first].type, r[first].from, r[last].to };
    OK(store_plan_part(st, &part, 1 + rnd(2000), a, &parts, &n_parts, e));
    assert_true(n_parts > 0);
    for (size_t i = 0; i < n_parts; i++) {
        assert_int_equal(parts[i].type, part.type);
        assert_true(parts[i].from == (i ? parts[i - 1].to : part.from));
        assert_true(i == 0 || parts[i].from > parts[i - 1].from);
    }
    assert_true(parts[n_parts - 1].to == part.to);
}

/* Ranges of a plan: adjacent, ends open, and together the whole scan. */
static inline void check_plan(struct store *st, size_t target)
{
    struct arena *a = arena_new(16 << 20);
    for (int k = 0; k < 2; k++) {
        fhir_type type = k ? patient : observation;
        struct store_range *r;
        size_t n;
        OK(store_plan(st, type, target, a, &r, &n, e));
        struct buf whole = BUF_INIT(1 << 24), parts = BUF_INIT(1 << 24);
        print_scan(&whole, st, type, STORE_NOW);
        assert_true(n > 0 || whole.len == 0);
        for (size_t i = 0; i < n; i++) {
            assert_true(r[i].from == (i ? r[i - 1].to : 0));
            assert_true((i + 1 == n) == (r[i].to == 0));
            print_range(&parts, st, &r[i], STORE_NOW);
        }
        assert_sv(buf_sv(&parts), buf_sv(&whole));
        check_part(st, r, n, a);
        buf_done(&whole);
        buf_done(&parts);
    }
    arena_free(a);
}
