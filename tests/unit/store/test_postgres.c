/* The engine on PostgreSQL beyond the suite of every engine: two nodes on one data store, records,
 * places, what is refused. Each opening of a data store is a node. test_postgres_lost.c has bad
 * days. */
#include "test.h"

#include "store/checking.h"
#include "store/last.h"
#include "store/postgres_sql.h"
#include "store/threads.h"

static struct store_env *env;
static fhir_type patient;

static struct fhir_body body(char text[128], int n)
{
    static const char head[] = "{\"resourceType\":\"Patient\",\"id\":\"x\"";
    int len = snprintf(text, 128, "%s,\"n\":%d}", head, n);
    return (struct fhir_body){ sv_make(text, (size_t)len), sizeof head - 1, FHIR_HOLE_NO_META };
}

static err_code put_if(struct store *st, const char *id, uint64_t if_version,
                       struct store_commit *c, struct err *e)
{
    char text[128];
    struct store_write w = { .type = patient,
                             .id = sv_from(id),
                             .method = STORE_METHOD_UPDATE,
                             .body = body(text, (int)if_version),
                             .index = plain_index(patient),
                             .condition = if_version ? STORE_IF_VERSION : STORE_IF_ABSENT,
                             .if_version = if_version };
    err_code rc = store_commit(st, &w, 1, c, e);
    if (rc == ERR_OK && w.version != if_version + 1)
        return ERR(e, ERR_INTERNAL, "a wrong version number");
    return rc;
}

static uint64_t version_of(struct store *st, const char *id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    OK(store_get(st, patient, sv_from(id), STORE_NOW, a, &v, e));
    return v.version;
}

/* ---- many nodes ---- */

#define NODES  2u
#define EACH   25u
#define WINDOW 20u

static void *count_up(void *arg)
{
    struct store *st = arg;
    for (unsigned n = 0; n < EACH;) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        struct store_version v;
        struct store_commit c;
        struct err why;
        THREAD_OK(store_get(st, patient, SV_LIT("shared"), STORE_NOW, a, &v, e));
        err_code rc = put_if(st, "shared", v.version, &c, &why);
        THREAD_TRUE(rc == ERR_OK || rc == ERR_PRECONDITION);
        n += rc == ERR_OK;
        /* what this node was told is there for it */
        THREAD_TRUE(rc != ERR_OK || last_of(st).t >= c.t);
    }
    return NULL;
}

TEST(postgres, commits_of_two_nodes_are_in_one_order_and_none_is_lost)
{
    (void)state;
    char uri[256];
    struct store *node[NODES];
    struct store_commit c, h[WINDOW];
    pthread_t threads[2 * NODES];
    if (!pg_new_place(uri, sizeof uri))
        return;
    for (unsigned i = 0; i < NODES; i++)
        OK(store_open(env, uri, i == 0, &node[i], e));
    OK(put_if(node[0], "shared", 0, &c, e));
    for (unsigned i = 0; i < 2 * NODES; i++)
        pthread_create(&threads[i], NULL, count_up, node[i % NODES]);
    for (unsigned i = 0; i < WINDOW; i++)
        OK(store_horizon(node[i % NODES], &h[i], e));
    for (unsigned i = 0; i < 2 * NODES; i++)
        pthread_join(threads[i], NULL);
    assert_threads_were_fine();
    assert_int_equal(last_of(node[0]).t, 1 + 2 * NODES * EACH);
    assert_int_equal(version_of(node[1], "shared"), 1 + 2 * NODES * EACH);
    for (unsigned i = 0; i < WINDOW; i++) {
        /* I3, over nodes */
        OK(store_commit_at(node[0], h[i].instant_ms, &c, e));
        assert_int_equal(c.t, h[i].t);
    }
    for (unsigned i = 0; i < NODES; i++)
        store_close(node[i]);
    pg_drop(uri);
}

