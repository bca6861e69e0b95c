/* files.c - each file that the manifest names: is it there, with its size, its digest and
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
#include "cli/verify/verify_private.h"

#include "base/rng.h"

/* ---- doubles ---- */

static int by_first_id(const void *a, const void *b)
{
    const struct verify_file *const *file = a, *const *y = b;
    return sv_cmp((*file)->first_id, (*y)->first_id);
}

/* The files of a type hold ranges that are apart. */
static bool ranges_apart(struct verify *verify, sv type)
{
    struct verify_file **of =
        arena_alloc(verify->a, (verify->n_files + 1) * sizeof(struct verify_file *));
    size_t n = 0;
    for (size_t i = 0; of && i < verify->n_files; i++) {
        struct verify_file *f = &verify->files[i];
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

static err_code check_set(struct verify *verify, sv type, struct err *e)
{
    CLEANUP_BUF struct buf set = BUF_INIT((size_t)8 << 30);
    TRY(verify_each(verify, fhir_type_find(type), add_key, &set, e));
    size_t n = set.len / sizeof(verify_key), twice = 0;
    verify_key *k = (verify_key *)(void *)set.ptr;
    if (n)
        qsort(k, n, sizeof *k, verify_key_cmp);
    for (size_t i = 1; i < n; i++)
        twice += verify_key_cmp(&k[i - 1], &k[i]) == 0;
    if (twice)
        verify_differs(verify, "%.*s: %zu times a resource is there once more",
                       SV_FMT(type.len ? type : SV_LIT("output")), twice);
    return ERR_OK;
}

static err_code check_doubles(struct verify *verify, struct err *e)
{
    bool mixed = false;
    for (size_t i = 0; i < verify->n_files; i++) {
        const struct verify_file *file = &verify->files[i];
        bool told = false;
        mixed |= file->role == VERIFY_OUTPUT && file->type.len == 0;
        for (size_t k = 0; k < i && !told; k++)
            told =
                verify->files[k].role == VERIFY_OUTPUT && sv_eq(verify->files[k].type, file->type);
        if (file->role == VERIFY_OUTPUT && file->type.len && !told &&
            !ranges_apart(verify, file->type))
            TRY(check_set(verify, file->type, e));
    }
    return mixed ? check_set(verify, SV_LIT(""), e) : ERR_OK;
}

/* ---- sums ---- */

static int by_digest(const void *a, const void *b)
{
    const struct verify_file *const *file = a, *const *y = b;
    return memcmp((*file)->digest, (*y)->digest, SHA256_HEX_LEN);
}

/* SHA-256 over the files' SHA-256 in hex, sorted, each with a newline. */
static void check_digest(struct verify *verify)
{
    sv want = json_string(json_get(verify->manifest, "sha256"));
    struct verify_file **all =
        arena_alloc(verify->a, (verify->n_files + 1) * sizeof(struct verify_file *));
    unsigned char d[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    size_t n = 0;
    if (want.len == 0 || all == NULL)
        return;
    struct hash_sha256 *h = hash_sha256_new();
    for (size_t i = 0; i < verify->n_files; i++)
        if (verify->files[i].there)
            all[n++] = &verify->files[i];
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
        verify_differs(verify, "the digest over all files is not the manifest's");
}

static void check_sum(struct verify *verify, const char *name, uint64_t have)
{
    uint64_t want;
    if (sv_to_u64(json_number(json_get(verify->manifest, name)), &want) && want != have)
        verify_differs(verify, "manifest: %s is %llu, the files hold %llu", name,
                       (unsigned long long)want, (unsigned long long)have);
}

static void check_types(struct verify *verify)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(json_get(verify->manifest, "countPerType"));
    yyjson_val *key;
    uint64_t sum = 0, bytes = 0;
    bool mixed = false;
    for (size_t i = 0; i < verify->n_files; i++) {
        const struct verify_file *file = &verify->files[i];
        sum += file->role == VERIFY_OUTPUT ? file->lines - file->heads : 0;
        bytes += file->role == VERIFY_OUTPUT ? file->size : 0;
        mixed |= file->role == VERIFY_OUTPUT && file->type.len == 0;
    }
    check_sum(verify, "count", sum);
    check_sum(verify, "bytes", bytes);
    /* the digest of the content has the counts of its types in it */
    if (mixed)
        return;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        uint64_t want, have = 0;
        for (size_t i = 0; i < verify->n_files; i++)
            if (verify->files[i].role == VERIFY_OUTPUT &&
                sv_eq(verify->files[i].type, json_string(key)))
                have += verify->files[i].lines;
        if (!sv_to_u64(json_number(yyjson_obj_iter_get_val(key)), &want) || want != have)
            verify_differs(verify, "manifest: countPerType of %s is %llu, the files hold %llu",
                           yyjson_get_str(key), (unsigned long long)want, (unsigned long long)have);
        sv met = json_number(
            json_get(json_get(verify->manifest, "storeCountPerType"), yyjson_get_str(key)));
        if (verify->whole && sv_to_u64(met, &want) && want != have)
            verify_differs(verify, "manifest: storeCountPerType of %s is %llu, the files hold %llu",
                           yyjson_get_str(key), (unsigned long long)want, (unsigned long long)have);
    }
}

/* A block that goes on in another file begins that one. */
static void check_continued(struct verify *verify)
{
    for (size_t i = 0; i < verify->n_files; i++) {
        const struct verify_file *file = &verify->files[i], *next = NULL;
        for (size_t k = 0; file->continues.len && k < verify->n_files; k++)
            if (verify->files[k].role == VERIFY_OUTPUT &&
                sv_eq(verify->files[k].name, file->continues))
                next = &verify->files[k];
        if (file->continues.len && (next == NULL || !sv_eq(next->first_block, file->last_block)))
            verify_differs(verify, "%.*s: its last block does not go on in the file that it names",
                           SV_FMT(file->name));
    }
}

static void check_sums(struct verify *verify)
{
    check_continued(verify);
    check_types(verify);
    check_digest(verify);
}

#define HEAD_REFERENCE_MAX 256u

/* ---- one file, line by line ---- */

struct reading {
    struct verify *verify;
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
    struct verify *verify = r->verify;
    uint64_t at = verify->n_seen++;
    if (verify->max_samples == 0)
        return;
    if (verify->n_samples < verify->max_samples)
        at = verify->n_samples++;
    else if ((at = rng_u64() % verify->n_seen) >= verify->max_samples)
        return;
    struct verify_sample s = { .type = fhir_type_find(type), .id = arena_sv(verify->a, id) };
    if (s.id.ptr && verify_text_of(root, &r->scratch, &s.text, e) == ERR_OK)
        verify->samples[at] = s;
}

/* The head of a block: whose resources follow. */
static err_code head_line(struct reading *r, yyjson_val *root, struct err *e)
{
    struct verify_file *file = r->f;
    yyjson_val *p = yyjson_arr_get_first(json_get(root, "parameter"));
    sv of = json_string(json_get(json_get(p, "valueReference"), "reference"));
    file->sorted = false;
    file->heads++;
    if ((!sv_eq(json_string(json_get(p, "name")), SV_LIT("header")) || of.len == 0) && tell(r))
        verify_differs(r->verify, "%.*s: line %llu is no head of a block", SV_FMT(file->name),
                       (unsigned long long)r->line);
    if (file->last_block.len && sv_cmp(file->last_block, of) >= 0 && tell(r))
        verify_differs(r->verify, "%.*s: line %llu: blocks do not ascend", SV_FMT(file->name),
                       (unsigned long long)r->line);
    /* room for any, written over head by head */
    if (file->last_block.ptr == NULL) {
        file->first_block = arena_sv(r->verify->a, of);
        file->last_block = sv_make(arena_alloc(r->verify->a, HEAD_REFERENCE_MAX), 0);
        if (file->first_block.ptr == NULL || file->last_block.ptr == NULL)
            return arena_oom(r->verify->a, e);
    }
    file->last_block.len = of.len < HEAD_REFERENCE_MAX ? of.len : HEAD_REFERENCE_MAX;
    if (of.len)
        memcpy((char *)(uintptr_t)file->last_block.ptr, of.ptr, file->last_block.len);
    return ERR_OK;
}

static err_code output_line(struct reading *r, sv line, yyjson_val *root, struct err *e)
{
    struct verify_file *file = r->f;
    sv type = json_string(json_get(root, "resourceType")), id = json_string(json_get(root, "id"));
    if (file->type.len == 0 && sv_eq(type, SV_LIT("Parameters")))
        return head_line(r, root, e);
    if (file->has_blocks && file->heads == 0 && tell(r))
        verify_differs(r->verify, "%.*s: line %llu stands before the head of any block",
                       SV_FMT(file->name), (unsigned long long)r->line);
    if (file->type.len && !sv_eq(type, file->type)) {
        if (tell(r))
            verify_differs(r->verify, "%.*s: line %llu is no %.*s", SV_FMT(file->name),
                           (unsigned long long)r->line, SV_FMT(file->type));
        return ERR_OK;
    }
    if (fhir_type_find(type) == FHIR_TYPE_NONE || !fhir_id_ok(id)) {
        if (tell(r))
            verify_differs(r->verify, "%.*s: line %llu is no resource with a type and an id",
                           SV_FMT(file->name), (unsigned long long)r->line);
        return ERR_OK;
    }
    file->sorted = file->sorted && file->type.len &&
                   (file->last_id.ptr == NULL || sv_cmp(file->last_id, id) < 0);
    if (file->sorted) {
        if (file->first_id.ptr == NULL)
            file->first_id = arena_sv(r->verify->a, id);
        /* room for any id, written over line by line */
        if (file->last_id.ptr == NULL)
            file->last_id = sv_make(arena_alloc(r->verify->a, FHIR_ID_MAX), 0);
        if (file->first_id.ptr == NULL || file->last_id.ptr == NULL)
            return arena_oom(r->verify->a, e);
        memcpy((char *)(uintptr_t)file->last_id.ptr, id.ptr, id.len);
        file->last_id.len = id.len;
    }
    if (r->verify->deleted.len) {
        verify_key k = verify_key_of(type, id);
        if (bsearch(&k, r->verify->deleted.ptr, r->verify->deleted.len / sizeof k, sizeof k,
                    verify_key_cmp) &&
            tell(r))
            verify_differs(r->verify, "%.*s: line %llu is among the deleted too",
                           SV_FMT(file->name), (unsigned long long)r->line);
    }
    verify_content_line(r->verify, fhir_type_find(type), line);
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
            verify_content_deletion(r->verify, fhir_type_find(type), whole);
            TRY(buf_add(&r->verify->deleted, sv_make(&k, sizeof k), e));
        }
    }
    if (!good && tell(r))
        verify_differs(r->verify, "%.*s: line %llu is no transaction Bundle of DELETE entries",
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
            verify_differs(r->verify, "%.*s: line %llu is not a JSON object", SV_FMT(r->f->name),
                           (unsigned long long)r->line);
        return ERR_OK;
    }
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (r->f->role == VERIFY_OUTPUT)
        return output_line(r, line, root, e);
    if (r->f->role == VERIFY_DELETED)
        return deleted_line(r, root, e);
    if (!sv_eq(json_string(json_get(root, "resourceType")), SV_LIT("OperationOutcome")) && tell(r))
        verify_differs(r->verify, "%.*s: line %llu is no OperationOutcome", SV_FMT(r->f->name),
                       (unsigned long long)r->line);
    return ERR_OK;
}

