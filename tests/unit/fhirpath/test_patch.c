/* FHIRPath Patch: what each operation does, and what it refuses. JSON is written with ' for " and
 * with ` for ' here. HL7's cases are in test_patch_hl7.c. */
#include "test.h"

#include "fhirpath/patch.h"

#define DEPTH 32u

#define OP(type, path, more)                                                              \
    "{'name':'operation','part':[{'name':'type','valueCode':'" type "'},{'name':'path','" \
    "valueString':'" path "'}" more "]}"
#define NAME(n)            ",{'name':'name','valueString':'" n "'}"
#define VALUE(v)           ",{'name':'value'," v "}"
#define NUMBER(name, n)    ",{'name':'" name "','valueInteger':" n "}"
#define ADD(path, n, v)    OP("add", path, NAME(n) VALUE(v))
#define REPLACE(path, v)   OP("replace", path, VALUE(v))
#define DELETE(path)       OP("delete", path, "")
#define INSERT(path, i, v) OP("insert", path, NUMBER("index", i) VALUE(v))
#define MOVE(path, s, d)   OP("move", path, NUMBER("source", s) NUMBER("destination", d))

static char said[ERR_MSG_LEN];

static sv quoted(struct arena *a, const char *text)
{
    char *copy = arena_str(a, sv_from(text));
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c == '`' ? '\'' : *c;
    return sv_from(copy);
}

static err_code try(struct arena *a, const char *target, const char *operations, size_t memory,
                    unsigned depth, struct buf *out)
{
    const struct fhirpath_patch_limits limits = { .depth = depth,
                                                  .memory_bytes = memory,
                                                  .now_ms = INT64_C(1767225600000) };
    yyjson_doc *t, *p;
    struct err err = { 0 };
    sv text = arena_fmt(a, "{'resourceType':'Parameters','parameter':[%s]}", operations);
    OK(json_read(a, quoted(a, target), 64, &t, e));
    OK(json_read(a, quoted(a, text.ptr), 64, &p, e));
    err_code rc =
        fhirpath_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), a, &limits, out, &err);
    (void)snprintf(said, sizeof said, "%s", err.msg);
    return rc;
}

static void makes(const char *target, const char *operations, const char *result)
{
    struct arena *a = arena_new(8u << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1u << 20);
    err_code rc = try(a, target, operations, 1u << 20, DEPTH, &out);
    if (rc != ERR_OK)
        fail_msg("%s: %s", operations, said);
    assert_sv(buf_sv(&out), quoted(a, result));
    arena_free(a);
}

/* Operations with commas between them. */
static const char *joined(const char *const *operations)
{
    static char text[4096];
    size_t n = 0;
    for (; *operations; operations++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? "," : "", *operations);
    assert_true(n < sizeof text);
    return text;
}
#define ALL(...) joined((const char *const[]){ __VA_ARGS__, NULL })

static void fails(const char *target, const char *operations, err_code want, const char *why)
{
    struct arena *a = arena_new(8u << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1u << 20);
    err_code rc = try(a, target, operations, 1u << 20, DEPTH, &out);
    if (rc != want || strstr(said, why) == NULL)
        fail_msg("%s: %s, and not %s: %s", operations, rc == ERR_OK ? "done" : said,
                 err_code_name(want), why);
    assert_int_equal(out.len, 0);
    arena_free(a);
}

#define P(more)   "{'resourceType':'Patient','id':'p'" more "}"
#define NAMES     ",'name':[{'family':'A','given':['a','b','c']},{'family':'B'}]"
#define HALF_TWIN ",'name':[{'given':['a',null,'c'],'_given':[null,{'id':'g'}]}]"

