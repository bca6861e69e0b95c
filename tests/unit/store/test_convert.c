/* A data store of layout 3 becomes one of layout 4 that answers as it did: after random histories
 * of commits and of loads, published in any order or never, against the oracle with the same
 * history. Whatever ends a conversion, the next one comes to the same end. */
#include "test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "store/age.h"
#include "store/answers.h"
#include "store/checking.h"
#include "store/convert.h"
#include "store/last.h"
#include "store/layout3.h"
#include "store/rocks/convert/convert_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOADS_MOST 6u
#define HOUR_MS    3600000

static struct store_env *env;
static char root[80], place[128], side[2][160]; /* side: .converting, .old */

static void begin_folder(void)
{
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-convert-%016llx",
                   (unsigned long long)rng_u64());
    (void)snprintf(place, sizeof place, "%s/0123456789abcdef0123456789abcdef", root);
    (void)snprintf(side[0], sizeof side[0], "%s.converting", place);
    (void)snprintf(side[1], sizeof side[1], "%s.old", place);
    OK(file_mkdirs(root, e));
}

static void end_folder(void)
{
    OK(file_remove_tree(root, e));
}

static unsigned n_in_root(void)
{
    unsigned n = 0;
    struct dirent *x;
    DIR *d = opendir(root);
    while ((x = readdir(d)) != NULL)
        n += x->d_name[0] != '.';
    closedir(d);
    return n;
}

static void copy_folder(const char *from, const char *to)
{
    /* a fork would copy the tables of all this process's memory: under AddressSanitizer that took
     * longer than the copy */
    char *argv[] = { "cp", "-r", (char *)(uintptr_t)from, (char *)(uintptr_t)to, NULL };
    pid_t pid;
    int status;
    assert_int_equal(posix_spawnp(&pid, "cp", NULL, NULL, argv, environ), 0);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* ---- resources ---- */

static struct fhir_body make(struct arena *a, fhir_type type)
{
    static const char *const codes[] = { "male", "female", "other", "unknown", "Male" };
    const char *name = type == patient ? "Patient" : "Observation";
    const char *member = type == patient ? "gender" : "status";
    sv json = arena_fmt(a,
                        "{\"resourceType\":\"%s\",\"%s\":\"%s\",\"identifier\":[{\"system\":"
                        "\"http://s/%u\",\"value\":\"v%u\"}],\"language\":\"l%u\"}",
                        name, member, codes[rnd(5)], rnd(3), rnd(40), rnd(1000));
    return (struct fhir_body){ json, (uint32_t)strlen(name) + 18, FHIR_HOLE_NO_META };
}

static sv index_of(struct arena *a, fhir_type type, sv json)
{
    struct buf b = BUF_INIT(1 << 16);
    yyjson_doc *doc;
    OK(json_read(a, json, 16, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &b, e));
    sv index = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    see_params(type, index);
    return index;
}

/* ---- a history, for the old data store and for the oracle ---- */

struct load {
    struct store_bulk *oracle;
    uint64_t b, count;
};
struct history {
    struct store *oracle;
    struct layout3 old;
    struct load open[LOADS_MOST];
    size_t n_open;
    uint64_t next_b;
};

static void begin_history(struct history *h)
{
    *h = (struct history){ .next_b = 1 };
    begin_folder();
    OK(store_open(NULL, "memory:", true, &h->oracle, e));
    l3_open(&h->old, place);
    l3_number(&h->old, 'v', 3);
}

static void commit_some(struct history *h, struct arena *a)
{
    struct store_write w[4];
    struct store_commit c;
    struct err why;
    size_t n = 1 + rnd(4);
    for (size_t i = 0; i < n; i++) {
        w[i] = (struct store_write){ .type = rnd(4) ? patient : observation,
                                     .id = arena_sv(a, sv_from(random_id())),
                                     .method =
                                         rnd(4) ? rnd(2) ? STORE_METHOD_UPDATE : STORE_METHOD_CREATE
                                                : STORE_METHOD_DELETE };
        if (w[i].method != STORE_METHOD_DELETE) {
            w[i].body = make(a, w[i].type);
            w[i].index = index_of(a, w[i].type, w[i].body.json);
        }
    }
    /* a deletion of nothing, or a resource twice */
    if (store_commit(h->oracle, w, n, &c, &why) != ERR_OK)
        return;
    for (size_t i = 0; i < n; i++)
        l3_version(&h->old, w[i].type, w[i].id, c.t, w[i].version, c.instant_ms, w[i].method,
                   &w[i].body);
    static const size_t forms[] = { 8, 25, 26 };
    l3_commit(&h->old, c, 0, n, forms[rnd(3)]);
}

static bool seen_before(const struct store_bulk_item *items, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (items[k].type == items[i].type && sv_eq(items[k].id, items[i].id))
            return true;
    return false;
}

static void fill_one(struct history *h, struct arena *a)
{
    struct load *l = &h->open[h->n_open];
    struct store_bulk_item items[40];
    size_t n = 1 + rnd(40);
    *l = (struct load){ .b = h->next_b++ };
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct store_bulk_item){ .type = rnd(4) ? patient : observation,
                                             .id = arena_sv(a, sv_from(random_id())),
                                             .seq = i };
        items[i].body = make(a, items[i].type);
        items[i].index = index_of(a, items[i].type, items[i].body.json);
        l->count += !seen_before(items, i);
    }
    if (rnd(8) == 0)
        /* it was given up before its files were taken in */
        return;
    for (size_t i = 0; i < n; i++)
        l3_version(&h->old, items[i].type, items[i].id, l->b, 0, 0, STORE_METHOD_IMPORT,
                   &items[i].body);
    if (rnd(8) == 0)
        /* and here behind that */
        return;
    OK(store_bulk_begin(h->oracle, &l->oracle, e));
    OK(store_bulk_fill(l->oracle, items, n, e));
    h->n_open++;
}

