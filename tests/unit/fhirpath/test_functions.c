/* test_functions.c - functions beyond what HL7's cases ask of them. */
#include "ask.h"

TEST(functions, of_texts_count_characters)
{
    (void)state;
    ASK(NULL, { "'Z\xc3\xbcrich'.length()", "6" },
        { "'Z\xc3\xbcrich'.substring(1, 2)", "\xc3\xbcr" }, { "'Z\xc3\xbcrich'.indexOf('r')", "2" },
        { "'abcabc'.lastIndexOf('b')", "4" }, { "'\xc3\xbc'.upper()", "\xc3\x9c" },
        { "'\xc3\xbc\xf0\x9f\x98\x80'.toChars().count()", "2" },
        { "'\\ud83d\\ude00'.length()", "1" }, { "'abc'.substring(1, 0)", "" },
        { "'aXbX'.replace('X', '')", "ab" }, { "''.replace('', 'x')", "x" },
        { "'a'.replace('', 'x')", "xax" }, { "('a' | 'b').join()", "ab" },
        { "'a,b,'.split(',').count()", "3" }, { "' \\n a '.trim()", "a" },
        { "'a&b'.escape('html').unescape('html')", "a&b" }, { "'4a'.decode('hex')", "J" },
        { "'ff'.decode('hex')", "" }, { "'x'.decode('rot')", "" },
        { "'abc'.matches('^a.c$')", "true" },
        { "'2020-01-02'.replaceMatches('(\\\\d+)-(\\\\d+)-(\\\\d+)', '$3.$2.$1')", "02.01.2020" },
        { "'a\\nb'.matches('a.b')", "true" }, { "'abc'.matchesFull('b')", "false" },
        { "'abc'.matches('b' & 'c')", "true" },
        { "'abc'.matches('(' & '')",
          "error: line 1, column 7 of the expression: no regular expression*" });
}

TEST(functions, of_numbers_are_exact_where_they_can_be)
{
    (void)state;
    ASK(NULL, { "0.1 + 0.2 = 0.3", "true" }, { "0.1 + 0.2", "0.3" },
        { "1 / 3", "0.3333333333333333333333333333" },
        { "2 / 3", "0.6666666666666666666666666667" }, { "10.power(20)", "" },
        { "1.1.power(2)", "1.21" }, { "2147483647 + 1", "" }, { "(-7) div 2", "-3" },
        { "(-7) mod 2", "-1" }, { "2.345.round(2)", "2.35" }, { "0.5.ceiling()", "1" },
        { "(-0.5).floor()", "-1" }, { "2.sqrt()", "1.4142135623731" },
        { "9999999999999999999999999999.0 * 9999999999999999999999999999.0", "" },
        { "1.5.precision()", "1" }, { "0.0.precision()", "1" },
        { "(-1.5 'mg').abs()", "1.5 'mg'" });
}

/* Halves go away from zero: "a decimal value less than or equal to -0.5 and greater than -1.0 will
 * round to -1" (HL7/FHIRPath, round, and CQL's Round). fhirpath.js does so with preciseMath. */
TEST(functions, round_halves_away_from_zero)
{
    (void)state;
    ASK(NULL, { "0.5.round()", "1" }, { "(-0.5).round()", "-1" }, { "(-0.5).round(0)", "-1" },
        { "(-0.4).round()", "0" }, { "1.5.round()", "2" }, { "(-1.5).round()", "-2" },
        { "2.5.round()", "3" }, { "(-2.5).round()", "-3" }, { "0.05.round(1)", "0.1" },
        { "(-0.05).round(1)", "-0.1" }, { "1.005.round(2)", "1.01" },
        { "(-1.005).round(2)", "-1.01" }, { "-0.5 ~ -1", "true" }, { "-0.5 ~ 0", "false" });
}

