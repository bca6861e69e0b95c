/* policy_read.c - JSON becomes a policy in memory, or is refused.
 *
 * Reading is strict: each member is known, comes once and has the right shape. A rule that we could
 * not keep must not look kept, so a policy with an element that we do not know is refused as a
 * whole. The message names the statement, counted from 1, and the member. */
#include "auth/policy_private.h"

#include "codec/json.h"

#define JSON_DEPTH     16u        /* nesting of a policy file */
#define MEMORY_MAX     (4u << 20) /* the document and the lists made of it */
#define MAX_CONDITIONS 64u        /* of one statement */

/* A text of the policy in a message, cut: it is not secret, but it may be long. */
#define SHOWN(v) SV_FMT(sv_head((v), 64))

/* A string, or a list of at least one string. Each must pass `check` (NULL: any passes). */
static err_code read_list(struct arena *a, yyjson_val *v, const char *member,
                          err_code (*check)(sv item, struct err *e), struct list *out,
                          struct err *e)
{
    bool one = yyjson_is_str(v);
    size_t n = one ? 1 : yyjson_arr_size(v);
    if (n == 0)
        return ERR(e, ERR_INVALID, "%s must be a string or a list of strings", member);
    struct list l = { arena_alloc(a, n * sizeof *l.items), n };
    if (l.items == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++) {
        yyjson_val *item = one ? v : yyjson_arr_get(v, i);
        if (!yyjson_is_str(item))
            return ERR(e, ERR_INVALID, "%s must be a string or a list of strings", member);
        l.items[i] = json_string(item);
        if (memmem(l.items[i].ptr, l.items[i].len, "${", 2))
            return ERR(e, ERR_INVALID, "%s holds a policy variable, which is not supported",
                       member);
        if (check)
            TRY(check(l.items[i], e));
    }
    *out = l;
    return ERR_OK;
}

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

static err_code check_arn(sv item, struct err *e)
{
    sv parts[ARN_PARTS];
    if (!policy_arn_split(item, parts) || !sv_eq(parts[0], SV_LIT("arn")) || parts[5].len == 0)
        return ERR(e, ERR_INVALID, "\"%.*s\" is not an ARN of six parts", SHOWN(item));
    return ERR_OK;
}

static err_code check_resource(sv item, struct err *e)
{
    return sv_eq(item, SV_LIT("*")) ? ERR_OK : check_arn(item, e);
}

static err_code check_bool(sv item, struct err *e)
{
    if (!sv_eq_nocase(item, SV_LIT("true")) && !sv_eq_nocase(item, SV_LIT("false")))
        return ERR(e, ERR_INVALID, "\"%.*s\" is neither \"true\" nor \"false\"", SHOWN(item));
    return ERR_OK;
}

/* "ForAnyValue:StringNotLikeIfExists" -> its parts. */
static err_code read_operator(sv name, struct condition *condition, struct err *e)
{
    static const struct {
        const char *name;
        op_kind kind;
        bool negated;
    } known[] = {
        { "StringEquals", OP_STRING, false },
        { "StringNotEquals", OP_STRING, true },
        { "StringEqualsIgnoreCase", OP_STRING_NOCASE, false },
        { "StringNotEqualsIgnoreCase", OP_STRING_NOCASE, true },
        { "StringLike", OP_GLOB, false },
        { "StringNotLike", OP_GLOB, true },
        { "ArnEquals", OP_ARN, false }, /* IAM gives both spellings the same meaning */
        { "ArnLike", OP_ARN, false },
        { "ArnNotEquals", OP_ARN, true },
        { "ArnNotLike", OP_ARN, true },
        { "Bool", OP_BOOL, false },
        { "Null", OP_NULL, false },
    };
    sv any = SV_LIT("ForAnyValue:"), all = SV_LIT("ForAllValues:"), opt = SV_LIT("IfExists");
    sv rest = name;
    struct condition out = *condition;
    if (sv_starts(rest, any)) {
        out.over = ANY_VALUE;
        rest = sv_tail(rest, any.len);
    } else if (sv_starts(rest, all)) {
        out.over = ALL_VALUES;
        rest = sv_tail(rest, all.len);
    }
    if (sv_ends(rest, opt)) {
        out.if_exists = true;
        rest.len -= opt.len;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!sv_eq_cstr(rest, known[i].name))
            continue;
        /* "NullIfExists" and "ForAnyValue:Null" have no meaning */
        if (known[i].kind == OP_NULL && rest.len != name.len)
            break;
        out.kind = known[i].kind;
        out.negated = known[i].negated;
        *condition = out;
        return ERR_OK;
    }
    return ERR(e, ERR_INVALID, "condition operator \"%.*s\" is not supported", SHOWN(name));
}

