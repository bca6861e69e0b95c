/* bundle.c - A Bundle is read once as a tree and walked once as text, side by side, so that each
 * entry's resource is a view into the text as it was sent. The first fault of an entry is kept, and
 * the walk goes on with the next entry. */
#include "fhir/bundle.h"

#include "base/limits.h"
#include "codec/json.h"
#include "codec/json_scan.h"

#define WRAPPING 4u /* levels around a resource: the Bundle, its entries, the entry */

static void fault(struct fhir_bundle_entry *en, const char *where, const char *what)
{
    if (en->fault == NULL) {
        en->fault = what;
        en->where = where;
    }
}

static bool is_method(sv name)
{
    static const char *const all[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (sv_eq_cstr(name, all[i]))
            return true;
    return false;
}

static void read_request(struct fhir_bundle_entry *en, yyjson_val *request)
{
    const struct {
        const char *name, *where;
        sv *to;
    } members[] = {
        { "method", ".request.method", &en->method },
        { "url", ".request.url", &en->url },
        { "ifMatch", ".request.ifMatch", &en->if_match },
        { "ifNoneMatch", ".request.ifNoneMatch", &en->if_none_match },
        { "ifNoneExist", ".request.ifNoneExist", &en->if_none_exist },
        { "ifModifiedSince", ".request.ifModifiedSince", &en->if_modified_since },
    };
    yyjson_obj_iter it = yyjson_obj_iter_with(request);
    yyjson_val *k;
    if (!yyjson_is_obj(request))
        fault(en, ".request", "The request must be an object");
    while ((k = yyjson_obj_iter_next(&it)) != NULL)
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
            if (!sv_eq_cstr(json_string(k), members[i].name))
                continue;
            if (members[i].to->ptr)
                fault(en, members[i].where, "The request holds a member twice");
            *members[i].to = json_string(yyjson_obj_iter_get_val(k));
            if (members[i].to->ptr == NULL)
                fault(en, members[i].where, "A member of the request must be a string");
            else if (members[i].to->len == 0 && i > 1)
                /* [base] may be written as an empty url */
                fault(en, members[i].where, "A condition must not be empty: leave it out");
        }
    if (en->method.ptr == NULL)
        fault(en, ".request.method", "The request needs a method");
    else if (!is_method(en->method))
        fault(en, ".request.method", "The method must be GET, HEAD, POST, PUT, PATCH or DELETE");
    if (en->url.ptr == NULL)
        fault(en, ".request.url", "The request needs a url");
}

/* s on the entry's value; over it afterwards. */
static void read_entry(struct json_scan *s, yyjson_val *v, struct fhir_bundle_entry *en)
{
    bool request = false;
    *en = (struct fhir_bundle_entry){ .where = "" };
    if (!yyjson_is_obj(v)) {
        (void)json_scan_value(s);
        fault(en, "", "An entry must be an object");
        return;
    }
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    json_scan_open(s);
    while (json_scan_next(s)) {
        yyjson_val *k = yyjson_obj_iter_next(&it), *m = yyjson_obj_iter_get_val(k);
        sv name = json_string(k);
        (void)json_scan_key(s);
        sv text = json_scan_value(s);
        if (sv_eq(name, SV_LIT("resource"))) {
            if (en->resource)
                fault(en, ".resource", "The entry holds resource twice");
            if (!yyjson_is_obj(m))
                fault(en, ".resource", "The resource must be an object");
            en->resource = m;
            en->text = text;
        } else if (sv_eq(name, SV_LIT("request"))) {
            if (request)
                fault(en, ".request", "The entry holds request twice");
            else
                read_request(en, m);
            request = true;
        } else if (sv_eq(name, SV_LIT("fullUrl"))) {
            if (en->full_url.ptr)
                fault(en, ".fullUrl", "The entry holds fullUrl twice");
            en->full_url = json_string(m);
            if (en->full_url.len == 0)
                fault(en, ".fullUrl", "The fullUrl must be a string, and not an empty one");
        }
    }
    if (!request)
        fault(en, ".request", "The entry needs a request, with method and url");
}

static err_code read_entries(struct json_scan *s, yyjson_val *v, struct arena *a,
                             size_t max_entries, struct fhir_bundle *out, struct err *e)
{
    if (!yyjson_is_arr(v))
        return ERR(e, ERR_INVALID, "Bundle.entry must be an array");
    size_t n = yyjson_arr_size(v);
    if (n > max_entries)
        return ERR(e, ERR_TOO_LARGE, "A Bundle may have %zu entries, this one has %zu", max_entries,
                   n);
    out->entries = arena_calloc(a, n + 1, sizeof *out->entries);
    if (out->entries == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    json_scan_open(s);
    while (json_scan_next(s))
        read_entry(s, yyjson_arr_iter_next(&it), &out->entries[out->n++]);
    return ERR_OK;
}

err_code fhir_bundle_read(sv text, struct arena *a, size_t max_entries, struct fhir_bundle *out,
                          struct err *e)
{
    yyjson_doc *doc;
    struct fhir_bundle b = { 0 };
    unsigned types = 0, resource_types = 0, entries = 0;
    bool bundle = false;
    TRY(json_read(a, text, LIMIT_RESOURCE_DEPTH + WRAPPING, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(root))
        return ERR(e, ERR_INVALID, "The body must be a Bundle, a JSON object");
    struct json_scan s = json_scan_of(text);
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    json_scan_blank(&s);
    json_scan_open(&s);
    while (json_scan_next(&s)) {
        yyjson_val *k = yyjson_obj_iter_next(&it), *m = yyjson_obj_iter_get_val(k);
        sv name = json_string(k);
        (void)json_scan_key(&s);
        if (sv_eq(name, SV_LIT("entry"))) {
            if (++entries == 1) {
                TRY(read_entries(&s, m, a, max_entries, &b, e));
                continue;
            }
        } else if (sv_eq(name, SV_LIT("resourceType"))) {
            resource_types++;
            bundle = sv_eq(json_string(m), SV_LIT("Bundle"));
        } else if (sv_eq(name, SV_LIT("type"))) {
            types++;
            b.type = json_string(m);
        }
        (void)json_scan_value(&s);
    }
    if (!bundle)
        return ERR(e, ERR_INVALID, "The body must be a Bundle: its resourceType is another");
    if (types > 1 || resource_types > 1 || entries > 1)
        return ERR(e, ERR_INVALID, "The Bundle holds resourceType, type or entry twice");
    if (b.type.len == 0)
        return ERR(e, ERR_INVALID, "Bundle.type must say batch or transaction");
    *out = b;
    return ERR_OK;
}
