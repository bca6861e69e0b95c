/* types.c - resource types by name and by number, and ids. The generated list of names is sorted,
 * so a name is found by halving. */
#include "fhir/types.h"

#include "base/near.h"

#define TYPE(n, s) [n] = { s, sizeof(s) - 1 },
static const sv names[] = {
#include "fhir/types.inc"
};
#undef TYPE
#define N_TYPES (sizeof names / sizeof names[0] - 1)

/* The list is sorted in byte order, so numbers 1..N_TYPES can be searched by halves. */
fhir_type fhir_type_find(sv name)
{
    size_t lo = 1, hi = N_TYPES + 1;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = sv_cmp(names[mid], name);
        if (c == 0)
            return (fhir_type)mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return FHIR_TYPE_NONE;
}

static sv known(const void *ctx, size_t i)
{
    (void)ctx;
    return i < N_TYPES ? names[i + 1] : SV_NONE;
}

const char *fhir_type_not(sv name, char out[FHIR_TYPE_NOT_LEN])
{
    sv near = near_name(name, known, NULL);
    (void)snprintf(out, FHIR_TYPE_NOT_LEN, "%.*s is no resource type of FHIR R4%s%.*s%s",
                   SV_FMT(sv_head(name, 64)), near.len ? ": is " : "", SV_FMT(near),
                   near.len ? " meant?" : "");
    return out;
}

const char *fhir_type_slip(sv name, char out[FHIR_TYPE_NOT_LEN])
{
    return near_name(name, known, NULL).len ? fhir_type_not(name, out)
                                            : "a value is no resource type of FHIR R4";
}

const char *fhir_type_name(fhir_type t)
{
    return t >= 1 && t <= N_TYPES ? names[t].ptr : "";
}

unsigned fhir_n_types(void)
{
    return N_TYPES;
}

/* A-Z a-z 0-9 - . : a bit for each. */
static bool id_char(unsigned char c)
{
    static const uint64_t set[4] = { 0x03FF600000000000u, 0x07FFFFFE07FFFFFEu, 0, 0 };
    return set[c >> 6] >> (c & 63) & 1;
}

bool fhir_id_ok(sv id)
{
    if (id.len < 1 || id.len > FHIR_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!id_char((unsigned char)id.ptr[i]))
            return false;
    return true;
}
