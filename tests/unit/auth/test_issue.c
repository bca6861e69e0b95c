/* Our own token endpoint: who gets a token, for what, and how long it is good. */
#include "test.h"

#include "auth/issue/issue_private.h"
#include "base/file.h"

#define NOW    1800000000000LL /* wall clock, ms */
#define MONO   5000000000ULL   /* us */
#define BASE   "https://fhir.example/datastore/00000000000000000000000000000001/r4"
#define STORE  "00000000000000000000000000000001"
#define DAY_MS 86400000LL

static char dir[64], file[128], folder[128];
static struct arena *a;
static struct jose_signer *key;
static struct records *records;

static void write_clients(const char *more)
{
    struct buf b = BUF_INIT(64u << 10);
    sv jwk;
    OK(jose_signer_public(key, a, &jwk, e));
    OK(buf_add_fmt(&b, e,
                   "[app]\njwks = {\"keys\":[%.*s]}\nscope = system/*.rs system/Observation.cruds\n"
                   "%s",
                   SV_FMT(jwk), more));
    OK(file_write_atomic(file, buf_sv(&b), e));
    buf_done(&b);
}

static int set_up(void **state)
{
    (void)state;
    a = arena_new(256u << 20);
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-issue-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(file, sizeof file, "%s/clients", dir);
    (void)snprintf(folder, sizeof folder, "%s/keys", dir);
    OK(jose_signer_make(JOSE_ES384, &key, e));
    OK(records_open(NULL, &records, e));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    jose_signer_free(key);
    records_close(records);
    arena_free(a);
    return file_remove_tree(dir, NULL);
}

static struct issue *open_at(int64_t now_ms, size_t most)
{
    struct issue *issue;
    const struct issue_config cfg = {
        .clients = file, .keys = folder, .records = records, .replay_max = most
    };
    OK(issue_open(&cfg, now_ms, &issue, e));
    return issue;
}

/* ---- asking ---- */

struct said { /* of an assertion; what is NULL or 0 is what is right */
    const char *jti, *aud;
    int64_t exp_in_s;
    const char *more; /* members */
};

static sv assertion(const struct said *s)
{
    static unsigned n;
    sv token;
    sv jti = s->jti ? sv_from(s->jti) : arena_fmt(a, "jti-%u", n++);
    sv claims = arena_fmt(a,
                          "{\"iss\":\"app\",\"sub\":\"app\",\"aud\":\"%s\",\"exp\":%lld,"
                          "\"jti\":\"%.*s\"%s}",
                          s->aud ? s->aud : BASE "/auth/token",
                          NOW / 1000 + (long long)(s->exp_in_s ? s->exp_in_s : 300), SV_FMT(jti),
                          s->more ? s->more : "");
    OK(jose_sign(key, a, "JWT", claims, &token, e));
    return token;
}

static struct issue_answer ask(struct issue *issue, sv token, const char *scope, bool v2,
                               const char *peer, int64_t now_ms)
{
    struct issue_answer out;
    sv form = arena_fmt(a,
                        "grant_type=client_credentials&scope=%s&client_assertion_type="
                        "urn%%3Aietf%%3Aparams%%3Aoauth%%3Aclient-assertion-type%%3Ajwt-bearer"
                        "&client_assertion=%.*s",
                        scope, SV_FMT(token));
    const struct issue_ask q = { .base = SV_LIT(BASE),
                                 .datastore_id = SV_LIT(STORE),
                                 .v2 = v2,
                                 .peer = sv_from(peer),
                                 .content_type = SV_LIT("application/x-www-form-urlencoded"),
                                 .query = SV_LIT(""),
                                 .form = form,
                                 .now_ms = now_ms,
                                 .mono_us = MONO };
    issue_token(issue, a, &q, &out);
    return out;
}

static unsigned status_of(struct issue *issue, const struct said *s)
{
    static unsigned n;
    /* each from an address of its own */
    sv peer = arena_fmt(a, "192.0.2.%u", n++);
    return ask(issue, assertion(s), "system/*.rs", true, peer.ptr, NOW).status;
}

