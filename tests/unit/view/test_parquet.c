/* test_parquet.c - which types columns have in Parquet, and what is said of those that cannot be.
 * That readers get each value back is tried in tests/e2e/test_view_parquet.py. */
#include "view_ask.h"

struct answer {
    const struct view *v;
    const struct parquet_column *columns;
    struct parquet_rows *rows;
    struct arena *scratch;
};

static err_code put_row(void *ctx, const struct fhirpath_list *cells, struct err *e)
{
    struct answer *x = ctx;
    return view_parquet_row(x->v, x->columns, cells, x->scratch, x->rows, e);
}

/* A column over a Patient whose extension u has this value: what is said, or the columns' type. */
static err_code ask(const char *column, const char *value, struct parquet_column *told,
                    struct buf *file, struct err *err)
{
    struct arena *a = arena_new(64u << 20);
    struct answer x = { .scratch = arena_new(8u << 20) };
    yyjson_doc *doc;
    sv view = arena_fmt(
           a, "{\"resource\":\"Patient\",\"select\":[{\"column\":[{\"name\":\"c\",%s}]}]}", column),
       text =
           arena_fmt(a, "{\"resourceType\":\"Patient\",\"extension\":[{\"url\":\"u\",%s}]}", value);
    OK(view_compile(view, a, &x.v, e));
    err_code rc = view_parquet_columns(x.v, a, &x.columns, err);
    if (rc == ERR_OK) {
        OK(json_read(a, text, 64, &doc, e));
        struct fhirpath_run run = { .arena = a, .resource = yyjson_doc_get_root(doc) };
        *told = x.columns[0];
        told->name = SV_NONE;
        x.rows = parquet_rows_new(x.columns, 1, 1u << 20);
        rc = view_rows(x.v, &run, put_row, &x, err);
        struct parquet_footer *footer = parquet_footer_new(x.columns, 1);
        OK(parquet_head(file, e));
        OK(parquet_group(x.rows, file, e));
        OK(parquet_footer_take(footer, x.rows, e));
        OK(parquet_footer_end(footer, file, e));
        parquet_footer_free(footer);
        parquet_rows_free(x.rows);
    }
    arena_free(x.scratch);
    arena_free(a);
    return rc;
}

#define PATH    "\"path\":\"extension('u').value\""
#define TAG(of) "\"tag\":[{\"name\":\"ansi/type\",\"value\":\"" of "\"}]," PATH

static void takes(const char *column, const char *value, parquet_type want)
{
    struct buf file = BUF_INIT(1u << 20);
    struct parquet_column told = { 0 };
    struct err err = { 0 };
    if (ask(column, value, &told, &file, &err) != ERR_OK)
        fail_msg("%s of %s: %s", column, value, err.msg);
    assert_int_equal(told.type, want);
    sv text = buf_sv(&file);
    assert_true(sv_starts(text, SV_LIT("PAR1")) && sv_ends(text, SV_LIT("PAR1")));
    const unsigned char *len = (const unsigned char *)text.ptr + text.len - 8;
    assert_true((size_t)len[0] + len[1] * 256u + 12 < text.len);
    buf_done(&file);
}

static void says(const char *column, const char *value, const char *want)
{
    struct buf file = BUF_INIT(1u << 20);
    struct parquet_column told = { 0 };
    struct err err = { 0 };
    if (ask(column, value, &told, &file, &err) == ERR_OK || !strstr(err.msg, want))
        fail_msg("%s of %s: \"%s\", not \"%s\"", column, value, err.msg, want);
    buf_done(&file);
}

TEST(view_parquet, columns_have_the_sql_types_of_their_fhir_types)
{
    (void)state;
    takes(PATH, "\"valueBoolean\":true", PARQUET_STRING);
    takes("\"type\":\"boolean\"," PATH, "\"valueBoolean\":true", PARQUET_BOOLEAN);
    takes("\"type\":\"positiveInt\"," PATH, "\"valueInteger\":5", PARQUET_INT32);
    takes("\"type\":\"http://hl7.org/fhirpath/System.Integer\"," PATH, "\"valueInteger\":-5",
          PARQUET_INT32);
    takes("\"type\":\"http://hl7.org/fhir/StructureDefinition/integer64\"," PATH,
          "\"valueInteger\":5", PARQUET_INT64);
    takes("\"type\":\"decimal\"," PATH, "\"valueDecimal\":1.50", PARQUET_STRING);
    takes("\"type\":\"dateTime\"," PATH, "\"valueDateTime\":\"2020\"", PARQUET_STRING);
    takes("\"type\":\"instant\"," PATH, "\"valueInstant\":\"2020-01-01T00:00:00Z\"",
          PARQUET_TIMESTAMP);
    takes("\"type\":\"Quantity\"," PATH, "\"valueQuantity\":{\"value\":1}", PARQUET_STRING);
}

