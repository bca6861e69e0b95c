/* console.c - the console's files are found by their path. tools/embed.py makes files.inc of them
 * when the program is built: a row for each file of the folder that meson.build names. */
#include "console/console.h"

static const unsigned char bytes[] = {
#define CONSOLE_BYTES
#include "console/files.inc"
#undef CONSOLE_BYTES
};

#define TEXT(s)          \
    {                    \
        s, sizeof(s) - 1 \
    } /* SV_LIT() is no constant */
#define FILE_OF(named, typed, tag, from, size) \
    { TEXT(named), TEXT(typed), TEXT(tag), { (const char *)bytes + (from), (size) } },
static const struct console_file files[] = {
#define CONSOLE_FILES
#include "console/files.inc"
#undef CONSOLE_FILES
};
#undef FILE_OF

bool console_is_place(sv path)
{
    return sv_starts(path, SV_LIT(CONSOLE_PLACE)) || sv_eq(path, SV_LIT("/console"));
}

const struct console_file *console_find(sv path)
{
    sv place = SV_LIT(CONSOLE_PLACE);
    if (!sv_starts(path, place))
        return NULL;
    sv name = sv_tail(path, place.len);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (sv_eq(files[i].name, name))
            return &files[i];
    return NULL;
}

bool console_is_had(const struct http_request *req, const struct console_file *file)
{
    sv rest = http_header_get(req, "If-None-Match"), one;
    while (sv_cut(&rest, ',', &one)) {
        one = sv_trim(one);
        /* compared weakly: a cache may have taken the W/ off */
        if (sv_eq(one, SV_LIT("*")) || sv_eq(one, file->etag) || sv_eq(one, sv_tail(file->etag, 2)))
            return true;
    }
    return false;
}

size_t console_headers(sv type, sv etag, struct http_header out[CONSOLE_HEADERS])
{
    size_t n = 0;
    out[n++] = (struct http_header){ SV_LIT("Content-Type"), type };
    out[n++] = (struct http_header){
        SV_LIT("Content-Security-Policy"),
        SV_LIT("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
               "require-trusted-types-for 'script'; trusted-types 'none'")
    };
    out[n++] = (struct http_header){ SV_LIT("X-Content-Type-Options"), SV_LIT("nosniff") };
    out[n++] = (struct http_header){ SV_LIT("X-Frame-Options"), SV_LIT("DENY") };
    out[n++] = (struct http_header){ SV_LIT("Referrer-Policy"), SV_LIT("no-referrer") };
    out[n++] =
        (struct http_header){ SV_LIT("Cross-Origin-Resource-Policy"), SV_LIT("same-origin") };
    out[n++] = (struct http_header){ SV_LIT("Cross-Origin-Opener-Policy"), SV_LIT("same-origin") };
    out[n++] = (struct http_header){ SV_LIT("Cache-Control"),
                                     etag.len ? SV_LIT("no-cache") : SV_LIT("no-store") };
    if (etag.len)
        out[n++] = (struct http_header){ SV_LIT("ETag"), etag };
    return n;
}
