/* An export against a store. The store is a table of answers that takes the place of client.c, so a
 * test says what the store held, and sees what it was asked. */
#include "cli/verifying.h"

#define BASE "/datastore/d/r4"

/* ---- the store ---- */

static struct held {
    const char *type, *id, *text; /* ' stands for " */
} held[20];
static size_t n_held;
static unsigned page_size;
static long fails_with; /* a status for all; 0: none */
static const char *endpoint;
static struct buf asked;

err_code client_new(const struct client_options *o, struct client **out, struct err *e)
{
    (void)e;
    endpoint = o->endpoint;
    *out = (struct client *)(void *)&n_held;
    return ERR_OK;
}

void client_free(struct client *c)
{
    (void)c;
}

err_code client_refusal(const struct client_answer *a, struct err *e)
{
    return ERR(e, a->status == 404 ? ERR_NOT_FOUND : ERR_PEER, "status %ld", a->status);
}

static void add(struct client_answer *out, const char *text)
{
    for (; *text; text++)
        OK(buf_add_char(&out->body, *text == '\'' ? '"' : *text, e));
}

static void answer_count(struct client_answer *out, const char *type)
{
    char text[60];
    unsigned n = 0;
    for (size_t i = 0; i < n_held; i++)
        n += strcmp(held[i].type, type) == 0;
    (void)snprintf(text, sizeof text, "{'total':%u}", n);
    add(out, text);
}

/* The page that begins at the n-th of the type. */
static void answer_page(struct client_answer *out, const char *type, unsigned from)
{
    char link[200];
    unsigned n = 0;
    bool more = false, any = false;
    add(out, "{'entry':[");
    for (size_t i = 0; i < n_held; i++)
        if (strcmp(held[i].type, type) == 0 && n++ >= from) {
            more = n > from + page_size;
            if (more)
                break;
            add(out, any ? ",{'resource':" : "{'resource':");
            add(out, held[i].text);
            add(out, "}");
            any = true;
        }
    (void)snprintf(
        link, sizeof link, "],'link':[{'relation':'self','url':'http://other" BASE "/x'}%s%s",
        more ? ",{'relation':'next','url':'http://other" BASE "/" : "", more ? type : "");
    add(out, link);
    (void)snprintf(link, sizeof link, "?from=%u'}", from + page_size);
    if (more)
        add(out, link);
    add(out, "]}");
}

static void answer_version(struct client_answer *out, const char *type, const char *id)
{
    for (size_t i = 0; i < n_held; i++)
        if (strcmp(held[i].type, type) == 0 && strcmp(held[i].id, id) == 0) {
            add(out, "{'entry':[{'resource':");
            add(out, held[i].text);
            add(out, "}]}");
            return;
        }
    out->status = 404;
}

err_code client_run(struct client *c, const struct client_call *call, struct client_answer *out,
                    struct err *why)
{
    char target[400], type[40] = "", id[70] = "";
    unsigned from = 0;
    (void)c, (void)why;
    (void)snprintf(target, sizeof target, "%.*s", SV_FMT(call->target));
    OK(buf_add_fmt(&asked, e, "%s %s\n", call->method, target));
    *out = (struct client_answer){ .status = 200, .body = BUF_INIT(1 << 20) };
    assert_int_equal(strncmp(target, BASE "/", sizeof BASE), 0);
    const char *at = target + sizeof BASE;
    if (fails_with)
        out->status = fails_with;
    else if (sscanf(at, "%39[A-Za-z]/%69[^/]/_history", type, id) == 2)
        answer_version(out, type, id);
    else if (sscanf(at, "%39[A-Za-z]?from=%u", type, &from) == 2 ||
             sscanf(at, "%39[A-Za-z]", type) == 1) {
        if (strstr(at, "_summary=count"))
            answer_count(out, type);
        else
            answer_page(out, type, from);
    }
    return ERR_OK;
}

/* ---- the export ---- */

#define MANIFEST(members)                                                                      \
    "{'transactionTime':'2026-11-23T18:30:00Z','datastoreId':'d','jobId':'j','asOfCommit':42," \
    "'output':[{'type':'Patient','url':'p'}]," members "}"
