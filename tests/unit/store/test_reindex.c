/* A data store that an older program wrote gets the entries that this one would have written: of
 * every version, of online commits and of loads, whatever stops it on the way, and again when an
 * older program has written since. */
#include "test.h"

#include "base/file.h"
#include "store/age.h"
#include "store/last.h"
#include "store/store.h"

#include <unistd.h>

#define HOLE_AT (sizeof "{\"resourceType\":\"Patient\"" - 1) /* where meta goes */

static struct store_env *env;
static struct heard heard;
static fhir_type patient;
static char root[200], path[256]; /* path: of the store, root or below it */

static sv patient_json(struct arena *a, unsigned i)
{
    struct buf b = BUF_INIT(1 << 16);
    OK(buf_add_fmt(
        &b, e, "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"O'Name-%u van\",\"given\":[",
        i));
    for (unsigned k = 0; k < 12; k++)
        OK(buf_add_fmt(&b, e, "%s\"Given-%u-%u Part\"", k ? "," : "", i, k));
    OK(buf_add_fmt(&b, e,
                   "]}],\"birthDate\":\"19%02u\",\"gender\":\"male\",\"managingOrganization\":{"
                   "\"reference\":\"#o\"},\"contained\":[{\"resourceType\":\"Organization\",\"id\":"
                   "\"o\",\"name\":\"N%u\"}]}",
                   i % 100, i % 7));
    sv json = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return json;
}

static sv entries(struct arena *a, sv json)
{
    struct buf b = BUF_INIT(1 << 16);
    yyjson_doc *doc;
    OK(json_read(a, json, 32, &doc, e));
    OK(search_index(patient, yyjson_doc_get_root(doc), &b, e));
    sv out = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return out;
}

static uint64_t put(struct store *st, unsigned id, unsigned i, bool gone)
{
    struct arena *a = arena_new(1u << 20);
    char name[16];
    sv json = patient_json(a, i);
    (void)snprintf(name, sizeof name, "p%u", id);
    struct store_write w = { .type = patient,
                             .id = sv_from(name),
                             .method = gone ? STORE_METHOD_DELETE : STORE_METHOD_UPDATE,
                             .body = { json, HOLE_AT, FHIR_HOLE_NO_META } };
    w.index = gone ? SV_NONE : entries(a, json);
    struct store_commit c;
    OK(store_commit(st, &w, 1, &c, e));
    arena_free(a);
    return c.t;
}

static void load(struct store *st, unsigned n)
{
    struct arena *a = arena_new(64u << 20);
    struct store_bulk_item *items = calloc(n, sizeof *items);
    struct store_bulk *bulk;
    struct store_commit c;
    for (unsigned i = 0; i < n; i++) {
        sv json = patient_json(a, i);
        items[i] = (struct store_bulk_item){ patient,
                                             arena_fmt(a, "b%u", i),
                                             { json, HOLE_AT, FHIR_HOLE_NO_META },
                                             i,
                                             entries(a, json) };
    }
    OK(store_bulk_begin(st, &bulk, e));
    OK(store_bulk_fill(bulk, items, n, e));
    OK(store_bulk_publish(&bulk, SV_NONE, SV_NONE, &c, e));
    free(items);
    arena_free(a);
}

/* ---- all entries ---- */

/* One entry of one resource, as a key of its own: whether a list had it makes no difference. */
struct one {
    char key[KEY_SEARCH_MAX];
    size_t len;
};
struct keys {
    struct buf rows; /* struct one, sorted, each once */
    size_t n;
};

