/* lines.c - the files of an export, read line by line, with their size and digest on the
 * way. Memory: one line. */
#include "cli/verify/verify_private.h"

#define BLOCK_BYTES (1u << 20)

err_code verify_lines(struct verify *verify, struct verify_file *file, verify_line_fn each,
                      void *ctx, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(VERIFY_LINE_MAX);
    CLEANUP(hash_sha256_free) struct hash_sha256 *sha = hash_sha256_new();
    struct byte_reader r;
    unsigned char digest[SHA256_LEN];
    size_t n = 0;
    uint64_t lines = 0, size = 0;
    TRY(place_read(verify->place, file->name, &r, e));
    err_code rc;
    for (;;) {
        rc = buf_reserve(&text, BLOCK_BYTES, e);
        if (rc == ERR_OK)
            rc = r.read(r.ctx, text.ptr + text.len, BLOCK_BYTES, &n, e);
        if (rc != ERR_OK)
            break;
        hash_sha256_add(sha, sv_make(text.ptr + text.len, n));
        text.len += n;
        size += n;
        size_t at = 0;
        for (char *end; (end = memchr(text.ptr + at, '\n', text.len - at)) != NULL;) {
            sv line = sv_make(text.ptr + at, (size_t)(end - text.ptr) - at);
            at += line.len + 1;
            lines++;
            rc = each(ctx, line, e);
            if (rc != ERR_OK)
                break;
        }
        if (rc != ERR_OK)
            break;
        memmove(text.ptr, text.ptr + at, text.len - at);
        text.len -= at;
    }
    if (r.close)
        r.close(r.ctx);
    if (rc != ERR_EOF)
        return rc;
    /* a last line without its newline is one all the same */
    if (text.len) {
        lines++;
        TRY(each(ctx, buf_sv(&text), e));
    }
    hash_sha256_take(sha, digest);
    hash_hex(digest, sizeof digest, file->digest);
    file->lines = lines;
    file->size = size;
    return ERR_OK;
}

struct each_ctx {
    struct arena *a;
    fhir_type type; /* FHIR_TYPE_NONE: all */
    verify_each_fn each;
    void *ctx;
};

static err_code each_line(void *ctx, sv line, struct err *e)
{
    struct each_ctx *c = ctx;
    yyjson_doc *doc;
    arena_reset(c->a);
    /* told before */
    if (json_read(c->a, line, VERIFY_DEPTH, &doc, NULL) != ERR_OK)
        return ERR_OK;
    yyjson_val *root = yyjson_doc_get_root(doc);
    sv type = json_string(json_get(root, "resourceType"));
    fhir_type of = fhir_type_find(type);
    bool meant = of != FHIR_TYPE_NONE && (c->type == FHIR_TYPE_NONE || of == c->type);
    return meant && json_string(json_get(root, "id")).len ? c->each(c->ctx, root, e) : ERR_OK;
}

err_code verify_each(struct verify *verify, fhir_type type, verify_each_fn each, void *ctx,
                     struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)2 << 30);
    struct each_ctx c = { a, type, each, ctx };
    for (size_t i = 0; i < verify->n_files; i++) {
        struct verify_file again = verify->files[i];
        if (again.role != VERIFY_OUTPUT || !again.there ||
            (type && again.type.len && fhir_type_find(again.type) != type))
            continue;
        TRY(verify_lines(verify, &again, each_line, &c, e));
    }
    return ERR_OK;
}
