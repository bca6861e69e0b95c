/* export_private.h - what the rooms of the export share: the plan, and what became of its ranges.
 *
 *   note plan           {"objectBytes", "ranges":[{"kind","type","from","to","first","last"},
 *                       ...]}, written before any range runs; "earlier" and "check" when the
 *                       range can be copied (reuse/reuse.h)
 *   note instant        {"t", "mark"} (export.c)
 *   note done/<range>   {"objects":[{"name","deleted","count","bytes","sha256","mark"}, ...],
 *                       "count", "sum", "type", "place"}; "place" is the order in which ranges
 *                       came in, without gaps but for ranges that are just being noted;
 *                       "rewritten" and "servedSum" when the objects hold another text than the
 *                       store (shape.c)
 *
 *   export.c      T, the plan, the run, the end      plan.c      which ranges there are
 *   turns.c       workers take ranges                progress.c  what they share
 *   nodes/share.c so do other nodes                  nodes/done.c  ranges that are in
 *   range.c       a range becomes objects            object.c    the objects and the note
 *   shape.c       members left out, URLs made new    feed.c      the resources of an item
 *   source.c      scans, changes, members            provenance.c  Provenance about what changed
 *   blocks.c      blocks of Patients                 owners.c    whose block it is
 *   candidates.c  what the index proposes            view.c      is a resource meant?
 *   level.c       members and compartments           filter.c    types, filters, labels
 *   check.c       parameters before there is a job   sink.c      where it goes, and undoing
 *   manifest.c    what is in it                      partial.c   ... while it still runs
 * Floor: export. */
#pragma once
#include "codec/json.h"
#include "export/export.h"
#include "fhir/digest.h"

/* Grows when a version of the program writes the same line otherwise. */
#define EXPORT_LINE_FORM 1u

struct export_object {
    fhir_type type;
    sv name; /* below the job's folder: Patient/Patient-....ndjson */
    uint64_t count, bytes;
    sv sha256;        /* hex */
    bool deleted;     /* Bundles of deletions */
    uint64_t entries; /* of these */
    bool organized;   /* blocks of Patients */
    uint64_t blocks;  /* their heads among the count's lines */
    sv continues;     /* name of the object that the last block goes on in; empty: it is whole */
    bool reused;      /* copied from an earlier export */
    uint64_t place;   /* in the order in which ranges came in */
    uint64_t nth;     /* of the range's objects */
};

static inline bool export_is_type(fhir_type type, const char *name)
{
    return strcmp(fhir_type_name(type), name) == 0;
}
fhir_type export_patient_type(void);

/* ---- who and what is meant (level.c, filter.c, view.c) ---- */
struct export_filter;
/* What the chains and _has of a _typeFilter are asked of. */
struct export_filter_scope {
    struct store *store;
    sv base; /* our own [base], for absolute references; may be empty */
    uint64_t as_of_t;
    const atomic_bool *halt; /* set: a long look ends, ERR_CANCELLED; NULL: nobody stops it */
};
/* params is not NULL. ERR_INVALID, ERR_NOT_FOUND (parameter), ERR_UNSUPPORTED, ERR_TOO_LARGE. Owned
 * by the arena. */
MUST_USE err_code export_filter_new(const struct export_filter_scope *scope,
                                    const struct job_export_params *params, int64_t now_ms,
                                    struct arena *a, struct export_filter **out, struct err *e);
bool export_filter_wants(const struct export_filter *filter, fhir_type type);
/* Must a resource of the type be read to decide? */
bool export_filter_reads(const struct export_filter *filter, fhir_type type);
/* ERR_CANCELLED: *halt was set meanwhile. */
MUST_USE err_code export_filter_match(const struct export_filter *filter,
                                      const struct search_subject *s, const atomic_bool *halt,
                                      bool *met, struct err *e);

struct export_members {
    sv *ids; /* of Patients, sorted, each once */
    size_t n;
    bool all; /* every Patient: ids are not listed */
};
bool export_members_find(const struct export_members *members, sv id, size_t *at);
/* As of t. ERR_NOT_FOUND: no such Group then. */
MUST_USE err_code export_members_read(struct store *st, const struct job_export_params *params,
                                      uint64_t t, struct arena *a, struct export_members *out,
                                      struct err *e);
/* [base] of the kick-off's URL; empty when there is none. */
sv export_base(const struct job_export_params *params);

