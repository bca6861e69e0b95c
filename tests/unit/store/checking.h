/* checking.h - what store_check() tells of a store, and that it tells nothing. The store is closed
 * meanwhile. */
#pragma once
#include "test.h"

#include "store/check.h"

struct checked {
    struct store_checked sums;
    size_t n; /* lines */
    char lines[STORE_CHECK_LINES][256];
};

static inline void checked_line(void *ctx, sv line)
{
    struct checked *x = ctx;
    assert_true(x->n < STORE_CHECK_LINES);
    (void)snprintf(x->lines[x->n++], sizeof x->lines[0], "%.*s", SV_FMT(line));
}

static inline void check_store(struct store_env *env, const char *path, struct checked *x)
{
    const struct store_check_told told = { .wrong = checked_line, .ctx = x };
    *x = (struct checked){ .n = 0 };
    OK(store_check(env, path, &told, &x->sums, e));
}

/* The entries of a resource that says nothing but who it is. */
static inline sv plain_index(fhir_type type)
{
    static struct buf made[256];
    static bool done[256];
    if (!done[type]) {
        struct arena *a = arena_new(1 << 16);
        yyjson_doc *doc;
        made[type] = BUF_INIT(1 << 16);
        OK(json_read(a, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"x\"}"), 8, &doc, e));
        OK(search_index(type, yyjson_doc_get_root(doc), &made[type], e));
        arena_free(a);
        done[type] = true;
    }
    return buf_sv(&made[type]);
}

/* All is well. */
static inline void assert_checked(struct store_env *env, const char *path)
{
    struct checked x;
    check_store(env, path, &x);
    for (size_t i = 0; i < x.n; i++)
        print_message("%s\n", x.lines[i]);
    if (x.sums.n_wrong)
        fail_msg("%llu things are wrong", (unsigned long long)x.sums.n_wrong);
}
