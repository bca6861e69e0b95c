/* sums.c - what a data store holds as of a commit: of each type the number and the digest of its
 * current resources and of all their versions.
 *
 * The family of versions is read once, in its own order. All versions of a number stand together;
 * those that the commit does not see are passed over. A version number of a load is its rank (I5),
 * as for every reader. Neither digest depends on the order of the resources. */
#include "store/rocks/copy/copy_private.h"

#define READAHEAD  (1u << 20)
#define LOOK_EVERY 1024u /* versions, between two looks at halt */

struct version_row {
    uint64_t t;
    int64_t instant_ms;
    uint64_t version; /* of an online one */
    struct fhir_digest body;
    uint32_t hole_at;
    uint8_t hole, method;
    bool online, erased;
};

struct summing {
    const struct load_table *loads;
    struct store_sums *out;
    store_number number; /* under way; 0: none */
    char id[FHIR_ID_MAX];
    size_t id_len;
    struct buf rows; /* struct version_row */
};

static int by_commit(const void *a, const void *b)
{
    const struct version_row *x = a, *y = b;
    return x->t < y->t ? -1 : x->t > y->t;
}

static void add_version_text(struct summing *s, struct store_sum *sum,
                             const struct version_row *row, uint64_t version)
{
    char text[FHIR_ID_MAX + 64];
    const uint64_t numbers[] = { row->t,         (uint64_t)row->instant_ms,
                                 version,        row->hole_at,
                                 row->body.w[0], row->body.w[1] };
    size_t n = s->id_len;
    memcpy(text, s->id, n);
    text[n++] = 0;
    text[n++] = (char)row->method;
    text[n++] = (char)row->online;
    text[n++] = (char)row->hole;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++, n += 8)
        key_put_u64(text + n, numbers[i]);
    fhir_digest_text(&sum->versions, sv_make(text, n));
}
_Static_assert(4 + 6 * 8 <= 64, "what stands behind an id fits");

static void end_number(struct summing *s)
{
    struct version_row *rows = (struct version_row *)(void *)s->rows.ptr;
    const size_t n = s->rows.len / sizeof *rows;
    uint64_t version = 0;
    if (n == 0)
        return;
    struct store_sum *sum = &s->out->of[number_type(s->number)];
    if (n > 1)
        qsort(rows, n, sizeof *rows, by_commit);
    for (size_t i = 0; i < n; i++) {
        version = rows[i].online ? rows[i].version : version + 1;
        if (rows[i].erased)
            continue;
        add_version_text(s, sum, &rows[i], version);
        sum->n_versions++;
    }
    if (rows[n - 1].method != STORE_METHOD_DELETE) {
        sum->n_resources++;
        fhir_digest_add(&sum->content, &rows[n - 1].body);
    }
}

static err_code see_version(struct summing *s, sv k, sv v, struct err *e)
{
    struct key_version_parts key;
    struct value_head head;
    if (!key_version_split(k, &key) || !value_split(v, &head) || head.id.len > FHIR_ID_MAX)
        return rocks_damaged(e);
    if (key.number != s->number) {
        end_number(s);
        buf_clear(&s->rows);
        s->number = key.number;
        s->id_len = 0;
    }
    if (!head.erased && s->id_len == 0) {
        s->id_len = head.id.len;
        memcpy(s->id, head.id.ptr, head.id.len);
    }
    struct version_row row = { .t = key.n,
                               .instant_ms = head.instant_ms,
                               .version = head.version,
                               .hole_at = head.body.hole_at,
                               .hole = (uint8_t)head.body.hole,
                               .method = (uint8_t)head.method,
                               .online = key.kind == KEY_ONLINE,
                               .erased = head.erased };
    if (key.kind == KEY_BULK) {
        const struct bulk_load *load = load_table_find(s->loads, key.n);
        if (load == NULL)
            return ERR_OK;
        row.t = load->t;
        row.instant_ms = load->instant_ms;
    }
    if (row.t > s->out->at.t)
        return ERR_OK;
    if (head.method != STORE_METHOD_DELETE)
        fhir_digest_body(&row.body, &head.body);
    return buf_add(&s->rows, sv_make(&row, sizeof row), e);
}

err_code sums_read(const struct rocks *r, const struct load_table *loads, struct store_commit at,
                   const atomic_bool *halt, struct store_sums *out, struct err *e)
{
    struct summing s = { .loads = loads, .out = out, .rows = BUF_INIT(ROCKS_ROWS_MAX) };
    uint64_t n = 0;
    err_code rc = ERR_OK;
    *out = (struct store_sums){ .at = at };
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(ro, 1);
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_readoptions_set_readahead_size(ro, READAHEAD);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_VERSIONS]);
    for (rocksdb_iter_seek_to_first(it); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        rc = see_version(&s, sv_make(k, key_len), sv_make(v, len), e);
        if (rc == ERR_OK && halt && ++n % LOOK_EVERY == 0 && atomic_load(halt))
            rc = ERR(e, ERR_CANCELLED, "reading a data store was stopped");
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    if (rc == ERR_OK)
        end_number(&s);
    buf_done(&s.rows);
    return rc;
}

err_code rocks_sums(struct store *st, uint64_t as_of_t, const atomic_bool *halt,
                    struct store_sums *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct store_commit at = rocks_seen_last(r);
    if (as_of_t < at.t) {
        struct key_bytes k = key_commit('c', as_of_t);
        rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
        struct commit_value c = { 0 };
        char *bad = NULL;
        size_t len = 0;
        char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_COMMITS], k.ptr, k.len, &len, &bad);
        rocksdb_readoptions_destroy(ro);
        const bool ok = as_of_t == 0 || (v && commit_value_split(sv_make(v, len), &c));
        rocksdb_free(v);
        TRY(rocks_error(bad, "reading a commit", e));
        if (!ok)
            return rocks_damaged(e);
        at = (struct store_commit){ as_of_t, c.instant_ms };
    }
    /* I7: behind T */
    struct load_table *loads = load_table_ref(r);
    err_code rc = sums_read(r, loads, at, halt, out, e);
    load_table_unref(loads);
    return rc;
}