#define P(id, more) "{'resourceType':'Patient','id':'" id "'" more "}"
#define SAME                                     \
    { "Patient", "a", P("a", "") },              \
    {                                            \
        "Patient", "b", P("b", ",'active':true") \
    }
#define EXPORTED P("a", "") "\n" P("b", ",'active':true") "\n"
#define WHOLE    MANIFEST("'request':'StartFHIRExportJob','countPerType':{'Patient':2}")

static void store_holds(const struct held *them, size_t n)
{
    memcpy(held, them, n * sizeof *them);
    n_held = n;
}
#define STORE(...)                                    \
    store_holds((const struct held[]){ __VA_ARGS__ }, \
                sizeof((const struct held[]){ __VA_ARGS__ }) / sizeof(struct held))

/* What a comparison tells; files holds the lines of the one file. */
static err_code compared(const char *manifest, const char *files, bool full, struct err *why)
{
    struct verify_options none = { 0 };
    put("manifest.json", manifest);
    put("p", files);
    buf_init(&asked, 1 << 20);
    buf_clear(&asked);
    page_size = 1;
    OK(place_open(&none, folder, &v.place, e));
    v.as_of = 0;
    OK(verify_manifest_read(&v, e));
    v.n_files = 0;
    OK(verify_manifest_files(&v, e));
    for (size_t i = 0; i < v.n_files; i++)
        v.files[i].there = true;
    if (v.o.against == NULL)
        v.o.against = "http://h:1";
    v.o.full = full;
    err_code rc = verify_against(&v, why);
    place_free(v.place);
    v.place = NULL;
    OK(buf_add_char(&asked, 0, e));
    return rc;
}

static const char *full(const char *manifest, const char *files)
{
    OK(compared(manifest, files, true, e));
    buf_done(&asked);
    return differences();
}

TEST(verify_against, a_store_that_held_what_was_exported_differs_nowhere)
{
    (void)state;
    STORE(SAME);
    assert_string_equal(full(WHOLE, EXPORTED), "");
    /* white space and the meta of a version are not content */
    STORE({ "Patient", "b", P("b", ", 'active' : true") }, { "Patient", "a", P("a", "") });
    assert_string_equal(full(WHOLE, EXPORTED), "");
}

TEST(verify_against, it_asks_as_of_the_commit_of_the_export)
{
    (void)state;
    STORE(SAME);
    OK(compared(WHOLE, EXPORTED, true, e));
    assert_non_null(strstr(asked.ptr, "GET " BASE "/Patient?_summary=count&_total=accurate&_asOf="
                                      "42\n"));
    assert_non_null(strstr(asked.ptr, "GET " BASE "/Patient?_asOf=42&_count="));
    /* page by page, on the server that was named */
    assert_non_null(strstr(asked.ptr, "GET " BASE "/Patient?from=1\n"));
    assert_string_equal(endpoint, "http://h:1");
    buf_done(&asked);
}

TEST(verify_against, counts_are_compared_type_by_type)
{
    (void)state;
    STORE(SAME, { "Group", "g", "{'resourceType':'Group','id':'g'}" });
    /* a whole export says of what it does not name that there was none */
    assert_string_equal(full(WHOLE, EXPORTED),
                        "store: held 1 Group as of the export, the manifest says 0\n");
    /* another one says nothing of it */
    assert_string_equal(full(MANIFEST("'countPerType':{'Patient':2}"), EXPORTED), "");
    assert_string_equal(
        full(MANIFEST("'countPerType':{'Patient':2},'storeCountPerType':{'Patient':3}"), EXPORTED),
        "store: held 2 Patient as of the export, the manifest says 3\n");
}

TEST(verify_against, each_resource_is_found_with_its_text)
{
    (void)state;
    STORE({ "Patient", "a", P("a", "") }, { "Patient", "b", P("b", ",'active':false") });
    assert_string_equal(full(WHOLE, EXPORTED),
                        "store: Patient/b was another version, or another text\n");
    STORE({ "Patient", "a", P("a", "") }, { "Patient", "c", P("c", "") });
    assert_string_equal(full(WHOLE, EXPORTED),
                        "store: held Patient/c, which is not in the files\n"
                        "store: did not hold 1 Patient of the files as of the export\n");
    STORE({ "Patient", "a", P("a", "") });
    assert_string_equal(full(WHOLE, EXPORTED),
                        "store: held 1 Patient as of the export, the manifest says 2\n"
                        "store: did not hold 1 Patient of the files as of the export\n");
}

