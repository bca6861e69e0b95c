/* verify_files.c - each file that the manifest names: is it there, with its size, its digest and
 * its count, and is every line what the file's role asks for? Deletions are read first, because
 * outputs are compared with them. Then come the checks over all files:
 *
 *   doubles   no resource stands in the files twice. The files of a plain export hold ids in
 *             ascending order, and each file of a type holds a range of its own. Where that is so,
 *             no id can stand twice, and no set of ids is kept. Where it is not (filtered or
 *             organized exports), the type's files are read once more into a set
 *   sums      what the manifest says of all files together: counts and bytes, counts of each type,
 *             the digest over the digests, and blocks that go on in another file
 *   unnamed   files that the manifest does not name */
#include "cli/verify_private.h"

#include "base/rng.h"

/* ---- doubles ---- */

static int by_first_id(const void *a, const void *b)
{
    const struct verify_file *const *x = a, *const *y = b;
    return sv_cmp((*x)->first_id, (*y)->first_id);
}

/* The files of a type hold ranges that are apart. */
static bool ranges_apart(struct verify *v, sv type)
{
    struct verify_file **of = arena_alloc(v->a, (v->n_files + 1) * sizeof(struct verify_file *));
    size_t n = 0;
    for (size_t i = 0; of && i < v->n_files; i++) {
        struct verify_file *f = &v->files[i];
        if (f->role != VERIFY_OUTPUT || !sv_eq(f->type, type) || f->first_id.ptr == NULL)
            continue;
        if (!f->sorted)
            return false;
        of[n++] = f;
    }
    if (n)
        qsort(of, n, sizeof(struct verify_file *), by_first_id);
    for (size_t i = 1; i < n; i++)
        if (sv_cmp(of[i - 1]->last_id, of[i]->first_id) >= 0)
            return false;
    return of != NULL;
}

static err_code add_key(void *ctx, yyjson_val *root, struct err *e)
{
    struct buf *set = ctx;
    verify_key k = verify_key_of(json_string(json_get(root, "resourceType")),
                                 json_string(json_get(root, "id")));
    return buf_add(set, sv_make(&k, sizeof k), e);
}

static err_code check_set(struct verify *v, sv type, struct err *e)
{
    CLEANUP_BUF struct buf set = BUF_INIT((size_t)8 << 30);
    TRY(verify_each(v, fhir_type_find(type), add_key, &set, e));
    size_t n = set.len / sizeof(verify_key), twice = 0;
    verify_key *k = (verify_key *)(void *)set.ptr;
    if (n)
        qsort(k, n, sizeof *k, verify_key_cmp);
    for (size_t i = 1; i < n; i++)
        twice += verify_key_cmp(&k[i - 1], &k[i]) == 0;
    if (twice)
        verify_differs(v, "%.*s: %zu times a resource is there once more",
                       SV_FMT(type.len ? type : SV_LIT("output")), twice);
    return ERR_OK;
}

static err_code check_doubles(struct verify *v, struct err *e)
{
    bool mixed = false;
    for (size_t i = 0; i < v->n_files; i++) {
        const struct verify_file *f = &v->files[i];
        bool told = false;
        mixed |= f->role == VERIFY_OUTPUT && f->type.len == 0;
        for (size_t k = 0; k < i && !told; k++)
            told = v->files[k].role == VERIFY_OUTPUT && sv_eq(v->files[k].type, f->type);
        if (f->role == VERIFY_OUTPUT && f->type.len && !told && !ranges_apart(v, f->type))
            TRY(check_set(v, f->type, e));
    }
    return mixed ? check_set(v, SV_LIT(""), e) : ERR_OK;
}

/* ---- sums ---- */

static int by_digest(const void *a, const void *b)
{
    const struct verify_file *const *x = a, *const *y = b;
    return memcmp((*x)->digest, (*y)->digest, SHA256_HEX_LEN);
}

