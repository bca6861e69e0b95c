/* The certificate that is shown: what is looked at first, and the change from one to the next. */
#include "net/http_private.h"

#include "../test.h"

#include <pthread.h>

#define DAY INT64_C(86400000)
#define NOW INT64_C(1900000000000)

struct pem {
    struct buf certificate, key;
};

static void make_at(struct pem *out, const char *host, int64_t from_ms, int64_t to_ms)
{
    out->certificate = BUF_INIT(65536);
    out->key = BUF_INIT(65536);
    OK(http_tls_make(sv_from(host), from_ms, to_ms, &out->certificate, &out->key, e));
}

static void make(struct pem *out)
{
    make_at(out, "", NOW - DAY, NOW + DAY);
}

static void drop(struct pem *pem)
{
    buf_done(&pem->certificate);
    buf_done(&pem->key);
}

static struct http_tls *tls;
static struct http_certificate told;

static err_code show_at(const struct pem *certificate, const struct pem *key, int64_t now_ms,
                        struct err *e)
{
    return http_tls_show(tls, buf_sv(&certificate->certificate), buf_sv(&key->key), now_ms, &told,
                         e);
}

static int setup(void **state)
{
    (void)state;
    struct err e;
    return http_tls_new(&tls, &e) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    http_tls_free(tls);
    return 0;
}

TEST(tls, a_pair_that_fits_is_taken_and_told)
{
    (void)state;
    struct pem a;
    make(&a);
    OK(show_at(&a, &a, NOW, e));
    assert_string_equal(told.subject, "CN=fhirlake");
    assert_int_equal(strlen(told.sha256), 64);
    assert_true(told.from_ms == NOW - DAY && told.to_ms == NOW + DAY);
    drop(&a);
}

TEST(tls, a_key_of_another_certificate_is_refused_and_the_pair_before_stays)
{
    (void)state;
    struct pem a, b;
    make(&a);
    make(&b);
    OK(show_at(&a, &a, NOW, e));
    struct http_pair *before = http_pair_take(tls);
    struct http_certificate was = told;
    FAILS(ERR_INVALID, show_at(&a, &b, NOW, e));
    FAILS(ERR_INVALID, show_at(&b, &a, NOW, e));
    struct http_pair *after = http_pair_take(tls);
    assert_ptr_equal(before, after);
    assert_string_equal(was.sha256, told.sha256);
    http_pair_drop(before);
    http_pair_drop(after);
    drop(&a);
    drop(&b);
}

TEST(tls, a_certificate_holds_from_its_first_to_its_last_second)
{
    (void)state;
    struct pem a;
    make_at(&a, "", NOW, NOW + DAY);
    OK(show_at(&a, &a, NOW, e));
    OK(show_at(&a, &a, NOW + DAY, e));
    struct err why;
    assert_int_equal(show_at(&a, &a, NOW - 1, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "does not hold before 2030-03-17T"));
    assert_int_equal(show_at(&a, &a, NOW + DAY + 1, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "has expired at 2030-03-18T"));
    drop(&a);
}

TEST(tls, what_is_no_pem_is_refused_whatever_it_is)
{
    (void)state;
    struct pem a;
    make(&a);
    sv certificate = buf_sv(&a.certificate), key = buf_sv(&a.key);
    static const char nuls[64], no_key[] = "-----BEGIN "
                                           "PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    const sv none[] = { SV_NONE,
                        SV_LIT(""),
                        SV_LIT("x"),
                        SV_LIT("-----BEGIN CERTIFICATE-----"),
                        SV_LIT("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                        sv_from(no_key),
                        sv_make(nuls, sizeof nuls) };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        FAILS(ERR_INVALID, http_tls_show(tls, none[i], key, NOW, &told, e));
        FAILS(ERR_INVALID, http_tls_show(tls, certificate, none[i], NOW, &told, e));
    }
    FAILS(ERR_INVALID, http_tls_show(tls, key, key, NOW, &told, e));
    FAILS(ERR_INVALID, http_tls_show(tls, certificate, certificate, NOW, &told, e));
    for (size_t n = 0; n < certificate.len - 30; n += 37)
        FAILS(ERR_INVALID, http_tls_show(tls, sv_head(certificate, n), key, NOW, &told, e));
    for (size_t n = 0; n < key.len - 30; n += 17)
        FAILS(ERR_INVALID, http_tls_show(tls, certificate, sv_head(key, n), NOW, &told, e));
    drop(&a);
}

