/* test_object.c - names of objects, and the note of a range, held against the files that are
 * there. */
#include "one_range.h"
#include "served_run.h"

#include "codec/hash.h"
#include "export/range_private.h"

static const struct job_export_params none;

enum { N_RANGES = 4, N_EACH = 6 };

static struct export_item scans[12];
static bool undone[12], places[12];

/* Ranges of six Patients each, a few lines an object. */
static void open_ranges(struct one_range *o, size_t n_ranges)
{
    one_open(o, &none);
    for (unsigned i = 0; i < n_ranges * N_EACH; i++)
        put_fmt(o->st, "{\"resourceType\":\"Patient\",\"id\":\"p%03u\",\"language\":\"%0*u\"}", i,
                (int)(i % 5 * 20 + 1), i);
    one_view(o, false, 0);
    memset(places, 0, sizeof places);
    for (size_t i = 0; i < n_ranges; i++) {
        char first[8];
        (void)snprintf(first, sizeof first, "p%03u", (unsigned)i * N_EACH);
        scans[i] = (struct export_item){ .kind = EXPORT_SCAN, .range = { .type = patients() } };
        scans[i].range.from = one_number(o->st, patients(), first);
        /* they came in this order, and together */
        scans[i].range.to = scans[i].range.from + N_EACH;
    }
    o->x.plan = (struct export_plan){ scans, undone, n_ranges, 300 };
    o->x.shared.places = places;
}

static yyjson_val *note_of(struct one_range *o, size_t range)
{
    CLEANUP_BUF struct buf note = BUF_INIT(1 << 20);
    char name[32];
    yyjson_doc *doc;
    (void)snprintf(name, sizeof name, "done/%08zu", range);
    OK(job_run_note_get(&o->run, sv_from(name), &note, e));
    OK(json_read(o->a, arena_sv(o->a, buf_sv(&note)), 8, &doc, e));
    return yyjson_doc_get_root(doc);
}

/* Patient/Patient-<int64>-<digit of the range>-<number of the object>.ndjson; the int64. */
static uint64_t seed_in(sv name, size_t range, size_t nth)
{
    char behind[48];
    uint64_t n = 0;
    sv begin = SV_LIT("Patient/Patient-");
    if (!sv_starts(name, begin))
        fail_msg("%.*s", SV_FMT(name));
    sv rest = sv_tail(name, begin.len);
    size_t dash = sv_find(rest, '-');
    assert_true(sv_to_u64(sv_head(rest, dash), &n) && n > 0 && n <= INT64_MAX);
    (void)snprintf(behind, sizeof behind, "-%zu-%zu.ndjson", range % 10, nth);
    assert_sv(sv_tail(rest, dash), sv_from(behind));
    return n;
}

TEST(object, names_tell_ranges_and_objects_apart)
{
    enum { N = 12 };
    uint64_t seeds[N];
    struct one_range o;
    open_ranges(&o, N);
    for (size_t r = 0; r < N; r++) {
        (void)one_write(&o, r);
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(note_of(&o, r), "objects"));
        yyjson_val *v;
        size_t nth = 0;
        while ((v = yyjson_arr_iter_next(&it)) != NULL) {
            uint64_t seed = seed_in(json_string(json_get(v, "name")), r, nth);
            assert_true(nth == 0 || seed == seeds[r]);
            seeds[r] = seed;
            nth++;
        }
        assert_true(nth > 1);
        for (size_t k = 0; k < r; k++)
            assert_true(seeds[k] != seeds[r]);
    }
    one_close(&o);
}

TEST(object, a_range_that_is_written_again_replaces_what_it_wrote)
{
    struct one_range o;
    CLEANUP_BUF struct buf once = BUF_INIT(1 << 20), twice = BUF_INIT(1 << 20);
    open_ranges(&o, N_RANGES);
    for (size_t r = 0; r < N_RANGES; r++)
        (void)one_write(&o, r);
    fx_tree(&o.f, "out", &once);
    memset(places, 0, sizeof places);
    o.x.shared.first_place = 0;
    for (size_t r = N_RANGES; r-- > 0;)
        (void)one_write(&o, r);
    fx_tree(&o.f, "out", &twice);
    fx_same(buf_sv(&twice), buf_sv(&once));
    one_close(&o);
}

