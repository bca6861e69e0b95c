/* Sums are what counting one by one gives: after creates, updates, deletions, loads over what was
 * there and over each other, published in any order, and after opening again; on each store, under
 * every form of a token criterion. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/checking.h"
#include "store/last.h"
#include "store/postgres.h"
#include "store/store.h"
#include "store/threads.h"

#include <pthread.h>

#define IDS 24u

static struct store_env *env;
static fhir_type observation, patient;

static uint64_t rnd_state;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}

static const char *const systems[] = { "", "http://a", "http://b" };
static const char *const codes[] = { "x", "X", "final", "amended" };

/* A resource of a few codings; some twice, some in two systems. */
static sv make(struct arena *a, fhir_type type)
{
    struct buf b = BUF_INIT(1 << 16);
    if (type == patient) {
        OK(buf_add_fmt(&b, e, "{\"resourceType\":\"Patient\",\"gender\":\"%s\",\"active\":%s}",
                       rnd(2) ? "male" : "female", rnd(2) ? "true" : "false"));
    } else {
        OK(buf_add_fmt(&b, e,
                       "{\"resourceType\":\"Observation\",\"status\":\"%s\",\"code\":{\"coding\":[",
                       codes[2 + rnd(2)]));
        unsigned n = rnd(60) ? rnd(5) : 80;
        for (unsigned i = 0; i < n; i++) {
            const char *system = systems[rnd(3)];
            OK(buf_add_fmt(&b, e, "%s{\"code\":\"%s\"%s%s%s}", i ? "," : "", codes[rnd(4)],
                           *system ? ",\"system\":\"" : "", system, *system ? "\"" : ""));
        }
        OK(buf_add_fmt(&b, e, "]}}"));
    }
    sv json = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return json;
}

static sv index_of(struct arena *a, fhir_type type, sv json)
{
    struct buf b = BUF_INIT(1 << 16);
    yyjson_doc *doc;
    OK(json_read(a, json, 16, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &b, e));
    sv index = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return index.ptr ? index : SV_LIT("");
}

static struct fhir_body body_of(fhir_type type, sv json)
{
    return (struct fhir_body){ json, type == patient ? 25u : 29u, FHIR_HOLE_NO_META };
}

static sv id_of(unsigned i, char out[16])
{
    (void)snprintf(out, 16, "r%u", i);
    return sv_from(out);
}

/* ---- steps, the same for every store ---- */

static void commit_some(struct store *const *st, size_t n_stores, struct arena *a)
{
    char ids[6][16];
    struct store_write w[6] = { 0 };
    size_t n = 1 + rnd(6);
    unsigned first = rnd(IDS);
    for (size_t i = 0; i < n; i++) {
        w[i].type = rnd(4) ? observation : patient;
        w[i].id = id_of((first + (unsigned)i * 5) % IDS, ids[i]);
        w[i].method = rnd(3) ? STORE_METHOD_UPDATE : STORE_METHOD_DELETE;
        sv json = make(a, w[i].type);
        w[i].body = body_of(w[i].type, json);
        w[i].index = index_of(a, w[i].type, json);
        if (rnd(8) == 0)
            w[i].condition = STORE_IF_ABSENT;
    }
    err_code rc = ERR_OK;
    /* deletions of nothing refuse the whole commit */
    for (size_t s = 0; s < n_stores; s++) {
        struct store_commit c;
        struct err e;
        err_code one = store_commit(st[s], w, n, &c, &e);
        assert_true(s == 0 || one == rc);
        rc = one;
    }
}

static void load_some(struct store *const *st, size_t n_stores, struct arena *a)
{
    struct store_bulk_item items[2][16];
    char ids[2][16][16];
    struct store_bulk *b[8][2];
    size_t n[2];
    for (size_t l = 0; l < 2; l++) {
        n[l] = 1 + rnd(16);
        for (size_t i = 0; i < n[l]; i++) {
            fhir_type type = rnd(4) ? observation : patient;
            sv json = make(a, type);
            items[l][i] = (struct store_bulk_item){ .type = type,
                                                    .id = id_of(rnd(IDS), ids[l][i]),
                                                    .body = body_of(type, json),
                                                    .seq = i,
                                                    .index = index_of(a, type, json) };
        }
    }
    unsigned order = rnd(2), abort_one = rnd(6);
    for (size_t s = 0; s < n_stores; s++) {
        struct store_commit c;
        for (size_t l = 0; l < 2; l++) {
            struct store_bulk_item copy[16];
            memcpy(copy, items[l], sizeof copy);
            OK(store_bulk_begin(st[s], &b[s][l], e));
            OK(store_bulk_fill(b[s][l], copy, n[l], e));
        }
        OK(store_bulk_publish(&b[s][order], SV_NONE, SV_NONE, &c, e));
        if (abort_one == 0)
            store_bulk_abort(b[s][!order]);
        else
            OK(store_bulk_publish(&b[s][!order], SV_NONE, SV_NONE, &c, e));
    }
}

