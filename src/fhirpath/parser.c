/* parser.c - tokens become a tree. Operators of one level bind to the left, by climbing:
 *
 *   1 implies   2 or xor   3 and   4 in contains   5 = ~ != !~   6 < > <= >=   7 |
 *   8 is as     9 + - &    10 * / div mod    11 signs in front    12 . and [ ]
 *
 * Nesting and the height of the tree are bounded, since both parser and evaluator go down in it.
 * Functions are looked up here, so that a run knows them. Strict expressions are checked for what
 * can be seen without a resource. Source: FHIRPath N1, 9 "Operator precedence", grammar. */
#include "fhirpath/fhirpath_private.h"

#define LEVEL_TYPE 8
#define LEVEL_SIGN 11
#define ARGS_MAX   16u

struct parser {
    struct fp_lexer x;
    struct fp_token t; /* the next one */
    const struct fhirpath_options *options;
    struct arena *a;
    size_t at; /* on failure */
    unsigned nested;
    struct fp_variables variables;
};

static err_code fault(struct parser *p, size_t at, struct err *e, const char *why)
{
    p->at = at;
    return ERR(e, ERR_INVALID, "%s", why);
}

static err_code next(struct parser *p, struct err *e)
{
    err_code rc = fp_lex(&p->x, &p->t, e);
    if (rc != ERR_OK)
        p->at = p->x.bad;
    return rc;
}

static bool is_sign(const struct parser *p, const char *sign)
{
    return p->t.kind == FP_SIGN && sv_eq_cstr(p->t.text, sign);
}

static err_code want(struct parser *p, const char *sign, struct err *e)
{
    if (is_sign(p, sign))
        return next(p, e);
    p->at = p->t.at;
    return ERR(e, ERR_INVALID, p->t.kind == FP_END ? "%s is missing at the end" : "%s is missing",
               sign);
}

static struct fp_node *make(struct parser *p, fp_what what, size_t at)
{
    struct fp_node *n = ARENA_NEW(p->a, struct fp_node);
    if (n) {
        n->what = what;
        n->at = (uint32_t)at;
    }
    return n;
}

/* Its height, from those below it. */
static err_code settle(struct parser *p, struct fp_node *n, struct err *e)
{
    unsigned depth = 0;
    if (n->left && n->left->depth > depth)
        depth = n->left->depth;
    if (n->right && n->right->depth > depth)
        depth = n->right->depth;
    for (unsigned i = 0; i < n->n_args; i++)
        if (n->args[i]->depth > depth)
            depth = n->args[i]->depth;
    if (depth >= FHIRPATH_DEPTH_MAX) {
        p->at = n->at;
        return ERR(e, ERR_TOO_LARGE, "the expression has more than %u levels", FHIRPATH_DEPTH_MAX);
    }
    n->depth = (uint16_t)(depth + 1);
    return ERR_OK;
}

static err_code expression(struct parser *p, int level, struct fp_node **out, struct err *e);

/* ---- types ---- */

static err_code type_name(struct parser *p, struct fp_type *out, struct err *e)
{
    size_t at = p->t.at;
    sv space = SV_NONE, name = p->t.text;
    if (p->t.kind != FP_NAME && p->t.kind != FP_QUOTED)
        return fault(p, at, e, "the name of a type is missing");
    TRY(next(p, e));
    if (is_sign(p, ".")) {
        struct parser back = *p;
        TRY(next(p, e));
        if ((p->t.kind == FP_NAME || p->t.kind == FP_QUOTED) &&
            (sv_eq_cstr(name, "FHIR") || sv_eq_cstr(name, "System"))) {
            space = name;
            name = p->t.text;
            TRY(next(p, e));
        } else {
            *p = back;
        }
    }
    if (fp_type_find(space, name, out))
        return ERR_OK;
    p->at = at;
    return ERR(e, ERR_INVALID, "no type is called %.*s", (int)(name.len > 64 ? 64 : name.len),
               name.ptr);
}

