/* Rows of a table on their way into row groups: what they take in memory. That readers get the
 * values back is tried in tests/e2e/test_view_parquet.py. */
#include "test.h"

#include "codec/parquet/parquet.h"

#include <malloc.h>

#define GROUP_BYTES ((size_t)16 << 20)
#define LARGE       ((size_t)900 << 10)

static void put(struct parquet_rows *rows, size_t column, sv text)
{
    const struct parquet_value v = { .as.text = text };
    OK(parquet_cell(rows, column, &v, 1, e));
}

static void end_row(struct parquet_rows *rows, struct buf *file)
{
    parquet_row_end(rows);
    if (parquet_rows_bytes(rows) < GROUP_BYTES)
        return;
    OK(parquet_group(rows, file, e));
    buf_clear(file);
}

/* The same large text many times, then another one: the dictionary is given up then. */
TEST(codec_parquet, a_dictionary_that_is_given_up_finds_room)
{
    (void)state;
    const struct parquet_column column = { .name = SV_LIT("c") };
    struct parquet_rows *rows = parquet_rows_new(&column, 1, GROUP_BYTES);
    struct buf file = BUF_INIT(64u << 20);
    char *text = calloc(1, LARGE);
    for (unsigned i = 0; i < 4000; i++) {
        text[0] = (char)(i % 1300 == 1299);
        put(rows, 0, sv_make(text, LARGE));
        end_row(rows, &file);
    }
    free(text);
    buf_done(&file);
    parquet_rows_free(rows);
}

/* Each group has another column with large texts. */
TEST(codec_parquet, what_columns_keep_is_bounded_in_all)
{
    (void)state;
    enum { N = 400 };
    struct parquet_column columns[N];
    struct buf file = BUF_INIT(64u << 20);
    char *text = calloc(1, LARGE);
    for (size_t i = 0; i < N; i++)
        columns[i] = (struct parquet_column){ .name = SV_LIT("c") };
    struct parquet_rows *rows = parquet_rows_new(columns, N, GROUP_BYTES);
    const size_t before = mallinfo2().hblkhd + mallinfo2().uordblks;
    for (size_t k = 0; k < N; k++) {
        /* the large ones are all different, so they are in no dictionary; the others are in one */
        for (unsigned row = 0; row < 4; row++) {
            for (size_t i = 0; i < N; i++) {
                text[0] = (char)('a' + (i == k ? row : 0));
                put(rows, i, sv_make(text, i == k ? LARGE : 1));
            }
            parquet_row_end(rows);
        }
        OK(parquet_group(rows, &file, e));
        buf_clear(&file);
    }
    const size_t after = mallinfo2().hblkhd + mallinfo2().uordblks;
    /* the sanitizers' allocators tell nothing */
    if (!TEST_SANITIZED && after - before > 3 * GROUP_BYTES)
        fail_msg("%zu MiB are kept", (after - before) >> 20);
    free(text);
    buf_done(&file);
    parquet_rows_free(rows);
}

TEST(codec_parquet, a_row_has_so_many_bytes_of_text_at_most)
{
    (void)state;
    const struct parquet_column columns[] = { { .name = SV_LIT("a") }, { .name = SV_LIT("b") } };
    struct parquet_rows *rows = parquet_rows_new(columns, 2, 3u << 20);
    struct err err = { 0 };
    const size_t len = 2u << 20;
    char *text = calloc(1, len);
    const struct parquet_value v = { .as.text = sv_make(text, len) };
    for (unsigned i = 0; i < 3; i++) {
        put(rows, 0, v.as.text);
        put(rows, 1, SV_NONE);
        parquet_row_end(rows);
    }
    put(rows, 0, v.as.text);
    assert_int_equal(parquet_cell(rows, 1, &v, 1, &err), ERR_TOO_LARGE);
    assert_string_equal(err.msg, "a row has more than 3 MiB of texts");
    free(text);
    parquet_rows_free(rows);
}

TEST_MAIN(T(codec_parquet, a_dictionary_that_is_given_up_finds_room),
          T(codec_parquet, what_columns_keep_is_bounded_in_all),
          T(codec_parquet, a_row_has_so_many_bytes_of_text_at_most))
