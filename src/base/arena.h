/* arena.h - everything made while serving one request or one unit of job work.
 *
 * An allocation moves a pointer, and all memory goes at once. Each arena has a budget in bytes. A
 * call that would go past it returns NULL, and the caller reports that with arena_oom(). One thread
 * at a time.   Floor: base. */
#pragma once
#include "base/sv.h"

struct arena;

/* budget_bytes: most that may be allocated in all. Never NULL (aborts when the machine is out). */
struct arena *arena_new(size_t budget_bytes);
void arena_free(struct arena *a);
DEFINE_CLEANUP(struct arena, arena_free)

/* Calls fn(ctx) when the arena is freed or reset: the last first. For what lives as long as the
 * arena and is not in it. Marks do not count: going back to one calls nothing. fn must not use the
 * arena. */
void arena_at_end(struct arena *a, void (*fn)(void *ctx), void *ctx);

/* 16-byte aligned; NULL past the budget. Not zeroed. */
void *arena_alloc(struct arena *a, size_t bytes);
void *arena_calloc(struct arena *a, size_t n, size_t size);
#define ARENA_NEW(a, T) ((T *)arena_calloc((a), 1, sizeof(T)))

/* More room for memory that arena_alloc() gave: in place when nothing was allocated behind it, else
 * in a copy. NULL past the budget, and ptr is as it was. With ptr NULL it is arena_alloc(). Memory
 * from before a mark must not grow while the mark is used. */
void *arena_grow(struct arena *a, void *ptr, size_t old_bytes, size_t bytes);

/* Copy; the copy has a NUL behind its last byte (not counted). ptr is NULL past the budget. */
sv arena_sv(struct arena *a, sv bytes);
/* One text of several; as arena_sv(). */
sv arena_join(struct arena *a, const sv *parts, size_t n);
#define ARENA_JOIN(a, ...) \
    arena_join((a), (const sv[]){ __VA_ARGS__ }, sizeof((const sv[]){ __VA_ARGS__ }) / sizeof(sv))
/* NUL-terminated copy; NULL past the budget. */
char *arena_str(struct arena *a, sv bytes);
/* Formatted; ptr is NULL past the budget. NUL behind the last byte. */
sv arena_fmt(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ERR_TOO_LARGE with a uniform message, for callers that got NULL. */
err_code arena_oom(const struct arena *a, struct err *e);

/* A place to come back to: what was allocated since is reused. */
typedef struct {
    void *block;
    size_t used;
    size_t total;
} arena_mark;
arena_mark arena_mark_get(const struct arena *a);
void arena_rewind(struct arena *a, arena_mark m);
/* Overwrites all that was allocated: before arena_free() of what held a secret. */
void arena_wipe(struct arena *a);
/* Empty it, keeping the first block for reuse. */
void arena_reset(struct arena *a);
size_t arena_used(const struct arena *a); /* bytes handed out */
