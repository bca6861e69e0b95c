/* roles.c - the roles file: which roles there are without an STS, and what each may touch.
 *
 *   {"roles": [{"arn": "arn:aws:iam::000000000000:role/export",
 *               "allow": ["s3://bucket/prefix*"],
 *               "kmsKeys": ["..."],                                   optional: any key
 *               "credentials": {"accessKeyId": "..", "secretAccessKey": "..",
 *                               "sessionToken": ".."}}]}              for an S3 endpoint
 *
 * In "allow", '*' stands for any bytes (slashes too) and '?' for one byte; the bucket is literal.
 * Strict: an unknown or doubled member is a fault, since a misspelt one would grant or refuse in
 * silence. */
#include "sink/sink_private.h"

#include "base/file.h"
#include "base/glob.h"
#include "codec/json.h"

bool role_arn_ok(sv arn)
{
    static const char mid[] = ":iam::";
    if (!sv_starts(arn, SV_LIT("arn:aws")) || arn.len > 2048)
        return false;
    size_t i = sizeof "arn:aws" - 1;
    while (i < arn.len && arn.ptr[i] != ':') {
        char c = arn.ptr[i++];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-'))
            return false;
    }
    sv rest = sv_tail(arn, i);
    if (!sv_starts(rest, SV_LIT(mid)))
        return false;
    rest = sv_tail(rest, sizeof mid - 1);
    if (rest.len < 12)
        return false;
    for (i = 0; i < 12; i++)
        if (rest.ptr[i] < '0' || rest.ptr[i] > '9')
            return false;
    rest = sv_tail(rest, 12);
    if (!sv_starts(rest, SV_LIT(":role/")) || rest.len == sizeof ":role/" - 1)
        return false;
    for (i = 0; i < rest.len; i++)
        if ((unsigned char)rest.ptr[i] <= 0x20 || (unsigned char)rest.ptr[i] >= 0x7F)
            return false;
    return true;
}

/* ---- matching ---- */
static bool place(char out[2048], sv bucket, sv key, const char *end, sv *text)
{
    int n = snprintf(out, 2048, "s3://%.*s/%.*s%s", SV_FMT(bucket), SV_FMT(key), end);
    *text = sv_make(out, n < 0 ? 0 : (size_t)n);
    return n > 0 && n < 2048;
}

bool role_may(const struct role *role, sv bucket, sv key)
{
    char room[2048];
    sv text;
    if (!place(room, bucket, key, "", &text))
        return false;
    for (size_t i = 0; i < role->n_allow; i++)
        if (glob_matches(role->allow[i], text, false))
            return true;
    return false;
}

bool role_may_below(const struct role *role, sv bucket, sv prefix)
{
    char room[2048];
    sv text;
    if (!place(room, bucket, prefix, prefix.len ? "/" : "", &text))
        return false;
    /* A pattern with a star at its end that takes "prefix/" takes whatever follows it too. */
    for (size_t i = 0; i < role->n_allow; i++)
        if (sv_ends(role->allow[i], SV_LIT("*")) && glob_matches(role->allow[i], text, false))
            return true;
    return false;
}

bool role_may_use_key(const struct role *role, sv kms_key_id)
{
    if (role->n_kms_keys == 0 || kms_key_id.len == 0)
        return true;
    for (size_t i = 0; i < role->n_kms_keys; i++)
        if (sv_eq(role->kms_keys[i], kms_key_id))
            return true;
    return false;
}

const struct role *roles_find(const struct roles *r, sv arn)
{
    for (size_t i = 0; i < r->n; i++)
        if (sv_eq(r->items[i].arn, arn))
            return &r->items[i];
    return NULL;
}

/* ---- reading ---- */
struct member {
    const char *name;
    bool required;
    yyjson_val *val;
};

/* obj's members into those of m, each at most once, no others. at: where obj stands. */
static err_code members(yyjson_val *obj, const char *at, struct member *m, size_t n_m,
                        struct err *e)
{
    if (!yyjson_is_obj(obj))
        return ERR(e, ERR_INVALID, "roles file: %s is not an object", at);
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        struct member *found = NULL;
        for (size_t i = 0; i < n_m; i++)
            if (sv_eq_cstr(json_string(key), m[i].name))
                found = &m[i];
        if (found == NULL)
            return ERR(e, ERR_INVALID, "roles file: %s has an unknown member \"%.40s\"", at,
                       yyjson_get_str(key));
        if (found->val)
            return ERR(e, ERR_INVALID, "roles file: %s has \"%s\" twice", at, found->name);
        found->val = yyjson_obj_iter_get_val(key);
    }
    for (size_t i = 0; i < n_m; i++)
        if (m[i].required && m[i].val == NULL)
            return ERR(e, ERR_INVALID, "roles file: %s lacks \"%s\"", at, m[i].name);
    return ERR_OK;
}

static err_code text_of(struct arena *a, yyjson_val *v, const char *at, const char *name, sv *out,
                        struct err *e)
{
    sv text = json_string(v);
    if (text.len == 0)
        return ERR(e, ERR_INVALID, "roles file: %s.%s is not a string, or empty", at, name);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7F)
            return ERR(e, ERR_INVALID, "roles file: %s.%s holds a control character", at, name);
    *out = arena_sv(a, text);
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

