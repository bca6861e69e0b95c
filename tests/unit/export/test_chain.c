/* test_chain.c - the chain of exports: a copy that takes a full export and then the increments is,
 * after each of them, what the source was at that instant; at every level, while others write,
 * delete, write again and load.
 *
 * The oracle reads the whole store as of the export's commit and decides with rules of its own. */
#include "job/fixture.h"

#include "base/clock.h"
#include "codec/json.h"
#include "store/last.h"

enum { N_PATIENTS = 10, N_OTHERS = 40, N_WRITERS = 3, MOST = 4096 };
static const char *const type_names[] = { "Patient",   "Group",        "Observation",
                                          "Encounter", "Organization", "Provenance" };
enum { N_TYPES = sizeof type_names / sizeof type_names[0] };

/* ---- a random history ---- */

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static unsigned below(uint64_t *x, unsigned n)
{
    return (unsigned)(next(x) >> 33) % n;
}

static void random_id(uint64_t *x, const char *type, char out[16])
{
    bool few = strcmp(type, "Patient") == 0, group = strcmp(type, "Group") == 0;
    (void)snprintf(out, 16, "%c%u", group ? 'g' : type[0] | 0x20,
                   below(x, few     ? N_PATIENTS
                            : group ? 2
                                    : N_OTHERS));
}

static void random_text(uint64_t *x, const char *type, const char *id, struct buf *out)
{
    static const char *const statuses[] = { "final", "preliminary", "amended" };
    OK(buf_add_fmt(out, e,
                   "{\"resourceType\":\"%s\",\"id\":\"%s\",\"meta\":{\"tag\":[{\"system\":"
                   "\"t\",\"code\":\"%c\"}]},\"language\":\"x%u\"",
                   type, id, "ab"[below(x, 2)], below(x, 1000000)));
    if (strcmp(type, "Observation") == 0) {
        OK(buf_add_fmt(out, e, ",\"status\":\"%s\"", statuses[below(x, 3)]));
        if (below(x, 4))
            OK(buf_add_fmt(out, e, ",\"subject\":{\"reference\":\"%s/p%u\"}",
                           below(x, 6) ? "Patient" : "Device", below(x, N_PATIENTS)));
        if (below(x, 3) == 0)
            OK(buf_add_fmt(out, e, ",\"performer\":[{\"reference\":\"Patient/p%u\"}]",
                           below(x, N_PATIENTS)));
    } else if (strcmp(type, "Encounter") == 0) {
        OK(buf_add_fmt(out, e, ",\"subject\":{\"reference\":\"Patient/p%u\"}",
                       below(x, N_PATIENTS)));
    } else if (strcmp(type, "Group") == 0) {
        OK(buf_add(out, SV_LIT(",\"member\":["), e));
        for (unsigned i = 0, n = 0; i < N_PATIENTS; i++)
            if (below(x, 3) == 0)
                OK(buf_add_fmt(out, e, "%s{\"entity\":{\"reference\":\"Patient/p%u\"}%s}",
                               n++ ? "," : "", i, below(x, 4) ? "" : ",\"inactive\":true"));
        OK(buf_add(out, SV_LIT("]"), e));
    } else if (strcmp(type, "Provenance") == 0) {
        OK(buf_add_fmt(out, e, ",\"target\":["));
        for (unsigned i = 0, n = 1 + below(x, 2); i < n; i++) {
            const char *of = type_names[below(x, N_TYPES - 1)];
            char target[16];
            random_id(x, of, target);
            OK(buf_add_fmt(out, e, "%s{\"reference\":\"%s/%s\"}", i ? "," : "", of, target));
        }
        OK(buf_add_fmt(out, e, "],\"recorded\":\"2020-01-%02uT00:00:00Z\"", 1 + below(x, 28)));
    }
    OK(buf_add(out, SV_LIT("}"), e));
}

struct made {
    struct arena *a;
    struct fhir_reader *r;
    struct buf text, stored, index;
};

static struct fhir_envelope make(struct made *m, uint64_t *x, const char *type, const char *id,
                                 sv *index)
{
    struct fhir_envelope env;
    buf_clear(&m->text);
    buf_clear(&m->stored);
    buf_clear(&m->index);
    random_text(x, type, id, &m->text);
    OK(fhir_envelope_read(m->r, buf_sv(&m->text), SV_NONE, &m->stored, &env, e));
    OK(search_index(env.type, fhir_reader_root(m->r), &m->index, e));
    env.body.json = arena_sv(m->a, env.body.json);
    env.id = arena_sv(m->a, env.id);
    *index = arena_sv(m->a, buf_sv(&m->index));
    return env;
}

