/* test_dir.c - the directory store behind sink.h: what is written, what is seen, what is
 * refused. */
#include "test.h"

#include "base/file.h"
#include "codec/hash.h"
#include "sink/sink.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* TEST names a state that few tests need. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define ROLE SV_LIT("arn:aws:iam::123456789012:role/r")
#define TYPE SV_LIT("application/fhir+ndjson")

static char root[128];

static void make_root(void)
{
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-sink-XXXXXX");
    assert_non_null(mkdtemp(root));
}

static void remove_root(void)
{
    OK(file_remove_tree(root, e));
}

static struct sink_world *world(void)
{
    struct sink_world *w = NULL;
    struct sink_config cfg = { .objects_dir = root, .make_buckets = true, .sync = true };
    OK(sink_world_new(&cfg, &w, e));
    return w;
}

static struct sink *at(struct sink_world *w, const char *uri)
{
    struct sink *s = NULL;
    struct sink_target t = { .uri = sv_from(uri), .role_arn = ROLE };
    OK(sink_open(w, &t, &s, e));
    return s;
}

static void path_of(char out[512], const char *below)
{
    (void)snprintf(out, 512, "%s/%s", root, below);
}

static bool there(const char *below)
{
    char p[512];
    struct stat st;
    path_of(p, below);
    return lstat(p, &st) == 0;
}

static unsigned mode_of(const char *below)
{
    char p[512];
    struct stat st;
    path_of(p, below);
    return lstat(p, &st) == 0 ? st.st_mode & 07777 : 0;
}

static void check_content(const char *below, sv want)
{
    char p[512];
    CLEANUP_BUF struct buf got = BUF_INIT(64 << 20);
    path_of(p, below);
    OK(file_read(p, &got, e));
    assert_sv(buf_sv(&got), want);
}

/* Names in the bucket's own folder that are no objects. */
static int temps(const char *bucket)
{
    char cmd[512];
    (void)snprintf(cmd, sizeof cmd, "ls -A %s/%s | grep -c fhirlake-tmp", root, bucket);
    FILE *p = popen(cmd, "r");
    int n = -1;
    assert_int_equal(fscanf(p, "%d", &n), 1);
    (void)pclose(p);
    return n;
}

TEST(dir, an_object_appears_whole_at_commit_with_its_digest)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket/out/");
    struct sink_file *f = NULL;
    struct sink_object o;
    size_t n = 3 << 20;
    char *bytes = malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 7 + i / 1000);
    OK(sink_file_create(s, SV_LIT("Patient/P-1.ndjson"), TYPE, 1 << 20, &f, e));
    /* pieces below, at and above a block, and one that is all the rest */
    size_t sent = 0;
    size_t pieces[] = { 1, 100, 262143, 262144, 262145, 7, 1000000 };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        OK(sink_file_write(f, sv_make(bytes + sent, pieces[i]), e));
        sent += pieces[i];
    }
    OK(sink_file_write(f, sv_make(bytes + sent, n - sent), e));
    assert_false(there("bucket/out/Patient/P-1.ndjson"));
    assert_int_equal(temps("bucket"), 1);
    OK(sink_file_commit(&f, &o, e));
    assert_null(f);
    assert_int_equal(temps("bucket"), 0);
    unsigned char want[32];
    hash_sha256_of(sv_make(bytes, n), want);
    assert_int_equal(o.bytes, n);
    assert_memory_equal(o.sha256, want, 32);
    check_content("bucket/out/Patient/P-1.ndjson", sv_make(bytes, n));
    assert_int_equal(mode_of("bucket/out/Patient/P-1.ndjson"), 0600);
    assert_int_equal(mode_of("bucket/out/Patient"), 0700);
    assert_int_equal(mode_of("bucket"), 0700);
    free(bytes);
    remove_root();
}

