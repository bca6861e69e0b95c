/* A listing, page by page, of a bucket in memory. The bucket takes the place of request.c, so a
 * test sees what is asked and says what is answered.
 * Source: Amazon S3 API Reference, "ListObjectsV2". */
#include "test.h"

#include "s3/s3_private.h"

#define ANSWERS_MAX 8

static const char *answers[ANSWERS_MAX]; /* one for each page */
static size_t n_answers, n_asked;
static unsigned n_bare; /* pages without a key, which come before */
static char asked[ANSWERS_MAX][500];

err_code s3_request_run(struct s3_client *c, const struct s3_request *r, struct err *e)
{
    (void)c;
    if (n_bare) {
        char page[200];
        struct s3_conn bare = { .answer = BUF_INIT(1 << 10) };
        (void)snprintf(page, sizeof page,
                       "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>"
                       "t%u</NextContinuationToken></ListBucketResult>",
                       n_bare--);
        assert_int_equal(buf_add(&bare.answer, sv_from(page), e), ERR_OK);
        err_code taken = r->accept(r->accept_ctx, &bare, e);
        buf_done(&bare.answer);
        return taken;
    }
    assert_true(n_asked < n_answers);
    assert_string_equal(r->method, "GET");
    assert_sv(r->bucket, SV_LIT("bucket"));
    assert_int_equal(r->key.len, 0);
    (void)snprintf(asked[n_asked], sizeof asked[0], "%.*s", SV_FMT(r->query));
    struct s3_conn conn = { .answer = BUF_INIT(1 << 20) };
    err_code rc = buf_add(&conn.answer, sv_from(answers[n_asked++]), e);
    /* an attempt that broke off is made again */
    if (rc == ERR_OK)
        rc = r->accept(r->accept_ctx, &conn, NULL);
    if (rc == ERR_OK)
        rc = r->accept(r->accept_ctx, &conn, e);
    buf_done(&conn.answer);
    return rc;
}

static char found[1000];
static unsigned stop_after;
static unsigned n_found;
static bool see(void *ctx, sv key, uint64_t size)
{
    (void)ctx;
    size_t len = strlen(found);
    (void)snprintf(found + len, sizeof found - len, "%.*s=%llu ", SV_FMT(key),
                   (unsigned long long)size);
    return ++n_found != stop_after;
}

static err_code list(const char *prefix, const char *const pages[], size_t n, struct err *e)
{
    memcpy(answers, pages, n * sizeof *pages);
    n_answers = n;
    n_asked = n_found = 0;
    found[0] = 0;
    return s3_object_list(NULL, SV_LIT("bucket"), sv_from(prefix), see, NULL, e);
}
#define LIST(prefix, ...)                                \
    list((prefix), (const char *const[]){ __VA_ARGS__ }, \
         sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *), e)

#define PAGE(content)                                                            \
    "<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>" content \
    "</ListBucketResult>"
#define KEY(key, size) "<Contents><Key>" key "</Key><Size>" size "</Size></Contents>"
#define MORE(token) \
    "<IsTruncated>true</IsTruncated><NextContinuationToken>" token "</NextContinuationToken>"
#define END "<IsTruncated>false</IsTruncated>"

TEST(list, pages_follow_each_other_by_their_tokens)
{
    (void)state;
    OK(LIST("out/a b", PAGE(MORE("t/1+=") KEY("out/a b/1", "10") KEY("out/a b/2", "0")),
            PAGE(KEY("out/a b/3", "18446744073709551615") MORE("t2")), PAGE(END)));
    assert_string_equal(found, "out/a b/1=10 out/a b/2=0 out/a b/3=18446744073709551615 ");
    assert_int_equal(n_asked, 3);
    /* parameters are in the order of their names, as signatures want them */
    assert_string_equal(asked[0], "encoding-type=url&list-type=2&prefix=out%2Fa%20b");
    assert_string_equal(asked[1], "continuation-token=t%2F1%2B%3D&encoding-type=url&list-type=2&"
                                  "prefix=out%2Fa%20b");
    assert_string_equal(asked[2], "continuation-token=t2&encoding-type=url&list-type=2&"
                                  "prefix=out%2Fa%20b");
}

/* "If you specify the encoding-type request parameter, Amazon S3 includes this element in the
 * response, and returns encoded key name values": an endpoint that does not, does not encode. */
TEST(list, keys_are_decoded_where_the_answer_says_that_they_are_encoded)
{
    (void)state;
    OK(LIST("", PAGE("<EncodingType>url</EncodingType>" KEY("a%2Bb+c%0A%C3%A9", "1") END)));
    assert_string_equal(found, "a+b c\n\xc3\xa9=1 ");
    /* wherever it says so */
    OK(LIST("", PAGE(KEY("a%2Bb", "1") "<EncodingType>url</EncodingType>")));
    assert_string_equal(found, "a+b=1 ");
    OK(LIST("", PAGE(KEY("a%2Bb+c&amp;&lt;", "1"))));
    assert_string_equal(found, "a%2Bb+c&<=1 ");
    OK(LIST("", PAGE("<EncodingType/>" KEY("a%2Bb", "1"))));
    assert_string_equal(found, "a%2Bb=1 ");
}