static err_code check(struct issue *issue, sv token, const char *base, int64_t now_ms,
                      struct auth_caller *out, struct err *e)
{
    const struct issue_bearer q = { .token = token,
                                    .base = sv_from(base),
                                    .datastore_id = SV_LIT(STORE),
                                    .v2 = true,
                                    .account_id = SV_LIT("000000000000"),
                                    .now_ms = now_ms,
                                    .mono_us = MONO };
    return issue_check(issue, a, &q, out, e);
}

/* ---- assertions ---- */

TEST(issue, an_assertion_is_good_for_five_minutes_and_a_minute_of_leeway)
{
    (void)state;
    static const struct {
        int64_t exp_in_s;
        unsigned status;
    } all[] = { { 299, 200 },  { 300, 200 }, { 301, 200 }, { 360, 200 }, { 361, 401 },
                { 3600, 401 }, { -1, 200 },  { -59, 200 }, { -60, 401 }, { -61, 401 } };
    write_clients("");
    struct issue *issue = open_at(NOW, 0);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (status_of(issue, &(struct said){ .exp_in_s = all[i].exp_in_s }) != all[i].status)
            fail_msg("exp in %lld s is not %u", (long long)all[i].exp_in_s, all[i].status);
    assert_int_equal(status_of(issue, &(struct said){ .more = ",\"nbf\":1800000060" }), 200);
    assert_int_equal(status_of(issue, &(struct said){ .more = ",\"nbf\":1800000061" }), 401);
    assert_int_equal(status_of(issue, &(struct said){ .more = ",\"iat\":\"x\"" }), 401);
    assert_int_equal(status_of(issue, &(struct said){ .aud = BASE "/auth/token/" }), 401);
    issue_close(issue);
}

TEST(issue, a_used_assertion_is_remembered_over_a_restart_until_it_has_expired)
{
    (void)state;
    write_clients("");
    struct issue *issue = open_at(NOW, 0);
    sv token = assertion(&(struct said){ .jti = "once", .exp_in_s = 100 });
    assert_int_equal(ask(issue, token, "system/*.rs", true, "198.51.100.1", NOW).status, 200);
    struct issue_answer an = ask(issue, token, "system/*.rs", true, "198.51.100.1", NOW);
    assert_int_equal(an.status, 401);
    assert_string_equal(an.why, "the assertion was used before");
    issue_close(issue);
    issue = open_at(NOW + 1000, 0);
    an = ask(issue, token, "system/*.rs", true, "198.51.100.2", NOW + 159000);
    assert_string_equal(an.why, "the assertion was used before");
    issue_close(issue);
    issue = open_at(NOW + 162000, 0);
    an = ask(issue, token, "system/*.rs", true, "198.51.100.3", NOW + 162000);
    assert_string_equal(an.why, "exp is missing, no time, or past");
    issue_close(issue);
}

static bool count(void *ctx, sv record, sv value)
{
    (void)record, (void)value;
    ++*(size_t *)ctx;
    return true;
}

static size_t n_records(void)
{
    size_t n = 0;
    OK(records_scan(records, SV_LIT("tokenused/"), SV_LIT(""), count, &n, e));
    return n;
}

TEST(issue, when_the_table_is_full_nobody_gets_in_and_nothing_is_forgotten)
{
    (void)state;
    struct replay *r;
    char id[32];
    OK(replay_open(records, 5000, NOW + 1400000, &r, e));
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(id, sizeof id, "%u", i);
        OK(replay_take(r, SV_LIT("x"), sv_from(id), NOW + 1500000 + i, NOW + 1400000, e));
    }
    FAILS(ERR_THROTTLED,
          replay_take(r, SV_LIT("x"), SV_LIT("one more"), NOW + 1600000, NOW + 1400000, e));
    for (unsigned i = 0; i < 5000; i += 7) {
        (void)snprintf(id, sizeof id, "%u", i);
        FAILS(ERR_EXISTS,
              replay_take(r, SV_LIT("x"), sv_from(id), NOW + 1600000, NOW + 1400000, e));
    }
    replay_free(r);
    OK(replay_open(records, 5000, NOW + 1400000, &r, e));
    FAILS(ERR_EXISTS, replay_take(r, SV_LIT("x"), SV_LIT("4999"), NOW + 1600000, NOW + 1400000, e));
    FAILS(ERR_THROTTLED,
          replay_take(r, SV_LIT("x"), SV_LIT("one more"), NOW + 1600000, NOW + 1400000, e));
    assert_true(n_records() >= 5000);
    /* when they have expired there is room, in the records too */
    OK(replay_take(r, SV_LIT("x"), SV_LIT("one more"), NOW + 1900000, NOW + 1600000, e));
    assert_int_equal(n_records(), 1);
    replay_free(r);
}

