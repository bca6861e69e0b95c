/* gen.c - the units of the synthetic population: unit 0 is shared, each other unit is one patient's
 * life of visits. A unit's stream of chance begins with its number, so a unit is the same whatever
 * was made before it. */
#include "gen/gen_private.h"

static void life(struct gen *g)
{
    g->org = below(g, (uint32_t)g->n_orgs);
    g->pract = g->org * PRACTITIONERS_PER_ORG + below(g, PRACTITIONERS_PER_ORG);
    /* 1931 to 2022 */
    int32_t birth = -14000 + (int32_t)below(g, 33000);
    uint32_t visits = 8 + below(g, 40);
    gen_patient(g, birth, chance(g, 51));
    /* at most the last 20 years */
    int32_t span = LAST_DAY - birth > 7300 ? 7300 : LAST_DAY - birth;
    int32_t from = LAST_DAY - span;
    for (uint32_t i = 0; i < visits; i++)
        gen_visit(g,
                  from + (int32_t)((uint64_t)(uint32_t)span * i / visits) + (int32_t)below(g, 20),
                  i == 0);
    gen_standing(g, from);
    gen_provenance(g, LAST_DAY);
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
        gen_shared(g);
    else
        life(g);
    if (g->rc != ERR_OK)
        out->len = before;
    return g->rc;
}