static void publish_one(struct history *h)
{
    size_t at = rnd((unsigned)h->n_open);
    struct load l = h->open[at];
    struct store_commit c;
    h->open[at] = h->open[--h->n_open];
    OK(store_bulk_publish(&l.oracle, SV_LIT("note"), SV_LIT("of a load"), &c, e));
    l3_commit(&h->old, c, l.b, l.count, 25 + rnd(2));
    if (rnd(3) == 0) {
        /* nobody has counted since */
        struct l3_bytes k = l3_letter('u', l.b);
        l3_put(&h->old, L3_COMMITS, &k, SV_LIT("\1\1\0\0\0"));
    }
}

static void end_history(struct history *h, int64_t floor_ms)
{
    struct l3_bytes k = { .n = 0 };
    l3_add(&k, "note", 4);
    l3_put(&h->old, L3_NOTES, &k, SV_LIT("of a load"));
    l3_number(&h->old, 'n', h->next_b + 7);
    if (floor_ms)
        l3_number(&h->old, 'f', (uint64_t)floor_ms);
    l3_put(&h->old, L3_SEARCH, &k, SV_NONE);
    while (h->n_open)
        store_bulk_abort(h->open[--h->n_open].oracle);
    l3_close(&h->old);
}

static void make_history(struct history *h, unsigned seed, unsigned steps)
{
    rnd_state = seed;
    begin_history(h);
    const unsigned flush_at = rnd(steps);
    for (unsigned step = 0; step < steps; step++) {
        struct arena *a = arena_new(1 << 20);
        unsigned what = rnd(100);
        if (what < 60)
            commit_some(h, a);
        else if (what < 82 && h->n_open < LOADS_MOST)
            fill_one(h, a);
        else if (h->n_open)
            publish_one(h);
        if (step == flush_at)
            l3_flush(&h->old);
        arena_free(a);
    }
}

/* ---- both answer the same ---- */

static void compare_all(struct store *a, struct store *b)
{
    for (int i = 0; i < 20; i++)
        compare(a, b);
    check_plan(b, 1);
    check_plan(b, 1000);
    for (int k = 0; k < 2; k++) {
        fhir_type type = k ? patient : observation;
        compare_instants(a, b, type);
        compare_index(a, b, type, STORE_NOW);
        compare_index(a, b, type, last_of(a).t / 2);
    }
    assert_int_equal(last_of(a).t, last_of(b).t);
    assert_int_equal(last_of(a).instant_ms, last_of(b).instant_ms);
}

