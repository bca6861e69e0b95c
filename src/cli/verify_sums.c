/* verify_sums.c - what the manifest says of all files together: counts and bytes, counts of each
 * type, the digest over the digests, and blocks that go on in another file. */
#include "cli/verify_private.h"

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

void verify_sums(struct verify *v)
{
    check_continued(v);
    check_types(v);
    check_digest(v);
}
