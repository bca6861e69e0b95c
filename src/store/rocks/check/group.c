/* group.c - all versions of one number together: its id, its row, version numbers, births, sums.
 *
 * Versions come as they stand: those of loads first, newest load first, then those of commits,
 * newest first. The former are few and kept; of the latter the one before is enough. Births of one
 * load and type follow each other, and are summed up as a stretch. */
#include "store/rocks/check/check_private.h"

#define TALLY_MOST 65536u /* sums that are kept before they go into the ledger */

struct place { /* of a version */
    uint64_t t, n;
    key_kind kind;
    bool deleted;
};

struct marked { /* a load of the number that has a mark, and what was current in front of it */
    uint64_t t;
    struct place before; /* t 0: nothing */
};

struct stretch { /* births of one load and type */
    uint64_t b, n, json_bytes;
    fhir_type type;
    uint32_t next; /* place of the next birth */
    bool visible;
};

struct check_group {
    store_number number; /* 0: none yet */
    char id[FHIR_ID_MAX];
    size_t id_len;
    bool one_id;
    struct place *loads; /* visible, by t once the first commit comes */
    size_t n_loads, loads_cap;
    bool loads_over;
    struct marked *marked;
    size_t n_marked, marked_cap;
    uint64_t n_visible;
    bool whole;                /* a version that was not erased is visible */
    bool birth;                /* the version of the load that gave the number is visible */
    uint64_t at_t, at_version; /* of the last version of a commit; t 0: there was none */
    struct place current;      /* t 0: none */
    struct buf index;          /* of current */
    struct stretch births;
    struct tally tally;
    check_replaced_fn replaced;
};

struct check_group *check_group_new(check_replaced_fn fn)
{
    struct check_group *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    g->replaced = fn;
    buf_init(&g->index, SEARCH_ENTRIES_MAX);
    return g;
}

void check_group_free(struct check_group *g)
{
    free(g->loads);
    free(g->marked);
    buf_done(&g->index);
    tally_done(&g->tally);
    free(g);
}

static void *room_for(void *rows, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return rows;
    *cap = *cap ? *cap * 2 : 8;
    rows = realloc(rows, *cap * size);
    if (rows == NULL)
        abort();
    return rows;
}

/* ---- sums ---- */

static void take_sums_out(struct check *c)
{
    struct tally *t = &c->group->tally;
    for (size_t i = 0; i < t->cap; i++) {
        const struct tally_row *row = &t->rows[i];
        if (row->used)
            ledger_add(&c->ledgers[LEDGER_COUNTS], sv_make(row->key, 4u + row->key[3]),
                       (uint64_t)row->key[0] << 16 | (uint64_t)row->key[1] << 8 | row->key[2],
                       -row->n);
    }
    tally_done(t);
}

void check_group_count(struct check *c, fhir_type type, sv index)
{
    tally_resource(&c->group->tally, type, index, 1);
    if (c->group->tally.n > TALLY_MOST)
        take_sums_out(c);
}

/* ---- births ---- */

static void stretch_end(struct check *c)
{
    struct stretch *s = &c->group->births;
    struct item x = { 0 };
    const store_number first = number_make(s->b, s->type, 0);
    if (s->n) {
        item_u64(&x, first);
        item_u64(&x, s->n);
        item_u64(&x, s->json_bytes);
        ledger_add(&c->ledgers[LEDGER_BIRTHS], item_sv(&x), first, -1);
    }
    *s = (struct stretch){ 0 };
}

static void stretch_begin(struct check *c, store_number number)
{
    struct stretch *s = &c->group->births;
    if (s->b == number_b(number) && s->type == number_type(number))
        return;
    stretch_end(c);
    *s = (struct stretch){ .b = number_b(number),
                           .type = number_type(number),
                           .visible = check_load_find(c, number_b(number), NULL) != NULL };
}

