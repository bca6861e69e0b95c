/* A check of files. Whatever loads, commits, deletions, reopenings and kills did, it finds nothing.
 * Whatever is damaged afterwards, it finds that, and says where: each kind of damage is done to a
 * store of its own, by writing to the database behind the store's back. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/age.h"
#include "store/checking.h"
#include "store/threads.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct store_env *env;
static fhir_type patient, observation;
static char path[64];

static uint64_t rnd_state;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}

static void new_path(void)
{
    (void)snprintf(path, sizeof path, TEST_TMP "/fhirlake-check-%016llx",
                   (unsigned long long)rng_u64());
}

/* ---- what is written ---- */

struct made {
    sv json, index;
};

/* One of a few bodies, so that values are shared. */
static struct made make(struct arena *a, fhir_type type, unsigned n)
{
    static const char *const codes[] = { "a", "b", "c", "d", "e" };
    struct buf b = BUF_INIT(1 << 20);
    yyjson_doc *doc;
    struct made m;
    if (type == patient)
        m.json = arena_fmt(a,
                           "{\"resourceType\":\"Patient\",\"gender\":\"%s\",\"birthDate\":"
                           "\"19%02u-02-03\",\"name\":[{\"family\":\"F%u\"}]}",
                           n % 2 ? "male" : "female", n % 90, n % 7);
    else
        m.json = arena_fmt(a,
                           "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{"
                           "\"coding\":[{\"system\":\"http://a\",\"code\":\"%s\"}]},\"subject\":{"
                           "\"reference\":\"Patient/r%u\"}}",
                           codes[n % 5], n % 30);
    OK(json_read(a, m.json, 16, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &b, e));
    m.index = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return m;
}

static struct fhir_body body_of(fhir_type type, sv json)
{
    return (struct fhir_body){ json, type == patient ? 25u : 29u, FHIR_HOLE_NO_META };
}

/* Half of the ids are UUIDs. */
static sv id_of(struct arena *a, unsigned i)
{
    return i % 2 ? arena_fmt(a, "%08x-0000-4000-8000-00000000000f", i) : arena_fmt(a, "r%u", i);
}

static err_code write_one(struct store *st, fhir_type type, unsigned i, store_method method,
                          unsigned n, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct made m = make(a, type, n);
    struct store_commit c;
    struct store_write w = { .type = type, .id = id_of(a, i), .method = method };
    if (method != STORE_METHOD_DELETE) {
        w.body = body_of(type, m.json);
        w.index = m.index;
    }
    return store_commit(st, &w, 1, &c, e);
}

/* Ids from, from + step, ... */
static struct store_bulk *fill(struct store *st, unsigned from, unsigned step, unsigned n,
                               unsigned body)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    struct store_bulk_item *items = calloc(n, sizeof *items);
    struct store_bulk *b = NULL;
    struct err err, *e = &err;
    assert_non_null(items);
    for (unsigned i = 0; i < n; i++) {
        const unsigned id = from + i * step;
        const fhir_type type = id % 3 ? observation : patient;
        struct made m = make(a, type, body + i);
        items[i] = (struct store_bulk_item){ .type = type,
                                             .id = id_of(a, id),
                                             .body = body_of(type, m.json),
                                             .seq = i,
                                             .index = m.index };
    }
    if (store_bulk_begin(st, &b, e) != ERR_OK || store_bulk_fill(b, items, n, e) != ERR_OK)
        fail_msg("%s", err.msg);
    free(items);
    return b;
}

static void publish(struct store_bulk *b)
{
    struct store_commit c;
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
}

/* ---- histories ---- */

enum { N_IDS = 60 };

static void random_step(struct store **st, struct store_bulk *open[3])
{
    struct err err;
    struct store_bulk **at = &open[rnd(3)];
    const unsigned what = rnd(20), id = rnd(N_IDS);
    const fhir_type type = id % 3 ? observation : patient;
    if (what < 9) {
        /* some fail: there is nothing to delete */
        IGNORE(write_one(*st, type, id, rnd(4) ? STORE_METHOD_UPDATE : STORE_METHOD_DELETE,
                         rnd(100), &err));
    } else if (what == 9) {
        OK(store_counts_settle(*st, NULL, e));
    } else if (what == 10) {
        for (int i = 0; i < 3; i++) {
            store_bulk_abort(open[i]);
            open[i] = NULL;
        }
        store_close(*st);
        assert_checked(env, path);
        OK(store_open(env, path, false, st, e));
    } else if (*at == NULL) {
        *at = fill(*st, rnd(N_IDS), 1 + rnd(3), 1 + rnd(20), rnd(100));
    } else if (rnd(5) == 0) {
        store_bulk_abort(*at);
        *at = NULL;
    } else {
        publish(*at);
        *at = NULL;
    }
}

/* An open load that is not there is no load to give up. */
static void abort_all(struct store_bulk *open[3])
{
    for (int i = 0; i < 3; i++)
        if (open[i])
            store_bulk_abort(open[i]);
}

