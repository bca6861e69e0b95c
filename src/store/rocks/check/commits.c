/* commits.c - the family of commits: which commits and loads there are, and whether their records
 * go together.
 *
 * It is read first, since all other families are judged by it. Letters come in their order: loads
 * stand in front of commits, and marks behind both. */
#include "store/rocks/check/check_private.h"

static void see_load(struct check *c, uint64_t b, sv value)
{
    struct bulk_load row = { .b = b };
    if (value.len != 16 || b == 0) {
        check_wrong(c, CF_COMMITS, "the record of load %llu is damaged", (unsigned long long)b);
        return;
    }
    row.t = key_get_u64(value.ptr);
    row.instant_ms = (int64_t)key_get_u64(value.ptr + 8);
    /* no store that opens has more */
    IGNORE(buf_add(&c->load_rows, sv_make(&row, sizeof row), NULL));
}

/* Behind the last load. */
static void make_table(struct check *c)
{
    const size_t n = c->load_rows.len / sizeof(struct bulk_load);
    if (c->loads)
        return;
    c->loads = load_table_new(n);
    c->of_load = calloc(n + 1, sizeof *c->of_load);
    if (c->of_load == NULL)
        abort();
    if (n)
        memcpy(c->loads->rows, c->load_rows.ptr, c->load_rows.len);
    buf_done(&c->load_rows);
    c->out->n_loads = n;
}

struct check_load *check_load_find(struct check *c, uint64_t b, const struct bulk_load **row)
{
    const struct bulk_load *found = load_table_find(c->loads, b);
    if (row)
        *row = found;
    return found ? &c->of_load[found - c->loads->rows] : NULL;
}

static void commit_item(struct item *x, uint64_t t, int64_t instant_ms)
{
    x->len = 0;
    item_u64(x, t);
    item_u64(x, (uint64_t)instant_ms);
}

static void see_commit_of_load(struct check *c, uint64_t t, const struct commit_value *v)
{
    const struct bulk_load *row;
    struct check_load *load = check_load_find(c, v->bulk, &row);
    if (load == NULL || row->t != t || row->instant_ms != v->instant_ms) {
        check_wrong(c, CF_COMMITS, "commit %llu is of load %llu, whose record says otherwise",
                    (unsigned long long)t, (unsigned long long)v->bulk);
        return;
    }
    load->has_commit = true;
    load->n_said = v->n_resources;
}

static void see_commit(struct check *c, uint64_t t, sv value)
{
    struct commit_value v;
    struct item x;
    if (t != c->last.t + 1)
        check_wrong(c, CF_COMMITS, "commit %llu stands behind commit %llu", (unsigned long long)t,
                    (unsigned long long)c->last.t);
    /* only the form may be missing */
    if (value.len + 1 < COMMIT_VALUE_BYTES || !commit_value_split(value, &v) ||
        (v.kind != KEY_BULK && v.kind != KEY_ONLINE) || (v.kind == KEY_BULK) != (v.bulk != 0)) {
        check_wrong(c, CF_COMMITS, "the record of commit %llu is damaged", (unsigned long long)t);
        c->last.t = t;
        return;
    }
    if (v.instant_ms < c->last.instant_ms)
        check_wrong(c, CF_COMMITS, "commit %llu is older than the one before it",
                    (unsigned long long)t);
    c->last = (struct store_commit){ t, v.instant_ms };
    c->newest_form = v.form;
    if (v.kind == KEY_BULK) {
        see_commit_of_load(c, t, &v);
        return;
    }
    commit_item(&x, t, v.instant_ms);
    ledger_add(&c->ledgers[LEDGER_COMMITS], item_sv(&x), t, (int64_t)v.n_resources);
}

static void see_mark(struct check *c, uint64_t b, sv value)
{
    struct check_load *load = check_load_find(c, b, NULL);
    if (load == NULL || value.len == 0 || value.len % 5) {
        check_wrong(c, CF_COMMITS, "the mark of load %llu is damaged, or the load is not published",
                    (unsigned long long)b);
        return;
    }
    load->marked = calloc(STORE_TYPES, sizeof *load->marked);
    if (load->marked == NULL)
        abort();
    for (size_t i = 0; i < value.len; i += 5)
        memcpy(&load->marked[(unsigned char)value.ptr[i]], value.ptr + i + 1, sizeof *load->marked);
}

