/* test_blocks.c - organizeOutputBy=Patient: the same resources as without it, each in the one block
 * it belongs to. */
#include "served_run.h"

#define PATIENTS 12u

static void drop(struct store *st, const char *type, const char *id)
{
    struct store_commit at;
    struct store_write w = { .type = fhir_type_find(sv_from(type)),
                             .id = sv_from(id),
                             .method = STORE_METHOD_DELETE };
    OK(store_commit(st, &w, 1, &at, e));
}

/* Patients p00..p11; Observations of one, of two of them, of nobody, of one who never was, about
 * which there is Provenance. turn: what is written over. */
static void fill(struct store *st, unsigned turn)
{
    for (unsigned i = 0; i < PATIENTS; i += 1 + turn)
        put_fmt(st, "{\"resourceType\":\"Patient\",\"id\":\"p%02u\",\"language\":\"x%u\"}", i,
                turn);
    for (unsigned i = 0; i < 60; i += 1 + turn * 4) {
        unsigned of = (i * 7 + turn) % (PATIENTS + 2), other = (i * 5) % (PATIENTS + 3);
        put_fmt(st,
                "{\"resourceType\":\"Observation\",\"id\":\"o%02u\",\"status\":\"final\",\"code\":{"
                "\"text\":\"%u\"}"
                ",\"subject\":{\"reference\":\"%s/p%02u\"}%s%02u\"}]}",
                i, turn, i % 9 ? "Patient" : "Device", of,
                i % 3 ? ",\"note\":[{\"text\":\"" : ",\"performer\":[{\"reference\":\"Patient/p",
                other);
        if (i % 10 == 0)
            put_fmt(st,
                    "{\"resourceType\":\"Provenance\",\"id\":\"v%02u\",\"recorded\":\"2020-01-"
                    "01T00:00:00Z\","
                    "\"target\":[{\"reference\":\"Observation/o%02u\"}]}",
                    i, i);
    }
    put_fmt(st, "{\"resourceType\":\"Organization\",\"id\":\"org\",\"name\":\"n%u\"}", turn);
    put_fmt(st,
            "{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,"
            "\"member\":[{\"entity\":{"
            "\"reference\":\"Patient/p%02u\"}},{\"entity\":{\"reference\":\"Patient/"
            "p03\"}},{\"entity\":{\"reference\":"
            "\"Patient/p13\"}}]}",
            turn + 1);
}

static sv member(yyjson_val *root, const char *name)
{
    return json_string(json_get(root, name));
}

static const char *text_of(yyjson_val *v)
{
    return v ? yyjson_val_write(v, 0, NULL) : NULL;
}

static void same_json(yyjson_val *a, yyjson_val *b)
{
    char *x = (char *)(uintptr_t)text_of(a), *y = (char *)(uintptr_t)text_of(b);
    assert_non_null(x);
    assert_string_equal(x, y);
    free(x);
    free(y);
}

/* The manifest's entry of a name. */
static yyjson_val *entry_of(yyjson_val *m, sv name)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(m, "output"));
    yyjson_val *v;
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(member(v, "url"), name))
            return v;
    return NULL;
}

struct seen {
    char started[64][FHIR_ID_MAX + 1]; /* blocks that began, not going on from another file */
    size_t n;
    unsigned files, continued;
};

static void head_of(sv line, char out[FHIR_ID_MAX + 1])
{
    static const char before[] =
        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"header\","
        "\"valueReference\":{\"reference\":\"Patient/";
    assert_true(sv_starts(line, sv_make(before, sizeof before - 1)));
    sv id = sv_tail(line, sizeof before - 1);
    id = sv_head(id, sv_find(id, '"'));
    memcpy(out, id.ptr, id.len);
    out[id.len] = 0;
}

static bool goes_on(yyjson_val *m, sv name)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(m, "output"));
    yyjson_val *v;
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(member(v, "continuesInFile"), name))
            return true;
    return false;
}

