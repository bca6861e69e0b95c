/* search.h - search parameters of FHIR R4: what they find in a resource, what a query asks, whether
 * the two meet, and the keys under which a store can look candidates up.
 *
 *   resource --extract--> values --encode--> index entries (written with the version)
 *   query    --parse----> criteria --ranges--> entries to look at --match--> resources
 *
 * An index is only ever asked for candidates: ranges may cover more than the criterion means
 * (hashes, cut strings), never less, and search_match() decides over the resource itself. Pure
 * functions, no store; all calls are thread-safe.
 * Source: FHIR R4 search.html; parameters from the official definitions
 * (tools/gen_search_params.py).
 * Limits: SEARCH_TERMS_MAX, SEARCH_VALUE_MAX.   Floor: search. */
#pragma once
#include "codec/json.h"
#include "fhir/types.h"

#define SEARCH_TERMS_MAX 200u /* values of one criterion, divided by commas */
#define SEARCH_KEY_MAX   32u  /* bytes of an index value */

/* Form of the index entries that search_index() gives. Stores hold entries of the form of their
 * day, and have them made anew when it is an older one (docs/key-layout.md). 2: texts without
 * punctuation, parts of names, decimals of any size, leap seconds in their day, what contained
 * resources hold. */
#define SEARCH_INDEX_FORM 2u

typedef enum {
    SEARCH_NUMBER,
    SEARCH_DATE,
    SEARCH_STRING,
    SEARCH_TOKEN,
    SEARCH_REFERENCE,
    SEARCH_COMPOSITE,
    SEARCH_QUANTITY,
    SEARCH_URI,
    SEARCH_SPECIAL,
    SEARCH_N_KINDS
} search_kind;
const char *search_kind_name(search_kind k); /* "token" */

struct search_path; /* compiled; search_private.h */
struct search_param {
    uint16_t number; /* of the code: part of stored keys, never reused */
    search_kind kind;
    sv type; /* "Patient", "*" for those of every type */
    sv code;
    /* types a reference may lead to, or codes of a composite's components, by comma; "*" any */
    sv targets;
    sv definition; /* last part of the SearchParameter's canonical URL */
    struct search_path *paths;
    size_t n_paths;
    struct search_part {
        search_kind kind;
        struct search_path *paths;
        size_t n_paths;
    } * parts; /* of a composite */
    size_t n_parts;
};
/* NULL: the type has no such parameter. */
const struct search_param *search_param_find(fhir_type type, sv code);
/* HealthLake's createdAt: the instant of a resource's first version. It stands in no type's list
 * and has no entries; search_parse() knows it where the context says so. */
extern const struct search_param search_created_at;

/* All of a type, in the order of their codes; those of every type among them. */
const struct search_param *const *search_params_of(fhir_type type, size_t *n);
/* May the reference parameter lead to this type? */
bool search_param_targets(const struct search_param *param, fhir_type type);

/* Parameters of `member` any of which puts it into the compartment of an `owner` (Patient,
 * Encounter, Practitioner, RelatedPerson, Device). Writes at most SEARCH_COMPARTMENT_MAX; returns
 * how many.
 * Source: compartmentdefinition.html. */
#define SEARCH_COMPARTMENT_MAX 16u
size_t search_compartment(fhir_type owner, fhir_type member,
                          const struct search_param *out[SEARCH_COMPARTMENT_MAX]);
bool search_is_compartment(fhir_type owner);

/* The next patient that a Group means, of an iterator over its `member`: one of this server (base:
 * where it is, may be empty) who is not inactive. *patient: the id, borrowed. False: none is left.
 * Source: FHIR Bulk Data Access, "Group of Patients". */
bool search_next_member(yyjson_arr_iter *members, sv base, sv *patient);

