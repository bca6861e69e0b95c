/* clock.h - wall time in milliseconds and monotonic time in microseconds.   Floor: base. */
#pragma once
#include <pthread.h>
#include <stdint.h>

int64_t clock_wall_ms(void);  /* since 1970-01-01T00:00:00Z */
uint64_t clock_mono_us(void); /* for durations and deadlines */

/* Timed waits that go by clock_mono_us(): a condition for them, and when one ends. */
void clock_cond_init(pthread_cond_t *c);
struct timespec clock_mono_at(uint64_t us);
