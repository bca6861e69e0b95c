/* copy.h - a data store as it was at one of its commits: what it held, as sums, and a copy of that
 * as a data store of its own.
 *
 * A copy begins as a snapshot: the files of the source, linked, not copied. What came behind the
 * commit is then cut off. Sums of both are compared before the copy gets its name, so that a copy
 * is whole and right, or is not there.   Floor: store. */
#pragma once
#include "fhir/digest.h"
#include "store/store.h"

/* The folder of a copy that is not done, beside those of data stores: .NAME and this. */
#define STORE_HALF_COPIED ".restoring"

struct store_sum { /* of one type */
    uint64_t n_resources, n_versions;
    struct fhir_digest content;  /* of the current resources: docs/export-digest.md */
    struct fhir_digest versions; /* of all versions: id, commit, instant, number, method, body */
};
struct store_sums {
    struct store_commit at; /* as of which they are */
    struct store_sum of[STORE_TYPES];
};

/* What st holds as of a commit. Reads all of it.
 *   halt  stops it; or NULL
 * ERR_CANCELLED, ERR_IO, ERR_CORRUPT. */
MUST_USE err_code store_sums(struct store *st, uint64_t as_of_t, const atomic_bool *halt,
                             struct store_sums *out, struct err *e);
/* The same of a folder that nobody has open: as of its newest commit. Nothing is written. ERR_IO,
 * ERR_CORRUPT, ERR_NOT_FOUND; ERR_UNSUPPORTED: an engine without files. */
MUST_USE err_code store_sums_of(struct store_env *env, const char *uri, struct store_sums *out,
                                struct err *e);
/* *type: of which the two are not the same. False: they are the same in all. */
static inline bool store_sums_differ(const struct store_sums *a, const struct store_sums *b,
                                     fhir_type *type)
{
    for (unsigned i = 0; i < STORE_TYPES; i++) {
        const struct store_sum *x = &a->of[i], *y = &b->of[i];
        if (x->n_resources != y->n_resources || x->n_versions != y->n_versions ||
            memcmp(&x->content, &y->content, sizeof x->content) != 0 ||
            memcmp(&x->versions, &y->versions, sizeof x->versions) != 0) {
            *type = (fhir_type)i;
            return true;
        }
    }
    return false;
}

/* The files of st as of its newest commit *at, as links in a new folder of the same disk. Writers
 * wait meanwhile: a moment. The folder is a data store that can be opened, or copied elsewhere.
 * ERR_EXISTS, ERR_IO, ERR_NO_SPACE; ERR_UNSUPPORTED. */
MUST_USE err_code store_snapshot(struct store *st, const char *folder, struct store_commit *at,
                                 struct err *e);

/* A new data store at uri, on the disk of st, with exactly the versions of the commits up to t:
 * their numbers, instants and commits stay. Notes are not copied.
 *   halt  stops it; or NULL
 *   out   what it holds
 * ERR_CANCELLED; ERR_CORRUPT: what was made is not what st holds; ERR_IO, ERR_NO_SPACE;
 * ERR_UNSUPPORTED. Unless it is ERR_OK there is nothing at uri. */
MUST_USE err_code store_copy(struct store_env *env, struct store *st, const char *uri, uint64_t t,
                             const atomic_bool *halt, struct store_sums *out, struct err *e);
