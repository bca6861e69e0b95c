/* The spool of an encrypted data store's import: nobody reads it, a run that is taken up goes on in
 * it, and what is uploaded is what was written. */
#include "one_import.h"

#include "base/rng.h"
#include "import/outcome_private.h"
#include "store/store_private.h"

#include <fcntl.h>
#include <unistd.h>

#define MARK "marker that nobody may read"

static struct cipher_ring ring = { .n = 1 };

static const struct cipher_ring *ring_of(struct store *st)
{
    (void)st;
    return &ring;
}

struct spool {
    struct fx f;
    struct store_ops ops; /* those of the store in memory, with a ring */
    struct store *st;
    struct job job;
    struct job_run run;
    struct import_file file;
    struct import_files files;
    struct sink *out;
    char folder[200], path[300];
};

static void spool_open(struct spool *s)
{
    fx_open(&s->f);
    rng_bytes(ring.keys, sizeof ring.keys);
    s->st = memory_store();
    s->ops = *s->st->ops;
    s->ops.ring = ring_of;
    s->st->ops = &s->ops;
    (void)snprintf(s->folder, sizeof s->folder, "%s/spool-of-one", s->f.spool);
    (void)snprintf(s->path, sizeof s->path, "%s/f0", s->folder);
    OK(file_mkdirs(s->folder, e));
    s->job = (struct job){ .kind = JOB_IMPORT, .id = SV_LIT(JOB), .datastore_id = FX_STORE };
    s->run = (struct job_run){ .job = &s->job, .store = s->st, .spool_dir = s->folder };
    s->file = (struct import_file){ .key = SV_LIT("a.ndjson"),
                                    .out_name = SV_LIT("a.ndjson"),
                                    .bytes = 1 << 20 };
    s->files = (struct import_files){ .items = &s->file, .n = 1, .bytes = 1 << 20 };
    const struct sink_target t = { .uri = SV_LIT("s3://out/job"), .role_arn = FX_ROLE };
    OK(sink_open(s->f.world, &t, &s->out, e));
}

static void spool_close(struct spool *s)
{
    sink_close(s->out);
    store_close(s->st);
    fx_close(&s->f);
}

static void add(struct import_outcome *outcome, const char *line)
{
    const sv lines[IMPORT_N_KINDS] = { [IMPORT_FAILURE] = sv_from(line) };
    OK(import_outcome_add(outcome, 0, lines, e));
}

/* The spool as it stands on the disk. */
static void stands(const struct spool *s, size_t bytes)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    OK(file_read(s->path, &b, e));
    assert_int_equal(b.len, CIPHER_PREFIX + bytes);
    assert_memory_equal(b.ptr, CIPHER_MAGIC, sizeof CIPHER_MAGIC - 1);
    assert_null(memmem(b.ptr, b.len, MARK, sizeof MARK - 1));
}

TEST(spool, of_an_encrypted_store_is_read_by_nobody_and_goes_on_where_it_counted)
{
    (void)state;
    static const char one[] = "{\"lineId\":1,\"" MARK "\":1}\n", two[] = "{\"lineId\":2,\"x\":2}\n";
    static struct spool s;
    CLEANUP_BUF struct buf point = BUF_INIT(1 << 16), long_line = BUF_INIT(1 << 20);
    struct json_writer w;
    yyjson_doc *doc;
    spool_open(&s);
    /* longer than what is encrypted at a time */
    OK(buf_add(&long_line, SV_LIT("{\"lineId\":3,\"" MARK "\":\""), e));
    for (unsigned i = 0; i < 50000; i++)
        OK(buf_add_char(&long_line, (char)('a' + i % 26), e));
    OK(buf_add(&long_line, sv_make("\"}\n", 4), e));
    struct import_outcome *outcome = import_outcome_new(&s.run, s.out, &s.files);
    add(outcome, one);
    stands(&s, sizeof one - 1);
    json_writer_init(&w, &point);
    import_outcome_write(outcome, &w);
    OK(json_writer_end(&w, e));
    /* behind the resume point: lost with the run */
    add(outcome, two);
    import_outcome_free(outcome);
    outcome = import_outcome_new(&s.run, s.out, &s.files);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    OK(json_read(a, arena_sv(a, buf_sv(&point)), 8, &doc, e));
    OK(import_outcome_restore(outcome, yyjson_doc_get_root(doc), e));
    stands(&s, sizeof one - 1);
    add(outcome, two);
    add(outcome, long_line.ptr);
    stands(&s, sizeof one - 1 + sizeof two - 1 + long_line.len - 1);
    OK(import_outcome_end(outcome, 0, e));
    OK(import_outcome_upload(outcome, e));
    import_outcome_free(outcome);
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST), want = BUF_INIT(FX_MOST);
    fx_tree(&s.f, "out/job/FAILURE", &got);
    OK(buf_add_fmt(&want, e, "== a.ndjson\n%s%s%s", one, two, long_line.ptr));
    fx_same(buf_sv(&got), buf_sv(&want));
    spool_close(&s);
}

