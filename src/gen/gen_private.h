/* gen_private.h - what the rooms of the generator share: the stream of chance, ids, and the pen.
 *
 *   gen.c      units and calls
 *   people.c   organizations, practitioners, patients
 *   visits.c   what a visit brings
 *
 * Text goes through one pointer into reserved room; nothing is formatted by printf. Every random
 * choice comes from a stream that is seeded by (seed, unit), every id from (seed, kind, unit,
 * number): a reference can name a resource before or without making it.   Floor: gen. */
#pragma once
#include "gen/gen.h"
#include "gen/tables.h"

/* No resource but a Provenance is longer than a few KiB. */
#define RESOURCE_ROOM         (256u << 10)
#define PATIENTS_PER_ORG      50u
#define PRACTITIONERS_PER_ORG 3u
#define LAST_DAY              20400 /* 2025-11-08, days since 1970: the population's present */
#define MAX_RESULTS           12u

enum kind {
    ORG,
    LOC,
    PRACT,
    ROLE,
    MED,
    PAT,
    COV,
    ENC,
    COND,
    OBS,
    PROC,
    REQ,
    ADMIN,
    IMM,
    CLAIM,
    EOB,
    REPORT,
    IMAGING,
    ALLERGY,
    PLAN,
    TEAM,
    GOAL,
    DEVICE,
    DOC,
    PROV,
    N_KINDS
};
static const char *const type_names[N_KINDS] = { "Organization",
                                                 "Location",
                                                 "Practitioner",
                                                 "PractitionerRole",
                                                 "Medication",
                                                 "Patient",
                                                 "Coverage",
                                                 "Encounter",
                                                 "Condition",
                                                 "Observation",
                                                 "Procedure",
                                                 "MedicationRequest",
                                                 "MedicationAdministration",
                                                 "Immunization",
                                                 "Claim",
                                                 "ExplanationOfBenefit",
                                                 "DiagnosticReport",
                                                 "ImagingStudy",
                                                 "AllergyIntolerance",
                                                 "CarePlan",
                                                 "CareTeam",
                                                 "Goal",
                                                 "Device",
                                                 "DocumentReference",
                                                 "Provenance" };

struct gen {
    uint64_t seed, n_patients, n_orgs;
    struct buf *out; /* of the present unit */
    struct err *e;
    err_code rc;
    char *p;      /* where text goes */
    uint64_t rnd; /* the unit's stream */
    uint64_t unit;
    uint32_t made[N_KINDS]; /* numbers given out in this unit */
    uint32_t org, pract;    /* the patient's usual ones */
    char *spill;            /* past out's cap text goes here, and nowhere */
};

/* ---- chance and identity ---- */

static inline uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint32_t below(struct gen *g, uint32_t n)
{
    g->rnd += 0x9e3779b97f4a7c15u;
    return (uint32_t)(((mix(g->rnd) >> 32) * n) >> 32);
}

static inline bool chance(struct gen *g, uint32_t percent)
{
    return below(g, 100) < percent;
}

/* ---- text ---- */

static inline void text(struct gen *g, const char *s, size_t len)
{
    memcpy(g->p, s, len);
    g->p += len;
}
#define L(lit) text(g, (lit), sizeof(lit) - 1)

static inline void str(struct gen *g, const char *s)
{
    text(g, s, strlen(s));
}

static inline void digits(struct gen *g, uint32_t v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v /= 10)
        g->p[i] = (char)('0' + v % 10);
    g->p += n;
}

