/* Answers that are not read yet: memory first, then files, then a no, for all and for one address;
 * and every byte of them arrives, wherever they stood. */
#include "net/http_private.h"

#include "../test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB 1024u
#define MIB (1024u * KIB)

/* ---- shares, without a server: connections are pairs of sockets ---- */

#define MANY 12

static struct http_conns all;
static int pairs[MANY][2];
static struct http_conn *conns[MANY];
static struct http_answer answers[MANY];
static unsigned n_conns;
static char dir[64];

/* 1 MiB of memory, 4 MiB of files; an address has half; 6 files. */
static void begin(uint64_t free_disk)
{
    const struct http_limits l = { .n = MANY,
                                   .n_per_address = MANY,
                                   .n_crowded = 1,
                                   .head_us = 600000000,
                                   .slow_us = 600000000,
                                   .sweep_us = 600000000,
                                   .free_disk = free_disk,
                                   .answers = MIB,
                                   .answer_files = 4 * MIB,
                                   .n_answer_files = 6 };
    n_conns = 0;
    memset(answers, 0, sizeof answers);
    OK(http_conns_start(&all, &l, e));
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-answer-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static unsigned come_from(unsigned last)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    a.sin_addr.s_addr = htonl(0xC0000200u + last);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[n_conns]), 0);
    conns[n_conns] = http_conn_open(&all, pairs[n_conns][0], (struct sockaddr *)&a);
    return n_conns++;
}

static bool room(unsigned i, size_t len)
{
    return http_answer_find_room(&answers[i], conns[i], dir, len);
}

