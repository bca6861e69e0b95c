/* An answer of KMS, or of whatever stands at its endpoint: faults and results. */
#include "fuzz.h"

#include "kms/kms_private.h"
#include "s3/s3_private.h"

static void read_result(yyjson_val *answer)
{
    static struct kms_blob blob;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    unsigned char clear[KMS_KEY_LEN];
    struct kms_described d = { .a = a };
    struct kms_keyed all = { clear, &blob }, plain = { clear, NULL };
    struct err e = { 0 };
    err_code rc = kms_read_described(&d, answer, &e);
    MUST(rc == ERR_OK || rc == ERR_PEER || rc == ERR_PRECONDITION || rc == ERR_CONFLICT ||
         rc == ERR_UNSUPPORTED);
    if (rc == ERR_OK)
        MUST(d.arn.len > 0 && d.arn.len <= KMS_NAME_MAX);
    rc = kms_read_keyed(&all, answer, &e);
    MUST(rc == ERR_OK || rc == ERR_PEER);
    if (rc == ERR_OK) {
        MUST(blob.len > 0 && blob.len <= KMS_BLOB_MAX);
        MUST(blob.key[0] && strlen(blob.key) <= KMS_NAME_MAX);
        MUST(kms_read_keyed(&plain, answer, &e) == ERR_OK);
    }
}

FUZZ(data)
{
    char code[64], again[64];
    struct s3_fault f;
    struct err e;
    yyjson_doc *doc = NULL;
    MUST(s3_fault_code_json(data, code) == (code[0] != 0));
    MUST(strlen(code) < sizeof code && strcspn(code, " \r\n\"<&") == strlen(code));
    s3_fault_by_code(code, 400, &f);
    MUST(f.rc != ERR_OK);
    MUST(s3_fault_code(data, again) == (again[0] != 0));
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(data.len) + 4096);
    if (json_read(a, data, 16, &doc, &e) == ERR_OK)
        read_result(yyjson_doc_get_root(doc));
    arena_wipe(a);
}