static void write_random(struct store *st, struct made *m, uint64_t *x)
{
    struct store_write w[8];
    struct store_commit c;
    struct err err;
    size_t n = 0;
    arena_reset(m->a);
    for (unsigned want = 1 + below(x, 3); n < want; n++) {
        const char *type = type_names[below(x, N_TYPES)];
        char id[16];
        random_id(x, type, id);
        bool twice = false;
        for (size_t i = 0; i < n; i++)
            twice |= sv_eq_cstr(w[i].id, id);
        if (twice)
            break;
        w[n] = (struct store_write){ .type = fhir_type_find(sv_from(type)),
                                     .id = arena_sv(m->a, sv_from(id)),
                                     .method = STORE_METHOD_DELETE };
        /* a Group that is exported stays */
        bool keep = strcmp(id, "g0") == 0;
        if (keep || below(x, 4)) {
            sv index;
            struct fhir_envelope env = make(m, x, type, id, &index);
            w[n].method = STORE_METHOD_UPDATE;
            w[n].body = env.body;
            w[n].index = index;
        }
    }
    err_code rc = store_commit(st, w, n, &c, &err);
    /* deletion of what is not there */
    if (rc != ERR_NOT_FOUND)
        assert_int_equal(rc, ERR_OK);
}

static void load_random(struct store *st, struct made *m, uint64_t *x)
{
    struct store_bulk_item items[12];
    struct store_bulk *b = NULL;
    struct store_commit c;
    size_t n = 1 + below(x, 12);
    arena_reset(m->a);
    for (size_t i = 0; i < n; i++) {
        const char *type = type_names[below(x, N_TYPES)];
        char id[16];
        random_id(x, type, id);
        sv index;
        struct fhir_envelope env = make(m, x, type, id, &index);
        items[i] = (struct store_bulk_item){ env.type, env.id, env.body, i, index };
    }
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, n, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
}

struct writer {
    struct store *st;
    uint64_t seed;
    atomic_bool *stop;
};

static void made_init(struct made *m)
{
    *m = (struct made){ .a = arena_new(8 << 20), .r = fhir_reader_new(1 << 20) };
    buf_init(&m->text, 1 << 20);
    buf_init(&m->stored, 1 << 20);
    buf_init(&m->index, 1 << 20);
}

static void made_done(struct made *m)
{
    arena_free(m->a);
    fhir_reader_free(m->r);
    buf_done(&m->text);
    buf_done(&m->stored);
    buf_done(&m->index);
}

static void *writing(void *arg)
{
    struct writer *w = arg;
    struct made m;
    made_init(&m);
    while (!atomic_load(w->stop)) {
        if (below(&w->seed, 40) == 0)
            load_random(w->st, &m, &w->seed);
        else
            write_random(w->st, &m, &w->seed);
        if (below(&w->seed, 4) == 0)
            fx_nap();
    }
    made_done(&m);
    return NULL;
}

/* ---- what is asked for ---- */

static struct {
    const char *name;
    struct job_export_params p;
} variants[] = {
    { "system", { .level = JOB_EXPORT_SYSTEM } },
    { "types", { .level = JOB_EXPORT_SYSTEM, .types = LIST(S("Observation"), S("Patient")) } },
    { "patient", { .level = JOB_EXPORT_PATIENT } },
    { "list", { .level = JOB_EXPORT_PATIENT, .patients = LIST(S("p1"), S("p3")) } },
    { "group", { .level = JOB_EXPORT_GROUP, .group_id = S("g0") } },
    { "filter",
      { .level = JOB_EXPORT_GROUP,
        .group_id = S("g0"),
        .type_filters =
            LIST(S("Observation?status=final"), S("Observation?status=amended&_tag=t|a")) } },
    { "tag", { .level = JOB_EXPORT_SYSTEM, .tag = LIST(S("t|b")) } },
};
enum { N_ASKS = sizeof variants / sizeof variants[0] };

/* ---- the oracle ---- */

struct entry {
    sv key, body; /* "Patient/p1"; stored form */
};
struct copy {
    struct arena *a;
    struct entry items[MOST];
    size_t n;
};

static struct entry *find(struct copy *c, sv key)
{
    for (size_t i = 0; i < c->n; i++)
        if (sv_eq(c->items[i].key, key))
            return &c->items[i];
    return NULL;
}

static void put(struct copy *c, sv key, sv body)
{
    struct entry *x = find(c, key);
    if (x == NULL) {
        assert_true(c->n < MOST);
        x = &c->items[c->n++];
        x->key = arena_sv(c->a, key);
    }
    x->body = arena_sv(c->a, body);
}

