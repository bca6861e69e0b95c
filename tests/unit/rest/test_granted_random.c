/* What random tokens may see and change, through every interaction, against an oracle that knows
 * the resources and nothing of the program: it says of each scope, resource and letter whether the
 * scope gives it.
 *
 * The resources have what makes rules meet: two patients in one resource, a version that was in a
 * scope and is not any more, deletions, middles of chains that are not given, types that a
 * compartment leaves out. FHIRLAKE_SEED repeats a run; FHIRLAKE_LONG=1 makes it longer. */
#include "rest/granted.h"

#include "base/rng.h"

#define N_THINGS   2000u
#define MAX_THINGS 6000u
#define N_PATIENTS 5u /* the last two have a link to the first */
#define NOBODY     (-1)
#define AS_PATCH   "Content-Type: application/json-patch+json\n"

enum kind {
    PATIENT,
    OBSERVATION,
    CONDITION,
    ENCOUNTER,
    DEVICE,
    TASK,
    BINARY,
    GROUP,
    CONTRACT,
    PRACTITIONER,
    N_KINDS
};
static const char *const kind_names[N_KINDS] = {
    "Patient", "Observation", "Condition", "Encounter", "Device",
    "Task",    "Binary",      "Group",     "Contract",  "Practitioner",
};

struct content {
    bool deleted;
    bool male;
    int patient, other; /* index, or NOBODY */
    int encounter;      /* index of a thing, or NOBODY */
    bool lab, vital;    /* categories; of Observation and Condition */
    bool x, y;          /* tags */
};
struct thing {
    enum kind kind;
    char id[40];
    struct content *versions;
    unsigned n;
};
static struct thing things[MAX_THINGS];
static unsigned n_things;
static uint64_t seed;

static uint32_t dice(uint32_t n)
{
    seed += 0x9E3779B97F4A7C15u;
    uint64_t z = seed;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ z >> 31) >> 32) % n;
}
static bool one_in(uint32_t n)
{
    return dice(n) == 0;
}

/* ---- the oracle ---- */

struct rule { /* a scope */
    enum smart_level level;
    int kind; /* NOBODY: every type */
    unsigned letters;
    bool of_lab, of_vital, of_x, of_unknown; /* its query */
};
static struct {
    struct rule rules[8];
    unsigned n;
    int patient; /* NOBODY: the token names none */
} given;

static bool has_category(enum kind kind)
{
    return kind == OBSERVATION || kind == CONDITION;
}

/* Of the Patient's, in R4. */
static bool in_compartment(enum kind kind)
{
    return kind == PATIENT || kind == OBSERVATION || kind == CONDITION || kind == ENCOUNTER ||
           kind == GROUP;
}

/* Does the rule give anything of the type? */
static bool rule_knows(const struct rule *r, enum kind kind, unsigned letter)
{
    if (!(r->letters & letter) || (r->kind != NOBODY && r->kind != (int)kind) || r->of_unknown ||
        ((r->of_lab || r->of_vital) && !has_category(kind)))
        return false;
    if (r->level != SMART_PATIENT)
        return true;
    return given.patient != NOBODY && kind != CONTRACT &&
           (kind != PRACTITIONER || letter == SMART_R || letter == SMART_S);
}

static bool is_his(unsigned letter, const struct thing *t, const struct content *c)
{
    switch (t->kind) {
    case PATIENT:
        return t == &things[given.patient];
    case PRACTITIONER:
        return true;
    case CONTRACT:
        return false;
    case OBSERVATION:
        /* of one that he performed for another he only reads */
        if (letter & (SMART_C | SMART_U | SMART_D))
            return c->patient == given.patient;
        break;
    default:
        break;
    }
    return c->patient == given.patient || c->other == given.patient;
}

static bool gives(unsigned letter, const struct thing *t, const struct content *c)
{
    for (unsigned i = 0; i < given.n; i++) {
        const struct rule *r = &given.rules[i];
        if (rule_knows(r, t->kind, letter) && (r->level != SMART_PATIENT || is_his(letter, t, c)) &&
            (!r->of_lab || c->lab) && (!r->of_vital || c->vital) && (!r->of_x || c->x))
            return true;
    }
    return false;
}