/* ---- questions ---- */

/* One by one; *sums: what the sums say, or -1 when they cannot. */
static void count_both_ways(struct store *st, fhir_type type, const char *name, const char *value,
                            int64_t *one_by_one, int64_t *sums)
{
    const struct search_context cx = { SV_LIT("http://here"), 0 };
    struct arena *a = arena_new(1 << 22);
    struct search_criterion c;
    struct store_cursor *cur;
    struct store_version v;
    struct store_range all = { .type = type };
    struct store_commit at;
    uint64_t n, above = 0;
    if (name)
        OK(search_parse(&cx, type, sv_from(name), sv_from(value), a, &c, e));
    *one_by_one = *sums = 0;
    OK(store_scan(st, &all, STORE_NOW, &cur, e));
    while (store_cursor_next(cur, &v, NULL) == ERR_OK) {
        yyjson_doc *doc;
        OK(json_read(a, v.body.json, 16, &doc, e));
        struct search_subject s = { type, v.id, v.instant_ms, yyjson_doc_get_root(doc) };
        *one_by_one += name == NULL || search_match(&cx, &c, &s);
    }
    store_cursor_close(cur);
    uint16_t param = 0;
    unsigned char values[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN];
    size_t len = 0, n_values = 1;
    if (name)
        assert_true((n_values = search_count_keys(&c, type, &param, values, &len)) > 0);
    for (size_t i = 0; i < n_values; i++) {
        OK(store_count(st, type, param, sv_make(values[i], len), &n, &at, e));
        assert_int_equal(at.t, last_of(st).t);
        *sums += (int64_t)n;
        above += n > 0;
    }
    if (above > 1)
        *sums = -1;
    arena_free(a);
}

static void check(struct store *st)
{
    static const struct {
        const char *type, *name, *value;
    } asked[] = {
        { "Observation", NULL, NULL },          { "Patient", NULL, NULL },
        { "Observation", "code", "x" },         { "Observation", "code", "http://a|x" },
        { "Observation", "code", "|x" },        { "Observation", "code", "http://b|final" },
        { "Observation", "code", "nowhere" },   { "Observation", "status", "final" },
        { "Observation", "status", "amended" }, { "Observation", "status", "http://b|final" },
        { "Observation", "code", "final" },     { "Patient", "gender", "male" },
        { "Observation", "code", "X" },         { "Observation", "status", "FINAL" },
        { "Patient", "active", "true" },        { "Patient", "gender", "x" },
    };
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        int64_t want, have;
        count_both_ways(st, sv_eq_cstr(SV_LIT("Patient"), asked[i].type) ? patient : observation,
                        asked[i].name, asked[i].value, &want, &have);
        if (want != have)
            fail_msg("%s?%s=%s: %lld one by one, %lld by sums", asked[i].type,
                     asked[i].name ? asked[i].name : "", asked[i].value ? asked[i].value : "",
                     (long long)want, (long long)have);
    }
}

/* files: where the store's are, to be checked when nobody has it open; or NULL. */
static void history(uint64_t seed, unsigned steps, const char *uri, const char *files)
{
    struct store *st[2];
    rnd_state = seed;
    OK(store_open(NULL, "memory:", true, &st[0], e));
    OK(store_open(env, uri, true, &st[1], e));
    for (unsigned i = 0; i < steps; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 24);
        if (rnd(3))
            commit_some(st, 2, a);
        else
            load_some(st, 2, a);
        /* marks and sums stand on disk */
        if (rnd(12) == 0) {
            store_close(st[1]);
            if (files)
                assert_checked(env, files);
            OK(store_open(env, uri, false, &st[1], e));
        }
        if (rnd(4) == 0) {
            check(st[0]);
            check(st[1]);
        }
    }
    check(st[0]);
    check(st[1]);
    store_close(st[0]);
    store_close(st[1]);
    if (files)
        assert_checked(env, files);
}

