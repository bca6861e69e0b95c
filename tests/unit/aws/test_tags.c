/* Which tags a data store may be given. Whole requests are in test_datastores.c. */
#include "test.h"

#include "aws/aws_private.h"

static struct arena *a;

static int set_up(void **state)
{
    (void)state;
    a = arena_new(1u << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(a);
    return 0;
}

/* A list of tags of these keys, separated by blanks; NULL: no list. */
static yyjson_val *tags(const char *keys)
{
    char text[2000];
    size_t n = 1;
    yyjson_doc *doc;
    sv rest = sv_from(keys), key;
    if (keys == NULL)
        return NULL;
    text[0] = '[';
    while (sv_cut(&rest, ' ', &key))
        n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"Key\":\"%.*s\",\"Value\":\"v\"}",
                              n > 1 ? "," : "", SV_FMT(key));
    (void)snprintf(text + n, sizeof text - n, "]");
    OK(json_read(a, arena_sv(a, sv_from(text)), 4, &doc, e));
    return yyjson_doc_get_root(doc);
}

static void refused(const char *there, const char *sent, const char *says)
{
    struct err err = { 0 };
    assert_int_equal(tags_check(tags(there), tags(sent), &err), ERR_INVALID);
    if (strstr(err.msg, says) == NULL)
        fail_msg("%s + %s: %s", there ? there : "nothing", sent, err.msg);
}

TEST(tags, new_keys_and_new_values_of_old_keys_are_taken)
{
    (void)state;
    OK(tags_check(NULL, NULL, e));
    OK(tags_check(NULL, tags("a b"), e));
    OK(tags_check(tags("a b"), NULL, e));
    OK(tags_check(tags("a b"), tags("b c"), e));
    OK(tags_check(tags("a"), tags("awsome aw"), e));
}

TEST(tags, a_key_that_comes_twice_is_refused)
{
    (void)state;
    refused(NULL, "a b a", "\"a\" stands twice in the request");
    refused("x", "a b b", "\"b\" stands twice in the request");
}

TEST(tags, keys_that_differ_by_letter_case_only_are_refused)
{
    (void)state;
    refused(NULL, "team TEAM", "differ by letter case only");
    refused("x team", "y Team", "the data store has the second, remove it first");
}

TEST(tags, keys_of_aws_are_refused_in_any_letter_case)
{
    (void)state;
    refused(NULL, "aws:x", "begins with aws:");
    refused("a", "b AWS:y", "begins with aws:");
    refused(NULL, "Aws:", "begins with aws:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(tags, new_keys_and_new_values_of_old_keys_are_taken),
        T(tags, a_key_that_comes_twice_is_refused),
        T(tags, keys_that_differ_by_letter_case_only_are_refused),
        T(tags, keys_of_aws_are_refused_in_any_letter_case),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