TEST(check, finds_nothing_wrong_after_random_histories)
{
    (void)state;
    for (unsigned seed = 1; seed <= (test_is_long() ? 60 : TEST_SANITIZED ? 2 : 6); seed++) {
        struct store *st;
        struct store_bulk *open[3] = { NULL };
        rnd_state = seed;
        new_path();
        OK(store_open(env, path, true, &st, e));
        for (unsigned i = 0; i < 120; i++)
            random_step(&st, open);
        abort_all(open);
        store_close(st);
        assert_checked(env, path);
        OK(file_remove_tree(path, e));
    }
}

struct player {
    struct store *st;
    unsigned seed, rounds;
};

/* All of them bring the same new ids at the same time. */
static void *play(void *ctx)
{
    const struct player *p = ctx;
    for (unsigned i = 0; i < p->rounds; i++) {
        if (p->seed % 2)
            for (unsigned k = 0; k < 4; k++)
                THREAD_OK(write_one(p->st, (i * 4 + k) % 3 ? observation : patient, i * 4 + k,
                                    STORE_METHOD_UPDATE, p->seed + i, e));
        else
            publish(fill(p->st, i * 4, 1, 4, p->seed + i));
    }
    return NULL;
}

static void play_all(struct store *st, unsigned rounds)
{
    enum { N = 6 };
    struct player p[N];
    pthread_t threads[N];
    for (unsigned i = 0; i < N; i++) {
        p[i] = (struct player){ st, i, rounds };
        assert_int_equal(pthread_create(&threads[i], NULL, play, &p[i]), 0);
    }
    for (unsigned i = 0; i < N; i++)
        (void)pthread_join(threads[i], NULL);
    assert_threads_were_fine();
}

TEST(check, finds_nothing_wrong_when_loads_and_commits_bring_the_same_new_ids_at_once)
{
    (void)state;
    struct store *st;
    new_path();
    OK(store_open(env, path, true, &st, e));
    play_all(st, test_is_long() ? 400 : 40);
    store_close(st);
    assert_checked(env, path);
    OK(file_remove_tree(path, e));
}

TEST(check, finds_nothing_wrong_after_kills)
{
    (void)state;
    new_path();
    for (unsigned round = 0; round < (test_is_long() ? 40 : TEST_SANITIZED ? 2 : 5); round++) {
        pid_t pid = fork();
        /* a fork alone would have RocksDB's pools without their threads */
        if (pid == 0) {
            execl("/proc/self/exe", "test_check", "--play", path, (char *)NULL);
            _exit(8);
        }
        /* the first time, until there is a store */
        char made[96];
        (void)snprintf(made, sizeof made, "%s/staging", path);
        while (access(made, F_OK) != 0)
            usleep(1000);
        usleep(20000 + (unsigned)(rng_u64() % 200000));
        (void)kill(pid, SIGKILL);
        int status;
        assert_true(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        assert_checked(env, path);
    }
    OK(file_remove_tree(path, e));
}

/* ---- a store to be damaged ---- */

/* Loads 1 (ids 0 to 39), 2 (given up), 3 (0 to 19 once more, and 40 to 59); commits change, delete
 * and bring some; 5 and 6 side by side bring 100 to 109, the later one first. The last load is not
 * settled. */
static char master[64];
static void make_master(void)
{
    struct store *st;
    new_path();
    memcpy(master, path, sizeof master);
    OK(store_open(env, path, true, &st, e));
    publish(fill(st, 0, 1, 40, 0));
    store_bulk_abort(fill(st, 200, 1, 5, 0));
    publish(fill(st, 0, 1, 20, 3));
    publish(fill(st, 40, 1, 20, 4));
    OK(write_one(st, patient, 0, STORE_METHOD_UPDATE, 50, e));
    OK(write_one(st, patient, 0, STORE_METHOD_UPDATE, 51, e));
    OK(write_one(st, observation, 1, STORE_METHOD_DELETE, 0, e));
    OK(write_one(st, patient, 300, STORE_METHOD_CREATE, 9, e));
    OK(store_counts_settle(st, NULL, e));
    struct store_bulk *one = fill(st, 100, 1, 10, 5), *two = fill(st, 100, 1, 10, 6);
    publish(two);
    publish(one);
    store_close(st);
    assert_checked(env, path);
}

static void copy_file(const char *name)
{
    CLEANUP_BUF struct buf bytes = BUF_INIT(64u << 20);
    char from[PATH_MAX], to[PATH_MAX];
    (void)snprintf(from, sizeof from, "%s/%s", master, name);
    (void)snprintf(to, sizeof to, "%s/%s", path, name);
    OK(file_read(from, &bytes, e));
    int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    OK(file_write_all(fd, buf_sv(&bytes), e));
    (void)close(fd);
}

/* A copy of it: making it waits for the disk many times. */
static void make_store(void)
{
    struct dirent *x;
    if (master[0] == 0)
        make_master();
    new_path();
    OK(file_mkdirs(path, e));
    DIR *d = opendir(master);
    assert_non_null(d);
    while ((x = readdir(d)) != NULL)
        if (x->d_type == DT_REG)
            copy_file(x->d_name);
    closedir(d);
}

struct found {
    const char *what; /* the caller's, of the search */
    char key[512], value[4096];
    size_t key_len, value_len;
    bool (*is)(sv key, sv value);
    bool there;
};

static void find_one(struct raw_store *s, void *ctx, sv key, sv value)
{
    struct found *f = ctx;
    (void)s;
    if (f->there || (f->is && !f->is(key, value)))
        return;
    assert_true(key.len <= sizeof f->key && value.len <= sizeof f->value);
    f->key_len = key.len;
    f->value_len = value.len;
    if (key.len)
        memcpy(f->key, key.ptr, key.len);
    if (value.len)
        memcpy(f->value, value.ptr, value.len);
    f->there = true;
}

static struct found find(struct raw_store *s, int cf, bool (*is)(sv key, sv value))
{
    struct found f = { .is = is };
    raw_each(s, cf, find_one, &f);
    assert_true(f.there);
    return f;
}

static sv key_of(const struct found *f)
{
    return sv_make(f->key, f->key_len);
}

static sv value_of(const struct found *f)
{
    return sv_make(f->value, f->value_len);
}

static void put_back(struct raw_store *s, int cf, const struct found *f)
{
    raw_put(s, cf, key_of(f), value_of(f));
}

/* What the check is to say. */
static char want[256];
static void want_number(const char *family, store_number number, const char *what)
{
    (void)snprintf(want, sizeof want, "%s: %s %llu:%u: %s", family,
                   fhir_type_name(number_type(number)), (unsigned long long)number_b(number),
                   number_k(number), what);
}

static void want_text(const char *text)
{
    (void)snprintf(want, sizeof want, "%s", text);
}

typedef void (*damage_fn)(struct raw_store *s);

static void is_found(const char *name, damage_fn damage)
{
    struct raw_store s;
    struct checked x;
    bool told = false;
    make_store();
    raw_open(&s, path);
    damage(&s);
    raw_close(&s);
    check_store(env, path, &x);
    for (size_t i = 0; i < x.n; i++) {
        told |= strstr(x.lines[i], want) != NULL;
        /* ids are no business of a log */
        assert_null(strstr(x.lines[i], "-4000-8000-"));
    }
    for (size_t i = 0; i < x.n && !told; i++)
        print_message("%s\n", x.lines[i]);
    if (!told)
        fail_msg("%s: nobody says \"%s\"; %llu things are wrong", name, want,
                 (unsigned long long)x.sums.n_wrong);
    OK(file_remove_tree(path, e));
}

struct damage {
    const char *name;
    damage_fn fn;
};
#define DAMAGE(fn) \
    {              \
#fn, fn    \
    }

static void all_are_found(const struct damage *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        is_found(all[i].name, all[i].fn);
}
#define ALL_ARE_FOUND(table) all_are_found(table, sizeof table / sizeof table[0])

/* ---- ids ---- */

static store_number row_number(const struct found *f)
{
    return key_get_u64(f->value);
}

/* Of load 1, with one version: id 21 and on. */
static bool has_one_version(sv key, sv value)
{
    (void)key;
    return number_b(key_get_u64(value.ptr)) == 1 && value.ptr[8] == 0;
}

static bool has_more_versions(sv key, sv value)
{
    (void)key;
    return number_b(key_get_u64(value.ptr)) == 1 && value.ptr[8] == 1;
}

static void number_flipped(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version);
    want_number("ids", row_number(&f), "there is no row for it");
    key_put_u64(f.value, row_number(&f) + 1000);
    put_back(s, CF_IDS, &f);
}