TEST(object, the_note_says_what_is_in_the_files)
{
    struct one_range o;
    open_ranges(&o, N_RANGES);
    for (size_t r = 0; r < N_RANGES; r++) {
        struct export_tally t = one_write(&o, r);
        yyjson_val *note = note_of(&o, r), *v;
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(note, "objects"));
        struct fhir_digest want = { { 0, 0 } };
        uint64_t lines = 0, bytes = 0, objects = 0;
        char hex[SHA256_HEX_LEN], sum[FHIR_DIGEST_HEX];
        while ((v = yyjson_arr_iter_next(&it)) != NULL) {
            CLEANUP_BUF struct buf file = BUF_INIT(1 << 20);
            unsigned char digest[SHA256_LEN];
            char path[512], object[256];
            uint64_t n = 0;
            (void)snprintf(object, sizeof object, "out/p/%s", yyjson_get_str(json_get(v, "name")));
            fx_path(&o.f, object, path);
            OK(file_read(path, &file, e));
            for (size_t i = 0; i < file.len; i++)
                n += file.ptr[i] == '\n';
            hash_sha256_of(buf_sv(&file), digest);
            hash_hex(digest, sizeof digest, hex);
            assert_int_equal(number(v, "count"), n);
            assert_int_equal(number(v, "bytes"), file.len);
            assert_sv(json_string(json_get(v, "sha256")), sv_make(hex, sizeof hex));
            lines += n;
            bytes += file.len;
            objects++;
        }
        for (unsigned i = 0; i < N_EACH; i++) {
            struct store_version one;
            OK(store_get(o.st, patients(), arena_fmt(o.a, "p%03zu", r * N_EACH + i), o.x.t, o.a,
                         &one, e));
            fhir_digest_body(&want, &one.body);
        }
        fhir_digest_hex(&want, sum);
        assert_sv(json_string(json_get(note, "sum")), sv_make(sum, sizeof sum));
        assert_int_equal(lines, N_EACH);
        assert_int_equal(number(note, "count"), N_EACH);
        assert_sv(json_string(json_get(note, "type")), SV_LIT("Patient"));
        /* in the order in which they came in */
        assert_int_equal(number(note, "place"), r);
        assert_int_equal(t.resources, lines);
        assert_int_equal(t.bytes, bytes);
        assert_int_equal(t.objects, objects);
    }
    one_close(&o);
}

TEST(object, an_object_that_is_not_what_was_counted_fails_its_range)
{
    for (unsigned which = 0; which < 2; which++) {
        struct one_range o;
        CLEANUP_BUF struct buf block = BUF_INIT(EXPORT_BLOCK_MAX);
        CLEANUP_BUF struct buf note = BUF_INIT(1 << 20);
        struct export_range *g = NULL;
        open_ranges(&o, 1);
        OK(export_range_open(&o.x, 0, &block, &g, e));
        OK(export_range_fill(g, e));
        /* a line that was counted did not leave, or a byte */
        if (which)
            g->count++;
        else
            g->written++;
        FAILS(ERR_INTERNAL, export_range_flush(g, e));
        export_range_free(g);
        FAILS(ERR_NOT_FOUND, job_run_note_get(&o.run, SV_LIT("done/00000000"), &note, e));
        assert_int_equal(o.x.shared.progress.resources_exported, 0);
        assert_false(places[0]);
        one_close(&o);
    }
}

TEST_MAIN(T(object, names_tell_ranges_and_objects_apart),
          T(object, a_range_that_is_written_again_replaces_what_it_wrote),
          T(object, the_note_says_what_is_in_the_files),
          T(object, an_object_that_is_not_what_was_counted_fails_its_range))
