/* test_eval.c - ways through a resource: types, choices, twins of primitives, references,
 * places. */
#include "ask.h"

static const char patient[] =
    "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"_birthDate\":{\"extension\":[{\"url\":\"urn:t\","
    "\"valueDateTime\":\"1974-12-25T14:35:45-05:00\"}]},\"birthDate\":\"1974-12-25\",\"active\":"
    "true,"
    "\"contained\":[{\"resourceType\":\"Organization\",\"id\":\"o\",\"name\":\"Acme\"}],"
    "\"managingOrganization\":{\"reference\":\"#o\"},"
    "\"generalPractitioner\":[{\"reference\":\"Practitioner/7/_history/"
    "2\"},{\"reference\":\"urn:uuid:1\"}],"
    "\"deceasedBoolean\":false,\"multipleBirthInteger\":2,\"gender\":\"female\","
    "\"name\":[{\"family\":\"Doe\",\"given\":[\"Ann\",null,\"Eve\"],\"_given\":[null,{\"id\":\"g\"}"
    "]},"
    "{\"given\":[\"Nan\"]}],\"contact\":[{\"name\":{\"family\":\"Roe\"}}]}";

TEST(eval, walks_by_the_definitions)
{
    (void)state;
    ASK(patient, { "Patient.name.given", "Ann|{}|Eve|Nan" }, { "name.given.count()", "4" },
        { "name[0].given[1].id", "g" }, { "name[0].given[1].hasValue()", "false" },
        { "birthDate.extension.value", "1974-12-25T14:35:45-05:00" },
        { "birthDate.extension('urn:t').value is dateTime", "true" }, { "deceased", "false" },
        { "deceased is boolean", "true" }, { "multipleBirth", "2" }, { "deceasedBoolean", "" },
        { "Resource.id", "p1" }, { "DomainResource.active", "true" }, { "Observation.id", "" },
        { "contact.type().name", "BackboneElement" }, { "contact.is(BackboneElement)", "true" },
        { "contact.name.is(HumanName)", "true" }, { "contained.name", "Acme" },
        { "contained.is(Organization)", "true" }, { "gender.is(string)", "true" },
        { "gender.ofType(string)", "" }, { "nothing", "" }, { "children().count()", "13" },
        { "descendants().where($this is Reference).count()", "3" }, { "%resource.id", "p1" },
        { "%context.id", "p1" }, { "%rootResource.id", "p1" });
}

TEST(eval, a_reference_leads_into_the_resource_and_no_further)
{
    (void)state;
    ASK(patient, { "managingOrganization.resolve().name", "Acme" },
        { "managingOrganization.resolve() is Organization", "true" },
        { "generalPractitioner.resolve()", "" }, { "getResourceKey()", "Patient/p1" },
        { "generalPractitioner.getReferenceKey()", "Practitioner/7" },
        { "generalPractitioner.getReferenceKey(Practitioner)", "Practitioner/7" },
        { "generalPractitioner.getReferenceKey(Patient)", "" },
        { "managingOrganization.getReferenceKey()", "" });
    ASK("{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"fullUrl\":\"urn:uuid:"
        "1\",\"resource\":"
        "{\"resourceType\":\"Patient\",\"id\":\"a\",\"generalPractitioner\":[{\"reference\":"
        "\"Practitioner/b\"},"
        "{\"reference\":\"http://h/r4/Practitioner/b\"}]}},{\"fullUrl\":\"http://h/r4/Practitioner/"
        "b\","
        "\"resource\":{\"resourceType\":\"Practitioner\",\"id\":\"b\"}}]}",
        { "entry.resource.generalPractitioner.resolve().id", "b|b" },
        { "'urn:uuid:1'.resolve().id", "a" }, { "entry.resource.ofType(Practitioner).id", "b" });
}

TEST(eval, says_what_cannot_be_done_and_where)
{
    (void)state;
    ASK(patient,
        { "name.single()",
          "error: line 1, column 6 of the expression: single() is called on 2 items" },
        { "'\xc3\xa4' =\n  name.given + 'x'",
          "error: line 2, column 14 of the expression: one item is asked for and there are 4*" },
        { "name.first().contains('x')",
          "error: line 1, column 14 of the expression: a string is asked for, not an object*" },
        { "-'a'", "error: line 1, column 1 of the expression: a string has no sign" },
        { "'a' < 1",
          "error: line 1, column 5 of the expression: a string and an integer have no order*" },
        { "@2020 + 1",
          "error: line 1, column 7 of the expression: a date moves by a quantity of time alone*" },
        { "iif('a', 1)",
          "error: line 1, column 1 of the expression: a boolean is asked for, not a string*" },
        { "name.as(HumanName)", "error: line 1, column 6 of the expression: as() is called on one "
                                "item, and there are 2*" },
        { "conformsTo('urn:x')",
          "error: line 1, column 1 of the expression: the profile is not known*" });
}

