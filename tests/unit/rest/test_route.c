/* Which interaction a request asks for, against a table that was written from FHIR's http.html, the
 * Bulk Data guide and HealthLake's list of what it offers, and not from the program's own. */
#include "test.h"

#include "rest/route_private.h"

static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" };
#define N_METHODS (sizeof methods / sizeof methods[0])

/* What a path takes, in the order of `methods`; NULL: 405. HEAD is a GET whose answer has no
 * body. */
static const struct expected {
    const char *path;
    const char *type, *id, *vid;
    const char *name[N_METHODS];
} table[] = {
#define GET(name) name, name
#define NO_GET    NULL, NULL
    /* http.html: read, update, patch, delete */
    { "Patient/1", "Patient", "1", "", { GET("read"), NULL, "update", "patch", "delete" } },
    { "Patient/a.B-9", "Patient", "a.B-9", "", { GET("read"), NULL, "update", "patch", "delete" } },
    { "Binary/1", "Binary", "1", "", { GET("read"), NULL, "update", "patch", "delete" } },
    /* vread, history */
    { "Patient/1/_history/7", "Patient", "1", "7", { GET("vread") } },
    { "Patient/1/_history", "Patient", "1", "", { GET("history-instance") } },
    { "Patient/_history", "Patient", "", "", { GET("history-type") } },
    { "_history", "", "", "", { GET("history-system") } },
    /* create, and the conditional forms; search */
    { "Patient",
      "Patient",
      "",
      "",
      { GET("search-type"), "create", "update-conditional", "patch-conditional",
        "delete-conditional" } },
    { "Patient/_search", "Patient", "", "", { NO_GET, "search-type" } },
    { "_search", "", "", "", { NO_GET, "search-system" } },
    { "", "", "", "", { GET("search-system"), "bundle" } },
    { "Patient/1/Observation", "Patient", "1", "", { GET("search-compartment") } },
    { "Patient/1/*", "Patient", "1", "", { GET("search-compartment") } },
    { "metadata", "", "", "", { GET("capabilities") } },
    { ".well-known/smart-configuration", "", "", "", { GET("smart-configuration") } },
    /* operations */
    { "Patient/$validate", "Patient", "", "", { NO_GET, "validate" } },
    { "Observation/1/$validate", "Observation", "1", "", { NO_GET, "validate" } },
    { "Patient/1/$everything", "Patient", "1", "", { GET("everything"), "everything" } },
    /* Bulk Data: kick-off, status, files */
    { "Observation/1/$erase", "Observation", "1", "", { NO_GET, "erase" } },
    { "Patient/1/_history/7/$erase", "Patient", "1", "7", { NO_GET, "erase" } },
    { "Patient/1/$purge", "Patient", "1", "", { NO_GET, "purge" } },
    { "Patient/$bulk-delete", "Patient", "", "", { NO_GET, "bulk-delete" } },
    { "$erase/j1", "", "j1", "", { GET("erase") } },
    { "$purge/j1", "", "j1", "", { GET("purge") } },
    { "$bulk-delete/j1", "", "j1", "", { GET("bulk-delete") } },
    { "$export", "", "", "", { GET("export"), "export" } },
    { "$viewdefinition-run", "", "", "", { NO_GET, "viewdefinition-run" } },
    { "ViewDefinition/$viewdefinition-run", "", "", "", { NO_GET, "viewdefinition-run" } },
    { "ViewDefinition/$run", "", "", "", { NO_GET, "viewdefinition-run" } },
    { "Patient/$export", "Patient", "", "", { GET("export"), "export" } },
    { "Group/1/$export", "Group", "1", "", { GET("export"), "export" } },
    { "export/j1", "", "j1", "", { GET("export-status"), NULL, NULL, NULL, "export-cancel" } },
    { "export/j1/files/Patient/1.ndjson", "", "j1", "Patient/1.ndjson", { GET("export-file") } },
    { "export/j1/files/a%20b", "", "j1", "a b", { GET("export-file") } },
    /* HealthLake: an AuditEvent is created, also under an id, and stays; Parameters and
     * OperationOutcome are not created by POST */
    { "AuditEvent/1", "AuditEvent", "1", "", { GET("read"), NULL, "update" } },
    { "AuditEvent", "AuditEvent", "", "", { GET("search-type"), "create" } },
    { "Parameters",
      "Parameters",
      "",
      "",
      { GET("search-type"), NULL, "update-conditional", "patch-conditional",
        "delete-conditional" } },
    { "OperationOutcome",
      "OperationOutcome",
      "",
      "",
      { GET("search-type"), NULL, "update-conditional", "patch-conditional",
        "delete-conditional" } },
#undef GET
#undef NO_GET
};
#define N_EXPECTED (sizeof table / sizeof table[0])

