/* against.c - an export against a running store, as of the export's commit.
 *
 *   counts   of every type that the export looked at, by a search that reads as of that commit
 *   sample   resources picked at random from the files: the version that was current at the instant
 *   --full   every resource of every exported type, page by page as of that commit
 *
 * The commit is the manifest's asOfCommit. It is asked for with _asOf, a parameter of ours for
 * callers who may see history. */
#include "cli/verify/verify_private.h"

#include "codec/uri.h"

#define PAGE_COUNT 500

struct against {
    struct verify *verify;
    struct client *client;
    char base[256]; /* path: "/datastore/ID/r4" */
};

static err_code open_client(struct against *against, struct err *e)
{
    struct uri_http u;
    struct client_options o = against->verify->o.to;
    sv url = sv_from(against->verify->o.against);
    while (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    TRY(uri_http_parse(url, &u, e));
    sv root = sv_head(url, url.len - u.path.len);
    if (u.path.len == 0 && against->verify->datastore_id.len == 0)
        return ERR(e, ERR_INVALID,
                   "the manifest names no data store: give --against its whole URL, "
                   "http://HOST:PORT/datastore/ID/r4");
    int n = u.path.len ? snprintf(against->base, sizeof against->base, "%.*s", SV_FMT(u.path))
                       : snprintf(against->base, sizeof against->base, "/datastore/%.*s/r4",
                                  SV_FMT(against->verify->datastore_id));
    if (n < 0 || n >= (int)sizeof against->base)
        return ERR(e, ERR_INVALID, "--against is too long a URL");
    o.endpoint = arena_str(against->verify->a, root);
    return o.endpoint ? client_new(&o, &against->client, e) : arena_oom(against->verify->a, e);
}

/* GET below [base]; the document is owned by a. */
static err_code get(struct against *against, sv target, struct arena *a, yyjson_val **out,
                    struct err *e)
{
    struct client_answer answer;
    struct client_call call = { .method = "GET", .target = target };
    yyjson_doc *doc;
    TRY(client_run(against->client, &call, &answer, e));
    err_code rc = answer.status == 200 ? ERR_OK : client_refusal(&answer, e);
    sv text = SV_NONE;
    if (rc == ERR_OK) {
        text = arena_sv(a, buf_sv(&answer.body));
        rc = text.ptr ? json_read(a, text, VERIFY_DEPTH, &doc, e) : arena_oom(a, e);
    }
    buf_done(&answer.body);
    if (rc == ERR_OK)
        *out = yyjson_doc_get_root(doc);
    return rc;
}

/* ---- counts ---- */

/* What the manifest says the store held of a type. False: it does not say. */
static bool store_count(const struct verify *verify, const char *type, uint64_t *out)
{
    yyjson_val *met = json_get(verify->manifest, "storeCountPerType");
    *out = 0;
    if (sv_to_u64(json_number(json_get(met, type)), out))
        return true;
    if (!verify->whole)
        return false;
    /* A type that is not named: none. */
    IGNORE(
        !sv_to_u64(json_number(json_get(json_get(verify->manifest, "countPerType"), type)), out));
    return true;
}

/* The files hold all that the store held of a type. */
static bool holds_all(const struct verify *verify, const char *type)
{
    uint64_t exported = 0, met;
    /* A type that is not named: none. */
    IGNORE(!sv_to_u64(json_number(json_get(json_get(verify->manifest, "countPerType"), type)),
                      &exported));
    return store_count(verify, type, &met) && met == exported;
}

static err_code check_counts(struct against *against, struct err *e)
{
    struct verify *verify = against->verify;
    yyjson_val *root;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const char *type = fhir_type_name((fhir_type)t);
        uint64_t want = 0, have = 0;
        arena_reset(a);
        if (!store_count(verify, type, &want))
            continue;
        sv target = arena_fmt(a, "%s/%s?_summary=count&_total=accurate&_asOf=%llu", against->base,
                              type, (unsigned long long)verify->as_of);
        TRY(get(against, target, a, &root, e));
        if (!sv_to_u64(json_number(json_get(root, "total")), &have))
            return ERR(e, ERR_PEER, "the store does not tell how many %s it held", type);
        if (want != have)
            verify_differs(verify, "store: held %llu %s as of the export, the manifest says %llu",
                           (unsigned long long)have, type, (unsigned long long)want);
    }
    return ERR_OK;
}

