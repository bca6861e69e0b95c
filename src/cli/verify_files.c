/* verify_files.c - each file that the manifest names: is it there, with its size, its digest and
 * its count, and is every line what the file's role asks for? Deletions are read first, because
 * outputs are compared with them. Then come the checks over all files: doubles, sums, and files
 * that the manifest does not name. */
#include "cli/verify_private.h"

#include "base/rng.h"

#define HEAD_REFERENCE_MAX 256u

/* ---- one file, line by line ---- */

struct reading {
    struct verify *v;
    struct verify_file *f;
    struct arena *a; /* of one line */
    uint64_t line;
    struct buf scratch;
    unsigned bad;
};

static bool tell(struct reading *r)
{
    /* So many of one file are told. */
    return r->bad++ < 5;
}

static void pick(struct reading *r, yyjson_val *root, sv type, sv id, struct err *e)
{
    struct verify *v = r->v;
    uint64_t at = v->n_seen++;
    if (v->max_samples == 0)
        return;
    if (v->n_samples < v->max_samples)
        at = v->n_samples++;
    else if ((at = rng_u64() % v->n_seen) >= v->max_samples)
        return;
    struct verify_sample s = { .type = fhir_type_find(type), .id = arena_sv(v->a, id) };
    if (s.id.ptr && verify_text_of(root, &r->scratch, &s.text, e) == ERR_OK)
        v->samples[at] = s;
}

/* The head of a block: whose resources follow. */
static err_code head_line(struct reading *r, yyjson_val *root, struct err *e)
{
    struct verify_file *f = r->f;
    yyjson_val *p = yyjson_arr_get_first(json_get(root, "parameter"));
    sv of = json_string(json_get(json_get(p, "valueReference"), "reference"));
    f->sorted = false;
    f->heads++;
    if ((!sv_eq(json_string(json_get(p, "name")), SV_LIT("header")) || of.len == 0) && tell(r))
        verify_differs(r->v, "%.*s: line %llu is no head of a block", SV_FMT(f->name),
                       (unsigned long long)r->line);
    if (f->last_block.len && sv_cmp(f->last_block, of) >= 0 && tell(r))
        verify_differs(r->v, "%.*s: line %llu: blocks do not ascend", SV_FMT(f->name),
                       (unsigned long long)r->line);
    /* room for any, written over head by head */
    if (f->last_block.ptr == NULL) {
        f->first_block = arena_sv(r->v->a, of);
        f->last_block = sv_make(arena_alloc(r->v->a, HEAD_REFERENCE_MAX), 0);
        if (f->first_block.ptr == NULL || f->last_block.ptr == NULL)
            return arena_oom(r->v->a, e);
    }
    f->last_block.len = of.len < HEAD_REFERENCE_MAX ? of.len : HEAD_REFERENCE_MAX;
    if (of.len)
        memcpy((char *)(uintptr_t)f->last_block.ptr, of.ptr, f->last_block.len);
    return ERR_OK;
}

static err_code output_line(struct reading *r, sv line, yyjson_val *root, struct err *e)
{
    struct verify_file *f = r->f;
    sv type = json_string(json_get(root, "resourceType")), id = json_string(json_get(root, "id"));
    if (f->type.len == 0 && sv_eq(type, SV_LIT("Parameters")))
        return head_line(r, root, e);
    if (f->has_blocks && f->heads == 0 && tell(r))
        verify_differs(r->v, "%.*s: line %llu stands before the head of any block", SV_FMT(f->name),
                       (unsigned long long)r->line);
    if (f->type.len && !sv_eq(type, f->type)) {
        if (tell(r))
            verify_differs(r->v, "%.*s: line %llu is no %.*s", SV_FMT(f->name),
                           (unsigned long long)r->line, SV_FMT(f->type));
        return ERR_OK;
    }
    if (fhir_type_find(type) == FHIR_TYPE_NONE || !fhir_id_ok(id)) {
        if (tell(r))
            verify_differs(r->v, "%.*s: line %llu is no resource with a type and an id",
                           SV_FMT(f->name), (unsigned long long)r->line);
        return ERR_OK;
    }
    f->sorted = f->sorted && f->type.len && (f->last_id.ptr == NULL || sv_cmp(f->last_id, id) < 0);
    if (f->sorted) {
        if (f->first_id.ptr == NULL)
            f->first_id = arena_sv(r->v->a, id);
        /* room for any id, written over line by line */
        if (f->last_id.ptr == NULL)
            f->last_id = sv_make(arena_alloc(r->v->a, FHIR_ID_MAX), 0);
        if (f->first_id.ptr == NULL || f->last_id.ptr == NULL)
            return arena_oom(r->v->a, e);
        memcpy((char *)(uintptr_t)f->last_id.ptr, id.ptr, id.len);
        f->last_id.len = id.len;
    }
    if (r->v->deleted.len) {
        verify_key k = verify_key_of(type, id);
        if (bsearch(&k, r->v->deleted.ptr, r->v->deleted.len / sizeof k, sizeof k,
                    verify_key_cmp) &&
            tell(r))
            verify_differs(r->v, "%.*s: line %llu is among the deleted too", SV_FMT(f->name),
                           (unsigned long long)r->line);
    }
    verify_content_line(r->v, fhir_type_find(type), line);
    pick(r, root, type, id, e);
    return ERR_OK;
}

