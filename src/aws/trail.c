/* trail.c - what an operation leaves in the audit log: its name, and the data store and job that it
 * was about. */
#include "aws/aws_private.h"

#include "base/limits.h"
#include "service/trail.h"

#define ANSWER_BYTES (64u << 10) /* of an answer that tells ids; lists are larger, and tell none */

/* The id at the end of an ARN of ours. */
static sv id_of_arn(sv arn)
{
    size_t i = arn.len;
    while (i && arn.ptr[i - 1] != '/')
        i--;
    return i ? sv_tail(arn, i) : SV_NONE;
}

/* What was made has its id in the answer alone. */
static void from_answer(const struct call *call, sv answer, struct trail_facts *f)
{
    yyjson_doc *doc;
    struct err ignored;
    if (answer.len > ANSWER_BYTES ||
        json_read(call->a, answer, LIMIT_JSON_DEPTH, &doc, &ignored) != ERR_OK)
        return;
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (f->datastore_id.len == 0)
        f->datastore_id = json_string(json_get(root, "DatastoreId"));
    if (f->job_id.len == 0)
        f->job_id = json_string(json_get(root, "JobId"));
}

void call_trail(const struct call *call, struct trail *trail, err_code rc, sv answer)
{
    if (trail == NULL)
        return;
    struct trail_facts *f = &trail->facts;
    trail->caller = call->caller;
    f->rc = rc;
    if (call->op == NULL)
        return;
    f->action = call->op->name;
    if (call->input == NULL)
        return;
    f->datastore_id = call_text(call, "DatastoreId");
    f->job_id = call_text(call, "JobId");
    if (f->datastore_id.len == 0)
        f->datastore_id = id_of_arn(call_text(call, "ResourceARN"));
    if (rc == ERR_OK && !trail_reads(f->action))
        from_answer(call, answer, f);
    /* of a restore that made none */
    if (f->datastore_id.len == 0)
        f->datastore_id = call_text(call, "SourceDatastoreId");
}

void call_trail_name(const struct http_request *req, struct service *service,
                     struct trail_facts *facts)
{
    const struct operation *op = operation_find(http_header_get(req, "X-Amz-Target"));
    (void)service;
    if (op)
        facts->action = op->name;
}
