/* Bulk loads on PostgreSQL: what was given up leaves no row, who comes too late is told so, two
 * processes that load one new id agree on its number, and a giant stands in pieces. A second
 * opening of the store plays the other process. */
#include "test.h"

#include "base/limits.h"
#include "store/last.h"
#include "store/postgres_sql.h"
#include "store/store.h"
#include "store/threads.h"

#include <inttypes.h>

#define MANY 700u /* ids of a load of which not each is looked for */

static struct store_env *env;
static fhir_type patient, binary;
static const char head[] = "{\"resourceType\":\"Patient\",\"id\":\"x\"";

#define ROWS                                                                                    \
    "select (select count(*) from versions) + (select count(*) from parts) + (select count(*) " \
    "from changes) + (select count(*) from search) + (select count(*) from counts) + (select "  \
    "count(*) from fences) + (select count(*) from open_loads) + (select count(*) from packs)"

static struct fhir_body body_of(int n, char text[128])
{
    int len = snprintf(text, 128, "%s,\"n\":%d}", head, n);
    return (struct fhir_body){ sv_make(text, (size_t)len), sizeof head - 1, FHIR_HOLE_NO_META };
}

static const char entry[] = { 6, 0, 3, 0, 'v', 'a', 'l', 'u', 'e', '1' };

/* A load of patients ids[0], ids[1], ...; with an entry each. */
static struct store_bulk *load(struct store *st, const char *const *ids, size_t n)
{
    struct store_bulk_item items[8];
    char text[8][128];
    struct store_bulk *b;
    for (size_t i = 0; i < n; i++)
        items[i] = (struct store_bulk_item){ .type = patient,
                                             .id = sv_from(ids[i]),
                                             .body = body_of((int)i, text[i]),
                                             .seq = i,
                                             .index = sv_make(entry, sizeof entry) };
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, n, e));
    return b;
}

static struct store *open_new(char uri[256])
{
    struct store *st;
    if (!pg_new_place(uri, 256))
        skip();
    OK(store_open(env, uri, true, &st, e));
    return st;
}

TEST(postgres_loads, a_load_that_is_given_up_leaves_no_row)
{
    (void)state;
    char uri[256];
    struct store *st = open_new(uri);
    struct store_bulk *b = load(st, (const char *[]){ "a", "b" }, 2);
    assert_true(pg_sql(uri, ROWS) > 4);
    store_bulk_abort(b);
    assert_int_equal(pg_sql(uri, ROWS), 0);
    store_close(st);
    pg_drop(uri);
}

TEST(postgres_loads, a_load_without_a_resource_leaves_no_row_when_it_is_published)
{
    (void)state;
    char uri[256];
    struct store *st = open_new(uri);
    struct store_commit c;
    struct store_bulk *both[2];
    OK(store_bulk_begin(st, &both[0], e));
    OK(store_bulk_fill(both[0], NULL, 0, e));
    both[1] = load(st, (const char *[]){ "a" }, 1);
    assert_int_equal(pg_sql(uri, "select count(*) from open_loads"), 2);
    OK(store_bulk_publish_all(both, 2, SV_LIT("k"), SV_LIT("v"), &c, e));
    assert_int_equal(c.t, 1);
    assert_int_equal(pg_sql(uri, "select count(*) from open_loads"), 0);
    store_close(st);
    pg_drop(uri);
}

struct giving_up {
    struct store_bulk *load;
    atomic_bool done;
};

static void *give_up(void *arg)
{
    struct giving_up *g = arg;
    store_bulk_abort(g->load);
    atomic_store(&g->done, true);
    return NULL;
}

