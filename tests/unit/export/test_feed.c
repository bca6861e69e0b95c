/* test_feed.c - the resources of an item as they go into objects: with organizeOutputBy each is in
 * one block or in none, compared with whom the store was filled for. */
#include "one_range.h"
#include "served_run.h"

#define N_PAT 20u
#define N_OBS 120u

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static unsigned subject_of[N_OBS]; /* N_PAT: a Device's */

/* Every fourth Patient is not there any more. */
static bool is_there(unsigned patient)
{
    return patient < N_PAT && patient % 4;
}

static void fill_store(struct store *st)
{
    for (unsigned i = 0; i < N_PAT; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%02u", i);
        put_fmt(st, "{\"resourceType\":\"Patient\",\"id\":\"%s\"}", id);
        if (!is_there(i))
            one_delete(st, patients(), id);
    }
    for (unsigned i = 0; i < N_OBS; i++) {
        subject_of[i] = below(N_PAT + 1);
        put_fmt(st,
                "{\"resourceType\":\"Observation\",\"id\":\"o%03u\",\"status\":\"final\",\"code\":{"
                "\"text\":\"x\"},\"subject\":{\"reference\":\"%s/p%02u\"}}",
                i, subject_of[i] < N_PAT ? "Patient" : "Device", subject_of[i]);
    }
    put_fmt(st, "{\"resourceType\":\"Organization\",\"id\":\"org\",\"name\":\"n\"}");
}

static struct export_item scan_of(const char *type)
{
    return (struct export_item){ .kind = EXPORT_SCAN,
                                 .range = { .type = fhir_type_find(sv_from(type)) } };
}

static void open_filled(struct one_range *o, const struct job_export_params *p)
{
    one_open(o, p);
    seed = 9;
    fill_store(o->st);
    one_view(o, false, 0);
    o->items[0] = (struct export_item){ .kind = EXPORT_BLOCKS, .range = { .type = patients() } };
    o->items[1] = scan_of("Patient");
    o->items[2] = scan_of("Observation");
    o->items[3] = scan_of("Organization");
    o->x.plan.n = 4;
}

/* What an item gives: "block:Type/id" each. */
static void given(struct one_range *o, const struct export_item *item, struct buf *out,
                  size_t *n_given, uint64_t *n_passed, bool *passed)
{
    CLEANUP(export_feed_free) struct export_feed *f = NULL;
    struct store_version v;
    yyjson_val *root;
    bool deleted;
    struct err why;
    err_code rc;
    *n_given = 0;
    OK(export_feed_open(&o->x, item, &f, e));
    while ((rc = export_feed_next(f, &v, &root, &deleted, &why)) == ERR_OK) {
        sv block = export_feed_block(f);
        assert_false(deleted);
        /* read where members are left out, for these are chosen by the tree */
        if (o->x.params->elements.n)
            assert_non_null(root);
        ++*n_given;
        OK(buf_add_fmt(out, e, "%.*s:%s/%.*s\n", SV_FMT(block), fhir_type_name(v.type),
                       SV_FMT(v.id)));
    }
    assert_int_equal(rc, ERR_EOF);
    *passed = export_feed_passed(f, n_passed);
}

static void observations_of(struct buf *want, const char *block, unsigned subject)
{
    for (unsigned i = 0; i < N_OBS; i++)
        if (subject_of[i] == subject)
            OK(buf_add_fmt(want, e, "%s:Observation/o%03u\n", block, i));
}

static void check_organized(const struct job_export_params *p)
{
    CLEANUP_BUF struct buf got = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
    struct one_range o;
    size_t n;
    uint64_t n_passed;
    bool passed;
    open_filled(&o, p);
    /* blocks by Patient, he himself first; who is gone has none */
    given(&o, &o.items[0], &got, &n, &n_passed, &passed);
    assert_false(passed);
    for (unsigned i = 0; i < N_PAT; i++)
        if (is_there(i)) {
            char block[8];
            (void)snprintf(block, sizeof block, "p%02u", i);
            OK(buf_add_fmt(&want, e, "%s:Patient/%s\n", block, block));
            observations_of(&want, block, i);
        }
    fx_same(buf_sv(&got), buf_sv(&want));

    buf_clear(&got);
    given(&o, &o.items[1], &got, &n, &n_passed, &passed);
    assert_int_equal(n, 0);
    assert_true(passed);
    assert_int_equal(n_passed, N_PAT - N_PAT / 4);

    /* Observations of nobody who is there, in no block */
    buf_clear(&got);
    buf_clear(&want);
    given(&o, &o.items[2], &got, &n, &n_passed, &passed);
    for (unsigned i = 0; i < N_OBS; i++)
        if (!is_there(subject_of[i]))
            OK(buf_add_fmt(&want, e, ":Observation/o%03u\n", i));
    fx_same(buf_sv(&got), buf_sv(&want));
    assert_true(n > 0 && n < N_OBS);
    /* what a scan gives and what it passed over is all that lives */
    assert_true(passed);
    assert_int_equal(n + n_passed, N_OBS);

    buf_clear(&got);
    given(&o, &o.items[3], &got, &n, &n_passed, &passed);
    assert_sv(buf_sv(&got), SV_LIT(":Organization/org\n"));
    assert_true(passed);
    assert_int_equal(n_passed, 0);
    one_close(&o);
}

