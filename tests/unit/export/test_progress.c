/* test_progress.c - places of ranges, what is expected of an export, and its room, compared with
 * the plain rules. */
#include "one_range.h"

#include "base/limits.h"

static const struct job_export_params none;

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

TEST(progress, a_range_takes_the_least_place_that_is_free)
{
    enum { N = 40 };
    bool places[N] = { false }, taken[N] = { false };
    struct one_range o;
    size_t n = 0;
    one_open(&o, &none);
    o.x.plan.n = N;
    o.x.shared.places = places;
    seed = 5;
    for (unsigned round = 0; round < 5000; round++) {
        /* now it fills, now it empties */
        bool give = n == N || (n && below(10) < (round / 200 % 2 ? 7 : 3));
        if (give) {
            size_t k = below(N);
            while (!taken[k])
                k = (k + 1) % N;
            export_place_give_back(&o.x, k);
            taken[k] = false;
            n--;
        } else {
            size_t least = 0;
            while (taken[least])
                least++;
            assert_int_equal(export_place_take(&o.x), least);
            taken[least] = true;
            n++;
        }
    }
    one_close(&o);
}

/* Of all, when a part of the ranges came to so much: as much again for each; never less than is
 * there already, and exactly that when all are in. */
static uint64_t likely(uint64_t present, uint64_t of_finished, uint64_t done, uint64_t total)
{
    if (done == total)
        return present;
    if (done == 0)
        return 0;
    uint64_t all = of_finished * total / done;
    return all > present ? all : present;
}

static void near(uint64_t got, uint64_t want)
{
    if (got + 1 < want || got > want + 1)
        fail_msg("%llu is not %llu", (unsigned long long)got, (unsigned long long)want);
}

TEST(progress, what_is_expected_follows_from_the_ranges_that_are_in)
{
    seed = 6;
    for (unsigned round = 0; round < 50; round++) {
        struct one_range o;
        uint64_t resources, bytes, in_resources, in_bytes, total = 1 + below(30), done = 0;
        one_open(&o, &none);
        struct job_progress *p = &o.x.shared.progress;
        p->ranges_total = total;
        if (round % 2) {
            /* a run before wrote some */
            p->ranges_done = done = below((uint32_t)total);
            p->resources_exported = done * 10;
            p->bytes_exported = done * 1000;
        }
        in_resources = resources = p->resources_exported;
        in_bytes = bytes = p->bytes_exported;
        export_progress_begin(&o.x);
        while (done < total) {
            struct export_tally t = { .resources = below(1000), .objects = below(3) };
            t.bytes = t.resources * 100;
            uint64_t objects = p->objects_exported;
            export_progress_add(&o.x, (int64_t)t.resources, (int64_t)t.bytes);
            resources += t.resources;
            bytes += t.bytes;
            near(p->resources_expected, likely(resources, in_resources, done, total));
            if (below(4) == 0) {
                /* given up */
                export_progress_add(&o.x, -(int64_t)t.resources, -(int64_t)t.bytes);
                resources -= t.resources;
                bytes -= t.bytes;
                assert_int_equal(p->resources_exported, resources);
                assert_int_equal(p->bytes_exported, bytes);
                continue;
            }
            export_progress_range(&o.x, &t);
            in_resources += t.resources;
            in_bytes += t.bytes;
            done++;
            assert_int_equal(p->objects_exported, objects + t.objects);
            assert_int_equal(p->ranges_done, done);
            near(p->resources_expected, likely(resources, in_resources, done, total));
            near(p->bytes_expected, likely(bytes, in_bytes, done, total));
            /* nothing is known of the time when nothing more is expected */
            if (p->bytes_expected <= p->bytes_exported)
                assert_int_equal(p->seconds_left, 0);
            /* what job_get shows */
            assert_memory_equal(&o.run.live.progress, p, sizeof *p);
        }
        assert_int_equal(p->resources_expected, resources);
        assert_int_equal(p->bytes_expected, bytes);
        assert_int_equal(p->seconds_left, 0);
        one_close(&o);
    }
}