TEST(patch, adds_what_is_not_there_and_appends_to_lists)
{
    (void)state;
    makes(P(""), ADD("Patient", "active", "'valueBoolean':true"), P(",'active':true"));
    makes(P(""), ADD("Patient", "multipleBirth", "'valueInteger':2"),
          P(",'multipleBirthInteger':2"));
    makes(P(NAMES), ADD("Patient.name[1]", "given", "'valueString':'d'"),
          P(",'name':[{'family':'A','given':['a','b','c']},{'family':'B','given':['d']}]"));
    makes(P(NAMES), ADD("Patient.name.first()", "given", "'valueString':'d'"),
          P(",'name':[{'family':'A','given':['a','b','c','d']},{'family':'B'}]"));
    makes(P(NAMES), ADD("Patient.name.where(family = `B`)", "use", "'valueCode':'usual'"),
          P(",'name':[{'family':'A','given':['a','b','c']},{'family':'B','use':'usual'}]"));
    makes(P(HALF_TWIN), ADD("Patient.name", "given", "'valueString':'d'"),
          P(",'name':[{'given':['a',null,'c','d'],'_given':[null,{'id':'g'},null,null]}]"));
    /* digits stay */
    makes("{'resourceType':'Observation'}",
          ADD("Observation", "value", "'valueQuantity':{'value':1.500}"),
          "{'resourceType':'Observation','valueQuantity':{'value':1.500}}");
    fails(P(",'active':true"), ADD("Patient", "active", "'valueBoolean':true"), ERR_UNPROCESSABLE,
          "Operation 1 of the patch (add) cannot be applied: the element is there already");
    fails(P(NAMES), ADD("Patient.name", "use", "'valueCode':'usual'"), ERR_UNPROCESSABLE,
          "several elements");
    fails(P(""), ADD("Patient.name", "use", "'valueCode':'usual'"), ERR_UNPROCESSABLE,
          "finds nothing");
    fails(P(""), ADD("Patient", "colour", "'valueCode':'red'"), ERR_UNPROCESSABLE,
          "no element of that name");
    fails(P(""), ADD("Patient", "resourceType", "'valueCode':'Group'"), ERR_UNPROCESSABLE,
          "no element of that name");
    fails(P(""), ADD("Patient", "active", "'valueString':'true'"), ERR_UNPROCESSABLE, "type");
    fails(P(""), ADD("Patient", "name", "'valueAddress':{'city':'c'}"), ERR_UNPROCESSABLE, "type");
}

TEST(patch, a_choice_is_named_by_its_type)
{
    (void)state;
    makes(P(""), ADD("Patient", "deceased", "'valueBoolean':false"), P(",'deceasedBoolean':false"));
    makes(P(""), ADD("Patient", "deceasedBoolean", "'valueBoolean':false"),
          P(",'deceasedBoolean':false"));
    makes(P(",'deceasedBoolean':true,'active':true"),
          REPLACE("Patient.deceased", "'valueDateTime':'2020'"),
          P(",'deceasedDateTime':'2020','active':true"));
    makes(P(",'deceasedBoolean':true"), DELETE("Patient.deceased"), P(""));
    fails(P(""), ADD("Patient", "deceased", "'valueString':'x'"), ERR_UNPROCESSABLE, "type");
    fails(P(""), ADD("Patient", "deceasedBoolean", "'valueDateTime':'2020'"), ERR_UNPROCESSABLE,
          "type");
    fails(P(",'deceasedDateTime':'2020'"), ADD("Patient", "deceased", "'valueBoolean':true"),
          ERR_UNPROCESSABLE, "there already");
}