/* ---- what stands alone ---- */

static err_code literal(struct parser *p, size_t at, const fp_item *value, struct fp_node **out,
                        struct err *e)
{
    struct fp_node *n = make(p, FP_LITERAL, at);
    if (n == NULL)
        return arena_oom(p->a, e);
    n->literal = *value;
    *out = n;
    return settle(p, n, e);
}

static err_code number(struct parser *p, struct fp_node **out, struct err *e)
{
    size_t at = p->t.at;
    fp_item v = { .kind = FHIRPATH_DECIMAL };
    sv text = p->t.text, word;
    bool whole = sv_find(text, '.') == text.len;
    if (!fp_decimal_read(text, &v.as.decimal))
        return fault(p, at, e, "a number of too many digits");
    TRY(next(p, e));
    bool calendar = p->t.kind == FP_NAME && fp_calendar_word(p->t.text, &word);
    if (calendar || p->t.kind == FP_TEXT) {
        struct fhirpath_quantity *q = ARENA_NEW(p->a, struct fhirpath_quantity);
        if (q == NULL)
            return arena_oom(p->a, e);
        *q = (struct fhirpath_quantity){ v.as.decimal, p->t.text, calendar };
        v.kind = FHIRPATH_QUANTITY;
        v.as.quantity = q;
        TRY(next(p, e));
    } else if (whole) {
        int64_t i;
        if (!fp_decimal_is_whole(v.as.decimal, &i) || i > INT32_MAX)
            return fault(p, at, e, "an integer of more than 32 bits");
        v.kind = FHIRPATH_INTEGER;
        v.as.integer = i;
    }
    return literal(p, at, &v, out, e);
}

static err_code text_of(struct parser *p, size_t at, sv text, struct fp_node **out, struct err *e)
{
    return literal(p, at, &(fp_item){ .kind = FHIRPATH_STRING, .as.text = text }, out, e);
}

/* %name */
static err_code external(struct parser *p, struct fp_node **out, struct err *e)
{
    static const struct {
        const char *name;
        fp_what what;
        const char *text;
    } known[] = { { "resource", FP_RESOURCE, NULL },
                  { "rootResource", FP_ROOT, NULL },
                  { "context", FP_CONTEXT, NULL },
                  { "rowIndex", FP_ROW, NULL },
                  { "sct", FP_LITERAL, "http://snomed.info/sct" },
                  { "loinc", FP_LITERAL, "http://loinc.org" },
                  { "ucum", FP_LITERAL, "http://unitsofmeasure.org" } };
    size_t at = p->t.at;
    TRY(next(p, e));
    sv name = p->t.text;
    if (p->t.kind != FP_NAME && p->t.kind != FP_QUOTED && p->t.kind != FP_TEXT)
        return fault(p, at, e, "a name is missing behind %");
    TRY(next(p, e));
    uint16_t slot;
    if (fp_variable_find(&p->variables, name, &slot)) {
        if ((*out = make(p, FP_VARIABLE, at)) == NULL)
            return arena_oom(p->a, e);
        (*out)->slot = slot;
        return settle(p, *out, e);
    }
    for (size_t i = 0; p->options && i < p->options->n_constants; i++)
        if (sv_eq(p->options->constants[i].name, name))
            return literal(p, at, &p->options->constants[i].value, out, e);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!sv_eq_cstr(name, known[i].name) ||
            (known[i].what == FP_ROW && !(p->options && p->options->row_index)))
            continue;
        if (known[i].what == FP_LITERAL)
            return text_of(p, at, sv_from(known[i].text), out, e);
        *out = make(p, known[i].what, at);
        return *out ? settle(p, *out, e) : arena_oom(p->a, e);
    }
    bool vs = sv_starts(name, SV_LIT("vs-"));
    if (vs || sv_starts(name, SV_LIT("ext-"))) {
        sv url = ARENA_JOIN(p->a,
                            vs ? SV_LIT("http://hl7.org/fhir/ValueSet/")
                               : SV_LIT("http://hl7.org/fhir/StructureDefinition/"),
                            sv_tail(name, vs ? 3 : 4));
        return url.ptr ? text_of(p, at, url, out, e) : arena_oom(p->a, e);
    }
    p->at = at;
    return ERR(e, ERR_INVALID, "no constant is called %%%.*s", (int)(name.len > 64 ? 64 : name.len),
               name.ptr);
}

