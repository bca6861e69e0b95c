/* call_private.h - a call of the data plane: what came in, where it goes, and what comes out.
 *
 * A request over HTTP becomes a call, and so does each entry of a Bundle. One thread works on a
 * call at a time; what it makes lives in the call's arena.
 *
 *   rest.c     makes calls of requests, and answers of calls
 *   route.c    finds the interaction that a call asks for (route_private.h)
 *   call.c     answers questions about a call: rights, preferences, kinds of writes
 *   grant.c    answers what the scopes of the caller's token give (grant_private.h)
 *   read/      interactions that read; write/ those that write; export/ $export
 *   fair/      what keeps one caller from taking the machine from all others
 *
 * Source: FHIR R4 http.html; Amazon HealthLake "Managing FHIR resources".   Floor: rest. */
#pragma once
#include "auth/rights.h"
#include "query/query.h"
#include "rest/rest.h"

struct rest_asked_list;  /* write/condition_private.h */
struct rest_clock;       /* fair/clock_private.h */
struct rest_entry;       /* write/bundle_private.h */
struct rest_interaction; /* route_private.h */
struct rest_stream;      /* stream_private.h */

/* A list is only ever assigned as a whole, so that no failure leaves a length beside another
 * list. */
struct rest_param { /* of the query or of a form, decoded */
    sv name, value; /* an empty name: the parameter is passed over */
    bool twice;     /* the name was encoded twice */
};
struct rest_param_list {
    struct rest_param *items;
    size_t n;
};
struct rest_issue { /* what an error or a note says beside its text */
    const char *severity, *code;
    sv text, path;
};
struct rest_issue_list {
    struct rest_issue *items;
    size_t n;
};

/* Headers are SV_NONE when they were not sent. */
struct rest_request {
    sv method;
    sv path;          /* below [base]/, without a slash in front, still encoded */
    sv query;         /* still encoded */
    bool body_unread; /* the body is larger than what is read at this path */
    sv body, content_type;
    sv accept, prefer, if_match, if_none_match, if_none_exist, if_modified_since,
        if_unmodified_since;
    sv validation_level, idempotency_key, content_encoding, security_context, consistency_level;
    bool if_none_exist_twice;
};

struct rest_answer {
    unsigned status;
    /* The answer is about one version: ETag and Last-Modified say which. */
    bool about;
    bool location; /* it says where that version is */
    fhir_type type;
    sv id;
    uint64_t version;
    int64_t instant_ms;
    sv job_id; /* of the job that was started, for the audit log */
    sv etag;   /* of an answer that is not about a version, without quotes */
    sv allow;  /* of a 405: the methods that the path takes */
    /* A write that was done may have something to tell. */
    bool issues_stored; /* level minimal let faults through; they are in told */
    struct rest_issue_list told;
    sv warning;
    struct buf body; /* FHIR JSON unless content_type is set; empty: no body */
    sv content_type;
    bool as_it_is;              /* the body is no FHIR, and is never made pretty */
    struct http_header more[5]; /* rest_header() adds to it */
    size_t n_more;
    struct http_file *file; /* sent in place of a body; its fd is ours until then */
};

/* What the searches of a transaction's writes see. */
struct rest_scope {
    uint64_t as_of;
    const struct search_id *gone; /* sorted; these are taken as not there */
    size_t n_gone;
};

struct rest_call;
/* Rewrites the links between entries of a transaction in a text that is about to be stored. *out
 * is text itself, or what buf holds. */
typedef err_code (*rest_relink_fn)(struct rest_call *call, sv text, struct buf *buf, sv *out,
                                   struct err *e);