static void number_flipped_and_none_behind_it(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version);
    want_number("ids", row_number(&f) + 1000, "a row, and no version");
    key_put_u64(f.value, row_number(&f) + 1000);
    put_back(s, CF_IDS, &f);
}

static void row_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_more_versions);
    want_number("ids", row_number(&f), "there is no row for it");
    raw_delete(s, CF_IDS, key_of(&f));
}

static void one_number_twice(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version);
    struct ids_key other = ids_key(number_type(row_number(&f)), SV_LIT("another"));
    want_number("ids", row_number(&f), "two ids have this number");
    raw_put(s, CF_IDS, sv_make(other.ptr, other.len), value_of(&f));
}

static void two_rows_exchanged(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version), g = f;
    struct ids_key other = ids_key(number_type(row_number(&f)), SV_LIT("another"));
    want_number("ids", row_number(&f), "its row is one of another id");
    raw_delete(s, CF_IDS, key_of(&f));
    raw_put(s, CF_IDS, sv_make(other.ptr, other.len), value_of(&g));
}

static void another_form(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version);
    char key[2 + 36] = { (char)number_type(row_number(&f)), 0 };
    memcpy(key + 2, "00000001-0000-4000-8000-000000000abc", 36);
    want_number("ids", row_number(&f), "the key of its row is damaged");
    raw_put(s, CF_IDS, sv_make(key, sizeof key), value_of(&f));
}

static void another_type(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version);
    const store_number n = row_number(&f);
    const fhir_type other = number_type(n) == patient ? observation : patient;
    key_put_u64(f.value, number_make(number_b(n), other, 900));
    want_number("ids", row_number(&f), "its row is one of another type");
    put_back(s, CF_IDS, &f);
}

static void a_load_that_never_was(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version);
    key_put_u64(f.value, number_make(123456, number_type(row_number(&f)), 1));
    want_number("ids", row_number(&f), "the number of its load was never handed out");
    put_back(s, CF_IDS, &f);
}

