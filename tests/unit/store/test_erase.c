/* What is erased is in no answer, whatever commit is asked for, and in no byte of the folder; all
 * else is as if nothing had happened. Random histories with erasures answer as the oracle does. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/age.h"
#include "store/checking.h"
#include "store/copy.h"
#include "store/erasing.h"
#include "store/last.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[80], path[120], target[120];

static void begin_folder(void)
{
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-store-erase-%016llx",
                   (unsigned long long)rng_u64());
    (void)snprintf(path, sizeof path, "%s/source", root);
    (void)snprintf(target, sizeof target, "%s/target", root);
    OK(file_mkdirs(root, e));
}

static store_number number_of(struct store *st, fhir_type type, const char *id)
{
    store_number n = 0;
    struct err why;
    return store_number_of(st, type, sv_from(id), &n, &why) == ERR_OK ? n : 0;
}

static void erase(struct store *st, const char *id)
{
    bool any;
    OK(store_erase(st, number_of(st, patient, id), 0, SV_NONE, &any, e));
    assert_true(any);
}

/* Nobody reads, but a thread of RocksDB may be about to remove what nobody needs. */
static void finish_it(struct store *st)
{
    struct err why = { 0 };
    err_code rc;
    while ((rc = store_erase_finish(st, NULL, &why)) == ERR_CONFLICT)
        (void)usleep(1000);
    if (rc != ERR_OK)
        fail_msg("%s", why.msg);
}

/* To the end, as a job does it. */
static void finish(struct store **st)
{
    finish_it(*st);
    assert_true(store_wants_anew(*st));
    assert_false(store_has_failed(*st));
    store_close(*st);
    OK(store_open(env, path, false, st, e));
    assert_false(store_wants_anew(*st));
}

/* ---- bytes on disk ---- */

