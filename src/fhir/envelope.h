/* envelope.h - what a store must know of a resource, and the form it is kept in.
 *
 * A resource is stored as it will be sent: white space between tokens removed, members and numbers
 * as received, and a hole where meta.versionId and meta.lastUpdated go (any that came in are taken
 * out). Reading and exporting then copy bytes around the hole and parse nothing:
 *
 *   {"resourceType":"Patient","id":"p1"|HOLE|,"name":[...]}              FHIR_HOLE_NO_META
 *        -> ,"meta":{"versionId":"3","lastUpdated":"2026-11-23T18:30:00.123Z"}
 *   {"resourceType":"Patient","id":"p1","meta":{|HOLE|"profile":[...]}}  FHIR_HOLE_META
 *        -> "versionId":"3","lastUpdated":"...",
 *   {"resourceType":"Patient","id":"p1","meta":{|HOLE|}}                 FHIR_HOLE_META_EMPTY
 *        -> "versionId":"3","lastUpdated":"..."
 *
 * Limits: LIMIT_RESOURCE_DEPTH; length is the caller's.   Source: FHIR R4 resource.html, json.html.
 * Floor: fhir (uses codec). */
#pragma once
#include "base/buf.h"
#include "codec/instant.h"
#include "fhir/types.h"

#include <yyjson.h>

typedef enum { FHIR_HOLE_NO_META, FHIR_HOLE_META, FHIR_HOLE_META_EMPTY } fhir_hole;

struct fhir_body {
    sv json;          /* stored form; borrowed as the giver says */
    uint32_t hole_at; /* byte offset in json */
    fhir_hole hole;
};

struct fhir_envelope {
    fhir_type type;
    sv id; /* view into body.json or the input; empty when absent and allowed */
    struct fhir_body body;
};

struct fhir_reader; /* scratch memory for many parses; one thread at a time */
struct fhir_reader *fhir_reader_new(size_t max_resource_bytes);
void fhir_reader_free(struct fhir_reader *reader);
DEFINE_CLEANUP(struct fhir_reader, fhir_reader_free)

/* Check text and append its stored form to dst. Checked are JSON's grammar, UTF-8, depth, that it
 * is an object with a known resourceType and a legal id, that resourceType, id and meta stand at
 * most once, and that meta is an object.
 *   set_id   the id to store instead of the text's own (REST create); SV_NONE keeps the text's,
 *            which it must have then
 *   out      views into dst, which end with the next append to it: to keep many resources in one
 *            dst, reserve first, or keep offsets
 * ERR_INVALID, ERR_TOO_LARGE; dst is as before then. Messages are those of HealthLake's imports:
 * "Invalid JSON found in input file", "Missing required id field in resource json", "1 validation
 * error detected: ...". */
MUST_USE err_code fhir_envelope_read(struct fhir_reader *reader, sv text, sv set_id,
                                     struct buf *dst, struct fhir_envelope *out, struct err *e);

/* The same, with the id of the text, and with the stored form written over the text, from its
 * first byte on. After an error the text is spoilt. */
MUST_USE err_code fhir_envelope_read_here(struct fhir_reader *reader, char *text, size_t len,
                                          struct fhir_envelope *out, struct err *e);

/* The tree of the text that was read last, numbers as raw text; NULL when it was no JSON. Borrowed
 * until the next read with this reader. */
yyjson_val *fhir_reader_root(const struct fhir_reader *reader);

#define FHIR_SPLICE_MAX 96 /* bytes the hole's content takes at most */
/* That content alone. Returns its bytes. */
size_t fhir_body_fill(const struct fhir_body *b, uint64_t version, int64_t instant_ms,
                      char out[FHIR_SPLICE_MAX]);
/* json with its hole filled: json.len + at most FHIR_SPLICE_MAX bytes to dst, which must have that
 * room; json may lie in it, with its start anywhere from dst on, and is gone then: with as much of
 * a gap as the content takes, all that stands behind the hole stays where it is. Returns the bytes
 * written. No newline. */
size_t fhir_body_write(const struct fhir_body *b, uint64_t version, int64_t instant_ms, char *dst);
