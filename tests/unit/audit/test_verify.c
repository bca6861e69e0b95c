/* Tampering by brute force: whatever is done to a log, the check says so, and where. */
#include "logs.h"

#define N_SEGMENTS 3u

/* A log of three segments that was ended in good order. */
static void three(struct logs *l)
{
    logs_make(l);
    logs_open(l, 700);
    char record[80];
    for (int i = 0; i < 8; i++) {
        (void)snprintf(record, sizeof record,
                       "{\"eventTime\":\"2026-11-29T10:00:0%dZ\",\"eventName\":\"Read%d\"}", i, i);
        assert_true(logs_add(l, record));
    }
    logs_close(l);
    const struct audit_verdict v = logs_verify(l);
    assert_false(v.wrong);
    assert_false(v.open);
    assert_true(v.segments >= N_SEGMENTS);
    assert_int_equal(v.records, 8);
}

/* Is the log wrong with this text as the segment? Then the segment is as it was. */
static struct audit_verdict with(const struct logs *l, unsigned segment, sv text, sv before)
{
    logs_put(l, segment, text);
    struct audit_verdict v;
    OK(audit_verify(l->dir, NULL, &v, e));
    logs_put(l, segment, before);
    return v;
}

static size_t line_end(sv text, size_t at)
{
    return at + sv_find(sv_tail(text, at), '\n') + 1;
}

TEST(verify, tells_how_many_records_there_are_and_of_when)
{
    (void)state;
    struct logs l;
    three(&l);
    const struct audit_verdict v = logs_verify(&l);
    assert_int_equal(v.lines, v.records + 2 * v.segments);
    assert_true(v.first_ms > 0 && v.last_ms >= v.first_ms);
    logs_free(&l);
}

TEST(verify, finds_each_byte_that_was_changed)
{
    (void)state;
    struct logs l;
    three(&l);
    for (unsigned s = 1; s <= N_SEGMENTS; s++) {
        struct buf b = logs_read(&l, s), was = logs_read(&l, s);
        uint64_t line = 1;
        for (size_t i = 0; i < b.len; i++) {
            for (int bit = 0; bit < 8; bit += 5) {
                b.ptr[i] = (char)(was.ptr[i] ^ (1 << bit));
                const struct audit_verdict v = with(&l, s, buf_sv(&b), buf_sv(&was));
                if (!v.wrong || v.at_segment != s || v.at_line != line)
                    fail_msg("segment %u byte %zu line %lu: %d at %lu:%lu %s", s, i,
                             (unsigned long)line, v.wrong, (unsigned long)v.at_segment,
                             (unsigned long)v.at_line, v.how);
            }
            b.ptr[i] = was.ptr[i];
            line += was.ptr[i] == '\n';
        }
        buf_done(&b);
        buf_done(&was);
    }
    assert_false(logs_verify(&l).wrong);
    logs_free(&l);
}

TEST(verify, finds_each_place_where_it_was_cut_off)
{
    (void)state;
    struct logs l;
    three(&l);
    for (unsigned s = 1; s <= N_SEGMENTS; s++) {
        struct buf was = logs_read(&l, s);
        for (size_t i = 0; i < was.len; i++) {
            const struct audit_verdict v = with(&l, s, sv_make(was.ptr, i), buf_sv(&was));
            if (!v.wrong || v.at_segment != s)
                fail_msg("segment %u cut at %zu is not told", s, i);
        }
        buf_done(&was);
    }
    logs_free(&l);
}

