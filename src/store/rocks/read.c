/* read.c - one resource as of T.
 *
 * A version that was read lately is answered out of memory (recent.c). Everything else is one seek
 * in the versions: see versions.c for how the versions of one id are resolved. */
#include "store/rocks/read_private.h"

static err_code read_one(struct rocks *r, fhir_type type, sv id, uint64_t as_of_t, bool body,
                         struct id_group *g, uint64_t *as_of_read, struct err *e)
{
    struct load_table *loads;
    uint64_t as_of = rocks_as_of(r, as_of_t, &loads);
    *as_of_read = as_of;
    struct iter x;
    struct key_bytes from = key_version_prefix(type, id);
    iter_open(&x, r, key_after_id(type, id), false, gate_for(r, type, g->light));
    iter_seek(&x, &from);
    /* of another table */
    g->load = NULL;
    err_code rc = id_group_read(g, &x, loads, as_of, body, e);
    iter_close(&x);
    load_table_unref(loads);
    if (rc == ERR_EOF) {
        g->best.there = false;
        rc = ERR_OK;
    }
    return rc;
}

err_code rocks_current(struct rocks *r, fhir_type type, sv id, struct rocks_current *out,
                       struct buf *body, struct err *e)
{
    struct id_group g;
    uint64_t as_of;
    id_group_init(&g);
    err_code rc = read_one(r, type, id, STORE_NOW, true, &g, &as_of, e);
    if (rc == ERR_OK) {
        *out = (struct rocks_current){ 0 };
        if (g.best.there)
            *out = (struct rocks_current){ g.version, g.best.t,
                                           g.best.head.method == STORE_METHOD_DELETE };
        if (g.best.there && !out->deleted)
            rc = buf_add(body, g.best.head.body.json, e);
    }
    id_group_done(&g);
    return rc;
}

bool rocks_is_near(struct store *st, fhir_type type, sv id)
{
    struct rocks *r = (struct rocks *)st;
    return recent_has(r->env->recent, &r->recent, type, id);
}

err_code rocks_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                   struct arena *a, struct store_version *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct id_group g;
    uint64_t as_of;
    if (recent_get(r->env->recent, &r->recent, type, id, as_of_t, a, out))
        return ERR_OK;
    id_group_init(&g);
    g.light = light;
    err_code rc = read_one(r, type, id, as_of_t, true, &g, &as_of, e);
    if (rc == ERR_OK && !g.best.there)
        rc = ERR(e, ERR_NOT_FOUND, "no such resource");
    if (rc == ERR_OK) {
        struct store_version v;
        id_group_version(&g, &v);
        /* R1: what is kept is what was asked for */
        if (sv_eq(v.id, id) && v.left_out == 0)
            recent_put(r->env->recent, &r->recent, as_of, &v);
        v.id = arena_sv(a, v.id);
        if (v.body.json.len)
            v.body.json = arena_sv(a, v.body.json);
        if (v.id.ptr == NULL || (v.method != STORE_METHOD_DELETE && v.body.json.ptr == NULL))
            rc = arena_oom(a, e);
        else
            *out = v;
    }
    id_group_done(&g);
    return rc;
}
