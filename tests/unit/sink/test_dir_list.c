/* test_dir_list.c - what others put into a bucket must not keep anybody from listing what stands
 * beside it: deep folders, long paths, many names, names that are no keys, folders that come and
 * go. */
#include "test.h"

#include "base/file.h"
#include "sink/sink.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_NAMES_MAX 4u /* so that a few names are many */
#include "../../../src/sink/dir_list.c"

#define ROLE SV_LIT("arn:aws:iam::123456789012:role/r")
#define TYPE SV_LIT("application/fhir+ndjson")

static char root[128];
static struct sink_world *w;

static int setup(void **state)
{
    (void)state;
    struct sink_config cfg = { .objects_dir = root, .make_buckets = true, .sync = false };
    struct err e;
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-list-XXXXXX");
    return mkdtemp(root) && sink_world_new(&cfg, &w, &e) == ERR_OK ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    struct err e;
    sink_world_free(w);
    return file_remove_tree(root, &e) == ERR_OK ? 0 : 1;
}

static struct sink *at(const char *uri)
{
    struct sink *s = NULL;
    struct sink_target t = { .uri = sv_from(uri), .role_arn = ROLE };
    OK(sink_open(w, &t, &s, e));
    return s;
}

struct seen {
    char before[SINK_KEY_MAX + 1];
    unsigned n, longest;
    unsigned n_stay;    /* keys that end in "/stays" */
    unsigned most_open; /* descriptors while a key is given */
};

static unsigned n_open(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static bool in_order(void *ctx, sv key, uint64_t bytes)
{
    struct seen *x = ctx;
    char now[SINK_KEY_MAX + 1];
    assert_true(key.len <= SINK_KEY_MAX);
    assert_int_equal(bytes, 1);
    (void)snprintf(now, sizeof now, "%.*s", SV_FMT(key));
    assert_true(strcmp(x->before, now) < 0);
    memcpy(x->before, now, sizeof now);
    x->n++;
    x->n_stay += sv_ends(key, SV_LIT("/stays"));
    if (key.len > x->longest)
        x->longest = (unsigned)key.len;
    unsigned open = n_open();
    if (open > x->most_open)
        x->most_open = open;
    return true;
}

static struct seen list(const char *uri)
{
    CLEANUP(sink_close) struct sink *s = at(uri);
    struct seen x = { 0 };
    unsigned before = n_open();
    OK(sink_list(s, in_order, &x, e));
    /* nothing is left open */
    assert_int_equal(n_open(), before);
    x.most_open -= x.most_open ? before : 0;
    return x;
}

static void put(const char *uri, sv name)
{
    CLEANUP(sink_close) struct sink *s = at(uri);
    OK(sink_put(s, name, TYPE, SV_LIT("x"), NULL, e));
}

/* "a/a/.../x" of so many bytes. */
static sv deep_key(char *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = i % 2 ? '/' : 'a';
    out[len - 1] = 'x';
    /* a slash stood there: the last segment has two letters */
    if (len % 2 == 0)
        out[len - 1] = 'a';
    return sv_make(out, len);
}

TEST(listing, is_not_stopped_by_keys_as_deep_as_a_key_can_be)
{
    (void)state;
    char key[SINK_KEY_MAX];
    put("s3://bkt", SV_LIT("before"));
    /* 511 folders */
    put("s3://bkt", deep_key(key, SINK_KEY_MAX - 1));
    put("s3://bkt", deep_key(key, 401));
    put("s3://bkt", SV_LIT("z/behind"));
    struct seen all = list("s3://bkt");
    assert_int_equal(all.n, 4);
    assert_int_equal(all.longest, SINK_KEY_MAX - 1);
    /* L1 */
    assert_true(all.most_open <= 2);
    assert_int_equal(list("s3://bkt/a").n, 2);
    assert_int_equal(list("s3://bkt/a/a/a/").n, 2);
    assert_int_equal(list("s3://bkt/z").n, 1);
    CLEANUP(sink_close) struct sink *s = at("s3://bkt");
    uint64_t bytes;
    OK(sink_stat(s, deep_key(key, SINK_KEY_MAX - 1), &bytes, e));
    OK(sink_delete(s, deep_key(key, SINK_KEY_MAX - 1), e));
    assert_int_equal(list("s3://bkt").n, 3);
}

TEST(listing, works_with_hardly_any_descriptor_left)
{
    (void)state;
    char key[SINK_KEY_MAX];
    struct rlimit before, few;
    put("s3://bkt", deep_key(key, 801));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int highest = dup(0);
    close(highest);
    few = (struct rlimit){ (rlim_t)highest + 4, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    unsigned n = list("s3://bkt").n;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(n, 1);
}

/* Made by somebody beside us: no key of ours reaches so far. */
TEST(listing, passes_over_paths_that_are_longer_than_a_key)
{
    (void)state;
    /* 1,024 bytes with the fifth */
    static const size_t lens[] = { 250, 250, 250, 250, 20, 9 };
    CLEANUP_BUF struct buf key = BUF_INIT(4096), path = BUF_INIT(4096);
    char name[250];
    memset(name, 'n', sizeof name);
    put("s3://bkt", SV_LIT("mine"));
    put("s3://bkt", SV_LIT("zz"));
    /* of the prefix that is as long as a key may be */
    CLEANUP(sink_close)
    struct sink *whole = NULL;
    OK(buf_add_fmt(&key, e, "s3://bkt"));
    for (size_t i = 0; i < 6; i++) {
        OK(buf_add_char(&key, '/', e));
        OK(buf_add(&key, sv_make(name, lens[i]), e));
        if (key.len == strlen("s3://bkt/") + SINK_KEY_MAX) {
            struct sink_target t = { .uri = buf_sv(&key), .role_arn = ROLE };
            OK(sink_open(w, &t, &whole, e));
        }
        buf_clear(&path);
        OK(buf_add_fmt(&path, e, "%s%.*s", root, SV_FMT(sv_tail(buf_sv(&key), strlen("s3:/")))));
        assert_int_equal(mkdir(path.ptr, 0700), 0);
    }
    OK(buf_add_fmt(&path, e, "/x"));
    OK(file_write_atomic(path.ptr, SV_LIT("x"), e));
    assert_int_equal(list("s3://bkt").n, 2);
    assert_non_null(whole);
    struct seen x = { 0 };
    OK(sink_list(whole, in_order, &x, e));
    assert_int_equal(x.n, 0);
}

TEST(listing, of_more_names_than_are_kept_in_memory_gives_each_once_and_in_order)
{
    (void)state;
    static const char *const folders[] = { "", "a/", "m/", "m/m/", "n-", "z/" };
    unsigned n = 0;
    for (unsigned f = 0; f < 6; f++)
        for (unsigned i = 0; i < 37; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "%sk%u", folders[f], i * 7 % 37);
            put("s3://bkt", sv_from(name));
            n++;
        }
    assert_int_equal(list("s3://bkt").n, n);
    assert_int_equal(list("s3://bkt/m").n, 74);
    /* around the edges of what is kept */
    for (unsigned i = 1; i <= 13; i++) {
        char uri[64], name[16];
        (void)snprintf(uri, sizeof uri, "s3://edge%u", i);
        for (unsigned k = 0; k < i; k++) {
            (void)snprintf(name, sizeof name, "k%u", k);
            put(uri, sv_from(name));
        }
        assert_int_equal(list(uri).n, i);
    }
}

TEST(listing, can_be_stopped_at_any_name)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "a/k%u", i);
        put("s3://bkt", sv_from(name));
    }
    CLEANUP(sink_close) struct sink *s = at("s3://bkt");
    OK(sink_probe_read(s, e));
    CLEANUP(sink_close) struct sink *none = at("s3://bkt/none");
    FAILS(ERR_NOT_FOUND, sink_probe_read(none, e));
}