TEST(dir, an_aborted_object_leaves_nothing_and_a_new_one_replaces)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    struct sink_file *f = NULL;
    struct sink_object o;
    OK(sink_put(s, SV_LIT("a/x"), TYPE, SV_LIT("one"), &o, e));
    OK(sink_file_create(s, SV_LIT("a/x"), TYPE, 1 << 20, &f, e));
    OK(sink_file_write(f, SV_LIT("two"), e));
    sink_file_abort(f);
    check_content("bucket/a/x", SV_LIT("one"));
    assert_int_equal(temps("bucket"), 0);
    OK(sink_put(s, SV_LIT("a/x"), TYPE, SV_LIT("three"), NULL, e));
    check_content("bucket/a/x", SV_LIT("three"));
    OK(sink_put(s, SV_LIT("empty"), TYPE, SV_LIT(""), &o, e));
    assert_int_equal(o.bytes, 0);
    /* the well-known digest of nothing */
    char hex[64];
    hash_hex(o.sha256, 32, hex);
    assert_sv(sv_make(hex, 64), SV_LIT("e3b0c44298fc1c149afbf4c8996fb924"
                                       "27ae41e4649b934ca495991b7852b855"));
    remove_root();
}

TEST(dir, keys_cannot_leave_their_bucket)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket/p");
    static const sv bad[] = {
        { "", 0 },
        { "..", 2 },
        { "../x", 4 },
        { "a/../../x", 9 },
        { "./x", 3 },
        { "a//x", 4 },
        { "/x", 2 },
        { "x/", 2 },
        { "a\0b", 3 },
        { ".fhirlake-tmp-x", 15 },
        { "a/.fhirlake-tmp-x", 17 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t n;
        struct byte_reader r;
        FAILS(ERR_INVALID, sink_put(s, bad[i], TYPE, SV_LIT("x"), NULL, e));
        FAILS(ERR_INVALID, sink_stat(s, bad[i], &n, e));
        FAILS(ERR_INVALID, sink_read(s, bad[i], 0, &r, e));
    }
    char longest[1100];
    memset(longest, 'k', sizeof longest);
    FAILS(ERR_INVALID, sink_put(s, sv_make(longest, 256), TYPE, SV_LIT("x"), NULL, e));
    FAILS(ERR_INVALID, sink_put(s, sv_make(longest, 1100), TYPE, SV_LIT("x"), NULL, e));
    OK(sink_put(s, sv_make(longest, 255), TYPE, SV_LIT("x"), NULL, e));
    remove_root();
}

TEST(dir, places_that_are_not_well_formed_are_refused)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    static const char *const bad[] = { "",
                                       "s3://",
                                       "s3:///key",
                                       "file:///etc",
                                       "s3://bucket/../x",
                                       "s3://bucket/a/./b",
                                       "s3://../x",
                                       "s3://a/b",
                                       "s3://UPPER/x",
                                       "s3://bucket/a//b" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sink *s = NULL;
        struct sink_target t = { .uri = sv_from(bad[i]), .role_arn = ROLE };
        FAILS(ERR_INVALID, sink_open(w, &t, &s, e));
        assert_null(s);
    }
    struct sink *s = NULL;
    struct sink_target t = { .uri = SV_LIT("s3://bucket"), .role_arn = SV_LIT("arn:aws:s3:::x") };
    FAILS(ERR_INVALID, sink_open(w, &t, &s, e));
    t.role_arn = ROLE;
    t.kms_key_id = SV_LIT("a\nb");
    FAILS(ERR_INVALID, sink_open(w, &t, &s, e));
    remove_root();
}

static void link_to(const char *target, const char *below)
{
    char p[512];
    path_of(p, below);
    assert_int_equal(symlink(target, p), 0);
}

static bool count(void *ctx, sv key, uint64_t bytes)
{
    ++*(int *)ctx;
    return true;
}

