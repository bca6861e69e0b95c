/* links.h - the links in a resource's text, found by its definitions, and replaced without touching
 * anything else.
 *
 *   REFERENCE   Reference.reference
 *   URI         values of type uri, url, oid, uuid (canonical is none: it names a thing, not a
 *               place)
 *   ATTACHMENT  of these, Attachment.url
 *   NARRATIVE   href of <a> and src of <img> in xhtml
 *
 * Contained resources, extensions and the `_name` twins of primitives are walked too. Members that
 * the definitions do not know are not. Whatever is not replaced comes out byte for byte as it went
 * in: order, white space, number spelling, escapes.
 * Limits: LIMIT_RESOURCE_DEPTH.   Source: FHIR R4 http.html#transaction, "replace all matching
 * links".
 * Floor: fhir (uses codec). */
#pragma once
#include "base/buf.h"

#include <yyjson.h>

typedef enum {
    FHIR_LINK_REFERENCE,
    FHIR_LINK_URI,
    FHIR_LINK_NARRATIVE,
    FHIR_LINK_ATTACHMENT
} fhir_link_kind;

/* text: the link, escapes of JSON resolved (those of XML are not). Set *out to what shall stand in
 * its place, valid until the next call; leave it alone to keep the link. An error ends the walk. */
typedef err_code (*fhir_link_fn)(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e);

#define FHIR_LINK_PATH_MAX 240
struct fhir_links {
    fhir_link_fn fn;
    void *ctx;
    /* while fn is called: the link as it stands in the text, escapes and all; not of NARRATIVE */
    sv raw;
    sv full_url; /* likewise: fullUrl of the Bundle's entry that it stands in; empty: none */
    char where[FHIR_LINK_PATH_MAX]; /* after an error: below the resource, ".subject.reference" */
};

/* resource is the tree that json_read() made of text, or of a text that text is a part of. out: the
 * new text, appended; NULL: the links are only shown to fn. ERR_TOO_LARGE, or what fn answered. */
MUST_USE err_code fhir_links_rewrite(struct fhir_links *l, sv text, yyjson_val *resource,
                                     struct buf *out, struct err *e);