static void end(void)
{
    for (unsigned i = 0; i < n_conns; i++) {
        http_answer_done(&answers[i], conns[i]);
        http_conn_close(conns[i]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    assert_int_equal(all.locked.shares.answer, 0);
    assert_int_equal(all.locked.shares.answer_file, 0);
    assert_int_equal(all.locked.shares.n_answer_files, 0);
    http_conns_stop(&all);
    /* nothing has a name in it */
    assert_int_equal(rmdir(dir), 0);
}

TEST(answers, of_one_address_take_half_of_the_memory_then_half_of_the_files_then_none)
{
    (void)state;
    begin(1);
    unsigned a = come_from(1), b = come_from(1), c = come_from(1), d = come_from(1);
    assert_true(room(a, 400 * KIB));
    assert_false(answers[a].in_file);
    assert_true(room(b, 100 * KIB));
    assert_false(answers[b].in_file);
    /* 512 KiB are its own */
    assert_true(room(c, 100 * KIB));
    assert_true(answers[c].in_file);
    assert_true(room(d, 1900 * KIB));
    assert_true(answers[d].in_file);
    unsigned e1 = come_from(1), other = come_from(2);
    assert_false(room(e1, 100 * KIB));
    /* always */
    assert_true(room(e1, HTTP_SMALL - 1));
    assert_true(room(other, 500 * KIB));
    assert_false(answers[other].in_file);
    assert_int_equal(all.locked.shares.answer, 1000 * KIB);
    http_answer_done(&answers[a], conns[a]);
    /* it has been read: its room is back */
    assert_true(room(e1, 100 * KIB));
    assert_false(answers[e1].in_file);
    end();
}

TEST(answers, of_many_addresses_take_what_there_is_for_all)
{
    (void)state;
    begin(1);
    for (unsigned last = 1; last <= 3; last++)
        assert_true(room(come_from(last), 300 * KIB));
    for (unsigned last = 4; last <= 6; last++)
        assert_true(room(come_from(last), 1300 * KIB));
    unsigned late = come_from(7);
    assert_false(room(late, 300 * KIB));
    assert_true(room(late, 100 * KIB));
    assert_false(answers[late].in_file);
    end();
}

TEST(answers, have_no_more_files_than_descriptors_are_kept_for)
{
    (void)state;
    begin(1);
    /* half of six */
    for (unsigned i = 0; i < 3; i++) {
        unsigned a = come_from(1);
        assert_true(room(a, 600 * KIB));
        assert_true(answers[a].in_file);
    }
    assert_false(room(come_from(1), 600 * KIB));
    end();
}

TEST(answers, leave_the_disk_what_it_is_to_keep)
{
    (void)state;
    begin(UINT64_MAX / 2);
    unsigned a = come_from(1);
    assert_false(room(a, 600 * KIB));
    assert_true(room(a, 500 * KIB));
    end();
}

TEST(answers, that_find_no_folder_for_a_file_are_refused_and_not_counted)
{
    (void)state;
    char there[sizeof dir];
    begin(1);
    unsigned a = come_from(1), b = come_from(1);
    memcpy(there, dir, sizeof dir);
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-answer-gone/x");
    assert_true(room(a, 400 * KIB));
    assert_false(room(b, 400 * KIB));
    assert_int_equal(all.locked.shares.answer, 400 * KIB);
    assert_int_equal(all.locked.shares.answer_file, 0);
    assert_int_equal(all.locked.shares.n_answer_files, 0);
    memcpy(dir, there, sizeof dir);
    assert_true(room(b, 400 * KIB));
    assert_true(answers[b].in_file);
    end();
}

TEST(answers, that_another_length_takes_the_place_of_count_once)
{
    (void)state;
    begin(1);
    unsigned a = come_from(1);
    assert_true(room(a, 1000 * KIB));
    assert_true(answers[a].in_file);
    /* packed */
    assert_true(room(a, 200 * KIB));
    assert_false(answers[a].in_file);
    assert_int_equal(all.locked.shares.answer, 200 * KIB);
    assert_int_equal(all.locked.shares.answer_file, 0);
    assert_true(room(a, 10 * KIB));
    assert_false(answers[a].counted);
    assert_int_equal(all.locked.shares.answer, 0);
    end();
}

TEST(answers, and_bodies_are_counted_apart)
{
    (void)state;
    begin(1);
    all.limits.bodies = all.limits.bodies_per_address = all.limits.unproven_all = MIB;
    unsigned a = come_from(1);
    assert_true(http_share_set(conns[a], (struct http_share){ .memory = 5000 }));
    assert_true(room(a, 300 * KIB));
    /* the body is done with */
    assert_true(http_share_set(conns[a], (struct http_share){ 0 }));
    assert_int_equal(all.locked.shares.answer, 300 * KIB);
    assert_int_equal(all.locked.shares.memory, 0);
    end();
}

/* ---- over real sockets ---- */

#define BIG (3u * MIB)

static struct http_server *server;

/* /N: N KiB of a pattern, or 503 with nothing where there is no room for them. */
static void handle(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    uint64_t kib = 0;
    struct buf b = BUF_INIT(64 * MIB);
    /* cmocka cannot leave this thread: what goes wrong is told by the answer */
    if (!sv_to_u64(sv_tail(http_exchange_request(x)->path, 1), &kib) ||
        buf_reserve(&b, kib * KIB, NULL) != ERR_OK) {
        http_reply(x, 500, NULL, 0, NULL);
        return;
    }
    for (size_t i = 0; i < kib * KIB; i++)
        b.ptr[i] = (char)('a' + i % 23 + (i / KIB) % 3);
    b.len = kib * KIB;
    bool fits = http_room(x, b.len);
    if (!fits)
        buf_clear(&b);
    http_reply(x, fits ? 200 : 503, NULL, 0, &b);
}

static int start(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-answer-XXXXXX");
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .n_threads = 2,
                                    .limits = { .n = 60,
                                                .n_per_address = 60,
                                                .answers = 8 * MIB,       /* one of an address */
                                                .answer_files = 16 * MIB, /* two */
                                                .n_answer_files = 60,
                                                .free_disk = 1 },
                                    .idle_timeout_s = 60,
                                    .spool_dir = dir,
                                    .handler = handle };
    struct err why;
    return mkdtemp(dir) && http_server_start(&c, &server, &why) == ERR_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    http_server_stop(server, 2000);
    return rmdir(dir);
}

static int ask(const char *path)
{
    sv at = http_server_address(server);
    uint64_t port;
    char text[128];
    assert_true(sv_to_u64(sv_tail(at, sv_find(at, ':') + 1), &port));
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                   path);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    return fd;
}

