/* rights.c - the facts with which a policy is asked about an operation.
 *
 *   aws:ResourceTag/KEY   tags of the data store; a request that makes one has none of these yet
 *   aws:RequestTag/KEY    tags that the request would set
 *   aws:TagKeys           keys that the request would set or remove
 *
 * Rights come before knowledge: a caller who may not do something to a data store gets the same
 * refusal whether it exists or not. Its tags are facts only when it exists; a condition on the tags
 * of nothing refuses (policy.h). */
#include "auth/rights.h"

struct facts {
    struct arena *a;
    struct policy_fact *items;
    size_t n;
};

static err_code add(struct facts *f, sv key, sv value, struct err *e)
{
    /* never go on without a fact: a Deny may be waiting for it */
    if (key.ptr == NULL)
        return arena_oom(f->a, e);
    f->items[f->n++] = (struct policy_fact){ key, value };
    return ERR_OK;
}

static err_code add_tags(struct facts *f, yyjson_val *tags, sv prefix, bool keys, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(tags);
    yyjson_val *t;
    while ((t = yyjson_arr_iter_next(&it)) != NULL) {
        sv key = json_string(json_get(t, "Key"));
        TRY(add(f, ARENA_JOIN(f->a, prefix, key), json_string(json_get(t, "Value")), e));
        if (keys)
            TRY(add(f, SV_LIT("aws:TagKeys"), key, e));
    }
    return ERR_OK;
}

err_code rights_ask(struct arena *a, const struct auth_caller *who, const char *operation,
                    const struct rights *r, struct err *e)
{
    struct policy_by by;
    return rights_ask_by(a, who, operation, r, &by, e);
}

err_code rights_ask_by(struct arena *a, const struct auth_caller *who, const char *operation,
                       const struct rights *r, struct policy_by *by, struct err *e)
{
    *by = (struct policy_by){ 0 };
    /* anonymous: he may do all */
    if (who->credential == NULL)
        return ERR_OK;
    size_t max =
        yyjson_arr_size(r->tags) + 2 * yyjson_arr_size(r->sent) + yyjson_arr_size(r->sent_keys) + 1;
    struct facts f = { a, arena_alloc(a, max * sizeof *f.items), 0 };
    sv action = ARENA_JOIN(a, SV_LIT("healthlake:"), sv_from(operation));
    if (f.items == NULL || action.ptr == NULL || r->arn.ptr == NULL)
        return arena_oom(a, e);
    if (who->credential->policy) {
        yyjson_val *k;
        TRY(add_tags(&f, r->tags, SV_LIT("aws:ResourceTag/"), false, e));
        TRY(add_tags(&f, r->sent, SV_LIT("aws:RequestTag/"), true, e));
        yyjson_arr_iter it = yyjson_arr_iter_with(r->sent_keys);
        while ((k = yyjson_arr_iter_next(&it)) != NULL)
            TRY(add(&f, SV_LIT("aws:TagKeys"), json_string(k), e));
    }
    const struct policy_context context = { f.items, f.n, r->unknown, &who->origin };
    if (r->unless_denied &&
        credential_decide_by(who->credential, action, r->arn, &context, by) != POLICY_DENIED)
        return ERR_OK;
    return auth_allows_by(who, action, r->arn, &context, by, e);
}
