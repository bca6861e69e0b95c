/* tables.h - the words of the synthetic population: codes of public terminologies with displays of
 * our own, names, places. Private to gen.   Floor: gen. */
#pragma once
#include <stddef.h>

struct gen_code {
    const char *code, *display;
};
#define GEN_COUNT(t) (sizeof(t) / sizeof((t)[0]))

static const char *const gen_given_f[] = {
    "Ada",   "Amara", "Aylin",  "Beatriz", "Chloé", "Dorothea", "Elena",  "Fatima", "Grace",
    "Hana",  "Inés",  "Jana",   "Katrin",  "Leila", "Mei",      "Noor",   "Olga",   "Priya",
    "Renée", "Sofía", "Tamsin", "Ursula",  "Vera",  "Wanda",    "Ximena", "Yara",   "Zoë"
};
static const char *const gen_given_m[] = {
    "Adam",  "Bao",   "Carlos", "Dmitri", "Emil",  "Farid",  "Gustav", "Hiro",    "Ivan",
    "José",  "Kofi",  "Lars",   "Mateo",  "Nils",  "Omar",   "Pavel",  "Quentin", "Rashid",
    "Søren", "Tomás", "Uwe",    "Viktor", "Walid", "Xavier", "Yusuf",  "Zoltán"
};
static const char *const gen_family[] = {
    "Abbott",  "Bergström", "Castellano", "Dubois",    "Eriksen", "Fischer",  "García",  "Haddad",
    "Iwasaki", "Jensen",    "Kowalczyk",  "Lindqvist", "Moreau",  "Nakamura", "O'Brien", "Petrova",
    "Quispe",  "Rossi",     "Silva",      "Takács",    "Ueda",    "Vasquez",  "Weiß",    "Xu",
    "Yilmaz",  "Zhang",     "Müller",     "Okafor",    "Nguyễn",  "Castro"
};
static const char *const gen_streets[] = { "Harbor Street",   "Mill Lane",      "Chestnut Avenue",
                                           "Station Road",    "Garden Terrace", "Bridge Street",
                                           "Hillcrest Drive", "Orchard Way",    "Lakeview Road",
                                           "Foundry Row" };
static const struct {
    const char *city, *state, *zip;
} gen_cities[] = { { "Springfield", "MA", "01101" }, { "Worcester", "MA", "01608" },
                   { "Lowell", "MA", "01850" },      { "Cambridge", "MA", "02139" },
                   { "Quincy", "MA", "02169" },      { "Salem", "MA", "01970" },
                   { "Pittsfield", "MA", "01201" },  { "Taunton", "MA", "02780" } };
static const char *const gen_org_words[] = { "Riverside", "Northgate",  "Saint Clare", "Lakeshore",
                                             "Old Town",  "Harborview", "Pine Hill",   "Meadow" };
static const char *const gen_org_kinds[] = { "Medical Center", "Community Hospital",
                                             "Family Practice", "Outpatient Clinic" };

/* SNOMED CT: disorder, and what treats it (index into gen_drugs, -1: nothing) */
static const struct {
    const char *code, *display;
    int drug;
} gen_conditions[] = { { "38341003", "High blood pressure", 0 },
                       { "44054006", "Type 2 diabetes", 1 },
                       { "195662009", "Acute viral sore throat", -1 },
                       { "10509002", "Acute bronchitis", 2 },
                       { "444814009", "Viral sinus infection", -1 },
                       { "195967001", "Asthma", 3 },
                       { "55822004", "Raised blood lipids", 4 },
                       { "15777000", "Prediabetes", -1 },
                       { "271737000", "Anemia", 5 },
                       { "65363002", "Middle ear infection", 6 },
                       { "36971009", "Sinusitis", 6 },
                       { "370143000", "Major depression", 7 },
                       { "239873007", "Knee osteoarthritis", 8 },
                       { "40055000", "Chronic sinusitis", -1 },
                       { "162864005", "Body mass index 30 or more", -1 },
                       { "68496003", "Polyp of colon", -1 },
                       { "44465007", "Sprained ankle", 9 },
                       { "62106007", "Concussion, stayed conscious", -1 },
                       { "53741008", "Coronary heart disease", 10 },
                       { "49436004", "Atrial fibrillation", 11 } };
