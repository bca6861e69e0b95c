/* Commits on PostgreSQL that depend on what was read: between the question whether that is still so
 * and the commit nothing comes, from whichever process. Each opening of a data store is a node. */
#include "test.h"

#include "store/checking.h"
#include "store/last.h"
#include "store/postgres_sql.h"
#include "store/threads.h"

static struct store_env *env;
static fhir_type patient, basic;

static struct store_write write_of(fhir_type type, const char *id, char text[128])
{
    static const char head[] = "{\"resourceType\":\"X\",\"id\":\"x\"";
    int len = snprintf(text, 128, "%s}", head);
    return (struct store_write){ .type = type,
                                 .id = sv_from(id),
                                 .method = STORE_METHOD_UPDATE,
                                 .body = { sv_make(text, (size_t)len), sizeof head - 1,
                                           FHIR_HOLE_NO_META },
                                 .index = plain_index(type) };
}

static err_code put(struct store *st, fhir_type type, const char *id, struct err *e)
{
    char text[128];
    struct store_commit c;
    struct store_write w = write_of(type, id, text);
    return store_commit(st, &w, 1, &c, e);
}

static err_code load(struct store *st, fhir_type type, const char *id, struct err *e)
{
    char text[128];
    struct store_commit c;
    struct store_bulk *b;
    const struct store_write w = write_of(type, id, text);
    struct store_bulk_item it = { type, w.id, w.body, 0, w.index };
    TRY(store_bulk_begin(st, &b, e));
    err_code rc = store_bulk_fill(b, &it, 1, e);
    if (rc == ERR_OK)
        return store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e);
    store_bulk_abort(b);
    return rc;
}

/* What most conditions are: no resource of a type has changed since a commit. */
struct unchanged {
    struct store_still still;
    struct store *st;
    fhir_type type;
    uint64_t since_t, asked_t;
    unsigned n_asked;
    void (*at_lock)(struct unchanged *u); /* while it is asked */
};

static err_code unchanged_holds(struct store_still *me, uint64_t newest_t, struct err *e)
{
    struct unchanged *u = (struct unchanged *)me;
    bool changed[STORE_TYPES];
    u->n_asked++;
    u->asked_t = newest_t;
    if (u->at_lock)
        u->at_lock(u);
    TRY(store_changed_types(u->st, u->since_t, newest_t, changed, e));
    return changed[u->type] ? ERR(e, ERR_CONFLICT, "it has changed") : ERR_OK;
}

static struct unchanged unchanged_since(struct store *st, uint64_t t)
{
    return (
        struct unchanged){ .still = { unchanged_holds }, .st = st, .type = patient, .since_t = t };
}

static err_code put_if(struct unchanged *u, fhir_type type, const char *id, struct store_commit *c,
                       struct err *e)
{
    char text[128];
    struct store_write w = write_of(type, id, text);
    return store_commit_if(u->st, &w, 1, &u->still, c, e);
}

/* ---- what came before is seen, and nothing comes between ---- */

TEST(still, another_nodes_commit_or_load_is_seen_and_only_of_that_type)
{
    (void)state;
    char uri[256];
    struct store *a, *b;
    struct store_commit c;
    if (!pg_new_place(uri, sizeof uri))
        return;
    OK(store_open(env, uri, true, &a, e));
    OK(store_open(env, uri, false, &b, e));
    OK(put(a, patient, "a", e));
    struct unchanged u = unchanged_since(a, 1);
    OK(put(b, basic, "b", e));
    OK(put_if(&u, basic, "c", &c, e));
    assert_int_equal(c.t, 3);
    assert_int_equal(u.asked_t, 2);
    OK(put(b, patient, "d", e));
    FAILS(ERR_CONFLICT, put_if(&u, basic, "e", &c, e));
    /* a load's birth stands elsewhere than what replaces */
    for (unsigned i = 0; i < 2; i++) {
        u = unchanged_since(a, last_of(a).t);
        OK(load(b, patient, "l", e));
        FAILS(ERR_CONFLICT, put_if(&u, basic, "e", &c, e));
    }
    u = unchanged_since(a, last_of(a).t);
    OK(load(b, basic, "m", e));
    OK(put_if(&u, basic, "e", &c, e));
    assert_int_equal(last_of(b).t, 8);
    assert_int_equal(u.n_asked, 1);
    store_close(a);
    store_close(b);
    pg_drop(uri);
}

static struct store *rival;
static pthread_t rival_thread;
static const char *place;
static atomic_bool rival_done;

static void *rival_puts(void *arg)
{
    (void)arg;
    THREAD_OK(put(rival, patient, "rival", e));
    atomic_store(&rival_done, true);
    return NULL;
}

static void *rival_loads(void *arg)
{
    (void)arg;
    THREAD_OK(load(rival, patient, "rival", e));
    atomic_store(&rival_done, true);
    return NULL;
}

static void *(*rival_does)(void *);

/* The other one is on its way, and stands at the lock. */
static void rival_comes(struct unchanged *u)
{
    (void)u;
    atomic_store(&rival_done, false);
    assert_int_equal(pthread_create(&rival_thread, NULL, rival_does, NULL), 0);
    while (!atomic_load(&rival_done) &&
           pg_sql(place, "select count(*) from pg_locks where not granted") == 0)
        ;
}