struct export_view { /* a store as of one commit, and what is meant of it */
    struct store *store;
    uint64_t t;
    job_export_level level;
    unsigned associated;
    sv group_id, base;
    struct export_members members;
    const struct export_filter *filter; /* NULL: everything */
    const atomic_bool *halt;            /* ends a comparison that takes long; NULL: never */
};
/* Is a resource, which is current as of the view's commit, meant? owner: index of the member in
 * whose share it comes (0 when members are not listed). */
MUST_USE err_code export_view_has(const struct export_view *view, const struct search_subject *s,
                                  struct arena *a, bool *in, size_t *owner, struct err *e);
/* The same without the filter: by level alone. */
MUST_USE err_code export_owner(const struct export_view *view, const struct search_subject *s,
                               struct arena *a, bool *in, size_t *owner, struct err *e);
/* The resource as of the view's commit, parsed. */
MUST_USE err_code export_subject_read(const struct export_view *view, fhir_type type, sv id,
                                      struct arena *a, bool *there, struct search_subject *out,
                                      struct err *e);
MUST_USE err_code export_subject_read_number(const struct export_view *view, store_number number,
                                             struct arena *a, bool *there,
                                             struct search_subject *out, struct err *e);
/* A Patient of the view's members in whose compartment a resource is; at: place among listed
 * members. */
typedef void (*export_patient_fn)(void *ctx, sv id, size_t at);
void export_patients_own(const struct export_view *view, const struct search_subject *s,
                         export_patient_fn fn, void *ctx);
typedef err_code (*export_target_fn)(void *ctx, fhir_type type, sv id, struct err *e);
/* What a Provenance is about. */
MUST_USE err_code export_targets(const struct export_view *view, yyjson_val *provenance,
                                 export_target_fn fn, void *ctx, struct err *e);
/* Does every resource of the type belong to the export, unread? */
bool export_view_is_whole(const struct export_view *view, fhir_type type);

/* ---- the plan ---- */
typedef enum {
    EXPORT_SCAN,    /* all of a range of numbers */
    EXPORT_CHANGES, /* what changed of a range of numbers since the window began */
    EXPORT_MEMBERS, /* what belongs to members first..last - 1 and nobody before them */
    /* what came or went with members first..last - 1 of those that joined or left the Group, and
     * did not change itself */
    EXPORT_MOVED,
    EXPORT_ABOUT, /* Provenance, unchanged, about what joined or left by a change of its own */
    /* organizeOutputBy: what belongs to the Patients of a range, a block each; of all other
     * kinds what belongs to none is left */
    EXPORT_BLOCKS,
    EXPORT_N_KINDS
} export_kind;
struct export_item {
    export_kind kind;
    struct store_range range; /* of EXPORT_MEMBERS, EXPORT_MOVED, EXPORT_ABOUT the type alone */
    size_t first, last;
    /* note of an earlier export's range, of which this one can be made; NULL: it is written */
    yyjson_val *earlier;
    bool check;   /* the note is compared with what the data store gives */
    bool checked; /* it was, by this run */
};
/* Is its note still to be compared? */
static inline bool export_item_awaits_check(const struct export_item *item)
{
    return item->earlier && item->check && !item->checked;
}
#define EXPORT_PLAN_MAX (256u << 20)
struct export_plan {
    struct export_item *items;
    bool *done;
    size_t n;
    size_t object_bytes;               /* a range is cut into objects of at most that */
    sv earlier_bucket, earlier_folder; /* where the objects of earlier notes are */
};

struct export_job {
    struct job_run *run;
    const struct job_export_params *params; /* never NULL */
    uint64_t t;
    uint64_t mark; /* as of store_mark(): which commit t is */
    int64_t instant_ms;
    uint64_t since_t; /* the window is (since_t, t]; 0 without _since */
    bool window;      /* with _since */
    struct export_view now, before;
    struct export_members moved; /* joined or left the Group within the window */
    bool present[STORE_TYPES];   /* types of which the data store had any version by t */
    bool changed[STORE_TYPES];   /* and within the window */
    struct export_plan plan;
    struct sink *sink;
    struct buf *blocks;         /* EXPORT_TRACKS per worker */
    struct job_tasks *tasks;    /* while ranges are written */
    struct export_share *share; /* NULL: no other node takes ranges */
    struct {
        pthread_mutex_t lock;
        size_t next_check; /* item that is to be checked and that nobody has taken */
        size_t next_range; /* the same of all others */
        err_code rc;       /* first failure of a range */
        struct err err;
        struct job_progress progress;
        uint64_t n_begun; /* objects */
        /* bytes of all objects, deletions too, and what files take beside them; */
        uint64_t written;
        uint64_t asked_at;                               /* when the limits were asked last */
        uint64_t finished_resources, finished_bytes;     /* of ranges that are in */
        uint64_t begun_us, begun_resources, begun_bytes; /* what this run found */
        uint64_t reused, reused_bytes;                   /* objects, by this run */
        uint64_t refused;   /* copies of ranges that did not come about */
        bool *places;       /* taken, of plan.n */
        size_t first_place; /* all before are taken */
        bool *in_hand;      /* this run has it, of plan.n; NULL: nobody else takes ranges */
    } shared;
};

