/* test_ucum.c - units that are the same, can be compared, or cannot. */
#include "ask.h"

TEST(ucum, compares_units_of_one_dimension)
{
    (void)state;
    ASK(NULL, { "1 'kg' = 1000 'g'", "true" }, { "1 'mg/dL' = 10 'mg/L'", "true" },
        { "1 'mmol/L' = 1 'mol/m3'", "true" }, { "120 'mm[Hg]' > 15 'kPa'", "true" },
        { "1 '[in_i]' = 2.54 'cm'", "true" }, { "1 'L' = 1 'dm3'", "true" },
        { "1 '10*3/uL' = 1 '10*9/L'", "true" }, { "1 'm' < 1 's'", "" },
        { "1 'Cel' = 1 'Cel'", "true" }, { "1 'Cel' = 1 'K'", "" },
        { "1 'kat' = 60000000 'U'", "true" }, { "1 year = 12 months", "true" },
        { "1 year = 365 days", "" }, { "1 '%' = 0.01 '1'", "true" },
        { "1 'mg{total}' = 1 'mg'", "true" }, { "1 'J/s' = 1 'W'", "true" },
        { "3 'cm' + 1 'm'", "103 'cm'" }, { "1 'm' + 1 's'", "" },
        { "(1 'm' / 2 's') = 0.5 'm/s'", "true" }, { "(2 'm' * 3 'm') = 6 'm2'", "true" },
        { "1 '((((((m))))))' = 1 'm'", "" }, { "1 'm99' = 1 'm'", "" },
        { "1 'm12.m12' = 1 'm'", "" }, { "1 'g' * 2 = 2 'g'", "true" });
}

TEST_MAIN(T(ucum, compares_units_of_one_dimension))