/* ---- a sample ---- */

static err_code check_sample(struct against *against, const struct verify_sample *s,
                             struct arena *a, struct buf *scratch, struct err *e)
{
    struct verify *verify = against->verify;
    yyjson_val *root;
    verify_key have;
    struct err why = { 0 };
    sv target = arena_fmt(a, "%s/%s/%.*s/_history?_at=%.*s", against->base, fhir_type_name(s->type),
                          SV_FMT(s->id), SV_FMT(verify->instant));
    err_code rc = get(against, target, a, &root, &why);
    if (rc == ERR_NOT_FOUND) {
        verify_differs(verify, "store: has no %s that is in the files", fhir_type_name(s->type));
        return ERR_OK;
    }
    if (rc != ERR_OK)
        return err_pass(e, &why);
    yyjson_val *entry = yyjson_arr_get_first(json_get(root, "entry"));
    yyjson_val *resource = json_get(entry, "resource");
    if (resource == NULL) {
        verify_differs(verify, "store: a %s of the files was not there as of the export",
                       fhir_type_name(s->type));
        return ERR_OK;
    }
    TRY(verify_text_served(verify, resource, scratch, &have, e));
    if (!verify_key_is_none(&s->text) && verify_key_cmp(&have, &s->text) != 0)
        verify_differs(verify, "store: %s/%.*s was another version, or another text",
                       fhir_type_name(s->type), SV_FMT(s->id));
    return ERR_OK;
}

static err_code check_samples(struct against *against, struct err *e)
{
    CLEANUP_BUF struct buf scratch = BUF_INIT(VERIFY_LINE_MAX);
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)1 << 30);
    for (size_t i = 0; i < against->verify->n_samples; i++) {
        arena_reset(a);
        TRY(check_sample(against, &against->verify->samples[i], a, &scratch, e));
    }
    verify_note(against->verify, "store: %zu resources picked at random were compared",
                against->verify->n_samples);
    return ERR_OK;
}

/* ---- all ---- */

struct row {
    verify_key key, text;
};
static int row_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(verify_key));
}

struct gather {
    struct buf rows, scratch;
    /* The rows are of resources that the store holds; NULL: of those in the files. */
    const struct verify *store;
};

static err_code gather(void *ctx, yyjson_val *resource, struct err *e)
{
    struct gather *g = ctx;
    struct row r = { .key = verify_key_of(json_string(json_get(resource, "resourceType")),
                                          json_string(json_get(resource, "id"))) };
    TRY(g->store ? verify_text_served(g->store, resource, &g->scratch, &r.text, e)
                 : verify_text_of(resource, &g->scratch, &r.text, e));
    return buf_add(&g->rows, sv_make(&r, sizeof r), e);
}

static sv next_link(struct against *against, yyjson_val *root)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "link"));
    yyjson_val *link;
    while ((link = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(json_string(json_get(link, "relation")), SV_LIT("next"))) {
            /* a path of the same server */
            sv url = json_string(json_get(link, "url"));
            const char *at = memmem(url.ptr, url.len, against->base, strlen(against->base));
            return at ? sv_tail(url, (size_t)(at - url.ptr)) : SV_NONE;
        }
    return SV_NONE;
}

