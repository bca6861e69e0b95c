/* bulk_search.c - the search entries of a bulk load, sorted and written as one file.
 *
 * A sorted file wants its keys in order: type, parameter, value, id. Items come in the order of
 * type and id. The entries of a type are dealt out to their parameters, which keeps that order.
 * Then the entries of each parameter are sorted by the first eight bytes of the value, by radix,
 * which keeps it again. Only values that are longer and begin alike are compared. So nearly nothing
 * is compared, and an entry of up to eight bytes is written without going back to where it came
 * from. */
#include "store/rocks/rocks_private.h"

#include <limits.h>

struct row {
    uint64_t head; /* first eight bytes of the value, zeros behind a shorter one */
    const char *value;
    uint32_t item;
    uint16_t len;
};

struct sorter {
    struct row *rows, *spare; /* of one type */
    size_t cap;
    size_t *starts; /* by parameter: where its rows begin */
    size_t n_params;
    char *ids; /* of the type's items, close together; rows jump about in them */
    size_t *id_at;
    size_t ids_cap, id_at_cap;
};

static void *grown(void *p, size_t n, size_t size, size_t *cap)
{
    if (n <= *cap)
        return p;
    free(p);
    *cap = n + n / 4;
    p = malloc(*cap * size);
    if (p == NULL)
        abort();
    return p;
}

static void sorter_done(struct sorter *s)
{
    free(s->rows);
    free(s->spare);
    free(s->starts);
    free(s->ids);
    free(s->id_at);
}

static uint64_t head_of(const char *p, size_t len)
{
    char t[8] = { 0 };
    memcpy(t, p, len < 8 ? len : 8);
    return key_get_u64(t);
}

/* ---- sorting ---- */

static int row_cmp(const void *x_, const void *y_)
{
    const struct row *x = x_, *y = y_;
    int c = sv_cmp(sv_make(x->value, x->len), sv_make(y->value, y->len));
    return c ? c : x->item < y->item ? -1 : x->item > y->item;
}

static void insertion(struct row *rows, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct row x = rows[i];
        size_t k = i;
        for (; k && rows[k - 1].head > x.head; k--)
            rows[k] = rows[k - 1];
        rows[k] = x;
    }
}

/* By head, rows of one head in the order they had. */
static void radix(struct row *rows, struct row *spare, size_t n)
{
    uint32_t counts[8][256] = { 0 };
    struct row *from = rows, *to = spare;
    for (size_t i = 0; i < n; i++)
        for (unsigned b = 0; b < 8; b++)
            counts[b][rows[i].head >> (8 * b) & 255]++;
    for (unsigned b = 0; b < 8; b++) {
        uint32_t *at = counts[b], sum = 0;
        /* this byte tells nothing */
        if (at[from[0].head >> (8 * b) & 255] == n)
            continue;
        for (unsigned v = 0; v < 256; v++) {
            uint32_t c = at[v];
            at[v] = sum;
            sum += c;
        }
        for (size_t i = 0; i < n; i++)
            to[at[from[i].head >> (8 * b) & 255]++] = from[i];
        struct row *t = from;
        from = to;
        to = t;
    }
    if (from != rows)
        memcpy(rows, from, n * sizeof *rows);
}

/* Most rows of one head are of one value, a token's of one code in one system, and stand by item
 * already. */
static bool in_order(const struct row *rows, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (row_cmp(&rows[i - 1], &rows[i]) > 0)
            return false;
    return true;
}

/* What eight bytes could not tell apart. */
static void settle(struct row *rows, size_t n)
{
    for (size_t i = 0, k; i < n; i = k) {
        bool longer = false;
        for (k = i; k < n && rows[k].head == rows[i].head; k++)
            longer |= rows[k].len > 8 || rows[k].len != rows[i].len;
        if (longer && !in_order(rows + i, k - i))
            qsort(rows + i, k - i, sizeof *rows, row_cmp);
    }
}

#define SMALL 48u /* rows that are not worth counting */

static void sort_rows(struct row *rows, struct row *spare, size_t n)
{
    if (n < SMALL)
        insertion(rows, n);
    else
        radix(rows, spare, n);
    settle(rows, n);
}

/* ---- dealing out ---- */

