/* arena.c - an arena is a chain of blocks. An allocation moves a pointer in the newest block; when
 * the block is full, a new one of twice its size is chained in front, up to MAX_BLOCK.
 *
 * A mark remembers a block and a place in it, and going back to a mark frees the blocks behind it.
 * The budget counts the bytes handed out, not the blocks. When the machine itself has no memory
 * left the process ends: it recovers when it is started again. */
#include "base/arena.h"

#define FIRST_BLOCK (64u << 10) /* bytes */
#define MAX_BLOCK   (8u << 20)  /* bytes; larger requests get a block of their own */

struct block {
    struct block *prev;
    size_t cap, used; /* bytes of data */
    _Alignas(16) char data[];
};

struct ending { /* on the heap: a mark must not undo it */
    struct ending *prev;
    void (*fn)(void *ctx);
    void *ctx;
};

struct arena {
    struct block *top; /* never NULL */
    struct ending *endings;
    size_t total; /* bytes handed out, rounded up */
    size_t budget;
};

static struct block *block_new(size_t cap, struct block *prev)
{
    struct block *b = malloc(sizeof *b + cap);
    if (b == NULL)
        abort();
    b->prev = prev;
    b->cap = cap;
    b->used = 0;
    return b;
}

struct arena *arena_new(size_t budget_bytes)
{
    struct arena *a = malloc(sizeof *a);
    if (a == NULL)
        abort();
    a->top = block_new(FIRST_BLOCK, NULL);
    a->endings = NULL;
    a->total = 0;
    a->budget = budget_bytes;
    return a;
}

void arena_at_end(struct arena *a, void (*fn)(void *ctx), void *ctx)
{
    struct ending *ending = malloc(sizeof *ending);
    if (ending == NULL)
        abort();
    *ending = (struct ending){ a->endings, fn, ctx };
    a->endings = ending;
}

static void end(struct arena *a)
{
    for (struct ending *ending; (ending = a->endings) != NULL;) {
        a->endings = ending->prev;
        ending->fn(ending->ctx);
        free(ending);
    }
}

void arena_free(struct arena *a)
{
    if (a == NULL)
        return;
    end(a);
    for (struct block *b = a->top; b;) {
        struct block *prev = b->prev;
        free(b);
        b = prev;
    }
    free(a);
}

void arena_wipe(struct arena *a)
{
    for (struct block *b = a->top; b; b = b->prev)
        explicit_bzero(b->data, b->used);
}

static size_t rounded(size_t bytes)
{
    size_t n = (bytes + 15) & ~(size_t)15;
    return n ? n : 16;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > a->budget)
        return NULL;
    size_t n = rounded(bytes);
    if (a->total > a->budget || n > a->budget - a->total + 15)
        return NULL;
    if (n > a->top->cap - a->top->used) {
        size_t cap = a->top->cap * 2 > MAX_BLOCK ? MAX_BLOCK : a->top->cap * 2;
        a->top = block_new(n > cap ? n : cap, a->top);
    }
    void *p = a->top->data + a->top->used;
    a->top->used += n;
    a->total += n;
    return p;
}

void *arena_grow(struct arena *a, void *ptr, size_t old_bytes, size_t bytes)
{
    struct block *top = a->top;
    size_t had = rounded(old_bytes);
    if (bytes <= old_bytes && ptr)
        return ptr;
    if (ptr && bytes <= a->budget && (char *)ptr + had == top->data + top->used) {
        size_t more = rounded(bytes) - had;
        if (a->total > a->budget || more > a->budget - a->total + 15)
            return NULL;
        /* alone in its block, and no mark stands in front of it there */
        if (more > top->cap - top->used && (char *)ptr == top->data && top->prev) {
            top = realloc(top, sizeof *top + rounded(bytes));
            if (top == NULL)
                abort();
            top->cap = rounded(bytes);
            a->top = top;
            ptr = top->data;
        }
        if (more <= top->cap - top->used) {
            top->used += more;
            a->total += more;
            return ptr;
        }
    }
    void *p = arena_alloc(a, bytes);
    if (p && ptr)
        memcpy(p, ptr, old_bytes);
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    void *p = arena_alloc(a, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

sv arena_sv(struct arena *a, sv bytes)
{
    char *p = arena_str(a, bytes);
    return p ? (sv){ p, bytes.len } : SV_NONE;
}

char *arena_str(struct arena *a, sv bytes)
{
    char *p = bytes.len == SIZE_MAX ? NULL : arena_alloc(a, bytes.len + 1);
    if (p == NULL)
        return NULL;
    if (bytes.len)
        memcpy(p, bytes.ptr, bytes.len);
    p[bytes.len] = 0;
    return p;
}

sv arena_join(struct arena *a, const sv *parts, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(len, parts[i].len, &len))
            return SV_NONE;
    char *p = len == SIZE_MAX ? NULL : arena_alloc(a, len + 1), *at = p;
    if (p == NULL)
        return SV_NONE;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len)
            memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    *at = 0;
    return (sv){ p, len };
}

sv arena_fmt(struct arena *a, const char *fmt, ...)
{
    /* most texts are short: printed once */
    char here[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(here, sizeof here, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p == NULL)
        return SV_NONE;
    if ((size_t)n < sizeof here) {
        memcpy(p, here, (size_t)n + 1);
        return (sv){ p, (size_t)n };
    }
    va_start(ap, fmt);
    /* length known from above */
    (void)vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (sv){ p, (size_t)n };
}

err_code arena_oom(const struct arena *a, struct err *e)
{
    return ERR(e, ERR_TOO_LARGE, "more than %zu bytes of working memory needed", a->budget);
}

arena_mark arena_mark_get(const struct arena *a)
{
    return (arena_mark){ a->top, a->top->used, a->total };
}

void arena_rewind(struct arena *a, arena_mark m)
{
    while (a->top != m.block) {
        struct block *prev = a->top->prev;
        free(a->top);
        a->top = prev;
    }
    a->top->used = m.used;
    a->total = m.total;
}

void arena_reset(struct arena *a)
{
    end(a);
    while (a->top->prev) {
        struct block *prev = a->top->prev;
        free(a->top);
        a->top = prev;
    }
    a->top->used = 0;
    a->total = 0;
}

size_t arena_used(const struct arena *a)
{
    return a->total;
}