/* A Bundle of deletions. */
static err_code deleted_line(struct reading *r, yyjson_val *root, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "entry"));
    yyjson_val *entry;
    bool good = sv_eq(json_string(json_get(root, "resourceType")), SV_LIT("Bundle")) &&
                sv_eq(json_string(json_get(root, "type")), SV_LIT("transaction"));
    while (good && (entry = yyjson_arr_iter_next(&it)) != NULL) {
        yyjson_val *request = json_get(entry, "request");
        sv url = json_string(json_get(request, "url")), type, whole = url;
        good = sv_eq(json_string(json_get(request, "method")), SV_LIT("DELETE")) &&
               sv_cut(&url, '/', &type) && fhir_type_find(type) && fhir_id_ok(url);
        if (good) {
            verify_key k = verify_key_of(type, url);
            verify_content_deletion(r->v, fhir_type_find(type), whole);
            TRY(buf_add(&r->v->deleted, sv_make(&k, sizeof k), e));
        }
    }
    if (!good && tell(r))
        verify_differs(r->v, "%.*s: line %llu is no transaction Bundle of DELETE entries",
                       SV_FMT(r->f->name), (unsigned long long)r->line);
    return ERR_OK;
}

static err_code on_line(void *ctx, sv line, struct err *e)
{
    struct reading *r = ctx;
    yyjson_doc *doc;
    r->line++;
    arena_reset(r->a);
    if (json_read(r->a, line, VERIFY_DEPTH, &doc, NULL) != ERR_OK ||
        !yyjson_is_obj(yyjson_doc_get_root(doc))) {
        if (tell(r))
            verify_differs(r->v, "%.*s: line %llu is not a JSON object", SV_FMT(r->f->name),
                           (unsigned long long)r->line);
        return ERR_OK;
    }
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (r->f->role == VERIFY_OUTPUT)
        return output_line(r, line, root, e);
    if (r->f->role == VERIFY_DELETED)
        return deleted_line(r, root, e);
    if (!sv_eq(json_string(json_get(root, "resourceType")), SV_LIT("OperationOutcome")) && tell(r))
        verify_differs(r->v, "%.*s: line %llu is no OperationOutcome", SV_FMT(r->f->name),
                       (unsigned long long)r->line);
    return ERR_OK;
}

static err_code check_file(struct verify *v, struct verify_file *f, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)2 << 30);
    struct reading r = { .v = v, .f = f, .a = a, .scratch = BUF_INIT(VERIFY_LINE_MAX) };
    struct err why = { 0 };
    f->sorted = true;
    err_code rc = verify_lines(v, f, on_line, &r, &why);
    buf_done(&r.scratch);
    if (rc == ERR_NOT_FOUND) {
        verify_differs(v, "%.*s: the file is missing", SV_FMT(f->name));
        return ERR_OK;
    }
    if (rc != ERR_OK)
        return err_pass(e, &why);
    f->there = true;
    if (f->has_bytes && f->size != f->bytes)
        verify_differs(v, "%.*s: %llu bytes, the manifest says %llu", SV_FMT(f->name),
                       (unsigned long long)f->size, (unsigned long long)f->bytes);
    uint64_t resources = f->lines - f->heads;
    if (f->has_count && resources != f->count)
        verify_differs(v, "%.*s: %llu %s, the manifest says %llu", SV_FMT(f->name),
                       (unsigned long long)resources, f->has_blocks ? "resources" : "lines",
                       (unsigned long long)f->count);
    if (f->has_blocks && f->heads != f->blocks)
        verify_differs(v, "%.*s: %llu blocks, the manifest says %llu", SV_FMT(f->name),
                       (unsigned long long)f->heads, (unsigned long long)f->blocks);
    if (f->sha256.len && !sv_eq(f->sha256, sv_make(f->digest, SHA256_HEX_LEN)))
        verify_differs(v, "%.*s: SHA-256 is not the manifest's", SV_FMT(f->name));
    if (r.bad > 5)
        verify_differs(v, "%.*s: and %u more lines like these", SV_FMT(f->name), r.bad - 5);
    v->resources += f->role == VERIFY_OUTPUT ? resources : 0;
    v->bytes += f->size;
    verify_note(v, "%.*s: %llu lines, %llu bytes", SV_FMT(f->name), (unsigned long long)f->lines,
                (unsigned long long)f->size);
    return ERR_OK;
}

/* ---- all of them ---- */

static bool is_named(void *ctx, sv name, uint64_t bytes)
{
    struct verify *v = ctx;
    (void)bytes;
    if (sv_eq(name, SV_LIT("manifest.json")))
        return true;
    if (bsearch(&name, v->names, v->n_files, sizeof name, verify_by_text) == NULL)
        verify_differs(v, "%.*s: is not in the manifest", SV_FMT(name));
    return true;
}

err_code verify_files(struct verify *v, struct err *e)
{
    verify_content_begin(v);
    /* deletions first: outputs are compared with them */
    for (size_t i = 0; i < v->n_files; i++)
        if (v->files[i].role == VERIFY_DELETED)
            TRY(check_file(v, &v->files[i], e));
    if (v->deleted.len)
        qsort(v->deleted.ptr, v->deleted.len / sizeof(verify_key), sizeof(verify_key),
              verify_key_cmp);
    for (size_t i = 0; i < v->n_files; i++)
        if (v->files[i].role != VERIFY_DELETED)
            TRY(check_file(v, &v->files[i], e));
    TRY(verify_doubles(v, e));
    verify_sums(v);
    verify_content_check(v);
    return place_list(v->place, is_named, v, e);
}