/* RxNorm */
static const struct gen_code gen_drugs[] = {
    { "314076", "lisinopril 10 mg tablet" },       { "860975", "metformin 500 mg tablet" },
    { "1049630", "diphenhydramine 25 mg tablet" }, { "895994", "fluticasone inhaler 44 mcg" },
    { "312961", "simvastatin 20 mg tablet" },      { "310325", "ferrous sulfate 325 mg tablet" },
    { "308182", "amoxicillin 250 mg capsule" },    { "312938", "sertraline 100 mg tablet" },
    { "198405", "ibuprofen 200 mg tablet" },       { "313782", "acetaminophen 325 mg tablet" },
    { "309362", "clopidogrel 75 mg tablet" },      { "855332", "warfarin 5 mg tablet" }
};
/* CVX */
static const struct gen_code gen_vaccines[] = { { "140", "Influenza, seasonal, preservative free" },
                                                { "113", "Tetanus and diphtheria, adult" },
                                                { "33", "Pneumococcal polysaccharide" },
                                                { "121", "Zoster, live" },
                                                { "08", "Hepatitis B, young" },
                                                { "20", "DTaP" },
                                                { "10", "Polio, inactivated" },
                                                { "03", "Measles, mumps, rubella" } };
/* SNOMED CT */
static const struct gen_code gen_procedures[] = { { "430193006", "Medication reconciliation" },
                                                  { "710824005",
                                                    "Assessment of health and social care needs" },
                                                  { "171207006", "Depression screening" },
                                                  { "73761001", "Colonoscopy" },
                                                  { "399208008", "Plain chest radiograph" },
                                                  { "76601001", "Injection into muscle" },
                                                  { "268425006", "Pelvis radiograph" },
                                                  { "180325003", "Electrical cardioversion" } };
static const struct gen_code gen_allergies[] = {
    { "419474003", "Mould allergy" },        { "232350006", "House dust mite allergy" },
    { "418689008", "Grass pollen allergy" }, { "91935009", "Peanut allergy" },
    { "300913006", "Shellfish allergy" },    { "714035009", "Soya allergy" }
};
/* LOINC: vital signs and laboratory, each with a unit, a range and how many decimals it is given
 * with */
struct gen_measure {
    const char *code, *display, *unit;
    int lo, hi, decimals; /* in units of the last decimal */
};
static const struct gen_measure gen_vitals[] = {
    { "8302-2", "Body height", "cm", 1450, 1980, 1 },
    { "29463-7", "Body weight", "kg", 450, 1290, 1 },
    { "39156-5", "Body mass index", "kg/m2", 1850, 3990, 2 },
    { "8867-4", "Heart rate", "/min", 52, 104, 0 },
    { "9279-1", "Respiratory rate", "/min", 11, 19, 0 },
    { "8310-5", "Body temperature", "Cel", 3610, 3850, 2 }
};
static const struct gen_measure gen_panel[] = {
    { "2339-0", "Glucose in blood", "mg/dL", 6500, 14200, 2 },
    { "6299-2", "Urea nitrogen in blood", "mg/dL", 700, 2200, 2 },
    { "38483-4", "Creatinine in blood", "mg/dL", 50, 340, 2 },
    { "49765-1", "Calcium in blood", "mg/dL", 850, 1020, 2 },
    { "2947-0", "Sodium in blood", "mmol/L", 13500, 14500, 2 },
    { "6298-4", "Potassium in blood", "mmol/L", 360, 520, 2 },
    { "2069-3", "Chloride in blood", "mmol/L", 9900, 11000, 2 }
};
static const struct gen_measure gen_lipids[] = {
    { "2093-3", "Total cholesterol", "mg/dL", 15000, 28000, 2 },
    { "2571-8", "Triglycerides", "mg/dL", 9000, 25000, 2 },
    { "18262-6", "LDL cholesterol", "mg/dL", 6000, 19000, 2 },
    { "2085-9", "HDL cholesterol", "mg/dL", 3000, 8000, 2 }
};
