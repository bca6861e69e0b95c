/* json_scan.c - steps over JSON text. Nothing is checked: the text has been parsed before, so
 * brackets match, strings end, and a byte that is none of the marks belongs to a number or a
 * word. */
#include "codec/json_scan.h"

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void json_scan_blank(struct json_scan *s)
{
    while (s->p < s->end && blank(*s->p))
        s->p++;
}

void json_scan_open(struct json_scan *s)
{
    s->p++;
}

bool json_scan_next(struct json_scan *s)
{
    json_scan_blank(s);
    if (s->p < s->end && *s->p == ',') {
        s->p++;
        json_scan_blank(s);
    }
    if (s->p < s->end && *s->p != '}' && *s->p != ']')
        return true;
    if (s->p < s->end)
        s->p++;
    return false;
}

sv json_scan_string(struct json_scan *s)
{
    const char *from = ++s->p;
    while (s->p < s->end && *s->p != '"')
        s->p += *s->p == '\\' ? 2 : 1;
    sv raw = sv_make(from, (size_t)(s->p - from));
    s->p++;
    return raw;
}

sv json_scan_key(struct json_scan *s)
{
    sv raw = json_scan_string(s);
    json_scan_blank(s);
    /* over the colon */
    s->p++;
    json_scan_blank(s);
    return raw;
}

sv json_scan_value(struct json_scan *s)
{
    const char *from = s->p;
    size_t depth = 0;
    do {
        char c = *s->p;
        if (c == '"') {
            (void)json_scan_string(s);
        } else if (c == '{' || c == '[') {
            depth++;
            s->p++;
        } else if (c == '}' || c == ']') {
            depth--;
            s->p++;
        } else if (c == ',' || c == ':' || blank(c)) {
            s->p++;
        } else {
            /* number, true, false, null */
            while (s->p < s->end && !blank(*s->p) && *s->p != ',' && *s->p != '}' && *s->p != ']')
                s->p++;
        }
    } while (depth && s->p < s->end);
    return sv_make(from, (size_t)(s->p - from));
}
