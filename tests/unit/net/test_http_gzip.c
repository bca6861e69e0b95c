/* Who takes gzip, and bodies that are smaller in its form. */
#include "net/http_private.h"

#include "../test.h"
#include "codec/ndjson.h"

TEST(http_gzip, accept_encoding_is_read_with_its_weights)
{
    (void)state;
    const struct {
        const char *header;
        bool takes;
    } rows[] = { { "gzip", true },
                 { "GZIP", true },
                 { "x-gzip", true },
                 { "deflate, gzip;q=0.1, br", true },
                 { "*", true },
                 { "br, *;q=0.2", true },
                 { "gzip;q=0", false },
                 { "gzip;q=0.000", false },
                 { "gzip;q=0, *", false },
                 { "*;q=0", false },
                 { "identity", false },
                 { "gzip;q=x", false },
                 { "", false } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(http_takes_gzip(sv_from(rows[i].header)), rows[i].takes);
    assert_false(http_takes_gzip(SV_NONE));
}

static err_code give(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    sv *rest = ctx;
    (void)e;
    if (rest->len == 0)
        return ERR_EOF;
    *n = rest->len < cap ? rest->len : cap;
    memcpy(dst, rest->ptr, *n);
    *rest = sv_tail(*rest, *n);
    return ERR_OK;
}

TEST(http_gzip, a_body_comes_out_of_its_packed_form_as_it_was)
{
    (void)state;
    struct buf body = BUF_INIT(1u << 20), plain = BUF_INIT(1u << 20);
    for (int i = 0; i < 5000; i++)
        OK(buf_add_fmt(&body, e, "{\"resourceType\":\"Patient\",\"id\":\"p%d\"}", i));
    size_t len = body.len, n;
    char *was = malloc(len);
    assert_non_null(was);
    memcpy(was, body.ptr, len);
    assert_true(http_gzip(&body));
    assert_in_range(body.len, 1, len / 4);
    sv packed = buf_sv(&body);
    struct unpack *u;
    OK(unpack_open((struct byte_reader){ give, NULL, &packed }, &u, e));
    OK(buf_reserve(&plain, len + 1, e));
    while (unpack_read(u, plain.ptr + plain.len, len + 1 - plain.len, &n, NULL) == ERR_OK)
        plain.len += n;
    unpack_close(u);
    assert_int_equal(plain.len, len);
    assert_memory_equal(plain.ptr, was, len);
    free(was);
    buf_done(&body);
    buf_done(&plain);
}

TEST(http_gzip, a_body_that_would_not_be_smaller_stays_as_it_is)
{
    (void)state;
    struct buf body = BUF_INIT(1u << 20);
    uint32_t x = 1;
    assert_false(http_gzip(&body));
    for (int i = 0; i < 8192; i++) {
        x = x * 1664525u + 1013904223u;
        OK(buf_add_char(&body, (char)(x >> 24), e));
    }
    assert_false(http_gzip(&body));
    assert_int_equal(body.len, 8192);
    buf_done(&body);
}

TEST_MAIN(T(http_gzip, accept_encoding_is_read_with_its_weights),
          T(http_gzip, a_body_comes_out_of_its_packed_form_as_it_was),
          T(http_gzip, a_body_that_would_not_be_smaller_stays_as_it_is))
