/* tags.c - TagResource, UntagResource and ListTagsForResource, on a data store's ARN.
 *
 * Tags stand in the data store's record, as a JSON list of Key and Value. Policies find a tag
 * without letter case, so no data store may get two keys that differ by it only. */
#include "aws/aws_private.h"

#include "base/limits.h"

#define TAGS_MAX   (1u << 20) /* bytes of all tags of a data store as JSON */
#define TAGS_DEPTH 4u         /* nesting of them: a list of objects of texts */

/* The data store of ResourceARN, once the caller may do the operation on what has this ARN. */
static err_code by_arn(struct call *call, struct datastore *out, struct err *e)
{
    sv arn = call_text(call, "ResourceARN");
    sv id = sv_tail(arn, arn.len > 32 ? arn.len - 32 : 0);
    err_code rc = ERR_NOT_FOUND;
    if (sv_eq(arn, datastore_arn(call->service, call->a, id)))
        rc = call_datastore(call, id, out, e);
    else
        /* It is of another account or region, so there is none. A caller who may not ask is not
         * told so. */
        TRY(call_allowed(call, &(struct datastore){ .arn = arn }, e));
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_NOT_FOUND, "No data store has this ResourceARN");
    return rc;
}

/* May a data store have this key beside the first n of the others?
 *   of_request  the others come with it; false: the data store has them */
static err_code key_check(sv key, yyjson_val *others, size_t n, bool of_request, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(others);
    for (size_t i = 0; i < n; i++) {
        sv other = json_string(json_get(yyjson_arr_iter_next(&it), "Key"));
        if (sv_eq(other, key)) {
            if (of_request)
                return ERR(e, ERR_INVALID, "Tag key \"%.*s\" stands twice in the request",
                           SV_FMT(key));
        } else if (sv_eq_nocase(other, key)) {
            return ERR(e, ERR_INVALID,
                       "Tag keys \"%.*s\" and \"%.*s\" differ by letter case only, and policies do "
                       "not tell such keys apart%s",
                       SV_FMT(key), SV_FMT(other),
                       of_request ? "" : "; the data store has the second, remove it first");
        }
    }
    return ERR_OK;
}

err_code tags_check(yyjson_val *there, yyjson_val *sent, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(sent);
    yyjson_val *t;
    for (size_t i = 0; (t = yyjson_arr_iter_next(&it)) != NULL; i++) {
        sv key = json_string(json_get(t, "Key"));
        if (sv_eq_nocase(sv_head(key, 4), SV_LIT("aws:")))
            return ERR(e, ERR_INVALID, "Tag key \"%.*s\" begins with aws:, which no key may",
                       SV_FMT(key));
        TRY(key_check(key, sent, i, true, e));
        TRY(key_check(key, there, yyjson_arr_size(there), false, e));
    }
    return ERR_OK;
}

static bool has_key(yyjson_val *tags, sv key)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(tags);
    yyjson_val *t;
    while ((t = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(json_string(json_get(t, "Key")), key))
            return true;
    return false;
}

static bool names(yyjson_val *keys, sv key)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(keys);
    yyjson_val *k;
    while ((k = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(json_string(k), key))
            return true;
    return false;
}

/* Writes tags, a JSON list as text, into the record. */
static err_code store_tags(struct call *call, struct datastore *datastore, const struct buf *text,
                           struct err *e)
{
    yyjson_doc *doc;
    sv copy = arena_sv(call->a, buf_sv(text));
    if (copy.ptr == NULL)
        return arena_oom(call->a, e);
    TRY(json_read(call->a, copy, TAGS_DEPTH, &doc, e));
    datastore->tags = yyjson_doc_get_root(doc);
    if (yyjson_arr_size(datastore->tags) > LIMIT_TAGS)
        return ERR(e, ERR_INVALID, "A data store can have at most %u tags", LIMIT_TAGS);
    return datastore_write(call->service, datastore, e);
}

static err_code tag_locked(struct call *call, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(TAGS_MAX);
    struct datastore datastore;
    struct json_writer w;
    yyjson_val *more = call_member(call, "Tags"), *t;
    TRY(by_arn(call, &datastore, e));
    TRY(tags_check(datastore.tags, more, e));
    json_writer_init(&w, &b);
    json_arr(&w);
    yyjson_arr_iter it = yyjson_arr_iter_with(datastore.tags);
    while ((t = yyjson_arr_iter_next(&it)) != NULL)
        if (!has_key(more, json_string(json_get(t, "Key"))))
            json_val(&w, t);
    it = yyjson_arr_iter_with(more);
    while ((t = yyjson_arr_iter_next(&it)) != NULL) {
        json_obj(&w);
        json_kv_str(&w, "Key", json_string(json_get(t, "Key")));
        json_kv_str(&w, "Value", json_string(json_get(t, "Value")));
        json_obj_end(&w);
    }
    json_arr_end(&w);
    TRY(json_writer_end(&w, e));
    return store_tags(call, &datastore, &b, e);
}

static err_code untag_locked(struct call *call, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(TAGS_MAX);
    struct datastore datastore;
    struct json_writer w;
    yyjson_val *keys = call_member(call, "TagKeys"), *t;
    TRY(by_arn(call, &datastore, e));
    json_writer_init(&w, &b);
    json_arr(&w);
    yyjson_arr_iter it = yyjson_arr_iter_with(datastore.tags);
    while ((t = yyjson_arr_iter_next(&it)) != NULL)
        if (!names(keys, json_string(json_get(t, "Key"))))
            json_val(&w, t);
    json_arr_end(&w);
    TRY(json_writer_end(&w, e));
    return store_tags(call, &datastore, &b, e);
}

err_code op_tag_resource(struct call *call, struct err *e)
{
    return call_change(call, tag_locked, e);
}

err_code op_untag_resource(struct call *call, struct err *e)
{
    return call_change(call, untag_locked, e);
}

err_code op_list_tags(struct call *call, struct err *e)
{
    struct datastore datastore;
    TRY(by_arn(call, &datastore, e));
    json_key(&call->out, "Tags");
    if (datastore.tags)
        json_val(&call->out, datastore.tags);
    else
        json_raw(&call->out, SV_LIT("[]"));
    return ERR_OK;
}
