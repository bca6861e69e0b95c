/* policy_condition.c - a statement's Condition, from JSON.
 *
 *   operator -> what it compares, and what it takes for values
 *   key      -> what it names, and which operators can be asked of it
 *
 * Reading is strict, as in policy_read.c: an operator that would never hold for its key is a slip,
 * and a Deny of that kind would keep nothing back. So both must go together, and the message names
 * both. */
#include "auth/policy_private.h"

#define MAX_CONDITIONS 64u /* of one statement */

err_code policy_list_read(struct arena *a, yyjson_val *v, const char *member,
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

err_code policy_arn_check(sv item, struct err *e)
{
    sv parts[ARN_PARTS];
    if (!policy_arn_split(item, parts) || !sv_eq(parts[0], SV_LIT("arn")) || parts[5].len == 0)
        return ERR(e, ERR_INVALID, "\"%.*s\" is not an ARN of six parts", SHOWN(item));
    return ERR_OK;
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
        { "IpAddress", OP_ADDRESS, false },
        { "NotIpAddress", OP_ADDRESS, true },
        { "DateEquals", OP_TIME_EQUAL, false },
        { "DateNotEquals", OP_TIME_EQUAL, true },
        { "DateLessThan", OP_TIME_BEFORE, false },
        { "DateLessThanEquals", OP_TIME_UNTIL, false },
        { "DateGreaterThan", OP_TIME_AFTER, false },
        { "DateGreaterThanEquals", OP_TIME_FROM, false },
    };
    sv any = SV_LIT("ForAnyValue:"), all = SV_LIT("ForAllValues:"), opt = SV_LIT("IfExists");
    sv rest = name;
    struct condition out = *condition;
    out.written = name;
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
    return ERR(e, ERR_INVALID,
               "condition operator \"%.*s\" is not supported: String, Arn, Bool, IpAddress, Date "
               "and Null operators are",
               SHOWN(name));
}

static const struct {
    const char *name;
    bool begins; /* it has a name of its own behind */
    key_kind of;
    const char *takes; /* its operators, beside Null; NULL: those of texts */
} known_keys[] = {
    { "aws:ResourceTag/", true, KEY_RESOURCE_TAG, NULL },
    { "aws:RequestTag/", true, KEY_REQUEST_TAG, NULL },
    { "aws:TagKeys", false, KEY_TAG_KEYS, NULL },
    { "iam:PassedToService", false, KEY_OTHER, NULL },
    { "aws:SourceIp", false, KEY_SOURCE_IP, "IpAddress and NotIpAddress" },
    { "aws:SecureTransport", false, KEY_SECURE_TRANSPORT, "Bool" },
    { "aws:CurrentTime", false, KEY_CURRENT_TIME, "DateEquals and its like" },
};
#define N_KEYS (sizeof known_keys / sizeof known_keys[0])

/* N_KEYS: it is none. */
static size_t find_key(sv key)
{
    size_t i = 0;
    for (; i < N_KEYS; i++) {
        sv name = sv_from(known_keys[i].name);
        if (known_keys[i].begins ? key.len > name.len && sv_eq_nocase(sv_head(key, name.len), name)
                                 : sv_eq_nocase(key, name))
            break;
    }
    return i;
}

bool policy_key_is_known(sv key)
{
    return find_key(key) < N_KEYS;
}

/* Can the operator ever hold for the key? */
static bool go_together(op_kind kind, key_kind of)
{
    bool time = kind >= OP_TIME_EQUAL;
    if (kind == OP_NULL)
        return true;
    switch (of) {
    case KEY_SOURCE_IP:
        return kind == OP_ADDRESS;
    case KEY_SECURE_TRANSPORT:
        return kind == OP_BOOL;
    case KEY_CURRENT_TIME:
        return time;
    default:
        return kind != OP_ADDRESS && !time;
    }
}

static err_code read_key(sv key, struct condition *condition, struct err *e)
{
    size_t i = find_key(key);
    if (i == N_KEYS)
        return ERR(e, ERR_INVALID, "condition key \"%.*s\" is not supported", SHOWN(key));
    condition->key = key;
    condition->of = known_keys[i].of;
    if (!go_together(condition->kind, condition->of))
        return ERR(e, ERR_INVALID, "condition key \"%.*s\" takes %s and Null, not %.*s", SHOWN(key),
                   known_keys[i].takes ? known_keys[i].takes : "String, Arn and Bool operators",
                   SHOWN(condition->written));
    return ERR_OK;
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

static err_code check_address(sv item, struct err *e)
{
    if (!policy_is_address(item))
        return ERR(e, ERR_INVALID,
                   "\"%.*s\" is neither an address nor a range such as 203.0.113.0/24 or "
                   "2001:db8::/32",
                   SHOWN(item));
    return ERR_OK;
}

static err_code check_time(sv item, struct err *e)
{
    int64_t ms;
    if (!policy_time_read(item, &ms))
        return ERR(e, ERR_INVALID,
                   "\"%.*s\" is no time; give 2027-01-31T00:00:00Z, 2027-01-31 or seconds since "
                   "1970",
                   SHOWN(item));
    return ERR_OK;
}

/* Ranges and times are read once, here. */
static err_code prepare(struct arena *a, struct condition *condition, struct err *e)
{
    size_t n = condition->values.n;
    bool address = condition->kind == OP_ADDRESS, ok = true;
    if (!address && condition->kind < OP_TIME_EQUAL)
        return ERR_OK;
    void *made = arena_calloc(a, n, address ? sizeof *condition->nets : sizeof(int64_t));
    if (made == NULL)
        return arena_oom(a, e);
    if (address)
        condition->nets = made;
    else
        condition->times_ms = made;
    for (size_t i = 0; i < n; i++)
        ok &= address ? policy_net_read(condition->values.items[i], &condition->nets[i])
                      : policy_time_read(condition->values.items[i], &condition->times_ms[i]);
    /* each was checked */
    assert(ok);
    (void)ok;
    return ERR_OK;
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
    TRY(policy_list_read(a, v, "a condition's value",
                         logic                              ? check_bool
                         : condition->kind == OP_ARN        ? policy_arn_check
                         : condition->kind == OP_ADDRESS    ? check_address
                         : condition->kind >= OP_TIME_EQUAL ? check_time
                                                            : NULL,
                         &condition->values, e));
    if (condition->kind == OP_NULL && condition->values.n != 1)
        return ERR(e, ERR_INVALID, "Null takes one value");
    return prepare(a, condition, e);
}

err_code policy_conditions_read(struct arena *a, yyjson_val *v, struct statement *statement,
                                struct err *e)
{
    if (!yyjson_is_obj(v))
        return ERR(e, ERR_INVALID, "Condition must be an object");
    yyjson_obj_iter ops, keys;
    size_t n = 0;
    yyjson_obj_iter_init(v, &ops);
    for (yyjson_val *op; (op = yyjson_obj_iter_next(&ops)) != NULL;)
        n += yyjson_obj_size(yyjson_obj_iter_get_val(op));
    statement->conditions =
        arena_calloc(a, n < MAX_CONDITIONS ? n : MAX_CONDITIONS, sizeof *statement->conditions);
    if (statement->conditions == NULL)
        return arena_oom(a, e);
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
            TRY(read_key(json_string(key), &condition, e));
            if (asked_before(statement, &condition))
                return ERR(e, ERR_INVALID, "condition key \"%.*s\" stands twice",
                           SHOWN(condition.key));
            TRY(read_values(a, yyjson_obj_iter_get_val(key), &condition, e));
            statement->conditions[statement->n_conditions++] = condition;
        }
    }
    return ERR_OK;
}
