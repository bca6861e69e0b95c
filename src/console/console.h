/* console.h - the web console: files that are in the program, and the headers they are sent with.
 *
 * They hold no data and no key, so they are given to everybody. What a page shows, it asks both
 * planes for, with signatures that the browser makes (sigv4.js).   Floor: console (uses net). */
#pragma once
#include "net/http_server.h"

#define CONSOLE_PLACE   "/console/"
#define CONSOLE_HEADERS 10

struct console_file { /* constant, as the program */
    sv name;          /* behind /console/; empty: index.html */
    sv type;          /* Content-Type */
    sv etag;          /* with its quotes; weak, since an answer may be packed on its way */
    sv body;
};

/* Is it /console, or below it? */
bool console_is_place(sv path);
/* The file at that path, as it stands on the request line: nothing is decoded, and names are
 * compared byte by byte. NULL: there is none. */
const struct console_file *console_find(sv path);
/* Does the request have that file already (If-None-Match)? */
bool console_is_had(const struct http_request *req, const struct console_file *file);
/* The headers of an answer below /console/; returns how many. The policy lets a page run nothing
 * but the console's own files, talk to this server alone, and stand in no frame.
 *   etag  empty: none, and nobody keeps the answer
 * Source: Content Security Policy Level 3; RFC 9111. */
size_t console_headers(sv type, sv etag, struct http_header out[CONSOLE_HEADERS]);
