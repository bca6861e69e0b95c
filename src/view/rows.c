/* rows.c - the rows of one resource. A row is filled from left to right: a select sets its own
 * columns for an item, then come the selects in it, then one branch of its union, then what stands
 * behind it. So a row is whole when nothing is left to do, and the rows of two selects side by side
 * are those of the one with each of the other. What is left to do is a list on the stack. After
 * each item the arena goes back to where it was. */
#include "view/view_private.h"

struct todo {
    const struct view_select *select;
    const struct fhirpath_item *focus;
    int64_t row_index;
    const struct todo *next;
};

struct making {
    const struct view *v;
    struct fhirpath_run *run;
    struct fhirpath_list *cells;
    view_row_fn row;
    void *ctx;
};

static err_code go_on(struct making *m, const struct todo *todo, struct err *e);

static err_code put_cells(struct making *m, const struct view_select *s,
                          const struct fhirpath_item *item, struct err *e)
{
    for (size_t i = 0; i < s->n_cells; i++) {
        struct fhirpath_list *cell = &m->cells[s->first + i];
        err_code rc = fhirpath_eval(s->cells[i].path, m->run, item, cell, e);
        if (rc != ERR_OK) {
            err_context(e, "%s", s->cells[i].place);
            return rc;
        }
        if (cell->n > 1 && !s->cells[i].collection)
            return ERR(e, ERR_INVALID,
                       "%s: it has %zu values for a row, and its collection is not true",
                       s->cells[i].place, cell->n);
    }
    return ERR_OK;
}

/* The branches of a union, or what comes behind it. */
static err_code branches(struct making *m, const struct todo *at, struct err *e)
{
    const struct view_select *s = at->select;
    if (s->n_unions == 0)
        return go_on(m, at->next, e);
    for (size_t i = 0; i < s->n_unions; i++) {
        struct todo branch = { &s->unions[i], at->focus, at->row_index, at->next };
        TRY(go_on(m, &branch, e));
    }
    return ERR_OK;
}

/* The selects of at->select from number i on, then its union. */
static err_code inner(struct making *m, const struct todo *at, struct err *e)
{
    const struct view_select *s = at->select;
    struct todo list[8], *all = list;
    if (s->n_selects == 0)
        return branches(m, at, e);
    /* one more for the union */
    if (s->n_selects + 1 > sizeof list / sizeof list[0]) {
        all = arena_alloc(m->run->arena, (s->n_selects + 1) * sizeof *all);
        if (all == NULL)
            return arena_oom(m->run->arena, e);
    }
    for (size_t i = 0; i < s->n_selects; i++)
        all[i] = (struct todo){ &s->selects[i], at->focus, at->row_index, &all[i + 1] };
    /* no select: the union of s */
    all[s->n_selects] = (struct todo){ NULL, (const void *)at, 0, NULL };
    return go_on(m, all, e);
}

static err_code one(struct making *m, const struct todo *todo, const struct fhirpath_item *item,
                    int64_t row_index, struct err *e)
{
    struct todo at = { todo->select, item, row_index, todo->next };
    arena_mark mark = arena_mark_get(m->run->arena);
    m->run->row_index = row_index;
    TRY(put_cells(m, at.select, item, e));
    TRY(inner(m, &at, e));
    arena_rewind(m->run->arena, mark);
    return ERR_OK;
}

static err_code items(struct making *m, const struct todo *todo, struct fhirpath_list *out,
                      size_t path, const struct fhirpath_item *from, struct err *e)
{
    m->run->row_index = todo->row_index;
    err_code rc = fhirpath_eval(todo->select->paths[path], m->run, from, out, e);
    if (rc != ERR_OK)
        err_context(e, "%s", todo->select->place);
    return rc;
}

