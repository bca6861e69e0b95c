/* page_private.h - a page of a search.
 *
 *   page_read.c      the parameters of the request become a struct rest_page
 *   page.c           the page is written as a Bundle
 *   page_entry.c     pieces of that Bundle, which other rooms use as well
 *   page_include.c   resources that come with the matches
 *   page_token.c     places of pages, as text
 *   subset.c         _summary and _elements
 *
 * Limits: PAGE_*.   Source: FHIR R4 search.html.   Floor: rest. */
#pragma once
#include "rest/call_private.h"

#define PAGE_COUNT_DEFAULT 100u
#define PAGE_COUNT_MAX     1000u
#define PAGE_INCLUDES_MAX  32u   /* _include and _revinclude of one search */
#define PAGE_INCLUDED_MAX  5000u /* resources that come with the matches of one page */
#define PAGE_ITERATIONS    8u    /* of :iterate */
#define PAGE_ELEMENTS_MAX  64u
#define PAGE_BYTES         (16u << 20) /* a page ends when its body has so many bytes */
#define PAGE_WORK_US       5000000u    /* or when the search for matches took so long */

enum rest_summary {
    REST_SUMMARY_FALSE,
    REST_SUMMARY_TRUE,
    REST_SUMMARY_TEXT,
    REST_SUMMARY_DATA,
};
struct rest_include {
    bool reverse, iterate;
    /* of the resource that holds the reference; FHIR_TYPE_NONE: any */
    fhir_type type;
    const struct search_param *param; /* NULL: all reference parameters of the type */
    fhir_type target;                 /* that the reference leads to; FHIR_TYPE_NONE: any */
};
struct rest_page {
    struct rest_call *call;
    sv path;         /* for links: "Patient", "Patient/1/Condition", "" */
    fhir_type owner; /* the type of a compartment; FHIR_TYPE_NONE: the search is of none */
    bool any_type;   /* a search over several types; _type may choose some */
    size_t owner_at; /* as query.owner_at */
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
    sv asked;                     /* the token that asked for this page; empty on a first one */
    /* where it begins */
    uint64_t as_of; /* 0: now */
    bool past;      /* as_of came with the request: sums of what is current do not hold */
    bool from_place;
    struct query_place place;
    const struct query_row *after; /* of a sorted search: the last match of the earlier page */
    size_t n_after;                /* its keys */
};
MUST_USE err_code rest_page_read(struct rest_page *page, struct err *e);
/* Read a place (cursor_private.h): the commit of the page, and where it begins. ERR_INVALID. */
MUST_USE err_code rest_page_place_read(struct rest_page *page, sv text, struct err *e);
/* The place of the page that begins where a walk of this search is; owned by the call's arena. */
sv rest_page_place(const struct rest_page *page, const struct query_place *at);
/* The place of the page that begins behind a row, in the order of _sort. */
sv rest_page_place_sorted(const struct rest_page *page, const struct query_row *last);
/* Write the Bundle to the call's body. */
MUST_USE err_code rest_page_write(struct rest_page *page, struct err *e);

/* Read _summary or _elements into the page. *taken: the pair was one of these. ERR_INVALID,
 * ERR_TOO_LARGE. */
MUST_USE err_code rest_page_subset_read(struct rest_page *page, sv name, sv value, bool *taken,
                                        struct err *e);
/* Pass over a parameter, with a note on the page. Under handling=strict: the error. */
MUST_USE err_code rest_page_ignored(struct rest_page *page, sv name, const struct err *why,
                                    struct err *e);
/* Pieces of a searchset, in an object or array that the caller opened. An entry: mode is "match" or
 * "include". */
MUST_USE err_code rest_page_entry(struct rest_page *page, struct json_writer *w,
                                  const struct query_match *m, const char *mode, struct err *e);
/* Must a page that has entries end here, because this version fits only on a page of its own? */
bool rest_page_ends(const struct rest_page *page, const struct store_version *v, const char *mode);
/* The entry of the notes; nothing without notes. */
MUST_USE err_code rest_page_notes(struct rest_page *page, struct json_writer *w, struct err *e);
/* A link to this page, by its query or by its token. */
MUST_USE err_code rest_page_self(struct rest_page *page, struct json_writer *w,
                                 const char *relation, struct err *e);
/* A link to the page that has a token. */
MUST_USE err_code rest_page_link(struct rest_page *p, struct json_writer *w, const char *relation,
                                 sv page, struct err *e);

/* ---- page_include.c ---- */
/* NULL when the page asks for no includes; the calls take NULL and do nothing. */
struct rest_includes;
struct rest_includes *rest_includes_new(struct rest_page *page, struct json_writer *w);
void rest_includes_free(struct rest_includes *includes);
/* Tell that a match is on the page. */
MUST_USE err_code rest_includes_match(struct rest_includes *includes, const struct query_match *m,
                                      struct err *e);
/* Write everything that comes with the matches. */
MUST_USE err_code rest_includes_write(struct rest_includes *includes, struct err *e);

/* ---- subset.c ---- */
/* A resource, appended to out: cut to what _summary or _elements ask for and marked SUBSETTED, or
 * whole when they ask for nothing. */
MUST_USE err_code rest_subset_write(const struct rest_page *page, const struct query_match *m,
                                    struct buf *out, struct err *e);
