/* test_fold.c - what does not count in a text: case, accents, punctuation, white space. */
#include "search/asking.h"

TEST(fold, strings_fold_case_and_accents)
{
    (void)state;
    const char *p = PAT("\"name\":[{\"family\":\"M\\u00fcller-L\\u00fcdenscheidt\",\"given\":["
                        "\"Eve\",\"Zo\\u00eb\"]}]");
    MATCHES(p, "name", "muller");
    MATCHES(p, "name", "M\xc3\xbcL");
    /* u, combining diaeresis */
    MATCHES(p, "name", "mu\xcc\x88ller");
    MATCHES(p, "family",
            "M\xc3\xbcller-L\xc3\xbc"
            "denscheidt");
    MATCHES(p, "given", "zoe");
    PASSES(p, "given", "ve");
    MATCHES(p, "given:contains", "VE");
    PASSES(p, "given:exact", "eve");
    MATCHES(p, "given:exact", "Eve");
    PASSES(p, "given:exact", "Ev");
    MATCHES(p, "name", "nobody,ZOE");
    PASSES(p, "name", "denscheidt");
    MATCHES(p, "given:missing", "false");
    MATCHES(p, "address:missing", "true");
    MATCHES(PAT("\"address\":[{\"line\":[\"Stra\\u00dfe 1\"],\"city\":\"\\u0130zmir\"}]"),
            "address", "strasse");
    MATCHES(PAT("\"name\":[{\"text\":\"a, b\"}]"), "name", "a\\, b");
    REFUSED(p, "name", "");
    REFUSED(p, "name:missing", "maybe");
    REFUSED(p, "nonsense", "x");
}

TEST(fold, white_space_at_the_ends_and_punctuation_do_not_count)
{
    (void)state;
    const char *lee = PAT("\"name\":[{\"family\":\" Lee \",\"given\":[\"Mary  Ann\\tB\"]}]");
    MATCHES(lee, "family", "lee");
    MATCHES(lee, "family", " lee");
    MATCHES(lee, "family", "lee ");
    /* no-break space, em space */
    MATCHES(lee, "family",
            "\xc2\xa0"
            "LEE\xe2\x80\x83");
    /* ideographic space */
    MATCHES(lee, "family", "\xe3\x80\x80lee");
    /* ogham space, line separator */
    MATCHES(lee, "family", "\xe1\x9a\x80lee\xe2\x80\xa8");
    /* paragraph separator, next line */
    MATCHES(lee, "given",
            "mary\xe2\x80\xa9"
            "ann\xc2\x85"
            "b");
    MATCHES(lee, "given", "mary ann b");
    MATCHES(lee, "given",
            "mary\xc2\xa0"
            "ann   b");
    PASSES(lee, "given", "maryann");
    PASSES(lee, "family:exact", "Lee");
    MATCHES(lee, "family:exact", " Lee ");
    MATCHES(lee, "family:contains", " ee ");
    static const char *const apostrophes[] = {
        "O'Brien",       "O\\u2019Brien", "O\\u2018Brien",
        "O\\u02bcBrien", "O\\u00b4Brien", "O`Brien",
        "O\\uff07Brien", "OBrien",        "\\u201cO\\u2032Brien\\u201d",
        "obrien.",       "O\\u00adBrien"
    };
    static const char *const asked[] = { "obrien",
                                         "o'brien",
                                         "o\xe2\x80\x99"
                                         "brien",
                                         "O\xc2\xb4"
                                         "BRIEN",
                                         "O\xca\xbc"
                                         "Brien",
                                         "(O'Brien)",
                                         "obri" };
    char r[256];
    for (size_t i = 0; i < sizeof apostrophes / sizeof apostrophes[0]; i++)
        for (size_t k = 0; k < sizeof asked / sizeof asked[0]; k++) {
            (void)snprintf(r, sizeof r, FAMILY("%s"), apostrophes[i]);
            if (asks(r, "family", asked[k]) != 1 || asks(r, "family:contains", asked[k]) != 1)
                fail_msg("%s does not find %s", asked[k], r);
        }
    /* an apostrophe divides nothing */
    PASSES(FAMILY("O'Brien"), "family", "brien");
    PASSES(FAMILY("O'Brien"), "family:exact", "OBrien");
    MATCHES(ORG("St. Mary's Hospital"), "name", "st marys hospital");
    MATCHES(ORG("St Mary\\u2019s   Hospital"), "name", "St. Mary's Hosp");
    MATCHES(ORG("St.Mary"), "name", "st mary");
    MATCHES(ORG("St.Mary"), "name", "stmary");
    /* it is no person's name */
    PASSES(ORG("St. Mary's Hospital"), "name", "hospital");
    MATCHES(ORG("St. Mary's Hospital"), "name:contains", "mary's hos");
    MATCHES(ORG("Smith & Sons (London)"), "name", "smith sons london");
    MATCHES(ORG("Smith\\u2014Sons"), "name", "smith-sons");
    /* symbols are no punctuation */
    MATCHES(ORG("C++"), "name", "c+");
    PASSES(ORG("C"), "name", "c+");
    /* an Arabic comma */
    MATCHES(ORG("A\\u060c B"), "name", "a b");
    MATCHES(ORG("\\u00bfQu\\u00e9?"), "name", "que");
    MATCHES(PAT("\"address\":[{\"line\":[\" 12, Main St.\"]}]"), "address", "12 main st");
    const char *display =
        OBS("\"code\":{\"coding\":[{\"code\":\"c\",\"display\":\"(Systolic) blood\"}]}");
    MATCHES(display, "code:text", "systolic blood");
    MATCHES(display, "code:text", " systolic-");
    /* a text longer than what the index keeps, with joints in it */
    MATCHES(ORG("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t"), "name", "abcdefghijklmnopqrst");
    MATCHES(ORG("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t"), "name",
            "a b c d e f g h i j k l m n o p q r s t");
    PASSES(ORG("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t"), "name", "abcdefghijklmnopqrsx");
    /* one character that comes apart into 18 */
    MATCHES(ORG("\\ufdfa"), "name", "\xef\xb7\xba");
}