/* A filtered export: the store held more, and that is no difference. */
TEST(verify_against, what_a_filter_left_out_is_not_missed)
{
    (void)state;
    STORE(SAME, { "Patient", "c", P("c", "") });
    assert_string_equal(
        full(MANIFEST("'countPerType':{'Patient':2},'storeCountPerType':{'Patient':3}"), EXPORTED),
        "");
}

TEST(verify_against, a_resource_that_was_cut_has_no_text_to_compare)
{
    (void)state;
    STORE({ "Patient", "a", P("a", ",'active':true") });
    assert_string_equal(full(MANIFEST("'countPerType':{'Patient':1}"),
                             P("a", ",'meta':{'tag':[{'code':'SUBSETTED'}]}") "\n"),
                        "");
}

/* ---- a sample ---- */

static const char *sampled(const char *const texts[], size_t n)
{
    struct buf scratch = BUF_INIT(1 << 16);
    v.samples = arena_calloc(v.a, n + 1, sizeof *v.samples);
    v.n_samples = n;
    for (size_t i = 0; i < n; i++) {
        yyjson_val *root = json(texts[i]);
        v.samples[i].type = fhir_type_find(json_string(json_get(root, "resourceType")));
        v.samples[i].id = json_string(json_get(root, "id"));
        OK(verify_text_of(root, &scratch, &v.samples[i].text, e));
    }
    buf_done(&scratch);
    OK(compared(MANIFEST("'countPerType':{'Patient':2}"), EXPORTED, false, e));
    /* as of the instant of the export */
    assert_non_null(strstr(asked.ptr, "/_history?_at=2026-11-23T18:30:00Z\n"));
    buf_done(&asked);
    return differences();
}

TEST(verify_against, a_sample_is_looked_up_one_by_one)
{
    (void)state;
    static const char *const good[] = { P("a", ""), P("b", ",'active':true") },
                             *const other[] = { P("a", ",'active':true") },
                             *const nobody[] = { P("z", "") };
    STORE(SAME);
    assert_string_equal(sampled(good, 2), "");
    assert_string_equal(sampled(other, 1),
                        "store: Patient/a was another version, or another text\n");
    assert_string_equal(sampled(nobody, 1), "store: has no Patient that is in the files\n");
}

/* ---- what cannot be compared ---- */

TEST(verify_against, what_cannot_be_looked_at_is_an_error)
{
    (void)state;
    STORE(SAME);
    fails_with = 503;
    FAILS(ERR_PEER, compared(WHOLE, EXPORTED, true, e));
    buf_done(&asked);
    fails_with = 0;
    /* no commit */
    FAILS(ERR_INVALID, compared("{'transactionTime':'2026-11-23T18:30:00Z','datastoreId':'d',"
                                "'jobId':'j','output':[]}",
                                "", true, e));
    buf_done(&asked);
}

TEST(verify_against, a_url_names_the_server_or_the_data_store)
{
    (void)state;
    STORE(SAME);
    v.o.against = "http://h:1/";
    assert_string_equal(full(WHOLE, EXPORTED), "");
    v.o.against = "http://h:1" BASE "/";
    assert_string_equal(full(WHOLE, EXPORTED), "");
    assert_string_equal(endpoint, "http://h:1");
    v.o.against = "h:1";
    FAILS(ERR_INVALID, compared(WHOLE, EXPORTED, true, e));
    buf_done(&asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERIFYING(verify_against, a_store_that_held_what_was_exported_differs_nowhere),
        VERIFYING(verify_against, it_asks_as_of_the_commit_of_the_export),
        VERIFYING(verify_against, counts_are_compared_type_by_type),
        VERIFYING(verify_against, each_resource_is_found_with_its_text),
        VERIFYING(verify_against, what_a_filter_left_out_is_not_missed),
        VERIFYING(verify_against, a_resource_that_was_cut_has_no_text_to_compare),
        VERIFYING(verify_against, a_sample_is_looked_up_one_by_one),
        VERIFYING(verify_against, what_cannot_be_looked_at_is_an_error),
        VERIFYING(verify_against, a_url_names_the_server_or_the_data_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
