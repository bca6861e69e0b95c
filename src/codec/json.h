/* json.h - reading JSON with yyjson (numbers as raw text) and writing it in one pass.
 *
 * Reading: json_read() checks grammar, UTF-8 and depth and returns yyjson's immutable document in
 * an arena; walk it with yyjson's own accessors. Numbers stay text (yyjson_is_raw / json_number),
 * so no digit is lost. Writing: struct json_writer appends to a buf, places commas itself, and
 * remembers the first error so that a long chain of calls needs one check at the end. Limits: depth
 * as given by the caller. Source: RFC 8259.   Floor: codec (uses base). */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#include <yyjson.h>

/* The whole of text as one document.
 *   out  borrowed from a; valid until a is rewound
 * ERR_INVALID (message: what and at which byte), ERR_TOO_LARGE (depth, or a's budget). A NUL byte,
 * a byte order mark, comments, NaN, trailing commas or content are refused. */
MUST_USE err_code json_read(struct arena *a, sv text, unsigned max_depth, yyjson_doc **out,
                            struct err *e);

/* The allocator of every JSON tree: an arena, and so a budget. The lint refuses a tree without
 * one. */
yyjson_alc json_allocator(struct arena *a);
/* The most that json_read() can take of its arena for a text of this length. */
size_t json_tree_max(size_t text_len);

/* Views of values; SV_NONE when v is NULL or of another kind. */
sv json_string(yyjson_val *v);
/* Is text one of the texts of a list? Of what is no list, no. */
bool json_has_text(yyjson_val *list, const char *text);
sv json_number(yyjson_val *v); /* the number's own spelling */
/* Member of an object by name, NULL when absent or obj is none. */
yyjson_val *json_get(yyjson_val *obj, const char *name);
/* Is no member of an object there twice, anywhere in v? Else *culprit is its name; or SV_NONE when
 * an object has more than `most` members, which are then not compared. */
bool json_members_unique(yyjson_val *v, size_t most, sv *culprit);

/* Levels of what is written: a resource of the deepest that is taken, and some around it. */
#define JSON_WRITER_DEPTH_MAX 300u

struct json_writer {
    struct buf *out; /* borrowed */
    err_code rc;     /* first failure; later calls do nothing */
    struct err err;
    uint64_t has_item[JSON_WRITER_DEPTH_MAX / 64 + 1]; /* bit per depth: a comma is due */
    uint32_t depth;
    bool after_key;
    bool pretty; /* two spaces a level */
};

/* Well-formed JSON with line breaks and two spaces a level, appended; nothing else of it changes.
 * ERR_TOO_LARGE. */
MUST_USE err_code json_indent(sv json, struct buf *out, struct err *e);

void json_writer_init(struct json_writer *w, struct buf *out);
void json_obj(struct json_writer *w);
void json_obj_end(struct json_writer *w);
void json_arr(struct json_writer *w);
void json_arr_end(struct json_writer *w);
void json_key(struct json_writer *w, const char *name);
void json_str(struct json_writer *w, sv text); /* escaped; invalid UTF-8 becomes U+FFFD */
void json_i64(struct json_writer *w, int64_t v);
void json_u64(struct json_writer *w, uint64_t v);
void json_fixed(struct json_writer *w, double v, int decimals);
void json_bool(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
void json_raw(struct json_writer *w, sv json); /* a complete value, copied as it stands */
/* A value that was read with json_read, raw numbers kept. */
void json_val(struct json_writer *w, yyjson_val *v);
/* Epoch milliseconds as AWS's number of seconds: 1609175692.715 */
void json_epoch_ms(struct json_writer *w, int64_t ms);
/* "name": text, and so on, for the common pairs. */
void json_kv_str(struct json_writer *w, const char *name, sv text);
void json_kv_u64(struct json_writer *w, const char *name, uint64_t v);
void json_kv_i64(struct json_writer *w, const char *name, int64_t v);
void json_kv_bool(struct json_writer *w, const char *name, bool v);
/* The member, when there is a value; nothing when v is NULL. */
void json_kv_given(struct json_writer *w, const char *name, yyjson_val *v);
/* The first failure of the chain, or ERR_OK. */
MUST_USE err_code json_writer_end(struct json_writer *w, struct err *e);
