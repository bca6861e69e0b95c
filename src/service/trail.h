/* trail.h - what a request leaves in the audit log: one record, and one for each entry of a Bundle,
 * with CloudTrail's members.
 *
 * service.c begins a trail for each request of a plane. The plane fills in the facts that it knows.
 * Whoever answers (answer.c) ends the trail: the record is made of the facts, the request and the
 * answer. The answer of a write is kept until its record is on disk; it says 503 when that fails.
 * A record never holds a body, a value of a query, a message of an error or a secret.
 * Source: AWS CloudTrail record contents; docs/audit.md.   Floor: service. */
#pragma once
#include "audit/audit.h"
#include "auth/auth.h"

struct service;

struct trail_facts {
    const char *action; /* IAM's name, without a prefix; NULL: not known. Constant */
    /* Of the resource; what is empty or NULL is not told. */
    const char *resource_type; /* constant */
    sv resource_id, version_id;
    uint64_t version; /* 0: version_id, if any */
    sv datastore_id, job_id;
    sv query, form; /* encoded as they came: their names are told, and a keyed digest */
    /* What the scopes of a token were asked for: letters (enum smart_letter) of a type; NULL: of
     * any. 0: they were not asked. */
    unsigned letters;
    const char *scope_type;
    err_code rc;
    unsigned status;
};

/* The record of a write that went to the disk together with the write. */
struct trail_early {
    bool told;
    unsigned status; /* that it tells */
    uint64_t version;
    /* NULL: it is not known yet whether it is on disk, and no answer waits; else the answer that
     * waits, or how it ended */
    _Atomic(void *) state;
};

struct trail { /* of an exchange, until it is answered */
    struct service *service;
    const struct http_request *req;
    const char *request_id;
    struct auth_caller caller; /* known when its arn is there */
    bool data_plane, on_heap;
    struct trail_facts facts;
    struct buf entries; /* records that go in front of the request's own */
    unsigned n_entries;
    struct trail_early early;
};

/* Begins the trail of x, when there is an audit log. */
void trail_begin(struct service *service, struct http_exchange *x, const char *request_id,
                 bool data_plane);
/* The trail of x; NULL: there is no audit log, or x leaves nothing there. */
struct trail *trail_of(struct http_exchange *x);
/* May it go on? A write, and with --audit-strict a read, needs an audit log that can be written.
 * ERR_NO_AUDIT. NULL is allowed. */
MUST_USE err_code trail_ready(const struct trail *trail, const char *action, struct err *e);
/* One record more, of an entry of a Bundle. NULL is allowed. */
void trail_entry(struct trail *trail, const struct trail_facts *facts);
/* None of the entries so far was done after all. */
void trail_forget_entries(struct trail *trail);

/* The request's one write is being committed, and will end as facts say unless something fails: its
 * record is added now, so that one disk, or two, take both at once. If it ends in another way, a
 * second record with the same request id says so. Until trail_early_go() the log may wait for more
 * of them. From any thread, while the request's own waits. NULL is allowed. */
void trail_early(struct trail *trail, const struct trail_facts *facts);
void trail_early_go(struct trail *trail);

/* Ends the trail: its records are added to the log, and x is answered, now or when they are on
 * disk. The header's texts live as long as x; body is taken.
 *   error  as for service_reply_with() */
void trail_reply(struct http_exchange *x, unsigned status, const struct http_header *h, size_t n,
                 struct buf *body, const char *error);
/* Likewise, and x is answered by whoever calls. */
void trail_end(struct http_exchange *x, unsigned status, const char *error);

/* A job has ended: a record of the service itself, of which nobody waits for. */
struct trail_job {
    const char *event; /* "ExportJobEnded" */
    sv datastore_id, job_id;
    const char *status;
};
void trail_job_ended(struct audit *audit, sv region, sv account_id, const struct trail_job *job);

/* A command of this machine has asked for a snapshot of all data stores (server/control.c). */
struct trail_backup {
    uint64_t user_id; /* of the command's process */
    bool taken;
};
/* Likewise. */
void trail_backup_asked(struct audit *audit, sv region, sv account_id,
                        const struct trail_backup *backup);

/* Does the action change nothing? By its name. */
bool trail_reads(const char *action);
