/* test_provenance.c - Provenance in exports with _since: a copy of what was meant at the start of
 * the window becomes a copy of what is meant at its end, held against exports of either instant,
 * which know nothing of changes. */
#include "served_run.h"

#define PATIENTS   40u
#define OBS        1100u /* more than are looked up at a time */
#define PROVENANCE 500u
#define LINES_MAX  8192u

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* Writes go in one by one; what was put last as "Type/id" is what a copy holds. */
static void drop(struct store *st, const char *type, char letter, unsigned digits, unsigned i)
{
    struct store_commit at;
    char id[32];
    (void)snprintf(id, sizeof id, "%c%0*u", letter, (int)digits, i);
    struct store_write w = { .type = fhir_type_find(sv_from(type)),
                             .id = sv_from(id),
                             .method = STORE_METHOD_DELETE };
    struct err why;
    err_code rc = store_commit(st, &w, 1, &at, &why);
    /* it may be gone already */
    assert_true(rc == ERR_OK || rc == ERR_NOT_FOUND);
}

static void put_observation(struct store *st, unsigned i, unsigned turn)
{
    /* every seventh is of no patient; the subject may be another one each time */
    put_fmt(st,
            "{\"resourceType\":\"Observation\",\"id\":\"o%04u\",\"status\":\"final\",\"code\":{"
            "\"text\":\"%u\"},\"subject\":{\"reference\":\"%s/p%02u\"}}",
            i, turn, below(7) ? "Patient" : "Device", below(PATIENTS));
}

static void add_target(char *to, size_t cap, unsigned i)
{
    char one[128];
    const char *sep = *to ? "," : "";
    /* some never were */
    unsigned o = below(OBS * 11 / 10);
    switch (i % 9) {
    case 0:
        (void)snprintf(one, sizeof one, "%s{\"reference\":\"Observation/o%04u/_history/1\"}", sep,
                       o);
        break;
    case 1:
        (void)snprintf(one, sizeof one, "%s{\"reference\":\"#c\"}", sep);
        break;
    case 2:
        (void)snprintf(one, sizeof one, "%s{\"reference\":\"Organization/o%04u\"}", sep, o % 20);
        break;
    case 3:
        (void)snprintf(one, sizeof one,
                       "%s{\"reference\":\"http://elsewhere.org/Observation/o%04u\"}", sep, o);
        break;
    case 4:
        (void)snprintf(one, sizeof one, "%s{\"reference\":\"Patient/p%02u\"}", sep,
                       below(PATIENTS));
        break;
    case 5:
        (void)snprintf(one, sizeof one, "%s{\"reference\":\"Provenance/v%03u\"}", sep,
                       below(PROVENANCE));
        break;
    default:
        (void)snprintf(one, sizeof one, "%s{\"reference\":\"Observation/o%04u\"}", sep, o);
    }
    (void)snprintf(to + strlen(to), cap - strlen(to), "%s", one);
}

static void put_provenance(struct store *st, unsigned i)
{
    char targets[512] = "";
    for (unsigned n = 1 + below(3); n; n--)
        add_target(targets, sizeof targets, below(9));
    put_fmt(st,
            "{\"resourceType\":\"Provenance\",\"id\":\"v%03u\",\"contained\":[{\"resourceType\":"
            "\"Observation\",\"id\":\"c\",\"status\":\"final\",\"code\":{\"text\":\"in\"},"
            "\"subject\":{\"reference\":\"Patient/p01\"}}],\"recorded\":\"20%02u-01-01T00:00:00Z\","
            "\"target\":[%s]}",
            i, 10 + below(10), targets);
}

static void put_group(struct store *st, unsigned first)
{
    char members[1024] = "";
    for (unsigned i = first; i < first + 12; i++)
        (void)snprintf(members + strlen(members), sizeof members - strlen(members),
                       "%s{\"entity\":{\"reference\":\"Patient/p%02u\"}}", *members ? "," : "", i);
    put_fmt(st,
            "{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,"
            "\"member\":[%s]}",
            members);
}

static void fill(struct store *st)
{
    for (unsigned i = 0; i < PATIENTS; i++)
        put_fmt(st, "{\"resourceType\":\"Patient\",\"id\":\"p%02u\"}", i);
    for (unsigned i = 0; i < 20; i++)
        put_fmt(st, "{\"resourceType\":\"Organization\",\"id\":\"o%04u\",\"name\":\"n\"}", i);
    for (unsigned i = 0; i < OBS; i += 1 + below(2))
        put_observation(st, i, 0);
    for (unsigned i = 0; i < PROVENANCE; i += 1 + below(2))
        put_provenance(st, i);
    put_group(st, 3);
}

