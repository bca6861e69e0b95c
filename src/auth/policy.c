/* policy.c - what a policy decides.
 *
 * A statement covers a request when its actions, its resources and all its conditions do. One
 * statement that denies wins over any number that allow. Reading was strict (policy_read.c), so
 * deciding has no errors, allocates nothing and cannot loop. */
#include "auth/policy_private.h"

#include "base/glob.h"

static bool action_listed(const struct statement *statement, sv action)
{
    for (size_t i = 0; i < statement->actions.n; i++)
        if (glob_matches(statement->actions.items[i], action, true))
            return true;
    return false;
}

static bool resource_listed(const struct statement *statement, sv resource)
{
    for (size_t i = 0; i < statement->resources.n; i++)
        if (sv_eq(statement->resources.items[i], SV_LIT("*")) ||
            policy_arn_match(statement->resources.items[i], resource))
            return true;
    return false;
}

/* ---- conditions ---- */

/* Compares whole seconds, as the times of policies are written. */
static bool time_is(op_kind kind, int64_t now_ms, int64_t want_ms)
{
    int64_t now_s = now_ms / 1000, want_s = want_ms / 1000;
    switch (kind) {
    case OP_TIME_BEFORE:
        return now_s < want_s;
    case OP_TIME_UNTIL:
        return now_s <= want_s;
    case OP_TIME_AFTER:
        return now_s > want_s;
    case OP_TIME_FROM:
        return now_s >= want_s;
    default:
        return now_s == want_s;
    }
}

/* The keys that are no facts: has the request the key, and does the condition list its value?
 * False: the address cannot be read, and nobody knows. */
static bool ask_origin(const struct condition *condition, const struct policy_origin *origin,
                       size_t *n, size_t *listed)
{
    struct policy_net from;
    bool is = false;
    switch (condition->of) {
    case KEY_SOURCE_IP:
        if (!policy_net_read(origin->address, &from))
            return false;
        for (size_t i = 0; condition->kind == OP_ADDRESS && i < condition->values.n; i++)
            is |= policy_net_holds(&condition->nets[i], &from);
        break;
    case KEY_CURRENT_TIME:
        for (size_t i = 0; condition->kind >= OP_TIME_EQUAL && i < condition->values.n; i++)
            is |= time_is(condition->kind, origin->now_ms, condition->times_ms[i]);
        break;
    case KEY_SECURE_TRANSPORT:
        for (size_t i = 0; i < condition->values.n; i++)
            is |= sv_eq_nocase(condition->values.items[i],
                               origin->secure ? SV_LIT("true") : SV_LIT("false"));
        break;
    default:
        return true;
    }
    *n = 1;
    *listed = is;
    return true;
}

static bool value_listed(const struct condition *condition, sv value, bool nocase)
{
    for (size_t i = 0; i < condition->values.n; i++) {
        sv want = condition->values.items[i];
        if (condition->kind == OP_STRING && !nocase ? sv_eq(want, value)
            : condition->kind == OP_GLOB            ? glob_matches(want, value, nocase)
            : condition->kind == OP_ARN             ? policy_arn_match(want, value)
                                                    : sv_eq_nocase(want, value))
            return true;
    }
    return false;
}

/* Does a condition hold? It counts the values that the request has for the key (n), and those of
 * them that the condition lists (listed). Where the answer cannot be known, the condition holds for
 * a Deny and does not hold for an Allow, so that the request is refused:
 *   - a tag of a data store that does not exist
 *   - a tag that the data store has twice, under keys that differ by letter case only
 *   - an address of the caller that cannot be read
 * Tag keys differ by letter case, but conditions find tags without it. So a value of aws:TagKeys is
 * compared without letter case where that makes a Deny hold or keeps an Allow from holding. */
bool policy_condition_holds(const struct condition *condition, bool deny,
                            const struct policy_context *context, bool *is_known)
{
    size_t n = 0, listed = 0;
    bool tag = condition->of == KEY_RESOURCE_TAG || condition->of == KEY_REQUEST_TAG;
    bool nocase = condition->of == KEY_TAG_KEYS && deny != condition->negated;
    *is_known = false;
    if (condition->of == KEY_RESOURCE_TAG && context && context->tags_unknown)
        return deny;
    if (context && context->origin && !ask_origin(condition, context->origin, &n, &listed))
        return deny;
    for (size_t i = 0; context && i < context->n_facts; i++)
        if (sv_eq_nocase(context->facts[i].key, condition->key)) {
            n++;
            listed += value_listed(condition, context->facts[i].value, nocase);
        }
    *is_known = n > 0;
    if (tag && n > 1)
        return deny;
    if (condition->kind == OP_NULL)
        return sv_eq_nocase(condition->values.items[0], SV_LIT("true")) == (n == 0);
    if (n == 0)
        return condition->if_exists || condition->over == ALL_VALUES ||
               (condition->negated && condition->over == ANY_PLAIN);
    switch (condition->over) {
    case ALL_VALUES:
        return condition->negated ? listed == 0 : listed == n;
    case ANY_VALUE:
        return condition->negated ? listed < n : listed > 0;
    default:
        return condition->negated ? listed == 0 : listed > 0;
    }
}

bool policy_statement_names(const struct statement *statement, sv action, sv resource)
{
    return action_listed(statement, action) != statement->not_action &&
           resource_listed(statement, resource) != statement->not_resource;
}

static bool statement_covers(const struct statement *statement, sv action, sv resource,
                             const struct policy_context *context)
{
    bool known;
    if (!policy_statement_names(statement, action, resource))
        return false;
    for (size_t i = 0; i < statement->n_conditions; i++)
        if (!policy_condition_holds(&statement->conditions[i], statement->deny, context, &known))
            return false;
    return true;
}

policy_decision policy_decide_by(const struct policy *policy, sv action, sv resource,
                                 const struct policy_context *context, struct policy_by *by)
{
    policy_decision d = POLICY_NOT_ALLOWED;
    *by = (struct policy_by){ 0 };
    for (size_t i = 0; i < policy->n_statements; i++) {
        const struct statement *statement = &policy->statements[i];
        if (!statement_covers(statement, action, resource, context))
            continue;
        if (statement->deny || d == POLICY_NOT_ALLOWED)
            *by = (struct policy_by){ i + 1, statement->sid };
        if (statement->deny)
            return POLICY_DENIED;
        d = POLICY_ALLOWED;
    }
    return d;
}

policy_decision policy_decide(const struct policy *policy, sv action, sv resource,
                              const struct policy_context *context)
{
    struct policy_by by;
    return policy_decide_by(policy, action, resource, context, &by);
}

bool policy_could_allow(const struct policy *policy, sv action)
{
    bool could = false;
    for (size_t i = 0; i < policy->n_statements; i++) {
        const struct statement *statement = &policy->statements[i];
        if (action_listed(statement, action) == statement->not_action)
            continue;
        if (!statement->deny)
            could = true;
        else if (statement->n_conditions == 0 && !statement->not_resource &&
                 resource_listed(statement, SV_LIT("*")))
            /* denied on every resource */
            return false;
    }
    return could;
}

void policy_actions(const struct policy *policy, policy_action_fn fn, void *ctx)
{
    for (size_t i = 0; i < policy->n_statements; i++)
        for (size_t k = 0; k < policy->statements[i].actions.n; k++)
            fn(ctx, i + 1, policy->statements[i].actions.items[k]);
}