/* An item, then all that its paths lead to, one after the other. */
static err_code repeated(struct making *m, const struct todo *todo,
                         const struct fhirpath_item *from, unsigned depth, int64_t *row_index,
                         struct err *e)
{
    struct fhirpath_list l;
    if (depth == 0)
        return ERR(e, ERR_TOO_LARGE, "%s.repeat goes too deep", todo->select->place);
    for (size_t p = 0; p < todo->select->n_paths; p++) {
        TRY(items(m, todo, &l, p, from, e));
        for (size_t i = 0; i < l.n; i++) {
            TRY(one(m, todo, &l.items[i], (*row_index)++, e));
            TRY(repeated(m, todo, &l.items[i], depth - 1, row_index, e));
        }
    }
    return ERR_OK;
}

/* The row of forEachOrNull that found nothing. */
static void put_nothing(struct making *m, const struct view_select *s)
{
    static const struct fhirpath_item zero = { .kind = FHIRPATH_INTEGER };
    for (size_t i = 0; i < s->n_columns; i++)
        m->cells[s->first + i] = (struct fhirpath_list){ NULL, 0 };
    for (size_t i = 0; i < s->n_cells; i++)
        if (s->cells[i].row_index)
            m->cells[s->first + i] = (struct fhirpath_list){ &zero, 1 };
}

static err_code go_on(struct making *m, const struct todo *todo, struct err *e)
{
    struct fhirpath_list l;
    int64_t row_index = 0;
    if (todo == NULL)
        return m->row(m->ctx, m->cells, e);
    const struct view_select *s = todo->select;
    if (s == NULL)
        return branches(m, (const struct todo *)(const void *)todo->focus, e);
    if (s->how == VIEW_ONCE)
        return one(m, todo, todo->focus, todo->row_index, e);
    if (s->how == VIEW_REPEAT)
        return repeated(m, todo, todo->focus, 64, &row_index, e);
    TRY(items(m, todo, &l, 0, todo->focus, e));
    for (size_t i = 0; i < l.n; i++)
        TRY(one(m, todo, &l.items[i], (int64_t)i, e));
    if (l.n == 0 && s->how == VIEW_EACH_OR_NULL) {
        put_nothing(m, s);
        return go_on(m, todo->next, e);
    }
    return ERR_OK;
}

/* Nothing is false; anything but a boolean is a fault of the view. */
static err_code meets(const struct view *v, struct fhirpath_run *run, bool *out, struct err *e)
{
    struct fhirpath_list l;
    struct fhirpath_item value;
    *out = true;
    for (size_t i = 0; *out && i < v->n_where; i++) {
        err_code rc = fhirpath_eval(v->where[i], run, NULL, &l, e);
        if (rc != ERR_OK) {
            err_context(e, "where[%zu].path", i);
            return rc;
        }
        bool has = l.n == 1 && fhirpath_value(&l.items[0], run->arena, &value);
        if (l.n > 1 || (l.n == 1 && (!has || value.kind != FHIRPATH_BOOLEAN)))
            return ERR(e, ERR_INVALID, "where[%zu].path: it is not a boolean", i);
        *out = has && value.as.boolean;
    }
    return ERR_OK;
}

err_code view_rows(const struct view *v, struct fhirpath_run *run, view_row_fn row, void *ctx,
                   struct err *e)
{
    sv type = json_string(json_get(run->resource, "resourceType"));
    if (!sv_eq_cstr(type, fhir_type_name(v->type)))
        return ERR_OK;
    arena_mark mark = arena_mark_get(run->arena);
    bool yes;
    run->steps = VIEW_STEPS + VIEW_STEPS_VALUE *
                                  (uint64_t)(unsafe_yyjson_get_next(run->resource) - run->resource);
    run->row_index = 0;
    err_code rc = meets(v, run, &yes, e);
    if (rc == ERR_OK && yes) {
        struct making m = { v, run, arena_calloc(run->arena, v->n_columns, sizeof *m.cells), row,
                            ctx };
        struct fhirpath_item resource = fhirpath_resource(run->resource);
        struct view_select all = { .selects = v->selects, .n_selects = v->n_selects };
        struct todo todo = { &all, &resource, 0, NULL };
        rc = m.cells ? inner(&m, &todo, e) : arena_oom(run->arena, e);
    }
    arena_rewind(run->arena, mark);
    return rc;
}
