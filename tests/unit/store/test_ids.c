/* The family of ids under a random history: loads filled side by side, published in any order or
 * given up at any stage, online writes between them, kills. However it goes, an id has one number
 * for ever and a number one id (I8), a row stands before the first version does, and where a row
 * has no flag and a load's first version is visible, that is the only one.
 *
 * What stands around the family here is as small as it can be: versions say their id and nothing
 * else, commits are counted. */
#include "test.h"

#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "store/rocks/numbers/ids.h"
#include "store/rocks/rocks_private.h"
#include "store/threads.h"

#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_IDS = 80, MOST_ITEMS = 24, MOST_COMMITS = 1 << 16 };
enum { F_COMMITS, F_IDS, F_VERSIONS, N_FAMILIES };

struct mini {
    char path[64];
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_column_family_handle_t *cf[N_FAMILIES];
    rocksdb_writeoptions_t *sync;
    struct ids_family ids;
    pthread_mutex_t lock; /* who gives t holds it */
    uint64_t t, b;
    struct number_source online;
    int acks; /* -1, or where the t of each acknowledged commit goes */
};

static void mini_open(struct mini *m)
{
    static const char *const names[N_FAMILIES] = { "default", "ids", "versions" };
    const rocksdb_options_t *per_cf[N_FAMILIES];
    char *bad = NULL;
    size_t len;
    m->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(m->options, 1);
    rocksdb_options_set_create_missing_column_families(m->options, 1);
    rocks_options_place(&m->options, m->path);
    for (int i = 0; i < N_FAMILIES; i++)
        per_cf[i] = m->options;
    m->db =
        rocksdb_open_column_families(m->options, m->path, N_FAMILIES, names, per_cf, m->cf, &bad);
    if (bad)
        fail_msg("%s", bad);
    m->sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(m->sync, 1);
    m->ids = (struct ids_family){ m->db, m->cf[F_IDS], m->options, claims_new() };
    pthread_mutex_init(&m->lock, NULL);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *v = rocksdb_get_cf(m->db, ro, m->cf[F_COMMITS], "n", 1, &len, &bad);
    m->b = v ? key_get_u64(v) : 1;
    rocksdb_free(v);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(m->db, ro, m->cf[F_COMMITS]);
    m->t = 0;
    for (rocksdb_iter_seek(it, "c", 1); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        const char *k = rocksdb_iter_key(it, &len);
        if (len != 9 || k[0] != 'c')
            break;
        m->t = key_get_u64(k + 1);
    }
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    m->online = (struct number_source){ .b = 0 };
}

static void mini_close(struct mini *m)
{
    claims_free(m->ids.claims);
    for (int i = 0; i < N_FAMILIES; i++)
        rocksdb_column_family_handle_destroy(m->cf[i]);
    rocksdb_close(m->db);
    rocksdb_options_destroy(m->options);
    rocksdb_writeoptions_destroy(m->sync);
    pthread_mutex_destroy(&m->lock);
}

static void new_folder(struct mini *m)
{
    (void)snprintf(m->path, sizeof m->path, TEST_TMP "/fhirlake-ids-%016llx",
                   (unsigned long long)rng_u64());
    OK(file_mkdirs(m->path, e));
}

/* ---- what the store will do ---- */

static const fhir_type type_of[] = { 1, 2, 7 };

struct item {
    fhir_type type;
    char id[40];
};

/* Half of the ids are UUIDs, half are text. */
static struct item item_of(unsigned i)
{
    struct item x = { .type = type_of[i % 3] };
    if (i % 2)
        (void)snprintf(x.id, sizeof x.id, "%08x-0000-4000-8000-00000000000f", i);
    else
        (void)snprintf(x.id, sizeof x.id, "id-%u", i);
    return x;
}

/* The next b, on disk before it is used. */
static err_code next_b(struct mini *m, uint64_t *b, struct err *e)
{
    char v[8], *bad = NULL;
    pthread_mutex_lock(&m->lock);
    *b = m->b++;
    key_put_u64(v, m->b);
    rocksdb_put_cf(m->db, m->sync, m->cf[F_COMMITS], "n", 1, v, 8, &bad);
    pthread_mutex_unlock(&m->lock);
    return rocks_error(bad, "numbers", e);
}

static void version_key(store_number number, key_kind kind, uint64_t n, char out[17])
{
    key_put_u64(out, number);
    out[8] = (char)kind;
    key_put_u64(out + 9, ~n);
}

struct load {
    uint64_t b;
    struct claims_holder *holder;
    struct item items[MOST_ITEMS];
    struct number_ask asks[MOST_ITEMS];
    size_t n;
    bool rows;
};