/* It goes on living: commits and loads over old and new resources. */
static void live_on(struct history *h, struct store *st)
{
    for (int step = 0; step < 60; step++) {
        struct arena *a = arena_new(1 << 20);
        struct store *const both[] = { h->oracle, st };
        const size_t n = 1 + rnd(20);
        struct store_bulk_item items[20];
        struct store_write w = { .type = rnd(4) ? patient : observation };
        w.id = arena_sv(a, sv_from(random_id()));
        w.method = STORE_METHOD_UPDATE;
        w.body = make(a, w.type);
        w.index = index_of(a, w.type, w.body.json);
        for (size_t i = 0; i < n; i++) {
            items[i] = (struct store_bulk_item){ .type = rnd(2) ? patient : observation,
                                                 .id = arena_sv(a, sv_from(random_id())),
                                                 .seq = i };
            items[i].body = make(a, items[i].type);
            items[i].index = index_of(a, items[i].type, items[i].body.json);
        }
        for (int k = 0; k < 2; k++) {
            struct store_commit c;
            struct store_bulk *bulk;
            struct store_write copy = w;
            struct store_bulk_item items_copy[20];
            memcpy(items_copy, items, sizeof items);
            if (step % 3) {
                OK(store_commit(both[k], &copy, 1, &c, e));
                continue;
            }
            OK(store_bulk_begin(both[k], &bulk, e));
            OK(store_bulk_fill(bulk, items_copy, n, e));
            OK(store_bulk_publish(&bulk, SV_NONE, SV_NONE, &c, e));
        }
        arena_free(a);
    }
    for (int i = 0; i < (TEST_SANITIZED && !test_is_long() ? 5 : 20); i++)
        compare(h->oracle, st);
    compare_index(h->oracle, st, patient, STORE_NOW);
    compare_index(h->oracle, st, observation, STORE_NOW);
}

TEST(convert, a_random_history_reads_as_before_and_goes_on)
{
    (void)state;
    unsigned n_seeds = test_is_long() ? 60 : TEST_SANITIZED ? 2 : 6;
    for (unsigned seed = 1; seed <= n_seeds; seed++) {
        struct history h;
        struct store_converted done;
        struct store *st;
        struct buf note = BUF_INIT(64);
        make_history(&h, seed, 100 + 20 * seed);
        const int64_t floor_ms = seed % 2 ? last_of(h.oracle).instant_ms + HOUR_MS : 0;
        end_history(&h, floor_ms);
        OK(store_convert(env, place, NULL, NULL, &done, e));
        assert_true(!done.was_done && !done.completed);
        assert_int_equal(done.n_commits, last_of(h.oracle).t);
        assert_int_equal(n_in_root(), 1);
        OK(store_open(env, place, false, &st, e));
        assert_int_equal(store_index_form(st), SEARCH_INDEX_FORM);
        compare_all(h.oracle, st);
        OK(store_note_get(st, SV_LIT("note"), &note, e));
        assert_sv(buf_sv(&note), SV_LIT("of a load"));
        live_on(&h, st);
        /* I3: an instant that was closed stays closed */
        assert_true(floor_ms == 0 || last_of(st).instant_ms > floor_ms);
        store_close(st);
        OK(store_open(env, place, false, &st, e));
        for (int i = 0; i < 10; i++)
            compare(h.oracle, st);
        store_close(st);
        buf_done(&note);
        OK(store_convert(env, place, NULL, NULL, &done, e));
        assert_true(done.was_done);
        store_close(h.oracle);
        end_folder();
    }
}

TEST(convert, a_store_without_commits_is_converted)
{
    (void)state;
    struct history h;
    struct store_converted done;
    struct store *st;
    begin_history(&h);
    end_history(&h, 0);
    OK(store_convert(env, place, NULL, NULL, &done, e));
    OK(store_open(env, place, false, &st, e));
    assert_int_equal(last_of(st).t, 0);
    live_on(&h, st);
    store_close(st);
    store_close(h.oracle);
    end_folder();
}