static void flag_taken(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_more_versions);
    want_number("ids", row_number(&f), "its row says that the first version is the only one");
    f.value[8] = 0;
    put_back(s, CF_IDS, &f);
}

static void value_cut(struct raw_store *s)
{
    struct found f = find(s, CF_IDS, has_one_version);
    f.value_len--;
    want_text("ids: the value of a row is damaged");
    put_back(s, CF_IDS, &f);
}

/* Rows of loads that were never published have no versions. Two with one number are wrong. */
static void unborn_twice(struct raw_store *s)
{
    const store_number n = number_make(1000, patient, 7);
    char value[IDS_VALUE_LEN];
    ids_value_put(n, false, value);
    for (int i = 0; i < 2; i++) {
        struct ids_key k = ids_key(patient, i ? SV_LIT("unborn1") : SV_LIT("unborn2"));
        raw_put(s, CF_IDS, sv_make(k.ptr, k.len), sv_make(value, sizeof value));
    }
    want_number("ids", n, "two ids have this number");
}

TEST(check, finds_what_is_wrong_with_ids)
{
    (void)state;
    static const struct damage all[] = {
        DAMAGE(number_flipped),     DAMAGE(number_flipped_and_none_behind_it),
        DAMAGE(row_dropped),        DAMAGE(one_number_twice),
        DAMAGE(another_form),       DAMAGE(another_type),
        DAMAGE(flag_taken),         DAMAGE(a_load_that_never_was),
        DAMAGE(value_cut),          DAMAGE(unborn_twice),
        DAMAGE(two_rows_exchanged),
    };
    ALL_ARE_FOUND(all);
}

/* ---- versions ---- */

static store_number version_number(const struct found *f)
{
    return key_get_u64(f->key);
}

/* Of a resource that has no other version. */
static bool is_birth(sv key, sv value)
{
    struct key_version_parts p;
    (void)value;
    assert_true(key_version_split(key, &p));
    return p.kind == KEY_BULK && p.n == number_b(p.number) && number_k(p.number) == 20;
}

static bool is_later_load(sv key, sv value)
{
    struct key_version_parts p;
    (void)value;
    assert_true(key_version_split(key, &p));
    return p.kind == KEY_BULK && p.n != number_b(p.number);
}

static bool is_online(sv key, sv value)
{
    struct key_version_parts p;
    struct value_head h;
    assert_true(key_version_split(key, &p) && value_split(value, &h));
    return p.kind == KEY_ONLINE && h.method != STORE_METHOD_DELETE;
}

static void write_value(struct found *f, const struct value_head *h, sv json)
{
    char head[VALUE_HEAD_MAX];
    size_t n = value_head_put(h, head);
    char copy[2048];
    assert_true(json.len <= sizeof copy);
    memcpy(copy, json.ptr, json.len);
    memcpy(f->value, head, n);
    memcpy(f->value + n, copy, json.len);
    f->value_len = n + json.len;
}

static void version_number_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_online);
    struct value_head h;
    assert_true(value_split(value_of(&f), &h));
    h.version++;
    write_value(&f, &h, h.body.json);
    want_number("versions", version_number(&f), "version number ");
    put_back(s, CF_VERSIONS, &f);
}

static void id_of_all_versions_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_birth);
    struct value_head h;
    assert_true(value_split(value_of(&f), &h));
    h.id = SV_LIT("somebody-else");
    write_value(&f, &h, h.body.json);
    want_number("ids", version_number(&f), "its row is one of another id");
    put_back(s, CF_VERSIONS, &f);
}

static void id_of_one_version_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_later_load);
    struct value_head h;
    assert_true(value_split(value_of(&f), &h));
    h.id = SV_LIT("somebody-else");
    write_value(&f, &h, h.body.json);
    want_number("versions", version_number(&f), "its versions have several ids");
    put_back(s, CF_VERSIONS, &f);
}

static void birth_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_birth);
    want_number("versions", version_number(&f), "no version by the load of its birth");
    raw_delete(s, CF_VERSIONS, key_of(&f));
}

static void later_version_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_later_load);
    want_number("changes", version_number(&f), "0 rows are missing, 1 are there");
    raw_delete(s, CF_VERSIONS, key_of(&f));
}

static void version_of_a_commit_that_never_was(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_online);
    want_number("versions", version_number(&f), "a version of a commit or load that never was");
    key_put_u64(f.key + 9, ~(uint64_t)5000);
    put_back(s, CF_VERSIONS, &f);
}

static void header_of_another_kind(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_online);
    struct value_head h;
    assert_true(value_split(value_of(&f), &h));
    h.online = false;
    write_value(&f, &h, h.body.json);
    want_number("versions", version_number(&f), "the header of a version is one of another kind");
    put_back(s, CF_VERSIONS, &f);
}

static void version_cut(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_birth);
    want_number("versions", version_number(&f), "the value of a version is damaged");
    f.value_len = 1;
    put_back(s, CF_VERSIONS, &f);
}

static void json_cut(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_birth);
    want_number("versions", version_number(&f), "the JSON of a version cannot be read");
    f.value_len--;
    put_back(s, CF_VERSIONS, &f);
}