static bool file_has(const char *name, sv text)
{
    CLEANUP_BUF struct buf b = BUF_INIT(64u << 20);
    char full[512];
    char piece[65536];
    ssize_t n;
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    int f = open(full, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return false;
    while ((n = read(f, piece, sizeof piece)) > 0)
        OK(buf_add(&b, sv_make(piece, (size_t)n), e));
    (void)close(f);
    return b.len && memmem(b.ptr, b.len, text.ptr, text.len) != NULL;
}

/* Files of the folder with this text, as it stands. */
static unsigned files_with(const char *text)
{
    unsigned n = 0;
    struct dirent *x;
    DIR *d = opendir(path);
    assert_non_null(d);
    while ((x = readdir(d)) != NULL)
        if (x->d_name[0] != '.' && strcmp(x->d_name, "staging") != 0)
            n += file_has(x->d_name, sv_from(text));
    (void)closedir(d);
    return n;
}

struct look {
    const char *text;
    unsigned n;
};

static void look_at(struct raw_store *s, void *ctx, sv key, sv value)
{
    struct look *l = ctx;
    (void)s;
    l->n += memmem(key.ptr, key.len, l->text, strlen(l->text)) != NULL ||
            (value.len && memmem(value.ptr, value.len, l->text, strlen(l->text)) != NULL);
}

/* Keys and values with this text, unpacked. The store is closed. */
static unsigned rows_with(const char *text)
{
    struct look l = { text, 0 };
    struct raw_store s;
    raw_open(&s, path);
    for (int i = 0; i < N_CFS; i++)
        raw_each(&s, i, look_at, &l);
    raw_close(&s);
    return l.n;
}

TEST(erase, leaves_no_byte_of_what_was_erased)
{
    (void)state;
    struct store *st;
    begin_folder();
    OK(store_open(env, path, true, &st, e));
    load(st, 300, "bulk");
    for (unsigned i = 0; i < 5; i++) {
        put(st, patient, "marked-online");
        put(st, patient, "bulk17");
        put(st, patient, "stays");
    }
    /* some of it in files, some in the log alone */
    OK(st->ops->flush(st, e));
    put(st, patient, "marked-online");
    assert_true(files_with("mark-marked-online") > 0);
    assert_true(files_with("mark-bulk17-") > 0);
    assert_true(files_with("marked-online") > 1);
    erase(st, "marked-online");
    erase(st, "bulk17");
    erase(st, "bulk0");
    finish(&st);
    assert_int_equal(files_with("marked-online"), 0);
    assert_int_equal(files_with("bulk17-"), 0);
    store_close(st);
    assert_checked(env, path);
    assert_int_equal(rows_with("marked-online"), 0);
    assert_int_equal(rows_with("bulk17-"), 0);
    assert_int_equal(rows_with("mark-bulk0-"), 0);
    assert_true(rows_with("bulk18-") > 0 && rows_with("mark-stays") > 0);
    OK(file_remove_tree(root, e));
}

/* A conversion that was cut off at its very end, and never called again. */
TEST(erase, leaves_no_folder_of_before_a_conversion)
{
    (void)state;
    char old[160], file[200];
    struct store *st;
    begin_folder();
    OK(store_open(env, path, true, &st, e));
    put(st, patient, "gone");
    (void)snprintf(old, sizeof old, "%s.old", path);
    (void)snprintf(file, sizeof file, "%s/000009.sst", old);
    OK(file_mkdirs(old, e));
    OK(file_write_atomic(file, SV_LIT("mark-gone"), e));
    erase(st, "gone");
    finish(&st);
    assert_int_equal(access(old, F_OK), -1);
    store_close(st);
    OK(file_remove_tree(root, e));
}

static void see_sum(struct raw_store *s, void *ctx, sv key, sv value)
{
    static const char nothing[8];
    unsigned *n = ctx;
    (void)s;
    (void)key;
    assert_int_equal(value.len, sizeof nothing);
    n[memcmp(value.ptr, nothing, sizeof nothing) != 0]++;
}

/* The key of a sum is the digest of a code, and a code may be somebody's alone. */
TEST(erase, leaves_no_sum_of_what_nobody_has_any_more)
{
    (void)state;
    struct store *st;
    struct raw_store raw;
    unsigned sums[2][2] = { { 0 } };
    begin_folder();
    OK(store_open(env, path, true, &st, e));
    load(st, 100, "bulk");
    for (int i = 0; i < 2; i++) {
        struct arena *a = arena_new(1 << 20);
        struct store_commit c;
        sv json = i ? SV_LIT("{\"resourceType\":\"Patient\",\"gender\":\"of-nobody-else\"}")
                    : SV_LIT("{\"resourceType\":\"Patient\",\"active\":true}");
        struct store_write w = { .type = patient,
                                 .id = i ? SV_LIT("rare") : SV_LIT("alone"),
                                 .method = STORE_METHOD_UPDATE,
                                 .body = { json, 25, FHIR_HOLE_NO_META },
                                 .index = index_of(a, patient, json) };
        OK(store_commit(st, &w, 1, &c, e));
        arena_free(a);
        OK(st->ops->flush(st, e));
        erase(st, i ? "rare" : "alone");
        finish(&st);
        store_close(st);
        raw_open(&raw, path);
        raw_each(&raw, CF_COUNTS, see_sum, sums[i]);
        raw_close(&raw);
        OK(store_open(env, path, false, &st, e));
        assert_int_equal(sums[i][0], 0);
        assert_true(sums[i][1] > 4);
    }
    assert_int_equal(sums[1][1], sums[0][1]);
    store_close(st);
    assert_checked(env, path);
    OK(file_remove_tree(root, e));
}

TEST(erase, of_one_version_leaves_the_others_and_their_numbers)
{
    (void)state;
    struct store *st, *copy;
    struct arena *a = arena_new(1 << 20);
    struct store_sums *sums = calloc(1, sizeof *sums);
    struct store_version v;
    uint64_t t[4];
    bool any;
    begin_folder();
    OK(store_open(env, path, true, &st, e));
    for (unsigned i = 0; i < 4; i++) {
        put(st, patient, "p");
        t[i] = last_of(st).t;
    }
    const store_number p = number_of(st, patient, "p");
    const sv note = SV_LIT("erase/x");
    struct store_erased n;
    FAILS(ERR_PRECONDITION, store_erase(st, p, t[3], note, &any, e));
    OK(store_erased_get(st, note, &n, e));
    assert_true(n.resources == 0 && n.versions == 0);
    OK(store_erase(st, p, t[1], note, &any, e));
    assert_true(any);
    OK(store_erase(st, p, t[1], note, &any, e));
    assert_false(any);
    OK(store_erased_get(st, note, &n, e));
    assert_true(n.resources == 0 && n.versions == 1);
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p"), t[1], a, &v, e));
    OK(store_get(st, patient, SV_LIT("p"), t[2], a, &v, e));
    assert_int_equal(v.version, 3);
    finish(&st);
    OK(store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, 4);
    /* back to that version: nothing is there, and what comes next has the next number */
    OK(store_copy(env, st, target, t[1], NULL, sums, e));
    assert_checked(env, target);
    OK(store_open(env, target, false, &copy, e));
    FAILS(ERR_NOT_FOUND, store_get(copy, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    put(copy, patient, "p");
    OK(store_get(copy, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, 3);
    store_close(copy);
    store_close(st);
    assert_checked(env, path);
    assert_checked(env, target);
    OK(file_remove_tree(root, e));
    arena_free(a);
    free(sums);
}

TEST(erase, frees_the_id_for_a_new_resource)
{
    (void)state;
    struct store *st;
    struct arena *a = arena_new(1 << 20);
    struct store_version v;
    begin_folder();
    OK(store_open(env, path, true, &st, e));
    put(st, patient, "p");
    put(st, patient, "p");
    const store_number was = number_of(st, patient, "p");
    const uint64_t t = last_of(st).t;
    OK(store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    erase(st, "p");
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    put(st, patient, "p");
    assert_true(number_of(st, patient, "p") != was);
    OK(store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, 1);
    finish(&st);
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p"), t, a, &v, e));
    OK(store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    store_close(st);
    assert_checked(env, path);
    OK(file_remove_tree(root, e));
    arena_free(a);
}

TEST(erase, is_not_undone_by_who_read_before_and_remembers_later)
{
    (void)state;
    struct store *st;
    struct arena *a = arena_new(1 << 20);
    struct store_version was, v;
    begin_folder();
    OK(store_open(env, path, true, &st, e));
    put(st, patient, "p");
    put(st, patient, "q");
    struct rocks *r = (struct rocks *)st;
    const uint64_t t = last_of(st).t;
    OK(store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &was, e));
    erase(st, "p");
    recent_put(env->recent, &r->recent, t, &was);
    finish_it(st);
    FAILS(ERR_NOT_FOUND, store_get_number(st, was.number, STORE_NOW, a, &v, e));
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p"), t, a, &v, e));
    recent_put(env->recent, &r->recent, t, &was);
    FAILS(ERR_NOT_FOUND, store_get_number(st, was.number, STORE_NOW, a, &v, e));
    store_close(st);
    OK(file_remove_tree(root, e));
    arena_free(a);
}

TEST(erase, waits_for_loads_and_for_who_reads)
{
    (void)state;
    struct store *st;
    struct store_bulk *b;
    struct store_cursor *c;
    struct store_version v;
    const struct store_range all = { .type = patient };
    bool any;
    begin_folder();
    OK(store_open(env, path, true, &st, e));
    load(st, 20, "p");
    const store_number p = number_of(st, patient, "p3");
    OK(store_bulk_begin(st, &b, e));
    FAILS(ERR_CONFLICT, store_erase(st, p, 0, SV_NONE, &any, e));
    store_bulk_abort(b);
    OK(store_scan(st, &all, STORE_NOW, &c, e));
    OK(store_cursor_next(c, &v, e));
    OK(store_erase(st, p, 0, SV_NONE, &any, e));
    FAILS(ERR_CONFLICT, store_erase_finish(st, NULL, e));
    store_cursor_close(c);
    finish(&st);
    assert_int_equal(files_with("mark-p3-"), 0);
    store_close(st);
    assert_checked(env, path);
    OK(file_remove_tree(root, e));
}

/* ---- random histories ---- */

/* An end, and what follows it: a store without what was erased, that goes back to any commit. */
static void finish_both(struct history *h)
{
    struct store_sums *sums = calloc(1, sizeof *sums);
    const uint64_t t = 1 + rnd((unsigned)last_of(h->of[1]).t);
    give_up(h);
    finish_it(h->of[1]);
    if (store_wants_anew(h->of[1]))
        OK(store_erase_finish(h->of[0], NULL, e));
    store_close(h->of[1]);
    assert_checked(env, path);
    OK(store_open(env, path, false, &h->of[1], e));
    OK(store_copy(env, h->of[1], target, t, NULL, sums, e));
    assert_checked(env, target);
    OK(file_remove_tree(target, e));
    free(sums);
}

TEST(erase, random_histories_answer_as_the_oracle_does)
{
    (void)state;
    const unsigned n_seeds = test_is_long() ? 40 : TEST_SANITIZED ? 1 : 2;
    for (unsigned seed = 1; seed <= n_seeds; seed++) {
        struct history h = { .a = arena_new(1 << 22) };
        begin_folder();
        OK(store_open(NULL, "memory:", true, &h.of[0], e));
        OK(store_open(env, path, true, &h.of[1], e));
        rnd_state = 4000 + seed;
        for (unsigned i = 0; i < 200; i++) {
            step(&h);
            if (i % 10 == 0)
                compare_all(&h);
            if (i % 100 == 99) {
                finish_both(&h);
                for (unsigned k = 0; k < 5; k++)
                    compare_all(&h);
            }
        }
        store_close(h.of[0]);
        store_close(h.of[1]);
        assert_checked(env, path);
        OK(file_remove_tree(root, e));
        arena_free(h.a);
    }
}

/* ---- an end at any moment ---- */

static void make_source(void)
{
    struct store *st;
    OK(store_open(env, path, true, &st, e));
    load(st, 400, "p");
    store_close(st);
}

static void erase_six_of_seven(void)
{
    struct store *st;
    OK(store_open(env, path, false, &st, e));
    for (unsigned i = 0; i < 400; i++) {
        char id[20];
        bool any;
        (void)snprintf(id, sizeof id, "p%u", i);
        const store_number p = number_of(st, patient, id);
        if (i % 10 == 9)
            finish_it(st);
        if (p && i % 7)
            OK(store_erase(st, p, 0, SV_NONE, &any, e));
    }
    finish_it(st);
    store_close(st);
    OK(store_open(env, path, false, &st, e));
    store_close(st);
}

#define ERASE_OF "FHIRLAKE_TEST_ERASE_OF" /* of a child: the folder of the store */

static void erase_in_child(useconds_t kill_after_us)
{
    int status;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setenv(ERASE_OF, path, 1);
        (void)execl("/proc/self/exe", "erase", NULL);
        _exit(4);
    }
    if (kill_after_us) {
        (void)usleep(kill_after_us);
        (void)kill(pid, SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!kill_after_us)
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(erase, goes_on_after_kill_9)
{
    (void)state;
    const unsigned n_kills = test_is_long() ? 50 : TEST_SANITIZED ? 2 : 10;
    begin_folder();
    make_source();
    for (unsigned i = 0; i < n_kills; i++) {
        erase_in_child(20000 + (useconds_t)(rng_u64() % 150000));
        /* half done is nothing wrong */
        assert_checked(env, path);
    }
    erase_in_child(0);
    assert_checked(env, path);
    for (unsigned i = 0; i < 400; i += test_is_long() ? 1 : 13) {
        char text[24];
        (void)snprintf(text, sizeof text, "mark-p%u-", i);
        assert_int_equal(rows_with(text) > 0, i % 7 == 0);
        assert_true(i % 7 == 0 || files_with(text) == 0);
    }
    OK(file_remove_tree(root, e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(erase, goes_on_after_kill_9),
        T(erase, leaves_no_byte_of_what_was_erased),
        T(erase, leaves_no_folder_of_before_a_conversion),
        T(erase, leaves_no_sum_of_what_nobody_has_any_more),
        T(erase, of_one_version_leaves_the_others_and_their_numbers),
        T(erase, frees_the_id_for_a_new_resource),
        T(erase, is_not_undone_by_who_read_before_and_remembers_later),
        T(erase, waits_for_loads_and_for_who_reads),
        T(erase, random_histories_answer_as_the_oracle_does),
    };
    const char *of = getenv(ERASE_OF);
    if (of) {
        (void)begin_all(NULL);
        (void)snprintf(path, sizeof path, "%s", of);
        erase_six_of_seven();
        return end_all(NULL);
    }
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
