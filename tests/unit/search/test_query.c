/* test_query.c - one pair of a query becomes a criterion, or is refused. */
#include "search/asking.h"

TEST(query, a_backslash_escapes_and_nothing_else)
{
    (void)state;
    const char *p = PAT("\"name\":[{\"family\":\"a,b|c$d\\\\e\"}],\"identifier\":[{\"system\":"
                        "\"urn:a|b\",\"value\":"
                        "\"1,2\"}]");
    MATCHES(p, "family:exact", "a\\,b\\|c\\$d\\\\e");
    MATCHES(p, "identifier", "urn:a\\|b|1\\,2");
    MATCHES(p, "identifier", "x,urn:a\\|b|");
    REFUSED(p, "family", "a\\b");
    REFUSED(p, "family", "a\\");
    REFUSED(p, "family:exact", "x,\\\\\\");
}

TEST_MAIN(T(query, a_backslash_escapes_and_nothing_else))
