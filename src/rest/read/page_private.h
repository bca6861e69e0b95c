/* page_private.h - a page of a search between its reading (read/search.c) and its writing
 * (read/page.c).
 * Limits: PAGE_*.   Floor: rest. */
#pragma once
#include "rest/call_private.h"

#define PAGE_COUNT_DEFAULT 100u
#define PAGE_COUNT_MAX     1000u
#define PAGE_INCLUDES_MAX  32u   /* _include and _revinclude of one search */
#define PAGE_INCLUDED_MAX  5000u /* resources that come with the matches of one page */
#define PAGE_ITERATIONS    8u    /* of :iterate */
#define PAGE_ELEMENTS_MAX  64u
#define PAGE_BYTES         (16u << 20) /* a page ends when it holds this much */
#define PAGE_WORK_US       5000000u    /* or when looking for matches took this long */

enum rest_summary {
    REST_SUMMARY_FALSE,
    REST_SUMMARY_TRUE,
    REST_SUMMARY_TEXT,
    REST_SUMMARY_DATA,
};
struct rest_include {
    bool reverse, iterate;
    fhir_type type;                   /* that holds the reference; FHIR_TYPE_NONE: any */
    const struct search_param *param; /* NULL: all its reference parameters */
    fhir_type target;                 /* FHIR_TYPE_NONE: any */
};
struct rest_page {
    struct rest_call *c;
    sv path;         /* for links: "Patient", "Patient/1/Condition", "" */
    fhir_type owner; /* of a compartment */
    bool any_type;   /* _type narrows it down */
    size_t owner_at; /* as in struct query */
    fhir_type types[QUERY_TYPES_MAX];
    size_t n_types;
    struct query q;
    size_t count;
    bool count_only, total;
    enum rest_summary summary;
    sv elements[PAGE_ELEMENTS_MAX];
    size_t n_elements;
    struct query_sort sort[QUERY_SORT_MAX];
    size_t n_sort;
    struct rest_include includes[PAGE_INCLUDES_MAX];
    size_t n_includes;
    struct rest_issue_list notes; /* parameters that were passed over, and what the page lacks */
    sv asked;                     /* token of this page; empty on a first one */
    /* where it begins */
    uint64_t as_of; /* 0: now */
    bool past;      /* as_of was asked for: sums of what is current say nothing */
    bool from_place;
    struct query_place place;
    const struct query_row *after; /* of a sorted search: the last match of the page before */
    size_t n_after;                /* its keys */
};
MUST_USE err_code rest_page_read(struct rest_page *p, struct err *e);
/* The place of a page (rest_cursor.h): as of which commit, and behind what it begins. */
MUST_USE err_code rest_page_place_read(struct rest_page *p, sv text, struct err *e);
/* The text of the page that begins where a walk of this search stands; owned by the call's
 * arena. */
sv rest_page_place(const struct rest_page *p, const struct query_place *at);
/* The same of the page behind a row in the order of _sort. */
sv rest_page_place_sorted(const struct rest_page *p, const struct query_row *last);
/* The Bundle, to the call's body. */
MUST_USE err_code rest_page_write(struct rest_page *p, struct err *e);

/* _summary or _elements of the page; *taken says whether the pair was one of these. ERR_INVALID,
 * ERR_TOO_LARGE. */
MUST_USE err_code rest_page_subset_read(struct rest_page *p, sv name, sv value, bool *taken,
                                        struct err *e);
/* A parameter is passed over: a note of it, or under handling=strict the error. */
MUST_USE err_code rest_page_ignored(struct rest_page *p, sv name, const struct err *why,
                                    struct err *e);
/* Pieces of a searchset, in an object or array that the caller opened: an entry (mode "match" or
 * "include"), the entry of the notes (nothing without notes), and links: to this page, by the query
 * or by its token, and to the page with a token. */
MUST_USE err_code rest_page_entry(struct rest_page *p, struct json_writer *w,
                                  const struct query_match *m, const char *mode, struct err *e);
/* Must a page that holds something already end in front of this one, which fits on a page of its
 * own? */
bool rest_page_ends(const struct rest_page *p, const struct store_version *v, const char *mode);
MUST_USE err_code rest_page_notes(struct rest_page *p, struct json_writer *w, struct err *e);
MUST_USE err_code rest_page_self(struct rest_page *p, struct json_writer *w, const char *relation,
                                 struct err *e);
MUST_USE err_code rest_page_link(struct rest_page *p, struct json_writer *w, const char *relation,
                                 sv page, struct err *e);

/* read/page_include.c: NULL when the page asks for no includes, which the calls take as nothing to
 * do. */
struct rest_includes;
struct rest_includes *rest_includes_new(struct rest_page *p, struct json_writer *w);
void rest_includes_free(struct rest_includes *x);
/* A match stands on the page. */
MUST_USE err_code rest_includes_match(struct rest_includes *x, const struct query_match *m,
                                      struct err *e);
/* All that comes with the matches. */
MUST_USE err_code rest_includes_write(struct rest_includes *x, struct err *e);

/* read/subset.c: a resource cut to what _summary or _elements ask for, marked SUBSETTED; whole when
 * nothing is asked. Appended to out. */
MUST_USE err_code rest_subset_write(const struct rest_page *p, const struct query_match *m,
                                    struct buf *out, struct err *e);
