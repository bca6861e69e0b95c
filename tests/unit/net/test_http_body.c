/* Bodies that arrive: what they take of memory and disk, and who makes room for whom. */
#include "net/http_private.h"

#include "../test.h"
#include "base/clock.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#define KIB 1024u

/* ---- shares, without a server: connections are pairs of sockets ---- */

#define MANY 20

static struct http_conns all;
static int pairs[MANY][2];
static struct http_conn *conns[MANY];
static unsigned n_conns;
static char dir[64];

static struct http_conn *come_from(unsigned last)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    a.sin_addr.s_addr = htonl(0xC0000200u + last);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[n_conns]), 0);
    struct http_conn *c = http_conn_open(&all, pairs[n_conns][0], (struct sockaddr *)&a);
    http_conn_is_at(c, CONN_BODY, clock_mono_us());
    return conns[n_conns++] = c;
}

static bool is_cut(const struct http_conn *c)
{
    char byte;
    for (unsigned i = 0; i < n_conns; i++)
        if (conns[i] == c)
            return recv(pairs[i][1], &byte, 1, MSG_DONTWAIT) == 0;
    return false;
}

/* 96 KiB of memory, 48 of an address; 4 of an unproven body, 16 at most, and 24 of all */
static void begin_with(uint64_t old_us, unsigned files_mib, unsigned files_of_address_mib)
{
    const struct http_limits l = { .n = MANY,
                                   .n_per_address = MANY,
                                   .n_crowded = 1,
                                   .head_us = 600000000,
                                   .slow_us = 600000000,
                                   .sweep_us = 600000000,
                                   .bodies = 96 * KIB,
                                   .bodies_per_address = 48 * KIB,
                                   .unproven = 4 * KIB,
                                   .unproven_most = 16 * KIB,
                                   .unproven_all = 24 * KIB,
                                   .files = (uint64_t)files_mib << 20,
                                   .files_per_address = (uint64_t)files_of_address_mib << 20,
                                   .n_files = 100,
                                   .old_us = old_us,
                                   .still_us = 600000000 };
    n_conns = 0;
    OK(http_conns_start(&all, &l, e));
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-body-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void begin(uint64_t old_us)
{
    begin_with(old_us, 4, 2);
}

static void end(void)
{
    for (unsigned i = 0; i < n_conns; i++) {
        http_conn_close(conns[i]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    assert_int_equal(all.locked.shares.memory, 0);
    assert_int_equal(all.locked.shares.unproven, 0);
    assert_int_equal(all.locked.shares.file, 0);
    http_conns_stop(&all);
    /* nothing has a name in it */
    assert_int_equal(rmdir(dir), 0);
}

static char bytes[4096 * KIB];

static struct http_body body(bool proven, uint64_t said)
{
    struct http_body b;
    const struct http_allowance a = { .body_max = sizeof bytes, .proven = proven };
    http_body_init(&b, &a, said);
    return b;
}

/* Pieces as they come from a socket, so that n bytes in all are there. */
static body_result fill(struct http_body *b, struct http_conn *c, size_t n)
{
    body_result r = BODY_OK;
    while (b->len < n && r == BODY_OK) {
        size_t piece = n - b->len < 1000 ? n - b->len : 1000;
        r = http_body_add(b, c, dir, sv_make(bytes + b->len, piece));
    }
    return r;
}

TEST(bodies, what_is_said_takes_nothing_and_what_comes_takes_what_it_has)
{
    (void)state;
    begin(0);
    struct http_body b[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        b[i] = body(i % 2 == 0, sizeof bytes);
        assert_int_equal(fill(&b[i], come_from(i % 3), 1), BODY_OK);
    }
    assert_true(all.locked.shares.memory >= MANY);
    assert_true(all.locked.shares.memory <= MANY * 4 * KIB);
    for (unsigned i = 0; i < MANY; i++)
        http_body_done(&b[i], conns[i]);
    struct http_body one = body(true, 40 * KIB);
    assert_int_equal(fill(&one, conns[0], 33 * KIB), BODY_OK);
    /* doubled, but not past what is said */
    assert_true(one.memory.cap <= 40 * KIB);
    assert_int_equal(all.locked.shares.memory, one.memory.cap);
    http_body_done(&one, conns[0]);
    end();
}

TEST(bodies, memory_has_an_end_for_all_and_for_one_address)
{
    (void)state;
    begin(0);
    struct http_body a = body(true, 32 * KIB), b = body(true, 32 * KIB), c = body(true, 48 * KIB);
    struct http_body d = body(true, 32 * KIB);
    struct http_conn *x = come_from(1), *y = come_from(1), *z = come_from(2), *w = come_from(3);
    assert_true(http_share_would_fit(x, 48 * KIB));
    assert_false(http_share_would_fit(x, 48 * KIB + 1));
    assert_int_equal(fill(&a, x, 32 * KIB), BODY_OK);
    assert_true(http_share_would_fit(y, 16 * KIB));
    assert_false(http_share_would_fit(y, 16 * KIB + 1));
    /* of its address */
    assert_int_equal(fill(&b, y, 32 * KIB), BODY_NO_ROOM);
    assert_false(is_cut(x));
    assert_false(is_cut(y));
    http_body_done(&b, y);
    /* another's */
    assert_int_equal(fill(&c, z, 48 * KIB), BODY_OK);
    assert_true(http_share_would_fit(w, 16 * KIB));
    assert_false(http_share_would_fit(w, 16 * KIB + 1));
    /* of all */
    assert_int_equal(fill(&d, w, 32 * KIB), BODY_NO_ROOM);
    http_body_done(&a, x);
    assert_int_equal(fill(&d, w, 32 * KIB), BODY_OK);
    assert_int_equal(http_body_end(&d, w), BODY_OK);
    assert_memory_equal(d.memory.ptr, bytes, 32 * KIB);
    http_body_done(&c, z);
    http_body_done(&d, w);
    /* twice is once */
    http_body_done(&d, w);
    end();
}

TEST(bodies, of_callers_not_known_little_is_in_memory_and_the_rest_in_files)
{
    (void)state;
    begin_with(600000000, 8, 8);
    struct http_body b[8];
    /* 4 of one address come to 64 KiB */
    for (unsigned i = 0; i < 8; i++) {
        b[i] = body(false, i % 2 ? HTTP_UNTOLD : 16 * KIB);
        assert_int_equal(fill(&b[i], come_from(i / 4), 16 * KIB), BODY_OK);
        assert_true(all.locked.shares.memory <= 8 * 4 * KIB + 24 * KIB);
    }
    unsigned n_files = 0;
    for (unsigned i = 0; i < 8; i++) {
        n_files += b[i].fd >= 0;
        assert_int_equal(b[i].memory.cap == 0, b[i].fd >= 0);
    }
    assert_true(n_files >= 6);
    /* whole: it comes back, and counts as any other */
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(http_body_end(&b[i], conns[i]), BODY_OK);
        assert_int_equal(b[i].memory.len, 16 * KIB);
        assert_memory_equal(b[i].memory.ptr, bytes, 16 * KIB);
        http_body_done(&b[i], conns[i]);
    }
    assert_int_equal(all.locked.shares.unproven, 0);
    end();
}

TEST(bodies, a_longer_one_of_a_caller_not_known_goes_on_in_a_file_though_there_is_room)
{
    (void)state;
    begin(0);
    struct http_body a = body(false, 16 * KIB), b = body(false, 17 * KIB), c = body(true, 17 * KIB);
    struct http_conn *x = come_from(1), *y = come_from(2), *z = come_from(3);
    assert_int_equal(fill(&a, x, 16 * KIB), BODY_OK);
    assert_int_equal(a.fd, -1);
    assert_int_equal(all.locked.shares.unproven, 12 * KIB);
    http_body_done(&a, x);
    assert_int_equal(fill(&b, y, 17 * KIB), BODY_OK);
    assert_true(b.fd >= 0);
    http_body_done(&b, y);
    assert_int_equal(fill(&c, z, 17 * KIB), BODY_OK);
    assert_int_equal(c.fd, -1);
    http_body_done(&c, z);
    end();
}

TEST(bodies, what_is_whole_needs_memory_as_any_other)
{
    (void)state;
    begin(600000000);
    struct http_body a = body(true, 48 * KIB), b = body(false, 40 * KIB), c = body(true, 16 * KIB);
    struct http_conn *x = come_from(1), *y = come_from(2), *z = come_from(3);
    assert_int_equal(fill(&b, y, 40 * KIB), BODY_OK);
    assert_true(b.fd >= 0);
    assert_int_equal(fill(&a, x, 48 * KIB), BODY_OK);
    assert_int_equal(fill(&c, z, 16 * KIB), BODY_OK);
    assert_int_equal(http_body_end(&b, y), BODY_NO_ROOM);
    http_body_done(&a, x);
    assert_int_equal(http_body_end(&b, y), BODY_OK);
    http_body_done(&b, y);
    http_body_done(&c, z);
    end();
}

TEST(bodies, young_files_keep_their_room_and_old_ones_make_some)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        begin(old ? 0 : 600000000);
        struct http_body b[5];
        for (unsigned i = 0; i < 5; i++)
            b[i] = body(false, 2048 * KIB);
        /* counted by the MiB */
        assert_int_equal(fill(&b[0], come_from(2), 600 * KIB), BODY_OK);
        assert_int_equal(fill(&b[1], come_from(1), 600 * KIB), BODY_OK);
        assert_int_equal(fill(&b[2], come_from(1), 600 * KIB), BODY_OK);
        /* a third of this address: its oldest goes, though another's is older */
        assert_int_equal(fill(&b[3], come_from(1), 600 * KIB), old ? BODY_OK : BODY_NO_ROOM);
        assert_int_equal(is_cut(conns[1]), old);
        assert_false(is_cut(conns[0]) || is_cut(conns[2]) || is_cut(conns[3]));
        if (!old)
            http_body_done(&b[3], conns[3]);
        /* all files: the oldest of all goes */
        assert_int_equal(fill(&b[4], come_from(3), 1900 * KIB), old ? BODY_OK : BODY_NO_ROOM);
        assert_int_equal(is_cut(conns[0]), old);
        assert_false(is_cut(conns[2]) || is_cut(conns[4]));
        for (unsigned i = 0; i < 5; i++)
            http_body_done(&b[i], conns[i]);
        end();
    }
}

