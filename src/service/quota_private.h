/* quota_private.h - what the rooms of quotas share.
 *
 *   quota.c        buckets, and who has them
 *   quota_rates.c  kinds of requests, HealthLake's rates, a file of rates
 * Floor: service. */
#pragma once
#include "service/quota.h"

/* Kinds that an action is counted as: one, or two of a Bundle. */
struct quota_costs {
    size_t kinds[2];
    double cost[2];
    size_t n;
};
/* n is 0 for an action that has no kind. */
struct quota_costs quota_costs_of(sv action, uint64_t bytes);