/* ---- what is refused ---- */

TEST(convert, an_older_layout_is_told_and_stays_what_it_is)
{
    (void)state;
    struct history h;
    struct store *st;
    make_history(&h, 3, 60);
    end_history(&h, 0);
    assert_true(store_needs_convert(place));
    FAILS(ERR_CORRUPT, store_open(env, place, false, &st, e));
    FAILS(ERR_CORRUPT, store_open(env, place, true, &st, e));
    /* no family was made that a program of its time does not know */
    l3_open(&h.old, place);
    l3_close(&h.old);
    store_close(h.oracle);
    end_folder();
}

/* Families are made one by one, and whoever makes them can be cut off in between. */
TEST(convert, a_data_store_whose_making_was_cut_off_is_none_of_an_older_layout)
{
    (void)state;
    struct store_converted done;
    struct store *st;
    char *bad = NULL;
    rocksdb_options_t *o = rocksdb_options_create();
    begin_folder();
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_t *db = rocksdb_open(o, place, &bad);
    assert_null(bad);
    rocksdb_column_family_handle_t *cf = rocksdb_create_column_family(db, o, "versions", &bad);
    assert_null(bad);
    rocksdb_column_family_handle_destroy(cf);
    rocksdb_close(db);
    rocksdb_options_destroy(o);
    assert_false(store_needs_convert(place));
    OK(store_convert(env, place, NULL, NULL, &done, e));
    assert_true(done.was_done);
    /* it is gone on with */
    OK(store_open(env, place, true, &st, e));
    store_close(st);
    OK(store_open(env, place, false, &st, e));
    store_close(st);
    end_folder();
}

/* ---- what cannot be read is none of an older layout ---- */

static void find(const char *prefix, char *out, size_t size)
{
    struct dirent *x;
    DIR *d = opendir(place);
    assert_non_null(d);
    out[0] = 0;
    while ((x = readdir(d)) != NULL)
        if (sv_starts(sv_from(x->d_name), sv_from(prefix)))
            (void)snprintf(out, size, "%s/%s", place, x->d_name);
    closedir(d);
    assert_true(out[0]);
}

/* The list of files: of so many bytes of it; SIZE_MAX: what names it is gone. */
static void lose_list(size_t left)
{
    char name[PATH_MAX];
    find(left == SIZE_MAX ? "CURRENT" : "MANIFEST-", name, sizeof name);
    if (left == SIZE_MAX)
        assert_int_equal(unlink(name), 0);
    else
        assert_int_equal(truncate(name, (off_t)left), 0);
}

static size_t list_bytes(void)
{
    char name[PATH_MAX];
    struct stat st;
    find("MANIFEST-", name, sizeof name);
    assert_int_equal(stat(name, &st), 0);
    return (size_t)st.st_size;
}

static void damaged_stays(void)
{
    bool needed = true;
    struct store *st;
    struct err why;
    assert_false(store_needs_convert(place));
    assert_int_not_equal(store_convert_look(place, &needed, &why), ERR_OK);
    assert_false(needed);
    /* made by nobody, however often */
    FAILS(ERR_CORRUPT, store_open(env, place, false, &st, e));
    FAILS(ERR_CORRUPT, store_open(env, place, true, &st, e));
}

TEST(convert, a_store_whose_list_of_files_is_lost_is_damaged_and_none_of_an_older_layout)
{
    (void)state;
    struct history h;
    struct store *st;
    begin_folder();
    OK(store_open(env, place, true, &st, e));
    store_close(st);
    copy_folder(place, side[1]);
    lose_list(0);
    damaged_stays();
    lose_list(SIZE_MAX);
    damaged_stays();
    OK(file_remove_tree(place, e));
    assert_int_equal(rename(side[1], place), 0);
    OK(store_open(env, place, false, &st, e));
    store_close(st);
    end_folder();
    /* and of layout 3 */
    make_history(&h, 3, 60);
    end_history(&h, 0);
    lose_list(0);
    damaged_stays();
    store_close(h.oracle);
    end_folder();
}

