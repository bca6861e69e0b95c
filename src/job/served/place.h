/* place.h - where the files of served exports are.
 *
 *   DIR/<job>/<name>                 a directory: of this machine alone, or one that all share
 *   s3://bucket/prefix/<job>/<name>   an S3 endpoint, under fhirlake's own keys
 *
 * Exports write there through a sink, which takes the same names in both.   Floor: job. */
#pragma once
#include "job/job.h"
#include "sink/sink.h"

struct job_files;
struct job_files_config {
    const char *dir;          /* or NULL: */
    const char *uri;          /* s3://bucket[/prefix], in world */
    struct sink_world *world; /* of uri; borrowed */
    /* the number of the database whose machines share it; NULL: it is this machine's alone */
    const char *owner;
    const char *scratch_dir;   /* for what is fetched; on a disk of this machine */
    struct records *records;   /* borrowed */
    const atomic_bool *cancel; /* ends what waits for the endpoint of world; or NULL */
};
/* The texts are copied. */
MUST_USE err_code job_files_open(const struct job_files_config *cfg, struct job_files **out,
                                 struct err *e);
void job_files_free(struct job_files *place);
DEFINE_CLEANUP(struct job_files, job_files_free)

/* Do all machines see the same place? It has a mark, and the records say which. While no export is
 * kept or under way the place may be another one than before: then it gets a mark. For a start.
 * ERR_CONFLICT: it is not the one of the others, or it is another database's. ERR_PEER,
 * ERR_TIMEOUT: nobody answers there now, which the next call may see otherwise. */
MUST_USE err_code job_files_agree(struct job_files *place, struct err *e);
/* The same later: nothing is marked. A directory is looked at each time. */
MUST_USE err_code job_files_check(struct job_files *place, struct err *e);
/* job_files_check() for who writes there or reads. What is wrong goes to the log, with the place;
 * the error is for clients: ERR_UNAVAILABLE, or the records' own. */
MUST_USE err_code job_files_reach(struct job_files *place, struct err *e);
bool job_files_is_shared(const struct job_files *place);

struct sink_world *job_files_world(const struct job_files *place);
/* Of a job's files, with a '/' at its end; owned by the arena. NULL when it is full. */
sv job_files_uri(const struct job_files *place, sv job_id, struct arena *a);
/* Whose role writes there. */
#define JOB_FILES_ROLE SV_LIT("arn:aws:iam::000000000000:role/fhirlake-served")

/* All files of a job. Nothing there is success, and several machines may do it at once. */
MUST_USE err_code job_files_remove(struct job_files *place, sv job_id, struct err *e);
/* Ids of the jobs of which there are files. each gives false to end it. */
typedef bool (*job_files_fn)(void *ctx, sv job_id);
MUST_USE err_code job_files_ids(struct job_files *place, job_files_fn each, void *ctx,
                                struct err *e);
/* A file of the size and digest that *out has, as it is served. What is in S3 is fetched into a
 * file without a name, and compared; what was found to be right before, that part of it alone.
 * ERR_GONE: it is not there, or the place is not (job_files_reach()); ERR_IO: it is not what it
 * was, or cannot be read. */
MUST_USE err_code job_files_file(struct job_files *place, sv job_id, sv name,
                                 struct job_export_part part, const struct cipher_ring *ring,
                                 struct job_export_file *out, struct err *e);
/* Are files of an encrypted data store encrypted there? */
bool job_files_encrypts(const struct job_files *place);
/* Room on its disk, if it is one: false when there is nothing to ask. */
bool job_files_disk(const struct job_files *place, const char **dir);