TEST(eval, strict_expressions_name_what_there_is)
{
    (void)state;
    static const char *const bad[] = { "name.given1", "Encounter.name", "(deceased as Period).unit",
                                       "children().first()", "deceasedBoolean" };
    const struct fhirpath_options strict = { .strict = true };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct arena *a = arena_new(1u << 20);
        yyjson_doc *doc;
        const struct fhirpath *path;
        struct fhirpath_list l;
        struct err err;
        OK(json_read(a, sv_from(patient), 64, &doc, e));
        struct fhirpath_run run = { .arena = a,
                                    .resource = yyjson_doc_get_root(doc),
                                    .steps = 1000 };
        if (fhirpath_compile(sv_from(bad[i]), &strict, a, &path, NULL, &err) == ERR_OK)
            FAILS(ERR_INVALID, fhirpath_eval(path, &run, NULL, &l, e));
        OK(fhirpath_compile(sv_from(bad[i]), NULL, a, &path, NULL, e));
        OK(fhirpath_eval(path, &run, NULL, &l, e));
        arena_free(a);
    }
}

TEST(eval, a_node_names_the_place_where_it_stands)
{
    (void)state;
    static const struct {
        const char *expression, *place;
    } places[] = { { "name[1].given[0]", "/name/1/given/0" },
                   { "deceased", "/deceasedBoolean" },
                   { "contained.name", "/contained/0/name" },
                   { "birthDate.extension.value", "/_birthDate/extension/0/valueDateTime" },
                   { "$this", "" } };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct arena *a = arena_new(1u << 20);
        CLEANUP_BUF struct buf b = BUF_INIT(1000);
        yyjson_doc *doc;
        const struct fhirpath *path;
        struct fhirpath_list l;
        OK(json_read(a, sv_from(patient), 64, &doc, e));
        struct fhirpath_run run = { .arena = a,
                                    .resource = yyjson_doc_get_root(doc),
                                    .steps = 1000 };
        OK(fhirpath_compile(sv_from(places[i].expression), NULL, a, &path, NULL, e));
        OK(fhirpath_eval(path, &run, NULL, &l, e));
        assert_int_equal(l.n, 1);
        OK(fhirpath_locate(run.resource, l.items[0].json, &b, e));
        assert_sv(buf_sv(&b), sv_from(places[i].place));
        FAILS(ERR_NOT_FOUND, fhirpath_locate(json_get(run.resource, "id"), l.items[0].json, &b, e));
        arena_free(a);
    }
}

TEST(eval, an_expression_goes_on_from_an_item_that_another_found)
{
    (void)state;
    struct arena *a = arena_new(1u << 20);
    yyjson_doc *doc;
    const struct fhirpath *names, *given;
    struct fhirpath_list l, m;
    bool yes;
    OK(json_read(a, sv_from(patient), 64, &doc, e));
    struct fhirpath_run run = { .arena = a, .resource = yyjson_doc_get_root(doc), .steps = 1000 };
    OK(fhirpath_compile(SV_LIT("name"), NULL, a, &names, NULL, e));
    OK(fhirpath_compile(SV_LIT("given.first()"), NULL, a, &given, NULL, e));
    OK(fhirpath_eval(names, &run, NULL, &l, e));
    assert_int_equal(l.n, 2);
    OK(fhirpath_eval(given, &run, &l.items[1], &m, e));
    assert_int_equal(m.n, 1);
    assert_sv(fhirpath_text(&m.items[0], a), SV_LIT("Nan"));
    OK(fhirpath_condition(m, &yes, e));
    assert_true(yes);
    FAILS(ERR_INVALID, fhirpath_condition(l, &yes, e));
    OK(fhirpath_condition((struct fhirpath_list){ NULL, 0 }, &yes, e));
    assert_false(yes);
    arena_free(a);
}

TEST(eval, numbers_of_the_resource_keep_their_digits)
{
    (void)state;
    ASK("{\"resourceType\":\"Observation\",\"valueQuantity\":{\"value\":5.40,\"unit\":\"mg\"},"
        "\"component\":[{"
        "\"valueQuantity\":{\"value\":123456789012345678901234567890123456789012345.0}},{"
        "\"valueInteger\":7}]}",
        { "value.value", "5.40" }, { "value.value = 5.4", "true" },
        { "value.value + 0.001", "5.401" },
        { "component[0].value.value", "123456789012345678901234567890123456789012345.0" },
        { "component[0].value.value + 1", "" }, { "component[1].value is integer", "true" },
        { "component[1].value + 1", "8" }, { "value = 5.4 'mg'", "true" });
}

TEST_MAIN(T(eval, walks_by_the_definitions),
          T(eval, a_reference_leads_into_the_resource_and_no_further),
          T(eval, says_what_cannot_be_done_and_where),
          T(eval, strict_expressions_name_what_there_is),
          T(eval, a_node_names_the_place_where_it_stands),
          T(eval, an_expression_goes_on_from_an_item_that_another_found),
          T(eval, numbers_of_the_resource_keep_their_digits))
