/* validate_issue.c - an issue and its path, put together from the frames of the walk (validate.c)
 * when there is one. */
#include "fhir/validate_private.h"

static size_t path_put(const struct part *at, char *dst)
{
    char index[24];
    size_t n = at->up ? path_put(at->up, dst) : 0, m = 0;
    if (at->index >= 0)
        m = (size_t)snprintf(index, sizeof index, "[%lld]", (long long)at->index);
    if (at->up) {
        if (dst)
            dst[n] = '.';
        n++;
    }
    if (dst) {
        memcpy(dst + n, at->name.ptr, at->name.len);
        memcpy(dst + n + at->name.len, index, m);
    }
    return n + at->name.len + m;
}

static sv path_of(struct run *r, const struct part *at)
{
    size_t n = path_put(at, NULL);
    char *p = arena_alloc(r->a, n + 1);
    if (p == NULL)
        return SV_NONE;
    p[path_put(at, p)] = 0;
    return sv_make(p, n);
}

PRINTF_LIKE(4, 0)
static void add(struct run *r, const struct part *at, const char *code, const char *fmt, va_list ap)
{
    struct fhir_issues *out = &r->issues;
    if (r->stop)
        return;
    if (out->n == FHIR_ISSUES_MAX) {
        out->more = true;
        r->stop = true;
        return;
    }
    if (out->items == NULL)
        out->items = arena_calloc(r->a, FHIR_ISSUES_MAX, sizeof *out->items);
    char text[512];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    struct fhir_issue issue = { .severity = "error", .code = code };
    if (n >= 0 && out->items) {
        issue.text = arena_sv(r->a, sv_from(text));
        issue.path = path_of(r, at);
    }
    if (issue.text.ptr == NULL || issue.path.ptr == NULL) {
        r->out_of_memory = true;
        r->stop = true;
        return;
    }
    out->items[out->n++] = issue;
}

void issue_add(struct run *r, const struct part *at, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(r, at, code, fmt, ap);
    va_end(ap);
}

void issue_add_below(struct run *r, const struct part *at, sv name, const char *code,
                     const char *fmt, ...)
{
    struct part below = { at, name, -1 };
    va_list ap;
    va_start(ap, fmt);
    add(r, &below, code, fmt, ap);
    va_end(ap);
}

#define TOLD_NAME_MAX 32 /* bytes of an unknown member's name that an issue may repeat */

void issue_add_unknown(struct run *r, const struct part *at, const struct fhir_structure *structure,
                       sv name)
{
    bool tell = name.len >= 1 && name.len <= TOLD_NAME_MAX;
    for (size_t i = 0; tell && i < name.len; i++) {
        char c = name.ptr[i];
        tell =
            ((c | 32) >= 'a' && (c | 32) <= 'z') || (c >= '0' && c <= '9') || (c == '_' && i == 0);
    }
    if (tell)
        issue_add_below(r, at, name, "structure", "'%.*s' is not an element of %.*s", SV_FMT(name),
                        SV_FMT(structure->name));
    else
        issue_add(r, at, "structure", "A member is not an element of %.*s",
                  SV_FMT(structure->name));
}