TEST(bodies, a_file_that_gets_nothing_makes_room_and_one_that_goes_on_does_not)
{
    (void)state;
    begin(600000000);
    struct http_body b[4];
    for (unsigned i = 0; i < 4; i++)
        b[i] = body(false, 2048 * KIB);
    assert_int_equal(fill(&b[0], come_from(1), 600 * KIB), BODY_OK);
    assert_int_equal(fill(&b[1], come_from(1), 500 * KIB), BODY_OK);
    /* both have waited for that long now, and a bit */
    for (unsigned i = 0; i < 2; i++)
        atomic_fetch_sub(&conns[i]->body_us, all.limits.still_us + i + 1);
    assert_int_equal(fill(&b[0], conns[0], 601 * KIB), BODY_OK);
    assert_int_equal(fill(&b[2], come_from(1), 600 * KIB), BODY_OK);
    assert_true(is_cut(conns[1]));
    assert_false(is_cut(conns[0]));
    assert_int_equal(fill(&b[3], come_from(1), 600 * KIB), BODY_NO_ROOM);
    for (unsigned i = 0; i < 4; i++)
        http_body_done(&b[i], conns[i]);
    end();
}

TEST(bodies, files_are_counted_as_descriptors_too)
{
    (void)state;
    begin_with(600000000, 64, 64);
    /* two of an address */
    all.limits.n_files = 4;
    struct http_body b[7];
    for (unsigned i = 0; i < 7; i++)
        b[i] = body(false, 2048 * KIB);
    static const struct {
        unsigned from;
        body_result r;
    } come[] = { { 1, BODY_OK }, { 1, BODY_OK }, { 1, BODY_NO_ROOM },
                 { 2, BODY_OK }, { 3, BODY_OK }, { 4, BODY_NO_ROOM } };
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(fill(&b[i], come_from(come[i].from), 100 * KIB), come[i].r);
    /* one that grows is one */
    assert_int_equal(fill(&b[0], conns[0], 2048 * KIB), BODY_OK);
    all.limits.old_us = 0;
    assert_int_equal(fill(&b[6], come_from(1), 100 * KIB), BODY_OK);
    assert_true(is_cut(conns[1]));
    assert_false(is_cut(conns[0]));
    for (unsigned i = 0; i < 7; i++)
        http_body_done(&b[i], conns[i]);
    end();
}

