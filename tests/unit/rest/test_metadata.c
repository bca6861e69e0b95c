/* The CapabilityStatement names what the router serves, and nothing else. */
#include "rest/asking.h"

#include "rest/route_private.h"

#define REST "/rest/0"

/* The resource of the statement for this type. */
static yyjson_val *of_type(const char *type)
{
    yyjson_val *list = value_at(REST "/resource"), *one;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((one = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq_cstr(json_string(json_get(one, "type")), type))
            return one;
    fail_msg("%s is not in the statement", type);
    return NULL;
}

/* Does the list hold an object whose member is this text, or the text itself (member NULL)? */
static size_t times_in(yyjson_val *list, const char *member, const char *text)
{
    size_t n = 0;
    yyjson_val *one;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while (list && (one = yyjson_arr_iter_next(&it)) != NULL)
        n += sv_eq_cstr(json_string(member ? json_get(one, member) : one), text);
    return n;
}

static void check_status(const char *method, const char *path, const char *body, bool offered)
{
    unsigned status = ask(method, path, "", body);
    bool served = status != 404 && status != 405 && status != 501;
    if (served != offered)
        fail_msg("%s %s: %u, and the statement says %s", method, path, status,
                 offered ? "that it is offered" : "nothing of it");
}

TEST(metadata, has_what_the_specification_requires)
{
    (void)state;
    fresh_store();
    GOT("metadata");
    SAYS("/resourceType", "CapabilityStatement");
    SAYS("/status", "active");
    SAYS("/kind", "instance");
    SAYS("/fhirVersion", "4.0.1");
    SAYS(REST "/mode", "server");
    assert_non_null(said("/date").ptr);
    assert_non_null(said("/implementation/description").ptr);
    assert_int_equal(times_in(value_at("/format"), NULL, "application/fhir+json"), 1);
    assert_int_equal(times_in(value_at("/patchFormat"), NULL, "application/json-patch+json"), 1);
    assert_int_equal(times_in(value_at("/patchFormat"), NULL, "application/fhir+json"), 1);
    assert_int_equal(yyjson_arr_size(value_at("/rest")), 1);
}

TEST(metadata, has_each_type_of_the_router_once)
{
    (void)state;
    fresh_store();
    GOT("metadata");
    assert_int_equal(yyjson_arr_size(value_at(REST "/resource")), fhir_n_types());
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        assert_int_equal(times_in(value_at(REST "/resource"), "type", fhir_type_name((fhir_type)t)),
                         1);
}

/* Codes of http://hl7.org/fhir/restful-interaction, and a request for each. */
static const struct {
    const char *code, *method, *behind;
    bool body;
} on_types[] = {
    { "create", "POST", "", true },
    { "read", "GET", "/x", false },
    { "update", "PUT", "/x", true },
    { "vread", "GET", "/x/_history/1", false },
    { "history-instance", "GET", "/x/_history", false },
    { "patch", "PATCH", "/x", true },
    { "delete", "DELETE", "/x", false },
    { "history-type", "GET", "/_history", false },
    { "search-type", "GET", "?_count=1", false },
};

#define AUDIT                                                                         \
    ",'type':{'system':'http://dicom.nema.org/resources/ontology/DCM','code':'110'}," \
    "'recorded':'2026-01-01T00:00:00Z','agent':[{'requestor':true}],"                 \
    "'source':{'observer':{'display':'x'}}"

TEST(metadata, names_the_interactions_of_a_type_that_are_answered)
{
    (void)state;
    /* AuditEvent is stored once, and Parameters are never stored by POST. */
    static const char *const types[] = { "Patient", "Observation", "AuditEvent", "Parameters",
                                         "OperationOutcome" };
    fresh_store();
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        bool offered[sizeof on_types / sizeof on_types[0]];
        char path[100], body[300];
        size_t n = 0;
        GOT("metadata");
        yyjson_val *list = json_get(of_type(types[t]), "interaction");
        for (size_t i = 0; i < sizeof on_types / sizeof on_types[0]; i++) {
            offered[i] = times_in(list, "code", on_types[i].code) == 1;
            n += offered[i];
        }
        /* There are no others. */
        assert_int_equal(yyjson_arr_size(list), n);
        for (size_t i = 0; i < sizeof on_types / sizeof on_types[0]; i++) {
            (void)snprintf(path, sizeof path, "%s%s", types[t], on_types[i].behind);
            (void)snprintf(body, sizeof body, "{'resourceType':'%s','id':'x'%s}", types[t],
                           strcmp(types[t], "AuditEvent") == 0 ? AUDIT : "");
            unsigned status = ask(on_types[i].method, path, "", on_types[i].body ? body : NULL);
            /* A PUT of an AuditEvent may only create, which is no update; a second one is 405. */
            if (strcmp(on_types[i].code, "update") == 0)
                status = ask("PUT", path, "", body);
            if ((status == 405) == offered[i])
                fail_msg("%s %s: %u, but the statement says %d", on_types[i].method, path, status,
                         offered[i]);
        }
    }
}

TEST(metadata, tells_of_conditional_writes_what_is_done)
{
    (void)state;
    fresh_store();
    GOT("metadata");
    yyjson_val *patient = of_type("Patient"), *audit = of_type("AuditEvent");
    assert_true(yyjson_is_true(json_get(patient, "conditionalCreate")));
    assert_true(yyjson_is_true(json_get(patient, "conditionalUpdate")));
    assert_sv(json_string(json_get(patient, "conditionalDelete")), SV_LIT("single"));
    assert_true(yyjson_is_true(json_get(patient, "updateCreate")));
    assert_true(yyjson_is_true(json_get(patient, "readHistory")));
    assert_sv(json_string(json_get(patient, "conditionalRead")), SV_LIT("full-support"));
    assert_sv(json_string(json_get(patient, "versioning")), SV_LIT("versioned"));
    assert_true(yyjson_is_false(json_get(audit, "conditionalUpdate")));
    assert_sv(json_string(json_get(audit, "conditionalDelete")), SV_LIT("not-supported"));
    check_status("PUT", "AuditEvent?_id=x", "{'resourceType':'AuditEvent'}", false);
    check_status("DELETE", "AuditEvent?date=2020", NULL, false);
}