static bool ever(unsigned letter, enum kind kind)
{
    for (unsigned i = 0; i < given.n; i++)
        if (rule_knows(&given.rules[i], kind, letter))
            return true;
    return false;
}

/* The content by which a version is seen: a deletion has that of the one before. */
static const struct content *shown(const struct thing *t, unsigned version)
{
    while (t->versions[version - 1].deleted)
        version--;
    return &t->versions[version - 1];
}
static const struct content *now_of(const struct thing *t)
{
    return &t->versions[t->n - 1];
}
static bool lives(const struct thing *t)
{
    return !now_of(t)->deleted;
}
static bool sees_now(unsigned letter, const struct thing *t)
{
    return gives(letter, t, shown(t, t->n));
}
static bool sees_version(unsigned letter, const struct thing *t, unsigned version)
{
    return sees_now(letter, t) && gives(letter, t, shown(t, version));
}
/* A living resource that a search shows. */
static bool found(const struct thing *t)
{
    return lives(t) && sees_now(SMART_S, t);
}

/* ---- resources ---- */

static struct content any_content(enum kind kind)
{
    struct content c = { .patient = NOBODY, .other = NOBODY, .encounter = NOBODY };
    c.male = one_in(2);
    c.x = one_in(2);
    c.y = one_in(3);
    if (kind == PATIENT || kind == PRACTITIONER)
        return c;
    if (!one_in(8))
        c.patient = (int)dice(N_PATIENTS);
    if ((kind == OBSERVATION || kind == GROUP) && one_in(6))
        c.other = (int)dice(N_PATIENTS);
    if (has_category(kind)) {
        c.lab = one_in(3);
        c.vital = one_in(3);
    }
    if (has_category(kind) && !one_in(4))
        for (unsigned i = 0; i < 20 && c.encounter == NOBODY; i++) {
            unsigned k = dice(n_things);
            if (things[k].kind == ENCOUNTER)
                c.encounter = (int)k;
        }
    return c;
}

static void text_of(const struct thing *t, const struct content *c, struct buf *out)
{
    OK(buf_add_fmt(out, e,
                   "{'resourceType':'%s','id':'%s','meta':{'tag':[{'system':'t','code':'z'}",
                   kind_names[t->kind], t->id));
    if (c->x)
        OK(buf_add(out, SV_LIT(",{'system':'t','code':'x'}"), e));
    if (c->y)
        OK(buf_add(out, SV_LIT(",{'system':'t','code':'y'}"), e));
    OK(buf_add(out, SV_LIT("]}"), e));
    static const char *const more[N_KINDS] = {
        [OBSERVATION] = ",'status':'final','code':{'text':'c'}",
        [ENCOUNTER] = ",'status':'finished','class':{'code':'AMB'}",
        [TASK] = ",'status':'requested','intent':'order'",
        [BINARY] = ",'contentType':'text/plain'",
        [GROUP] = ",'type':'person','actual':true",
    };
    static const char *const leads[N_KINDS] = {
        [OBSERVATION] = "subject", [CONDITION] = "subject", [ENCOUNTER] = "subject",
        [DEVICE] = "patient",      [TASK] = "for",          [BINARY] = "securityContext",
    };
    if (more[t->kind])
        OK(buf_add(out, sv_from(more[t->kind]), e));
    if (t->kind == PATIENT) {
        OK(buf_add_fmt(out, e, ",'gender':'%s'", c->male ? "male" : "female"));
        if (t >= &things[N_PATIENTS - 2])
            OK(buf_add_fmt(out, e,
                           ",'link':[{'other':{'reference':'Patient/%s'},'type':'seealso'}]",
                           things[0].id));
    }
    if (leads[t->kind] && c->patient != NOBODY)
        OK(buf_add_fmt(out, e, ",'%s':{'reference':'Patient/%s'}", leads[t->kind],
                       things[c->patient].id));
    /* A Condition must have a subject. */
    if (t->kind == CONDITION && c->patient == NOBODY)
        OK(buf_add(out, SV_LIT(",'subject':{'reference':'Group/none'}"), e));
    if (t->kind == CONTRACT && c->patient != NOBODY)
        OK(buf_add_fmt(out, e, ",'subject':[{'reference':'Patient/%s'}]", things[c->patient].id));
    if (t->kind == OBSERVATION && c->other != NOBODY)
        OK(buf_add_fmt(out, e, ",'performer':[{'reference':'Patient/%s'}]", things[c->other].id));
    if (t->kind == GROUP && (c->patient != NOBODY || c->other != NOBODY)) {
        int members[] = { c->patient, c->other };
        bool any = false;
        OK(buf_add(out, SV_LIT(",'member':["), e));
        for (unsigned i = 0; i < 2; i++)
            if (members[i] != NOBODY) {
                OK(buf_add_fmt(out, e, "%s{'entity':{'reference':'Patient/%s'}}", any ? "," : "",
                               things[members[i]].id));
                any = true;
            }
        OK(buf_add(out, SV_LIT("]"), e));
    }
    if (c->lab || c->vital)
        OK(buf_add_fmt(out, e, ",'category':[{'coding':[%s%s%s]}]",
                       c->lab ? "{'system':'c','code':'lab'}" : "", c->lab && c->vital ? "," : "",
                       c->vital ? "{'system':'c','code':'vital'}" : ""));
    if (c->encounter != NOBODY)
        OK(buf_add_fmt(out, e, ",'encounter':{'reference':'Encounter/%s'}",
                       things[c->encounter].id));
    OK(buf_add_char(out, '}', e));
}