TEST(functions, of_lists)
{
    (void)state;
    ASK(NULL, { "(3 | 1 | 2).sort()", "1|2|3" }, { "(3 | 1 | 2).sort(-$this)", "3|2|1" },
        { "('b' | 'a' | 'c').sort().first()", "a" }, { "(1 | 'a').sort()", "error: *" },
        { "(1 | 2 | 3).where($this > 1).select($this * 2)", "4|6" },
        { "(5 | 6).select($index)", "0|1" }, { "(1 | 2 | 3).aggregate($total + $this, 0)", "6" },
        { "coalesce({}, 2, 3)", "2" }, { "(1 | 2).combine(2 | 3).count()", "4" },
        { "(1 | 2).intersect(2 | 3)", "2" }, { "1.repeat($this + 1).count()", "error: *" },
        { "(1 | 2 | 3 | 4)[1]", "2" }, { "(1 | 2)[2]", "" },
        { "(true | false).allTrue()", "false" }, { "(true | false).anyFalse()", "true" },
        { "(1 | 2).subsetOf(1 | 2 | 3)", "true" }, { "(1).trace('x', $this + 1)", "1" },
        { "iif(true, 1, 1.single().where(1 / 0 = 1))", "1" },
        { "(1 | 2).exists($this = 2)", "true" });
}

TEST(functions, convert_what_can_be_converted)
{
    (void)state;
    ASK(NULL, { "'yes'.toBoolean()", "true" }, { "'1.50'.toDecimal()", "1.50" },
        { "'1e3'.toDecimal()", "" }, { "'2020-02-30'.toDate()", "" },
        { "'2020-02-29'.toDate()", "2020-02-29" }, { "'2020-02-29T10:00Z'.toDate()", "2020-02-29" },
        { "'25:00'.toTime()", "" },
        { "@2020-01-02T03:04:05.678Z.toString()", "2020-01-02T03:04:05.678Z" },
        { "'5 \\'mg\\''.toQuantity()", "5 'mg'" }, { "'5 mg'.toQuantity()", "" },
        { "(1000 'mg').toQuantity('g')", "1 'g'" }, { "(1 'mg').toQuantity('m')", "" },
        { "'x'.convertsToInteger()", "false" }, { "{}.convertsToInteger()", "" },
        { "now()", "2026-01-01T00:00:00.000Z" }, { "today()", "2026-01-01" },
        { "timeOfDay()", "00:00:00.000" });
}

#define NAMES                                                                                     \
    "{\"resourceType\":\"Patient\",\"active\":true,\"name\":[{\"family\":\"A\",\"given\":[\"x\"," \
    "\"y\"]},"                                                                                    \
    "{\"given\":[\"Jim\"]}]}"

TEST(functions, define_variables_for_what_stands_behind_them)
{
    (void)state;
    ASK(NAMES, { "defineVariable('v', 'value').select(%v)", "value" },
        { "defineVariable('n', name.first()).select(%n.given)", "x|y" },
        { "defineVariable('n').select(%n.name.family)", "A" },
        { "defineVariable('n', name).active", "true" },
        /* the value is that of the whole list */
        { "Patient.name.defineVariable('n', skip(1).first()).select(%n.given)", "Jim|Jim" },
        { "Patient.name.defineVariable('n', given).select(%n.count())", "3|3" },
        { "Patient.name.defineVariable('n', skip(1).first())"
          ".defineVariable('r', %n.given + %n.given).select(%r)",
          "JimJim|JimJim" },
        { "name.select(defineVariable('o', $this).given.select(%o.given.count().toString() & "
          "$this))",
          "2x|2y|1Jim" },
        { "name.defineVariable('c', $this.active).select(%c)", "true|true" },
        /* the same name in two paths is two variables */
        { "defineVariable('n', name.first()).select(%n.given) | "
          "defineVariable('n', name.last()).select(%n.given)",
          "x|y|Jim" },
        { "defineVariable('r', 'r-').select(defineVariable('a', 'a').defineVariable('b', 'b')"
          ".select(%a | %b)).select(%r & $this)",
          "r-a|r-b" },
        { "defineVariable('a', 1)[0].select(%a)", "1" },
        { "name.where(defineVariable('g', given).exists(%g = 'Jim')).given", "Jim" },
        { "{}.defineVariable('v', 1).select(%v)", "" },
        { "(1 | 2).defineVariable('v').select(%v.count() + $this)", "3|4" },
        { "1.repeat(defineVariable('s', $this).select(iif(%s < 4, %s + 1, {})))", "2|3|4" });
}