static void instant_of_a_version_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_online);
    struct value_head h;
    assert_true(value_split(value_of(&f), &h));
    h.instant_ms++;
    write_value(&f, &h, h.body.json);
    want_text("commits: commit ");
    put_back(s, CF_VERSIONS, &f);
}

static void key_of_a_version_cut(struct raw_store *s)
{
    struct found f = find(s, CF_VERSIONS, is_birth);
    f.key_len--;
    want_text("versions: a key is damaged");
    put_back(s, CF_VERSIONS, &f);
}

TEST(check, finds_what_is_wrong_with_versions)
{
    (void)state;
    static const struct damage all[] = {
        DAMAGE(version_number_wrong),
        DAMAGE(id_of_all_versions_wrong),
        DAMAGE(id_of_one_version_wrong),
        DAMAGE(birth_dropped),
        DAMAGE(later_version_dropped),
        DAMAGE(version_of_a_commit_that_never_was),
        DAMAGE(header_of_another_kind),
        DAMAGE(version_cut),
        DAMAGE(json_cut),
        DAMAGE(instant_of_a_version_wrong),
        DAMAGE(key_of_a_version_cut),
    };
    ALL_ARE_FOUND(all);
}

/* ---- changes ---- */

static bool is_births(sv key, sv value)
{
    (void)value;
    return key.len == 10;
}

static bool is_change(sv key, sv value)
{
    (void)value;
    return key.len == 18;
}

static store_number first_of(const struct found *f)
{
    return number_make(key_get_u64(f->key + 2), (fhir_type)(unsigned char)f->key[0], 0);
}

static void births_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_CHANGES, is_births);
    want_number("changes", first_of(&f), "the births that begin here are not as many");
    raw_delete(s, CF_CHANGES, key_of(&f));
}

static void births_counted_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_CHANGES, is_births);
    want_number("changes", first_of(&f), "the births that begin here are not as many");
    f.value[2]++;
    put_back(s, CF_CHANGES, &f);
}

static void births_weighed_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_CHANGES, is_births);
    want_number("changes", first_of(&f), "the births that begin here are not as many");
    f.value[7]++;
    put_back(s, CF_CHANGES, &f);
}

static void births_that_never_were(struct raw_store *s)
{
    struct births x = { 4, 400 };
    struct key_bytes k = key_change(patient, KEY_BIRTHS, 3, 0);
    char value[BIRTHS_VALUE_BYTES];
    k.ptr[0] = (char)fhir_type_find(SV_LIT("Account"));
    births_put(&x, value);
    raw_put(s, CF_CHANGES, sv_make(k.ptr, k.len), sv_make(value, sizeof value));
    want_text("changes: Account 3:0: the births that begin here");
}

static void change_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_CHANGES, is_change);
    want_number("changes", key_get_u64(f.key + 10), "1 rows are missing");
    raw_delete(s, CF_CHANGES, key_of(&f));
}

static void change_added(struct raw_store *s)
{
    struct key_bytes k = key_change(patient, KEY_ONLINE, 4, number_make(1, patient, 9));
    raw_put(s, CF_CHANGES, sv_make(k.ptr, k.len), SV_NONE);
    want_number("changes", number_make(1, patient, 9), "0 rows are missing, 1 are there");
}

static void own_birth_added(struct raw_store *s)
{
    struct key_bytes k = key_change(patient, KEY_BULK, 1, number_make(1, patient, 900));
    raw_put(s, CF_CHANGES, sv_make(k.ptr, k.len), SV_NONE);
    want_number("changes", number_make(1, patient, 900), "its load has a row for it, and did not");
}

static void change_of_a_commit_that_never_was(struct raw_store *s)
{
    struct key_bytes k = key_change(patient, KEY_ONLINE, 4000, number_make(1, patient, 9));
    raw_put(s, CF_CHANGES, sv_make(k.ptr, k.len), SV_NONE);
    want_number("changes", number_make(1, patient, 9), "a row of a commit or load that never was");
}

TEST(check, finds_what_is_wrong_with_changes)
{
    (void)state;
    static const struct damage all[] = {
        DAMAGE(births_dropped),       DAMAGE(births_counted_wrong),
        DAMAGE(births_weighed_wrong), DAMAGE(births_that_never_were),
        DAMAGE(change_dropped),       DAMAGE(change_added),
        DAMAGE(own_birth_added),      DAMAGE(change_of_a_commit_that_never_was),
    };
    ALL_ARE_FOUND(all);
}

/* ---- search ---- */

static bool is_list(sv key, sv value)
{
    (void)key;
    return value.len > 2;
}

static bool is_entry_of_a_commit(sv key, sv value)
{
    struct key_search_parts p;
    (void)value;
    return key_search_split(key, &p) && p.kind == ENTRY_ONLINE;
}

static store_number entry_number(const struct found *f)
{
    struct key_search_parts p;
    assert_true(key_search_split(key_of(f), &p));
    return p.number;
}

static void list_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_list);
    want_number("search", entry_number(&f), "entries: 1 are missing, 0 are there");
    raw_delete(s, CF_SEARCH, key_of(&f));
}