static err_code route(struct arena *a, struct rest_call *c, const char *method, sv path,
                      struct err *e)
{
    *c = (struct rest_call){ .a = a, .in = { .method = sv_from(method), .path = path } };
    return rest_route(c, e);
}

/* "GET, HEAD, PUT" as a bit for each method; a name that is none of them fails. */
static unsigned allowed(sv allow)
{
    unsigned bits = 0;
    sv one;
    while (sv_cut(&allow, ',', &one)) {
        size_t k = 0;
        while (k < N_METHODS && !sv_eq_cstr(sv_trim(one), methods[k]))
            k++;
        assert_true(k < N_METHODS);
        assert_int_equal(bits & 1u << k, 0);
        bits |= 1u << k;
    }
    return bits;
}

TEST(rest_route, finds_each_interaction_by_its_path_and_method)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < N_EXPECTED; i++)
        for (size_t k = 0; k < N_METHODS; k++) {
            const struct expected *x = &table[i];
            struct rest_call c;
            if (x->name[k] == NULL)
                continue;
            OK(route(a, &c, methods[k], sv_from(x->path), e));
            assert_string_equal(c.it->name, x->name[k]);
            assert_string_equal(c.type ? fhir_type_name(c.type) : "", x->type);
            assert_sv(c.id, sv_from(x->id));
            assert_sv(c.vid, sv_from(x->vid));
        }
}

TEST(rest_route, refuses_other_methods_and_says_which_the_path_takes)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < N_EXPECTED; i++)
        for (size_t k = 0; k < N_METHODS; k++) {
            const struct expected *x = &table[i];
            struct rest_call c;
            unsigned want = 0;
            if (x->name[k])
                continue;
            for (size_t m = 0; m < N_METHODS; m++)
                want |= x->name[m] ? 1u << m : 0;
            FAILS(ERR_METHOD, route(a, &c, methods[k], sv_from(x->path), e));
            assert_int_equal(allowed(c.out.allow), want);
            assert_null(c.it);
        }
    struct rest_call c;
    FAILS(ERR_METHOD, route(a, &c, "TRACE", SV_LIT("Patient/1"), e));
    FAILS(ERR_METHOD, route(a, &c, "get", SV_LIT("Patient/1"), e));
    FAILS(ERR_METHOD, route(a, &c, "", SV_LIT("Patient"), e));
    /* what other types have is told apart from what no path of this shape has */
    struct err e;
    assert_int_equal(route(a, &c, "DELETE", SV_LIT("AuditEvent/1"), &e), ERR_METHOD);
    assert_non_null(strstr(e.msg, "DELETE is not offered for AuditEvent"));
    assert_int_equal(route(a, &c, "POST", SV_LIT("AuditEvent/1"), &e), ERR_METHOD);
    assert_non_null(strstr(e.msg, "POST is not offered at this path"));
}

TEST(rest_route, leaves_no_row_of_the_table_without_a_path)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    for (size_t r = 0; r < rest_n_interactions; r++) {
        bool reached = false;
        for (size_t i = 0; i < N_EXPECTED; i++)
            for (size_t k = 0; k < N_METHODS; k++) {
                struct rest_call c;
                struct err e;
                reached |= route(a, &c, methods[k], sv_from(table[i].path), &e) == ERR_OK &&
                           c.it == &rest_interactions[r];
            }
        if (!reached)
            fail_msg("%s %s is reached by no path", rest_interactions[r].method,
                     rest_interactions[r].name);
    }
}

TEST(rest_route, knows_the_members_of_a_compartment)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c;
    OK(route(a, &c, "GET", SV_LIT("Patient/1/Observation"), e));
    assert_string_equal(fhir_type_name(c.member_type), "Observation");
    OK(route(a, &c, "GET", SV_LIT("Patient/1/*"), e));
    assert_int_equal(c.member_type, FHIR_TYPE_NONE);
    OK(route(a, &c, "GET", SV_LIT("Patient/1/%2A"), e));
    assert_string_equal(c.it->name, "search-compartment");
}