static void staged(const struct mini *m, const struct load *l, const char *what, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%llu-%s", m->path, (unsigned long long)l->b, what);
}

static int by_number(const void *a, const void *b)
{
    const struct number_ask *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static err_code load_fill(struct mini *m, struct load *l, struct err *e)
{
    struct number_source from = { 0 };
    char path[PATH_MAX], *bad = NULL;
    TRY(next_b(m, &l->b, e));
    from.b = l->b;
    l->holder = claims_hold(m->ids.claims);
    for (size_t i = 0; i < l->n; i++)
        l->asks[i] = (struct number_ask){ .type = l->items[i].type, .id = sv_from(l->items[i].id) };
    struct ids_keys *keys = ids_keys_new(l->asks, l->n);
    err_code rc = ids_number(&m->ids, l->holder, &from, keys, l->asks, NULL, e);
    staged(m, l, "i", path);
    if (rc == ERR_OK)
        rc = ids_write_file(&m->ids, path, keys, &l->rows, e);
    ids_keys_free(keys);
    TRY(rc);
    qsort(l->asks, l->n, sizeof l->asks[0], by_number);
    staged(m, l, "v", path);
    rocksdb_envoptions_t *eo = rocksdb_envoptions_create();
    rocksdb_sstfilewriter_t *w = rocksdb_sstfilewriter_create(eo, m->options);
    rocksdb_sstfilewriter_open(w, path, &bad);
    for (size_t i = 0; i < l->n && bad == NULL; i++) {
        char key[17];
        version_key(l->asks[i].number, KEY_BULK, l->b, key);
        rocksdb_sstfilewriter_put(w, key, sizeof key, l->asks[i].id.ptr, l->asks[i].id.len, &bad);
    }
    if (bad == NULL)
        rocksdb_sstfilewriter_finish(w, &bad);
    rocksdb_sstfilewriter_destroy(w);
    rocksdb_envoptions_destroy(eo);
    return rocks_error(bad, "fill", e);
}

static err_code take_in(struct mini *m, const struct load *l, const char *what, int cf,
                        struct err *e)
{
    char path[PATH_MAX], *bad = NULL;
    const char *files[] = { path };
    staged(m, l, what, path);
    rocksdb_ingestexternalfileoptions_t *o = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(o, 1);
    for (int tries = 0; tries < 1000; tries++) {
        rocksdb_ingest_external_file_cf(m->db, m->cf[cf], files, 1, o, &bad);
        /* see try_again() in rocks/bulk.c */
        if (bad == NULL || strncmp(bad, ROCKS_TRY_AGAIN, strlen(ROCKS_TRY_AGAIN)) != 0)
            break;
        rocksdb_free(bad);
        bad = NULL;
        (void)usleep(1000);
    }
    rocksdb_ingestexternalfileoptions_destroy(o);
    return rocks_error(bad, "taking in", e);
}

struct batch {
    struct mini *m;
    rocksdb_writebatch_t *b;
};

static void put_row(struct batch *b, fhir_type type, sv id, store_number number, bool later)
{
    struct ids_key k = ids_key(type, id);
    char v[IDS_VALUE_LEN];
    ids_value_put(number, later, v);
    rocksdb_writebatch_put_cf(b->b, b->m->cf[F_IDS], k.ptr, k.len, v, sizeof v);
}

static void put_shared(void *ctx, fhir_type type, sv id, store_number number)
{
    put_row(ctx, type, id, number, true);
}

static void put_commit(struct batch *b, char letter, uint64_t at, uint64_t what)
{
    struct key_bytes k = key_commit(letter, at);
    char v[8];
    key_put_u64(v, what);
    rocksdb_writebatch_put_cf(b->b, b->m->cf[F_COMMITS], k.ptr, k.len, v, 8);
}

static err_code write_batch(struct mini *m, struct batch *b, struct err *e)
{
    char *bad = NULL;
    rocksdb_write(m->db, m->sync, b->b, &bad);
    rocksdb_writebatch_destroy(b->b);
    return rocks_error(bad, "writing", e);
}

static void acknowledge(const struct mini *m, uint64_t t)
{
    if (m->acks >= 0 && write(m->acks, &t, sizeof t) != sizeof t)
        abort();
}

/* stage 0: given up before anything is taken in; 1: behind the rows; 2: behind the versions; 3:
 * published. */
static err_code load_end(struct mini *m, struct load *l, int stage, struct err *e)
{
    if (stage >= 1 && l->rows)
        TRY(take_in(m, l, "i", F_IDS, e));
    if (stage >= 2)
        TRY(take_in(m, l, "v", F_VERSIONS, e));
    if (stage >= 3) {
        struct batch b = { m, rocksdb_writebatch_create() };
        pthread_mutex_lock(&m->lock);
        uint64_t t = m->t + 1;
        put_commit(&b, 'b', l->b, t);
        put_commit(&b, 'c', t, l->n);
        claims_each_shared(l->holder, put_shared, &b);
        err_code rc = write_batch(m, &b, e);
        if (rc == ERR_OK)
            m->t = t;
        pthread_mutex_unlock(&m->lock);
        TRY(rc);
        acknowledge(m, t);
    }
    claims_release(l->holder);
    return ERR_OK;
}

static err_code online(struct mini *m, const struct item *items, size_t n, struct err *e)
{
    struct number_ask asks[MOST_ITEMS];
    for (size_t i = 0; i < n; i++)
        asks[i] = (struct number_ask){ .type = items[i].type, .id = sv_from(items[i].id) };
    struct batch b = { m, rocksdb_writebatch_create() };
    struct claims_holder *h = claims_hold(m->ids.claims);
    pthread_mutex_lock(&m->lock);
    uint64_t t = m->t + 1;
    struct ids_keys *keys = ids_keys_new(asks, n);
    err_code rc = ids_number(&m->ids, h, &m->online, keys, asks, NULL, e);
    ids_keys_free(keys);
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        char key[17];
        version_key(asks[i].number, KEY_ONLINE, t, key);
        rocksdb_writebatch_put_cf(b.b, m->cf[F_VERSIONS], key, sizeof key, asks[i].id.ptr,
                                  asks[i].id.len);
        if (asks[i].how != NUMBER_KNOWN || !asks[i].later)
            put_row(&b, asks[i].type, asks[i].id, asks[i].number, asks[i].how != NUMBER_BORN);
    }
    put_commit(&b, 'c', t, n);
    if (rc == ERR_OK)
        rc = write_batch(m, &b, e);
    if (rc == ERR_OK)
        m->t = t;
    pthread_mutex_unlock(&m->lock);
    claims_release(h);
    TRY(rc);
    acknowledge(m, t);
    return ERR_OK;
}