TEST(patch, parts_in_a_value_are_its_elements)
{
    (void)state;
    makes(P(""),
          ADD("Patient", "contact",
              "'part':[{'name':'name','valueHumanName':{'text':'n'}},{'name':'telecom','part':[{'"
              "name':'value','valueString':'1'}]},{'name':'telecom','valueContactPoint':{'value':'"
              "2'}}]"),
          P(",'contact':[{'name':{'text':'n'},'telecom':[{'value':'1'},{'value':'2'}]}]"));
    makes("{'resourceType':'Specimen'}",
          ADD("Specimen", "processing",
              "'part':[{'name':'time','valueDateTime':'2021'},{'name':'extension','part':[{'name':"
              "'url','valueUri':'u'},{'name':'value','valueReference':{'reference':'D/1'}}]}]"),
          "{'resourceType':'Specimen','processing':[{'timeDateTime':'2021','extension':[{'url':'u',"
          "'valueReference':{'reference':'D/1'}}]}]}");
    makes(P(""),
          ADD("Patient", "name",
              "'part':[{'name':'given','valueString':'a','_valueString':{'id':"
              "'g'}},{'name':'given','_valueString':{'id':'h'}}]"),
          P(",'name':[{'given':['a',null],'_given':[{'id':'g'},{'id':'h'}]}]"));
    makes(P(""), ADD("Patient", "contained", "'resource':{'resourceType':'Basic','id':'b'}"),
          P(",'contained':[{'resourceType':'Basic','id':'b'}]"));
    fails(P(""),
          ADD("Patient", "contact",
              "'part':[{'name':'gender','valueCode':'male'},{'name':'"
              "gender','valueCode':'female'}]"),
          ERR_UNPROCESSABLE, "twice");
    fails(P(""), ADD("Patient", "contact", "'part':[{'name':'genre','valueCode':'male'}]"),
          ERR_UNPROCESSABLE, "no element of that name");
    fails(P(""), ADD("Patient", "contact", "'part':[{'name':'gender'}]"), ERR_INVALID,
          "its value has no value");
    fails(P(""), ADD("Patient", "active", "'part':[{'name':'id','valueString':'x'}]"),
          ERR_UNPROCESSABLE, "type");
    fails(P(""), ADD("Patient", "contained", "'valueString':'x'"), ERR_UNPROCESSABLE, "type");
    fails(P(""), ADD("Patient", "name", "'resource':{'resourceType':'Basic'}"), ERR_UNPROCESSABLE,
          "type");
}

TEST(patch, a_primitive_and_its_twin_are_one_element)
{
    (void)state;
    makes(P(",'birthDate':'2000','_birthDate':{'id':'b'}"),
          REPLACE("Patient.birthDate", "'valueDate':'2001'"), P(",'birthDate':'2001'"));
    makes(P(",'birthDate':'2000'"), REPLACE("Patient.birthDate", "'_valueDate':{'id':'x'}"),
          P(",'_birthDate':{'id':'x'}"));
    makes(P(",'_birthDate':{'id':'b'}"), REPLACE("Patient.birthDate", "'valueDate':'2001'"),
          P(",'birthDate':'2001'"));
    makes(P(",'birthDate':'2000','_birthDate':{'id':'b'}"), DELETE("Patient.birthDate"), P(""));
    makes(P(",'_birthDate':{'id':'b'}"), DELETE("Patient.birthDate"), P(""));
    fails(P(",'_birthDate':{'id':'b'}"), ADD("Patient", "birthDate", "'valueDate':'2001'"),
          ERR_UNPROCESSABLE, "there already");
    /* an extension of a primitive goes into its twin, and out of it */
    fails(P(",'birthDate':'2000'"),
          ADD("Patient.birthDate", "extension", "'valueExtension':{'url':'u','valueCode':'c'}"),
          ERR_INVALID, "no part of Parameters has");
    makes(P(",'birthDate':'2000'"),
          ADD("Patient.birthDate", "extension",
              "'part':[{'name':'url','valueUri':'u'},{'name':'value','valueCode':'c'}]"),
          P(",'birthDate':'2000','_birthDate':{'extension':[{'url':'u','valueCode':'c'}]}"));
    makes(P(",'birthDate':'2000','_birthDate':{'extension':[{'url':'u','valueCode':'c'}]}"),
          DELETE("Patient.birthDate.extension(`u`)"), P(",'birthDate':'2000'"));
    makes(P(HALF_TWIN), ADD("Patient.name.given[0]", "id", "'valueString':'i'"),
          P(",'name':[{'given':['a',null,'c'],'_given':[{'id':'i'},{'id':'g'},null]}]"));
    makes(P(HALF_TWIN), DELETE("Patient.name.given[1].id"), P(",'name':[{'given':['a','c']}]"));
    makes(P(HALF_TWIN), DELETE("Patient.name.given[1]"), P(",'name':[{'given':['a','c']}]"));
    makes(P(HALF_TWIN), DELETE("Patient.name.given[0]"),
          P(",'name':[{'given':[null,'c'],'_given':[{'id':'g'}]}]"));
    makes(P(HALF_TWIN), MOVE("Patient.name.given", "1", "2"),
          P(",'name':[{'given':['a','c',null],'_given':[null,null,{'id':'g'}]}]"));
    makes(P(HALF_TWIN), REPLACE("Patient.name.given[1]", "'valueString':'b'"),
          P(",'name':[{'given':['a','b','c']}]"));
    makes(P(",'name':[{'given':['a']}]"),
          INSERT("Patient.name.given", "0", "'_valueString':{'id':'g'}"),
          P(",'name':[{'given':[null,'a'],'_given':[{'id':'g'},null]}]"));
    /* ids of elements are no primitives with twins */
    fails(P(""), ADD("Patient", "language", "'valueCode':'de','_valueString':{'id':'x'}"),
          ERR_INVALID, "more than one value");
    fails(P(NAMES), ADD("Patient.name[0]", "id", "'_valueString':{'id':'x'}"), ERR_UNPROCESSABLE,
          "type");
}

