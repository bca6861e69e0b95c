/* asking.h - a data store of its own for each test, and requests to its FHIR API.
 *
 * In bodies ' stands for ". What was answered is kept until the next request. */
#pragma once
#include "service/world.h"

/* Not every test file needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-function"

static struct asking {
    struct world w;
    char id[33]; /* of the data store */
    unsigned n_stores;
    struct loopback_answer last;
    struct arena *tree;
    yyjson_val *root; /* of the last answer; NULL: it had no body */
} here;

/* ---- life ---- */

static err_code no_start(struct service *s, struct err *e)
{
    (void)s, (void)e;
    return ERR_OK;
}
static void no_stop(struct service *s)
{
    (void)s;
}
/* The data plane alone is asked. */
static void no_handle(struct service *s, struct http_exchange *x, const char *request_id)
{
    (void)s, (void)x, (void)request_id;
    fail_msg("nothing is asked of the control plane");
}
static const struct service_plane no_control = { no_start, no_stop, no_handle };

static int asking_set_up(void **state)
{
    (void)state;
    world_make(&here.w);
    world_open(&here.w, &no_control, true);
    return 0;
}

static void asking_forget_answer(void)
{
    loopback_answer_done(&here.last);
    arena_free(here.tree);
    here.tree = NULL;
    here.root = NULL;
}

static int asking_tear_down(void **state)
{
    (void)state;
    asking_forget_answer();
    return world_close(&here.w);
}

#define ASKING_MAIN(...)                                                       \
    int main(void)                                                             \
    {                                                                          \
        const struct CMUnitTest tests[] = { __VA_ARGS__ };                     \
        return cmocka_run_group_tests(tests, asking_set_up, asking_tear_down); \
    }

/* From here on an empty data store is asked. */
static void fresh_store(void)
{
    struct store *st;
    (void)snprintf(here.id, sizeof here.id, "%032x", ++here.n_stores);
    world_put_record(&here.w, here.id, "");
    OK(store_registry_acquire(here.w.registry, sv_from(here.id), true, &st, e));
    store_registry_release(here.w.registry, st);
}

/* ---- requests ---- */

/* The answer's status. headers: lines that end in LF, or "". body NULL: none. */
static unsigned ask(const char *method, const char *path, const char *headers, const char *body)
{
    CLEANUP_BUF struct buf raw = BUF_INIT(1u << 20);
    OK(buf_add_fmt(
        &raw, e, "%s /datastore/%s/r4/%s HTTP/1.1\n%s%s\n", method, here.id, path, headers,
        body && !strstr(headers, "Content-Type:") ? "Content-Type: application/fhir+json\n" : ""));
    size_t head = raw.len;
    OK(buf_add(&raw, sv_from(body ? body : ""), e));
    for (size_t i = head; i < raw.len; i++)
        raw.ptr[i] = raw.ptr[i] == '\'' ? '"' : raw.ptr[i];
    asking_forget_answer();
    loopback_send(here.w.service, buf_sv(&raw), NULL, &here.last);
    if (here.last.body.len) {
        yyjson_doc *doc;
        here.tree = arena_new(json_tree_max(here.last.body.len));
        OK(json_read(here.tree, buf_sv(&here.last.body), 256, &doc, e));
        here.root = yyjson_doc_get_root(doc);
    }
    return here.last.status;
}

static unsigned ask_get(const char *path)
{
    return ask("GET", path, "", NULL);
}

/* The request must have this status; what was answered is shown when it does not. */
#define ASKED(want, how, where, more, text)                                                     \
    do {                                                                                        \
        unsigned got_ = ask((how), (where), (more), (text));                                    \
        if (got_ != (want))                                                                     \
            fail_msg("%s %s: %u: %.*s", (how), (where), got_, SV_FMT(buf_sv(&here.last.body))); \
    } while (0)
