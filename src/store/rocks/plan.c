/* plan.c - a type's numbers cut into ranges of about equal bytes.
 *
 * Resources of a type stand in stretches: one for each load that gave birth to some, and one for
 * each block of online births. Of a load's stretch the births say how many resources and bytes it
 * has. Of a block RocksDB tells the approximate size on disk, and the ratio of JSON to disk bytes
 * comes from its table properties. Stretches are laid end to end and cut where the bytes are
 * enough, within a stretch as if its resources were all of one size. Sizes are estimates; that
 * ranges neither overlap nor leave a gap is not: each begins where the one before it ends. */
#include "store/rocks/rocks_private.h"

#define RANGES_MAX 1000000u

struct stretch {
    uint64_t b;
    uint32_t n; /* resources */
    double bytes;
};

struct planner {
    struct rocks *r;
    fhir_type type;
    struct store_range part; /* of the type's numbers */
    struct buf stretches;    /* struct stretch */
};

/* ---- stretches of loads ---- */

/* births_fn */
static err_code add_load(void *ctx, const struct bulk_load *load, const struct births *x,
                         struct err *e)
{
    struct planner *p = ctx;
    struct stretch s = { load->b, x->n, (double)x->json_bytes };
    return buf_add(&p->stretches, sv_make(&s, sizeof s), e);
}

/* ---- stretches of online births ---- */

/* "name=123" or "name: 123" somewhere in RocksDB's list of properties; 0 when it is not there. */
static double number_after(const char *text, const char *name)
{
    const char *p = text ? strstr(text, name) : NULL;
    if (p == NULL)
        return 0;
    p += strlen(name);
    while (*p == '=' || *p == ':' || *p == ' ')
        p++;
    return strtod(p, NULL);
}

static double json_per_disk(struct rocks *r)
{
    char *text =
        rocksdb_property_value_cf(r->db, r->cf[CF_VERSIONS], "rocksdb.aggregated-table-properties");
    double raw = number_after(text, "raw value size"), disk = number_after(text, "data block size");
    rocksdb_free(text);
    return raw > 0 && disk > 0 ? raw / disk : 1;
}

static err_code size_of(struct rocks *r, store_number from, store_number to, double *out,
                        struct err *e)
{
    struct key_bytes lo = key_number(from), hi = key_number(to);
    const char *starts[] = { lo.ptr }, *ends[] = { hi.ptr };
    const size_t start_lens[] = { lo.len }, end_lens[] = { hi.len };
    uint64_t bytes = 0;
    char *bad = NULL;
    rocksdb_approximate_sizes_cf(r->db, r->cf[CF_VERSIONS], 1, starts, start_lens, ends, end_lens,
                                 &bytes, &bad);
    *out = (double)bytes;
    return rocks_error(bad, "planning ranges", e);
}

/* The last number of a block that has a version; 0: there is none. */
static store_number last_of(rocksdb_iterator_t *it, uint64_t b, fhir_type type)
{
    struct key_bytes behind = key_number(number_make(b, type, 0) + NUMBER_K_MOST);
    struct key_version_parts p;
    size_t len;
    rocksdb_iter_seek_for_prev(it, behind.ptr, behind.len);
    if (!rocksdb_iter_valid(it))
        return 0;
    const char *k = rocksdb_iter_key(it, &len);
    return key_version_split(sv_make(k, len), &p) && number_b(p.number) == b &&
                   number_type(p.number) == type
               ? p.number
               : 0;
}

static err_code add_block(struct planner *p, rocksdb_iterator_t *it, uint64_t b, double *ratio,
                          struct err *e)
{
    struct stretch s = { .b = b };
    store_number last = last_of(it, b, p->type);
    if (last == 0)
        return ERR_OK;
    /* what is in memory only has no size yet */
    if (*ratio == 0) {
        TRY(rocks_flush_family(p->r, CF_VERSIONS, e));
        *ratio = json_per_disk(p->r);
    }
    TRY(size_of(p->r, number_make(b, p->type, 0), last + 1, &s.bytes, e));
    s.bytes *= *ratio;
    s.n = number_k(last) + 1;
    return buf_add(&p->stretches, sv_make(&s, sizeof s), e);
}