static void last_of_a_list_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_list);
    store_number n = entry_number(&f);
    uint64_t step;
    for (sv list = value_of(&f); list.len; n += step)
        assert_true(entry_step_next(&list, &step));
    want_number("search", n, "entries: 1 are missing, 0 are there");
    f.value_len--;
    put_back(s, CF_SEARCH, &f);
}

static void entry_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_entry_of_a_commit);
    want_number("search", entry_number(&f), "entries: 1 are missing, 0 are there");
    raw_delete(s, CF_SEARCH, key_of(&f));
}

static void entry_added(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_entry_of_a_commit);
    want_number("search", entry_number(&f), "entries: 0 are missing, 1 are there");
    f.key[3] ^= 1;
    put_back(s, CF_SEARCH, &f);
}

static void step_out_of_the_span(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_list);
    f.value_len = entry_step_put(f.value, (1u << ENTRY_SPAN_BITS) - 1);
    f.value_len += entry_step_put(f.value + f.value_len, 1);
    want_number("search", entry_number(&f), "a list goes wrong behind it");
    /* maybe at the second step */
    want[strlen("search: ")] = 0;
    put_back(s, CF_SEARCH, &f);
}

static void step_of_nothing(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_list);
    want_number("search", entry_number(&f), "a list goes wrong behind it");
    f.value[0] = 0;
    put_back(s, CF_SEARCH, &f);
}

static void entry_of_a_load_that_never_was(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_entry_of_a_commit);
    want_number("search", entry_number(&f), "an entry of a commit or load that never was");
    key_put_u64(f.key + f.key_len - 9, 7000);
    put_back(s, CF_SEARCH, &f);
}

static void entry_of_a_commit_with_a_list(struct raw_store *s)
{
    struct found f = find(s, CF_SEARCH, is_entry_of_a_commit);
    want_number("search", entry_number(&f), "an entry has a form that its kind has not");
    f.value_len = entry_step_put(f.value, 1);
    put_back(s, CF_SEARCH, &f);
}

TEST(check, finds_what_is_wrong_with_search_entries)
{
    (void)state;
    static const struct damage all[] = {
        DAMAGE(list_dropped),
        DAMAGE(last_of_a_list_dropped),
        DAMAGE(entry_dropped),
        DAMAGE(entry_added),
        DAMAGE(step_out_of_the_span),
        DAMAGE(step_of_nothing),
        DAMAGE(entry_of_a_load_that_never_was),
        DAMAGE(entry_of_a_commit_with_a_list),
    };
    ALL_ARE_FOUND(all);
}

/* ---- counts ---- */

static bool is_gender(sv key, sv value)
{
    (void)value;
    return (fhir_type)(unsigned char)key.ptr[0] == patient && key.len == 4 + SEARCH_CODE_LEN;
}

static bool is_patients(sv key, sv value)
{
    (void)value;
    return (fhir_type)(unsigned char)key.ptr[0] == patient && key.len == 4;
}

static void count_of_a_type_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_COUNTS, is_patients);
    f.value[0]++;
    want_text("counts: Patient: the sum of the type is not what a count gives");
    put_back(s, CF_COUNTS, &f);
}

static void count_of_a_token_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_COUNTS, is_gender);
    f.value[0]--;
    want_text("counts: Patient: a sum of parameter ");
    put_back(s, CF_COUNTS, &f);
}

static void count_of_nothing(struct raw_store *s)
{
    struct found f = find(s, CF_COUNTS, is_gender);
    f.key[5] ^= 1;
    want_text("counts: Patient: a sum of parameter ");
    put_back(s, CF_COUNTS, &f);
}

static void count_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_COUNTS, is_patients);
    want_text("counts: Patient: the sum of the type is not what a count gives");
    raw_delete(s, CF_COUNTS, key_of(&f));
}

static void count_below_zero(struct raw_store *s)
{
    struct found f = find(s, CF_COUNTS, is_patients);
    want_text("counts: a sum of Patient is below zero");
    memset(f.value, 0xFF, 8);
    put_back(s, CF_COUNTS, &f);
}

TEST(check, finds_what_is_wrong_with_counts)
{
    (void)state;
    static const struct damage all[] = {
        DAMAGE(count_of_a_type_wrong), DAMAGE(count_of_a_token_wrong), DAMAGE(count_of_nothing),
        DAMAGE(count_dropped),         DAMAGE(count_below_zero),
    };
    ALL_ARE_FOUND(all);
}

/* ---- commits ---- */

static bool is_commit_of_a_load(sv key, sv value)
{
    return key.ptr[0] == 'c' && value.ptr[8] == KEY_BULK;
}

static bool is_commit(sv key, sv value)
{
    return key.ptr[0] == 'c' && value.ptr[8] == KEY_ONLINE;
}

static bool is_load(sv key, sv value)
{
    (void)value;
    return key.ptr[0] == 'b';
}

static bool is_mark(sv key, sv value)
{
    (void)value;
    return key.ptr[0] == 'u';
}

static bool is_handed_out(sv key, sv value)
{
    (void)value;
    return key.ptr[0] == 'n';
}

static void commit_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_commit);
    (void)snprintf(want, sizeof want, "commits: commit %llu stands behind commit %llu",
                   (unsigned long long)key_get_u64(f.key + 1) + 1,
                   (unsigned long long)key_get_u64(f.key + 1) - 1);
    raw_delete(s, CF_COMMITS, key_of(&f));
}

