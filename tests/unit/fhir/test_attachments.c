/* Urls of Attachments made absolute: which, into what, and that nothing but them changes. */
#include "test.h"

#include "codec/json.h"
#include "fhir/attachments.h"

#define BASE "http://h:8080/datastore/0a/r4"
static struct fhir_attachments ours = { .base = { BASE, sizeof BASE - 1 } };
static size_t n_changed;

/* text as it is stored, its urls absolute, its hole filled. What changes must not have passed
 * unread. */
static const char *served(const char *text)
{
    static char out[65536];
    static char meta[] = "\"versionId\":\"7\",\"lastUpdated\":\"2026-11-23T18:30:00.123Z\"";
    struct fhir_reader *r = fhir_reader_new(1 << 20);
    struct arena *a = arena_new(64u << 20);
    struct buf stored = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    struct fhir_body body;
    yyjson_doc *doc;
    OK(buf_add(&b, SV_LIT("before"), e));
    OK(fhir_envelope_read(r, sv_from(text), SV_NONE, &stored, &env, e));
    body = env.body;
    OK(json_read(a, body.json, 300, &doc, e));
    OK(fhir_attachments_absolute(&ours, &env.body, yyjson_doc_get_root(doc), &b, &body, &n_changed,
                                 e));
    if (n_changed) {
        assert_true(fhir_attachments_may(&ours, env.body.json));
        assert_true(body.json.ptr == b.ptr + sizeof "before" - 1);
    } else {
        assert_sv(sv_tail(buf_sv(&b), sizeof "before" - 1), env.body.json);
    }
    size_t n = fhir_body_write(&body, 7, 1795458600123, out);
    out[n] = 0;
    /* nothing else may be shifted */
    char *at = strstr(out, meta);
    assert_non_null(at);
    memmove(at, at + sizeof meta - 1, strlen(at + sizeof meta - 1) + 1);
    buf_done(&b);
    buf_done(&stored);
    arena_free(a);
    fhir_reader_free(r);
    return out;
}

#define PHOTO(url) "{\"resourceType\":\"Patient\",\"id\":\"p\",\"photo\":[{\"url\":\"" url "\"}]}"
#define PHOTO_OUT(url) \
    "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{},\"photo\":[{\"url\":\"" url "\"}]}"

/* url within a resource, with quotes and escapes as given. */
static void becomes(const char *url, const char *want)
{
    char in[2048], out[2048];
    (void)snprintf(in, sizeof in, PHOTO("%s"), url);
    (void)snprintf(out, sizeof out, PHOTO_OUT("%s"), want);
    assert_string_equal(served(in), out);
    assert_int_equal(n_changed, strcmp(url, want) != 0);
}
static void stays(const char *url)
{
    becomes(url, url);
}

TEST(attachments, relative_urls_come_below_the_base)
{
    (void)state;
    becomes("Binary/x", BASE "/Binary/x");
    becomes("Binary/x/_history/2", BASE "/Binary/x/_history/2");
    becomes("./Binary/x", BASE "/Binary/x");
    becomes("/Binary/x", BASE "/Binary/x");
    becomes("Binary/x?_format=json&a=b:c#page=3", BASE "/Binary/x?_format=json&a=b:c#page=3");
    becomes("DocumentReference/d/$docref", BASE "/DocumentReference/d/$docref");
    becomes("scan.pdf", BASE "/scan.pdf");
    becomes("scans/2024/a%20b.pdf", BASE "/scans/2024/a%20b.pdf");
    becomes("x", BASE "/x");
    becomes("a/b:c", BASE "/a/b:c");
    becomes("a/.../b", BASE "/a/.../b");
    becomes("a/.b/%2e%2e%2e/..c", BASE "/a/.b/%2e%2e%2e/..c");
    becomes("/datastore/0a/r4/Binary/x", BASE "/Binary/x");
    becomes("/datastore/other/r4/Binary/x", "http://h:8080/datastore/other/r4/Binary/x");
    becomes("/files/x.pdf", "http://h:8080/files/x.pdf");
}

