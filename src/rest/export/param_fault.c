/* param_fault.c - what is wrong with a kick-off, as issues and notes that name the parameter and
 * repeat no value; and the lists that values are gathered in. */
#include "rest/export/kick_private.h"

__attribute__((format(printf, 3, 0))) static sv text_of(struct kick *k, const char *name,
                                                        const char *fmt, va_list ap)
{
    char text[400];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    sv out = arena_fmt(k->c->a, "%s: %.*s", name, n < 0 ? 0 : (int)sizeof text, text);
    if (out.ptr == NULL)
        k->rc = arena_oom(k->c->a, k->e);
    return out;
}

static void add_issue(struct kick *k, const char *code, const char *name, sv text)
{
    if (k->n_issues == EXPORT_ISSUES_MAX || text.ptr == NULL)
        return;
    k->issues[k->n_issues++] = (struct rest_issue){ "error", code, text, sv_from(name) };
}

void kick_fault(struct kick *k, const char *name, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_issue(k, code, name, text_of(k, name, fmt, ap));
    va_end(ap);
}

void kick_push(struct kick *k, struct kick_list *l, sv item, size_t max, const char *name)
{
    if (k->rc != ERR_OK)
        return;
    if (l->n == max) {
        kick_fault(k, name, "too-costly", "takes at most %zu values", max);
        return;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        sv *more = arena_grow(k->c->a, l->items, l->cap * sizeof *more, cap * sizeof *more);
        if (more == NULL) {
            k->rc = arena_oom(k->c->a, k->e);
            return;
        }
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = item;
}

void kick_unsupported(struct kick *k, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sv text = text_of(k, name, fmt, ap);
    va_end(ap);
    if (k->lenient && k->notes.n < EXPORT_ISSUES_MAX)
        kick_push(k, &k->notes, text, EXPORT_ISSUES_MAX, name);
    else if (!k->lenient)
        add_issue(k, "not-supported", name, text);
}