/* ---- one thread's part of the history ---- */

struct player {
    struct mini *m;
    uint64_t state;
    unsigned turns;
    pthread_t thread;
};

static unsigned roll(struct player *p, unsigned n)
{
    p->state = p->state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(p->state >> 33) % n;
}

static int by_type_then_id(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return x->type != y->type ? (int)x->type - (int)y->type : strcmp(x->id, y->id);
}

/* Some ids, each once, by type and id. */
static size_t pick(struct player *p, struct item items[MOST_ITEMS], unsigned most)
{
    bool taken[N_IDS] = { false };
    size_t n = 1 + roll(p, most);
    for (size_t i = 0; i < n; i++) {
        unsigned x;
        do {
            x = roll(p, N_IDS);
        } while (taken[x]);
        taken[x] = true;
        items[i] = item_of(x);
    }
    qsort(items, n, sizeof items[0], by_type_then_id);
    return n;
}

static void *play(void *ctx)
{
    struct player *p = ctx;
    struct load *open[3] = { NULL };
    for (unsigned turn = 0; turn < p->turns; turn++) {
        unsigned what = roll(p, 10);
        struct load **at = &open[roll(p, 3)];
        if (what < 3) {
            struct item items[MOST_ITEMS];
            size_t n = pick(p, items, 4);
            THREAD_OK(online(p->m, items, n, e));
        } else if (*at == NULL) {
            *at = calloc(1, sizeof **at);
            (*at)->n = pick(p, (*at)->items, MOST_ITEMS);
            THREAD_OK(load_fill(p->m, *at, e));
        } else {
            int stage = roll(p, 3) ? 3 : (int)roll(p, 3);
            THREAD_OK(load_end(p->m, *at, stage, e));
            free(*at);
            *at = NULL;
        }
    }
    for (int i = 0; i < 3; i++)
        if (open[i]) {
            THREAD_OK(load_end(p->m, open[i], 3, e));
            free(open[i]);
        }
    return NULL;
}

/* ---- what must hold ---- */

typedef void (*row_fn)(void *ctx, sv key, sv value);
static void each(struct mini *m, int cf, row_fn fn, void *ctx)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(m->db, ro, m->cf[cf]);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t k_len, v_len;
        const char *k = rocksdb_iter_key(it, &k_len), *v = rocksdb_iter_value(it, &v_len);
        fn(ctx, sv_make(k, k_len), sv_make(v, v_len));
    }
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
}

