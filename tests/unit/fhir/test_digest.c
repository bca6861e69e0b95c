/* test_digest.c - digests of sets: parts add up to the whole, and hex is read as it was written. */
#include "test.h"

#include "fhir/digest.h"

TEST(digest, sums_of_parts_are_the_sum)
{
    (void)state;
    struct fhir_digest all = { { 0 } }, one = { { 0 } }, two = { { 0 } }, read;
    char hex[FHIR_DIGEST_HEX];
    for (unsigned i = 0; i < 1000; i++) {
        sv text = sv_make(&i, sizeof i);
        fhir_digest_text(&all, text);
        fhir_digest_text(i % 3 ? &one : &two, text);
    }
    struct fhir_digest left = all;
    fhir_digest_take(&left, &two);
    assert_memory_equal(&left, &one, sizeof left);
    fhir_digest_take(&left, &all);
    fhir_digest_add(&left, &two);
    assert_memory_equal(&left, &(struct fhir_digest){ { 0 } }, sizeof left);
    fhir_digest_add(&one, &two);
    assert_memory_equal(&one, &all, sizeof all);
    fhir_digest_hex(&all, hex);
    assert_true(fhir_digest_read(sv_make(hex, sizeof hex), &read));
    assert_memory_equal(&read, &all, sizeof all);
    assert_false(fhir_digest_read(sv_make(hex, sizeof hex - 1), &read));
    hex[5] = 'x';
    assert_false(fhir_digest_read(sv_make(hex, sizeof hex), &read));
}

TEST_MAIN(T(digest, sums_of_parts_are_the_sum))
