/* visits.c - what one visit brings (encounter, observations, bills and so on), and what stands for
 * years (an allergy, a care team, a plan). */
#include "gen/gen_private.h"

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
    /* base64 of one sentence, 48 characters */
    for (unsigned i = 0, n = 8 + below(g, 12); i < n; i++)
        L("Tm8gcmVhbCBwYXRpZW50OiBzeW50aGV0aWMgdGV4dCBvbmx5");
    L("\"}}],\"context\":{\"encounter\":[");
    ref(g, ENC, enc);
    L("],\"period\":{\"start\":\"");
    date_time(g, day, minute);
    L("\"}}");
    end(g);
}

void gen_standing(struct gen *g, int32_t day)
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
void gen_provenance(struct gen *g, int32_t day)
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

void gen_visit(struct gen *g, int32_t day, bool first)
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