static void note_version(struct thing *t, struct content c)
{
    t->versions = realloc(t->versions, (t->n + 1) * sizeof *t->versions);
    assert_non_null(t->versions);
    t->versions[t->n++] = c;
}

static struct thing *new_thing(enum kind kind)
{
    assert_true(n_things < MAX_THINGS);
    struct thing *t = &things[n_things];
    *t = (struct thing){ .kind = kind };
    (void)snprintf(t->id, sizeof t->id, "n%u", n_things++);
    return t;
}

static const char *path_of(const struct thing *t, const char *more)
{
    static char path[200];
    (void)snprintf(path, sizeof path, "%s/%s%s", kind_names[t->kind], t->id, more);
    return path;
}

/* Write many, without a token. */
static void write_all(const unsigned *which, unsigned n)
{
    struct buf b = BUF_INIT(1u << 20);
    for (unsigned i = 0; i < n; i++) {
        struct thing *t = &things[which[i]];
        struct content c = any_content(t->kind);
        if (b.len == 0)
            OK(buf_add(&b, SV_LIT("{'resourceType':'Bundle','type':'batch','entry':["), e));
        bool goes = t->n && lives(t) && t->kind != PATIENT && one_in(4);
        if (goes) {
            c = (struct content){ .deleted = true };
            OK(buf_add_fmt(&b, e, "{'request':{'method':'DELETE','url':'%s'}},", path_of(t, "")));
        } else {
            OK(buf_add_fmt(&b, e,
                           "{'request':{'method':'PUT','url':'%s'},'resource':", path_of(t, "")));
            text_of(t, &c, &b);
            OK(buf_add(&b, SV_LIT("},"), e));
        }
        note_version(t, c);
        if (i % 100 == 99 || i + 1 == n) {
            b.len--;
            OK(buf_add(&b, SV_LIT("]}"), e));
            OK(buf_add_char(&b, 0, e));
            ASKED(200, "POST", "", "", b.ptr);
            assert_false(mentions("\"status\":\"4"));
            b.len = 0;
        }
    }
    buf_done(&b);
}

static void fill(void)
{
    static const enum kind often[] = { OBSERVATION, OBSERVATION, OBSERVATION, CONDITION,
                                       ENCOUNTER };
    static unsigned all[N_THINGS];
    no_token();
    fresh_store();
    for (unsigned i = 0; i < n_things; i++)
        free(things[i].versions);
    n_things = 0;
    for (unsigned i = 0; i < N_THINGS; i++) {
        enum kind kind = i < N_PATIENTS ? PATIENT
                         : i < 60       ? ENCOUNTER
                         : one_in(3)    ? (enum kind)(1 + dice(N_KINDS - 1))
                                        : often[dice(sizeof often / sizeof often[0])];
        (void)new_thing(kind);
        all[i] = i;
    }
    write_all(all, N_THINGS);
    /* some twice and three times */
    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;
        for (unsigned i = 0; i < N_THINGS; i++)
            if (one_in(round ? 10 : 4))
                all[n++] = i;
        write_all(all, n);
    }
}

