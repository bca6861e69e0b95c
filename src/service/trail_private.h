/* trail_private.h - what the rooms of the trail share.
 *
 *   trail_record.c  a record: what was asked for, and what came of it
 *   trail_who.c     who asked, by which right, and over which TLS
 *   trail_put.c     how a record is written
 * Floor: service. */
#pragma once
#include "service/plane.h"
#include "service/trail.h"

#define TRAIL_RECORD_MAX (64u << 10) /* bytes of one */

/* One record and its newline, appended.
 *   number  of the records with this request id: from it the event's id is made */
MUST_USE err_code trail_record(const struct trail *trail, const struct trail_facts *facts,
                               const char *error, unsigned number, struct buf *out, struct err *e);
/* Likewise of a job's end. */
MUST_USE err_code trail_job_record(sv region, sv account_id, const struct trail_job *job,
                                   struct buf *out, struct err *e);

/* Likewise of a snapshot for a backup. */
MUST_USE err_code trail_backup_record(sv region, sv account_id, const struct trail_backup *backup,
                                      struct buf *out, struct err *e);

/* ---- trail_put.c ---- */

/* A record is made for every read, so its constant text is copied piece by piece. Texts that are
 * put as they are have a form without anything to escape. */
struct trail_out {
    struct buf *buf;
    err_code rc; /* of the first that failed */
    struct err *e;
};
void trail_put_slow(struct trail_out *o, sv text);
void trail_put_u64(struct trail_out *o, uint64_t n);
/* A text from outside, as a JSON string. */
void trail_put_escaped(struct trail_out *o, sv text);

/* Where there is room, which is nearly always, a text of known length is a few moves. */
static inline void put(struct trail_out *o, sv text)
{
    struct buf *b = o->buf;
    if (text.len == 0)
        return;
    if (text.len > b->cap - b->len) {
        trail_put_slow(o, text);
        return;
    }
    memcpy(b->ptr + b->len, text.ptr, text.len);
    b->len += text.len;
}
#define PUT(o, literal) put((o), SV_LIT(literal))

/* ,"name":"value" ; text of a form without anything to escape */
#define PUT_PLAIN(o, name, value)             \
    do {                                      \
        put((o), SV_LIT(",\"" name "\":\"")); \
        put((o), (value));                    \
        put((o), SV_LIT("\""));               \
    } while (0)
/* Likewise, of any text. */
#define PUT_TEXT(o, name, value)            \
    do {                                    \
        put((o), SV_LIT(",\"" name "\":")); \
        trail_put_escaped((o), (value));    \
    } while (0)

/* ---- trail_who.c ---- */

/* ,"userIdentity":{...} */
void trail_identity(struct trail_out *o, const struct trail *trail);
/* What of additionalEventData says by which right: the statement of a policy; of a token its scopes
 * that were asked. */
void trail_rights(struct trail_out *o, const struct trail *trail, const struct trail_facts *f);
/* ,"tlsDetails":{...} of what came over TLS. */
void trail_tls(struct trail_out *o, const struct http_request *req);
