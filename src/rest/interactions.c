/* interactions.c - the table of what the data plane offers: a method and a shape of path, the
 * interaction's name, the IAM action that allows it, and the function that does it.
 *
 * Routing, the CapabilityStatement, docs/api-fhir.md and the check of policies all read this
 * table. */
#include "rest/erase/erase_private.h"
#include "rest/export/export_private.h"
#include "rest/read/read_private.h"
#include "rest/route_private.h"
#include "rest/view/view_private.h"
#include "rest/write/write_private.h"

/* One path, one method: one interaction. Documentation and CapabilityStatement print from here. */
const struct rest_interaction rest_interactions[] = {
    { "GET", REST_INSTANCE, "read", "ReadResource", rest_read, true },
    { "GET", REST_VERSION, "vread", "VersionReadResource", rest_vread, false },
    { "GET", REST_INSTANCE_HISTORY, "history-instance", "GetHistoryByResourceId", rest_history,
      false },
    { "GET", REST_TYPE_HISTORY, "history-type", "GetHistoryByResourceType", rest_history, false },
    { "GET", REST_SYSTEM_HISTORY, "history-system", "GetFullHistory", rest_history, false },
    { "POST", REST_TYPE, "create", "CreateResource", rest_write, false },
    { "PUT", REST_INSTANCE, "update", "UpdateResource", rest_write, false },
    { "PATCH", REST_INSTANCE, "patch", "PatchResource", rest_write, false },
    { "DELETE", REST_INSTANCE, "delete", "DeleteResource", rest_write, false },
    { "PUT", REST_TYPE, "update-conditional", "UpdateResource", rest_write, false },
    { "PATCH", REST_TYPE, "patch-conditional", "PatchResource", rest_write, false },
    { "DELETE", REST_TYPE, "delete-conditional", "DeleteResource", rest_write, false },
    { "POST", REST_TYPE_VALIDATE, "validate", "ValidateResource", rest_validate, false,
      OPERATION_OF_HL7("Resource-validate"), "*" },
    { "POST", REST_VALIDATE, "validate", "ValidateResource", rest_validate, false,
      OPERATION_OF_HL7("Resource-validate"), "*" },
    { "GET", REST_TYPE, "search-type", "SearchWithGet", rest_search, false },
    { "POST", REST_TYPE_SEARCH, "search-type", "SearchWithPost", rest_search, false },
    { "GET", REST_SYSTEM, "search-system", "SearchWithGet", rest_search, false },
    { "POST", REST_SYSTEM, "bundle", "ProcessBundle", rest_bundle, false },
    { "POST", REST_SYSTEM_SEARCH, "search-system", "SearchWithPost", rest_search, false },
    { "GET", REST_COMPARTMENT, "search-compartment", "SearchWithGet", rest_search_compartment,
      false },
    { "GET", REST_EVERYTHING, "everything", "SearchEverything", rest_everything, false,
      OPERATION_OF_HL7("Patient-everything"), "Patient" },
    { "POST", REST_EVERYTHING, "everything", "SearchEverything", rest_everything, false,
      OPERATION_OF_HL7("Patient-everything"), "Patient" },
    { "POST", REST_EXPORT_SYSTEM, "export", "StartFHIRExportJobWithPost", rest_export, false,
      OPERATION_OF_BULK("export"), NULL },
    { "GET", REST_EXPORT_SYSTEM, "export", "StartFHIRExportJobWithGet", rest_export, false,
      OPERATION_OF_BULK("export"), NULL },
    { "POST", REST_EXPORT_TYPE, "export", "StartFHIRExportJobWithPost", rest_export, false,
      OPERATION_OF_BULK("patient-export"), "Patient" },
    { "GET", REST_EXPORT_TYPE, "export", "StartFHIRExportJobWithGet", rest_export, false,
      OPERATION_OF_BULK("patient-export"), "Patient" },
    { "POST", REST_EXPORT_GROUP, "export", "StartFHIRExportJobWithPost", rest_export, false,
      OPERATION_OF_BULK("group-export"), "Group" },
    { "GET", REST_EXPORT_GROUP, "export", "StartFHIRExportJobWithGet", rest_export, false,
      OPERATION_OF_BULK("group-export"), "Group" },
    { "GET", REST_EXPORT_STATUS, "export-status", "DescribeFHIRExportJobWithGet",
      rest_export_status, false },
    { "DELETE", REST_EXPORT_STATUS, "export-cancel", "CancelFHIRExportJobWithDelete",
      rest_export_delete, false },
    { "GET", REST_EXPORT_FILE, "export-file", "GetExportedFile", rest_export_file, false },
    { "POST", REST_ERASE, "erase", "DeleteResource", rest_erase, false, NULL, "*" },
    { "POST", REST_ERASE_VERSION, "erase", "DeleteResource", rest_erase, false, NULL, "*" },
    { "POST", REST_PURGE, "purge", "StartFHIRBulkDeleteJob", rest_erase, false, NULL, "Patient" },
    { "POST", REST_BULK_DELETE, "bulk-delete", "StartFHIRBulkDeleteJob", rest_erase, false, NULL,
      "*" },
    { "GET", REST_ERASE_STATUS, "erase", "DescribeFHIRBulkDeleteJob", rest_erase_status, false },
    { "GET", REST_PURGE_STATUS, "purge", "DescribeFHIRBulkDeleteJob", rest_erase_status, false },
    { "GET", REST_BULK_STATUS, "bulk-delete", "DescribeFHIRBulkDeleteJob", rest_erase_status,
      false },
    { "POST", REST_VIEW_RUN, "viewdefinition-run", "SearchWithPost", rest_view_run, false,
      OPERATION_OF_SQL("$viewdefinition-run"), NULL },
    { "GET", REST_METADATA, "capabilities", "GetCapabilities", rest_metadata, true },
    { "GET", REST_SMART, "smart-configuration", "GetCapabilities", rest_smart_configuration, true },
};
const size_t rest_n_interactions = sizeof rest_interactions / sizeof rest_interactions[0];

const char *rest_action_name(size_t i)
{
    return i < rest_n_interactions ? rest_interactions[i].action : NULL;
}