/* Nearly everything changes; of Provenance a third. */
static void change(struct store *st)
{
    for (unsigned i = 0; i < OBS; i++)
        if (below(5) == 0)
            drop(st, "Observation", 'o', 4, i);
        else
            put_observation(st, i, 1);
    for (unsigned i = 0; i < PROVENANCE; i++)
        switch (below(12)) {
        case 0:
            drop(st, "Provenance", 'v', 3, i);
            break;
        case 1: /* there and gone within the window */
            put_provenance(st, i);
            drop(st, "Provenance", 'v', 3, i);
            break;
        case 2:
        case 3:
            put_provenance(st, i);
            break;
        default:
            break;
        }
    for (unsigned i = 0; i < PATIENTS; i += 5)
        drop(st, "Patient", 'p', 2, i);
    put_group(st, 8);
}

/* ---- what an export says ---- */

struct said {
    struct buf t;
    struct line {
        sv key, text; /* of a deletion no text */
    } lines[LINES_MAX];
    size_t n, n_provenance;
};

static int by_key(const void *a, const void *b)
{
    return sv_cmp(((const struct line *)a)->key, ((const struct line *)b)->key);
}

static sv between(sv line, const char *before)
{
    const char *at = memmem(line.ptr, line.len, before, strlen(before));
    assert_non_null(at);
    sv rest = sv_make(at + strlen(before), line.len - (size_t)(at - line.ptr) - strlen(before));
    return sv_head(rest, sv_find(rest, '"'));
}

static void add_line(struct said *s, struct arena *a, sv type, sv id, sv text)
{
    assert_true(s->n < LINES_MAX);
    s->n_provenance += sv_eq_cstr(type, "Provenance") && text.len;
    s->lines[s->n++] = (struct line){ arena_fmt(a, "%.*s/%.*s", SV_FMT(type), SV_FMT(id)), text };
}

static int64_t say(struct fx *f, const struct job_export_params *p, struct arena *a,
                   struct said *out)
{
    yyjson_val *m;
    sv rest, line;
    *out = (struct said){ .t = BUF_INIT(32 << 20) };
    struct job j = run(f, p, a, &out->t, &m);
    for (rest = sv_make(out->t.ptr, out->t.len - 1); rest.len && sv_cut(&rest, '\n', &line);) {
        if (sv_starts(line, SV_LIT("{\"resourceType\":\"Bundle\""))) {
            static const char url[] = "\"url\":\"";
            for (const char *at; (at = memmem(line.ptr, line.len, url, strlen(url))) != NULL;) {
                sv key = between(line, url);
                size_t slash = sv_find(key, '/');
                add_line(out, a, sv_head(key, slash), sv_tail(key, slash + 1), SV_NONE);
                line = sv_tail(line, (size_t)(at - line.ptr) + strlen(url));
            }
        } else if (sv_starts(line, SV_LIT("{\"resourceType\""))) {
            add_line(out, a, between(line, "{\"resourceType\":\""), between(line, "\"id\":\""),
                     line);
        }
    }
    qsort(out->lines, out->n, sizeof out->lines[0], by_key);
    /* each once */
    for (size_t i = 1; i < out->n; i++)
        if (sv_eq(out->lines[i - 1].key, out->lines[i].key))
            fail_msg("%.*s twice", SV_FMT(out->lines[i].key));
    return j.transaction_ms;
}

static const struct line *find(const struct said *s, sv key)
{
    struct line k = { .key = key };
    return bsearch(&k, s->lines, s->n, sizeof s->lines[0], by_key);
}

/* What the window tells turns before into after; nothing is told that is as it was. Returns how
 * much Provenance came or went without a change: it is there at either end as an export of the
 * whole system has it. */