/* ---- names and calls ---- */

static err_code arguments(struct parser *p, struct fp_node *n, struct err *e)
{
    struct fp_node *args[ARGS_MAX];
    unsigned count = 0;
    TRY(next(p, e));
    while (!is_sign(p, ")")) {
        if (count == ARGS_MAX)
            return fault(p, p->t.at, e, "too many arguments");
        if (n->fn->typed && count == 0)
            TRY(type_name(p, &n->type, e));
        else
            TRY(expression(p, 1, &args[count], e));
        count++;
        if (!is_sign(p, ","))
            break;
        TRY(next(p, e));
        if (is_sign(p, ")"))
            return fault(p, p->t.at, e, "an argument is missing");
    }
    TRY(want(p, ")", e));
    if (count < n->fn->min || count > n->fn->max) {
        p->at = n->at;
        return ERR(e, ERR_INVALID, "%s() takes %u to %u arguments, not %u", n->fn->name, n->fn->min,
                   n->fn->max, count);
    }
    if (n->fn->typed || count == 0)
        return ERR_OK;
    n->args = arena_alloc(p->a, count * sizeof(struct fp_node *));
    if (n->args == NULL)
        return arena_oom(p->a, e);
    memcpy(n->args, args, count * sizeof(struct fp_node *));
    n->n_args = (uint8_t)count;
    return ERR_OK;
}

/* What a strict expression must not do, as far as the tree shows. */
static err_code check(struct parser *p, const struct fp_node *n, struct err *e)
{
    const struct fp_node *l = n->left;
    if (!p->options || !p->options->strict || l == NULL)
        return ERR_OK;
    bool typed = l->what == FP_AS || (l->what == FP_CALL && l->fn->typed);
    if (n->what == FP_MEMBER && typed && l->type.structure) {
        const struct fhir_structure *s = l->type.structure;
        bool has = false;
        for (unsigned i = 0; i < s->n_elements; i++)
            has = has || sv_eq(s->elements[i].name, n->name);
        if (!has)
            return fault(p, n->at, e, "the type has no element of that name");
    }
    static const char *const ordered[] = { "skip", "take", "first", "last", "tail" };
    bool unordered = l->what == FP_CALL && (strcmp(l->fn->name, "children") == 0 ||
                                            strcmp(l->fn->name, "descendants") == 0);
    for (size_t i = 0; unordered && n->what == FP_CALL && i < sizeof ordered / sizeof *ordered; i++)
        if (strcmp(n->fn->name, ordered[i]) == 0)
            return fault(p, n->at, e, "the list has no order");
    return ERR_OK;
}

