/* rng.h - unpredictable bytes from the kernel, and the ids made of them.   Floor: base. */
#pragma once
#include "base/sv.h"

void rng_bytes(void *out, size_t len); /* aborts when the kernel has none */
uint64_t rng_u64(void);
/* 32 lower-case hex characters and a NUL: data store ids, job ids. */
void rng_hex32(char out[33]);
/* RFC 4122 version 4, lower case, and a NUL: request ids, resource ids. */
void rng_uuid(char out[37]);
