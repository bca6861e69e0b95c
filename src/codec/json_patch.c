/* json_patch.c - A patch is applied operation by operation to a copy that yyjson can change.
 *
 * An operation that fails ends the patch, and the copy is thrown away: all or nothing. Depth is
 * checked before anything is copied, because copying is recursive. The arena's budget bounds what
 * operations can make grow. */
#include "codec/json_patch.h"

#include "base/clock.h"
#include "codec/json_equal.h"

struct patch {
    struct arena *a;
    yyjson_mut_doc *doc; /* in it: never freed */
    const struct json_patch_limits *limits;
    size_t n; /* number of the operation, from 1 */
    sv op, path, from;
    yyjson_val *value;
};

/* Is pointer one of RFC 6901: "" or steps that begin with '/', '~' only as ~0 and ~1? */
static bool pointer_ok(sv p)
{
    if (p.len && p.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < p.len; i++)
        if (p.ptr[i] == '~' && (i + 1 == p.len || (p.ptr[i + 1] != '0' && p.ptr[i + 1] != '1')))
            return false;
    return true;
}

static err_code read_op(struct patch *p, yyjson_val *op, struct err *e)
{
    static const char *const names[] = { "add", "remove", "replace", "move", "copy", "test" };
    yyjson_val *path = json_get(op, "path"), *from = json_get(op, "from");
    p->op = json_string(json_get(op, "op"));
    p->path = json_string(path);
    p->from = json_string(from);
    p->value = json_get(op, "value");
    size_t i = 0;
    while (i < 6 && !sv_eq(p->op, sv_from(names[i])))
        i++;
    if (i == 6)
        return ERR(
            e, ERR_INVALID,
            "Operation %zu of the patch: op must be add, remove, replace, move, copy or test",
            p->n);
    if (!yyjson_is_str(path) || !pointer_ok(p->path))
        return ERR(e, ERR_INVALID, "Operation %zu of the patch: path must be a JSON pointer", p->n);
    if ((i == 3 || i == 4) && (!yyjson_is_str(from) || !pointer_ok(p->from)))
        return ERR(e, ERR_INVALID, "Operation %zu of the patch: from must be a JSON pointer", p->n);
    if ((i == 0 || i == 2 || i == 5) && p->value == NULL)
        return ERR(e, ERR_INVALID, "Operation %zu of the patch: value is missing", p->n);
    return ERR_OK;
}

static err_code cannot(const struct patch *p, const char *why, struct err *e)
{
    return ERR(e, ERR_UNPROCESSABLE, "Operation %zu of the patch (%.*s) cannot be applied: %s",
               p->n, SV_FMT(p->op), why);
}

static yyjson_mut_val *at(const struct patch *p, sv path)
{
    return yyjson_mut_doc_ptr_getn(p->doc, path.ptr ? path.ptr : "", path.len);
}

/* At most those of the document, which are bounded. */
unsigned json_patch_depth_of(yyjson_mut_val *v)
{
    unsigned deepest = 0;
    size_t i, max;
    yyjson_mut_val *key, *item;
    if (yyjson_mut_is_arr(v)) {
        yyjson_mut_arr_foreach(v, i, max, item)
        {
            unsigned d = json_patch_depth_of(item);
            deepest = d > deepest ? d : deepest;
        }
    } else if (yyjson_mut_is_obj(v)) {
        yyjson_mut_obj_foreach(v, i, max, key, item)
        {
            unsigned d = json_patch_depth_of(item);
            deepest = d > deepest ? d : deepest;
        }
    } else {
        return 0;
    }
    return deepest + 1;
}

/* How many containers stand around what a pointer leads to. */
static size_t steps_of(sv pointer)
{
    size_t n = 0;
    for (size_t i = 0; i < pointer.len; i++)
        n += pointer.ptr[i] == '/';
    return n;
}

static err_code too_large(const struct patch *p, struct err *e)
{
    return ERR(e, ERR_TOO_LARGE,
               "Operation %zu of the patch makes the resource too large to be worked on", p->n);
}

/* Where it will stand, would it nest deeper than is allowed? Asked before anything is copied: the
 * copy is recursive. */
static err_code check_depth(const struct patch *p, sv path, yyjson_mut_val *v, struct err *e)
{
    if (steps_of(path) + json_patch_depth_of(v) <= p->limits->depth)
        return ERR_OK;
    return ERR(e, ERR_TOO_LARGE,
               "Operation %zu of the patch makes the resource nest deeper than %u levels", p->n,
               p->limits->depth);
}

