/* place_private.h - what the rooms of job/served/ share.
 *
 *   place.c   a directory, or a prefix of S3       mark.c    do all machines see the same?
 *   fetch.c   a file of S3 as one of this machine
 *   renew.c   how much is kept, over all machines
 * Floor: job. */
#pragma once
#include "job/served/place.h"

#include "codec/hash.h"

#include <pthread.h>

#define PLACE_MARK  ".fhirlake-exports"
#define PLACE_RIGHT 1024u

struct job_files {
    char *dir, *uri, *owner, *scratch_dir;
    struct records *records;
    const atomic_bool *cancel; /* or NULL */
    struct sink_world *world;
    bool owns_world;
    struct sink *root; /* of uri */
    sv prefix;         /* of uri, within its bucket; without a slash at its end */
    struct {
        pthread_mutex_t lock;
        char id[33]; /* of the mark that this machine has seen; "": none */
    } seen;
    struct { /* objects that were fetched whole and had their digest: fetch.c */
        pthread_mutex_t lock;
        unsigned char all[PLACE_RIGHT][SHA256_LEN];
        unsigned next;
    } right;
};

/* The key of a file, within the bucket. */
sv place_key(const struct job_files *place, sv job_id, sv name, struct arena *a);
/* out->bytes and out->sha256 say what it must be. */
MUST_USE err_code place_fetch(struct job_files *place, sv key, struct job_export_part part,
                              struct job_export_file *out, struct err *e);
