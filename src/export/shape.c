/* shape.c - a resource as the file has it: _elements alone, and urls of Attachments made absolute.
 *
 * Both make another text of a resource. Its digest as it is stored is kept beside, so that the
 * manifest can name both: contentDigest does not depend on how files were asked for. */
#include "export/range_private.h"

#include "base/limits.h"
#include "fhir/subset.h"

/* fhir_keep_fn */
static bool named(void *ctx, sv name, const struct fhir_member *member)
{
    const struct export_range *g = ctx;
    return fhir_subset_names(g->elements, g->n_elements, name, member);
}

/* g->root with members left out, into line; in stored and *body, what an import of that would
 * store. */
err_code range_subset(struct export_range *g, const struct store_version *v, struct buf *line,
                      struct buf *stored, struct fhir_body *body, struct err *e)
{
    struct fhir_envelope env;
    size_t before = line->len;
    TRY(fhir_subset_write(g->root, v->type, v->version, v->instant_ms, named, g, line, e));
    if (g->reader == NULL)
        g->reader = fhir_reader_new(EXPORT_RESOURCE_MAX);
    TRY(fhir_envelope_read(g->reader, sv_tail(buf_sv(line), before), SV_NONE, stored, &env, e));
    *body = env.body;
    return ERR_OK;
}

err_code range_elements_choose(struct export_range *g, fhir_type type, struct err *e)
{
    const struct job_texts *t = &g->export->params->elements;
    if (g->elements_room == NULL &&
        (g->elements_room = arena_alloc(g->a, t->n * sizeof *g->elements)) == NULL)
        return arena_oom(g->a, e);
    g->elements_of = type;
    g->elements = g->elements_room;
    g->n_elements = 0;
    for (size_t i = 0; i < t->n; i++) {
        sv rest = t->items[i], of;
        if (sv_find(rest, '.') == rest.len)
            g->elements[g->n_elements++] = rest;
        else if (sv_cut(&rest, '.', &of) && sv_eq_cstr(of, fhir_type_name(type)))
            g->elements[g->n_elements++] = rest;
    }
    /* none is asked for of this type: it comes whole */
    if (g->n_elements == 0)
        g->elements = NULL;
    return ERR_OK;
}

err_code range_absolute_make(struct export_range *g, struct err *e)
{
    struct store_version *v = &g->v;
    struct fhir_body now;
    yyjson_doc *doc;
    size_t n;
    if (g->tree == NULL)
        g->tree = arena_new(EXPORT_RESOURCE_MAX);
    arena_reset(g->tree);
    buf_clear(&g->served);
    yyjson_val *root = g->root;
    if (root == NULL) {
        TRY(json_read(g->tree, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
        root = yyjson_doc_get_root(doc);
    }
    TRY(fhir_attachments_absolute(&g->absolute, &v->body, root, &g->served, &now, &n, e));
    if (n == 0)
        return ERR_OK;
    g->rewritten = true;
    memset(&g->stored, 0, sizeof g->stored);
    TRY(range_elements(g, v->type, e));
    if (g->elements && g->root) {
        CLEANUP_BUF struct buf line = BUF_INIT(EXPORT_RESOURCE_MAX),
                               stored = BUF_INIT(EXPORT_RESOURCE_MAX);
        struct fhir_body body;
        TRY(range_subset(g, v, &line, &stored, &body, e));
        fhir_digest_body(&g->stored, &body);
        TRY(json_read(g->tree, now.json, LIMIT_RESOURCE_DEPTH, &doc, e));
        g->root = yyjson_doc_get_root(doc);
    } else {
        fhir_digest_body(&g->stored, &v->body);
    }
    v->body = now;
    v->placed = false;
    return ERR_OK;
}
