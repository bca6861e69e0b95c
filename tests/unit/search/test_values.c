/* test_values.c - what each datatype is worth to each kind of parameter.
 * Source: FHIR R4 search.html, the tables of datatypes for number, date, string, token, quantity,
 * reference and uri. */
#include "test.h"

#include "search/search.h"

#include <time.h>

#define TEXT(v) (int)((v).ptr ? (v).len : 1), (v).ptr ? (v).ptr : "-"

/* "2015-02-01 00:00:00", or "*" where there is no end. */
static const char *moment(int64_t ms, char out[32])
{
    struct tm tm;
    time_t s = (time_t)(ms / 1000);
    if (ms == INT64_MIN || ms == INT64_MAX)
        return "*";
    assert_non_null(gmtime_r(&s, &tm));
    assert_true(strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm) > 0);
    return out;
}

static void tell(void *ctx, const struct search_value *v)
{
    struct buf *b = ctx;
    char from[32], to[32];
    if (b->len)
        OK(buf_add(b, SV_LIT(", "), e));
    switch (v->kind) {
    case SEARCH_TOKEN:
        /* system|code, and the text beside it */
        OK(buf_add_fmt(b, e, "%.*s|%.*s", TEXT(v->system), TEXT(v->code)));
        if (v->text.ptr)
            OK(buf_add_fmt(b, e, "#%.*s", TEXT(v->text)));
        break;
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        OK(buf_add_fmt(b, e, "%s%.*s..%.*s%s", v->lo_open ? "(" : "[", TEXT(v->lo), TEXT(v->hi),
                       v->hi_open ? ")" : "]"));
        assert_int_equal(v->point, v->lo.ptr && v->hi.ptr && sv_eq(v->lo, v->hi));
        if (v->kind == SEARCH_QUANTITY)
            OK(buf_add_fmt(b, e, " %.*s|%.*s|%.*s", TEXT(v->system), TEXT(v->code), TEXT(v->unit)));
        break;
    case SEARCH_DATE:
        OK(buf_add_fmt(b, e, "%s to %s", moment(v->lo_ms, from), moment(v->hi_ms, to)));
        break;
    case SEARCH_REFERENCE:
        if (v->ref_type)
            OK(buf_add_fmt(b, e, "%.*s:%s/%.*s", SV_FMT(v->ref_base), fhir_type_name(v->ref_type),
                           SV_FMT(v->ref_id)));
        else
            OK(buf_add_fmt(b, e, "%.*s", TEXT(v->text)));
        break;
    default:
        OK(buf_add_fmt(b, e, "%.*s", TEXT(v->text)));
    }
}