static struct thing *any_thing(void)
{
    return &things[dice(n_things)];
}

/* ---- tokens ---- */

static char scopes[2000];

static void any_token(void)
{
    static const char *const levels[] = { "patient", "user", "system" };
    static const char *const v1[] = { "read", "write", "*" };
    static const unsigned v1_letters[] = { SMART_R | SMART_S, SMART_C | SMART_U | SMART_D, 31 };
    int n = snprintf(scopes, sizeof scopes, "openid launch/patient");
    memset(&given, 0, sizeof given);
    given.patient = one_in(12) ? NOBODY : (int)dice(2);
    given.n = 1 + dice(6);
    for (unsigned i = 0; i < given.n; i++) {
        struct rule *r = &given.rules[i];
        /* patients' apps mostly */
        r->level = one_in(2) ? SMART_PATIENT : (enum smart_level)dice(3);
        r->kind = one_in(4) ? NOBODY : (int)dice(N_KINDS);
        if (one_in(3))
            r->kind = OBSERVATION;
        n += snprintf(scopes + n, sizeof scopes - (size_t)n, " %s%s/%s.",
                      one_in(6) ? "http://smarthealthit.org/fhir/scopes/" : "", levels[r->level],
                      r->kind == NOBODY ? "*" : kind_names[r->kind]);
        if (one_in(3)) {
            unsigned k = dice(3);
            r->letters = v1_letters[k];
            n += snprintf(scopes + n, sizeof scopes - (size_t)n, "%s", v1[k]);
            continue;
        }
        r->letters = one_in(3) ? SMART_R | SMART_S : 1 + dice(31);
        for (unsigned k = 0; k < 5; k++)
            if (r->letters & 1u << k)
                n += snprintf(scopes + n, sizeof scopes - (size_t)n, "%c", "cruds"[k]);
        const char *by = "?";
        if (one_in(3)) {
            r->of_lab = one_in(2);
            r->of_vital = !r->of_lab;
            n += snprintf(scopes + n, sizeof scopes - (size_t)n, "%scategory=c|%s", by,
                          r->of_lab ? "lab" : "vital");
            by = "&";
        }
        if (one_in(4)) {
            r->of_x = true;
            n += snprintf(scopes + n, sizeof scopes - (size_t)n, "%s_tag=t%%7Cx", by);
            by = "&";
        }
        if (one_in(20)) {
            r->of_unknown = true;
            n += snprintf(scopes + n, sizeof scopes - (size_t)n, "%snothing=x", by);
        }
    }
    with_token(scopes, given.patient == NOBODY ? NULL : things[given.patient].id);
}

#define WRONG(...)                                                     \
    do {                                                               \
        print_error("scopes %s, patient %d\n", scopes, given.patient); \
        fail_msg(__VA_ARGS__);                                         \
    } while (0)

static void expect(unsigned want, const char *how, const char *where, const char *more,
                   const char *text)
{
    unsigned got = ask(how, where, more, text);
    if (got != want)
        WRONG("%s %s: %u, not %u: %.*s %s", how, where, got, want,
              SV_FMT(sv_head(buf_sv(&here.last.body), 300)), text ? text : "");
    if (got == 403)
        assert_sv(header("WWW-Authenticate"), SV_LIT("Bearer error=\"insufficient_scope\""));
}

/* ---- what comes in Bundles ---- */

static uint8_t came[MAX_THINGS]; /* 1: as a match, 2: as an include */

static struct thing *thing_of(sv id)
{
    uint64_t k = MAX_THINGS;
    if (id.len < 2 || id.ptr[0] != 'n' || !sv_to_u64(sv_tail(id, 1), &k) || k >= n_things)
        WRONG("%.*s is not known", SV_FMT(id));
    return &things[k];
}