TEST(postgres, what_was_written_online_is_cut_into_ranges_too)
{
    (void)state;
    char uri[256], id[16];
    struct store *st;
    struct store_commit c;
    struct store_range *r;
    size_t n;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    if (!pg_new_place(uri, sizeof uri))
        return;
    OK(store_open(env, uri, true, &st, e));
    for (int i = 0; i < 20; i++) {
        (void)snprintf(id, sizeof id, "r%d", i);
        OK(put_if(st, id, 0, &c, e));
    }
    OK(store_plan(st, patient, 500, a, &r, &n, e));
    assert_true(n > 2 && n < 20);
    store_close(st);
    pg_drop(uri);
}

/* ---- what a server has lost ---- */

/* What a server that failed leaves, when its disk had the row of the load and not the load. */
TEST(postgres, a_load_whose_rows_the_server_has_lost_is_not_published)
{
    (void)state;
    char uri[256], text[128];
    struct store *st;
    struct store_commit c;
    struct store_bulk *b;
    struct store_bulk_item it = { patient, SV_LIT("b"), body(text, 1), 0, plain_index(patient) };
    if (!pg_new_place(uri, sizeof uri))
        return;
    OK(store_open(env, uri, true, &st, e));
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, &it, 1, e));
    (void)pg_sql(uri,
                 "with v as (delete from packs), c as (delete from changes), s as (delete from "
                 "search), k as (delete from counts) update open_loads set filled = false");
    FAILS(ERR_CONFLICT, store_bulk_publish(&b, SV_LIT("n"), SV_LIT("v"), &c, e));
    assert_int_equal(last_of(st).t, 0);
    FAILS(ERR_NOT_FOUND, store_note_get(st, SV_LIT("n"), &(struct buf){ .max = 9 }, e));
    store_close(st);
    pg_drop(uri);
}

/* ---- places, and what is refused ---- */

TEST(postgres, a_place_that_is_none_is_refused_and_no_message_has_its_password)
{
    (void)state;
    struct err why;
    struct store *st = NULL;
    const char *wrong[] = { "postgresql:host/db", "postgresql://host/db/Name",
                            "postgresql://host/db/", "postgresql://" };
    if (pg_server_uri() == NULL)
        return;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        FAILS(ERR_INVALID, store_open(env, wrong[i], true, &st, e));
    assert_int_equal(store_open(env,
                                "postgresql://someone:s3cret@/postgres?host=/tmp/fhirlake-nowhere"
                                "/abc",
                                true, &st, &why),
                     ERR_UNAVAILABLE);
    assert_null(strstr(why.msg, "s3cret"));
    assert_null(strstr(why.msg, "someone"));
    assert_null(st);
}

TEST(postgres, a_store_that_is_not_there_or_of_another_layout_is_refused)
{
    (void)state;
    char uri[256];
    struct store *st;
    struct store_commit c;
    if (!pg_new_place(uri, sizeof uri))
        return;
    FAILS(ERR_NOT_FOUND, store_open(env, uri, false, &st, e));
    OK(store_open(env, uri, true, &st, e));
    OK(put_if(st, "a", 0, &c, e));
    /* another node removes it */
    pg_drop(uri);
    FAILS(ERR_GONE, put_if(st, "a", 1, &c, e));
    FAILS(ERR_GONE, store_get(st, patient, SV_LIT("a"), STORE_NOW, NULL, NULL, e));
    FAILS(ERR_GONE, store_note_get(st, SV_LIT("n"), &(struct buf){ .max = 9 }, e));
    FAILS(ERR_GONE, store_horizon(st, &c, e));
    store_close(st);
    OK(store_open(env, uri, true, &st, e));
    store_close(st);
    (void)pg_sql(uri, "update clock set layout = 99");
    FAILS(ERR_UNSUPPORTED, store_open(env, uri, true, &st, e));
    pg_drop(uri);
}

/* ---- records ---- */

#define KEYS 600u /* more than one batch of a scan */

struct seen {
    unsigned n;
    char last[32];
};

static bool see(void *ctx, sv key, sv value)
{
    struct seen *s = ctx;
    assert_true(sv_cmp(key, sv_from(s->last)) > 0);
    assert_true(sv_eq(value, key));
    (void)snprintf(s->last, sizeof s->last, "%.*s", SV_FMT(key));
    s->n++;
    return true;
}