static void see_single(struct check *c, char letter, uint64_t at, sv value)
{
    if (letter == 'i') {
        const uint64_t t0 = value.len >= 10 ? key_get_u64(value.ptr + 2) : 0;
        /* an older program may have written behind t0: reindex.c */
        c->indexed = value.len >= 10 && (unsigned char)value.ptr[0] == SEARCH_INDEX_FORM &&
                     value.ptr[1] == 1 && (c->last.t <= t0 || c->newest_form == SEARCH_INDEX_FORM);
        /* entries of an older form are still there, beside those that were found later */
        c->ledgers[LEDGER_ENTRIES].loose |= t0 > 0;
        return;
    }
    if (value.len != 8 || at != 0) {
        check_wrong(c, CF_COMMITS, "record '%c' is damaged", letter);
        return;
    }
    if (letter == 'n')
        c->handed_out = key_get_u64(value.ptr);
}

static void see_row(struct check *c, sv key, sv value)
{
    const uint64_t n = key.len == 9 ? key_get_u64(key.ptr + 1) : 0;
    const char letter = key.len == 9 ? key.ptr[0] : 0;
    if (letter != 'b')
        make_table(c);
    switch (letter) {
    case 'b':
        see_load(c, n, value);
        break;
    case 'c':
        see_commit(c, n, value);
        break;
    case 'o':
        if (value.len || n == 0)
            check_wrong(c, CF_COMMITS, "the record of block %llu is damaged",
                        (unsigned long long)n);
        /* as many as loads may be */
        IGNORE(buf_add(&c->blocks, sv_make(&n, sizeof n), NULL));
        break;
    case 'u':
        see_mark(c, n, value);
        break;
    case 'e':
        /* an erasure is under way: entries of what it erased go at its end */
        c->ledgers[LEDGER_ENTRIES].loose = true;
        break;
    case 'f':
    case 'i':
    case 'n':
    case 'v':
        see_single(c, letter, n, value);
        break;
    default:
        check_wrong(c, CF_COMMITS, "a key is damaged");
    }
}

/* Commits alone, into their ledger. */
static void see_again(struct check *c, sv key, sv value)
{
    struct commit_value v;
    struct item x;
    const uint64_t t = key.len == 9 ? key_get_u64(key.ptr + 1) : 0;
    if (key.len != 9 || key.ptr[0] != 'c' || !commit_value_split(value, &v) || v.kind == KEY_BULK)
        return;
    commit_item(&x, t, v.instant_ms);
    ledger_add(&c->ledgers[LEDGER_COMMITS], item_sv(&x), t, (int64_t)v.n_resources);
}

void check_commits_again(struct check *c)
{
    check_each(c, CF_COMMITS, see_again);
}

bool check_is_block(const struct check *c, uint64_t b)
{
    const uint64_t *all = (const uint64_t *)(const void *)c->blocks.ptr;
    size_t low = 0, high = c->blocks.len / sizeof *all;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (all[mid] == b)
            return true;
        if (all[mid] < b)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

uint64_t check_commit_of(struct check *c, key_kind kind, uint64_t n)
{
    const struct bulk_load *row;
    if (kind == KEY_ONLINE)
        return n <= c->last.t ? n : 0;
    return check_load_find(c, n, &row) ? row->t : 0;
}

void check_commits(struct check *c)
{
    c->handed_out = 1;
    buf_init(&c->load_rows, ROCKS_ROWS_MAX);
    buf_init(&c->blocks, ROCKS_ROWS_MAX);
    check_each(c, CF_COMMITS, see_row);
    make_table(c);
    for (size_t i = 0; i < c->loads->n; i++) {
        const uint64_t b = c->loads->rows[i].b;
        if (!c->of_load[i].has_commit)
            check_wrong(c, CF_COMMITS, "load %llu is published, and has no commit",
                        (unsigned long long)b);
        if (b >= c->handed_out || check_is_block(c, b))
            check_wrong(c, CF_COMMITS, "the number of load %llu was not handed out to it",
                        (unsigned long long)b);
    }
    const uint64_t *blocks = (const uint64_t *)(const void *)c->blocks.ptr;
    for (size_t i = 0; i < c->blocks.len / sizeof *blocks; i++)
        if (blocks[i] >= c->handed_out)
            check_wrong(c, CF_COMMITS, "the number of block %llu was not handed out",
                        (unsigned long long)blocks[i]);
}

void check_loads_full(struct check *c)
{
    if (c->damaged[CF_COMMITS] || c->damaged[CF_VERSIONS])
        return;
    for (size_t i = 0; i < c->loads->n; i++)
        if (c->of_load[i].has_commit && c->of_load[i].n_found != c->of_load[i].n_said)
            check_wrong(c, CF_COMMITS, "load %llu has %llu versions, and its commit says %llu",
                        (unsigned long long)c->loads->rows[i].b,
                        (unsigned long long)c->of_load[i].n_found,
                        (unsigned long long)c->of_load[i].n_said);
}