/* ---- side by side ---- */

#define N_THREADS 8u
#define N_EACH    200u

struct racer {
    struct replay *replay;
    unsigned n_taken;
};

static void *race(void *ctx)
{
    struct racer *r = ctx;
    char id[32];
    for (unsigned i = 0; i < N_EACH; i++) {
        (void)snprintf(id, sizeof id, "race-%u", i);
        r->n_taken += replay_take(r->replay, SV_LIT("x"), sv_from(id), NOW + 5000000, NOW + 4000000,
                                  NULL) == ERR_OK;
    }
    return NULL;
}

TEST(issue, of_many_who_use_an_assertion_at_once_one_gets_in)
{
    (void)state;
    struct replay *r;
    struct racer racers[N_THREADS];
    pthread_t threads[N_THREADS];
    unsigned n = 0;
    OK(replay_open(records, 100000, NOW + 4000000, &r, e));
    for (unsigned i = 0; i < N_THREADS; i++) {
        racers[i] = (struct racer){ .replay = r };
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        n += racers[i].n_taken;
    }
    assert_int_equal(n, N_EACH);
    replay_free(r);
}

static void *look_on(void *ctx)
{
    for (unsigned i = 0; i < 300; i++)
        if (!issue_is_good(ctx, SV_LIT("app"), SV_LIT(STORE), NOW, MONO))
            return ctx;
    return NULL;
}

TEST(issue, clients_are_found_while_their_file_is_put_in_anew)
{
    (void)state;
    write_clients("");
    struct issue *issue = open_at(NOW + 4000000, 0);
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_on, issue), 0);
    for (unsigned i = 0; i < 8; i++)
        write_clients(i % 2 ? "" : "name = x\n");
    for (unsigned i = 0; i < 4; i++) {
        void *missed;
        assert_int_equal(pthread_join(threads[i], &missed), 0);
        assert_null(missed);
    }
    issue_close(issue);
}

TEST(issue, failures_of_a_client_count_for_a_minute_at_one_address)
{
    (void)state;
    struct failures *f = failures_new();
    sv id = SV_LIT("app"), peer = SV_LIT("192.0.2.1"), net = SV_LIT("2001:db8::1");
    for (unsigned i = 0; i < FAILURES_MAX; i++) {
        assert_int_equal(failures_wait_s(f, id, peer, MONO), 0);
        failures_add(f, id, peer, MONO);
        failures_add(f, id, net, MONO);
    }
    assert_in_range(failures_wait_s(f, id, peer, MONO), 1, 61);
    assert_int_equal(failures_wait_s(f, id, SV_LIT("192.0.2.2"), MONO), 0);
    assert_int_equal(failures_wait_s(f, SV_LIT("b"), peer, MONO), 0);
    assert_in_range(failures_wait_s(f, id, SV_LIT("2001:db8::ffff"), MONO), 1, 61);
    assert_int_equal(failures_wait_s(f, id, SV_LIT("2001:db8:0:1::1"), MONO), 0);
    assert_int_equal(failures_wait_s(f, id, peer, MONO + 60000000), 0);
    failures_free(f);
}

/* ---- scopes ---- */

