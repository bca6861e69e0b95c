/* Each thing that can be wrong with the files of an export, in an export that is right but for
 * it. */
#include "cli/verifying.h"

#define MANIFEST(files) \
    "{'transactionTime':'2026-11-23T18:30:00Z','datastoreId':'d','jobId':'j'," files "}"
#define PATIENT(id) "{'resourceType':'Patient','id':'" id "'}\n"
#define DELETES(id)                                                                         \
    "{'resourceType':'Bundle','type':'transaction','entry':[{'request':{'method':'DELETE'," \
    "'url':'" id "'}}]}\n"
#define HEAD(of)                                                                                \
    "{'resourceType':'Parameters','parameter':[{'name':'header','valueReference':{'reference':" \
    "'" of "'}}]}\n"

/* printf '{"resourceType":"Patient","id":"%s"}\n' a b | sha256sum */
#define SHA256_OF_BOTH "5c37df7c453ebd5a8cec6cecfc9bacb5f58f97a5f73115dbb95bb7c3ad17260a"

/* What is told of the folder with this manifest. */
static const char *flaws(const char *manifest)
{
    struct verify_options none = { 0 };
    put("manifest.json", manifest);
    OK(place_open(&none, folder, &v.place, e));
    OK(verify_manifest_read(&v, e));
    v.n_files = 0;
    v.differences = v.resources = v.bytes = 0;
    buf_clear(&v.deleted);
    OK(verify_manifest_files(&v, e));
    OK(verify_files(&v, e));
    verify_content_end(&v);
    place_free(v.place);
    v.place = NULL;
    return differences();
}
#define OUTPUT(members)       MANIFEST("'output':[{'type':'Patient','url':'p'" members "}]")
#define FLAWS(manifest, told) assert_string_equal(flaws(manifest), (told))

TEST(verify_files, an_export_that_is_right_has_none)
{
    (void)state;
    put("Patient/p", PATIENT("a") PATIENT("b"));
    put("d", DELETES("Patient/c") DELETES("Group/a"));
    put("e", "{'resourceType':'OperationOutcome'}\n");
    FLAWS(MANIFEST("'output':[{'type':'Patient','url':'Patient/p','count':2,'bytes':72}],"
                   "'deleted':[{'url':'d','count':2}],'error':[{'url':'e','count':1}]"),
          "");
    assert_int_equal(v.resources, 2);
    assert_int_equal(v.n_files, 3);
}

TEST(verify_files, counts_bytes_and_digests_are_those_of_the_manifest)
{
    (void)state;
    put("p", PATIENT("a") PATIENT("b"));
    FLAWS(OUTPUT(",'count':3"), "p: 2 lines, the manifest says 3\n");
    FLAWS(OUTPUT(",'bytes':71"), "p: 72 bytes, the manifest says 71\n");
    FLAWS(OUTPUT(",'sha256':'00'"), "p: SHA-256 is not the manifest's\n");
    /* sha256sum of both lines */
    FLAWS(OUTPUT(",'sha256':'" SHA256_OF_BOTH "'"), "");
    /* a last line without its newline is a line */
    put("p", PATIENT("a") "{'resourceType':'Patient','id':'b'}");
    FLAWS(OUTPUT(",'count':2,'bytes':71"), "");
    put("p", "");
    FLAWS(OUTPUT(",'count':0,'bytes':0"), "");
}

TEST(verify_files, each_named_file_is_there_and_no_other)
{
    (void)state;
    put("q", PATIENT("a"));
    FLAWS(OUTPUT(""), "p: the file is missing\nq: is not in the manifest\n");
    put("p", PATIENT("a"));
    put("deep/er", "");
    FLAWS(MANIFEST("'output':[{'type':'Patient','url':'p'}],'error':[{'url':'q'}]"),
          "q: line 1 is no OperationOutcome\ndeep/er: is not in the manifest\n");
}

TEST(verify_files, each_line_is_a_resource_of_the_files_type)
{
    (void)state;
    static const struct {
        const char *line, *told;
    } lines[] = {
        { "no json", "p: line 2 is not a JSON object\n" },
        { "[]", "p: line 2 is not a JSON object\n" },
        { "", "p: line 2 is not a JSON object\n" },
        { "{'resourceType':'Group','id':'a'}", "p: line 2 is no Patient\n" },
        { "{'id':'a'}", "p: line 2 is no Patient\n" },
        { "{'resourceType':'Patient'}", "p: line 2 is no resource with a type and an id\n" },
        { "{'resourceType':'Patient','id':'a_b'}",
          "p: line 2 is no resource with a type and an id\n" },
        { "{'resourceType':'Patient','id':1}", "p: line 2 is no resource with a type and an id\n" },
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char text[300];
        (void)snprintf(text, sizeof text, "%s%s\n%s", PATIENT("a"), lines[i].line, PATIENT("b"));
        put("p", text);
        FLAWS(OUTPUT(""), lines[i].told);
    }
}

TEST(verify_files, of_many_bad_lines_five_are_told_and_the_rest_is_counted)
{
    (void)state;
    put("p", "1\n2\n3\n4\n5\n6\n7\n8\n");
    FLAWS(OUTPUT(""), "p: line 1 is not a JSON object\np: line 2 is not a JSON object\n"
                      "p: line 3 is not a JSON object\np: line 4 is not a JSON object\n"
                      "p: line 5 is not a JSON object\np: and 3 more lines like these\n");
}

