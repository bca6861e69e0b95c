/* attachments.h - Attachment.url made absolute in a resource's text, wherever an Attachment stands.
 *
 * What a url of ours becomes, with the [base] http://h/r4 (b):
 *   Binary/x, ./Binary/x, scan.pdf    b/Binary/x, ...: relative to [base], as FHIR says
 *   Binary/x/_history/2               b/Binary/x/_history/2, likewise
 *   /Binary/x                         b/Binary/x: nothing else is at that path
 *   /r4/Binary/x, /files/x            http://h/r4/Binary/x, ...: relative to the host
 *   below the other [base] of ours    below this one
 *
 * These urls stay: absolute ones of other places and schemes (data:, urn:), "#id" of a contained
 * resource, "//host/x", those that lead upwards, those that are no URI, and relative ones in a
 * Bundle's entry whose fullUrl is elsewhere. Every byte outside of the urls that change stays. The
 * same text always gives the same text.
 * Limits: LIMIT_RESOURCE_DEPTH.   Source: FHIR R4 Attachment.url; RFC 3986; Bulk Data Access,
 * "Attachments".
 * Floor: fhir (uses codec). */
#pragma once
#include "fhir/envelope.h"

struct fhir_attachments {
    sv base;  /* [base], without a slash at its end */
    sv other; /* another [base] by which this store is known; may be empty */
};

/* False: text has no url that would change. The question costs little. Text must have no white
 * space between its tokens. */
bool fhir_attachments_may(const struct fhir_attachments *attachments, sv text);

/* root is the tree that json_read() made of body->json. *n: urls that changed; when there are some,
 * *now is the body with them, in out (after what it held). ERR_TOO_LARGE. */
MUST_USE err_code fhir_attachments_absolute(const struct fhir_attachments *attachments,
                                            const struct fhir_body *body, yyjson_val *root,
                                            struct buf *out, struct fhir_body *now, size_t *n,
                                            struct err *e);