TEST(fold, a_text_of_punctuation_alone_finds_not_everything)
{
    (void)state;
    const char *p = FAMILY("Lee");
    static const char *const nothing[] = { " ",   "-",        "...",
                                           "'",   "\xc2\xa0", "\xe2\x80\x94",
                                           "( )", "\xcc\x81", "\xe2\x80\x8b" };
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        REFUSED(p, "family", nothing[i]);
        REFUSED(p, "family:contains", nothing[i]);
        REFUSED(p, "family:text", nothing[i]);
        REFUSED(OBS("\"status\":\"final\""), "code:text", nothing[i]);
        PASSES(p, "family:exact", nothing[i]);
    }
    REFUSED(p, "family", "lee,-");
    const char *dots = FAMILY("...");
    MATCHES(dots, "family:exact", "...");
    PASSES(dots, "family", "x");
    MATCHES(dots, "family:missing", "false");
}

TEST(fold, each_part_of_a_name_is_a_start)
{
    (void)state;
    const char *berg = PAT("\"name\":[{\"family\":\"van der Berg\",\"given\":[\"Mary Ann\",\"Jo\"],"
                           "\"prefix\":[\"Dr. med.\"],\"text\":\"Dr. Mary van der Berg\"}]");
    static const char *const starts[] = { "van",      "der",          "berg", "van der",
                                          "der berg", "van der berg", "BER" };
    for (size_t i = 0; i < 7; i++) {
        MATCHES(berg, "family", starts[i]);
        MATCHES(berg, "name", starts[i]);
    }
    PASSES(berg, "family", "erg");
    PASSES(berg, "family", "van berg");
    MATCHES(berg, "given", "ann");
    MATCHES(berg, "name", "med");
    MATCHES(berg, "name", "mary van");
    MATCHES(berg, "phonetic", "berg");
    const char *smith = FAMILY("Smith-Jones");
    MATCHES(smith, "family", "jones");
    MATCHES(smith, "family", "smithjones");
    MATCHES(smith, "family", "smith jones");
    MATCHES(smith, "family", "smith-jones");
    MATCHES(smith, "name",
            "smith\xe2\x80\x90"
            "jo");
    PASSES(smith, "family", "mith");
    MATCHES(FAMILY("Carre\\u00f1o Quinones"), "family", "quinones");
    MATCHES(FAMILY("Carre\\u00f1o Quinones"), "family", "carreno");
    MATCHES(FAMILY("Smith Jones"), "family", "smith-jones");
    MATCHES(
        "{\"resourceType\":\"Practitioner\",\"id\":\"p\",\"name\":[{\"family\":\"de la Cruz\"}]}",
        "family", "cruz");
    /* an address is none */
    PASSES(PAT("\"address\":[{\"city\":\"New York\"}]"), "address", "york");
    const char *long_one = FAMILY("p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11 p12 p13 p14 p15 p16 p17");
    MATCHES(long_one, "family", "p16");
    /* the first sixteen are */
    PASSES(long_one, "family", "p17");
    MATCHES(long_one, "family:contains", "p17");
    /* and in the first 64 strings: entries grow no faster than the resource */
    struct arena *a = arena_new(64u << 20);
    struct buf r = BUF_INIT(8u << 20), list = BUF_INIT(64u << 20);
    yyjson_doc *doc;
    OK(buf_add(&r, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[{\"given\":["), e));
    for (unsigned i = 0; i < 20000; i++)
        OK(buf_add_fmt(&r, e, "%s\"%u-b%u-c-d-e-f-g-h-i-j-k-l-m-n-o-p\"", i ? "," : "", i, i));
    OK(buf_add(&r, SV_LIT("]}]}"), e));
    OK(json_read(a, buf_sv(&r), 64, &doc, e));
    OK(search_index(fhir_type_find(SV_LIT("Patient")), yyjson_doc_get_root(doc), &list, e));
    assert_in_range(list.len, r.len, 4 * r.len);
    OK(buf_add_char(&r, 0, e));
    MATCHES(r.ptr, "given", "b63");
    PASSES(r.ptr, "given", "b64");
    MATCHES(r.ptr, "given", "19999 b19999 c");
    MATCHES(r.ptr, "given", "19999b19999c");
    buf_done(&r);
    buf_done(&list);
    arena_free(a);
}

TEST_MAIN(T(fold, strings_fold_case_and_accents),
          T(fold, white_space_at_the_ends_and_punctuation_do_not_count),
          T(fold, a_text_of_punctuation_alone_finds_not_everything),
          T(fold, each_part_of_a_name_is_a_start))