/* ERR_NOT_FOUND: there is none yet. Owned by the arena; done is all false. */
MUST_USE err_code export_plan_read(struct job_run *run, struct arena *a, struct export_plan *plan,
                                   struct err *e);
MUST_USE err_code export_plan_make(struct export_job *export, size_t object_bytes, struct err *e);

/* ---- numbers of resources, and sets of them (candidates.c) ---- */
/* The number of an id. 0: it never came. */
MUST_USE err_code export_number_of(const struct export_job *export, fhir_type type, sv id,
                                   store_number *out, struct err *e);
#define EXPORT_NUMBERS_MAX ((size_t)512 << 20) /* bytes of the numbers that one range may gather */
MUST_USE err_code export_numbers_add(struct buf *set, store_number number, struct err *e);
/* That of a Patient, if the id ever came. */
MUST_USE err_code export_numbers_add_patient(struct export_job *export, sv id, struct buf *set,
                                             struct err *e);
void export_numbers_sort(struct buf *set); /* each once */
bool export_numbers_next(const struct buf *set, size_t *at, store_number *out);

/* ---- what the index proposes (candidates.c) ---- */
/* Candidates of a type among the compartments of some members, into an empty out: sorted, each
 * once. */
MUST_USE err_code export_candidates_gather(struct export_job *export, fhir_type type,
                                           const sv *members, size_t n, struct buf *out,
                                           struct err *e);
/* Bytes that a member has of a type, on the mean of a few; less than 0: the store has none of
 * it. */
MUST_USE err_code export_candidates_sample(struct export_job *x, const struct export_members *m,
                                           fhir_type type, double *bytes_each, struct err *e);
/* Has the store any of the type as of t? */
MUST_USE err_code export_has_any(struct store *st, fhir_type type, uint64_t t, bool *out,
                                 struct err *e);

/* ---- the resources of an item, but of EXPORT_BLOCKS (source.c) ---- */
struct export_source;
MUST_USE err_code export_source_open(struct export_job *export, const struct export_item *item,
                                     struct export_source **out, struct err *e);
void export_source_free(struct export_source *source);
/* What next gave is done with: see store_cursor_rest(). */
void export_source_rest(struct export_source *source);
DEFINE_CLEANUP(struct export_source, export_source_free)
/* Next resource of the item that is meant, or, with *deleted, that is to be told as deleted. Valid
 * until the next call. *root: NULL when it was not read. ERR_EOF; ERR_CANCELLED. */
MUST_USE err_code export_source_next(struct export_source *source, struct store_version *out,
                                     yyjson_val **root, bool *deleted, struct err *e);
/* Of a scan: have the next ones put where their lines will stand; see store_cursor_place. */
void export_source_place(struct export_source *source, struct buf *block, size_t gap);
/* Living resources that a scan met and did not give, so far; false: the item is no scan of a whole
 * range. */
bool export_source_passed(const struct export_source *source, uint64_t *n);

/* ---- the resources of an item, as they go into objects (feed.c) ---- */
struct export_feed;
MUST_USE err_code export_feed_open(struct export_job *export, const struct export_item *item,
                                   struct export_feed **out, struct err *e);
void export_feed_free(struct export_feed *feed);
void export_feed_rest(struct export_feed *feed);
DEFINE_CLEANUP(struct export_feed, export_feed_free)
/* As export_source_next(). */
MUST_USE err_code export_feed_next(struct export_feed *feed, struct store_version *out,
                                   yyjson_val **root, bool *deleted, struct err *e);