static void instant_goes_back(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_commit);
    key_put_u64(f.value, 1000);
    (void)snprintf(want, sizeof want, "commits: commit %llu is older than the one before it",
                   (unsigned long long)key_get_u64(f.key + 1));
    put_back(s, CF_COMMITS, &f);
}

static void count_of_a_commit_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_commit);
    f.value[24]++;
    (void)snprintf(want, sizeof want, "commits: commit %llu says another instant",
                   (unsigned long long)key_get_u64(f.key + 1));
    put_back(s, CF_COMMITS, &f);
}

static void count_of_a_load_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_commit_of_a_load);
    f.value[24]++;
    (void)snprintf(want, sizeof want, "commits: load %llu has ",
                   (unsigned long long)key_get_u64(f.value + 9));
    put_back(s, CF_COMMITS, &f);
}

static void load_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_load);
    (void)snprintf(want, sizeof want, "commits: commit %llu is of load %llu, whose record says",
                   (unsigned long long)key_get_u64(f.value),
                   (unsigned long long)key_get_u64(f.key + 1));
    raw_delete(s, CF_COMMITS, key_of(&f));
}

static void load_without_a_commit(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_load);
    key_put_u64(f.key + 1, 900);
    want_text("commits: load 900 is published, and has no commit");
    put_back(s, CF_COMMITS, &f);
}

static void mark_wrong(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_mark);
    f.value[1]++;
    (void)snprintf(want, sizeof want, "commits: the mark of load %llu says another number",
                   (unsigned long long)key_get_u64(f.key + 1));
    put_back(s, CF_COMMITS, &f);
}

static void mark_dropped(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_mark);
    want_text("counts: ");
    raw_delete(s, CF_COMMITS, key_of(&f));
}

static void handed_out_too_few(struct raw_store *s)
{
    struct found f = find(s, CF_COMMITS, is_handed_out);
    key_put_u64(f.value, 3);
    want_text("commits: the number of load 3 was not handed out to it");
    put_back(s, CF_COMMITS, &f);
}

TEST(check, finds_what_is_wrong_with_commits)
{
    (void)state;
    static const struct damage all[] = {
        DAMAGE(commit_dropped),
        DAMAGE(instant_goes_back),
        DAMAGE(count_of_a_load_wrong),
        DAMAGE(count_of_a_commit_wrong),
        DAMAGE(load_dropped),
        DAMAGE(load_without_a_commit),
        DAMAGE(mark_wrong),
        DAMAGE(mark_dropped),
        DAMAGE(handed_out_too_few),
    };
    ALL_ARE_FOUND(all);
}

/* ---- files, and what is no store ---- */

/* Bytes in the middle of each sorted file. */
static void damage_files(void)
{
    struct dirent *x;
    DIR *d = opendir(path);
    assert_non_null(d);
    while ((x = readdir(d)) != NULL) {
        char name[PATH_MAX];
        (void)snprintf(name, sizeof name, "%s/%s", path, x->d_name);
        if (strstr(x->d_name, ".sst") == NULL)
            continue;
        int fd = open(name, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "damage", 6, 40), 6);
        (void)close(fd);
    }
    closedir(d);
}

TEST(check, tells_of_files_that_are_damaged)
{
    (void)state;
    struct checked x;
    make_store();
    damage_files();
    check_store(env, path, &x);
    assert_true(x.sums.n_wrong > 0);
    bool told = false;
    for (size_t i = 0; i < x.n; i++)
        told |= strstr(x.lines[i], "stored data is damaged") != NULL;
    assert_true(told);
    OK(file_remove_tree(path, e));
}

TEST(check, counts_what_it_does_not_tell)
{
    (void)state;
    struct raw_store s;
    struct checked x;
    make_store();
    raw_open(&s, path);
    rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
    char *bad = NULL;
    rocksdb_delete_range_cf(s.db, w, s.cf[CF_IDS], "", 0, "\xFF", 1, &bad);
    assert_null(bad);
    rocksdb_writeoptions_destroy(w);
    raw_close(&s);
    check_store(env, path, &x);
    assert_int_equal(x.n, STORE_CHECK_LINES);
    /* ids 0 to 59, 100 to 109, 300 */
    assert_int_equal(x.sums.n_wrong, 71);
    OK(file_remove_tree(path, e));
}

TEST(check, says_what_it_looked_at_and_changes_nothing)
{
    (void)state;
    struct checked x, again;
    make_store();
    check_store(env, path, &x);
    assert_int_equal(x.sums.n_resources, 70);
    assert_int_equal(x.sums.n_versions, 40 + 20 + 20 + 4 + 20);
    assert_int_equal(x.sums.n_loads, 5);
    assert_true(x.sums.n_entries > 300);
    check_store(env, path, &again);
    assert_memory_equal(&x.sums, &again.sums, sizeof x.sums);
    OK(file_remove_tree(path, e));
}

