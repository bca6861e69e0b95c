/* hostile.h - tests/peers/hostile_s3.py as C tests meet it: started, told what to do, asked what it
 * has heard. */
#pragma once
#include "peer.h"
#include "test.h"

#include <curl/curl.h>

static struct peer bad;
static bool has_bad;
static char bad_url[64];

static inline void hostile_start(void)
{
    has_bad = peer_start(&bad, "hostile_s3.py");
    if (has_bad)
        (void)snprintf(bad_url, sizeof bad_url, "http://127.0.0.1:%.*s",
                       SV_FMT(json_number(json_get(bad.says, "port"))));
}

/* The same peer behind TLS; false: there is no openssl here to make its certificate. */
static inline bool hostile_tls(char url[64], char ca[256])
{
    if (!has_bad || json_get(bad.says, "ca") == NULL)
        return false;
    (void)snprintf(url, 64, "https://127.0.0.1:%.*s",
                   SV_FMT(json_number(json_get(bad.says, "tls_port"))));
    (void)snprintf(ca, 256, "%.*s", SV_FMT(peer_text(&bad, "ca")));
    return true;
}

static inline size_t keep_answer(char *p, size_t size, size_t n, void *ctx)
{
    struct err e;
    return buf_add(ctx, sv_make(p, size * n), &e) == ERR_OK ? size * n : 0;
}

static inline void control(const char *path, const char *body, struct buf *answer)
{
    char url[128];
    (void)snprintf(url, sizeof url, "%s%s", bad_url, path);
    CURL *h = curl_easy_init();
    CLEANUP_BUF struct buf drop = BUF_INIT(1 << 24);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, answer ? answer : &drop);
    if (body)
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body);
    assert_int_equal(curl_easy_perform(h), CURLE_OK);
    curl_easy_cleanup(h);
}

static inline void script(const char *steps)
{
    control("/_script", steps, NULL);
}

/* The requests since the last script; *left steps of it were not used. */
static inline yyjson_val *log_of(struct arena *a, uint64_t *left)
{
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 24);
    yyjson_doc *doc = NULL;
    control("/_log", NULL, &text);
    OK(json_read(a, buf_sv(&text), 16, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_true(sv_to_u64(json_number(json_get(root, "left")), left));
    return json_get(root, "log");
}

static inline size_t count_log(void)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    uint64_t left;
    size_t n = yyjson_arr_size(log_of(a, &left));
    assert_int_equal(left, 0);
    return n;
}
