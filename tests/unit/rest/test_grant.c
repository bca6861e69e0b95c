/* What the scopes of a token let each interaction show and change.
 * Source: SMART App Launch 2.2; the table of docs/smart.md. */
#include "rest/granted.h"

#include "rest/grant_private.h"
#include "rest/route_private.h"
#include "rest/write/write_private.h"

#define PATIENT(id, more) "{'resourceType':'Patient','id':'" id "'" more "}"
#define OBS(id, patient, category, more)                                                      \
    "{'resourceType':'Observation','id':'" id "','status':'final','code':{'text':'x'},"       \
    "'category':[{'coding':[{'system':'c','code':'" category "'}]}],'subject':{'reference':'" \
    "Patient/" patient "'}" more "}"
#define ENC(id, patient)                                                                    \
    "{'resourceType':'Encounter','id':'" id "','status':'finished','class':{'code':'AMB'}," \
    "'subject':{'reference':'Patient/" patient "'}}"
#define AT(enc)  ",'encounter':{'reference':'Encounter/" enc "'}"
#define AS_PATCH "Content-Type: application/json-patch+json\n"
#define AS_JSON  "Content-Type: application/fhir+json\n"
#define FHIRPATH_PATCH(type, path, more)                                                     \
    "{'resourceType':'Parameters','parameter':[{'name':'operation','part':[{'name':'type','" \
    "valueCode':'" type "'},{'name':'path','valueString':'" path "'}" more "]}]}"
#define VALUE(v) ",{'name':'value'," v "}"
#define LABS     "patient/Observation.cruds?category=c|lab"

/* Patients a and b have each a laboratory and a vital sign, and an encounter. */
static void filled_store(void)
{
    no_token();
    fresh_store();
    PUT_NEW("Patient/a", PATIENT("a", ",'gender':'male'"));
    PUT_NEW("Patient/b", PATIENT("b", ",'gender':'male','link':[{'other':{'reference':'Patient/a'}"
                                      ",'type':'seealso'}]"));
    PUT_NEW("Encounter/ea", ENC("ea", "a"));
    PUT_NEW("Encounter/eb", ENC("eb", "b"));
    PUT_NEW("Observation/la", OBS("la", "a", "lab", AT("ea")));
    PUT_NEW("Observation/va", OBS("va", "a", "vital", AT("eb")));
    PUT_NEW("Observation/lb", OBS("lb", "b", "lab", AT("eb")));
    PUT_NEW("Observation/vb", OBS("vb", "b", "vital", AT("ea")));
    PUT_NEW("Practitioner/d", "{'resourceType':'Practitioner','id':'d'}");
}

#define REFUSED(status, how, where, more, text, code)    \
    do {                                                 \
        ASKED((status), (how), (where), (more), (text)); \
        SAYS("/resourceType", "OperationOutcome");       \
        SAYS("/issue/0/code", code);                     \
    } while (0)
/* Of what the token gives nothing. */
#define FORBIDDEN(how, where, more, text)                                                     \
    do {                                                                                      \
        REFUSED(403, (how), (where), (more), (text), "forbidden");                            \
        assert_sv(header("WWW-Authenticate"), SV_LIT("Bearer error=\"insufficient_scope\"")); \
    } while (0)
/* For this caller it is not there. */
#define HIDDEN(how, where, more, text) REFUSED(404, (how), (where), (more), (text), "not-found")

TEST(grant, every_interaction_has_its_row)
{
    (void)state;
    for (size_t i = 0; i < rest_n_interactions; i++) {
        size_t n = 0;
        for (size_t k = 0; k < rest_n_needs; k++)
            n += strcmp(rest_needs[k].interaction, rest_interactions[i].name) == 0;
        if (n != 1)
            fail_msg("%s has %zu rows", rest_interactions[i].name, n);
    }
}