/* ---- what a parameter finds ---- */
/* A decimal as it is written, borrowed from the text that it was read from. */
struct search_decimal {
    int8_t sign;       /* -1, 0, 1 */
    bool infinite;     /* to the side that sign says */
    sv digits;         /* from the first to the last that is not 0; a point may stand between */
    int64_t magnitude; /* of the first digit: 54 has 1, 0.05 has -2 */
};
struct search_value {
    search_kind kind;
    sv system, code; /* token; unit of a quantity. ptr NULL: absent */
    sv unit;         /* quantity: unit as people write it */
    sv text; /* string, uri; display or text of a token, of a reference; url of a reference */
    bool any_system;       /* token: the system is implied by the element (datatype code) */
    bool any_case;         /* token: upper and lower case of the code are the same */
    bool parts;            /* string: of a person's name, whose parts are searched each */
    bool point;            /* number, quantity: lo is hi */
    sv lo, hi;             /* number, quantity: as written; ptr NULL: there is no end */
    bool lo_open, hi_open; /* the end itself is not in: of "<5" */
    int64_t lo_ms, hi_ms;  /* date: [lo, hi); INT64_MIN, INT64_MAX when open */
    fhir_type ref_type;    /* reference to Type/id, relative or at the end of a URL */
    sv ref_id, ref_base;   /* base: of an absolute URL; empty when relative */
    yyjson_val *element;   /* what it was made of */
};
/* Calls fn for each value that the parameter finds in the resource. Values of a composite are not
 * given (see search_match). fn's value is valid during the call; texts that had to be made are in
 * a. */
typedef void (*search_value_fn)(void *ctx, const struct search_value *value);
void search_extract(const struct search_param *param, yyjson_val *resource, search_value_fn fn,
                    void *ctx);
/* The elements themselves, before they become values. */
typedef void (*search_element_fn)(void *ctx, yyjson_val *element, sv datatype);
void search_elements(const struct search_param *param, yyjson_val *resource, search_element_fn fn,
                     void *ctx);

/* ---- what a query asks ---- */
typedef enum {
    SEARCH_EQ,
    SEARCH_NE,
    SEARCH_GT,
    SEARCH_LT,
    SEARCH_GE,
    SEARCH_LE,
    SEARCH_SA,
    SEARCH_EB,
    SEARCH_AP
} search_prefix;
typedef enum {
    SEARCH_MOD_NONE,
    SEARCH_MOD_MISSING,
    SEARCH_MOD_EXACT,
    SEARCH_MOD_CONTAINS,
    SEARCH_MOD_TEXT,
    SEARCH_MOD_NOT,
    SEARCH_MOD_ABOVE,
    SEARCH_MOD_BELOW,
    SEARCH_MOD_OF_TYPE,
    SEARCH_MOD_IDENTIFIER,
    SEARCH_MOD_TYPE, /* subject:Patient */
} search_modifier;

struct search_number { /* a decimal, and the double nearest to it */
    struct search_decimal exact;
    double near;
};
struct search_text { /* folded: how it can be read, one or two ways; none: nothing is left of it */
    sv readings[2];
    unsigned n;
};
struct search_term { /* one of the values of which any is enough */
    search_prefix prefix;
    bool has_system;           /* a | stood there: system empty means "no system" */
    sv system, code;           /* token, quantity's unit; code empty: any */
    sv type_code;              /* :of-type: of the identifier's type; system is its system */
    struct search_text folded; /* string, :text */
    sv text;                   /* uri, reference as written */
    sv raw;                    /* as written, without escapes */
    /* lo, hi: for eq the numbers that would be written so [lo, hi) */
    struct search_number lo, hi, value;
    int64_t lo_ms, hi_ms;
    fhir_type ref_type;
    sv ref_id;
    bool ref_absolute;         /* a URL that is not ours: only the same text matches */
    struct search_term *parts; /* composite */
    double near_lat, near_lon, near_km;
};
struct search_id { /* one resource */
    fhir_type type;
    sv id;
};
struct search_criterion;
struct search_inside { /* what a chain asks of contained resources of a type */
    fhir_type type;
    const struct search_criterion *criterion;
};
struct search_criterion {
    const struct search_param *param;
    search_modifier modifier;
    fhir_type mod_type;
    bool missing; /* value of :missing */
    struct search_term *terms;
    size_t n_terms;
    /* A chain or _has, once its inner search is done: sorted by search_id_cmp. is_set: terms are
     * not used. */
    bool is_set;
    /* references lead to one of these; with param NULL: the resource is one */
    const struct search_id *set;
    size_t n_set;
    /* or to a contained resource that one of these is about, and meets it */
    const struct search_inside *inside;
    size_t n_inside;
};
int search_id_cmp(const void *a, const void *b);

/* Of whoever waits while one resource is compared: asked every now and then, and `over` ends it.
 * What search_match() answers then, and until `ended` is taken back, means nothing. */
