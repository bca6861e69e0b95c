/* test_manifest.c - the digest of the content. */
#include "served_run.h"

#include "codec/hash.h"

TEST(manifest, the_digest_of_the_content_knows_neither_files_nor_versions)
{
    struct fx f, g;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    put_sample(&f);
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

TEST_MAIN(T(manifest, the_digest_of_the_content_knows_neither_files_nor_versions))
