/* plan.c - a type's ids cut into ranges of about equal bytes.
 *
 * RocksDB tells the approximate size of a key range on disk; the ratio of JSON to disk bytes comes
 * from its table properties. A range that is too large is halved between its two bounds, read as
 * numbers of base 78 (the characters '-' to 'z', which hold every legal id) behind their common
 * prefix, until it is small enough or cannot be halved. Sizes are estimates; that ranges neither
 * overlap nor leave a gap is not: each begins where the one before it ends. */
#include "store/rocks/rocks_private.h"

#define LOW        '-'
#define BASE       ('z' - '-' + 1)
#define DIGITS     9u   /* BASE^9 < 2^63 */
#define DEPTH_MAX  600u /* halvings on one path */
#define RANGES_MAX 1000000u

struct planner {
    struct rocks *r;
    fhir_type type;
    double ratio; /* JSON bytes per byte on disk */
    size_t target;
    struct arena *a;
    struct buf bounds; /* of sv: where a new range begins */
};

static err_code size_of(const struct planner *p, sv from, sv to, double *out, struct err *e)
{
    struct key_bytes lo = key_id_bound(p->type, from);
    struct key_bytes hi =
        to.len ? key_id_bound(p->type, to) : key_id_bound((fhir_type)(p->type + 1), SV_NONE);
    const char *starts[] = { lo.ptr }, *ends[] = { hi.ptr };
    const size_t start_lens[] = { lo.len }, end_lens[] = { hi.len };
    uint64_t bytes = 0;
    char *bad = NULL;
    rocksdb_approximate_sizes_cf(p->r->db, p->r->cf[CF_VERSIONS], 1, starts, start_lens, ends,
                                 end_lens, &bytes, &bad);
    *out = (double)bytes * p->ratio;
    return rocks_error(bad, "planning ranges", e);
}

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

static uint64_t digits_of(sv s, size_t at)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < DIGITS; i++) {
        char c = at + i < s.len ? s.ptr[at + i] : LOW;
        unsigned d = c < LOW ? 0 : c > 'z' ? BASE - 1 : (unsigned)(c - LOW);
        v = v * BASE + d;
    }
    return v;
}

/* A string strictly between from and to (to empty: no upper end). False when there is none in
 * reach. */
static bool middle(struct arena *a, sv from, sv to, sv *out)
{
    size_t common = 0;
    while (common < from.len && common < to.len && from.ptr[common] == to.ptr[common])
        common++;
    if (common + DIGITS > FHIR_ID_MAX)
        return false;
    uint64_t top = 1;
    for (unsigned i = 0; i < DIGITS; i++)
        top *= BASE;
    uint64_t lo = digits_of(from, common), hi = to.len ? digits_of(to, common) : top;
    if (hi <= lo || hi - lo < 2)
        return false;
    uint64_t mid = lo + (hi - lo) / 2;
    char text[FHIR_ID_MAX];
    memcpy(text, from.ptr, common);
    size_t len = common + DIGITS;
    for (size_t i = len; i-- > common; mid /= BASE)
        text[i] = (char)(LOW + mid % BASE);
    while (len > common + 1 && text[len - 1] == LOW)
        len--;
    sv m = sv_make(text, len);
    if (sv_cmp(m, from) <= 0 || (to.len && sv_cmp(m, to) >= 0))
        return false;
    *out = arena_sv(a, m);
    return out->ptr != NULL;
}

/* Cut [from, to) further; its own start is a bound already. */
static err_code split(struct planner *p, sv from, sv to, double size, unsigned depth, struct err *e)
{
    sv mid;
    if (size <= (double)p->target || depth >= DEPTH_MAX ||
        p->bounds.len / sizeof(sv) >= RANGES_MAX || !middle(p->a, from, to, &mid))
        return ERR_OK;
    double left, right;
    TRY(size_of(p, from, mid, &left, e));
    TRY(size_of(p, mid, to, &right, e));
    /* nothing there: go on in the other half, with no range for this one */
    if (left <= 0)
        return split(p, mid, to, right, depth + 1, e);
    if (right <= 0)
        return split(p, from, mid, left, depth + 1, e);
    TRY(split(p, from, mid, left, depth + 1, e));
    TRY(buf_add(&p->bounds, sv_make(&mid, sizeof mid), e));
    return split(p, mid, to, right, depth + 1, e);
}

/* First (or last) id of the type; false when it has none. */
static bool end_id(struct planner *p, bool last, sv *out)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(ro, 1);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(p->r->db, ro, p->r->cf[CF_VERSIONS]);
    struct key_bytes k = key_id_bound((fhir_type)(p->type + (last ? 1 : 0)), SV_NONE);
    if (last)
        rocksdb_iter_seek_for_prev(it, k.ptr, k.len);
    else
        rocksdb_iter_seek(it, k.ptr, k.len);
    bool there = false;
    if (rocksdb_iter_valid(it)) {
        size_t len;
        const char *key = rocksdb_iter_key(it, &len);
        struct key_version_parts parts;
        if (key_version_split(sv_make(key, len), &parts) && parts.type == p->type) {
            *out = arena_sv(p->a, parts.id);
            there = out->ptr != NULL;
        }
    }
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    return there;
}

static err_code flush(struct rocks *r, struct err *e)
{
    rocksdb_flushoptions_t *fo = rocksdb_flushoptions_create();
    char *bad = NULL;
    rocksdb_flushoptions_set_wait(fo, 1);
    rocksdb_flush_cf(r->db, fo, r->cf[CF_VERSIONS], &bad);
    rocksdb_flushoptions_destroy(fo);
    return rocks_error(bad, "planning ranges", e);
}

err_code rocks_plan(struct store *st, fhir_type type, size_t target_bytes, struct arena *a,
                    struct store_range **out, size_t *n_out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct planner p = { .r = r, .type = type, .target = target_bytes ? target_bytes : 1, .a = a };
    sv first, last;
    if (!end_id(&p, false, &first) || !end_id(&p, true, &last)) {
        *out = NULL;
        *n_out = 0;
        return ERR_OK;
    }
    /* what is in memory only has no size yet */
    TRY(flush(r, e));
    p.ratio = json_per_disk(r);
    buf_init(&p.bounds, (RANGES_MAX + DEPTH_MAX) * sizeof(sv));
    double size;
    err_code rc = size_of(&p, SV_NONE, SV_NONE, &size, e);
    if (rc == ERR_OK)
        rc = split(&p, first, last, size, 0, e);
    size_t n = p.bounds.len / sizeof(sv) + 1;
    struct store_range *ranges = rc == ERR_OK ? arena_alloc(a, n * sizeof *ranges) : NULL;
    if (rc == ERR_OK && ranges == NULL)
        rc = arena_oom(a, e);
    if (rc == ERR_OK) {
        const sv *bounds = (const sv *)(const void *)p.bounds.ptr;
        for (size_t i = 0; i < n; i++)
            ranges[i] = (struct store_range){ .type = type,
                                              .from_id = i ? bounds[i - 1] : SV_NONE,
                                              .to_id = i + 1 < n ? bounds[i] : SV_NONE };
        *out = ranges;
        *n_out = n;
    }
    buf_done(&p.bounds);
    return rc;
}