TEST(functions, check_modifiers_for_those_that_are_known)
{
    (void)state;
    static const char json[] =
        "{\"resourceType\":\"Observation\",\"status\":\"final\",\"modifierExtension\":[{\"url\":"
        "\"http://a/1\","
        "\"valueBoolean\":true},{\"url\":\"http://a/2\",\"valueBoolean\":true}]}";
    ASK(json, { "checkModifiers('http://a/1', 'http://a/2').status", "final" },
        { "checkModifiers('http://a/2' | 'http://a/1').status", "final" },
        { "checkModifiers('http://a/1')", "error: *" }, { "checkModifiers()", "error: *" },
        { "checkModifiers(1)", "error: *" }, { "status.checkModifiers()", "final" },
        { "{}.checkModifiers()", "" });
    ASK(NAMES, { "name.checkModifiers().family", "A" });
}

static const char *html_of(struct arena *a, const char *div)
{
    struct buf b = BUF_INIT(1u << 20);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_obj(&w);
    json_key(&w, "resourceType");
    json_str(&w, SV_LIT("Patient"));
    json_key(&w, "text");
    json_obj(&w);
    json_key(&w, "div");
    json_str(&w, sv_from(div));
    json_obj_end(&w);
    json_obj_end(&w);
    OK(json_writer_end(&w, e));
    const char *answer =
        ask_in(a, arena_str(a, buf_sv(&b)), "text.div.htmlChecks()", FHIRPATH_STEPS);
    buf_done(&b);
    return answer;
}

#define X "<div xmlns=\"http://www.w3.org/1999/xhtml\""
TEST(functions, html_checks_take_what_a_narrative_may_have)
{
    (void)state;
    static const struct {
        const char *div, *answer;
    } all[] = {
        { X "><p>a</p></div>", "true" },
        { X " xml:lang=\"en\" lang=\"en\"><table class=\"x\"><tr><td colspan=\"2\">a</td></tr>"
            "</table></div>",
          "true" },
        { X "><img src=\"#a\" alt=\"\"/></div>", "true" },
        { X ">&nbsp;</div>", "true" },
        { X ">a &amp; b<br/></div>", "true" },
        { " " X ">a</div> ", "true" },
        { X "> \n </div>", "false" },
        { X "><p/></div>", "false" },
        { X "><img alt=\"\"/></div>", "false" },
        { X "><script>a</script></div>", "false" },
        { X "><p onclick=\"a()\">a</p></div>", "false" },
        { X "><form>a</form></div>", "false" },
        { X "><p>a</div>", "false" },
        { X ">a", "false" },
        { "<p xmlns=\"http://www.w3.org/1999/xhtml\">a</p>", "false" },
        { "<div>a</div>", "false" },
        { "a", "false" },
        /* a prefix is no part of XHTML in a narrative, and an entity is one of HTML's */
        { X " xmlns:a=\"urn:x\" a:b=\"\">a</div>", "false" },
        { "<h:div xmlns:h=\"http://www.w3.org/1999/xhtml\">a</h:div>", "false" },
        { X "><p xmlns=\"urn:x\">a</p></div>", "false" },
        { X "><p xmlns=\"http://www.w3.org/1999/xhtml\">&eacute;&zwnj;</p></div>", "true" },
        { X ">&bogus;</div>", "false" },
        { X ">&Aacutes;</div>", "false" },
        { "<!DOCTYPE div [<!ENTITY a \"b\">]>" X ">&a;</div>", "false" },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct arena *a = arena_new(32u << 20);
        const char *have = html_of(a, all[i].div);
        if (strcmp(have, all[i].answer) != 0)
            fail_msg("%s: %s", all[i].div, have);
        arena_free(a);
    }
    ASK(NAMES, { "name.family.htmlChecks()", "" }, { "htmlChecks()", "" },
        { "'<div>a</div>'.htmlChecks()", "" });
}

TEST_MAIN(T(functions, of_texts_count_characters),
          T(functions, of_numbers_are_exact_where_they_can_be),
          T(functions, round_halves_away_from_zero), T(functions, of_lists),
          T(functions, convert_what_can_be_converted),
          T(functions, define_variables_for_what_stands_behind_them),
          T(functions, check_modifiers_for_those_that_are_known),
          T(functions, html_checks_take_what_a_narrative_may_have))
