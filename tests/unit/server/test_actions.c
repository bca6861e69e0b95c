/* Names of actions that are none, and those that are no slip. */
#include "test.h"

#include "aws/aws.h"
#include "rest/rest.h"
#include "server/actions.h"
#include "service/quota.h"

static void odd(const char *action, const char *meant)
{
    sv service, near;
    char text[128];
    if (!action_is_odd(sv_from(action), &service, &near))
        fail_msg("%s: nothing is said of it", action);
    (void)snprintf(text, sizeof text, "%.*s:%.*s", SV_FMT(service), SV_FMT(near));
    if (strcmp(near.len ? text : "", meant) != 0)
        fail_msg("%s: %s, not %s", action, text, meant);
}

static void fine(const char *action)
{
    sv service, near;
    if (action_is_odd(sv_from(action), &service, &near))
        fail_msg("%s: said to be none, %.*s is near", action, SV_FMT(near));
}

TEST(actions, a_slip_is_told_with_the_name_that_is_near)
{
    (void)state;
    odd("healthlake:ReadResorce", "healthlake:ReadResource");
    odd("healthlake:readresources", "healthlake:ReadResource");
    odd("HealthLake:SearchWithGte", "healthlake:SearchWithGet");
    odd("healthlake:StartFHIRExportsJob", "healthlake:StartFHIRExportJob");
    odd("healthlake:DeleteDatastore", "healthlake:DeleteFHIRDatastore");
    odd("healthlake:ProcesBundle", "healthlake:ProcessBundle");
    odd("healthlake:PassRole", "");
    odd("healthlake:Fly", "");
}

TEST(actions, wildcards_that_match_nothing_are_told_too)
{
    (void)state;
    odd("healthlake:Serch*", "healthlake:SearchWithGet");
    odd("healthlake:Reed*", "healthlake:ReadResource");
    odd("healthlake:?ReadResource", "healthlake:ReadResource");
    odd("healthlake:*Zebra*", "");
    odd("health*:ReadResorce", "healthlake:ReadResource");
}

TEST(actions, a_service_that_is_mistyped_is_told)
{
    (void)state;
    odd("healtlake:ReadResource", "healthlake:ReadResource");
    odd("healthlakes:Tag*", "healthlake:Tag*");
    odd("heatlhlake:*", "healthlake:*");
    odd("iam:PasRole", "iam:PassRole");
}

TEST(actions, what_there_is_and_what_is_of_other_services_is_no_slip)
{
    (void)state;
    fine("*");
    fine("healthlake:*");
    fine("healthlake:ReadResource");
    fine("HEALTHLAKE:readresource");
    fine("healthlake:*With?et");
    fine("healthlake:StartFHIRExportJobWithPost");
    fine("healthlake:GetExportedFile");
    fine("healthlake:UntagResource");
    fine("iam:PassRole");
    fine("iam:*");
    fine("iam:GetRole");
    fine("iam:CreateUser");
    fine("s3:GetObject");
    fine("health:DescribeEvents");
    fine("kms:Decrypt");
    fine("*:PassRole");
}

/* The other way round: a kind that no action has would never be counted. */
TEST(actions, each_one_that_is_served_has_a_rate_and_each_rate_an_action)
{
    (void)state;
    bool used[QUOTA_KINDS_MAX] = { false }, on_store;
    for (size_t i = 0; rest_action_name(i); i++) {
        size_t kind = quota_kind_of(sv_from(rest_action_name(i)));
        if (kind == QUOTA_KINDS_MAX)
            fail_msg("%s has no rate", rest_action_name(i));
        used[kind] = true;
    }
    /* those of the control plane that are served come first; their kinds are named as they are */
    for (size_t i = 0; aws_operation_name(i); i++) {
        size_t kind = quota_kind_of(sv_from(aws_operation_name(i)));
        if (i < 13 && kind == QUOTA_KINDS_MAX)
            fail_msg("%s has no rate", aws_operation_name(i));
        if (kind < QUOTA_KINDS_MAX)
            used[kind] = true;
    }
    /* what is open to all is counted, and has no action of IAM's */
    used[quota_kind_of(SV_LIT("Discovery"))] = true;
    used[quota_kind_of(SV_LIT("CreateAccessToken"))] = true;
    for (size_t i = 0; quota_kind_name(i, &on_store); i++)
        if (!used[i])
            fail_msg("nothing is counted as %s", quota_kind_name(i, &on_store));
}

TEST_MAIN(T(actions, each_one_that_is_served_has_a_rate_and_each_rate_an_action),
          T(actions, a_slip_is_told_with_the_name_that_is_near),
          T(actions, wildcards_that_match_nothing_are_told_too),
          T(actions, a_service_that_is_mistyped_is_told),
          T(actions, what_there_is_and_what_is_of_other_services_is_no_slip))
