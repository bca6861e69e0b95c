/* what.c - what is asked for, as a text and back. */
#include "erase/erase.h"

#include "codec/json.h"

static const char *const scopes[ERASE_N_SCOPES] = { "resource", "patient", "type" };

static void put_number(struct json_writer *w, const char *name, uint64_t n)
{
    if (n == 0)
        return;
    json_key(w, name);
    json_u64(w, n);
}

err_code erase_what_write(const struct erase_what *what, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "scope", sv_from(scopes[what->scope]));
    json_kv_str(&w, "type", sv_from(fhir_type_name(what->type)));
    if (what->id.len)
        json_kv_str(&w, "id", what->id);
    put_number(&w, "t", what->t);
    put_number(&w, "soft", what->soft);
    put_number(&w, "audit", what->audit);
    put_number(&w, "from", (uint64_t)what->from_ms);
    put_number(&w, "until", (uint64_t)what->until_ms);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static uint64_t number(yyjson_val *root, const char *name)
{
    uint64_t n = 0;
    return sv_to_u64(json_number(json_get(root, name)), &n) ? n : 0;
}

err_code erase_what_read(sv text, struct arena *a, struct erase_what *out, struct err *e)
{
    struct erase_what what = { .scope = ERASE_N_SCOPES };
    yyjson_doc *doc;
    if (json_read(a, text, 4, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "what an erasure was asked for is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc);
    for (int i = 0; i < ERASE_N_SCOPES; i++)
        if (sv_eq_cstr(json_string(json_get(root, "scope")), scopes[i]))
            what.scope = (erase_scope)i;
    what.type = fhir_type_find(json_string(json_get(root, "type")));
    what.id = json_string(json_get(root, "id"));
    what.t = number(root, "t");
    what.soft = number(root, "soft");
    what.audit = number(root, "audit");
    what.from_ms = (int64_t)number(root, "from");
    what.until_ms = (int64_t)number(root, "until");
    if (what.scope == ERASE_N_SCOPES || what.type == FHIR_TYPE_NONE ||
        (what.scope != ERASE_TYPE && !fhir_id_ok(what.id)))
        return ERR(e, ERR_CORRUPT, "what an erasure was asked for is damaged");
    *out = what;
    return ERR_OK;
}
