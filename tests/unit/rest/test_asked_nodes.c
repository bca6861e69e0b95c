/* Conditional writes while another process writes the same data store, in a database: what it
 * writes between the search and the commit is seen. The other process is a second opening of the
 * data store. */
#include "rest/database.h"

#include "rest/write/condition_private.h"

#define P(id, more) "{'resourceType':'Patient','id':'" id "'" more "}"
#define KEY(key)    ",'identifier':[{'value':'" key "'}]"
#define ANY(key)    "{'resourceType':'Patient'" KEY(key) "}"

static struct store *other;
static struct store_env *other_env;
/* What the other process does when this one's commit is on its way, and nothing is looked at any
 * more but within the commit. */
static void (*between)(void);
static unsigned n_commits;

err_code __real_store_commit_if(struct store *st, struct store_write *writes, size_t n,
                                struct store_still *still, struct store_commit *out, struct err *e);
err_code __wrap_store_commit_if(struct store *st, struct store_write *writes, size_t n,
                                struct store_still *still, struct store_commit *out, struct err *e);
err_code __wrap_store_commit_if(struct store *st, struct store_write *writes, size_t n,
                                struct store_still *still, struct store_commit *out, struct err *e)
{
    n_commits++;
    if (between)
        between();
    return __real_store_commit_if(st, writes, n, still, out, e);
}

/* ---- what the other process writes ---- */

struct stored { /* a resource as it is stored */
    struct arena *a;
    struct buf stored, index;
    struct fhir_envelope env;
};

static void stored_make(struct stored *s, const char *text)
{
    struct fhir_reader *reader = fhir_reader_new(1 << 16);
    char json[512];
    int n = snprintf(json, sizeof json, "%s", text);
    for (int i = 0; i < n; i++)
        json[i] = json[i] == '\'' ? '"' : json[i];
    s->a = arena_new(1 << 16);
    s->stored = BUF_INIT(1 << 16);
    s->index = BUF_INIT(1 << 16);
    OK(fhir_envelope_read(reader, sv_make(json, (size_t)n), SV_NONE, &s->stored, &s->env, e));
    s->env.id = arena_sv(s->a, s->env.id);
    OK(search_index(s->env.type, fhir_reader_root(reader), &s->index, e));
    fhir_reader_free(reader);
}

static void stored_done(struct stored *s)
{
    buf_done(&s->stored);
    buf_done(&s->index);
    arena_free(s->a);
}

static void other_puts(const char *text)
{
    struct stored s;
    struct store_commit at;
    stored_make(&s, text);
    struct store_write w = { .type = s.env.type,
                             .id = s.env.id,
                             .method = STORE_METHOD_UPDATE,
                             .body = s.env.body,
                             .index = buf_sv(&s.index) };
    OK(store_commit(other, &w, 1, &at, e));
    stored_done(&s);
}

static void other_loads(const char *text)
{
    struct stored s;
    struct store_commit at;
    struct store_bulk *b;
    stored_make(&s, text);
    struct store_bulk_item it = { s.env.type, s.env.id, s.env.body, 0, buf_sv(&s.index), NULL };
    OK(store_bulk_begin(other, &b, e));
    OK(store_bulk_fill(b, &it, 1, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &at, e));
    stored_done(&s);
}

/* ---- life ---- */

static int set_up(void **state)
{
    (void)database_set_up(state);
    other_env = store_env_new(8u << 20, 1);
    return 0;
}

static int tear_down(void **state)
{
    store_env_free(other_env);
    return asking_tear_down(state);
}

/* False: there is no PostgreSQL. */
static bool fresh(void)
{
    char uri[300];
    if (pg_server_uri() == NULL)
        return false;
    between = NULL;
    fresh_store();
    (void)snprintf(uri, sizeof uri, "%s/%s", here.w.stores, here.id);
    OK(store_open(other_env, uri, false, &other, e));
    n_commits = 0;
    return true;
}

static void over(void)
{
    store_close(other);
    database_over();
}

/* ---- cases ---- */

static void puts_a_match(void)
{
    between = NULL;
    other_puts(P("theirs", KEY("1")));
}
static void loads_a_match(void)
{
    between = NULL;
    other_loads(P("theirs", KEY("1")));
}