TEST(patch, inserts_and_moves_count_in_the_whole_list)
{
    (void)state;
    makes(P(NAMES), INSERT("Patient.name[0].given", "1", "'valueString':'x'"),
          P(",'name':[{'family':'A','given':['a','x','b','c']},{'family':'B'}]"));
    makes(P(NAMES), INSERT("Patient.name[0].given", "3", "'valueString':'x'"),
          P(",'name':[{'family':'A','given':['a','b','c','x']},{'family':'B'}]"));
    makes(P(""), INSERT("Patient.name", "0", "'valueHumanName':{'text':'t'}"),
          P(",'name':[{'text':'t'}]"));
    makes(P(NAMES), INSERT("Patient.name[1].given", "0", "'valueString':'x'"),
          P(",'name':[{'family':'A','given':['a','b','c']},{'family':'B','given':['x']}]"));
    fails(P(""), INSERT("Patient.name", "1", "'valueHumanName':{'text':'t'}"), ERR_UNPROCESSABLE,
          "beyond the end");
    fails(P(""), INSERT("Patient.maritalStatus", "0", "'valueCodeableConcept':{'text':'t'}"),
          ERR_UNPROCESSABLE, "one list");
    fails(P(""), INSERT("Patient.name[0]", "0", "'valueHumanName':{'text':'t'}"), ERR_UNPROCESSABLE,
          "finds nothing");
    fails(P(NAMES), INSERT("Patient.name[0].given", "4", "'valueString':'x'"), ERR_UNPROCESSABLE,
          "beyond the end");
    fails(P(NAMES), INSERT("Patient.name.given.first()", "0", "'valueString':'x'"),
          ERR_UNPROCESSABLE, "part of a list");
    fails(P(NAMES), INSERT("Patient.name.family", "0", "'valueString':'x'"), ERR_UNPROCESSABLE,
          "one list");
    fails(P(NAMES), INSERT("Patient.name[0].given | Patient.name", "0", "'valueString':'x'"),
          ERR_UNPROCESSABLE, "one list");
    makes(P(NAMES), MOVE("Patient.name[0].given", "0", "2"),
          P(",'name':[{'family':'A','given':['b','c','a']},{'family':'B'}]"));
    makes(P(NAMES), MOVE("Patient.name[0].given", "2", "2"), P(NAMES));
    makes(P(NAMES), MOVE("Patient.name", "1", "0"),
          P(",'name':[{'family':'B'},{'family':'A','given':['a','b','c']}]"));
    fails(P(NAMES), MOVE("Patient.name", "0", "2"), ERR_UNPROCESSABLE, "beyond the end");
    fails(P(NAMES), MOVE("Patient.name", "2", "0"), ERR_UNPROCESSABLE, "beyond the end");
    fails(P(""), MOVE("Patient.name", "0", "0"), ERR_UNPROCESSABLE, "finds nothing");
    /* as the path finds them is not as they stand in the list */
    fails(P(NAMES), MOVE("Patient.name[0] | Patient.name[0].given.take(1)", "0", "1"),
          ERR_UNPROCESSABLE, "one list");
    fails(P(NAMES), MOVE("Patient.name[1].combine(Patient.name[0])", "0", "1"), ERR_UNPROCESSABLE,
          "one list");
    makes(P(HALF_TWIN), MOVE("Patient.name.given", "1", "0"),
          P(",'name':[{'given':[null,'a','c'],'_given':[{'id':'g'},null,null]}]"));
}

