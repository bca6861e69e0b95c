/* test_view.c - what a view may be, what is said of one that is none, and how rows are written. */
#include "view_ask.h"

static const char *const people[] = {
    "{\"resourceType\":\"Patient\",\"id\":\"a\",\"active\":true,\"name\":[{\"family\":\"O'Neill, "
    "\\\"X\\\"\",\"given\":"
    "[\"A\",\"B\"]},{\"given\":[\"C\"]}],\"multipleBirthInteger\":2,\"_birthDate\":{\"id\":\"x\"},"
    "\"extension\":[{"
    "\"url\":\"u\",\"valueDecimal\":1.50}]}",
    "{\"resourceType\":\"Patient\",\"id\":\"b\"}",
    "{\"resourceType\":\"Observation\",\"id\":\"c\",\"status\":\"final\"}",
    NULL,
};

static void gives(const char *view, view_format format, const char *want)
{
    struct arena *a = arena_new(VIEW_MEMORY);
    const char *have = view_ask(a, view, format, people);
    if (strcmp(have, want) != 0)
        fail_msg("%s\ngives\n%s\nnot\n%s", view, have, want);
    arena_free(a);
}

static void refused(const char *view, const char *want)
{
    struct arena *a = arena_new(VIEW_MEMORY);
    const char *have = view_ask(a, view, VIEW_NDJSON, people);
    if (strncmp(have, "error: ", 7) != 0 || !strstr(have, want))
        fail_msg("%s\ngives\n%s\nnot\n%s", view, have, want);
    arena_free(a);
}

TEST(view, writes_csv_that_readers_take)
{
    (void)state;
    gives(
        "{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"id\",\"path\":\"id\"},{"
        "\"name\":\"family\",\"path\":"
        "\"name.family\"},{\"name\":\"given\",\"path\":\"name.given\",\"collection\":true},{"
        "\"name\":\"n\",\"path\":"
        "\"extension('u').value\"},{\"name\":\"e\",\"path\":\"name.given.where(false).join()\"},{"
        "\"name\":\"born\",\"path\":"
        "\"birthDate\"},{\"name\":\"first\",\"path\":\"name.first()\"}]}]}",
        VIEW_CSV,
        "id,family,given,n,e,born,first\n"
        "a,\"O'Neill, "
        "\"\"X\"\"\",\"[\"\"A\"\",\"\"B\"\",\"\"C\"\"]\",1.50,\"\",,\"{\"\"family\"\":\"\"O'Neill, "
        "\\\"\"X\\\"\"\"\",\"\"given\"\":[\"\"A\"\",\"\"B\"\"]}\"\n"
        "b,,[],,\"\",,\n");
}

TEST(view, writes_ndjson_with_the_digits_of_the_resource)
{
    (void)state;
    gives("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"id\",\"path\":"
          "\"getResourceKey()\"},{\"name\":"
          "\"n\",\"path\":\"extension('u').value\"},{\"name\":\"m\",\"path\":\"multipleBirth\"},{"
          "\"name\":\"born\","
          "\"path\":\"birthDate\"},{\"name\":\"given\",\"path\":\"name.given\",\"collection\":true}"
          "]}]}",
          VIEW_NDJSON,
          "{\"id\":\"Patient/a\",\"n\":1.50,\"m\":2,\"born\":null,\"given\":[\"A\",\"B\",\"C\"]}\n"
          "{\"id\":\"Patient/b\",\"n\":null,\"m\":null,\"born\":null,\"given\":[]}\n");
}

TEST(view, rows_of_selects_side_by_side_are_all_with_all)
{
    (void)state;
    gives("{\"resource\":\"Patient\",\"select\":[{\"forEachOrNull\":\"name\",\"column\":[{\"name\":"
          "\"i\",\"path\":\"%rowIndex\"}],"
          "\"select\":[{\"forEach\":\"given\",\"column\":[{\"name\":\"g\",\"path\":\"$this\"},{"
          "\"name\":\"k\",\"path\":"
          "\"%rowIndex\"}]}]},{\"unionAll\":[{\"column\":[{\"name\":\"u\",\"path\":\"'x'\"}]},{"
          "\"column\":[{\"name\":\"u\","
          "\"path\":\"active\"}]}]}]}",
          VIEW_CSV,
          "i,g,k,u\n0,A,0,x\n0,A,0,true\n0,B,1,x\n0,B,1,true\n1,C,0,x\n1,C,0,true\n0,,,x\n0,,,\n");
}