struct rest_call {
    struct service *service;
    struct arena *a;
    struct store *st;
    const struct datastore *ds;
    struct auth_caller caller;
    /* what caller.grant gives (grant_private.h); lives as long as the request. NULL: everything */
    struct query_grant *grant;
    sv base;   /* "http://host/datastore/<id>/r4", no slash behind */
    sv host;   /* the request's header, as it came */
    sv scheme; /* by which it came: "http://" or "https://" */
    struct rest_request in;
    /* the route */
    const struct rest_interaction *it;
    fhir_type type; /* of the path; in a compartment's path it is the owner's */
    sv id, vid;
    fhir_type member_type; /* of a compartment; FHIR_TYPE_NONE: members of all types */
    struct rest_param_list params;
    bool in_bundle;
    const struct http_request *http; /* NULL: it is an entry of a Bundle */
    struct trail *trail;             /* of the request, in the audit log; NULL: none */
    size_t text_max; /* bytes of a resource that is written; 0: LIMIT_DATA_BODY_BYTES */
    uint64_t as_of;  /* reads see this commit; 0: the newest */
    bool only_check; /* a read is only asked whether it is well formed */
    bool is_small;   /* rest_read_is_small() said so */
    const struct store_version *at_hand; /* then: what it found; NULL: nothing */
    struct rest_clock *clock;   /* NULL: there is no request, and the call may take any time */
    struct rest_stream *stream; /* by which a long answer goes out; NULL: it is whole */
    /* Of an entry of a transaction, else NULL: */
    const struct rest_scope *scope;
    struct rest_asked_list *asked; /* conditional writes note here what they searched for */
    struct rest_entry *entry;
    rest_relink_fn relink; /* called when entry is set */
    struct rest_answer out;
    struct rest_issue_list issues; /* what an error says beside its text */
};

/* ---- trail.c: what the audit log is told ---- */
/* Of the request, with its outcome. NULL is allowed. */
void rest_trail(const struct rest_call *call, struct trail *trail, err_code rc);
/* Of an entry of a Bundle, which is one record more. */
void rest_trail_entry(const struct rest_call *call, err_code rc);
/* Of a request whose one write is about to be committed: its record goes to the disk together with
 * the write.
 *   witness  the caller's, as long as the commit takes
 * NULL: there is no audit log, or the call is an entry of a Bundle. */
struct rest_witness {
    struct store_witness base;
    const struct rest_call *call;
};
struct store_witness *rest_trail_witness(const struct rest_call *call,
                                         struct rest_witness *witness);
/* Of a request that was refused before it became a call. */
void rest_trail_name(const struct http_request *req, struct service *service,
                     struct trail_facts *facts);

/* ---- call.c ---- */
/* What a write that is committed is answered with: 204, 200 or 201. */
unsigned rest_written_status(const struct store_write *w);
/* May the caller do this on the data store? action: "ReadResource". ERR_DENIED. */
MUST_USE err_code rest_allowed(struct rest_call *call, const char *action, struct err *e);
/* May the caller do what the route says? A conditional write is a search too. ERR_DENIED. */
MUST_USE err_code rest_allowed_here(struct rest_call *call, struct err *e);
/* Have the caller and the data store, which exists, room for it in their rates? Adds Retry-After
 * when not: ERR_THROTTLED.
 *   begun  it is part of something that has begun, and is counted only */
MUST_USE err_code rest_quota_take(struct rest_call *call, bool begun, struct err *e);
/* The same of whoever asks on a path that is open to all, by his address. */
MUST_USE err_code rest_quota_open(struct rest_call *call, sv peer, struct err *e);
/* The caller that an address counts as: one machine has a whole /64 of IPv6 addresses. The arena's
 * or the peer's. */
sv rest_quota_address(struct arena *a, sv peer);
/* Does Prefer hold this? "return=minimal", "handling=strict", "respond-async" ... */
bool rest_prefers(const struct rest_call *call, const char *what);
/* One more header of the answer. The value is borrowed until the answer is sent. */
void rest_header(struct rest_call *call, const char *name, sv value);
/* Does a write answer with the resource? In a Bundle only when that is asked for. */
bool rest_wants_body(const struct rest_call *call);
/* Does the write depend on what a search finds? If-None-Exist, or a query instead of an id. */
bool rest_is_conditional(const struct rest_call *call);
/* Is it a conditional delete with _count: of as many as match, up to that? */
bool rest_is_delete_of_several(const struct rest_call *call);
/* t of the newest commit, as of store_last(). */
MUST_USE err_code rest_newest(const struct rest_call *call, uint64_t *t, struct err *e);
/* What the call's queries are asked of, as of a commit. They show what the caller may search. */
struct query_source rest_query_source(const struct rest_call *call, uint64_t as_of);
/* The same for what comes beside matches: it shows what the caller may read. */
struct query_source rest_read_source(const struct rest_call *call, uint64_t as_of);
