/* fhirpath_private.h - what the rooms of FHIRPath share.
 *
 *   lexer.c      text -> tokens                 types.c      names of types, is, as
 *   parser.c     tokens -> tree                 navigate.c   from a node to its members
 *   functions.c  the table of functions         value.c      from a node to its value; texts
 *   eval.c       tree -> items                  compare.c    =, ~, <
 *   operators.c  + - * / div mod &, and, or     list.c       lists, steps, what is one item
 *   decimal.c    exact decimals                 moment.c     dates and times: read, written
 *   ucum.c       units                          calendar.c   dates and times: order, sums, bounds
 *   locate.c     where a JSON value stands      variables.c  names of defineVariable()
 *   fn/          the functions
 * A function that takes an expression runs it by cx->eval, so that none of them needs eval.c.
 * Floor: fhirpath. */
#pragma once
#include "fhirpath/fhirpath.h"

__extension__ typedef __int128 fp_wide;
__extension__ typedef unsigned __int128 fp_wide_u;

typedef struct fhirpath_item fp_item;
typedef struct fhirpath_decimal fp_decimal;
typedef struct fhirpath_moment fp_moment;

/* ---- lexer.c ---- */

typedef enum {
    FP_END,
    FP_NAME,   /* text */
    FP_QUOTED, /* `text`, escapes resolved */
    FP_TEXT,   /* 'text', escapes resolved */
    FP_NUMBER, /* text */
    FP_MOMENT, /* @..., value */
    FP_SIGN,   /* text: one of ( ) [ ] { } . , + - * / | & = ~ != !~ < > <= >= % */
    FP_DOLLAR  /* $this: text is "this" */
} fp_token_kind;

struct fp_token {
    fp_token_kind kind;
    size_t at, end; /* in the expression */
    sv text;
    fp_item value;
};

struct fp_lexer {
    sv text;
    size_t at;
    struct arena *a;
    size_t bad; /* on failure: where */
};
MUST_USE err_code fp_lex(struct fp_lexer *x, struct fp_token *out, struct err *e);

/* ---- the tree ---- */

typedef enum {
    FP_LITERAL,
    FP_NOTHING, /* {} */
    FP_THIS,
    FP_INDEX,
    FP_TOTAL,
    FP_RESOURCE, /* %resource */
    FP_ROOT,     /* %rootResource */
    FP_CONTEXT,  /* %context */
    FP_ROW,      /* %rowIndex */
    FP_VARIABLE, /* of defineVariable() */
    FP_MEMBER,
    FP_CALL,
    FP_AT, /* left[right] */
    FP_MINUS,
    FP_PLUS,
    FP_BINARY,
    FP_IS,
    FP_AS
} fp_what;

typedef enum {
    FP_OP_ADD,
    FP_OP_SUB,
    FP_OP_CONCAT,
    FP_OP_MUL,
    FP_OP_DIVIDE,
    FP_OP_DIV,
    FP_OP_MOD,
    FP_OP_UNION,
    FP_OP_LT,
    FP_OP_GT,
    FP_OP_LE,
    FP_OP_GE,
    FP_OP_EQ,
    FP_OP_NE,
    FP_OP_LIKE,
    FP_OP_UNLIKE,
    FP_OP_IN,
    FP_OP_CONTAINS,
    FP_OP_AND,
    FP_OP_OR,
    FP_OP_XOR,
    FP_OP_IMPLIES
} fp_op;

/* A type of the one or the other model; nothing of all: one that no item has. */
struct fp_type {
    const struct fhir_structure *structure;
    uint8_t primitive; /* fhir_primitive */
    uint8_t kind;      /* fhirpath_kind of System; FHIRPATH_NODE: none */
};

struct fp_function;
struct fp_node {
    fp_what what;
    fp_op op;
    uint32_t at; /* in the expression */
    uint16_t depth;
    uint8_t n_args;
    uint16_t slot;                /* of a variable, and of the call that defines it */
    struct fp_node *left, *right; /* left of a member or call: NULL is the focus */
    struct fp_node **args;
    const struct fp_function *fn;
    sv name;
    fp_item literal;
    struct fp_type type;
    void *regex; /* of a call with a literal one: fn/regex.c */
};

