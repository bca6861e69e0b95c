/* test_compile.c - what an expression may look like, and what is said of one that cannot be
 * read. */
#include "ask.h"

static void refused(const char *expression, unsigned line, unsigned column, const char *why)
{
    struct arena *a = arena_new(1u << 20);
    const struct fhirpath *path;
    struct fhirpath_place where;
    struct err err = { 0 };
    err_code rc = fhirpath_compile(sv_from(expression), NULL, a, &path, &where, &err);
    if (rc == ERR_OK || where.line != line || where.column != column || !strstr(err.msg, why))
        fail_msg("%s: line %u, column %u: %s", expression, where.line, where.column, err.msg);
    arena_free(a);
}

TEST(compile, says_where_an_expression_cannot_be_read)
{
    (void)state;
    refused("", 1, 1, "ends where a value should stand");
    refused("a.", 1, 3, "ends where a value should stand");
    refused("a..b", 1, 3, "a name is missing");
    refused("a b", 1, 3, "should end here");
    refused("(a", 1, 3, ") is missing at the end");
    refused("a[1", 1, 4, "] is missing");
    refused("where(a", 1, 8, ") is missing");
    refused("a.where()", 1, 3, "where() takes 1 to 1 arguments, not 0");
    refused("a.where(b,)", 1, 11, "an argument is missing");
    refused("a.nothere(1)", 1, 3, "no function is called nothere()");
    refused("a.memberOf('x')", 1, 3, "memberOf() is not offered: it asks for code systems");
    refused("a.subsumes(b)", 1, 3, "subsumes() is not offered: it asks for code systems");
    refused("a.subsumedBy(b)", 1, 3, "subsumedBy() is not offered: it asks for code systems");
    refused("a.elementDefinition()", 1, 3, "elementDefinition() is not offered: it asks for prof");
    refused("a.slice('x', 'y')", 1, 3, "slice() is not offered: it asks for profiles");
    refused("defineVariable(a)", 1, 1, "the name of a variable is to be written out");
    refused("defineVariable('context', 1)", 1, 1, "there is a %context already");
    refused("a.defineVariable('vs-x')", 1, 3, "there is a %vs-x already");
    refused("defineVariable('a').defineVariable('a').select(%a)", 1, 21, "there is a %a already");
    refused("defineVariable('a').select(defineVariable('a'))", 1, 28, "there is a %a already");
    /* where the path ends that it was defined in, a variable ends */
    refused("defineVariable('a', 1) + %a", 1, 26, "no constant is called %a");
    refused("defineVariable('a', %a)", 1, 21, "no constant is called %a");
    refused("select(defineVariable('a')).select(%a)", 1, 36, "no constant is called %a");
    refused("(defineVariable('a')).select(%a)", 1, 30, "no constant is called %a");
    refused("defineVariable('a').where(true) | %a", 1, 35, "no constant is called %a");
    refused("a.is(Patent)", 1, 6, "no type is called Patent");
    refused("a as Patent", 1, 6, "no type is called Patent");
    refused("a.ofType(FHIR.Patent)", 1, 10, "no type");
    refused("'abc", 1, 1, "a text does not end");
    refused("'a\\q'", 1, 3, "no such escape");
    refused("'\\ud800'", 1, 2, "no such escape");
    refused("'\\u0000'", 1, 2, "no such escape");
    refused("1 /* 2", 1, 3, "a comment does not end");
    refused("@2015-13", 1, 1, "no date or time");
    refused("@2015-02-30", 1, 1, "no date or time");
    refused("@T25", 1, 1, "no date or time");
    refused("%unknown", 1, 1, "no constant is called %unknown");
    refused("%", 1, 1, "a name is missing behind %");
    refused("$that", 1, 1, "only $this");
    refused("and", 1, 1, "an operator stands");
    refused("a and", 1, 6, "ends where");
    refused("a\n  = ;", 2, 5, "begins nothing");
    refused("'\xc3\xa4' ; 1", 1, 5, "begins nothing");
    refused("a\xff", 1, 2, "not UTF-8");
    refused("a.matches('(')", 1, 3, "no regular expression, at its byte 2");
    refused("2147483648", 1, 1, "more than 32 bits");
    refused("1.00000000000000000000000000000000000000001", 1, 1, "too many digits");
}

TEST(compile, binds_operators_as_the_specification_says)
{
    (void)state;
    ASK(NULL, { "1 + 2 * 3 - 4", "3" }, { "(1 + 2) * 3", "9" }, { "2 - 1 - 1", "0" },
        { "true or false and false", "true" }, { "false implies true and true", "true" },
        { "1 | 2 | 2", "1|2" }, { "1 + 1 | 2", "2" }, { "-1 + 2", "1" },
        { "1 = 1 and 2 != 3", "true" }, { "'a' & 'b' + 'c'", "abc" }, { "7 div 2 mod 2", "1" },
        { "1 is Integer = true", "true" }, { "1 /* c */ + // d\n 1", "2" }, { "- - 1", "1" },
        { "{}", "" }, { "`true`", "" });
}

TEST(compile, names_may_be_words_of_operators)
{
    (void)state;
    ASK("{\"resourceType\":\"Unknown\",\"contains\":{\"as\":[1,2],\"is\":\"x\"},\"in\":true,\"a "
        "b\":3}",
        { "contains.as", "1|2" }, { "contains.is", "x" }, { "in", "true" }, { "`a b`", "3" },
        { "contains.as contains 2", "true" });
}

TEST(compile, constants_are_those_of_the_caller_and_the_known_ones)
{
    (void)state;
    struct arena *a = arena_new(1u << 20);
    const struct fhirpath_constant constants[] = {
        { SV_LIT("limit"), { .kind = FHIRPATH_INTEGER, .as.integer = 3 } },
    };
    const struct fhirpath_options options = { .constants = constants, .n_constants = 1 };
    const struct fhirpath *path;
    struct fhirpath_run run = { .arena = a, .steps = 100 };
    struct fhirpath_list l;
    OK(fhirpath_compile(SV_LIT("%limit + 1"), &options, a, &path, NULL, e));
    OK(fhirpath_eval(path, &run, NULL, &l, e));
    assert_int_equal(l.n, 1);
    assert_int_equal(l.items[0].as.integer, 4);
    arena_free(a);
    ASK(NULL, { "%ucum", "http://unitsofmeasure.org" },
        { "%`ext-x`", "http://hl7.org/fhir/StructureDefinition/x" },
        { "%'vs-y'", "http://hl7.org/fhir/ValueSet/y" });
}

TEST_MAIN(T(compile, says_where_an_expression_cannot_be_read),
          T(compile, binds_operators_as_the_specification_says),
          T(compile, names_may_be_words_of_operators),
          T(compile, constants_are_those_of_the_caller_and_the_known_ones))
