/* Records of data stores, as older releases wrote them. */
#include "test.h"

#include "base/file.h"
#include "service/service_private.h"

static char dir[64];
static struct service s;

static int set_up(void **state)
{
    (void)state;
    char system[128];
    (void)snprintf(dir, sizeof dir, "/tmp/fhirlake-datastores-XXXXXX");
    (void)snprintf(system, sizeof system, "%s/system", mkdtemp(dir));
    s.cfg.region = SV_LIT("us-east-1");
    s.cfg.account_id = SV_LIT("000000000000");
    return records_open(system, &s.cfg.records, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    records_close(s.cfg.records);
    return file_remove_tree(dir, NULL);
}

static err_code check_of(const char *identity, struct err *why)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    char record[700];
    struct datastore d;
    (void)snprintf(record, sizeof record,
                   "{\"id\":\"old\",\"status\":\"ACTIVE\",\"order\":1,\"created\":1%s%s}",
                   identity ? ",\"identity\":" : "", identity ? identity : "");
    OK(records_put(s.cfg.records, SV_LIT("datastore/old"), sv_from(record), e));
    OK(datastore_read(&s, SV_LIT("old"), a, &d, e));
    return datastore_check_strategy(&d, why);
}

TEST(datastores, an_older_one_that_relies_on_tokens_is_not_served_without_them)
{
    (void)state;
    struct err why = { 0 };
    OK(check_of(NULL, e));
    OK(check_of("{\"AuthorizationStrategy\":\"AWS_AUTH\"}", e));
    OK(check_of(
        "{\"AuthorizationStrategy\":\"AWS_AUTH\",\"FineGrainedAuthorizationEnabled\":false}", e));
    FAILS(ERR_DENIED, check_of("{\"AuthorizationStrategy\":\"SMART_ON_FHIR\"}", e));
    FAILS(ERR_DENIED, check_of("{\"AuthorizationStrategy\":\"SOMETHING_NEW\"}", e));
    FAILS(ERR_DENIED, check_of("{}", e)); /* what cannot be told is not open */
    assert_int_equal(check_of("{\"AuthorizationStrategy\":\"SMART_ON_FHIR_V1\",\"Metadata\":\"{}\","
                              "\"FineGrainedAuthorizationEnabled\":true}",
                              &why),
                     ERR_DENIED);
    assert_non_null(strstr(why.msg, "SMART_ON_FHIR_V1"));
    assert_non_null(strstr(why.msg, "StartFHIRExportJob")); /* the way out */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(datastores, an_older_one_that_relies_on_tokens_is_not_served_without_them),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