TEST(verify_files, what_was_deleted_is_not_exported)
{
    (void)state;
    put("p", PATIENT("a") PATIENT("b") PATIENT("c"));
    put("d", DELETES("Patient/b") DELETES("Group/a"));
    FLAWS(MANIFEST("'output':[{'type':'Patient','url':'p'}],'deleted':[{'url':'d'}]"),
          "p: line 2 is among the deleted too\n");
}

TEST(verify_files, a_deletion_is_a_transaction_of_deletes)
{
    (void)state;
    static const char *const bad[] = {
        PATIENT("a"),
        "{'resourceType':'Bundle','type':'batch'}\n",
        "{'resourceType':'Bundle','type':'transaction','entry':[{'request':{'method':'PUT','url':"
        "'Patient/a'}}]}\n",
        "{'resourceType':'Bundle','type':'transaction','entry':[{}]}\n",
        DELETES("Patient"),
        DELETES("Martian/a"),
        DELETES("Patient/a_b"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put("d", bad[i]);
        FLAWS(MANIFEST("'output':[],'deleted':[{'url':'d'}]"),
              "d: line 1 is no transaction Bundle of DELETE entries\n");
    }
}

/* Files of a Patient's resources, one block behind the other (docs/bulk-data.md). */
#define BLOCKS(members) MANIFEST("'output':[{'url':'p'" members "}]")

TEST(verify_files, blocks_ascend_and_each_has_its_head)
{
    (void)state;
    put("p", HEAD("Patient/a") PATIENT("a") HEAD("Patient/b") PATIENT("b") PATIENT("c"));
    FLAWS(BLOCKS(",'blocks':2,'count':3"), "");
    FLAWS(BLOCKS(",'blocks':3,'count':3"), "p: 2 blocks, the manifest says 3\n");
    FLAWS(BLOCKS(",'blocks':2,'count':5"), "p: 3 resources, the manifest says 5\n");
    put("p", PATIENT("a") HEAD("Patient/b") PATIENT("b"));
    FLAWS(BLOCKS(",'blocks':1"), "p: line 1 stands before the head of any block\n");
    put("p", HEAD("Patient/b") HEAD("Patient/a"));
    FLAWS(BLOCKS(",'blocks':2"), "p: line 2: blocks do not ascend\n");
    put("p", HEAD("Patient/b") HEAD("Patient/b"));
    FLAWS(BLOCKS(",'blocks':2"), "p: line 2: blocks do not ascend\n");
    put("p", "{'resourceType':'Parameters'}\n");
    FLAWS(BLOCKS(",'blocks':1"), "p: line 1 is no head of a block\n");
}

/* Fifty resources, and a sample of some of them. */
static void sample_of_fifty(size_t most, bool seen[50])
{
    v.max_samples = most;
    v.n_samples = v.n_seen = 0;
    v.samples = arena_calloc(v.a, most + 1, sizeof *v.samples);
    FLAWS(OUTPUT(""), "");
    assert_int_equal(v.n_samples, most < 50 ? most : 50);
    assert_int_equal(v.n_seen, 50);
    for (size_t i = 0; i < v.n_samples; i++) {
        uint64_t n;
        assert_string_equal(fhir_type_name(v.samples[i].type), "Patient");
        assert_true(sv_to_u64(sv_tail(v.samples[i].id, 1), &n) && n < 50);
        /* each once */
        assert_false(seen[n]);
        seen[n] = true;
        assert_false(verify_key_is_none(&v.samples[i].text));
    }
}

TEST(verify_files, a_sample_holds_some_of_the_resources_and_may_hold_any)
{
    (void)state;
    char text[4000] = "";
    for (int i = 0; i < 50; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text),
                       "{'resourceType':'Patient','id':'p%02d'}\n", i);
    put("p", text);
    for (size_t most = 0; most <= 60; most += 20)
        sample_of_fifty(most, (bool[50]){ false });
    /* one that stays away from 200 samples is never picked: by chance, 0.8 to the power of 200 */
    bool ever[50] = { false };
    for (int round = 0; round < 200; round++) {
        bool seen[50] = { false };
        sample_of_fifty(10, seen);
        for (size_t i = 0; i < 50; i++)
            ever[i] |= seen[i];
    }
    for (size_t i = 0; i < 50; i++)
        assert_true(ever[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERIFYING(verify_files, an_export_that_is_right_has_none),
        VERIFYING(verify_files, counts_bytes_and_digests_are_those_of_the_manifest),
        VERIFYING(verify_files, each_named_file_is_there_and_no_other),
        VERIFYING(verify_files, each_line_is_a_resource_of_the_files_type),
        VERIFYING(verify_files, of_many_bad_lines_five_are_told_and_the_rest_is_counted),
        VERIFYING(verify_files, what_was_deleted_is_not_exported),
        VERIFYING(verify_files, a_deletion_is_a_transaction_of_deletes),
        VERIFYING(verify_files, blocks_ascend_and_each_has_its_head),
        VERIFYING(verify_files, a_sample_holds_some_of_the_resources_and_may_hold_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