/* Take all pages of the Bundle that was answered. */
static void take_pages(const char *where)
{
    memset(came, 0, sizeof came);
    do {
        yyjson_val *list = value_at("/entry"), *one;
        yyjson_arr_iter it = yyjson_arr_iter_with(list);
        while (list && (one = yyjson_arr_iter_next(&it)) != NULL) {
            sv mode = json_string(yyjson_ptr_get(one, "/search/mode"));
            if (sv_eq(mode, SV_LIT("outcome")))
                WRONG("%s: a note: %.*s", where, SV_FMT(buf_sv(&here.last.body)));
            sv id = json_string(yyjson_ptr_get(one, "/resource/id"));
            struct thing *t = thing_of(id);
            came[t - things] |= sv_eq(mode, SV_LIT("match")) ? 1 : 2;
        }
    } while (follow_link("next"));
}

static void same(const char *where, const uint8_t *want)
{
    for (unsigned i = 0; i < n_things; i++)
        if (came[i] != want[i])
            WRONG("%s: %s/%s came as %u, not as %u", where, kind_names[things[i].kind],
                  things[i].id, came[i], want[i]);
}

static uint8_t want[MAX_THINGS];

static void check_search(const char *where, bool allowed)
{
    expect(allowed ? 200 : 403, "GET", where, "", NULL);
    if (!allowed)
        return;
    take_pages(where);
    same(where, want);
}

/* ---- interactions ---- */

static void read_some(void)
{
    for (unsigned i = 0; i < 40; i++) {
        const struct thing *t = any_thing();
        unsigned status = !ever(SMART_R, t->kind) ? 403
                          : !sees_now(SMART_R, t) ? 404
                          : lives(t)              ? 200
                                                  : 410;
        expect(status, "GET", path_of(t, ""), "", NULL);
        char version[32];
        unsigned v = 1 + dice(t->n + 1);
        (void)snprintf(version, sizeof version, "/_history/%u", v);
        status = !ever(SMART_R, t->kind)                    ? 403
                 : v > t->n || !sees_version(SMART_R, t, v) ? 404
                 : t->versions[v - 1].deleted               ? 410
                                                            : 200;
        expect(status, "GET", path_of(t, version), "", NULL);
    }
}

/* Entries of the history that was answered, and of its next pages, as often as they come. */
static void check_history(const char *where, unsigned letter, int kind, const struct thing *only)
{
    static unsigned n_came[MAX_THINGS];
    memset(n_came, 0, sizeof n_came);
    do {
        yyjson_val *list = value_at("/entry"), *one;
        yyjson_arr_iter it = yyjson_arr_iter_with(list);
        while (list && (one = yyjson_arr_iter_next(&it)) != NULL) {
            sv at = json_string(yyjson_ptr_get(one, "/response/location"));
            sv part = SV_NONE, id = SV_NONE, version;
            uint64_t v;
            assert_true(sv_cut(&at, '/', &part) && sv_cut(&at, '/', &id) &&
                        sv_cut(&at, '/', &part));
            version = at;
            const struct thing *t = thing_of(id);
            assert_true(sv_to_u64(version, &v));
            if ((only && t != only) || !sees_version(letter, t, (unsigned)v))
                WRONG("%s: version %u of %s came", where, (unsigned)v, path_of(t, ""));
            n_came[t - things]++;
        }
    } while (follow_link("next"));
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        unsigned n = 0;
        if ((only && t != only) || (kind != NOBODY && kind != (int)t->kind))
            continue;
        for (unsigned v = 1; v <= t->n; v++)
            n += sees_version(letter, t, v);
        if (n_came[i] != n)
            WRONG("%s: %u of %u versions of %s came", where, n_came[i], n, path_of(t, ""));
    }
}

static void histories(void)
{
    char path[250];
    for (unsigned i = 0; i < 5; i++) {
        const struct thing *t = any_thing();
        (void)snprintf(path, sizeof path, "%s", path_of(t, "/_history?_count=2"));
        expect(!ever(SMART_R, t->kind) ? 403
               : !sees_now(SMART_R, t) ? 404
                                       : 200,
               "GET", path, "", NULL);
        if (here.last.status == 200)
            check_history(path, SMART_R, t->kind, t);
    }
    int kind = (int)dice(N_KINDS);
    (void)snprintf(path, sizeof path, "%s/_history?_count=%u", kind_names[kind], 50 + dice(900));
    expect(ever(SMART_S, (enum kind)kind) ? 200 : 403, "GET", path, "", NULL);
    if (here.last.status == 200)
        check_history(path, SMART_S, kind, NULL);
    if (!one_in(4))
        return;
    bool any = false;
    for (unsigned k = 0; k < N_KINDS; k++)
        any |= ever(SMART_S, (enum kind)k);
    if (!any)
        return;
    expect(200, "GET", "_history?_count=700", "", NULL);
    check_history("_history", SMART_S, NOBODY, NULL);
}