/* A name or a call of left, or of the focus. */
static err_code invocation(struct parser *p, struct fp_node *left, struct fp_node **out,
                           struct err *e)
{
    struct fp_token t = p->t;
    if (t.kind == FP_DOLLAR) {
        fp_what what = sv_eq_cstr(t.text, "this")    ? FP_THIS
                       : sv_eq_cstr(t.text, "index") ? FP_INDEX
                       : sv_eq_cstr(t.text, "total") ? FP_TOTAL
                                                     : FP_LITERAL;
        if (what == FP_LITERAL || left)
            return fault(p, t.at, e, "only $this, $index and $total begin with $");
        TRY(next(p, e));
        *out = make(p, what, t.at);
        return *out ? settle(p, *out, e) : arena_oom(p->a, e);
    }
    if (t.kind != FP_NAME && t.kind != FP_QUOTED)
        return fault(p, t.at, e,
                     t.kind == FP_END ? "the expression ends where a value should stand"
                     : left           ? "a name is missing behind the point"
                                      : "a value is missing here");
    TRY(next(p, e));
    struct fp_node *n = make(p, FP_MEMBER, t.at);
    if (n == NULL)
        return arena_oom(p->a, e);
    n->left = left;
    n->name = t.text;
    if (is_sign(p, "(")) {
        char name[40] = { 0 };
        memcpy(name, t.text.ptr, t.text.len < sizeof name - 1 ? t.text.len : sizeof name - 1);
        n->what = FP_CALL;
        n->fn = fp_function_find(t.text);
        p->at = t.at;
        if (n->fn == NULL)
            return ERR(e, ERR_INVALID, "no function is called %s()", name);
        if (n->fn->call == NULL)
            return ERR(e, ERR_UNSUPPORTED, "%s() is not offered: %s", name, n->fn->why);
        TRY(arguments(p, n, e));
        p->at = t.at;
        TRY(fp_regex_prepare(n, p->a, e));
        TRY(fp_variable_define(&p->variables, p->options, n, e));
    }
    TRY(check(p, n, e));
    *out = n;
    return settle(p, n, e);
}

static bool is_keyword(sv name)
{
    static const char *const words[] = { "and", "or", "xor", "implies", "div", "mod" };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (sv_eq_cstr(name, words[i]))
            return true;
    return false;
}

static err_code term(struct parser *p, struct fp_node **out, struct err *e)
{
    struct fp_token t = p->t;
    fp_item v = { 0 };
    if (t.kind == FP_NUMBER)
        return number(p, out, e);
    if (t.kind == FP_TEXT || t.kind == FP_MOMENT) {
        TRY(next(p, e));
        return t.kind == FP_TEXT ? text_of(p, t.at, t.text, out, e)
                                 : literal(p, t.at, &t.value, out, e);
    }
    if (is_sign(p, "%"))
        return external(p, out, e);
    if (is_sign(p, "(")) {
        TRY(next(p, e));
        TRY(expression(p, 1, out, e));
        return want(p, ")", e);
    }
    if (is_sign(p, "{")) {
        TRY(next(p, e));
        TRY(want(p, "}", e));
        *out = make(p, FP_NOTHING, t.at);
        return *out ? settle(p, *out, e) : arena_oom(p->a, e);
    }
    if (t.kind == FP_NAME && (sv_eq_cstr(t.text, "true") || sv_eq_cstr(t.text, "false"))) {
        v.kind = FHIRPATH_BOOLEAN;
        v.as.boolean = t.text.len == 4;
        TRY(next(p, e));
        return literal(p, t.at, &v, out, e);
    }
    if (t.kind == FP_NAME && is_keyword(t.text))
        return fault(p, t.at, e, "an operator stands where a value should");
    return invocation(p, NULL, out, e);
}

static err_code postfix(struct parser *p, struct fp_node **out, struct err *e)
{
    struct fp_node *n = NULL;
    const unsigned known = p->variables.n;
    TRY(term(p, &n, e));
    for (;;) {
        if (is_sign(p, ".")) {
            TRY(next(p, e));
            TRY(invocation(p, n, &n, e));
        } else if (is_sign(p, "[")) {
            struct fp_node *at = make(p, FP_AT, p->t.at);
            if (at == NULL)
                return arena_oom(p->a, e);
            TRY(next(p, e));
            at->left = n;
            TRY(expression(p, 1, &at->right, e));
            TRY(want(p, "]", e));
            TRY(settle(p, at, e));
            n = at;
        } else {
            p->variables.n = known;
            *out = n;
            return ERR_OK;
        }
    }
}

static err_code operand(struct parser *p, struct fp_node **out, struct err *e)
{
    if (!is_sign(p, "-") && !is_sign(p, "+"))
        return postfix(p, out, e);
    struct fp_node *n = make(p, is_sign(p, "-") ? FP_MINUS : FP_PLUS, p->t.at);
    if (n == NULL)
        return arena_oom(p->a, e);
    TRY(next(p, e));
    TRY(expression(p, LEVEL_SIGN, &n->left, e));
    *out = n;
    return settle(p, n, e);
}

