/* test_sql_on_fhir.c - the public test cases of SQL on FHIR 2. They are in
 * $FHIRLAKE_SHARED/data/sql-on-fhir/tests, else in ../shared beside the project; without them the
 * test is skipped. Rows may come in any order; columns may not, where a case names them. */
#include "view_ask.h"

#include "codec/json_equal.h"

#include <dirent.h>
#include <stdlib.h>

static bool same(yyjson_val *a, yyjson_val *b)
{
    if (yyjson_get_type(a) != yyjson_get_type(b))
        return false;
    if (yyjson_is_raw(a))
        return json_number_equal(json_number(a), json_number(b));
    if (yyjson_is_arr(a)) {
        bool all = yyjson_arr_size(a) == yyjson_arr_size(b);
        for (size_t i = 0; all && i < yyjson_arr_size(a); i++)
            all = same(yyjson_arr_get(a, i), yyjson_arr_get(b, i));
        return all;
    }
    if (!yyjson_is_obj(a))
        return yyjson_equals(a, b);
    yyjson_obj_iter it = yyjson_obj_iter_with(a);
    yyjson_val *key;
    bool all = yyjson_obj_size(a) == yyjson_obj_size(b);
    while (all && (key = yyjson_obj_iter_next(&it)))
        all = same(yyjson_obj_iter_get_val(key), yyjson_obj_get(b, yyjson_get_str(key)));
    return all;
}

static const char *text_of(yyjson_val *v, struct arena *a)
{
    struct buf b = BUF_INIT(8u << 20);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_val(&w, v);
    OK(json_writer_end(&w, e));
    const char *text = arena_str(a, buf_sv(&b));
    buf_done(&b);
    return text;
}

static bool same_columns(const char *view, yyjson_val *want, struct arena *a)
{
    const struct view *v;
    size_t n, i = 0;
    OK(view_compile(sv_from(view), a, &v, e));
    const struct view_column *columns = view_columns(v, &n);
    for (; i < n && i < yyjson_arr_size(want); i++)
        if (!sv_eq(columns[i].name, json_string(yyjson_arr_get(want, i))))
            return false;
    return n == yyjson_arr_size(want);
}

static bool passes(yyjson_val *test, const char *const *resources, struct arena *a,
                   const char **said)
{
    const char *view = text_of(json_get(test, "view"), a);
    *said = view_ask(a, view, VIEW_NDJSON, resources);
    bool failed = strncmp(*said, "error: ", 7) == 0;
    if (yyjson_get_bool(json_get(test, "expectError")))
        return failed;
    yyjson_val *want = json_get(test, "expect"), *names = json_get(test, "expectColumns");
    bool taken[256] = { false };
    size_t n = 0;
    sv rest = sv_from(*said), line;
    if (failed || (names && !same_columns(view, names, a)))
        return false;
    while (sv_cut(&rest, '\n', &line)) {
        yyjson_doc *doc;
        if (line.len == 0)
            continue;
        OK(json_read(a, line, 64, &doc, e));
        size_t i = 0;
        while (i < yyjson_arr_size(want) &&
               (taken[i] || !same(yyjson_doc_get_root(doc), yyjson_arr_get(want, i))))
            i++;
        if (i == yyjson_arr_size(want))
            return false;
        taken[i] = true;
        n++;
    }
    return n == yyjson_arr_size(want);
}

TEST(view, answers_the_public_cases)
{
    (void)state;
    const char *shared = getenv("FHIRLAKE_SHARED"), *source = getenv("FHIRLAKE_SOURCE");
    char folder[1024], path[1400];
    (void)snprintf(folder, sizeof folder, "%s%s/data/sql-on-fhir/tests",
                   shared   ? shared
                   : source ? source
                            : ".",
                   shared ? "" : "/../shared");
    DIR *d = opendir(folder);
    if (d == NULL) {
        print_message("# the cases of SQL on FHIR are not there: %s\n", folder);
        skip();
    }
    unsigned n = 0, faults = 0;
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        if (!sv_ends(sv_from(f->d_name), SV_LIT(".json")))
            continue;
        struct arena *a = arena_new(256u << 20);
        (void)snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        struct buf text = BUF_INIT(8u << 20);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        char room[4096];
        for (size_t got; (got = fread(room, 1, sizeof room, file)) > 0;)
            OK(buf_add(&text, sv_make(room, got), e));
        (void)fclose(file);
        yyjson_doc *doc;
        OK(json_read(a, buf_sv(&text), 64, &doc, e));
        yyjson_val *list = json_get(yyjson_doc_get_root(doc), "resources"),
                   *tests = json_get(yyjson_doc_get_root(doc), "tests");
        const char *resources[64] = { NULL }, *said;
        for (size_t i = 0; i < yyjson_arr_size(list) && i < 63; i++)
            resources[i] = text_of(yyjson_arr_get(list, i), a);
        for (size_t i = 0; i < yyjson_arr_size(tests); i++) {
            yyjson_val *test = yyjson_arr_get(tests, i);
            n++;
            if (passes(test, resources, a, &said))
                continue;
            faults++;
            print_message("# %s: %s: %.400s\n", f->d_name, yyjson_get_str(json_get(test, "title")),
                          said);
        }
        buf_done(&text);
        arena_free(a);
    }
    closedir(d);
    print_message("# %u cases, %u fail\n", n, faults);
    assert_true(n >= 80);
    assert_int_equal(faults, 0);
}

TEST_MAIN(T(view, answers_the_public_cases))
