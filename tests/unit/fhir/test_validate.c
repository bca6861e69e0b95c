/* Each rule of validation with a resource that keeps it and one that does not; HL7's examples; and
 * mutations of the examples, each of which must be told at its place without a word of content. */
#include "test.h"

#include "base/file.h"
#include "codec/json.h"
#include "codec/ndjson.h"
#include "fhir/definitions.h"
#include "fhir/validate.h"

#include <unistd.h>

#define MINIMAL   FHIR_VALIDATE_MINIMAL
#define STRUCTURE FHIR_VALIDATE_STRUCTURE
#define STRICT    FHIR_VALIDATE_STRICT

static struct arena *arena(void)
{
    static struct arena *a;
    if (a == NULL)
        a = arena_new(64u << 20);
    arena_reset(a);
    return a;
}

/* All issues as "code path, code path"; "" for none. In the text, ' stands for ". */
static const char *told(fhir_validate_level level, const char *text)
{
    static char json[65536], out[8192];
    struct arena *a = arena();
    yyjson_doc *doc;
    struct fhir_issues issues = { 0 };
    size_t n = strlen(text);
    assert_true(n < sizeof json);
    for (size_t i = 0; i <= n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    OK(json_read(a, sv_make(json, n), 256, &doc, e));
    size_t used = arena_used(a);
    OK(fhir_validate(yyjson_doc_get_root(doc), level, a, &issues, e));
    /* nothing is allocated for a valid resource */
    if (issues.n == 0)
        assert_int_equal(arena_used(a), used);
    size_t len = 0;
    out[0] = 0;
    for (size_t i = 0; i < issues.n && len < sizeof out; i++) {
        const struct fhir_issue *is = &issues.items[i];
        assert_string_equal(is->severity, "error");
        assert_true(is->text.len != 0);
        assert_true(is->text.ptr[is->text.len - 1] != '.');
        len += (size_t)snprintf(out + len, sizeof out - len, "%s%s %.*s", i ? ", " : "", is->code,
                                SV_FMT(is->path));
    }
    return out;
}
#define VALID(level, text)        assert_string_equal(told((level), (text)), "")
#define TOLD(level, text, issues) assert_string_equal(told((level), (text)), (issues))

/* The members of one Patient, Observation, ... */
#define PATIENT(members) "{'resourceType':'Patient'," members "}"
#define OBS(members) \
    "{'resourceType':'Observation','status':'final','code':{'text':'x'}," members "}"

TEST(validate, minimal_asks_for_an_object_of_a_known_type)
{
    (void)state;
    VALID(MINIMAL, "{'resourceType':'Patient','anything':[{}],'name':null}");
    TOLD(MINIMAL, "[]", "structure Resource");
    TOLD(MINIMAL, "'Patient'", "structure Resource");
    TOLD(MINIMAL, "{}", "required Resource.resourceType");
    TOLD(MINIMAL, "{'resourceType':1}", "structure Resource.resourceType");
    TOLD(MINIMAL, "{'resourceType':'Person2'}", "value Resource.resourceType");
    TOLD(MINIMAL, "{'resourceType':'DomainResource'}", "value Resource.resourceType");
}

TEST(validate, a_whole_resource_passes)
{
    (void)state;
    VALID(
        STRICT,
        PATIENT(
            "'id':'p1','meta':{'versionId':'1','lastUpdated':'2020-02-02T02:02:02.123Z','profile':["
            "'http://example.org/p|1.0']},'language':'en','text':{'status':'generated','div':'<div "
            "xmlns=\\'http://www.w3.org/1999/xhtml\\'>x</div>'},'extension':[{'url':'http://e','"
            "valueString':'x'}],'identifier':[{'use':'usual','system':'urn:oid:1.2','value':'1','"
            "period':{'start':'2001-05-06'}}],'active':true,'name':[{'use':'official','family':'A',"
            "'"
            "given':['B','C'],'_given':[null,{'extension':[{'url':'u','valueCode':'c'}]}]}],'"
            "telecom':["
            "{'system':'phone','value':'1','rank':1}],'gender':'male','birthDate':'1974-12-25','_"
            "birthDate':{'extension':[{'url':'http://"
            "e','valueDateTime':'1974-12-25T14:35:45-05:00'}]},"
            "'deceasedBoolean':false,'contact':[{'relationship':[{'coding':[{'code':'N'}]}],'name':"
            "{'"
            "family':'D'}}],'managingOrganization':{'reference':'Organization/1'}"));
    VALID(STRICT, "{'resourceType':'Basic','code':{'text':'x'}}");
    VALID(STRICT, OBS("'valueQuantity':{'value':1.50,'unit':'kg'}"));
}

TEST(validate, unknown_members_are_told_by_name_only_when_harmless)
{
    (void)state;
    TOLD(STRUCTURE, PATIENT("'nickname':'x'"), "structure Patient.nickname");
    TOLD(STRUCTURE, PATIENT("'name':[{'familly':'x'}]"), "structure Patient.name[0].familly");
    TOLD(STRUCTURE, PATIENT("'Mr. Smith':'x'"), "structure Patient");
    TOLD(STRUCTURE, PATIENT("'':'x'"), "structure Patient");
    TOLD(STRUCTURE, PATIENT("'name2345678901234567890123456789012':'x'"), "structure Patient");
    TOLD(STRUCTURE, PATIENT("'fhir_comments':['x']"), "structure Patient");
    TOLD(STRUCTURE, OBS("'value':1"), "structure Observation.value");
    TOLD(STRUCTURE, OBS("'valueMoney':{'value':1}"), "structure Observation.valueMoney");
    TOLD(STRUCTURE, PATIENT("'name':[{'resourceType':'Patient'}]"),
         "structure Patient.name[0].resourceType");
    VALID(STRUCTURE, PATIENT("'\\u0061ctive':true"));
}

TEST(validate, json_types_are_those_of_the_elements)
{
    (void)state;
    TOLD(STRUCTURE, PATIENT("'active':'true'"), "structure Patient.active");
    TOLD(STRUCTURE, PATIENT("'active':1"), "structure Patient.active");
    TOLD(STRUCTURE, PATIENT("'birthDate':1974"), "structure Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'multipleBirthInteger':'2'"), "structure Patient.multipleBirth");
    TOLD(STRUCTURE, PATIENT("'maritalStatus':'M'"), "structure Patient.maritalStatus");
    TOLD(STRUCTURE, PATIENT("'name':['A']"), "structure Patient.name[0]");
    TOLD(STRUCTURE, PATIENT("'birthDate':{'value':'1974'}"), "structure Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'name':[[{'family':'A'}]]"), "structure Patient.name[0]");
    TOLD(STRUCTURE, OBS("'valueQuantity':{'value':'1.5'}"), "structure Observation.value.value");
}