struct fhirpath {
    sv text;
    const struct fp_node *root;
    bool strict;
    uint16_t n_slots; /* of variables */
};

/* ---- running ---- */

struct fp_list {
    fp_item *items;
    uint32_t n, cap;
};

/* What $this, $index and $total are. */
struct fp_scope {
    fp_item self; /* $this, and what a path begins at */
    int64_t index;
    const struct fp_list *total;
    const struct fp_list *focus; /* what a path begins at in place of $this; NULL: $this */
    bool has_self, has_index;
};

struct fp_cx {
    struct fhirpath_run *run;
    const struct fhirpath *path;
    struct arena *a;
    struct fp_scope scope;
    fp_item context;
    struct fp_list *slots; /* of variables */
    err_code (*eval)(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out, struct err *e);
    void *match;               /* fn/regex.c: room for a match */
    const struct fp_node *now; /* the node that is run, for messages */
};

/* Appends a function's result to out, which is empty. in: what it is called on. */
typedef err_code (*fp_call)(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                            struct fp_list *out, struct err *e);

struct fp_function {
    const char *name;
    uint8_t min, max; /* arguments */
    uint8_t typed;    /* its argument names a type */
    fp_call call;     /* NULL: not offered */
    const char *why;  /* then: the reason */
};
/* functions.c; NULL: there is none of that name. */
const struct fp_function *fp_function_find(sv name);

/* parser.c. n_slots: of variables. at: where it cannot be read. */
MUST_USE err_code fp_parse(sv text, const struct fhirpath_options *options, struct arena *a,
                           struct fp_node **out, uint16_t *n_slots, size_t *at, struct err *e);

/* ---- variables.c ---- */

#define FP_VARIABLES_MAX 32u /* known at one place */
struct fp_variables {
    struct {
        sv name;
        uint16_t slot;
    } known[FP_VARIABLES_MAX];
    unsigned n;
    uint16_t n_slots;
};
bool fp_variable_find(const struct fp_variables *v, sv name, uint16_t *slot);
/* A call that was read: when it defines a variable, that is known from here on. ERR_INVALID: its
 * name is not written out, or is taken; ERR_TOO_LARGE. */
MUST_USE err_code fp_variable_define(struct fp_variables *v, const struct fhirpath_options *options,
                                     struct fp_node *call, struct err *e);

/* ---- list.c ---- */

MUST_USE err_code fp_steps(struct fp_cx *cx, uint64_t n, struct err *e);
MUST_USE err_code fp_put(struct fp_cx *cx, struct fp_list *l, const fp_item *item, struct err *e);
MUST_USE err_code fp_put_all(struct fp_cx *cx, struct fp_list *l, const struct fp_list *from,
                             struct err *e);
MUST_USE err_code fp_put_boolean(struct fp_cx *cx, struct fp_list *l, bool v, struct err *e);
MUST_USE err_code fp_put_integer(struct fp_cx *cx, struct fp_list *l, int64_t v, struct err *e);
MUST_USE err_code fp_put_decimal(struct fp_cx *cx, struct fp_list *l, fp_decimal v, struct err *e);
MUST_USE err_code fp_put_text(struct fp_cx *cx, struct fp_list *l, sv v, struct err *e);
/* The one way to tell a fault: code, and why with its line and column in front. offset: in text;
 * where: may be NULL. */
err_code fp_fault(sv text, size_t offset, err_code code, const char *why,
                  struct fhirpath_place *where, struct err *e);