TEST(issue, what_is_given_is_asked_for_and_registered)
{
    (void)state;
    static const struct {
        const char *registered, *asked;
        bool v2;
        const char *given;
    } all[] = {
        { "system/*.rs", "system/*.rs", true, "system/*.rs" },
        { "system/*.rs", "system/*.read", true, "system/*.read" },
        { "system/*.read", "system/*.rs", true, "system/*.rs" },
        { "system/*.rs", "system/*.read", false, "system/*.read" },
        { "system/*.rs", "system/*.rs", false, "" },
        { "system/*.r", "system/*.read", true, "system/*.r" },
        { "system/*.r", "system/*.read", false, "" },
        { "system/Patient.rs system/Group.r", "system/*.cruds", true,
          "system/Patient.rs system/Group.r" },
        { "system/Patient.rs system/Group.r", "system/*.read", true,
          "system/Patient.read system/Group.r" },
        { "system/Patient.rs system/Group.r", "system/*.read", false, "system/Patient.read" },
        { "system/*.rs", "system/Patient.*", true, "system/Patient.read" },
        { "system/*.cruds", "system/Patient.*", true, "system/Patient.*" },
        { "system/Observation.rs?category=a", "system/Observation.rs", true,
          "system/Observation.rs?category=a" },
        { "system/Observation.rs?category=a", "system/Observation.read", false, "" },
        { "system/Observation.rs?category=a", "system/Observation.rs?category=b", true,
          "system/Observation.rs?category=b&category=a" },
        { "system/Observation.rs?category=a", "system/Observation.rs?category=a", true,
          "system/Observation.rs?category=a" },
        { "system/*.rs", "system/Observation.rs?category=a", true,
          "system/Observation.rs?category=a" },
        { "system/*.rs?_tag=x", "system/Patient.cruds", true, "system/Patient.rs?_tag=x" },
        { "system/Patient.rs", "system/Observation.rs", true, "" },
        { "system/*.cud", "system/*.rs", true, "" },
        { "system/*.rs", "patient/*.rs user/*.rs openid launch system/*.sr x", true, "" },
        { "system/*.rs", "  system/*.rs   system/*.rs ", true, "system/*.rs" },
        { "system/*.rs", "http://smarthealthit.org/fhir/scopes/system/*.rs", true,
          "http://smarthealthit.org/fhir/scopes/system/*.rs" },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct clients *clients;
        sv given;
        sv text =
            arena_fmt(a, "[c]\njwks_url = https://a.example/\nscope = %s\n", all[i].registered);
        OK(clients_parse(text, &clients, e));
        OK(narrow(a, sv_from(all[i].asked), clients_at(clients, 0), all[i].v2, &given, e));
        if (!sv_eq_cstr(given, all[i].given))
            fail_msg("%s of %s: %.*s", all[i].asked, all[i].registered, SV_FMT(given));
        clients_free(clients);
    }
}

/* ---- tokens ---- */

TEST(issue, a_token_is_good_at_its_data_store_for_five_minutes)
{
    (void)state;
    write_clients("");
    struct issue *issue = open_at(NOW, 0);
    struct auth_caller caller;
    struct issue_answer an =
        ask(issue, assertion(&(struct said){ 0 }), "system/*.cruds", true, "203.0.113.1", NOW);
    assert_int_equal(an.status, 200);
    assert_sv(an.scope, SV_LIT("system/*.rs system/Observation.cruds"));
    OK(check(issue, an.token, BASE, NOW, &caller, e));
    assert_int_equal(caller.grant->n_scopes, 2);
    assert_sv(caller.grant->client_id, SV_LIT("app"));
    /* it acts under a policy that lets nobody take a role */
    assert_non_null(caller.credential->policy);
    assert_int_equal(policy_could_allow(caller.credential->policy, SV_LIT("iam:PassRole")), 0);
    FAILS(ERR_AUTH_SIGNATURE, check(issue, an.token,
                                    "https://fhir.example/datastore/"
                                    "00000000000000000000000000000002/r4",
                                    NOW, &caller, e));
    FAILS(ERR_AUTH_SIGNATURE,
          check(issue, an.token, "https://other.example/datastore/" STORE "/r4", NOW, &caller, e));
    OK(check(issue, an.token, BASE, NOW + 359000, &caller, e));
    FAILS(ERR_AUTH_EXPIRED, check(issue, an.token, BASE, NOW + 361000, &caller, e));
    /* of another server */
    char other[160];
    (void)snprintf(other, sizeof other, "%s/other", dir);
    struct issue *another;
    const struct issue_config cfg = { .clients = file, .keys = other, .records = records };
    OK(issue_open(&cfg, NOW, &another, e));
    FAILS(ERR_AUTH_SIGNATURE, check(another, an.token, BASE, NOW, &caller, e));
    issue_close(another);
    /* whose client is gone */
    OK(file_write_atomic(file, SV_LIT("# nobody\n"), e));
    FAILS(ERR_AUTH_SIGNATURE, check(issue, an.token, BASE, NOW, &caller, e));
    issue_close(issue);
}

