/* Links in a resource's text: which are found, and that nothing but them changes. */
#include "test.h"

#include "codec/json.h"
#include "fhir/links.h"

static struct fhir_links links;
static struct {
    char seen[4096]; /* "R:urn:1 U:urn:2 " */
    sv from, to;     /* what is replaced; from.ptr NULL: nothing, from empty: all */
    err_code fails;
} probe;

static err_code on_link(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e)
{
    size_t n = strlen(probe.seen);
    (void)ctx;
    (void)snprintf(probe.seen + n, sizeof probe.seen - n, "%c:%.*s ", "RUNA"[kind], SV_FMT(text));
    if (links.full_url.len)
        (void)snprintf(probe.seen + strlen(probe.seen) - 1, sizeof probe.seen - strlen(probe.seen),
                       "<%.*s ", SV_FMT(links.full_url));
    if (probe.fails)
        return ERR(e, probe.fails, "no");
    if (probe.from.ptr && (probe.from.len == 0 || sv_eq(probe.from, text)))
        *out = probe.to;
    return ERR_OK;
}

static struct fhir_links links = { .fn = on_link };

/* text with what `from` says replaced, in a static buffer */
static const char *rewritten(const char *text, const char *from, const char *to)
{
    static char out[8192];
    struct arena *a = arena_new(16u << 20);
    struct buf b = BUF_INIT(sizeof out - 1);
    yyjson_doc *doc;
    probe.seen[0] = 0;
    probe.from = sv_from(from);
    probe.to = sv_from(to);
    OK(json_read(a, sv_from(text), 300, &doc, e));
    OK(fhir_links_rewrite(&links, sv_from(text), yyjson_doc_get_root(doc), &b, e));
    (void)snprintf(out, sizeof out, "%.*s", SV_FMT(buf_sv(&b)));
    buf_done(&b);
    arena_free(a);
    return out;
}

#define OBS "{\"resourceType\":\"Observation\","

TEST(links, of_references_change_and_the_rest_stays_byte_for_byte)
{
    (void)state;
    assert_string_equal(
        rewritten(" { \"subject\" : { \"reference\" : \"urn:1\" , \"display\":\"urn:1\" } ,\n"
                  "\"valueQuantity\":{\"value\":1.00e+3,\"unit\":\"m\\u00e4\\/g\"}, "
                  "\"resourceType\":\"Observation\", "
                  "\"id\":\"urn:1\",\"note\":[{\"text\":\"urn:1\"}] }\n",
                  "urn:1", "Patient/x"),
        " { \"subject\" : { \"reference\" : \"Patient/x\" , \"display\":\"urn:1\" } ,\n"
        "\"valueQuantity\":{\"value\":1.00e+3,\"unit\":\"m\\u00e4\\/g\"}, "
        "\"resourceType\":\"Observation\", \"id\":\"urn:1\",\"note\":[{\"text\":\"urn:1\"}] }\n");
    assert_string_equal(probe.seen, "R:urn:1 ");
}