TEST(rest_route, finds_nothing_at_paths_that_no_specification_has)
{
    (void)state;
    static const char *const paths[] = {
        "patient/1",           /* types are written as they are */
        "Patients",            /* no type */
        "Patient/_find",       /* no interaction, and no id */
        "Patient/$everything", /* of one patient */
        "Patient/$nothing",
        "Patient/1/$nothing",
        "Patient/1/observation",
        "Patient/1/_search",
        "Patient/1/_history/2/3",
        "Patient/1/history/2",
        "Patient/1/Observation/2",
        "Observation/1/$everything", /* it is Patient's */
        "Observation/1/$purge",
        "$erase",
        "Patient/1/$bulk-delete",
        "Observation/$export", /* it is Patient's and Group's */
        "Group/$export",
        "Patient/1/$export",
        "metadata/1",
        "_search/1",
        "$export/1",
        "$validate",
        "Patient//1",
        "//",
        "export",
        "export/",
        "export/j1/files",
        "export/j1/files/",
        "export/j1/other",
        "exports/j1",
    };
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        for (size_t k = 0; k < N_METHODS; k++) {
            struct rest_call c;
            struct err e;
            err_code rc = route(a, &c, methods[k], sv_from(paths[i]), &e);
            if (rc != ERR_NOT_FOUND)
                fail_msg("%s %s: %s", methods[k], paths[i], err_code_name(rc));
        }
}

TEST(rest_route, takes_a_slash_at_the_end_and_parts_that_are_encoded)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c;
    OK(route(a, &c, "GET", SV_LIT("Patient/1/"), e));
    assert_string_equal(c.it->name, "read");
    OK(route(a, &c, "GET", SV_LIT("metadata/"), e));
    assert_string_equal(c.it->name, "capabilities");
    OK(route(a, &c, "POST", SV_LIT("%50atient/%5Fsearch"), e));
    assert_string_equal(c.it->name, "search-type");
    OK(route(a, &c, "GET", SV_LIT("Patient/a%2Eb"), e));
    assert_sv(c.id, SV_LIT("a.b"));
    FAILS(ERR_INVALID, route(a, &c, "GET", SV_LIT("Patient/%zz"), e));
    FAILS(ERR_INVALID, route(a, &c, "GET", SV_LIT("Patient/1%"), e));
    FAILS(ERR_INVALID, route(a, &c, "GET", SV_LIT("export/j1/files/%zz"), e));
}

/* datatypes.html#id: 1 to 64 of A-Z a-z 0-9 - and a dot */
TEST(rest_route, lets_no_text_pass_that_cannot_be_an_id)
{
    (void)state;
    static const char *const bad[] = { "a%2Fb", "a%20b", "a%00b", "%C3%A4", "a_b", "a:b",
                                       "a~b",   "a+b",   "a@b",   "*",      "a%25" };
    static const char *const behind[] = { "",           "/_history",    "/_history/1",
                                          "/$validate", "/Observation", "/$everything" };
    char text[200], longest[65];
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t k = 0; k < sizeof behind / sizeof behind[0]; k++) {
            bool posts = strcmp(behind[k], "/$validate") == 0;
            (void)snprintf(text, sizeof text, "Patient/%s%s", bad[i], behind[k]);
            FAILS(ERR_NOT_FOUND, route(a, &c, posts ? "POST" : "GET", sv_from(text), e));
        }
    /* what a PUT would make can be refused as such */
    FAILS(ERR_INVALID, route(a, &c, "PUT", SV_LIT("Patient/a_b"), e));
    FAILS(ERR_NOT_FOUND, route(a, &c, "DELETE", SV_LIT("Patient/a_b"), e));
    memset(longest, 'x', sizeof longest);
    sv of_64 = ARENA_JOIN(a, SV_LIT("Patient/"), sv_make(longest, 64)),
       of_65 = ARENA_JOIN(a, SV_LIT("Patient/"), sv_make(longest, 65));
    OK(route(a, &c, "GET", of_64, e));
    FAILS(ERR_NOT_FOUND, route(a, &c, "GET", of_65, e));
    FAILS(ERR_INVALID, route(a, &c, "PUT", of_65, e));
}

TEST(rest_route, reads_the_query_and_not_the_rights_of_a_call)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c = {
        .a = a,
        .in = { .method = SV_LIT("GET"), .path = SV_LIT("Patient"), .query = SV_LIT("name=a%20b") }
    };
    OK(rest_route(&c, e));
    assert_int_equal(c.params.n, 1);
    assert_sv(c.params.items[0].value, SV_LIT("a b"));
    assert_null(c.ds);
}

TEST_MAIN(T(rest_route, finds_each_interaction_by_its_path_and_method),
          T(rest_route, refuses_other_methods_and_says_which_the_path_takes),
          T(rest_route, leaves_no_row_of_the_table_without_a_path),
          T(rest_route, knows_the_members_of_a_compartment),
          T(rest_route, finds_nothing_at_paths_that_no_specification_has),
          T(rest_route, takes_a_slash_at_the_end_and_parts_that_are_encoded),
          T(rest_route, lets_no_text_pass_that_cannot_be_an_id),
          T(rest_route, reads_the_query_and_not_the_rights_of_a_call))
