/* entries.h - Bundles of requests, as texts. Entries are joined by a comma of the text: "," */
#pragma once
#include "rest/asking.h"

#define BUNDLE(type, entries) "{'resourceType':'Bundle','type':'" type "','entry':[" entries "]}"
/* more: further members behind a comma, or "" */
#define ENTRY(method, url, more) "{'request':{'method':'" method "','url':'" url "'}" more "}"
#define ENTRY_IF(method, url, condition, more) \
    "{'request':{'method':'" method "','url':'" url "'," condition "}" more "}"
#define RESOURCE(text) ",'resource':" text
#define FULL_URL(url)  ",'fullUrl':'" url "'"

/* The transaction is done; or it is refused as a whole, and this entry is named. */
#define DONE(entries) ASKED(200, "POST", "", "", BUNDLE("transaction", entries))
#define REFUSED_AT(status, where, entries)                               \
    do {                                                                 \
        ASKED((status), "POST", "", "", BUNDLE("transaction", entries)); \
        SAYS("/resourceType", "OperationOutcome");                       \
        SAYS("/issue/0/severity", "error");                              \
        SAYS("/issue/0/expression/0", "Bundle" where);                   \
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