static bool see_one(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    ++*(unsigned *)ctx;
    return false;
}

static void assert_value(struct records *r, const char *key, const char *value)
{
    CLEANUP_BUF struct buf b = BUF_INIT(100);
    OK(records_get(r, sv_from(key), &b, e));
    assert_true(sv_eq_cstr(buf_sv(&b), value));
}

TEST(postgres, records_are_read_in_the_order_of_their_keys_and_written_whole_or_not)
{
    (void)state;
    char uri[256];
    struct records *r, *other;
    struct seen s = { 0 };
    unsigned n = 0;
    if (!pg_new_place(uri, sizeof uri))
        return;
    FAILS(ERR_NOT_FOUND, records_open_to_read(uri, &r, e));
    OK(records_open(uri, &r, e));
    struct records_write *w = calloc(KEYS, sizeof *w);
    char(*keys)[16] = calloc(KEYS, sizeof *keys);
    assert_true(w && keys);
    for (unsigned i = 0; i < KEYS; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k/%u", (i * 7919u) % KEYS);
        w[i] = (struct records_write){ RECORDS_PUT, sv_from(keys[i]), sv_from(keys[i]) };
    }
    OK(records_write(r, w, KEYS, e));
    OK(records_put_unsynced(r, SV_LIT("l"), SV_LIT("1"), e));
    OK(records_put(r, SV_LIT("j\xff"), SV_LIT("0"), e));
    OK(records_scan(r, SV_LIT("k/"), SV_NONE, see, &s, e));
    assert_int_equal(s.n, KEYS);
    s = (struct seen){ 0 };
    OK(records_scan(r, SV_LIT("k/"), SV_LIT("k/10"), see, &s, e));
    assert_int_equal(s.n, KEYS - 3); /* k/0, k/1, k/10 */
    OK(records_scan(r, SV_NONE, SV_NONE, see_one, &n, e));
    assert_int_equal(n, 1);
    OK(records_scan(r, SV_LIT("\xff"), SV_NONE, see_one, &n, e));
    assert_int_equal(n, 1);
    /* all or nothing */
    struct records_write two[] = { { RECORDS_DELETE, SV_LIT("l"), SV_NONE },
                                   { RECORDS_PUT_IF_ABSENT, SV_LIT("k/5"), SV_LIT("new") } };
    FAILS(ERR_EXISTS, records_write(r, two, 2, e));
    assert_value(r, "l", "1");
    two[1].key = SV_LIT("m");
    OK(records_write(r, two, 2, e));
    assert_value(r, "m", "new");
    FAILS(ERR_NOT_FOUND, records_get(r, SV_LIT("l"), &(struct buf){ .max = 9 }, e));
    OK(records_scrub(r, e));
    FAILS(ERR_UNSUPPORTED, records_snapshot(r, "/tmp/x", e));
    OK(records_open_to_read(uri, &other, e));
    assert_value(other, "m", "new");
    FAILS(ERR_IO, records_put(other, SV_LIT("m"), SV_LIT("2"), e));
    records_close(other);
    records_close(r);
    free(keys);
    free(w);
    pg_drop(uri);
}

int main(void)
{
    patient = fhir_type_find(SV_LIT("Patient"));
    /* before there are threads */
    (void)plain_index(patient);
    const struct CMUnitTest tests[] = {
        T(postgres, commits_of_two_nodes_are_in_one_order_and_none_is_lost),
        T(postgres, what_was_written_online_is_cut_into_ranges_too),
        T(postgres, a_load_whose_rows_the_server_has_lost_is_not_published),
        T(postgres, a_place_that_is_none_is_refused_and_no_message_has_its_password),
        T(postgres, a_store_that_is_not_there_or_of_another_layout_is_refused),
        T(postgres, records_are_read_in_the_order_of_their_keys_and_written_whole_or_not),
    };
    env = store_env_new(8 << 20, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return rc;
}
