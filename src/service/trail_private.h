/* trail_private.h - what trail.c asks of trail_record.c.   Floor: service. */
#pragma once
#include "service/plane.h"
#include "service/trail.h"

#define TRAIL_RECORD_MAX (64u << 10) /* bytes of one */

/* One record and its newline, appended.
 *   number  of the records with this request id: from it the event's id is made */
MUST_USE err_code trail_record(const struct trail *trail, const struct trail_facts *facts,
                               const char *error, unsigned number, struct buf *out, struct err *e);
/* Likewise of a job's end. */
MUST_USE err_code trail_job_record(sv region, sv account_id, const struct trail_job *job,
                                   struct buf *out, struct err *e);
