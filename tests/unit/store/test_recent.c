/* Versions kept in memory are those of the store: after updates, deletions, bulk loads and
 * openings, as of older commits, and while writers race with readers. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/checking.h"
#include "store/last.h"
#include "store/store.h"
#include "store/threads.h"

#include <pthread.h>
#include <stdatomic.h>

#define IDS  8u
#define HEAD "{\"resourceType\":\"Patient\"" /* of every body; meta goes behind it */

static struct store_env *env;
static fhir_type patient;

static struct store *open_new(char dir[64])
{
    struct store *st;
    (void)snprintf(dir, 64, TEST_TMP "/fhirlake-recent-%016llx", (unsigned long long)rng_u64());
    OK(store_open(env, dir, true, &st, e));
    return st;
}

static void end(struct store *st, const char *dir)
{
    store_close(st);
    assert_checked(env, dir);
    OK(file_remove_tree(dir, e));
}

static struct fhir_body body(char *text, size_t cap, uint64_t n)
{
    int len = snprintf(text, cap, HEAD ",\"n\":%llu}", (unsigned long long)n);
    return (struct fhir_body){ sv_make(text, (size_t)len), sizeof HEAD - 1, FHIR_HOLE_NO_META };
}

static sv id_of(unsigned i, char out[16])
{
    (void)snprintf(out, 16, "p%u", i);
    return sv_from(out);
}

static err_code try_put(struct store *st, sv id, store_method m, uint64_t n,
                        struct store_commit *out, struct err *e)
{
    char text[64];
    struct store_write w = { .type = patient,
                             .id = id,
                             .method = m,
                             .body = body(text, sizeof text, n),
                             .index = plain_index(patient) };
    return store_commit(st, &w, 1, out, e);
}

static struct store_commit put(struct store *st, sv id, store_method m, uint64_t n)
{
    struct store_commit c;
    OK(try_put(st, id, m, n, &c, e));
    return c;
}

static err_code try_load(struct store *st, sv id, uint64_t n, struct store_commit *out,
                         struct err *e)
{
    char text[64];
    CLEANUP(store_bulk_abort) struct store_bulk *b = NULL;
    struct store_bulk_item it = {
        .type = patient, .id = id, .body = body(text, sizeof text, n), .index = plain_index(patient)
    };
    TRY(store_bulk_begin(st, &b, e));
    TRY(store_bulk_fill(b, &it, 1, e));
    return store_bulk_publish(&b, SV_NONE, SV_NONE, out, e);
}

static struct store_commit load(struct store *st, sv id, uint64_t n)
{
    struct store_commit c;
    OK(try_load(st, id, n, &c, e));
    return c;
}

/* The number in the body, the version, as of t; 0: deleted. */
static err_code read_number(struct store *st, sv id, uint64_t t, uint64_t *number,
                            uint64_t *version, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    unsigned long long n = 0;
    TRY(store_get(st, patient, id, t, a, &v, e));
    if (v.method != STORE_METHOD_DELETE && sscanf(v.body.json.ptr, HEAD ",\"n\":%llu}", &n) != 1)
        return ERR(e, ERR_CORRUPT, "the body is not the one that was written");
    *version = v.version;
    *number = n;
    return ERR_OK;
}

static uint64_t number_at(struct store *st, sv id, uint64_t t, uint64_t *version)
{
    uint64_t n = 0;
    OK(read_number(st, id, t, &n, version, e));
    return n;
}

static void expect(struct store *st, sv id, uint64_t t, uint64_t n, uint64_t version)
{
    uint64_t v;
    /* from the store, then as it was kept */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(number_at(st, id, t, &v), n);
        assert_int_equal(v, version);
    }
}

TEST(recent, what_is_kept_follows_every_kind_of_write)
{
    (void)state;
    char dir[64];
    struct store *st = open_new(dir);
    sv id = SV_LIT("a");
    struct store_commit c1 = put(st, id, STORE_METHOD_CREATE, 1);
    expect(st, id, STORE_NOW, 1, 1);
    struct store_commit c2 = put(st, id, STORE_METHOD_UPDATE, 2);
    expect(st, id, STORE_NOW, 2, 2);
    /* an older state is neither hidden nor kept as the present one */
    expect(st, id, c1.t, 1, 1);
    expect(st, id, STORE_NOW, 2, 2);
    expect(st, id, c2.t, 2, 2);
    struct store_commit c3 = load(st, id, 3);
    expect(st, id, STORE_NOW, 3, 3);
    expect(st, id, c2.t, 2, 2);
    struct store_commit c4 = put(st, id, STORE_METHOD_DELETE, 0);
    expect(st, id, STORE_NOW, 0, 4);
    expect(st, id, c3.t, 3, 3);
    (void)put(st, id, STORE_METHOD_UPDATE, 5);
    expect(st, id, STORE_NOW, 5, 5);
    expect(st, id, c4.t, 0, 4);
    store_close(st);
    OK(store_open(env, dir, false, &st, e));
    /* the first read after opening is of an old state */
    expect(st, id, c1.t, 1, 1);
    expect(st, id, STORE_NOW, 5, 5);
    end(st, dir);
}