TEST(asked_nodes, what_another_created_or_loaded_in_between_is_found_instead)
{
    (void)state;
    void (*const ways[])(void) = { puts_a_match, loads_a_match };
    for (unsigned i = 0; i < 2; i++) {
        if (!fresh())
            return;
        between = ways[i];
        ASKED(200, "POST", "Patient", "If-None-Exist: identifier=1\n", ANY("1"));
        SAYS("/id", "theirs");
        GOT("Patient?identifier=1&_total=accurate");
        SAYS("/total", "1");
        over();
    }
}

TEST(asked_nodes, an_update_a_patch_and_a_deletion_by_search_meet_what_is_there)
{
    (void)state;
    static const char patch[] = "[{'op':'add','path':'/active','value':true}]";
    if (!fresh())
        return;
    between = puts_a_match;
    ASKED(200, "PUT", "Patient?identifier=1", "", ANY("1"));
    SAYS("/id", "theirs");
    SAYS("/meta/versionId", "2");
    /* each begins with one match, and is overtaken by a second one */
    for (unsigned i = 0; i < 2; i++) {
        over();
        (void)fresh();
        PUT_NEW("Patient/mine", P("mine", KEY("1")));
        between = i ? puts_a_match : loads_a_match;
        if (i)
            ASKED(412, "PATCH", "Patient?identifier=1",
                  "Content-Type: application/json-patch+json\n", patch);
        else
            ASKED(412, "DELETE", "Patient?identifier=1", "", NULL);
        GOT("Patient/mine");
        SAYS("/meta/versionId", "1");
    }
    over();
}

TEST(asked_nodes, a_transaction_finds_what_another_wrote_in_between)
{
    (void)state;
    if (!fresh())
        return;
    between = puts_a_match;
    DONE(ENTRY_IF("POST", "Patient", "'ifNoneExist':'identifier=1'", RESOURCE(ANY("1"))),
         ENTRY("POST", "Observation",
               RESOURCE("{'resourceType':'Observation','status':'final','code':{'text':'x'},"
                        "'subject':{'reference':'Patient?identifier=1'}}")));
    SAYS("/entry/0/response/status", "200");
    assert_int_equal(n_commits, 2);
    GOT("Observation?subject=Patient/theirs&_total=accurate");
    SAYS("/total", "1");
    GOT("Patient?identifier=1&_total=accurate");
    SAYS("/total", "1");
    over();
}

static void puts_others(void)
{
    other_puts(P("away", KEY("2")));
    other_puts("{'resourceType':'Organization','id':'o','name':'x'" KEY("1") "}");
}

/* Writers that are always faster do not stop who would not see what they write. */
TEST(asked_nodes, changes_that_the_search_would_not_see_cost_nothing)
{
    (void)state;
    if (!fresh())
        return;
    between = puts_others;
    ASKED(201, "POST", "Patient", "If-None-Exist: identifier=1\n", ANY("1"));
    assert_int_equal(n_commits, 1);
    between = NULL;
    over();
}

static void puts_on_the_way(void)
{
    other_puts("{'resourceType':'Organization','id':'o','name':'x'}");
}

TEST(asked_nodes, who_is_overtaken_again_and_again_is_told)
{
    (void)state;
    if (!fresh())
        return;
    between = puts_on_the_way;
    ASKED(409, "POST", "Patient", "If-None-Exist: organization.name=wanted\n", ANY("1"));
    assert_true(mentions("Resource was modified by another operation"));
    assert_int_equal(n_commits, 8);
    between = NULL;
    GOT("Patient?_total=accurate");
    SAYS("/total", "0");
    over();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(asked_nodes, what_another_created_or_loaded_in_between_is_found_instead),
        T(asked_nodes, an_update_a_patch_and_a_deletion_by_search_meet_what_is_there),
        T(asked_nodes, a_transaction_finds_what_another_wrote_in_between),
        T(asked_nodes, changes_that_the_search_would_not_see_cost_nothing),
        T(asked_nodes, who_is_overtaken_again_and_again_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