TEST(metadata, names_the_interactions_of_the_base_that_are_answered)
{
    (void)state;
    fresh_store();
    GOT("metadata");
    static const char *const codes[] = { "transaction", "batch", "search-system",
                                         "history-system" };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(times_in(value_at(REST "/interaction"), "code", codes[i]), 1);
    assert_int_equal(yyjson_arr_size(value_at(REST "/interaction")), 4);
    ASKED(200, "POST", "", "", "{'resourceType':'Bundle','type':'transaction'}");
    ASKED(200, "POST", "", "", "{'resourceType':'Bundle','type':'batch'}");
    GOT("?_type=Patient");
    GOT("_history");
}

TEST(metadata, names_an_operation_where_it_is_called)
{
    (void)state;
    fresh_store();
    GOT("metadata");
    yyjson_val *patient = json_get(of_type("Patient"), "operation");
    yyjson_val *group = json_get(of_type("Group"), "operation");
    yyjson_val *device = json_get(of_type("Device"), "operation");
    /* $everything is called on an instance by GET and POST, and is one operation. */
    static const char *const all[] = { "validate", "everything", "export" };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(times_in(patient, "name", all[i]), 1);
        assert_int_equal(times_in(device, "name", all[i]), i == 0);
        assert_int_equal(times_in(group, "name", all[i]), i != 1);
    }
    assert_int_equal(times_in(patient, "definition",
                              "http://hl7.org/fhir/OperationDefinition/Patient-everything"),
                     1);
    assert_int_equal(times_in(group, "definition",
                              "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export"),
                     1);
    yyjson_val *system = value_at(REST "/operation");
    assert_int_equal(yyjson_arr_size(system), 2);
    assert_int_equal(times_in(system, "definition",
                              "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"),
                     1);
    assert_int_equal(times_in(system, "name", "viewdefinition-run"), 1);
    check_status("GET", "Device/x/$everything", NULL, false);
    check_status("GET", "Device/$export", NULL, false);
    check_status("POST", "Device/$validate", "{'resourceType':'Device'}", true);
}

TEST(metadata, names_the_searches_of_a_type)
{
    (void)state;
    fresh_store();
    GOT("metadata");
    yyjson_val *patient = of_type("Patient"), *binary = of_type("Binary");
    yyjson_val *params = json_get(patient, "searchParam");
    assert_int_equal(times_in(params, "name", "birthdate"), 1);
    assert_int_equal(
        times_in(params, "definition", "http://hl7.org/fhir/SearchParameter/individual-birthdate"),
        1);
    assert_int_equal(times_in(params, "name", "_id"), 1);
    /* It is not one of Patient. */
    assert_int_equal(times_in(params, "name", "onset-date"), 0);
    /* _include follows references of the type, _revinclude those that may lead to it. */
    yyjson_val *in = json_get(patient, "searchInclude"),
               *rev = json_get(patient, "searchRevInclude");
    assert_int_equal(times_in(in, NULL, "Patient:general-practitioner"), 1);
    assert_int_equal(times_in(in, NULL, "Patient:birthdate"), 0);
    assert_int_equal(times_in(rev, NULL, "Observation:subject"), 1);
    assert_int_equal(times_in(rev, NULL, "Patient:general-practitioner"), 0);
    assert_null(json_get(binary, "searchInclude"));
    assert_int_equal(times_in(value_at(REST "/compartment"), NULL,
                              "http://hl7.org/fhir/CompartmentDefinition/patient"),
                     1);
    assert_int_equal(yyjson_arr_size(value_at(REST "/compartment")), 5);
    ASKED(200, "GET", "Patient?birthdate=2000", "Prefer: handling=strict\n", NULL);
    ASKED(400, "GET", "Patient?onset-date=2000", "Prefer: handling=strict\n", NULL);
}

TEST(metadata, is_not_sent_again_to_who_has_it)
{
    (void)state;
    char line[100];
    fresh_store();
    GOT("metadata");
    sv tag = header("ETag");
    assert_true(sv_starts(tag, SV_LIT("W/\"")));
    (void)snprintf(line, sizeof line, "If-None-Match: %.*s\n", SV_FMT(tag));
    ASKED(304, "GET", "metadata", line, NULL);
    assert_int_equal(here.last.body.len, 0);
    ASKED(200, "GET", "metadata", "If-None-Match: W/\"0123456789abcdef\"\n", NULL);
    ASKED(501, "GET", "metadata?mode=terminology", "", NULL);
    SAYS("/issue/0/code", "not-supported");
    /* The statement of another data store is another one. */
    fresh_store();
    ASKED(200, "GET", "metadata", line, NULL);
}

ASKING_MAIN(T(metadata, has_what_the_specification_requires),
            T(metadata, has_each_type_of_the_router_once),
            T(metadata, names_the_interactions_of_a_type_that_are_answered),
            T(metadata, tells_of_conditional_writes_what_is_done),
            T(metadata, names_the_interactions_of_the_base_that_are_answered),
            T(metadata, names_an_operation_where_it_is_called),
            T(metadata, names_the_searches_of_a_type), T(metadata, is_not_sent_again_to_who_has_it))