TEST(dir, links_are_never_followed)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    struct byte_reader r;
    uint64_t size;
    int n = 0;
    OK(sink_put(s, SV_LIT("real/x"), TYPE, SV_LIT("x"), NULL, e));
    link_to("/etc", "bucket/dirlink");
    link_to("/etc/passwd", "bucket/filelink");
    link_to("/etc", "linkbucket");
    FAILS(ERR_DENIED, sink_put(s, SV_LIT("dirlink/fhirlake"), TYPE, SV_LIT("x"), NULL, e));
    FAILS(ERR_DENIED, sink_read(s, SV_LIT("dirlink/passwd"), 0, &r, e));
    FAILS(ERR_DENIED, sink_read(s, SV_LIT("filelink"), 0, &r, e));
    FAILS(ERR_DENIED, sink_stat(s, SV_LIT("filelink"), &size, e));
    OK(sink_list(s, count, &n, e));
    assert_int_equal(n, 1);
    CLEANUP(sink_close) struct sink *l = at(w, "s3://linkbucket");
    FAILS(ERR_DENIED, sink_put(l, SV_LIT("x"), TYPE, SV_LIT("x"), NULL, e));
    FAILS(ERR_DENIED, sink_list(l, count, &n, e));
    CLEANUP(sink_close) struct sink *d = at(w, "s3://bucket/dirlink");
    FAILS(ERR_DENIED, sink_list(d, count, &n, e));
    /* a link where the object goes is replaced, not written through */
    OK(sink_put(s, SV_LIT("filelink"), TYPE, SV_LIT("mine"), NULL, e));
    check_content("bucket/filelink", SV_LIT("mine"));
    remove_root();
}

struct keys {
    char text[2048];
    int n;
    int stop_after;
};

static bool gather(void *ctx, sv key, uint64_t bytes)
{
    struct keys *k = ctx;
    size_t used = strlen(k->text);
    (void)snprintf(k->text + used, sizeof k->text - used, "%.*s=%llu ", SV_FMT(key),
                   (unsigned long long)bytes);
    return ++k->n != k->stop_after;
}

TEST(dir, listings_are_in_key_order_and_hold_objects_only)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket/in");
    CLEANUP(sink_close) struct sink *all = at(w, "s3://bucket/");
    CLEANUP(sink_close) struct sink *one = at(w, "s3://bucket/in/a-b");
    CLEANUP(sink_close) struct sink *folder = at(w, "s3://bucket/in/a-b/");
    CLEANUP(sink_close) struct sink *none = at(w, "s3://bucket/nothing");
    /* '-' and '.' come before '/', '0' behind it */
    static const char *const names[] = { "b", "a/z", "a-b", "a.b", "a0", "a/b/c", "A" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        OK(sink_put(s, sv_from(names[i]), TYPE, sv_from(names[i]), NULL, e));
    OK(sink_put(all, SV_LIT("in-other"), TYPE, SV_LIT("1"), NULL, e));
    char p[512];
    path_of(p, "bucket/in/pipe");
    assert_int_equal(mkfifo(p, 0600), 0);
    struct keys k = { 0 };
    OK(sink_list(s, gather, &k, e));
    assert_string_equal(k.text, "in/A=1 in/a-b=3 in/a.b=3 in/a/b/c=5 in/a/z=3 in/a0=2 in/b=1 ");
    k = (struct keys){ .stop_after = 2 };
    OK(sink_list(s, gather, &k, e));
    assert_string_equal(k.text, "in/A=1 in/a-b=3 ");
    k = (struct keys){ 0 };
    OK(sink_list(all, gather, &k, e));
    assert_int_equal(k.n, 8);
    assert_true(strncmp(k.text, "in-other=1 in/A", 15) == 0);
    k = (struct keys){ 0 };
    OK(sink_list(one, gather, &k, e));
    assert_string_equal(k.text, "in/a-b=3 ");
    k = (struct keys){ 0 };
    OK(sink_list(folder, gather, &k, e));
    OK(sink_list(none, gather, &k, e));
    assert_int_equal(k.n, 0);
    struct byte_reader r;
    FAILS(ERR_NOT_FOUND, sink_read(all, SV_LIT("in/pipe"), 0, &r, e));
    remove_root();
}

