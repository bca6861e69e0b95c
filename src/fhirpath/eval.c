/* eval.c - a tree is run from its root down: each node makes a list of items from those of the
 * nodes below it. The height of the tree bounds how deep this goes, the steps of the run how long,
 * its arena how much is made. The compiled expression is not touched, so threads share it. */
#include "fhirpath/fhirpath_private.h"

#include <utf8proc.h>

#define SPARE_BYTES 1024u /* more than any value takes beside its text */

static err_code eval(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out, struct err *e);

static bool is_capital(sv name)
{
    return name.len && name.ptr[0] >= 'A' && name.ptr[0] <= 'Z';
}

/* A member of what the path begins at; or the name of its type, which is itself. */
static err_code member_of(struct fp_cx *cx, const struct fp_node *n, const fp_item self,
                          struct fp_list *out, struct err *e)
{
    bool known = false;
    if (is_capital(n->name) && self.kind == FHIRPATH_NODE && self.structure) {
        const struct fhir_structure *s = fhir_structure_find(n->name);
        if (s && fp_derives(self.structure, s))
            return fp_put(cx, out, &self, e);
    }
    TRY(fp_member(cx, &self, n->name, out, &known, e));
    if (!known && cx->path->strict)
        return fp_wrong(cx, e, "there is no element of that name");
    return ERR_OK;
}

static err_code first_member(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out,
                             struct err *e)
{
    const struct fp_list *focus = cx->scope.focus;
    if (focus == NULL)
        return cx->scope.has_self ? member_of(cx, n, cx->scope.self, out, e) : ERR_OK;
    for (uint32_t i = 0; i < focus->n; i++)
        TRY(member_of(cx, n, focus->items[i], out, e));
    return ERR_OK;
}

static err_code member(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out,
                       struct err *e)
{
    struct fp_list in = { 0 };
    bool known;
    if (n->left == NULL)
        return first_member(cx, n, out, e);
    TRY(eval(cx, n->left, &in, e));
    cx->now = n;
    for (uint32_t i = 0; i < in.n; i++) {
        TRY(fp_member(cx, &in.items[i], n->name, out, &known, e));
        if (!known && cx->path->strict)
            return fp_wrong(cx, e, "there is no element of that name");
    }
    return ERR_OK;
}

static err_code call(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out, struct err *e)
{
    struct fp_list in = { 0 };
    if (n->left)
        TRY(eval(cx, n->left, &in, e));
    else if (cx->scope.focus)
        TRY(fp_put_all(cx, &in, cx->scope.focus, e));
    else if (cx->scope.has_self)
        TRY(fp_put(cx, &in, &cx->scope.self, e));
    cx->now = n;
    return n->fn->call(cx, n, &in, out, e);
}

static err_code at(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out, struct err *e)
{
    struct fp_list in = { 0 }, index = { 0 };
    fp_item i;
    bool has;
    TRY(eval(cx, n->left, &in, e));
    TRY(eval(cx, n->right, &index, e));
    cx->now = n;
    TRY(fp_one_of(cx, &index, FHIRPATH_INTEGER, &i, &has, e));
    if (!has || i.as.integer < 0 || i.as.integer >= in.n)
        return ERR_OK;
    return fp_put(cx, out, &in.items[i.as.integer], e);
}

static err_code binary(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out,
                       struct err *e)
{
    struct fp_list a = { 0 }, b = { 0 };
    TRY(eval(cx, n->left, &a, e));
    /* what the left side settles needs no right one */
    if (n->op == FP_OP_AND || n->op == FP_OP_OR || n->op == FP_OP_IMPLIES) {
        fp_truth t;
        cx->now = n;
        TRY(fp_truth_of(cx, &a, &t, e));
        if (t == (n->op == FP_OP_OR ? FP_TRUE : FP_FALSE))
            return fp_put_boolean(cx, out, n->op != FP_OP_AND, e);
    }
    TRY(eval(cx, n->right, &b, e));
    cx->now = n;
    return fp_operate(cx, n->op, &a, &b, out, e);
}

static err_code typed(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out, struct err *e)
{
    struct fp_list in = { 0 };
    TRY(eval(cx, n->left, &in, e));
    cx->now = n;
    if (in.n > 1)
        return fp_wrong(cx, e, "one item is asked for and there are %u", in.n);
    if (in.n == 0)
        return ERR_OK;
    if (n->what == FP_IS)
        return fp_put_boolean(cx, out, fp_is(&in.items[0], &n->type), e);
    return fp_of_type(&in.items[0], &n->type) ? fp_put(cx, out, &in.items[0], e) : ERR_OK;
}

static err_code put_resource(struct fp_cx *cx, yyjson_val *resource, struct fp_list *out,
                             struct err *e)
{
    fp_item item = fhirpath_resource(resource);
    return resource ? fp_put(cx, out, &item, e) : ERR_OK;
}

static err_code sign(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out, struct err *e)
{
    struct fp_list in = { 0 };
    TRY(eval(cx, n->left, &in, e));
    cx->now = n;
    struct fp_list minus = { 0 };
    TRY(fp_negate(cx, &in, &minus, e));
    return fp_put_all(cx, out, n->what == FP_MINUS ? &minus : &in, e);
}

