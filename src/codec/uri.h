/* uri.h - s3:// URIs, percent coding, query strings.
 * Source: RFC 3986; HealthLake's S3Uri shape; S3 bucket naming rules.   Floor: codec. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct uri_s3 {
    sv bucket; /* 3..63 of [a-z0-9.-], no "..", not an IP address */
    sv key;    /* without the first '/', may be empty; not decoded (S3 keys are literal) */
};
/* Views into text. ERR_INVALID says which part is wrong. Refused: empty segments made of "." or
 * "..", control bytes, keys over 1024 bytes. UTF-8 is the giver's affair: it comes out of checked
 * JSON. */
MUST_USE err_code uri_s3_parse(sv text, struct uri_s3 *out, struct err *e);

/* RFC 3986 unreserved bytes stay; with keep_slash also '/'. Upper-case hex. */
MUST_USE err_code uri_encode(sv text, bool keep_slash, struct buf *out, struct err *e);
/* %XX decoded; with plus_is_space '+' too. ERR_INVALID on a broken escape. */
MUST_USE err_code uri_decode(sv text, bool plus_is_space, struct buf *out, struct err *e);

struct uri_pair {
    sv name, value; /* still encoded, as received */
};
/* Pairs of a query string ("a=1&b&c=") in order; "" gives none. *out owned by the arena.
 * ERR_TOO_LARGE past max_pairs. */
MUST_USE err_code uri_query_split(struct arena *a, sv query, size_t max_pairs,
                                  struct uri_pair **out, size_t *n_out, struct err *e);

/* 127.0.0.0/8 in four numbers. */
bool uri_is_loopback_v4(sv host);
struct uri_http {    /* http[s]://host[:port][/path] of an endpoint option */
    sv scheme, host; /* host: name, IPv4, or [IPv6] with brackets */
    uint16_t port;   /* 0: the scheme's own */
    sv path;         /* without a trailing slash; "" for none */
};
/* Of the message the subject is the caller's: "has a wrong port". */
MUST_USE err_code uri_authority_parse(sv text, sv *host, uint16_t *port, struct err *e);
MUST_USE err_code uri_http_parse(sv text, struct uri_http *out, struct err *e);