TEST(check, wants_only_what_is_missing_where_entries_of_an_older_form_may_be)
{
    (void)state;
    struct heard h;
    struct store *st;
    struct raw_store s;
    struct checked x;
    make_store();
    age_store(path, NULL);
    hear_again(&h, 0);
    store_env_on_reindex(env, hear, &h);
    OK(store_open(env, path, false, &st, e));
    assert_int_equal(wait_for_the_end(&h), STORE_REINDEX_DONE);
    store_close(st);
    store_env_on_reindex(env, NULL, NULL);
    /* what age_store() left there is no entry of today */
    assert_checked(env, path);
    raw_open(&s, path);
    entry_dropped(&s);
    raw_close(&s);
    check_store(env, path, &x);
    assert_int_equal(x.n, 1);
    assert_non_null(strstr(x.lines[0], want));
    OK(file_remove_tree(path, e));
}

/* What is left goes together, so nothing else would show it. */
TEST(check, tells_of_a_log_that_is_lost)
{
    (void)state;
    struct checked x;
    struct store *st;
    char name[PATH_MAX];
    struct dirent *f;
    unsigned n = 0;
    new_path();
    OK(store_open(env, path, true, &st, e));
    OK(write_one(st, patient, 1, STORE_METHOD_UPDATE, 1, e));
    store_close(st);
    /* what the log has comes into files */
    OK(store_open(env, path, false, &st, e));
    OK(write_one(st, patient, 2, STORE_METHOD_UPDATE, 1, e));
    store_close(st);
    check_store(env, path, &x);
    assert_int_equal(x.n, 0);
    DIR *d = opendir(path);
    while ((f = readdir(d)) != NULL)
        if (sv_ends(sv_from(f->d_name), SV_LIT(".log"))) {
            (void)snprintf(name, sizeof name, "%s/%s", path, f->d_name);
            assert_int_equal(unlink(name), 0);
            n++;
        }
    closedir(d);
    assert_int_equal(n, 1);
    check_store(env, path, &x);
    assert_int_equal(x.n, 1);
    assert_non_null(strstr(x.lines[0], "its log is gone"));
    OK(file_remove_tree(path, e));
}

/* Families are made one by one, and whoever makes them can be cut off in between. */
TEST(check, tells_of_a_store_whose_making_was_cut_off)
{
    (void)state;
    const struct store_check_told told = { .wrong = checked_line };
    struct store_checked sums;
    char *bad = NULL;
    new_path();
    OK(file_mkdirs(path, e));
    OK(store_check(env, path, &told, &sums, e));
    assert_true(sums.unmade);
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_t *db = rocksdb_open(o, path, &bad);
    assert_null(bad);
    rocksdb_close(db);
    rocksdb_options_destroy(o);
    OK(store_check(env, path, &told, &sums, e));
    assert_true(sums.unmade);
    assert_int_equal(sums.n_wrong, 0);
    OK(file_remove_tree(path, e));
    make_store();
    OK(store_check(env, path, &told, &sums, e));
    assert_false(sums.unmade);
    OK(file_remove_tree(path, e));
}

TEST(check, refuses_what_it_cannot_look_at)
{
    (void)state;
    const struct store_check_told told = { .wrong = checked_line };
    struct store_checked sums;
    struct raw_store s;
    struct key_bytes layout = key_commit('v', 0);
    new_path();
    FAILS(ERR_NOT_FOUND, store_check(env, path, &told, &sums, e));
    FAILS(ERR_UNSUPPORTED, store_check(env, "memory:", &told, &sums, e));
    make_store();
    raw_open(&s, path);
    raw_put(&s, CF_COMMITS, sv_make(layout.ptr, layout.len), SV_LIT("\0\0\0\0\0\0\0\3"));
    raw_close(&s);
    FAILS(ERR_UNSUPPORTED, store_check(env, path, &told, &sums, e));
    OK(file_remove_tree(path, e));
}

int main(int argc, char **argv)
{
    patient = fhir_type_find(SV_LIT("Patient"));
    observation = fhir_type_find(SV_LIT("Observation"));
    env = store_env_new(16 << 20, 1);
    if (argc == 3 && strcmp(argv[1], "--play") == 0) {
        struct store *st;
        (void)snprintf(path, sizeof path, "%s", argv[2]);
        OK(store_open(env, path, true, &st, e));
        play_all(st, UINT_MAX);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        T(check, says_what_it_looked_at_and_changes_nothing),
        T(check, finds_what_is_wrong_with_ids),
        T(check, finds_what_is_wrong_with_versions),
        T(check, finds_what_is_wrong_with_changes),
        T(check, finds_what_is_wrong_with_search_entries),
        T(check, finds_what_is_wrong_with_counts),
        T(check, finds_what_is_wrong_with_commits),
        T(check, tells_of_files_that_are_damaged),
        T(check, counts_what_it_does_not_tell),
        T(check, wants_only_what_is_missing_where_entries_of_an_older_form_may_be),
        T(check, tells_of_a_log_that_is_lost),
        T(check, tells_of_a_store_whose_making_was_cut_off),
        T(check, refuses_what_it_cannot_look_at),
        T(check, finds_nothing_wrong_after_random_histories),
        T(check, finds_nothing_wrong_when_loads_and_commits_bring_the_same_new_ids_at_once),
        T(check, finds_nothing_wrong_after_kills),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    struct err err;
    if (master[0] && file_remove_tree(master, &err) != ERR_OK)
        rc = 1;
    store_env_free(env);
    return rc;
}
