/* test_giant.c - resources of more than LIMIT_GIANT_BYTES come out whole, in the place where they
 * stand among others, out of the store's own memory, and one at a time. */
#include "one_range.h"

#include "base/limits.h"
#include "export/range_private.h"
#include "fhir/envelope.h"
#include "store/store_private.h"

#include <malloc.h>
#include <sched.h>

#define DATA_BYTES (LIMIT_GIANT_BYTES + (2u << 20))
#define N_ROWS     9u

static const struct job_export_params none;

static fhir_type binaries(void)
{
    return fhir_type_find(SV_LIT("Binary"));
}

/* In RocksDB: the store in memory lends nothing. */
static void giants_open(struct one_range *o)
{
    char path[160];
    one_open(o, &none);
    store_close(o->st);
    (void)snprintf(path, sizeof path, "%s/rocks", o->f.root);
    OK(store_open(o->f.env, path, true, &o->st, e));
    o->run.store = o->st;
}

static bool is_giant(unsigned row)
{
    return row % 3 == 1 || row == 5;
}

/* Row i, as it is stored; a giant's data are of no period that a block has. */
static void make_row(unsigned i, struct buf *out, struct fhir_body *body)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz01234567890";
    size_t len = is_giant(i) ? DATA_BYTES + 1000 * i : 400 * i, hole;
    uint64_t n = i + 1;
    OK(buf_add_fmt(out, e, "{\"resourceType\":\"Binary\",\"id\":\"b%u\"", i));
    hole = out->len;
    OK(buf_add(out, SV_LIT(",\"data\":\""), e));
    OK(buf_reserve(out, len, e));
    for (size_t k = 0; k < len; k++, n = n * 6364136223846793005u + 1442695040888963407u)
        out->ptr[out->len + k] = letters[(n >> 33) % 62];
    out->len += len;
    OK(buf_add(out, SV_LIT("\"}"), e));
    *body = (struct fhir_body){ buf_sv(out), (uint32_t)hole, FHIR_HOLE_NO_META };
}

