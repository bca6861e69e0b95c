/* apply.c - the operations of a FHIRPath Patch, one after the other.
 *
 * A path is run over a tree that does not change, and its place is then changed in another one. The
 * next operation gets a new copy to look at, unless nothing was changed. An operation that fails
 * ends the patch, and all copies are thrown away. An element that a deletion leaves empty goes,
 * too, since FHIR has none.
 *
 * Paths are strict: a name that no element can have is an error. Else a delete with a slip in its
 * path would do nothing, and say yes. */
#include "fhirpath/patch/patch_private.h"

#include "codec/json_patch.h"

static err_code find(struct patch *p, sv text, struct fhirpath_list *out, struct err *e)
{
    const struct fhirpath_options options = { .strict = true };
    struct fhirpath_run run = { .arena = p->turn,
                                .resource = p->from,
                                .now_ms = p->limits->now_ms,
                                .steps = p->steps,
                                .look = p->limits->look,
                                .look_ctx = p->limits->look_ctx };
    const struct fhirpath *path;
    struct err why;
    err_code rc = fhirpath_compile(text, &options, p->turn, &path, NULL, &why);
    if (rc == ERR_INVALID || rc == ERR_UNSUPPORTED)
        return ERR(e, ERR_INVALID, "Operation %zu of the patch: its path cannot be read: %s",
                   p->op.number, why.msg);
    if (rc == ERR_OK)
        rc = fhirpath_eval(path, &run, NULL, out, &why);
    p->steps = run.steps;
    if (rc == ERR_INVALID)
        return patch_cannot(&p->op, why.msg, e);
    if (rc == ERR_TOO_LARGE)
        return ERR(e, rc, "Operation %zu of the patch: its path asks for too much work: %s",
                   p->op.number, why.msg);
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

/* id and the version are the server's. */
static err_code check_owner(struct patch *p, sv owner, sv key, struct err *e)
{
    bool meta = sv_eq_cstr(owner, "/meta") &&
                (sv_eq_cstr(key, "versionId") || sv_eq_cstr(key, "lastUpdated"));
    if (meta || (owner.len == 0 && sv_eq_cstr(key, "id")))
        return patch_cannot(&p->op,
                            "the id, the version and the time of a resource are not to "
                            "be changed",
                            e);
    return ERR_OK;
}

/* Copies are recursive, so depth is asked before there is one: of the object, of a list in it, and
 * of the value. */
static err_code check_depth(const struct patch *p, sv owner, const struct patch_value *v,
                            struct err *e)
{
    size_t around = 2;
    unsigned one = json_patch_depth_of(v->value), other = json_patch_depth_of(v->twin);
    for (size_t i = 0; i < owner.len; i++)
        around += owner.ptr[i] == '/';
    if (around + (one > other ? one : other) <= p->limits->depth)
        return ERR_OK;
    return ERR(e, ERR_TOO_LARGE,
               "Operation %zu of the patch makes the resource nest deeper than %u levels",
               p->op.number, p->limits->depth);
}

/* The only item of a list, and where it stands. */
static err_code only(struct patch *p, const struct fhirpath_list *l, struct fhirpath_item *item,
                     sv *pointer, struct err *e)
{
    *item = (struct fhirpath_item){ 0 };
    if (l->n != 1)
        return patch_cannot(&p->op,
                            l->n ? "its path finds several elements, and must find one"
                                 : "its path finds nothing, and must find one element",
                            e);
    *item = l->items[0];
    return patch_pointer_of(p, item, pointer, e);
}

/* Append to a list, or set what is not there. */
static err_code put_new(struct patch *p, sv owner_at, yyjson_mut_val *owner,
                        const struct patch_value *v, struct err *e)
{
    const struct fhir_element *el = v->member->element;
    size_t n;
    TRY(check_owner(p, owner_at, v->member->name, e));
    TRY(check_depth(p, owner_at, v, e));
    if (el->many) {
        if (!patch_list_len(owner, v->member->name, &n))
            return patch_cannot(&p->op, "what stands there is no list", e);
        return patch_list_put(p, owner, v->member->name, n, false, v, e);
    }
    for (unsigned i = 0; i < el->n_members; i++)
        if (patch_is_there(owner, el->members[i].name))
            return patch_cannot(&p->op, "the element is there already: replace it", e);
    return patch_member_set(p, owner, SV_NONE, v->member->name, v, e);
}

/* An id or an extension of a primitive goes into its twin, which may not be there yet. */
static err_code add_to_primitive(struct patch *p, sv pointer, struct err *e)
{
    struct patch_place at;
    struct patch_value v, whole = { 0 };
    yyjson_mut_val *list;
    char name[96];
    TRY(patch_place_of(p, pointer, &at, e));
    TRY(check_owner(p, at.owner, at.key, e));
    yyjson_mut_val *owner = patch_owner(p, at.owner);
    if (at.member->element->attribute)
        return patch_cannot(&p->op, "the element that its path finds has no elements", e);
    TRY(patch_value_make(p, fhir_structure_find(SV_LIT("Element")), p->op.name, p->op.value, &v,
                         e));
    (void)snprintf(name, sizeof name, "_%.*s", SV_FMT(at.key));
    list = yyjson_mut_obj_get(owner, name);
    whole.twin = at.listed ? yyjson_mut_arr_get(list, at.index) : list;
    if (yyjson_mut_is_obj(whole.twin))
        return put_new(p, pointer, whole.twin, &v, e);
    whole.twin = yyjson_mut_obj(p->doc);
    whole.value = yyjson_mut_obj_get(owner, name + 1);
    if (at.listed)
        whole.value = yyjson_mut_arr_get(whole.value, at.index);
    whole.value = yyjson_mut_val_mut_copy(p->doc, whole.value);
    if (whole.twin == NULL || whole.value == NULL)
        return patch_too_large(&p->op, e);
    TRY(put_new(p, pointer, whole.twin, &v, e));
    return at.listed ? patch_list_put(p, owner, at.key, at.index, true, &whole, e)
                     : patch_member_set(p, owner, at.key, at.key, &whole, e);
}

static err_code add(struct patch *p, const struct fhirpath_list *found, struct err *e)
{
    struct fhirpath_item item;
    struct patch_value v;
    sv pointer;
    TRY(only(p, found, &item, &pointer, e));
    if (item.primitive)
        return add_to_primitive(p, pointer, e);
    if (item.structure == NULL || !yyjson_is_obj(item.json))
        return patch_cannot(&p->op, "its path finds an element that FHIR R4 does not know", e);
    TRY(patch_value_make(p, item.structure, p->op.name, p->op.value, &v, e));
    return put_new(p, pointer, patch_owner(p, pointer), &v, e);
}

/* Is item k what stands at k in the list? Of a primitive without a value that is its twin. */
static bool is_in_order(yyjson_val *values, yyjson_val *twins, const struct fhirpath_list *found)
{
    yyjson_arr_iter value_it = yyjson_arr_iter_with(values), twin_it = yyjson_arr_iter_with(twins);
    for (size_t k = 0; k < found->n; k++) {
        const struct fhirpath_item *item = &found->items[k];
        yyjson_val *value = yyjson_arr_iter_next(&value_it), *twin = yyjson_arr_iter_next(&twin_it);
        if (item->kind != FHIRPATH_NODE || (item->json ? item->json != value : item->twin != twin))
            return false;
    }
    return true;
}

/* The list that a path finds, which must be all of it: an index counts in the whole list. Only the
 * first item is looked for in the resource. */
static err_code whole_list(struct patch *p, const struct fhirpath_list *found,
                           struct patch_place *out, struct err *e)
{
    sv pointer;
    size_t n;
    char twin[96];
    TRY(patch_pointer_of(p, &found->items[0], &pointer, e));
    TRY(patch_place_of(p, pointer, out, e));
    (void)snprintf(twin, sizeof twin, "_%.*s", SV_FMT(out->key));
    yyjson_val *owner =
        yyjson_ptr_getn(p->from, out->owner.ptr ? out->owner.ptr : "", out->owner.len);
    if (!out->listed || !patch_list_len(patch_owner(p, out->owner), out->key, &n) || n < found->n)
        return patch_cannot(&p->op, "its path must find one list", e);
    if (n > found->n)
        return patch_cannot(&p->op, "its path finds a part of a list, and must find all of it", e);
    if (!is_in_order(yyjson_obj_getn(owner, out->key.ptr, out->key.len),
                     yyjson_obj_get(owner, twin), found))
        return patch_cannot(&p->op, "its path must find one list", e);
    return ERR_OK;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Nothing is in the list yet: what stands in front of the last name finds the object that gets it.
 */
static err_code insert_first(struct patch *p, struct err *e)
{
    sv path = sv_trim(p->op.path);
    size_t cut = path.len;
    struct fhirpath_list found;
    struct fhirpath_item item;
    struct patch_value v;
    sv pointer;
    while (cut && is_letter(path.ptr[cut - 1]))
        cut--;
    if (p->op.index || cut < 2 || cut == path.len || path.ptr[cut - 1] != '.')
        return patch_cannot(&p->op,
                            p->op.index ? "index is beyond the end of the list"
                                        : "its path finds nothing, and must find a list",
                            e);
    TRY(find(p, sv_head(path, cut - 1), &found, e));
    TRY(only(p, &found, &item, &pointer, e));
    if (item.primitive || item.structure == NULL)
        return patch_cannot(&p->op, "its path must find one list", e);
    TRY(patch_value_make(p, item.structure, sv_tail(path, cut), p->op.value, &v, e));
    if (!v.member->element->many)
        return patch_cannot(&p->op, "its path must find one list", e);
    return put_new(p, pointer, patch_owner(p, pointer), &v, e);
}

static err_code insert(struct patch *p, const struct fhirpath_list *found, struct err *e)
{
    struct patch_place at = { 0 };
    struct patch_value v;
    if (found->n == 0)
        return insert_first(p, e);
    TRY(whole_list(p, found, &at, e));
    if (p->op.index > found->n)
        return patch_cannot(&p->op, "index is beyond the end of the list", e);
    TRY(patch_value_make(p, at.structure, at.key, p->op.value, &v, e));
    TRY(check_depth(p, at.owner, &v, e));
    return patch_list_put(p, patch_owner(p, at.owner), at.key, (size_t)p->op.index, false, &v, e);
}

static err_code move(struct patch *p, const struct fhirpath_list *found, struct err *e)
{
    struct patch_place at = { 0 };
    if (found->n == 0)
        return patch_cannot(&p->op, "its path finds nothing, and must find a list", e);
    TRY(whole_list(p, found, &at, e));
    if (p->op.source >= found->n || p->op.destination >= found->n)
        return patch_cannot(&p->op, "source or destination is beyond the end of the list", e);
    return patch_list_move(p, patch_owner(p, at.owner), at.key, (size_t)p->op.source,
                           (size_t)p->op.destination, e);
}

static err_code replace(struct patch *p, const struct fhirpath_list *found, struct err *e)
{
    struct fhirpath_item item;
    struct patch_place at;
    struct patch_value v;
    sv pointer;
    TRY(only(p, found, &item, &pointer, e));
    TRY(patch_place_of(p, pointer, &at, e));
    TRY(check_owner(p, at.owner, at.key, e));
    TRY(patch_value_make(p, at.structure, at.member->element->name, p->op.value, &v, e));
    TRY(check_depth(p, at.owner, &v, e));
    if (at.listed)
        return patch_list_put(p, patch_owner(p, at.owner), at.key, at.index, true, &v, e);
    return patch_member_set(p, patch_owner(p, at.owner), at.key, v.member->name, &v, e);
}

static err_code delete (struct patch *p, const struct fhirpath_list *found, struct err *e)
{
    struct fhirpath_item item;
    struct patch_place at;
    sv pointer;
    if (found->n == 0) {
        p->changed = false;
        return ERR_OK;
    }
    TRY(only(p, found, &item, &pointer, e));
    TRY(patch_place_of(p, pointer, &at, e));
    TRY(check_owner(p, at.owner, at.key, e));
    at.twin = false; /* the element goes, whichever of the two it was found by */
    TRY(patch_remove(p, &at, e));
    while (at.owner.len && yyjson_mut_obj_size(patch_owner(p, at.owner)) == 0) {
        TRY(patch_place_of(p, at.owner, &at, e));
        TRY(patch_remove(p, &at, e));
    }
    return ERR_OK;
}

static err_code apply(struct patch *p, struct err *e)
{
    static err_code (*const does[])(struct patch *, const struct fhirpath_list *, struct err *) = {
        [PATCH_ADD] = add,         [PATCH_INSERT] = insert, [PATCH_DELETE] = delete,
        [PATCH_REPLACE] = replace, [PATCH_MOVE] = move,
    };
    struct fhirpath_list found = { 0 };
    TRY(find(p, p->op.path, &found, e));
    p->changed = true;
    return does[p->op.type](p, &found, e);
}

/* A copy of what the operation before this one has made, if it has made anything. */
static err_code look_again(struct patch *p, struct err *e)
{
    if (!p->changed) {
        arena_rewind(p->turn, p->mark);
        return ERR_OK;
    }
    arena_reset(p->turn);
    yyjson_alc alc = json_allocator(p->turn);
    p->from = yyjson_doc_get_root(yyjson_mut_doc_imut_copy(p->doc, &alc));
    p->mark = arena_mark_get(p->turn);
    return p->from ? ERR_OK : patch_too_large(&p->op, e);
}

static err_code run(struct patch *p, yyjson_val *operations, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(operations);
    for (yyjson_val *one; (one = yyjson_arr_iter_next(&it)) != NULL;) {
        p->op.number++;
        if (p->limits->look)
            TRY(p->limits->look(p->limits->look_ctx, e));
        TRY(patch_operation(p, one, e));
        TRY(look_again(p, e));
        TRY(apply(p, e));
    }
    return ERR_OK;
}

static err_code operations_of(yyjson_val *patch, yyjson_val **out, struct err *e)
{
    yyjson_obj_iter it;
    yyjson_val *key;
    *out = json_get(patch, "parameter");
    if (!sv_eq_cstr(json_string(json_get(patch, "resourceType")), "Parameters") ||
        (*out && !yyjson_is_arr(*out)))
        return ERR(e, ERR_INVALID,
                   "A FHIRPath Patch is a Parameters resource, and a JSON Patch is sent as "
                   "application/json-patch+json");
    yyjson_obj_iter_init(patch, &it);
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        static const char *const known[] = { "resourceType", "parameter", "id",
                                             "meta",         "language",  "_language" };
        size_t i = 0;
        while (i < sizeof known / sizeof *known && !sv_eq_cstr(json_string(key), known[i]))
            i++;
        if (i == sizeof known / sizeof *known)
            return ERR(e, ERR_INVALID, "A FHIRPath Patch has only parameters named operation");
    }
    if (yyjson_arr_size(*out) > FHIRPATH_PATCH_OPS_MAX)
        return ERR(e, ERR_TOO_LARGE, "A FHIRPath Patch holds at most %u operations",
                   FHIRPATH_PATCH_OPS_MAX);
    return ERR_OK;
}

err_code fhirpath_patch(yyjson_val *target, yyjson_val *patch, struct arena *a,
                        const struct fhirpath_patch_limits *limits, struct buf *out, struct err *e)
{
    yyjson_alc alc = json_allocator(a);
    yyjson_val *operations;
    size_t len;
    TRY(operations_of(patch, &operations, e));
    CLEANUP(arena_free) struct arena *turn = arena_new(limits->memory_bytes);
    struct patch p = { .turn = turn,
                       .limits = limits,
                       .doc = yyjson_mut_doc_new(&alc),
                       .mark = arena_mark_get(turn),
                       .from = target,
                       .steps = FHIRPATH_STEPS };
    yyjson_mut_val *root = p.doc ? yyjson_val_mut_copy(p.doc, target) : NULL;
    if (root == NULL)
        return ERR(e, ERR_TOO_LARGE, "The resource is too large to be patched");
    yyjson_mut_doc_set_root(p.doc, root);
    TRY(run(&p, operations, e));
    char *text = yyjson_mut_write_opts(p.doc, YYJSON_WRITE_NOFLAG, &alc, &len, NULL);
    if (text == NULL || len > out->max - out->len)
        return ERR(e, ERR_TOO_LARGE, "The patched resource is too large");
    return buf_add(out, sv_make(text, len), e);
}
