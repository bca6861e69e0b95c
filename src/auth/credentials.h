/* credentials.h - who may call: a file in AWS's shared format, each section one caller.
 *
 *   [app]                                     the caller's name, as in user/app
 *   aws_access_key_id = AKIA...
 *   aws_secret_access_key = ...
 *   aws_session_token = ...                   optional: requests must then carry exactly this
 *   policy = app.json                         optional: an IAM policy, a file in the same folder
 *
 * Without a policy a caller may do all of healthlake:* and iam:PassRole. Lines that begin with '#'
 * or ';' are comments. The keys that the AWS CLI also keeps in such files (region, output) are
 * passed over; any other unknown key is refused, so that a mistyped "policy" never means
 * "everything". Reading has no side effects: load anew, swap, free the old table.
 * Limits: CREDENTIALS_MAX_BYTES, CREDENTIALS_MAX.   Floor: auth. */
#pragma once
#include "auth/policy.h"
#include "base/arena.h"

#define CREDENTIALS_MAX_BYTES (1u << 20)
#define CREDENTIALS_MAX       10000u

struct credential {
    sv name;                     /* 1..64 of [A-Za-z0-9+=,.@_-], an IAM user name */
    sv access_key_id;            /* 1..128 of [A-Za-z0-9_] */
    sv secret_key;               /* 1..200 visible ASCII characters */
    sv session_token;            /* empty: none */
    const struct policy *policy; /* NULL: the default above */
};

struct credentials; /* immutable: any number of threads may look up at once */

/* ERR_NOT_FOUND, ERR_IO: the file or a policy file. ERR_DENIED: others can read or change one of
 * them (file_read_private()), or we may not read it. ERR_INVALID, ERR_TOO_LARGE: its content; the
 * message names section and line, never a value. A file without sections is refused. */
MUST_USE err_code credentials_load(const char *path, struct credentials **out, struct err *e);
void credentials_free(struct credentials *c);
DEFINE_CLEANUP(struct credentials, credentials_free)

size_t credentials_count(const struct credentials *c);
/* A caller with a policy that could allow the action on anything at all; NULL: none. Callers
 * without a policy do not count. */
const struct credential *credentials_could(const struct credentials *c, sv action);
/* The i-th policy file, each once however many callers have it; NULL: there are no more. Borrowed
 * from c. */
const struct policy *credentials_policy(const struct credentials *c, size_t i, sv *out_name);
/* NULL: unknown. Borrowed from c. */
const struct credential *credentials_find(const struct credentials *c, sv access_key_id);

/* May this caller do it: its policy, or the default. As policy_decide(). */
policy_decision credential_decide(const struct credential *c, sv action, sv resource,
                                  const struct policy_context *context);

/* A new file (mode 0600) with one random key pair in section [default], so that any AWS client
 * can use the file as it is. ERR_EXISTS: there is a file already, it stays as it is. ERR_IO and its
 * like. */
MUST_USE err_code credentials_create(const char *path, struct err *e);

/* One key pair of our own for calling out (S3, STS): section [default], or the only one. The views
 * are owned by the arena. Errors as credentials_load; ERR_INVALID when it is not clear which
 * section is meant. */
MUST_USE err_code credentials_own_load(const char *path, struct arena *a, sv *out_access_key_id,
                                       sv *out_secret_key, sv *out_session_token, struct err *e);
/* The same of section [name]; empty: as above. Of a client: whether others can read the file is his
 * matter. */
MUST_USE err_code credentials_profile_load(const char *path, sv name, struct arena *a,
                                           sv *out_access_key_id, sv *out_secret_key,
                                           sv *out_session_token, struct err *e);