TEST(dir, objects_are_read_from_an_offset)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket/p");
    struct byte_reader r;
    char got[16];
    size_t n = 0;
    uint64_t size = 0;
    OK(sink_put(s, SV_LIT("x"), TYPE, SV_LIT("0123456789"), NULL, e));
    OK(sink_read(s, SV_LIT("p/x"), 7, &r, e));
    OK(r.read(r.ctx, got, sizeof got, &n, e));
    assert_sv(sv_make(got, n), SV_LIT("789"));
    FAILS(ERR_EOF, r.read(r.ctx, got, sizeof got, &n, e));
    r.close(r.ctx);
    OK(sink_read(s, SV_LIT("p/x"), 100, &r, e));
    FAILS(ERR_EOF, r.read(r.ctx, got, sizeof got, &n, e));
    r.close(r.ctx);
    FAILS(ERR_NOT_FOUND, sink_read(s, SV_LIT("p/y"), 0, &r, e));
    FAILS(ERR_NOT_FOUND, sink_read(s, SV_LIT("p/x/y"), 0, &r, e));
    FAILS(ERR_NOT_FOUND, sink_read(s, SV_LIT("p"), 0, &r, e));
    OK(sink_stat(s, SV_LIT("x"), &size, e));
    assert_int_equal(size, 10);
    FAILS(ERR_NOT_FOUND, sink_stat(s, SV_LIT("y"), &size, e));
    remove_root();
}

TEST(dir, a_deletion_takes_the_folders_that_it_empties)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    OK(sink_put(s, SV_LIT("a/b/c/x"), TYPE, SV_LIT("x"), NULL, e));
    OK(sink_put(s, SV_LIT("a/y"), TYPE, SV_LIT("y"), NULL, e));
    OK(sink_delete(s, SV_LIT("a/b/c/x"), e));
    assert_false(there("bucket/a/b"));
    assert_true(there("bucket/a/y"));
    /* again: as S3 does */
    OK(sink_delete(s, SV_LIT("a/b/c/x"), e));
    OK(sink_delete(s, SV_LIT("a/y"), e));
    assert_false(there("bucket/a"));
    assert_true(there("bucket"));
    remove_root();
}

TEST(dir, keys_below_and_above_an_object_are_refused)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    OK(sink_put(s, SV_LIT("a/x"), TYPE, SV_LIT("x"), NULL, e));
    FAILS(ERR_INVALID, sink_put(s, SV_LIT("a/x/y"), TYPE, SV_LIT("x"), NULL, e));
    FAILS(ERR_INVALID, sink_put(s, SV_LIT("a"), TYPE, SV_LIT("x"), NULL, e));
    check_content("bucket/a/x", SV_LIT("x"));
    assert_int_equal(temps("bucket"), 0);
    remove_root();
}

TEST(dir, buckets_are_made_by_writes_only)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket/x");
    struct keys k = { 0 };
    struct err why = { 0 };
    assert_int_equal(sink_probe_read(s, &why), ERR_NOT_FOUND);
    assert_string_equal(why.msg, "bucket bucket does not exist");
    FAILS(ERR_NOT_FOUND, sink_list(s, gather, &k, e));
    assert_false(there("bucket"));
    OK(sink_probe_write(s, e));
    assert_true(there("bucket"));
    /* the probe leaves nothing */
    assert_false(there("bucket/x"));
    assert_int_equal(sink_probe_read(s, &why), ERR_NOT_FOUND);
    assert_string_equal(why.msg, "no object stands at or below the prefix in bucket bucket");
    OK(sink_put(s, SV_LIT("y"), TYPE, SV_LIT("1"), NULL, e));
    OK(sink_probe_read(s, e));

    struct sink_world *strict = NULL;
    struct sink_config cfg = { .objects_dir = root, .sync = false };
    OK(sink_world_new(&cfg, &strict, e));
    CLEANUP(sink_close) struct sink *n = at(strict, "s3://newbucket/x");
    assert_int_equal(sink_probe_write(n, &why), ERR_NOT_FOUND);
    assert_string_equal(why.msg, "bucket newbucket does not exist");
    assert_false(there("newbucket"));
    sink_close(n);
    n = NULL;
    sink_world_free(strict);
    remove_root();
}