static void keep(struct raw_store *s, void *ctx, sv key, sv value)
{
    struct keys *k = ctx;
    struct key_search_parts p;
    (void)s;
    assert_true(key_search_split(key, &p));
    for (uint64_t step = 0;; p.number += step) {
        struct one x;
        const uint16_t param =
            (uint16_t)((unsigned char)key.ptr[1] << 8 | (unsigned char)key.ptr[2]);
        x.len = key_search(patient, param, p.value, p.number,
                           p.kind == ENTRY_ONLINE ? ENTRY_ONLINE : ENTRY_ANEW, p.n, x.key);
        OK(buf_add(&k->rows, sv_make(&x, sizeof x), e));
        if (value.len == 0)
            break;
        assert_true(entry_step_next(&value, &step));
    }
}

static int one_cmp(const void *a, const void *b)
{
    const struct one *x = a, *y = b;
    return sv_cmp(sv_make(x->key, x->len), sv_make(y->key, y->len));
}

static void read_keys(struct keys *k)
{
    struct raw_store s;
    *k = (struct keys){ BUF_INIT(1u << 30), 0 };
    raw_open(&s, path);
    raw_each(&s, CF_SEARCH, keep, k);
    raw_close(&s);
    struct one *rows = (struct one *)(void *)k->rows.ptr;
    const size_t n = k->rows.len / sizeof *rows;
    qsort(rows, n, sizeof *rows, one_cmp);
    for (size_t i = 0; i < n; i++)
        if (k->n == 0 || one_cmp(&rows[k->n - 1], &rows[i]) != 0)
            rows[k->n++] = rows[i];
}

/* Both are sorted. Is each of a in b? */
static size_t missing(const struct keys *a, const struct keys *b)
{
    size_t n = 0;
    const struct one *x = (const struct one *)(const void *)a->rows.ptr;
    const struct one *y = (const struct one *)(const void *)b->rows.ptr;
    for (size_t i = 0, k = 0; i < a->n; i++) {
        while (k < b->n && one_cmp(&y[k], &x[i]) < 0)
            k++;
        n += k == b->n || one_cmp(&y[k], &x[i]) != 0;
    }
    return n;
}

/* The store says that its entries are of form 1. They stay as they are. */
static void say_form_1(void)
{
    struct raw_store s;
    struct key_bytes record = key_commit('i', 0);
    raw_open(&s, path);
    raw_each(&s, CF_COMMITS, age_commit, NULL);
    raw_delete(&s, CF_COMMITS, sv_make(record.ptr, record.len));
    raw_close(&s);
}

static struct store *open_it(bool create)
{
    struct store *st;
    OK(store_open(env, path, create, &st, e));
    return st;
}

static void made(unsigned n_loaded)
{
    struct store *st = open_it(true);
    assert_int_equal(store_index_form(st), SEARCH_INDEX_FORM);
    load(st, n_loaded);
    for (unsigned i = 0; i < 50; i++)
        put(st, i % 20, 1000 + i, i >= 40);
    store_close(st);
}

static int setup(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    patient = fhir_type_find(SV_LIT("Patient"));
    (void)snprintf(root, sizeof root, "%.150s/fhirlake-reindex-%d", tmp ? tmp : TEST_TMP, getpid());
    (void)snprintf(path, sizeof path, "%s", root);
    env = store_env_new(16u << 20, 2);
    hear_again(&heard, 0);
    store_env_on_reindex(env, hear, &heard);
    return 0;
}

static int teardown(void **state)
{
    struct err e;
    (void)state;
    store_env_free(env);
    return file_remove_tree(root, &e) == ERR_OK ? 0 : 1;
}

TEST(reindex, a_store_of_this_program_has_nothing_to_do)
{
    (void)state;
    struct keys k;
    made(10);
    store_close(open_it(false));
    store_close(open_it(true));
    assert_int_equal(heard.n_told, 0);
    read_keys(&k);
    assert_in_range(k.n, 100, 100000);
    buf_done(&k.rows);
}