static err_code texts_of(struct arena *a, yyjson_val *v, const char *at, const char *name, sv **out,
                         size_t *n_out, struct err *e)
{
    if (!yyjson_is_arr(v) || yyjson_arr_size(v) == 0)
        return ERR(e, ERR_INVALID, "roles file: %s.%s is not an array, or empty", at, name);
    size_t n = yyjson_arr_size(v);
    sv *items = arena_calloc(a, n, sizeof *items);
    if (items == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++) {
        char where[64];
        (void)snprintf(where, sizeof where, "%s[%zu]", name, i);
        TRY(text_of(a, yyjson_arr_get(v, i), at, where, &items[i], e));
    }
    *out = items;
    *n_out = n;
    return ERR_OK;
}

static err_code check_allow(sv pattern, const char *at, size_t i, struct err *e)
{
    sv rest = sv_tail(pattern, sizeof "s3://" - 1);
    size_t slash = sv_find(rest, '/');
    bool ok =
        sv_starts(pattern, SV_LIT("s3://")) && slash > 0 && slash < rest.len && pattern.len <= 1100;
    for (size_t k = 0; ok && k < slash; k++)
        ok = rest.ptr[k] != '*' && rest.ptr[k] != '?';
    if (!ok)
        return ERR(e, ERR_INVALID,
                   "roles file: %s.allow[%zu] is not of the form s3://bucket/prefix/*", at, i);
    return ERR_OK;
}

static err_code read_credentials(struct arena *a, yyjson_val *v, const char *role_at,
                                 struct s3_credentials *out, struct err *e)
{
    char at[64];
    (void)snprintf(at, sizeof at, "%s.credentials", role_at);
    struct member m[] = { { "accessKeyId", true, NULL },
                          { "secretAccessKey", true, NULL },
                          { "sessionToken", false, NULL } };
    TRY(members(v, at, m, 3, e));
    TRY(text_of(a, m[0].val, at, m[0].name, &out->access_key_id, e));
    TRY(text_of(a, m[1].val, at, m[1].name, &out->secret_key, e));
    if (m[2].val)
        TRY(text_of(a, m[2].val, at, m[2].name, &out->session_token, e));
    return ERR_OK;
}

static err_code read_role(struct roles *rs, yyjson_val *v, bool need_credentials, struct err *e)
{
    struct arena *a = rs->arena;
    struct role *role = &rs->items[rs->n];
    char at[32];
    (void)snprintf(at, sizeof at, "roles[%zu]", rs->n);
    struct member m[] = { { "arn", true, NULL },
                          { "allow", true, NULL },
                          { "kmsKeys", false, NULL },
                          { "credentials", need_credentials, NULL } };
    TRY(members(v, at, m, 4, e));
    TRY(text_of(a, m[0].val, at, m[0].name, &role->arn, e));
    if (!role_arn_ok(role->arn))
        return ERR(e, ERR_INVALID,
                   "roles file: %s.arn is not of the form arn:aws:iam::000000000000:role/name", at);
    if (roles_find(rs, role->arn))
        return ERR(e, ERR_INVALID, "roles file: %s.arn stands there twice", at);
    TRY(texts_of(a, m[1].val, at, m[1].name, &role->allow, &role->n_allow, e));
    for (size_t i = 0; i < role->n_allow; i++)
        TRY(check_allow(role->allow[i], at, i, e));
    if (m[2].val)
        TRY(texts_of(a, m[2].val, at, m[2].name, &role->kms_keys, &role->n_kms_keys, e));
    role->has_credentials = m[3].val != NULL;
    if (m[3].val)
        TRY(read_credentials(a, m[3].val, at, &role->cred, e));
    rs->n++;
    return ERR_OK;
}

err_code roles_parse(sv text, bool need_credentials, struct roles **out, struct err *e)
{
    CLEANUP(arena_free) struct arena *tmp = arena_new(64u << 20);
    CLEANUP(roles_free) struct roles *rs = calloc(1, sizeof *rs);
    if (rs == NULL)
        abort();
    rs->arena = arena_new(32u << 20);
    atomic_init(&rs->n_holders, 1);
    yyjson_doc *doc;
    struct err why = { 0 };
    if (json_read(tmp, text, 16, &doc, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "roles file: %.400s", why.msg);
    struct member m[] = { { "roles", true, NULL } };
    TRY(members(yyjson_doc_get_root(doc), "the document", m, 1, e));
    if (!yyjson_is_arr(m[0].val))
        return ERR(e, ERR_INVALID, "roles file: roles is not an array");
    size_t n = yyjson_arr_size(m[0].val);
    rs->items = arena_calloc(rs->arena, n ? n : 1, sizeof *rs->items);
    if (rs->items == NULL)
        return arena_oom(rs->arena, e);
    for (size_t i = 0; i < n; i++)
        TRY(read_role(rs, yyjson_arr_get(m[0].val, i), need_credentials, e));
    *out = rs;
    rs = NULL;
    return ERR_OK;
}

err_code roles_load(const char *path, bool need_credentials, struct roles **out, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(SINK_ROLES_FILE_MAX);
    struct err why = { 0 };
    err_code rc = file_read_private(path, &text, &why);
    if (rc != ERR_OK)
        return ERR(e, rc == ERR_DENIED ? rc : ERR_INVALID, "roles file: %.400s", why.msg);
    return roles_parse(buf_sv(&text), need_credentials, out, e);
}

struct roles *roles_hold(struct roles *r)
{
    if (r)
        atomic_fetch_add(&r->n_holders, 1);
    return r;
}

void roles_free(struct roles *r)
{
    if (r == NULL || atomic_fetch_sub(&r->n_holders, 1) != 1)
        return;
    arena_free(r->arena);
    free(r);
}
