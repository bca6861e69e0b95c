/* range_private.h - a range on its way into objects: what range.c, object.c, shape.c and
 * reuse/copy.c share.
 *
 *   FILLS --(block full: flush)--> FILLS
 *   FILLS --(object full: fill)--> OBJECT_FULL --(flush)--> NEXT_WAITS --(fill)--> FILLS
 *   FILLS --(round is over: fill)--> ROUND_ENDS --(flush)--> FILLS, for the round of deletions
 *                                               --(flush)--> OVER
 *                                               --(flush, of one that is checked)--> COPIED
 *   COPIED instead of all that: its objects are made of earlier ones
 * Floor: export. */
#pragma once
#include "export/export_private.h"
#include "fhir/attachments.h"

typedef enum {
    RANGE_FILLS,       /* lines go into the block; the object may go on behind it */
    RANGE_OBJECT_FULL, /* the block is the object's last, and v waits for the next object */
    RANGE_NEXT_WAITS,  /* the object is closed; v is the first of the next */
    RANGE_ROUND_ENDS,  /* the block is the round's last */
    RANGE_OVER,        /* all has been given to the sink */
    RANGE_COPIED       /* its objects are being made, and nothing of it is written */
} range_phase;

/* What is to be told as deleted is known when a round has met it, and written in a second round. */
typedef enum { DELETIONS_NONE, DELETIONS_MET, DELETIONS_WRITTEN } range_deletions;

struct sent { /* an object on its way, and what the note says of it */
    struct sink_sending *sending;
    struct sent *next;
    sv name, sha256, continues;
    uint64_t count, bytes, entries, blocks;
    bool deleted, reused;
    struct sink_mark mark; /* once it has arrived */
};

struct export_type_sum {
    uint64_t n, n_rewritten;
    struct fhir_digest sum;     /* as stored */
    struct fhir_digest was, is; /* of the rewritten alone, as stored and as in the objects */
};

/* of all, as in the objects */
static inline struct fhir_digest export_sum_served(const struct export_type_sum *s)
{
    struct fhir_digest served = s->sum;
    fhir_digest_take(&served, &s->was);
    fhir_digest_add(&served, &s->is);
    return served;
}

struct export_range {
    struct export_job *export;
    size_t range;
    struct arena *a;
    struct export_feed *from;
    range_phase phase;
    range_deletions deletions;
    bool blocks; /* EXPORT_BLOCKS */
    /* it is made to be compared with the note of what it will be copied from: its files stand
     * nowhere, and nobody is told of them */
    bool checks;

    /* the resource at hand */
    struct store_version v;
    yyjson_val *root; /* of v, if it was read */
    bool rewritten;   /* v is, and its digest as it is stored is: */
    struct fhir_digest stored;

    /* how resources are shaped (shape.c) */
    sv *elements; /* _elements for elements_of; NULL: all */
    sv *elements_room;
    size_t n_elements;
    fhir_type elements_of;
    struct fhir_reader *reader;       /* of lines with members left out */
    struct fhir_attachments absolute; /* base empty: urls stay as they are stored */
    struct arena *tree;               /* of a resource with urls that change */
    struct buf served;                /* its body with them */

    /* the block */
    struct buf *block;
    size_t gap; /* between the block and a body that is put behind it: what its hole will take */
    char owner[FHIR_ID_MAX]; /* of the Patient's block under way */
    size_t owner_len;
    int64_t new_heads; /* not told to the progress as no resources yet */

    /* the open object (object.c) */
    struct sink_file *file; /* NULL: none is open */
    sv name;
    uint64_t count, written; /* lines, bytes handed over or in the block */
    uint64_t newlines;       /* counted from the bytes that left */
    uint64_t heads;          /* of blocks */
    uint64_t entries;        /* deletions */
    unsigned n_bundle;       /* entries of the Bundle that is under way */

    /* all objects of the range */
    struct sent *sent, **last_sent; /* oldest first */
    unsigned n_objects;
    uint64_t total, bytes;
    uint64_t met; /* once all lines are out: living resources met, if has_met */
    bool has_met;
    uint64_t told_lines, told_bytes; /* to the progress, of a range that is not in yet */
    struct fhir_digest deleted_sum;
    struct export_type_sum all, *types; /* types: by fhir_type, for blocks; NULL: one type alone */
    struct buf note;
    struct json_writer w; /* the note */
};

#define EXPORT_RESOURCE_MAX ((size_t)1 << 30) /* bytes of one resource, read, parsed or made anew */

/* Does the resource at hand belong to the block under way? */
static inline bool range_same_block(const struct export_range *g)
{
    return sv_eq(sv_make(g->owner, g->owner_len), export_feed_block(g->from));
}

/* ---- objects and the note (object.c) ---- */
#define EXPORT_NDJSON SV_LIT("application/fhir+ndjson")
sv range_object_name(struct arena *a, const struct export_job *export, size_t range, bool deleted,
                     unsigned seq);
/* One more object of the range; NULL: no memory. */
struct sent *range_sent_add(struct export_range *g);
/* Until it has arrived; then its digest is known. */
MUST_USE err_code range_sent_wait(struct export_range *g, struct sent *s, struct err *e);
/* All has been waited for. If another node has the range by now, since this one was frozen, and the
 * job was given up meanwhile, what was sent may have come behind who took all away: it goes. */
void range_remove_late(struct export_range *g);
MUST_USE err_code range_object_open(struct export_range *g, struct err *e);
/* Its last bytes have been written: it goes to the peer while the range goes on. */
MUST_USE err_code range_object_close(struct export_range *g, struct err *e);
/* All objects have arrived: what the range came to, in the records. */
MUST_USE err_code range_note_write(struct export_range *g, struct err *e);

/* ---- made of an earlier export's objects (reuse/copy.c) ---- */
/* They are on their way. Whatever fails, the range can be written instead. */
MUST_USE err_code range_copy_begin(struct export_range *g, struct err *e);
/* They have arrived. */
MUST_USE err_code range_copy_end(struct export_range *g, struct err *e);
/* Of one that was made: is it what the earlier note says, if that is to be checked? */
MUST_USE err_code range_copy_check(struct export_range *g, struct err *e);
/* The end of one that checks: if it is the same, it begins anew as one that is copied. */
MUST_USE err_code range_check_end(struct export_range *g, struct err *e);

/* ---- shapes (shape.c) ---- */
MUST_USE err_code range_elements_choose(struct export_range *g, fhir_type type, struct err *e);
/* _elements that hold for a type: "name", "Patient.name". */
static inline err_code range_elements(struct export_range *g, fhir_type type, struct err *e)
{
    return g->export->params->elements.n == 0 || g->elements_of == type
               ? ERR_OK
               : range_elements_choose(g, type, e);
}
/* g->root with members left out, into line; in stored and *body, what an import of that would
 * store. */
MUST_USE err_code range_subset(struct export_range *g, const struct store_version *v,
                               struct buf *line, struct buf *stored, struct fhir_body *body,
                               struct err *e);
MUST_USE err_code range_absolute_make(struct export_range *g, struct err *e);
/* v as it is served: urls of Attachments absolute. What of it counts as it is stored is kept. */
static inline err_code range_absolute(struct export_range *g, struct err *e)
{
    g->rewritten = false;
    return g->absolute.base.len == 0 || !fhir_attachments_may(&g->absolute, g->v.body.json)
               ? ERR_OK
               : range_absolute_make(g, e);
}
