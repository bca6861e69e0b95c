/* Walks over the index against a look at every resource: both stores, random resources that are
 * written, deleted, made again and loaded in bulk; random queries with chains and _has; pages that
 * stop and go on while others write, as of the commit that the first page saw. The seed is printed
 * when a test fails; FHIRLAKE_SEED sets it. */
#include "test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/rng.h"
#include "fhir/envelope.h"
#include "query/query.h"
#include "store/age.h"
#include "store/last.h"

#define N_IDS 40u

static struct store_env *env;
static fhir_type PATIENT, OBSERVATION, ORGANIZATION, RISK;
static uint64_t seed, rnd_state;

static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}
#define PICK(...)                                \
    (((const char *const[]){ __VA_ARGS__ })[rnd( \
        (unsigned)(sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *)))])

/* ---- resources ---- */

static const char *name(void)
{
    return PICK("Ann", "ann", "anna", "Annabel Longer Than The Index",
                "Annabel Longer Than Something", "\xc3\x85ngstr\xc3\xb6m", "Angstrom",
                "\xe6\x9d\x8e", "a", "", "sm  ith", "Sm ith", "\xef\xac\x81nn", " Ann ", "O'Ann",
                "O\xe2\x80\x99"
                "ann",
                "Sm-ith", "van der Ann",
                "\xc2\xa0"
                "ith.");
}

static const char *code(void)
{
    return PICK(
        "{\"coding\":[{\"system\":\"urn:s\",\"code\":\"A\"}]}",
        "{\"coding\":[{\"system\":\"urn:s\",\"code\":\"a\"},{\"code\":\"b\"}],\"text\":\"Text\"}",
        "{\"coding\":[{\"system\":\"urn:t\",\"code\":\"A\"}]}", "{\"text\":\"only\"}",
        "{\"coding\":[{\"system\":\"urn:t\"}]}");
}

static const char *date(void)
{
    return PICK("2019", "2020-02", "2020-02-29", "2020-02-29T10:00:00Z",
                "2020-02-29T23:30:00-02:00", "1969-12-31T23:59:59.999Z", "0001-01-01", "9999-12-31",
                "2020-03-01T00:00:00.000Z", "2016-12-31T23:59:60Z", "2016-12-31", "2017-01-01");
}

static const char *number(void)
{
    return PICK("5.4", "5.40", "-3", "0", "-0.0", "100", "99.6", "1e2", "1e300", "-1e300",
                "0.00001", "1e400", "0.30000000000000004", "0.3", "12345678901234567",
                "12345678901234568", "5");
}

/* Resources inside, one of which leads on, inside or outside. */
static void contained(struct buf *b)
{
    OK(buf_add_fmt(
        b, e,
        ",\"contained\":[{\"resourceType\":\"Patient\",\"id\":\"id1\",\"name\":[{\"family\":\"%s\","
        "\"given\":[\"%s\"]}],\"gender\":\"%s\",\"managingOrganization\":{\"reference\":\"",
        name(), name(), PICK("male", "female")));
    OK(buf_add_fmt(b, e, rnd(2) ? "#o" : "Organization/id%u", rnd(N_IDS)));
    OK(buf_add_fmt(
        b, e,
        "\"}},{\"resourceType\":\"Organization\",\"id\":\"o\",\"name\":\"%s\",\"partOf\":{"
        "\"reference\":\"%s\"}}]",
        name(), PICK("#o", "#id1", "Organization/id1", "#nobody")));
}

static void subject(struct buf *b)
{
    if (rnd(4) == 0) {
        OK(buf_add_fmt(b, e, ",\"subject\":{\"reference\":\"%s\"}",
                       PICK("#id1", "#id1", "#o", "#x")));
        contained(b);
        return;
    }

    const char *form = PICK("Patient/%s", "http://here/r4/Patient/%s", "http://there/r4/Patient/%s",
                            "Patient/%s/_history/1", "Organization/%s");
    char id[16], text[64];
    (void)snprintf(id, sizeof id, "id%u", rnd(N_IDS));
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(strstr(form, "%s") - form), form, id,
                   strstr(form, "%s") + 2);
    OK(buf_add_fmt(b, e, ",\"subject\":{\"reference\":\"%s\",\"identifier\":{\"value\":\"%s\"}}",
                   text, id));
}