TEST(feed, what_has_an_owner_is_in_his_block_and_everything_else_in_none)
{
    check_organized(&(struct job_export_params){ .organize_by_patient = true });
    check_organized(&(struct job_export_params){ .organize_by_patient = true,
                                                 .elements = LIST(S("Observation.code")) });
}

TEST(feed, a_range_of_patients_has_their_blocks_alone)
{
    const struct job_export_params p = { .organize_by_patient = true };
    CLEANUP_BUF struct buf all = BUF_INIT(1 << 20), parts = BUF_INIT(1 << 20);
    struct one_range o;
    size_t n, sum = 0;
    uint64_t n_passed;
    bool passed;
    open_filled(&o, &p);
    const store_number cuts[] = { 0,
                                  one_number(o.st, patients(), "p01"),
                                  one_number(o.st, patients(), "p04"),
                                  one_number(o.st, patients(), "p05") + 1,
                                  one_number(o.st, patients(), "p19"),
                                  0 };
    given(&o, &o.items[0], &all, &n, &n_passed, &passed);
    for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++) {
        size_t some;
        struct export_item item = o.items[0];
        item.range.from = cuts[i];
        item.range.to = cuts[i + 1];
        given(&o, &item, &parts, &some, &n_passed, &passed);
        sum += some;
    }
    fx_same(buf_sv(&parts), buf_sv(&all));
    assert_int_equal(sum, n);
    one_close(&o);
}

TEST(feed, without_organizing_a_scan_gives_everything_and_names_no_block)
{
    const struct job_export_params p = { 0 };
    CLEANUP_BUF struct buf got = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
    struct one_range o;
    size_t n;
    uint64_t n_passed;
    bool passed;
    open_filled(&o, &p);
    given(&o, &o.items[2], &got, &n, &n_passed, &passed);
    for (unsigned i = 0; i < N_OBS; i++)
        OK(buf_add_fmt(&want, e, ":Observation/o%03u\n", i));
    fx_same(buf_sv(&got), buf_sv(&want));
    assert_true(passed);
    assert_int_equal(n_passed, 0);
    one_close(&o);
}

TEST(feed, deletions_are_told_outside_the_blocks)
{
    const struct job_export_params p = { .organize_by_patient = true };
    struct one_range o;
    struct export_feed *f = NULL;
    struct store_version v;
    yyjson_val *root;
    bool deleted;
    fhir_type observation = fhir_type_find(SV_LIT("Observation"));
    one_open(&o, &p);
    put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"a\"}");
    for (const char *id = "xyz"; *id; id++)
        put_fmt(o.st,
                "{\"resourceType\":\"Observation\",\"id\":\"%c\",\"status\":\"final\",\"code\":{"
                "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/a\"}}",
                *id);
    uint64_t since = last_of(o.st).t;
    one_delete(o.st, observation, "x");
    put_fmt(o.st, "{\"resourceType\":\"Observation\",\"id\":\"y\",\"status\":\"amended\",\"code\":{"
                  "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/a\"}}");
    one_view(&o, true, since);
    o.items[0] = (struct export_item){ .kind = EXPORT_BLOCKS, .range = { .type = patients() } };
    o.items[1] = scan_of("Observation");
    o.items[1].kind = EXPORT_CHANGES;
    o.x.plan.n = 2;
    OK(export_feed_open(&o.x, &o.items[0], &f, e));
    OK(export_feed_next(f, &v, &root, &deleted, e));
    assert_false(deleted);
    assert_sv(v.id, SV_LIT("y"));
    assert_sv(export_feed_block(f), SV_LIT("a"));
    FAILS(ERR_EOF, export_feed_next(f, &v, &root, &deleted, e));
    export_feed_free(f);
    OK(export_feed_open(&o.x, &o.items[1], &f, e));
    OK(export_feed_next(f, &v, &root, &deleted, e));
    assert_true(deleted);
    assert_sv(v.id, SV_LIT("x"));
    FAILS(ERR_EOF, export_feed_next(f, &v, &root, &deleted, e));
    export_feed_free(f);
    one_close(&o);
}

TEST(feed, a_job_that_is_to_stop_gets_no_more_of_a_block)
{
    const struct job_export_params p = { .organize_by_patient = true };
    struct one_range o;
    struct export_feed *f = NULL;
    struct store_version v;
    yyjson_val *root;
    bool deleted;
    open_filled(&o, &p);
    OK(export_feed_open(&o.x, &o.items[0], &f, e));
    OK(export_feed_next(f, &v, &root, &deleted, e));
    atomic_store(&o.halt, true);
    FAILS(ERR_CANCELLED, export_feed_next(f, &v, &root, &deleted, e));
    export_feed_free(f);
    one_close(&o);
}

TEST_MAIN(T(feed, what_has_an_owner_is_in_his_block_and_everything_else_in_none),
          T(feed, a_range_of_patients_has_their_blocks_alone),
          T(feed, without_organizing_a_scan_gives_everything_and_names_no_block),
          T(feed, deletions_are_told_outside_the_blocks),
          T(feed, a_job_that_is_to_stop_gets_no_more_of_a_block))