/* Counts entries by parameter into starts[param + 1]; returns how many there are. */
static size_t count(struct sorter *s, const struct store_bulk_item *items, size_t n)
{
    uint16_t param;
    sv value;
    size_t total = 0;
    if (s->n_params)
        memset(s->starts, 0, s->n_params * sizeof *s->starts);
    for (size_t i = 0; i < n; i++)
        for (sv rest = items[i].index; search_index_next(&rest, &param, &value); total++) {
            if (param + 2u > s->n_params) {
                size_t old = s->n_params;
                s->n_params = param + 2u + 256;
                s->starts = realloc(s->starts, s->n_params * sizeof *s->starts);
                if (s->starts == NULL)
                    abort();
                memset(s->starts + old, 0, (s->n_params - old) * sizeof *s->starts);
            }
            s->starts[param + 1]++;
        }
    return total;
}

static void deal(struct sorter *s, const struct store_bulk_item *items, size_t n)
{
    uint16_t param;
    sv value;
    for (size_t p = 1; p < s->n_params; p++)
        s->starts[p] += s->starts[p - 1];
    for (size_t i = 0; i < n; i++)
        for (sv rest = items[i].index; search_index_next(&rest, &param, &value);)
            s->rows[s->starts[param]++] = (struct row){ head_of(value.ptr, value.len), value.ptr,
                                                        (uint32_t)i, (uint16_t)value.len };
    /* each now points behind its own, which is where the next begins */
}

static void gather_ids(struct sorter *s, const struct store_bulk_item *items, size_t n)
{
    size_t at = 0;
    s->ids = grown(s->ids, n * FHIR_ID_MAX, 1, &s->ids_cap);
    s->id_at = grown(s->id_at, n + 1, sizeof *s->id_at, &s->id_at_cap);
    for (size_t i = 0; i < n; i++) {
        s->id_at[i] = at;
        memcpy(s->ids + at, items[i].id.ptr, items[i].id.len);
        at += items[i].id.len;
    }
    s->id_at[n] = at;
}

/* ---- writing ---- */

/* keys.c's key_search(), with what many rows share written once. */
static void write_rows(const struct sorter *s, const struct row *rows, size_t n, char *key,
                       uint64_t b, rocksdb_sstfilewriter_t *w, char **bad)
{
    for (size_t i = 0; i < n && *bad == NULL; i++) {
        const struct row *r = &rows[i];
        size_t id = s->id_at[r->item], id_len = s->id_at[r->item + 1] - id;
        char *p = key + 3;
        if (r->len <= 8)
            key_put_u64(p, r->head);
        else
            memcpy(p, r->value, r->len);
        p += r->len;
        memcpy(p, s->ids + id, id_len);
        p += id_len;
        *p++ = KEY_BULK;
        key_put_u64(p, b);
        p += 8;
        *p++ = (char)r->len;
        rocksdb_sstfilewriter_put(w, key, (size_t)(p - key), "", 0, bad);
    }
}

/* Items of one type. */
static void write_type(struct sorter *s, const struct store_bulk_item *items, size_t n, uint64_t b,
                       rocksdb_sstfilewriter_t *w, char **bad)
{
    char key[KEY_SEARCH_MAX + 8];
    size_t total = count(s, items, n), cap = s->cap;
    if (total == 0)
        return;
    s->rows = grown(s->rows, total, sizeof *s->rows, &cap);
    s->spare = grown(s->spare, total, sizeof *s->spare, &s->cap);
    deal(s, items, n);
    gather_ids(s, items, n);
    key[0] = (char)items[0].type;
    size_t from = 0;
    for (size_t p = 0; p + 1 < s->n_params && *bad == NULL; p++) {
        size_t to = s->starts[p];
        if (to == from)
            continue;
        sort_rows(s->rows + from, s->spare, to - from);
        key[1] = (char)(p >> 8);
        key[2] = (char)p;
        write_rows(s, s->rows + from, to - from, key, b, w, bad);
        from = to;
    }
}

static bool has_entries(const struct store_bulk_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (items[i].index.len)
            return true;
    return false;
}

bool bulk_search_write(struct rocks *r, const char *path, const struct store_bulk_item *items,
                       size_t n, uint64_t b, char **bad)
{
    struct sorter s = { 0 };
    if (!has_entries(items, n))
        return false;
    rocksdb_envoptions_t *eo = rocksdb_envoptions_create();
    rocksdb_sstfilewriter_t *w = rocksdb_sstfilewriter_create(eo, r->search_options);
    rocksdb_sstfilewriter_open(w, path, bad);
    for (size_t i = 0, k; i < n && *bad == NULL; i = k) {
        for (k = i; k < n && items[k].type == items[i].type; k++) {
        }
        write_type(&s, items + i, k - i, b, w, bad);
    }
    if (*bad == NULL)
        rocksdb_sstfilewriter_finish(w, bad);
    rocksdb_sstfilewriter_destroy(w);
    rocksdb_envoptions_destroy(eo);
    sorter_done(&s);
    return true;
}