TEST(postgres_loads, a_load_is_given_up_behind_the_one_who_has_its_row)
{
    (void)state;
    char uri[256], conninfo[256], sql[128];
    struct store *st = open_new(uri);
    struct giving_up g = { .load = load(st, (const char *[]){ "a" }, 1) };
    pthread_t thread;
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(strrchr(uri, '/') - uri), uri);
    (void)snprintf(sql, sizeof sql, "begin; select load from fl_%s.open_loads for update",
                   strrchr(uri, '/') + 1);
    PGconn *other = PQconnectdb(conninfo);
    PQclear(PQexec(other, sql));
    assert_int_equal(PQtransactionStatus(other), PQTRANS_INTRANS);
    assert_int_equal(pthread_create(&thread, NULL, give_up, &g), 0);
    while (!atomic_load(&g.done) &&
           pg_sql(uri, "select count(*) from pg_locks where not granted") == 0)
        (void)sched_yield();
    assert_false(atomic_load(&g.done));
    PQclear(PQexec(other, "commit"));
    PQfinish(other);
    (void)pthread_join(thread, NULL);
    assert_int_equal(pg_sql(uri, ROWS), 0);
    store_close(st);
    pg_drop(uri);
}

TEST(postgres_loads, who_publishes_behind_his_lease_is_told_so_and_nothing_is_seen)
{
    (void)state;
    char uri[256];
    struct store *st = open_new(uri), *other;
    struct store_commit c;
    OK(store_open(env, uri, false, &other, e));
    struct store_bulk *late = load(st, (const char *[]){ "a", "b" }, 2), *live;
    (void)pg_sql(uri, "update open_loads set until = clock_timestamp() - interval '1 second'");
    /* another process begins a load, and clears away whose lease has passed */
    live = load(other, (const char *[]){ "c" }, 1);
    assert_int_equal(pg_sql(uri, "select sum(count) from packs"), 1);
    assert_int_equal(pg_sql(uri, "select count(*) from search"), 1);
    assert_int_equal(pg_sql(uri, "select count(*) from open_loads"), 1);
    FAILS(ERR_CONFLICT, store_bulk_publish(&late, SV_LIT("k"), SV_LIT("v"), &c, e));
    assert_int_equal(last_of(st).t, 0);
    CLEANUP_BUF struct buf note = BUF_INIT(100);
    FAILS(ERR_NOT_FOUND, store_note_get(st, SV_LIT("k"), &note, e));
    OK(store_bulk_publish(&live, SV_LIT("k"), SV_LIT("v"), &c, e));
    assert_int_equal(c.t, 1);
    assert_int_equal(last_of(st).t, 1);
    OK(store_note_get(st, SV_LIT("k"), &note, e));
    store_close(other);
    store_close(st);
    pg_drop(uri);
}

static uint64_t count(struct store *st)
{
    uint64_t n;
    struct store_commit at;
    OK(store_count(st, patient, 0, SV_NONE, &n, &at, e));
    return n;
}

/* The entry of each resource is given once, with the newest version that has it. */
static void entries_name_the_newest(struct store *st, size_t n)
{
    CLEANUP(store_index_close) struct store_index_cursor *c = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct search_range all = { .from_len = 0 };
    struct search_driver d = { 3, &all, 1 };
    struct store_index_hit h;
    struct store_version v;
    struct err why;
    OK(store_index_scan(st, patient, &d, SV_NONE, 0, STORE_NOW, &c, e));
    for (size_t i = 0; i < n; i++) {
        OK(store_index_next(c, &h, e));
        OK(store_get_number(st, h.number, STORE_NOW, a, &v, e));
        assert_true(sv_eq_cstr(h.value, "value1") && h.t == v.t);
    }
    assert_int_equal(store_index_next(c, &h, &why), ERR_EOF);
}

static struct store_bulk *handed(struct store *from, struct store *to, const char *id,
                                 struct buf *text)
{
    struct store_bulk *b = load(from, (const char *[]){ id }, 1), *out;
    buf_clear(text);
    OK(store_bulk_hand_over(b, text, e));
    store_bulk_leave(&b);
    assert_null(b);
    OK(store_bulk_take_over(to, buf_sv(text), &out, e));
    return out;
}

