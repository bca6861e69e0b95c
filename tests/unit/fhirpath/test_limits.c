/* test_limits.c - an expression that would take for ever, or more memory than there is, is an
 * error. */
#include "ask.h"

static void too_large(const char *json, const char *expression)
{
    struct arena *a = arena_new(64u << 20);
    const char *said = ask_in(a, json, expression, FHIRPATH_STEPS);
    if (strncmp(said, "error: ", 7) != 0 ||
        !(strstr(said, "too many steps") || strstr(said, "levels") ||
          strstr(said, "takes too long") || strstr(said, "at most") || strstr(said, "budget") ||
          strstr(said, "memory")))
        fail_msg("%.100s: %s", expression, said);
    arena_free(a);
}

static const char *times(struct arena *a, const char *one, size_t n, const char *middle,
                         const char *other)
{
    struct buf b = BUF_INIT(1u << 20);
    for (size_t i = 0; i < n; i++)
        OK(buf_add(&b, sv_from(one), e));
    OK(buf_add(&b, sv_from(middle), e));
    for (size_t i = 0; i < n; i++)
        OK(buf_add(&b, sv_from(other), e));
    const char *text = arena_str(a, buf_sv(&b));
    buf_done(&b);
    return text;
}

TEST(limits, depth_is_bounded_however_it_is_made)
{
    (void)state;
    struct arena *a = arena_new(16u << 20);
    too_large(NULL, times(a, "(", 1000, "1", ")"));
    too_large(NULL, times(a, "-", 1000, "1", ""));
    too_large(NULL, times(a, "iif(true,", 1000, "1", ")"));
    too_large(NULL, times(a, "a.", 1000, "a", ""));
    too_large(NULL, times(a, "1+", 1000, "1", ""));
    too_large(NULL, times(a, "a[", 1000, "1", "]"));
    too_large(NULL, times(a, "a or ", 1000, "a", ""));
    too_large(NULL, times(a, "a ", 40000, "a", ""));
    /* below the bound */
    assert_string_equal(ask_in(a, NULL, times(a, "(", 300, "1", ")"), 1000), "1");
    assert_string_equal(ask_in(a, NULL, times(a, "1+", 300, "1", ""), 5000), "301");
    arena_free(a);
}