TEST(verify, finds_each_line_that_was_removed_inserted_or_moved)
{
    (void)state;
    struct logs l;
    three(&l);
    for (unsigned s = 1; s <= N_SEGMENTS; s++) {
        struct buf was = logs_read(&l, s);
        sv all = buf_sv(&was);
        uint64_t line = 1;
        for (size_t at = 0, next; at < all.len; at = next, line++) {
            next = line_end(all, at);
            sv one = sv_make(all.ptr + at, next - at);
            struct buf b = BUF_INIT(1 << 20);
            OK(buf_add(&b, sv_head(all, at), e));
            OK(buf_add(&b, sv_tail(all, next), e));
            struct audit_verdict v = with(&l, s, buf_sv(&b), all);
            assert_true(v.wrong);
            if (next < all.len && line > 1) {
                assert_int_equal(v.at_line, line);
                assert_non_null(strstr(v.how, "removed: 1 lines"));
            }
            buf_clear(&b);
            OK(buf_add(&b, sv_head(all, next), e));
            OK(buf_add(&b, one, e));
            OK(buf_add(&b, sv_tail(all, next), e));
            v = with(&l, s, buf_sv(&b), all);
            assert_true(v.wrong);
            if (next < all.len) {
                assert_int_equal(v.at_line, line + 1);
                assert_non_null(strstr(v.how, "inserted"));
            }
            if (next < all.len) {
                size_t behind = line_end(all, next);
                buf_clear(&b);
                OK(buf_add(&b, sv_head(all, at), e));
                OK(buf_add(&b, sv_make(all.ptr + next, behind - next), e));
                OK(buf_add(&b, one, e));
                OK(buf_add(&b, sv_tail(all, behind), e));
                assert_true(with(&l, s, buf_sv(&b), all).wrong);
            }
            buf_done(&b);
        }
        buf_done(&was);
    }
    logs_free(&l);
}

TEST(verify, finds_each_segment_that_was_removed)
{
    (void)state;
    struct logs l;
    three(&l);
    const uint64_t n = logs_verify(&l).segments;
    for (unsigned s = 1; s <= n; s++) {
        char path[120], away[140];
        logs_path(&l, s, path);
        (void)snprintf(away, sizeof away, "%s/away", l.root);
        assert_int_equal(rename(path, away), 0);
        const struct audit_verdict v = logs_verify(&l);
        assert_true(v.wrong);
        assert_int_equal(v.at_segment, s);
        assert_int_equal(v.at_line, 0);
        assert_int_equal(rename(away, path), 0);
    }
    logs_free(&l);
}

TEST(verify, wants_the_first_key_of_this_log)
{
    (void)state;
    struct logs l, other;
    three(&l);
    three(&other);
    char path[120];
    struct audit_verdict v;
    (void)snprintf(path, sizeof path, "%s/first-key", other.dir);
    OK(audit_verify(l.dir, path, &v, e));
    assert_true(v.wrong);
    FAILS(ERR_NOT_FOUND, audit_verify(l.dir, "/nowhere", &v, e));
    OK(file_write_atomic(path, SV_LIT("no key\n"), e));
    FAILS(ERR_INVALID, audit_verify(l.dir, path, &v, e));
    FAILS(ERR_NOT_FOUND, audit_verify(l.root, NULL, &v, e));
    logs_free(&l);
    logs_free(&other);
}

TEST(verify, reads_a_log_that_is_being_written)
{
    (void)state;
    struct logs l;
    logs_make(&l);
    logs_open(&l, 0);
    assert_true(logs_add(&l, "{\"a\":1}"));
    struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_true(v.open);
    assert_int_equal(v.open_bytes, 0);
    assert_int_equal(v.records, 1);
    logs_close(&l);
    assert_false(logs_verify(&l).open);
    logs_free(&l);
}

TEST(verify, without_the_key_file_the_end_is_not_known)
{
    (void)state;
    struct logs l;
    three(&l);
    char path[120];
    (void)snprintf(path, sizeof path, "%s/key", l.dir);
    assert_int_equal(unlink(path), 0);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_true(v.no_key);
    logs_free(&l);
}

TEST_MAIN(T(verify, tells_how_many_records_there_are_and_of_when),
          T(verify, finds_each_byte_that_was_changed),
          T(verify, finds_each_place_where_it_was_cut_off),
          T(verify, finds_each_line_that_was_removed_inserted_or_moved),
          T(verify, finds_each_segment_that_was_removed),
          T(verify, wants_the_first_key_of_this_log), T(verify, reads_a_log_that_is_being_written),
          T(verify, without_the_key_file_the_end_is_not_known))
