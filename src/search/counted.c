/* counted.c - for which parameters stores keep sums of their entries' values.
 *
 * Token parameters whose values many resources share (status, gender, code). Where few resources
 * share a value, as of identifiers, walking its entries is as fast as a sum. The answer for each
 * type and parameter is worked out once, when it is first asked for. */
#include "search/search_private.h"

#include <pthread.h>

static struct {
    pthread_once_t once;
    uint16_t n; /* numbers are below it */
    uint8_t *bits;
} counted = { .once = PTHREAD_ONCE_INIT };

bool is_counted(const struct search_param *param)
{
    static const char *const names_one[] = { "identifier", "telecom", "phone", "email" };
    for (size_t i = 0; i < sizeof names_one / sizeof names_one[0]; i++)
        /* few resources share a value: walking its entries is as fast */
        if (sv_eq_cstr(param->code, names_one[i]))
            return false;
    return param->kind == SEARCH_TOKEN && is_indexed(param);
}

static void find_counted(void)
{
    size_t n;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct search_param *const *param = search_params_of((fhir_type)t, &n);
        for (size_t i = 0; i < n; i++)
            if (param[i]->number >= counted.n)
                counted.n = param[i]->number + 1;
    }
    /* lives as long as the process */
    counted.bits = calloc(FHIR_TYPES_MAX, counted.n);
    if (counted.bits == NULL)
        abort();
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct search_param *const *param = search_params_of((fhir_type)t, &n);
        for (size_t i = 0; i < n; i++)
            counted.bits[t * counted.n + param[i]->number] = is_counted(param[i]);
    }
}

bool search_is_counted(fhir_type type, uint16_t param)
{
    /* cannot fail */
    (void)pthread_once(&counted.once, find_counted);
    return param < counted.n && counted.bits[(size_t)type * counted.n + param];
}