static size_t check(const struct said *before, const struct said *after, const struct said *told,
                    const struct said *system_before, const struct said *system_after)
{
    size_t n = 0;
    for (size_t i = 0; i < told->n; i++) {
        const struct line *l = &told->lines[i], *was = find(before, l->key),
                          *is = find(after, l->key);
        const struct line *old = find(system_before, l->key), *new = find(system_after, l->key);
        if (l->text.len) {
            if (is == NULL || !sv_eq(is->text, l->text) || (was && sv_eq(was->text, l->text)))
                fail_msg("told, and not so: %.*s", SV_FMT(l->text));
        } else if (is) {
            fail_msg("told as deleted: %.*s", SV_FMT(l->key));
        }
        n += sv_starts(l->key, SV_LIT("Provenance/")) && old && new &&sv_eq(old->text, new->text);
    }
    for (size_t i = 0; i < after->n; i++) {
        const struct line *l = &after->lines[i], *was = find(before, l->key);
        if (!(was && sv_eq(was->text, l->text)) && !find(told, l->key))
            fail_msg("came in untold: %.*s", SV_FMT(l->text));
    }
    for (size_t i = 0; i < before->n; i++)
        if (!find(after, before->lines[i].key) && !find(told, before->lines[i].key))
            fail_msg("went untold: %.*s", SV_FMT(before->lines[i].text));
    return n;
}

TEST(provenance, provenance_that_did_not_change_comes_and_goes_with_what_it_is_about)
{
    static struct said before[8], after[8], told, system_before, system_after;
    const struct job_export_params asks[] = {
        { .level = JOB_EXPORT_PATIENT },
        { .level = JOB_EXPORT_PATIENT, .types = LIST(S("Provenance")) },
        { .level = JOB_EXPORT_PATIENT,
          .patients = LIST(S("p01"), S("p07"), S("p08"), S("p21"), S("p22"), S("p23"), S("p31")) },
        { .level = JOB_EXPORT_GROUP, .group_id = S("g") },
        { .level = JOB_EXPORT_PATIENT,
          .type_filters = LIST(S("Provenance?recorded=ge2013-06-01")) },
        { .level = JOB_EXPORT_GROUP,
          .group_id = S("g"),
          .type_filters = LIST(S("Provenance?recorded=lt2016-01-01")) },
        { .level = JOB_EXPORT_PATIENT, .associated = JOB_ASSOCIATED_RELEVANT_PROVENANCE },
    };
    const size_t n_asks = sizeof asks / sizeof asks[0];
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(256 << 20);
    for (unsigned round = 0; round < 2; round++) {
        seed = 7 + round;
        if (round == 0)
            fill(st);
        for (int i = 0; i < 3; i++)
            fx_nap();
        int64_t middle = say(&f, &(struct job_export_params){ 0 }, a, &system_before);
        for (size_t i = 0; i < n_asks; i++)
            (void)say(&f, &asks[i], a, &before[i]);
        for (int i = 0; i < 3; i++)
            fx_nap();
        change(st);
        (void)say(&f, &(struct job_export_params){ 0 }, a, &system_after);
        for (size_t i = 0; i < n_asks; i++) {
            struct job_export_params p = asks[i];
            (void)say(&f, &p, a, &after[i]);
            p.since_ms = middle;
            (void)say(&f, &p, a, &told);
            size_t n = check(&before[i], &after[i], &told, &system_before, &system_after);
            /* or this tests nothing */
            if (n < 8)
                fail_msg("%zu in round %u: unchanged Provenance %zu", i, round, n);
            buf_done(&told.t);
            buf_done(&before[i].t);
            buf_done(&after[i].t);
        }
        buf_done(&system_before.t);
        buf_done(&system_after.t);
    }
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST(provenance, provenance_of_before_the_window_is_none_then_nothing_is_told_but_what_changed)
{
    static struct said after, told;
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job_export_params p = { .level = JOB_EXPORT_PATIENT };
    put_fmt(st, "{\"resourceType\":\"Patient\",\"id\":\"p00\"}");
    for (int i = 0; i < 3; i++)
        fx_nap();
    p.since_ms = say(&f, &p, a, &told);
    buf_done(&told.t);
    for (int i = 0; i < 3; i++)
        fx_nap();
    seed = 1;
    for (unsigned i = 0; i < 600; i++)
        put_observation(st, i, 0);
    for (unsigned i = 0; i < 50; i++)
        put_provenance(st, i);
    (void)say(&f, &p, a, &told);
    p.since_ms = 0;
    (void)say(&f, &p, a, &after);
    assert_true(after.n_provenance > 10 && told.n_provenance == after.n_provenance);
    /* all but the Patient */
    assert_int_equal(told.n + 1, after.n);
    buf_done(&told.t);
    buf_done(&after.t);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST_MAIN(T(provenance, provenance_that_did_not_change_comes_and_goes_with_what_it_is_about),
          T(provenance,
            provenance_of_before_the_window_is_none_then_nothing_is_told_but_what_changed))