TEST(postgres_loads, what_one_process_has_filled_another_one_publishes_or_gives_up)
{
    (void)state;
    char uri[256], spoilt[256];
    struct store *st = open_new(uri), *other;
    struct store_bulk *b, *none = NULL;
    struct store_commit c;
    struct err why;
    CLEANUP_BUF struct buf text = BUF_INIT(1000);
    OK(store_open(env, uri, false, &other, e));
    b = handed(st, other, "a", &text);
    assert_int_equal(count(st), 0);
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    assert_int_equal(c.t, 1);
    assert_int_equal(count(st), 1);
    /* it is not there twice */
    FAILS(ERR_NOT_FOUND, store_bulk_take_over(other, buf_sv(&text), &none, e));
    const long rows = pg_sql(uri, ROWS);
    store_bulk_abort(handed(st, other, "b", &text));
    assert_int_equal(pg_sql(uri, ROWS), rows);
    FAILS(ERR_NOT_FOUND, store_bulk_take_over(other, buf_sv(&text), &none, e));
    /* a known id, and a load with nothing in it */
    b = handed(st, other, "a", &text);
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    assert_int_equal(c.t, 2);
    assert_int_equal(count(st), 1);
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, NULL, 0, e));
    buf_clear(&text);
    OK(store_bulk_hand_over(b, &text, e));
    store_bulk_leave(&b);
    OK(store_bulk_take_over(other, buf_sv(&text), &b, e));
    OK(store_bulk_publish(&b, SV_LIT("k"), SV_LIT("v"), &c, e));
    assert_int_equal(c.t, 2);
    /* a number that came again, for another load */
    b = load(st, (const char *[]){ "d" }, 1);
    buf_clear(&text);
    OK(store_bulk_hand_over(b, &text, e));
    (void)snprintf(spoilt, sizeof spoilt, "%.*s", SV_FMT(buf_sv(&text)));
    char *who = strchr(spoilt, ' ') + 1;
    *who = *who == '0' ? '1' : '0';
    FAILS(ERR_NOT_FOUND, store_bulk_take_over(other, sv_from(spoilt), &none, e));
    store_bulk_abort(b);
    static const char *const damaged[] = { "", "1", "1 2 3 4 5", "x" };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(store_bulk_take_over(other, sv_from(damaged[i]), &none, &why),
                         ERR_CORRUPT);
    store_close(other);
    store_close(st);
    pg_drop(uri);
}

/* In either order of publication, and with a commit in between: one number, ranks by t, sums. */
static void share(bool second_first, bool commit)
{
    char uri[256], text[128];
    struct store *st = open_new(uri), *other;
    struct store_commit c;
    struct store_version v;
    store_number x, y;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    OK(store_open(env, uri, false, &other, e));
    struct store_bulk *b[] = { load(st, (const char *[]){ "a", "b" }, 2),
                               load(other, (const char *[]){ "b", "c" }, 2) };
    if (commit) {
        struct store_write w = { .type = patient,
                                 .id = SV_LIT("b"),
                                 .method = STORE_METHOD_UPDATE };
        w.index = sv_make(entry, sizeof entry);
        w.body = body_of(9, text);
        OK(store_commit(other, &w, 1, &c, e));
        assert_int_equal(w.version, 1);
        assert_int_equal(count(st), 1);
    }
    OK(store_bulk_publish(&b[second_first], SV_NONE, SV_NONE, &c, e));
    assert_int_equal(count(other), 2);
    OK(store_bulk_publish(&b[!second_first], SV_NONE, SV_NONE, &c, e));
    assert_int_equal(count(st), 3);
    entries_name_the_newest(st, 3);
    OK(store_number_of(st, patient, SV_LIT("b"), &x, e));
    OK(store_number_of(other, patient, SV_LIT("b"), &y, e));
    assert_true(x == y);
    OK(store_get(st, patient, SV_LIT("b"), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, 2 + commit);
    assert_int_equal(v.t, c.t);
    assert_true(v.number == x);
    store_close(other);
    store_close(st);
    pg_drop(uri);
}

TEST(postgres_loads, two_that_bring_one_new_id_agree_on_its_number_and_the_sums_are_right)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        share(i & 1, i & 2);
}