static void searches(void)
{
    static const char *const more[] = { "", "&_tag=t|x", "&_sort=-_lastUpdated", "&_tag:not=t|x" };
    char path[200];
    for (unsigned k = 0; k < N_KINDS; k++) {
        unsigned form = one_in(2) ? 0 : dice(4), total = 0;
        (void)snprintf(path, sizeof path, "%s?_count=%u%s", kind_names[k], 1 + dice(1000),
                       more[form]);
        if (dice(3))
            (void)snprintf(path, sizeof path, "%s?_count=1000%s", kind_names[k], more[form]);
        memset(want, 0, sizeof want);
        for (unsigned i = 0; i < n_things; i++) {
            const struct thing *t = &things[i];
            want[i] = t->kind == k && found(t) && (form != 1 || now_of(t)->x) &&
                      (form != 3 || !now_of(t)->x);
            total += want[i];
        }
        bool allowed = ever(SMART_S, (enum kind)k);
        /* Small pages of many are walked in some runs alone. */
        if (total > 60 && !strstr(path, "_count=1000"))
            (void)snprintf(path, sizeof path, "%s?_count=99%s", kind_names[k], more[form]);
        check_search(path, allowed);
        (void)snprintf(path, sizeof path, "%s?_summary=count%s", kind_names[k],
                       form == 2 ? "" : more[form]);
        expect(allowed ? 200 : 403, "GET", path, "", NULL);
        if (allowed && !sv_eq(said("/total"), arena_fmt(here.tree, "%u", total)))
            WRONG("%s: %.*s, not %u", path, SV_FMT(said("/total")), total);
    }
    /* of several types, and of all */
    memset(want, 0, sizeof want);
    bool any = false;
    for (unsigned k = 0; k < N_KINDS; k++)
        any |= ever(SMART_S, (enum kind)k);
    for (unsigned i = 0; i < n_things; i++)
        want[i] = found(&things[i]) && now_of(&things[i])->y;
    if (any)
        check_search("?_tag=t|y&_count=1000", true);
    for (unsigned i = 0; i < n_things; i++)
        want[i] = want[i] && (things[i].kind == DEVICE || things[i].kind == TASK);
    check_search("?_type=Device,Task&_tag=t|y&_count=1000",
                 ever(SMART_S, DEVICE) || ever(SMART_S, TASK));
}

static void compartments(void)
{
    char path[100];
    unsigned p = dice(2);
    memset(want, 0, sizeof want);
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        bool member = t->kind != PATIENT && in_compartment(t->kind) &&
                      (now_of(t)->patient == (int)p || now_of(t)->other == (int)p);
        /* R4's compartment has patients that link to its owner. */
        member |= i == p || (p == 0 && t->kind == PATIENT && i >= N_PATIENTS - 2);
        want[i] = member && found(t);
    }
    bool any = false;
    for (unsigned k = 0; k < N_KINDS; k++)
        any |= in_compartment((enum kind)k) && ever(SMART_S, (enum kind)k);
    (void)snprintf(path, sizeof path, "Patient/%s/*?_count=1000", things[p].id);
    if (any)
        check_search(path, true);
    for (unsigned i = 0; i < n_things; i++)
        want[i] = want[i] && things[i].kind == GROUP;
    (void)snprintf(path, sizeof path, "Patient/%s/Group?_count=1000", things[p].id);
    check_search(path, ever(SMART_S, GROUP));
}

