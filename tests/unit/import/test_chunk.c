/* test_chunk.c - the lines of a chunk become versions or say why not: random chunks are compared
 * with what each of their lines was made to be. */
#include "one_import.h"
#include "query/fixture.h"

#include "codec/json.h"

#define SEGMENTS_MAX 5u
#define LINES_MAX    64u
#define N_IDS        20u

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

struct bench { /* a run without an engine, one chunk, one worker */
    struct store *st;
    struct job job;
    struct job_run r;
    atomic_bool halt;
    struct import_worker worker;
    struct import_chunk c;
};

static void bench_open(struct bench *b, const char *level)
{
    memset(b, 0, sizeof *b);
    b->st = memory_store();
    b->job = (struct job){ .id = SV_LIT(JOB), .validation_level = sv_from(level) };
    b->r = (struct job_run){
        .job = &b->job, .store = b->st, .halt = &b->halt, .import_chunk_bytes = 1 << 16
    };
    import_chunk_init(&b->c, &b->r, &b->worker);
}

static void bench_close(struct bench *b)
{
    import_chunk_done(&b->c);
    import_worker_done(&b->worker);
    store_close(b->st);
}

static void segment(struct bench *b, struct import_segment s, sv text)
{
    s.text_len = text.len;
    OK(buf_add(&b->c.text, text, e));
    OK(buf_add(&b->c.segments, sv_make(&s, sizeof s), e));
}

static const struct import_segment *segments(const struct bench *b)
{
    return (const struct import_segment *)(const void *)b->c.segments.ptr;
}

static void publish(struct bench *b)
{
    struct store_commit at;
    OK(store_bulk_publish(&b->c.bulk, SV_NONE, SV_NONE, &at, e));
}

/* ---- what lines say ---- */

struct said { /* of one line of an outcome */
    uint64_t line, status;
    char id[16]; /* of SUCCESS and WITH_ISSUES */
};

static size_t read_said(sv text, import_kind kind, struct said *out)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4 << 20);
    sv line;
    size_t n = 0;
    while (text.len && sv_cut(&text, '\n', &line)) {
        yyjson_doc *doc;
        OK(json_read(a, line, 32, &doc, e));
        yyjson_val *root = yyjson_doc_get_root(doc);
        yyjson_val *answer = json_get(root, "UpdateResourceResponse");
        yyjson_val *blob = json_get(answer, "jsonBlob");
        sv id = kind == IMPORT_SUCCESS ? json_string(json_get(blob, "id"))
                                       : json_string(json_get(root, "resourceId"));
        struct said s = { 0 };
        assert_true(sv_to_u64(json_number(json_get(root, "lineId")), &s.line));
        assert_true(sv_to_u64(json_number(json_get(answer, "statusCode")), &s.status));
        if (kind != IMPORT_SUCCESS) {
            assert_sv(json_string(json_get(blob, "resourceType")), SV_LIT("OperationOutcome"));
            assert_true(yyjson_arr_size(json_get(blob, "issue")) > 0);
        }
        assert_true(id.len < sizeof s.id && n < LINES_MAX);
        if (id.len)
            memcpy(s.id, id.ptr, id.len);
        out[n++] = s;
    }
    return n;
}

/* ---- random chunks ---- */

enum { GOOD, BLANK, NO_JSON, NO_TYPE, BREAKS_RULES, N_LINES_KINDS };

struct model {
    struct said said[SEGMENTS_MAX][IMPORT_N_KINDS][LINES_MAX];
    size_t n_said[SEGMENTS_MAX][IMPORT_N_KINDS];
    uint64_t scanned, imported, rejected, with_issues, imported_bytes;
    char stored[N_IDS][128]; /* empty: not there */
};

static void expect(struct model *m, unsigned s, import_kind kind, uint64_t line, const char *id)
{
    struct said *x = &m->said[s][kind][m->n_said[s][kind]++];
    *x = (struct said){ .line = line, .status = kind == IMPORT_FAILURE ? 400 : 200 };
    (void)snprintf(x->id, sizeof x->id, "%s", id);
}

static void add_line(struct model *m, unsigned s, uint64_t number, bool minimal, struct buf *text)
{
    static const char *const blanks[] = { "", " ", "\t \t", "\r" };
    static const char *const no_json[] = { "{", "x", "{\"resourceType\":\"Patient\"", "}{" };
    unsigned id = below(N_IDS), kind = below(N_LINES_KINDS);
    char name[16], line[128];
    (void)snprintf(name, sizeof name, "p%02u", id);
    (void)snprintf(line, sizeof line, "{\"resourceType\":\"Patient\",\"id\":\"%s\",\"%s\":\"v%u\"}",
                   name, kind == BREAKS_RULES ? "nothing" : "language", below(1000));
    if (kind == BLANK)
        (void)snprintf(line, sizeof line, "%s", blanks[below(4)]);
    else if (kind == NO_JSON)
        (void)snprintf(line, sizeof line, "%s", no_json[below(4)]);
    else if (kind == NO_TYPE)
        (void)snprintf(line, sizeof line, "{\"id\":\"%s\"}", name);
    OK(buf_add_fmt(text, e, "%s\n", line));
    if (kind == BLANK)
        return;
    m->scanned++;
    if (kind == GOOD || (kind == BREAKS_RULES && minimal)) {
        m->imported++;
        m->imported_bytes += strlen(line) + 1;
        m->with_issues += kind != GOOD;
        (void)snprintf(m->stored[id], sizeof m->stored[id], "%s", kind == GOOD ? line : "marked");
        expect(m, s, kind == GOOD ? IMPORT_SUCCESS : IMPORT_WITH_ISSUES, number, name);
    } else {
        m->rejected++;
        expect(m, s, IMPORT_FAILURE, number, "");
    }
}

