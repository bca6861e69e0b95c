/* select.c - which resources go, and that they do.
 *
 * Resources are chosen as of one commit, which the job's record has, so a run that goes on chooses
 * the same: an id that was erased is free, and who took it meanwhile keeps what he wrote. What is
 * written behind that commit to a resource that was chosen goes with it when all of the resource is
 * erased; a deletion (soft) leaves it alone.
 *
 * Nothing is collected: each resource goes when its turn comes, and a second look at it finds
 * nothing. */
#include "erase/erase_private.h"

struct seen {
    bool chosen;         /* it has a version that is not behind the commit */
    store_number number; /* of the resource that has; the id can be another one's a moment later */
    int64_t newest_ms;   /* of the newest version now, an erased one too */
};

static err_code look_at(const struct erasure *x, fhir_type type, sv id, struct seen *out,
                        struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    err_code rc;
    bool first = true;
    *out = (struct seen){ 0 };
    TRY(store_history(x->run->store, type, id, STORE_NOW, &cur, e));
    store_cursor_light(cur);
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK && !out->chosen) {
        if (first)
            out->newest_ms = v.instant_ms;
        first = false;
        out->chosen = v.t <= x->t;
        out->number = v.number;
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* With audit events, unless one version alone goes. */
static err_code select_chosen(struct erasure *x, store_number number, struct err *e)
{
    if (x->what.t == 0)
        TRY(erase_audit_of(x, x->what.type, x->what.id, e));
    return erase_one(x, number, x->what.t, e);
}

static err_code select_resource(struct erasure *x, struct err *e)
{
    struct seen seen;
    TRY(look_at(x, x->what.type, x->what.id, &seen, e));
    return seen.chosen ? select_chosen(x, seen.number, e) : ERR_OK;
}

/* Members first: while the patient is there, whoever goes on finds the rest of them as well as
 * before. */
static err_code select_patient(struct erasure *x, struct err *e)
{
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    const struct search_id owner = { x->patient, x->what.id };
    struct seen seen;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        if (t == x->patient || (t == x->audit_event && !x->what.audit))
            continue;
        const size_t n = search_compartment(x->patient, (fhir_type)t, params);
        for (size_t i = 0; i < n; i++)
            TRY(erase_each_referrer(x, (fhir_type)t, params[i], &owner, erase_member, e));
    }
    TRY(look_at(x, x->patient, x->what.id, &seen, e));
    return seen.chosen && erase_in_window(x, seen.newest_ms) ? select_chosen(x, seen.number, e)
                                                             : ERR_OK;
}

#define LOG_ROWS 512u

/* One version of a type that was erased from: is it there, and is its resource none as of now? */
static err_code see_row(struct erasure *x, const struct store_log_row *row, struct arena *a,
                        struct err *e)
{
    struct store *st = x->run->store;
    struct store_version v, now;
    struct seen seen;
    struct err why;
    TRY(erase_goes_on(x, e));
    err_code rc = store_get_number_light(st, row->number, STORE_NOW, a, &now, &why);
    /* else a cursor has it */
    if (rc == ERR_NOT_FOUND)
        rc = store_get_number_light(st, row->number, row->t, a, &v, &why);
    else if (rc == ERR_OK)
        return ERR_OK;
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(look_at(x, v.type, v.id, &seen, e));
    if (!erase_in_window(x, seen.newest_ms))
        return ERR_OK;
    TRY(erase_audit_of(x, v.type, v.id, e));
    return erase_one(x, row->number, 0, e);
}

/* Resources whose newest version was erased, by a restore to just then: no cursor has them, and
 * histories do. */
static err_code select_hidden(struct erasure *x, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(ERASE_RESOURCE_MAX);
    CLEANUP(arena_free) struct arena *scratch = arena_new(ERASE_RESOURCE_MAX);
    struct store_log_row last = { .t = x->t }, *rows;
    size_t n;
    do {
        arena_reset(a);
        TRY(store_log(x->run->store, x->what.type, last.t, last.number, LOG_ROWS, a, &rows, &n, e));
        for (size_t i = 0; i < n; i++) {
            arena_reset(scratch);
            TRY(see_row(x, &rows[i], scratch, e));
        }
        if (n)
            last = rows[n - 1];
    } while (n);
    return ERR_OK;
}

/* All that has any version as of the commit, deleted ones too; when they are only to be deleted,
 * those that are there. */
static err_code select_type(struct erasure *x, struct err *e)
{
    const struct store_range all = { .type = x->what.type };
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    err_code rc;
    if (x->t == 0)
        return ERR_OK;
    TRY(x->what.soft ? store_scan(x->run->store, &all, x->t, &cur, e)
                     : store_changes(x->run->store, &all, 0, x->t, &cur, e));
    store_cursor_light(cur);
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        TRY(erase_goes_on(x, e));
        if (!erase_in_window(x, v.instant_ms))
            continue;
        TRY(erase_audit_of(x, v.type, v.id, e));
        bool gone = false;
        TRY(x->what.soft ? erase_soft(x, &v, &gone, e) : erase_one(x, v.number, 0, e));
        x->n_soft += gone;
        TRY(erase_tell(x, e));
    }
    if (rc != ERR_EOF)
        return rc;
    return x->what.soft ? ERR_OK : select_hidden(x, e);
}

err_code erase_select(struct erasure *x, struct err *e)
{
    static err_code (*const fns[ERASE_N_SCOPES])(struct erasure *, struct err *) = {
        [ERASE_RESOURCE] = select_resource,
        [ERASE_PATIENT] = select_patient,
        [ERASE_TYPE] = select_type,
    };
    return fns[x->what.scope](x, e);
}