TEST(attachments, urls_with_escapes_are_meant_by_what_they_spell)
{
    (void)state;
    becomes("Binary\\/x", BASE "/Binary/x");
    becomes("\\u0042inary\\u002fx", BASE "/Binary/x");
    becomes(".\\/Binary/x", BASE "/Binary/x");
    stays("https:\\/\\/elsewhere.example\\/Binary\\/x");
    stays("urn\\u003ax");
    assert_string_equal(
        served("{\"resourceType\":\"Patient\",\"id\":\"p\",\"\\u0070hoto\":[{\"u\\u0072l\":"
               "\"Binary/x\"}]}"),
        "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{},\"\\u0070hoto\":[{\"u\\u0072l\":"
        "\"" BASE "/Binary/x\"}]}");
    assert_string_equal(/* a name that has no escapes before one that has */
                        served("{\"resourceType\":\"Patient\",\"id\":\"p\",\"extension\":[{\"url\":"
                               "\"rel\"}],"
                               "\"phot\\u006f\":[{\"url\":\"Binary/x\"}]}"),
                        "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{},\"extension\":[{"
                        "\"url\":\"rel\"}],"
                        "\"phot\\u006f\":[{\"url\":\"" BASE "/Binary/x\"}]}");
}

TEST(attachments, urls_of_other_places_and_what_is_no_relative_url_stay)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "#contained",
        "?x",
        "http://elsewhere.example/datastore/0a/r4/Binary/x",
        "https://h:8080/datastore/0a/r4/Binary/x",
        "http://h:8080.evil.example/datastore/0a/r4/Binary/x",
        "http://h:80801/datastore/0a/r4/Binary/x",
        "http://h:8080/datastore/0a/r4x/Binary/x",
        "http://user@h:8080/datastore/0a/r4/Binary/x",
        "//elsewhere.example/Binary/x",
        "data:text/plain;base64,AAAA",
        "urn:uuid:5ff66cd0-9f3c-4d2b-9c0a-2f6f5d6f0f3e",
        "ftp://h/x",
        "mailto:a@b",
        "Binary:x",
        "../other/r4/Binary/x",
        "Binary/../../x",
        "Binary/x/..",
        "a/./b",
        "Binary/%2e%2E/x",
        "%2e./x",
        "/files/%2e",
        "see the paper file",
        "Befund für.pdf",
        "<x>",
        "a\\\"b",
        "a\\\\b",
        "a\\u0000b",
        "a\\nb",
        BASE "/Binary/x",
        BASE "/Binary/x/_history/1",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++)
        stays(urls[i]);
}

TEST(attachments, urls_below_our_other_base_come_below_this_one)
{
    (void)state;
    ours.other = SV_LIT("http://inside/datastore/0a/r4");
    becomes("http://inside/datastore/0a/r4/Binary/x", BASE "/Binary/x");
    becomes("http:\\/\\/inside/datastore/0a/r4/Binary/x/_history/3", BASE "/Binary/x/_history/3");
    becomes("http://inside/datastore/0a/r4?x", BASE "?x");
    becomes("http://inside/datastore/0a/r4", BASE);
    becomes("Binary/x", BASE "/Binary/x");
    stays("http://inside/datastore/0a/r4s/Binary/x");
    stays("http://inside/datastore/0a/r4/../../x");
    stays("http://inside/datastore/0a/r4/a b");
    stays("http://inside.example/datastore/0a/r4/Binary/x");
    stays(BASE "/Binary/x");
    ours.other = SV_NONE;
}

#define ATTACHMENT "{\"contentType\":\"text/plain\",\"url\":\"Binary/x\",\"title\":\"Binary/x\"}"
#define ABSOLUTE \
    "{\"contentType\":\"text/plain\",\"url\":\"" BASE "/Binary/x\",\"title\":\"Binary/x\"}"

/* %s is where an Attachment stands. */
static void found_in(const char *fmt)
{
    char in[4096], out[4096];
    size_t n = 0;
    int len = 0;
    for (const char *p = fmt; *p; n += *p == '@', p++)
        len += snprintf(in + len, sizeof in - (size_t)len, "%.*s", *p == '@' ? 99 : 1,
                        *p == '@' ? ATTACHMENT : p);
    len = 0;
    for (const char *p = fmt; *p; p++)
        len += snprintf(out + len, sizeof out - (size_t)len, "%.*s", *p == '@' ? 199 : 1,
                        *p == '@' ? ABSOLUTE : p);
    /* is added */
    char *meta = strstr(in, "\"meta\":{},");
    if (meta)
        memmove(meta, meta + 10, strlen(meta + 10) + 1);
    assert_string_equal(served(in), out);
    assert_int_equal(n_changed, n);
}

