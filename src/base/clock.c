/* clock.c - the wall clock tells what people see; the monotonic clock measures. A wait with a
 * deadline uses the monotonic clock, so setting the machine's time neither cuts a wait short nor
 * makes it last. */
#include "base/clock.h"

#include <time.h>

int64_t clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

uint64_t clock_mono_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void clock_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t mono;
    /* None of these calls can fail. */
    (void)pthread_condattr_init(&mono);
    (void)pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    (void)pthread_cond_init(c, &mono);
    (void)pthread_condattr_destroy(&mono);
}

struct timespec clock_mono_at(uint64_t us)
{
    return (struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };
}
