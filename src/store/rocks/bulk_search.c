/* bulk_search.c - the search entries of a bulk load, sorted and written as one file.
 *
 * A sorted file wants its keys in order: type, parameter, value, number. Items come in the order of
 * type and number. The entries of a type are dealt out to their parameters, which keeps that order.
 * Then the entries of each parameter are sorted by the first eight bytes of the value, by radix,
 * which keeps it again. Only values that are longer and begin alike are compared. So nearly nothing
 * is compared, and an entry of up to eight bytes is written without going back to where it came
 * from. What stands together under one value then becomes one key with a list (keys.h). */
#include "store/rocks/numbers/load.h"
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
static size_t count(struct sorter *s, const struct numbered *items, size_t n)
{
    uint16_t param;
    sv value;
    size_t total = 0;
    if (s->n_params)
        memset(s->starts, 0, s->n_params * sizeof *s->starts);
    for (size_t i = 0; i < n; i++)
        for (sv rest = items[i].item->index; search_index_next(&rest, &param, &value); total++) {
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

static void deal(struct sorter *s, const struct numbered *items, size_t n)
{
    uint16_t param;
    sv value;
    for (size_t p = 1; p < s->n_params; p++)
        s->starts[p] += s->starts[p - 1];
    for (size_t i = 0; i < n; i++)
        for (sv rest = items[i].item->index; search_index_next(&rest, &param, &value);)
            s->rows[s->starts[param]++] = (struct row){ head_of(value.ptr, value.len), value.ptr,
                                                        (uint32_t)i, (uint16_t)value.len };
    /* each now points behind its own, which is where the next begins */
}

/* ---- writing ---- */

struct entry_file {
    rocksdb_sstfilewriter_t *w;
    uint64_t b; /* of the load */
    char **bad;
    char key[KEY_SEARCH_MAX + 8]; /* type and parameter are there */
    char list[ENTRY_LIST_MAX * ENTRY_STEP_MAX];
};

static bool same_value(const struct row *x, const struct row *y)
{
    return x->head == y->head && x->len == y->len &&
           (x->len <= 8 || memcmp(x->value, y->value, x->len) == 0);
}

/* keys.c's key_search(), with what many rows share written once. */
static size_t write_key(struct entry_file *f, const struct row *row, store_number number)
{
    char *p = f->key + 3;
    if (row->len <= 8)
        key_put_u64(p, row->head);
    else
        memcpy(p, row->value, row->len);
    p += row->len;
    key_put_u64(p, number);
    p += NUMBER_BYTES;
    if (number_b(number) == f->b) {
        *p++ = ENTRY_BIRTHS;
    } else {
        *p++ = ENTRY_LOAD;
        key_put_u64(p, f->b);
        p += 8;
    }
    *p++ = (char)row->len;
    return (size_t)(p - f->key);
}

/* One key for the rows of one value and one span. */
static void write_rows(struct entry_file *f, const struct numbered *items, const struct row *rows,
                       size_t n)
{
    for (size_t i = 0, k; i < n && *f->bad == NULL; i = k) {
        store_number last = items[rows[i].item].number;
        size_t key_len = write_key(f, &rows[i], last), len = 0;
        for (k = i + 1; k < n && same_value(&rows[i], &rows[k]); k++) {
            store_number number = items[rows[k].item].number;
            if (entry_span(number) != entry_span(last))
                break;
            len += entry_step_put(f->list + len, number - last);
            last = number;
        }
        rocksdb_sstfilewriter_put(f->w, f->key, key_len, f->list, len, f->bad);
    }
}

/* Items of one type. */
static void write_type(struct sorter *s, const struct numbered *items, size_t n,
                       struct entry_file *f)
{
    size_t total = count(s, items, n), cap = s->cap;
    if (total == 0)
        return;
    s->rows = grown(s->rows, total, sizeof *s->rows, &cap);
    s->spare = grown(s->spare, total, sizeof *s->spare, &s->cap);
    deal(s, items, n);
    f->key[0] = (char)items[0].item->type;
    size_t from = 0;
    for (size_t p = 0; p + 1 < s->n_params && *f->bad == NULL; p++) {
        size_t to = s->starts[p];
        if (to == from)
            continue;
        sort_rows(s->rows + from, s->spare, to - from);
        f->key[1] = (char)(p >> 8);
        f->key[2] = (char)p;
        write_rows(f, items, s->rows + from, to - from);
        from = to;
    }
}

static bool has_entries(const struct numbered *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (items[i].item->index.len)
            return true;
    return false;
}

bool bulk_search_write(struct rocks *r, const char *path, const struct numbered *items, size_t n,
                       uint64_t b, char **bad)
{
    struct sorter s = { 0 };
    struct entry_file f = { .b = b, .bad = bad };
    if (!has_entries(items, n))
        return false;
    rocksdb_envoptions_t *eo = rocksdb_envoptions_create();
    f.w = rocksdb_sstfilewriter_create(eo, r->search_options);
    rocksdb_sstfilewriter_open(f.w, path, bad);
    for (size_t i = 0, k; i < n && *bad == NULL; i = k) {
        for (k = i; k < n && items[k].item->type == items[i].item->type; k++) {
        }
        write_type(&s, items + i, k - i, &f);
    }
    if (*bad == NULL)
        rocksdb_sstfilewriter_finish(f.w, bad);
    rocksdb_sstfilewriter_destroy(f.w);
    rocksdb_envoptions_destroy(eo);
    sorter_done(&s);
    return true;
}
