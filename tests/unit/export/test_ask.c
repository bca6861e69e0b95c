/* test_ask.c - what an export is asked for: refusals before any job exists, members left out,
 * associated data, sizes, the digest of the content, windows that end before now. */
#include "ask.h"

#include "codec/hash.h"

static void fill(struct fx *f)
{
    static const char *const texts[] = {
        "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"active\":true,\"gender\":\"male\","
        "\"birthDate\":\"1970-01-01\","
        "\"_birthDate\":{\"id\":\"x\"},\"modifierExtension\":[{\"url\":\"u\",\"valueCode\":\"c\"}]"
        "}",
        "{\"resourceType\":\"Patient\",\"id\":\"p2\",\"active\":false}",
        "{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,\"member\":[{"
        "\"entity\":{\"reference\":\"Patient/p1\"}},{\"entity\":{\"reference\":\"Patient/p2\"},"
        "\"inactive\":true},{\"entity\":{\"reference\":\"Device/p2\"}}]}",
        "{\"resourceType\":\"Group\",\"id\":\"empty\",\"type\":\"person\",\"actual\":true}",
        "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":\"final\",\"code\":{\"text\":"
        "\"a\"},\"valueQuantity\":{\"value\":1.50},\"subject\":{\"reference\":\"Patient/p1\"}}",
        "{\"resourceType\":\"Observation\",\"id\":\"o2\",\"status\":\"final\",\"code\":{\"text\":"
        "\"a\"},\"subject\":{\"reference\":\"Patient/p2\"}}",
        "{\"resourceType\":\"Organization\",\"id\":\"org\",\"name\":\"n\"}",
        "{\"resourceType\":\"Provenance\",\"id\":\"v1\",\"recorded\":\"2020-01-01T00:00:00Z\","
        "\"target\":[{\"reference\":\"Observation/o1\"}]}",
        "{\"resourceType\":\"Provenance\",\"id\":\"v2\",\"recorded\":\"2021-01-01T00:00:00Z\","
        "\"target\":[{\"reference\":\"Observation/o1\"}]}",
        "{\"resourceType\":\"Provenance\",\"id\":\"v3\",\"recorded\":\"2022-01-01T00:00:00Z\","
        "\"target\":[{\"reference\":\"Organization/org\"}]}",
    };
    struct store *st = fx_store(f);
    struct store_commit c;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        put_text(st, texts[i], &c);
    store_registry_release(f->stores, st);
}

TEST(ask, what_contradicts_or_is_not_there_is_refused_and_no_job_exists)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    const struct {
        err_code want;
        const char *says;
        struct job_export_params p;
    } cases[] = {
        { ERR_NOT_FOUND, "no Group", { .level = JOB_EXPORT_GROUP, .group_id = S("none") } },
        { ERR_INVALID, "system level", { .patients = LIST(S("p1")) } },
        { ERR_NOT_FOUND, "Patient/p9", { .level = JOB_EXPORT_PATIENT, .patients = LIST(S("p9")) } },
        { ERR_INVALID, "legal id", { .level = JOB_EXPORT_PATIENT, .patients = LIST(S("a/b")) } },
        { ERR_INVALID,
          "not a member",
          { .level = JOB_EXPORT_GROUP, .group_id = S("g"), .patients = LIST(S("p2")) } },
        { ERR_INVALID, "no resource type", { .types = LIST(S("Patients")) } },
        { ERR_INVALID,
          "compartment",
          { .level = JOB_EXPORT_PATIENT, .types = LIST(S("Organization")) } },
        { ERR_INVALID, "_until", { .since_ms = 2, .until_ms = 1 } },
        { ERR_INVALID, "_maximumFileSize", { .min_file_bytes = 2, .max_file_bytes = 1 } },
        { ERR_INVALID, "Type?parameter", { .type_filters = LIST(S("Observation")) } },
        { ERR_INVALID, "Type?parameter", { .type_filters = LIST(S("Nothing?code=1")) } },
        { ERR_INVALID, "no place", { .type_filters = LIST(S("Observation?_sort=date")) } },
        { ERR_INVALID, "no place", { .type_filters = LIST(S("Observation?_include=x")) } },
        { ERR_NOT_FOUND, "", { .type_filters = LIST(S("Observation?nonsense=1")) } },
        { ERR_INVALID,
          "does not hold",
          { .types = LIST(S("Patient")), .type_filters = LIST(S("Observation?status=final")) } },
        { ERR_UNSUPPORTED, "chains", { .type_filters = LIST(S("Observation?subject.name=x")) } },
        { ERR_UNSUPPORTED,
          "_has",
          { .type_filters = LIST(S("Patient?_has:Observation:subject:code=1")) } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct job_request q = fx_request(JOB_EXPORT, "", "");
        struct job_export_params p = cases[i].p;
        struct job j, *jobs;
        struct err err = { 0 }, again = { 0 };
        size_t n;
        sv next;
        struct job_filter all = { .datastore_id = FX_STORE };
        p.served = true;
        q.params = &p;
        err_code rc = job_submit(f.engine, &q, a, &j, &err);
        if (rc != cases[i].want || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("case %zu: %s: %s", i, err_code_name(rc), err.msg);
        assert_int_equal(job_export_check(f.engine, FX_STORE, &p, &again), rc);
        OK(job_list(f.engine, JOB_EXPORT, &all, SV_NONE, 10, a, &jobs, &n, &next, e));
        assert_int_equal(n, 0);
    }
    fx_close(&f);
}

TEST(ask, a_group_gives_its_members_and_an_empty_one_nothing_but_itself)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    run(&f, &(struct job_export_params){ .level = JOB_EXPORT_GROUP, .group_id = SV_LIT("g") }, a,
        &t, &m);
    assert_true(has_id(&t, "Patient", "p1") && has_id(&t, "Observation", "o1") &&
                has_id(&t, "Group", "g") && has_id(&t, "Provenance", "v1") &&
                has_id(&t, "Provenance", "v2"));
    assert_int_equal(number(m, "count"), 5);
    run(&f, &(struct job_export_params){ .level = JOB_EXPORT_GROUP, .group_id = SV_LIT("empty") },
        a, &t, &m);
    assert_int_equal(number(m, "count"), 1);
    assert_true(has_id(&t, "Group", "empty"));
    run(&f,
        &(struct job_export_params){
            .level = JOB_EXPORT_GROUP, .group_id = SV_LIT("empty"), .types = LIST(S("Patient")) },
        a, &t, &m);
    assert_int_equal(number(m, "count"), 0);
    assert_int_equal(yyjson_arr_size(json_get(m, "output")), 0);
    fx_close(&f);
}