static err_code add(struct patch *p, sv path, yyjson_mut_val *v, struct err *e)
{
    if (v == NULL)
        return too_large(p, e);
    TRY(check_depth(p, path, v, e));
    if (path.len == 0) {
        yyjson_mut_doc_set_root(p->doc, v);
        return ERR_OK;
    }
    size_t cut = path.len;
    while (path.ptr[cut - 1] != '/')
        cut--;
    yyjson_mut_val *parent = at(p, sv_head(path, cut - 1));
    bool ok = false;
    if (yyjson_mut_is_obj(parent) && at(p, path))
        ok = yyjson_mut_doc_ptr_replacen(p->doc, path.ptr, path.len, v) != NULL;
    else if (yyjson_mut_is_obj(parent) || yyjson_mut_is_arr(parent))
        ok = yyjson_mut_doc_ptr_addx(p->doc, path.ptr, path.len, v, false, NULL, NULL);
    return ok ? ERR_OK : cannot(p, "nothing stands where its path leads", e);
}

static err_code apply(struct patch *p, struct err *e)
{
    yyjson_mut_val *found = at(p, p->path);
    if (sv_eq(p->op, SV_LIT("add")))
        return add(p, p->path, yyjson_val_mut_copy(p->doc, p->value), e);
    if (sv_eq(p->op, SV_LIT("move")) || sv_eq(p->op, SV_LIT("copy"))) {
        yyjson_mut_val *v = at(p, p->from);
        if (v == NULL)
            return cannot(p, "nothing stands where its from leads", e);
        TRY(check_depth(p, p->path, v, e));
        if (sv_eq(p->op, SV_LIT("copy")))
            return add(p, p->path, yyjson_mut_val_mut_copy(p->doc, v), e);
        if (sv_eq(p->path, p->from))
            return ERR_OK;
        if (sv_starts(p->path, p->from) && p->path.ptr[p->from.len] == '/')
            return cannot(p, "a value cannot move into itself", e);
        if (p->from.len == 0 ||
            yyjson_mut_doc_ptr_removen(p->doc, p->from.ptr, p->from.len) == NULL)
            return cannot(p, "the whole resource cannot move", e);
        return add(p, p->path, v, e);
    }
    if (found == NULL)
        return cannot(p, "nothing stands where its path leads", e);
    if (sv_eq(p->op, SV_LIT("test"))) {
        bool same;
        TRY(json_equal(found, p->value, p->a, &same, e));
        return same ? ERR_OK : cannot(p, "the value is another", e);
    }
    if (p->path.len == 0)
        return cannot(p, "the whole resource cannot be removed or replaced", e);
    if (sv_eq(p->op, SV_LIT("remove")))
        return yyjson_mut_doc_ptr_removen(p->doc, p->path.ptr, p->path.len)
                   ? ERR_OK
                   : cannot(p, "nothing stands where its path leads", e);
    yyjson_mut_val *v = yyjson_val_mut_copy(p->doc, p->value);
    if (v == NULL)
        return too_large(p, e);
    TRY(check_depth(p, p->path, v, e));
    return yyjson_mut_doc_ptr_replacen(p->doc, p->path.ptr, p->path.len, v)
               ? ERR_OK
               : cannot(p, "nothing stands where its path leads", e);
}

static err_code run(struct patch *p, yyjson_val *patch, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(patch);
    yyjson_val *op;
    while ((op = yyjson_arr_iter_next(&it)) != NULL) {
        p->n++;
        if (p->limits->until_us && clock_mono_us() > p->limits->until_us)
            return ERR(e, ERR_TIMEOUT, "The patch takes too long: it was given up at operation %zu",
                       p->n);
        TRY(read_op(p, op, e));
        TRY(apply(p, e));
    }
    return ERR_OK;
}

err_code json_patch(yyjson_val *target, yyjson_val *patch, struct arena *a,
                    const struct json_patch_limits *limits, struct buf *out, struct err *e)
{
    yyjson_alc alc = json_allocator(a);
    size_t len;
    if (!yyjson_is_arr(patch))
        return ERR(e, ERR_INVALID, "A JSON Patch is an array of operations");
    if (yyjson_arr_size(patch) > JSON_PATCH_OPS_MAX)
        return ERR(e, ERR_TOO_LARGE, "A JSON Patch holds at most %u operations",
                   JSON_PATCH_OPS_MAX);
    struct patch p = { .a = a, .doc = yyjson_mut_doc_new(&alc), .limits = limits };
    yyjson_mut_val *root = p.doc ? yyjson_val_mut_copy(p.doc, target) : NULL;
    if (root == NULL)
        return ERR(e, ERR_TOO_LARGE, "The resource is too large to be patched");
    yyjson_mut_doc_set_root(p.doc, root);
    TRY(run(&p, patch, e));
    char *text = yyjson_mut_write_opts(p.doc, YYJSON_WRITE_NOFLAG, &alc, &len, NULL);
    if (text == NULL || len > out->max - out->len)
        return ERR(e, ERR_TOO_LARGE, "The patched resource is too large");
    return buf_add(out, sv_make(text, len), e);
}
