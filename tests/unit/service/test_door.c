/* Who is refused before anybody asks who calls: hosts, origins, heads. The planes are stand-ins
 * that answer 204. */
#include "test.h"

#include "../../peers/loopback.h"
#include "base/limits.h"
#include "service/plane.h"

static struct service s;
static struct auth *open_auth;
static unsigned n_asked; /* requests that came to a plane */

static void plane_answers(struct service *of, struct http_exchange *x, const char *request_id)
{
    (void)of, (void)request_id;
    n_asked++;
    http_reply(x, 204, NULL, 0, NULL);
}

static const struct service_plane plane = { .handle = plane_answers };

static int set_up(void **state)
{
    (void)state;
    const struct auth_config ac = { .open = true,
                                    .region = SV_LIT("us-east-1"),
                                    .account_id = SV_LIT("000000000000") };
    OK(auth_new(&ac, &open_auth, e));
    s = (struct service){ .cfg = { .control = &plane, .data = &plane, .auth = open_auth } };
    n_asked = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    auth_free(open_auth);
    return 0;
}

/* The status of the answer; says: what its body holds, or NULL. */
static unsigned ask(const char *raw, const char *says)
{
    struct loopback_answer a;
    loopback_send(&s, sv_from(raw), NULL, &a);
    unsigned status = a.status;
    if (says && (a.body.ptr == NULL || memmem(a.body.ptr, a.body.len, says, strlen(says)) == NULL))
        fail_msg("%s: %u %.*s", raw, status, SV_FMT(buf_sv(&a.body)));
    loopback_answer_done(&a);
    return status;
}

static unsigned ask_host(const char *host, const char *more)
{
    char raw[500];
    (void)snprintf(raw, sizeof raw, "GET /datastore/x/r4/metadata HTTP/1.1\nHost: %s\n%s\n", host,
                   more);
    return ask(raw, NULL);
}

#define ID "0123456789abcdef0123456789abcdef"

TEST(door, hosts_that_only_this_machine_can_have_pass_without_signatures)
{
    (void)state;
    static const char *const ours[] = { "localhost",   "LOCALHOST:8080", "127.0.0.1",
                                        "127.9.9.9:1", "[::1]:65535",    "[::1]",
                                        " localhost " };
    static const char *const others[] = { "example.com",
                                          "localhost.example.com",
                                          "127.0.0.1.nip.io",
                                          "10.0.0.1",
                                          "[::2]",
                                          "",
                                          "localhost:80:80",
                                          "0.0.0.0",
                                          "fhir.example.com:1" };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (ask_host(ours[i], "") != 204)
            fail_msg("%s is refused", ours[i]);
    n_asked = 0;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (ask_host(others[i], "") != 421)
            fail_msg("%s passes", others[i]);
    assert_int_equal(n_asked, 0);
}

TEST(door, the_name_of_the_public_url_passes_too)
{
    (void)state;
    s.cfg.public_url = SV_LIT("https://fhir.example.com/base");
    assert_int_equal(ask_host("fhir.example.com", ""), 204);
    assert_int_equal(ask_host("FHIR.example.com:443", ""), 204);
    assert_int_equal(ask_host("example.com", ""), 421);
    assert_int_equal(ask_host("fhir.example.com", "Origin: https://fhir.example.com\n"), 204);
    assert_int_equal(ask_host("fhir.example.com", "Origin: https://fhir.example.co\n"), 403);
    assert_int_equal(ask_host("localhost", "Origin: https://fhir.example.com\n"), 204);
}

TEST(door, pages_of_another_origin_are_refused)
{
    (void)state;
    assert_int_equal(ask_host("localhost:1", "Origin: http://localhost:1\n"), 204);
    assert_int_equal(ask_host("localhost:1", "Origin: http://localhost:2\n"), 403);
    assert_int_equal(ask_host("localhost:1", "Origin: https://localhost:1\n"), 403);
    assert_int_equal(ask_host("localhost:1", "Origin: null\n"), 403);
    assert_int_equal(ask_host("localhost:1", "Origin:\n"), 403);
    assert_int_equal(ask_host("localhost", "Sec-Fetch-Site: same-origin\n"), 204);
    assert_int_equal(ask_host("localhost", "Sec-Fetch-Site: none\n"), 204);
    assert_int_equal(ask_host("localhost", "Sec-Fetch-Site: cross-site\n"), 403);
    assert_int_equal(ask_host("localhost", "Sec-Fetch-Site: same-site\n"), 403);
}