TEST(ask, elements_keep_what_must_stay_and_say_so)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    const struct job_export_params p = {
        .types = LIST(S("Patient"), S("Observation"), S("Organization")),
        .elements = LIST(S("Patient.birthDate"), S("Observation.value"))
    };
    run(&f, &p, a, &t, &m);
    assert_int_equal(number(m, "count"), 5);
    assert_true(has(&t, "\"birthDate\":\"1970-01-01\",\"_birthDate\":{\"id\":\"x\"}"));
    assert_true(has(&t, "\"modifierExtension\""));
    assert_true(has(&t, "\"valueQuantity\":{\"value\":1.50}"));
    /* mandatory */
    assert_true(has(&t, "\"status\":\"final\",\"code\":{\"text\":\"a\"}"));
    assert_false(has(&t, "\"subject\""));
    assert_false(has(&t, "\"gender\""));
    /* a modifier */
    assert_true(has(&t, "\"active\":true"));
    /* nothing is asked of this type: it comes whole */
    assert_true(has(&t, "\"name\":\"n\""));
    size_t n = 0;
    for (const char *at = t.ptr; (at = strstr(at, "\"code\":\"SUBSETTED\"")) != NULL; at++)
        n++;
    assert_int_equal(n, 4);
    fx_close(&f);
}

TEST(ask, associated_data_is_what_is_about_the_exported)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    struct job_export_params p = { .types = LIST(S("Observation")) };
    run(&f, &p, a, &t, &m);
    assert_false(has(&t, "Provenance"));
    p.associated = JOB_ASSOCIATED_LATEST_PROVENANCE;
    run(&f, &p, a, &t, &m);
    assert_true(has_id(&t, "Provenance", "v2"));
    assert_false(has_id(&t, "Provenance", "v1") || has_id(&t, "Provenance", "v3"));
    /* the least restrictive wins */
    p.associated |= JOB_ASSOCIATED_RELEVANT_PROVENANCE;
    run(&f, &p, a, &t, &m);
    assert_true(has_id(&t, "Provenance", "v1") && has_id(&t, "Provenance", "v2"));
    assert_false(has_id(&t, "Provenance", "v3"));
    fx_close(&f);
}