static void chains(void)
{
    const struct thing *enc;
    bool o = ever(SMART_S, OBSERVATION), n = ever(SMART_S, ENCOUNTER), p = ever(SMART_S, PATIENT);
    memset(want, 0, sizeof want);
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        enc = lives(t) && now_of(t)->encounter != NOBODY ? &things[now_of(t)->encounter] : NULL;
        want[i] = t->kind == OBSERVATION && found(t) && enc && found(enc) && now_of(enc)->x;
    }
    check_search("Observation?encounter._tag=t|x&_count=1000", o && n);
    memset(want, 0, sizeof want);
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        enc = lives(t) && now_of(t)->encounter != NOBODY ? &things[now_of(t)->encounter] : NULL;
        int who = enc && found(enc) ? now_of(enc)->patient : NOBODY;
        want[i] = t->kind == OBSERVATION && found(t) && who != NOBODY && found(&things[who]) &&
                  now_of(&things[who])->male;
    }
    check_search("Observation?encounter.subject:Patient.gender=male&_count=1000", o && n && p);
    memset(want, 0, sizeof want);
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        enc = lives(t) && now_of(t)->encounter != NOBODY ? &things[now_of(t)->encounter] : NULL;
        if (t->kind == OBSERVATION && found(t) && now_of(t)->lab && enc && found(enc))
            want[now_of(t)->encounter] = 1;
    }
    check_search("Encounter?_has:Observation:encounter:category=c|lab&_count=1000", o && n);
    memset(want, 0, sizeof want);
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        int who = lives(t) ? now_of(t)->patient : NOBODY;
        if (t->kind == OBSERVATION && found(t) && now_of(t)->y && who != NOBODY &&
            found(&things[who]))
            want[who] = 1;
    }
    check_search("Patient?_has:Observation:subject:_tag=t|y&_count=1000", o && p);
}

static void includes(void)
{
    bool o = ever(SMART_S, OBSERVATION), n = ever(SMART_S, ENCOUNTER);
    memset(want, 0, sizeof want);
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        if (t->kind != OBSERVATION || !found(t) || !now_of(t)->x)
            continue;
        want[i] = 1;
        const struct content *c = now_of(t);
        const struct thing *enc = c->encounter != NOBODY ? &things[c->encounter] : NULL;
        if (enc == NULL || !lives(enc) || !sees_now(SMART_R, enc))
            continue;
        want[c->encounter] = 2;
        int who = now_of(enc)->patient;
        if (who != NOBODY && lives(&things[who]) && sees_now(SMART_R, &things[who]))
            want[who] = 2;
    }
    check_search("Observation?_tag=t|x&_count=1000&_include=Observation:encounter&"
                 "_include:iterate=Encounter:subject",
                 o);
    memset(want, 0, sizeof want);
    for (unsigned i = 0; i < n_things; i++)
        want[i] = things[i].kind == ENCOUNTER && found(&things[i]) && now_of(&things[i])->y;
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        int at = lives(t) ? now_of(t)->encounter : NOBODY;
        if (t->kind == OBSERVATION && at != NOBODY && want[at] == 1 && sees_now(SMART_R, t))
            want[i] = 2;
    }
    check_search("Encounter?_tag=t|y&_count=1000&_revinclude=Observation:encounter", n);
}

static void everything(void)
{
    unsigned p = dice(N_PATIENTS);
    const struct thing *who = &things[p];
    expect(!ever(SMART_R, PATIENT)   ? 403
           : !sees_now(SMART_R, who) ? 404
                                     : 200,
           "GET", path_of(who, "/$everything"), "", NULL);
    if (here.last.status != 200)
        return;
    take_pages("$everything");
    for (unsigned i = 0; i < n_things; i++) {
        const struct thing *t = &things[i];
        bool mine = t->kind != PATIENT && in_compartment(t->kind) &&
                    (now_of(t)->patient == (int)p || now_of(t)->other == (int)p);
        mine |= i == p || (p == 0 && t->kind == PATIENT && i >= N_PATIENTS - 2);
        bool comes = mine && lives(t) && sees_now(SMART_R, t);
        if ((came[i] != 0) != comes)
            WRONG("$everything of %s: %s", who->id, path_of(t, ""));
    }
}

/* ---- writes ---- */

/* What becomes of a change of what is there: 0 if it may be done. */
static unsigned refusal(unsigned letter, const struct thing *t)
{
    if (sees_now(letter, t))
        return 0;
    return sees_now(SMART_R, t) || sees_now(SMART_S, t) ? 403 : 404;
}

