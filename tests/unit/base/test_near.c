/* A slip finds the name that was meant, and what is no slip finds nothing. */
#include "test.h"

#include "base/near.h"

static const char *const names[] = { "Patient",      "Practitioner",  "Observation",
                                     "ReadResource", "SearchWithGet", "List" };

static sv known(const void *ctx, size_t i)
{
    (void)ctx;
    return i < sizeof names / sizeof names[0] ? sv_from(names[i]) : SV_NONE;
}

static void finds(const char *typed, const char *want)
{
    sv got = near_name(sv_from(typed), known, NULL);
    if (!sv_eq_cstr(got, want))
        fail_msg("%s: %.*s, not %s", typed, SV_FMT(got), want);
}

TEST(near, a_slip_finds_the_name_that_was_meant)
{
    (void)state;
    finds("Patent", "Patient");
    finds("Patientt", "Patient");
    finds("Paitent", "Patient");
    /* two that changed places are one slip */
    finds("Lsit", "List");
    finds("patients", "Patient");
    finds("OBSERVATION", "Observation");
    finds("ReadResorce", "ReadResource");
    finds("Serch*", "SearchWithGet");
    finds("Read?esorce", "ReadResource");
}

TEST(near, what_is_no_slip_finds_nothing)
{
    (void)state;
    finds("", "");
    finds("X", "");
    finds("Foo", "");
    finds("Zebrafish", "");
    char longer[200];
    memset(longer, 'P', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    finds(longer, "");
}

TEST_MAIN(T(near, a_slip_finds_the_name_that_was_meant), T(near, what_is_no_slip_finds_nothing))