TEST(reindex, every_version_gets_its_entries)
{
    (void)state;
    struct keys before, aged, after;
    made(100);
    read_keys(&before);
    age_store(path, NULL);
    read_keys(&aged);
    assert_in_range(missing(&before, &aged), before.n / 2, before.n);
    hear_again(&heard, 1);
    struct store *st = open_it(false);
    /* until all of it is there */
    assert_int_equal(store_index_form(st), 1);
    /* and meanwhile others write */
    uint64_t t = put(st, 99, 77, false);
    let_go(&heard);
    assert_int_equal(wait_for_the_end(&heard), STORE_REINDEX_DONE);
    assert_int_equal(store_index_form(st), SEARCH_INDEX_FORM);
    assert_int_equal(heard.n_done, 100 + 40 + 1);
    store_close(st);
    read_keys(&after);
    assert_int_equal(missing(&before, &after), 0);
    hear_again(&heard, 0);
    st = open_it(false);
    assert_int_equal(store_index_form(st), SEARCH_INDEX_FORM);
    assert_int_equal(heard.n_told, 0);
    assert_int_equal(last_of(st).t, t);
    store_close(st);
    buf_done(&before.rows);
    buf_done(&aged.rows);
    buf_done(&after.rows);
}

/* What a list has already comes once more beside it, and is found once. */
TEST(reindex, leaves_the_lists_of_loads_as_they_are)
{
    (void)state;
    struct keys before, after;
    const struct search_range all = { .from_len = 0 };
    made(100);
    read_keys(&before);
    say_form_1();
    hear_again(&heard, 0);
    struct store *st = open_it(false);
    assert_int_equal(wait_for_the_end(&heard), STORE_REINDEX_DONE);
    for (uint16_t param = 1; param < 2000; param++) {
        CLEANUP(store_index_close) struct store_index_cursor *c = NULL;
        const struct search_driver d = { param, (struct search_range *)(uintptr_t)&all, 1 };
        struct store_index_hit hit;
        char last[SEARCH_KEY_MAX];
        size_t last_len = 0;
        store_number number = 0;
        struct err err;
        err_code rc;
        OK(store_index_scan(st, patient, &d, SV_NONE, 0, STORE_NOW, &c, e));
        while ((rc = store_index_next(c, &hit, &err)) == ERR_OK) {
            assert_true(!sv_eq(hit.value, sv_make(last, last_len)) || hit.number > number);
            memcpy(last, hit.value.ptr, last_len = hit.value.len);
            number = hit.number;
        }
        assert_int_equal(rc, ERR_EOF);
    }
    store_close(st);
    read_keys(&after);
    assert_int_equal(missing(&before, &after), 0);
    assert_int_equal(missing(&after, &before), 0);
    buf_done(&before.rows);
    buf_done(&after.rows);
}

TEST(reindex, what_stops_it_costs_what_was_not_written)
{
    (void)state;
    struct keys before, after;
    const unsigned n = 400;
    made(n);
    read_keys(&before);
    age_store(path, NULL);
    uint64_t first, second;
    /* begun, a piece, another piece */
    hear_again(&heard, 3);
    struct store *st = open_it(false);
    wait_until_held(&heard);
    first = heard.n_done;
    assert_int_equal(heard.state, STORE_REINDEX_UNDER_WAY);
    assert_int_equal(store_index_form(st), 1);
    let_go(&heard);
    store_close(st);
    /* it was quicker than the end */
    if (heard.state == STORE_REINDEX_STOPPED) {
        assert_int_equal(heard.why, ERR_CANCELLED);
        hear_again(&heard, 0);
        st = open_it(false);
        assert_int_equal(wait_for_the_end(&heard), STORE_REINDEX_DONE);
        second = heard.n_done;
        assert_in_range(second, 1, n + 40 - first);
        store_close(st);
    }
    read_keys(&after);
    assert_int_equal(missing(&before, &after), 0);
    buf_done(&before.rows);
    buf_done(&after.rows);
}

