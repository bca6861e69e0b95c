/* rest_private.h - what the rooms of the data plane share.
 *
 *   rest.c          the door: route, caller, headers, answer        write/bundle.c  entries, batch, answers
 *   read/read.c     read, vread, history                            read/search.c  search, include, page
 *   write/write.c    create, update, patch, delete, conditional
 *   outcome.c  OperationOutcomes                               metadata.c    CapabilityStatement
 *   read/everything.c  a patient's record                           cursor.c  tokens of pages
 *   clock.c    how long a call may work
 *   write/precondition.c  If-Match, If-None-Match                    body.c    types of bodies, forms
 *   binary.c   content of Binaries              large.c  those that are read whole
 *   write/transaction.c  all or nothing                              write/bundle_refs.c  links between entries
 *
 * An HTTP request, or an entry of a Bundle, becomes a rest_call: what came in, where it goes, what comes out.
 * Source: FHIR R4 http.html; Amazon HealthLake "Managing FHIR resources".   Floor: rest. */
#pragma once
#include "codec/uri.h"
#include "query/query.h"
#include "rest/lane.h"
#include "rest/late.h"
#include "rest/making.h"
#include "rest/polls.h"
#include "rest/rest.h"
#include "auth/rights.h"

struct writing_lock;
struct rest {
    struct workers *workers;        /* for writes and searches */
    struct workers *bundle_workers; /* few, so that single requests go on beside large Bundles */
    struct late *late;              /* refusals of who asks too much */
    struct lane *lane;
    struct making *making;
    struct polls *polls;
    struct { /* data stores with a conditional write under way: write/asked.c */
        pthread_mutex_t lock;
        struct writing_lock *first;
    } conditional;
    struct { /* large resources that are in memory as a whole: large.c */
        pthread_mutex_t lock;
        pthread_cond_t fewer;
        unsigned n;
    } large;
};

/* A list is only ever assigned as a whole, so that no failure leaves a length beside another list. */
struct rest_param { /* of the query or a form, decoded */
    sv name, value;
    bool twice; /* the name was encoded twice */
};
struct rest_param_list {
    struct rest_param *items;
    size_t n;
};
struct rest_issue { /* what an error says beside its text */
    const char *severity, *code;
    sv text, path;
};
struct rest_issue_list {
    struct rest_issue *items;
    size_t n;
};

struct rest_request { /* views; SV_NONE: not sent */
    sv method;
    sv path;          /* below [base]/, without a slash in front, still encoded */
    sv query;         /* still encoded */
    bool body_unread; /* it is larger than what is read at this path */
    sv body, content_type;
    sv accept, prefer, if_match, if_none_match, if_none_exist, if_modified_since,
        if_unmodified_since;
    sv validation_level, idempotency_key, content_encoding, security_context, consistency_level;
    bool if_none_exist_twice;
};

struct rest_answer {
    unsigned status;
    bool about; /* of one version: ETag, Last-Modified */
    bool location;
    fhir_type type;
    sv id;
    uint64_t version;
    int64_t instant_ms;
    sv etag;                     /* of an answer that is not about a version, without quotes */
    sv allow;                    /* of a 405: the methods that the path takes */
    bool issues_stored;          /* minimal validation let something through: */
    struct rest_issue_list told; /* that, of a write that was done */
    sv warning;                  /* likewise */
    struct buf body;             /* FHIR JSON, unless content_type is set; empty: no body */
    sv content_type;
    bool as_it_is;              /* the body is no FHIR: it is not made pretty */
    struct http_header more[5]; /* rest_header() */
    size_t n_more;
    struct http_file *file; /* in the place of a body; its fd is ours until it is sent */
};

struct
    rest_clock { /* of one request, with all entries when it is a Bundle; one thread. clock.c */
    struct service *s;
    struct workers *pool; /* others wait for its threads */
    struct http_exchange *x;
    uint64_t soft_us, until_us, looked_us; /* monotonic */
    struct lane_ticket ticket;
    struct query_deadline deadline; /* of the call's queries: rest_breathe() */
    bool has_lock;                  /* of conditional writes: the call waits for no turn */
    struct making_ticket making;    /* held until the answer is handed over */
};