TEST(ask, notes_become_outcomes_and_sizes_are_kept_to)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m, *v;
    const struct job_export_params p = { .max_file_bytes = 300,
                                         .notes = LIST(S("_x \"was\" passed over"), S("_y")) };
    run(&f, &p, a, &t, &m);
    yyjson_val *errors = json_get(m, "error");
    assert_int_equal(yyjson_arr_size(errors), 1);
    v = yyjson_arr_get_first(errors);
    assert_sv(json_string(json_get(v, "type")), SV_LIT("OperationOutcome"));
    assert_int_equal(number(v, "count"), 2);
    assert_true(has(&t, "\"diagnostics\":\"_x \\\"was\\\" passed over\""));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(m, "output"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        assert_true(number(v, "bytes") <= 300 || number(v, "count") == 1);
    assert_int_equal(number(m, "count"), 10);
    assert_int_equal(number(json_get(m, "storeCountPerType"), "Observation"), 2);
    fx_close(&f);
}

TEST(ask, the_digest_of_the_content_knows_neither_files_nor_versions)
{
    struct fx f, g;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *one, *two, *v;
    struct job j = run(&f, &(struct job_export_params){ 0 }, a, &t, &one);
    /* into another data store, line by line, backwards, and some twice */
    fx_open(&g);
    fx_engine(&g, 2, 0, 0);
    struct store *st = fx_store(&g);
    struct store_commit c;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(one, "output"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        CLEANUP_BUF struct buf text = BUF_INIT(16 << 20);
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%.*s/%.*s", f.served, SV_FMT(j.id),
                       SV_FMT(json_string(json_get(v, "url"))));
        OK(file_read(path, &text, e));
        sv rest = buf_sv(&text), line;
        while (rest.len && sv_cut(&rest, '\n', &line)) {
            put_text(st, arena_str(a, line), &c);
            put_text(st, arena_str(a, line), &c);
        }
    }
    run(&g, &(struct job_export_params){ .max_file_bytes = 10 }, a, &t, &two);
    sv digest = json_string(json_get(one, "contentDigest"));
    assert_int_equal(digest.len, SHA256_HEX_LEN);
    assert_sv(json_string(json_get(two, "contentDigest")), digest);
    assert_true(yyjson_arr_size(json_get(two, "output")) >
                yyjson_arr_size(json_get(one, "output")));
    /* one digit of one decimal is another content, and only its type says so */
    put_text(st,
             "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":\"final\",\"code\":{"
             "\"text\":\"a\"},\"valueQuantity\":{\"value\":1.5},\"subject\":{\"reference\":"
             "\"Patient/p1\"}}",
             &c);
    run(&g, &(struct job_export_params){ 0 }, a, &t, &two);
    assert_false(sv_eq(json_string(json_get(two, "contentDigest")), digest));
    yyjson_val *x = json_get(one, "contentPerType"), *y = json_get(two, "contentPerType");
    assert_sv(json_string(json_get(y, "Patient")), json_string(json_get(x, "Patient")));
    assert_false(
        sv_eq(json_string(json_get(y, "Observation")), json_string(json_get(x, "Observation"))));
    store_registry_release(g.stores, st);
    fx_close(&g);
    fx_close(&f);
}

TEST(ask, a_window_that_ends_before_now_is_the_store_as_it_was)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    struct store *st = fx_store(&f);
    struct store_commit c1, c2;
    put_text(st, "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"male\"}", &c1);
    for (int i = 0; i < 5; i++)
        fx_nap();
    put_text(st, "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"female\"}", &c2);
    assert_true(c2.instant_ms > c1.instant_ms);
    struct job j = run(&f, &(struct job_export_params){ .until_ms = c1.instant_ms }, a, &t, &m);
    assert_true(has(&t, "\"male\""));
    assert_int_equal(j.transaction_ms, c1.instant_ms);
    run(&f, &(struct job_export_params){ .since_ms = c1.instant_ms }, a, &t, &m);
    assert_true(has(&t, "\"female\""));
    j = run(&f, &(struct job_export_params){ .since_ms = c2.instant_ms }, a, &t, &m);
    assert_int_equal(number(m, "count"), 0);
    assert_true(j.transaction_ms >= c2.instant_ms);
    run(&f, &(struct job_export_params){ .since_ms = INT64_MAX / 2 }, a, &t, &m);
    assert_int_equal(number(m, "count"), 0);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST_MAIN(T(ask, what_contradicts_or_is_not_there_is_refused_and_no_job_exists),
          T(ask, a_group_gives_its_members_and_an_empty_one_nothing_but_itself),
          T(ask, elements_keep_what_must_stay_and_say_so),
          T(ask, associated_data_is_what_is_about_the_exported),
          T(ask, notes_become_outcomes_and_sizes_are_kept_to),
          T(ask, the_digest_of_the_content_knows_neither_files_nor_versions),
          T(ask, a_window_that_ends_before_now_is_the_store_as_it_was))
