/* No resource twice: random files of two types, in order and not, against a count of what is in
 * them. */
#include "cli/verifying.h"

#include "../../../src/cli/verify/files.c"

enum { N_FILES = 4, MOST = 12 };

static uint64_t seed = 1;
static unsigned below(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static const char *const types[] = { "Patient", "Observation" };

/* One file, with what reading it would have found: are its ids sorted, which is first and last? */
static struct verify_file file_of(unsigned i, const char *type, char ids[][8], unsigned n)
{
    char name[16], text[MOST * 64];
    size_t len = 0;
    text[0] = 0;
    struct verify_file f = { .type = type ? sv_from(type) : SV_NONE,
                             .there = true,
                             .sorted = true };
    for (unsigned k = 0; k < n; k++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "{'resourceType':'%s','id':'%s'}\n",
                                type ? type : types[k % 2], ids[k]);
        f.sorted = f.sorted && type && (k == 0 || strcmp(ids[k - 1], ids[k]) < 0);
        /* a reading keeps them while the ids ascend */
        if (f.sorted && k == 0)
            f.first_id = arena_sv(v.a, sv_from(ids[k]));
        if (f.sorted)
            f.last_id = arena_sv(v.a, sv_from(ids[k]));
    }
    (void)snprintf(name, sizeof name, "f%u", i);
    put(name, text);
    f.name = arena_sv(v.a, sv_from(name));
    f.lines = n;
    return f;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static const char *found(void)
{
    struct verify_options none = { 0 };
    OK(place_open(&none, folder, &v.place, e));
    OK(check_doubles(&v, e));
    place_free(v.place);
    return differences();
}

TEST(verify_doubles, as_many_are_told_as_there_are)
{
    (void)state;
    unsigned n_with = 0, n_without = 0;
    v.files = arena_calloc(v.a, N_FILES, sizeof *v.files);
    v.n_files = N_FILES;
    for (int round = 0; round < 600; round++) {
        char ids[N_FILES][MOST][8], of_type[2][N_FILES * MOST][8], want[200] = "";
        unsigned n_of[2] = { 0, 0 };
        /* of few ids many stand twice; of many, none or one */
        unsigned range = round % 3 == 0 ? 20 : 5000;
        for (unsigned i = 0; i < N_FILES; i++) {
            unsigned n = below(MOST), t = below(2);
            for (unsigned k = 0; k < n; k++)
                (void)snprintf(ids[i][k], sizeof ids[i][k], "%u", 1000 + below(range));
            if (round % 2)
                qsort(ids[i], n, sizeof ids[i][0], by_text);
            for (unsigned k = 0; k < n; k++)
                memcpy(of_type[t][n_of[t]++], ids[i][k], 8);
            v.files[i] = file_of(i, types[t], ids[i], n);
        }
        /* in the order in which the types stand in the files */
        for (unsigned i = 0; i < 2; i++) {
            unsigned t = sv_eq_cstr(v.files[0].type, types[0]) ? i : 1 - i, twice = 0;
            qsort(of_type[t], n_of[t], sizeof of_type[t][0], by_text);
            for (unsigned k = 1; k < n_of[t]; k++)
                twice += strcmp(of_type[t][k - 1], of_type[t][k]) == 0;
            if (twice)
                (void)snprintf(want + strlen(want), sizeof want - strlen(want),
                               "%s: %u times a resource is there once more\n", types[t], twice);
        }
        assert_string_equal(found(), want);
        n_with += want[0] != 0;
        n_without += want[0] == 0;
    }
    assert_true(n_with > 50 && n_without > 50);
}

/* Ranges of plain exports, whose files hold parts of one type: only the edges tell. */
TEST(verify_doubles, ranges_that_touch_share_one_resource)
{
    (void)state;
    char low[][8] = { "a", "b", "c" }, high[][8] = { "d", "e" }, touching[][8] = { "c", "d" },
         within[][8] = { "b0", "b1" };
    v.files = arena_calloc(v.a, 2, sizeof *v.files);
    v.n_files = 2;
    /* the order of the files does not matter */
    v.files[0] = file_of(0, "Patient", high, 2);
    v.files[1] = file_of(1, "Patient", low, 3);
    assert_string_equal(found(), "");
    v.files[0] = file_of(0, "Patient", touching, 2);
    assert_string_equal(found(), "Patient: 1 times a resource is there once more\n");
    /* a range within another need not hold a double */
    v.files[0] = file_of(0, "Patient", within, 2);
    assert_string_equal(found(), "");
}

TEST(verify_doubles, an_id_of_another_type_is_another_resource)
{
    (void)state;
    char ids[][8] = { "x", "x", "x", "x" };
    v.files = arena_calloc(v.a, 2, sizeof *v.files);
    v.n_files = 2;
    v.files[0] = file_of(0, "Patient", ids, 1);
    v.files[1] = file_of(1, "Observation", ids, 1);
    assert_string_equal(found(), "");
    /* files of several types: Patient, Observation, Patient, Observation */
    v.n_files = 1;
    v.files[0] = file_of(0, NULL, ids, 2);
    assert_string_equal(found(), "");
    v.files[0] = file_of(0, NULL, ids, 4);
    assert_string_equal(found(), "output: 2 times a resource is there once more\n");
}

TEST(verify_doubles, deletions_and_errors_are_no_resources)
{
    (void)state;
    char ids[][8] = { "x" };
    v.files = arena_calloc(v.a, 3, sizeof *v.files);
    v.n_files = 3;
    for (unsigned i = 0; i < 3; i++)
        v.files[i] = file_of(i, "Patient", ids, 1);
    v.files[1].role = VERIFY_DELETED;
    v.files[2].role = VERIFY_ERROR;
    assert_string_equal(found(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERIFYING(verify_doubles, as_many_are_told_as_there_are),
        VERIFYING(verify_doubles, ranges_that_touch_share_one_resource),
        VERIFYING(verify_doubles, an_id_of_another_type_is_another_resource),
        VERIFYING(verify_doubles, deletions_and_errors_are_no_resources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
