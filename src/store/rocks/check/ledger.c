/* ledger.c - are two heaps of items the same, whatever their order?
 *
 * Each item has a hash of 128 bits. Those that come in are added up, those that go out are taken
 * away, in 65,536 buckets by the hash: a bucket where the heaps are the same is 0 at the end.
 * For the buckets that are not, both heaps are gone through once more, and the items of some
 * of these buckets are kept, sorted and compared. So memory is bounded, and some culprits are
 * named. */
#include "store/rocks/check/check_private.h"

#include "codec/hash.h"

#define BUCKETS  65536u
#define ROWS_MAX (1u << 20) /* 40 MiB */
#define ROWS_AIM (ROWS_MAX / 4)

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

void ledger_init(struct ledger *l)
{
    *l = (struct ledger){ .sums = must(calloc(BUCKETS, sizeof *l->sums)) };
}

/* What waits is added up. */
static void settle(struct ledger *l)
{
    for (size_t i = 0; i < l->n_waiting; i++) {
        uint64_t *sum = l->sums[l->waiting[i].bucket];
        sum[0] += l->waiting[i].add[0];
        sum[1] += l->waiting[i].add[1];
    }
    l->n_waiting = 0;
}

void ledger_done(struct ledger *l)
{
    free(l->sums);
    free(l->chosen);
    free(l->rows);
    *l = (struct ledger){ .state = LEDGER_CLOSED };
}

static int by_hash(const void *a, const void *b)
{
    const struct ledger_row *x = a, *y = b;
    if (x->hash[0] != y->hash[0])
        return x->hash[0] < y->hash[0] ? -1 : 1;
    return x->hash[1] < y->hash[1] ? -1 : x->hash[1] > y->hash[1];
}

static bool is_even(const struct ledger *l, const struct ledger_row *row)
{
    return l->loose ? row->n_in || !row->n_out : row->n_in == row->n_out;
}

/* Rows of one hash become one. Of an exact ledger those that are even go: what comes later makes
 * them as uneven without what was. */
static void fold(struct ledger *l)
{
    size_t kept = 0;
    if (l->n > 1)
        qsort(l->rows, l->n, sizeof *l->rows, by_hash);
    for (size_t i = 0, k; i < l->n; i = k) {
        struct ledger_row row = l->rows[i];
        for (k = i + 1; k < l->n && by_hash(&row, &l->rows[k]) == 0; k++) {
            row.n_in += l->rows[k].n_in;
            row.n_out += l->rows[k].n_out;
        }
        if (l->loose || !is_even(l, &row))
            l->rows[kept++] = row;
    }
    l->n = kept;
}

static void keep(struct ledger *l, const struct ledger_row *row)
{
    if (l->n == ROWS_MAX) {
        fold(l);
        l->full |= l->n > ROWS_MAX / 4 * 3;
    }
    if (l->full)
        return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 1024;
        l->rows = must(realloc(l->rows, l->cap * sizeof *l->rows));
    }
    l->rows[l->n++] = *row;
}

void ledger_add(struct ledger *l, sv item, uint64_t what, int64_t n)
{
    struct ledger_row row = { .what = what };
    if (l->state == LEDGER_CLOSED)
        return;
    hash_xxh3_128(item, SV_NONE, row.hash);
    const size_t at = row.hash[0] >> 48;
    if (l->state == LEDGER_SUMS) {
        /* buckets lie anywhere: the memory of one is fetched while others are worked out */
        __builtin_prefetch(l->sums[at], 1);
        l->waiting[l->n_waiting++] =
            (struct ledger_sum){ at, { (uint64_t)n * row.hash[0], (uint64_t)n * row.hash[1] } };
        if (l->n_waiting == LEDGER_WAITING)
            settle(l);
        l->n_items++;
    } else if (l->chosen[at]) {
        row.n_in = n > 0 ? (uint64_t)n : 0;
        row.n_out = n < 0 ? -(uint64_t)n : 0;
        keep(l, &row);
    }
}

static bool differs(const struct ledger *l, size_t at)
{
    return l->sums[at][0] || l->sums[at][1];
}

size_t ledger_differs(struct ledger *l)
{
    size_t n = 0;
    settle(l);
    for (size_t i = 0; i < BUCKETS; i++)
        n += differs(l, i);
    return n;
}

static void choose_none(struct ledger *l)
{
    free(l->chosen);
    l->chosen = must(calloc(BUCKETS, sizeof *l->chosen));
    l->state = LEDGER_ROWS;
    l->n = 0;
    l->full = false;
}

/* So many buckets have about as many items as may be kept. */
static size_t buckets_at_once(const struct ledger *l)
{
    size_t n = (uint64_t)ROWS_AIM * BUCKETS / (l->n_items + 1);
    return n == 0 ? 1 : n > BUCKETS ? BUCKETS : n;
}

size_t ledger_choose(struct ledger *l)
{
    size_t most = buckets_at_once(l), left = 0;
    settle(l);
    choose_none(l);
    for (size_t i = 0; i < BUCKETS; i++) {
        if (!differs(l, i))
            continue;
        l->chosen[i] = most > 0;
        left += most == 0;
        most -= most > 0;
    }
    return left;
}

bool ledger_choose_next(struct ledger *l)
{
    size_t most = buckets_at_once(l);
    l->first = l->behind;
    if (l->first == BUCKETS)
        return false;
    l->behind = most > BUCKETS - l->first ? BUCKETS : l->first + (uint32_t)most;
    choose_none(l);
    memset(l->chosen + l->first, 1, (l->behind - l->first) * sizeof *l->chosen);
    return true;
}

static int by_what(const void *a, const void *b)
{
    const struct ledger_row *x = a, *y = b;
    return x->what < y->what ? -1 : x->what > y->what;
}

size_t ledger_left(struct ledger *l, const struct ledger_row **out)
{
    size_t n = 0, kept = 0;
    fold(l);
    for (size_t i = 0; i < l->n; i++) {
        struct ledger_row row = l->rows[i];
        if (is_even(l, &row))
            continue;
        /* only by how much is of use from here on */
        uint64_t less = row.n_in < row.n_out ? row.n_in : row.n_out;
        row.n_in -= less;
        row.n_out -= less;
        l->rows[n++] = row;
    }
    if (n > 1)
        qsort(l->rows, n, sizeof *l->rows, by_what);
    for (size_t i = 0, k; i < n; i = k) {
        struct ledger_row row = l->rows[i];
        for (k = i + 1; k < n && l->rows[k].what == row.what; k++) {
            row.n_in += l->rows[k].n_in;
            row.n_out += l->rows[k].n_out;
        }
        l->rows[kept++] = row;
    }
    l->n = kept;
    l->state = LEDGER_CLOSED;
    *out = l->rows;
    return kept;
}
