/* families.c - rows of ids, changes, search and counts, each by itself, and what versions must say
 * to them: it goes into the ledgers. */
#include "store/rocks/check/check_private.h"

#define UNBORN_MAX ((size_t)4 << 20) /* numbers: 32 MiB */

static bool is_type(unsigned type)
{
    return type > 0 && type <= fhir_n_types();
}

/* ---- ids ---- */

/* Numbers of loads that were never published may have no version at all. They are compared with
 * each other, a part at a time. */
static void add_unborn(struct check *c, store_number number)
{
    c->unborn.n_all++;
    if (number * 0x9E3779B97F4A7C15u % 0xFFFFFFFBu % c->unborn.n_parts != c->unborn.part ||
        c->unborn.n == UNBORN_MAX)
        return;
    if (c->unborn.rows == NULL)
        c->unborn.rows = malloc(UNBORN_MAX * sizeof *c->unborn.rows);
    if (c->unborn.rows == NULL)
        abort();
    c->unborn.rows[c->unborn.n++] = number;
}

static bool is_unborn(struct check *c, store_number number)
{
    return check_load_find(c, number_b(number), NULL) == NULL &&
           !check_is_block(c, number_b(number));
}

static void see_id(struct check *c, sv key, sv value)
{
    store_number number;
    fhir_type type;
    bool later;
    char id[64];
    size_t id_len;
    struct item x = { 0 };
    if (!ids_value_split(value, &number, &later)) {
        check_wrong(c, CF_IDS, "the value of a row is damaged");
        return;
    }
    if (!ids_key_split(key, &type, id, &id_len))
        check_number_wrong(c, CF_IDS, number, "the key of its row is damaged");
    else if (!is_type(type) || type != number_type(number))
        check_number_wrong(c, CF_IDS, number, "its row is one of another type");
    else if (number_b(number) >= c->handed_out)
        check_number_wrong(c, CF_IDS, number, "the number of its load was never handed out");
    else if (is_unborn(c, number))
        add_unborn(c, number);
    else {
        item_u64(&x, number);
        item_text(&x, sv_make(id, id_len));
        ledger_add(&c->ledgers[LEDGER_NUMBERS], item_sv(&x), number, 1);
    }
}

static void see_unborn_again(struct check *c, sv key, sv value)
{
    store_number number;
    bool later;
    (void)key;
    if (ids_value_split(value, &number, &later) && is_unborn(c, number))
        add_unborn(c, number);
}

static int by_number(const void *a, const void *b)
{
    const store_number x = *(const store_number *)a, y = *(const store_number *)b;
    return x < y ? -1 : x > y;
}

static void compare_unborn(struct check *c)
{
    if (c->unborn.n > 1)
        qsort(c->unborn.rows, c->unborn.n, sizeof *c->unborn.rows, by_number);
    for (size_t i = 1; i < c->unborn.n; i++)
        if (c->unborn.rows[i] == c->unborn.rows[i - 1])
            check_number_wrong(c, CF_IDS, c->unborn.rows[i], "two ids have this number");
}

void check_ids(struct check *c)
{
    c->unborn.n_parts = 1;
    c->unborn.n = c->unborn.n_all = c->unborn.part = 0;
    check_each(c, CF_IDS, see_id);
    if (c->unborn.n_all > UNBORN_MAX && !c->again) {
        const uint64_t parts = c->unborn.n_all / (UNBORN_MAX / 2) + 1;
        for (uint64_t part = 0; part < parts; part++) {
            c->unborn.n = 0;
            c->unborn.part = part;
            c->unborn.n_parts = parts;
            check_each(c, CF_IDS, see_unborn_again);
            compare_unborn(c);
        }
    } else {
        compare_unborn(c);
    }
    free(c->unborn.rows);
    c->unborn.rows = NULL;
}

/* ---- changes ---- */

static void see_births(struct check *c, fhir_type type, uint64_t b, sv value)
{
    struct item x = { 0 };
    struct births births;
    const store_number first = number_make(b, type, 0);
    if (!births_split(value, &births)) {
        check_number_wrong(c, CF_CHANGES, first, "the row of births that begin here is damaged");
        return;
    }
    if (b >= c->handed_out)
        check_number_wrong(c, CF_CHANGES, first, "births of a load that was never begun");
    if (check_load_find(c, b, NULL) == NULL)
        return;
    item_u64(&x, first);
    item_u64(&x, births.n);
    item_u64(&x, births.json_bytes);
    ledger_add(&c->ledgers[LEDGER_BIRTHS], item_sv(&x), first, 1);
}

/* A birth has a row of its own when another load brought it, too. */
static void see_own_birth(struct check *c, store_number number)
{
    struct key_bytes key = key_change(number_type(number), KEY_BIRTHS, number_b(number), 0);
    CLEANUP_BUF struct buf value = BUF_INIT(64);
    struct births births;
    if (!check_get(c, CF_CHANGES, sv_make(key.ptr, key.len), &value) ||
        !births_split(buf_sv(&value), &births) || number_k(number) >= births.n)
        check_number_wrong(c, CF_CHANGES, number,
                           "its load has a row for it, and did not give birth to it");
}