static err_code eval(struct fp_cx *cx, const struct fp_node *n, struct fp_list *out, struct err *e)
{
    TRY(fp_steps(cx, 1, e));
    cx->now = n;
    switch (n->what) {
    case FP_LITERAL:
        return fp_put(cx, out, &n->literal, e);
    case FP_NOTHING:
        return ERR_OK;
    case FP_THIS:
        return cx->scope.has_self ? fp_put(cx, out, &cx->scope.self, e) : ERR_OK;
    case FP_INDEX:
        return cx->scope.has_index ? fp_put_integer(cx, out, cx->scope.index, e) : ERR_OK;
    case FP_TOTAL:
        return cx->scope.total ? fp_put_all(cx, out, cx->scope.total, e) : ERR_OK;
    case FP_RESOURCE:
        return put_resource(cx, cx->run->resource, out, e);
    case FP_ROOT:
        return put_resource(cx, cx->run->root ? cx->run->root : cx->run->resource, out, e);
    case FP_CONTEXT:
        return fp_put(cx, out, &cx->context, e);
    case FP_ROW:
        return fp_put_integer(cx, out, cx->run->row_index, e);
    case FP_VARIABLE:
        return fp_put_all(cx, out, &cx->slots[n->slot], e);
    case FP_MEMBER:
        return member(cx, n, out, e);
    case FP_CALL:
        return call(cx, n, out, e);
    case FP_AT:
        return at(cx, n, out, e);
    case FP_MINUS:
    case FP_PLUS:
        return sign(cx, n, out, e);
    case FP_BINARY:
        return binary(cx, n, out, e);
    case FP_IS:
    case FP_AS:
        return typed(cx, n, out, e);
    }
    return ERR(e, ERR_INTERNAL, "a node of a tree is of no kind");
}

/* ---- the public side ---- */

static size_t utf8_end(sv text)
{
    size_t at = 0;
    utf8proc_int32_t c;
    while (at < text.len) {
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text.ptr + at,
                                              (utf8proc_ssize_t)(text.len - at), &c);
        if (n <= 0 || c == 0)
            break;
        at += (size_t)n;
    }
    return at;
}

err_code fhirpath_compile(sv text, const struct fhirpath_options *options, struct arena *a,
                          const struct fhirpath **out, struct fhirpath_place *where, struct err *e)
{
    struct err why = { 0 };
    struct fp_node *root = NULL;
    size_t at = 0;
    uint16_t n_slots = 0;
    if (where)
        *where = (struct fhirpath_place){ 0, 1, 1 };
    if (text.len > FHIRPATH_LENGTH_MAX)
        return ERR(e, ERR_TOO_LARGE, "an expression has at most %u bytes", FHIRPATH_LENGTH_MAX);
    struct fhirpath *path = ARENA_NEW(a, struct fhirpath);
    sv copy = arena_sv(a, text);
    if (path == NULL || copy.ptr == NULL)
        return arena_oom(a, e);
    err_code rc;
    if (utf8_end(copy) != copy.len) {
        at = utf8_end(copy);
        rc = ERR(&why, ERR_INVALID, "what stands here is not UTF-8");
    } else {
        rc = fp_parse(copy, options, a, &root, &n_slots, &at, &why);
    }
    if (rc != ERR_OK)
        return fp_fault(copy, at, rc, why.msg, where, e);
    *path = (struct fhirpath){ copy, root, options && options->strict, n_slots };
    *out = path;
    return ERR_OK;
}

err_code fhirpath_eval(const struct fhirpath *path, struct fhirpath_run *run,
                       const struct fhirpath_item *from, struct fhirpath_list *out, struct err *e)
{
    struct fp_list l = { 0 };
    struct fp_cx cx = { .run = run, .path = path, .a = run->arena, .eval = eval };
    cx.scope.self = from ? *from : fhirpath_resource(run->resource);
    cx.scope.has_self = from || run->resource;
    cx.context = cx.scope.self;
    if (path->n_slots && (cx.slots = arena_calloc(cx.a, path->n_slots, sizeof *cx.slots)) == NULL)
        return arena_oom(cx.a, e);
    TRY(eval(&cx, path->root, &l, e));
    /* a value for which there was no room would have been taken for none */
    arena_mark mark = arena_mark_get(run->arena);
    if (arena_alloc(run->arena, SPARE_BYTES) == NULL)
        return arena_oom(run->arena, e);
    arena_rewind(run->arena, mark);
    *out = (struct fhirpath_list){ l.items, l.n };
    return ERR_OK;
}

err_code fhirpath_condition(struct fhirpath_list list, bool *out, struct err *e)
{
    fp_item v;
    if (list.n > 1)
        return ERR(e, ERR_INVALID, "a condition is one item, and there are %zu", list.n);
    *out = list.n == 1 &&
           !(fp_value(NULL, &list.items[0], &v) && v.kind == FHIRPATH_BOOLEAN && !v.as.boolean);
    return ERR_OK;
}
