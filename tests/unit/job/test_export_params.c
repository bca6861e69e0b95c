/* test_export_params.c - what an export asks for is read as it was written, and lives as long as
 * the job. */
#include "fixture.h"

static struct job_texts texts(const sv *items, size_t n)
{
    return (struct job_texts){ items, n };
}

TEST(export_params, every_member_is_read_as_it_was_written)
{
    static const sv some[] = { { "a\"b", sizeof("a\"b") - 1 },
                               { "", sizeof("") - 1 },
                               { "\xc3\xa9?x=1,2", sizeof("\xc3\xa9?x=1,2") - 1 } };
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf one = BUF_INIT(1 << 20), two = BUF_INIT(1 << 20);
    const struct job_export_params *got;
    const struct job_export_params p = { .level = JOB_EXPORT_GROUP,
                                         .group_id = SV_LIT("g1"),
                                         .types = texts(some, 1),
                                         .since_ms = 1,
                                         .until_ms = INT64_MAX,
                                         .type_filters = texts(some, 3),
                                         .elements = texts(some, 2),
                                         .patients = texts(some + 1, 2),
                                         .security = texts(some + 2, 1),
                                         .tag = texts(some, 3),
                                         .associated = 3,
                                         .organize_by_patient = true,
                                         .partial_manifests = true,
                                         .min_file_bytes = 5,
                                         .max_file_bytes = UINT64_MAX,
                                         .served = true,
                                         .request_url = SV_LIT("http://x"),
                                         .attachment_base = SV_LIT("http://y"),
                                         .attachment_other = SV_LIT("http://z"),
                                         .notes = texts(some, 2),
                                         .scopes = texts(some, 3),
                                         .grantee = SV_LIT("i\nc\ns") };
    OK(job_params_write(&p, &one, e));
    OK(job_params_read(buf_sv(&one), a, &got, e));
    assert_int_equal(got->level, p.level);
    assert_int_equal(got->associated, 3);
    assert_int_equal(got->until_ms, INT64_MAX);
    assert_int_equal(got->max_file_bytes, UINT64_MAX);
    assert_int_equal(got->type_filters.n, 3);
    assert_sv(got->type_filters.items[2], some[2]);
    assert_sv(got->attachment_base, p.attachment_base);
    assert_sv(got->attachment_other, p.attachment_other);
    assert_int_equal(got->scopes.n, 3);
    assert_sv(got->scopes.items[2], some[2]);
    assert_sv(got->grantee, p.grantee);
    assert_true(got->organize_by_patient && got->partial_manifests && got->served);
    OK(job_params_write(got, &two, e));
    assert_sv(buf_sv(&two), buf_sv(&one));
}

TEST(export_params, a_level_offers_what_its_compartment_holds)
{
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    fhir_type organization = fhir_type_find(SV_LIT("Organization"));
    fhir_type observation = fhir_type_find(SV_LIT("Observation"));
    assert_true(job_export_offers(JOB_EXPORT_SYSTEM, organization));
    assert_false(job_export_offers(JOB_EXPORT_PATIENT, organization));
    assert_true(job_export_offers(JOB_EXPORT_PATIENT, patient));
    assert_true(job_export_offers(JOB_EXPORT_PATIENT, observation));
    assert_true(job_export_offers(JOB_EXPORT_GROUP, fhir_type_find(SV_LIT("Group"))));
    assert_false(job_export_offers(JOB_EXPORT_SYSTEM, FHIR_TYPE_NONE));
}

TEST_MAIN(T(export_params, every_member_is_read_as_it_was_written),
          T(export_params, a_level_offers_what_its_compartment_holds))