static void put(struct thing *t)
{
    CLEANUP_BUF struct buf b = BUF_INIT(8192);
    struct content c = any_content(t->kind);
    bool there = t->n > 0;
    unsigned status = !ever(SMART_U, t->kind) || !gives(SMART_U, t, &c) ? 403 : 0;
    if (status == 0 && there)
        status = refusal(SMART_U, t);
    text_of(t, &c, &b);
    OK(buf_add_char(&b, 0, e));
    bool done = status == 0;
    if (done)
        status = there && lives(t) ? 200 : 201;
    expect(status, "PUT", path_of(t, ""), "", b.ptr);
    if (done)
        note_version(t, c);
}

static void patch(struct thing *t)
{
    struct content c = *now_of(t);
    c.x = true;
    c.y = false;
    unsigned status = !ever(SMART_U, t->kind) ? 403 : refusal(SMART_U, t);
    if (status == 0)
        status = !lives(t) ? 410 : !gives(SMART_U, t, &c) ? 403 : 200;
    expect(status, "PATCH", path_of(t, ""), AS_PATCH,
           "[{'op':'replace','path':'/meta/tag','value':[{'system':'t','code':'x'}]}]");
    if (status != 200)
        return;
    assert_int_equal(here.last.body.len > 0, gives(SMART_R, t, &c));
    note_version(t, c);
}

static void delete_it(struct thing *t)
{
    unsigned status = !ever(SMART_D, t->kind) ? 403 : refusal(SMART_D, t);
    expect(status ? status : 204, "DELETE", path_of(t, ""), "", NULL);
    if (status == 0 && lives(t))
        note_version(t, (struct content){ .deleted = true });
}

/* A condition by _tag and _id, which finds the resource when the token searches it. */
static void delete_if(struct thing *t)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s?_tag=t|x&_id=%s", kind_names[t->kind], t->id);
    bool allowed = ever(SMART_D, t->kind) && ever(SMART_S, t->kind), sees = sees_now(SMART_S, t);
    unsigned status = !allowed              ? 403
                      : !sees               ? 404
                      : !lives(t)           ? 204
                      : !now_of(t)->x       ? 409
                      : refusal(SMART_D, t) ? refusal(SMART_D, t)
                                            : 204;
    expect(status, "DELETE", path, "", NULL);
    if (status == 204 && lives(t))
        note_version(t, (struct content){ .deleted = true });
}

/* Of creates the refused ones alone are made: what is created has an id that the oracle does not
 * know. PUT of what was not there makes new resources. */
static void create(enum kind kind)
{
    CLEANUP_BUF struct buf b = BUF_INIT(8192);
    struct thing t = { .kind = kind, .id = "any" };
    struct content c = any_content(kind);
    text_of(&t, &c, &b);
    OK(buf_add_char(&b, 0, e));
    if (!ever(SMART_C, kind) || !gives(SMART_C, &t, &c))
        expect(403, "POST", kind_names[kind], "", b.ptr);
}

static void writes(void)
{
    for (unsigned i = 0; i < 12; i++) {
        struct thing *t = any_thing();
        /* The patients stay. */
        if (t->kind == PATIENT)
            continue;
        create((enum kind)dice(N_KINDS));
        switch (dice(6)) {
        case 0:
        case 1:
            put(t);
            break;
        case 2:
            patch(t);
            break;
        case 3:
            delete_it(t);
            break;
        case 4:
            delete_if(t);
            break;
        default: {
            struct thing *fresh = new_thing((enum kind)(1 + dice(N_KINDS - 1)));
            put(fresh);
            if (fresh->n == 0)
                n_things--;
        }
        }
    }
}

TEST(granted, random_tokens_see_and_change_what_their_scopes_give)
{
    (void)state;
    const char *text = getenv("FHIRLAKE_SEED");
    seed = text ? strtoull(text, NULL, 10) : 20261129;
    print_message("FHIRLAKE_SEED=%llu\n", (unsigned long long)seed);
    unsigned n = test_is_long() ? 2000 : 200;
    for (unsigned i = 0; i < n; i++) {
        /* Every so often anew, as writes make all alike in the end. */
        if (i % 100 == 0)
            fill();
        any_token();
        read_some();
        histories();
        searches();
        compartments();
        chains();
        includes();
        everything();
        writes();
    }
}

ASKING_MAIN(T(granted, random_tokens_see_and_change_what_their_scopes_give))