/* Up to the empty line; what stands behind it is not read. */
static unsigned status_of(int fd)
{
    char got[1024] = "";
    for (size_t n = 0; n < sizeof got - 1 && strstr(got, "\r\n\r\n") == NULL;)
        assert_int_equal(recv(fd, got + n++, 1, 0), 1);
    uint64_t status;
    assert_true(sv_to_u64(sv_make(got + 9, 3), &status));
    return (unsigned)status;
}

static void read_pattern(int fd, size_t len)
{
    static char part[64 * KIB];
    size_t at = 0;
    ssize_t n;
    while ((n = recv(fd, part, sizeof part, 0)) > 0)
        for (ssize_t i = 0; i < n; i++, at++)
            assert_int_equal(part[i], (char)('a' + at % 23 + (at / KIB) % 3));
    assert_int_equal(n, 0);
    assert_int_equal(at, len);
    close(fd);
}

/* Files of the folder that hold a whole answer, though they have no name. */
static unsigned n_spooled(void)
{
    unsigned n = 0;
    char path[300], to[300];
    struct stat st;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    for (struct dirent *de; (de = readdir(d)) != NULL;) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%.20s", de->d_name);
        ssize_t len = readlink(path, to, sizeof to - 1);
        to[len > 0 ? len : 0] = 0;
        n += strncmp(to, dir, strlen(dir)) == 0 && stat(path, &st) == 0 && st.st_size == BIG;
    }
    closedir(d);
    return n;
}

TEST(slow, readers_get_theirs_from_memory_and_files_and_the_next_gets_a_no)
{
    (void)state;
    int fd[4];
    for (unsigned i = 0; i < 4; i++) {
        fd[i] = ask("/3072");
        assert_int_equal(status_of(fd[i]), i < 3 ? 200 : 503);
    }
    assert_int_equal(n_spooled(), 2);
    int small = ask("/63");
    assert_int_equal(status_of(small), 200);
    read_pattern(small, 63 * KIB);
    for (unsigned i = 0; i < 3; i++)
        read_pattern(fd[i], BIG);
    close(fd[3]);
    /* theirs are closed behind the last byte */
    while (n_spooled())
        (void)usleep(1000);
    for (unsigned i = 0; i < 3; i++) {
        fd[0] = ask("/3072");
        assert_int_equal(status_of(fd[0]), 200);
        read_pattern(fd[0], BIG);
    }
}

TEST(slow, readers_that_leave_give_their_room_back)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        int fd[3];
        for (unsigned i = 0; i < 3; i++) {
            unsigned status = 503;
            /* the last round's are being cleared up */
            while (status == 503) {
                fd[i] = ask("/3072");
                if ((status = status_of(fd[i])) == 503)
                    close(fd[i]);
            }
        }
        for (unsigned i = 0; i < 3; i++)
            close(fd[i]);
    }
    while (n_spooled())
        (void)usleep(1000);
}

#define LIVE(group, sentence)                                               \
    {                                                                       \
#group ": " #sentence, test_##group##_##sentence, start, stop, NULL \
    }

int main(void)
{
    /* what never ends ends the test */
    (void)alarm(120);
    const struct CMUnitTest tests[] = {
        T(answers, of_one_address_take_half_of_the_memory_then_half_of_the_files_then_none),
        T(answers, of_many_addresses_take_what_there_is_for_all),
        T(answers, have_no_more_files_than_descriptors_are_kept_for),
        T(answers, leave_the_disk_what_it_is_to_keep),
        T(answers, that_find_no_folder_for_a_file_are_refused_and_not_counted),
        T(answers, that_another_length_takes_the_place_of_count_once),
        T(answers, and_bodies_are_counted_apart),
        LIVE(slow, readers_get_theirs_from_memory_and_files_and_the_next_gets_a_no),
        LIVE(slow, readers_that_leave_give_their_room_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
