/* policy.c - what a policy decides. */
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

/* How many values the request has for the key, and how many of them the condition lists. What
 * cannot be told stands for refusing: it holds for a Deny and for no Allow.
 *   - a tag of a data store that is not there, or was not asked for
 *   - a tag that stands there twice, in keys that differ by letter case: which one counts?
 * A key among aws:TagKeys names whatever tag a condition finds under it, in any letter case; so
 * "TEAM" is "team" where that makes a Deny hold or keeps an Allow from holding. */
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
            /* on nothing at all */
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