static void resource(struct buf *b, fhir_type type, const char *id)
{
    OK(buf_add_fmt(b, e, "{\"resourceType\":\"%s\",\"id\":\"%s\"", fhir_type_name(type), id));
    if (rnd(3) == 0)
        OK(buf_add_fmt(b, e, ",\"meta\":{\"tag\":[{\"code\":\"t%u\"}]}", rnd(3)));
    if (type == PATIENT) {
        OK(buf_add_fmt(
            b, e,
            ",\"name\":[{\"family\":\"%s\",\"given\":[\"%s\",\"%s\"]}],\"birthDate\":\"%.10s\"",
            name(), name(), name(), date()));
        if (rnd(2))
            OK(buf_add_fmt(
                b, e,
                ",\"gender\":\"%s\",\"managingOrganization\":{\"reference\":\"Organization/id%u\"}",
                PICK("male", "female"), rnd(N_IDS)));
    } else if (type == ORGANIZATION) {
        OK(buf_add_fmt(b, e, ",\"name\":\"%s\",\"partOf\":{\"reference\":\"Organization/id%u\"}",
                       name(), rnd(N_IDS)));
    } else if (type == RISK) {
        OK(buf_add_fmt(b, e,
                       ",\"prediction\":[{\"probabilityDecimal\":%s},{\"probabilityRange\":{"
                       "\"low\":{\"value\":%s}}}]",
                       number(), number()));
    } else {
        OK(buf_add_fmt(b, e, ",\"code\":%s", code()));
        subject(b);
        if (rnd(2))
            OK(buf_add_fmt(b, e, ",\"effectiveDateTime\":\"%s\"", date()));
        else
            OK(buf_add_fmt(b, e, ",\"effectivePeriod\":{\"%s\":\"%s\"}", PICK("start", "end"),
                           date()));
        OK(buf_add_fmt(b, e,
                       ",\"valueQuantity\":{\"value\":%s,\"unit\":\"mg\",\"comparator\":\"%s\"}",
                       number(), PICK("<", ">", "<=", ">=", "", "", "")));
        OK(buf_add(b, SV_LIT(",\"component\":["), e));
        for (unsigned i = 0, n = rnd(3); i < n; i++)
            OK(buf_add_fmt(b, e, "%s{\"code\":%s,\"valueQuantity\":{\"value\":%s}}", i ? "," : "",
                           code(), number()));
        OK(buf_add_char(b, ']', e));
    }
    OK(buf_add_char(b, '}', e));
}

static fhir_type some_type(void)
{
    const fhir_type types[] = { PATIENT, OBSERVATION, OBSERVATION, ORGANIZATION, RISK };
    return types[rnd(5)];
}

/* ---- writing ---- */

struct made { /* texts of one write */
    struct buf text, stored, index;
    struct fhir_envelope envelope;
    char id[16];
};

static void make(struct made *m, struct fhir_reader *r, fhir_type type)
{
    memset(m, 0, sizeof *m);
    buf_init(&m->text, 1 << 20);
    buf_init(&m->stored, 1 << 20);
    buf_init(&m->index, 1 << 20);
    (void)snprintf(m->id, sizeof m->id, "id%u", rnd(N_IDS));
    resource(&m->text, type, m->id);
    OK(fhir_envelope_read(r, buf_sv(&m->text), SV_NONE, &m->stored, &m->envelope, e));
    OK(search_index(type, fhir_reader_root(r), &m->index, e));
}

static void unmake(struct made *m)
{
    buf_done(&m->text);
    buf_done(&m->stored);
    buf_done(&m->index);
}

