/* search_private.h - what the rooms of search share.
 *
 *   params.c   the table, compiled once        query.c      pairs -> criteria
 *   values.c   elements -> values              match.c      do they meet
 *   moment.c   dates, references               entry.c      values -> entries
 *   decimal.c  decimals, exact                 index.c      all entries of a resource
 *   fold.c     texts without what means        ranges.c     criteria -> ranges of entries
 *              nothing                         order.c      sort keys
 *   counted.c  whose entries have sums         contained.c  what stands inside a resource
 * Floor: search. */
#pragma once
#include "search/search.h"

struct search_step {
    sv name;
    enum { STEP_ALL, STEP_FIRST, STEP_WITH, STEP_HAS } pick;
    sv with, value; /* STEP_WITH: member = value; STEP_HAS: an extension of that URL */
};
/* A bit for a member's name: a path whose first step has none of a resource's bits finds nothing in
 * it. */
static inline uint64_t name_bit(sv name)
{
    if (name.len == 0)
        return 1;
    unsigned h = (unsigned char)name.ptr[0] * 7u + (unsigned char)name.ptr[name.len - 1] * 31u;
    return 1ull << ((h + (unsigned)name.len * 13u) & 63);
}
#define NAME_PART "string of a name"
struct search_path {
    uint64_t first; /* name_bit() of the first step; all bits when it has none */
    struct search_step *steps;
    size_t n_steps;
    sv datatype;    /* NAME_PART: a string that is part of a HumanName */
    fhir_type only; /* references to this type */
    bool from_root; /* ^: of a composite's part, from the resource */
};

/* ---- contained.c: what stands inside a resource ---- */

struct contained_item {
    sv id;
    fhir_type type;
    yyjson_val *root;
    /* index.c: */
    struct buf entries; /* its own, listed when they are first wanted */
    bool listed, fits;
    uint16_t shown; /* the last parameter of the holder that showed it */
};
struct contained_answer;
struct contained { /* of one resource, found when first asked for */
    yyjson_val *holder;
    bool ready;
    size_t n;
    struct contained_item *items;     /* by id */
    struct contained_answer *answers; /* match.c: which criteria which of them do not meet */
};
void contained_init(struct contained *contained, yyjson_val *holder);
void contained_done(struct contained *contained);
/* "#x" -> the resource of that id. NULL: there is none, or the text is no such reference. */
struct contained_item *contained_find(struct contained *contained, sv reference);
/* Was it asked whether the item meets the criterion? From now on it was: a criterion looks at each
 * item once, however many references lead to it. */
bool contained_asked(struct contained *contained, const struct contained_item *item,
                     const void *criterion);

/* Call fn for what a path finds below `from`.
 *   in  NULL, or where references to contained resources are looked up when a path asks what type
 *       they lead to */
void path_walk(const struct search_path *p, yyjson_val *root, yyjson_val *from,
               struct contained *in, search_element_fn fn, void *ctx);
/* search_extract() that knows contained resources. */
void extract_within(const struct search_param *param, yyjson_val *resource,
                    struct contained *contained, search_value_fn fn, void *ctx);
/* Parts are looked for in the first strings of names alone: entries grow no faster than the
 * resource. */
#define NAME_STRINGS_MAX 64u
/* value, or *other: value as a string that begins where it begins, behind the first *n names. */
static inline const struct search_value *name_within(const struct search_value *value, unsigned *n,
                                                     struct search_value *other)
{
    if (!value->parts || (*n)++ < NAME_STRINGS_MAX)
        return value;
    *other = *value;
    other->parts = false;
    return other;
}
/* Values of one element. */
void value_of_element(search_kind kind, yyjson_val *element, sv datatype,
                      const struct search_path *p, search_value_fn fn, void *ctx);

/* "2015-02", "2015-02-07T13:28:17.5-05:00" -> [lo, hi); without a zone: UTC.
 * Source: datatypes.html#dateTime */
bool moment_parse(sv text, int64_t *lo_ms, int64_t *hi_ms);

/* ---- decimal.c ---- */

bool decimal_parse(sv text, struct search_decimal *out);
int decimal_cmp(const struct search_decimal *a, const struct search_decimal *b);
double decimal_near(sv text); /* of what decimal_parse() takes; may be infinite */
extern const struct search_decimal decimal_endless, decimal_beginless;
/* A query's number, and its bounds: half of the last digit that is written to either side, or with
 * `about` a tenth of it. ERR_INVALID: it is none. */