TEST(attachments, are_found_wherever_the_definitions_put_them)
{
    (void)state;
    static const char *const places[] = {
        "{\"resourceType\":\"DocumentReference\",\"id\":\"d\",\"meta\":{},\"content\":[{"
        "\"attachment\":@},{\"attachment\":@}]}",
        "{\"resourceType\":\"Media\",\"id\":\"d\",\"meta\":{},\"content\":@}",
        "{\"resourceType\":\"Library\",\"id\":\"d\",\"meta\":{},\"content\":[@,@],"
        "\"relatedArtifact\":[{\"url\":\"Binary/x\",\"document\":@}]}",
        "{\"resourceType\":\"DiagnosticReport\",\"id\":\"d\",\"meta\":{},\"presentedForm\":[@]}",
        "{\"resourceType\":\"Communication\",\"id\":\"d\",\"meta\":{},\"payload\":[{"
        "\"contentAttachment\":@},{\"contentString\":\"Binary/x\"}]}",
        "{\"resourceType\":\"Consent\",\"id\":\"d\",\"meta\":{},\"sourceAttachment\":@}",
        "{\"resourceType\":\"BodyStructure\",\"id\":\"d\",\"meta\":{},\"image\":[@]}",
        "{\"resourceType\":\"Claim\",\"id\":\"d\",\"meta\":{},\"supportingInfo\":[{"
        "\"valueAttachment\":@}]}",
        "{\"resourceType\":\"ExplanationOfBenefit\",\"id\":\"d\",\"meta\":{},\"form\":@}",
        "{\"resourceType\":\"QuestionnaireResponse\",\"id\":\"d\",\"meta\":{},\"item\":[{\"item\":"
        "[{\"answer\":[{\"valueAttachment\":@,\"item\":[{\"answer\":[{\"valueAttachment\":@}]}]}]}"
        "]}]}",
        "{\"resourceType\":\"Observation\",\"id\":\"d\",\"meta\":{},\"extension\":[{\"url\":"
        "\"Binary/x\",\"extension\":[{\"url\":\"rel\",\"valueAttachment\":@}]},{\"url\":\"rel\","
        "\"valueUrl\":\"Binary/x\"}],\"modifierExtension\":[{\"url\":\"http://e\","
        "\"valueAttachment\":@}],\"status\":\"final\",\"_status\":{\"extension\":[{\"url\":\"x\","
        "\"valueAttachment\":@}]},\"component\":[{\"code\":{\"extension\":[{\"url\":\"Binary/x\","
        "\"valueAttachment\":@}]}}]}",
        "{\"resourceType\":\"Patient\",\"id\":\"d\",\"meta\":{},\"photo\":[{\"_url\":{"
        "\"extension\":[{\"url\":\"x\",\"valueAttachment\":@}]},\"extension\":[{\"url\":\"x\","
        "\"valueAttachment\":@}]}]}",
        "{\"resourceType\":\"Observation\",\"id\":\"d\",\"meta\":{},\"contained\":[{\"content\":[{"
        "\"attachment\":@}],\"resourceType\":\"DocumentReference\"},{\"resourceType\":\"Patient\","
        "\"photo\":[@]}]}",
        "{\"resourceType\":\"Parameters\",\"id\":\"d\",\"meta\":{},\"parameter\":[{\"part\":[{"
        "\"valueAttachment\":@},{\"resource\":{\"resourceType\":\"Person\",\"photo\":@}}]}]}",
        "{\"resourceType\":\"Bundle\",\"id\":\"d\",\"meta\":{},\"entry\":[{\"resource\":{"
        "\"resourceType\":\"Patient\",\"photo\":[@]}}]}",
        "{\"resourceType\":\"Task\",\"id\":\"d\",\"meta\":{},\"input\":[{\"valueAttachment\":@}]}",
        "{\"resourceType\":\"Questionnaire\",\"id\":\"d\",\"meta\":{},\"url\":\"Binary/x\","
        "\"item\":[{\"initial\":[{\"valueAttachment\":@}]}]}",
        "{\"resourceType\":\"Contract\",\"id\":\"d\",\"meta\":{},\"term\":[{\"offer\":{\"answer\":"
        "[{\"valueAttachment\":@}]}}],\"legal\":[{\"contentAttachment\":@}],"
        "\"legallyBindingAttachment\":@}",
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        found_in(places[i]);
}

TEST(attachments, move_the_hole_of_a_body_only_when_they_stand_before_it)
{
    (void)state;
    found_in("{\"photo\":[@,@],\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{}}");
    assert_string_equal(
        served("{\"photo\":[{\"url\":\"Binary\\/x\"}],\"meta\":{\"profile\":[\"x\"]},"
               "\"resourceType\":\"Practitioner\",\"id\":\"p\"}"),
        "{\"photo\":[{\"url\":\"" BASE "/Binary/x\"}],\"meta\":{,\"profile\":[\"x\"]},"
        "\"resourceType\":\"Practitioner\",\"id\":\"p\"}");
    assert_string_equal(
        served("{\"photo\":[{\"url\":\"\\u0042\\u0069nary\\/x\"}],\"id\":\"p\","
               "\"resourceType\":\"Practitioner\",\"meta\":{\"profile\":[\"x\"]},"
               "\"extension\":[{\"url\":\"u\",\"valueAttachment\":{\"url\":\"Binary/y\"}}]}"),
        "{\"photo\":[{\"url\":\"" BASE "/Binary/x\"}],\"id\":\"p\","
        "\"resourceType\":\"Practitioner\",\"meta\":{,\"profile\":[\"x\"]},"
        "\"extension\":[{\"url\":\"u\",\"valueAttachment\":{\"url\":\"" BASE "/Binary/y\"}}]}");
}

#define ENTRY(full_url, photo)                                                               \
    "{\"resourceType\":\"Bundle\",\"id\":\"b\",\"meta\":{},\"entry\":[{\"resource\":{"       \
    "\"resourceType\":\"Person\",\"photo\":{\"url\":\"" photo "\"}},\"fullUrl\":\"" full_url \
    "\"},{\"resource\":{\"resourceType\":\"Person\",\"photo\":{\"url\":\"" BASE "/Binary/y\"}}}]}"

static void in_entry(const char *full_url, bool changes)
{
    char in[2048], out[2048];
    (void)snprintf(in, sizeof in, ENTRY("%s", "Binary/x"), full_url);
    (void)snprintf(out, sizeof out, ENTRY("%s", "%sBinary/x"), changes ? BASE "/" : "", full_url);
    assert_string_equal(served(in), out);
}

TEST(attachments, of_an_entry_from_elsewhere_are_relative_to_that_place)
{
    (void)state;
    ours.other = SV_LIT("http://inside/datastore/0a/r4");
    in_entry("http://elsewhere.example/fhir/Person/1", false);
    in_entry("HTTPS://elsewhere.example/fhir/Person/1", false);
    in_entry("http://h:8080.evil.example/datastore/0a/r4/Person/1", false);
    in_entry(BASE "/Person/1", true);
    in_entry("http://inside/datastore/0a/r4/Person/1", true);
    in_entry("urn:uuid:5ff66cd0-9f3c-4d2b-9c0a-2f6f5d6f0f3e", true);
    in_entry("", true);
    /* a Bundle in an entry: the inner fullUrl counts, and behind it the outer one again */
    assert_string_equal(
        served("{\"resourceType\":\"Bundle\",\"id\":\"b\",\"meta\":{},\"entry\":[{\"fullUrl\":"
               "\"http://far/Bundle/1\",\"resource\":{\"resourceType\":\"Bundle\",\"entry\":[{"
               "\"fullUrl\":\"urn:x\",\"resource\":{\"resourceType\":\"Person\",\"photo\":{\"url\":"
               "\"a\"}}}],\"contained\":[],\"signature\":{\"extension\":[{\"url\":\"u\","
               "\"valueAttachment\":{\"url\":\"b\"}}]}}}]}"),
        "{\"resourceType\":\"Bundle\",\"id\":\"b\",\"meta\":{},\"entry\":[{\"fullUrl\":"
        "\"http://far/Bundle/1\",\"resource\":{\"resourceType\":\"Bundle\",\"entry\":[{"
        "\"fullUrl\":\"urn:x\",\"resource\":{\"resourceType\":\"Person\",\"photo\":{\"url\":"
        "\"" BASE "/a\"}}}],\"contained\":[],\"signature\":{\"extension\":[{\"url\":\"u\","
        "\"valueAttachment\":{\"url\":\"b\"}}]}}}]}");
    ours.other = SV_NONE;
}

TEST(attachments, that_are_none_stay)
{
    (void)state;
    static const char *const members[] = {
        "\"extension\":[{\"url\":\"Binary/x\"}],\"photo\":[{\"title\":\"Binary/x\"}]",
        "\"photo\":\"Binary/x\"",
        "\"photo\":[{\"url\":7},{\"url\":{\"url\":\"Binary/x\"}},{\"url\":null},null]",
        "\"unknown\":{\"valueAttachment\":{\"url\":\"Binary/x\"}}",
        "\"language\":\"\\\"photo\\\":[{\\\"url\\\":\\\"Binary/x\\\"}]\"",
        "\"contained\":[{\"photo\":[{\"url\":\"Binary/x\"}]}]",
        "\"contained\":[{\"resourceType\":\"X\",\"photo\":[{\"url\":\"Binary/x\"}]}]",
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        char in[1024], out[1024];
        (void)snprintf(in, sizeof in, "{\"resourceType\":\"Patient\",\"id\":\"p\",%s}", members[i]);
        (void)snprintf(out, sizeof out,
                       "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{},%s}", members[i]);
        assert_string_equal(served(in), out);
    }
}

TEST(attachments, pass_unread_where_there_are_none)
{
    (void)state;
    static const char *const unread[] = {
        "{}",
        "{\"url\":\"Binary/x\"}",
        "{\"photo\":[{\"title\":\"ur\"}]}",
        "{\"photo\":[{\"url\":\"https://elsewhere.example/x\"}]}",
        "{\"extension\":[{\"url\":\"ombCategory\",\"valueCoding\":{\"code\":\"x\"}},{\"url\":"
        "\"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race\"}]}",
        "{\"note\":\"m\\u00e4 \\u2028 \\u0022 \\u003c \\n \\\\ ur url \\\"url\\\":\"}",
        "{\"photo\":[{\"url\":\"" BASE "/Binary/x\"}]}",
        "{\"photo\":[{\"url\":",
        "\"url\":\"",
        "ur",
        "\\u",
        "\\u00",
        "\\u006",
        "u",
        "",
    };
    for (size_t i = 0; i < sizeof unread / sizeof unread[0]; i++)
        assert_false(fhir_attachments_may(&ours, sv_from(unread[i])));
    /* wherever in a vector it stands */
    char text[512];
    for (int before = 0; before < 70; before++)
        for (int between = 0; between < 70; between++)
            for (int after = 0; after < 40; after += 3) {
                (void)snprintf(text, sizeof text, "%*s\"photo\":%*s\"url\":\"x\"%*s", before, "",
                               between, "", after, "");
                assert_true(fhir_attachments_may(&ours, sv_from(text)));
                (void)snprintf(text, sizeof text, "%*s\"url\":\"a\"%*s\"photo\":%*s", before, "",
                               between, "", after, "");
                assert_false(fhir_attachments_may(&ours, sv_from(text)));
                (void)snprintf(text, sizeof text, "\"url\":\"a\"%*s\"photo\":%*s\"url\":\"x\"%*s",
                               before, "", between, "", after, "");
                assert_true(fhir_attachments_may(&ours, sv_from(text)));
                (void)snprintf(text, sizeof text, "%*s\\u0075%*s", before, "", after, "");
                assert_true(fhir_attachments_may(&ours, sv_from(text)));
            }
}

/* The official examples: what the scan lets pass has nothing to change. */
TEST(attachments, of_the_official_examples_are_never_overlooked)
{
    (void)state;
    char path[512];
    static char line[16 << 20];
    const char *source = getenv("FHIRLAKE_SOURCE");
    (void)snprintf(path, sizeof path, "%s/.deps/fhir-r4/examples.ndjson", source ? source : ".");
    FILE *f = fopen(path, "r");
    size_t n = 0, changed = 0;
    if (f == NULL) {
        print_message("no FHIR data: run ./dev fhir-data\n");
        skip();
    }
    while (fgets(line, sizeof line, f)) {
        struct fhir_reader *r = fhir_reader_new(16 << 20);
        struct arena *a = arena_new(512u << 20);
        struct buf stored = BUF_INIT(32 << 20), b = BUF_INIT(32 << 20);
        struct fhir_envelope env;
        struct fhir_body now;
        struct err err;
        yyjson_doc *doc;
        size_t here;
        if (fhir_envelope_read(r, sv_from(line), SV_NONE, &stored, &env, &err) == ERR_OK) {
            OK(json_read(a, env.body.json, 300, &doc, e));
            OK(fhir_attachments_absolute(&ours, &env.body, yyjson_doc_get_root(doc), &b, &now,
                                         &here, e));
            assert_true(here == 0 || fhir_attachments_may(&ours, env.body.json));
            changed += here;
            n++;
        }
        buf_done(&b);
        buf_done(&stored);
        arena_free(a);
        fhir_reader_free(r);
    }
    (void)fclose(f);
    assert_true(n > 500);
    print_message("%zu examples, %zu urls\n", n, changed);
    assert_true(changed > 0);
}

TEST_MAIN(T(attachments, relative_urls_come_below_the_base),
          T(attachments, urls_with_escapes_are_meant_by_what_they_spell),
          T(attachments, urls_of_other_places_and_what_is_no_relative_url_stay),
          T(attachments, urls_below_our_other_base_come_below_this_one),
          T(attachments, are_found_wherever_the_definitions_put_them),
          T(attachments, move_the_hole_of_a_body_only_when_they_stand_before_it),
          T(attachments, of_an_entry_from_elsewhere_are_relative_to_that_place),
          T(attachments, that_are_none_stay), T(attachments, pass_unread_where_there_are_none),
          T(attachments, of_the_official_examples_are_never_overlooked))