TEST(limits, work_is_bounded_however_it_is_made)
{
    (void)state;
    too_large(NULL, "1.repeat($this + 1)");
    too_large(NULL, "'a'.repeat($this & 'a')");
    too_large(NULL, "'aaaaaaaaaa'.repeat($this.replace('a', 'aa'))");
    too_large(NULL, "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'.matches('(a+)+$')");
    too_large(NULL, "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'.matches('(a|a)*$')");
    /* PCRE2 alone would go on here */
    too_large(NULL, "'aaaaaaaaaaaaaaaaab'.matches('(a+)+$')");
    too_large(
        NULL,
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'.replaceMatches('(a+)+[cd]', 'y')");
    struct arena *a = arena_new(16u << 20);
    too_large(NULL, times(a, "(1|2|3|4|5|6|7|8|9|10)", 1,
                          times(a, ".select(0|$this|$this+10|$this+100|$this+1000|$this+10000)", 9,
                                "", ""),
                          ""));
    too_large("{\"resourceType\":\"Patient\",\"name\":[{\"given\":[\"a\",\"b\",\"c\",\"d\",\"e\","
              "\"f\"]}]}",
              times(a, "name.given", 1, times(a, ".select(%resource.name.given)", 12, "", ""), ""));
    /* members are looked for among all the others */
    struct buf wide = BUF_INIT(8u << 20);
    OK(buf_add(&wide, SV_LIT("{\"resourceType\":\"Unknown\""), e));
    for (unsigned i = 0; i < 20000; i++)
        OK(buf_add_fmt(&wide, e, ",\"m%u\":1", i));
    OK(buf_add_fmt(&wide, e, "}%c", 0));
    too_large(wide.ptr, "children()");
    buf_done(&wide);
    arena_free(a);
    /* the pattern itself */
    ASK(NULL, { "'a'.matches('((((a{1000}){1000}){1000}){1000})')", "error: *" });
}

TEST(limits, too_few_steps_and_too_little_memory_are_errors)
{
    (void)state;
    for (uint64_t steps = 0; steps < 30; steps++) {
        struct arena *a = arena_new(1u << 20);
        const char *said = ask_in(a, NULL, "(1 | 2 | 3).select($this + 1).count()", steps);
        assert_true(strcmp(said, "3") == 0 || strstr(said, "too many steps"));
        arena_free(a);
    }
    struct arena *big = arena_new(1u << 20);
    const struct fhirpath *path;
    OK(fhirpath_compile(SV_LIT("(1 | 2 | 3).select($this.toString() & 'a').join('-').matches('a')"),
                        NULL, big, &path, NULL, e));
    unsigned ok = 0;
    for (size_t budget = 64; budget < 65536; budget += 512) {
        struct arena *a = arena_new(budget);
        struct fhirpath_run run = { .arena = a, .steps = 100000 };
        struct fhirpath_list l;
        struct err err = { 0 };
        err_code rc = fhirpath_eval(path, &run, NULL, &l, &err);
        assert_true(rc == ERR_OK || rc == ERR_TOO_LARGE);
        ok += rc == ERR_OK;
        arena_free(a);
    }
    assert_in_range(ok, 1, 127);
    /* a value for which there is no room is an error, not nothing: at any budget it is the same */
    OK(fhirpath_compile(SV_LIT("'5 \\'mg\\''.toQuantity()"), NULL, big, &path, NULL, e));
    for (size_t budget = 0; budget < 8192; budget += 16) {
        struct arena *a = arena_new(budget);
        struct fhirpath_run run = { .arena = a, .steps = 100000 };
        struct fhirpath_list l;
        struct err err = { 0 };
        if (fhirpath_eval(path, &run, NULL, &l, &err) == ERR_OK)
            assert_int_equal(l.n, 1);
        else
            assert_int_equal(err.code, ERR_TOO_LARGE);
        arena_free(a);
    }
    arena_free(big);
}

/* {"resourceType":"Patient","extension":[{"url":"u0","valueString": n times a text, and another},
 * ...]} */
struct long_text {
    const char *one;
    size_t n;
    const char *end;
};

static const char *patient(struct arena *a, const struct long_text *texts, size_t n)
{
    struct buf b = BUF_INIT(8u << 20);
    OK(buf_add(&b, SV_LIT("{\"resourceType\":\"Patient\",\"extension\":["), e));
    for (size_t i = 0; i < n; i++) {
        OK(buf_add_fmt(&b, e, "%s{\"url\":\"u%zu\",\"valueString\":\"", i ? "," : "", i));
        for (size_t k = 0; k < texts[i].n; k++)
            OK(buf_add(&b, sv_from(texts[i].one), e));
        OK(buf_add_fmt(&b, e, "%s\"}", texts[i].end));
    }
    OK(buf_add(&b, SV_LIT("]}"), e));
    const char *json = arena_str(a, buf_sv(&b));
    buf_done(&b);
    return json;
}
#define PATIENT(a, ...)                                     \
    patient((a), (const struct long_text[]){ __VA_ARGS__ }, \
            sizeof((const struct long_text[]){ __VA_ARGS__ }) / sizeof(struct long_text))

static const char *ask_large(const char *json, const char *expression, char out[200])
{
    struct arena *a = arena_new(64u << 20);
    (void)snprintf(out, 200, "%s", ask_in(a, json, expression, FHIRPATH_STEPS));
    arena_free(a);
    return out;
}

/* PCRE2 takes as many steps as there are letters, and looks at the square of that. */
TEST(limits, a_pattern_that_looks_at_a_text_from_each_of_its_letters_is_stopped)
{
    (void)state;
    struct arena *a = arena_new(64u << 20);
    const char *letters = PATIENT(a, { "a", 30000, "" });
    too_large(letters, "extension[0].value.matches('[a-z]*[0-9]')");
    too_large(letters, "extension[0].value.matches('[0-9]?[a-z]*[0-9]')");
    too_large(letters, "extension[0].value.replaceMatches('a(?=a*$)', 'x')");
    too_large(letters, "extension[0].value.replaceMatches('(?=(a*))', '')");
    /* an item that does not match moves nothing */
    too_large(PATIENT(a, { "aaaaaaaaaaaaaaaaaaa!", 3000, "" }),
              "extension[0].value.matches('[^z][^!]{3000}')");
    const char *long_pieces = PATIENT(a, { times(a, "a", 2999, "!", ""), 20, "" });
    too_large(long_pieces, "extension[0].value.matches('[^z]a{3000}')");
    too_large(PATIENT(a, { "a", 50000, "" }),
              "extension[0].value.matches('(?<=(?:[a-z]{1000}){60})[a-z]')");
    too_large(PATIENT(a, { "a", 3000, times(a, times(a, "a", 2999, "!", ""), 10, "", "") }),
              "extension[0].value.matches('^(a+)a![^z]*?\\\\1')");
    too_large(PATIENT(a, { "\xCC\x81", 20000, "" }), "extension[0].value.matches('[^z]\\\\X{2}')");
    too_large(letters, "extension[0].value.matches('(*sr:[^z]*)[0-9]')");
    /* what takes its time with a text's length is done */
    char said[200];
    const char *million = PATIENT(a, { "a", 1000000, "" });
    assert_string_equal(ask_large(million, "extension[0].value.matches('b')", said), "false");
    assert_string_equal(ask_large(million, "extension[0].value.matches('^[a-z]+$')", said), "true");
    assert_string_equal(ask_large(million, "extension[0].value.matches('.*[bc]')", said), "false");
    assert_string_equal(ask_large(million, "extension[0].value.matchesFull('[a-z]*')", said),
                        "true");
    assert_string_equal(
        ask_large(letters, "extension[0].value.replaceMatches('a', 'xy').length()", said), "60000");
    assert_string_equal(
        ask_large(million, "extension[0].value.replaceMatches('[^b]', 'x').length()", said),
        "1000000");
    /* each replacement counts */
    assert_non_null(strstr(ask_in(a, letters, "extension[0].value.replaceMatches('a', 'x')", 50000),
                           "too many steps"));
    arena_free(a);
}

static uint64_t cpu_ms(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

TEST(limits, the_last_place_of_a_text_is_found_in_one_pass)
{
    (void)state;
    struct arena *a = arena_new(64u << 20);
    char said[200];
    const char *json = PATIENT(a, { "a", 900000, "" }, { "a", 449999, "b" });
    uint64_t from = cpu_ms();
    assert_string_equal(ask_large(json,
                                  "(1|2|3|4).select(%resource.extension[0].value"
                                  ".lastIndexOf(%resource.extension[1].value))",
                                  said),
                        "-1|-1|-1|-1");
    /* four passes; to compare at each place took ten seconds */
    assert_in_range(cpu_ms() - from, 0, 2000);
    arena_free(a);
    ASK(NULL, { "'abcabc'.lastIndexOf('abc')", "3" }, { "'abcabc'.lastIndexOf('a')", "3" },
        { "'abcabd'.lastIndexOf('bc')", "1" }, { "'aaaa'.lastIndexOf('aa')", "2" },
        { "'abc'.lastIndexOf('')", "3" }, { "''.lastIndexOf('')", "0" },
        { "'abc'.lastIndexOf('abcd')", "-1" }, { "'abc'.lastIndexOf('abc')", "0" },
        { "'\u00e4b\u00e4b'.lastIndexOf('\u00e4')", "2" });
}

/* {"name":[{"given":[n of one, last]},{"given":[first, n of one]}]} */
static const char *names(struct arena *a, size_t n, const char *first, const char *last)
{
    struct buf b = BUF_INIT(8u << 20);
    OK(buf_add(&b, SV_LIT("{\"resourceType\":\"Patient\",\"name\":[{\"given\":["), e));
    for (size_t i = 0; i < n; i++)
        OK(buf_add(&b, SV_LIT("\"a\","), e));
    OK(buf_add_fmt(&b, e, "\"%s\"]},{\"given\":[\"%s\"", last, first));
    for (size_t i = 0; i < n; i++)
        OK(buf_add(&b, SV_LIT(",\"a\""), e));
    OK(buf_add(&b, SV_LIT("]}]}"), e));
    const char *json = arena_str(a, buf_sv(&b));
    buf_done(&b);
    return json;
}

TEST(limits, lists_are_compared_item_by_item_and_each_look_counts)
{
    (void)state;
    struct arena *a = arena_new(64u << 20);
    char said[200];
    const char *same = names(a, 100000, "a", "a"), *apart = names(a, 5000, "b", "b");
    uint64_t from = cpu_ms();
    assert_string_equal(ask_large(same, "name[0] = name[1]", said), "true");
    assert_string_equal(ask_large(same, "name[0] ~ name[1]", said), "true");
    assert_string_equal(ask_large(same, "name[0].given ~ name[1].given", said), "true");
    /* the square of it took ten seconds each */
    assert_in_range(cpu_ms() - from, 0, 3000);
    too_large(apart, "name[0] ~ name[1]");
    too_large(apart, "name[0].given ~ name[1].given");
    assert_string_equal(ask_large(names(a, 100, "b", "b"), "name[0] ~ name[1]", said), "true");
    assert_string_equal(ask_large(names(a, 100, "b", "c"), "name[0] ~ name[1]", said), "false");
    assert_string_equal(ask_large(names(a, 100, "b", "b"), "name[0] = name[1]", said), "false");
    arena_free(a);
}

/* Texts are looked at from end to end. */
TEST(limits, long_texts_cost_steps_for_their_length)
{
    (void)state;
    struct arena *a = arena_new(64u << 20);
    const char *json = PATIENT(a, { "a", 200000, "b" }, { "a", 200000, "c" });
    static const char *const expressions[] = {
        "%resource.extension[0].value < %resource.extension[1].value",
        "%resource.extension[0].value.toInteger()",
        "%resource.extension[0].value.convertsToQuantity()",
        "%resource.extension[0].value ~ %resource.extension[1].value",
        "%resource.extension[0].value.indexOf(%resource.extension[1].value)",
        "%resource.extension[0].value.lastIndexOf('x')",
        "%resource.extension[0].value.matches('x')",
    };
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        struct arena *run = arena_new(64u << 20);
        const char *said = ask_in(run, json, expressions[i], 3000);
        if (strstr(said, "too many steps") == NULL)
            fail_msg("%s: %s", expressions[i], said);
        arena_free(run);
    }
    arena_free(a);
}

TEST(limits, modifiers_and_narratives_are_looked_at_in_steps)
{
    (void)state;
    char said[200];
    struct arena *a = arena_new(64u << 20);
    struct buf b = BUF_INIT(8u << 20);
    OK(buf_add(
        &b,
        SV_LIT("{\"resourceType\":\"Patient\",\"text\":{\"status\":\"generated\",\"div\":\"<div "
               "xmlns='http://www.w3.org/1999/xhtml'>"),
        e));
    for (unsigned i = 0; i < 20000; i++)
        OK(buf_add(&b, SV_LIT("<b>x</b>"), e));
    OK(buf_add(&b, SV_LIT("</div>\"},\"modifierExtension\":["), e));
    for (unsigned i = 0; i < 5000; i++)
        OK(buf_add_fmt(&b, e, "%s{\"url\":\"u%u\"}", i ? "," : "", i));
    OK(buf_add_fmt(&b, e, "]}%c", 0));
    too_large(b.ptr, "checkModifiers(modifierExtension.url).exists()");
    assert_string_equal(
        ask_large(b.ptr, "checkModifiers(modifierExtension.url.take(2)).exists()", said),
        "error: line 1, column 1 of the expression: there is a modifier extension that is not "
        "among "
        "those named");
    assert_string_equal(ask_large(b.ptr, "text.div.htmlChecks()", said), "true");
    assert_non_null(strstr(ask_in(a, b.ptr, "text.div.htmlChecks()", 10000), "too many steps"));
    buf_done(&b);
    arena_free(a);
}

/* A member is looked for among all the others. */
TEST(limits, wide_objects_cost_steps_for_their_members)
{
    (void)state;
    struct buf wide = BUF_INIT(1u << 20), json = BUF_INIT(8u << 20);
    for (unsigned i = 0; i < 40000; i++)
        OK(buf_add_fmt(&wide, e, "\"m%u\":1,", i));
#define WIDE SV_FMT(buf_sv(&wide))
    OK(buf_add_fmt(&json, e,
                   "{\"resourceType\":\"Observation\",\"extension\":[{%.*s\"url\":\"u\"}],"
                   "\"contained\":[{%.*s\"resourceType\":\"Patient\",\"id\":\"p\"}],"
                   "\"subject\":{%.*s\"reference\":\"#p\"},"
                   "\"valueQuantity\":{%.*s\"value\":1}}%c",
                   WIDE, WIDE, WIDE, WIDE, 0));
    static const char *const expressions[] = {
        "extension('u')",
        "contained",
        "subject.resolve()",
        "'#p'.resolve()",
        "subject.getReferenceKey()",
    };
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        struct arena *run = arena_new(64u << 20);
        const char *said = ask_in(run, json.ptr, expressions[i], 3000);
        if (strstr(said, "too many steps") == NULL)
            fail_msg("%s: %s", expressions[i], said);
        arena_free(run);
    }
    struct arena *a = arena_new(64u << 20);
    assert_string_equal(ask_in(a, json.ptr, "value + 1", FHIRPATH_STEPS),
                        "error: line 1, column 7 of the expression: there is no arithmetic with an "
                        "object");
    arena_free(a);
    buf_done(&wide);
    buf_done(&json);
}