/* All values, by commas. In the text, ' stands for ". */
static const char *found(const char *text, const char *code)
{
    static char json[8192], out[8192];
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(sizeof out - 1);
    yyjson_doc *doc;
    size_t n = strlen(text);
    assert_true(n < sizeof json);
    for (size_t i = 0; i <= n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    OK(json_read(a, sv_make(json, n), 64, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    const struct search_param *p = search_param_find(
        fhir_type_find(json_string(json_get(root, "resourceType"))), sv_from(code));
    if (p == NULL)
        fail_msg("there is no parameter %s", code);
    search_extract(p, root, tell, &b);
    memcpy(out, b.ptr ? b.ptr : "", b.len);
    out[b.len] = 0;
    return out;
}
#define FINDS(text, code, values) assert_string_equal(found((text), (code)), (values))

#define OF(type, members) "{'resourceType':'" type "','id':'x'," members "}"
#define PATIENT(members)  OF("Patient", members)
#define OBS(members)      OF("Observation", members)

TEST(values, a_string_is_any_part_of_a_name_or_an_address)
{
    (void)state;
    const char *p = PATIENT(
        "'name':[{'use':'usual','text':'Dr. Ann B. Lee Jr.','family':'Lee','given':['Ann','B.'],"
        "'prefix':['Dr.'],'suffix':['Jr.'],'period':{'start':'2001'}},{'family':'Kim'}],"
        "'address':[{'use':'home','type':'both','line':['Main St 1','2nd floor'],'city':'Ulm',"
        "'district':'Alb','state':'BW','postalCode':'89073','country':'DE','text':'at Ulm'}]");
    FINDS(p, "name", "Lee, Ann, B., Dr., Jr., Dr. Ann B. Lee Jr., Kim");
    FINDS(p, "family", "Lee, Kim");
    FINDS(p, "given", "Ann, B.");
    FINDS(p, "address", "Main St 1, 2nd floor, Ulm, Alb, BW, 89073, DE, at Ulm");
    FINDS(p, "address-postalcode", "89073");
    /* of a code there is a token */
    FINDS(p, "address-use", "-|home");
    FINDS(PATIENT("'active':true"), "name", "");
}

TEST(values, a_token_is_a_code_with_its_system_or_without)
{
    (void)state;
    FINDS(PATIENT("'gender':'female'"), "gender", "-|female");
    FINDS(PATIENT("'active':false"), "active", "-|false");
    FINDS(PATIENT("'identifier':[{'system':'urn:mrn','value':'7'},{'value':'8'},{'system':'urn:x'},"
                  "{'use':'old'}]"),
          "identifier", "urn:mrn|7, -|8, urn:x|-");
    FINDS(PATIENT("'identifier':[{'type':{'text':'card'},'value':'8'}]"), "identifier", "-|8#card");
    /* each coding, and the text that stands for all */
    FINDS(OBS("'code':{'coding':[{'system':'http://loinc.org','code':'8480-6','display':'Sys'},"
              "{'code':'sbp'}],'text':'pressure'}"),
          "code", "http://loinc.org|8480-6#Sys, -|sbp, -|-#pressure");
    FINDS(OBS("'code':{}"), "code", "");
    /* a Coding */
    FINDS(PATIENT("'meta':{'tag':[{'system':'urn:t','code':'a'},{'userSelected':true}]}"), "_tag",
          "urn:t|a");
    /* ContactPoint: "the system is not relevant", so phone and email go by it */
    const char *p = PATIENT("'telecom':[{'system':'phone','value':'1'},{'system':'email',"
                            "'value':'a@b'},{'system':'phone','value':'2'},{'value':'3'}]");
    FINDS(p, "telecom", "phone|1, email|a@b, phone|2, -|3");
    FINDS(p, "phone", "phone|1, phone|2");
    FINDS(p, "email", "email|a@b");
}

TEST(values, the_dead_are_those_with_a_date_or_true)
{
    (void)state;
    FINDS(PATIENT("'active':true"), "deceased", "-|false");
    FINDS(PATIENT("'deceasedBoolean':false"), "deceased", "-|false");
    FINDS(PATIENT("'deceasedBoolean':true"), "deceased", "-|true");
    FINDS(PATIENT("'deceasedDateTime':'2015-02-07'"), "deceased", "-|true");
    FINDS(PATIENT("'deceasedDateTime':'2015-02-07'"), "death-date",
          "2015-02-07 00:00:00 to 2015-02-08 00:00:00");
    FINDS(PATIENT("'deceasedBoolean':true"), "death-date", "");
    FINDS(PATIENT("'deceasedBoolean':null"), "deceased", "-|false");
}

TEST(values, numbers_keep_their_digits_and_ranges_their_open_ends)
{
    (void)state;
#define RISK(value) OF("RiskAssessment", "'prediction':[{" value "}]")
    FINDS(RISK("'probabilityDecimal':0.50"), "probability", "[0.50..0.50]");
    FINDS(RISK("'probabilityRange':{'low':{'value':0.1},'high':{'value':0.20}}"), "probability",
          "[0.1..0.20]");
    FINDS(RISK("'probabilityRange':{'low':{'value':0.1}}"), "probability", "[0.1..-]");
    FINDS(RISK("'probabilityRange':{'high':{'value':2e-1}}"), "probability", "[-..2e-1]");
    FINDS(RISK("'qualitativeRisk':{'text':'x'}"), "probability", "");
    /* it ends before it begins, or has no ends */
    FINDS(RISK("'probabilityRange':{'low':{'value':2},'high':{'value':1.9}}"), "probability", "");
    FINDS(RISK("'probabilityRange':{}"), "probability", "");
}

TEST(values, a_quantity_with_a_comparator_is_all_on_one_side)
{
    (void)state;
#define AMOUNT(members) OBS("'valueQuantity':{" members "}")
    FINDS(AMOUNT("'value':1.20,'unit':'kg','system':'urn:ucum','code':'kg'"), "value-quantity",
          "[1.20..1.20] urn:ucum|kg|kg");
    FINDS(AMOUNT("'value':5"), "value-quantity", "[5..5] -|-|-");
    FINDS(AMOUNT("'value':5,'comparator':'<'"), "value-quantity", "[-..5) -|-|-");
    FINDS(AMOUNT("'value':5,'comparator':'<='"), "value-quantity", "[-..5] -|-|-");
    FINDS(AMOUNT("'value':5,'comparator':'>'"), "value-quantity", "(5..-] -|-|-");
    FINDS(AMOUNT("'value':5,'comparator':'>='"), "value-quantity", "[5..-] -|-|-");
    FINDS(AMOUNT("'unit':'kg'"), "value-quantity", "");
    FINDS(OBS("'valueString':'5'"), "value-quantity", "");
    FINDS(OF("Invoice", "'totalGross':{'value':9.90,'currency':'EUR'}"), "totalgross",
          "[9.90..9.90] urn:iso:std:iso:4217|EUR|-");
    FINDS(OF("Condition", "'onsetRange':{'low':{'value':3,'unit':'years','code':'a'},'high':{"
                          "'value':4,'code':'a'}}"),
          "onset-age", "[3..4] -|a|years");
    FINDS(OF("Condition", "'onsetRange':{'high':{'value':4,'code':'a'}}"), "onset-age",
          "[-..4] -|a|-");
}

TEST(values, a_date_is_the_time_that_it_covers)
{
    (void)state;
#define AT(members) OBS(members)
    FINDS(AT("'effectiveDateTime':'2015'"), "date", "2015-01-01 00:00:00 to 2016-01-01 00:00:00");
    FINDS(AT("'effectiveDateTime':'2016-02'"), "date",
          "2016-02-01 00:00:00 to 2016-03-01 00:00:00");
    FINDS(AT("'effectiveDateTime':'2015-02-07T13:28:17-05:00'"), "date",
          "2015-02-07 18:28:17 to 2015-02-07 18:28:18");
    /* a Period without an end goes on; the day of its end is in it */
    FINDS(AT("'effectivePeriod':{'start':'2015-03'}"), "date", "2015-03-01 00:00:00 to *");
    FINDS(AT("'effectivePeriod':{'end':'2015-03-31'}"), "date", "* to 2015-04-01 00:00:00");
    FINDS(AT("'effectivePeriod':{'start':'2015-03','end':'2015-03'}"), "date",
          "2015-03-01 00:00:00 to 2015-04-01 00:00:00");
    FINDS(AT("'effectivePeriod':{'start':'2015-04','end':'2015-03'}"), "date", "");
    FINDS(AT("'effectivePeriod':{}"), "date", "");
    /* "the outer limits" of a Timing */
    FINDS(AT("'effectiveTiming':{'event':['2013-03-24','2013-01-31']}"), "date",
          "2013-01-31 00:00:00 to 2013-03-25 00:00:00");
    FINDS(AT("'effectiveTiming':{'event':['2012'],'repeat':{'boundsPeriod':{'start':'2013-01-01',"
             "'end':'2013-01-31'}}}"),
          "date", "2012-01-01 00:00:00 to 2013-02-01 00:00:00");
    FINDS(AT("'effectiveTiming':{'repeat':{'frequency':1}}"), "date", "");
}

TEST(values, a_reference_is_taken_apart_where_it_ends_in_a_type_and_an_id)
{
    (void)state;
#define SUBJECT(text) OBS("'subject':{'reference':'" text "'}")
    FINDS(SUBJECT("Patient/1"), "subject", ":Patient/1");
    FINDS(SUBJECT("Patient/1/_history/2"), "subject", ":Patient/1");
    FINDS(SUBJECT("http://there/fhir/Group/1"), "subject", "http://there/fhir:Group/1");
    FINDS(SUBJECT("urn:uuid:c757873d-ec9a-4326-a141-556f43239520"), "subject",
          "urn:uuid:c757873d-ec9a-4326-a141-556f43239520");
    FINDS(SUBJECT("#p"), "subject", "#p");
    /* patient is subject where it leads to a Patient */
    FINDS(SUBJECT("Patient/1"), "patient", ":Patient/1");
    FINDS(SUBJECT("Group/1"), "patient", "");
    FINDS(OBS("'subject':{'type':'Patient','identifier':{'value':'7'}}"), "patient", "-");
    FINDS(OBS("'subject':{'type':'Group','identifier':{'value':'7'}}"), "patient", "");
    /* canonical */
    FINDS(OF("CarePlan", "'instantiatesCanonical':['http://x/PlanDefinition/p|1']"),
          "instantiates-canonical", "http://x:PlanDefinition/p");
    FINDS(PATIENT("'generalPractitioner':[{'reference':'Practitioner/a'},{'display':'b'},"
                  "{'reference':'Organization/c'}]"),
          "general-practitioner", ":Practitioner/a, -, :Organization/c");
    /* the first entry of a Bundle and no other */
    FINDS(OF("Bundle", "'entry':[{'resource':{'resourceType':'Composition','id':'c'}},{'resource':"
                       "{'resourceType':'Composition','id':'d'}}]"),
          "composition", ":Composition/c");
}

TEST(values, a_uri_is_its_text_and_nulls_are_nothing)
{
    (void)state;
    FINDS(OF("ValueSet", "'url':'http://x/vs|1'"), "url", "http://x/vs|1");
    FINDS(PATIENT("'name':[{'given':['A',null,'B'],'_given':[null,{'id':'x'},null]}]"), "given",
          "A, B");
    FINDS(PATIENT("'name':[{'given':[null]}]"), "name", "");
    FINDS(PATIENT("'gender':null"), "gender", "");
}

TEST_MAIN(T(values, a_string_is_any_part_of_a_name_or_an_address),
          T(values, a_token_is_a_code_with_its_system_or_without),
          T(values, the_dead_are_those_with_a_date_or_true),
          T(values, numbers_keep_their_digits_and_ranges_their_open_ends),
          T(values, a_quantity_with_a_comparator_is_all_on_one_side),
          T(values, a_date_is_the_time_that_it_covers),
          T(values, a_reference_is_taken_apart_where_it_ends_in_a_type_and_an_id),
          T(values, a_uri_is_its_text_and_nulls_are_nothing))