static sv reference(yyjson_val *v)
{
    return json_string(json_get(v, "reference"));
}

static bool is_member(sv ref, const bool *members)
{
    uint64_t n;
    return sv_starts(ref, SV_LIT("Patient/p")) && sv_to_u64(sv_tail(ref, 9), &n) &&
           n < N_PATIENTS && members[n];
}

static bool any_member(yyjson_val *list, const char *inner, const bool *members)
{
    yyjson_val *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        if (is_member(reference(inner ? json_get(v, inner) : v), members))
            return true;
    return false;
}

static yyjson_val *read_at(struct store *st, sv type, sv id, uint64_t t, struct arena *a)
{
    struct store_version v;
    struct err err;
    yyjson_doc *doc;
    if (store_get(st, fhir_type_find(type), id, t, a, &v, &err) != ERR_OK ||
        v.method == STORE_METHOD_DELETE)
        return NULL;
    OK(json_read(a, v.body.json, 64, &doc, e));
    return yyjson_doc_get_root(doc);
}

static bool in_level(struct store *st, const struct job_export_params *p, sv type, sv id,
                     yyjson_val *root, uint64_t t, const bool *members, struct arena *a)
{
    if (p->level == JOB_EXPORT_SYSTEM)
        return true;
    if (sv_eq_cstr(type, "Patient")) {
        sv ref = arena_fmt(a, "Patient/%.*s", SV_FMT(id));
        return is_member(ref, members);
    }
    if (sv_eq_cstr(type, "Group"))
        return p->level == JOB_EXPORT_GROUP
                   ? sv_eq(id, p->group_id)
                   : any_member(json_get(root, "member"), "entity", members);
    if (sv_eq_cstr(type, "Observation"))
        return is_member(reference(json_get(root, "subject")), members) ||
               any_member(json_get(root, "performer"), NULL, members);
    if (sv_eq_cstr(type, "Encounter"))
        return is_member(reference(json_get(root, "subject")), members);
    if (!sv_eq_cstr(type, "Provenance"))
        return false;
    if (any_member(json_get(root, "target"), NULL, members))
        return true;
    yyjson_val *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "target"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        sv rest = reference(v), of;
        if (!sv_cut(&rest, '/', &of) || sv_eq_cstr(of, "Patient") ||
            (p->level == JOB_EXPORT_GROUP && sv_eq_cstr(of, "Group")))
            continue;
        yyjson_val *target = read_at(st, of, rest, t, a);
        if (target && in_level(st, p, of, rest, target, t, members, a))
            return true;
    }
    return false;
}

static sv tag_of(yyjson_val *root)
{
    return json_string(
        json_get(yyjson_arr_get_first(json_get(json_get(root, "meta"), "tag")), "code"));
}

static bool passes(unsigned variant, sv type, yyjson_val *root)
{
    sv status = json_string(json_get(root, "status"));
    switch (variants[variant].name[0]) {
    case 't':
        if (variants[variant].name[1] == 'a')
            return sv_eq_cstr(tag_of(root), "b");
        return sv_eq_cstr(type, "Observation") || sv_eq_cstr(type, "Patient");
    case 'f':
        return !sv_eq_cstr(type, "Observation") || sv_eq_cstr(status, "final") ||
               (sv_eq_cstr(status, "amended") && sv_eq_cstr(tag_of(root), "a"));
    default:
        return true;
    }
}

static void members_at(struct store *st, const struct job_export_params *p, uint64_t t,
                       bool members[N_PATIENTS], struct arena *a)
{
    for (unsigned i = 0; i < N_PATIENTS; i++)
        members[i] = p->level == JOB_EXPORT_PATIENT && p->patients.n == 0;
    for (size_t i = 0; i < p->patients.n; i++)
        members[p->patients.items[i].ptr[1] - '0'] = true;
    if (p->level != JOB_EXPORT_GROUP)
        return;
    yyjson_val *v, *group = read_at(st, SV_LIT("Group"), p->group_id, t, a);
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(group, "member"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        sv ref = reference(json_get(v, "entity"));
        if (!json_get(v, "inactive"))
            members[ref.ptr[9] - '0'] = true;
    }
}