struct rest_call;
typedef err_code (*rest_fn)(struct rest_call *c, struct err *e);
struct rest_interaction {
    const char *method;
    enum rest_shape {
        REST_SYSTEM,           /* [base] */
        REST_METADATA,         /* metadata */
        REST_SYSTEM_HISTORY,   /* _history */
        REST_SYSTEM_SEARCH,    /* _search */
        REST_TYPE,             /* Patient */
        REST_TYPE_SEARCH,      /* Patient/_search */
        REST_TYPE_HISTORY,     /* Patient/_history */
        REST_TYPE_VALIDATE,    /* Patient/$validate */
        REST_INSTANCE,         /* Patient/1 */
        REST_INSTANCE_HISTORY, /* Patient/1/_history */
        REST_VERSION,          /* Patient/1/_history/2 */
        REST_EVERYTHING,       /* Patient/1/$everything */
        REST_VALIDATE,         /* Patient/1/$validate */
        REST_COMPARTMENT,      /* Patient/1/Observation, Patient/1/STAR */
        REST_EXPORT_SYSTEM,    /* $export */
        REST_EXPORT_TYPE,      /* Patient/$export */
        REST_EXPORT_GROUP,     /* Group/1/$export */
        REST_EXPORT_STATUS,    /* export/JOB */
        REST_EXPORT_FILE,      /* export/JOB/files/NAME */
        REST_N_SHAPES,
    } shape;
    const char *name;   /* of the interaction, for the log */
    const char *action; /* IAM, without "healthlake:" */
    rest_fn fn;
    bool short_work; /* done on the server's own thread */
    /* of an operation only */
    const char *definition; /* canonical */
    const char *of;         /* types it is called on, by comma; "*" all; NULL: on [base] */
};
#define OPERATION_OF_HL7(id)  "http://hl7.org/fhir/OperationDefinition/" id
#define OPERATION_OF_BULK(id) "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/" id
extern const struct rest_interaction rest_interactions[];
extern const size_t rest_n_interactions;

struct rest_entry; /* of a transaction: write/bundle_private.h */
/* Links of a transaction between its entries, in a text that is about to be stored. *out is text itself, or what buf
 * holds. */
typedef err_code (*rest_relink_fn)(struct rest_call *c, sv text, struct buf *buf, sv *out,
                                   struct err *e);
struct rest_scope { /* what the searches of a transaction's writes see */
    uint64_t as_of;
    const struct search_id *gone; /* sorted; taken as not there */
    size_t n_gone;
};

struct rest_call {
    struct service *s;
    struct arena *a;
    struct store *st;
    const struct datastore *ds;
    struct auth_caller caller;
    sv base; /* "http://host/datastore/<id>/r4", no slash behind */
    sv host; /* the request's header, as it came */
    struct rest_request in;
    /* the route */
    const struct rest_interaction *it;
    fhir_type type; /* of the path; for a compartment, that of the owner */
    sv id, vid;
    fhir_type member_type; /* REST_COMPARTMENT; FHIR_TYPE_NONE: all */
    struct rest_param_list params;
    bool in_bundle;
    size_t text_max;                /* of a resource that is written; 0: LIMIT_DATA_BODY_BYTES */
    uint64_t as_of;                 /* reads see this commit; 0: the newest */
    bool only_check;                /* a read: is it well formed? */
    struct rest_clock *clock;       /* NULL: of no request, it takes as long as it takes */
    const struct rest_scope *scope; /* NULL outside of a transaction */
    struct rest_asked_list *asked;  /* what conditional writes went by is noted here; or NULL */
    struct rest_entry *entry;       /* of a transaction, or NULL; then with: */
    rest_relink_fn relink;
    struct rest_answer out;
    struct rest_issue_list issues; /* what an error says beside its text */
};