TEST(links, are_found_wherever_the_definitions_put_them)
{
    (void)state;
    (void)rewritten(
        OBS
        "\"meta\":{\"source\":\"m\",\"profile\":[\"canonical\"]},"
        "\"implicitRules\":\"i\","
        "\"contained\":[{\"managingOrganization\":{\"reference\":\"c\"},\"resourceType\":"
        "\"Patient\"}],"
        "\"extension\":[{\"url\":\"x\",\"valueReference\":{\"reference\":\"xr\"}},"
        "{\"url\":\"y\",\"valueUri\":\"xu\"},{\"url\":\"z\",\"valueUuid\":\"xx\"},"
        "{\"url\":\"o\",\"valueOid\":\"xo\"},{\"url\":\"l\",\"valueUrl\":\"xl\"},"
        "{\"url\":\"c\",\"valueCanonical\":\"xc\"},{\"url\":\"s\",\"valueString\":\"xs\"}],"
        "\"identifier\":[{\"system\":\"is\",\"value\":\"iv\",\"assigner\":{\"reference\":\"ia\"}}],"
        "\"_status\":{\"extension\":[{\"url\":\"t\",\"valueReference\":{\"reference\":\"tr\"}}]},"
        "\"performer\":[{\"reference\":\"p0\"},{\"reference\":\"p1\"}],"
        "\"component\":[{\"code\":{\"coding\":[{\"system\":\"cs\"}]}}],"
        "\"unknown\":{\"reference\":\"u\"},\"subject\":{\"reference\":7}}",
        NULL, NULL);
    assert_string_equal(probe.seen,
                        "U:m U:i R:c U:x R:xr U:y U:xu U:z U:xx U:o U:xo U:l U:xl U:c U:s "
                        "U:is R:ia U:t R:tr R:p0 R:p1 U:cs ");
    (void)rewritten("{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"a\",\"part\":"
                    "[{\"name\":\"b\",\"resource\":{\"resourceType\":\"Bundle\",\"entry\":["
                    "{\"fullUrl\":\"f\",\"resource\":{\"resourceType\":\"Flag\",\"subject\":"
                    "{\"reference\":\"s\"}}}]}}]}]}",
                    NULL, NULL);
    assert_string_equal(probe.seen, "U:f<f R:s<f ");
}

TEST(links, of_attachments_are_told_from_other_uris)
{
    (void)state;
    (void)rewritten(
        "{\"resourceType\":\"DocumentReference\",\"masterIdentifier\":{\"system\":\"s\"},"
        "\"content\":[{\"attachment\":{\"url\":\"a\",\"_url\":{\"extension\":[{"
        "\"url\":\"x\",\"valueAttachment\":{\"url\":\"b\"}}]}}}]}",
        NULL, NULL);
    assert_string_equal(probe.seen, "U:s A:a U:x A:b ");
}

TEST(links, know_the_full_url_of_the_entry_around_them)
{
    (void)state;
    (void)rewritten(
        "{\"resourceType\":\"Bundle\",\"link\":[{\"url\":\"l\"}],\"entry\":[{\"resource\":"
        "{\"resourceType\":\"Bundle\",\"entry\":[{\"fullUrl\":\"in\"},{}],\"link\":[{"
        "\"url\":\"m\"}]},\"fullUrl\":\"out\"},{\"request\":{\"url\":\"n\"}}],"
        "\"implicitRules\":\"i\"}",
        NULL, NULL);
    assert_string_equal(probe.seen, "U:l U:in<in U:m<out U:out<out U:n U:i ");
}

TEST(links, with_escapes_are_meant_and_written_as_json)
{
    (void)state;
    assert_string_equal(rewritten(OBS "\"subj\\u0065ct\":{\"\\u0072eference\":\"u\\u0072n:1\"}}",
                                  "urn:1", "a\"b\\c\n\xC3\xA4"),
                        OBS "\"subj\\u0065ct\":{\"\\u0072eference\":\"a\\\"b\\\\c\\n\xC3\xA4\"}}");
    assert_string_equal(probe.seen, "R:urn:1 ");
}

#define TEXT(div) OBS "\"text\":{\"status\":\"generated\",\"div\":\"" div "\"}}"

TEST(links, of_the_narrative_are_those_of_a_and_img)
{
    (void)state;
    assert_string_equal(
        rewritten(
            TEXT("\\u00e4\\ud83d\\ude00\xC3\xA4<p href='n'>urn:1 <a  class=\\\"k\\\" href = "
                 "\\\"urn:1\\\">href=\\\"urn:1\\\"</a><img alt='x' src='ur\\u006e:1'/>"
                 "<a href=\\\"urn:2\\\"/>\\n<!-- <a href='urn:1'> --><![CDATA[<a href='urn:1'>]]>"
                 "<abbr href='urn:1'/><A href='urn:1'/><a data-href='urn:1' href=urn:1></p>"),
            "urn:1", "Patient/x"),
        TEXT("\\u00e4\\ud83d\\ude00\xC3\xA4<p href='n'>urn:1 <a  class=\\\"k\\\" href = "
             "\\\"Patient/x\\\">href=\\\"urn:1\\\"</a><img alt='x' src='Patient/x'/>"
             "<a href=\\\"urn:2\\\"/>\\n<!-- <a href='urn:1'> --><![CDATA[<a href='urn:1'>]]>"
             "<abbr href='urn:1'/><A href='urn:1'/><a data-href='urn:1' href=urn:1></p>"));
    assert_string_equal(probe.seen, "N:urn:1 N:urn:1 N:urn:2 ");
}

