/* fhirpath.h - FHIRPath expressions over FHIR R4 resources in JSON.
 *
 * fhirpath_compile() makes a tree of an expression, once; fhirpath_eval() runs it over a resource,
 * or over an item that another expression found. A compiled expression never changes: any thread
 * may run it. What a run makes comes from the arena of the run.
 *
 * An item of a result that stands in the resource is a node, and names the JSON value that it is.
 * Other items are values that the expression made. Limits: length, depth and the number of items of
 * an expression; steps and memory of a run. Past one of them is an error, never a shorter answer.
 * Source: FHIRPath N1 (2.0.0), with functions of 3.0 that HL7's cases for R4 ask; FHIR R4
 * fhirpath.html.   Floor: fhirpath (uses fhir). */
#pragma once
#include "codec/json.h"
#include "fhir/definitions.h"

#define FHIRPATH_LENGTH_MAX (64u << 10) /* bytes of an expression */
#define FHIRPATH_DEPTH_MAX  400u        /* of its tree */
/* Steps of a run: one for each item made or looked at, and for some characters of text. A step
 * takes some ten nanoseconds, rarely a few hundred. */
#define FHIRPATH_STEPS (4u << 20)
/* Between two looks of a run, some milliseconds. */
#define FHIRPATH_LOOK_STEPS (16u << 10)

/* ---- values ---- */

typedef enum {
    FHIRPATH_NODE,
    FHIRPATH_BOOLEAN,
    FHIRPATH_INTEGER,
    FHIRPATH_DECIMAL,
    FHIRPATH_STRING,
    FHIRPATH_DATE,
    FHIRPATH_DATETIME,
    FHIRPATH_TIME,
    FHIRPATH_QUANTITY,
    FHIRPATH_TYPE /* of type(): as.type */
} fhirpath_kind;

/* hi * 2^64 + lo, divided by 10 to the power of scale: digits behind the point, trailing zeros
 * too. */
struct fhirpath_decimal {
    uint64_t lo;
    int64_t hi;
    int32_t scale;
};

typedef enum {
    FHIRPATH_YEAR,
    FHIRPATH_MONTH,
    FHIRPATH_DAY,
    FHIRPATH_HOUR,
    FHIRPATH_MINUTE,
    FHIRPATH_SECOND
} fhirpath_precision;

/* A date, a dateTime or a time, as far as it is known. */
struct fhirpath_moment {
    int16_t year;
    uint8_t month, day, hour, minute, second;
    uint8_t precision; /* the last part that is known */
    int16_t offset_minutes;
    bool has_offset;
    uint8_t digits;    /* of the fraction of the second */
    uint64_t fraction; /* of a second, in 10^-18 */
};

struct fhirpath_quantity {
    struct fhirpath_decimal value;
    sv unit;       /* a code of UCUM, or the word of a calendar: "year" */
    bool calendar; /* a word */
};

struct fhirpath_item {
    uint8_t kind;                           /* fhirpath_kind */
    uint8_t primitive;                      /* fhir_primitive of a node that is one */
    const struct fhir_structure *structure; /* of a node that is no primitive */
    yyjson_val *json;                       /* of a node; NULL: it has extensions alone */
    yyjson_val *twin;                       /* of a primitive node: its id and extensions */
    union {
        bool boolean;
        int64_t integer;
        struct fhirpath_decimal decimal;
        sv text;
        struct fhirpath_moment moment;
        const struct fhirpath_quantity *quantity;
        struct {
            const char *space; /* "System", "FHIR" */
            sv name;
        } type;
    } as;
};

struct fhirpath_list {
    const struct fhirpath_item *items;
    size_t n;
};

/* ---- compiling ---- */

struct fhirpath; /* compiled */

/* Where an expression cannot be read. */
struct fhirpath_place {
    size_t offset;         /* bytes in front */
    unsigned line, column; /* from 1; columns are characters */
};

/* %name */
struct fhirpath_constant {
    sv name;
    struct fhirpath_item value;
};

struct fhirpath_options {
    const struct fhirpath_constant *constants; /* borrowed by the compiled expression */
    size_t n_constants;
    bool row_index; /* %rowIndex is known: of a run's row_index */
    bool strict;    /* a name that an element cannot have is an error, and not just empty */
};

/*   text     copied into a
 *   options  may be NULL
 *   where    may be NULL; set on failure
 *   out      the arena's
 * ERR_INVALID with place and reason; ERR_UNSUPPORTED: a function that is not offered;
 * ERR_TOO_LARGE. */
MUST_USE err_code fhirpath_compile(sv text, const struct fhirpath_options *options, struct arena *a,
                                   const struct fhirpath **out, struct fhirpath_place *where,
                                   struct err *e);

/* ---- running ---- */

struct fhirpath_run {
    struct arena *arena;  /* of what the run makes, its budget is the run's */
    yyjson_val *resource; /* %resource; what resolve() looks into */
    yyjson_val *root;     /* %rootResource and its contained resources; NULL: the resource */
    int64_t now_ms;       /* what now() says, UTC */
    int64_t row_index;    /* %rowIndex */
    uint64_t steps;       /* left; each evaluation takes of them */
    /* Called every FHIRPATH_LOOK_STEPS: may the run go on? What it raises ends the evaluation.
     * NULL: it goes on until its steps are over. */
    err_code (*look)(void *ctx, struct err *e);
    void *look_ctx;
    uint64_t since_look; /* steps */
};

/* from: what the expression begins at, NULL for the resource. out: the arena's.
 * ERR_INVALID: what it asks cannot be done with these items (message: what and where in the
 * expression); ERR_TOO_LARGE: steps or memory; what look raises. */
MUST_USE err_code fhirpath_eval(const struct fhirpath *path, struct fhirpath_run *run,
                                const struct fhirpath_item *from, struct fhirpath_list *out,
                                struct err *e);

/* The item that is a resource. */
struct fhirpath_item fhirpath_resource(yyjson_val *resource);
/* A list as a condition: empty is false, one item that is not a boolean is true. ERR_INVALID: it
 * has several items. */
MUST_USE err_code fhirpath_condition(struct fhirpath_list list, bool *out, struct err *e);
/* A node's value: true and *out is no node. False: it is an object, or has extensions alone. */
bool fhirpath_value(const struct fhirpath_item *item, struct arena *a, struct fhirpath_item *out);
/* As toString() writes it, the arena's; SV_NONE: it has no such form, or there is no memory. */
sv fhirpath_text(const struct fhirpath_item *item, struct arena *a);
/* A JSON value: of a node what stands in the resource. */
void fhirpath_write(struct json_writer *w, const struct fhirpath_item *item, struct arena *a);
/* "FHIR", "HumanName"; "System", "Integer". */
void fhirpath_type_of(const struct fhirpath_item *item, const char **space, sv *name);
/* Where a JSON value stands below root, as a JSON Pointer, appended. ERR_NOT_FOUND. */
MUST_USE err_code fhirpath_locate(yyjson_val *root, const yyjson_val *value, struct buf *out,
                                  struct err *e);