/* Of a list, one item is looked for in the resource, and not each: minutes else. */
TEST(patch, a_long_list_costs_no_more_than_its_length)
{
    (void)state;
    struct arena *a = arena_new(512u << 20);
    CLEANUP_BUF struct buf target = BUF_INIT(8u << 20), out = BUF_INIT(8u << 20);
    OK(buf_add_fmt(&target, e, "{'resourceType':'Patient','name':[{'given':['a'"));
    for (unsigned i = 1; i < 300000; i++)
        OK(buf_add(&target, SV_LIT(",'a'"), e));
    OK(buf_add(&target, SV_LIT("]}]}\0"), e));
    err_code rc = try(a, target.ptr, INSERT("Patient.name.given", "300000", "'valueString':'b'"),
                      256u << 20, DEPTH, &out);
    if (rc != ERR_OK)
        fail_msg("%s", said);
    assert_true(sv_ends(buf_sv(&out), SV_LIT(",\"a\",\"a\",\"b\"]}]}")));
    arena_free(a);
}

TEST(patch, deletes_one_or_nothing_and_leaves_nothing_empty)
{
    (void)state;
    makes(P(NAMES), DELETE("Patient.birthDate"), P(NAMES));
    makes(P(NAMES), DELETE("Patient.name[7]"), P(NAMES));
    makes(P(NAMES), DELETE("Patient.name[1].family"),
          P(",'name':[{'family':'A','given':['a','b','c']}]"));
    makes(P(",'contact':[{'name':{'family':'f'}}]"), DELETE("Patient.contact.name.family"), P(""));
    makes(P(",'contact':[{'name':{'_family':{'extension':[{'url':'u','valueCode':'c'}]}}}]"),
          DELETE("Patient.contact.name.family.extension"), P(""));
    fails(P(NAMES), DELETE("Patient.name"), ERR_UNPROCESSABLE, "several elements");
    fails(P(""), DELETE("Patient"), ERR_UNPROCESSABLE, "the resource as a whole");
    /* a slip is no element that is not there */
    fails(P(""), DELETE("Patient.birthdate"), ERR_UNPROCESSABLE, "no element of that name");
    fails(P(""), DELETE("Observation.status"), ERR_UNPROCESSABLE, "no element of that name");
}

TEST(patch, operations_see_what_those_before_them_made)
{
    (void)state;
    makes(P(""),
          ALL(ADD("Patient", "name", "'valueHumanName':{'family':'A'}"),
              ADD("Patient.name", "given", "'valueString':'x'"),
              REPLACE("Patient.name.given[0]", "'valueString':'y'"),
              ADD("Patient", "name", "'valueHumanName':{'family':'B'}"),
              MOVE("Patient.name", "0", "1"), DELETE("Patient.name[0]")),
          P(",'name':[{'family':'A','given':['y']}]"));
    fails(P(""),
          ALL(ADD("Patient", "active", "'valueBoolean':true"),
              ADD("Patient", "active", "'valueBoolean':false")),
          ERR_UNPROCESSABLE, "Operation 2 of the patch (add)");
    makes(P(NAMES), "", P(NAMES));
    /* in what is contained, too */
    makes(P(",'contained':[{'resourceType':'Observation','id':'o','meta':{'versionId':'4'}}]"),
          ALL(REPLACE("Patient.contained.meta.versionId", "'valueId':'5'"),
              ADD("Patient.contained", "value", "'valueInteger':3")),
          P(",'contained':[{'resourceType':'Observation','id':'o','meta':{'versionId':'5'},'"
            "valueInteger':3}]"));
}

