/* policy_read.c - JSON becomes a policy in memory, or is refused.
 *
 * Reading is strict: each member is known, comes once and has the right shape. A rule that we could
 * not keep must not look kept, so a policy with an element that we do not know is refused as a
 * whole. The message names the line, the statement, counted from 1, and the member. */
#include "auth/policy_private.h"

#define JSON_DEPTH 16u        /* nesting of a policy file */
#define MEMORY_MAX (4u << 20) /* the document and the lists made of it */

static err_code check_action(sv item, struct err *e)
{
    size_t colons = 0;
    bool ok = item.len > 0;
    for (size_t i = 0; i < item.len; i++) {
        char c = sv_lower(item.ptr[i]);
        colons += c == ':';
        ok &= (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-*?:", c) != NULL;
        ok &= c != 0;
    }
    ok &= colons == 1 && item.ptr[0] != ':' && item.ptr[item.len - 1] != ':';
    if (!ok && !sv_eq(item, SV_LIT("*")))
        return ERR(e, ERR_INVALID, "action \"%.*s\" is neither \"*\" nor \"service:Name\"",
                   SHOWN(item));
    return ERR_OK;
}

static err_code check_resource(sv item, struct err *e)
{
    return sv_eq(item, SV_LIT("*")) ? ERR_OK : policy_arn_check(item, e);
}

static err_code read_effect(yyjson_val *v, struct statement *statement, struct err *e)
{
    sv effect = json_string(v);
    if (!sv_eq(effect, SV_LIT("Allow")) && !sv_eq(effect, SV_LIT("Deny")))
        return ERR(e, ERR_INVALID, "Effect must be \"Allow\" or \"Deny\"");
    statement->deny = sv_eq(effect, SV_LIT("Deny"));
    return ERR_OK;
}

static err_code read_statement(struct arena *a, yyjson_val *v, struct statement *statement,
                               struct err *e)
{
    enum { SID, EFFECT, ACTION, NOT_ACTION, RESOURCE, NOT_RESOURCE, CONDITION, N };
    static const char *const names[N] = { "Sid",      "Effect",      "Action",   "NotAction",
                                          "Resource", "NotResource", "Condition" };
    yyjson_val *m[N] = { NULL };
    if (!yyjson_is_obj(v))
        return ERR(e, ERR_INVALID, "not an object");
    yyjson_obj_iter it;
    yyjson_obj_iter_init(v, &it);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)) != NULL;) {
        size_t k = 0;
        while (k < N && !sv_eq_cstr(json_string(key), names[k]))
            k++;
        if (k == N)
            return ERR(e, ERR_INVALID, "member \"%.*s\" is not supported", SHOWN(json_string(key)));
        if (m[k])
            return ERR(e, ERR_INVALID, "%s stands twice", names[k]);
        m[k] = yyjson_obj_iter_get_val(key);
    }
    if (m[SID] && !yyjson_is_str(m[SID]))
        return ERR(e, ERR_INVALID, "Sid must be a string");
    if (!m[ACTION] == !m[NOT_ACTION])
        return ERR(e, ERR_INVALID, "must have either Action or NotAction");
    if (!m[RESOURCE] == !m[NOT_RESOURCE])
        return ERR(e, ERR_INVALID, "must have either Resource or NotResource");
    statement->sid = json_string(m[SID]);
    statement->not_action = m[NOT_ACTION] != NULL;
    statement->not_resource = m[NOT_RESOURCE] != NULL;
    size_t action = statement->not_action ? NOT_ACTION : ACTION;
    size_t resource = statement->not_resource ? NOT_RESOURCE : RESOURCE;
    TRY(read_effect(m[EFFECT], statement, e));
    TRY(policy_list_read(a, m[action], names[action], check_action, &statement->actions, e));
    TRY(policy_list_read(a, m[resource], names[resource], check_resource, &statement->resources,
                         e));
    return m[CONDITION] ? policy_conditions_read(a, m[CONDITION], statement, e) : ERR_OK;
}

/* The line on which byte `at` of the text stands, from 1. */
static size_t line_at(sv text, size_t at)
{
    size_t line = 1;
    for (size_t i = 0; i < at && i < text.len; i++)
        line += text.ptr[i] == '\n';
    return line;
}

/* The line of a statement's first member; 0: it has none. The document's texts are where they were
 * in the policy's. */
