/* What a preloaded data store holds: every resource that the generator gives for its seed, once. */
#include "test.h"

/* for publish(), which one chunk of a preload goes through */
#include "aws/preload.c"
#include "codec/ndjson.h"
#include "fhir/envelope.h"
#include "gen/gen.h"
#include "store/last.h"

#define PATIENTS 5u

static struct store *filled(unsigned n_patients)
{
    struct service s = { .cfg.preload_patients = n_patients };
    struct store *st;
    OK(store_open(NULL, "memory:", true, &st, e));
    OK(preload_run(&s, st, NULL, e));
    return st;
}

static uint64_t held(struct store *st, fhir_type type)
{
    CLEANUP(store_cursor_close) struct store_cursor *c = NULL;
    struct store_range all = { .type = type };
    struct store_version v;
    struct err why;
    err_code rc;
    uint64_t n = 0;
    OK(store_scan(st, &all, STORE_NOW, &c, e));
    while ((rc = store_cursor_next(c, &v, &why)) == ERR_OK) {
        assert_int_equal(v.version, 1);
        n++;
    }
    assert_int_equal(rc, ERR_EOF);
    return n;
}

TEST(preload, a_store_holds_what_the_generator_gives_and_nothing_else)
{
    (void)state;
    struct store *st = filled(PATIENTS);
    CLEANUP(gen_free) struct gen *g = NULL;
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(64 << 20), stored = BUF_INIT(1 << 20);
    uint64_t n_given = 0, n_held = 0;
    OK(gen_new(SEED, PATIENTS, &g, e));
    for (uint64_t i = 0; i < gen_n_units(g); i++)
        OK(gen_unit(g, i, &text, e));
    sv rest = buf_sv(&text), line;
    while (ndjson_line(&rest, &line)) {
        struct fhir_envelope env;
        struct store_version v;
        buf_clear(&stored);
        arena_reset(a);
        OK(fhir_envelope_read(r, line, SV_NONE, &stored, &env, e));
        OK(store_get(st, env.type, env.id, STORE_NOW, a, &v, e));
        assert_sv(v.body.json, env.body.json);
        assert_int_equal(v.body.hole_at, env.body.hole_at);
        n_given++;
    }
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        n_held += held(st, (fhir_type)t);
    assert_true(n_given > PATIENTS);
    assert_int_equal(n_held, n_given);
    assert_int_equal(held(st, fhir_type_find(SV_LIT("Patient"))), PATIENTS);
    store_close(st);
}

/* Enough for more than one chunk. */
TEST(preload, many_patients_come_in_chunks_and_are_all_there)
{
    (void)state;
    enum { MANY = 60 };
    struct store *st = filled(MANY);
    assert_int_equal(held(st, fhir_type_find(SV_LIT("Patient"))), MANY);
    assert_true(last_of(st).t >= 2);
    store_close(st);
}

/* A search finds patients by what the generator wrote: the entries came with them. */
TEST(preload, its_resources_are_in_the_index)
{
    (void)state;
    struct store *st = filled(PATIENTS);
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    const struct search_param *p = search_param_find(patient, SV_LIT("gender"));
    uint64_t n = 0;
    static const char *const genders[] = { "male", "female", "other", "unknown" };
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    assert_non_null(p);
    for (size_t i = 0; i < 4; i++) {
        struct search_context cx = { 0 };
        struct search_criterion c;
        uint16_t param;
        unsigned char keys[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN];
        size_t len;
        OK(search_parse(&cx, patient, p->code, sv_from(genders[i]), a, &c, e));
        size_t n_keys = search_count_keys(&c, patient, &param, keys, &len);
        assert_true(n_keys > 0);
        for (size_t k = 0; k < n_keys; k++) {
            uint64_t some = 0;
            struct store_commit at;
            OK(store_count(st, patient, param, sv_make((const char *)keys[k], len), &some, &at, e));
            n += some;
        }
    }
    assert_int_equal(n, PATIENTS);
    store_close(st);
}

TEST(preload, a_service_that_stops_does_not_wait_for_it)
{
    (void)state;
    struct service s = { .cfg.preload_patients = 1000000 };
    struct store *st;
    OK(store_open(NULL, "memory:", true, &st, e));
    atomic_store(&s.stopping, true);
    FAILS(ERR_CANCELLED, preload_run(&s, st, NULL, e));
    assert_int_equal(last_of(st).t, 0);
    store_close(st);
}

TEST(preload, a_chunk_that_is_under_way_is_given_up_when_the_service_stops)
{
    (void)state;
    atomic_bool stopping = false;
    struct store *st;
    OK(store_open(NULL, "memory:", true, &st, e));
    struct preload p = { .stopping = &stopping,
                         .st = st,
                         .reader = fhir_reader_new(LIMIT_DATA_BODY_BYTES) };
    buf_init(&p.text, TEXT_BYTES);
    buf_init(&p.stored, STORED_BYTES);
    buf_init(&p.items, TEXT_BYTES);
    buf_init(&p.index, TEXT_BYTES);
    OK(buf_add(&p.text, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"a\"}\n"), e));
    atomic_store(&stopping, true);
    FAILS(ERR_CANCELLED, publish(&p, e));
    assert_int_equal(last_of(st).t, 0);
    atomic_store(&stopping, false);
    OK(publish(&p, e));
    assert_int_equal(last_of(st).t, 1);
    fhir_reader_free(p.reader);
    buf_done(&p.text);
    buf_done(&p.stored);
    buf_done(&p.items);
    buf_done(&p.index);
    store_close(st);
}

TEST_MAIN(T(preload, a_store_holds_what_the_generator_gives_and_nothing_else),
          T(preload, many_patients_come_in_chunks_and_are_all_there),
          T(preload, its_resources_are_in_the_index),
          T(preload, a_service_that_stops_does_not_wait_for_it),
          T(preload, a_chunk_that_is_under_way_is_given_up_when_the_service_stops))