TEST(validate, arrays_stand_where_elements_repeat_and_nowhere_else)
{
    (void)state;
    TOLD(STRUCTURE, PATIENT("'name':{'family':'A'}"), "structure Patient.name");
    TOLD(STRUCTURE, PATIENT("'name':[{'given':'A'}]"), "structure Patient.name[0].given");
    TOLD(STRUCTURE, PATIENT("'birthDate':['1974']"), "structure Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'maritalStatus':[{'text':'x'}]"), "structure Patient.maritalStatus");
    TOLD(STRUCTURE, PATIENT("'name':[]"), "structure Patient.name");
    TOLD(STRUCTURE, PATIENT("'name':[{'given':[]}]"), "structure Patient.name[0].given");
    TOLD(STRUCTURE, PATIENT("'name':[{}]"), "structure Patient.name[0]");
    TOLD(STRUCTURE, PATIENT("'maritalStatus':{}"), "structure Patient.maritalStatus");
    TOLD(STRUCTURE, PATIENT("'name':[{'family':''}]"), "value Patient.name[0].family");
}

TEST(validate, nothing_is_null_but_gaps_in_primitive_arrays)
{
    (void)state;
    TOLD(STRUCTURE, PATIENT("'active':null"), "structure Patient.active");
    TOLD(STRUCTURE, PATIENT("'name':null"), "structure Patient.name");
    TOLD(STRUCTURE, PATIENT("'name':[null]"), "structure Patient.name[0]");
    TOLD(STRUCTURE, PATIENT("'_active':null"), "structure Patient.active");
    TOLD(STRUCTURE, PATIENT("'name':[{'given':['A',null]}]"), "structure Patient.name[0].given[1]");
#define EXT "{'extension':[{'url':'u','valueCode':'c'}]}"
    VALID(STRUCTURE, PATIENT("'name':[{'given':['A',null],'_given':[null," EXT "]}]"));
    VALID(STRUCTURE, PATIENT("'name':[{'_given':[" EXT ",null],'given':[null,'A']}]"));
    VALID(STRUCTURE, PATIENT("'name':[{'_given':[" EXT "]}]"));
    VALID(STRUCTURE, PATIENT("'name':[{'given':['A','B'],'_given':[" EXT "]}]"));
    TOLD(STRUCTURE, PATIENT("'name':[{'given':[null,null],'_given':[" EXT ",null]}]"),
         "structure Patient.name[0].given[1]");
    TOLD(STRUCTURE, PATIENT("'name':[{'given':['A'],'_given':[null,null]}]"),
         "structure Patient.name[0].given[1]");
    TOLD(STRUCTURE, PATIENT("'name':[{'given':[null],'_given':" EXT "}]"),
         "structure Patient.name[0].given[0], structure Patient.name[0].given");
}

TEST(validate, twins_stand_beside_primitives_only)
{
    (void)state;
    VALID(STRICT, PATIENT("'_birthDate':" EXT));
    VALID(STRICT, PATIENT("'birthDate':'1974','_birthDate':{'id':'x'}"));
    TOLD(STRUCTURE, PATIENT("'_name':[" EXT "]"), "structure Patient._name");
    TOLD(STRUCTURE, PATIENT("'_birthDate':'x'"), "structure Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'_birthDate':[" EXT "]"), "structure Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'_birthDate':{}"), "structure Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'_birthDate':{'value':'x'}"), "structure Patient.birthDate.value");
    TOLD(STRUCTURE, PATIENT("'_birthDate':{'extension':[{'valueCode':'x'}]}"),
         "required Patient.birthDate.extension[0].url");
    TOLD(STRUCTURE, PATIENT("'name':[{'_id':" EXT "}]"), "structure Patient.name[0]._id");
    TOLD(STRUCTURE, PATIENT("'__birthDate':" EXT), "structure Patient");
    TOLD(STRUCTURE, PATIENT("'_':1"), "structure Patient._");
    VALID(STRUCTURE, OBS("'_valueString':" EXT ",'valueString':'x'"));
    VALID(STRUCTURE, "{'resourceType':'Observation','_status':" EXT ",'code':{'text':'x'}}");
}