TEST(issue, keys_change_and_tokens_of_the_one_before_stay_good)
{
    (void)state;
    struct own_keys *k;
    struct jose_jws jws[3];
    struct err why;
    const int64_t later = NOW + OWN_KEY_DAYS * DAY_MS;
    sv token[3], jwks;
    char keys[160];
    (void)snprintf(keys, sizeof keys, "%s/rotating", dir);
    OK(own_keys_open(keys, records, NOW, &k, e));
    OK(own_keys_sign(k, a, SV_LIT("{}"), NOW, &token[0], e));
    OK(own_keys_sign(k, a, SV_LIT("{}"), later - 1, &token[1], e));
    OK(own_keys_sign(k, a, SV_LIT("{}"), later, &token[2], e));
    for (size_t i = 0; i < 3; i++)
        OK(jose_jws_read(a, token[i], &jws[i], e));
    assert_sv(jws[0].kid, jws[1].kid);
    assert_false(sv_eq(jws[1].kid, jws[2].kid));
    for (int turn = 0; turn < 2; turn++) {
        struct key_ring *now = own_keys_ring(k, later + 300000);
        struct key_ring *then = own_keys_ring(k, later + OWN_KEY_LEFT * 1000);
        OK(key_ring_verify(now, &jws[1], JOSE_ALGS_ALL, MONO, e));
        OK(key_ring_verify(now, &jws[2], JOSE_ALGS_ALL, MONO, e));
        OK(key_ring_verify(then, &jws[2], JOSE_ALGS_ALL, MONO, e));
        assert_int_equal(key_ring_verify(then, &jws[1], JOSE_ALGS_ALL, MONO, &why), ERR_INVALID);
        OK(own_keys_jwks(k, a, later + 1000, &jwks, e));
        assert_non_null(memmem(jwks.ptr, jwks.len, jws[1].kid.ptr, jws[1].kid.len));
        OK(own_keys_jwks(k, a, later + OWN_KEY_LEFT * 1000, &jwks, e));
        assert_null(memmem(jwks.ptr, jwks.len, jws[1].kid.ptr, jws[1].kid.len));
        /* the second time as a server that is started anew sees it */
        own_keys_close(k);
        OK(own_keys_open(keys, records, later + 1000, &k, e));
    }
    own_keys_close(k);
}

/* ---- the file ---- */

#define KEYS "jwks_url = https://a.example/\n"

