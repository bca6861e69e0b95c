/* kick_private.h - a kick-off while its parameters are read.
 *
 *   params.c        takes all parameters, and checks what belongs together
 *   param_table.c   the table: one row, and one function, for each parameter; faults and lists
 *
 * Functions that meet a fault note it and go on, so that all faults of a request are told at once.
 * Only an arena that is full ends the reading: it is kept in rc, and later calls do nothing.
 * Floor: rest. */
#pragma once
#include "rest/export/export_private.h"

struct kick_list {
    sv *items;
    size_t n, cap;
};

struct kick {
    struct rest_call *call;
    job_export_level level;
    bool lenient;   /* Prefer: handling=lenient */
    bool from_body; /* the value at hand comes from the Parameters of a POST */
    struct job_export_params p;
    struct kick_list types, filters, elements, patients, security, tag, notes;
    struct rest_issue *issues; /* EXPORT_ISSUES_MAX of them have room */
    size_t n_issues;
    unsigned seen; /* one bit for each row of the table */
    err_code rc;   /* the arena is full */
    struct err *e;
};

/* ---- faults and lists: param_table.c ---- */
/* What is malformed, contradictory or not there: refused whatever handling is preferred. */
void kick_fault(struct kick *kick, const char *name, const char *code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* What is understood and not offered: refused, or with handling=lenient passed over and noted. */
void kick_unsupported(struct kick *kick, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* One more item; name is the parameter's. More than max of them are a fault. */
void kick_push(struct kick *kick, struct kick_list *l, sv item, size_t max, const char *name);

/* ---- param_table.c ---- */
struct kick_row {
    const char *name;
    enum {
        KICK_ONE,     /* the value as it is */
        KICK_LIST,    /* values between commas */
        KICK_FILTERS, /* filters between commas that divide filters (filter.c) */
    } how;
    void (*read)(struct kick *k, const char *name, sv value); /* one value */
};
extern const struct kick_row kick_rows[];
extern const size_t kick_n_rows;
/* The bit of a row in kick.seen; 0: there is no such row. */
unsigned kick_bit(const char *name);
