/* quota.c - HealthLake's request rates, one token bucket for each operation.
 *
 * A bucket fills at its rate, up to its burst; a request takes one token out, or is refused. How
 * full a bucket is is worked out when a request comes, from the time since the one before. */
#include "aws/quota.h"

#include <pthread.h>

static const struct {
    const char *operation;
    double per_s, burst;
} rates[] = {
    { "CreateFHIRDatastore", 1.0 / 60, 1 },
    { "DeleteFHIRDatastore", 1.0 / 60, 1 },
    { "DescribeFHIRDatastore", 10, 10 },
    { "ListFHIRDatastores", 10, 10 },
    { "StartFHIRExportJob", 1, 1 },
    { "DescribeFHIRExportJob", 10, 10 },
    { "ListFHIRExportJobs", 10, 10 },
    { "StartFHIRImportJob", 25, 25 },
    { "DescribeFHIRImportJob", 10, 10 },
    { "ListFHIRImportJobs", 10, 10 },
    { "TagResource", 10, 10 },
    { "UntagResource", 10, 10 },
    { "ListTagsForResource", 10, 10 },
};
#define N_RATES (sizeof rates / sizeof rates[0])

struct quota {
    pthread_mutex_t lock;
    struct {
        double tokens;
        uint64_t at_us; /* 0: never used, full */
    } buckets[N_RATES];
};

struct quota *quota_new(void)
{
    struct quota *quota = calloc(1, sizeof *quota);
    if (quota == NULL)
        abort();
    pthread_mutex_init(&quota->lock, NULL);
    return quota;
}

void quota_free(struct quota *quota)
{
    if (quota == NULL)
        return;
    pthread_mutex_destroy(&quota->lock);
    free(quota);
}

err_code quota_take(struct quota *quota, const char *operation, uint64_t now_us, struct err *e)
{
    for (size_t i = 0; i < N_RATES; i++) {
        if (strcmp(rates[i].operation, operation) != 0)
            continue;
        pthread_mutex_lock(&quota->lock);
        double have = rates[i].burst;
        if (quota->buckets[i].at_us) {
            double since_s = (double)(now_us - quota->buckets[i].at_us) / 1e6;
            have = quota->buckets[i].tokens + since_s * rates[i].per_s;
            if (have > rates[i].burst)
                have = rates[i].burst;
        }
        bool ok = have >= 1;
        quota->buckets[i].tokens = ok ? have - 1 : have;
        quota->buckets[i].at_us = now_us;
        pthread_mutex_unlock(&quota->lock);
        return ok ? ERR_OK : ERR(e, ERR_THROTTLED, "Rate exceeded");
    }
    return ERR_OK;
}
