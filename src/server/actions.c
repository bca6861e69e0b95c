/* actions.c - actions that a policy names and that do not exist.
 *
 * IAM takes a policy with any action in it, and so do we. A name that does not exist grants nothing
 * in Action, and keeps nothing back in a Deny or in NotAction, without a word. So each such name is
 * told once, when the policies are read.
 *
 * These exist: the actions that are served here, HealthLake's other operations, and iam:PassRole.
 * Actions of other services are passed over, unless the service looks like a slip. */
#include "server/actions.h"

#include "aws/aws.h"
#include "base/log.h"
#include "base/near.h"
#include "rest/rest.h"

#define OURS     SV_LIT("healthlake")
#define PASSROLE SV_LIT("PassRole")

/* Names without their service, some of them several times; an empty one at the end. */
static sv known(const void *ctx, size_t i)
{
    (void)ctx;
    size_t n = 0;
    while (aws_operation_name(n))
        n++;
    return sv_from(i < n ? aws_operation_name(i) : rest_action_name(i - n));
}

size_t actions_names(const char **out, size_t max)
{
    size_t n = 0, n_operations = 0;
    const char *name;
    for (; n < max && (name = aws_operation_name(n_operations)) != NULL; n_operations++)
        out[n++] = name;
    for (size_t i = 0; n < max && (name = rest_action_name(i)) != NULL; i++)
        out[n++] = name;
    /* no action of IAM: who asks has no name yet */
    if (n < max)
        out[n++] = "CreateAccessToken";
    return n;
}

static sv the_service(const void *ctx, size_t i)
{
    (void)ctx;
    return i == 0 ? OURS : SV_NONE;
}

static sv pass_role(const void *ctx, size_t i)
{
    (void)ctx;
    return i == 0 ? PASSROLE : SV_NONE;
}

bool action_is_odd(sv pattern, sv *service, sv *near)
{
    size_t colon = sv_find(pattern, ':');
    sv of = sv_head(pattern, colon), wanted = sv_tail(pattern, colon + 1), name;
    bool ours = policy_pattern_matches(of, OURS), iam = policy_pattern_matches(of, SV_LIT("iam"));
    *service = OURS;
    *near = SV_NONE;
    /* "*" */
    if (colon == pattern.len)
        return false;
    /* one action of IAM's many is asked for here; what looks like it is meant to be it */
    if (!ours && iam) {
        *service = SV_LIT("iam");
        *near =
            policy_pattern_matches(wanted, PASSROLE) ? SV_NONE : near_name(wanted, pass_role, NULL);
        return near->len != 0;
    }
    if (!ours && near_name(of, the_service, NULL).len == 0)
        return false;
    bool matches = iam && policy_pattern_matches(wanted, PASSROLE);
    for (size_t i = 0; !matches && (name = known(NULL, i)).len; i++)
        matches = policy_pattern_matches(wanted, name);
    *near = matches ? wanted : near_name(wanted, known, NULL);
    return !ours || !matches;
}

static void tell(void *policy, size_t statement, sv action)
{
    sv service, near;
    char meant[160] = "-";
    if (!action_is_odd(action, &service, &near))
        return;
    if (near.len)
        (void)snprintf(meant, sizeof meant, "%.*s:%.*s", SV_FMT(service),
                       SV_FMT(sv_head(near, 128)));
    LOG(LOG_WARN, "policy_action", LOG_SV("policy", *(const sv *)policy),
        LOG_INT("statement", statement), LOG_SV("action", sv_head(action, 128)),
        LOG_STR("near", meant), LOG_STR("note", "no action has this name: it has no effect"));
}

void actions_check(const struct credentials *c)
{
    const struct policy *p;
    sv name;
    for (size_t i = 0; (p = credentials_policy(c, i, &name)) != NULL; i++)
        policy_actions(p, tell, &name);
}

void actions_check_roles(const struct providers *providers)
{
    const struct policy *p;
    sv name;
    for (size_t i = 0; (p = providers_policy(providers, i, &name)) != NULL; i++)
        policy_actions(p, tell, &name);
}