/* Those that are looked for are new; one that is not has a number. */
TEST(postgres_loads, a_known_id_among_many_new_ones_keeps_its_number)
{
    (void)state;
    char uri[256], text[128];
    static char names[MANY][16];
    static struct store_bulk_item items[MANY];
    struct store *st = open_new(uri);
    struct store_commit c;
    struct store_version v;
    store_number before, now;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof names[i], "m%04u", i);
        items[i] = (struct store_bulk_item){
            .type = patient, .id = sv_from(names[i]), .body = body_of(1, text), .seq = i
        };
    }
    struct store_bulk *b = load(st, (const char *[]){ names[1] }, 1);
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    OK(store_number_of(st, patient, SV_LIT("m0001"), &before, e));
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, MANY, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    OK(store_number_of(st, patient, SV_LIT("m0001"), &now, e));
    assert_true(before == now);
    assert_int_equal(count(st), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        OK(store_get(st, patient, sv_from(names[i]), STORE_NOW, a, &v, e));
        assert_int_equal(v.version, i == 1 ? 2 : 1);
        assert_int_equal(v.t, c.t);
        arena_reset(a);
    }
    assert_int_equal(pg_sql(uri, "select count(*) from ids"), MANY);
    store_close(st);
    pg_drop(uri);
}

struct writer {
    struct store *st;
    struct store_write w[2];
    struct store_commit c;
    atomic_bool done;
};

static void *write_both(void *arg)
{
    struct writer *x = arg;
    THREAD_OK(store_commit(x->st, x->w, 2, &x->c, e));
    atomic_store(&x->done, true);
    return NULL;
}

/* A load gives an id its number while a commit that brings it is under way. */
TEST(postgres_loads, a_commit_takes_the_number_that_a_load_gave_meanwhile)
{
    (void)state;
    char uri[256], text[128], sql[256], conninfo[256];
    struct writer x = { .st = open_new(uri) };
    store_number of_a, of_b;
    pthread_t t;
    const long b = pg_sql(uri, "select nextval('load_no')");
    const store_number theirs = number_make((uint64_t)b, patient, 7);
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(strrchr(uri, '/') - uri), uri);
    PGconn *load = PQconnectdb(conninfo);
    (void)snprintf(sql, sizeof sql,
                   "begin; insert into fl_%s.ids(number, type, id) values (%" PRIu64 ", %u, 'b')",
                   strrchr(uri, '/') + 1, theirs, (unsigned)patient);
    PQclear(PQexec(load, sql));
    assert_int_equal(PQtransactionStatus(load), PQTRANS_INTRANS);
    for (unsigned i = 0; i < 2; i++) {
        x.w[i] = (struct store_write){ .type = patient, .id = i ? SV_LIT("b") : SV_LIT("a") };
        x.w[i].index = sv_make(entry, sizeof entry);
        x.w[i].body = body_of(1, text);
    }
    assert_int_equal(pthread_create(&t, NULL, write_both, &x), 0);
    while (!atomic_load(&x.done) &&
           pg_sql(uri, "select count(*) from pg_stat_activity where wait_event = 'transactionid' "
                       "and query like '%insert into ids%'") == 0)
        (void)sched_yield();
    assert_false(atomic_load(&x.done));
    PQclear(PQexec(load, "commit"));
    PQfinish(load);
    pthread_join(t, NULL);
    assert_threads_were_fine();
    OK(store_number_of(x.st, patient, SV_LIT("a"), &of_a, e));
    OK(store_number_of(x.st, patient, SV_LIT("b"), &of_b, e));
    assert_true(of_b == theirs && of_a != theirs);
    assert_int_equal(x.c.t, 1);
    assert_int_equal(last_of(x.st).t, 1);
    assert_int_equal(count(x.st), 2);
    assert_int_equal(pg_sql(uri, "select count(*) from versions"), 2);
    assert_int_equal(pg_sql(uri, "select count(*) from changes"), 2);
    assert_int_equal(pg_sql(uri, "select count(*) from commits"), 1);
    entries_name_the_newest(x.st, 2);
    store_close(x.st);
    pg_drop(uri);
}

/* Of a load each, and of those that are not published none. */
TEST(postgres_loads, sums_of_many_rows_are_folded_when_an_import_ends)
{
    (void)state;
    char uri[256], id[16];
    const char *ids[] = { id };
    struct store *st = open_new(uri);
    struct store_commit c;
    for (unsigned i = 0; i < 70; i++) {
        (void)snprintf(id, sizeof id, "r%u", i);
        struct store_bulk *b = load(st, ids, 1);
        OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    }
    (void)snprintf(id, sizeof id, "more");
    struct store_bulk *open = load(st, ids, 1);
    assert_int_equal(pg_sql(uri, "select count(*) from counts"), 71);
    OK(store_counts_settle(st, NULL, e));
    assert_int_equal(pg_sql(uri, "select count(*) from counts"), 2);
    assert_int_equal(count(st), 70);
    OK(store_bulk_publish(&open, SV_NONE, SV_NONE, &c, e));
    assert_int_equal(count(st), 71);
    store_close(st);
    pg_drop(uri);
}