TEST(list, it_ends_when_nobody_wants_more)
{
    (void)state;
    stop_after = 2;
    OK(LIST("", PAGE(MORE("t") KEY("a", "1") KEY("b", "2") KEY("c", "3")), PAGE(END)));
    stop_after = 0;
    assert_string_equal(found, "a=1 b=2 ");
    assert_int_equal(n_asked, 1);
}

TEST(list, members_beside_key_and_size_are_passed_over)
{
    (void)state;
    OK(LIST("", PAGE("<Name>bucket</Name><Prefix/><Contents><Owner><ID>x</ID><Size>9</Size></Owner>"
                     "<ETag>\"e\"</ETag><Size>5</Size><Key>k</Key></Contents><CommonPrefixes>"
                     "<Prefix>p/</Prefix></CommonPrefixes>")));
    assert_string_equal(found, "k=5 ");
}

/* A page that is not whole hands on none of its keys. */
TEST(list, what_is_no_listing_is_refused)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "<html/>",
        "<ListAllMyBucketsResult/>",
        "<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents>",
        PAGE("<IsTruncated>true</IsTruncated>" KEY("a", "1")),
        PAGE(KEY("a", "1") "<Contents><Key>b</Key></Contents>"),
        PAGE(KEY("a", "1") "<Contents><Size>1</Size></Contents>"),
        PAGE(KEY("a", "1") KEY("b", "-1")),
        PAGE(KEY("a", "1") KEY("b", "x")),
        PAGE(KEY("a", "1") KEY("b", "18446744073709551616")),
        PAGE("<EncodingType>url</EncodingType>" KEY("a", "1") KEY("b%", "1")),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        FAILS(ERR_PEER, LIST("", bad[i]));
        assert_string_equal(found, "");
    }
}

TEST(list, that_goes_in_a_circle_ends)
{
    (void)state;
    FAILS(ERR_PEER, LIST("", PAGE(MORE("t") KEY("a", "1")), PAGE(MORE("t") KEY("b", "1")),
                         PAGE(MORE("t") KEY("c", "1"))));
    assert_int_equal(n_asked, 2);
    /* there is more, and no token to ask for it: it would begin anew */
    FAILS(ERR_PEER, LIST("", PAGE(MORE("t") KEY("a", "1")),
                         PAGE("<IsTruncated>true</IsTruncated>" KEY("b", "1"))));
    assert_string_equal(found, "a=1 ");
    /* one of three tokens, behind a begin of one */
    FAILS(ERR_PEER, LIST("", PAGE(MORE("s")), PAGE(MORE("t")), PAGE(MORE("u")), PAGE(MORE("v")),
                         PAGE(MORE("t")), PAGE(MORE("u")), PAGE(MORE("v")), PAGE(MORE("t"))));
}

/* Its tokens are other ones each time. */
TEST(list, that_goes_back_to_keys_that_it_gave_is_refused)
{
    (void)state;
    FAILS(ERR_PEER,
          LIST("", PAGE(MORE("s") KEY("a", "1") KEY("b", "1")), PAGE(MORE("t") KEY("a", "1"))));
    assert_string_equal(found, "a=1 b=1 ");
    FAILS(ERR_PEER,
          LIST("", PAGE(MORE("s") KEY("a", "1")), PAGE(MORE("t")), PAGE(MORE("u") KEY("a", "1"))));
    assert_string_equal(found, "a=1 ");
    OK(LIST("", PAGE(MORE("s") KEY("a", "1")), PAGE(END KEY("a!", "1"))));
    /* in the order of bytes */
    OK(LIST("", PAGE(MORE("s") KEY("z", "1")), PAGE(END KEY("\xc3\xa9", "1"))));
}

TEST(list, that_goes_on_without_keys_ends)
{
    (void)state;
    n_bare = 999;
    OK(LIST("", PAGE(END KEY("a", "1"))));
    assert_string_equal(found, "a=1 ");
    n_bare = 1001;
    FAILS(ERR_PEER, LIST("", PAGE(END KEY("a", "1"))));
    n_bare = 0;
}

/* Who takes off the prefix would read something else out of what is left. */
TEST(list, a_key_that_does_not_begin_with_the_prefix_is_refused)
{
    (void)state;
    FAILS(ERR_PEER, LIST("out/", PAGE(KEY("out/a", "1") KEY("in/b", "1") END)));
    assert_string_equal(found, "");
    FAILS(ERR_PEER, LIST("out/", PAGE(KEY("o", "1") END)));
    FAILS(ERR_PEER, LIST("out/", PAGE("<EncodingType>url</EncodingType>" KEY("out%2Ga", "1"))));
    OK(LIST("out/", PAGE("<EncodingType>url</EncodingType>" KEY("out%2Fa", "1"))));
}

TEST_MAIN(T(list, pages_follow_each_other_by_their_tokens),
          T(list, keys_are_decoded_where_the_answer_says_that_they_are_encoded),
          T(list, it_ends_when_nobody_wants_more),
          T(list, members_beside_key_and_size_are_passed_over),
          T(list, what_is_no_listing_is_refused), T(list, that_goes_in_a_circle_ends),
          T(list, that_goes_back_to_keys_that_it_gave_is_refused),
          T(list, that_goes_on_without_keys_ends),
          T(list, a_key_that_does_not_begin_with_the_prefix_is_refused))
