/* test_outcome_resume.c - an outcome that is taken up at any point comes out as one that was never
 * interrupted, whatever had been spooled behind that point. */
#include "one_outcome.h"

#include "codec/json.h"

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* Steps of an import of N_INPUTS files: lines of a chunk, or the end of a file. */
struct step {
    size_t file;
    bool ends;
    char text[IMPORT_N_KINDS][256];
};
#define STEPS_MAX 64u

static size_t random_steps(struct step *steps)
{
    size_t n = 0;
    for (size_t file = 0; file < N_INPUTS; file++) {
        uint64_t line = 1;
        for (unsigned chunks = below(6); chunks; chunks--) {
            struct step *s = &steps[n++];
            *s = (struct step){ .file = file };
            for (int k = 0; k < IMPORT_N_KINDS; k++)
                for (unsigned lines = below(4); lines; lines--) {
                    size_t len = strlen(s->text[k]);
                    (void)snprintf(s->text[k] + len, sizeof s->text[k] - len,
                                   "{\"lineId\":%llu,\"x\":%u}\n", (unsigned long long)line++,
                                   below(100000));
                }
        }
        steps[n++] = (struct step){ .file = file, .ends = true };
    }
    assert_true(n <= STEPS_MAX);
    return n;
}

static void take_step(struct import_outcome *x, const struct step *s)
{
    sv lines[IMPORT_N_KINDS];
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        lines[k] = sv_from(s->text[k]);
    if (s->ends)
        OK(import_outcome_end(x, s->file, e));
    else
        OK(import_outcome_add(x, s->file, lines, e));
}

static void state_of(const struct import_outcome *x, struct buf *out)
{
    struct json_writer w;
    buf_clear(out);
    json_writer_init(&w, out);
    import_outcome_write(x, &w);
    OK(json_writer_end(&w, e));
}

static err_code restore(struct import_outcome *x, sv state, struct err *why)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4 << 20);
    yyjson_doc *doc;
    OK(json_read(a, state, 16, &doc, e));
    return import_outcome_restore(x, yyjson_doc_get_root(doc), why);
}

/* All steps; at each of `cuts`, counted down, the process ends after some steps that nobody
 * published, and a new one takes up. */
static void run_steps(struct one_outcome *o, const struct step *steps, size_t n, unsigned cuts,
                      bool upload, struct buf *tree, uint64_t left[IMPORT_N_KINDS])
{
    CLEANUP_BUF struct buf state = BUF_INIT(1 << 20);
    struct import_outcome *x = import_outcome_new(&o->r, o->sink, &o->files);
    size_t i = 0;
    while (i < n) {
        take_step(x, &steps[i++]);
        if (cuts && below((uint32_t)n) < 4) {
            cuts--;
            OK(import_outcome_sync(x, e));
            state_of(x, &state);
            for (size_t k = i, lost = below(8); k < n && lost; k++, lost--)
                take_step(x, &steps[k]);
            /* it may write notes yet, when it is only thought to be dead */
            if (o->r.cfg && below(2))
                OK(import_outcome_sync(x, e));
            import_outcome_free(x);
            if (o->r.cfg && below(3))
                another_machine(o);
            x = import_outcome_new(&o->r, o->sink, &o->files);
            OK(restore(x, buf_sv(&state), e));
            CLEANUP_BUF struct buf again = BUF_INIT(1 << 20);
            state_of(x, &again);
            /* of parts it says who writes them, too */
            if (o->r.cfg == NULL)
                fx_same(buf_sv(&again), buf_sv(&state));
        }
        if (upload && below(3) == 0) {
            /* as an import does: what is uploaded is published */
            OK(import_outcome_sync(x, e));
            state_of(x, &state);
            OK(import_outcome_upload(x, e));
            if (o->r.cfg && below(3) == 0) {
                /* killed behind the upload */
                import_outcome_free(x);
                another_machine(o);
                x = import_outcome_new(&o->r, o->sink, &o->files);
                OK(restore(x, buf_sv(&state), e));
            }
        }
    }
    OK(import_outcome_sync(x, e));
    OK(import_outcome_upload(x, e));
    import_outcome_left(x, left);
    import_outcome_free(x);
    assert_int_equal(spools(o), 0);
    fx_tree(&o->f, "out", tree);
}

