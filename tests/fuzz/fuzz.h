/* fuzz.h - one fuzz target: FUZZ(data) { ... } with `data` a view of the input. */
#pragma once
#include "base/sv.h"

int LLVMFuzzerTestOneInput(const uint8_t *ptr, size_t len);
#define FUZZ(data)                                             \
    static void fuzz_one(sv data);                             \
    int LLVMFuzzerTestOneInput(const uint8_t *ptr, size_t len) \
    {                                                          \
        fuzz_one(sv_make(ptr, len));                           \
        return 0;                                              \
    }                                                          \
    static void fuzz_one(sv data)
/* A property that must hold: a finding when it does not. */
#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)
