/* policy_explain.c - how a policy decides, statement by statement, for people who write policies.
 *
 * The decision itself is policy_decide()'s. */
#include "auth/policy_private.h"

#include <stdlib.h>

static void say(const struct statement *statement, size_t number,
                const struct policy_context *context, policy_said_fn fn, void *ctx)
{
    struct policy_said_condition *told = calloc(statement->n_conditions + 1, sizeof *told);
    if (told == NULL)
        abort();
    bool all = true;
    for (size_t i = 0; i < statement->n_conditions; i++) {
        const struct condition *c = &statement->conditions[i];
        told[i] = (struct policy_said_condition){
            .operator= c->written, .key = c->key, .values = c->values.items, .n_values = c->values.n
        };
        told[i].holds = policy_condition_holds(c, statement->deny, context, &told[i].known);
        all &= told[i].holds;
    }
    const struct policy_said said = { number, statement->sid, statement->deny,
                                      all,    told,           statement->n_conditions };
    fn(ctx, &said);
    free(told);
}

policy_decision policy_explain(const struct policy *policy, sv action, sv resource,
                               const struct policy_context *context, policy_said_fn fn, void *ctx)
{
    for (size_t i = 0; i < policy->n_statements; i++)
        if (policy_statement_names(&policy->statements[i], action, resource))
            say(&policy->statements[i], i + 1, context, fn, ctx);
    return policy_decide(policy, action, resource, context);
}
