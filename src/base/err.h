/* err.h - the one error type of the tree: code + message + context.
 *
 * Raise once with ERR(), where most is known; pass it up with TRY(); a caller may add context but
 * never overwrites code or message. Only the edge (service/, cli/) turns a code into an HTTP
 * status, an AWS exception or an exit status. Messages may reach clients: no file paths, keys,
 * tokens or patient data in them.   Floor: base. */
#pragma once
#include "base/banned.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

typedef enum {
    ERR_OK = 0,
    ERR_EOF,              /* clean end of a stream or cursor; never shown to a client */
    ERR_INVALID,          /* the caller's input breaks a rule */
    ERR_TOO_LARGE,        /* a limit of base/limits.h, an arena's or a buf's budget */
    ERR_NOT_FOUND,        /* no such data store, job, object, bucket, resource */
    ERR_GONE,             /* was there, is deleted */
    ERR_EXISTS,           /* already there, or in use by another owner */
    ERR_CONFLICT,         /* state forbids it now (data store in transition) */
    ERR_PRECONDITION,     /* If-Match and its like */
    ERR_DENIED,           /* known caller or role, not allowed */
    ERR_AUTH_MISSING,     /* no signature at all */
    ERR_AUTH_INCOMPLETE,  /* a signature that is malformed */
    ERR_AUTH_UNKNOWN_KEY, /* access key or session token not known */
    ERR_AUTH_KEY_EXPIRED, /* a key or token whose time is over */
    ERR_AUTH_EXPIRED,     /* outside the clock window or presigned lifetime */
    ERR_AUTH_SIGNATURE,   /* well-formed, but wrong */
    ERR_TOKEN_REQUEST,    /* an access token in a wrong place, or beside another proof */
    ERR_THROTTLED,        /* a quota, or a queue that is full */
    ERR_UNSUPPORTED,      /* understood, not offered */
    ERR_METHOD,           /* no such interaction here */
    ERR_MEDIA_TYPE,       /* the body is of a kind that we do not take */
    ERR_NOT_ACCEPTABLE,   /* the answer is wanted in a form that we do not give */
    ERR_UNPROCESSABLE,    /* well-formed, and cannot be applied */
    ERR_IO,               /* disk or socket failed */
    ERR_NO_SPACE,         /* disk full */
    ERR_TIMEOUT,
    ERR_PEER,        /* a peer (S3, STS) answered with a failure that may pass */
    ERR_UNAVAILABLE, /* what must be asked before a caller is let in cannot be asked, for now */
    ERR_NO_AUDIT,    /* the audit log cannot be written, for now */
    ERR_CANCELLED,
    ERR_CORRUPT,  /* stored bytes fail their checks */
    ERR_INTERNAL, /* our bug, reported instead of crashing */
    ERR_N_CODES
} err_code;

#define ERR_MSG_LEN 512
#define ERR_CTX_LEN 240

struct err {
    err_code code;
    char msg[ERR_MSG_LEN]; /* what happened: one sentence, no trailing period */
    char ctx[ERR_CTX_LEN]; /* where in the work, outermost first: "export 7f3a: range 4" */
    const char *file;      /* who raised it */
    int line;
};

/* Fill *e as err_set() does, and be the code. A compiler sees here that it is not ERR_OK, so it
 * does not warn of what a call that fails leaves unset. */
#define ERR(e, code, ...)                                                 \
    __extension__({                                                       \
        const err_code err_raised_ = (code);                              \
        (void)err_set((e), err_raised_, __FILE__, __LINE__, __VA_ARGS__); \
        err_raised_ ? err_raised_ : ERR_INTERNAL;                         \
    })

/* Return the code of `call` from the calling function unless it is ERR_OK. */
#define TRY(call)                  \
    do {                           \
        err_code try_rc_ = (call); \
        if (try_rc_ != ERR_OK)     \
            return try_rc_;        \
    } while (0)

/* Ignore a result on purpose; say why beside it. (gcc does not take a cast to void for
 * MUST_USE.) */
#define IGNORE(call) \
    do {             \
        if (call) {  \
        }            \
    } while (0)

/* Fill *e (which may be NULL) and return code. The message is cut at ERR_MSG_LEN - 1 bytes, on a
 * UTF-8 boundary. */
err_code err_set(struct err *e, err_code code, const char *file, int line, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

/* Hand on what a call put into an err of our own: *why becomes *e (which may be NULL). Returns its
 * code, so that a caller may look at a failure first and end with `return err_pass(e, &why);`. */
static inline err_code err_pass(struct err *e, const struct err *why)
{
    assert(why->code != ERR_OK);
    if (e)
        *e = *why;
    return why->code ? why->code : ERR_INTERNAL;
}

/* Put "fmt: " before what e->ctx holds. Code and message stay. e may be NULL. */
void err_context(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Lower-case name of a code for logs: "not_found". Never NULL. */
const char *err_code_name(err_code code);

/* errno value -> ERR_NO_SPACE, ERR_NOT_FOUND, ERR_DENIED, ERR_EXISTS or ERR_IO. */
err_code err_from_errno(int errno_value);

/* ---- cleanup, style.md section 7 ---- */
#define CLEANUP(fn) __attribute__((cleanup(fn##_p)))
#define DEFINE_CLEANUP(T, fn)        \
    static inline void fn##_p(T **p) \
    {                                \
        if (*p) {                    \
            fn(*p);                  \
            *p = NULL;               \
        }                            \
    }