/* ---- route.c ---- */
/* Find the interaction of c->in and fill the route. ERR_NOT_FOUND, ERR_METHOD, ERR_INVALID. */
MUST_USE err_code rest_route(struct rest_call *c, struct err *e);
/* What is stored once and then stays: AuditEvent. It may come under an id of the client's, where nothing was. */
bool rest_is_immutable(fhir_type type);
/* Is the interaction there for this type? Parameters and OperationOutcome are not made by POST. */
bool rest_offered_on(const struct rest_interaction *it, fhir_type type);
/* Is the operation called on this type? */
bool rest_called_on(const struct rest_interaction *it, fhir_type type);
/* The row is a create, update, patch or delete, conditional or not. */
static inline bool rest_is_write(const struct rest_interaction *it)
{
    return (it->shape == REST_TYPE || it->shape == REST_INSTANCE) && strcmp(it->method, "GET") != 0;
}
/* The row takes a Bundle. */
static inline bool rest_is_bundle(const struct rest_interaction *it)
{
    return it->shape == REST_SYSTEM && strcmp(it->method, "POST") == 0;
}

/* ---- call.c ---- */
/* May the caller do this on the data store? action: "ReadResource". ERR_DENIED. */
MUST_USE err_code rest_allowed(struct rest_call *c, const char *action, struct err *e);
/* May he do what the route says? A conditional write is a search too. */
MUST_USE err_code rest_allowed_here(struct rest_call *c, struct err *e);
/* Prefer: return=minimal | representation | OperationOutcome; handling=strict | lenient. */
bool rest_prefers(const struct rest_call *c, const char *what);
/* One more header of the answer; past five they are passed over, which is our bug. */
void rest_header(struct rest_call *c, const char *name, sv value);
/* Does a write answer with the resource? In a Bundle only when asked for. */
bool rest_wants_body(const struct rest_call *c);
/* The write depends on what a search finds: If-None-Exist, or a query instead of an id. */
bool rest_is_conditional(const struct rest_call *c);
/* A conditional delete with _count: of as many as match, up to that. */
bool rest_is_delete_of_several(const struct rest_call *c);

/* What the call's queries are asked of, as of a commit. */
struct query_source rest_query_source(const struct rest_call *c, uint64_t as_of);

/* ---- params.c ---- */
/* Decode a query or form into pairs, appended to c->params. */
MUST_USE err_code rest_params_add(struct rest_call *c, sv encoded, struct err *e);
sv rest_param(const struct rest_call *c, const char *name); /* first of that name */
/* A value of blanks and commas: a parameter of a read is passed over then, as FHIR says (search.html#errors), and a
 * condition of a write is refused. */
bool rest_says_nothing(sv value);
/* Before parameters of a read are looked at: the names of those that say nothing become empty. */
MUST_USE err_code rest_read_names(struct rest_call *c, struct err *e);
/* A date or dateTime of any precision that is no search parameter (`what` is its name): it begins at *lo and ends
 * before *hi, either of which may be NULL. ERR_INVALID. */
MUST_USE err_code rest_read_date(struct rest_call *c, const char *what, sv value, int64_t *lo,
                                 int64_t *hi, struct err *e);

/* ---- clock.c ---- */
void rest_clock_start(struct rest_clock *k, struct service *s, struct workers *pool,
                      struct http_exchange *x, sv caller, sv place);
void rest_clock_stop(struct rest_clock *k);
uint64_t rest_until_us(const struct rest_call *c); /* monotonic; 0: no end */
/* To be called every millisecond or so by what may take long. ERR_TIMEOUT: its time is over; ERR_CANCELLED: the caller
 * has hung up. May wait for the call's turn: not under a lock, but has_lock says so. */
MUST_USE err_code rest_breathe(const struct rest_call *c, struct err *e);
/* Before a lock or another wait: others compute meanwhile. */
void rest_let_go(const struct rest_call *c);
/* The body that is being made is about to have len bytes: past LIMIT_MAKING_FREE_BYTES the call needs one of the few
 * places for these (making.h), and waits for it. ERR_THROTTLED, ERR_TIMEOUT, ERR_CANCELLED. Not under a lock. */
MUST_USE err_code rest_may_grow(const struct rest_call *c, size_t len, struct err *e);

/* ---- cursor.c: tokens of pages ---- */
/* The pairs of the call, encoded, without those that were ignored and without page. Appended. */
MUST_USE err_code rest_params_write(const struct rest_call *c, struct buf *out, struct err *e);
/* When the call asks for a page: its place, as rest_cursor_make() was given it, and the query that it is a page of is now
 * that of the call. SV_NONE: it asks for the first. path names what the pages are of, as in their links. ERR_INVALID:
 * no token of ours for this data store, path and caller, or too old, or with other parameters. */