TEST(patch, what_the_server_owns_stays)
{
    (void)state;
    static const char *const target =
        P(",'meta':{'versionId':'3','lastUpdated':'2020-01-01T00:00:00Z','tag':[{'code':'t'}]}");
    static const char *const refused[] = {
        DELETE("Patient.id"),
        REPLACE("Patient.id", "'valueId':'q'"),
        REPLACE("id", "'valueId':'q'"),
        REPLACE("Patient.meta.versionId", "'valueId':'4'"),
        DELETE("Patient.meta.versionId"),
        DELETE("Patient.meta.lastUpdated"),
        ADD("Patient.meta.versionId", "extension",
            "'part':[{'name':'url','valueUri':'u'},{'name':'value','valueCode':'c'}]"),
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        fails(target, refused[i], ERR_UNPROCESSABLE, "not to be changed");
    fails(P(",'meta':{'tag':[{'code':'t'}]}"), ADD("Patient.meta", "versionId", "'valueId':'4'"),
          ERR_UNPROCESSABLE, "not to be changed");
    makes(target, DELETE("Patient.meta.tag"),
          P(",'meta':{'versionId':'3','lastUpdated':'2020-01-01T00:00:00Z'}"));
}

TEST(patch, a_path_must_find_elements_of_the_resource)
{
    (void)state;
    fails(P(NAMES), REPLACE("Patient.name.count()", "'valueInteger':1"), ERR_UNPROCESSABLE,
          "no element of the resource");
    fails(P(NAMES), DELETE("`text`"), ERR_UNPROCESSABLE, "no element of the resource");
    fails(
        P(NAMES), DELETE("Patient.name["), ERR_INVALID,
        "Operation 1 of the patch: its path cannot be read: line 1, column 14 of the expression: ");
    fails(P(NAMES), DELETE("Patient.name.memberOf(`x`)"), ERR_INVALID, "its path cannot be read");
    fails(P(NAMES), DELETE("Patient.name.given.single()"), ERR_UNPROCESSABLE,
          "Operation 1 of the patch (delete) cannot be applied: line 1, column 20 of the "
          "expression: ");
    fails(P(NAMES), REPLACE("Patient.name.where(family = `Z`).family", "'valueString':'x'"),
          ERR_UNPROCESSABLE, "finds nothing");
    /* no word of what is there, or of the path */
    assert_null(strstr(said, "Z"));
}

TEST(patch, an_operation_has_its_parts_and_no_others)
{
    (void)state;
    static const struct {
        const char *operation, *why;
    } bad[] = {
        { "7", "must be an object" },
        { "{'part':[{'name':'type','valueCode':'delete'}]}", "no name" },
        { "{'name':'operation'}", "named operation and have parts" },
        { "{'name':'op','part':[{'name':'type','valueCode':'delete'}]}", "named operation" },
        { OP("delete", "Patient.active", ",{'name':'colour','valueCode':'x'}"),
          "no operation has" },
        { OP("delete", "Patient.active", NAME("x")), "delete has no name" },
        { OP("delete", "Patient.active", ",{'name':'path','valueString':'x'}"),
          "more than one path" },
        { OP("remove", "Patient.active", ""), "type must be add, insert" },
        { OP("add", "Patient", NAME("active")), "add needs value" },
        { OP("add", "Patient", VALUE("'valueBoolean':true")), "add needs name" },
        { OP("insert", "Patient.name", VALUE("'valueString':'x'")), "insert needs index" },
        { OP("move", "Patient.name", NUMBER("source", "0")), "move needs destination" },
        { OP("move", "Patient.name", NUMBER("source", "0") NUMBER("destination", "-1")),
          "destination must be a valueInteger" },
        { OP("move", "Patient.name", ",{'name':'source','valueString':'0'}"),
          "source must be a valueInteger" },
        { "{'name':'operation','part':[{'name':'path','valueString':'Patient'}]}", "type must be" },
        { "{'name':'operation','part':[{'name':'type','valueCode':'delete'}]}", "needs path" },
        { ADD("Patient", "active", "'valueBoolean':true,'valueString':'x'"),
          "more than one value" },
        { ADD("Patient", "active", "'valueBoolean':true,'part':[{'name':'x'}]"),
          "more than one value" },
        { ADD("Patient", "active", "'valueBoolean':{}"), "not of the type" },
        { ADD("Patient", "name", "'valueHumanName':'x'"), "not of the type" },
        { ADD("Patient", "active", "'valueTruth':true"), "no part of Parameters" },
        { ADD("Patient", "active", "'_valueBoolean':3"), "no part of Parameters" },
        { ADD("Patient", "active", "'valueBoolean':true,'modifierExtension':[]"),
          "no part of Parameters" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        fails(P(NAMES), bad[i].operation, ERR_INVALID, bad[i].why);
    struct arena *a = arena_new(1u << 20);
    static const char *const no_patch[] = { "[]", "{'resourceType':'Patient'}",
                                            "{'resourceType':'Parameters','parameter':{}}",
                                            "{'resourceType':'Parameters','text':{}}" };
    const struct fhirpath_patch_limits limits = { .depth = DEPTH, .memory_bytes = 1u << 20 };
    for (size_t i = 0; i < sizeof no_patch / sizeof *no_patch; i++) {
        CLEANUP_BUF struct buf out = BUF_INIT(1u << 20);
        yyjson_doc *t, *p;
        OK(json_read(a, quoted(a, P("")), 64, &t, e));
        OK(json_read(a, quoted(a, no_patch[i]), 64, &p, e));
        FAILS(ERR_INVALID,
              fhirpath_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), a, &limits, &out, e));
    }
    arena_free(a);
}

/* n operations, each of which puts an extension into the one before it. */
static err_code deep(unsigned n, unsigned depth)
{
    struct arena *a = arena_new(32u << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(8u << 20), path = BUF_INIT(1u << 20),
                           out = BUF_INIT(1u << 20);
    OK(buf_add(&path, SV_LIT("Patient"), e));
    for (unsigned i = 0; i < n; i++) {
        OK(buf_add_fmt(&text, e,
                       "%s" ADD("%.*s", "extension", "'part':[{'name':'url','valueUri':'u'}]"),
                       i ? "," : "", (int)path.len, path.ptr));
        OK(buf_add(&path, SV_LIT(".extension"), e));
    }
    OK(buf_add_char(&text, 0, e));
    err_code rc = try(a, P(""), text.ptr, 1u << 20, depth, &out);
    arena_free(a);
    return rc;
}

TEST(patch, depth_memory_and_number_are_bounded)
{
    (void)state;
    /* an extension is an object in a list: the resource is the first level */
    assert_int_equal(deep(10, 21), ERR_OK);
    assert_int_equal(deep(10, 20), ERR_TOO_LARGE);
    assert_non_null(strstr(said, "Operation 10 of the patch makes the resource nest deeper"));
    struct arena *a = arena_new(8u << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1u << 20), small = BUF_INIT(20);
    const char *two =
        ALL(ADD("Patient", "active", "'valueBoolean':true"), DELETE("Patient.active"));
    assert_int_equal(try(a, P(NAMES), two, 100, DEPTH, &out), ERR_TOO_LARGE);
    assert_int_equal(try(a, P(NAMES), two, 1u << 20, DEPTH, &small), ERR_TOO_LARGE);
    struct arena *little = arena_new(200);
    const struct fhirpath_patch_limits fine = { .depth = DEPTH, .memory_bytes = 1u << 20 };
    yyjson_doc *t, *p;
    sv text = arena_fmt(a, "{'resourceType':'Parameters','parameter':[%s]}", two);
    OK(json_read(a, quoted(a, P(NAMES)), 64, &t, e));
    OK(json_read(a, quoted(a, text.ptr), 64, &p, e));
    yyjson_val *target = yyjson_doc_get_root(t), *patch = yyjson_doc_get_root(p);
    FAILS(ERR_TOO_LARGE, fhirpath_patch(target, patch, little, &fine, &out, e));
    CLEANUP_BUF struct buf many = BUF_INIT(1u << 20);
    for (unsigned i = 0; i <= FHIRPATH_PATCH_OPS_MAX; i++)
        OK(buf_add_fmt(&many, e, "%s%s", i ? "," : "", DELETE("Patient.active")));
    OK(buf_add_char(&many, 0, e));
    assert_int_equal(try(a, P(""), many.ptr, 1u << 20, DEPTH, &out), ERR_TOO_LARGE);
    assert_non_null(strstr(said, "at most 1000 operations"));
    assert_int_equal(out.len, 0);
    arena_free(little);
    arena_free(a);
}

static err_code look(void *ctx, struct err *e)
{
    unsigned *left = ctx;
    return (*left)-- ? ERR_OK : ERR(e, ERR_CANCELLED, "it is enough");
}

/* How often a patch of these operations looks whether it may go on; *rc: with so many looks. */
static unsigned looks(const char *operations, unsigned most, err_code *rc)
{
    struct arena *a = arena_new(8u << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1u << 20);
    unsigned left = most;
    const struct fhirpath_patch_limits limits = {
        .depth = DEPTH, .memory_bytes = 32u << 20, .look = look, .look_ctx = &left
    };
    yyjson_doc *t, *p;
    struct err err = { 0 };
    sv text = arena_fmt(a, "{'resourceType':'Parameters','parameter':[%s]}", operations);
    OK(json_read(a, quoted(a, P(NAMES)), 64, &t, e));
    OK(json_read(a, quoted(a, text.ptr), 64, &p, e));
    *rc = fhirpath_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), a, &limits, &out, &err);
    assert_true(*rc != ERR_CANCELLED || (out.len == 0 && strcmp(err.msg, "it is enough") == 0));
    arena_free(a);
    return *rc == ERR_CANCELLED ? most : most - left;
}