/* One request of each interaction; its letters are enough, and none of them can be missing. */
TEST(grant, every_row_asks_for_its_letters)
{
    (void)state;
    static const struct {
        const char *interaction, *how, *where, *more, *text;
        const char *letters; /* of Observation; NULL: any token */
        unsigned done;
    } rows[] = {
        { "read", "GET", "Observation/la", "", NULL, "r", 200 },
        { "vread", "GET", "Observation/la/_history/1", "", NULL, "r", 200 },
        { "history-instance", "GET", "Observation/la/_history", "", NULL, "r", 200 },
        { "history-type", "GET", "Observation/_history", "", NULL, "s", 200 },
        { "history-system", "GET", "_history", "", NULL, "s", 200 },
        { "create", "POST", "Observation", "", OBS("x", "a", "lab", ""), "c", 201 },
        { "create", "POST", "Observation", "If-None-Exist: _id=la\n", OBS("x", "a", "lab", ""),
          "cs", 200 },
        { "update", "PUT", "Observation/la", "", OBS("la", "a", "lab", ""), "u", 200 },
        { "update", "PUT", "Observation/new", "", OBS("new", "a", "lab", ""), "u", 201 },
        { "patch", "PATCH", "Observation/la", AS_PATCH,
          "[{'op':'add','path':'/language','value':'en'}]", "u", 200 },
        { "delete", "DELETE", "Observation/la", "", NULL, "d", 204 },
        { "update-conditional", "PUT", "Observation?_id=la", "", OBS("la", "a", "lab", ""), "us",
          200 },
        { "patch-conditional", "PATCH", "Observation?_id=la", AS_PATCH,
          "[{'op':'add','path':'/language','value':'en'}]", "us", 200 },
        { "delete-conditional", "DELETE", "Observation?_id=la", "", NULL, "ds", 204 },
        { "delete-conditional", "DELETE", "Observation?_id=la&_count=5", "", NULL, "ds", 200 },
        { "search-type", "GET", "Observation", "", NULL, "s", 200 },
        { "search-type", "POST", "Observation/_search",
          "Content-Type: application/x-www-form-urlencoded\n", "", "s", 200 },
        { "search-system", "GET", "?_id=la", "", NULL, "s", 200 },
        { "search-compartment", "GET", "Patient/a/Observation", "", NULL, "s", 200 },
        { "search-compartment", "GET", "Patient/a/*", "", NULL, "s", 200 },
        { "bundle", "POST", "", "", "{'resourceType':'Bundle','type':'batch'}", NULL, 200 },
        { "capabilities", "GET", "metadata", "", NULL, NULL, 200 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char scopes[64];
        size_t n = rows[i].letters ? strlen(rows[i].letters) : 0;
        /* Each letter left out in its turn, then none. */
        for (size_t without = 0; without <= n; without++) {
            filled_store();
            int len = snprintf(scopes, sizeof scopes, "system/Observation.");
            for (size_t k = 0; k < 5; k++)
                if (rows[i].letters && strchr(rows[i].letters, "cruds"[k]) &&
                    !(without < n && rows[i].letters[without] == "cruds"[k]))
                    len += snprintf(scopes + len, sizeof scopes - (size_t)len, "%c", "cruds"[k]);
            with_token(rows[i].letters ? scopes : "openid", NULL);
            if (without < n)
                FORBIDDEN(rows[i].how, rows[i].where, rows[i].more, rows[i].text);
            else
                ASKED(rows[i].done, rows[i].how, rows[i].where, rows[i].more, rows[i].text);
        }
    }
}

TEST(grant, a_signed_request_is_not_limited)
{
    (void)state;
    filled_store();
    GOT("Observation?_summary=count");
    SAYS("/total", "4");
    GOT("Patient/b");
    ASKED(404, "GET", "Patient/x", "", NULL);
    assert_null(header("WWW-Authenticate").ptr);
}

TEST(grant, what_is_filtered_is_not_there)
{
    (void)state;
    filled_store();
    with_token(LABS " patient/Patient.rs", "a");
    GOT("Observation/la");
    GOT("Patient/a");
    HIDDEN("GET", "Observation/va", "", NULL);
    HIDDEN("GET", "Observation/lb", "", NULL);
    HIDDEN("GET", "Patient/b", "", NULL);
    /* in the words, and with the headers, of what never was */
    char there[400];
    (void)snprintf(there, sizeof there, "%.*s", SV_FMT(said("/issue/0/diagnostics")));
    assert_null(header("ETag").ptr);
    HIDDEN("GET", "Patient/never", "", NULL);
    assert_sv(said("/issue/0/diagnostics"), sv_from(there));
    HIDDEN("GET", "Observation/va/_history/1", "", NULL);
    HIDDEN("GET", "Observation/va/_history", "", NULL);
    FORBIDDEN("GET", "Encounter/ea", "", NULL);
    FORBIDDEN("GET", "Encounter", "", NULL);
}

TEST(grant, a_resource_that_was_taken_out_of_a_scope_cannot_be_read_in_its_history)
{
    (void)state;
    filled_store();
    PUT_AGAIN("Observation/la", OBS("la", "a", "vital", ""));
    PUT_AGAIN("Observation/va", OBS("va", "a", "lab", ""));
    with_token(LABS, "a");
    HIDDEN("GET", "Observation/la", "", NULL);
    HIDDEN("GET", "Observation/la/_history/1", "", NULL);
    HIDDEN("GET", "Observation/la/_history", "", NULL);
    GOT("Observation/va/_history/2");
    HIDDEN("GET", "Observation/va/_history/1", "", NULL);
    GOT("Observation/va/_history");
    ENTRIES("/response/etag", "Observation/va W/\"2\"");
    GOT("Observation/_history");
    ENTRIES("/response/etag", "Observation/va W/\"2\"");
    GOT("_history");
    ENTRIES("/response/etag", "Observation/va W/\"2\"");
}

TEST(grant, a_deletion_is_seen_by_who_saw_the_resource)
{
    (void)state;
    filled_store();
    DELETED("Observation/la");
    DELETED("Observation/va");
    with_token(LABS, "a");
    ASKED(410, "GET", "Observation/la", "", NULL);
    HIDDEN("GET", "Observation/va", "", NULL);
    ASKED(410, "GET", "Observation/la/_history/2", "", NULL);
    HIDDEN("GET", "Observation/va/_history/2", "", NULL);
    GOT("Observation/_history");
    ENTRIES("/request/method", "Observation/la DELETE, Observation/la PUT");
    ASKED(204, "DELETE", "Observation/la", "", NULL);
    HIDDEN("DELETE", "Observation/va", "", NULL);
    ASKED(204, "DELETE", "Observation?_id=la", "", NULL);
    HIDDEN("DELETE", "Observation?_id=va", "", NULL);
}

TEST(grant, a_history_goes_on_over_pages_that_hide_much)
{
    (void)state;
    filled_store();
    for (int i = 0; i < 30; i++)
        PUT_AGAIN("Observation/vb", OBS("vb", "b", "vital", ""));
    PUT_AGAIN("Observation/la", OBS("la", "a", "lab", ""));
    with_token(LABS, "a");
    GOT("Observation/_history?_count=1");
    ENTRIES("/response/etag", "Observation/la W/\"2\"");
    assert_true(follow_link("next"));
    ENTRIES("/response/etag", "Observation/la W/\"1\"");
    assert_false(follow_link("next"));
}

TEST(grant, searches_and_totals_count_what_is_given)
{
    (void)state;
    filled_store();
    with_token(LABS " patient/Patient.s", "a");
    GOT("Observation?_total=accurate");
    ENTRIES(NULL, "Observation/la");
    SAYS("/total", "1");
    GOT("Observation?_summary=count");
    SAYS("/total", "1");
    GOT("Observation?category=c|lab&_summary=count");
    SAYS("/total", "1");
    GOT("Observation?category=c|vital&_summary=count");
    SAYS("/total", "0");
    GOT("Patient?_summary=count");
    SAYS("/total", "1");
    GOT("Patient?_sort=-_id&_total=accurate");
    ENTRIES(NULL, "Patient/a");
    SAYS("/total", "1");
    GOT("?_type=Observation,Patient,Encounter&_lastUpdated=gt2000");
    ENTRIES_SORTED(NULL, "Observation/la, Patient/a");
    GOT("?_lastUpdated=gt2000");
    ENTRIES_SORTED(NULL, "Observation/la, Patient/a");
    FORBIDDEN("GET", "?_type=Encounter,Practitioner", "", NULL);
    GOT("Patient/a/Observation");
    ENTRIES(NULL, "Observation/la");
    GOT("Patient/b/Observation");
    ENTRIES(NULL, "");
    GOT("Patient/a/*");
    ENTRIES_SORTED(NULL, "Observation/la, Patient/a");
    FORBIDDEN("GET", "Patient/a/Encounter", "", NULL);
}

TEST(grant, the_past_is_for_who_may_see_all)
{
    (void)state;
    filled_store();
    with_token("patient/Observation.rs system/Patient.rs", "a");
    FORBIDDEN("GET", "Observation?_asOf=1", "", NULL);
    FORBIDDEN("GET", "Patient?_asOf=1", "", NULL);
    with_token("system/*.rs", "a");
    GOT("Patient?_asOf=1");
    ENTRIES(NULL, "Patient/a");
}

TEST(grant, chains_and_has_go_by_what_is_given)
{
    (void)state;
    filled_store();
    with_token("system/Observation.rs patient/Encounter.rs", "a");
    GOT("Observation?encounter.status=finished");
    ENTRIES_SORTED(NULL, "Observation/la, Observation/vb");
    GOT("Encounter?_has:Observation:encounter:_id=va");
    ENTRIES(NULL, "");
    FORBIDDEN("GET", "Observation?subject:Patient.gender=male", "", NULL);
    FORBIDDEN("GET", "Encounter?subject.gender=male", "", NULL);
    FORBIDDEN("GET", "Encounter?_has:Condition:encounter:_id=x", "", NULL);
    with_token("system/Observation.rs", NULL);
    FORBIDDEN("GET", "Observation?encounter.status=finished", "", NULL);
    with_token("system/Observation.rs system/Encounter.r", NULL);
    FORBIDDEN("GET", "Observation?encounter.status=finished", "", NULL);
}

TEST(grant, includes_are_what_may_be_read)
{
    (void)state;
    filled_store();
    with_token("system/Observation.s patient/Encounter.r", "a");
    GOT("Observation?_include=Observation:encounter&_sort=_id");
    ENTRIES(NULL, "Observation/la, Observation/lb, Observation/va, Observation/vb, Encounter/ea");
    GOT("Observation?_include=*&_sort=_id");
    ENTRIES(NULL, "Observation/la, Observation/lb, Observation/va, Observation/vb, Encounter/ea");
    assert_false(mentions("incomplete"));
    with_token("system/Encounter.s patient/Observation.r?category=c|lab", "a");
    GOT("Encounter?_revinclude=Observation:encounter&_sort=_id");
    ENTRIES(NULL, "Encounter/ea, Encounter/eb, Observation/la");
    GOT("Encounter?_revinclude=Observation:*&_include=Encounter:subject&_sort=_id");
    ENTRIES(NULL, "Encounter/ea, Encounter/eb, Observation/la");
    /* What is hidden is not gone through. */
    with_token("system/Observation.s system/Patient.r", "a");
    GOT("Observation?_id=va&_include=Observation:encounter&_include:iterate=Encounter:subject");
    ENTRIES(NULL, "Observation/va");
}

TEST(grant, an_included_version_must_be_given_now_and_then)
{
    (void)state;
    filled_store();
    PUT_AGAIN("Encounter/ea", ENC("ea", "b"));
    PUT_AGAIN("Encounter/eb", ENC("eb", "a"));
    PUT_NEW("Observation/x", OBS("x", "a", "lab", AT("ea/_history/1")));
    PUT_NEW("Observation/y", OBS("y", "a", "lab", AT("eb/_history/1")));
    with_token("system/Observation.s patient/Encounter.r", "a");
    GOT("Observation?_id=x,y&_include=Observation:encounter");
    ENTRIES(NULL, "Observation/x, Observation/y");
}

TEST(grant, everything_is_what_may_be_read)
{
    (void)state;
    filled_store();
    with_token(LABS " patient/Patient.r", "a");
    GOT("Patient/a/$everything");
    ENTRIES_SORTED(NULL, "Observation/la, Patient/a");
    SAYS("/total", "2");
    HIDDEN("GET", "Patient/b/$everything", "", NULL);
    with_token("patient/*.rs", "a");
    GOT("Patient/a/$everything");
    ENTRIES_SORTED(NULL, "Encounter/ea, Observation/la, Observation/va, Patient/a");
    /* what is outside of the record, and what it leads to */
    no_token();
    PUT_AGAIN("Observation/la",
              OBS("la", "a", "lab", ",'performer':[{'reference':'Practitioner/d'}]"));
    PUT_NEW("Location/l", "{'resourceType':'Location','id':'l','managingOrganization':"
                          "{'reference':'Organization/o'}}");
    PUT_NEW("Organization/o", "{'resourceType':'Organization','id':'o'}");
    PUT_AGAIN("Encounter/ea", "{'resourceType':'Encounter','id':'ea','status':'finished','class':"
                              "{'code':'AMB'},'subject':{'reference':'Patient/a'},'location':"
                              "[{'location':{'reference':'Location/l'}}]}");
    with_token("patient/*.rs", "a");
    GOT("Patient/a/$everything");
    ENTRIES_SORTED(NULL, "Encounter/ea, Location/l, Observation/la, Observation/va, "
                         "Organization/o, Patient/a, Practitioner/d");
    with_token("patient/Patient.r patient/Encounter.r patient/Observation.r user/Organization.r",
               "a");
    GOT("Patient/a/$everything");
    ENTRIES_SORTED(NULL, "Encounter/ea, Observation/la, Observation/va, Patient/a");
    with_token("patient/Observation.rs", "a");
    FORBIDDEN("GET", "Patient/a/$everything", "", NULL);
}

TEST(grant, a_page_is_for_the_caller_and_the_scopes_that_asked)
{
    (void)state;
    static char next[4096];
    filled_store();
    with_token("patient/Observation.rs", "a");
    GOT("Observation?_count=1");
    (void)snprintf(next, sizeof next, "%.*s", SV_FMT(link_to("next")));
    assert_true(strlen(next) > 20);
    GOT(next);
    with_token("patient/Observation.rs", "b");
    ASKED(400, "GET", next, "", NULL);
    with_token("patient/Observation.rs system/*.rs", "a");
    ASKED(400, "GET", next, "", NULL);
    with_token("patient/Observation.rs", "a");
    token.client = "another";
    ASKED(400, "GET", next, "", NULL);
    with_token("patient/Observation.rs", "a");
    token.subject = "another";
    ASKED(400, "GET", next, "", NULL);
    no_token();
    ASKED(400, "GET", next, "", NULL);
    with_token("patient/Observation.rs", "a");
    GOT(next);
}

TEST(grant, a_write_leaves_what_is_given)
{
    (void)state;
    filled_store();
    with_token(LABS " patient/Patient.cu", "a");
    FORBIDDEN("POST", "Observation", "", OBS("x", "b", "lab", ""));
    FORBIDDEN("POST", "Observation", "", OBS("x", "a", "vital", ""));
    ASKED(201, "POST", "Observation", "", OBS("x", "a", "lab", ""));
    FORBIDDEN("PUT", "Observation/la", "", OBS("la", "b", "lab", ""));
    FORBIDDEN("PUT", "Observation/la", "", OBS("la", "a", "vital", ""));
    FORBIDDEN("PATCH", "Observation/la", AS_PATCH,
              "[{'op':'replace','path':'/subject/reference','value':'Patient/b'}]");
    FORBIDDEN("PATCH", "Observation/la", AS_JSON,
              FHIRPATH_PATCH("replace", "Observation.subject.reference",
                             VALUE("'valueString':'Patient/b'")));
    FORBIDDEN("PATCH", "Observation/la", AS_JSON,
              FHIRPATH_PATCH("delete", "Observation.category", ""));
    FORBIDDEN("PUT", "Observation/new", "", OBS("new", "b", "lab", ""));
    PUT_NEW("Observation/new", OBS("new", "a", "lab", ""));
    /* A patient's app makes no patients. */
    FORBIDDEN("POST", "Patient", "", "{'resourceType':'Patient'}");
    FORBIDDEN("PUT", "Patient/c", "", PATIENT("c", ""));
    PUT_AGAIN("Patient/a", PATIENT("a", ""));
    no_token();
    GOT("Observation/la");
    SAYS("/meta/versionId", "1");
}

TEST(grant, a_write_goes_over_what_is_given)
{
    (void)state;
    filled_store();
    DELETED("Observation/vb");
    with_token(LABS, "a");
    HIDDEN("PUT", "Observation/lb", "", OBS("lb", "a", "lab", ""));
    HIDDEN("PUT", "Observation/va", "", OBS("va", "a", "lab", ""));
    HIDDEN("PUT", "Observation/va", "If-Match: W/\"1\"\n", OBS("va", "a", "lab", ""));
    HIDDEN("PUT", "Observation/va", "If-Match: W/\"7\"\n", OBS("va", "a", "lab", ""));
    HIDDEN("PUT", "Observation/vb", "", OBS("vb", "a", "lab", ""));
    HIDDEN("PATCH", "Observation/va", AS_PATCH, "[{'op':'test','path':'/id','value':'va'}]");
    HIDDEN("PATCH", "Observation/va", AS_JSON, FHIRPATH_PATCH("delete", "Observation.method", ""));
    HIDDEN("DELETE", "Observation/va", "", NULL);
    HIDDEN("DELETE", "Observation/va", "If-Match: W/\"7\"\n", NULL);
    /* He may see it: then he is told. */
    with_token("patient/Observation.rs " LABS, "a");
    FORBIDDEN("PUT", "Observation/va", "", OBS("va", "a", "lab", ""));
    FORBIDDEN("DELETE", "Observation/va", "", NULL);
    /* A version that nobody has looked at is not written over. */
    ASKED(412, "PUT", "Observation/la", "If-Match: W/\"2\"\n", OBS("la", "a", "lab", ""));
    ASKED(412, "PUT", "Observation/none", "If-Match: W/\"1\"\n", OBS("none", "a", "lab", ""));
    ASKED(200, "PUT", "Observation/la", "If-Match: W/\"1\"\n", OBS("la", "a", "lab", ""));
    ASKED(200, "PUT", "Observation/la", "", OBS("la", "a", "lab", ""));
    DELETED("Observation/la");
    PUT_NEW("Observation/la", OBS("la", "a", "lab", ""));
}

/* ---- another write comes in between ---- */

struct half { /* a write that was looked at, and is not done */
    struct arena *a;
    struct datastore_held *held;
    struct rest_call c;
    struct rest_pending p;
};

static void looked_at(struct half *h, const char *scopes, const char *how, const char *id,
                      const char *text)
{
    struct smart_grant *g;
    char json[1024];
    size_t n = text ? strlen(text) : 0;
    assert_true(n < sizeof json);
    for (size_t i = 0; i < n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    *h = (struct half){ .a = arena_new(16u << 20) };
    g = ARENA_NEW(h->a, struct smart_grant);
    g->patient = SV_LIT("a");
    OK(smart_scopes_read(sv_from(scopes), h->a, &g->scopes, &g->n_scopes, e));
    OK(datastore_hold(here.w.service, sv_from(here.id), &h->held, e));
    h->c = (struct rest_call){ .service = here.w.service,
                               .a = h->a,
                               .ds = datastore_of(h->held),
                               .base = SV_LIT("http://localhost/r4"),
                               .in = { .method = sv_from(how),
                                       .path = arena_fmt(h->a, "Observation/%s", id),
                                       .content_type = SV_LIT("application/fhir+json"),
                                       .body = arena_sv(h->a, sv_make(json, n)) },
                               .caller = { .grant = g } };
    OK(store_registry_acquire(here.w.registry, sv_from(here.id), false, &h->c.st, e));
    OK(rest_route(&h->c, e));
    OK(rest_grant_open(&h->c, h->a, e));
    OK(rest_grant_allows(&h->c, e));
    OK(rest_prepare(&h->c, &h->p, e));
    assert_true(h->p.has_write);
}

/* Is it done, or is it to be made again? */
static bool done(struct half *h)
{
    struct store_commit at;
    struct err e;
    err_code rc = store_commit(h->c.st, &h->p.w, 1, &at, &e);
    assert_true(rc == ERR_OK || (rc == ERR_PRECONDITION && h->p.guarded));
    rest_pending_done(&h->p);
    store_registry_release(here.w.registry, h->c.st);
    datastore_release(&h->held);
    arena_free(h->a);
    return rc == ERR_OK;
}

TEST(grant, a_write_holds_to_what_was_looked_at)
{
    (void)state;
    struct half h;
    filled_store();
    looked_at(&h, LABS, "PUT", "la", OBS("la", "a", "lab", ""));
    assert_true(done(&h));
    looked_at(&h, LABS, "PUT", "la", OBS("la", "a", "lab", ""));
    PUT_AGAIN("Observation/la", OBS("la", "b", "lab", ""));
    assert_false(done(&h));
    /* nothing was there */
    looked_at(&h, LABS, "PUT", "n", OBS("n", "a", "lab", ""));
    PUT_NEW("Observation/n", OBS("n", "b", "lab", ""));
    assert_false(done(&h));
    looked_at(&h, LABS, "PUT", "m", OBS("m", "a", "lab", ""));
    assert_true(done(&h));
    /* it was deleted */
    DELETED("Observation/m");
    looked_at(&h, LABS, "PUT", "m", OBS("m", "a", "lab", ""));
    PUT_NEW("Observation/m", OBS("m", "b", "vital", ""));
    assert_false(done(&h));
    PUT_AGAIN("Observation/m", OBS("m", "a", "lab", ""));
    looked_at(&h, LABS, "DELETE", "m", NULL);
    PUT_AGAIN("Observation/m", OBS("m", "b", "lab", ""));
    assert_false(done(&h));
    /* Scopes that give all of the type need no look. */
    looked_at(&h, "system/Observation.u", "PUT", "m", OBS("m", "a", "lab", ""));
    PUT_AGAIN("Observation/m", OBS("m", "b", "lab", ""));
    assert_true(done(&h));
}

TEST(grant, what_a_patch_answers_is_what_may_be_read)
{
    (void)state;
    filled_store();
    with_token("patient/Observation.u", "a");
    ASKED(200, "PATCH", "Observation/la", AS_PATCH,
          "[{'op':'add','path':'/language','value':'en'}]");
    assert_int_equal(here.last.body.len, 0);
    with_token("patient/Observation.ru", "a");
    ASKED(200, "PATCH", "Observation/la", AS_PATCH,
          "[{'op':'add','path':'/language','value':'de'}]");
    SAYS("/language", "de");
    with_token("patient/Observation.u", "a");
    ASKED(200, "PATCH", "Observation/la", AS_JSON,
          FHIRPATH_PATCH("replace", "Observation.language", VALUE("'valueCode':'fr'")));
    assert_int_equal(here.last.body.len, 0);
}

TEST(grant, a_condition_sees_what_is_given)
{
    (void)state;
    filled_store();
    with_token(LABS, "a");
    /* lb has the same category, and is not seen. */
    ASKED(200, "PUT", "Observation?category=c|lab", "", OBS("la", "a", "lab", ""));
    HIDDEN("PATCH", "Observation?category=c|vital", AS_PATCH,
           "[{'op':'add','path':'/language','value':'en'}]");
    HIDDEN("DELETE", "Observation?_id=lb", "", NULL);
    ASKED(200, "POST", "Observation", "If-None-Exist: category=c|lab\n", OBS("x", "a", "lab", ""));
    SAYS("/id", "la");
    ASKED(201, "POST", "Observation", "If-None-Exist: category=c|vital\n",
          OBS("x", "a", "lab", ",'language':'en'"));
    ASKED(200, "DELETE", "Observation?_lastUpdated=gt2000&_count=50", "", NULL);
    no_token();
    GOT("Observation?_sort=_id");
    ENTRIES(NULL, "Observation/lb, Observation/va, Observation/vb");
}

TEST(grant, of_several_those_are_deleted_that_may_be)
{
    (void)state;
    filled_store();
    with_token("system/Observation.s patient/Observation.d", "a");
    ASKED(200, "DELETE", "Observation?category=c|lab&_count=50", "", NULL);
    no_token();
    GOT("Observation?_sort=_id");
    ENTRIES(NULL, "Observation/lb, Observation/va, Observation/vb");
}

TEST(grant, each_entry_of_a_batch_is_a_request)
{
    (void)state;
    filled_store();
    with_token(LABS, "a");
    ASKED(200, "POST", "", "",
          BUNDLE("batch", ENTRY("GET", "Observation/la", ""), ENTRY("GET", "Observation/va", ""),
                 ENTRY("GET", "Encounter/ea", ""), ENTRY("GET", "Observation", ""),
                 ENTRY("PUT", "Observation/lb", RESOURCE(OBS("lb", "a", "lab", ""))),
                 ENTRY("PUT", "Observation/la", RESOURCE(OBS("la", "b", "lab", ""))),
                 ENTRY("POST", "Observation", RESOURCE(OBS("x", "b", "lab", ""))),
                 ENTRY("PUT", "Observation/la", RESOURCE(OBS("la", "a", "lab", "")))));
    SAYS("/entry/0/response/status", "200");
    SAYS("/entry/1/response/status", "404");
    SAYS("/entry/2/response/status", "403");
    SAYS("/entry/2/response/outcome/issue/0/code", "forbidden");
    SAYS("/entry/3/resource/entry/0/resource/id", "la");
    assert_null(value_at("/entry/3/resource/entry/1"));
    SAYS("/entry/4/response/status", "404");
    SAYS("/entry/5/response/status", "403");
    SAYS("/entry/6/response/status", "403");
    SAYS("/entry/7/response/status", "200");
    no_token();
    GOT("Observation/la");
    SAYS("/subject/reference", "Patient/a");
    GOT("Observation/lb");
    SAYS("/subject/reference", "Patient/b");
}

TEST(grant, a_transaction_is_refused_as_a_whole)
{
    (void)state;
    filled_store();
    with_token(LABS, "a");
    REFUSED_AT(403, ".entry[1]",
               ENTRY("PUT", "Observation/la", RESOURCE(OBS("la", "a", "lab", ""))),
               ENTRY("GET", "Encounter/ea", ""));
    assert_sv(header("WWW-Authenticate"), SV_LIT("Bearer error=\"insufficient_scope\""));
    REFUSED_AT(403, ".entry[1].resource",
               ENTRY("PUT", "Observation/la", RESOURCE(OBS("la", "a", "lab", ""))),
               ENTRY("PUT", "Observation/n", RESOURCE(OBS("n", "b", "lab", ""))));
    REFUSED_AT(404, ".entry[0].resource",
               ENTRY("PUT", "Observation/lb", RESOURCE(OBS("lb", "a", "lab", ""))));
    REFUSED_AT(404, ".entry[0].request.url", ENTRY("GET", "Observation/va", ""));
    /* A conditional reference is a search. */
    REFUSED_AT(
        403, ".entry[0].resource.encounter.reference",
        ENTRY("PUT", "Observation/la",
              RESOURCE(OBS("la", "a", "lab", ",'encounter':{'reference':'Encounter?_id=ea'}"))));
    with_token(LABS " patient/Encounter.s", "a");
    REFUSED_AT(
        412, ".entry[0].resource.encounter.reference",
        ENTRY("PUT", "Observation/la",
              RESOURCE(OBS("la", "a", "lab", ",'encounter':{'reference':'Encounter?_id=eb'}"))));
    no_token();
    GOT("Observation/la");
    SAYS("/meta/versionId", "1");
    with_token(LABS " patient/Encounter.s", "a");
    DONE(ENTRY("PUT", "Observation/la",
               RESOURCE(OBS("la", "a", "lab", ",'encounter':{'reference':'Encounter?_id=ea'}"))),
         ENTRY("POST", "Observation", RESOURCE(OBS("x", "a", "lab", ""))),
         ENTRY("PUT", "Observation/n", RESOURCE(OBS("n", "a", "lab", ""))));
}

TEST(grant, validate_needs_one_of_the_letters_to_write)
{
    (void)state;
    filled_store();
    with_token("patient/Observation.c", "a");
    ASKED(200, "POST", "Observation/$validate", "", OBS("x", "b", "lab", ""));
    with_token("patient/Observation.u", "a");
    ASKED(200, "POST", "Observation/va/$validate", "", OBS("va", "b", "lab", ""));
    with_token("patient/Observation.rds", "a");
    FORBIDDEN("POST", "Observation/$validate", "", OBS("x", "b", "lab", ""));
}

/* ---- exports ---- */

#define ASYNC "Prefer: respond-async\n"

/* The path of the status that was answered; kept until the next call. */
static const char *status_path(void)
{
    static char path[200];
    char base[100];
    int n = snprintf(base, sizeof base, "http://localhost/datastore/%s/r4/", here.id);
    sv url = header("Content-Location");
    assert_true(sv_starts(url, sv_from(base)));
    (void)snprintf(path, sizeof path, "%.*s", SV_FMT(sv_tail(url, (size_t)n)));
    return path;
}

TEST(grant, erasing_needs_a_system_scope_to_delete_everything)
{
    (void)state;
    static const char *const none[] = { "patient/*.cruds",       "user/*.cruds",
                                        "system/*.crus",         "system/Patient.d",
                                        "system/*.d?status=old", "system/Patient.d user/*.d" };
    static const char *const where[] = { "Patient/a/$erase", "Patient/a/_history/1/$erase",
                                         "Patient/a/$purge", "Observation/$bulk-delete" };
    filled_store();
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        with_token(none[i], "a");
        for (size_t k = 0; k < sizeof where / sizeof where[0]; k++)
            FORBIDDEN("POST", where[k], "", NULL);
        FORBIDDEN("GET", "$erase/00000000000000000000000000000000", "", NULL);
    }
    with_token("system/*.d", "");
    /* the server of this test has no kind of job for it, and says so */
    ASKED(501, "POST", "Patient/a/$erase", "", NULL);
    HIDDEN("GET", "$erase/00000000000000000000000000000000", "", NULL);
    no_token();
    ASKED(200, "GET", "Patient/a", "", NULL);
}

TEST(grant, an_export_needs_system_scopes)
{
    (void)state;
    static const char *const none[] = { "patient/*.cruds",
                                        "user/*.cruds",
                                        "system/*.r",
                                        "system/*.s",
                                        "system/*.cud",
                                        "openid",
                                        "system/Patient.r user/*.s patient/Patient.s" };
    filled_store();
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        with_token(none[i], "a");
        FORBIDDEN("GET", "$export", ASYNC, NULL);
        FORBIDDEN("GET", "Patient/$export", ASYNC, NULL);
    }
    with_token("system/Patient.rs patient/Observation.rs", "a");
    FORBIDDEN("GET", "$export?_type=Observation", ASYNC, NULL);
    FORBIDDEN("GET", "$export?_type=Patient,Observation", ASYNC, NULL);
    ASKED(202, "GET", "$export?_type=Patient", ASYNC, NULL);
}