static void write_one(struct store *st, struct fhir_reader *r)
{
    struct made m;
    struct store_commit c;
    struct err ignored;
    fhir_type type = some_type();
    make(&m, r, type);
    struct store_write w = { .type = type,
                             .id = sv_from(m.id),
                             .method = STORE_METHOD_UPDATE,
                             .body = m.envelope.body,
                             .index = buf_sv(&m.index) };
    if (rnd(4) == 0)
        w = (struct store_write){ .type = type,
                                  .id = sv_from(m.id),
                                  .method = STORE_METHOD_DELETE };
    /* of what is not there: nothing happens */
    if (w.method == STORE_METHOD_DELETE)
        (void)!store_commit(st, &w, 1, &c, &ignored);
    else
        OK(store_commit(st, &w, 1, &c, e));
    unmake(&m);
}

static void load_some(struct store *st, struct fhir_reader *r)
{
    struct made m[12];
    struct store_bulk_item items[12];
    struct store_bulk *bulk;
    struct store_commit c;
    unsigned n = 1 + rnd(12);
    for (unsigned i = 0; i < n; i++) {
        fhir_type type = some_type();
        make(&m[i], r, type);
        items[i] = (struct store_bulk_item){ type, sv_from(m[i].id), m[i].envelope.body, i,
                                             buf_sv(&m[i].index) };
    }
    OK(store_bulk_begin(st, &bulk, e));
    OK(store_bulk_fill(bulk, items, n, e));
    if (rnd(5))
        OK(store_bulk_publish(&bulk, SV_NONE, SV_NONE, &c, e));
    else
        store_bulk_abort(bulk);
    for (unsigned i = 0; i < n; i++)
        unmake(&m[i]);
}

static void write_some(struct store *st, struct fhir_reader *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (rnd(8))
            write_one(st, r);
        else
            load_some(st, r);
}

/* ---- queries ---- */