TEST(patch, it_asks_whether_it_may_go_on)
{
    (void)state;
    err_code rc;
    const char *two =
                   ALL(ADD("Patient", "active", "'valueBoolean':true"), DELETE("Patient.active")),
               *work = DELETE("Patient.name.where(1.repeat($this + 1).exists())");
    assert_int_equal(looks(two, 100, &rc), 2);
    assert_int_equal(rc, ERR_OK);
    assert_int_equal(looks(two, 1, &rc), 1);
    assert_int_equal(rc, ERR_CANCELLED);
    /* in the midst of a path */
    assert_in_range(looks(work, 1000000, &rc), 100, 1000);
    assert_int_equal(rc, ERR_TOO_LARGE);
    (void)looks(work, 20, &rc);
    assert_int_equal(rc, ERR_CANCELLED);
}

TEST_MAIN(T(patch, adds_what_is_not_there_and_appends_to_lists),
          T(patch, a_choice_is_named_by_its_type), T(patch, parts_in_a_value_are_its_elements),
          T(patch, a_primitive_and_its_twin_are_one_element),
          T(patch, inserts_and_moves_count_in_the_whole_list),
          T(patch, a_long_list_costs_no_more_than_its_length),
          T(patch, deletes_one_or_nothing_and_leaves_nothing_empty),
          T(patch, operations_see_what_those_before_them_made),
          T(patch, what_the_server_owns_stays), T(patch, a_path_must_find_elements_of_the_resource),
          T(patch, an_operation_has_its_parts_and_no_others),
          T(patch, depth_memory_and_number_are_bounded), T(patch, it_asks_whether_it_may_go_on))