/* Other lines may come than those that were cut off: what was there and what is there must not be
 * under one key and counter. */
TEST(spool, that_is_cut_back_goes_on_under_another_key)
{
    (void)state;
    static const char one[] = "{\"lineId\":1}\n";
    static const char was[] = "{\"lineId\":2,\"was\":\"" MARK "\"}\n";
    static const char is[] = "{\"lineId\":2,\"is!\":\"another text\"}\n";
    static struct spool s;
    yyjson_doc *doc;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf before = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20);
    const size_t at = CIPHER_PREFIX + sizeof one - 1;
    spool_open(&s);
    struct import_outcome *outcome = import_outcome_new(&s.run, s.out, &s.files);
    add(outcome, one);
    add(outcome, was);
    import_outcome_free(outcome);
    OK(file_read(s.path, &before, e));
    sv point = arena_fmt(a, "[{\"file\":0,\"success\":0,\"failure\":%zu,\"withIssues\":0}]",
                         sizeof one - 1);
    OK(json_read(a, point, 8, &doc, e));
    outcome = import_outcome_new(&s.run, s.out, &s.files);
    OK(import_outcome_restore(outcome, yyjson_doc_get_root(doc), e));
    add(outcome, is);
    OK(import_outcome_end(outcome, 0, e));
    OK(file_read(s.path, &after, e));
    assert_int_equal(after.len, at + sizeof is - 1);
    unsigned n_told = 0;
    for (size_t i = 0; i < sizeof is - 1 && i < sizeof was - 1; i++)
        n_told += (char)(before.ptr[at + i] ^ after.ptr[at + i]) == (char)(was[i] ^ is[i]);
    assert_true(n_told < sizeof is / 2);
    OK(import_outcome_upload(outcome, e));
    import_outcome_free(outcome);
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST), want = BUF_INIT(FX_MOST);
    fx_tree(&s.f, "out/job/FAILURE", &got);
    OK(buf_add_fmt(&want, e, "== a.ndjson\n%s%s", one, is));
    fx_same(buf_sv(&got), buf_sv(&want));
    spool_close(&s);
}

TEST(spool, that_was_changed_in_its_beginning_or_cut_is_refused)
{
    (void)state;
    static struct spool s;
    spool_open(&s);
    struct import_outcome *outcome = import_outcome_new(&s.run, s.out, &s.files);
    add(outcome, "{\"lineId\":1}\n");
    import_outcome_free(outcome);
    int fd = open(s.path, O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, 50), 1);
    close(fd);
    yyjson_doc *doc;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    OK(json_read(
        a, arena_sv(a, SV_LIT("[{\"file\":0,\"success\":0,\"failure\":13,\"withIssues\":0}]")), 8,
        &doc, e));
    outcome = import_outcome_new(&s.run, s.out, &s.files);
    FAILS(ERR_CORRUPT, import_outcome_restore(outcome, yyjson_doc_get_root(doc), e));
    import_outcome_free(outcome);
    assert_int_equal(truncate(s.path, 13), 0);
    outcome = import_outcome_new(&s.run, s.out, &s.files);
    FAILS(ERR_CORRUPT, import_outcome_restore(outcome, yyjson_doc_get_root(doc), e));
    import_outcome_free(outcome);
    spool_close(&s);
}

TEST_MAIN(T(spool, of_an_encrypted_store_is_read_by_nobody_and_goes_on_where_it_counted),
          T(spool, that_is_cut_back_goes_on_under_another_key),
          T(spool, that_was_changed_in_its_beginning_or_cut_is_refused))
