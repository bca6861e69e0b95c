/* test_reuse_s3.c - exports that go on from an earlier one in an S3 endpoint: what its check sees,
 * and an endpoint that refuses copies. */
#include "../job/fixture.h"
#include "left.h"

#include "../../peers/hostile.h"
#include "sink/sink.h"

#define N       900u /* resources; some twelve of them come to an object */
#define OBJECTS 50u  /* more than that: then some range is checked */

static struct peer minio;
static bool has_minio;

struct room {
    struct fx f;
    struct store *st;
    sv bucket, role, key;
};

static void load(struct room *r)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(16 << 20);
    CLEANUP(fhir_reader_free) struct fhir_reader *reader = fhir_reader_new(1 << 20);
    struct store_bulk_item *items = arena_calloc(a, N, sizeof *items);
    struct store_bulk *bulk;
    struct store_commit c;
    OK(buf_reserve(&b, 4 << 20, e));
    for (unsigned i = 0; i < N; i++) {
        struct fhir_envelope env;
        sv text = arena_fmt(a,
                            "{\"resourceType\":\"Observation\",\"id\":\"i%u\",\"status\":\"final\","
                            "\"code\":{\"text\":\"%0200u\"}}",
                            i, i * 7919u);
        OK(fhir_envelope_read(reader, text, SV_NONE, &b, &env, e));
        items[i] = (struct store_bulk_item){
            .type = env.type, .id = arena_sv(a, env.id), .body = env.body, .seq = i
        };
    }
    OK(store_bulk_begin(r->st, &bulk, e));
    OK(store_bulk_fill(bulk, items, N, e));
    OK(store_bulk_publish(&bulk, SV_NONE, SV_NONE, &c, e));
}

/* An engine whose exports go to an endpoint. */
static void room_open(struct room *r, const struct s3_endpoint *ep,
                      const struct s3_credentials *own)
{
    struct sink_config cfg = { .s3 = ep, .sts = ep, .own = *own };
    fx_open(&r->f);
    sink_world_free(r->f.world);
    OK(sink_world_new(&cfg, &r->f.world, e));
    fx_engine(&r->f, 2, 3000, 0);
    r->st = fx_store(&r->f);
    load(r);
}

static void hostile_room(struct room *r)
{
    const struct s3_endpoint ep = { .url = sv_from(bad_url),
                                    .region = SV_LIT("us-east-1"),
                                    .max_attempts = 3,
                                    .timeout_ms = 3600000 };
    const struct s3_credentials own = { .access_key_id = SV_LIT("AKID"),
                                        .secret_key = SV_LIT("s") };
    *r = (struct room){ .bucket = SV_LIT("b1b"), .role = FX_ROLE, .key = FX_KEY };
    script("[]");
    control("/_copies", "{}", NULL);
    room_open(r, &ep, &own);
}

static void minio_room(struct room *r)
{
    const struct s3_endpoint ep = { .url = peer_text(&minio, "url"),
                                    .region = peer_text(&minio, "region"),
                                    .max_attempts = 3,
                                    .timeout_ms = 30000 };
    const struct s3_credentials own = { .access_key_id = peer_text(&minio, "own_key"),
                                        .secret_key = peer_text(&minio, "own_secret") };
    *r = (struct room){ .bucket = peer_text(&minio, "bucket"),
                        .role = peer_text(&minio, "role"),
                        .key = peer_text(&minio, "kms_key") };
    room_open(r, &ep, &own);
}

static void room_close(struct room *r)
{
    store_registry_release(r->f.stores, r->st);
    fx_close(&r->f);
}

static void submit(struct room *r, struct arena *a, struct job *out)
{
    static const struct job_export_params all = { .level = JOB_EXPORT_SYSTEM };
    sv output = arena_fmt(a, "s3://%.*s/reuse", SV_FMT(r->bucket));
    struct job_request q = fx_request(JOB_EXPORT, "", output.ptr);
    q.role_arn = r->role;
    q.kms_key_id = r->key;
    q.params = &all;
    OK(job_submit(r->f.engine, &q, a, out, e));
}

static struct job export_job(struct room *r, struct arena *a)
{
    struct job j;
    submit(r, a, &j);
    return fx_wait(&r->f, JOB_EXPORT, j.id, a);
}