static void oracle(struct store *st, unsigned variant, uint64_t t, struct copy *out)
{
    const struct job_export_params *p = &variants[variant].p;
    CLEANUP(arena_free) struct arena *a = arena_new(256 << 20);
    bool members[N_PATIENTS];
    members_at(st, p, t, members, a);
    for (unsigned k = 0; k < N_TYPES; k++) {
        CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
        sv type = sv_from(type_names[k]);
        struct store_range all = { .type = fhir_type_find(type) };
        struct store_version v;
        struct err err;
        OK(store_scan(st, &all, t, &cur, e));
        while (store_cursor_next(cur, &v, &err) == ERR_OK) {
            yyjson_doc *doc;
            OK(json_read(a, v.body.json, 64, &doc, e));
            yyjson_val *root = yyjson_doc_get_root(doc);
            if (in_level(st, p, type, v.id, root, t, members, a) && passes(variant, type, root))
                put(out, arena_fmt(a, "%s/%.*s", type_names[k], SV_FMT(v.id)), v.body.json);
        }
    }
}

/* ---- applying an export ---- */

struct round { /* keys of one export, to see that none comes twice */
    struct copy *out, *gone;
};

static void apply_line(struct copy *c, struct round *r, sv line, struct fhir_reader *reader)
{
    CLEANUP_BUF struct buf stored = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    char key[128];
    OK(fhir_envelope_read(reader, line, SV_NONE, &stored, &env, e));
    (void)snprintf(key, sizeof key, "%s/%.*s", fhir_type_name(env.type), SV_FMT(env.id));
    assert_null(find(r->out, sv_from(key)));
    put(r->out, sv_from(key), SV_NONE);
    put(c, sv_from(key), env.body.json);
}

static void apply_bundle(struct copy *c, struct round *r, sv line)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    yyjson_doc *doc;
    yyjson_val *v;
    OK(json_read(a, line, 16, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_sv(json_string(json_get(root, "resourceType")), SV_LIT("Bundle"));
    assert_sv(json_string(json_get(root, "type")), SV_LIT("transaction"));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "entry"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        yyjson_val *request = json_get(v, "request");
        sv url = json_string(json_get(request, "url"));
        assert_sv(json_string(json_get(request, "method")), SV_LIT("DELETE"));
        assert_null(find(r->out, url));
        assert_null(find(r->gone, url));
        put(r->gone, url, SV_NONE);
        struct entry *x = find(c, url);
        if (x)
            *x = c->items[--c->n];
    }
}

static void apply(struct fx *f, const struct job *j, struct copy *c, bool full)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf manifest = BUF_INIT(16 << 20);
    CLEANUP(fhir_reader_free) struct fhir_reader *reader = fhir_reader_new(1 << 20);
    struct round r = { calloc(1, sizeof *r.out), calloc(1, sizeof *r.gone) };
    r.out->a = r.gone->a = a;
    bool complete;
    yyjson_doc *doc;
    OK(job_export_manifest(f->engine, FX_STORE, j->id, &manifest, &complete, e));
    OK(json_read(a, buf_sv(&manifest), 8, &doc, e));
    for (int deleted = 0; deleted < 2; deleted++) {
        yyjson_val *v, *list = json_get(yyjson_doc_get_root(doc), deleted ? "deleted" : "output");
        yyjson_arr_iter it = yyjson_arr_iter_with(list);
        assert_true(!full || !deleted || yyjson_arr_size(list) == 0);
        while ((v = yyjson_arr_iter_next(&it)) != NULL) {
            CLEANUP_BUF struct buf text = BUF_INIT(64 << 20);
            char path[512];
            (void)snprintf(path, sizeof path, "%s/%.*s/%.*s", f->served, SV_FMT(j->id),
                           SV_FMT(json_string(json_get(v, "url"))));
            OK(file_read(path, &text, e));
            sv rest = buf_sv(&text), line;
            uint64_t heads = 0, said = 0;
            while (rest.len && sv_cut(&rest, '\n', &line))
                if (sv_starts(line, SV_LIT("{\"resourceType\":\"Parameters\"")))
                    /* of a block, by organizeOutputBy */
                    heads++;
                else if (deleted)
                    apply_bundle(c, &r, line);
                else
                    apply_line(c, &r, line, reader);
            /* of a file by type: 0 */
            IGNORE(!sv_to_u64(json_number(json_get(v, "blocks")), &said));
            assert_int_equal(heads, said);
        }
    }
    free(r.out);
    free(r.gone);
}

static void same(unsigned variant, unsigned round, struct copy *got, struct copy *want)
{
    for (size_t i = 0; i < want->n; i++) {
        struct entry *x = find(got, want->items[i].key);
        if (x == NULL)
            fail_msg("%s, export %u: %.*s is missing", variants[variant].name, round,
                     SV_FMT(want->items[i].key));
        if (!sv_eq(x->body, want->items[i].body))
            fail_msg("%s, export %u: %.*s is another version", variants[variant].name, round,
                     SV_FMT(x->key));
    }
    for (size_t i = 0; i < got->n; i++)
        if (find(want, got->items[i].key) == NULL)
            fail_msg("%s, export %u: %.*s should not be there", variants[variant].name, round,
                     SV_FMT(got->items[i].key));
}