TEST(tls, a_message_holds_nothing_of_a_key)
{
    (void)state;
    struct pem a, b;
    make(&a);
    make(&b);
    struct err why;
    char line[24];
    (void)snprintf(line, sizeof line, "%.20s", strchr(a.key.ptr, '\n') + 1);
    assert_int_equal(show_at(&b, &a, NOW, &why), ERR_INVALID);
    assert_null(strstr(why.msg, line));
    assert_int_equal(http_tls_show(tls, buf_sv(&a.key), buf_sv(&a.key), NOW, &told, &why),
                     ERR_INVALID);
    assert_null(strstr(why.msg, line));
    drop(&a);
    drop(&b);
}

TEST(tls, a_certificate_of_our_own_names_this_machine_and_one_more)
{
    (void)state;
    static const char *const hosts[] = { "lake.example", "192.0.2.7", "[2001:db8::7]" };
    static const char *const ours[] = { "localhost", "127.0.0.1", "[::1]" };
    for (size_t i = 0; i < 3; i++) {
        struct pem a;
        make_at(&a, hosts[i], NOW - DAY, NOW + DAY);
        sv certificate = buf_sv(&a.certificate);
        assert_true(http_tls_names(certificate, sv_from(hosts[i])));
        assert_false(http_tls_names(certificate, sv_from(hosts[(i + 1) % 3])));
        assert_false(http_tls_names(certificate, SV_LIT("other.example")));
        for (size_t k = 0; k < 3; k++)
            assert_true(http_tls_names(certificate, sv_from(ours[k])));
        OK(show_at(&a, &a, NOW, e));
        drop(&a);
    }
    assert_false(http_tls_names(SV_LIT("x"), SV_LIT("localhost")));
}

TEST(tls, authorities_of_callers_are_authorities)
{
    (void)state;
    struct pem a;
    struct http_authorities are;
    make(&a);
    FAILS(ERR_INVALID, http_tls_trust(tls, buf_sv(&a.certificate), SV_NONE, NOW, &are, e));
    FAILS(ERR_INVALID, http_tls_trust(tls, buf_sv(&a.key), SV_NONE, NOW, &are, e));
    FAILS(ERR_INVALID, http_tls_trust(tls, SV_LIT("x"), SV_NONE, NOW, &are, e));
    drop(&a);
}

/* ---- many at a time ---- */

static struct pem pairs[3];
static atomic_bool stop;

static void *take_and_drop(void *arg)
{
    size_t *n = arg;
    while (!atomic_load(&stop)) {
        struct http_pair *pair = http_pair_take(tls);
        gnutls_pcert_st *chain;
        unsigned n_chain;
        gnutls_privkey_t key;
        http_pair_show(pair, &chain, &n_chain, &key);
        if (n_chain != 1 || chain[0].cert.size < 100 || key == NULL)
            abort();
        http_pair_drop(pair);
        ++*n;
    }
    return NULL;
}

TEST(tls, a_pair_is_whole_while_others_take_its_place)
{
    (void)state;
    pthread_t threads[3];
    size_t n[3] = { 0 };
    for (size_t i = 0; i < 3; i++)
        make(&pairs[i]);
    OK(show_at(&pairs[0], &pairs[0], NOW, e));
    struct http_pair *held = http_pair_take(tls);
    atomic_store(&stop, false);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_drop, &n[i]), 0);
    for (size_t i = 0; i < 300; i++)
        OK(show_at(&pairs[i % 3], &pairs[i % 3], NOW, e));
    atomic_store(&stop, true);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    gnutls_pcert_st *chain;
    unsigned n_chain;
    gnutls_privkey_t key;
    /* taken before all of them */
    http_pair_show(held, &chain, &n_chain, &key);
    assert_int_equal(n_chain, 1);
    assert_int_equal(chain[0].type, GNUTLS_CRT_X509);
    http_pair_drop(held);
    for (size_t i = 0; i < 3; i++)
        drop(&pairs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(tls, a_pair_that_fits_is_taken_and_told),
        T(tls, a_key_of_another_certificate_is_refused_and_the_pair_before_stays),
        T(tls, a_certificate_holds_from_its_first_to_its_last_second),
        T(tls, what_is_no_pem_is_refused_whatever_it_is),
        T(tls, a_message_holds_nothing_of_a_key),
        T(tls, a_certificate_of_our_own_names_this_machine_and_one_more),
        T(tls, authorities_of_callers_are_authorities),
        T(tls, a_pair_is_whole_while_others_take_its_place),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