MUST_USE err_code rest_cursor_open(struct rest_call *c, sv path, sv *place, struct err *e);
/* The token of the page of this query that begins at place; owned by the call's arena. */
MUST_USE err_code rest_cursor_make(struct rest_call *c, sv path, sv place, sv *out, struct err *e);
/* [base]/path?_count=N&page=TOKEN, appended. */
MUST_USE err_code rest_cursor_url(const struct rest_call *c, sv path, size_t count, sv token,
                                  struct buf *out, struct err *e);

/* ---- outcome.c ---- */
MUST_USE err_code rest_outcome_write(const struct rest_issue *issues, size_t n, struct buf *out,
                                     struct err *e);
/* The call's only issue. ERR_TOO_LARGE: its arena is full. */
MUST_USE err_code rest_issue_set(struct rest_call *c, struct rest_issue issue, struct err *e);
/* Body of an error: the call's issues when it has some, else the error itself. Answers the status. */
unsigned rest_error(const struct rest_call *c, const struct err *e, struct buf *out);

/* What a write that was done has to tell: its warning and its issues. Nothing is appended when there is nothing. */
MUST_USE err_code rest_told_write(const struct rest_call *c, struct buf *out, struct err *e);

/* ---- read/read.c ---- */
MUST_USE err_code rest_read(struct rest_call *c, struct err *e);
MUST_USE err_code rest_vread(struct rest_call *c, struct err *e);
MUST_USE err_code rest_history(struct rest_call *c, struct err *e);

/* ---- version.c ---- */
/* A version as it is sent, appended. */
MUST_USE err_code rest_version_write(const struct store_version *v, struct buf *out, struct err *e);
/* The answer is about v: ETag and Last-Modified. */
void rest_about(struct rest_call *c, const struct store_version *v);
/* A version of a resource, by its number. Its body is valid until *cur is closed, which is the caller's; its id is that
 * of `of`. ERR_NOT_FOUND. */
MUST_USE err_code rest_version_find(struct rest_call *c, const struct search_id *of,
                                    uint64_t version, uint64_t as_of_t, struct store_cursor **cur,
                                    struct store_version *out, struct err *e);

/* ---- large.c ---- */
#define REST_PAGE_FRAME (2u << 20) /* of a page, beside its entries */
struct rest_large {                /* zeroed, or what rest_large_get() made */
    struct service *s;
    struct arena *a;
    struct store_version v;
};
/* The whole of a version that came cut. Waits while LIMIT_LARGE_AT_A_TIME are held; a thread holds one at a time.
 * rest_large_done() also after an error. */
MUST_USE err_code rest_large_get(struct rest_call *c, const struct store_version *cut,
                                 struct rest_large *out, struct err *e);
/* The same for an answer that is this version alone, or its content. ERR_TOO_LARGE: no answer holds it. */
MUST_USE err_code rest_large_answer(struct rest_call *c, const struct store_version *cut,
                                    bool content, struct rest_large *out, struct err *e);
void rest_large_done(struct rest_large *l);
#define CLEANUP_LARGE __attribute__((cleanup(rest_large_done)))
/* Has the page that is being written room for the whole of it? */
bool rest_fits(const struct rest_call *c, const struct store_version *v);
/* It has none, but a page that holds nothing else would. */
bool rest_fits_alone(const struct rest_call *c, const struct store_version *v);
/* A version as a value: whole when the page has room for that, else as it came. */
MUST_USE err_code rest_version_put(struct rest_call *c, const struct store_version *v,
                                   struct json_writer *w, struct err *e);