static void add_birth(struct check *c, const struct check_version *v)
{
    struct stretch *s = &c->group->births;
    if (number_k(v->number) != s->next)
        check_number_wrong(c, CF_VERSIONS, number_make(s->b, s->type, s->next),
                           "no version by the load of its birth, and there are such behind it");
    s->n++;
    s->json_bytes += v->head.body.json.len;
    s->next = number_k(v->number) + 1;
    c->group->birth = true;
}

/* ---- the row ---- */

/* The row of a number that has more than its first version, or may have no row by a published load:
 * it is asked for. */
static void ask_row(struct check *c, bool born)
{
    const struct check_group *g = c->group;
    const struct ids_family ids = { .db = c->r.db, .cf = c->r.cf[CF_IDS] };
    bool there, later;
    store_number number;
    struct err e;
    if (c->again || c->damaged[CF_IDS] || !g->one_id)
        return;
    if (ids_find(&ids, number_type(g->number), sv_make(g->id, g->id_len), &there, &number, &later,
                 &e) != ERR_OK) {
        check_number_wrong(c, CF_IDS, g->number, "its row cannot be read");
        return;
    }
    /* of a number that was born, the ledger tells these */
    if (!born && !there)
        check_number_wrong(c, CF_IDS, g->number, "there is no row for it");
    else if (!born && number != g->number)
        check_number_wrong(c, CF_IDS, g->number, "the row of its id says another number");
    else if (born && there && number == g->number && !later)
        check_number_wrong(c, CF_IDS, g->number,
                           "its row says that the first version is the only one");
}

static void look_at_row(struct check *c)
{
    const struct check_group *g = c->group;
    struct item x = { 0 };
    const bool of_load = g->births.visible;
    if (of_load && !g->birth)
        check_number_wrong(c, CF_VERSIONS, g->number, "no version by the load of its birth");
    /* all of it was erased: its row went, and the ledger tells if one is there */
    if (g->n_visible && !g->whole)
        return;
    const bool of_block = !of_load && check_is_block(c, number_b(g->number));
    if (of_load || of_block) {
        item_u64(&x, g->number);
        item_text(&x, sv_make(g->id, g->id_len));
        ledger_add(&c->ledgers[LEDGER_NUMBERS], item_sv(&x), g->number, -1);
    }
    const bool only_birth = g->n_visible == 1 && (of_load ? g->birth : of_block && g->at_t);
    if (!only_birth)
        ask_row(c, (of_load || of_block) && g->n_visible);
}

/* ---- order ---- */

static int by_t(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->t < y->t ? -1 : x->t > y->t;
}

/* Versions of loads with after < t < before. */
static uint64_t loads_between(const struct check_group *g, uint64_t after, uint64_t before)
{
    uint64_t n = 0;
    for (size_t i = 0; i < g->n_loads; i++)
        n += g->loads[i].t > after && g->loads[i].t < before;
    return n;
}

/* All versions of loads are there. */
static void loads_over(struct check *c)
{
    struct check_group *g = c->group;
    if (g->loads_over)
        return;
    g->loads_over = true;
    if (g->n_loads > 1)
        qsort(g->loads, g->n_loads, sizeof *g->loads, by_t);
    for (size_t i = 0; i < g->n_loads; i++) {
        const struct check_load *load = check_load_find(c, g->loads[i].n, NULL);
        if (load == NULL || load->marked == NULL)
            continue;
        struct marked m = { .t = g->loads[i].t };
        if (i)
            m.before = g->loads[i - 1];
        g->marked = room_for(g->marked, g->n_marked, &g->marked_cap, sizeof *g->marked);
        g->marked[g->n_marked++] = m;
    }
}

/* I5: between two versions of commits lie the loads that came between them. */
static void look_at_version(struct check *c, uint64_t t, uint64_t version)
{
    struct check_group *g = c->group;
    if (g->at_t && g->at_version != version + 1 + loads_between(g, t, g->at_t))
        check_number_wrong(c, CF_VERSIONS, g->number,
                           "version number %llu of commit %llu is not its rank",
                           (unsigned long long)g->at_version, (unsigned long long)g->at_t);
    g->at_t = t;
    g->at_version = version;
}

/* ---- a group ---- */