#define GOT(where)             ASKED(200, "GET", (where), "", NULL)
#define PUT_NEW(where, text)   ASKED(201, "PUT", (where), "", (text))
#define PUT_AGAIN(where, text) ASKED(200, "PUT", (where), "", (text))
#define DELETED(where)         ASKED(204, "DELETE", (where), "", NULL)

/* ---- what was answered ---- */

static sv header(const char *name)
{
    return loopback_header(&here.last, name);
}

/* The value at a JSON pointer, "/entry/0/resource/id"; NULL: there is none. */
static yyjson_val *value_at(const char *pointer)
{
    return here.root ? yyjson_ptr_get(here.root, pointer) : NULL;
}

/* Its text or the digits of its number; SV_NONE: there is none. */
static sv said(const char *pointer)
{
    yyjson_val *v = value_at(pointer);
    return yyjson_is_str(v) ? json_string(v) : json_number(v);
}
#define SAYS(pointer, text) assert_sv(said(pointer), SV_LIT(text))

/* Does the body hold the text anywhere? */
static bool mentions(const char *text)
{
    return here.last.body.len &&
           memmem(here.last.body.ptr, here.last.body.len, text, strlen(text)) != NULL;
}

/* The last two steps of a URL: Type/id. */
static sv type_and_id(sv url)
{
    size_t at = url.len;
    for (int n = 0; at && (url.ptr[at - 1] != '/' || ++n < 2); at--)
        ;
    return sv_tail(url, at);
}

static int asking_by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* Each entry as Type/id, and behind a space what stands at the pointer in it; by comma. sorted: not
 * in the order of the Bundle. It lives until the next request. */
static sv entries(const char *pointer, bool sorted)
{
    CLEANUP_BUF struct buf all = BUF_INIT(1u << 16);
    static char out[1u << 16];
    static sv texts[1000];
    yyjson_val *list = value_at("/entry"), *one;
    struct arena *a = arena_new(1u << 20);
    size_t n = 0;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while (list && (one = yyjson_arr_iter_next(&it)) != NULL) {
        yyjson_val *more = pointer ? yyjson_ptr_get(one, pointer) : NULL;
        assert_true(n < sizeof texts / sizeof texts[0]);
        texts[n++] =
            arena_fmt(a, "%.*s%s%.*s", SV_FMT(type_and_id(json_string(json_get(one, "fullUrl")))),
                      pointer ? " " : "", SV_FMT(json_string(more)));
    }
    if (n && sorted)
        qsort(texts, n, sizeof texts[0], asking_by_text);
    for (size_t i = 0; i < n; i++)
        OK(buf_add_fmt(&all, e, "%s%.*s", i ? ", " : "", SV_FMT(texts[i])));
    arena_free(a);
    memcpy(out, all.ptr ? all.ptr : "", all.len);
    return sv_make(out, all.len);
}
#define ENTRIES(pointer, text)        assert_sv(entries((pointer), false), SV_LIT(text))
#define ENTRIES_SORTED(pointer, text) assert_sv(entries((pointer), true), SV_LIT(text))

/* The link of this relation, below [base]/; SV_NONE: there is none. */
static sv link_to(const char *relation)
{
    char mark[100];
    yyjson_val *list = value_at("/link"), *one;
    sv url = SV_NONE;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while (list && (one = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq_cstr(json_string(json_get(one, "relation")), relation))
            url = json_string(json_get(one, "url"));
    if (url.ptr == NULL)
        return SV_NONE;
    int n = snprintf(mark, sizeof mark, "http://localhost/datastore/%s/r4", here.id);
    assert_true(sv_starts(url, sv_from(mark)));
    url = sv_tail(url, (size_t)n);
    /* A search of the system is at [base] itself. */
    return sv_starts(url, SV_LIT("/")) ? sv_tail(url, 1) : url;
}

/* GET the link of this relation. False: there is none. */
static bool follow_link(const char *relation)
{
    char path[4096];
    sv link = link_to(relation);
    (void)snprintf(path, sizeof path, "%.*s", SV_FMT(link));
    if (link.ptr)
        GOT(path);
    return link.ptr != NULL;
}