TEST(still, what_comes_while_it_is_asked_waits_until_it_is_committed)
{
    (void)state;
    char uri[256];
    struct store *st;
    struct store_commit c;
    if (!pg_new_place(uri, sizeof uri))
        return;
    place = uri;
    OK(store_open(env, uri, true, &st, e));
    OK(store_open(env, uri, false, &rival, e));
    void *(*const ways[])(void *) = { rival_puts, rival_loads };
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t before = last_of(st).t;
        struct unchanged u = unchanged_since(st, before);
        u.at_lock = rival_comes;
        rival_does = ways[i];
        OK(put_if(&u, basic, "mine", &c, e));
        assert_int_equal(pthread_join(rival_thread, NULL), 0);
        assert_threads_were_fine();
        assert_int_equal(c.t, before + 1);
        assert_int_equal(last_of(st).t, before + 2);
    }
    store_close(st);
    store_close(rival);
    pg_drop(uri);
}

TEST(still, one_that_fails_writes_nothing_and_nobody_else_pays)
{
    (void)state;
    char uri[256];
    struct store *st;
    struct store_commit c;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    if (!pg_new_place(uri, sizeof uri))
        return;
    place = uri;
    OK(store_open(env, uri, true, &st, e));
    OK(put(st, patient, "a", e));
    struct unchanged u = unchanged_since(st, 0);
    rival = st;
    rival_does = rival_puts;
    assert_int_equal(pthread_create(&rival_thread, NULL, rival_does, NULL), 0);
    FAILS(ERR_CONFLICT, put_if(&u, basic, "no", &c, e));
    assert_int_equal(pthread_join(rival_thread, NULL), 0);
    assert_threads_were_fine();
    FAILS(ERR_NOT_FOUND, store_get(st, basic, SV_LIT("no"), STORE_NOW, a, &v, e));
    assert_int_equal(last_of(st).t, 2);
    /* the conditions of versions are looked at beside it */
    char text[128];
    struct store_write w = write_of(basic, "no", text);
    w.condition = STORE_IF_VERSION;
    w.if_version = 1;
    u = unchanged_since(st, 2);
    FAILS(ERR_PRECONDITION, store_commit_if(st, &w, 1, &u.still, &c, e));
    FAILS(ERR_INVALID, store_commit_if(st, &w, 0, &u.still, &c, e));
    store_close(st);
    pg_drop(uri);
}

/* ---- many at a time ---- */

#define NODES  2u
#define EACH   4u /* threads of a node: while one writes, others wait to be a group */
#define ROUNDS 8u

static pthread_barrier_t round_begins;
static atomic_uint n_winners[ROUNDS];

/* Of all who saw nothing of the round, one alone may write. */
static void *compete(void *arg)
{
    struct store *st = arg;
    static atomic_uint n_ids;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char id[16];
        struct store_commit c;
        struct err why = { 0 };
        (void)pthread_barrier_wait(&round_begins);
        struct unchanged u = unchanged_since(st, last_of(st).t);
        (void)pthread_barrier_wait(&round_begins);
        (void)snprintf(id, sizeof id, "p%u", atomic_fetch_add(&n_ids, 1));
        err_code rc = put_if(&u, patient, id, &c, &why);
        if (rc != ERR_OK && rc != ERR_CONFLICT)
            thread_failed("%s", why.msg);
        atomic_fetch_add(&n_winners[i], rc == ERR_OK);
        /* beside them, what nobody asked about */
        if (put(st, basic, id, &why) != ERR_OK)
            thread_failed("%s", why.msg);
    }
    return NULL;
}

TEST(still, of_many_who_saw_the_same_one_alone_writes)
{
    (void)state;
    char uri[256];
    struct store *node[NODES];
    pthread_t threads[NODES * EACH];
    if (!pg_new_place(uri, sizeof uri))
        return;
    for (unsigned i = 0; i < NODES; i++)
        OK(store_open(env, uri, i == 0, &node[i], e));
    assert_int_equal(pthread_barrier_init(&round_begins, NULL, NODES * EACH), 0);
    for (unsigned i = 0; i < NODES * EACH; i++)
        pthread_create(&threads[i], NULL, compete, node[i % NODES]);
    for (unsigned i = 0; i < NODES * EACH; i++)
        pthread_join(threads[i], NULL);
    assert_threads_were_fine();
    for (unsigned i = 0; i < ROUNDS; i++)
        assert_int_equal(atomic_load(&n_winners[i]), 1);
    assert_int_equal(last_of(node[0]).t, ROUNDS * (1 + NODES * EACH));
    pthread_barrier_destroy(&round_begins);
    for (unsigned i = 0; i < NODES; i++)
        store_close(node[i]);
    pg_drop(uri);
}

int main(void)
{
    patient = fhir_type_find(SV_LIT("Patient"));
    basic = fhir_type_find(SV_LIT("Basic"));
    /* before there are threads */
    (void)plain_index(patient);
    (void)plain_index(basic);
    const struct CMUnitTest tests[] = {
        T(still, another_nodes_commit_or_load_is_seen_and_only_of_that_type),
        T(still, what_comes_while_it_is_asked_waits_until_it_is_committed),
        T(still, one_that_fails_writes_nothing_and_nobody_else_pays),
        T(still, of_many_who_saw_the_same_one_alone_writes),
    };
    env = store_env_new(8u << 20, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return failed;
}