/* One file of blocks. */
static void check_file(const struct fx *f, const struct job *j, yyjson_val *m, yyjson_val *v,
                       struct seen *seen)
{
    CLEANUP_BUF struct buf text = BUF_INIT(16 << 20), next = BUF_INIT(16 << 20);
    char path[512], owner[FHIR_ID_MAX + 1] = "", first[FHIR_ID_MAX + 1], named[96];
    uint64_t lines = 0, heads = 0;
    sv rest, line, name = member(v, "url");
    bool patient_first = false, begins = !goes_on(m, name);
    assert_true(sv_starts(name, SV_LIT("by-patient/")));
    (void)snprintf(path, sizeof path, "%s/%.*s/%.*s", f->served, SV_FMT(j->id), SV_FMT(name));
    OK(file_read(path, &text, e));
    for (rest = buf_sv(&text); rest.len && sv_cut(&rest, '\n', &line); lines++) {
        if (sv_starts(line, SV_LIT("{\"resourceType\":\"Parameters\""))) {
            head_of(line, owner);
            if (heads++ || begins)
                (void)snprintf(seen->started[seen->n++], sizeof owner, "%s", owner);
            patient_first = true;
            continue;
        }
        assert_true(*owner);
        (void)snprintf(named, sizeof named, "Patient/%s\"", owner);
        bool is_patient = sv_starts(line, SV_LIT("{\"resourceType\":\"Patient\""));
        if (is_patient) {
            (void)snprintf(named, sizeof named, "\"id\":\"%s\"", owner);
            assert_true(patient_first);
        }
        if (!sv_starts(line, SV_LIT("{\"resourceType\":\"Provenance\"")))
            assert_non_null(memmem(line.ptr, line.len, named, strlen(named)));
        patient_first = false;
    }
    assert_int_equal(lines - heads, number(v, "count"));
    assert_int_equal(heads, number(v, "blocks"));
    assert_null(json_get(v, "type"));
    seen->files++;
    if (json_get(v, "continuesInFile") == NULL)
        return;
    seen->continued++;
    assert_non_null(entry_of(m, member(v, "continuesInFile")));
    (void)snprintf(path, sizeof path, "%s/%.*s/%.*s", f->served, SV_FMT(j->id),
                   SV_FMT(member(v, "continuesInFile")));
    OK(file_read(path, &next, e));
    rest = buf_sv(&next);
    assert_true(sv_cut(&rest, '\n', &line));
    head_of(line, first);
    assert_string_equal(first, owner);
}

/* With and without: the same resources; every block is whole and there once. */
static struct seen compare(struct fx *f, struct job_export_params p)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    struct seen seen = { .n = 0 };
    yyjson_val *plain, *m, *v;
    p.until_ms = run(f, &p, a, &t, &plain).transaction_ms;
    p.organize_by_patient = true;
    struct job j = run(f, &p, a, &t, &m);
    assert_sv(member(m, "outputOrganizedBy"), SV_LIT("Patient"));
    assert_null(json_get(plain, "outputOrganizedBy"));
    assert_sv(member(m, "contentDigest"), member(plain, "contentDigest"));
    same_json(json_get(m, "countPerType"), json_get(plain, "countPerType"));
    assert_int_equal(number(m, "count"), number(plain, "count"));
    assert_int_equal(number(m, "deletions"), number(plain, "deletions"));
    assert_int_equal(j.progress.resources_exported, number(m, "count"));
    if (p.level != JOB_EXPORT_GROUP)
        same_json(json_get(m, "storeCountPerType"), json_get(plain, "storeCountPerType"));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(m, "output"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        if (json_get(v, "blocks"))
            check_file(f, &j, m, v, &seen);
        else
            /* what belongs to nobody */
            assert_true(sv_eq(member(v, "type"), SV_LIT("Organization")) ||
                        sv_eq(member(v, "type"), SV_LIT("Group")) ||
                        sv_eq(member(v, "type"), SV_LIT("Observation")) ||
                        sv_eq(member(v, "type"), SV_LIT("Provenance")));
    for (size_t i = 0; i < seen.n; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(seen.started[i], seen.started[k]);
    return seen;
}

TEST(blocks, hold_what_the_export_holds_without_them_each_resource_in_one)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    fill(st, 0);
    for (int i = 0; i < 3; i++)
        fx_nap();
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    int64_t middle = run(&f, &(struct job_export_params){ 0 }, a, &t, &m).transaction_ms;
    fill(st, 1);
    drop(st, "Patient", "p05");
    drop(st, "Observation", "o07");
    for (unsigned small = 0; small < 2; small++)
        for (unsigned window = 0; window < 2; window++) {
            struct job_export_params p = { .max_file_bytes = small ? 500 : 0,
                                           .since_ms = window ? middle : 0 };
            struct seen s = compare(&f, p);
            assert_true(s.n >= (window ? 6 : PATIENTS - 1) &&
                        (small ? s.continued > 3 : s.files == 1));
            p.level = JOB_EXPORT_PATIENT;
            s = compare(&f, p);
            assert_true(s.n >= (window ? 6 : PATIENTS - 1));
            p.types = (struct job_texts)LIST(S("Observation"));
            compare(&f, p);
            p.types = (struct job_texts){ 0 };
            p.level = JOB_EXPORT_GROUP;
            p.group_id = SV_LIT("g");
            s = compare(&f, p);
            assert_true(window ? s.n >= 1 : s.n == 2);
            p.level = JOB_EXPORT_PATIENT;
            p.group_id = SV_NONE;
            p.patients = (struct job_texts)LIST(S("p01"), S("p03"), S("p11"));
            compare(&f, p);
        }
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST(blocks, members_that_are_left_out_are_left_out_by_type)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    fill(st, 0);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    const struct job_export_params p = { .organize_by_patient = true,
                                         .elements = LIST(S("Observation.subject")) };
    run(&f, &p, a, &t, &m);
    /* of Patients nothing is left out */
    assert_true(has(&t, "\"language\":\"x0\""));
    assert_false(has(&t, "\"performer\""));
    assert_true(has(&t, "\"code\":\"SUBSETTED\""));
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST_MAIN(T(blocks, hold_what_the_export_holds_without_them_each_resource_in_one),
          T(blocks, members_that_are_left_out_are_left_out_by_type))
