/* gen.c - a life of encounters per patient, each with what it brings.
 *
 * Text goes through one pointer into reserved room; nothing is formatted by printf. Every random choice
 * comes from a stream that is seeded by (seed, unit), every id from (seed, kind, unit, number): so that a
 * reference can name a resource before or without making it. */
#include "gen/gen.h"

#include "gen/tables.h"

#define RESOURCE_ROOM         (256u << 10) /* no resource but a Provenance is longer than a few KiB */
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

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t below(struct gen *g, uint32_t n)
{
    g->rnd += 0x9e3779b97f4a7c15u;
    return (uint32_t)(((mix(g->rnd) >> 32) * n) >> 32);
}

static bool chance(struct gen *g, uint32_t percent)
{
    return below(g, 100) < percent;
}

/* ---- text ---- */

static void text(struct gen *g, const char *s, size_t len)
{
    memcpy(g->p, s, len);
    g->p += len;
}
#define L(lit) text(g, (lit), sizeof(lit) - 1)

static void str(struct gen *g, const char *s)
{
    text(g, s, strlen(s));
}

static void digits(struct gen *g, uint32_t v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v /= 10)
        g->p[i] = (char)('0' + v % 10);
    g->p += n;
}

static void number(struct gen *g, uint64_t v)
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
static void decimal(struct gen *g, uint32_t v, int decimals)
{
    static const uint32_t tens[] = { 1, 10, 100, 1000 };
    number(g, v / tens[decimals]);
    if (decimals) {
        *g->p++ = '.';
        digits(g, v % tens[decimals], (unsigned)decimals);
    }
}

static void hex(struct gen *g, uint64_t v, unsigned n)
{
    static const char d[] = "0123456789abcdef";
    for (unsigned i = n; i-- > 0; v >>= 4)
        g->p[i] = d[v & 15];
    g->p += n;
}

static void uuid(struct gen *g, enum kind k, uint64_t unit, uint32_t n)
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
static void date(struct gen *g, int32_t day)
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
static void date_time(struct gen *g, int32_t day, uint32_t minute)
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
static uint32_t begin(struct gen *g, enum kind k)
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

static void end(struct gen *g)
{
    L("}\n");
    if (g->rc == ERR_OK)
        g->out->len = (size_t)(g->p - g->out->ptr);
}

static void ref_to(struct gen *g, enum kind k, uint64_t unit, uint32_t n)
{
    L("{\"reference\":\"");
    str(g, type_names[k]);
    *g->p++ = '/';
    uuid(g, k, unit, n);
    L("\"}");
}

static void ref(struct gen *g, enum kind k, uint32_t n)
{
    ref_to(g, k, k <= MED ? 0 : g->unit, n);
}

static void concept(struct gen *g, const char *system, const char *code, const char *display)
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

static void subject(struct gen *g, const char *name)
{
    L(",\"");
    str(g, name);
    L("\":");
    ref(g, PAT, 0);
}

static void encounter(struct gen *g, uint32_t enc)
{
    L(",\"encounter\":");
    ref(g, ENC, enc);
}

static void address(struct gen *g)
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

static void phone(struct gen *g)
{
    L("{\"system\":\"phone\",\"value\":\"555-");
    digits(g, below(g, 1000), 3);
    *g->p++ = '-';
    digits(g, below(g, 10000), 4);
    L("\",\"use\":\"home\"}");
}