static inline void number(struct gen *g, uint64_t v)
{
    char t[20];
    unsigned n = 0;
    do
        t[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        *g->p++ = t[--n];
}

/* v in units of the last decimal: 12916 with 2 is 129.16 */
static inline void decimal(struct gen *g, uint32_t v, int decimals)
{
    static const uint32_t tens[] = { 1, 10, 100, 1000 };
    number(g, v / tens[decimals]);
    if (decimals) {
        *g->p++ = '.';
        digits(g, v % tens[decimals], (unsigned)decimals);
    }
}

static inline void hex(struct gen *g, uint64_t v, unsigned n)
{
    static const char d[] = "0123456789abcdef";
    for (unsigned i = n; i-- > 0; v >>= 4)
        g->p[i] = d[v & 15];
    g->p += n;
}

static inline void uuid(struct gen *g, enum kind k, uint64_t unit, uint32_t n)
{
    uint64_t a =
        mix(g->seed * 0x2545f4914f6cdd1du + ((uint64_t)k << 58) + unit * 0x9e3779b97f4a7c15u + n);
    uint64_t b = mix(a ^ (unit << 32) ^ ((uint64_t)n << 8) ^ k);
    hex(g, a >> 32, 8);
    *g->p++ = '-';
    hex(g, a >> 16, 4);
    L("-4");
    hex(g, a, 3);
    *g->p++ = '-';
    hex(g, 8 | (b >> 62), 1);
    hex(g, b >> 48, 3);
    *g->p++ = '-';
    hex(g, b, 12);
}

/* Civil date of a day number (days since 1970-01-01). */
static inline void date(struct gen *g, int32_t day)
{
    int32_t z = day + 719468, era = z / 146097;
    uint32_t doe = (uint32_t)(z - era * 146097);
    uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    uint32_t d = doy - (153 * mp + 2) / 5 + 1, m = mp < 10 ? mp + 3 : mp - 9;
    digits(g, yoe + (uint32_t)era * 400 + (m <= 2), 4);
    *g->p++ = '-';
    digits(g, m, 2);
    *g->p++ = '-';
    digits(g, d, 2);
}

/* minute: of the day */
static inline void date_time(struct gen *g, int32_t day, uint32_t minute)
{
    date(g, day);
    *g->p++ = 'T';
    digits(g, minute / 60 % 24, 2);
    *g->p++ = ':';
    digits(g, minute % 60, 2);
    L(":00-05:00");
}

/* ---- pieces of resources ---- */

/* Opens a resource and gives its number; NDJSON lines begin so. */
static inline uint32_t begin(struct gen *g, enum kind k)
{
    if (g->rc == ERR_OK)
        g->rc = buf_reserve(g->out, RESOURCE_ROOM, g->e);
    uint32_t n = g->made[k]++;
    g->p = g->rc == ERR_OK ? g->out->ptr + g->out->len : g->spill;
    L("{\"resourceType\":\"");
    str(g, type_names[k]);
    L("\",\"id\":\"");
    uuid(g, k, g->unit, n);
    *g->p++ = '"';
    return n;
}

static inline void end(struct gen *g)
{
    L("}\n");
    if (g->rc == ERR_OK)
        g->out->len = (size_t)(g->p - g->out->ptr);
}

static inline void ref_to(struct gen *g, enum kind k, uint64_t unit, uint32_t n)
{
    L("{\"reference\":\"");
    str(g, type_names[k]);
    *g->p++ = '/';
    uuid(g, k, unit, n);
    L("\"}");
}

static inline void ref(struct gen *g, enum kind k, uint32_t n)
{
    ref_to(g, k, k <= MED ? 0 : g->unit, n);
}

static inline void concept(struct gen *g, const char *system, const char *code, const char *display)
{
    L("{\"coding\":[{\"system\":\"");
    str(g, system);
    L("\",\"code\":\"");
    str(g, code);
    L("\",\"display\":\"");
    str(g, display);
    L("\"}],\"text\":\"");
    str(g, display);
    L("\"}");
}
#define SNOMED "http://snomed.info/sct"
#define LOINC  "http://loinc.org"
#define RXNORM "http://www.nlm.nih.gov/research/umls/rxnorm"

static inline void subject(struct gen *g, const char *name)
{
    L(",\"");
    str(g, name);
    L("\":");
    ref(g, PAT, 0);
}

static inline void encounter(struct gen *g, uint32_t enc)
{
    L(",\"encounter\":");
    ref(g, ENC, enc);
}

static inline void address(struct gen *g)
{
    uint32_t c = below(g, GEN_COUNT(gen_cities));
    L("{\"line\":[\"");
    number(g, 1 + below(g, 990));
    *g->p++ = ' ';
    str(g, gen_streets[below(g, GEN_COUNT(gen_streets))]);
    L("\"],\"city\":\"");
    str(g, gen_cities[c].city);
    L("\",\"state\":\"");
    str(g, gen_cities[c].state);
    L("\",\"postalCode\":\"");
    str(g, gen_cities[c].zip);
    L("\",\"country\":\"US\"}");
}

static inline void phone(struct gen *g)
{
    L("{\"system\":\"phone\",\"value\":\"555-");
    digits(g, below(g, 1000), 3);
    *g->p++ = '-';
    digits(g, below(g, 10000), 4);
    L("\",\"use\":\"home\"}");
}

static inline void quantity(struct gen *g, const struct gen_measure *m, uint32_t v)
{
    L("{\"value\":");
    decimal(g, v, m->decimals);
    L(",\"unit\":\"");
    str(g, m->unit);
    L("\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"");
    str(g, m->unit);
    L("\"}");
}

static inline void money(struct gen *g, uint32_t cents)
{
    L("{\"value\":");
    decimal(g, cents, 2);
    L(",\"currency\":\"USD\"}");
}

/* ---- the other rooms ---- */
void gen_shared(struct gen *g);                              /* unit 0 */
void gen_patient(struct gen *g, int32_t birth, bool female); /* Patient, Coverage */
void gen_visit(struct gen *g, int32_t day, bool first); /* Encounter and all that hangs on it */
void gen_standing(struct gen *g, int32_t day);   /* CareTeam, Goal, CarePlan, allergies, devices */
void gen_provenance(struct gen *g, int32_t day); /* names every resource of the patient */