TEST(counts, sums_are_what_counting_gives_after_random_histories)
{
    (void)state;
    /* each step waits for disks several times */
    for (uint64_t seed = 1; seed <= (test_is_long() ? 20 : TEST_SANITIZED ? 1 : 3); seed++) {
        char dir[64], uri[256];
        (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-counts-%016llx",
                       (unsigned long long)rng_u64());
        history(seed, 40, dir, dir);
        OK(file_remove_tree(dir, e));
        if (!pg_new_place(uri, sizeof uri))
            continue;
        history(seed, 40, uri, NULL);
        pg_drop(uri);
    }
}

typedef void (*test_fn)(const char *uri);

static void on_each(test_fn fn)
{
    char dir[64], uri[256];
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-counts-%016llx",
                   (unsigned long long)rng_u64());
    fn(dir);
    assert_checked(env, dir);
    OK(file_remove_tree(dir, e));
    if (!pg_new_place(uri, sizeof uri))
        return;
    fn(uri);
    pg_drop(uri);
}

/* New resources alone, known ones with new ones among them, and known ones alone. */
static void few_and_many(const char *uri)
{
    char ids[400][16];
    struct store *st;
    struct store_bulk_item items[400];
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 24);
    OK(store_open(env, uri, true, &st, e));
    static const unsigned from[] = { 0, 0, 7, 390, 100 }, upto[] = { 300, 400, 9, 392, 400 };
    rnd_state = 5;
    for (size_t round = 0; round < 5; round++) {
        struct store_bulk *b;
        struct store_commit c;
        size_t n = 0;
        for (unsigned i = from[round]; i < upto[round]; i++) {
            sv json = make(a, observation);
            items[n] = (struct store_bulk_item){ .type = observation,
                                                 .id = id_of(i, ids[n]),
                                                 .body = body_of(observation, json),
                                                 .index = index_of(a, observation, json) };
            n++;
        }
        OK(store_bulk_begin(st, &b, e));
        OK(store_bulk_fill(b, items, n, e));
        OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
        /* else the count does it */
        if (round % 2 == 0) {
            const atomic_bool halt = true;
            /* the first load's resources are new: it replaced nothing */
            if (round)
                FAILS(ERR_CANCELLED, store_counts_settle(st, &halt, e));
            OK(store_counts_settle(st, NULL, e));
            /* nothing is left to do */
            OK(store_counts_settle(st, &halt, e));
        }
        check(st);
    }
    store_close(st);
}

TEST(counts, few_and_many_loads_are_settled_alike)
{
    (void)state;
    on_each(few_and_many);
}

struct loader {
    struct store *st;
    struct fhir_body body;
    sv index;
};

static void *load_on(void *arg)
{
    const struct loader *l = arg;
    for (unsigned i = 0; i < 40; i++) {
        struct store_bulk *b;
        struct store_commit c;
        char id[16];
        struct store_bulk_item it = {
            .type = patient, .id = id_of(i % 20, id), .body = l->body, .index = l->index
        };
        THREAD_OK(store_bulk_begin(l->st, &b, e));
        THREAD_OK(store_bulk_fill(b, &it, 1, e));
        THREAD_OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    }
    return NULL;
}

static void count_beside_loads(const char *uri)
{
    struct store *st;
    pthread_t loader;
    OK(store_open(env, uri, true, &st, e));
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv json = SV_LIT("{\"resourceType\":\"Patient\",\"gender\":\"male\"}");
    struct loader l = { st, body_of(patient, json), index_of(a, patient, json) };
    assert_int_equal(pthread_create(&loader, NULL, load_on, &l), 0);
    struct store_commit at = { 0 };
    unsigned answered = 0;
    while (at.t < 40 && answered < 100000) {
        uint64_t n;
        struct err e;
        err_code rc = store_count(st, patient, 0, SV_NONE, &n, &at, &e);
        assert_true(rc == ERR_OK || rc == ERR_UNSUPPORTED);
        /* the first 20 loads are new ids, the others replace */
        if (rc == ERR_OK)
            assert_int_equal(n, at.t < 20 ? at.t : 20);
        answered++;
        if (rc != ERR_OK)
            at.t = 0;
    }
    pthread_join(loader, NULL);
    assert_threads_were_fine();
    store_close(st);
}

TEST(counts, counting_beside_loads_gives_the_number_of_that_commit)
{
    (void)state;
    on_each(count_beside_loads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(counts, sums_are_what_counting_gives_after_random_histories),
        T(counts, few_and_many_loads_are_settled_alike),
        T(counts, counting_beside_loads_gives_the_number_of_that_commit),
    };
    observation = fhir_type_find(SV_LIT("Observation"));
    patient = fhir_type_find(SV_LIT("Patient"));
    env = store_env_new(16 << 20, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return rc;
}