struct seen {
    struct mini *m;
    struct {
        store_number number;
        fhir_type type;
        char id[40];
        bool later, first_visible;
        unsigned n_visible;
    } rows[N_IDS];
    size_t n;
    uint64_t load_t[MOST_COMMITS]; /* by b: at which t it was published */
    unsigned n_of[MOST_COMMITS];   /* by t: visible versions of that commit */
    unsigned said[MOST_COMMITS];   /* by t: as many as its record says */
};

static void see_row(void *ctx, sv key, sv value)
{
    struct seen *s = ctx;
    char id[64];
    size_t len;
    assert_true(s->n < N_IDS);
    assert_true(ids_key_split(key, &s->rows[s->n].type, id, &len));
    (void)snprintf(s->rows[s->n].id, sizeof s->rows[0].id, "%.*s", (int)len, id);
    assert_true(ids_value_split(value, &s->rows[s->n].number, &s->rows[s->n].later));
    assert_int_equal(number_type(s->rows[s->n].number), s->rows[s->n].type);
    for (size_t i = 0; i < s->n; i++)
        if (s->rows[i].number == s->rows[s->n].number)
            fail_msg("%s and %s have one number", s->rows[i].id, s->rows[s->n].id);
    s->n++;
}

static void see_commit(void *ctx, sv key, sv value)
{
    struct seen *s = ctx;
    uint64_t n = key.len == 9 ? key_get_u64(key.ptr + 1) : 0;
    assert_true(n < MOST_COMMITS);
    if (key.len == 9 && key.ptr[0] == 'b')
        s->load_t[n] = key_get_u64(value.ptr);
    if (key.len == 9 && key.ptr[0] == 'c')
        s->said[n] = (unsigned)key_get_u64(value.ptr);
}

static void see_version(void *ctx, sv key, sv value)
{
    struct seen *s = ctx;
    store_number number = key_get_u64(key.ptr);
    key_kind kind = (key_kind)key.ptr[8];
    uint64_t n = ~key_get_u64(key.ptr + 9), t = kind == KEY_ONLINE ? n : s->load_t[n];
    size_t i = 0;
    while (i < s->n && s->rows[i].number != number)
        i++;
    if (i == s->n)
        fail_msg("a version of %.*s stands under a number that no row has", SV_FMT(value));
    assert_sv(value, sv_from(s->rows[i].id));
    if (t == 0)
        return;
    s->n_of[t]++;
    s->rows[i].n_visible++;
    s->rows[i].first_visible |= kind == KEY_BULK && n == number_b(number);
}

static void check(struct mini *m, struct seen *s)
{
    *s = (struct seen){ .m = m };
    each(m, F_IDS, see_row, s);
    each(m, F_COMMITS, see_commit, s);
    each(m, F_VERSIONS, see_version, s);
    /* a reader who finds no flag, and the first version, looks no further */
    for (size_t i = 0; i < s->n; i++)
        if (!s->rows[i].later && s->rows[i].first_visible && s->rows[i].n_visible > 1)
            fail_msg("%s has %u versions, and its row tells of one", s->rows[i].id,
                     s->rows[i].n_visible);
    for (uint64_t t = 1; t <= m->t; t++)
        if (s->n_of[t] != s->said[t])
            fail_msg("commit %llu has %u versions instead of %u", (unsigned long long)t, s->n_of[t],
                     s->said[t]);
}

/* ---- the histories ---- */

enum { N_PLAYERS = 4 };

static void play_all(struct mini *m, uint64_t seed, unsigned turns)
{
    struct player p[N_PLAYERS];
    OK(next_b(m, &m->online.b, e));
    for (int i = 0; i < N_PLAYERS; i++) {
        p[i] = (struct player){ .m = m, .state = seed * 77 + (unsigned)i, .turns = turns };
        assert_int_equal(pthread_create(&p[i].thread, NULL, play, &p[i]), 0);
    }
    for (int i = 0; i < N_PLAYERS; i++)
        (void)pthread_join(p[i].thread, NULL);
}

