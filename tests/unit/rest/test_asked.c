/* A write that goes by a search is committed while the search would still find the same. */
#include "rest/asking.h"

#include "rest/rest_private.h"
#include "rest/write/condition_private.h"
#include "store/last.h"

#define P(id, more) "{'resourceType':'Patient','id':'" id "'" more "}"
#define KEY(key)    ",'identifier':[{'value':'" key "'}]"

/* A conditional write half way: the search is made, the commit is not. */
struct half {
    struct arena *a;
    struct datastore_held *held;
    struct rest_call c;
    struct rest_asked_list asked;
    size_t n_found;
    uint64_t version;
};

static void searched(struct half *h, const char *type, const char *query,
                     const struct rest_scope *scope)
{
    struct query *q;
    sv id = SV_NONE;
    *h = (struct half){ .a = arena_new(16u << 20) };
    OK(datastore_hold(here.w.service, sv_from(here.id), &h->held, e));
    h->c = (struct rest_call){ .service = here.w.service,
                               .a = h->a,
                               .ds = datastore_of(h->held),
                               .base = SV_LIT("http://localhost/r4"),
                               .type = fhir_type_find(sv_from(type)),
                               .asked = &h->asked,
                               .scope = scope };
    OK(store_registry_acquire(here.w.registry, sv_from(here.id), false, &h->c.st, e));
    OK(rest_condition_add(&h->c, sv_from(query), e));
    OK(rest_condition_query(&q, &h->c, e));
    OK(rest_condition_one(&h->c, q, scope, &id, &h->version, &h->n_found, e));
    assert_int_equal(h->asked.n, 1);
}

/* The second half: Basic/done is written, or the search is overtaken and nothing is. */
static bool done(struct half *h)
{
    sv json = SV_LIT("{\"resourceType\":\"Basic\",\"id\":\"done\"}");
    struct store_write one = { .type = fhir_type_find(SV_LIT("Basic")),
                               .id = SV_LIT("done"),
                               .body = { json, (uint32_t)json.len - 1, FHIR_HOLE_NO_META } };
    struct store_commit at;
    struct err e;
    bool overtaken;
    uint64_t before = last_of(h->c.st).t;
    err_code rc = rest_commit_asked(&h->c, &h->asked, &one, 1, &at, &overtaken, &e);
    bool written = last_of(h->c.st).t != before;
    store_registry_release(here.w.registry, h->c.st);
    datastore_release(&h->held);
    arena_free(h->a);
    assert_int_equal(rc, overtaken ? ERR_CONFLICT : ERR_OK);
    assert_true(written == !overtaken);
    /* Nobody is left at the lock. */
    assert_null(here.w.service->rest->conditional.first);
    return written;
}

TEST(asked, is_committed_when_nothing_came_between)
{
    (void)state;
    struct half h;
    fresh_store();
    searched(&h, "Patient", "identifier=1", NULL);
    assert_int_equal(h.n_found, 0);
    assert_true(done(&h));
    PUT_NEW("Patient/a", P("a", KEY("1")));
    searched(&h, "Patient", "identifier=1", NULL);
    assert_int_equal(h.n_found, 1);
    assert_true(done(&h));
}

TEST(asked, is_overtaken_by_one_that_matches)
{
    (void)state;
    struct half h;
    fresh_store();
    /* none was found, and now there is one */
    searched(&h, "Patient", "identifier=1", NULL);
    PUT_NEW("Patient/a", P("a", KEY("1")));
    assert_false(done(&h));
    /* one was found, and now there are two */
    searched(&h, "Patient", "identifier=1", NULL);
    PUT_NEW("Patient/b", P("b", KEY("1")));
    assert_false(done(&h));
    /* one that was there all the time begins to match */
    PUT_NEW("Patient/c", P("c", ""));
    searched(&h, "Patient", "identifier=2", NULL);
    PUT_AGAIN("Patient/c", P("c", KEY("2")));
    assert_false(done(&h));
}

TEST(asked, is_overtaken_when_what_was_found_matches_no_more)
{
    (void)state;
    struct half h;
    fresh_store();
    PUT_NEW("Patient/a", P("a", KEY("1")));
    searched(&h, "Patient", "identifier=1", NULL);
    PUT_AGAIN("Patient/a", P("a", KEY("2")));
    assert_false(done(&h));
    searched(&h, "Patient", "identifier=2", NULL);
    DELETED("Patient/a");
    assert_false(done(&h));
}