static void runs_are_one(bool shared)
{
    static struct step steps[STEPS_MAX];
    seed = 21;
    for (unsigned round = 0; round < 60; round++) {
        CLEANUP_BUF struct buf once = BUF_INIT(1 << 20), again = BUF_INIT(1 << 20);
        uint64_t left[IMPORT_N_KINDS], left_again[IMPORT_N_KINDS];
        struct import_bounds b = wide;
        struct one_outcome o;
        size_t n = random_steps(steps);
        if (round % 2) {
            /* some of it is too much */
            b.file_failures = 3;
            b.job_failures = 12;
            b.file_bytes = 90;
            b.job_bytes = 700;
            b.ends_bytes = 600;
        }
        outcome_open(&o, &b);
        run_steps(&o, steps, n, 0, false, &once, left);
        outcome_close(&o);
        (shared ? outcome_open_shared : outcome_open)(&o, &b);
        run_steps(&o, steps, n, 5, round % 4 < 2, &again, left_again);
        outcome_close(&o);
        fx_same(buf_sv(&again), buf_sv(&once));
        assert_memory_equal(left_again, left, sizeof left);
    }
}

TEST(outcome_resume, an_outcome_that_is_taken_up_is_that_of_one_run)
{
    runs_are_one(false);
}

TEST(outcome_resume, on_another_machine_too)
{
    runs_are_one(true);
}

/* Lines of a file that has not ended, in some parts. */
static void some_parts(struct one_outcome *o, size_t n, struct buf *point)
{
    struct import_outcome *x = import_outcome_new(&o->r, o->sink, &o->files);
    for (size_t i = 0; i < n; i++) {
        take_step(x, &(struct step){ .file = 0, .text = { "", "{\"lineId\":1}\n", "" } });
        OK(import_outcome_sync(x, e));
    }
    state_of(x, point);
    import_outcome_free(x);
}

static bool first_key(void *ctx, sv key, sv value)
{
    (void)value;
    (void)snprintf(ctx, 128, "%.*s", SV_FMT(key));
    return false;
}

TEST(outcome_resume, parts_that_are_not_whole_are_refused)
{
    for (unsigned i = 0; i < 3; i++) {
        CLEANUP_BUF struct buf point = BUF_INIT(1 << 20);
        struct one_outcome o;
        char key[128] = "";
        outcome_open_shared(&o, &wide);
        some_parts(&o, 3, &point);
        OK(job_run_note_scan(&o.r, SV_LIT("part/"), first_key, key, e));
        const struct records_write bad = { i ? RECORDS_PUT : RECORDS_DELETE, sv_from(key),
                                           i == 1 ? SV_LIT("not packed") : SV_LIT("") };
        OK(records_write(o.f.records, &bad, 1, e));
        struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
        FAILS(ERR_CORRUPT, restore(x, buf_sv(&point), e));
        import_outcome_free(x);
        outcome_close(&o);
    }
}

TEST(outcome_resume, parts_go_when_their_files_are_uploaded)
{
    CLEANUP_BUF struct buf point = BUF_INIT(1 << 20);
    struct one_outcome o;
    outcome_open_shared(&o, &wide);
    some_parts(&o, 600, &point);
    assert_int_equal(notes(&o, "part/"), 600);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    OK(restore(x, buf_sv(&point), e));
    OK(import_outcome_upload(x, e));
    assert_int_equal(notes(&o, "part/"), 600);
    OK(import_outcome_end(x, 0, e));
    OK(import_outcome_sync(x, e));
    OK(import_outcome_upload(x, e));
    assert_int_equal(notes(&o, "part/"), 0);
    assert_int_equal(notes(&o, "gone/"), 1);
    import_outcome_free(x);
    outcome_close(&o);
}

static const struct step early = { .file = 0, .text = { "", "{\"lineId\":1}\n", "" } },
                         late = { .file = 0, .text = { "", "{\"lineId\":2,\"late\":1}\n", "" } },
                         taken = { .file = 0, .text = { "", "{\"lineId\":2,\"taken\":1}\n", "" } };

/* It was only slow, and goes on until it learns that the job is another's. */
TEST(outcome_resume, one_who_has_lost_the_job_changes_no_part_that_counts)
{
    CLEANUP_BUF struct buf point = BUF_INIT(1 << 20), tree = BUF_INIT(1 << 20);
    struct one_outcome o;
    outcome_open_shared(&o, &wide);
    struct import_outcome *slow = import_outcome_new(&o.r, o.sink, &o.files);
    take_step(slow, &early);
    OK(import_outcome_sync(slow, e));
    state_of(slow, &point);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    OK(restore(x, buf_sv(&point), e));
    take_step(x, &taken);
    OK(import_outcome_sync(x, e));
    state_of(x, &point);
    take_step(slow, &late);
    OK(import_outcome_sync(slow, e));
    import_outcome_free(slow);
    import_outcome_free(x);
    another_machine(&o);
    x = import_outcome_new(&o.r, o.sink, &o.files);
    OK(restore(x, buf_sv(&point), e));
    OK(import_outcome_end(x, 0, e));
    OK(import_outcome_sync(x, e));
    OK(import_outcome_upload(x, e));
    import_outcome_free(x);
    fx_tree(&o.f, "out", &tree);
    assert_sv(buf_sv(&tree),
              SV_LIT("== p/FAILURE/o0.ndjson\n{\"lineId\":1}\n{\"lineId\":2,\"taken\":1}\n"));
    outcome_close(&o);
}