TEST(door, health_is_told_to_everybody)
{
    (void)state;
    assert_int_equal(ask("GET /health HTTP/1.1\nHost: example.com\n\n", "\"status\":\"ok\""), 200);
    assert_int_equal(ask("POST /health HTTP/1.1\nHost: example.com\n\n", NULL), 421);
}

TEST(door, a_refusal_is_in_the_callers_protocol)
{
    (void)state;
    assert_int_equal(ask("POST / HTTP/1.1\nHost: x.y\n\n", "AccessDeniedException"), 421);
    assert_int_equal(ask("GET /datastore/x HTTP/1.1\nHost: x.y\n\n", "OperationOutcome"), 421);
    assert_int_equal(ask("GET /elsewhere HTTP/1.1\nHost: x.y\n\n", "{\"message\":"), 421);
}

/* ---- heads of requests with a body ---- */

static struct http_allowance allowed(const char *method, const char *path, uint64_t length)
{
    struct http_allowance out = { 0 };
    const struct http_header host = { SV_LIT("Host"), SV_LIT("localhost") };
    struct http_request req = { .method = sv_from(method),
                                .target = sv_from(path),
                                .path = sv_from(path),
                                .headers = &host,
                                .n_headers = 1,
                                .arena = arena_new(1u << 20),
                                .length = length };
    service_accept(&s, &req, &out);
    arena_free(req.arena);
    return out;
}

TEST(door, how_much_of_a_body_is_read_depends_on_its_path)
{
    (void)state;
    static const struct {
        const char *method, *path;
        size_t max;
    } all[] = {
        { "POST", "/", LIMIT_CONTROL_BODY_BYTES },
        { "PUT", "/datastore/" ID "/r4/Patient/1", LIMIT_DATA_BODY_BYTES },
        { "POST", "/datastore/" ID "/r4/Patient", LIMIT_DATA_BODY_BYTES },
        { "POST", "/datastore/" ID "/r4", LIMIT_BUNDLE_BYTES },
        { "POST", "/datastore/" ID "/r4/", LIMIT_BUNDLE_BYTES },
        { "PUT", "/datastore/" ID "/r4/", LIMIT_DATA_BODY_BYTES },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct http_allowance got = allowed(all[i].method, all[i].path, 10);
        if (got.body_max != all[i].max)
            fail_msg("%s %s: %zu", all[i].method, all[i].path, got.body_max);
        if (got.refused)
            fail_msg("%s %s is refused", all[i].method, all[i].path);
    }
}

TEST(door, a_body_that_would_go_nowhere_is_not_read)
{
    (void)state;
    static const char *const nowhere[] = {
        "/health",
        "/elsewhere",
        "/datastore/" ID,
        "/datastore/" ID "/r5/Patient",
        "/datastore/" ID "0/r4/Patient",
        "/datastore/0123456789abcdef0123456789abcdeg/r4/Patient",
    };
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++)
        if (!allowed("POST", nowhere[i], 10).refused)
            fail_msg("%s", nowhere[i]);
    assert_true(allowed("PUT", "/", 10).refused);
}

TEST(door, with_open_doors_every_caller_is_known)
{
    (void)state;
    assert_true(allowed("POST", "/", 10).proven);
    assert_false(allowed("POST", "/", (uint64_t)LIMIT_CONTROL_BODY_BYTES + 1).proven);
}

#define EACH(sentence)                                                    \
    {                                                                     \
        "door: " #sentence, test_door_##sentence, set_up, tear_down, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(hosts_that_only_this_machine_can_have_pass_without_signatures),
        EACH(the_name_of_the_public_url_passes_too),
        EACH(pages_of_another_origin_are_refused),
        EACH(health_is_told_to_everybody),
        EACH(a_refusal_is_in_the_callers_protocol),
        EACH(how_much_of_a_body_is_read_depends_on_its_path),
        EACH(a_body_that_would_go_nowhere_is_not_read),
        EACH(with_open_doors_every_caller_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
