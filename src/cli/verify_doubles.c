/* verify_doubles.c - no resource stands in the files twice.
 *
 * The files of a plain export hold ids in ascending order, and each file of a type holds a range of
 * its own. Where that is so, no id can stand twice, and no set of ids is kept. Where it is not
 * (filtered or organized exports), the type's files are read once more into a set. */
#include "cli/verify_private.h"

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

err_code verify_doubles(struct verify *v, struct err *e)
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