static void quantity(struct gen *g, const struct gen_measure *m, uint32_t v)
{
    L("{\"value\":");
    decimal(g, v, m->decimals);
    L(",\"unit\":\"");
    str(g, m->unit);
    L("\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"");
    str(g, m->unit);
    L("\"}");
}

static void money(struct gen *g, uint32_t cents)
{
    L("{\"value\":");
    decimal(g, cents, 2);
    L(",\"currency\":\"USD\"}");
}

/* ---- unit 0: what is shared ---- */

static void organization(struct gen *g, uint32_t i)
{
    begin(g, ORG);
    L(",\"identifier\":[{\"system\":\"https://example.org/organizations\",\"value\":\"ORG-");
    digits(g, i, 6);
    L("\"}],\"active\":true,\"type\":[{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
      "CodeSystem/organization-type\",\"code\":\"prov\",\"display\":\"Healthcare "
      "Provider\"}]}],\"name\":\"");
    str(g, gen_org_words[i % GEN_COUNT(gen_org_words)]);
    *g->p++ = ' ';
    str(g, gen_org_kinds[i / GEN_COUNT(gen_org_words) % GEN_COUNT(gen_org_kinds)]);
    L("\",\"telecom\":[");
    phone(g);
    L("],\"address\":[");
    address(g);
    L("]");
    end(g);
    begin(g, LOC);
    L(",\"status\":\"active\",\"name\":\"Main building ");
    number(g, i);
    L("\",\"address\":");
    address(g);
    L(",\"position\":{\"longitude\":-7");
    decimal(g, 1000 + below(g, 2000), 3);
    L(",\"latitude\":4");
    decimal(g, 1000 + below(g, 1900), 3);
    L("},\"managingOrganization\":");
    ref(g, ORG, i);
    end(g);
}

static void practitioner(struct gen *g, uint32_t i)
{
    bool female = chance(g, 50);
    const char *given = female ? gen_given_f[below(g, GEN_COUNT(gen_given_f))]
                               : gen_given_m[below(g, GEN_COUNT(gen_given_m))];
    begin(g, PRACT);
    L(",\"identifier\":[{\"system\":\"http://hl7.org/fhir/sid/us-npi\",\"value\":\"99999");
    digits(g, i, 5);
    L("\"}],\"active\":true,\"name\":[{\"family\":\"");
    str(g, gen_family[below(g, GEN_COUNT(gen_family))]);
    L("\",\"given\":[\"");
    str(g, given);
    L("\"],\"prefix\":[\"Dr.\"]}],\"telecom\":[");
    phone(g);
    L("],\"gender\":\"");
    str(g, female ? "female" : "male");
    L("\"");
    end(g);
    begin(g, ROLE);
    L(",\"active\":true,\"practitioner\":");
    ref(g, PRACT, i);
    L(",\"organization\":");
    ref(g, ORG, i / PRACTITIONERS_PER_ORG);
    L(",\"code\":[{\"coding\":[{\"system\":\"http://nucc.org/"
      "provider-taxonomy\",\"code\":\"208D00000X\",\"display\":\"General "
      "Practice\"}]}],\"location\":[");
    ref(g, LOC, i / PRACTITIONERS_PER_ORG);
    L("]");
    end(g);
}

static void shared(struct gen *g)
{
    for (uint32_t i = 0; i < g->n_orgs; i++)
        organization(g, i);
    for (uint32_t i = 0; i < g->n_orgs * PRACTITIONERS_PER_ORG; i++)
        practitioner(g, i);
    for (uint32_t i = 0; i < GEN_COUNT(gen_drugs); i++) {
        begin(g, MED);
        L(",\"code\":");
        concept(g, RXNORM, gen_drugs[i].code, gen_drugs[i].display);
        L(",\"status\":\"active\"");
        end(g);
    }
}

/* ---- a patient ---- */

static void extension_coded(struct gen *g, const char *url, const char *code, const char *display)
{
    L("{\"url\":\"http://hl7.org/fhir/us/core/StructureDefinition/");
    str(g, url);
    L("\",\"extension\":[{\"url\":\"ombCategory\",\"valueCoding\":{\"system\":\"urn:oid:2.16.840.1."
      "113883.6.238\",\"code\":\"");
    str(g, code);
    L("\",\"display\":\"");
    str(g, display);
    L("\"}},{\"url\":\"text\",\"valueString\":\"");
    str(g, display);
    L("\"}]}");
}

static void patient(struct gen *g, int32_t birth, bool female)
{
    static const struct gen_code races[] = { { "2106-3", "White" },
                                             { "2054-5", "Black or African American" },
                                             { "2028-9", "Asian" } };
    const struct gen_code *race = &races[below(g, 3)];
    const char *given = female ? gen_given_f[below(g, GEN_COUNT(gen_given_f))]
                               : gen_given_m[below(g, GEN_COUNT(gen_given_m))];
    const char *family = gen_family[below(g, GEN_COUNT(gen_family))];
    begin(g, PAT);
    L(",\"meta\":{\"profile\":[\"http://hl7.org/fhir/us/core/StructureDefinition/"
      "us-core-patient\"]},\"text\":{\"status\":\"generated\",\"div\":\"<div "
      "xmlns=\\\"http://www.w3.org/1999/xhtml\\\">");
    str(g, given);
    *g->p++ = ' ';
    str(g, family);
    L(", a synthetic patient</div>\"},\"extension\":[");
    extension_coded(g, "us-core-race", race->code, race->display);
    *g->p++ = ',';
    extension_coded(g, "us-core-ethnicity", chance(g, 20) ? "2135-2" : "2186-5", "Self reported");
    L("],\"identifier\":[{\"system\":\"https://example.org/patients\",\"value\":\"");
    uuid(g, PAT, g->unit, 1);
    L("\"},{\"type\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
      "v2-0203\",\"code\":\"MR\",\"display\":\"Medical Record "
      "Number\"}]},\"system\":\"https://example.org/mrn\",\"value\":\"MRN");
    digits(g, (uint32_t)(g->unit % 1000000000u), 9);
    L("\"}],\"active\":true,\"name\":[{\"use\":\"official\",\"family\":\"");
    str(g, family);
    L("\",\"given\":[\"");
    str(g, given);
    L("\"]}],\"telecom\":[");
    phone(g);
    L("],\"gender\":\"");
    str(g, female ? "female" : "male");
    L("\",\"birthDate\":\"");
    date(g, birth);
    L("\",\"address\":[");
    address(g);
    L("],\"maritalStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
      "v3-MaritalStatus\",\"code\":\"");
    str(g, chance(g, 50) ? "M" : "S");
    L("\"}]},\"multipleBirthBoolean\":false,\"communication\":[{\"language\":{\"coding\":[{"
      "\"system\":\"urn:ietf:bcp:47\",\"code\":\"en-US\",\"display\":\"English\"}]}}],"
      "\"generalPractitioner\":[");
    ref(g, PRACT, g->pract);
    L("],\"managingOrganization\":");
    ref(g, ORG, g->org);
    end(g);
    begin(g, COV);
    L(",\"status\":\"active\",\"type\":{\"text\":\"Household plan\"}");
    subject(g, "beneficiary");
    L(",\"relationship\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
      "subscriber-relationship\",\"code\":\"self\"}]},\"payor\":[");
    ref(g, ORG, 0);
    L("]");
    end(g);
}

static uint32_t visit(struct gen *g, int32_t day, uint32_t minute, bool emergency)
{
    uint32_t n = begin(g, ENC);
    L(",\"status\":\"finished\",\"class\":{\"system\":\"http://terminology.hl7.org/CodeSystem/"
      "v3-ActCode\",\"code\":\"");
    str(g, emergency ? "EMER" : "AMB");
    L("\"},\"type\":[");
    if (emergency)
    concept(g, SNOMED, "50849002", "Emergency room admission");
    else concept(g, SNOMED, "185349003", "Check-up encounter");
    L("]");
    subject(g, "subject");
    L(",\"participant\":[{\"individual\":");
    ref(g, PRACT, g->pract);
    L("}],\"period\":{\"start\":\"");
    date_time(g, day, minute);
    L("\",\"end\":\"");
    date_time(g, day, minute + 15 + below(g, 45));
    L("\"},\"location\":[{\"location\":");
    ref(g, LOC, g->org);
    L("}],\"serviceProvider\":");
    ref(g, ORG, g->org);
    end(g);
    return n;
}

static void observation_head(struct gen *g, const char *category)
{
    begin(g, OBS);
    L(",\"status\":\"final\",\"category\":[{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
      "CodeSystem/observation-category\",\"code\":\"");
    str(g, category);
    L("\",\"display\":\"");
    str(g, category);
    L("\"}]}],\"code\":");
}

static void observation_when(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    subject(g, "subject");
    encounter(g, enc);
    L(",\"effectiveDateTime\":\"");
    date_time(g, day, minute);
    L("\",\"issued\":\"");
    date(g, day);
    L("T23:");
    digits(g, minute % 60, 2);
    L(":07.350-05:00\"");
}

static uint32_t measure(struct gen *g, const struct gen_measure *m, const char *category,
                        uint32_t enc, int32_t day, uint32_t minute)
{
    uint32_t n = g->made[OBS];
    observation_head(g, category);
    concept(g, LOINC, m->code, m->display);
    observation_when(g, enc, day, minute);
    L(",\"valueQuantity\":");
    quantity(g, m, (uint32_t)m->lo + below(g, (uint32_t)(m->hi - m->lo)));
    end(g);
    return n;
}

static void blood_pressure(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    static const struct gen_measure parts[] = {
        { "8480-6", "Systolic blood pressure", "mm[Hg]", 100, 160, 0 },
        { "8462-4", "Diastolic blood pressure", "mm[Hg]", 65, 99, 0 }
    };
    observation_head(g, "vital-signs");
    concept(g, LOINC, "85354-9", "Blood pressure panel");
    observation_when(g, enc, day, minute);
    L(",\"component\":[");
    for (unsigned i = 0; i < 2; i++) {
        if (i)
            *g->p++ = ',';
        L("{\"code\":");
        concept(g, LOINC, parts[i].code, parts[i].display);
        L(",\"valueQuantity\":");
        quantity(g, &parts[i],
                 (uint32_t)parts[i].lo + below(g, (uint32_t)(parts[i].hi - parts[i].lo)));
        *g->p++ = '}';
    }
    L("]");
    end(g);
}

static void report(struct gen *g, const struct gen_measure *m, size_t n, const char *code,
                   const char *display, uint32_t enc, int32_t day, uint32_t minute)
{
    uint32_t results[MAX_RESULTS];
    for (size_t i = 0; i < n; i++)
        results[i] = measure(g, &m[i], "laboratory", enc, day, minute);
    begin(g, REPORT);
    L(",\"status\":\"final\",\"category\":[{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
      "CodeSystem/v2-0074\",\"code\":\"LAB\",\"display\":\"Laboratory\"}]}],\"code\":");
    concept(g, LOINC, code, display);
    observation_when(g, enc, day, minute);
    L(",\"performer\":[");
    ref(g, ORG, g->org);
    L("],\"result\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            *g->p++ = ',';
        ref(g, OBS, results[i]);
    }
    L("]");
    end(g);
}

static void medication(struct gen *g, int drug, uint32_t cond, uint32_t enc, int32_t day,
                       uint32_t minute)
{
    begin(g, REQ);
    L(",\"status\":\"");
    str(g, chance(g, 70) ? "completed" : "active");
    L("\",\"intent\":\"order\",\"medicationCodeableConcept\":");
    concept(g, RXNORM, gen_drugs[drug].code, gen_drugs[drug].display);
    subject(g, "subject");
    encounter(g, enc);
    L(",\"authoredOn\":\"");
    date_time(g, day, minute);
    L("\",\"requester\":");
    ref(g, PRACT, g->pract);
    L(",\"reasonReference\":[");
    ref(g, COND, cond);
    L("],\"dosageInstruction\":[{\"sequence\":1,\"text\":\"Take ");
    number(g, 1 + below(g, 2));
    L(" daily\",\"timing\":{\"repeat\":{\"frequency\":1,\"period\":1.0,\"periodUnit\":\"d\"}},"
      "\"asNeededBoolean\":false,\"doseAndRate\":[{\"doseQuantity\":{\"value\":1.0}}]}]");
    end(g);
    if (!chance(g, 40))
        return;
    begin(g, ADMIN);
    L(",\"status\":\"completed\",\"medicationReference\":");
    ref(g, MED, (uint32_t)drug);
    subject(g, "subject");
    L(",\"context\":");
    ref(g, ENC, enc);
    L(",\"effectiveDateTime\":\"");
    date_time(g, day, minute + 10);
    L("\",\"reasonReference\":[");
    ref(g, COND, cond);
    L("]");
    end(g);
}

static void condition(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    uint32_t k = below(g, GEN_COUNT(gen_conditions));
    bool over = chance(g, 60);
    uint32_t n = begin(g, COND);
    L(",\"clinicalStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
      "condition-clinical\",\"code\":\"");
    str(g, over ? "resolved" : "active");
    L("\"}]},\"verificationStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
      "CodeSystem/"
      "condition-ver-status\",\"code\":\"confirmed\"}]},\"category\":[{\"coding\":[{\"system\":"
      "\"http://terminology.hl7.org/CodeSystem/"
      "condition-category\",\"code\":\"encounter-diagnosis\",\"display\":\"Encounter "
      "Diagnosis\"}]}],\"code\":");
    concept(g, SNOMED, gen_conditions[k].code, gen_conditions[k].display);
    subject(g, "subject");
    encounter(g, enc);
    L(",\"onsetDateTime\":\"");
    date_time(g, day, minute);
    if (over) {
        L("\",\"abatementDateTime\":\"");
        date_time(g, day + 7 + (int32_t)below(g, 60), minute);
    }
    L("\",\"recordedDate\":\"");
    date_time(g, day, minute);
    L("\"");
    end(g);
    if (gen_conditions[k].drug >= 0)
        medication(g, gen_conditions[k].drug, n, enc, day, minute);
}

static void procedure(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    const struct gen_code *c = &gen_procedures[below(g, GEN_COUNT(gen_procedures))];
    begin(g, PROC);
    L(",\"status\":\"completed\",\"code\":");
    concept(g, SNOMED, c->code, c->display);
    subject(g, "subject");
    encounter(g, enc);
    L(",\"performedPeriod\":{\"start\":\"");
    date_time(g, day, minute);
    L("\",\"end\":\"");
    date_time(g, day, minute + 15);
    L("\"},\"location\":");
    ref(g, LOC, g->org);
    end(g);
}

static void immunization(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    const struct gen_code *c = &gen_vaccines[below(g, GEN_COUNT(gen_vaccines))];
    begin(g, IMM);
    L(",\"status\":\"completed\",\"vaccineCode\":");
    concept(g, "http://hl7.org/fhir/sid/cvx", c->code, c->display);
    subject(g, "patient");
    encounter(g, enc);
    L(",\"occurrenceDateTime\":\"");
    date_time(g, day, minute);
    L("\",\"primarySource\":true,\"location\":");
    ref(g, LOC, g->org);
    end(g);
}

/* What Claim and ExplanationOfBenefit have in common, up to the insurance. */
static void bill_head(struct gen *g, int32_t day, uint32_t minute)
{
    L(",\"status\":\"active\",\"type\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
      "CodeSystem/claim-type\",\"code\":\"institutional\"}]},\"use\":\"claim\"");
    subject(g, "patient");
    L(",\"billablePeriod\":{\"start\":\"");
    date_time(g, day, minute);
    L("\",\"end\":\"");
    date_time(g, day, minute + 15);
    L("\"},\"created\":\"");
    date_time(g, day, minute + 15);
    L("\",\"provider\":");
    ref(g, ORG, g->org);
    L(",\"insurance\":[{");
}

static void bill(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    uint32_t cents = 7700 + below(g, 90000);
    uint32_t claim = begin(g, CLAIM);
    bill_head(g, day, minute);
    L("\"sequence\":1,\"focal\":true,\"coverage\":");
    ref(g, COV, 0);
    L("}],\"priority\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
      "processpriority\",\"code\":\"normal\"}]},\"item\":[{\"sequence\":1,\"productOrService\":");
    concept(g, SNOMED, "185349003", "Check-up encounter");
    L(",\"encounter\":[");
    ref(g, ENC, enc);
    L("]}],\"total\":");
    money(g, cents);
    end(g);
    begin(g, EOB);
    L(",\"identifier\":[{\"system\":\"https://example.org/claims\",\"value\":\"");
    uuid(g, CLAIM, g->unit, claim);
    L("\"},{\"system\":\"https://example.org/claim-groups\",\"value\":\"");
    number(g, 1000000 + below(g, 8999999));
    L("\"}]");
    bill_head(g, day + 7, minute);
    L("\"focal\":true,\"coverage\":");
    ref(g, COV, 0);
    L("}],\"insurer\":");
    ref(g, ORG, 0);
    L(",\"claim\":");
    ref(g, CLAIM, claim);
    L(",\"outcome\":\"complete\",\"careTeam\":[{\"sequence\":1,\"provider\":");
    ref(g, PRACT, g->pract);
    L(",\"role\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
      "claimcareteamrole\",\"code\":\"primary\",\"display\":\"Primary "
      "provider\"}]}}],\"item\":[{\"sequence\":1,\"category\":{\"coding\":[{\"system\":\"https://"
      "example.org/codes/service-type\",\"code\":\"1\",\"display\":\"Medical "
      "care\"}]},\"productOrService\":");
    concept(g, SNOMED, "185349003", "Check-up encounter");
    L(",\"servicedPeriod\":{\"start\":\"");
    date_time(g, day, minute);
    L("\",\"end\":\"");
    date_time(g, day, minute + 15);
    L("\"},\"locationCodeableConcept\":{\"coding\":[{\"system\":\"https://example.org/codes/"
      "place-of-service\",\"code\":\"21\",\"display\":\"Inpatient Hospital\"}]},\"net\":");
    money(g, cents);
    L(",\"encounter\":[");
    ref(g, ENC, enc);
    L("],\"adjudication\":[");
    static const char *const parts[] = { "submitted", "copay", "eligible", "deductible",
                                         "benefit" };
    for (unsigned i = 0; i < 5; i++) {
        if (i)
            *g->p++ = ',';
        L("{\"category\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
          "adjudication\",\"code\":\"");
        str(g, parts[i]);
        L("\"}]},\"amount\":");
        money(g, i == 0 || i == 2 ? cents : i == 4 ? cents * 4 / 5 : cents / 10);
        *g->p++ = '}';
    }
    L("]}],\"total\":[{\"category\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
      "CodeSystem/adjudication\",\"code\":\"submitted\",\"display\":\"Submitted "
      "Amount\"}]},\"amount\":");
    money(g, cents);
    L("}],\"payment\":{\"amount\":");
    money(g, cents * 4 / 5);
    L("}");
    end(g);
}

static void imaging(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    begin(g, IMAGING);
    L(",\"status\":\"available\"");
    subject(g, "subject");
    encounter(g, enc);
    L(",\"started\":\"");
    date_time(g, day, minute);
    L("\",\"numberOfSeries\":1,\"numberOfInstances\":1,\"series\":[{\"uid\":\"1.2.840.99999999.1.");
    number(g, 10000000 + below(g, 89999999));
    L("\",\"number\":1,\"modality\":{\"system\":\"http://dicom.nema.org/resources/ontology/"
      "DCM\",\"code\":\"DX\",\"display\":\"Digital "
      "Radiography\"},\"numberOfInstances\":1,\"bodySite\":{\"system\":\"http://snomed.info/"
      "sct\",\"code\":\"51185008\",\"display\":\"Chest\"},\"instance\":[{\"uid\":\"1.2.840."
      "99999999.1.1.");
    number(g, 10000000 + below(g, 89999999));
    L("\",\"sopClass\":{\"system\":\"urn:ietf:rfc:3986\",\"code\":\"urn:oid:1.2.840.10008.5.1.4.1."
      "1.1.1\"},\"number\":1,\"title\":\"Chest, front\"}]}]");
    end(g);
}

static void document(struct gen *g, uint32_t enc, int32_t day, uint32_t minute)
{
    begin(g, DOC);
    L(",\"status\":\"current\",\"type\":");
    concept(g, LOINC, "34117-2", "History and physical note");
    subject(g, "subject");
    L(",\"date\":\"");
    date(g, day);
    L("T12:00:00.000Z\",\"author\":[");
    ref(g, PRACT, g->pract);
    L("],\"content\":[{\"attachment\":{\"contentType\":\"text/plain; charset=utf-8\",\"data\":\"");
    for (unsigned i = 0, n = 8 + below(g, 12); i < n;
         i++) /* base64 of one sentence, 48 characters */
        L("Tm8gcmVhbCBwYXRpZW50OiBzeW50aGV0aWMgdGV4dCBvbmx5");
    L("\"}}],\"context\":{\"encounter\":[");
    ref(g, ENC, enc);
    L("],\"period\":{\"start\":\"");
    date_time(g, day, minute);
    L("\"}}");
    end(g);
}

static void standing(struct gen *g, int32_t day)
{
    if (chance(g, 40)) {
        const struct gen_code *c = &gen_allergies[below(g, GEN_COUNT(gen_allergies))];
        begin(g, ALLERGY);
        L(",\"clinicalStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
          "allergyintolerance-clinical\",\"code\":\"active\"}]},\"type\":\"allergy\",\"category\":["
          "\"environment\"],\"criticality\":\"low\",\"code\":");
        concept(g, SNOMED, c->code, c->display);
        subject(g, "patient");
        L(",\"recordedDate\":\"");
        date(g, day);
        L("\"");
        end(g);
    }
    uint32_t team = begin(g, TEAM);
    L(",\"status\":\"active\"");
    subject(g, "subject");
    L(",\"period\":{\"start\":\"");
    date(g, day);
    L("\"},\"participant\":[{\"member\":");
    ref(g, PAT, 0);
    L("},{\"member\":");
    ref(g, PRACT, g->pract);
    L("}],\"managingOrganization\":[");
    ref(g, ORG, g->org);
    L("]");
    end(g);
    uint32_t goal = begin(g, GOAL);
    L(",\"lifecycleStatus\":\"active\",\"description\":{\"text\":\"Walk half an hour on most "
      "days\"}");
    subject(g, "subject");
    end(g);
    begin(g, PLAN);
    L(",\"status\":\"active\",\"intent\":\"order\",\"category\":[");
    concept(g, SNOMED, "734163000", "Care plan");
    L("]");
    subject(g, "subject");
    L(",\"period\":{\"start\":\"");
    date(g, day);
    L("\"},\"careTeam\":[");
    ref(g, TEAM, team);
    L("],\"goal\":[");
    ref(g, GOAL, goal);
    L("],\"activity\":[{\"detail\":{\"code\":");
    concept(g, SNOMED, "229065009", "Exercise therapy");
    L(",\"status\":\"in-progress\"}}]");
    end(g);
    if (g->unit == 1 || chance(g, 15)) {
        begin(g, DEVICE);
        L(",\"status\":\"active\",\"lotNumber\":\"");
        number(g, 100000 + below(g, 899999));
        L("\",\"type\":");
        concept(g, SNOMED, "72506001", "Implantable defibrillator");
        subject(g, "patient");
        end(g);
    }
}

/* Names every resource of the patient. */
static void provenance(struct gen *g, int32_t day)
{
    size_t n = 0;
    for (int k = PAT; k < PROV; k++)
        n += g->made[k];
    begin(g, PROV);
    if (g->rc == ERR_OK) {
        size_t at = (size_t)(g->p - g->out->ptr) - g->out->len;
        g->rc = buf_reserve(g->out, RESOURCE_ROOM + n * 96, g->e);
        g->p = g->out->ptr + g->out->len + at;
    }
    if (g->rc != ERR_OK)
        return;
    L(",\"target\":[");
    bool first = true;
    for (int k = PAT; k < PROV; k++)
        for (uint32_t i = 0; i < g->made[k]; i++) {
            if (!first)
                *g->p++ = ',';
            first = false;
            ref(g, (enum kind)k, i);
        }
    L("],\"recorded\":\"");
    date(g, day);
    L("T12:00:00.000Z\",\"agent\":[{\"type\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
      "CodeSystem/provenance-participant-type\",\"code\":\"author\"}]},\"who\":");
    ref(g, PRACT, g->pract);
    L(",\"onBehalfOf\":");
    ref(g, ORG, g->org);
    L("}]");
    end(g);
}

static void one_visit(struct gen *g, int32_t day, bool first)
{
    uint32_t minute = 480 + below(g, 480);
    bool emergency = !first && chance(g, 10);
    uint32_t enc = visit(g, day, minute, emergency);
    for (size_t i = 0; i < GEN_COUNT(gen_vitals); i++)
        if (first || chance(g, 70))
            (void)measure(g, &gen_vitals[i], "vital-signs", enc, day, minute);
    blood_pressure(g, enc, day, minute);
    if (first || chance(g, 35))
        condition(g, enc, day, minute);
    if (first || chance(g, 25))
        report(g, gen_panel, GEN_COUNT(gen_panel), "51990-0", "Basic metabolic panel", enc, day,
               minute);
    if (chance(g, 12))
        report(g, gen_lipids, GEN_COUNT(gen_lipids), "57698-3", "Lipid panel", enc, day, minute);
    if (first || chance(g, 45))
        procedure(g, enc, day, minute);
    if (first || chance(g, 20))
        immunization(g, enc, day, minute);
    if (first || chance(g, 4))
        imaging(g, enc, day, minute);
    if (chance(g, 12))
        document(g, enc, day, minute);
    bill(g, enc, day, minute);
}

static void life(struct gen *g)
{
    g->org = below(g, (uint32_t)g->n_orgs);
    g->pract = g->org * PRACTITIONERS_PER_ORG + below(g, PRACTITIONERS_PER_ORG);
    int32_t birth = -14000 + (int32_t)below(g, 33000); /* 1931 to 2022 */
    uint32_t visits = 8 + below(g, 40);
    patient(g, birth, chance(g, 51));
    int32_t span =
        LAST_DAY - birth > 7300 ? 7300 : LAST_DAY - birth; /* at most the last 20 years */
    int32_t from = LAST_DAY - span;
    for (uint32_t i = 0; i < visits; i++)
        one_visit(g,
                  from + (int32_t)((uint64_t)(uint32_t)span * i / visits) + (int32_t)below(g, 20),
                  i == 0);
    standing(g, from);
    provenance(g, LAST_DAY);
}

/* ---- calls ---- */

err_code gen_new(uint64_t seed, uint64_t n_patients, struct gen **out, struct err *e)
{
    if (n_patients < 1 || n_patients > GEN_PATIENTS_MAX)
        return ERR(e, ERR_INVALID, "the number of patients is from 1 to %u", GEN_PATIENTS_MAX);
    struct gen *g = calloc(1, sizeof *g);
    if (g == NULL || (g->spill = malloc(RESOURCE_ROOM)) == NULL)
        abort();
    g->seed = seed;
    g->n_patients = n_patients;
    g->n_orgs = 1 + n_patients / PATIENTS_PER_ORG;
    *out = g;
    return ERR_OK;
}

void gen_free(struct gen *g)
{
    if (g)
        free(g->spill);
    free(g);
}

uint64_t gen_n_units(const struct gen *g)
{
    return g->n_patients + 1;
}

err_code gen_unit(struct gen *g, uint64_t index, struct buf *out, struct err *e)
{
    if (index > g->n_patients)
        return ERR(e, ERR_INVALID, "there is no such patient");
    size_t before = out->len;
    g->out = out;
    g->e = e;
    g->rc = ERR_OK;
    g->unit = index;
    g->rnd = mix(g->seed ^ mix(index + 1));
    memset(g->made, 0, sizeof g->made);
    if (index == 0)
        shared(g);
    else
        life(g);
    if (g->rc != ERR_OK)
        out->len = before;
    return g->rc;
}
