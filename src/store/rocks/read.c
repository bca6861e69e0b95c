/* read.c - one resource as of T.
 *
 * A version that was read lately is answered out of memory (recent.c). Everything else is a look
 * for the number, unless it is known, and one seek in the versions: see versions.c for how the
 * versions of one resource are resolved. Where the row of the id says that its birth in a load is
 * all there is, the key is known, and is read without a seek. */
#include "store/rocks/read_private.h"

/* The versions of a number as of T. */
static err_code read_number(struct rocks *r, store_number number, const struct load_table *loads,
                            uint64_t as_of, struct id_group *g, struct err *e)
{
    struct iter x;
    struct key_bytes from = key_number(number);
    iter_open(&x, r, key_number(number + 1), ITER_ONE, gate_for(r, number_type(number), g->light));
    iter_seek(&x, &from);
    /* of another table */
    g->load = NULL;
    err_code rc = id_group_read(g, &x, loads, as_of, true, e);
    iter_close(&x);
    if (rc == ERR_EOF) {
        g->best.there = false;
        rc = ERR_OK;
    }
    return rc;
}

struct id_row {
    bool there;
    store_number number;
    bool later;
};

/* The load that gave birth to the resource, if it is visible as of T and brought the only version
 * up to T; or NULL. T is settled in front of the row: whoever writes behind the first version of an
 * id has its row say so before that version is visible. A row without the flag is believed for no
 * birth that is not visible: the file of that load may cover a row with the flag for a moment,
 * until the load's own publication sets it again (bulk.c). */
static const struct bulk_load *only_birth(const struct id_row *row, const struct load_table *loads,
                                          uint64_t as_of)
{
    const struct bulk_load *b = row->later ? NULL : load_table_find(loads, number_b(row->number));
    return b && b->t <= as_of ? b : NULL;
}

static err_code read_id(struct rocks *r, fhir_type type, sv id, uint64_t as_of_t,
                        struct id_row *row, struct id_group *g, uint64_t *as_of, struct err *e)
{
    struct load_table *loads;
    *as_of = rocks_as_of(r, as_of_t, &loads);
    g->best.there = g->hollow = false;
    err_code rc = ids_find(&r->ids, type, id, &row->there, &row->number, &row->later, e);
    if (rc == ERR_OK && row->there) {
        const struct bulk_load *birth = only_birth(row, loads, *as_of);
        rc = birth && !gate_for(r, type, g->light)
                 ? id_group_read_birth(g, r, row->number, birth, e)
                 : read_number(r, row->number, loads, *as_of, g, e);
    }
    load_table_unref(loads);
    /* I8 */
    if (rc == ERR_OK && g->best.there && !sv_eq(sv_make(g->id, g->id_len), id))
        rc = rocks_damaged(e);
    return rc;
}

err_code rocks_current(struct rocks *r, fhir_type type, sv id, struct rocks_current *out,
                       struct buf *body, struct err *e)
{
    struct id_group g;
    struct id_row row;
    uint64_t as_of;
    id_group_init(&g);
    err_code rc = read_id(r, type, id, STORE_NOW, &row, &g, &as_of, e);
    if (rc == ERR_OK) {
        *out = (struct rocks_current){ .has_row = row.there,
                                       .number = row.there ? row.number : 0,
                                       .later = row.there && row.later };
        if (g.best.there || g.hollow) {
            out->version = g.version;
            out->t = g.best.t;
            out->deleted = g.best.head.method == STORE_METHOD_DELETE;
        }
        if (g.best.there && !out->deleted)
            rc = buf_add(body, g.best.head.body.json, e);
    }
    id_group_done(&g);
    return rc;
}

bool rocks_is_near(struct store *st, store_number number)
{
    struct rocks *r = (struct rocks *)st;
    return recent_has(r->env->recent, &r->recent, number);
}

/* What was read, if anything, for the caller and for those who ask next. */
static err_code give(struct rocks *r, const struct id_group *g, uint64_t as_of, struct arena *a,
                     struct store_version *out, struct err *e)
{
    struct store_version v;
    if (!g->best.there)
        return ERR(e, ERR_NOT_FOUND, "no such resource");
    id_group_version(g, &v);
    /* R1: what is kept is what was asked for */
    if (v.left_out == 0)
        recent_put(r->env->recent, &r->recent, as_of, &v);
    v.id = arena_sv(a, v.id);
    if (v.body.json.len)
        v.body.json = arena_sv(a, v.body.json);
    if (v.id.ptr == NULL || (v.method != STORE_METHOD_DELETE && v.body.json.ptr == NULL))
        return arena_oom(a, e);
    *out = v;
    return ERR_OK;
}

err_code rocks_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                   struct arena *a, struct store_version *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct id_group g;
    struct id_row row;
    uint64_t as_of;
    if (recent_get_id(r->env->recent, &r->recent, type, id, as_of_t, a, out))
        return ERR_OK;
    id_group_init(&g);
    g.light = light;
    err_code rc = read_id(r, type, id, as_of_t, &row, &g, &as_of, e);
    if (rc == ERR_OK)
        rc = give(r, &g, as_of, a, out, e);
    id_group_done(&g);
    return rc;
}

err_code rocks_get_number(struct store *st, store_number number, uint64_t as_of_t, bool light,
                          struct arena *a, struct store_version *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct load_table *loads;
    struct id_group g;
    if (recent_get(r->env->recent, &r->recent, number, as_of_t, a, out))
        return ERR_OK;
    uint64_t as_of = rocks_as_of(r, as_of_t, &loads);
    id_group_init(&g);
    g.light = light;
    err_code rc = read_number(r, number, loads, as_of, &g, e);
    if (rc == ERR_OK)
        rc = give(r, &g, as_of, a, out, e);
    load_table_unref(loads);
    id_group_done(&g);
    return rc;
}

err_code rocks_number_of(struct store *st, fhir_type type, sv id, store_number *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    bool there, later;
    TRY(ids_find(&r->ids, type, id, &there, out, &later, e));
    return there ? ERR_OK : ERR(e, ERR_NOT_FOUND, "no such resource");
}