TEST(grant, an_export_keeps_its_scopes_and_whose_it_is)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job j;
    filled_store();
    with_token("openid system/Observation.read?x system/Observation.rs?category=c|lab user/*.read "
               "system/Patient.read system/Encounter.cud",
               "a");
    ASKED(202, "GET", "$export", ASYNC, NULL);
    sv id = sv_tail(sv_from(status_path()), 7);
    OK(job_get(here.w.jobs, JOB_EXPORT, sv_from(here.id), id, a, &j, e));
    assert_int_equal(j.params->scopes.n, 2);
    assert_sv(j.params->scopes.items[0], SV_LIT("system/Observation.rs?category=c%7Clab"));
    assert_sv(j.params->scopes.items[1], SV_LIT("system/Patient.rs"));
    assert_sv(j.params->grantee, SV_LIT("https://issuer.example\napp\nuser"));
    no_token();
    ASKED(202, "GET", "$export", ASYNC, NULL);
    id = sv_tail(sv_from(status_path()), 7);
    OK(job_get(here.w.jobs, JOB_EXPORT, sv_from(here.id), id, a, &j, e));
    assert_int_equal(j.params->scopes.n, 0);
    assert_int_equal(j.params->grantee.len, 0);
}

/* Any answer but 404 to the status of a job is an answer about it. */
TEST(grant, a_job_is_for_the_client_that_started_it)
{
    (void)state;
    char path[200], file[250];
    filled_store();
    with_token("system/*.rs", NULL);
    ASKED(202, "GET", "$export", ASYNC, NULL);
    (void)snprintf(path, sizeof path, "%s", status_path());
    (void)snprintf(file, sizeof file, "%s/files/x", path);
    assert_int_not_equal(ask_get(path), 404);
    token.client = "another";
    HIDDEN("GET", path, "", NULL);
    HIDDEN("GET", file, "", NULL);
    HIDDEN("DELETE", path, "", NULL);
    with_token("system/*.rs", NULL);
    token.subject = "another";
    HIDDEN("GET", path, "", NULL);
    /* A job that was started with a signature is nobody's who comes with a token. */
    no_token();
    assert_int_not_equal(ask_get(path), 404);
    ASKED(202, "GET", "$export", ASYNC, NULL);
    (void)snprintf(path, sizeof path, "%s", status_path());
    with_token("system/*.rs", NULL);
    HIDDEN("GET", path, "", NULL);
    HIDDEN("DELETE", path, "", NULL);
}