TEST(links, of_a_broken_narrative_do_no_harm)
{
    (void)state;
    static const char *const divs[] = {
        "<",
        "<a",
        "<a ",
        "<a href",
        "<a href=",
        "<a href='",
        "<a ==",
        "<a href='x",
        "<!--",
        "<![CDATA[",
        "<a \\u0000 href='x'>",
        "<a/href='x'>",
        "<<a>><",
        "<a href=''>",
        "<a \\\" href='",
        "<img src src='",
        "</a href='x'",
    };
    for (size_t i = 0; i < sizeof divs / sizeof divs[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, TEXT("%s"), divs[i]);
        assert_string_equal(rewritten(text, NULL, NULL), text);
        /* and whatever comes out is whole */
        (void)rewritten(text, "", "new");
    }
    assert_string_equal(rewritten(TEXT("<a href='x"), "x", "yy"), TEXT("<a href='yy"));
}

TEST(links, that_cannot_be_made_say_where_they_stand)
{
    (void)state;
    struct arena *a = arena_new(1u << 20);
    yyjson_doc *doc;
    sv text = SV_LIT(
        OBS "\"component\":[{},{\"extension\":[{\"valueReference\":{\"reference\":\"r\"}}]}]}");
    OK(json_read(a, text, 300, &doc, e));
    probe.fails = ERR_PRECONDITION;
    FAILS(ERR_PRECONDITION, fhir_links_rewrite(&links, text, yyjson_doc_get_root(doc), NULL, e));
    probe.fails = ERR_OK;
    assert_string_equal(links.where, ".component[1].extension[0].valueReference.reference");
    arena_free(a);
}

TEST(links, are_not_looked_for_in_what_is_no_resource)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "7",
        "{\"resourceType\":7}",
        "{\"resourceType\":\"X\",\"subject\":{\"reference\":\"u\"}}",
        "{\"resourceType\":\"Observation\",\"subject\":[[{\"reference\":\"u\"}]]}"
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_string_equal(rewritten(texts[i], "", "new"), texts[i]);
        assert_string_equal(probe.seen, "");
    }
}

TEST(links, nested_without_end_are_refused)
{
    (void)state;
    struct arena *a = arena_new(64u << 20);
    struct buf b = BUF_INIT(1u << 20);
    yyjson_doc *doc;
    OK(buf_add(&b, SV_LIT("{\"resourceType\":\"Patient\""), e));
    for (int i = 0; i < 300; i++)
        OK(buf_add(&b, SV_LIT(",\"extension\":[{\"url\":\"u\""), e));
    for (int i = 0; i < 300; i++)
        OK(buf_add(&b, SV_LIT("}]"), e));
    OK(buf_add(&b, SV_LIT("}"), e));
    OK(json_read(a, buf_sv(&b), 1000, &doc, e));
    FAILS(ERR_TOO_LARGE, fhir_links_rewrite(&links, buf_sv(&b), yyjson_doc_get_root(doc), NULL, e));
    buf_done(&b);
    arena_free(a);
}

TEST_MAIN(T(links, of_references_change_and_the_rest_stays_byte_for_byte),
          T(links, are_found_wherever_the_definitions_put_them),
          T(links, of_attachments_are_told_from_other_uris),
          T(links, know_the_full_url_of_the_entry_around_them),
          T(links, with_escapes_are_meant_and_written_as_json),
          T(links, of_the_narrative_are_those_of_a_and_img),
          T(links, of_a_broken_narrative_do_no_harm),
          T(links, that_cannot_be_made_say_where_they_stand),
          T(links, are_not_looked_for_in_what_is_no_resource),
          T(links, nested_without_end_are_refused))
