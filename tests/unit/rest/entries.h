/* entries.h - Bundles of requests, as texts. */
#pragma once
#include "rest/asking.h"

/* The Bundle of these entries, until the next one is made. */
static inline const char *bundle_of(const char *type, const char *const *all)
{
    static char text[16384];
    int len = snprintf(text, sizeof text, "{'resourceType':'Bundle','type':'%s','entry':[", type);
    for (size_t i = 0; all[i]; i++) {
        len += snprintf(text + len, sizeof text - (size_t)len, "%s%s", i ? "," : "", all[i]);
        assert_in_range(len, 1, sizeof text - 3);
    }
    memcpy(text + len, "]}", 3);
    return text;
}
#define BUNDLE(type, ...) bundle_of((type), (const char *const[]){ __VA_ARGS__, NULL })
/* more: further members behind a comma, or "" */
#define ENTRY(method, url, more) "{'request':{'method':'" method "','url':'" url "'}" more "}"
#define ENTRY_IF(method, url, condition, more) \
    "{'request':{'method':'" method "','url':'" url "'," condition "}" more "}"
#define RESOURCE(text) ",'resource':" text
#define FULL_URL(url)  ",'fullUrl':'" url "'"

/* The transaction is done; or it is refused as a whole, and this entry is named. */
#define DONE(...) ASKED(200, "POST", "", "", BUNDLE("transaction", __VA_ARGS__))
#define REFUSED_AT(status, where, ...)                                       \
    do {                                                                     \
        ASKED((status), "POST", "", "", BUNDLE("transaction", __VA_ARGS__)); \
        SAYS("/resourceType", "OperationOutcome");                           \
        SAYS("/issue/0/severity", "error");                                  \
        SAYS("/issue/0/expression/0", "Bundle" where);                       \
    } while (0)

/* Type/id of the entry's answer, kept until the test ends. */
static inline const char *placed(unsigned entry)
{
    static char places[8][100];
    char pointer[64];
    (void)snprintf(pointer, sizeof pointer, "/entry/%u/response/location", entry);
    sv at = said(pointer), type, id;
    assert_true(entry < 8 && sv_cut(&at, '/', &type) && sv_cut(&at, '/', &id));
    (void)snprintf(places[entry], sizeof places[entry], "%.*s/%.*s", SV_FMT(type), SV_FMT(id));
    return places[entry];
}