/* ---- write/write.c ---- */
#define REST_TRIES     8 /* of a write that others overtake */
#define REST_OVERTAKEN "Resource was modified by another operation. Retry the request."
struct rest_tags { /* of If-Match or If-None-Match: W/"3", "3" or 3, by comma, or * */
    bool there, any;
    const sv *tags; /* without W/ and quotes */
    size_t n;
};
struct rest_conditions {
    struct rest_tags match, none_match;
    bool dated; /* If-Unmodified-Since: not later than until_ms */
    int64_t until_ms;
};
struct rest_pending { /* a write that is checked and not yet done */
    bool has_write;   /* false: c->out is the answer already */
    bool identified;  /* rest_identify() was done */
    bool guarded;     /* w.condition is ours: when it fails, the write is made again */
    uint64_t matched; /* version of what a conditional write found; 0: none */
    sv body_id;       /* of a conditional update: the id in the body, or empty */
    struct rest_conditions conditions; /* that the client set */
    struct store_write w;
    struct buf stored, index; /* owned: w.body and w.index point into them */
};
void rest_pending_done(struct rest_pending *p);
/* Which resource is it about? Conditional forms are searched for; c->id is then the one that was found, or a new
 * one. */
MUST_USE err_code rest_identify(struct rest_call *c, struct rest_pending *p, struct err *e);
/* Identifies when that was not done. */
MUST_USE err_code rest_prepare(struct rest_call *c, struct rest_pending *p, struct err *e);
/* After the commit: status, headers, body. */
MUST_USE err_code rest_written(struct rest_call *c, const struct rest_pending *p,
                               const struct store_commit *at, struct err *e);
/* A commit's refusal in the words of the request. */
MUST_USE err_code rest_refused(struct rest_call *c, const struct rest_pending *p, err_code rc,
                               struct err *e);
MUST_USE err_code rest_write(struct rest_call *c, struct err *e);

/* ---- body.c ---- */
/* Parameter of a header such as "application/fhir+json; charset=utf-8", without quotes; SV_NONE: not there. */
sv rest_media_param(sv header, const char *name);
/* Text without the byte order mark that it may begin with. */
sv rest_without_mark(sv text);
/* Is a Content-Type this one? Its parameters do not count. */
bool rest_media_is(sv content_type, const char *want);
bool rest_body_is_json(sv content_type);
/* Does the type leave open that the body is a resource? */
bool rest_body_may_be_resource(sv content_type);
/* There is a body, and it is to be read as JSON. ERR_MEDIA_TYPE, ERR_INVALID: it is empty. */
MUST_USE err_code rest_json_body(const struct rest_call *c, struct err *e);
/* The parameters of a posted form, added to the call's. No body is none. ERR_MEDIA_TYPE. */
MUST_USE err_code rest_form_body(struct rest_call *c, struct err *e);
/* The same for an operation, which takes Parameters too. */
MUST_USE err_code rest_parameters_body(struct rest_call *c, struct err *e);

/* ---- binary.c ---- */
/* May the answer be a Binary's content? It then answers for Accept. */
bool rest_binary_reads(const struct rest_call *c);
/* May the body be a Binary's content, in whatever type? */
bool rest_binary_writes(const struct rest_call *c);
/* The content of v, when that is what is asked for: *done. ERR_NOT_ACCEPTABLE, ERR_UNPROCESSABLE: it is no base64. */
MUST_USE err_code rest_binary_read(struct rest_call *c, const struct store_version *v, bool *done,
                                   struct err *e);
/* When the body of the call is a Binary's content: it becomes that Binary, in made. ERR_MEDIA_TYPE, ERR_INVALID. */
MUST_USE err_code rest_binary_take(struct rest_call *c, struct buf *made, struct err *e);

/* ---- write/precondition.c ---- */
/* ERR_INVALID: empty, or no tags. text SV_NONE: none there. Tags are views of text, their list is in a. */
MUST_USE err_code rest_tags_read(sv text, const char *name, struct arena *a, struct rest_tags *out,
                                 struct err *e);
/* If-Unmodified-Since as the last millisecond that it covers; false: none, or no date. */
bool rest_unmodified_read(sv text, int64_t *out_ms);
/* Is it one of them? */
bool rest_tags_have(const struct rest_tags *t, uint64_t version);
/* Of a write. ERR_INVALID: malformed, contradictory, or about something else than this write; If-None-Exist too. */
MUST_USE err_code rest_conditions_read(struct rest_call *c, struct rest_conditions *out,
                                       struct err *e);