TEST(dir, what_dead_writers_left_is_not_seen_and_swept_at_the_next_start)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    struct sink_file *live = NULL;
    OK(sink_file_create(s, SV_LIT("live"), TYPE, 1 << 20, &live, e));
    char p[512];
    path_of(p, "bucket/.fhirlake-tmp-0123456789abcdef");
    int fd = open(p, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    struct keys k = { 0 };
    OK(sink_list(s, gather, &k, e));
    assert_int_equal(k.n, 0);
    struct sink_world *next = world();
    /* the live one, which is locked */
    assert_int_equal(temps("bucket"), 1);
    sink_world_free(next);
    OK(sink_file_write(live, SV_LIT("ok"), e));
    OK(sink_file_commit(&live, NULL, e));
    check_content("bucket/live", SV_LIT("ok"));
    remove_root();
}

TEST(dir, local_files_are_put)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    char p[512];
    struct sink_object o;
    size_t n = (2 << 20) + 77;
    char *bytes = malloc(n);
    memset(bytes, 'q', n);
    path_of(p, "local");
    OK(file_write_atomic(p, sv_make(bytes, n), e));
    OK(sink_put_path(s, SV_LIT("FAILURE/f"), TYPE, p, NULL, &o, e));
    assert_int_equal(o.bytes, n);
    check_content("bucket/FAILURE/f", sv_make(bytes, n));
    path_of(p, "absent");
    FAILS(ERR_NOT_FOUND, sink_put_path(s, SV_LIT("g"), TYPE, p, NULL, &o, e));
    free(bytes);
    remove_root();
}

/* Pieces small and large, to two files in turn, with digests ahead now and then. */
TEST(dir, two_files_digested_side_by_side_are_as_two_alone)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    enum { MOST = 24 << 20 };
    uint64_t seed = 1;
    char *text = malloc(MOST + 64);
    for (size_t i = 0; i < MOST + 64; i++)
        text[i] = (char)((i * 2654435761u) >> 15);
    struct sink_file *f[2] = { NULL, NULL };
    size_t len[2] = { 0, 0 };
    OK(sink_file_create(s, SV_LIT("0"), TYPE, MOST, &f[0], e));
    OK(sink_file_create(s, SV_LIT("1"), TYPE, MOST, &f[1], e));
    for (int turn = 0; turn < 60; turn++) {
        sv give[2];
        for (int i = 0; i < 2; i++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            size_t n =
                turn % 3 == 0 ? (seed >> 33) % 1000 : (1 + (seed >> 33) % 4) * SINK_WRITE_UNIT;
            n = turn % 7 == 0 ? n + 13 : n;
            give[i] = sv_make(text + 32 * i + len[i], n);
            len[i] += n;
            assert_true(len[i] <= MOST);
        }
        if (turn % 2 || turn % 5 == 0)
            sink_files_digest(f[0], give[0], f[1], give[1]);
        OK(sink_file_write(f[0], give[0], e));
        OK(sink_file_write(f[1], give[1], e));
    }
    for (int i = 0; i < 2; i++) {
        struct sink_object o;
        struct stat st;
        unsigned char want[32];
        char p[512];
        OK(sink_file_commit(&f[i], &o, e));
        sv whole = sv_make(text + 32 * i, len[i]);
        hash_sha256_of(whole, want);
        assert_memory_equal(o.sha256, want, 32);
        assert_int_equal(o.bytes, len[i]);
        check_content(i ? "bucket/1" : "bucket/0", whole);
        /* room taken ahead was given back */
        path_of(p, i ? "bucket/1" : "bucket/0");
        assert_int_equal(stat(p, &st), 0);
        assert_true((uint64_t)st.st_blocks * 512 < len[i] + (64 << 10));
    }
    free(text);
    remove_root();
}