TEST(bodies, a_connection_that_is_cut_takes_no_more)
{
    (void)state;
    begin(0);
    struct http_body b = body(false, 2048 * KIB);
    struct http_conn *c = come_from(1);
    assert_int_equal(fill(&b, c, 600 * KIB), BODY_OK);
    pthread_mutex_lock(&all.locked.lock);
    http_conn_cut_locked(c);
    pthread_mutex_unlock(&all.locked.lock);
    assert_int_equal(all.locked.shares.file, 0);
    assert_int_equal(fill(&b, c, 2048 * KIB), BODY_NO_ROOM);
    assert_int_equal(http_body_end(&b, c), BODY_NO_ROOM);
    http_body_done(&b, c);
    assert_int_equal(all.locked.shares.file, 0);
    end();
}

TEST(bodies, without_a_place_for_files_there_is_no_room)
{
    (void)state;
    begin(0);
    struct http_body a = body(false, 40 * KIB), b = body(false, 40 * KIB);
    struct http_conn *c = come_from(1);
    char absent[sizeof dir + 8];
    (void)snprintf(absent, sizeof absent, "%s/absent", dir);
    assert_int_equal(http_body_add(&a, c, NULL, sv_make(bytes, 40 * KIB)), BODY_NO_ROOM);
    http_body_done(&a, c);
    assert_int_equal(http_body_add(&b, c, absent, sv_make(bytes, 40 * KIB)), BODY_NO_ROOM);
    http_body_done(&b, c);
    a = body(false, 40 * KIB);
    /* a disk that is full */
    all.limits.free_disk = UINT64_MAX;
    assert_int_equal(http_body_add(&a, c, dir, sv_make(bytes, 40 * KIB)), BODY_NO_ROOM);
    http_body_done(&a, c);
    end();
}