#define ID "\"select\":[{\"column\":[{\"name\":\"id\",\"path\":\"id\"}]}]"

TEST(view, says_which_member_is_wrong)
{
    (void)state;
    refused("[1]", "a ViewDefinition is a JSON object");
    refused("{\"select\":", "byte");
    refused("{" ID "}", "resource is missing");
    refused("{\"resource\":\"Patient\",\"where\":[{\"path\":\"true\"}],\"where\":[{\"path\":"
            "\"false\"}]," ID "}",
            "\"where\" is there twice");
    refused("{\"resource\":\"Patent\"," ID "}", "is Patient meant?");
    refused("{\"resource\":\"Patient\"}", "select is missing");
    refused("{\"resource\":\"Patient\",\"fhirVersion\":[\"5.0.0\"]," ID "}", "fhirVersion: ");
    refused("{\"resource\":\"Patient\",\"resourceType\":\"Patient\"," ID "}",
            "is not ViewDefinition");
    refused("{\"resource\":\"Patient\",\"select\":[]}", "select: an array of at least one");
    refused("{\"resource\":\"Patient\",\"select\":[{}]}", "select[0]: it makes no column");
    refused("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"path\":\"id\"}]}]}",
            "select[0].column[0]: its name is missing");
    refused(
        "{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"1\",\"path\":\"id\"}]}]}",
        "select[0].column[0]: a column's name is a letter");
    refused("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\"}]}]}",
            "select[0].column[0].path: it is missing");
    refused(
        "{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\",\"path\":\"id +\"}]}]}",
        "select[0].column[0].path: line 1, column 5 of the expression: ");
    refused("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\",\"path\":\"id\","
            "\"colection\":true}]}]}",
            "select[0].column[0]: \"colection\" is not known here");
    refused("{\"resource\":\"Patient\",\"select\":[{\"for\":\"name\",\"column\":[{\"name\":\"a\","
            "\"path\":\"id\"}]}]}",
            "select[0]: \"for\" is not known here");
    refused("{\"resource\":\"Patient\",\"select\":[{\"forEach\":\"name\",\"repeat\":[\"name\"],"
            "\"column\":[{\"name\":"
            "\"a\",\"path\":\"id\"}]}]}",
            "select[0]: forEach, forEachOrNull and repeat exclude each other");
    refused("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\",\"path\":\"id\"},{"
            "\"name\":\"a\",\"path\":"
            "\"id\"}]}]}",
            "two columns are called a");
    refused("{\"resource\":\"Patient\",\"select\":[{\"unionAll\":[{\"column\":[{\"name\":\"a\","
            "\"path\":\"id\"}]},{"
            "\"column\":[{\"name\":\"b\",\"path\":\"id\"}]}]}]}",
            "select[0].unionAll[1]: its columns are not those");
    refused("{\"resource\":\"Patient\",\"where\":[{\"path\":\"active and\"}]," ID "}",
            "where[0].path: line 1");
    refused("{\"resource\":\"Patient\",\"where\":[{\"path\":\"id\"}]," ID "}",
            "where[0].path: it is not a boolean");
    refused("{\"resource\":\"Patient\",\"constant\":[{\"name\":\"c\"}]," ID "}",
            "constant[0]: its value is missing");
    refused("{\"resource\":\"Patient\",\"constant\":[{\"name\":\"c\",\"valueInteger\":\"1\"}]," ID
            "}",
            "constant[0]: its value is not of its type");
    refused("{\"resource\":\"Patient\",\"constant\":[{\"name\":\"c\",\"valueCoding\":{}}]," ID "}",
            "constant[0]: no constant has a valueCoding");
    refused(
        "{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\",\"path\":\"%c\"}]}]}",
        "no constant is called %c");
    refused("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\",\"path\":\"name."
            "given\"}]}]}",
            "select[0].column[0]: it has 3 values for a row, and its collection is not true");
    refused("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\",\"path\":\"name + "
            "1\"}]}]}",
            "select[0].column[0]: line 1, column 6 of the expression: one item is asked for and "
            "there are 2");
    refused("{\"resource\":\"Patient\",\"select\":[{\"repeat\":[\"$this\"],\"column\":[{\"name\":"
            "\"a\",\"path\":\"1\"}]}]}",
            "select[0].repeat goes too deep");
}

