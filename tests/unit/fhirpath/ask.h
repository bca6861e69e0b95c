/* ask.h - an expression over a resource, and its answer as one text: items as toString() writes
 * them, a bar between two. */
#pragma once
#include "test.h"

#include "fhirpath/fhirpath.h"

#define ASK_NOW INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */

/* "error: ..." when it fails. The arena's. */
static inline const char *ask_in(struct arena *a, const char *json, const char *expression,
                                 uint64_t steps)
{
    yyjson_doc *doc = NULL;
    const struct fhirpath *path;
    struct fhirpath_run run = { .arena = a, .now_ms = ASK_NOW, .steps = steps };
    struct fhirpath_list l;
    struct err err = { 0 };
    struct buf b = BUF_INIT(1u << 20);
    if (json)
        OK(json_read(a, sv_from(json), 64, &doc, e));
    run.resource = yyjson_doc_get_root(doc);
    if (fhirpath_compile(sv_from(expression), NULL, a, &path, NULL, &err) != ERR_OK ||
        fhirpath_eval(path, &run, NULL, &l, &err) != ERR_OK) {
        const char *said = arena_fmt(a, "error: %s", err.msg).ptr;
        return said ? said : "error: there is no memory, not even to say so";
    }
    for (size_t i = 0; i < l.n; i++) {
        if (i)
            OK(buf_add_char(&b, '|', e));
        sv text = fhirpath_text(&l.items[i], a);
        OK(buf_add(&b, text.ptr ? text : SV_LIT("{}"), e));
    }
    const char *answer = arena_str(a, buf_sv(&b));
    buf_done(&b);
    return answer;
}

struct question {
    const char *expression, *answer;
};

/* All of them; an answer that ends in * is only the beginning. */
static inline void ask_all(const char *json, const struct question *questions, size_t n)
{
    unsigned faults = 0;
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(32u << 20);
        const char *have = ask_in(a, json, questions[i].expression, FHIRPATH_STEPS),
                   *want = questions[i].answer;
        size_t len = strlen(want);
        bool ok = len && want[len - 1] == '*' ? strncmp(have, want, len - 1) == 0
                                              : strcmp(have, want) == 0;
        if (!ok)
            print_message("# %s: \"%s\" is not \"%s\"\n", questions[i].expression, have, want);
        faults += !ok;
        arena_free(a);
    }
    assert_int_equal(faults, 0);
}
#define ASK(json, ...)                                      \
    do {                                                    \
        static const struct question q[] = { __VA_ARGS__ }; \
        ask_all((json), q, sizeof q / sizeof q[0]);         \
    } while (0)
