/* test_notes.c - notes of the units of an earlier run are taken away, and the loads they name. */
#include "one_import.h"

#include "import/nodes/units.h"
#include "store/lease.h"

#define MANY 700u

struct place { /* a run that nobody knows but this test */
    struct records *records;
    struct leases *leases;
    struct store *st;
    struct store_ops ops;
    const struct store_ops *ops_before;
    struct job job;
    struct job_engine engine;
    struct job_engine_config cfg;
    struct job_run run;
    size_t n_notes; /* as the last load was given up */
    char given_up[256];
};

static struct place *place;

/* records_each_fn */
static bool count_each(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    ++*(size_t *)ctx;
    return true;
}

static size_t notes(const char *prefix)
{
    size_t n = 0;
    OK(job_run_note_scan(&place->run, sv_from(prefix), count_each, &n, e));
    return n;
}

/* As if it had been given up already. */
static err_code take_over(struct store *st, sv text, struct store_bulk **out, struct err *e)
{
    (void)st;
    (void)out;
    size_t len = strlen(place->given_up);
    (void)snprintf(place->given_up + len, sizeof place->given_up - len, "%.*s;", SV_FMT(text));
    place->n_notes = notes("");
    return ERR(e, ERR_NOT_FOUND, "the load is not there");
}

static void open_place(struct place *p)
{
    memset(p, 0, sizeof *p);
    place = p;
    OK(records_open(NULL, &p->records, e));
    OK(leases_open(p->records, 0, &p->leases, e));
    p->st = memory_store();
    p->ops_before = p->st->ops;
    p->ops = *p->st->ops;
    p->ops.bulk_take_over = take_over;
    p->st->ops = &p->ops;
    p->job = (struct job){ .kind = JOB_IMPORT, .id = SV_LIT(JOB), .datastore_id = FX_STORE };
    pthread_mutex_init(&p->engine.locked.lock, NULL);
    p->cfg.records = p->records;
    p->run = (struct job_run){
        .job = &p->job, .cfg = &p->cfg, .store = p->st, .engine = &p->engine, .leases = p->leases
    };
    OK(lease_take(p->leases, SV_LIT("job/" JOB), NULL, NULL, &p->run.lease, e));
}

static void close_place(struct place *p)
{
    lease_release(p->run.lease);
    leases_close(p->leases);
    p->st->ops = p->ops_before;
    store_close(p->st);
    records_close(p->records);
    pthread_mutex_destroy(&p->engine.locked.lock);
}

static void put(const char *name, const char *value)
{
    OK(job_run_note_put_unsynced(&place->run, sv_from(name), sv_from(value), e));
}

TEST(notes, however_many_an_earlier_run_has_left_none_stays_and_their_loads_go_behind_them)
{
    struct place p;
    char name[IMPORT_UNIT_NAME];
    open_place(&p);
    for (uint64_t i = 0; i < MANY; i++) {
        import_unit_name(name, "unit", i);
        put(name, "{}");
    }
    put("done/00000003", "{\"load\":\"three\",\"pieces\":2}");
    put("lines/00000003/0", "x");
    put("lines/00000003/1", "x");
    put("load/00000003", "7 three");
    put("load/00000005", "9 five");
    assert_int_equal(notes(""), MANY + 5);
    OK(import_notes_clear(&p.run, e));
    assert_int_equal(notes(""), 0);
    /* while the notes are there, another run may have them: then its loads are not given up */
    assert_string_equal(p.given_up, "three;three;five;");
    assert_int_equal(p.n_notes, 0);
    close_place(&p);
}

TEST(notes, a_damaged_one_is_told_and_nothing_is_given_up)
{
    static const char *const damaged[][2] = {
        { "unit/xxxxxxxx", "{}" },
        { "unit/1", "{}" },
        { "load/xxxxxxxx", "1 a" },
        { "load/00000001", "a" },
        { "done/xxxxxxxx", "{\"load\":\"a\",\"pieces\":0}" },
        { "done/00000001", "{}" },
    };
    for (size_t i = 0; i < CASES(damaged); i++) {
        struct place p;
        struct err why;
        open_place(&p);
        put("unit/00000000", "{}");
        put("load/00000000", "1 b");
        put("done/00000000", "{\"load\":\"b\",\"pieces\":0}");
        put(damaged[i][0], damaged[i][1]);
        if (import_notes_clear(&p.run, &why) != ERR_CORRUPT)
            fail_msg("%s", damaged[i][0]);
        assert_int_equal(notes(""), 4);
        assert_string_equal(p.given_up, "");
        close_place(&p);
    }
}

static const char of_two[] = "{\"load\":\"x\",\"pieces\":0,\"counts\":[0,0,0,0,0],"
                             "\"ends\":[[%s]],\"sum\":[%llu,%llu]}";

TEST(notes, what_was_made_of_other_lines_is_not_taken_in)
{
    const struct import_segment s = { .first_line = 1, .text_len = 1 };
    struct place p;
    struct import_chunk chunk;
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_UNIT_MAX);
    char text[512], zeros[64] = "0";
    open_place(&p);
    import_chunk_init(&chunk, &p.run, NULL);
    OK(buf_add(&chunk.text, SV_LIT("\n"), e));
    OK(buf_add(&chunk.segments, sv_make(&s, sizeof s), e));
    OK(import_unit_write(&chunk, &note, e));
    for (int k = 1; k < IMPORT_N_KINDS; k++)
        (void)snprintf(zeros + strlen(zeros), sizeof zeros - strlen(zeros), ",0");
    (void)snprintf(text, sizeof text, of_two, zeros, (unsigned long long)chunk.sum[0],
                   (unsigned long long)chunk.sum[1] + 1);
    FAILS(ERR_CONFLICT, import_result_read(&p.run, 0, sv_from(text), &chunk, e));
    assert_string_equal(p.given_up, "");
    (void)snprintf(text, sizeof text, of_two, zeros, (unsigned long long)chunk.sum[0],
                   (unsigned long long)chunk.sum[1]);
    /* as far as its load, which is not there */
    FAILS(ERR_NOT_FOUND, import_result_read(&p.run, 0, sv_from(text), &chunk, e));
    assert_string_equal(p.given_up, "x;");
    import_chunk_done(&chunk);
    close_place(&p);
}

TEST_MAIN(T(notes, however_many_an_earlier_run_has_left_none_stays_and_their_loads_go_behind_them),
          T(notes, a_damaged_one_is_told_and_nothing_is_given_up),
          T(notes, what_was_made_of_other_lines_is_not_taken_in))