static void all_are_damaged(void (*open)(struct one_outcome *, const struct import_bounds *),
                            const char *const *bad, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct one_outcome o;
        struct err why;
        open(&o, &wide);
        struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
        err_code rc = restore(x, sv_from(bad[i]), &why);
        if (rc != ERR_CORRUPT)
            fail_msg("%s: %s", bad[i], err_code_name(rc));
        import_outcome_free(x);
        outcome_close(&o);
    }
}

TEST(outcome_resume, a_state_without_its_parts_is_refused)
{
    static const char *const bad[] = {
        "{\"files\":[]}",
        "{\"files\":[],\"parts\":{\"next\":-1}}",
        "{\"files\":[],\"parts\":{\"next\":1,\"runs\":[]}}",
        "{\"files\":[],\"parts\":{\"next\":1,\"runs\":[{\"from\":0,\"tag\":\"x\"}]}}",
        "{\"files\":[],\"parts\":{\"next\":1,\"runs\":[{\"from\":2,\"tag\":\"" JOB "\"}]}}",
        "{\"files\":[{\"file\":0,\"success\":0,\"failure\":0,\"withIssues\":0}],"
        "\"parts\":{\"next\":0,\"runs\":[{\"from\":0,\"tag\":\"" JOB "\"}]}}",
    };
    all_are_damaged(outcome_open_shared, bad, CASES(bad));
}

TEST(outcome_resume, a_spool_that_is_shorter_than_it_was_is_refused)
{
    struct one_outcome o;
    outcome_open(&o, &wide);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    put_spool(&o, "f0", "1234\n");
    FAILS(ERR_CORRUPT, restore(x,
                               SV_LIT("{\"files\":[{\"file\":0,\"success\":0,\"failure\":6,"
                                      "\"withIssues\":0,\"ended\":false}]}"),
                               e));
    import_outcome_free(x);
    outcome_close(&o);
}

#define NO_LINES "\"success\":0,\"failure\":0,\"withIssues\":0"

TEST(outcome_resume, a_state_that_is_damaged_is_refused)
{
    static const char *const bad[] = {
        "{\"bytes\":[1,2]}",
        "{\"left\":[0,\"0\",0]}",
        "{\"more\":[1]}",
        "{\"files\":[{}]}",
        "{\"files\":[{\"file\":0}]}",
        "{\"files\":[{\"file\":99," NO_LINES "}]}",
        "{\"files\":[{\"file\":-1," NO_LINES "}]}",
        "{\"files\":[{\"file\":0,\"success\":0,\"failure\":-1,\"withIssues\":0}]}",
        "{\"files\":[{\"file\":0," NO_LINES ",\"failures\":\"x\"}]}",
        "{\"files\":[{\"file\":0," NO_LINES ",\"left\":[1]}]}",
        "{\"files\":[{\"file\":0," NO_LINES ",\"from\":[1,2]}]}",
    };
    all_are_damaged(outcome_open, bad, CASES(bad));
}

TEST(outcome_resume, a_state_of_before_outcomes_were_bounded_is_taken)
{
    CLEANUP_BUF struct buf tree = BUF_INIT(1 << 20);
    struct one_outcome o;
    uint64_t left[IMPORT_N_KINDS];
    outcome_open(&o, &wide);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    put_spool(&o, "f0", "1234\nbehind");
    OK(restore(
        x, SV_LIT("[{\"file\":0,\"success\":0,\"failure\":5,\"withIssues\":0,\"ended\":false}]"),
        e));
    OK(import_outcome_end(x, 0, e));
    OK(import_outcome_upload(x, e));
    import_outcome_left(x, left);
    assert_int_equal(left[0] + left[1] + left[2], 0);
    fx_tree(&o.f, "out", &tree);
    assert_sv(buf_sv(&tree), SV_LIT("== p/FAILURE/o0.ndjson\n1234\n"));
    import_outcome_free(x);
    outcome_close(&o);
}

TEST_MAIN(T(outcome_resume, an_outcome_that_is_taken_up_is_that_of_one_run),
          T(outcome_resume, on_another_machine_too),
          T(outcome_resume, parts_that_are_not_whole_are_refused),
          T(outcome_resume, parts_go_when_their_files_are_uploaded),
          T(outcome_resume, one_who_has_lost_the_job_changes_no_part_that_counts),
          T(outcome_resume, a_state_without_its_parts_is_refused),
          T(outcome_resume, a_spool_that_is_shorter_than_it_was_is_refused),
          T(outcome_resume, a_state_that_is_damaged_is_refused),
          T(outcome_resume, a_state_of_before_outcomes_were_bounded_is_taken))
