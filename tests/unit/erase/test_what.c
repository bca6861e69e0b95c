/* What an erasure is asked for is read as it was written, and damage is told. */
#include "test.h"

#include "erase/erase.h"

static void same(const struct erase_what *what)
{
    struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 16);
    struct erase_what back;
    OK(erase_what_write(what, &text, e));
    OK(erase_what_read(buf_sv(&text), a, &back, e));
    assert_int_equal(back.scope, what->scope);
    assert_int_equal(back.type, what->type);
    assert_sv(back.id, what->id);
    assert_true(back.t == what->t && back.soft == what->soft && back.audit == what->audit);
    assert_true(back.from_ms == what->from_ms && back.until_ms == what->until_ms);
    arena_free(a);
}

TEST(erase_what, is_read_as_it_was_written)
{
    const fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    (void)state;
    same(&(struct erase_what){ .scope = ERASE_RESOURCE, .type = patient, .id = SV_LIT("a.B-9") });
    same(&(struct erase_what){
        .scope = ERASE_RESOURCE, .type = patient, .id = SV_LIT("p"), .t = UINT64_MAX / 2 });
    same(&(struct erase_what){ .scope = ERASE_PATIENT,
                               .type = patient,
                               .id = SV_LIT("p"),
                               .audit = true,
                               .from_ms = 1767225600000,
                               .until_ms = 1767225600001 });
    same(&(struct erase_what){
        .scope = ERASE_TYPE, .type = patient, .id = SV_LIT(""), .soft = true });
}

TEST(erase_what, that_is_damaged_is_told)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"scope\":\"all\",\"type\":\"Patient\",\"id\":\"p\"}",
        "{\"scope\":\"resource\",\"type\":\"Person1\",\"id\":\"p\"}",
        "{\"scope\":\"resource\",\"type\":\"Patient\"}",
        "{\"scope\":\"patient\",\"type\":\"Patient\",\"id\":\"a b\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct arena *a = arena_new(1 << 20);
        struct erase_what what;
        FAILS(ERR_CORRUPT, erase_what_read(sv_from(bad[i]), a, &what, e));
        arena_free(a);
    }
}

TEST_MAIN(T(erase_what, is_read_as_it_was_written), T(erase_what, that_is_damaged_is_told))
