/* json_scan.h - steps over JSON text that json_read() has found good: where a value begins and
 * ends.
 *
 * A tree says what a text means and not where it stands; walking the text beside the tree gives
 * both, because yyjson keeps members and items in the order of the text, doubles too.
 *
 *   json_scan_blank(&s);                    s.p on '{' or '['
 *   json_scan_open(&s);
 *   while (json_scan_next(&s)) {            false: the bracket is closed and stepped over
 *       json_scan_key(&s);                  in an object: s.p on the value afterwards
 *       sv raw = json_scan_value(&s);
 *   }
 * Text that was not checked must not be given.   Source: RFC 8259.   Floor: codec. */
#pragma once
#include "base/sv.h"

struct json_scan {
    const char *p, *end;
};

static inline struct json_scan json_scan_of(sv text)
{
    return (struct json_scan){ text.ptr, text.ptr + text.len };
}
/* Over white space. */
void json_scan_blank(struct json_scan *s);
/* Into the object or array at p. */
void json_scan_open(struct json_scan *s);
/* p on the next member or item. */
bool json_scan_next(struct json_scan *s);
/* Over a name and its colon; returns what stands between the quotes, escapes and all. */
sv json_scan_key(struct json_scan *s);
/* Over the string at p (its opening quote); as above. */
sv json_scan_string(struct json_scan *s);
/* Over the whole value at p; returns its text. */
sv json_scan_value(struct json_scan *s);