static void check_said(const struct bench *b, const struct model *m, unsigned n_segments)
{
    size_t from[IMPORT_N_KINDS] = { 0 };
    for (unsigned s = 0; s < n_segments; s++)
        for (int k = 0; k < IMPORT_N_KINDS; k++) {
            struct said got[LINES_MAX];
            size_t to = segments(b)[s].lines_end[k];
            assert_true(from[k] <= to && to <= b->c.lines[k].len);
            size_t n =
                read_said(sv_make(b->c.lines[k].ptr + from[k], to - from[k]), (import_kind)k, got);
            assert_int_equal(n, m->n_said[s][k]);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(got[i].line, m->said[s][k][i].line);
                assert_int_equal(got[i].status, m->said[s][k][i].status);
                assert_string_equal(got[i].id, m->said[s][k][i].id);
            }
            from[k] = to;
        }
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        assert_int_equal(from[k], b->c.lines[k].len);
}

static void check_stored(const struct bench *b, const struct model *m)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    for (unsigned i = 0; i < N_IDS; i++) {
        struct store_version v;
        struct err why;
        err_code rc = store_get(b->st, fhir_type_find(SV_LIT("Patient")), arena_fmt(a, "p%02u", i),
                                STORE_NOW, a, &v, &why);
        assert_int_equal(rc, m->stored[i][0] ? ERR_OK : ERR_NOT_FOUND);
        if (rc == ERR_OK && strcmp(m->stored[i], "marked") != 0)
            assert_sv(v.body.json, sv_from(m->stored[i]));
    }
}

static void random_chunks(const char *level, bool minimal)
{
    static struct model m;
    struct bench b;
    bench_open(&b, level);
    memset(&m, 0, sizeof m);
    seed = 11;
    for (unsigned round = 0; round < 200; round++) {
        char stored[sizeof m.stored];
        unsigned n_segments = below(SEGMENTS_MAX + 1);
        /* what the chunks before it left stays */
        memcpy(stored, m.stored, sizeof stored);
        memset(&m, 0, sizeof m);
        memcpy(m.stored, stored, sizeof stored);
        for (unsigned s = 0; s < n_segments; s++) {
            CLEANUP_BUF struct buf text = BUF_INIT(1 << 16);
            struct import_segment x = { .file = s, .first_line = 1 + below(2) * below(100000) };
            uint64_t number = x.first_line;
            for (unsigned n = below(30); n; n--)
                add_line(&m, s, number++, minimal, &text);
            switch (below(5)) {
            case 0: /* of a line that was passed over there is no text */
                x.long_line = true;
                m.scanned++;
                m.rejected++;
                expect(&m, s, IMPORT_FAILURE, number, "");
                break;
            case 1: /* is no resource */
                (void)snprintf(x.unreadable, sizeof x.unreadable, "it ends early");
                expect(&m, s, IMPORT_FAILURE, number, "");
                break;
            default: /* the last line of a file may have no end */
                text.len -= text.len && below(2);
            }
            segment(&b, x, buf_sv(&text));
        }
        import_chunk_parse(&b.c, 0);
        assert_int_equal(b.c.rc, ERR_OK);
        assert_int_equal(b.c.scanned, m.scanned);
        assert_int_equal(b.c.imported, m.imported);
        assert_int_equal(b.c.rejected, m.rejected);
        assert_int_equal(b.c.with_issues, m.with_issues);
        assert_int_equal(b.c.imported_bytes, m.imported_bytes);
        check_said(&b, &m, n_segments);
        publish(&b);
        check_stored(&b, &m);
        import_chunk_reset(&b.c);
    }
    bench_close(&b);
}

TEST(chunk, each_line_becomes_a_version_or_says_why_not)
{
    random_chunks("strict", false);
}

TEST(chunk, at_level_minimal_what_breaks_rules_is_stored_and_says_so)
{
    random_chunks("minimal", true);
}

TEST(chunk, nothing_is_seen_before_it_is_published_or_after_it_was_given_up)
{
    struct bench b;
    bench_open(&b, "strict");
    segment(&b, (struct import_segment){ .first_line = 1 }, SV_LIT(PATIENT("a") "\n"));
    import_chunk_parse(&b.c, 0);
    assert_int_equal(b.c.rc, ERR_OK);
    check_store(b.st, "");
    import_chunk_reset(&b.c);
    check_store(b.st, "");
    assert_int_equal(b.c.scanned + b.c.imported + b.c.imported_bytes + b.c.text.len +
                         b.c.segments.len + b.c.lines[IMPORT_SUCCESS].len,
                     0);
    bench_close(&b);
}

