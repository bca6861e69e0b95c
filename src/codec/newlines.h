/* newlines.h - how many newlines some bytes hold, at the speed of memory.   Floor: codec. */
#pragma once
#include "base/sv.h"

uint64_t newlines_count(sv bytes);