static void value_for(char *out, size_t cap, const char *kind)
{
    const char *prefix = PICK("", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap");
    const char *x =
        strcmp(kind, "string") == 0 ? name()
        : strcmp(kind, "token") == 0
            ? PICK("A", "a", "b", "urn:s|A", "urn:t|", "|b", "urn:s|zz", "nothing")
        : strcmp(kind, "tag") == 0       ? PICK("t0", "t1", "t2")
        : strcmp(kind, "gender") == 0    ? PICK("male", "female", "other")
        : strcmp(kind, "bool") == 0      ? PICK("true", "false")
        : strcmp(kind, "number") == 0    ? number()
        : strcmp(kind, "quantity") == 0  ? PICK("5.4", "5", "gt5||mg", "le100||g", "-3", "0||mg")
        : strcmp(kind, "composite") == 0 ? PICK("A$5.4", "urn:s|A$gt0", "b$lt100", "a$ne5.4,A$-3")
                                         : date();
    if (strcmp(kind, "ref") == 0) {
        const char *form = PICK("", "Patient/", "http://here/r4/Patient/",
                                "http://there/r4/Patient/", "Organization/");
        (void)snprintf(out, cap, "%sid%u", form, rnd(N_IDS));
    } else if (strcmp(kind, "id") == 0) {
        (void)snprintf(out, cap, "id%u,id%u,id%u,id%u", rnd(N_IDS), rnd(N_IDS), rnd(N_IDS),
                       rnd(N_IDS + 9));
    } else {
        bool prefixed = strcmp(kind, "date") == 0 || strcmp(kind, "number") == 0;
        (void)snprintf(out, cap, "%s%s", prefixed ? prefix : "", x[0] ? x : "x");
    }
}

static const struct {
    const char *type, *name, *kind;
} pairs[] = {
    { "Patient", "name", "string" },
    { "Patient", "given:exact", "string" },
    { "Patient", "family:contains", "string" },
    { "Patient", "gender", "gender" },
    { "Patient", "gender:not", "gender" },
    { "Patient", "gender:missing", "bool" },
    { "Patient", "birthdate", "date" },
    { "Patient", "organization", "ref" },
    { "Patient", "organization.name", "string" },
    { "Patient", "organization.partof.name", "string" },
    { "Patient", "_has:Observation:patient:code", "token" },
    { "Patient", "_has:Observation:subject:date", "date" },
    { "Patient", "_id", "id" },
    { "Patient", "_tag", "tag" },
    { "Observation", "code", "token" },
    { "Observation", "code:not", "token" },
    { "Observation", "date", "date" },
    { "Observation", "value-quantity", "quantity" },
    { "Observation", "component-code-value-quantity", "composite" },
    { "Observation", "combo-code-value-quantity", "composite" },
    { "Observation", "subject", "ref" },
    { "Observation", "patient", "ref" },
    { "Observation", "subject:Patient", "ref" },
    { "Observation", "patient:identifier", "ref" },
    { "Observation", "subject:Patient.name", "string" },
    { "Observation", "subject.name", "string" },
    { "Observation", "patient.family", "string" },
    { "Observation", "patient.given:contains", "string" },
    { "Observation", "subject:Patient.gender:not", "gender" },
    { "Observation", "patient.gender:missing", "bool" },
    { "Observation", "patient.organization.partof.name", "string" },
    { "Patient", "_has:Observation:patient:patient.name", "string" },
    { "Patient", "family", "string" },
    { "Observation", "patient.organization.name", "string" },
    { "Observation", "combo-code", "token" },
    { "Observation", "_tag", "tag" },
    { "Observation", "_tag:missing", "bool" },
    { "Organization", "name", "string" },
    { "Organization", "partof", "ref" },
    { "Organization", "_has:Patient:organization:gender", "gender" },
    { "Organization", "_has:Patient:organization:_has:Observation:subject:code", "token" },
    { "RiskAssessment", "probability", "number" },
    { "RiskAssessment", "probability:missing", "bool" },
};
#define N_PAIRS (sizeof pairs / sizeof pairs[0])

struct asked {
    fhir_type type;
    char name[3][96], value[3][256];
    unsigned n;
};

static void ask(struct asked *q)
{
    unsigned first = rnd(N_PAIRS), wanted = 1 + rnd(3);
    q->n = 0;
    q->type = fhir_type_find(sv_from(pairs[first].type));
    while (q->n < wanted) {
        unsigned i = q->n ? rnd(N_PAIRS) : first;
        if (strcmp(pairs[i].type, pairs[first].type) != 0)
            continue;
        char one[128], other[128];
        value_for(one, sizeof one, pairs[i].kind);
        value_for(other, sizeof other, pairs[i].kind);
        (void)snprintf(q->name[q->n], sizeof q->name[0], "%s", pairs[i].name);
        bool list = strcmp(pairs[i].kind, "bool") != 0 && rnd(3) == 0;
        (void)snprintf(q->value[q->n], sizeof q->value[0], "%s%s%s", one, list ? "," : "",
                       list ? other : "");
        q->n++;
    }
}

static const char *told(const struct asked *q)
{
    static char text[1500];
    size_t len = (size_t)snprintf(text, sizeof text, "seed %llu: %s?", (unsigned long long)seed,
                                  fhir_type_name(q->type));
    for (unsigned i = 0; i < q->n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s=%s", i ? "&" : "", q->name[i],
                                q->value[i]);
    return text;
}

/* ---- looking at every resource ---- */

struct ids {
    char id[N_IDS][16];
    unsigned n;
};

static bool holds(const struct ids *s, sv id)
{
    for (unsigned i = 0; i < s->n; i++)
        if (sv_eq_cstr(id, s->id[i]))
            return true;
    return false;
}

static void put_id(struct ids *s, sv id)
{
    if (holds(s, id))
        return;
    assert_true(s->n < N_IDS);
    (void)snprintf(s->id[s->n++], sizeof s->id[0], "%.*s", SV_FMT(id));
}

typedef void (*each_fn)(void *ctx, const struct store_version *v, yyjson_val *root);

static void each(struct query_source *c, fhir_type type, uint64_t as_of, each_fn fn, void *ctx)
{
    struct store_range all = { .type = type };
    struct store_cursor *cur;
    struct store_version v;
    struct err why;
    err_code rc;
    OK(store_scan(c->st, &all, as_of, &cur, e));
    while ((rc = store_cursor_next(cur, &v, &why)) == ERR_OK) {
        yyjson_doc *doc;
        OK(json_read(c->a, v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
        fn(ctx, &v, yyjson_doc_get_root(doc));
    }
    assert_int_equal(rc, ERR_EOF);
    store_cursor_close(cur);
}

static void select_ids(struct query_source *c, fhir_type type, uint64_t as_of, sv name, sv value,
                       struct ids *out);

/* ---- chains into what a resource holds ---- */

static yyjson_val *inside(yyjson_val *holder, sv reference)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(holder, "contained"));
    yyjson_val *v;
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        if (reference.len && reference.ptr[0] == '#' &&
            sv_eq(json_string(json_get(v, "id")), sv_tail(reference, 1)))
            return v;
    return NULL;
}

static bool leads_out(struct query_source *c, uint64_t as_of, sv reference, sv rest, sv value)
{
    struct ids found = { .n = 0 };
    /* patients that are inside refer to nothing else */
    if (!sv_starts(reference, SV_LIT("Organization/")))
        return false;
    select_ids(c, ORGANIZATION, as_of, rest, value, &found);
    return holds(&found, sv_tail(reference, 13));
}

/* Does a chain find something inside the holder? root: where it has come to. */
static bool chain_inside(struct query_source *c, uint64_t as_of, yyjson_val *holder,
                         yyjson_val *root, sv chain, sv value)
{
    sv rest = chain, step = SV_NONE, code = SV_NONE;
    assert_true(sv_cut(&rest, '.', &step) && sv_cut(&step, ':', &code));
    const char *member = sv_eq_cstr(code, "organization") ? "managingOrganization"
                         : sv_eq_cstr(code, "partof")     ? "partOf"
                                                          : "subject";
    sv reference = json_string(json_get(json_get(root, member), "reference"));
    yyjson_val *to = inside(holder, reference);
    if (to == NULL)
        return root != holder && leads_out(c, as_of, reference, rest, value);
    fhir_type type = fhir_type_find(json_string(json_get(to, "resourceType")));
    /* the parameter leads to no other */
    if (type != (root == holder ? PATIENT : ORGANIZATION))
        return false;
    if (sv_find(rest, '.') < rest.len)
        return chain_inside(c, as_of, holder, to, rest, value);
    struct search_criterion cr;
    const struct search_context cx = { c->base, clock_wall_ms() };
    const struct search_subject s = { .type = type, .id = SV_LIT("-"), .root = to };
    struct err unknown;
    if (search_parse(&cx, type, rest, value, c->a, &cr, &unknown) != ERR_OK)
        return false;
    return search_match(&cx, &cr, &s);
}

struct looking {
    struct query_source *c;
    struct search_context cx;
    const struct search_criterion *plain;
    const struct search_param *reference; /* leads to one of these */
    const struct ids *to;
    fhir_type to_type;
    bool back;       /* collect where matches lead, not the matches */
    sv chain, value; /* into what a resource holds */
    uint64_t as_of;
    struct ids *out;
    const struct store_version *v;
};

static void leads(void *ctx, const struct search_value *v)
{
    struct looking *l = ctx;
    if (v->ref_type != l->to_type ||
        (v->ref_base.len && !sv_eq_cstr(v->ref_base, "http://here/r4")))
        return;
    if (l->back && holds(l->to, l->v->id))
        put_id(l->out, v->ref_id);
    else if (!l->back && holds(l->to, v->ref_id))
        put_id(l->out, l->v->id);
}

static void look(void *ctx, const struct store_version *v, yyjson_val *root)
{
    struct looking *l = ctx;
    const struct search_subject s = { v->type, v->id, v->instant_ms, root };
    l->v = v;
    if (l->chain.len && chain_inside(l->c, l->as_of, root, root, l->chain, l->value))
        put_id(l->out, v->id);
    if (l->reference)
        search_extract(l->reference, root, leads, l);
    else if (search_match(&l->cx, l->plain, &s))
        put_id(l->out, v->id);
}

static void select_ids(struct query_source *c, fhir_type type, uint64_t as_of, sv name, sv value,
                       struct ids *out)
{
    struct looking l = { .c = c, .cx = { c->base, clock_wall_ms() }, .out = out };
    struct search_criterion cr;
    struct ids inner = { .n = 0 }, led = { .n = 0 };
    sv rest = name, part, code_of = SV_NONE;
    if (sv_starts(name, SV_LIT("_has:"))) {
        assert_true(sv_cut(&rest, ':', &part) && sv_cut(&rest, ':', &part) &&
                    sv_cut(&rest, ':', &code_of));
        fhir_type other = fhir_type_find(part);
        select_ids(c, other, as_of, rest, value, &inner);
        l.reference = search_param_find(other, code_of);
        l.to = &inner;
        l.to_type = type;
        l.back = true;
        l.out = &led;
        each(c, other, as_of, look, &l);
        /* a reference may lead nowhere */
        for (unsigned i = 0; i < led.n; i++) {
            struct store_version v;
            struct err why;
            if (store_get(c->st, type, sv_from(led.id[i]), as_of, c->a, &v, &why) == ERR_OK &&
                v.method != STORE_METHOD_DELETE)
                put_id(out, v.id);
        }
        return;
    }
    if (sv_find(name, '.') < name.len) {
        assert_true(sv_cut(&rest, '.', &part) && sv_cut(&part, ':', &code_of));
        const fhir_type targets[] = { PATIENT, ORGANIZATION };
        l.reference = search_param_find(type, code_of);
        l.chain = name;
        l.value = value;
        l.as_of = as_of;
        for (unsigned i = 0; i < 2; i++) {
            if (part.ptr ? fhir_type_find(part) != targets[i]
                         : !search_param_targets(l.reference, targets[i]))
                continue;
            inner.n = 0;
            select_ids(c, targets[i], as_of, rest, value, &inner);
            l.to = &inner;
            l.to_type = targets[i];
            each(c, type, as_of, look, &l);
        }
        return;
    }
    OK(search_parse(&l.cx, type, name, value, c->a, &cr, e));
    l.plain = &cr;
    each(c, type, as_of, look, &l);
}

static void expected(struct query_source *c, const struct asked *q, uint64_t as_of, struct ids *out)
{
    struct ids one[3] = { 0 };
    for (unsigned i = 0; i < q->n; i++)
        select_ids(c, q->type, as_of, sv_from(q->name[i]), sv_from(q->value[i]), &one[i]);
    out->n = 0;
    for (unsigned k = 0; k < one[0].n; k++) {
        sv id = sv_from(one[0].id[k]);
        if ((q->n < 2 || holds(&one[1], id)) && (q->n < 3 || holds(&one[2], id)))
            put_id(out, id);
    }
}

/* ---- the walk ---- */

/* Pages of a few matches; between them others write. */
static void walked(struct query_source *c, const struct asked *q, uint64_t as_of,
                   struct fhir_reader *r, struct ids *out)
{
    struct query query;
    struct query_place place;
    bool from = false;
    struct query_source src = *c;
    src.as_of = as_of;
    query_init(&query, &src, q->type);
    for (unsigned i = 0; i < q->n; i++)
        OK(query_add(&query, sv_from(q->name[i]), sv_from(q->value[i]), e));
    out->n = 0;
    for (;;) {
        struct query_walk *w;
        struct query_match m;
        struct err why;
        err_code rc = ERR_OK;
        OK(query_walk_open(&query, from ? &place : NULL, &w, e));
        for (unsigned left = 1 + rnd(6); left && (rc = query_walk_next(w, 0, &m, &why)) == ERR_OK;
             left--) {
            if (holds(out, m.v.id))
                fail_msg("%s: %.*s twice", told(q), SV_FMT(m.v.id));
            put_id(out, m.v.id);
        }
        place = *query_walk_place(w);
        from = true;
        query_walk_close(w);
        if (rc == ERR_EOF)
            return;
        assert_int_equal(rc, ERR_OK);
        if (rnd(3) == 0)
            write_some(c->st, r, 2);
    }
}

static unsigned rounds(unsigned n)
{
    return test_is_long() ? n * 40 : n;
}

/* Returns how many resources were found; queries that find nothing prove little. */
static unsigned ask_and_write(struct store *st, unsigned n, bool written)
{
    struct fhir_reader *r = fhir_reader_new(1 << 20);
    struct arena *a = arena_new(64u << 20);
    struct query_source c = { .a = a, .st = st, .base = SV_LIT("http://here/r4") };
    unsigned n_found = 0;
    if (!written)
        write_some(st, r, 120);
    for (unsigned i = 0; i < n; i++) {
        struct asked q;
        struct ids want, got;
        arena_reset(a);
        uint64_t last = last_of(st).t, as_of = rnd(3) ? last : last - rnd(40);
        ask(&q);
        expected(&c, &q, as_of, &want);
        walked(&c, &q, as_of, r, &got);
        for (unsigned k = 0; k < want.n; k++)
            if (!holds(&got, sv_from(want.id[k])))
                fail_msg("%s as of %llu: %s is missing", told(&q), (unsigned long long)as_of,
                         want.id[k]);
        for (unsigned k = 0; k < got.n; k++)
            if (!holds(&want, sv_from(got.id[k])))
                fail_msg("%s as of %llu: %s is too many", told(&q), (unsigned long long)as_of,
                         got.id[k]);
        n_found += want.n;
        write_some(st, r, rnd(4));
    }
    arena_free(a);
    fhir_reader_free(r);
    return n_found;
}

static void history(struct store *st)
{
    rnd_state = seed;
    assert_true(ask_and_write(st, rounds(200), false) > rounds(200));
}

TEST(walk, finds_what_a_look_at_everything_finds_in_memory)
{
    (void)state;
    struct store *st;
    OK(store_open(NULL, "memory:", true, &st, e));
    history(st);
    store_close(st);
}

TEST(walk, finds_what_a_look_at_everything_finds_in_rocksdb)
{
    (void)state;
    char dir[64];
    struct store *st;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-walk-%016llx",
                   (unsigned long long)rng_u64());
    OK(store_open(env, dir, true, &st, e));
    history(st);
    store_close(st);
    OK(file_remove_tree(dir, e));
}