TEST(chunk, what_is_published_is_found_by_its_own_values)
{
    static const struct {
        const char *family;
        sv found;
    } asks[] = { { "ann", S("a c") }, { "bob", S("b") }, { "eve", S("") }, { "zoe", S("z") } };
    struct bench b;
    bench_open(&b, "strict");
#define NAMED(id, family) \
    "{\"resourceType\":\"Patient\",\"id\":\"" id "\",\"name\":[{\"family\":\"" family "\"}]}\n"
    /* one is refused between them, and one is replaced */
    segment(&b, (struct import_segment){ .first_line = 1 },
            SV_LIT(NAMED("z", "Eve") NAMED("a", "Ann") "{}\n" NAMED("b", "Bob")));
    segment(&b, (struct import_segment){ .file = 1, .first_line = 1 },
            SV_LIT(NAMED("c", "Ann") NAMED("z", "Zoe")));
    import_chunk_parse(&b.c, 0);
    assert_int_equal(b.c.rc, ERR_OK);
    publish(&b);
    for (size_t i = 0; i < CASES(asks); i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
        struct query *q = fixture_query(b.st, a, "Patient");
        OK(query_add(q, SV_LIT("family"), sv_from(asks[i].family), e));
        assert_sv(fixture_found(q), asks[i].found);
    }
    bench_close(&b);
}

/* docs/differences-from-healthlake.md: more than 5 MiB is a FAILURE of its own, but for the data of
 * a Binary. */
TEST(chunk, a_line_of_more_than_five_mebibytes_is_a_failure_unless_it_is_a_binary)
{
    static const struct {
        const char *before, *behind;
        char fill;
        unsigned n_over;
        bool fits;
    } cases[] = {
        { "{\"resourceType\":\"Patient\",", "\"id\":\"a\"}", ' ', 0, true },
        { "{\"resourceType\":\"Patient\",", "\"id\":\"a\"}", ' ', 1, false },
        { "{\"resourceType\":\"Binary\",\"id\":\"a\",\"contentType\":\"text/plain\",\"data\":\"",
          "\"}", 'A', 100, true },
    };
    for (size_t i = 0; i < CASES(cases); i++) {
        CLEANUP_BUF struct buf text = BUF_INIT(16 << 20);
        struct bench b;
        size_t len = (5u << 20) + cases[i].n_over - strlen(cases[i].behind);
        OK(buf_add_fmt(&text, e, "%s", cases[i].before));
        size_t fill = len - text.len;
        /* base64 comes in fours */
        if (cases[i].fill == 'A')
            fill -= fill % 4;
        for (size_t k = 0; k < fill; k++)
            OK(buf_add_char(&text, cases[i].fill, e));
        OK(buf_add_fmt(&text, e, "%s", cases[i].behind));
        bench_open(&b, "strict");
        segment(&b, (struct import_segment){ .first_line = 7 }, buf_sv(&text));
        import_chunk_parse(&b.c, 0);
        assert_int_equal(b.c.rc, ERR_OK);
        assert_int_equal(b.c.scanned, 1);
        assert_int_equal(b.c.imported, cases[i].fits);
        assert_int_equal(b.c.rejected, !cases[i].fits);
        if (!cases[i].fits) {
            char bytes[32];
            sv line = buf_sv(&b.c.lines[IMPORT_FAILURE]);
            (void)snprintf(bytes, sizeof bytes, "%zu bytes", text.len);
            assert_true(sv_starts(line, SV_LIT("{\"lineId\":7,")));
            assert_non_null(memmem(line.ptr, line.len, bytes, strlen(bytes)));
            assert_non_null(memmem(line.ptr, line.len, "5 MiB", 5));
        }
        bench_close(&b);
    }
}

TEST(chunk, an_import_that_is_to_stop_leaves_the_chunk)
{
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    struct bench b;
    bench_open(&b, "strict");
    for (unsigned i = 0; i < 600; i++)
        OK(buf_add_fmt(&text, e, PATIENT("a") "\n"));
    segment(&b, (struct import_segment){ .first_line = 1 }, buf_sv(&text));
    atomic_store(&b.halt, true);
    import_chunk_parse(&b.c, 0);
    assert_int_equal(b.c.rc, ERR_CANCELLED);
    bench_close(&b);
}

TEST_MAIN(T(chunk, each_line_becomes_a_version_or_says_why_not),
          T(chunk, at_level_minimal_what_breaks_rules_is_stored_and_says_so),
          T(chunk, nothing_is_seen_before_it_is_published_or_after_it_was_given_up),
          T(chunk, what_is_published_is_found_by_its_own_values),
          T(chunk, a_line_of_more_than_five_mebibytes_is_a_failure_unless_it_is_a_binary),
          T(chunk, an_import_that_is_to_stop_leaves_the_chunk))
