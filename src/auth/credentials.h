/* credentials.h - who may call: a file in AWS's shared format, each section one caller.
 *
 *   [app]                                     the caller's name, as in user/app
 *   aws_access_key_id = AKIA...
 *   aws_secret_access_key = ...
 *   aws_session_token = ...                   optional: requests must then carry exactly this
 *   policy = app.json                         optional: an IAM policy, a file in the same folder
 *   expires = 2027-01-31T00:00:00Z            optional: from then on the key is refused
 *
 * A caller without a policy may do all of healthlake:*, and iam:PassRole. Lines that begin with '#'
 * or ';' are comments. The AWS CLI also keeps the keys region and output in such files: they are
 * skipped. Any other unknown key is refused, so that a mistyped "policy" never means "everything".
 * Reading has no side effects. Limits: CREDENTIALS_MAX_BYTES, CREDENTIALS_MAX.   Floor: auth. */
#pragma once
#include "auth/policy.h"
#include "base/arena.h"
#include "codec/hash.h"

#define CREDENTIALS_MAX_BYTES (1u << 20)
#define CREDENTIALS_MAX       10000u

struct credential {
    sv name;                     /* 1..64 of [A-Za-z0-9+=,.@_-], an IAM user name */
    sv access_key_id;            /* 1..128 of [A-Za-z0-9_] */
    sv secret_key;               /* 1..200 visible ASCII characters */
    sv session_token;            /* empty: none */
    sv policy_name;              /* of the file; empty: none */
    const struct policy *policy; /* NULL: the default above */
    int64_t expires_ms;          /* from this time on it is refused; 0: never */
};

/* ---- callers (credentials.c) ---- */

struct credentials; /* immutable: any number of threads may look up at once */

/* Reads the file and its policies; the caller frees them with credentials_free().
 * ERR_NOT_FOUND, ERR_IO: the file or a policy file. ERR_DENIED: others can read or change one of
 * them (file_read_private()), or we may not read it. ERR_INVALID, ERR_TOO_LARGE: its content; the
 * message names section and line, never a value. A file without sections is refused. */
MUST_USE err_code credentials_load(const char *path, struct credentials **out, struct err *e);
void credentials_free(struct credentials *credentials);
DEFINE_CLEANUP(struct credentials, credentials_free)

size_t credentials_count(const struct credentials *credentials);

/* The caller with this access key; NULL: there is none. Borrowed from the credentials. */
const struct credential *credentials_find(const struct credentials *credentials, sv access_key_id);

/* The caller of this name; NULL: there is none. Borrowed from the credentials. */
const struct credential *credentials_named(const struct credentials *credentials, sv name);

/* Is the key refused at this time because it has expired? */
bool credential_is_expired(const struct credential *credential, int64_t now_ms);
/* How many are. */
size_t credentials_expired(const struct credentials *credentials, int64_t now_ms);

/* A look at the file and its policies as they are now: places, sizes, times, owners and modes, not
 * their bytes. Two looks that are the same, one after the other, mean that nobody is writing. */
void credentials_look(const struct credentials *credentials, unsigned char out[SHA256_LEN]);
/* Is that what they were before they were read? */
bool credentials_as_read(const struct credentials *credentials,
                         const unsigned char look[SHA256_LEN]);

/* A caller whose policy might allow the action on some resource; NULL: there is none. Callers
 * without a policy do not count. Borrowed from the credentials. */
const struct credential *credentials_could(const struct credentials *credentials, sv action);

/* The i-th policy file; NULL: there are no more. A file that several callers name comes once.
 * Borrowed from the credentials. */
const struct policy *credentials_policy(const struct credentials *credentials, size_t i,
                                        sv *out_name);

/* May this caller do it: what its policy says, or the default. Arguments as policy_decide(). */
policy_decision credential_decide(const struct credential *credential, sv action, sv resource,
                                  const struct policy_context *context);
/* Likewise, and by which statement: none by the default. */
policy_decision credential_decide_by(const struct credential *credential, sv action, sv resource,
                                     const struct policy_context *context, struct policy_by *by);

/* ---- key pairs of our own (credentials_own.c) ---- */

/* Writes a new file (mode 0600) with one random key pair in section [default], so that any AWS
 * client can use the file as it is. ERR_EXISTS: there is a file already, and it stays as it is.
 * ERR_IO, ERR_NO_SPACE, ERR_DENIED. */
MUST_USE err_code credentials_create(const char *path, struct err *e);

/* The key pair of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, as AWS's tools
 * take it. The texts are the environment's; SV_NONE: not set. */
void credentials_own_environment(sv *out_access_key_id, sv *out_secret_key, sv *out_session_token);
/* The key pair with which we call out (S3, STS): section [default], or the only one. The texts are
 * owned by the arena. Errors as credentials_load(); ERR_INVALID: no section is clearly meant. */
MUST_USE err_code credentials_own_load(const char *path, struct arena *a, sv *out_access_key_id,
                                       sv *out_secret_key, sv *out_session_token, struct err *e);

/* The same for a client (fhirlake export): section [name]; an empty name means as above. Whether
 * others can read the file is the client's own matter, and is not checked. */
MUST_USE err_code credentials_profile_load(const char *path, sv name, struct arena *a,
                                           sv *out_access_key_id, sv *out_secret_key,
                                           sv *out_session_token, struct err *e);