TEST(grant, a_group_or_patient_that_is_hidden_cannot_be_exported)
{
    (void)state;
    filled_store();
    PUT_NEW("Group/g", "{'resourceType':'Group','id':'g','type':'person','actual':true,"
                       "'member':[{'entity':{'reference':'Patient/a'}}]}");
    with_token("system/Patient.rs?_id=a", NULL);
    ASKED(404, "GET", "Group/g/$export", ASYNC, NULL);
    with_token("system/Patient.rs?_id=a system/Group.r", NULL);
    ASKED(202, "GET", "Group/g/$export", ASYNC, NULL);
    ASKED(400, "POST", "Patient/$export", ASYNC,
          "{'resourceType':'Parameters','parameter':[{'name':'patient',"
          "'valueReference':{'reference':'Patient/b'}}]}");
    SAYS("/issue/0/code", "not-found");
}

ASKING_MAIN(
    T(grant, every_interaction_has_its_row), T(grant, every_row_asks_for_its_letters),
    T(grant, a_signed_request_is_not_limited), T(grant, what_is_filtered_is_not_there),
    T(grant, a_resource_that_was_taken_out_of_a_scope_cannot_be_read_in_its_history),
    T(grant, a_deletion_is_seen_by_who_saw_the_resource),
    T(grant, a_history_goes_on_over_pages_that_hide_much),
    T(grant, searches_and_totals_count_what_is_given), T(grant, the_past_is_for_who_may_see_all),
    T(grant, chains_and_has_go_by_what_is_given), T(grant, includes_are_what_may_be_read),
    T(grant, an_included_version_must_be_given_now_and_then),
    T(grant, everything_is_what_may_be_read),
    T(grant, a_page_is_for_the_caller_and_the_scopes_that_asked),
    T(grant, a_write_leaves_what_is_given), T(grant, a_write_goes_over_what_is_given),
    T(grant, a_write_holds_to_what_was_looked_at),
    T(grant, what_a_patch_answers_is_what_may_be_read), T(grant, a_condition_sees_what_is_given),
    T(grant, of_several_those_are_deleted_that_may_be),
    T(grant, each_entry_of_a_batch_is_a_request), T(grant, a_transaction_is_refused_as_a_whole),
    T(grant, validate_needs_one_of_the_letters_to_write),
    T(grant, erasing_needs_a_system_scope_to_delete_everything),
    T(grant, an_export_needs_system_scopes), T(grant, an_export_keeps_its_scopes_and_whose_it_is),
    T(grant, a_job_is_for_the_client_that_started_it),
    T(grant, a_group_or_patient_that_is_hidden_cannot_be_exported))
