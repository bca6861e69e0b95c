/* policy.c - what a policy decides.
 *
 * A statement covers a request when its actions, its resources and all its conditions do. One
 * statement that denies wins over any number that allow. Reading was strict (policy_read.c), so
 * deciding has no errors, allocates nothing and cannot loop. */
#include "auth/policy_private.h"

static bool action_listed(const struct statement *s, sv action)
{
    for (size_t i = 0; i < s->actions.n; i++)
        if (policy_glob(s->actions.items[i], action, true))
            return true;
    return false;
}

static bool resource_listed(const struct statement *s, sv resource)
{
    for (size_t i = 0; i < s->resources.n; i++)
        if (sv_eq(s->resources.items[i], SV_LIT("*")) ||
            policy_arn_match(s->resources.items[i], resource))
            return true;
    return false;
}

/* ---- conditions ---- */

static bool value_listed(const struct condition *c, sv value, bool nocase)
{
    for (size_t i = 0; i < c->values.n; i++) {
        sv want = c->values.items[i];
        if (c->kind == OP_STRING && !nocase ? sv_eq(want, value)
            : c->kind == OP_GLOB            ? policy_glob(want, value, nocase)
            : c->kind == OP_ARN             ? policy_arn_match(want, value)
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
 * Tag keys differ by letter case, but conditions find tags without it. So a value of aws:TagKeys is
 * compared without letter case where that makes a Deny hold or keeps an Allow from holding. */
static bool condition_holds(const struct condition *c, bool deny,
                            const struct policy_context *context)
{
    size_t n = 0, listed = 0;
    bool tag = c->of == KEY_RESOURCE_TAG || c->of == KEY_REQUEST_TAG;
    bool nocase = c->of == KEY_TAG_KEYS && deny != c->negated;
    if (c->of == KEY_RESOURCE_TAG && context && context->tags_unknown)
        return deny;
    for (size_t i = 0; context && i < context->n_facts; i++)
        if (sv_eq_nocase(context->facts[i].key, c->key)) {
            n++;
            listed += value_listed(c, context->facts[i].value, nocase);
        }
    if (tag && n > 1)
        return deny;
    if (c->kind == OP_NULL)
        return sv_eq_nocase(c->values.items[0], SV_LIT("true")) == (n == 0);
    if (n == 0)
        return c->if_exists || c->over == ALL_VALUES || (c->negated && c->over == ANY_PLAIN);
    switch (c->over) {
    case ALL_VALUES:
        return c->negated ? listed == 0 : listed == n;
    case ANY_VALUE:
        return c->negated ? listed < n : listed > 0;
    default:
        return c->negated ? listed == 0 : listed > 0;
    }
}

static bool statement_covers(const struct statement *s, sv action, sv resource,
                             const struct policy_context *context)
{
    if (action_listed(s, action) == s->not_action ||
        resource_listed(s, resource) == s->not_resource)
        return false;
    for (size_t i = 0; i < s->n_conditions; i++)
        if (!condition_holds(&s->conditions[i], s->deny, context))
            return false;
    return true;
}

policy_decision policy_decide(const struct policy *p, sv action, sv resource,
                              const struct policy_context *context)
{
    policy_decision d = POLICY_NOT_ALLOWED;
    for (size_t i = 0; i < p->n_statements; i++) {
        const struct statement *s = &p->statements[i];
        if (!statement_covers(s, action, resource, context))
            continue;
        if (s->deny)
            return POLICY_DENIED;
        d = POLICY_ALLOWED;
    }
    return d;
}

bool policy_could_allow(const struct policy *p, sv action)
{
    bool could = false;
    for (size_t i = 0; i < p->n_statements; i++) {
        const struct statement *s = &p->statements[i];
        if (action_listed(s, action) == s->not_action)
            continue;
        if (!s->deny)
            could = true;
        else if (s->n_conditions == 0 && !s->not_resource && resource_listed(s, SV_LIT("*")))
            /* denied on every resource */
            return false;
    }
    return could;
}

void policy_actions(const struct policy *p, policy_action_fn fn, void *ctx)
{
    for (size_t i = 0; i < p->n_statements; i++)
        for (size_t k = 0; k < p->statements[i].actions.n; k++)
            fn(ctx, i + 1, p->statements[i].actions.items[k]);
}