#define CONSTANT(text) "{\"resource\":\"Patient\",\"constant\":[{" text "}]," ID "}"
#define NAMED(name)    CONSTANT("\"name\":\"" name "\",\"valueString\":\"v\"")
#define VALUE(member)  CONSTANT("\"name\":\"c\",\"value" member)

TEST(view, a_constant_is_of_its_type_and_has_a_name_of_its_own)
{
    (void)state;
    static const char *const reserved[] = { "resource", "rootResource", "context", "rowIndex",
                                            "ucum",     "sct",          "loinc" };
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        char view[300], says[80];
        (void)snprintf(view, sizeof view, NAMED("%s"), reserved[i]);
        (void)snprintf(says, sizeof says, "constant[0]: %%%s is FHIRPath's own", reserved[i]);
        refused(view, says);
    }
    refused(NAMED("x y"), "constant[0]: a constant's name is a letter");
    refused(NAMED("ext-birthsex"), "constant[0]: a constant's name is a letter");
    refused(VALUE("Date\":\"2020-99-99\""), "constant[0]: its value is no date");
    refused(VALUE("DateTime\":\"yesterday\""), "constant[0]: its value is no dateTime");
    refused(VALUE("Code\":\"  a  b \""), "constant[0]: its value is no code");
    refused(VALUE("Integer\":1.5"), "constant[0]: its value is no integer");
    refused(VALUE("Integer\":99999999999999"), "constant[0]: its value is ");
    refused(VALUE("PositiveInt\":0"), "constant[0]: its value is no positiveInt");
    refused(VALUE("Integer\":1,\"valueString\":\"a\""), "constant[0]: it has two values");
    refused(VALUE("String\":\"a\",\"foo\":1"), "constant[0]: \"foo\" is not known here");
    refused(VALUE("\":\"a\""), "constant[0]: no constant has a value");
    struct arena *a = arena_new(8u << 20);
    static const char *const one[] = { "{\"resourceType\":\"Patient\",\"id\":\"p\"}", NULL };
    assert_string_equal(
        view_ask(
            a,
            "{\"resource\":\"Patient\",\"constant\":[{\"name\":\"d\",\"valueDate\":\"2020-02\"},"
            "{\"id\":\"2\",\"name\":\"n\",\"valueDecimal\":-1.50,\"extension\":[{}]},{\"name\":"
            "\"i\",\"valueInteger\":-2147483648},{\"name\":\"b\",\"valueBoolean\":false}],"
            "\"select\":[{\"column\":[{\"name\":\"d\",\"path\":\"%d\"},{\"name\":\"n\",\"path\":"
            "\"%n\"},{\"name\":\"i\",\"path\":\"%i\"},{\"name\":\"b\",\"path\":\"%b\"}]}]}",
            VIEW_NDJSON, one),
        "{\"d\":\"2020-02\",\"n\":-1.50,\"i\":-2147483648,\"b\":false}\n");
    arena_free(a);
}

TEST(view, a_name_with_a_bar_goes_with_a_primitive)
{
    (void)state;
#define SELECT(more)                                                                            \
    "{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\",\"path\":\"id\"}]" more \
    "}]}"
    refused(SELECT(",\"_forEach\":\"name\""), "select[0]: \"_forEach\" is not known here");
    refused(SELECT(",\"_column\":[{}]"), "select[0]: \"_column\" is not known here");
    /* no description is legal, and no path is none */
#define COLUMN(more) \
    "{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\"," more "}]}]}"
    refused(COLUMN("\"_path\":{}"), "select[0].column[0]: \"_path\" is not known here");
    refused(COLUMN("\"path\":\"1\",\"_collection\":{}"), "\"_collection\" is not known here");
    refused(COLUMN("\"path\":\"1\",\"_description\":\"x\""), "\"_description\" is not known here");
    refused(SELECT(",\"_description\":{}"), "select[0]: \"_description\" is not known here");
    struct arena *a = arena_new(8u << 20);
    static const char *const one[] = { "{\"resourceType\":\"Patient\",\"name\":[{},{}]}", NULL };
    assert_string_equal(view_ask(a,
                                 "{\"resource\":\"Patient\",\"select\":[{\"forEach\":\"name\","
                                 "\"_forEach\":{\"id\":\"x\"},\"column\":[{\"name\":\"a\","
                                 "\"path\":\"1\",\"_path\":{\"id\":\"y\"}}]}]}",
                                 VIEW_CSV, one),
                        "a\n1\n1\n");
    assert_string_equal(
        view_ask(a,
                 COLUMN("\"path\":\"1\",\"_description\":{\"extension\":[{\"url\":"
                        "\"urn:x\",\"valueCode\":\"y\"}]},\"_type\":{\"id\":\"x\"}"),
                 VIEW_CSV, one),
        "a\n1\n");
    arena_free(a);
}