static err_code look(void *ctx, struct err *e)
{
    unsigned *left = ctx;
    return (*left)-- ? ERR_OK : ERR(e, ERR_CANCELLED, "it is enough");
}

TEST(limits, a_run_is_ended_by_its_look)
{
    (void)state;
    static const char *const expressions[] = {
        "1.repeat($this + 1)",
        "'aaaaaaaaaaaaaaaaaa'.toChars().select($this.toChars()).repeat($this & 'a')",
        "extension[0].value.matches('[a-z]*[0-9]')",
        "extension[0].value.replaceMatches('a(?=a*$)', 'x')",
        "extension[0].value.replaceMatches('(?=(a*))', '')",
    };
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++)
        for (unsigned n = 0; n < 3; n++) {
            struct arena *a = arena_new(64u << 20);
            const struct fhirpath *path;
            yyjson_doc *doc;
            struct fhirpath_list l;
            struct err err = { 0 };
            unsigned left = n;
            struct fhirpath_run run = {
                .arena = a, .steps = FHIRPATH_STEPS, .look = look, .look_ctx = &left
            };
            OK(json_read(a, sv_from(PATIENT(a, { "a", 30000, "" })), 64, &doc, e));
            run.resource = yyjson_doc_get_root(doc);
            OK(fhirpath_compile(sv_from(expressions[i]), NULL, a, &path, NULL, e));
            assert_int_equal(fhirpath_eval(path, &run, NULL, &l, &err), ERR_CANCELLED);
            assert_string_equal(err.msg, "it is enough");
            /* no look is far from the one in front */
            assert_in_range(FHIRPATH_STEPS - run.steps, 1, (n + 1) * 2 * FHIRPATH_LOOK_STEPS);
            arena_free(a);
        }
}

TEST_MAIN(T(limits, depth_is_bounded_however_it_is_made),
          T(limits, work_is_bounded_however_it_is_made),
          T(limits, too_few_steps_and_too_little_memory_are_errors),
          T(limits, a_pattern_that_looks_at_a_text_from_each_of_its_letters_is_stopped),
          T(limits, the_last_place_of_a_text_is_found_in_one_pass),
          T(limits, lists_are_compared_item_by_item_and_each_look_counts),
          T(limits, long_texts_cost_steps_for_their_length),
          T(limits, wide_objects_cost_steps_for_their_members),
          T(limits, modifiers_and_narratives_are_looked_at_in_steps),
          T(limits, a_run_is_ended_by_its_look))
