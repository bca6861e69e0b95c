/* subscription.c - Subscriptions are kept, and nobody is notified.
 *
 *   status in the request   stored       said
 *   requested               requested    a warning
 *   active                  off          a warning: nothing here is active
 *   error, off              as it is     -
 *
 * The warning is a header, an outcome in a Bundle's entry, and the answer to Prefer:
 * return=OperationOutcome.
 * Source: FHIR R4 subscription.html: the server is who makes a Subscription active. */
#include "rest/write/write_private.h"

#include "codec/json.h"
#include "codec/json_scan.h"

#define KEPT "No notifications are sent: Subscriptions are kept and not served"

static bool is_status(yyjson_val *key, yyjson_val *value, const char *status)
{
    return sv_eq(json_string(key), SV_LIT("status")) && sv_eq_cstr(json_string(value), status);
}

static bool has_status(yyjson_val *root, const char *status)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL)
        if (is_status(key, yyjson_obj_iter_get_val(key), status))
            return true;
    return false;
}

/* The text is walked beside its tree, because a name may be written with escapes. Every status is
 * replaced: of several, a reader may take the last. */
static err_code switch_off(yyjson_val *root, sv text, struct buf *out, struct err *e)
{
    struct json_scan s = json_scan_of(text);
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    const char *from = text.ptr;
    json_scan_blank(&s);
    json_scan_open(&s);
    while (json_scan_next(&s)) {
        yyjson_val *key = yyjson_obj_iter_next(&it);
        (void)json_scan_key(&s);
        sv value = json_scan_value(&s);
        if (!is_status(key, yyjson_obj_iter_get_val(key), "active"))
            continue;
        TRY(buf_add(out, sv_make(from, (size_t)(value.ptr - from)), e));
        TRY(buf_add(out, SV_LIT("\"off\""), e));
        from = value.ptr + value.len;
    }
    return buf_add(out, sv_make(from, (size_t)(text.ptr + text.len - from)), e);
}

err_code rest_subscription_take(struct rest_call *call, yyjson_val *root, sv text, struct buf *out,
                                struct err *e)
{
    bool active = has_status(root, "active");
    call->out.warning = active                          ? SV_LIT(KEPT ". This one is stored as off")
                        : has_status(root, "requested") ? SV_LIT(KEPT)
                                                        : SV_NONE;
    return active ? switch_off(root, text, out, e) : ERR_OK;
}