TEST(postgres_loads, a_giant_stands_in_pieces_and_comes_whole_light_and_in_its_place)
{
    (void)state;
    char uri[256];
    static const char begin[] = "{\"resourceType\":\"Binary\",\"id\":\"g\"";
    struct store *st = open_new(uri);
    struct store_commit c;
    struct store_version v;
    struct store_cursor *cur;
    CLEANUP_BUF struct buf text = BUF_INIT(64u << 20);
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    OK(buf_add_fmt(&text, e, "%s,\"contentType\":\"x/y\",\"data\":\"", begin));
    while (text.len <= LIMIT_GIANT_BYTES)
        OK(buf_add_fmt(&text, e, "%032zu", text.len));
    OK(buf_add(&text, SV_LIT("\"}"), e));
    struct fhir_body body = { buf_sv(&text), sizeof begin - 1, FHIR_HOLE_NO_META };
    struct store_bulk_item item = { binary, SV_LIT("g"), body, 0, SV_LIT("") };
    struct store_bulk *b;
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, &item, 1, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    assert_int_equal(pg_sql(uri, "select count(*) from parts"), 9);
    assert_int_equal(pg_sql(uri, "select count(*) from versions where body is null"), 1);
    struct store_write w = {
        .type = binary, .id = SV_LIT("g"), .method = STORE_METHOD_UPDATE, .index = SV_LIT("")
    };
    w.body = body;
    for (unsigned t = 1; t <= 2; t++) {
        if (t == 2)
            OK(store_commit(st, &w, 1, &c, e));
        arena_reset(a);
        OK(store_get(st, binary, SV_LIT("g"), STORE_NOW, a, &v, e));
        assert_true(sv_eq(v.body.json, body.json) && v.version == t);
        OK(store_scan(st, &(struct store_range){ .type = binary }, STORE_NOW, &cur, e));
        store_cursor_giants(cur, NULL);
        OK(store_cursor_next(cur, &v, e));
        assert_true(sv_eq(v.body.json, body.json) && v.t == t);
        store_cursor_rest(cur);
        FAILS(ERR_EOF, store_cursor_next(cur, &v, e));
        store_cursor_close(cur);
        /* the giant's place is free again */
        OK(store_giant_enter(st, NULL, e));
        store_giant_leave(st);
        OK(store_scan(st, &(struct store_range){ .type = binary }, STORE_NOW, &cur, e));
        store_cursor_light(cur);
        OK(store_cursor_next(cur, &v, e));
        assert_true(v.left_out && v.left_out + v.body.json.len == body.json.len);
        store_cursor_close(cur);
    }
    store_close(st);
    pg_drop(uri);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(postgres_loads, a_load_that_is_given_up_leaves_no_row),
        T(postgres_loads, a_load_without_a_resource_leaves_no_row_when_it_is_published),
        T(postgres_loads, a_load_is_given_up_behind_the_one_who_has_its_row),
        T(postgres_loads, what_one_process_has_filled_another_one_publishes_or_gives_up),
        T(postgres_loads, who_publishes_behind_his_lease_is_told_so_and_nothing_is_seen),
        T(postgres_loads, two_that_bring_one_new_id_agree_on_its_number_and_the_sums_are_right),
        T(postgres_loads, a_known_id_among_many_new_ones_keeps_its_number),
        T(postgres_loads, a_commit_takes_the_number_that_a_load_gave_meanwhile),
        T(postgres_loads, sums_of_many_rows_are_folded_when_an_import_ends),
        T(postgres_loads, a_giant_stands_in_pieces_and_comes_whole_light_and_in_its_place),
    };
    patient = fhir_type_find(SV_LIT("Patient"));
    binary = fhir_type_find(SV_LIT("Binary"));
    env = store_env_new(16 << 20, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return rc;
}
