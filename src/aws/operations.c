/* operations.c - the operations of HealthLake: those that are served, and the others' names.
 *
 * The service model gives the names and the shapes of requests and answers (service/shapes.inc). A
 * served operation has a row in the table, with the function that does it. */
#include "aws/aws_private.h"

#define SHAPE_OPERATIONS
#define OPERATION(name, in, out) IN_##name = in, OUT_##name = out,
#define NOT_OFFERED(name)
enum operation_shapes {
#include "service/shapes.inc"
};
#undef OPERATION
#undef NOT_OFFERED
#define OPERATION(name, in, out)
#define NOT_OFFERED(name) #name,
/* Operations of the model that are not served here. */
static const char *const not_offered[] = {
#include "service/shapes.inc"
};
#undef OPERATION
#undef NOT_OFFERED
#undef SHAPE_OPERATIONS

#define OP(name, fn, waits)                                         \
    {                                                               \
#name, (shape_id)IN_##name, (shape_id)OUT_##name, fn, waits \
    }
static const struct operation operations[] = {
    OP(CreateFHIRDatastore, op_create_datastore, true),
    OP(DeleteFHIRDatastore, op_delete_datastore, false),
    OP(DescribeFHIRDatastore, op_describe_datastore, false),
    OP(DescribeFHIRExportJob, op_describe_export, false),
    OP(DescribeFHIRImportJob, op_describe_import, false),
    OP(ListFHIRDatastores, op_list_datastores, false),
    OP(ListFHIRExportJobs, op_list_exports, false),
    OP(ListFHIRImportJobs, op_list_imports, false),
    OP(ListTagsForResource, op_list_tags, false),
    OP(RestoreFHIRDatastore, op_restore_datastore, true),
    OP(StartFHIRExportJob, op_start_export, true),
    OP(StartFHIRImportJob, op_start_import, true),
    OP(TagResource, op_tag_resource, false),
    OP(UntagResource, op_untag_resource, false),
    OP(UpdateFHIRDatastore, op_update_datastore, false),
};

#define PREFIX SV_LIT("HealthLake.")

const struct operation *operation_find(sv target)
{
    sv prefix = PREFIX;
    if (!sv_starts(target, prefix))
        return NULL;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        if (sv_eq_cstr(sv_tail(target, prefix.len), operations[i].name))
            return &operations[i];
    return NULL;
}

const char *aws_operation_name(size_t i)
{
    size_t n = sizeof operations / sizeof operations[0];
    if (i < n)
        return operations[i].name;
    return i - n < sizeof not_offered / sizeof not_offered[0] ? not_offered[i - n] : NULL;
}

sv operation_unknown(struct arena *a, sv target)
{
    sv name = sv_tail(target, PREFIX.len);
    for (size_t i = 0; i < sizeof not_offered / sizeof not_offered[0]; i++)
        if (sv_starts(target, PREFIX) && sv_eq_cstr(name, not_offered[i]))
            return ARENA_JOIN(a, name, SV_LIT(" is not offered by this server"));
    return target.len ? SV_LIT("X-Amz-Target names no operation of HealthLake")
                      : SV_LIT("The request has no X-Amz-Target header");
}