MUST_USE err_code decimal_query(sv text, bool about, struct arena *a, struct search_number *value,
                                struct search_number *lo, struct search_number *hi, struct err *e);
#define DECIMAL_ORDER_MIN 16u
/* At most max >= DECIMAL_ORDER_MIN bytes that compare as the decimals do, up to so many digits. */
size_t decimal_order(const struct search_decimal *d, unsigned char *out, size_t max);

/* ---- fold.c ---- */

#define FOLD_JOINT     '\x01'
#define FOLD_PARTS_MAX 16u  /* of a name: the first ones */
#define FOLD_HEAD      34u  /* bytes that hold 16 letters whichever way they are read */
#define FOLD_ROOM      256u /* and one character more, whatever comes of it */
struct folded {
    sv text; /* with joints */
    char *more, room[FOLD_ROOM];
};
/* False: not UTF-8. Else fold_done() after it. */
bool fold(sv text, struct folded *out);
void fold_done(struct folded *f);
/* The first FOLD_HEAD bytes and maybe more; fewer when the text has fewer. */
size_t fold_head(sv text, char out[FOLD_ROOM]);
/* One of the two ways to read it, at most max bytes. Returns how many. */
size_t fold_read(sv folded, bool joints_are_blanks, char *out, size_t max);
bool fold_has_joint(sv folded);
/* *at: where a part begins; moves to the next. */
bool fold_next_part(sv folded, size_t *at);
typedef enum {
    FOLD_START,   /* the text begins so */
    FOLD_PARTS,   /* or one of its parts does */
    FOLD_ANYWHERE /* it stands somewhere within */
} fold_how;
bool fold_meets(sv text, fold_how how, const struct search_text *want);
MUST_USE err_code fold_query(sv text, struct arena *a, struct search_text *out, struct err *e);

/* ---- entry.c ---- */

struct entry {
    uint8_t len;
    unsigned char v[SEARCH_KEY_MAX];
};
#define ENTRIES_MAX (2u * FOLD_PARTS_MAX) /* of one value */
#define FOLDED_LEN  7u                    /* of a token: what its code is in lower case */
#define SHORT_S     (25 * 3600)           /* an interval of dates that one entry is enough for */
struct entry code_entry(sv code, bool any_case);
struct entry token_entry(sv code, bool any_case, sv system, bool any_system);
struct entry reference_entry(sv text, sv id); /* id empty: it does not end in Type/id */
struct entry identifier_entry(sv value);
struct entry uri_entry(sv text);
struct entry number_entry(char tag, double d);
struct entry date_entry(char tag, int64_t ms);
/* How the entries of texts begin that begin so. */
struct entry text_entry(sv folded, bool joints_are_blanks);
#define CONTAINED_TAG  'c'
#define CONTAINED_MORE 'd'
struct entry tag_entry(char tag);
/* value empty: what all of them begin with. param 0: there is one of the type. */
struct entry contained_entry(fhir_type type, uint16_t param, sv value);
#define CONTAINED_BYTES_MAX (256u << 10) /* of entries that one parameter of a holder lists */

/* All entries of a value: how many of out. */
size_t entries_of(const struct search_value *value, struct entry out[ENTRIES_MAX]);
/* How many of its n entries, the first ones, are in an index of form 1? */
size_t older_entries(const struct search_value *value, size_t n);
bool is_indexed(const struct search_param *param);
bool is_counted(const struct search_param *param); /* counted.c */
/* Since which form entries of a kind are what they are. inside: those of contained resources. */
unsigned form_since(search_kind kind, bool inside);

/* "Patient/1", "http://x/fhir/Patient/1/_history/2" -> type, id, base; false: it does not end
 * so. */
bool reference_parse(sv text, fhir_type *type, sv *id, sv *base);
/* Without "|version". */
sv canonical_url(sv text);

/* Are elements of the parameter canonical references? */
bool search_is_canonical(const struct search_param *param);

bool term_matches(const struct search_context *context, const struct search_criterion *criterion,
                  search_kind kind, const struct search_term *term,
                  const struct search_value *value);
