/* history.h - random histories of one store or of two at a time: commits, loads side by side, and
 * what resources look like in them. Behind comparing.h, which has the dice. */
#pragma once
#include "store/comparing.h"

/* not every test file needs every helper */
#pragma GCC diagnostic ignored "-Wunused-function"

static struct store_env *env;

/* ---- what is written ---- */

static inline struct fhir_body make(struct arena *a, fhir_type type, sv id)
{
    static const char *const codes[] = { "male", "female", "other", "unknown" };
    const char *name = type == patient ? "Patient" : "Observation";
    sv json = arena_fmt(a,
                        "{\"resourceType\":\"%s\",\"%s\":\"%s\",\"identifier\":[{\"system\":"
                        "\"http://s/%u\",\"value\":\"v%u\"}],\"language\":\"mark-%.*s-%u\"}",
                        name, type == patient ? "gender" : "status", codes[rnd(4)], rnd(3), rnd(40),
                        SV_FMT(id), rnd(1000));
    return (struct fhir_body){ json, (uint32_t)strlen(name) + 18, FHIR_HOLE_NO_META };
}

static inline sv index_of(struct arena *a, fhir_type type, sv json)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 16);
    yyjson_doc *doc;
    OK(json_read(a, json, 16, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &b, e));
    return arena_sv(a, buf_sv(&b));
}

#define LOADS_MOST 4u /* open at a time */

struct history {
    struct store *of[2]; /* the second may be NULL */
    struct store_bulk *open[2][LOADS_MOST];
    size_t n_open;
    struct arena *a;
    unsigned n_steps;
    uint64_t load_t[300]; /* commits that are loads */
    size_t n_loads;
};

static inline void commit_some(struct history *h)
{
    struct store_write w[2][4];
    const size_t n = 1 + rnd(4);
    for (size_t i = 0; i < n; i++) {
        w[0][i] =
            (struct store_write){ .type = rnd(4) ? patient : observation,
                                  .id = arena_sv(h->a, sv_from(random_id())),
                                  .method = rnd(4) ? STORE_METHOD_UPDATE : STORE_METHOD_DELETE };
        if (w[0][i].method != STORE_METHOD_DELETE) {
            w[0][i].body = make(h->a, w[0][i].type, w[0][i].id);
            w[0][i].index = index_of(h->a, w[0][i].type, w[0][i].body.json);
        }
    }
    memcpy(w[1], w[0], sizeof w[0]);
    err_code rc[2] = { ERR_OK, ERR_OK };
    for (size_t i = 0; i < 2; i++) {
        struct store_commit c;
        struct err why;
        if (h->of[i])
            rc[i] = store_commit(h->of[i], w[i], n, &c, &why);
    }
    if (h->of[1])
        assert_int_equal(rc[0], rc[1]);
}

static inline void load_some(struct history *h)
{
    struct store_bulk_item items[2][6];
    const size_t n = 1 + rnd(6);
    for (size_t i = 0; i < n; i++) {
        items[0][i] = (struct store_bulk_item){ .type = rnd(3) ? patient : observation,
                                                .id = arena_sv(h->a, sv_from(random_id())),
                                                .seq = i };
        items[0][i].body = make(h->a, items[0][i].type, items[0][i].id);
        items[0][i].index = index_of(h->a, items[0][i].type, items[0][i].body.json);
    }
    memcpy(items[1], items[0], sizeof items[0]);
    for (size_t i = 0; i < 2; i++)
        if (h->of[i]) {
            OK(store_bulk_begin(h->of[i], &h->open[i][h->n_open], e));
            OK(store_bulk_fill(h->open[i][h->n_open], items[i], n, e));
        }
    h->n_open++;
}

static inline void publish_one(struct history *h)
{
    const size_t k = rnd((unsigned)h->n_open);
    h->n_open--;
    for (size_t i = 0; i < 2; i++)
        if (h->of[i]) {
            struct store_bulk *chosen = h->open[i][k];
            struct store_commit c;
            h->open[i][k] = h->open[i][h->n_open];
            OK(store_bulk_publish(&chosen, SV_LIT("job"), SV_LIT("so far"), &c, e));
            h->load_t[h->n_loads % 300] = c.t;
        }
    h->n_loads++;
}

static inline void give_up(struct history *h)
{
    while (h->n_open) {
        h->n_open--;
        for (size_t i = 0; i < 2; i++)
            if (h->of[i])
                store_bulk_abort(h->open[i][h->n_open]);
    }
}

/* ---- of a whole file of tests ---- */

static inline int begin_all(void **state)
{
    (void)state;
    env = store_env_new(64u << 20, 2);
    patient = fhir_type_find(SV_LIT("Patient"));
    observation = fhir_type_find(SV_LIT("Observation"));
    return 0;
}

static inline int end_all(void **state)
{
    (void)state;
    store_env_free(env);
    return 0;
}