/* What is left of the list names some of the families. */
TEST(convert, a_store_whose_list_of_files_is_cut_anywhere_is_none_of_an_older_layout)
{
    (void)state;
    struct store *st;
    struct err why;
    begin_folder();
    OK(store_open(env, place, true, &st, e));
    store_close(st);
    copy_folder(place, side[1]);
    for (size_t n = list_bytes(), left = 0; left < n; left += 7) {
        lose_list(left);
        assert_false(store_needs_convert(place));
        /* it opens where nothing that counts was behind the cut */
        if (store_open(env, place, false, &st, &why) == ERR_OK)
            store_close(st);
        else
            assert_int_not_equal(why.code, ERR_NOT_FOUND);
        OK(file_remove_tree(place, e));
        copy_folder(side[1], place);
    }
    end_folder();
}

/* Its folder alone is there. */
TEST(convert, a_folder_without_a_data_store_is_damaged)
{
    (void)state;
    struct store *st;
    begin_folder();
    FAILS(ERR_NOT_FOUND, store_open(env, place, false, &st, e));
    OK(file_mkdirs(place, e));
    FAILS(ERR_CORRUPT, store_open(env, place, false, &st, e));
    end_folder();
}

TEST(convert, another_layout_is_refused)
{
    (void)state;
    struct history h;
    struct store_converted done;
    make_history(&h, 4, 10);
    l3_number(&h.old, 'v', 2);
    end_history(&h, 0);
    FAILS(ERR_UNSUPPORTED, store_convert(env, place, NULL, NULL, &done, e));
    FAILS(ERR_NOT_FOUND, store_convert(env, side[0], NULL, NULL, &done, e));
    FAILS(ERR_UNSUPPORTED, store_convert(env, "memory:", NULL, NULL, &done, e));
    store_close(h.oracle);
    end_folder();
}

/* Something of the old data store is not as the rest says: nothing takes its place. */
static void damage(void (*fn)(struct history *h))
{
    struct history h;
    struct store_converted done;
    make_history(&h, 5, 60);
    fn(&h);
    end_history(&h, 0);
    FAILS(ERR_CORRUPT, store_convert(env, place, NULL, NULL, &done, e));
    assert_int_equal(n_in_root(), 1);
    assert_true(store_needs_convert(place));
    store_close(h.oracle);
    end_folder();
}

static struct store_commit next(const struct history *h)
{
    struct store_commit c = last_of(h->oracle);
    c.t++;
    return c;
}

static const char some_json[] = "{\"resourceType\":\"Patient\"}";
static const struct fhir_body some_body = { { some_json, sizeof some_json - 1 },
                                            sizeof some_json - 2,
                                            FHIR_HOLE_NO_META };

static void a_change_is_missing(struct history *h)
{
    struct store_commit c = next(h);
    struct l3_bytes k = l3_change_key(patient, true, c.t, SV_LIT("lost"));
    l3_version(&h->old, patient, SV_LIT("kept"), c.t, 1, c.instant_ms, STORE_METHOD_UPDATE,
               &some_body);
    l3_version(&h->old, patient, SV_LIT("lost"), c.t, 1, c.instant_ms, STORE_METHOD_UPDATE,
               &some_body);
    l3_delete(&h->old, L3_CHANGES, &k);
    l3_commit(&h->old, c, 0, 2, 8);
}

static void a_version_is_missing(struct history *h)
{
    struct store_commit c = next(h);
    struct l3_bytes k = l3_change_key(patient, true, c.t, SV_LIT("lost"));
    l3_put(&h->old, L3_CHANGES, &k, SV_NONE);
    l3_commit(&h->old, c, 0, 1, 26);
}

static void a_commit_is_missing(struct history *h)
{
    struct store_commit c = next(h);
    c.t++;
    l3_version(&h->old, patient, SV_LIT("late"), c.t, 1, c.instant_ms, STORE_METHOD_UPDATE,
               &some_body);
    l3_commit(&h->old, c, 0, 1, 26);
}

