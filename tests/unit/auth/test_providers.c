/* The file of identity providers: what it takes, and what it refuses with which words. */
#include "test.h"

#include "auth/bearer/providers.h"
#include "base/file.h"

#include <sys/stat.h>

#define ROLE   "arn:aws:iam::000000000000:role/smart"
#define LAMBDA "arn:aws:lambda:us-east-1:000000000000:function:idp"
#define ISSUER "[issuer https://as.example]\n"
#define ROLES  "[role " ROLE "]\npolicy = p.json\n"
#define KEYS   "jwks_uri = https://as.example/jwks\n"
#define AS     "role = " ROLE "\n"

static char dir[64];

static void put(const char *name, const char *text)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    OK(file_write_atomic(path, sv_from(text), e));
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-providers-XXXXXX");
    assert_non_null(mkdtemp(dir));
    put("p.json", "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
                  "\"Action\":\"healthlake:Read*\",\"Resource\":\"*\"}]}");
    put("keys.json", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                     "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static err_code load(const char *text, struct providers **out, struct err *e)
{
    char path[300];
    put("idp", text);
    (void)snprintf(path, sizeof path, "%s/idp", dir);
    return providers_load(path, out, e);
}

TEST(providers, a_file_names_issuers_functions_and_roles)
{
    (void)state;
    struct providers *p;
    sv name;
    OK(load("# who issues tokens\n\n" ISSUER KEYS AS
            "algorithms = RS384 ES384\naudience = https://a/ https://b\r\n"
            "patient_claim = ext.patient\n"
            "; another\n[issuer https://two.example]\njwks_file = keys.json\n" AS
            "introspection_endpoint = http://127.0.0.1:9/i\nclient_id = c\nclient_secret = a=b#c\n"
            "[lambda " LAMBDA "]\nurl = http://localhost:9/2015-03-31/x?y=1\n" ROLES,
            &p, e));
    OK(providers_check(p, SV_LIT("https://as.example"), SV_NONE, e));
    OK(providers_check(p, SV_LIT("https://two.example"), SV_NONE, e));
    OK(providers_check(p, SV_NONE, SV_LIT(LAMBDA), e));
    assert_non_null(providers_policy(p, 0, &name));
    assert_sv(name, SV_LIT("p.json"));
    assert_null(providers_policy(p, 1, &name));
    assert_sv(providers_role_could(p, SV_LIT("healthlake:ReadResource")), SV_LIT(ROLE));
    assert_null(providers_role_could(p, SV_LIT("iam:PassRole")).ptr);
    providers_free(p);
}

TEST(providers, one_that_is_not_there_is_told_with_what_to_add)
{
    (void)state;
    struct providers *p;
    struct err why;
    OK(load(ISSUER KEYS AS ROLES, &p, e));
    assert_int_equal(providers_check(p, SV_LIT("https://as.example/"), SV_NONE, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "[issuer https://as.example/]"));
    assert_int_equal(providers_check(p, SV_LIT("https://as.example"), SV_LIT(LAMBDA), &why),
                     ERR_INVALID);
    assert_non_null(strstr(why.msg, "[lambda " LAMBDA "]"));
    assert_int_equal(providers_check(NULL, SV_LIT("https://as.example"), SV_NONE, &why),
                     ERR_INVALID);
    assert_non_null(strstr(why.msg, "--identity-providers FILE"));
    assert_int_equal(providers_check(p, SV_NONE, SV_NONE, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "names no identity provider"));
    providers_free(p);
}

TEST(providers, what_breaks_a_rule_is_refused_with_its_line)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } all[] = {
        { "", "no [section]" },
        { "jwks_uri = https://a\n" ISSUER, "line 1 stands before" },
        { ISSUER "nonsense\n", "line 2 is neither" },
        { "[https://as.example]\n", "line 1: a section is" },
        { "[issuer]\n", "line 1: a section is" },
        { "[client x]\n", "line 1: a section is" },
        { "[lambda x]\n", "line 1: a section is" },
        { "[role x]\n", "line 1: a role's name is" },
        { "[role arn:aws:iam::1:role/x]\n", "a role's name is" },
        { ISSUER KEYS ISSUER, "line 3: a section of this name" },
        { ISSUER KEYS KEYS, "line 3, section [issuer https://as.example]: jwks_uri stands twice" },
        { ISSUER "jwks_url = https://a\n", "unknown key" },
        { ISSUER "jwks_uri = http://as.example/jwks\n", "jwks_uri has a wrong value" },
        { ISSUER "jwks_uri = ftp://as.example/jwks\n", "jwks_uri has a wrong value" },
        { ISSUER "jwks_uri = http://127.0.0.1.example/jwks\n", "jwks_uri has a wrong value" },
        { ISSUER "jwks_uri = https://u:p@as.example/\n", "jwks_uri has a wrong value" },
        { ISSUER "jwks_file = ../keys.json\n", "jwks_file has a wrong value" },
        { ISSUER KEYS AS "algorithms = RS256 HS256\n" ROLES, "algorithms has a wrong value" },
        { ISSUER KEYS AS "algorithms = none\n" ROLES, "algorithms has a wrong value" },
        { ISSUER AS ROLES, "jwks_uri, jwks_file or introspection_endpoint is missing" },
        { ISSUER KEYS "jwks_file = keys.json\n" AS ROLES, "exclude each other" },
        { ISSUER KEYS, "role is missing" },
        { ISSUER KEYS AS, "names no [role ARN]" },
        { ISSUER KEYS AS "[role " ROLE "]\n", "policy is missing" },
        { ISSUER KEYS AS "[role " ROLE "]\npolicy = nothing.json\n", "" },
        { ISSUER KEYS AS "[role " ROLE "]\npolicy = keys.json\n", "" },
        { ISSUER "jwks_file = p.json\n" AS ROLES, "list of keys" },
        { ISSUER KEYS AS ROLES "[lambda " LAMBDA "]\n", "url is missing" },
        { ISSUER "introspection_endpoint = https://a/\n" AS ROLES, "needs client_id" },
        { ISSUER KEYS "client_id = a\nclient_secret = verysecret\n" AS ROLES,
          "are for introspection_endpoint" },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct providers *p = NULL;
        struct err why = { 0 };
        if (load(all[i].text, &p, &why) == ERR_OK)
            fail_msg("%s is taken", all[i].text);
        assert_null(p);
        if (strstr(why.msg, all[i].says) == NULL || strstr(why.msg, "verysecret"))
            fail_msg("%s: %s", all[i].text, why.msg);
    }
}

TEST(providers, a_file_that_others_can_read_is_refused)
{
    (void)state;
    struct providers *p;
    char path[300];
    OK(load(ISSUER KEYS AS ROLES, &p, e));
    providers_free(p);
    (void)snprintf(path, sizeof path, "%s/idp", dir);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chmod(path, 0644), 0);
    FAILS(ERR_DENIED, providers_load(path, &p, e));
    assert_int_equal(chmod(dir, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(providers, a_file_names_issuers_functions_and_roles),
        T(providers, one_that_is_not_there_is_told_with_what_to_add),
        T(providers, what_breaks_a_rule_is_refused_with_its_line),
        T(providers, a_file_that_others_can_read_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