static err_code check_file(struct verify *verify, struct verify_file *file, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)2 << 30);
    struct reading r = {
        .verify = verify, .f = file, .a = a, .scratch = BUF_INIT(VERIFY_LINE_MAX)
    };
    struct err why = { 0 };
    file->sorted = true;
    err_code rc = verify_lines(verify, file, on_line, &r, &why);
    buf_done(&r.scratch);
    if (rc == ERR_NOT_FOUND) {
        verify_differs(verify, "%.*s: the file is missing", SV_FMT(file->name));
        return ERR_OK;
    }
    if (rc != ERR_OK)
        return err_pass(e, &why);
    file->there = true;
    if (file->has_bytes && file->size != file->bytes)
        verify_differs(verify, "%.*s: %llu bytes, the manifest says %llu", SV_FMT(file->name),
                       (unsigned long long)file->size, (unsigned long long)file->bytes);
    uint64_t resources = file->lines - file->heads;
    if (file->has_count && resources != file->count)
        verify_differs(verify, "%.*s: %llu %s, the manifest says %llu", SV_FMT(file->name),
                       (unsigned long long)resources, file->has_blocks ? "resources" : "lines",
                       (unsigned long long)file->count);
    if (file->has_blocks && file->heads != file->blocks)
        verify_differs(verify, "%.*s: %llu blocks, the manifest says %llu", SV_FMT(file->name),
                       (unsigned long long)file->heads, (unsigned long long)file->blocks);
    if (file->sha256.len && !sv_eq(file->sha256, sv_make(file->digest, SHA256_HEX_LEN)))
        verify_differs(verify, "%.*s: SHA-256 is not the manifest's", SV_FMT(file->name));
    if (r.bad > 5)
        verify_differs(verify, "%.*s: and %u more lines like these", SV_FMT(file->name), r.bad - 5);
    verify->resources += file->role == VERIFY_OUTPUT ? resources : 0;
    verify->bytes += file->size;
    verify_note(verify, "%.*s: %llu lines, %llu bytes", SV_FMT(file->name),
                (unsigned long long)file->lines, (unsigned long long)file->size);
    return ERR_OK;
}

/* ---- all of them ---- */

static bool is_named(void *ctx, sv name, uint64_t bytes)
{
    struct verify *verify = ctx;
    (void)bytes;
    if (sv_eq(name, SV_LIT("manifest.json")))
        return true;
    if (bsearch(&name, verify->names, verify->n_files, sizeof name, sv_by_bytes) == NULL)
        verify_differs(verify, "%.*s: is not in the manifest", SV_FMT(name));
    return true;
}

err_code verify_files(struct verify *verify, struct err *e)
{
    verify_content_begin(verify);
    /* deletions first: outputs are compared with them */
    for (size_t i = 0; i < verify->n_files; i++)
        if (verify->files[i].role == VERIFY_DELETED)
            TRY(check_file(verify, &verify->files[i], e));
    if (verify->deleted.len)
        qsort(verify->deleted.ptr, verify->deleted.len / sizeof(verify_key), sizeof(verify_key),
              verify_key_cmp);
    for (size_t i = 0; i < verify->n_files; i++)
        if (verify->files[i].role != VERIFY_DELETED)
            TRY(check_file(verify, &verify->files[i], e));
    TRY(check_doubles(verify, e));
    check_sums(verify);
    verify_content_check(verify);
    return place_list(verify->place, is_named, verify, e);
}
