/* variables.c - names that defineVariable() gives, as the parser sees them.
 *
 * A variable is known in what stands behind the call in the same path: members, calls and
 * arguments. Where the path ends, at an operator, a comma or a bracket, its variables end. So each
 * use is found while the expression is read, and a run has one slot for each call of the function.
 * Source: FHIRPath 3.0, defineVariable(). */
#include "fhirpath/fn/fn_private.h"

bool fp_variable_find(const struct fp_variables *v, sv name, uint16_t *slot)
{
    for (unsigned i = v->n; i-- > 0;)
        if (sv_eq(v->known[i].name, name)) {
            *slot = v->known[i].slot;
            return true;
        }
    return false;
}

static bool is_taken(const struct fp_variables *v, const struct fhirpath_options *options, sv name)
{
    static const char *const own[] = { "resource", "rootResource", "context", "rowIndex",
                                       "sct",      "loinc",        "ucum" };
    uint16_t slot;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (sv_eq_cstr(name, own[i]))
            return true;
    for (size_t i = 0; options && i < options->n_constants; i++)
        if (sv_eq(options->constants[i].name, name))
            return true;
    return sv_starts(name, SV_LIT("vs-")) || sv_starts(name, SV_LIT("ext-")) ||
           fp_variable_find(v, name, &slot);
}

err_code fp_variable_define(struct fp_variables *v, const struct fhirpath_options *options,
                            struct fp_node *call, struct err *e)
{
    if (call->fn->call != fn_define_variable)
        return ERR_OK;
    const struct fp_node *first = call->args[0];
    if (first->what != FP_LITERAL || first->literal.kind != FHIRPATH_STRING ||
        first->literal.as.text.len == 0)
        return ERR(e, ERR_INVALID, "the name of a variable is to be written out");
    sv name = first->literal.as.text;
    if (is_taken(v, options, name))
        return ERR(e, ERR_INVALID, "there is a %%%.*s already",
                   (int)(name.len > 64 ? 64 : name.len), name.ptr);
    if (v->n == FP_VARIABLES_MAX || v->n_slots == UINT16_MAX)
        return ERR(e, ERR_TOO_LARGE, "a path has at most %u variables", FP_VARIABLES_MAX);
    call->slot = v->n_slots++;
    v->known[v->n].name = name;
    v->known[v->n++].slot = call->slot;
    return ERR_OK;
}