TEST(validate, one_type_of_a_choice)
{
    (void)state;
    VALID(STRUCTURE, OBS("'valueString':'x'"));
    TOLD(STRUCTURE, OBS("'valueString':'x','valueBoolean':true"), "structure Observation.value");
    TOLD(STRUCTURE, OBS("'valueString':'x','_valueBoolean':" EXT), "structure Observation.value");
    TOLD(STRUCTURE, PATIENT("'deceasedBoolean':true,'deceasedDateTime':'2015'"),
         "structure Patient.deceased");
}

TEST(validate, members_are_there_once_and_required_ones_once_at_least)
{
    (void)state;
    TOLD(STRUCTURE, PATIENT("'active':true,'active':true"), "structure Patient.active");
    TOLD(STRUCTURE, PATIENT("'_birthDate':" EXT ",'_birthDate':" EXT),
         "structure Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'resourceType':'Patient'"), "structure Patient.resourceType");
    TOLD(STRUCTURE, "{'resourceType':'Observation'}",
         "required Observation.status, required Observation.code");
    TOLD(STRUCTURE, PATIENT("'communication':[{'preferred':true}]"),
         "required Patient.communication[0].language");
    TOLD(STRUCTURE,
         "{'resourceType':'MedicationRequest','status':'active','intent':'order',"
         "'subject':{'reference':'Patient/1'}}",
         "required MedicationRequest.medication");
}

TEST(validate, primitives_have_their_form)
{
    (void)state;
    TOLD(STRUCTURE, PATIENT("'birthDate':'1974-02-30'"), "value Patient.birthDate");
    TOLD(STRUCTURE, PATIENT("'deceasedDateTime':'1974-02-03T10:00'"), "value Patient.deceased");
    TOLD(STRUCTURE, PATIENT("'id':'a_b'"), "value Patient.id");
    TOLD(STRUCTURE, PATIENT("'implicitRules':'a b'"), "value Patient.implicitRules");
    TOLD(STRUCTURE, PATIENT("'gender':' male'"), "value Patient.gender");
    TOLD(STRUCTURE, PATIENT("'photo':[{'data':'A','contentType':'x'}]"),
         "value Patient.photo[0].data");
    TOLD(STRUCTURE, PATIENT("'telecom':[{'rank':0}]"), "value Patient.telecom[0].rank");
    TOLD(STRUCTURE, PATIENT("'multipleBirthInteger':1.0"), "value Patient.multipleBirth");
    TOLD(STRUCTURE, PATIENT("'name':[{'given':['A','\\u0000']}]"),
         "value Patient.name[0].given[1]");
    TOLD(STRUCTURE, PATIENT("'text':{'status':'empty','div':'<p/>'}"), "value Patient.text.div");
    TOLD(STRUCTURE, PATIENT("'meta':{'lastUpdated':'2020-01-01'}"),
         "value Patient.meta.lastUpdated");
    VALID(STRUCTURE, OBS("'valueQuantity':{'value':1e400}"));
}

TEST(validate, extensions_have_a_url_and_either_a_value_or_extensions)
{
    (void)state;
    VALID(STRICT, PATIENT("'extension':[{'url':'u','extension':[{'url':'v','valueInteger':1}]}]"));
    TOLD(STRUCTURE, PATIENT("'extension':[{'url':'u'}]"), "invariant Patient.extension[0]");
    TOLD(STRUCTURE,
         PATIENT("'extension':[{'url':'u','valueInteger':1,'extension':[{'url':'v','valueInteger':"
                 "1}]}]"),
         "invariant Patient.extension[0]");
    TOLD(STRUCTURE, PATIENT("'extension':[{'valueInteger':1}]"),
         "required Patient.extension[0].url");
    TOLD(STRUCTURE, PATIENT("'modifierExtension':[{'url':'u','valueFoo':1}]"),
         "structure Patient.modifierExtension[0].valueFoo, invariant Patient.modifierExtension[0]");
}