TEST(reindex, begins_again_when_an_older_program_has_written)
{
    (void)state;
    struct keys before, after;
    made(20);
    struct store *st = open_it(false);
    uint64_t t = put(st, 5, 4321, false);
    store_close(st);
    read_keys(&before);
    /* the newest commit alone */
    age_store(path, &t);
    /* the second time a new commit stands behind it */
    for (unsigned i = 0; i < 2; i++) {
        hear_again(&heard, i == 0 ? 1 : 0);
        st = open_it(false);
        if (i == 0) {
            wait_until_held(&heard);
            put(st, 6, 5, false);
            let_go(&heard);
        }
        assert_int_equal(i == 0 ? wait_for_the_end(&heard) : STORE_REINDEX_DONE,
                         STORE_REINDEX_DONE);
        assert_int_equal(store_index_form(st), SEARCH_INDEX_FORM);
        assert_true(i == 0 ? heard.n_done > 20 : heard.n_told == 0);
        store_close(st);
    }
    read_keys(&after);
    assert_int_equal(missing(&before, &after), 0);
    buf_done(&before.rows);
    buf_done(&after.rows);
}

TEST(reindex, several_stores_take_turns)
{
    (void)state;
    enum { N = 5 };
    struct store *st[N];
    for (unsigned i = 0; i < N; i++) {
        (void)snprintf(path, sizeof path, "%s/%u", root, i);
        made(60);
        age_store(path, NULL);
    }
    hear_again(&heard, 0);
    for (unsigned i = 0; i < N; i++) {
        (void)snprintf(path, sizeof path, "%s/%u", root, i);
        st[i] = open_it(false);
    }
    /* maybe before its turn */
    store_close(st[N - 1]);
    pthread_mutex_lock(&heard.lock);
    while (heard.n_ended < N)
        pthread_cond_wait(&heard.changed, &heard.lock);
    pthread_mutex_unlock(&heard.lock);
    for (unsigned i = 0; i < N - 1; i++) {
        assert_int_equal(store_index_form(st[i]), SEARCH_INDEX_FORM);
        store_close(st[i]);
    }
}

TEST(reindex, entries_of_a_newer_form_are_not_touched)
{
    (void)state;
    struct raw_store s;
    struct store *st;
    struct key_bytes k = key_commit('i', 0);
    const char record[10] = { (char)(SEARCH_INDEX_FORM + 1), 1 };
    made(5);
    raw_open(&s, path);
    raw_put(&s, CF_COMMITS, sv_make(k.ptr, k.len), sv_make(record, sizeof record));
    raw_close(&s);
    FAILS(ERR_CORRUPT, store_open(env, path, false, &st, e));
}

TEST(reindex, a_version_that_cannot_be_read_leaves_the_old_form)
{
    (void)state;
    struct raw_store s;
    struct key_bytes k = key_version(number_make(3, patient, 3), KEY_BULK, 77);
    made(5);
    age_store(path, NULL);
    raw_open(&s, path);
    raw_put(&s, CF_VERSIONS, sv_make(k.ptr, k.len), SV_LIT("\xff"));
    raw_close(&s);
    hear_again(&heard, 0);
    struct store *st = open_it(false);
    assert_int_equal(wait_for_the_end(&heard), STORE_REINDEX_FAILED);
    assert_int_equal(heard.why, ERR_CORRUPT);
    assert_int_equal(store_index_form(st), 1);
    /* it is used all the same */
    assert_true(put(st, 7, 7, false) > 0);
    store_close(st);
}

#define R(sentence)                                                           \
    {                                                                         \
        "reindex: " #sentence, test_reindex_##sentence, setup, teardown, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        R(a_store_of_this_program_has_nothing_to_do),
        R(every_version_gets_its_entries),
        R(leaves_the_lists_of_loads_as_they_are),
        R(what_stops_it_costs_what_was_not_written),
        R(begins_again_when_an_older_program_has_written),
        R(several_stores_take_turns),
        R(entries_of_a_newer_form_are_not_touched),
        R(a_version_that_cannot_be_read_leaves_the_old_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