static void a_version_has_a_wrong_number(struct history *h)
{
    struct store_commit c = next(h);
    l3_version(&h->old, patient, SV_LIT("new"), c.t, 2, c.instant_ms, STORE_METHOD_UPDATE,
               &some_body);
    l3_commit(&h->old, c, 0, 1, 26);
}

static void a_commit_counts_wrong(struct history *h)
{
    struct store_commit c = next(h);
    l3_version(&h->old, patient, SV_LIT("new"), c.t, 1, c.instant_ms, STORE_METHOD_UPDATE,
               &some_body);
    l3_commit(&h->old, c, 0, 2, 26);
}

static void an_instant_goes_back(struct history *h)
{
    struct store_commit c = next(h);
    c.instant_ms -= HOUR_MS;
    l3_version(&h->old, patient, SV_LIT("new"), c.t, 1, c.instant_ms, STORE_METHOD_UPDATE,
               &some_body);
    l3_commit(&h->old, c, 0, 1, 26);
}

static void a_load_has_a_number_that_was_not_given(struct history *h)
{
    struct store_commit c = next(h);
    l3_version(&h->old, patient, SV_LIT("new"), h->next_b + 7, 0, 0, STORE_METHOD_IMPORT,
               &some_body);
    l3_commit(&h->old, c, h->next_b + 7, 1, 26);
}

static void a_header_is_cut(struct history *h)
{
    struct store_commit c = next(h);
    struct l3_bytes k = { .n = 0 };
    l3_version(&h->old, patient, SV_LIT("new"), c.t, 1, c.instant_ms, STORE_METHOD_UPDATE,
               &some_body);
    l3_byte(&k, patient);
    l3_add(&k, "new\0\1", 5);
    l3_u64(&k, ~c.t);
    l3_put(&h->old, L3_VERSIONS, &k, SV_LIT("\x11\x05"));
    l3_commit(&h->old, c, 0, 1, 26);
}

TEST(convert, a_damaged_store_is_refused_and_stays)
{
    (void)state;
    damage(a_change_is_missing);
    damage(a_version_is_missing);
    damage(a_commit_is_missing);
    damage(a_version_has_a_wrong_number);
    damage(a_commit_counts_wrong);
    damage(an_instant_goes_back);
    damage(a_load_has_a_number_that_was_not_given);
    damage(a_header_is_cut);
}

