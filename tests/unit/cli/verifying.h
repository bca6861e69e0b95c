/* verifying.h - an export in a folder of its own, and what is told of it. What is told stands in a
 * buffer, not on standard output: this takes the place of verify/report.c. */
#pragma once
#include "test.h"

#include "base/file.h"
#include "cli/verify/verify_private.h"

#include <unistd.h>

/* not every test file needs every helper */
#pragma GCC diagnostic ignored "-Wunused-function"

static struct verify v;
static char folder[64];
static struct buf told_text;

PRINTF_LIKE(2, 0)
static void tell_line(const char *mark, const char *fmt, va_list ap)
{
    char line[1000];
    (void)vsnprintf(line, sizeof line, fmt, ap);
    OK(buf_add_fmt(&told_text, e, "%s%s\n", mark, line));
}

void verify_differs(struct verify *of, const char *fmt, ...)
{
    va_list ap;
    of->differences++;
    va_start(ap, fmt);
    tell_line("", fmt, ap);
    va_end(ap);
}

void verify_note(const struct verify *of, const char *fmt, ...)
{
    (void)of, (void)fmt;
}

static int set_up(void **state)
{
    (void)state;
    v = (struct verify){ .a = arena_new(64u << 20), .deleted = BUF_INIT(1 << 20) };
    buf_init(&told_text, 1 << 20);
    (void)snprintf(folder, sizeof folder, TEST_TMP "/fhirlake-verify-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_done(&v.deleted);
    buf_done(&told_text);
    arena_free(v.a);
    return file_remove_tree(folder, NULL);
}

/* Text in which ' stands for ". */
static sv quoted(const char *text)
{
    sv copy = arena_sv(v.a, sv_from(text));
    for (size_t i = 0; i < copy.len; i++)
        if (copy.ptr[i] == '\'')
            ((char *)(uintptr_t)copy.ptr)[i] = '"';
    return copy;
}

/* A file of the folder. */
static void put(const char *name, const char *text)
{
    char path[400], *slash;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    slash = strrchr(path, '/');
    *slash = 0;
    OK(file_mkdirs(path, e));
    *slash = '/';
    OK(file_write_atomic(path, quoted(text), e));
}

static yyjson_val *json(const char *text)
{
    yyjson_doc *doc;
    OK(json_read(v.a, quoted(text), 32, &doc, e));
    return yyjson_doc_get_root(doc);
}

/* What was told since the last call, a line for each difference. */
static const char *differences(void)
{
    static char text[1 << 16];
    assert_true(told_text.len < sizeof text);
    memcpy(text, told_text.ptr ? told_text.ptr : "", told_text.len);
    text[told_text.len] = 0;
    buf_clear(&told_text);
    return text;
}

#define VERIFYING(group, sentence)                                                \
    {                                                                             \
#group ": " #sentence, test_##group##_##sentence, set_up, tear_down, NULL \
    }