TEST(ids, a_key_is_the_id_and_sorts_by_type_first)
{
    (void)state;
    static const char *const ids[] = {
        "a",
        "A.b-c",
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "3F2504E0-4F89-41D3-9A0C-0305E82C3301",
        "3f2504e0-4f89-41d3-9a0c-0305e82c330",
        "3f2504e04f8941d39a0c0305e82c3301",
        "3f2504e0-4f89-41d3-9a0c-0305e82c330g",
        "1234567890123456789012345678901234567890123456789012345678901234"
    };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        struct ids_key k = ids_key(9, sv_from(ids[i]));
        fhir_type type;
        char id[64];
        size_t len;
        assert_true(ids_key_split(sv_make(k.ptr, k.len), &type, id, &len));
        assert_int_equal(type, 9);
        assert_sv(sv_make(id, len), sv_from(ids[i]));
        assert_int_equal(k.len, i == 2 ? 18 : 2 + strlen(ids[i]));
    }
    /* the text of a UUID under the form of texts would be a second key of one id */
    char twice[2 + 36] = { 9, 0 };
    memcpy(twice + 2, ids[2], 36);
    fhir_type type;
    char id[64];
    size_t len;
    assert_false(ids_key_split(sv_make(twice, sizeof twice), &type, id, &len));
    assert_false(ids_key_split(SV_LIT("\x09"), &type, id, &len));
    assert_false(ids_key_split(SV_LIT("\x09\x01short"), &type, id, &len));
    assert_false(ids_key_split(SV_LIT("\x09\x02id"), &type, id, &len));
}

TEST(ids, a_value_that_is_damaged_is_no_row)
{
    (void)state;
    char v[IDS_VALUE_LEN];
    store_number n;
    bool later;
    ids_value_put(number_make(77, 5, 3), true, v);
    assert_true(ids_value_split(sv_make(v, sizeof v), &n, &later));
    assert_true(n == number_make(77, 5, 3) && later);
    assert_false(ids_value_split(sv_make(v, sizeof v - 1), &n, &later));
    v[8] = 2;
    assert_false(ids_value_split(sv_make(v, sizeof v), &n, &later));
    memset(v, 0, sizeof v);
    assert_false(ids_value_split(sv_make(v, sizeof v), &n, &later));
}

static struct seen what_is; /* too large for a stack */

TEST(ids, have_one_number_for_ever_whatever_loads_and_writes_do)
{
    (void)state;
    unsigned rounds = test_is_long() ? 200 : TEST_SANITIZED ? 6 : 12;
    for (unsigned round = 0; round < rounds; round++) {
        struct mini m = { .acks = -1 };
        new_folder(&m);
        mini_open(&m);
        play_all(&m, round, 60);
        assert_threads_were_fine();
        assert_int_equal(claims_count(m.ids.claims), 0);
        check(&m, &what_is);
        mini_close(&m);
        OK(file_remove_tree(m.path, e));
    }
}

/* A child plays until it is killed; what it acknowledged must be there. */
static void play_until_killed(struct mini *m, unsigned round)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char seed[16];
        (void)close(ends[0]);
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)snprintf(seed, sizeof seed, "%u", 1000 + round);
        /* a fork alone would have RocksDB's pools without their threads */
        execl("/proc/self/exe", "test_ids", "--play", m->path, seed, (char *)NULL);
        _exit(8);
    }
    (void)close(ends[1]);
    /* so many acknowledgements, and then at whatever it is doing */
    uint64_t t, last = 0;
    unsigned n = 0, upto = 20 + round * 7 % 90;
    while (n < upto && read(ends[0], &t, sizeof t) == sizeof t)
        n++, last = t > last ? t : last;
    (void)kill(child, SIGKILL);
    while (read(ends[0], &t, sizeof t) == sizeof t)
        last = t > last ? t : last;
    (void)close(ends[0]);
    int status;
    assert_true(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    assert_int_equal(n, upto);
    m->acks = -1;
    mini_open(m);
    assert_true(m->t >= last);
    check(m, &what_is);
    mini_close(m);
}

TEST(ids, keep_their_numbers_over_kills)
{
    (void)state;
    unsigned kills = test_is_long() ? 200 : TEST_SANITIZED ? 3 : 8;
    struct mini m = { .acks = -1 };
    new_folder(&m);
    for (unsigned round = 0; round < kills; round++)
        play_until_killed(&m, round);
    OK(file_remove_tree(m.path, e));
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--play") == 0) {
        struct mini m = { .acks = STDOUT_FILENO };
        (void)snprintf(m.path, sizeof m.path, "%s", argv[2]);
        mini_open(&m);
        play_all(&m, strtoull(argv[3], NULL, 10), UINT_MAX);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        T(ids, a_key_is_the_id_and_sorts_by_type_first),
        T(ids, a_value_that_is_damaged_is_no_row),
        T(ids, have_one_number_for_ever_whatever_loads_and_writes_do),
        T(ids, keep_their_numbers_over_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
