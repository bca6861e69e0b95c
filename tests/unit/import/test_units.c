/* test_units.c - chunks that other nodes parse: which they are, and what their notes say. */
#include "one_import.h"

#include "codec/hash.h"
#include "import/nodes/units.h"

static const char text[] = "{\"a\":1}\n{\"b\":2}\n\n{\"c\":3}\n";
#define FIRST 8u
#define REST  (sizeof text - 1 - FIRST)

static void make(struct import_chunk *chunk, struct job_run *run)
{
    const struct import_segment s[] = {
        { .file = 3, .offset = 70, .first_line = 9, .text_len = FIRST, .ends_file = true },
        { .file = 4, .packed = true, .first_line = 1, .text_len = REST },
    };
    import_chunk_init(chunk, run, NULL);
    OK(buf_add(&chunk->text, sv_make(text, sizeof text - 1), e));
    OK(buf_add(&chunk->segments, sv_make(s, sizeof s), e));
}

static struct import_segment *segment(struct import_chunk *chunk, size_t i)
{
    return (struct import_segment *)(void *)chunk->segments.ptr + i;
}

TEST(units, a_unit_is_read_as_it_was_written_and_a_damaged_one_is_none)
{
    struct job job = { .id = SV_LIT(JOB) };
    struct job_run run = { .job = &job };
    struct import_chunk chunk, got;
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_UNIT_MAX);
    uint64_t want[2], bytes;
    make(&chunk, &run);
    import_chunk_init(&got, &run, NULL);
    OK(import_unit_write(&chunk, &note, e));
    OK(import_unit_read(buf_sv(&note), 5, &got, &bytes, e));
    hash_xxh3_128(buf_sv(&chunk.text), SV_NONE, want);
    assert_true(got.sum[0] == want[0] && got.sum[1] == want[1]);
    assert_true(chunk.sum[0] == want[0] && chunk.sum[1] == want[1]);
    assert_int_equal(bytes, sizeof text - 1);
    assert_int_equal(got.segments.len, chunk.segments.len);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(segment(&got, i)->file, segment(&chunk, i)->file);
        assert_int_equal(segment(&got, i)->offset, segment(&chunk, i)->offset);
        assert_int_equal(segment(&got, i)->packed, segment(&chunk, i)->packed);
        assert_int_equal(segment(&got, i)->first_line, segment(&chunk, i)->first_line);
        assert_int_equal(segment(&got, i)->text_len, segment(&chunk, i)->text_len);
    }
    static const char *const damaged[] = {
        "",
        "{}",
        "{\"sum\":[1,2],\"bytes\":3,\"segments\":[]}",
        "{\"sum\":[1],\"bytes\":3,\"segments\":[[0,0,0,1,3]]}",
        "{\"sum\":[1,2],\"bytes\":3,\"segments\":[[0,0,0,1]]}",
        "{\"sum\":[1,2],\"bytes\":3,\"segments\":[[0,0,0,1,2]]}",
        "{\"sum\":[1,2],\"bytes\":3,\"segments\":[[0,0,0,1,2],[0,0,0,1,2]]}",
        "{\"sum\":[1,2],\"bytes\":3,\"segments\":[[5,0,0,1,3]]}",
        "{\"sum\":[1,2],\"bytes\":3,\"segments\":[[0,0,0,1,-3]]}",
    };
    for (size_t i = 0; i < CASES(damaged); i++) {
        struct err why;
        buf_clear(&got.segments);
        if (import_unit_read(sv_from(damaged[i]), 5, &got, &bytes, &why) != ERR_CORRUPT)
            fail_msg("%s", damaged[i]);
    }
    import_chunk_done(&chunk);
    import_chunk_done(&got);
}

TEST(units, what_others_had_better_not_read_again_is_no_unit)
{
    struct job job = { .id = SV_LIT(JOB) };
    struct job_run run = { .job = &job };
    struct import_chunk chunk;
    make(&chunk, &run);
    assert_true(import_unit_is_fit(&chunk));
    segment(&chunk, 0)->long_line = true;
    assert_false(import_unit_is_fit(&chunk));
    segment(&chunk, 0)->long_line = false;
    segment(&chunk, 1)->unreadable[0] = 'x';
    assert_false(import_unit_is_fit(&chunk));
    segment(&chunk, 1)->unreadable[0] = 0;
    chunk.giant = true;
    assert_false(import_unit_is_fit(&chunk));
    chunk.giant = false;
    /* a packed file is unpacked from its beginning */
    segment(&chunk, 1)->offset = 2 * (sizeof text - 1);
    assert_true(import_unit_is_fit(&chunk));
    segment(&chunk, 1)->offset++;
    assert_false(import_unit_is_fit(&chunk));
    segment(&chunk, 1)->packed = false;
    assert_true(import_unit_is_fit(&chunk));
    /* each segment is a file that is opened */
    struct import_segment more = *segment(&chunk, 1);
    for (size_t i = 2; i < 64; i++)
        OK(buf_add(&chunk.segments, sv_make(&more, sizeof more), e));
    assert_true(import_unit_is_fit(&chunk));
    OK(buf_add(&chunk.segments, sv_make(&more, sizeof more), e));
    assert_false(import_unit_is_fit(&chunk));
    import_chunk_done(&chunk);
}

TEST_MAIN(T(units, a_unit_is_read_as_it_was_written_and_a_damaged_one_is_none),
          T(units, what_others_had_better_not_read_again_is_no_unit))
