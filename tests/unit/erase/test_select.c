/* Which resources go: a patient's, as the compartment says of each version; a type's, within a
 * span; and what is about them. Over the store in memory. */
#include "test.h"

#include "codec/json.h"
#include "erase/erase_private.h"
#include "store/last.h"

static struct store *st;
static struct arena *texts;

static fhir_type type(const char *name)
{
    return fhir_type_find(sv_from(name));
}

/* A version of Type/id: the members behind resourceType; NULL: a deletion. */
static struct store_commit put(const char *of, const char *id, const char *members)
{
    CLEANUP_BUF struct buf index = BUF_INIT(1 << 16);
    struct store_commit c;
    struct store_write w = { .type = type(of),
                             .id = sv_from(id),
                             .method = members ? STORE_METHOD_UPDATE : STORE_METHOD_DELETE };
    if (members) {
        sv json = arena_fmt(texts, "{\"resourceType\":\"%s\"%s}", of, members);
        yyjson_doc *doc;
        w.body = (struct fhir_body){ json, (uint32_t)strlen(of) + 18, FHIR_HOLE_NO_META };
        OK(json_read(texts, json, 16, &doc, e));
        OK(search_index(w.type, yyjson_doc_get_root(doc), &index, e));
        w.index = arena_sv(texts, buf_sv(&index));
    }
    OK(store_commit(st, &w, 1, &c, e));
    return c;
}

#define OF(who) ",\"subject\":{\"reference\":\"Patient/" who "\"}"

static bool there(const char *of, const char *id, uint64_t t)
{
    struct store_version v;
    struct err why;
    struct arena *a = arena_new(1 << 20);
    const err_code rc = store_get(st, type(of), sv_from(id), t, a, &v, &why);
    const bool lives = rc == ERR_OK && v.method != STORE_METHOD_DELETE;
    assert_true(rc == ERR_OK || rc == ERR_NOT_FOUND);
    arena_free(a);
    return lives;
}

static unsigned versions(const char *of, const char *id)
{
    struct store_cursor *c;
    struct store_version v;
    struct err why;
    unsigned n = 0;
    OK(store_history(st, type(of), sv_from(id), STORE_NOW, &c, e));
    while (store_cursor_next(c, &v, &why) == ERR_OK)
        n += !v.erased;
    store_cursor_close(c);
    return n;
}

/* A run of a job that chose as of t; again is what goes on after an end of the process. */
static void erase_as_of(const struct erase_what *what, uint64_t t)
{
    static const atomic_bool halt;
    struct job_run run = { .store = st, .halt = &halt };
    struct erasure x = { .run = &run,
                         .what = *what,
                         .t = t,
                         .patient = type("Patient"),
                         .audit_event = type("AuditEvent") };
    job_run_init(&run);
    OK(erase_select(&x, e));
    /* again is harmless */
    OK(erase_select(&x, e));
    job_run_done(&run);
}

static void erase(const struct erase_what *what)
{
    erase_as_of(what, last_of(st).t);
}

static int begin(void **state)
{
    (void)state;
    texts = arena_new(8 << 20);
    OK(store_open(NULL, "memory:", true, &st, e));
    return 0;
}

static int end(void **state)
{
    (void)state;
    store_close(st);
    arena_free(texts);
    return 0;
}

TEST(erase, of_a_patient_takes_his_compartment_and_nothing_else)
{
    (void)state;
    put("Patient", "a", "");
    put("Patient", "b",
        ",\"link\":[{\"other\":{\"reference\":\"Patient/a\"},\"type\":\"seealso\"}]");
    put("Observation", "of-a", OF("a"));
    put("Observation", "of-b", OF("b"));
    put("Observation", "deleted", OF("a"));
    put("Observation", "deleted", NULL);
    put("Observation", "moved", OF("a"));
    const uint64_t moved_t = last_of(st).t;
    put("Observation", "moved", OF("b"));
    put("Observation", "came", OF("b"));
    put("Observation", "came", OF("a"));
    put("Device", "outside", ",\"patient\":{\"reference\":\"Patient/a\"}");
    put("AuditEvent", "about", ",\"entity\":[{\"what\":{\"reference\":\"Patient/a\"}}]");
    erase(&(struct erase_what){ ERASE_PATIENT, type("Patient"), SV_LIT("a"), .audit = false });
    assert_int_equal(versions("Patient", "a"), 0);
    assert_int_equal(versions("Observation", "of-a"), 0);
    assert_int_equal(versions("Observation", "deleted"), 0);
    assert_int_equal(versions("Observation", "came"), 0);
    assert_true(there("Patient", "b", STORE_NOW) && there("Observation", "of-b", STORE_NOW));
    assert_true(there("Observation", "moved", STORE_NOW));
    assert_false(there("Observation", "moved", moved_t));
    assert_int_equal(versions("Observation", "moved"), 1);
    assert_true(there("Device", "outside", STORE_NOW) && there("AuditEvent", "about", STORE_NOW));
}