/* One that is COMPLETED: how many objects it has, and how many of them are copies. */
static void exported(struct room *r, unsigned *n, unsigned *n_reused)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(16 << 20);
    struct job j = export_job(r, a);
    yyjson_doc *doc;
    yyjson_val *v;
    size_t i, most;
    bool complete;
    if (j.status != JOB_COMPLETED)
        fail_msg("%.*s", SV_FMT(j.message));
    OK(job_export_manifest(r->f.engine, FX_STORE, j.id, &b, &complete, e));
    OK(json_read(a, buf_sv(&b), 8, &doc, e));
    *n = *n_reused = 0;
    yyjson_arr_foreach(json_get(yyjson_doc_get_root(doc), "output"), i, most, v)
    {
        ++*n;
        *n_reused += json_get(v, "reused") != NULL;
    }
}

/* ---- the check ---- */

static void check_sees(void (*open)(struct room *), const char *member)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct room r;
    struct left l;
    unsigned n, n_reused;
    open(&r);
    exported(&r, &n, &n_reused);
    assert_true(n > OBJECTS && n_reused == 0);
    /* what is right is checked, and copied all the same */
    exported(&r, &n, &n_reused);
    assert_int_equal(n_reused, n);
    assert_true(left_spoil(r.f.records, member) > OBJECTS);
    struct job j = export_job(&r, a);
    if (j.status != JOB_FAILED)
        fail_msg("nobody has seen a wrong %s", member);
    assert_true(sv_starts(j.message, SV_LIT("an object that an earlier export wrote")));
    left_find(r.f.records, &l);
    assert_int_equal(l.n, 0);
    left_done(&l);
    /* the next one goes on from nothing */
    exported(&r, &n, &n_reused);
    assert_int_equal(n_reused, 0);
    room_close(&r);
}

/* The endpoint compares a copy with the note's digest alone, and what it refuses is written. So
 * nobody but the check sees that a note is wrong. */
TEST(hostile, a_wrong_note_of_an_object_fails_the_export_that_checks_it)
{
    if (!has_bad)
        skip();
    check_sees(hostile_room, "\"sum\":\"");
    check_sees(hostile_room, "\"sha256\":\"");
    check_sees(hostile_room, "\"met\":");
}

TEST(minio, a_wrong_note_of_an_object_fails_the_export_that_checks_it)
{
    if (!has_minio)
        skip();
    check_sees(minio_room, "\"sum\":\"");
    check_sees(minio_room, "\"sha256\":\"");
}

/* ---- refusals ---- */

/* How many copies the endpoint was asked for since the last script. */
static unsigned n_asked(void)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    uint64_t left;
    size_t i, n;
    yyjson_val *log = log_of(a, &left), *one;
    unsigned asked = 0;
    yyjson_arr_foreach(log, i, n, one) asked +=
        json_get(json_get(one, "headers"), "x-amz-copy-source") != NULL;
    return asked;
}

TEST(hostile, an_endpoint_that_refuses_every_copy_is_asked_for_few)
{
    if (!has_bad)
        skip();
    static const struct {
        const char *how;
        unsigned tries;
    } cases[] = {
        { "{\"status\":403,\"code\":\"AccessDenied\"}", 1 },
        { "{\"status\":501,\"code\":\"NotImplemented\"}", 1 },
        { "{\"status\":503,\"code\":\"SlowDown\"}", 2 },
    };
    struct room r;
    unsigned n, n_reused;
    hostile_room(&r);
    exported(&r, &n, &n_reused);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        script("[]");
        control("/_copies", cases[i].how, NULL);
        exported(&r, &n, &n_reused);
        assert_int_equal(n_reused, 0);
        const unsigned asked = n_asked();
        if (asked == 0 || asked > 8 * cases[i].tries)
            fail_msg("%s: asked %u times", cases[i].how, asked);
        /* the next export asks again */
        control("/_copies", "{}", NULL);
        exported(&r, &n, &n_reused);
        assert_int_equal(n_reused, n);
    }
    room_close(&r);
}

/* ---- a cancel ---- */