TEST(asked, is_committed_beside_changes_that_the_search_would_not_see)
{
    (void)state;
    struct half h;
    fresh_store();
    PUT_NEW("Patient/a", P("a", KEY("1")));
    searched(&h, "Patient", "identifier=1", NULL);
    /* The match is changed and still matches: its version is the write's own condition. */
    PUT_AGAIN("Patient/a", P("a", KEY("1") ",'active':true"));
    /* another that does not match, and one that came and went */
    PUT_NEW("Patient/b", P("b", KEY("2")));
    PUT_NEW("Patient/c", P("c", KEY("1")));
    DELETED("Patient/c");
    /* another type */
    PUT_NEW("Organization/o", "{'resourceType':'Organization','id':'o','name':'x'" KEY("1") "}");
    assert_true(done(&h));
}

TEST(asked, is_overtaken_by_a_change_on_the_way_of_a_chain)
{
    (void)state;
    struct half h;
    fresh_store();
    PUT_NEW("Organization/o", "{'resourceType':'Organization','id':'o','name':'other'}");
    PUT_NEW("Patient/a", P("a", ",'managingOrganization':{'reference':'Organization/o'}"));
    searched(&h, "Patient", "organization.name=wanted", NULL);
    assert_int_equal(h.n_found, 0);
    PUT_AGAIN("Organization/o", "{'resourceType':'Organization','id':'o','name':'wanted'}");
    assert_false(done(&h));
    searched(&h, "Patient", "organization.name=wanted", NULL);
    assert_int_equal(h.n_found, 1);
    PUT_NEW("Practitioner/d", "{'resourceType':'Practitioner','id':'d'}");
    assert_true(done(&h));
}

TEST(asked, what_the_transaction_takes_as_gone_overtakes_nothing)
{
    (void)state;
    struct half h;
    fresh_store();
    PUT_NEW("Patient/a", P("a", KEY("1")));
    const struct search_id gone = { fhir_type_find(SV_LIT("Patient")), SV_LIT("a") };
    struct store *st;
    OK(store_registry_acquire(here.w.registry, sv_from(here.id), false, &st, e));
    const struct rest_scope scope = { last_of(st).t, &gone, 1 };
    store_registry_release(here.w.registry, st);
    searched(&h, "Patient", "identifier=1", &scope);
    assert_int_equal(h.n_found, 0);
    PUT_AGAIN("Patient/a", P("a", KEY("1") ",'active':true"));
    assert_true(done(&h));
    assert_true(rest_is_gone(&scope, gone.type, SV_LIT("a")));
    assert_false(rest_is_gone(&scope, gone.type, SV_LIT("b")));
    assert_false(rest_is_gone(&scope, fhir_type_find(SV_LIT("Basic")), SV_LIT("a")));
    assert_false(rest_is_gone(NULL, gone.type, SV_LIT("a")));
}

/* More than are looked at under the lock: what nobody looked at may match. */
#define MANY 1001u

TEST(asked, is_made_again_when_too_much_has_changed)
{
    (void)state;
    static char texts[MANY][64], ids[MANY][8];
    static struct store_write writes[MANY];
    struct half h;
    struct store_commit at;
    fresh_store();
    searched(&h, "Patient", "identifier=1", NULL);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "p%u", i);
        int n = snprintf(texts[i], sizeof texts[i], "{\"resourceType\":\"Patient\",\"id\":\"%s\"}",
                         ids[i]);
        writes[i] = (struct store_write){ .type = fhir_type_find(SV_LIT("Patient")),
                                          .id = sv_from(ids[i]),
                                          .body = { sv_from(texts[i]), (uint32_t)n - 1,
                                                    FHIR_HOLE_NO_META } };
    }
    OK(store_commit(h.c.st, writes, MANY - 1, &at, e));
    assert_true(done(&h));
    searched(&h, "Patient", "identifier=1", NULL);
    OK(store_commit(h.c.st, writes, MANY, &at, e));
    assert_false(done(&h));
}

ASKING_MAIN(T(asked, is_committed_when_nothing_came_between),
            T(asked, is_overtaken_by_one_that_matches),
            T(asked, is_overtaken_when_what_was_found_matches_no_more),
            T(asked, is_committed_beside_changes_that_the_search_would_not_see),
            T(asked, is_overtaken_by_a_change_on_the_way_of_a_chain),
            T(asked, what_the_transaction_takes_as_gone_overtakes_nothing),
            T(asked, is_made_again_when_too_much_has_changed))