TEST(erase, of_audit_events_is_asked_for)
{
    (void)state;
    put("Patient", "a", "");
    put("Patient", "b", "");
    put("AuditEvent", "of-a", ",\"entity\":[{\"what\":{\"reference\":\"Patient/a\"}}]");
    put("AuditEvent", "of-b", ",\"entity\":[{\"what\":{\"reference\":\"Patient/b\"}}]");
    erase(&(struct erase_what){ ERASE_RESOURCE, type("Patient"), SV_LIT("a"), .audit = true });
    assert_false(there("Patient", "a", STORE_NOW));
    assert_int_equal(versions("AuditEvent", "of-a"), 0);
    assert_true(there("AuditEvent", "of-b", STORE_NOW));
    /* a soft one deletes them, too */
    erase(&(struct erase_what){ ERASE_TYPE, type("Patient"), .soft = true, .audit = true });
    assert_false(there("AuditEvent", "of-b", STORE_NOW));
    assert_int_equal(versions("AuditEvent", "of-b"), 2);
}

#define ABOUT(who) ",\"entity\":[{\"what\":{\"reference\":\"Patient/" who "\"}}]"

/* The id is free once it was erased, and the job may run again: whoever took it meanwhile has been
 * told that the write is kept. */
TEST(erase, that_goes_on_leaves_alone_what_took_the_free_id)
{
    (void)state;
    const struct erase_what whats[] = {
        { ERASE_RESOURCE, type("Patient"), SV_LIT("a"), .audit = true },
        { ERASE_PATIENT, type("Patient"), SV_LIT("a"), .audit = true },
        { ERASE_TYPE, type("Patient"), .audit = true },
    };
    for (size_t i = 0; i < sizeof whats / sizeof *whats; i++) {
        put("Patient", "a", "");
        put("Observation", "of-a", OF("a"));
        put("AuditEvent", "about", ABOUT("a"));
        const uint64_t t = last_of(st).t;
        erase_as_of(&whats[i], t);
        assert_int_equal(versions("Patient", "a"), 0);
        assert_int_equal(versions("AuditEvent", "about"), 0);
        put("Patient", "a", ",\"active\":true");
        put("Patient", "a", ",\"active\":false");
        put("Observation", "later", OF("a"));
        put("AuditEvent", "later", ABOUT("a"));
        erase_as_of(&whats[i], t);
        assert_int_equal(versions("Patient", "a"), 2);
        assert_int_equal(versions("Observation", "later"), 1);
        assert_int_equal(versions("AuditEvent", "later"), 1);
        erase(&(struct erase_what){ ERASE_PATIENT, type("Patient"), SV_LIT("a"), .audit = true });
        assert_int_equal(versions("Patient", "a"), 0);
        assert_int_equal(versions("Observation", "later"), 0);
    }
}

TEST(erase, of_a_type_keeps_to_its_span)
{
    (void)state;
    struct store_commit at[3];
    struct store_commit c;
    for (int i = 0; i < 3; i++) {
        /* each behind an instant of its own */
        OK(store_horizon(st, &c, e));
        at[i] = put("Observation", i == 0 ? "o0" : i == 1 ? "o1" : "o2", "");
    }
    assert_true(at[0].instant_ms < at[1].instant_ms && at[1].instant_ms < at[2].instant_ms);
    put("Observation", "o1", NULL);
    const struct erase_what soft = { ERASE_TYPE, type("Observation"), .soft = true,
                                     .from_ms = at[0].instant_ms,
                                     .until_ms = at[0].instant_ms + 1 };
    erase(&soft);
    assert_false(there("Observation", "o0", STORE_NOW));
    assert_int_equal(versions("Observation", "o0"), 2);
    assert_true(there("Observation", "o2", STORE_NOW));
    const struct erase_what hard = { ERASE_TYPE, type("Observation"),
                                     .until_ms = at[2].instant_ms + 1 };
    erase(&hard);
    assert_int_equal(versions("Observation", "o2"), 0);
    erase(&(struct erase_what){ ERASE_TYPE, type("Observation") });
    assert_int_equal(versions("Observation", "o0"), 0);
    assert_int_equal(versions("Observation", "o1"), 0);
}

