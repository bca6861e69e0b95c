/* kms_private.h - what the rooms of kms/ share.
 *
 *   call.c     an endpoint, and one call of it
 *   key.c      is a key good?
 *   data.c     data keys: made, wrapped, unwrapped
 *   keeper.c   as a keeper of the store: what was opened, and the watch over it
 *   wrap.c     the data key of a data store
 *   watch.c    whether the keys of data stores are still allowed */
#pragma once
#include "codec/json.h"
#include "kms/kms.h"

#define KMS_ANSWER_MAX (16u << 10) /* bytes; a wrapped key has 8 KiB at most, in base64 */
#define KMS_BODY_MAX   (32u << 10) /* bytes of a request */

struct kms {
    struct s3_client *client;
};

typedef err_code (*kms_read_fn)(void *ctx, yyjson_val *answer, struct err *e);
/* The call `op` ("DescribeKey"), whose body is b. dry: KMS may refuse it for being a dry run, and
 * that is ERR_OK without a read. */
err_code kms_call(struct kms *kms, const char *op, struct buf *b, bool dry, kms_read_fn read,
                  void *ctx, struct err *e);
/* What answers say, as kms_read_fn. Errors: ERR_PEER, and of a key that is not good what
 * kms_describe_key() says. */
struct kms_described { /* key.c, of DescribeKey */
    struct arena *a;   /* or NULL: the ARN is not asked for */
    sv arn;
};
err_code kms_read_described(void *ctx, yyjson_val *answer, struct err *e);
struct kms_keyed {         /* data.c, of GenerateDataKey, Encrypt and Decrypt */
    unsigned char *clear;  /* KMS_KEY_LEN bytes; NULL: none is asked for */
    struct kms_blob *blob; /* NULL: none is asked for */
};
err_code kms_read_keyed(void *ctx, yyjson_val *answer, struct err *e);
/* A body with a key's name and a context; more members may follow before kms_body_end(). */
void kms_body(struct json_writer *w, struct buf *b, const char *key_member, sv key);
void kms_body_context(struct json_writer *w, const char *member, const struct kms_context *context);
/* keeper.c, for its tests: kms_keeper_new() by another clock, and without a thread. What is due by
 * that clock is asked by keeper_turn(). */
struct key_keeper;
struct key_keeper *keeper_new_at(struct kms *kms, unsigned every_s, uint64_t (*now_us)(void));
void keeper_turn(struct key_keeper *keeper);