/* ---- operators ---- */

static const struct {
    const char *text;
    int level;
    fp_op op;
} operators[] = {
    { "implies", 1, FP_OP_IMPLIES },
    { "or", 2, FP_OP_OR },
    { "xor", 2, FP_OP_XOR },
    { "and", 3, FP_OP_AND },
    { "in", 4, FP_OP_IN },
    { "contains", 4, FP_OP_CONTAINS },
    { "=", 5, FP_OP_EQ },
    { "!=", 5, FP_OP_NE },
    { "~", 5, FP_OP_LIKE },
    { "!~", 5, FP_OP_UNLIKE },
    { "<", 6, FP_OP_LT },
    { ">", 6, FP_OP_GT },
    { "<=", 6, FP_OP_LE },
    { ">=", 6, FP_OP_GE },
    { "|", 7, FP_OP_UNION },
    { "is", LEVEL_TYPE, FP_OP_ADD },
    { "as", LEVEL_TYPE, FP_OP_SUB },
    { "+", 9, FP_OP_ADD },
    { "-", 9, FP_OP_SUB },
    { "&", 9, FP_OP_CONCAT },
    { "*", 10, FP_OP_MUL },
    { "/", 10, FP_OP_DIVIDE },
    { "div", 10, FP_OP_DIV },
    { "mod", 10, FP_OP_MOD },
};
#define N_OPERATORS (sizeof operators / sizeof operators[0])

static size_t operator_at(const struct parser *p)
{
    size_t i = 0;
    bool word = p->t.kind == FP_NAME;
    for (; i < N_OPERATORS; i++)
        if ((word || p->t.kind == FP_SIGN) && sv_eq_cstr(p->t.text, operators[i].text))
            break;
    return i;
}

static err_code climb(struct parser *p, int level, struct fp_node **out, struct err *e)
{
    struct fp_node *n = NULL;
    TRY(operand(p, &n, e));
    for (;;) {
        size_t i = operator_at(p);
        if (i == N_OPERATORS || operators[i].level < level)
            break;
        bool typed = operators[i].level == LEVEL_TYPE;
        struct fp_node *o = make(p,
                                 !typed                        ? FP_BINARY
                                 : operators[i].text[0] == 'i' ? FP_IS
                                                               : FP_AS,
                                 p->t.at);
        if (o == NULL)
            return arena_oom(p->a, e);
        o->op = operators[i].op;
        o->left = n;
        TRY(next(p, e));
        if (typed)
            TRY(type_name(p, &o->type, e));
        else
            TRY(expression(p, operators[i].level + 1, &o->right, e));
        TRY(settle(p, o, e));
        n = o;
    }
    *out = n;
    return ERR_OK;
}

static err_code expression(struct parser *p, int level, struct fp_node **out, struct err *e)
{
    if (p->nested == FHIRPATH_DEPTH_MAX) {
        p->at = p->t.at;
        return ERR(e, ERR_TOO_LARGE, "the expression has more than %u levels", FHIRPATH_DEPTH_MAX);
    }
    p->nested++;
    err_code rc = climb(p, level, out, e);
    p->nested--;
    return rc;
}

err_code fp_parse(sv text, const struct fhirpath_options *options, struct arena *a,
                  struct fp_node **out, uint16_t *n_slots, size_t *at, struct err *e)
{
    struct parser p = { .x = { .text = text, .a = a }, .options = options, .a = a };
    err_code rc = next(&p, e);
    if (rc == ERR_OK)
        rc = expression(&p, 1, out, e);
    if (rc == ERR_OK && p.t.kind != FP_END)
        rc = fault(&p, p.t.at, e, "the expression should end here, or go on with an operator");
    *at = p.at;
    *n_slots = p.variables.n_slots;
    return rc;
}