TEST(chain, a_copy_that_takes_every_increment_is_the_source_at_each_instant)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 3000, 0);
    struct store *st = fx_store(&f);
    bool long_form = test_is_long();
    uint64_t seed = clock_mono_us() | 1, until = clock_mono_us() + (long_form        ? 3600000000u
                                                                    : TEST_SANITIZED ? 8000000u
                                                                                     : 30000000u);
    const char *given = getenv("FHIRLAKE_SEED");
    if (given)
        assert_true(sv_to_u64(sv_from(given), &seed));
    print_message("seed %llu\n", (unsigned long long)seed);
    struct made m;
    made_init(&m);
    for (int i = 0; i < 100; i++)
        write_random(st, &m, &seed);
    /* what is asked for by name is there */
    for (int i = 0; i < N_PATIENTS + 2; i++) {
        char id[16];
        const char *type = i < N_PATIENTS ? "Patient" : "Group";
        (void)snprintf(id, sizeof id, "%c%d", i < N_PATIENTS ? 'p' : 'g', i % N_PATIENTS);
        sv index;
        arena_reset(m.a);
        struct fhir_envelope env = make(&m, &seed, type, id, &index);
        struct store_write w = { .type = env.type,
                                 .id = env.id,
                                 .method = STORE_METHOD_UPDATE,
                                 .body = env.body,
                                 .index = index };
        struct store_commit c;
        OK(store_commit(st, &w, 1, &c, e));
    }
    atomic_bool stop = false;
    struct writer writers[N_WRITERS];
    pthread_t threads[N_WRITERS];
    struct copy *copies = calloc(N_ASKS, sizeof *copies);
    int64_t since[N_ASKS] = { 0 };
    unsigned round = 0, n_exports = 0, busy = 0;
    for (int i = 0; i < N_ASKS; i++)
        copies[i].a = arena_new((size_t)1 << 30);
    do {
        /* two rounds with writers beside, then one alone */
        if (round % 3 == 0) {
            for (int i = 0; i < N_WRITERS; i++) {
                writers[i] = (struct writer){ st, next(&seed), &stop };
                assert_int_equal(pthread_create(&threads[i], NULL, writing, &writers[i]), 0);
            }
            busy = 1;
        }
        for (unsigned k = 0; k < N_ASKS; k++, n_exports++) {
            CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
            struct copy *want = calloc(1, sizeof *want);
            struct job_request q = fx_request(JOB_EXPORT, "", "");
            struct job_export_params p = variants[k].p;
            struct job j;
            struct err err;
            q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
            p.served = true;
            p.since_ms = since[k];
            /* the chain goes on from either form */
            p.organize_by_patient = next(&seed) % 2;
            q.params = &p;
            err_code rc = job_submit(f.engine, &q, a, &j, &err);
            /* one of the list is deleted just now */
            if (rc == ERR_NOT_FOUND && p.patients.n) {
                free(want);
                continue;
            }
            assert_int_equal(rc, ERR_OK);
            j = fx_wait(&f, JOB_EXPORT, j.id, a);
            if (j.status != JOB_COMPLETED)
                fail_msg("%s: %.*s", variants[k].name, SV_FMT(j.message));
            want->a = a;
            oracle(st, k, j.as_of_t, want);
            apply(&f, &j, &copies[k], since[k] == 0);
            same(k, round, &copies[k], want);
            since[k] = j.transaction_ms;
            OK(job_discard(f.engine, FX_STORE, j.id, e));
            free(want);
        }
        if (busy && round % 3 == 1) {
            atomic_store(&stop, true);
            for (int i = 0; i < N_WRITERS; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
            atomic_store(&stop, false);
            busy = 0;
        }
        round++;
    } while (round < 3 || clock_mono_us() < until);
    atomic_store(&stop, true);
    for (int i = 0; i < N_WRITERS && busy; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    print_message("%u exports in %u rounds, %llu commits\n", n_exports, round,
                  (unsigned long long)last_of(st).t);
    assert_true(round >= 2);
    for (int i = 0; i < N_ASKS; i++)
        arena_free(copies[i].a);
    free(copies);
    made_done(&m);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST_MAIN(T(chain, a_copy_that_takes_every_increment_is_the_source_at_each_instant))