TEST(issue, a_file_of_clients_says_what_is_wrong_with_it)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } all[] = {
        { "x = y\n", "before the first" },
        { "[a]\nnonsense\n", "neither" },
        { "[a b]\n", "[CLIENT ID]" },
        { "[]\n", "[CLIENT ID]" },
        { "[a_b]\n", "[CLIENT ID]" },
        { "[a]\n" KEYS "scope = system/*.rs\n[a]\n" KEYS, "stands twice" },
        { "[a]\n" KEYS KEYS, "jwks_url stands twice" },
        { "[a]\nsecret = hidden\n", "unknown key" },
        { "[a]\n" KEYS, "scope is missing" },
        { "[a]\n" KEYS "scope = user/*.rs\n", "none that is given here" },
        { "[a]\n" KEYS "scope = system/*.sr\n", "none that is given here" },
        { "[a]\n" KEYS "scope = system/*.rs system/Patien.rs\n",
          "scope \"system/Patien.rs\": Patien is no resource type of FHIR R4: is Patient meant?" },
        { "[a]\nscope = system/*.rs\n", "one of jwks and jwks_url" },
        { "[a]\n" KEYS "jwks = {}\nscope = system/*.rs\n", "one of jwks and jwks_url" },
        { "[a]\njwks = {}\nscope = system/*.rs\n", "jwks: " },
        { "[a]\njwks_url = http://a.example/\nscope = system/*.rs\n", "https URL" },
        { "[a]\njwks_url = ftp://a.example/\nscope = system/*.rs\n", "https URL" },
        { "[a]\njwks_url = https://a.example/#x\nscope = system/*.rs\n", "https URL" },
        { "[a]\n" KEYS "scope = system/*.rs\nalgorithms = HS256\n", "algorithms" },
        { "[a]\n" KEYS "scope = system/*.rs\nalgorithms = none\n", "algorithms" },
        { "[a]\n" KEYS "scope = system/*.rs\nexpires = soon\n", "expires" },
        { "[a]\n" KEYS "scope = system/*.rs\ndisabled = maybe\n", "disabled" },
        { "[a]\n" KEYS "scope = system/*.rs\ndatastores = x\n", "datastores" },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct clients *clients = NULL;
        struct err why = { 0 };
        err_code rc = clients_parse(sv_from(all[i].text), &clients, &why);
        if (rc != ERR_INVALID || strstr(why.msg, all[i].says) == NULL || strstr(why.msg, "hidden"))
            fail_msg("%s: %s", all[i].text, why.msg);
        assert_null(clients);
    }
}

TEST(issue, a_client_may_get_tokens_of_its_data_stores_until_it_expires)
{
    (void)state;
    struct clients *clients;
    OK(clients_parse(SV_LIT("[a]\n" KEYS "scope = system/*.rs\n"
                            "[b]\n" KEYS "scope = system/*.rs\ndatastores = " STORE "\n"
                            "[c]\n" KEYS "scope = system/*.rs\nexpires = 2027-01-15T08:00:00Z\n"
                            "[d]\n" KEYS "scope = system/*.rs\ndisabled = yes\n"),
                     &clients, e));
    const struct client *b = clients_find(clients, SV_LIT("b")),
                        *c = clients_find(clients, SV_LIT("c"));
    sv here = SV_LIT(STORE), there = SV_LIT("00000000000000000000000000000002");
    assert_true(client_may(clients_at(clients, 0), there, NOW));
    assert_true(client_may(b, here, NOW));
    assert_false(client_may(b, there, NOW));
    assert_true(client_may(c, here, c->expires_ms - 1));
    assert_false(client_may(c, here, c->expires_ms));
    assert_false(client_may(clients_find(clients, SV_LIT("d")), here, NOW));
    assert_null(clients_find(clients, SV_LIT("")));
    clients_free(clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(issue, an_assertion_is_good_for_five_minutes_and_a_minute_of_leeway),
        T(issue, a_used_assertion_is_remembered_over_a_restart_until_it_has_expired),
        T(issue, when_the_table_is_full_nobody_gets_in_and_nothing_is_forgotten),
        T(issue, of_many_who_use_an_assertion_at_once_one_gets_in),
        T(issue, clients_are_found_while_their_file_is_put_in_anew),
        T(issue, failures_of_a_client_count_for_a_minute_at_one_address),
        T(issue, what_is_given_is_asked_for_and_registered),
        T(issue, a_token_is_good_at_its_data_store_for_five_minutes),
        T(issue, keys_change_and_tokens_of_the_one_before_stay_good),
        T(issue, a_file_of_clients_says_what_is_wrong_with_it),
        T(issue, a_client_may_get_tokens_of_its_data_stores_until_it_expires),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