TEST(walk, finds_it_while_entries_of_an_older_form_are_made_anew)
{
    (void)state;
    char dir[64];
    struct store *st;
    struct heard heard;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-walk-%016llx",
                   (unsigned long long)rng_u64());
    rnd_state = seed;
    OK(store_open(env, dir, true, &st, e));
    /* there is something */
    (void)ask_and_write(st, 20, false);
    store_close(st);
    age_store(dir, NULL);
    hear_again(&heard, 1);
    store_env_on_reindex(env, hear, &heard);
    OK(store_open(env, dir, false, &st, e));
    wait_until_held(&heard);
    /* nothing is made yet */
    unsigned n_found = ask_and_write(st, rounds(60), true);
    let_go(&heard);
    /* some is, maybe */
    n_found += ask_and_write(st, rounds(20), true);
    assert_int_equal(wait_for_the_end(&heard), STORE_REINDEX_DONE);
    n_found += ask_and_write(st, rounds(60), true);
    assert_true(n_found > rounds(140) / 2);
    store_close(st);
    store_env_on_reindex(env, NULL, NULL);
    OK(file_remove_tree(dir, e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(walk, finds_what_a_look_at_everything_finds_in_memory),
        T(walk, finds_what_a_look_at_everything_finds_in_rocksdb),
        T(walk, finds_it_while_entries_of_an_older_form_are_made_anew),
    };
    uint64_t given;
    const char *text = getenv("FHIRLAKE_SEED");
    seed = text && sv_to_u64(sv_from(text), &given) ? given : 20261125;
    PATIENT = fhir_type_find(SV_LIT("Patient"));
    OBSERVATION = fhir_type_find(SV_LIT("Observation"));
    ORGANIZATION = fhir_type_find(SV_LIT("Organization"));
    RISK = fhir_type_find(SV_LIT("RiskAssessment"));
    env = store_env_new(16u << 20, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return failed;
}