static void see_change(struct check *c, sv key, sv value)
{
    struct item x = { 0 };
    const unsigned type = key.len ? (unsigned char)key.ptr[0] : 0;
    const unsigned kind = key.len > 1 ? (unsigned char)key.ptr[1] : 255;
    if (key.len != (kind == KEY_BIRTHS ? 10 : 18) || !is_type(type) || kind > KEY_BIRTHS) {
        check_wrong(c, CF_CHANGES, "a key is damaged");
        return;
    }
    const uint64_t n = key_get_u64(key.ptr + 2);
    if (kind == KEY_BIRTHS) {
        see_births(c, (fhir_type)type, n, value);
        return;
    }
    const store_number number = key_get_u64(key.ptr + 10);
    struct check_load *load = kind == KEY_BULK ? check_load_find(c, n, NULL) : NULL;
    if (number_type(number) != type || value.len) {
        check_number_wrong(c, CF_CHANGES, number, "a row is damaged");
    } else if (kind == KEY_ONLINE ? n > c->last.t : n >= c->handed_out) {
        check_number_wrong(c, CF_CHANGES, number, "a row of a commit or load that never was");
    } else if (check_commit_of(c, (key_kind)kind, n) == 0) {
        /* the load was not published */
    } else {
        if (load && load->marked && !c->again)
            load->marked[type]--;
        if (kind == KEY_BULK && n == number_b(number)) {
            see_own_birth(c, number);
            return;
        }
        item_u64(&x, number);
        item_u64(&x, n);
        item_u64(&x, kind);
        ledger_add(&c->ledgers[LEDGER_CHANGES], item_sv(&x), number, 1);
    }
}

void check_changes(struct check *c)
{
    check_each(c, CF_CHANGES, see_change);
    for (size_t i = 0; i < c->loads->n && !c->again && !c->damaged[CF_CHANGES]; i++)
        for (unsigned type = 0; c->of_load[i].marked && type < STORE_TYPES; type++)
            if (c->of_load[i].marked[type])
                check_wrong(c, CF_COMMITS,
                            "the mark of load %llu says another number of changes than there are",
                            (unsigned long long)c->loads->rows[i].b);
}

/* ---- search ---- */

static void add_entry(struct check *c, sv key, const struct key_search_parts *p)
{
    struct item x = { 0 };
    if (!c->again)
        c->out->n_entries++;
    if (!c->indexed)
        return;
    item_u64(&x, p->number);
    item_u64(&x, p->n);
    item_u64(&x, (uint64_t)(p->kind == ENTRY_ONLINE));
    /* type, parameter, value */
    item_text(&x, sv_head(key, 3 + p->value.len));
    ledger_add(&c->ledgers[LEDGER_ENTRIES], item_sv(&x), p->number, 1);
}

static void see_entry(struct check *c, sv key, sv value)
{
    struct key_search_parts p;
    uint64_t step;
    if (!key_search_split(key, &p) || !is_type((unsigned char)key.ptr[0])) {
        check_wrong(c, CF_SEARCH, "a key is damaged");
        return;
    }
    const bool online = p.kind == ENTRY_ONLINE;
    if (online ? p.n > c->last.t : p.n >= c->handed_out) {
        check_number_wrong(c, CF_SEARCH, p.number, "an entry of a commit or load that never was");
        return;
    }
    if ((p.kind == ENTRY_LOAD && p.n == number_b(p.number)) || (p.kind > ENTRY_LOAD && value.len)) {
        check_number_wrong(c, CF_SEARCH, p.number, "an entry has a form that its kind has not");
        return;
    }
    const bool visible = check_commit_of(c, online ? KEY_ONLINE : KEY_BULK, p.n);
    const uint64_t span = entry_span(p.number);
    if (visible)
        add_entry(c, key, &p);
    while (value.len) {
        if (!entry_step_next(&value, &step) || entry_span(p.number + step) != span) {
            check_number_wrong(c, CF_SEARCH, p.number, "a list goes wrong behind it");
            return;
        }
        p.number += step;
        if (visible)
            add_entry(c, key, &p);
    }
}

void check_entries(struct check *c)
{
    check_each(c, CF_SEARCH, see_entry);
}

/* ---- counts ---- */

static void see_count(struct check *c, sv key, sv value)
{
    int64_t n;
    const size_t len = key.len > 3 ? (unsigned char)key.ptr[3] : 255;
    const unsigned type = key.len ? (unsigned char)key.ptr[0] : 0;
    const uint16_t param =
        key.len > 2 ? (uint16_t)((unsigned char)key.ptr[1] << 8 | (unsigned char)key.ptr[2]) : 0;
    if (key.len != 4 + len || !is_type(type) || value.len != sizeof n ||
        (param ? !search_is_counted((fhir_type)type, param) ||
                     (len != SEARCH_CODE_LEN && len != SEARCH_TOKEN_LEN)
               : len > 0)) {
        check_wrong(c, CF_COUNTS, "a row is damaged");
        return;
    }
    memcpy(&n, value.ptr, sizeof n);
    if (n < 0)
        check_wrong(c, CF_COUNTS, "a sum of %s is below zero", fhir_type_name((fhir_type)type));
    else if (n > 0)
        ledger_add(&c->ledgers[LEDGER_COUNTS], key, (uint64_t)type << 16 | param, n);
}

void check_counts(struct check *c)
{
    check_each(c, CF_COUNTS, see_count);
}

/* ---- notes ---- */

static void see_note(struct check *c, sv key, sv value)
{
    (void)c;
    (void)key;
    (void)value;
}

void check_notes(struct check *c)
{
    check_each(c, CF_NOTES, see_note);
}