/* SHA-256 over the files' SHA-256 in hex, sorted, each with a newline. */
static void check_digest(struct verify *v)
{
    sv want = json_string(json_get(v->manifest, "sha256"));
    struct verify_file **all = arena_alloc(v->a, (v->n_files + 1) * sizeof(struct verify_file *));
    unsigned char d[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    size_t n = 0;
    if (want.len == 0 || all == NULL)
        return;
    struct hash_sha256 *h = hash_sha256_new();
    for (size_t i = 0; i < v->n_files; i++)
        if (v->files[i].there)
            all[n++] = &v->files[i];
    if (n)
        qsort(all, n, sizeof(struct verify_file *), by_digest);
    for (size_t i = 0; i < n; i++) {
        hash_sha256_add(h, sv_make(all[i]->digest, SHA256_HEX_LEN));
        hash_sha256_add(h, SV_LIT("\n"));
    }
    hash_sha256_take(h, d);
    hash_sha256_free(h);
    hash_hex(d, sizeof d, hex);
    if (!sv_eq(want, sv_make(hex, sizeof hex)))
        verify_differs(v, "the digest over all files is not the manifest's");
}

static void check_sum(struct verify *v, const char *name, uint64_t have)
{
    uint64_t want;
    if (sv_to_u64(json_number(json_get(v->manifest, name)), &want) && want != have)
        verify_differs(v, "manifest: %s is %llu, the files hold %llu", name,
                       (unsigned long long)want, (unsigned long long)have);
}

static void check_types(struct verify *v)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(json_get(v->manifest, "countPerType"));
    yyjson_val *key;
    uint64_t sum = 0, bytes = 0;
    bool mixed = false;
    for (size_t i = 0; i < v->n_files; i++) {
        const struct verify_file *f = &v->files[i];
        sum += f->role == VERIFY_OUTPUT ? f->lines - f->heads : 0;
        bytes += f->role == VERIFY_OUTPUT ? f->size : 0;
        mixed |= f->role == VERIFY_OUTPUT && f->type.len == 0;
    }
    check_sum(v, "count", sum);
    check_sum(v, "bytes", bytes);
    /* the digest of the content has the counts of its types in it */
    if (mixed)
        return;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        uint64_t want, have = 0;
        for (size_t i = 0; i < v->n_files; i++)
            if (v->files[i].role == VERIFY_OUTPUT && sv_eq(v->files[i].type, json_string(key)))
                have += v->files[i].lines;
        if (!sv_to_u64(json_number(yyjson_obj_iter_get_val(key)), &want) || want != have)
            verify_differs(v, "manifest: countPerType of %s is %llu, the files hold %llu",
                           yyjson_get_str(key), (unsigned long long)want, (unsigned long long)have);
        sv met =
            json_number(json_get(json_get(v->manifest, "storeCountPerType"), yyjson_get_str(key)));
        if (v->whole && sv_to_u64(met, &want) && want != have)
            verify_differs(v, "manifest: storeCountPerType of %s is %llu, the files hold %llu",
                           yyjson_get_str(key), (unsigned long long)want, (unsigned long long)have);
    }
}

/* A block that goes on in another file begins that one. */
static void check_continued(struct verify *v)
{
    for (size_t i = 0; i < v->n_files; i++) {
        const struct verify_file *f = &v->files[i], *next = NULL;
        for (size_t k = 0; f->continues.len && k < v->n_files; k++)
            if (v->files[k].role == VERIFY_OUTPUT && sv_eq(v->files[k].name, f->continues))
                next = &v->files[k];
        if (f->continues.len && (next == NULL || !sv_eq(next->first_block, f->last_block)))
            verify_differs(v, "%.*s: its last block does not go on in the file that it names",
                           SV_FMT(f->name));
    }
}

static void check_sums(struct verify *v)
{
    check_continued(v);
    check_types(v);
    check_digest(v);
}

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
    TRY(check_doubles(v, e));
    check_sums(v);
    verify_content_check(v);
    return place_list(v->place, is_named, v, e);
}
