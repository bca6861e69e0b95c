/* clock.h - wall time in milliseconds and monotonic time in microseconds.   Floor: base. */
#pragma once
#include <stdint.h>

int64_t clock_wall_ms(void);  /* since 1970-01-01T00:00:00Z */
uint64_t clock_mono_us(void); /* for durations and deadlines */