TEST(view, columns_are_told_apart_without_their_case)
{
    (void)state;
    refused("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"ab\",\"path\":\"id\"},{"
            "\"name\":\"aB\",\"path\":\"id\"}]}]}",
            "two columns are called aB, but for capital letters");
    refused("{\"resource\":\"Patient\",\"fhirVersion\":\"5.0.0\"," ID "}", "fhirVersion is a list");
}

/* What a resource may nest, a cell takes. */
TEST(view, a_deep_value_is_written)
{
    (void)state;
    struct buf b = BUF_INIT(1u << 20), want = BUF_INIT(1u << 20);
    for (int i = 0; i < 100; i++)
        OK(buf_add(&want, SV_LIT("{\"url\":\"x\",\"extension\":["), e));
    OK(buf_add(&want, SV_LIT("{\"url\":\"y\"}"), e));
    for (int i = 0; i < 100; i++)
        OK(buf_add(&want, SV_LIT("]}"), e));
    OK(buf_add_fmt(&b, e, "{\"resourceType\":\"Patient\",\"extension\":[%.*s]}%c",
                   SV_FMT(buf_sv(&want)), 0));
    struct arena *a = arena_new(8u << 20), *scratch = arena_new(8u << 20);
    yyjson_doc *doc;
    const struct view *v;
    OK(json_read(a, sv_from(b.ptr), 256, &doc, e));
    OK(view_compile(SV_LIT("{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"a\","
                           "\"path\":\"extension\",\"collection\":true}]}]}"),
                    a, &v, e));
    struct view_answer x = {
        .v = v, .format = VIEW_NDJSON, .scratch = scratch, .out = BUF_INIT(1u << 20)
    };
    struct fhirpath_run run = { .arena = a, .resource = yyjson_doc_get_root(doc) };
    OK(view_rows(v, &run, view_answer_row, &x, e));
    assert_int_equal(x.out.len, want.len + sizeof "{\"a\":[]}\n" - 1);
    assert_memory_equal(x.out.ptr + sizeof "{\"a\":[" - 1, want.ptr, want.len);
    arena_free(scratch);
    arena_free(a);
    buf_done(&x.out);
    buf_done(&b);
    buf_done(&want);
}

TEST(view, nesting_and_columns_are_bounded)
{
    (void)state;
    struct buf b = BUF_INIT(1u << 20);
    OK(buf_add(&b, SV_LIT("{\"resource\":\"Patient\""), e));
    for (int i = 0; i < 40; i++)
        OK(buf_add(&b, SV_LIT(",\"select\":[{\"id\":\"x\""), e));
    OK(buf_add(&b, SV_LIT(",\"column\":[{\"name\":\"a\",\"path\":\"id\"}]"), e));
    for (int i = 0; i < 40; i++)
        OK(buf_add(&b, SV_LIT("}]"), e));
    OK(buf_add_fmt(&b, e, "}%c", 0));
    refused(b.ptr, "at most 32 stand in each other");
    buf_clear(&b);
    OK(buf_add(&b, SV_LIT("{\"resource\":\"Patient\",\"select\":[{\"column\":["), e));
    for (int i = 0; i < 1001; i++)
        OK(buf_add_fmt(&b, e, "%s{\"name\":\"a%d\",\"path\":\"id\"}", i ? "," : "", i));
    OK(buf_add_fmt(&b, e, "]}]}%c", 0));
    refused(b.ptr, "at most 1000 columns");
    buf_done(&b);
}

TEST_MAIN(T(view, writes_csv_that_readers_take),
          T(view, writes_ndjson_with_the_digits_of_the_resource),
          T(view, rows_of_selects_side_by_side_are_all_with_all),
          T(view, says_which_member_is_wrong), T(view, nesting_and_columns_are_bounded),
          T(view, a_constant_is_of_its_type_and_has_a_name_of_its_own),
          T(view, a_name_with_a_bar_goes_with_a_primitive),
          T(view, columns_are_told_apart_without_their_case), T(view, a_deep_value_is_written))