/* One page of the store against the files' rows. *n counts those that were found. */
static void compare_page(struct verify *verify, yyjson_val *root, fhir_type type,
                         struct gather *files, struct gather *page, uint64_t *n)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "entry"));
    yyjson_val *entry;
    bool all = holds_all(verify, fhir_type_name(type));
    /* a page is bounded */
    struct err ignored;
    while ((entry = yyjson_arr_iter_next(&it)) != NULL) {
        yyjson_val *resource = json_get(entry, "resource");
        buf_clear(&page->rows);
        if (gather(page, resource, &ignored) != ERR_OK)
            continue;
        const struct row *r = (const struct row *)(const void *)page->rows.ptr;
        const struct row *f =
            files->rows.len
                ? bsearch(r, files->rows.ptr, files->rows.len / sizeof *r, sizeof *r, row_cmp)
                : NULL;
        *n += f != NULL;
        if (f == NULL && all)
            verify_differs(verify, "store: held %s/%.*s, which is not in the files",
                           fhir_type_name(type), SV_FMT(json_string(json_get(resource, "id"))));
        else if (f && !verify_key_is_none(&f->text) && verify_key_cmp(&f->text, &r->text) != 0)
            verify_differs(verify, "store: %s/%.*s was another version, or another text",
                           fhir_type_name(type), SV_FMT(json_string(json_get(resource, "id"))));
    }
}

static err_code check_type(struct against *against, fhir_type type, struct err *e)
{
    struct verify *verify = against->verify;
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)1 << 30);
    struct gather files = { BUF_INIT((size_t)16 << 30), BUF_INIT(VERIFY_LINE_MAX), NULL };
    struct gather page = { BUF_INIT(1024), BUF_INIT(VERIFY_LINE_MAX), verify };
    uint64_t found = 0;
    char next[2048];
    (void)snprintf(next, sizeof next, "%s/%s?_asOf=%llu&_count=%d", against->base,
                   fhir_type_name(type), (unsigned long long)verify->as_of, PAGE_COUNT);
    err_code rc = verify_each(verify, type, gather, &files, e);
    size_t n = files.rows.len / sizeof(struct row);
    if (n)
        qsort(files.rows.ptr, n, sizeof(struct row), row_cmp);
    while (rc == ERR_OK && next[0]) {
        yyjson_val *root;
        arena_reset(a);
        rc = get(against, sv_from(next), a, &root, e);
        if (rc != ERR_OK)
            break;
        compare_page(verify, root, type, &files, &page, &found);
        sv link = next_link(against, root);
        (void)snprintf(next, sizeof next, "%.*s", SV_FMT(link));
    }
    if (rc == ERR_OK && found != n)
        verify_differs(verify, "store: did not hold %llu %s of the files as of the export",
                       (unsigned long long)(n - found), fhir_type_name(type));
    buf_done(&files.rows);
    buf_done(&files.scratch);
    buf_done(&page.rows);
    buf_done(&page.scratch);
    return rc;
}

static bool in_files(const struct verify *verify, fhir_type type)
{
    /* Files that hold several types are counted there. */
    yyjson_val *counts = json_get(verify->manifest, "countPerType");
    for (size_t i = 0; i < verify->n_files; i++)
        if (verify->files[i].role == VERIFY_OUTPUT &&
            (verify->files[i].type.len == 0 ? json_get(counts, fhir_type_name(type)) != NULL
                                            : fhir_type_find(verify->files[i].type) == type))
            return true;
    return false;
}

static err_code check_all(struct against *against, struct err *e)
{
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        /* That the store had none of the other types is told by the counts. */
        if (in_files(against->verify, (fhir_type)t))
            TRY(check_type(against, (fhir_type)t, e));
    verify_note(against->verify, "store: every resource of the files was compared");
    return ERR_OK;
}

err_code verify_against(struct verify *verify, struct err *e)
{
    struct against against = { .verify = verify };
    if (verify->as_of == 0)
        return ERR(e, ERR_INVALID, "the manifest names no commit to compare with");
    err_code rc = open_client(&against, e);
    if (rc == ERR_OK)
        rc = check_counts(&against, e);
    if (rc == ERR_OK)
        rc = verify->o.full ? check_all(&against, e) : check_samples(&against, e);
    client_free(against.client);
    return rc;
}
