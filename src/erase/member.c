/* member.c - what becomes of a resource that some version of leads to the patient.
 *
 *   it belongs to the patient now          all of it goes
 *   it is deleted, and belonged to him     all of it goes
 *   it belongs to somebody else now        the versions that belonged to the patient go
 *
 * What belongs to the patient is said by the Patient compartment (compartmentdefinition.html), each
 * version by itself. Entries of the index propose resources, and their content decides. */
#include "erase/erase_private.h"

#include "base/limits.h"
#include "codec/json.h"

struct version_mark {
    uint64_t t;
    int64_t instant_ms;
};

struct membership {
    bool now;        /* the newest version that is no deletion */
    bool deleted;    /* the newest version is a deletion */
    int64_t now_ms;  /* of the newest version */
    struct buf then; /* struct version_mark: older versions that belong */
};

static err_code belongs(const struct erasure *x, const struct store_version *v, struct arena *a,
                        bool *out, struct err *e)
{
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    const size_t n = search_compartment(x->patient, v->type, params);
    const struct search_context cx = { .base = SV_NONE };
    const struct search_id owner = { x->patient, x->what.id };
    yyjson_doc *doc;
    arena_reset(a);
    TRY(json_read(a, v->body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    const struct search_subject s = { v->type, v->id, v->instant_ms, yyjson_doc_get_root(doc),
                                      v->instant_ms };
    *out = false;
    for (size_t i = 0; i < n && !*out; i++) {
        const struct search_criterion c = {
            .param = params[i], .is_set = true, .set = &owner, .n_set = 1
        };
        *out = search_match(&cx, &c, &s);
    }
    return ERR_OK;
}

static err_code look_at(struct erasure *x, fhir_type type, sv id, struct membership *m,
                        struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(ERASE_RESOURCE_MAX);
    struct store_version v;
    err_code rc;
    bool first = true, lives = false, in;
    TRY(store_history(x->run->store, type, id, STORE_NOW, &cur, e));
    store_cursor_light(cur);
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        if (first) {
            m->deleted = v.method == STORE_METHOD_DELETE;
            m->now_ms = v.instant_ms;
        }
        first = false;
        if (v.method == STORE_METHOD_DELETE)
            continue;
        TRY(belongs(x, &v, a, &in, e));
        if (!lives)
            m->now = in;
        lives = true;
        const struct version_mark mark = { v.t, v.instant_ms };
        if (in)
            TRY(buf_add(&m->then, sv_make(&mark, sizeof mark), e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code erase_some(struct erasure *x, store_number number, const struct membership *m,
                           struct err *e)
{
    const struct version_mark *then = (const struct version_mark *)(const void *)m->then.ptr;
    /* the oldest first: what goes on finds it by the newest */
    for (size_t i = m->then.len / sizeof *then; i-- > 0;)
        if (erase_in_window(x, then[i].instant_ms))
            TRY(erase_one(x, number, then[i].t, e));
    return ERR_OK;
}

err_code erase_member(struct erasure *x, const struct store_index_hit *hit, struct err *e)
{
    struct store *st = x->run->store;
    CLEANUP(arena_free) struct arena *a = arena_new(ERASE_RESOURCE_MAX);
    struct membership m = { .then = BUF_INIT((size_t)64 << 20) };
    struct store_version v;
    struct err why;
    err_code rc = store_get_number_light(st, hit->number, STORE_NOW, a, &v, &why);
    /* the newest version was erased, and a restore left it the newest */
    if (rc == ERR_NOT_FOUND)
        rc = store_get_number_light(st, hit->number, hit->t, a, &v, &why);
    /* all of it was erased already */
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    rc = look_at(x, v.type, v.id, &m, e);
    if (rc == ERR_OK && !m.now) {
        rc = erase_some(x, hit->number, &m, e);
    } else if (rc == ERR_OK && erase_in_window(x, m.now_ms)) {
        rc = erase_audit_of(x, v.type, v.id, e);
        if (rc == ERR_OK)
            rc = erase_one(x, hit->number, 0, e);
    }
    buf_done(&m.then);
    return rc;
}