/* Of EXPORT_BLOCKS: the Patient to whom the resource given last belongs. Empty: of another kind. */
sv export_feed_block(const struct export_feed *feed);
/* As export_source_place(); items that are no scan pass over it. */
void export_feed_place(struct export_feed *feed, struct buf *block, size_t gap);
/* As export_source_passed(). */
bool export_feed_passed(const struct export_feed *feed, uint64_t *n);

/* Numbers of an item of EXPORT_ABOUT, candidates, into an empty out: sorted, each once
 * (provenance.c). */
MUST_USE err_code export_about_gather(struct export_job *export, fhir_type provenance,
                                      struct buf *out, struct err *e);

/* ---- organizeOutputBy=Patient (owners.c, blocks.c) ---- */
struct export_owners; /* who owns what; remembers which Patients are there */
struct export_owner {
    sv id; /* empty: nobody */
    store_number number;
};
struct export_owners *export_owners_new(struct export_job *export);
void export_owners_free(struct export_owners *owners);
/* The first, in byte order of ids, of the Patients that are there as of the export's commit, are
 * members, and in whose compartments s is. Valid until the next call. */
MUST_USE err_code export_owners_find(struct export_owners *owners, const struct search_subject *s,
                                     struct arena *a, struct export_owner *out, struct err *e);
/* Rows of an item of EXPORT_BLOCKS: every resource that is meant and owned by a Patient of its
 * range, by Patient, the Patient itself first, then by type and id. */
MUST_USE err_code export_blocks_gather(struct export_job *export, const struct export_item *item,
                                       struct export_owners *owners, struct buf *rows,
                                       struct err *e);
bool export_blocks_next(const struct buf *rows, size_t *at, sv *owner, store_number *number);
typedef err_code (*export_range_fn)(void *ctx, const struct store_range *r, struct err *e);
/* Ranges of Patients whose blocks come to about target_bytes each, end to end; none when there are
 * none. n_others: items of other kinds in the plan. */
MUST_USE err_code export_blocks_cut(struct export_job *export, size_t target_bytes, size_t n_others,
                                    export_range_fn each, void *ctx, struct err *e);
/* Is every listed member there? */
MUST_USE err_code export_members_there(struct export_job *export, bool *out, struct err *e);

struct export_tally { /* what a range came to */
    uint64_t resources, bytes;
    unsigned objects;
};
/* Ranges that a worker writes in turn, block by block: their digests are computed side by side. */
#define EXPORT_TRACKS    2u
#define EXPORT_BLOCK_MAX ((size_t)2 << 30) /* bytes: a unit of the sink and one resource */
/* Objects that are held in memory until they are sent (those of the tracks, and eight on their way)
 * are that many times smaller. */
#define EXPORT_KEPT_SHARE 8u
/* A range on its way into objects, then into its note. Can be done again from the start. */
struct export_range;
/* block: the track's, borrowed until the range is freed. */
MUST_USE err_code export_range_open(struct export_job *export, size_t range, struct buf *block,
                                    struct export_range **out, struct err *e);
void export_range_free(struct export_range *g); /* what is not in its note yet is undone */
DEFINE_CLEANUP(struct export_range, export_range_free)
/* Lines into the block. ERR_EOF: there are none to write, the range is copied, and only has to be
 * finished. ERR_CANCELLED when the job is to stop. */
MUST_USE err_code export_range_fill(struct export_range *g, struct err *e);
/* Of two filled ranges, before they are flushed. */
void export_ranges_digest(struct export_range *g, struct export_range *h);
/* The block to the sink. ERR_EOF: all of the range has been given to it, and its block and store
 * are free again. */
MUST_USE err_code export_range_flush(struct export_range *g, struct err *e);
/* After that: has every object arrived, or failed to? */
bool export_range_has_arrived(const struct export_range *g);
/* Waits for that, and notes the range; *out says what it came to. */
MUST_USE err_code export_range_finish(struct export_range *g, struct export_tally *out,
                                      struct err *e);

/* Is T the commit that it was? Asked before what was read as of T is written down.
 * ERR_PRECONDITION: the export has failed. ERR_UNAVAILABLE. */
MUST_USE err_code export_instant_holds(struct export_job *export, struct err *e);

/* The least place that no range has; given back when the range's note could not be written. */
size_t export_place_take(struct export_job *export);
void export_place_give_back(struct export_job *export, size_t place);

/* ---- ranges that several nodes take (nodes/) ---- */
/* Notes done/<range> from that range on, but for those that are known and that are in this run's
 * hands: done, places and progress say so. */