static size_t line_of(const yyjson_doc *doc, sv text, yyjson_val *statement)
{
    yyjson_obj_iter it;
    yyjson_val *first = yyjson_obj_iter_init(statement, &it) ? yyjson_obj_iter_next(&it) : NULL;
    const char *at = first ? yyjson_get_str(first) : NULL;
    bool inside = at && doc->str_pool && at >= doc->str_pool && at < doc->str_pool + text.len;
    return inside ? line_at(text, (size_t)(at - doc->str_pool)) : 0;
}

/* "JSON is broken at byte 17: ..." with the line in front. */
static err_code broken(sv text, const struct err *why, struct err *e)
{
    sv msg = sv_from(why->msg), begin = SV_LIT("JSON is broken at byte ");
    sv rest = sv_tail(msg, begin.len);
    uint64_t at;
    if (!sv_starts(msg, begin) || !sv_to_u64(sv_head(rest, sv_find(rest, ':')), &at))
        return err_pass(e, why);
    return ERR(e, why->code, "line %zu: %.400s", line_at(text, (size_t)at), why->msg);
}

static err_code read_statements(struct policy *policy, const yyjson_doc *doc, sv text,
                                yyjson_val *v, struct err *e)
{
    bool one = yyjson_is_obj(v);
    size_t n = one ? 1 : yyjson_arr_size(v);
    if (n == 0)
        return ERR(e, ERR_INVALID, "policy must have a Statement, or a list of them");
    if (n > POLICY_MAX_STATEMENTS)
        return ERR(e, ERR_TOO_LARGE, "policy has more than %u statements", POLICY_MAX_STATEMENTS);
    policy->statements = arena_calloc(policy->arena, n, sizeof *policy->statements);
    if (policy->statements == NULL)
        return arena_oom(policy->arena, e);
    policy->n_statements = n;
    for (size_t i = 0; i < n; i++) {
        yyjson_val *one_of = one ? v : yyjson_arr_get(v, i);
        struct err why;
        err_code rc = read_statement(policy->arena, one_of, &policy->statements[i], &why);
        size_t line = rc == ERR_OK ? 0 : line_of(doc, text, one_of);
        if (line)
            return ERR(e, rc, "line %zu, policy statement %zu: %.400s", line, i + 1, why.msg);
        if (rc != ERR_OK)
            return ERR(e, rc, "policy statement %zu: %.400s", i + 1, why.msg);
    }
    return ERR_OK;
}

static err_code read_document(struct policy *policy, sv json, struct err *e)
{
    yyjson_doc *doc;
    yyjson_val *statement = NULL, *version = NULL, *id = NULL;
    /* the policy's lists hold views of this copy and of the document */
    sv text = arena_sv(policy->arena, json);
    if (text.ptr == NULL)
        return arena_oom(policy->arena, e);
    struct err why;
    if (json_read(policy->arena, text, JSON_DEPTH, &doc, &why) != ERR_OK)
        return broken(text, &why, e);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(root))
        return ERR(e, ERR_INVALID, "policy must be a JSON object");
    yyjson_obj_iter it;
    yyjson_obj_iter_init(root, &it);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)) != NULL;) {
        sv name = json_string(key);
        yyjson_val **slot = sv_eq(name, SV_LIT("Version"))     ? &version
                            : sv_eq(name, SV_LIT("Id"))        ? &id
                            : sv_eq(name, SV_LIT("Statement")) ? &statement
                                                               : NULL;
        if (slot == NULL)
            return ERR(e, ERR_INVALID, "policy member \"%.*s\" is not supported", SHOWN(name));
        if (*slot)
            return ERR(e, ERR_INVALID, "policy member \"%.*s\" stands twice", SHOWN(name));
        *slot = yyjson_obj_iter_get_val(key);
    }
    if (version && !sv_eq(json_string(version), SV_LIT("2012-10-17")) &&
        !sv_eq(json_string(version), SV_LIT("2008-10-17")))
        return ERR(e, ERR_INVALID, "policy Version must be \"2012-10-17\" or \"2008-10-17\"");
    return read_statements(policy, doc, text, statement, e);
}

err_code policy_parse(sv json, struct policy **out, struct err *e)
{
    if (json.len > POLICY_MAX_BYTES)
        return ERR(e, ERR_TOO_LARGE, "policy is larger than %u bytes", POLICY_MAX_BYTES);
    CLEANUP(arena_free) struct arena *a = arena_new(MEMORY_MAX);
    struct policy *policy = ARENA_NEW(a, struct policy);
    if (policy == NULL)
        return arena_oom(a, e);
    policy->arena = a;
    TRY(read_document(policy, json, e));
    /* the policy owns it now */
    a = NULL;
    *out = policy;
    return ERR_OK;
}

void policy_free(struct policy *policy)
{
    if (policy)
        arena_free(policy->arena);
}
