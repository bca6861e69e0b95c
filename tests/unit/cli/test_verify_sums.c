/* What a manifest says of all files together, against files that are counted by hand. The digests
 * of the texts one, two and three, and the digest over these, are of sha256sum. */
#include "cli/verifying.h"

#include "../../../src/cli/verify/files.c"

#define ONE   "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
#define TWO   "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
#define THREE "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f"
/* printf '%s\n' TWO ONE THREE | sha256sum: they are sorted */
#define ALL      "d4e38b4e3f9f3910cb9f04649bb1145240b3138af44deced795b2a9d9a6d4224"
#define ONE_ONLY "d4d95b80e997c3b0f7dc27b93c7cc21500da76ec226273d3e709b45b3da44015"

static struct verify_file file_of(verify_role role, const char *type, uint64_t lines, uint64_t size,
                                  const char *digest)
{
    struct verify_file f = { .role = role,
                             .type = type ? sv_from(type) : SV_NONE,
                             .name = SV_LIT("f"),
                             .there = true,
                             .lines = lines,
                             .size = size };
    memcpy(f.digest, digest, SHA256_HEX_LEN);
    return f;
}

/* What is told of this manifest. */
static const char *sums(const char *manifest)
{
    v.manifest = json(manifest);
    check_sums(&v);
    return differences();
}

static struct verify_file files[4];
static void three_files(void)
{
    files[0] = file_of(VERIFY_OUTPUT, "Patient", 3, 300, ONE);
    files[1] = file_of(VERIFY_OUTPUT, "Patient", 2, 250, TWO);
    files[2] = file_of(VERIFY_DELETED, "Bundle", 7, 70, THREE);
    v.files = files;
    v.n_files = 3;
}

TEST(verify_sums, resources_are_those_of_the_outputs)
{
    (void)state;
    three_files();
    assert_string_equal(sums("{'count':5,'bytes':550,'countPerType':{'Patient':5}}"), "");
    assert_string_equal(sums("{}"), "");
    assert_string_equal(sums("{'count':12}"), "manifest: count is 12, the files hold 5\n");
    assert_string_equal(sums("{'bytes':551}"), "manifest: bytes is 551, the files hold 550\n");
    assert_string_equal(sums("{'countPerType':{'Patient':4}}"),
                        "manifest: countPerType of Patient is 4, the files hold 5\n");
    assert_string_equal(sums("{'countPerType':{'Patient':5,'Group':1}}"),
                        "manifest: countPerType of Group is 1, the files hold 0\n");
}

TEST(verify_sums, a_whole_export_holds_all_that_the_store_held)
{
    (void)state;
    static const char *const manifest =
        "{'countPerType':{'Patient':5},'storeCountPerType':{'Patient':6}}";
    three_files();
    v.whole = true;
    assert_string_equal(sums(manifest),
                        "manifest: storeCountPerType of Patient is 6, the files hold 5\n");
    /* a part of it need not */
    v.whole = false;
    assert_string_equal(sums(manifest), "");
}

TEST(verify_sums, heads_of_blocks_are_no_resources)
{
    (void)state;
    three_files();
    files[0] = file_of(VERIFY_OUTPUT, NULL, 5, 300, ONE);
    files[0].heads = 2;
    assert_string_equal(sums("{'count':5}"), "");
    /* how many of each type is not to be seen in files of several types */
    assert_string_equal(sums("{'countPerType':{'Patient':99}}"), "");
}

TEST(verify_sums, the_digest_is_over_sorted_digests_of_files_that_are_there)
{
    (void)state;
    char text[120];
    three_files();
    assert_string_equal(sums("{'sha256':'" ALL "'}"), "");
    /* the order of the files does not matter */
    struct verify_file f = files[0];
    files[0] = files[2];
    files[2] = f;
    assert_string_equal(sums("{'sha256':'" ALL "'}"), "");
    for (size_t i = 0; i < 64; i += 21) {
        (void)snprintf(text, sizeof text, "{'sha256':'" ALL "'}");
        char *at = text + strlen("{'sha256':'") + i;
        *at = *at == '0' ? '1' : '0';
        assert_string_equal(sums(text), "the digest over all files is not the manifest's\n");
    }
    files[0].there = files[1].there = false;
    assert_string_equal(sums("{'sha256':'" ONE_ONLY "'}"), "");
}

TEST(verify_sums, a_block_goes_on_where_the_next_file_begins)
{
    (void)state;
    static const char *const not = "a: its last block does not go on in the file that it names\n";
    three_files();
    files[0].name = SV_LIT("a");
    files[1].name = SV_LIT("b");
    files[0].continues = SV_LIT("b");
    files[0].first_block = files[0].last_block = SV_LIT("Patient/2");
    files[1].first_block = SV_LIT("Patient/2");
    assert_string_equal(sums("{}"), "");
    files[1].first_block = SV_LIT("Patient/3");
    assert_string_equal(sums("{}"), not );
    files[1].first_block = SV_LIT("Patient/2");
    files[0].continues = SV_LIT("c");
    assert_string_equal(sums("{}"), not );
    /* a file of deletions goes on with nothing */
    files[0].continues = SV_LIT("b");
    files[1].role = VERIFY_DELETED;
    assert_string_equal(sums("{}"), not );
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERIFYING(verify_sums, resources_are_those_of_the_outputs),
        VERIFYING(verify_sums, a_whole_export_holds_all_that_the_store_held),
        VERIFYING(verify_sums, heads_of_blocks_are_no_resources),
        VERIFYING(verify_sums, the_digest_is_over_sorted_digests_of_files_that_are_there),
        VERIFYING(verify_sums, a_block_goes_on_where_the_next_file_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