static void begin(struct check *c, store_number number)
{
    struct check_group *g = c->group;
    g->number = number;
    g->id_len = 0;
    g->one_id = true;
    g->n_loads = g->n_marked = 0;
    g->loads_over = g->birth = g->whole = false;
    g->n_visible = g->at_t = g->at_version = 0;
    g->current = (struct place){ 0 };
    buf_clear(&g->index);
    stretch_begin(c, number);
}

static void finish(struct check *c)
{
    struct check_group *g = c->group;
    if (g->number == 0)
        return;
    loads_over(c);
    look_at_row(c);
    if (g->at_t)
        look_at_version(c, 0, 0);
    if (g->current.t && !g->current.deleted) {
        check_group_count(c, number_type(g->number), buf_sv(&g->index));
        c->out->n_resources += !c->again;
    }
    for (size_t i = 0; i < g->n_marked; i++)
        if (g->marked[i].before.t && !g->marked[i].before.deleted)
            g->replaced(c, g->number, g->marked[i].before.kind, g->marked[i].before.n);
}

static void see_id(struct check *c, sv id)
{
    struct check_group *g = c->group;
    if (g->id_len == 0) {
        memcpy(g->id, id.ptr, id.len);
        g->id_len = id.len;
    } else if (g->one_id && !sv_eq(id, sv_make(g->id, g->id_len))) {
        g->one_id = false;
        check_number_wrong(c, CF_VERSIONS, g->number, "its versions have several ids");
    }
}

static void see_load(struct check *c, const struct check_version *v, const struct place *at)
{
    struct check_group *g = c->group;
    g->loads = room_for(g->loads, g->n_loads, &g->loads_cap, sizeof *g->loads);
    g->loads[g->n_loads++] = *at;
    if (!c->again)
        check_load_find(c, v->n, NULL)->n_found++;
    if (v->n == number_b(v->number))
        add_birth(c, v);
}

static void see_commit(struct check *c, const struct check_version *v, const struct place *at)
{
    struct check_group *g = c->group;
    struct item x = { 0 };
    loads_over(c);
    look_at_version(c, v->t, v->head.version);
    for (size_t i = 0; i < g->n_marked; i++)
        if (at->t < g->marked[i].t && at->t > g->marked[i].before.t)
            g->marked[i].before = *at;
    item_u64(&x, v->t);
    item_u64(&x, (uint64_t)v->head.instant_ms);
    ledger_add(&c->ledgers[LEDGER_COMMITS], item_sv(&x), v->t, -1);
}

/* Every version but a birth has a row of changes. */
static void take_change_out(struct check *c, const struct check_version *v)
{
    struct item x = { 0 };
    if (v->kind == KEY_BULK && v->n == number_b(v->number))
        return;
    item_u64(&x, v->number);
    item_u64(&x, v->n);
    item_u64(&x, v->kind);
    ledger_add(&c->ledgers[LEDGER_CHANGES], item_sv(&x), v->number, -1);
}

void check_group_add(struct check *c, const struct check_version *v)
{
    struct check_group *g = c->group;
    if (v->number != g->number) {
        finish(c);
        begin(c, v->number);
    }
    if (!v->head.erased)
        see_id(c, v->head.id);
    if (v->t == 0)
        return;
    g->whole |= !v->head.erased;
    const struct place at = {
        .t = v->t, .n = v->n, .kind = v->kind, .deleted = v->head.method == STORE_METHOD_DELETE
    };
    g->n_visible++;
    c->out->n_versions += !c->again;
    if (v->kind == KEY_BULK)
        see_load(c, v, &at);
    else
        see_commit(c, v, &at);
    take_change_out(c, v);
    if (at.t > g->current.t) {
        g->current = at;
        buf_clear(&g->index);
        /* it has room for all that search_index() gives */
        IGNORE(buf_add(&g->index, v->index, NULL));
    }
}

void check_group_end(struct check *c)
{
    finish(c);
    stretch_end(c);
    c->group->number = 0;
    take_sums_out(c);
}
