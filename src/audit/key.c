/* key.c - the two files of keys.
 *
 *   DIR/key        {"v":1,"segment":7,"begun":true,"key":"...","queries":"..."}
 *   DIR/first-key  64 hexadecimal digits
 *
 * DIR/key is replaced whenever a segment ends: the key of the segment that ended is nowhere on this
 * machine then, but for blocks of the disk that the file system has not reused, and first-key if it
 * was not moved away. */
#include "audit/audit_private.h"

#include "base/file.h"
#include "base/rng.h"
#include "codec/json.h"

#define KEY_BYTES 4096u

void audit_key_next(unsigned char key[AUDIT_KEY_LEN])
{
    unsigned char next[SHA256_LEN];
    hash_hmac_sha256(sv_make(key, AUDIT_KEY_LEN), SV_LIT("fhirlake audit: next segment"), next);
    memcpy(key, next, AUDIT_KEY_LEN);
    explicit_bzero(next, sizeof next);
}

static err_code path_in(const char *dir, const char *name, char out[PATH_MAX], struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return n > 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "too long a path");
}

err_code audit_key_load(const char *dir, struct audit_key *out, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(KEY_BYTES);
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(KEY_BYTES));
    char path[PATH_MAX];
    yyjson_doc *doc;
    struct audit_key key;
    TRY(path_in(dir, "key", path, e));
    TRY(file_read_private(path, &text, e));
    if (json_read(a, buf_sv(&text), 4, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the file of the audit log's key is not as it was written");
    yyjson_val *root = yyjson_doc_get_root(doc);
    key.begun = yyjson_get_bool(json_get(root, "begun"));
    bool ok = sv_to_u64(json_number(json_get(root, "segment")), &key.segment) && key.segment &&
              key.segment <= 99999999 &&
              json_string(json_get(root, "key")).len == (size_t)AUDIT_KEY_LEN * 2 &&
              json_string(json_get(root, "queries")).len == (size_t)AUDIT_KEY_LEN * 2 &&
              hash_unhex(json_string(json_get(root, "key")), key.key, AUDIT_KEY_LEN) &&
              hash_unhex(json_string(json_get(root, "queries")), key.queries, AUDIT_KEY_LEN);
    if (text.ptr)
        explicit_bzero(text.ptr, text.len);
    if (!ok)
        return ERR(e, ERR_CORRUPT, "the file of the audit log's key is not as it was written");
    *out = key;
    return ERR_OK;
}

err_code audit_key_save(const char *dir, const struct audit_key *key, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(KEY_BYTES);
    char path[PATH_MAX], hex[2][(size_t)AUDIT_KEY_LEN * 2];
    TRY(path_in(dir, "key", path, e));
    hash_hex(key->key, AUDIT_KEY_LEN, hex[0]);
    hash_hex(key->queries, AUDIT_KEY_LEN, hex[1]);
    TRY(buf_add_fmt(
        &text, e,
        "{\"v\":1,\"segment\":%llu,\"begun\":%s,\"key\":\"%.64s\",\"queries\":\"%.64s\"}"
        "\n",
        (unsigned long long)key->segment, key->begun ? "true" : "false", hex[0], hex[1]));
    err_code rc = file_write_atomic(path, buf_sv(&text), e);
    explicit_bzero(text.ptr, text.len);
    explicit_bzero(hex, sizeof hex);
    return rc;
}

err_code audit_key_make(const char *dir, struct audit_key *out, struct err *e)
{
    struct audit_key key = { .segment = 1 };
    char path[PATH_MAX], hex[(size_t)AUDIT_KEY_LEN * 2 + 1];
    TRY(path_in(dir, "first-key", path, e));
    rng_bytes(key.key, sizeof key.key);
    rng_bytes(key.queries, sizeof key.queries);
    hash_hex(key.key, AUDIT_KEY_LEN, hex);
    hex[sizeof hex - 1] = '\n';
    /* first: a log whose first key is lost cannot be checked */
    TRY(file_write_atomic(path, sv_make(hex, sizeof hex), e));
    explicit_bzero(hex, sizeof hex);
    TRY(audit_key_save(dir, &key, e));
    *out = key;
    return ERR_OK;
}

err_code audit_first_key_load(const char *path, unsigned char out[AUDIT_KEY_LEN], struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(KEY_BYTES);
    TRY(file_read_private(path, &text, e));
    sv hex = buf_sv(&text);
    if (hex.len && hex.ptr[hex.len - 1] == '\n')
        hex.len--;
    if (hex.len != (size_t)AUDIT_KEY_LEN * 2 || !hash_unhex(hex, out, AUDIT_KEY_LEN))
        return ERR(e, ERR_INVALID, "the first key is 64 hexadecimal digits, and this file is not");
    return ERR_OK;
}