TEST(progress, files_have_a_number_when_their_size_was_asked_for)
{
    const struct job_export_params small = { .max_file_bytes = 1000 };
    struct one_range o;
    one_open(&o, &small);
    for (unsigned i = 0; i < LIMIT_EXPORT_FILES; i++)
        OK(export_object_take(&o.x, e));
    FAILS(ERR_TOO_LARGE, export_object_take(&o.x, e));
    one_close(&o);
    one_open(&o, &none);
    for (unsigned i = 0; i <= LIMIT_EXPORT_FILES; i++)
        OK(export_object_take(&o.x, e));
    one_close(&o);
}

/* ---- the room of a served export ---- */

#define ROOM (40u << 20)
#define STEP (8u << 20) /* between looks */

static void served_open(struct one_range *o)
{
    const struct job_served_limits limits = { .store_bytes = 1ull << 40, .caller_bytes = ROOM };
    one_open(o, &none);
    o->job.datastore_id = FX_STORE;
    o->cfg.spool_dir = o->f.root;
    o->cfg.min_free_bytes = 1;
    o->run.kept = job_kept_new(&limits);
    job_kept_load(o->run.kept, &o->job);
}

static void served_close(struct one_range *o)
{
    job_kept_free(o->run.kept);
    one_close(o);
}

/* Bytes taken until it was refused, that take among them. */
static uint64_t taken_until_refused(struct one_range *o, uint32_t most)
{
    uint64_t sum = 0;
    struct err why;
    err_code rc;
    do {
        uint32_t bytes = 1 + below(most);
        sum += bytes;
        rc = export_room_take(&o->x, bytes, &why);
    } while (rc == ERR_OK && sum < 2 * (uint64_t)ROOM);
    assert_int_equal(rc, ERR_TOO_LARGE);
    return sum;
}

TEST(progress, room_is_refused_behind_the_limit_and_no_more_than_a_step_later)
{
    seed = 7;
    for (unsigned round = 0; round < 20; round++) {
        uint32_t most = round % 2 ? 1u << 20 : 3u << 20;
        struct one_range o;
        served_open(&o);
        uint64_t sum = taken_until_refused(&o, most);
        assert_in_range(sum, ROOM + 1, (uint64_t)ROOM + STEP + most);
        served_close(&o);
    }
}

TEST(progress, room_is_looked_at_first_and_when_nothing_is_taken)
{
    struct one_range o;
    served_open(&o);
    FAILS(ERR_TOO_LARGE, export_room_take(&o.x, ROOM + 1, e));
    served_close(&o);

    served_open(&o);
    OK(export_room_take(&o.x, ROOM, e));
    OK(export_room_take(&o.x, 0, e));
    OK(export_room_take(&o.x, 1, e)); /* within the step */
    FAILS(ERR_TOO_LARGE, export_room_take(&o.x, 0, e));
    served_close(&o);

    /* files take room beside their bytes */
    served_open(&o);
    OK(export_room_take(&o.x, ROOM - JOB_FILE_BYTES, e));
    OK(export_object_take(&o.x, e));
    OK(export_room_take(&o.x, 0, e));
    OK(export_object_take(&o.x, e));
    FAILS(ERR_TOO_LARGE, export_room_take(&o.x, 0, e));
    served_close(&o);

    /* the disk is asked as well */
    served_open(&o);
    o.cfg.min_free_bytes = UINT64_MAX;
    FAILS(ERR_NO_SPACE, export_room_take(&o.x, 1, e));
    served_close(&o);
}

TEST(progress, an_export_whose_files_are_not_ours_has_any_room)
{
    struct one_range o;
    one_open(&o, &none);
    OK(export_room_take(&o.x, 1ull << 50, e));
    OK(export_room_take(&o.x, 0, e));
    one_close(&o);
}

TEST_MAIN(T(progress, a_range_takes_the_least_place_that_is_free),
          T(progress, what_is_expected_follows_from_the_ranges_that_are_in),
          T(progress, files_have_a_number_when_their_size_was_asked_for),
          T(progress, room_is_refused_behind_the_limit_and_no_more_than_a_step_later),
          T(progress, room_is_looked_at_first_and_when_nothing_is_taken),
          T(progress, an_export_whose_files_are_not_ours_has_any_room))