TEST(convert, a_store_that_another_process_has_open_is_refused)
{
    (void)state;
    struct history h;
    struct store_converted done;
    char lock[160], c;
    int ready[2];
    make_history(&h, 6, 20);
    end_history(&h, 0);
    (void)snprintf(lock, sizeof lock, "%s/LOCK", place);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        /* as RocksDB does */
        struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || fcntl(fd, F_SETLK, &all) != 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    err_code rc = store_convert(env, place, NULL, NULL, &done, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(rc, ERR_EXISTS);
    OK(store_convert(env, place, NULL, NULL, &done, e));
    close(ready[0]);
    close(ready[1]);
    store_close(h.oracle);
    end_folder();
}

/* ---- what the comparison finds ---- */

/* The first row of a family whose key begins so is given another value: a byte of it counts one
 * more. */
struct touch {
    int cf;
    sv prefix;
    size_t at; /* from the end */
    bool done;
};

static void touch_one(struct raw_store *s, void *ctx, sv key, sv value)
{
    struct touch *t = ctx;
    struct buf b = BUF_INIT(1 << 16);
    if (t->done || !sv_starts(key, t->prefix) || value.len <= t->at)
        return;
    OK(buf_add(&b, value, e));
    b.ptr[b.len - 1 - t->at]++;
    raw_put(s, t->cf, key, buf_sv(&b));
    buf_done(&b);
    t->done = true;
}

static void drop_one(struct raw_store *s, void *ctx, sv key, sv value)
{
    struct touch *t = ctx;
    (void)value;
    if (!t->done)
        raw_delete(s, t->cf, key);
    t->done = true;
}

static err_code compare_with(const char *old)
{
    struct converting c = { .tell = NULL };
    struct store *st;
    OK(old_open(&c.old, old, e));
    OK(store_open(env, place, false, &st, e));
    err_code rc = check_all(&c, (struct rocks *)st, NULL);
    store_close(st);
    old_close(&c.old);
    return rc;
}

TEST(convert, a_new_store_that_is_not_the_same_is_found)
{
    (void)state;
    struct history h;
    struct store_converted done;
    char kept[160], whole[160];
    const char births[] = { (char)patient, KEY_BIRTHS }, sums[] = { (char)patient, 0, 0, 0 };
    const struct touch touches[] = {
        { CF_IDS, { NULL, 0 }, 1, false }, /* the number */
        { CF_CHANGES, { births, 2 }, 5, false },
        { CF_VERSIONS, { NULL, 0 }, 3, false }, /* of the body */
        { CF_COUNTS, { sums, 4 }, 7, false },
        { CF_COMMITS, SV_LIT("c"), 18, false }, /* the instant */
        { CF_COMMITS, SV_LIT("b"), 8, false },
    };
    const size_t n = sizeof touches / sizeof touches[0];
    make_history(&h, 9, 300);
    end_history(&h, 0);
    (void)snprintf(kept, sizeof kept, "%s.kept", root);
    (void)snprintf(whole, sizeof whole, "%s.whole", root);
    copy_folder(place, kept);
    OK(store_convert(env, place, NULL, NULL, &done, e));
    assert_int_equal(compare_with(kept), ERR_OK);
    copy_folder(place, whole);
    for (size_t i = 0; i <= n; i++) {
        struct touch t = { .cf = CF_VERSIONS };
        struct raw_store s;
        if (i < n)
            t = touches[i];
        OK(file_remove_tree(place, e));
        copy_folder(whole, place);
        raw_open(&s, place);
        raw_each(&s, t.cf, i < n ? touch_one : drop_one, &t);
        raw_close(&s);
        assert_true(t.done);
        if (compare_with(kept) != ERR_CORRUPT)
            fail_msg("what was changed is not found: %zu", i);
    }
    store_close(h.oracle);
    OK(file_remove_tree(kept, e));
    OK(file_remove_tree(whole, e));
    end_folder();
}

/* ---- what a kill leaves ---- */

static void assert_converted(struct history *h)
{
    struct store *st;
    assert_int_equal(n_in_root(), 1);
    assert_false(store_needs_convert(place));
    OK(store_open(env, place, false, &st, e));
    compare_all(h->oracle, st);
    store_close(st);
    assert_checked(env, place);
}

static void assert_one_name(void)
{
    char uri[96];
    struct arena *a = arena_new(1 << 16);
    sv *names;
    size_t n;
    (void)snprintf(uri, sizeof uri, "rocksdb:%s", root);
    OK(store_convert_names(uri, a, &names, &n, e));
    assert_int_equal(n, 1);
    assert_sv(names[0], SV_LIT("0123456789abcdef0123456789abcdef"));
    arena_free(a);
}

TEST(convert, each_state_between_two_renames_is_completed)
{
    (void)state;
    char kept[160];
    struct history h;
    struct store_converted done;
    make_history(&h, 7, 200);
    end_history(&h, 0);
    (void)snprintf(kept, sizeof kept, "%s.kept", root);
    copy_folder(place, kept);

    /* begun, and not whole */
    OK(file_mkdirs(side[0], e));
    assert_one_name();
    OK(store_convert(env, place, NULL, NULL, &done, e));
    assert_true(done.n_versions > 0);
    assert_converted(&h);

    /* the old one stands beside, whole or half removed */
    copy_folder(kept, side[1]);
    assert_false(store_needs_convert(place));
    assert_one_name();
    OK(store_convert(env, place, NULL, NULL, &done, e));
    assert_true(done.completed);
    assert_converted(&h);

    /* between the two renames */
    copy_folder(kept, side[1]);
    assert_int_equal(rename(place, side[0]), 0);
    assert_true(store_needs_convert(place));
    assert_one_name();
    OK(store_convert(env, place, NULL, NULL, &done, e));
    assert_true(done.completed);
    assert_converted(&h);

    /* the old one alone */
    OK(file_remove_tree(place, e));
    copy_folder(kept, side[1]);
    assert_true(store_needs_convert(place));
    OK(store_convert(env, place, NULL, NULL, &done, e));
    assert_true(done.n_versions > 0);
    assert_converted(&h);

    /* somebody has put a copy back */
    OK(file_remove_tree(place, e));
    copy_folder(kept, place);
    copy_folder(kept, side[1]);
    FAILS(ERR_CONFLICT, store_convert(env, place, NULL, NULL, &done, e));
    assert_int_equal(n_in_root(), 2);
    store_close(h.oracle);
    OK(file_remove_tree(kept, e));
    end_folder();
}

TEST(convert, a_kill_at_any_moment_loses_nothing)
{
    (void)state;
    struct history h;
    struct store_converted done;
    char kept[160];
    unsigned n_killed = 0, n_whole = 0;
    const unsigned most = test_is_long() ? 100 : TEST_SANITIZED ? 2 : 4;
    make_history(&h, 8, 700);
    end_history(&h, 0);
    (void)snprintf(kept, sizeof kept, "%s.kept", root);
    copy_folder(place, kept);
    uint64_t calm_us = clock_mono_us();
    OK(store_convert(env, place, NULL, NULL, &done, e));
    calm_us = clock_mono_us() - calm_us;
    for (bool whole = true; n_killed < most && n_whole < most;) {
        if (whole) {
            OK(file_remove_tree(place, e));
            copy_folder(kept, place);
        }
        pid_t pid = fork();
        if (pid == 0) {
            /* a fork alone would have RocksDB's pools without their threads */
            execl("/proc/self/exe", "test_convert", "--convert", place, (char *)NULL);
            _exit(8);
        }
        usleep((useconds_t)(rng_u64() % (calm_us + calm_us / 4)));
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        n_killed += WIFSIGNALED(status);
        assert_one_name();
        whole = !WIFSIGNALED(status);
        n_whole += whole;
        /* what a kill left is gone on from, some times by a conversion that nobody kills */
        if (!whole && n_killed % 5 == 0) {
            OK(store_convert(env, place, NULL, NULL, &done, e));
            whole = true;
        }
        if (whole)
            assert_converted(&h);
    }
    print_message("%u kills, %u conversions that ended before theirs\n", n_killed, n_whole);
    OK(store_convert(env, place, NULL, NULL, &done, e));
    assert_converted(&h);
    store_close(h.oracle);
    OK(file_remove_tree(kept, e));
    end_folder();
}

static int convert_in_child(const char *path)
{
    struct store_converted done;
    struct store_env *own = store_env_new(8 << 20, 1);
    err_code rc = store_convert(own, path, NULL, NULL, &done, NULL);
    store_env_free(own);
    return rc == ERR_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    patient = fhir_type_find(SV_LIT("Patient"));
    observation = fhir_type_find(SV_LIT("Observation"));
    if (argc == 3 && strcmp(argv[1], "--convert") == 0)
        return convert_in_child(argv[2]);
    const struct CMUnitTest tests[] = {
        T(convert, a_random_history_reads_as_before_and_goes_on),
        T(convert, a_store_without_commits_is_converted),
        T(convert, an_older_layout_is_told_and_stays_what_it_is),
        T(convert, a_data_store_whose_making_was_cut_off_is_none_of_an_older_layout),
        T(convert, a_store_whose_list_of_files_is_lost_is_damaged_and_none_of_an_older_layout),
        T(convert, a_store_whose_list_of_files_is_cut_anywhere_is_none_of_an_older_layout),
        T(convert, a_folder_without_a_data_store_is_damaged),
        T(convert, another_layout_is_refused),
        T(convert, a_damaged_store_is_refused_and_stays),
        T(convert, a_store_that_another_process_has_open_is_refused),
        T(convert, a_new_store_that_is_not_the_same_is_found),
        T(convert, each_state_between_two_renames_is_completed),
        T(convert, a_kill_at_any_moment_loses_nothing),
    };
    env = store_env_new(16 << 20, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return rc;
}