struct passer {
    struct sink *s;
    atomic_bool stop;
};

static void *come_and_go(void *ctx)
{
    struct passer *p = ctx;
    for (unsigned i = 0; !atomic_load(&p->stop); i++) {
        char key[64];
        struct err e;
        (void)snprintf(key, sizeof key, "c%u/d/e/f/g%u", i % 5, i % 3);
        if (sink_put(p->s, sv_from(key), TYPE, SV_LIT("x"), NULL, &e) != ERR_OK ||
            sink_delete(p->s, sv_from(key), &e) != ERR_OK)
            return ctx;
    }
    return NULL;
}

TEST(listing, holds_what_stays_while_folders_beside_it_come_and_go)
{
    (void)state;
    pthread_t t;
    struct passer p = { .s = at("s3://bkt") };
    void *failed = NULL;
    put("s3://bkt", SV_LIT("a/stays"));
    put("s3://bkt", SV_LIT("c2/stays"));
    put("s3://bkt", SV_LIT("z/stays"));
    assert_int_equal(pthread_create(&t, NULL, come_and_go, &p), 0);
    for (unsigned i = 0; i < 300; i++) {
        CLEANUP(sink_close) struct sink *s = at("s3://bkt");
        struct seen x = { 0 };
        OK(sink_list(s, in_order, &x, e));
        /* of the others as many as were there when it came by */
        assert_int_equal(x.n_stay, 3);
    }
    atomic_store(&p.stop, true);
    pthread_join(t, &failed);
    assert_null(failed);
    sink_close(p.s);
}

TEST(keys, that_no_folder_can_hold_are_refused_in_words_that_name_the_limit)
{
    (void)state;
    CLEANUP(sink_close) struct sink *s = at("s3://bkt");
    char key[SINK_KEY_MAX + 2];
    struct err why;
    memset(key, 'k', sizeof key);
    assert_int_equal(sink_put(s, sv_make(key, 256), TYPE, SV_LIT("x"), NULL, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "255 bytes"));
    OK(sink_put(s, sv_make(key, 255), TYPE, SV_LIT("x"), NULL, e));
    for (size_t i = 100; i < sizeof key; i += 100)
        key[i] = '/';
    assert_int_equal(sink_put(s, sv_make(key, SINK_KEY_MAX + 1), TYPE, SV_LIT("x"), NULL, &why),
                     ERR_INVALID);
    assert_non_null(strstr(why.msg, "1024 bytes"));
    OK(sink_put(s, sv_make(key, SINK_KEY_MAX), TYPE, SV_LIT("x"), NULL, e));
    assert_int_equal(list("s3://bkt").n, 2);
}

#define LT(group, sentence) \
    cmocka_unit_test_setup_teardown(test_##group##_##sentence, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LT(listing, is_not_stopped_by_keys_as_deep_as_a_key_can_be),
        LT(listing, works_with_hardly_any_descriptor_left),
        LT(listing, passes_over_paths_that_are_longer_than_a_key),
        LT(listing, of_more_names_than_are_kept_in_memory_gives_each_once_and_in_order),
        LT(listing, can_be_stopped_at_any_name),
        LT(listing, holds_what_stays_while_folders_beside_it_come_and_go),
        LT(keys, that_no_folder_can_hold_are_refused_in_words_that_name_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