static void fill(struct one_range *o)
{
    struct store_bulk_item items[N_ROWS] = { 0 };
    struct buf texts[N_ROWS];
    char ids[N_ROWS][8];
    struct store_bulk *b;
    struct store_commit c;
    for (unsigned i = 0; i < N_ROWS; i++) {
        texts[i] = BUF_INIT(64u << 20);
        (void)snprintf(ids[i], sizeof ids[i], "b%u", i);
        items[i] = (struct store_bulk_item){ .type = binaries(), .id = sv_from(ids[i]), .seq = i };
        make_row(i, &texts[i], &items[i].body);
    }
    OK(store_bulk_begin(o->st, &b, e));
    OK(store_bulk_fill(b, items, N_ROWS, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    for (unsigned i = 0; i < N_ROWS; i++)
        buf_done(&texts[i]);
}

/* What all objects of a range must hold together. */
static void add_expected(const struct one_range *o, unsigned from, unsigned to, struct buf *out)
{
    for (unsigned i = from; i < to; i++) {
        CLEANUP_BUF struct buf text = BUF_INIT(64u << 20);
        CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
        struct fhir_body body;
        struct store_version v;
        char id[8];
        (void)snprintf(id, sizeof id, "b%u", i);
        make_row(i, &text, &body);
        OK(store_get(o->st, binaries(), sv_from(id), STORE_NOW, a, &v, e));
        OK(buf_reserve(out, body.json.len + FHIR_SPLICE_MAX + 1, e));
        out->len += fhir_body_write(&body, 1, v.instant_ms, out->ptr + out->len);
        OK(buf_add_char(out, '\n', e));
    }
}

/* The range's objects, one behind the other. */
static void add_objects(const struct one_range *o, size_t range, unsigned n, struct buf *out)
{
    for (unsigned i = 0; i < n; i++) {
        char path[512], object[256];
        sv name = range_object_name(o->a, &o->x, range, false, i);
        (void)snprintf(object, sizeof object, "out/p/%.*s", SV_FMT(name));
        fx_path(&o->f, object, path);
        OK(file_read(path, out, e));
    }
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* Two ranges of one thread, in turn, as turns.c has them. */
TEST(giant, two_ranges_of_one_thread_write_theirs_in_turn_and_hold_none_between)
{
    static const size_t object_bytes[] = { 1, 16u << 20, 1u << 30 };
    for (size_t k = 0; k < sizeof object_bytes / sizeof object_bytes[0]; k++) {
        struct one_range o;
        struct buf blocks[2] = { BUF_INIT(EXPORT_BLOCK_MAX), BUF_INIT(EXPORT_BLOCK_MAX) };
        struct export_range *g[2] = { NULL, NULL };
        struct export_tally tally;
        bool out[2] = { false, false };
        giants_open(&o);
        fill(&o);
        one_view(&o, false, 0);
        store_number middle = one_number(o.st, binaries(), "b4");
        o.items[0] =
            (struct export_item){ .kind = EXPORT_SCAN, .range = { binaries(), 0, middle } };
        o.items[1] =
            (struct export_item){ .kind = EXPORT_SCAN, .range = { binaries(), middle, 0 } };
        o.x.plan.n = 2;
        o.x.plan.object_bytes = object_bytes[k];
        size_t before = in_use();
        for (size_t i = 0; i < 2; i++)
            OK(export_range_open(&o.x, i, &blocks[i], &g[i], e));
        while (!out[0] || !out[1]) {
            for (size_t i = 0; i < 2; i++) {
                if (out[i])
                    continue;
                OK(export_range_fill(g[i], e));
                assert_int_equal(o.f.env->alone.n_inside, 0);
                if (!TEST_SANITIZED)
                    assert_true(in_use() < before + DATA_BYTES);
            }
            if (!out[0] && !out[1])
                export_ranges_digest(g[0], g[1]);
            for (size_t i = 0; i < 2; i++) {
                struct err err;
                if (!out[i])
                    out[i] = export_range_flush(g[i], &err) == ERR_EOF;
            }
        }
        for (size_t i = 0; i < 2; i++) {
            CLEANUP_BUF struct buf have = BUF_INIT(256u << 20), want = BUF_INIT(256u << 20);
            OK(export_range_finish(g[i], &tally, e));
            assert_int_equal(tally.resources, i ? N_ROWS - 4 : 4);
            assert_int_equal(tally.objects, k == 0 ? tally.resources : k == 2 ? 1 : tally.objects);
            add_objects(&o, i, (unsigned)tally.objects, &have);
            add_expected(&o, i ? 4 : 0, i ? N_ROWS : 4, &want);
            assert_int_equal(have.len, want.len);
            assert_memory_equal(have.ptr, want.ptr, want.len);
            export_range_free(g[i]);
            buf_done(&blocks[i]);
        }
        assert_int_equal(o.f.env->alone.most_inside, 1);
        one_close(&o);
    }
}

static void *stop_who_waits(void *arg)
{
    struct one_range *o = arg;
    struct gate *gate = &o->f.env->alone;
    for (bool waits = false; !waits; sched_yield()) {
        pthread_mutex_lock(&gate->lock);
        waits = gate->waiting != NULL;
        pthread_mutex_unlock(&gate->lock);
    }
    atomic_store(&o->halt, true);
    store_giant_wake(o->st);
    return NULL;
}

TEST(giant, a_stop_ends_the_wait_for_its_place)
{
    struct one_range o;
    CLEANUP_BUF struct buf block = BUF_INIT(EXPORT_BLOCK_MAX);
    struct export_range *g = NULL;
    pthread_t thread;
    giants_open(&o);
    fill(&o);
    one_view(&o, false, 0);
    one_item(&o, EXPORT_SCAN, 1u << 30);
    o.items[0].range.type = binaries();
    OK(export_range_open(&o.x, 0, &block, &g, e));
    OK(store_giant_enter(o.st, NULL, e));
    assert_int_equal(pthread_create(&thread, NULL, stop_who_waits, &o), 0);
    FAILS(ERR_CANCELLED, export_range_fill(g, e));
    pthread_join(thread, NULL);
    store_giant_leave(o.st);
    export_range_free(g);
    assert_int_equal(o.f.env->alone.n_inside, 0);
    one_close(&o);
}

TEST_MAIN(T(giant, two_ranges_of_one_thread_write_theirs_in_turn_and_hold_none_between),
          T(giant, a_stop_ends_the_wait_for_its_place))