/* ERR_INVALID at the node that is run. */
err_code fp_wrong(struct fp_cx *cx, struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The one item's value, or *has is false: the list is empty or its item has no value. ERR_INVALID:
 * several. */
MUST_USE err_code fp_one(struct fp_cx *cx, const struct fp_list *l, fp_item *out, bool *has,
                         struct err *e);
/* fp_one() that must be of a kind. */
MUST_USE err_code fp_one_of(struct fp_cx *cx, const struct fp_list *l, fhirpath_kind kind,
                            fp_item *out, bool *has, struct err *e);
typedef enum { FP_FALSE, FP_TRUE, FP_UNKNOWN } fp_truth;
/* As an operand of and, or, not: a single item that is no boolean is true. */
MUST_USE err_code fp_truth_of(struct fp_cx *cx, const struct fp_list *l, fp_truth *out,
                              struct err *e);
MUST_USE err_code fp_put_truth(struct fp_cx *cx, struct fp_list *l, fp_truth v, struct err *e);
/* Argument i, run where the call stands. */
MUST_USE err_code fp_arg(struct fp_cx *cx, const struct fp_node *n, unsigned i, struct fp_list *out,
                         struct err *e);
/* Argument i, run for one item of what the function is called on. */
MUST_USE err_code fp_arg_for(struct fp_cx *cx, const struct fp_node *n, unsigned i,
                             const fp_item *self, int64_t index, const struct fp_list *total,
                             struct fp_list *out, struct err *e);

/* ---- types.c ---- */

/* "Patient", "FHIR.Patient", "System.Integer"; space empty: whichever has it. False: no type has
 * that name. */
bool fp_type_find(sv space, sv name, struct fp_type *out);
bool fp_is(const fp_item *item, const struct fp_type *type);
/* as(), ofType(): a primitive must be of this very type. */
bool fp_of_type(const fp_item *item, const struct fp_type *type);
bool fp_derives(const struct fhir_structure *s, const struct fhir_structure *base);

/* ---- navigate.c ---- */

/* A member of a node by its name of FHIRPath. *known: such a node can have one. */
MUST_USE err_code fp_member(struct fp_cx *cx, const fp_item *node, sv name, struct fp_list *out,
                            bool *known, struct err *e);
MUST_USE err_code fp_children(struct fp_cx *cx, const fp_item *node, struct fp_list *out,
                              struct err *e);

/* ---- value.c ---- */

/* From a node to its value; what is no node is its own. False: it has none. */
bool fp_value(struct arena *a, const fp_item *item, fp_item *out);
/* A Quantity of FHIR as one of FHIRPath; likewise. */
bool fp_quantity(struct arena *a, const fp_item *item, fp_item *out);
sv fp_text(struct arena *a, const fp_item *value);
const char *fp_kind_name(uint8_t kind);

/* ---- decimal.c ---- */

#define FP_DIGITS_MAX 28 /* behind the point; 37 in all */
static inline fp_wide fp_coef(fp_decimal d)
{
    return (fp_wide)((fp_wide_u)(uint64_t)d.hi << 64 | d.lo);
}
fp_decimal fp_decimal_make(fp_wide coef, int scale);
static inline fp_decimal fp_decimal_of(int64_t v)
{
    return (fp_decimal){ (uint64_t)v, v < 0 ? -1 : 0, 0 };
}
/* "-12.50", "1e3". False: no number, or of too many digits. */
bool fp_decimal_read(sv text, fp_decimal *out);
#define FP_DECIMAL_LEN 80
sv fp_decimal_write(fp_decimal d, char out[FP_DECIMAL_LEN]);
int fp_decimal_cmp(fp_decimal a, fp_decimal b);
/* Each is false where the result has too many digits; division by zero too. */
bool fp_decimal_add(fp_decimal a, fp_decimal b, bool minus, fp_decimal *out);
bool fp_decimal_mul(fp_decimal a, fp_decimal b, fp_decimal *out);
bool fp_decimal_div(fp_decimal a, fp_decimal b, fp_decimal *out);
/* Whole times and what is left. */
bool fp_decimal_div_mod(fp_decimal a, fp_decimal b, fp_decimal *whole, fp_decimal *left);
typedef enum { FP_NEAREST, FP_DOWN, FP_UP, FP_TO_ZERO } fp_rounding;
bool fp_decimal_round(fp_decimal d, int digits, fp_rounding how, fp_decimal *out);
fp_decimal fp_decimal_trim(fp_decimal d); /* without trailing zeros behind the point */
double fp_decimal_double(fp_decimal d);
bool fp_decimal_near(double v, fp_decimal *out); /* fifteen digits of it */
bool fp_decimal_is_whole(fp_decimal d, int64_t *out);

/* ---- moment.c ---- */

/* "2015-02-04T14:34:28+10:00", "14:34"; kind: FHIRPATH_DATE, _DATETIME or _TIME. literal: as it
 * stands behind an @, where a dateTime has a T. */
bool fp_moment_read(sv text, fhirpath_kind kind, fp_moment *out);
#define FP_MOMENT_LEN 64
sv fp_moment_write(const fp_moment *m, fhirpath_kind kind, char out[FP_MOMENT_LEN]);
fp_moment fp_moment_at(int64_t ms); /* UTC */
unsigned fp_days_in(int year, unsigned month);
int64_t fp_days_of(int year, unsigned month, unsigned day); /* since 1970-01-01 */
void fp_date_of(int64_t days, fp_moment *m);

/* ---- calendar.c ---- */

/* -1, 0, 1; 2: what is known of them does not say. */
int fp_moment_cmp(const fp_moment *a, const fp_moment *b);
typedef enum { FP_SUM_OK, FP_SUM_UNIT, FP_SUM_RANGE } fp_sum;
/* m plus or minus a quantity of time; FP_SUM_UNIT: its unit is none of time for it. */
fp_sum fp_moment_add(const fp_moment *m, fhirpath_kind kind, const struct fhirpath_quantity *q,
                     bool minus, fp_moment *out);
/* The first or last that it may be, to so many digits; false: it has none. */
bool fp_moment_bound(const fp_moment *m, fhirpath_kind kind, int digits, bool high, fp_moment *out,
                     fhirpath_kind *out_kind);
int fp_moment_digits(const fp_moment *m, fhirpath_kind kind);

/* ---- ucum.c ---- */

/* "years" -> "year"; false: no word of the calendar. */
bool fp_calendar_word(sv word, sv *singular);
/* Of the same dimension? */
bool fp_comparable(const struct fhirpath_quantity *a, const struct fhirpath_quantity *b);
/* The value of b in the unit of a. False: it cannot be said. */
bool fp_quantity_as(const struct fhirpath_quantity *a, const struct fhirpath_quantity *b,
                    fp_decimal *out);
/* Product or quotient: its unit, the arena's. */
bool fp_quantity_times(struct arena *arena, const struct fhirpath_quantity *a,
                       const struct fhirpath_quantity *b, bool divide,
                       struct fhirpath_quantity *out);

/* ---- compare.c ---- */

/* = of two items: FP_UNKNOWN where precision does not say. */
MUST_USE err_code fp_equal(struct fp_cx *cx, const fp_item *a, const fp_item *b, fp_truth *out,
                           struct err *e);
MUST_USE err_code fp_alike(struct fp_cx *cx, const fp_item *a, const fp_item *b, bool *out,
                           struct err *e);
MUST_USE err_code fp_lists_equal(struct fp_cx *cx, const struct fp_list *a, const struct fp_list *b,
                                 fp_truth *out, struct err *e);
MUST_USE err_code fp_lists_alike(struct fp_cx *cx, const struct fp_list *a, const struct fp_list *b,
                                 bool *out, struct err *e);
/* -1, 0, 1; 2: unknown. ERR_INVALID: they have no order. */
MUST_USE err_code fp_order(struct fp_cx *cx, const fp_item *a, const fp_item *b, int *out,
                           struct err *e);
MUST_USE err_code fp_has(struct fp_cx *cx, const struct fp_list *l, const fp_item *item, bool *out,
                         struct err *e);
/* Items of from that out has not yet. */
MUST_USE err_code fp_put_new(struct fp_cx *cx, struct fp_list *out, const struct fp_list *from,
                             struct err *e);

/* ---- operators.c ---- */

MUST_USE err_code fp_operate(struct fp_cx *cx, fp_op op, const struct fp_list *a,
                             const struct fp_list *b, struct fp_list *out, struct err *e);
MUST_USE err_code fp_negate(struct fp_cx *cx, const struct fp_list *a, struct fp_list *out,
                            struct err *e);

/* ---- fn/convert.c ---- */

/* A value as one of a kind; false: it cannot be. */
bool fp_convert(struct arena *a, const fp_item *value, fhirpath_kind to, fp_item *out);

/* ---- fn/regex.c ---- */

/* Compiles the pattern of a call when it is a literal. ERR_INVALID: it is none. */
MUST_USE err_code fp_regex_prepare(struct fp_node *call, struct arena *a, struct err *e);