static bool known_key(sv key, key_kind *of)
{
    static const struct {
        const char *prefix;
        key_kind of;
    } tags[] = { { "aws:ResourceTag/", KEY_RESOURCE_TAG }, { "aws:RequestTag/", KEY_REQUEST_TAG } };
    for (size_t i = 0; i < 2; i++) {
        sv prefix = sv_from(tags[i].prefix);
        *of = tags[i].of;
        if (key.len > prefix.len && sv_eq_nocase(sv_head(key, prefix.len), prefix))
            return true;
    }
    *of = sv_eq_nocase(key, SV_LIT("aws:TagKeys")) ? KEY_TAG_KEYS : KEY_OTHER;
    return *of == KEY_TAG_KEYS || sv_eq_nocase(key, SV_LIT("iam:PassedToService"));
}

/* Has the statement this condition already? JSON allows it twice; whoever reads the policy would
 * see one of the two. */
static bool asked_before(const struct statement *statement, const struct condition *c)
{
    for (size_t i = 0; i < statement->n_conditions; i++) {
        const struct condition *o = &statement->conditions[i];
        if (o->kind == c->kind && o->negated == c->negated && o->if_exists == c->if_exists &&
            o->over == c->over && sv_eq_nocase(o->key, c->key))
            return true;
    }
    return false;
}

static err_code read_values(struct arena *a, yyjson_val *v, struct condition *condition,
                            struct err *e)
{
    bool logic = condition->kind == OP_BOOL || condition->kind == OP_NULL;
    if (logic && yyjson_is_bool(v)) {
        condition->values = (struct list){ arena_alloc(a, sizeof(sv)), 1 };
        if (condition->values.items == NULL)
            return arena_oom(a, e);
        condition->values.items[0] = yyjson_get_bool(v) ? SV_LIT("true") : SV_LIT("false");
        return ERR_OK;
    }
    TRY(read_list(a, v, "a condition's value",
                  logic                       ? check_bool
                  : condition->kind == OP_ARN ? check_arn
                                              : NULL,
                  &condition->values, e));
    if (condition->kind == OP_NULL && condition->values.n != 1)
        return ERR(e, ERR_INVALID, "Null takes one value");
    return ERR_OK;
}

static err_code read_conditions(struct arena *a, yyjson_val *v, struct statement *statement,
                                struct err *e)
{
    if (!yyjson_is_obj(v))
        return ERR(e, ERR_INVALID, "Condition must be an object");
    statement->conditions = arena_calloc(a, MAX_CONDITIONS, sizeof *statement->conditions);
    if (statement->conditions == NULL)
        return arena_oom(a, e);
    yyjson_obj_iter ops, keys;
    yyjson_obj_iter_init(v, &ops);
    for (yyjson_val *op; (op = yyjson_obj_iter_next(&ops)) != NULL;) {
        struct condition condition = { 0 };
        TRY(read_operator(json_string(op), &condition, e));
        if (yyjson_obj_size(yyjson_obj_iter_get_val(op)) == 0)
            return ERR(e, ERR_INVALID, "a condition operator must hold an object of keys");
        yyjson_obj_iter_init(yyjson_obj_iter_get_val(op), &keys);
        for (yyjson_val *key; (key = yyjson_obj_iter_next(&keys)) != NULL;) {
            if (statement->n_conditions == MAX_CONDITIONS)
                return ERR(e, ERR_TOO_LARGE, "more than %u conditions", MAX_CONDITIONS);
            condition.key = json_string(key);
            if (!known_key(condition.key, &condition.of))
                return ERR(e, ERR_INVALID, "condition key \"%.*s\" is not supported",
                           SHOWN(condition.key));
            if (asked_before(statement, &condition))
                return ERR(e, ERR_INVALID, "condition key \"%.*s\" stands twice",
                           SHOWN(condition.key));
            TRY(read_values(a, yyjson_obj_iter_get_val(key), &condition, e));
            statement->conditions[statement->n_conditions++] = condition;
        }
    }
    return ERR_OK;
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
    statement->not_action = m[NOT_ACTION] != NULL;
    statement->not_resource = m[NOT_RESOURCE] != NULL;
    size_t action = statement->not_action ? NOT_ACTION : ACTION;
    size_t resource = statement->not_resource ? NOT_RESOURCE : RESOURCE;
    TRY(read_effect(m[EFFECT], statement, e));
    TRY(read_list(a, m[action], names[action], check_action, &statement->actions, e));
    TRY(read_list(a, m[resource], names[resource], check_resource, &statement->resources, e));
    return m[CONDITION] ? read_conditions(a, m[CONDITION], statement, e) : ERR_OK;
}

static err_code read_statements(struct policy *policy, yyjson_val *v, struct err *e)
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
        err_code rc = read_statement(policy->arena, one ? v : yyjson_arr_get(v, i),
                                     &policy->statements[i], e);
        if (rc != ERR_OK) {
            struct err why = e ? *e : (struct err){ 0 };
            return ERR(e, rc, "policy statement %zu: %.400s", i + 1, why.msg);
        }
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
    TRY(json_read(policy->arena, text, JSON_DEPTH, &doc, e));
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
    return read_statements(policy, statement, e);
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