struct search_patience {
    bool (*over)(void *ctx);
    void *ctx;
    uint64_t work; /* bytes compared since it was asked */
    bool ended;
};
struct search_context {
    sv base; /* our own [base] without a slash behind: URLs below it are relative references */
    int64_t now_ms;                   /* for prefix ap */
    bool created;                     /* createdAt may be asked: subjects have created_ms */
    struct search_patience *patience; /* NULL: it has no end */
};
/* One pair of a query, name without chain: "birthdate", "name:exact".
 *   type  searched type; FHIR_TYPE_NONE: parameters of every type only
 * ERR_NOT_FOUND: the type has no such parameter; ERR_INVALID: a modifier or a value that does not
 * fit it; ERR_UNSUPPORTED: known and not offered; ERR_TOO_LARGE. Strings owned by the arena or
 * borrowed from value. */
MUST_USE err_code search_parse(const struct search_context *context, fhir_type type, sv name,
                               sv value, struct arena *a, struct search_criterion *out,
                               struct err *e);

/* ---- whether they meet ---- */
struct search_subject {
    fhir_type type;
    sv id;
    int64_t instant_ms; /* meta.lastUpdated, which the stored text does not hold */
    yyjson_val *root;
    int64_t created_ms; /* of the first version; only asked by search_created_at */
};
bool search_match(const struct search_context *context, const struct search_criterion *criterion,
                  const struct search_subject *subject);

/* ---- the index ---- */
/* All entries of a resource, each as u16 length, u16 parameter (both little endian: private to the
 * process), value; by parameter, without doubles. Appended to out. */
MUST_USE err_code search_index(fhir_type type, yyjson_val *root, struct buf *out, struct err *e);
/* Of one resource: no resource that comes in has as many bytes of entries. */
#define SEARCH_ENTRIES_MAX ((size_t)4 << 30)
/* Take the next entry of such a list. */
bool search_index_next(sv *list, uint16_t *param, sv *value);
/* Those among them that an index of form 1 lacks, and maybe some that it has. */
MUST_USE err_code search_index_newer(fhir_type type, yyjson_val *root, struct buf *out,
                                     struct err *e);

/* An entry of a token is SEARCH_TOKEN_LEN bytes, the first SEARCH_CODE_LEN of its code, the rest of
 * its system. */
#define SEARCH_TOKEN_LEN  13u
#define SEARCH_CODE_LEN   9u
#define SEARCH_TOKEN_KEYS 4u
/* Do stores keep sums of its entries' values? Token parameters whose values many resources
 * share. */
bool search_is_counted(fhir_type type, uint16_t param);
/* Resources that meet the criterion are those with an entry whose value begins with one of *len
 * bytes of values; a resource may have several of them, so sums add up only when all but one are 0.
 * Returns how many values; 0: ask the resources. */
MUST_USE size_t search_count_keys(const struct search_criterion *criterion, fhir_type type,
                                  uint16_t *param,
                                  unsigned char values[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN],
                                  size_t *len);

struct search_range { /* index values v with from <= v < to in byte order; to empty: no end */
    unsigned char from[SEARCH_KEY_MAX], to[SEARCH_KEY_MAX];
    uint8_t from_len, to_len;
};
struct search_driver {
    uint16_t param;
    struct search_range *ranges; /* sorted, apart from each other */
    size_t n;
    bool inside;  /* entries of contained resources are among them */
    uint8_t form; /* of the entries: an index of an older form cannot be asked */
};
/* Ranges that hold an entry of every resource the criterion matches. False: the index cannot
 * help. */
MUST_USE bool search_ranges(const struct search_criterion *criterion, fhir_type type,
                            struct arena *a, struct search_driver *out);
/* First of the ranges' entries that the resource has: where a walk over them meets it first. False:
 * none. */
bool search_first_entry(const struct search_driver *d, fhir_type type, yyjson_val *root,
                        unsigned char out[SEARCH_KEY_MAX], uint8_t *out_len);

/* ---- order ---- */
#define SEARCH_SORT_KEY_MAX 129u /* bytes of a sort key: longer texts are cut */
/* Key of the resource under a parameter for _sort, comparable with memcmp: the least value, or for
 * descending the greatest. Empty: it has none (such resources come last). Appended to out. */
MUST_USE err_code search_sort_key(const struct search_param *param,
                                  const struct search_subject *subject, bool descending,
                                  struct buf *out, struct err *e);