TEST(dir, a_full_disk_is_told_and_leaves_nothing)
{
    make_root();
    if (mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m") != 0) {
        remove_root();
        /* needs the right to mount */
        skip();
    }
    struct sink_world *w = world();
    struct sink *s = at(w, "s3://bucket");
    struct sink_file *f = NULL;
    size_t n = 2 << 20;
    char *bytes = calloc(1, n);
    OK(sink_put(s, SV_LIT("small"), TYPE, SV_LIT("x"), NULL, e));
    FAILS(ERR_NO_SPACE, sink_put(s, SV_LIT("big"), TYPE, sv_make(bytes, n), NULL, e));
    assert_int_equal(temps("bucket"), 0);
    OK(sink_file_create(s, SV_LIT("big"), TYPE, 1 << 20, &f, e));
    err_code rc = ERR_OK;
    struct err why = { 0 };
    for (int i = 0; i < 3000 && rc == ERR_OK; i++)
        rc = sink_file_write(f, sv_make(bytes, 1000), &why);
    assert_int_equal(rc, ERR_NO_SPACE);
    sink_file_abort(f);
    assert_int_equal(temps("bucket"), 0);
    assert_false(there("bucket/big"));
    OK(sink_put(s, SV_LIT("again"), TYPE, sv_make(bytes, 1 << 19), NULL, e));
    free(bytes);
    sink_close(s);
    sink_world_free(w);
    assert_int_equal(umount(root), 0);
    remove_root();
}

TEST(dir, a_file_size_limit_is_an_error_not_a_torn_object)
{
    make_root();
    CLEANUP(sink_world_free) struct sink_world *w = world();
    CLEANUP(sink_close) struct sink *s = at(w, "s3://bucket");
    struct rlimit was, now;
    size_t n = 2 << 20;
    char *bytes = calloc(1, n);
    struct err why = { 0 };
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    now = was;
    now.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
    err_code rc = sink_put(s, SV_LIT("big"), TYPE, sv_make(bytes, n), NULL, &why);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_not_equal(rc, ERR_OK);
    /* messages hold no paths */
    assert_null(strstr(why.msg, root));
    assert_false(there("bucket/big"));
    assert_int_equal(temps("bucket"), 0);
    free(bytes);
    remove_root();
}

struct racer {
    struct sink *s;
    int id, failed;
};

/* Each puts and deletes below one shared folder, which so comes and goes all the time. */
static void *race(void *ctx)
{
    struct racer *r = ctx;
    for (int i = 0; i < 300; i++) {
        char name[64];
        struct err e = { 0 };
        int n = snprintf(name, sizeof name, "a/b/%d", r->id);
        sv key = sv_make(name, (size_t)n);
        uint64_t bytes = 0;
        r->failed += sink_put(r->s, key, TYPE, key, NULL, &e) != ERR_OK;
        r->failed += sink_stat(r->s, key, &bytes, &e) != ERR_OK || bytes != key.len;
        r->failed += sink_delete(r->s, key, &e) != ERR_OK;
    }
    return NULL;
}

TEST(dir, writers_and_deleters_side_by_side_lose_nothing)
{
    make_root();
    struct sink_world *w = NULL;
    struct sink_config cfg = { .objects_dir = root, .make_buckets = true };
    OK(sink_world_new(&cfg, &w, e));
    struct sink *s = at(w, "s3://bucket");
    pthread_t t[3];
    struct racer r[3];
    for (int i = 0; i < 3; i++) {
        r[i] = (struct racer){ s, i, 0 };
        assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(r[i].failed, 0);
    }
    assert_false(there("bucket/a"));
    sink_close(s);
    sink_world_free(w);
    remove_root();
}

TEST_MAIN(T(dir, an_object_appears_whole_at_commit_with_its_digest),
          T(dir, an_aborted_object_leaves_nothing_and_a_new_one_replaces),
          T(dir, keys_cannot_leave_their_bucket),
          T(dir, places_that_are_not_well_formed_are_refused), T(dir, links_are_never_followed),
          T(dir, listings_are_in_key_order_and_hold_objects_only),
          T(dir, objects_are_read_from_an_offset),
          T(dir, a_deletion_takes_the_folders_that_it_empties),
          T(dir, keys_below_and_above_an_object_are_refused),
          T(dir, buckets_are_made_by_writes_only),
          T(dir, what_dead_writers_left_is_not_seen_and_swept_at_the_next_start),
          T(dir, local_files_are_put), T(dir, two_files_digested_side_by_side_are_as_two_alone),
          T(dir, a_full_disk_is_told_and_leaves_nothing),
          T(dir, a_file_size_limit_is_an_error_not_a_torn_object),
          T(dir, writers_and_deleters_side_by_side_lose_nothing))
