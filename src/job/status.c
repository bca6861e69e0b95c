/* status.c - what a job may be: its kinds, its statuses, and the one table of legal moves between
 * them.
 *
 * The names are AWS's and the record's. job.h draws the diagram that the table is. */
#include "job/job_private.h"

static const char *const status_names[] = {
    [JOB_SUBMITTED] = "SUBMITTED",
    [JOB_QUEUED] = "QUEUED",
    [JOB_IN_PROGRESS] = "IN_PROGRESS",
    [JOB_COMPLETED] = "COMPLETED",
    [JOB_COMPLETED_WITH_ERRORS] = "COMPLETED_WITH_ERRORS",
    [JOB_FAILED] = "FAILED",
    [JOB_CANCEL_SUBMITTED] = "CANCEL_SUBMITTED",
    [JOB_CANCEL_IN_PROGRESS] = "CANCEL_IN_PROGRESS",
    [JOB_CANCEL_COMPLETED] = "CANCEL_COMPLETED",
    [JOB_CANCEL_FAILED] = "CANCEL_FAILED",
};
#define N_STATUSES (sizeof status_names / sizeof status_names[0])
#define TO(s)      (1u << (s))

static const unsigned moves[N_STATUSES] = {
    [JOB_SUBMITTED] =
        TO(JOB_QUEUED) | TO(JOB_IN_PROGRESS) | TO(JOB_FAILED) | TO(JOB_CANCEL_SUBMITTED),
    [JOB_QUEUED] = TO(JOB_IN_PROGRESS) | TO(JOB_FAILED) | TO(JOB_CANCEL_SUBMITTED),
    [JOB_IN_PROGRESS] = TO(JOB_COMPLETED) | TO(JOB_COMPLETED_WITH_ERRORS) | TO(JOB_FAILED) |
                        TO(JOB_CANCEL_SUBMITTED),
    [JOB_CANCEL_SUBMITTED] = TO(JOB_CANCEL_IN_PROGRESS) | TO(JOB_FAILED),
    [JOB_CANCEL_IN_PROGRESS] = TO(JOB_CANCEL_COMPLETED) | TO(JOB_CANCEL_FAILED) | TO(JOB_FAILED),
};

bool job_status_may(job_status from, job_status to)
{
    return moves[from] & TO(to);
}

bool job_status_is_final(job_status s)
{
    return moves[s] == 0;
}

const char *job_status_name(job_status s)
{
    return (size_t)s < N_STATUSES ? status_names[s] : "";
}

bool job_status_parse(sv name, job_status *out)
{
    for (size_t i = 0; i < N_STATUSES; i++)
        if (sv_eq_cstr(name, status_names[i])) {
            *out = (job_status)i;
            return true;
        }
    return false;
}

static const char *const kind_names[JOB_N_KINDS] = {
    [JOB_EXPORT] = "export",
    [JOB_IMPORT] = "import",
    [JOB_ERASE] = "erase",
};

const char *job_kind_name(job_kind k)
{
    return kind_names[k];
}

job_kind job_kind_parse(sv name)
{
    for (int k = 0; k < JOB_N_KINDS; k++)
        if (sv_eq_cstr(name, kind_names[k]))
            return (job_kind)k;
    return JOB_EXPORT;
}
