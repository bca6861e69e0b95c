/* list.c - members of an object that is worked on. A primitive has a twin, with its id and
 * extensions: "given" and "_given" are two lists of the same length, with null where the one or
 * the other has nothing. A list that holds nothing is no member.
 * Source: FHIR R4 json.html#primitive. */
#include "fhirpath/patch/patch_private.h"

struct pair {
    yyjson_mut_val *owner;
    char key[96]; /* with a bar in front: names of members are shorter than 80 bytes */
    yyjson_mut_val *list[2];
    size_t n;
};

static yyjson_mut_val *get(yyjson_mut_val *owner, const char *key)
{
    return yyjson_mut_obj_get(owner, key);
}

static bool barred(sv key, char *out, size_t len)
{
    return key.len + 2 <= len && snprintf(out, len, "_%.*s", SV_FMT(key)) > 0;
}

static bool open_pair(yyjson_mut_val *owner, sv key, struct pair *l)
{
    *l = (struct pair){ .owner = owner };
    if (!barred(key, l->key, sizeof l->key))
        return false;
    for (int i = 0; i < 2; i++) {
        l->list[i] = get(owner, l->key + !i);
        if (l->list[i] && !yyjson_mut_is_arr(l->list[i]))
            return false;
        size_t n = yyjson_mut_arr_size(l->list[i]);
        l->n = n > l->n ? n : l->n;
    }
    return true;
}

yyjson_mut_val *patch_owner(const struct patch *p, sv pointer)
{
    return yyjson_mut_doc_ptr_getn(p->doc, pointer.ptr ? pointer.ptr : "", pointer.len);
}

bool patch_is_there(yyjson_mut_val *owner, sv key)
{
    char name[96];
    return barred(key, name, sizeof name) && (get(owner, name) || get(owner, name + 1));
}

bool patch_list_len(yyjson_mut_val *owner, sv key, size_t *n)
{
    struct pair l;
    bool ok = open_pair(owner, key, &l);
    *n = l.n;
    return ok;
}

/* Nulls behind the last item until there are n. */
static bool pad(struct patch *p, yyjson_mut_val *list, size_t n)
{
    for (size_t have = yyjson_mut_arr_size(list); have < n; have++)
        if (!yyjson_mut_arr_append(list, yyjson_mut_null(p->doc)))
            return false;
    return true;
}

static bool is_empty(yyjson_mut_val *list)
{
    size_t i, max;
    yyjson_mut_val *one;
    yyjson_mut_arr_foreach(list, i, max, one)
    {
        if (!yyjson_mut_is_null(one))
            return false;
    }
    return true;
}

static void drop_empty(struct pair *l)
{
    for (int i = 0; i < 2; i++)
        if (l->list[i] && is_empty(l->list[i]))
            (void)yyjson_mut_obj_remove_key(l->owner, l->key + !i);
}

static err_code no_list(struct patch *p, struct err *e)
{
    return patch_cannot(&p->op, "what stands there is no list", e);
}

err_code patch_list_put(struct patch *p, yyjson_mut_val *owner, sv key, size_t index, bool instead,
                        const struct patch_value *v, struct err *e)
{
    struct pair l;
    if (!open_pair(owner, key, &l))
        return no_list(p, e);
    for (int i = 0; i < 2; i++) {
        yyjson_mut_val *one = i ? v->twin : v->value;
        if (l.list[i] == NULL && one == NULL)
            continue;
        if (l.list[i] == NULL) {
            yyjson_mut_val *name = yyjson_mut_strcpy(p->doc, l.key + !i);
            l.list[i] = yyjson_mut_arr(p->doc);
            if (l.list[i] == NULL || !yyjson_mut_obj_add(owner, name, l.list[i]))
                return patch_too_large(&p->op, e);
        }
        one = one ? one : yyjson_mut_null(p->doc);
        if (one == NULL || !pad(p, l.list[i], l.n) ||
            !(instead ? yyjson_mut_arr_replace(l.list[i], index, one) != NULL
                      : yyjson_mut_arr_insert(l.list[i], one, index)))
            return patch_too_large(&p->op, e);
    }
    drop_empty(&l);
    return ERR_OK;
}

err_code patch_list_move(struct patch *p, yyjson_mut_val *owner, sv key, size_t from, size_t to,
                         struct err *e)
{
    struct pair l;
    if (!open_pair(owner, key, &l))
        return no_list(p, e);
    for (int i = 0; i < 2; i++) {
        if (l.list[i] == NULL)
            continue;
        if (!pad(p, l.list[i], l.n))
            return patch_too_large(&p->op, e);
        yyjson_mut_val *one = yyjson_mut_arr_remove(l.list[i], from);
        if (one == NULL || !yyjson_mut_arr_insert(l.list[i], one, to))
            return no_list(p, e);
    }
    return ERR_OK;
}

err_code patch_member_set(struct patch *p, yyjson_mut_val *owner, sv was, sv key,
                          const struct patch_value *v, struct err *e)
{
    char old[96] = "", new[96];
    if (!barred(was, old, sizeof old) || !barred(key, new, sizeof new))
        return patch_cannot(&p->op, "there is no element of that name", e);
    for (int i = 0; i < 2; i++) {
        yyjson_mut_val *one = i ? v->twin : v->value;
        bool there = was.len && get(owner, old + !i) != NULL;
        if (one == NULL) {
            if (there)
                (void)yyjson_mut_obj_remove_key(owner, old + !i);
            continue;
        }
        yyjson_mut_val *name = yyjson_mut_strcpy(p->doc, new + !i);
        if (name == NULL)
            return patch_too_large(&p->op, e);
        /* In its place, so that the order of members stays. */
        bool ok = !there ? yyjson_mut_obj_add(owner, name, one)
                         : (strcmp(old, new) == 0 ||
                            yyjson_mut_obj_rename_key(p->doc, owner, old + !i, new + !i)) &&
                               yyjson_mut_obj_replace(owner, name, one);
        if (!ok)
            return patch_too_large(&p->op, e);
    }
    return ERR_OK;
}

err_code patch_remove(struct patch *p, const struct patch_place *place, struct err *e)
{
    yyjson_mut_val *owner = patch_owner(p, place->owner);
    struct pair l;
    if (!place->listed) {
        char name[96];
        if (!barred(place->key, name, sizeof name))
            return no_list(p, e);
        (void)yyjson_mut_obj_remove_key(owner, name);
        if (!place->twin)
            (void)yyjson_mut_obj_remove_key(owner, name + 1);
        return ERR_OK;
    }
    if (!open_pair(owner, place->key, &l))
        return no_list(p, e);
    /* The value stays when only its twin goes. */
    bool slot = !place->twin || yyjson_mut_arr_get(l.list[0], place->index) == NULL ||
                yyjson_mut_is_null(yyjson_mut_arr_get(l.list[0], place->index));
    for (int i = 0; i < 2; i++) {
        if (place->index >= yyjson_mut_arr_size(l.list[i]))
            continue;
        if (slot) {
            (void)yyjson_mut_arr_remove(l.list[i], place->index);
        } else if (i == 1) {
            yyjson_mut_val *none = yyjson_mut_null(p->doc);
            if (none == NULL)
                return patch_too_large(&p->op, e);
            (void)yyjson_mut_arr_replace(l.list[i], place->index, none);
        }
    }
    drop_empty(&l);
    return ERR_OK;
}