TEST(bodies, more_than_is_allowed_is_too_large)
{
    (void)state;
    begin(0);
    struct http_conn *c = come_from(1);
    for (int proven = 0; proven < 2; proven++) {
        struct http_body b;
        const struct http_allowance small = { .body_max = 2000, .proven = proven };
        http_body_init(&b, &small, HTTP_UNTOLD);
        assert_int_equal(http_body_add(&b, c, dir, sv_make(bytes, 2001)), BODY_TOO_LARGE);
        assert_int_equal(http_body_add(&b, c, dir, sv_make(bytes, 2000)), BODY_OK);
        assert_int_equal(http_body_add(&b, c, dir, sv_make(bytes, 1)), BODY_TOO_LARGE);
        assert_true(b.memory.cap <= 2000);
        http_body_done(&b, c);
    }
    end();
}

int main(void)
{
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31 + i / 977);
    const struct CMUnitTest tests[] = {
        T(bodies, what_is_said_takes_nothing_and_what_comes_takes_what_it_has),
        T(bodies, memory_has_an_end_for_all_and_for_one_address),
        T(bodies, of_callers_not_known_little_is_in_memory_and_the_rest_in_files),
        T(bodies, a_longer_one_of_a_caller_not_known_goes_on_in_a_file_though_there_is_room),
        T(bodies, what_is_whole_needs_memory_as_any_other),
        T(bodies, young_files_keep_their_room_and_old_ones_make_some),
        T(bodies, a_file_that_gets_nothing_makes_room_and_one_that_goes_on_does_not),
        T(bodies, files_are_counted_as_descriptors_too),
        T(bodies, a_connection_that_is_cut_takes_no_more),
        T(bodies, without_a_place_for_files_there_is_no_room),
        T(bodies, more_than_is_allowed_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