TEST(validate, references_are_to_types_that_are_allowed)
{
    (void)state;
#define SUBJECT(text) OBS("'subject':{'reference':'" text "'}")
    static const char *const good[] = {
        SUBJECT("Patient/1"),
        SUBJECT("Patient/1/_history/2"),
        SUBJECT("http://example.org/fhir/Patient/1"),
        SUBJECT("https://example.org/Practitioner/x/Patient/1/_history/7"),
        SUBJECT("urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
        SUBJECT("urn:oid:1.2.3"),
        SUBJECT("Patient?identifier=x|1"),
        SUBJECT("http://example.org/things/1"),
        SUBJECT("Group/1"),
        OBS("'subject':{'display':'x'}"),
        OBS("'subject':{'type':'Patient','identifier':{'value':'1'}}"),
        OBS("'focus':[{'reference':'Practitioner/1'}]"), /* any */
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        VALID(STRICT, good[i]);
    static const char *const bad[] = {
        SUBJECT("Practitioner/1"),
        SUBJECT("Practitioner/1/_history/2"),
        SUBJECT("http://example.org/fhir/Practitioner/1"),
        SUBJECT("https://example.org/Patient/x/Practitioner/1/_history/7"),
        SUBJECT("Practitioner?identifier=x"),
        SUBJECT("Patients/1"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        TOLD(STRUCTURE, bad[i], "value Observation.subject.reference");
    TOLD(STRUCTURE, OBS("'subject':{'type':'Practitioner','display':'x'}"),
         "value Observation.subject.type");
}

TEST(validate, local_references_lead_to_contained_resources)
{
    (void)state;
    VALID(STRICT, OBS("'contained':[{'resourceType':'Patient','id':'p','active':true}],'subject':{"
                      "'reference':'#p'}"));
    TOLD(STRICT,
         OBS("'contained':[{'resourceType':'Patient','id':'p','active':true}],'subject':{"
             "'reference':'#q'}"),
         "invariant Observation.subject.reference");
    TOLD(STRICT, OBS("'subject':{'reference':'#'}"), "invariant Observation.subject.reference");
    VALID(STRICT, OBS("'contained':[{'resourceType':'Provenance','id':'p','target':[{'reference':'"
                      "#'}],'recorded':'2015-01-01T00:00:00Z','agent':[{'who':{'reference':'#q'}}]"
                      "},{'resourceType':'Practitioner','id':'q','active':true}]"));
}

TEST(validate, contained_resources_keep_the_rules_of_their_own_type)
{
    (void)state;
#define CONTAINS(resource) OBS("'contained':[" resource "]")
    TOLD(STRUCTURE, CONTAINS("{'resourceType':'Patient','id':'p','status':'x'}"),
         "structure Observation.contained[0].status");
    TOLD(STRUCTURE, CONTAINS("{'resourceType':'Observation','id':'o'}"),
         "required Observation.contained[0].status, required Observation.contained[0].code");
    TOLD(STRUCTURE, CONTAINS("{'id':'p'}"), "required Observation.contained[0].resourceType");
    TOLD(STRUCTURE, CONTAINS("{'resourceType':'X'}"),
         "value Observation.contained[0].resourceType");
    TOLD(STRUCTURE, CONTAINS("1"), "structure Observation.contained[0]");
    TOLD(STRUCTURE,
         CONTAINS("{'resourceType':'Patient','contained':[{'resourceType':'Patient','id':'q'}]}"),
         "invariant Observation.contained[0].contained[0]");
    TOLD(STRICT, CONTAINS("{'resourceType':'Patient','meta':{'versionId':'1'}}"),
         "invariant Observation.contained[0].meta");
    TOLD(STRICT, CONTAINS("{'resourceType':'Patient','meta':{'security':[{'code':'R'}]}}"),
         "invariant Observation.contained[0].meta");
    VALID(STRICT, OBS("'meta':{'versionId':'1','security':[{'code':'R'}]}"));
}

TEST(validate, bundles_and_parameters_hold_resources)
{
    (void)state;
#define BUNDLE(resource) \
    "{'resourceType':'Bundle','type':'collection','entry':[{'resource':" resource "}]}"
    VALID(STRICT, BUNDLE(OBS("'contained':[{'resourceType':'Patient','id':'p','active':true}],"
                             "'subject':{'reference':'#p'}")));
    TOLD(STRICT, BUNDLE(PATIENT("'name':[{'family':1}]")),
         "structure Bundle.entry[0].resource.name[0].family");
    TOLD(STRUCTURE, BUNDLE("{'resourceType':'Patients'}"),
         "value Bundle.entry[0].resource.resourceType");
    TOLD(STRUCTURE, "{'resourceType':'Bundle'}", "required Bundle.type");
    TOLD(STRUCTURE,
         "{'resourceType':'Parameters','parameter':[{'name':'a','part':[{'name':'b','resource':"
         "{'resourceType':'Patient','active':0}}]}]}",
         "structure Parameters.parameter[0].part[0].resource.active");
    /* '#' looks into the entry's own resource */
    TOLD(STRICT,
         "{'resourceType':'Bundle','type':'collection','entry':[{'resource':" OBS(
             "'contained':[{'resourceType':'Patient','id':'p','active':true}]") "},{'resource'"
                                                                                ":" OBS(
                                                                                    "'subject':"
                                                                                    "{'"
                                                                                    "reference'"
                                                                                    ":'#p'}") "}]}",
         "invariant Bundle.entry[1].resource.subject.reference");
}

TEST(validate, strict_asks_for_codes_of_required_bindings)
{
    (void)state;
    VALID(STRUCTURE, PATIENT("'gender':'divers'"));
    TOLD(STRICT, PATIENT("'gender':'divers'"), "code-invalid Patient.gender");
    TOLD(STRICT, PATIENT("'name':[{'use':'x'}]"), "code-invalid Patient.name[0].use");
    TOLD(STRICT, PATIENT("'telecom':[{'system':'pager','value':'1','use':'home'},{'system':'x'}]"),
         "code-invalid Patient.telecom[1].system");
    /* preferred only */
    VALID(STRICT, PATIENT("'language':'xx-any'"));
#define CONDITION(status) \
    "{'resourceType':'Condition','clinicalStatus':" status ",'subject':{'display':'x'}}"
#define CLINICAL "http://terminology.hl7.org/CodeSystem/condition-clinical"
    VALID(STRICT, CONDITION("{'coding':[{'code':'x'},{'system':'" CLINICAL "','code':'active'}]}"));
    /* says why there is none */
    VALID(STRICT, CONDITION(EXT));
    TOLD(STRICT, CONDITION("{'coding':[{'system':'" CLINICAL "','code':'x'}]}"),
         "code-invalid Condition.clinicalStatus");
    TOLD(STRICT, CONDITION("{'coding':[{'system':'http://x','code':'active'}]}"),
         "code-invalid Condition.clinicalStatus");
    TOLD(STRICT, CONDITION("{'coding':[{'code':'active'}]}"),
         "code-invalid Condition.clinicalStatus");
    TOLD(STRICT, CONDITION("{'text':'active'}"), "code-invalid Condition.clinicalStatus");
    VALID(STRUCTURE, CONDITION("{'text':'active'}"));
#define FEE(currency) \
    "{'resourceType':'Invoice','status':'draft','totalNet':{'value':1,'currency':'" currency "'}}"
    VALID(STRICT, FEE("EUR"));
    TOLD(STRICT, FEE("eur"), "code-invalid Invoice.totalNet.currency");
    TOLD(STRICT, FEE("EURO"), "code-invalid Invoice.totalNet.currency");
    VALID(STRICT, PATIENT("'photo':[{'contentType':'what/ever','url':'http://x'}]"));
}

TEST(validate, strict_asks_for_constraints_on_presence)
{
    (void)state;
    VALID(STRUCTURE, PATIENT("'contact':[{'gender':'male'}]"));
    TOLD(STRICT, PATIENT("'contact':[{'gender':'male'}]"), "invariant Patient.contact[0]");
    TOLD(STRICT, PATIENT("'telecom':[{'value':'1'}]"), "invariant Patient.telecom[0]");
    TOLD(STRICT, OBS("'valueString':'x','dataAbsentReason':{'text':'x'}"), "invariant Observation");
    TOLD(STRICT, OBS("'valueQuantity':{'value':1,'code':'kg'}"), "invariant Observation.value");
    TOLD(STRICT, PATIENT("'name':[{'id':'x'}]"), "invariant Patient.name[0]");
    TOLD(STRICT, PATIENT("'_birthDate':{'id':'x'}"), "invariant Patient.birthDate");
    VALID(STRICT, "{'resourceType':'Patient','id':'x'}");
#define DISPENSE(quantity)                                                                   \
    "{'resourceType':'MedicationDispense','status':'completed','medicationCodeableConcept':" \
    "{'text':'x'},'quantity':" quantity "}"
    VALID(STRICT, DISPENSE("{'value':1}"));
    TOLD(STRICT, DISPENSE("{'value':1,'comparator':'<'}"), "invariant MedicationDispense.quantity");
}

TEST(validate, strict_asks_that_periods_run_forward)
{
    (void)state;
#define PERIOD(from, to) OBS("'effectivePeriod':{'start':'" from "','end':'" to "'}")
    VALID(STRICT, PERIOD("2015-01-02", "2015-01-02"));
    VALID(STRICT, PERIOD("2015-06", "2015"));
    VALID(STRICT, PERIOD("2015-01-01T12:00:00+02:00", "2015-01-01T10:00:00Z"));
    /* not one kind */
    VALID(STRICT, PERIOD("2015-01-01T23:00:00-10:00", "2015-01-01"));
    TOLD(STRICT, PERIOD("2015-01-03", "2015-01-02"), "invariant Observation.effective");
    TOLD(STRICT, PERIOD("2016", "2015-12-31"), "invariant Observation.effective");
    TOLD(STRICT, PERIOD("2015-01-01T12:00:00+02:00", "2015-01-01T09:59:59Z"),
         "invariant Observation.effective");
    VALID(STRUCTURE, PERIOD("2016", "2015"));
}

/* ---- limits ---- */

static struct fhir_issues validate_text(struct arena *a, sv text, fhir_validate_level level)
{
    yyjson_doc *doc;
    struct fhir_issues issues = { 0 };
    OK(json_read(a, text, 2000, &doc, e));
    OK(fhir_validate(yyjson_doc_get_root(doc), level, a, &issues, e));
    return issues;
}

TEST(validate, fifty_issues_are_enough)
{
    (void)state;
    for (unsigned n = 50; n <= 51; n++) {
        struct buf b = BUF_INIT(1 << 20);
        OK(buf_add(&b, SV_LIT("{\"resourceType\":\"Patient\",\"name\":["), e));
        for (unsigned i = 0; i < n; i++)
            OK(buf_add_fmt(&b, e, "%s{\"family\":1}", i ? "," : ""));
        OK(buf_add(&b, SV_LIT("]}"), e));
        struct fhir_issues issues = validate_text(arena(), buf_sv(&b), STRUCTURE);
        assert_int_equal(issues.n, FHIR_ISSUES_MAX);
        assert_int_equal(issues.more, n == 51);
        assert_sv(issues.items[49].path, SV_LIT("Patient.name[49].family"));
        buf_done(&b);
    }
}

TEST(validate, depth_is_guarded)
{
    (void)state;
    struct buf b = BUF_INIT(1 << 20);
    OK(buf_add(&b, SV_LIT("{\"resourceType\":\"Basic\",\"code\":{\"text\":\"x\"}"), e));
    for (unsigned i = 0; i < 400; i++)
        OK(buf_add(&b, SV_LIT(",\"extension\":[{\"url\":\"u\""), e));
    OK(buf_add(&b, SV_LIT(",\"valueInteger\":1"), e));
    for (unsigned i = 0; i < 400; i++)
        OK(buf_add(&b, SV_LIT("}]"), e));
    OK(buf_add(&b, SV_LIT("}"), e));
    struct fhir_issues issues = validate_text(arena(), buf_sv(&b), STRICT);
    assert_int_equal(issues.n, 1);
    assert_string_equal(issues.items[0].code, "too-costly");
    buf_done(&b);
}

TEST(validate, a_full_arena_is_an_error_and_leaves_the_answer_alone)
{
    (void)state;
    struct arena *a = arena(), *small = arena_new(600);
    yyjson_doc *doc;
    struct fhir_issues issues = { .n = 77 };
    OK(json_read(a, SV_LIT("{\"resourceType\":\"Patient\",\"x\":1,\"active\":1}"), 64, &doc, e));
    FAILS(ERR_TOO_LARGE, fhir_validate(yyjson_doc_get_root(doc), STRICT, small, &issues, e));
    assert_int_equal(issues.n, 77);
    arena_free(small);
}

TEST(validate, many_local_references_among_many_contained_come_to_an_end)
{
    (void)state;
    struct buf b = BUF_INIT(64 << 20);
    struct arena *a = arena_new(SIZE_MAX / 2);
    OK(buf_add(&b,
               SV_LIT("{\"resourceType\":\"List\",\"status\":\"current\",\"mode\":\"working\","
                      "\"contained\":["),
               e));
    for (unsigned i = 0; i < 20000; i++)
        OK(buf_add_fmt(&b, e,
                       "%s{\"resourceType\":\"Basic\",\"id\":\"b%u\",\"code\":{\"text\":"
                       "\"x\"}}",
                       i ? "," : "", i));
    OK(buf_add(&b, SV_LIT("],\"entry\":["), e));
    for (unsigned i = 0; i < 20000; i++)
        OK(buf_add_fmt(&b, e, "%s{\"item\":{\"reference\":\"#b%u\"}}", i ? "," : "", i));
    OK(buf_add(&b, SV_LIT("]}"), e));
    assert_int_equal(validate_text(a, buf_sv(&b), STRICT).n, 0);
    arena_free(a);
    buf_done(&b);
}

/* ---- HL7's examples ---- */

/* The examples, one a line; false when they are not on this machine. */
static bool examples(struct buf *out)
{
    char path[512];
    const char *source = getenv("FHIRLAKE_SOURCE");
    (void)snprintf(path, sizeof path, "%s/.deps/fhir-r4/examples.ndjson", source ? source : ".");
    if (access(path, F_OK) != 0) {
        print_message("no FHIR data: run ./dev fhir-data\n");
        return false;
    }
    OK(file_read(path, out, e));
    return true;
}

/* Examples that break rules of the definitions themselves, and how. */
static const struct exception {
    const char *type, *id;
    size_t n;
    const char *first;
} exceptions[] = {
    /* parent: Reference(Device), but it is a DeviceDefinition/dc102 */
    { "DeviceMetric", "example", 1, "value DeviceMetric.parent.reference" },
    /* reasonReference may not be to a Procedure; it is Procedure/example */
    { "DeviceUseStatement", "example", 1, "value DeviceUseStatement.reasonReference[0].reference" },
    /* dispenseRequest.performer: Reference(Organization), but it is Practitioner/f001 */
    { "MedicationRequest", "medrx0301", 1,
      "value MedicationRequest.dispenseRequest.performer.reference" },
    /* performer may not be an Encounter; it is Encounter/example */
    { "Observation", "clinical-gender", 1, "value Observation.performer[0].reference" },
    /* 32 of its nested items have no linkId, which is mandatory */
    { "Questionnaire", "qs1", 32, "required Questionnaire.item[0].item[0].linkId" },
};

static const struct exception *exception_of(yyjson_val *root)
{
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++)
        if (sv_eq_cstr(json_string(json_get(root, "resourceType")), exceptions[i].type) &&
            sv_eq_cstr(json_string(json_get(root, "id")), exceptions[i].id))
            return &exceptions[i];
    return NULL;
}

TEST(validate, the_examples_of_hl7_are_valid_but_five)
{
    (void)state;
    struct buf text = BUF_INIT(64 << 20);
    if (!examples(&text))
        skip();
    sv rest = buf_sv(&text), line;
    size_t n = 0, n_exceptions = 0;
    while (ndjson_line(&rest, &line)) {
        struct arena *a = arena();
        yyjson_doc *doc;
        struct fhir_issues issues;
        OK(json_read(a, line, 256, &doc, e));
        size_t used = arena_used(a);
        OK(fhir_validate(yyjson_doc_get_root(doc), STRICT, a, &issues, e));
        const struct exception *x = exception_of(yyjson_doc_get_root(doc));
        n++;
        if (issues.n != (x ? x->n : 0))
            fail_msg("%.*s/%.*s: %zu issues, the first at %.*s: %.*s",
                     SV_FMT(json_string(json_get(yyjson_doc_get_root(doc), "resourceType"))),
                     SV_FMT(json_string(json_get(yyjson_doc_get_root(doc), "id"))), issues.n,
                     SV_FMT(issues.n ? issues.items[0].path : SV_NONE),
                     SV_FMT(issues.n ? issues.items[0].text : SV_NONE));
        if (x) {
            char first[256];
            (void)snprintf(first, sizeof first, "%s %.*s", issues.items[0].code,
                           SV_FMT(issues.items[0].path));
            assert_string_equal(first, x->first);
            n_exceptions++;
        } else {
            assert_int_equal(arena_used(a), used);
        }
    }
    assert_int_equal(n, 904);
    assert_int_equal(n_exceptions, 5);
    buf_done(&text);
}

/* ---- mutations ---- */

#define SECRET "S3cr3t" /* stands in every bad value; no issue may repeat it */

struct mutant {
    yyjson_mut_doc *doc;
    unsigned step, place; /* every step-th place is mutated */
    size_t n;
    char path[1024];
};

/* Is the mutation told, with this code and path, and is nothing of its content? */
static void must_tell(struct mutant *m, const char *code, const char *path)
{
    struct arena *a = arena();
    struct fhir_issues issues;
    yyjson_doc *doc = yyjson_mut_doc_imut_copy(m->doc, NULL);
    OK(fhir_validate(yyjson_doc_get_root(doc), STRICT, a, &issues, e));
    bool found = false;
    for (size_t i = 0; i < issues.n; i++) {
        const struct fhir_issue *is = &issues.items[i];
        found = found || (strcmp(is->code, code) == 0 && sv_eq_cstr(is->path, path));
        if (memmem(is->text.ptr, is->text.len, SECRET, strlen(SECRET)) ||
            memmem(is->path.ptr, is->path.len, SECRET, strlen(SECRET)))
            fail_msg("%s: content in \"%.*s\" at \"%.*s\"", path, SV_FMT(is->text),
                     SV_FMT(is->path));
    }
    if (!found)
        fail_msg("%s: no issue \"%s\"; the first of %zu is %s %.*s: %.*s", path, code, issues.n,
                 issues.n ? issues.items[0].code : "-",
                 SV_FMT(issues.n ? issues.items[0].path : SV_NONE),
                 SV_FMT(issues.n ? issues.items[0].text : SV_NONE));
    yyjson_doc_free(doc);
    m->n++;
}

/* Overwrite a node in place; the caller keeps a copy to put back. */
static void become(yyjson_mut_val *v, const yyjson_mut_val *other)
{
    v->tag = other->tag;
    v->uni = other->uni;
}

static void mutate_node(struct mutant *m, yyjson_mut_val *v, yyjson_mut_val *bad, const char *code,
                        const char *path)
{
    yyjson_mut_val saved = *v;
    become(v, bad);
    must_tell(m, code, path);
    become(v, &saved);
}

static yyjson_mut_val *str(struct mutant *m, const char *text)
{
    return yyjson_mut_str(m->doc, text);
}

static void mutate_primitive(struct mutant *m, const struct fhir_member *f, yyjson_mut_val *v)
{
    fhir_json json = fhir_primitive_json(f->primitive);
    mutate_node(m, v, json == FHIR_JSON_STRING ? yyjson_mut_raw(m->doc, "17") : str(m, SECRET),
                "structure", m->path);
    mutate_node(m, v, yyjson_mut_obj(m->doc), "structure", m->path);
    if (json == FHIR_JSON_STRING)
        mutate_node(m, v, str(m, ""), "value", m->path);
    switch (f->primitive) {
    case FHIR_DATE:
    case FHIR_DATETIME:
    case FHIR_INSTANT:
        mutate_node(m, v, str(m, "2021-02-29"), "value", m->path);
        mutate_node(m, v, str(m, "2021-" SECRET), "value", m->path);
        break;
    case FHIR_INTEGER:
    case FHIR_UNSIGNEDINT:
    case FHIR_POSITIVEINT:
        mutate_node(m, v, yyjson_mut_raw(m->doc, "2147483648"), "value", m->path);
        break;
    case FHIR_CODE:
        mutate_node(m, v, str(m, SECRET "  " SECRET), "value", m->path);
        if (f->element->value_set && fhir_value_set_listed(f->element->value_set))
            mutate_node(m, v, str(m, SECRET), "code-invalid", m->path);
        break;
    case FHIR_URI:
    case FHIR_URL:
    case FHIR_CANONICAL:
    case FHIR_ID:
    case FHIR_OID:
    case FHIR_UUID:
    case FHIR_BASE64BINARY:
        mutate_node(m, v, str(m, "* " SECRET), "value", m->path);
        break;
    default:
        break;
    }
}

static void mutate_reference(struct mutant *m, const struct fhir_member *f, yyjson_mut_val *obj)
{
    yyjson_mut_val *text = yyjson_mut_obj_get(obj, "reference");
    if (f->targets == NULL || text == NULL)
        return;
    size_t n = strlen(m->path);
    (void)snprintf(m->path + n, sizeof m->path - n, ".reference");
    if (!fhir_target_ok(f->targets, fhir_type_find(SV_LIT("Linkage"))))
        mutate_node(m, text, str(m, "Linkage/" SECRET), "value", m->path);
    mutate_node(m, text, str(m, "#" SECRET), "invariant", m->path);
    m->path[n] = 0;
}

static void mutate_object(struct mutant *m, const struct fhir_structure *s, yyjson_mut_val *obj);

/* One value, of an array or on its own; the path is its. */
static void mutate_value(struct mutant *m, const struct fhir_member *f, yyjson_mut_val *v)
{
    bool here = m->place++ % m->step == 0;
    if (f->primitive) {
        if (here && !yyjson_mut_is_null(v))
            mutate_primitive(m, f, v);
        return;
    }
    if (here && f->type->role == FHIR_ROLE_ANY_RESOURCE) {
        size_t n = strlen(m->path);
        mutate_node(m, v, str(m, SECRET), "structure", m->path);
        (void)snprintf(m->path + n, sizeof m->path - n, ".resourceType");
        mutate_node(m, v, yyjson_mut_obj(m->doc), "required", m->path);
        mutate_node(m, yyjson_mut_obj_get(v, "resourceType"), str(m, SECRET), "value", m->path);
        m->path[n] = 0;
    } else if (here) {
        mutate_node(m, v, str(m, SECRET), "structure", m->path);
        mutate_node(m, v, yyjson_mut_obj(m->doc), "structure", m->path);
    }
    if (here && f->type->role == FHIR_ROLE_REFERENCE)
        mutate_reference(m, f, v);
    mutate_object(m, f->type, v);
}

static void mutate_member(struct mutant *m, const struct fhir_member *f, yyjson_mut_val *v)
{
    size_t n = strlen(m->path);
    (void)snprintf(m->path + n, sizeof m->path - n, ".%.*s", SV_FMT(f->element->name));
    bool here = m->place++ % m->step == 0;
    if (here) {
        mutate_node(m, v, yyjson_mut_null(m->doc), "structure", m->path);
        yyjson_mut_val *other = yyjson_mut_arr(m->doc);
        if (f->element->many)
            /* its first item alone */
            other = yyjson_mut_arr_get_first(v);
        else
            yyjson_mut_arr_append(other, yyjson_mut_val_mut_copy(m->doc, v));
        mutate_node(m, v, other, "structure", m->path);
        if (f->element->many)
            mutate_node(m, v, yyjson_mut_arr(m->doc), "structure", m->path);
    }
    if (f->element->many) {
        yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(v);
        yyjson_mut_val *item;
        size_t at = strlen(m->path);
        for (size_t i = 0; (item = yyjson_mut_arr_iter_next(&it)) != NULL; i++) {
            (void)snprintf(m->path + at, sizeof m->path - at, "[%zu]", i);
            mutate_value(m, f, item);
        }
    } else {
        mutate_value(m, f, v);
    }
    m->path[n] = 0;
}

/* Each required element taken away, each member under another name. */
static void mutate_names(struct mutant *m, const struct fhir_structure *s, yyjson_mut_val *obj)
{
    size_t n = strlen(m->path);
    yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(obj);
    yyjson_mut_val *key;
    while ((key = yyjson_mut_obj_iter_next(&it)) != NULL) {
        const struct fhir_member *f =
            fhir_member_find(s, sv_make(yyjson_mut_get_str(key), yyjson_mut_get_len(key)));
        if (f == NULL || m->place++ % m->step != 0)
            continue;
        (void)snprintf(m->path + n, sizeof m->path - n, ".elsewhere");
        mutate_node(m, key, str(m, "elsewhere"), "structure", m->path);
        (void)snprintf(m->path + n, sizeof m->path - n, ".%.*s", SV_FMT(f->element->name));
        char twin[80];
        (void)snprintf(twin, sizeof twin, "_%.*s", SV_FMT(f->name));
        if (f->element->required && yyjson_mut_obj_get(obj, twin) == NULL)
            mutate_node(m, key, str(m, "elsewhere"), "required", m->path);
        m->path[n] = 0;
        mutate_node(m, key, str(m, SECRET " and " SECRET), "structure", m->path);
    }
}

static void mutate_object(struct mutant *m, const struct fhir_structure *s, yyjson_mut_val *obj)
{
    if (s->role == FHIR_ROLE_ANY_RESOURCE)
        s = fhir_structure_of(
            fhir_type_find(sv_from(yyjson_mut_get_str(yyjson_mut_obj_get(obj, "resourceType")))));
    mutate_names(m, s, obj);
    yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(obj);
    yyjson_mut_val *key;
    while ((key = yyjson_mut_obj_iter_next(&it)) != NULL) {
        const struct fhir_member *f =
            fhir_member_find(s, sv_make(yyjson_mut_get_str(key), yyjson_mut_get_len(key)));
        if (f)
            mutate_member(m, f, yyjson_mut_obj_iter_get_val(key));
    }
}

TEST(validate, every_mutation_of_an_example_is_told_at_its_place)
{
    (void)state;
    struct buf text = BUF_INIT(64 << 20);
    if (!examples(&text))
        skip();
    struct mutant m = { .step = test_is_long() ? 1 : 7 };
    sv rest = buf_sv(&text), line;
    while (ndjson_line(&rest, &line)) {
        struct arena *a = arena_new(SIZE_MAX / 2);
        yyjson_doc *doc;
        OK(json_read(a, line, 256, &doc, e));
        yyjson_val *root = yyjson_doc_get_root(doc);
        if (line.len <= 65536 && exception_of(root) == NULL) {
            sv type = json_string(json_get(root, "resourceType"));
            m.doc = yyjson_doc_mut_copy(doc, NULL);
            (void)snprintf(m.path, sizeof m.path, "%.*s", SV_FMT(type));
            mutate_object(&m, fhir_structure_of(fhir_type_find(type)),
                          yyjson_mut_doc_get_root(m.doc));
            yyjson_mut_doc_free(m.doc);
        }
        arena_free(a);
    }
    print_message("%zu mutations\n", m.n);
    assert_true(m.n > 20000);
    buf_done(&text);
}

TEST_MAIN(T(validate, minimal_asks_for_an_object_of_a_known_type),
          T(validate, a_whole_resource_passes),
          T(validate, unknown_members_are_told_by_name_only_when_harmless),
          T(validate, json_types_are_those_of_the_elements),
          T(validate, arrays_stand_where_elements_repeat_and_nowhere_else),
          T(validate, nothing_is_null_but_gaps_in_primitive_arrays),
          T(validate, twins_stand_beside_primitives_only), T(validate, one_type_of_a_choice),
          T(validate, members_are_there_once_and_required_ones_once_at_least),
          T(validate, primitives_have_their_form),
          T(validate, extensions_have_a_url_and_either_a_value_or_extensions),
          T(validate, references_are_to_types_that_are_allowed),
          T(validate, local_references_lead_to_contained_resources),
          T(validate, contained_resources_keep_the_rules_of_their_own_type),
          T(validate, bundles_and_parameters_hold_resources),
          T(validate, strict_asks_for_codes_of_required_bindings),
          T(validate, strict_asks_for_constraints_on_presence),
          T(validate, strict_asks_that_periods_run_forward), T(validate, fifty_issues_are_enough),
          T(validate, depth_is_guarded),
          T(validate, a_full_arena_is_an_error_and_leaves_the_answer_alone),
          T(validate, many_local_references_among_many_contained_come_to_an_end),
          T(validate, the_examples_of_hl7_are_valid_but_five),
          T(validate, every_mutation_of_an_example_is_told_at_its_place))
