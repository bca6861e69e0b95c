/* locate.c - where a JSON value stands in its document. A node of a result is a value of the tree
 * that yyjson made of the resource, in which a container stands in front of all it holds. The way
 * to a value is found from the root down, without a note of it in each node. */
#include "fhirpath/fhirpath_private.h"

/* Is value in v, or v itself? */
static bool holds(yyjson_val *v, const yyjson_val *value)
{
    return value >= v && value < unsafe_yyjson_get_next(v);
}

/* ~ and / are written ~0 and ~1: RFC 6901, 3 */
static err_code put_name(struct buf *out, sv name, struct err *e)
{
    TRY(buf_add_char(out, '/', e));
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c == '~' || c == '/')
            TRY(buf_add(out, c == '~' ? SV_LIT("~0") : SV_LIT("~1"), e));
        else
            TRY(buf_add_char(out, c, e));
    }
    return ERR_OK;
}

err_code fhirpath_locate(yyjson_val *root, const yyjson_val *value, struct buf *out, struct err *e)
{
    if (value == NULL || !holds(root, value))
        return ERR(e, ERR_NOT_FOUND, "the value does not stand in the resource");
    while (root != value) {
        yyjson_val *into = NULL;
        if (yyjson_is_obj(root)) {
            yyjson_obj_iter it;
            yyjson_val *key;
            yyjson_obj_iter_init(root, &it);
            while (into == NULL && (key = yyjson_obj_iter_next(&it))) {
                if (!holds(yyjson_obj_iter_get_val(key), value))
                    continue;
                into = yyjson_obj_iter_get_val(key);
                TRY(put_name(out, sv_make(yyjson_get_str(key), yyjson_get_len(key)), e));
            }
        } else if (yyjson_is_arr(root)) {
            yyjson_arr_iter it;
            yyjson_val *one;
            size_t i = 0;
            yyjson_arr_iter_init(root, &it);
            for (; into == NULL && (one = yyjson_arr_iter_next(&it)); i++)
                into = holds(one, value) ? one : NULL;
            if (into)
                TRY(buf_add_fmt(out, e, "/%zu", i - 1));
        }
        if (into == NULL)
            return ERR(e, ERR_NOT_FOUND, "the value does not stand in the resource");
        root = into;
    }
    return ERR_OK;
}
