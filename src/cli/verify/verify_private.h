/* verify_private.h - what the rooms of `fhirlake verify` share.
 *
 *   verify.c    options and the verdict
 *   manifest.c  the manifest
 *   place.c     where the files are: a folder, an objects folder, an S3 endpoint
 *   lines.c     files, line by line
 *   files.c     each file, and all together, against the manifest
 *   key.c       resources as digests
 *   report.c    what is told
 *   content.c   the digest of the resources
 *   against.c   manifest and files against a running store, as of the export's commit
 *
 * A difference is one line on standard output and goes on to the next; what cannot be looked at is
 * an error and ends the command. Memory: a line, and 32 bytes a resource where ids are compared as
 * sets.   Floor: cli. */
#pragma once
#include "cli/client.h"
#include "cli/export_show.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "codec/ndjson.h"
#include "fhir/attachments.h"
#include "fhir/types.h"

#define VERIFY_LINE_MAX (256u << 20)
#define VERIFY_DEPTH    512u /* nesting of a line, or of a page of the store */
#define VERIFY_TOLD_MAX 100u /* differences told one by one */

struct verify_options {
    struct client_options to; /* of --against; endpoint is that URL's root */
    const char *objects, *s3_endpoint, *s3_credentials, *s3_addressing;
    const char *against, *sample;
    bool full, quiet;
};

/* ---- place.c  ---- */
struct place;
/* target: a folder, or s3://bucket/key. ERR_INVALID, ERR_NOT_FOUND. */
MUST_USE err_code place_open(const struct verify_options *o, const char *target, struct place **out,
                             struct err *e);
void place_free(struct place *place);
DEFINE_CLEANUP(struct place, place_free)
/* name: below the target. ERR_NOT_FOUND. */
MUST_USE err_code place_read(struct place *place, sv name, struct byte_reader *out, struct err *e);
typedef bool (*place_list_fn)(void *ctx, sv name, uint64_t bytes);
/* Every file below the target. */
MUST_USE err_code place_list(struct place *place, place_list_fn each, void *ctx, struct err *e);

/* ---- the manifest ---- */
typedef enum { VERIFY_OUTPUT, VERIFY_DELETED, VERIFY_ERROR } verify_role;
struct verify_file {
    verify_role role;
    sv type; /* empty: of any */
    sv name;
    bool has_count, has_bytes, has_blocks;
    uint64_t count, bytes, blocks;
    sv continues; /* name of the file that the last block goes on in; empty: none */
    sv sha256;
    /* what was read */
    bool there, sorted;          /* sorted: ids ascend without doubles */
    uint64_t lines, size, heads; /* heads: of blocks, among the lines */
    char digest[SHA256_HEX_LEN];
    sv first_id, last_id;       /* while sorted */
    sv first_block, last_block; /* "Patient/id" of the heads */
};
typedef struct {
    unsigned char b[16];
} verify_key; /* of type and id, or of a resource's text */

struct verify_sample { /* one exported resource, picked at random */
    fhir_type type;
    sv id;
    verify_key text; /* all zero: the resource is cut (_elements), its text is not the store's */
};
struct verify {
    struct verify_options o;
    struct place *place;
    struct arena *a;
    yyjson_val *manifest;
    sv datastore_id, instant;
    uint64_t as_of;
    /* how urls of Attachments were made absolute in the files; base empty: not */
    struct fhir_attachments urls;
    bool whole; /* StartFHIRExportJob: every resource of the store */
    struct verify_file *files;
    size_t n_files;
    sv *names;          /* of the files, sorted */
    struct buf deleted; /* of verify_key, sorted */
    struct verify_sample *samples;
    size_t n_samples, max_samples;
    struct verify_content *content; /* NULL: the manifest has no digest of it */
    uint64_t n_seen;                /* resources that could have been picked */
    uint64_t differences, resources, bytes;
};

/* ---- manifest.c  ---- */
/* manifest.json into v. ERR_NOT_FOUND, ERR_INVALID. */
MUST_USE err_code verify_manifest_read(struct verify *verify, struct err *e);
/* The files that it names. */
MUST_USE err_code verify_manifest_files(struct verify *verify, struct err *e);
/* extension.attachmentUrls of the manifest: in a served export, what stands otherwise in the files
 * than in the store; NULL: nothing. */
yyjson_val *verify_attachments(const struct verify *verify);

/* ---- report.c  ---- */
/* Tell a difference. */
void verify_differs(struct verify *verify, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Tell how far it is, unless --quiet is given. */
void verify_note(const struct verify *verify, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- key.c  ---- */
verify_key verify_key_of(sv type, sv id);
int verify_key_cmp(const void *a, const void *b);
bool verify_key_is_none(const verify_key *k);
/* Of a resource's members and values, numbers by their own text; white space does not count. All
 * zero for one that is tagged SUBSETTED. */
MUST_USE err_code verify_text_of(yyjson_val *resource, struct buf *scratch, verify_key *out,
                                 struct err *e);
/* Of one that the store holds, as it would stand in the files. */
MUST_USE err_code verify_text_served(const struct verify *verify, yyjson_val *resource,
                                     struct buf *scratch, verify_key *out, struct err *e);

/* ---- content.c  ---- */
void verify_content_begin(struct verify *verify);
void verify_content_end(struct verify *verify);
void verify_content_line(struct verify *verify, fhir_type type, sv line);
void verify_content_deletion(struct verify *verify, fhir_type type, sv url); /* url: "Type/id" */
void verify_content_check(struct verify *verify);

/* ---- lines.c  ---- */
/* Calls each() for every line of f, and sets what was read of it: lines, size, digest.
 * ERR_NOT_FOUND. */
typedef err_code (*verify_line_fn)(void *ctx, sv line, struct err *e);
MUST_USE err_code verify_lines(struct verify *verify, struct verify_file *file, verify_line_fn each,
                               void *ctx, struct err *e);
/* Calls each() for every resource of the output files of a type (FHIR_TYPE_NONE: all). */
typedef err_code (*verify_each_fn)(void *ctx, yyjson_val *resource, struct err *e);
MUST_USE err_code verify_each(struct verify *verify, fhir_type type, verify_each_fn each, void *ctx,
                              struct err *e);

/* ---- files.c  ---- */
MUST_USE err_code verify_files(struct verify *verify, struct err *e);

/* ---- against.c  ---- */
MUST_USE err_code verify_against(struct verify *verify, struct err *e);