/* A run that goes on counts what the one before it did; what was changed meanwhile stays. */
TEST(erase, of_a_soft_kind_counts_what_is_deleted_however_often_it_begins)
{
    (void)state;
    static const atomic_bool halt;
    struct job_run run = { .store = st, .halt = &halt };
    put("Observation", "s0", "");
    put("Observation", "s1", "");
    put("Observation", "s2", "");
    struct erasure x = { .run = &run,
                         .what = { ERASE_TYPE, type("Observation"), .soft = true },
                         .t = last_of(st).t,
                         .patient = type("Patient"),
                         .audit_event = type("AuditEvent") };
    put("Observation", "s1", NULL);
    put("Observation", "s2", ",\"status\":\"final\"");
    job_run_init(&run);
    for (int i = 0; i < 2; i++) {
        x.n_soft = 0;
        OK(erase_select(&x, e));
        assert_int_equal(x.n_soft, 2);
    }
    assert_true(there("Observation", "s2", STORE_NOW));
    job_run_done(&run);
}

/* What the job shows when its first resource has gone, of three. */
static uint64_t shown(const struct erase_what *what, bool tells)
{
    static const atomic_bool halt;
    const struct job job = { .id = SV_LIT("0123456789abcdef0123456789abcdef") };
    struct job_run run = { .store = st, .halt = &halt, .job = &job };
    struct erasure x = { .run = &run, .what = *what, .t = last_of(st).t, .tells = tells };
    (void)snprintf(x.note, sizeof x.note, "erase/%d%d", what->soft, tells);
    job_run_init(&run);
    OK(erase_select(&x, e));
    const uint64_t n = run.live.progress.resources_erased;
    job_run_done(&run);
    return n;
}

TEST(erase, shows_how_far_it_is_while_it_is_under_way)
{
    (void)state;
    const struct erase_what what = { ERASE_TYPE, type("Observation") },
                            soft = { ERASE_TYPE, type("Patient"), .soft = true };
    for (unsigned tells = 0; tells < 2; tells++) {
        for (unsigned i = 0; i < 3; i++) {
            const char id[] = { 'x', (char)('0' + i), 0 };
            put("Observation", id, "");
            put("Patient", id, "");
        }
        /* how many more a slow machine looks at; one that waits behind this job shows nothing */
        assert_in_range(shown(&soft, tells), tells, tells ? 3 : 0);
        assert_in_range(shown(&what, tells), tells, tells ? 3 : 0);
    }
}

TEST(erase, that_is_to_stop_stops)
{
    (void)state;
    const atomic_bool halt = true;
    struct job_run run = { .store = st, .halt = &halt };
    struct erasure x = { .run = &run,
                         .what = { ERASE_TYPE, type("Patient") },
                         .patient = type("Patient"),
                         .audit_event = type("AuditEvent") };
    put("Patient", "a", "");
    x.t = last_of(st).t;
    job_run_init(&run);
    FAILS(ERR_CANCELLED, erase_select(&x, e));
    job_run_done(&run);
    assert_true(there("Patient", "a", STORE_NOW));
}

TEST(erase, asks_a_database_less_and_less_often)
{
    (void)state;
    static const unsigned want[] = { 100, 200, 400, 800, 1000, 1000 };
    unsigned ms = 0, always = 0;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_int_equal(ms = erase_wait_next(ms, true), want[i]);
        assert_int_equal(always = erase_wait_next(always, false), want[0]);
    }
}

#define EACH(sentence) cmocka_unit_test_setup_teardown(test_erase_##sentence, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(of_a_patient_takes_his_compartment_and_nothing_else),
        EACH(of_audit_events_is_asked_for),
        EACH(that_goes_on_leaves_alone_what_took_the_free_id),
        EACH(of_a_type_keeps_to_its_span),
        EACH(shows_how_far_it_is_while_it_is_under_way),
        EACH(of_a_soft_kind_counts_what_is_deleted_however_often_it_begins),
        EACH(that_is_to_stop_stops),
        EACH(asks_a_database_less_and_less_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
