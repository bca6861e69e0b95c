/* view_ask.h - a view over resources, and its rows as text. */
#pragma once
#include "test.h"

#include "view/view.h"

struct view_answer {
    const struct view *v;
    view_format format;
    struct arena *scratch;
    struct buf out;
};

static inline err_code view_answer_row(void *ctx, const struct fhirpath_list *cells, struct err *e)
{
    struct view_answer *x = ctx;
    return view_write_row(x->v, x->format, cells, x->scratch, &x->out, e);
}

/* resources: NULL-terminated JSON. "error: ..." when it fails. The arena's. */
static inline const char *view_ask(struct arena *a, const char *view, view_format format,
                                   const char *const *resources)
{
    struct view_answer x = { .format = format,
                             .scratch = arena_new(8u << 20),
                             .out = BUF_INIT(8u << 20) };
    struct err err = { 0 };
    err_code rc = view_compile(sv_from(view), a, &x.v, &err);
    if (rc == ERR_OK)
        rc = view_write_head(x.v, format, &x.out, &err);
    for (size_t i = 0; rc == ERR_OK && resources[i]; i++) {
        struct arena *one = arena_new(64u << 20);
        yyjson_doc *doc;
        OK(json_read(one, sv_from(resources[i]), 64, &doc, e));
        struct fhirpath_run run = { .arena = one, .resource = yyjson_doc_get_root(doc) };
        rc = view_rows(x.v, &run, view_answer_row, &x, &err);
        arena_free(one);
    }
    const char *said = rc == ERR_OK ? arena_str(a, buf_sv(&x.out))
                                    : arena_fmt(a, "error: %s: %s", err.ctx, err.msg).ptr;
    buf_done(&x.out);
    arena_free(x.scratch);
    return said;
}
