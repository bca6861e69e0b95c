/* people.c - who there is: organizations and their people, medications, patients and their
 * cover. */
#include "gen/gen_private.h"

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

void gen_shared(struct gen *g)
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

void gen_patient(struct gen *g, int32_t birth, bool female)
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