static err_code add_blocks(struct planner *p, struct err *e)
{
    struct rocks *r = p->r;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create(), *all = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(all, 1);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    rocksdb_iterator_t *versions = rocksdb_create_iterator_cf(r->db, all, r->cf[CF_VERSIONS]);
    double ratio = 0;
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, "o", 1); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t len;
        const char *k = rocksdb_iter_key(it, &len);
        if (len != 9 || k[0] != 'o')
            break;
        rc = add_block(p, versions, key_get_u64(k + 1), &ratio, e);
    }
    rc = rocks_iterator_end(versions, all, rc, e);
    return rocks_iterator_end(it, ro, rc, e);
}

/* ---- cutting ---- */

static int by_b(const void *x_, const void *y_)
{
    const struct stretch *x = x_, *y = y_;
    return x->b < y->b ? -1 : x->b > y->b;
}

/* Which of a stretch's numbers are in the part: k from *lo to *hi - 1. */
static void clip(const struct planner *p, const struct stretch *s, uint32_t *lo, uint32_t *hi)
{
    const store_number first = number_make(s->b, p->type, 0);
    const store_number from = p->part.from, to = p->part.to;
    *lo = from <= first ? 0 : from - first < s->n ? (uint32_t)(from - first) : s->n;
    *hi = to == 0 ? s->n : to <= first ? 0 : to - first < s->n ? (uint32_t)(to - first) : s->n;
}

/* Where new ranges begin, appended to bounds. */
static err_code cut(const struct planner *p, size_t target_bytes, struct buf *bounds, struct err *e)
{
    const struct stretch *s = (const struct stretch *)(const void *)p->stretches.ptr;
    const double target = target_bytes ? (double)target_bytes : 1;
    double have = 0; /* of the range that is under way */
    for (size_t i = 0; i < p->stretches.len / sizeof *s; i++) {
        double each = s[i].bytes / s[i].n + FHIR_SPLICE_MAX;
        uint32_t k, end;
        clip(p, &s[i], &k, &end);
        while (k < end) {
            double fit = (target - have) / each;
            /* a range has one resource at least */
            uint32_t take = have > 0 ? 0 : 1;
            if (fit > take)
                take = fit < end - k ? (uint32_t)fit : end - k;
            have += take * each;
            k += take;
            if (k == end || bounds->len / sizeof(store_number) >= RANGES_MAX)
                break;
            store_number at = number_make(s[i].b, p->type, k);
            TRY(buf_add(bounds, sv_make(&at, sizeof at), e));
            have = 0;
        }
    }
    return ERR_OK;
}

/* The type has no births that a plan can see, but a version under a number of a load that was never
 * published. */
static bool has_versions(struct rocks *r, fhir_type type)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_CHANGES]);
    const char first = (char)type;
    size_t len;
    rocksdb_iter_seek(it, &first, 1);
    bool there = rocksdb_iter_valid(it) && rocksdb_iter_key(it, &len)[0] == first;
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    return there;
}

static err_code make_ranges(const struct planner *p, const struct buf *bounds, struct arena *a,
                            struct store_range **out, size_t *n_out, struct err *e)
{
    const store_number *at = (const store_number *)(const void *)bounds->ptr;
    size_t n = bounds->len / sizeof *at + 1;
    struct store_range *ranges = arena_alloc(a, n * sizeof *ranges);
    if (ranges == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++)
        ranges[i] = (struct store_range){ .type = p->type,
                                          .from = i ? at[i - 1] : p->part.from,
                                          .to = i + 1 < n ? at[i] : p->part.to };
    *out = ranges;
    *n_out = n;
    return ERR_OK;
}

err_code rocks_plan(struct store *st, const struct store_range *part, size_t target_bytes,
                    struct arena *a, struct store_range **out, size_t *n_out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    const fhir_type type = part->type;
    struct planner p = {
        .r = r, .type = type, .part = *part, .stretches = BUF_INIT(ROCKS_ROWS_MAX)
    };
    CLEANUP_BUF struct buf bounds = BUF_INIT((RANGES_MAX + 1) * sizeof(store_number));
    *out = NULL;
    *n_out = 0;
    struct load_table *loads = load_table_ref(r);
    err_code rc = births_each(r, loads, type, add_load, &p, e);
    load_table_unref(loads);
    if (rc == ERR_OK)
        rc = add_blocks(&p, e);
    size_t n = p.stretches.len / sizeof(struct stretch);
    if (n)
        qsort(p.stretches.ptr, n, sizeof(struct stretch), by_b);
    if (rc == ERR_OK)
        rc = cut(&p, target_bytes, &bounds, e);
    buf_done(&p.stretches);
    TRY(rc);
    return n || part->from || part->to || has_versions(r, type)
               ? make_ranges(&p, &bounds, a, out, n_out, e)
               : ERR_OK;
}