TEST(view_parquet, a_tag_asks_for_another_type)
{
    (void)state;
    takes(TAG("DATE"), "\"valueDate\":\"2020-02-29\"", PARQUET_DATE);
    takes(TAG("timestamp with time zone"), "\"valueDateTime\":\"2020-02-29T00:00:00+01:00\"",
          PARQUET_TIMESTAMP);
    takes("\"type\":\"integer\"," TAG("VARCHAR(9)"), "\"valueInteger\":5", PARQUET_STRING);
    takes(TAG("Double Precision"), "\"valueDecimal\":1e3", PARQUET_DOUBLE);
    takes(TAG("NUMERIC(4)"), "\"valueDecimal\":1.2e3", PARQUET_DECIMAL);
    takes(TAG("DECIMAL(3, 2)"), "\"valueDecimal\":-9.9900", PARQUET_DECIMAL);
    takes(TAG("DECIMAL(38, 0)"), "\"valueDecimal\":99999999999999999999999999999999999999",
          PARQUET_DECIMAL);
    takes(TAG("DECIMAL(2, 2)"), "\"valueDecimal\":990e-3", PARQUET_DECIMAL);
}

TEST(view_parquet, a_tag_that_asks_for_what_is_not_there_is_refused)
{
    (void)state;
    says(TAG("MONEY"), "\"valueInteger\":1", "column c: its tag ansi/type asks for a type");
    says(TAG("DECIMAL"), "\"valueInteger\":1", "has no precision");
    says(TAG("DECIMAL(39,0)"), "\"valueInteger\":1", "has no precision");
    says(TAG("DECIMAL(3,4)"), "\"valueInteger\":1", "has no precision");
    says(TAG("DECIMAL(0)"), "\"valueInteger\":1", "has no precision");
}

TEST(view_parquet, a_value_of_another_type_is_an_error_and_loses_no_digit)
{
    (void)state;
    says(TAG("DECIMAL(3, 2)"), "\"valueDecimal\":9.991", "a decimal of so many digits");
    says(TAG("DECIMAL(3, 2)"), "\"valueDecimal\":10", "a decimal of so many digits");
    says(TAG("DECIMAL(38, 2)"), "\"valueDecimal\":1e37", "a decimal of so many digits");
    says(TAG("DECIMAL(38)"), "\"valueDecimal\":123456789012345678901234567890123456789",
         "a decimal of so many digits");
    says(TAG("DECIMAL(5)"), "\"valueString\":\"5\"", "a decimal of so many digits");
    says(TAG("INT"), "\"valueInteger\":2147483648", "an integer of 32 bits");
    says(TAG("INT"), "\"valueDecimal\":1.0", "an integer of 32 bits");
    says(TAG("BIGINT"), "\"valueDecimal\":9223372036854775808", "an integer of 64 bits");
    says(TAG("DOUBLE PRECISION"), "\"valueDecimal\":1e999", "a number");
    says(TAG("DATE"), "\"valueDate\":\"2020-02-30\"", "a whole date");
    says(TAG("DATE"), "\"valueDate\":\"2020-02\"", "a whole date");
    says(TAG("TIMESTAMP"), "\"valueDateTime\":\"2020-02-01\"", "an instant with a time zone");
    says(TAG("BOOLEAN"), "\"valueString\":\"true\"", "a boolean");
}

TEST_MAIN(T(view_parquet, columns_have_the_sql_types_of_their_fhir_types),
          T(view_parquet, a_tag_asks_for_another_type),
          T(view_parquet, a_tag_that_asks_for_what_is_not_there_is_refused),
          T(view_parquet, a_value_of_another_type_is_an_error_and_loses_no_digit))