/* Put them on the write, of which is known what it is about. now: the version that it was made from, or NULL.
 * ERR_PRECONDITION. */
MUST_USE err_code rest_conditions_apply(struct rest_call *c, const struct store_version *now,
                                        struct rest_pending *p, struct err *e);

/* ---- write/bundle.c ---- */
MUST_USE err_code rest_bundle(struct rest_call *c, struct err *e);

/* ---- read/search.c ---- */
MUST_USE err_code rest_search(struct rest_call *c, struct err *e);
MUST_USE err_code rest_search_compartment(struct rest_call *c, struct err *e);

/* ---- metadata.c ---- */
MUST_USE err_code rest_metadata(struct rest_call *c, struct err *e);

/* ---- read/everything.c ---- */
MUST_USE err_code rest_everything(struct rest_call *c, struct err *e);

/* ---- write/conditional.c ---- */
/* rest_params_add() of a query that a write goes by: what says nothing in it is refused. */
MUST_USE err_code rest_condition_add(struct rest_call *c, sv encoded, struct err *e);
/* Of the call's parameters, which must all be filters: what a conditional write goes by. ERR_INVALID. */
MUST_USE err_code rest_condition_query(struct query **out, struct rest_call *c, struct err *e);
/* The only match in the scope, noted in the call's list of what was asked: *n_out is 0, 1, or 2 for several. id is owned by the call's arena. */
MUST_USE err_code rest_condition_one(struct rest_call *c, const struct query *q,
                                     const struct rest_scope *scope, sv *id, uint64_t *version,
                                     size_t *n_out, struct err *e);
/* Search, then either make the call one with an id, or answer it (p->has_write is false). */
MUST_USE err_code rest_conditional(struct rest_call *c, struct rest_pending *p, struct err *e);

/* ---- write/asked.c ---- */
struct rest_asked { /* a search that found `found` alone, or nothing (empty) */
    const struct query *q;
    struct rest_scope scope;
    sv found;
};
struct rest_asked_list { /* in the arena of the calls that asked; zeroed: empty */
    struct rest_asked *items;
    size_t n, cap;
};
MUST_USE err_code rest_asked_add(struct rest_asked_list *l, struct arena *a, const struct query *q,
                                 const struct rest_scope *scope, sv found, struct err *e);
/* store_commit(), when all that was asked is still so. *overtaken: it is not, nothing was written, ask again
 * (ERR_CONFLICT). */
MUST_USE err_code rest_commit_asked(struct rest_call *c, const struct rest_asked_list *l,
                                    struct store_write *writes, size_t n, struct store_commit *at,
                                    bool *overtaken, struct err *e);

/* ---- write/delete.c ---- */
/* ERR_INVALID (_count, If-Match, in a Bundle), ERR_CONFLICT. */
MUST_USE err_code rest_delete_several(struct rest_call *c, struct err *e);

/* ---- write/subscription.c ---- */
/* Of a Subscription that is about to be stored: the call's warning, and in out the text with status off when it says
 * active; out stays empty when the text stays as it is. */
MUST_USE err_code rest_subscription_take(struct rest_call *c, yyjson_val *root, sv text,
                                         struct buf *out, struct err *e);

/* ---- write/validate.c ---- */
/* At the call's level. ERR_INVALID, with the faults as the call's issues. body: the stored form, to which
 * level minimal adds them (owned by c->a then). */
MUST_USE err_code rest_validate_resource(struct rest_call *c, yyjson_val *resource, fhir_type type,
                                         struct fhir_body *body, struct err *e);
MUST_USE err_code rest_validate(struct rest_call *c, struct err *e);

/* ---- rest_export*.c ---- */
MUST_USE err_code rest_export(struct rest_call *c, struct err *e);
MUST_USE err_code rest_export_status(struct rest_call *c, struct err *e);
MUST_USE err_code rest_export_delete(struct rest_call *c, struct err *e);
MUST_USE err_code rest_export_file(struct rest_call *c, struct err *e);
/* A path that begins with export/: its shape, with c->id and c->vid (the file's name). Any other path:
 * REST_N_SHAPES. */
MUST_USE err_code rest_export_route(struct rest_call *c, sv path, enum rest_shape *out,
                                    struct err *e);