TEST(recent, stores_of_one_environment_do_not_see_each_other)
{
    (void)state;
    char dir[2][64];
    struct store *st[2];
    for (unsigned i = 0; i < 2; i++) {
        st[i] = open_new(dir[i]);
        (void)put(st[i], SV_LIT("a"), STORE_METHOD_CREATE, 10 + i);
    }
    for (unsigned i = 0; i < 2; i++)
        expect(st[i], SV_LIT("a"), STORE_NOW, 10 + i, 1);
    for (unsigned i = 0; i < 2; i++)
        end(st[i], dir[i]);
}

struct race {
    struct store *st;
    _Atomic uint64_t written[IDS]; /* acknowledged */
    atomic_bool stop;
};

static void *write_all(struct race *r)
{
    char id[16];
    for (uint64_t n = 2; n < 32; n++)
        for (unsigned i = 0; i < IDS; i++) {
            struct store_commit c;
            if (n % 10 == 0)
                THREAD_OK(try_load(r->st, id_of(i, id), n, &c, e));
            else
                THREAD_OK(try_put(r->st, id_of(i, id), STORE_METHOD_UPDATE, n, &c, e));
            atomic_store(&r->written[i], n);
        }
    return NULL;
}

static void *write_on(void *arg)
{
    struct race *r = arg;
    /* what failed is kept */
    (void)write_all(r);
    atomic_store(&r->stop, true);
    return NULL;
}

/* Never older than what was acknowledged before the read began, never going back; and a state as of
 * T stays. */
static void *read_on(void *arg)
{
    struct race *r = arg;
    uint64_t seen[IDS] = { 0 };
    char id[16];
    for (unsigned i = 0; !atomic_load(&r->stop); i = (i + 1) % IDS) {
        uint64_t least = atomic_load(&r->written[i]), v, at_t, n, again;
        uint64_t t = last_of(r->st).t;
        THREAD_OK(read_number(r->st, id_of(i, id), t, &at_t, &v, e));
        THREAD_OK(read_number(r->st, id_of(i, id), STORE_NOW, &n, &v, e));
        THREAD_TRUE(at_t >= least);
        THREAD_TRUE(n >= at_t);
        THREAD_TRUE(n >= seen[i]);
        /* one version a number */
        THREAD_TRUE(v == n);
        THREAD_OK(read_number(r->st, id_of(i, id), t, &again, &v, e));
        THREAD_TRUE(again == at_t);
        seen[i] = n;
    }
    return NULL;
}

TEST(recent, readers_beside_writers_never_see_what_was_replaced)
{
    (void)state;
    char dir[64], id[16];
    struct race r = { .st = open_new(dir) };
    pthread_t w, readers[3];
    for (unsigned i = 0; i < IDS; i++) {
        (void)put(r.st, id_of(i, id), STORE_METHOD_CREATE, 1);
        atomic_store(&r.written[i], 1);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &r), 0);
    assert_int_equal(pthread_create(&w, NULL, write_on, &r), 0);
    pthread_join(w, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(readers[i], NULL);
    assert_threads_were_fine();
    end(r.st, dir);
}

TEST(recent, more_than_fits_is_let_go)
{
    (void)state;
    char dir[64], id[16];
    struct store *st = open_new(dir);
    static char big[40000];
    struct store_commit c;
    memset(big, ' ', sizeof big);
    /* 24 MB through the quarter of a cache of 16 MiB */
    for (unsigned i = 0; i < 600; i++) {
        big[snprintf(big, sizeof big, HEAD ",\"n\":%u}", i)] = ' ';
        struct store_write w = { .type = patient,
                                 .id = id_of(i, id),
                                 .method = STORE_METHOD_CREATE,
                                 .body = { sv_make(big, sizeof big), sizeof HEAD - 1,
                                           FHIR_HOLE_NO_META },
                                 .index = plain_index(patient) };
        OK(store_commit(st, &w, 1, &c, e));
    }
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 600; i++)
            expect(st, id_of(i, id), STORE_NOW, i, 1);
    end(st, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(recent, what_is_kept_follows_every_kind_of_write),
        T(recent, stores_of_one_environment_do_not_see_each_other),
        T(recent, readers_beside_writers_never_see_what_was_replaced),
        T(recent, more_than_fits_is_let_go),
    };
    patient = fhir_type_find(SV_LIT("Patient"));
    /* before there are threads */
    (void)plain_index(patient);
    env = store_env_new(16 << 20, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return rc;
}
