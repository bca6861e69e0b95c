/* A Bundle of requests, and the links of its resources: without replacement a text comes out as it
 * went in, and with every link replaced it is JSON that holds the same number of links, each of
 * them new. */
#include "fuzz.h"

#include "codec/json.h"
#include "fhir/bundle.h"
#include "fhir/links.h"

struct count {
    size_t n, n_new;
    bool replace;
};
#define NEW SV_LIT("Patient/new")

static err_code on_link(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e)
{
    struct count *c = ctx;
    (void)kind;
    (void)e;
    c->n++;
    c->n_new += sv_eq(text, NEW);
    if (c->replace)
        *out = NEW;
    return ERR_OK;
}

static void one_resource(sv text, yyjson_val *tree)
{
    struct count count = { 0 };
    struct fhir_links links = { .fn = on_link, .ctx = &count };
    struct buf same = BUF_INIT(SIZE_MAX / 2), changed = BUF_INIT(SIZE_MAX / 2);
    struct err e;
    if (fhir_links_rewrite(&links, text, tree, &same, &e) == ERR_OK) {
        size_t n = count.n;
        MUST(sv_eq(buf_sv(&same), text));
        count = (struct count){ .replace = true };
        MUST(fhir_links_rewrite(&links, text, tree, &changed, &e) == ERR_OK && count.n == n);
        struct arena *a = arena_new(SIZE_MAX / 2);
        yyjson_doc *doc;
        MUST(json_read(a, buf_sv(&changed), 300, &doc, &e) == ERR_OK);
        count = (struct count){ 0 };
        MUST(fhir_links_rewrite(&links, buf_sv(&changed), yyjson_doc_get_root(doc), NULL, &e) ==
             ERR_OK);
        MUST(count.n == n && count.n_new == n);
        arena_free(a);
    }
    buf_done(&same);
    buf_done(&changed);
}

FUZZ(data)
{
    struct arena *a = arena_new(64u << 20);
    struct fhir_bundle b;
    struct err e;
    if (fhir_bundle_read(data, a, 50, &b, &e) == ERR_OK) {
        MUST(b.n <= 50 && b.type.len);
        for (size_t i = 0; i < b.n; i++) {
            const struct fhir_bundle_entry *en = &b.entries[i];
            MUST(en->where);
            MUST(en->fault || (en->method.len && en->url.ptr));
            if (en->resource == NULL)
                continue;
            MUST(en->text.ptr >= data.ptr && en->text.ptr + en->text.len <= data.ptr + data.len);
            one_resource(en->text, en->resource);
        }
    }
    arena_free(a);
}