static void copies_of(unsigned *begun, unsigned *ended)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 16);
    yyjson_doc *doc;
    uint64_t b = 0, n = 0;
    control("/_copies", NULL, &text);
    OK(json_read(a, buf_sv(&text), 4, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_true(sv_to_u64(json_number(json_get(root, "begun")), &b) &&
                sv_to_u64(json_number(json_get(root, "ended")), &n));
    *begun = (unsigned)b;
    *ended = (unsigned)n;
}

struct counted {
    unsigned n, n_resources; /* n_resources: of them, those that hold resources */
};

static bool count_object(void *ctx, sv key, uint64_t bytes)
{
    struct counted *c = ctx;
    (void)bytes;
    c->n++;
    c->n_resources += sv_ends(key, SV_LIT(".ndjson"));
    return true;
}

static struct counted objects_of(struct room *r, const struct job *j)
{
    CLEANUP(sink_close) struct sink *s = NULL;
    const struct sink_target t = { .uri = sv_head(j->job_folder_uri, j->job_folder_uri.len - 1),
                                   .role_arn = r->role,
                                   .session_name = SV_LIT("look") };
    struct err why;
    struct counted n = { 0 };
    OK(sink_open(r->f.world, &t, &s, e));
    err_code rc = sink_list(s, count_object, &n, &why);
    assert_true(rc == ERR_OK || rc == ERR_NOT_FOUND);
    return n;
}

/* A room with an export, and a second one of which at least four copies are under way: how they are
 * made. */
static void copies_begin(struct room *r, const char *how, struct arena *a, struct job *out)
{
    unsigned n, n_reused, begun = 0, ended;
    hostile_room(r);
    exported(r, &n, &n_reused);
    control("/_copies", how, NULL);
    submit(r, a, out);
    while (begun < 4) {
        fx_nap();
        copies_of(&begun, &ended);
    }
}

/* The endpoint makes a copy also when nobody waits for it any more. */
TEST(hostile, a_cancel_leaves_nothing_of_copies_that_were_under_way)
{
    if (!has_bad)
        skip();
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct room r;
    struct job j;
    unsigned begun, ended;
    copies_begin(&r, "{\"seconds\":2}", a, &j);
    OK(job_cancel(r.f.engine, JOB_EXPORT, FX_STORE, j.id, e));
    j = fx_wait(&r.f, JOB_EXPORT, j.id, a);
    assert_int_equal(j.status, JOB_CANCEL_COMPLETED);
    do {
        fx_nap();
        copies_of(&begun, &ended);
    } while (ended < begun);
    assert_int_equal(objects_of(&r, &j).n, 0);
    control("/_copies", "{}", NULL);
    room_close(&r);
}

/* A stop waits for no answer: one that did would see at least these four end. */
TEST(hostile, a_stop_waits_for_no_copy)
{
    if (!has_bad)
        skip();
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct room r;
    struct job j;
    unsigned begun, ended;
    copies_begin(&r, "{\"seconds\":60}", a, &j);
    fx_engine_stop(&r.f);
    copies_of(&begun, &ended);
    assert_int_equal(ended, 0);
    control("/_copies", "{}", NULL);
    room_close(&r);
}

/* ---- wrong copies ---- */

/* What the endpoint made stands where the range's objects belong, and is replaced by them: there
 * are as many, since the range has the same resources in the same versions. */
TEST(hostile, a_copy_that_is_wrong_is_replaced_by_what_is_written)
{
    if (!has_bad)
        skip();
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct room r;
    unsigned n, n_reused;
    hostile_room(&r);
    exported(&r, &n, &n_reused);
    script("[]");
    control("/_copies", "{\"spoil\":true}", NULL);
    struct job j = export_job(&r, a);
    control("/_copies", "{}", NULL);
    assert_int_equal(j.status, JOB_COMPLETED);
    assert_true(n_asked() > 0);
    assert_int_equal(objects_of(&r, &j).n_resources, n);
    /* right ones, made of those */
    exported(&r, &n, &n_reused);
    assert_int_equal(n_reused, n);
    room_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hostile, a_wrong_note_of_an_object_fails_the_export_that_checks_it),
        T(hostile, an_endpoint_that_refuses_every_copy_is_asked_for_few),
        T(hostile, a_copy_that_is_wrong_is_replaced_by_what_is_written),
        T(hostile, a_cancel_leaves_nothing_of_copies_that_were_under_way),
        T(hostile, a_stop_waits_for_no_copy),
        T(minio, a_wrong_note_of_an_object_fails_the_export_that_checks_it),
    };
    hostile_start();
    has_minio = test_is_long() && peer_start(&minio, "minio_peer.py");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    peer_stop(&bad);
    peer_stop(&minio);
    return failed;
}