MUST_USE err_code export_done_read(struct export_job *export, size_t from, struct err *e);
/* By the run that has the job. Nothing, where this process is alone or the files are its own. */
MUST_USE err_code export_share_open(struct export_job *export, struct arena *a, struct err *e);
/* By one that has not. ERR_CANCELLED: not now. ERR_NOT_FOUND: it does not see where the export
 * writes. */
MUST_USE err_code export_share_join(struct export_job *export, struct arena *a, struct err *e);
/* It takes part no more. */
void export_share_part(struct export_job *export);
/* By the run that has the job: all ranges are in. */
MUST_USE err_code export_share_end(struct export_job *export, struct err *e);
/* A range that is not done and that nobody has. ERR_EOF: there is none at this moment. */
MUST_USE err_code export_share_take(struct export_job *export, size_t *out, struct err *e);
/* It is in nobody's hands any more. done: its note is written. */
void export_share_leave(struct export_job *export, size_t range, bool done);
/* Another node may have it already: what this run makes of it counts for nothing. */
bool export_share_has(struct export_job *export, size_t range);
/* ERR_CONFLICT: so it is. Asked before an object of it appears. */
MUST_USE err_code export_share_holds(struct export_job *export, size_t range, struct err *e);
MUST_USE err_code export_share_note(struct export_job *export, size_t range, sv note,
                                    struct err *e);
/* Was there none to take, when this was asked last? */
bool export_share_is_idle(struct export_job *export);
/* What others have in hand is waited for. *more: there may be a range to take; else all are
 * done. */
MUST_USE err_code export_share_wait(struct export_job *export, bool *more, struct err *e);

/* All ranges that are not done, by the pool's workers. */
MUST_USE err_code export_ranges_run(struct export_job *export, struct err *e);

/* ---- progress (progress.c) ---- */
/* Long work asks every now and then. ERR_CANCELLED: the export is to stop. */
MUST_USE err_code export_goes_on(const struct job_run *run, struct err *e);
void export_progress_begin(struct export_job *export);
void export_progress_add(struct export_job *export, int64_t resources, int64_t bytes);
/* One more object. ERR_TOO_LARGE: files were asked to be so small that they are too many. */
MUST_USE err_code export_object_take(struct export_job *export, struct err *e);
/* So many bytes are about to go to the sink. ERR_TOO_LARGE, ERR_NO_SPACE: a served export may not
 * write on. */
MUST_USE err_code export_room_take(struct export_job *export, uint64_t bytes, struct err *e);
void export_progress_reused(struct export_job *export, unsigned objects, uint64_t bytes);
void export_progress_refused(struct export_job *export);
/* Is it worth while to ask for a copy? Not where many were asked for and none was had. */
bool export_may_copy(struct export_job *export);
void export_progress_range(struct export_job *export, const struct export_tally *t); /* it is in */

/* ---- operations of the kind (struct job_kind_ops) ---- */
MUST_USE err_code export_undo(struct job_run *run, struct err *e);
MUST_USE err_code export_check(const struct job_engine_config *cfg, sv datastore_id,
                               const struct job_export_params *params, struct err *e);
MUST_USE err_code export_partial_manifest(struct records *r, const struct job *j, struct buf *out,
                                          struct err *e);

MUST_USE err_code export_sink_open(struct job_run *run, struct sink **out, struct err *e);

/* What handling=lenient passed over, as OperationOutcomes in one object. *there: it has been
 * written. */
MUST_USE err_code export_errors_write(struct export_job *export, struct arena *a,
                                      struct export_object *out, bool *there, struct err *e);
/* A list of a manifest: those of o that are deleted, or are not. */
void export_manifest_files(struct json_writer *w, const char *name, const struct job *j,
                           const struct export_object *o, size_t n, bool deleted, struct arena *a);
/* Of struct export_object, by place, within a range in the order of its note. */
int export_object_by_place(const void *a, const void *b);
/* One object of a range's note; type and place are the caller's to set. False: damaged. */
bool export_object_read(yyjson_val *v, bool organized, struct export_object *out);
/* manifest.json from the notes of all ranges, into out. errors may be NULL.
 * ERR_INTERNAL when a range is missing or ranges leave a gap or overlap. */
MUST_USE err_code export_manifest(struct export_job *export, const struct export_object *errors,
                                  struct buf *out, struct err *e);
