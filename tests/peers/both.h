/* both.h - the two peers of S3, STS and KMS that C tests meet side by side: one that misbehaves on
 * demand (hostile.h), and moto, which checks signatures and policies. */
#pragma once
#include "hostile.h"

/* TEST names a state that few tests need. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

static struct peer moto;
static bool has_moto;

#define NEED(has)   \
    do {            \
        if (!(has)) \
            skip(); \
    } while (0)

/* The body of main(): both are there while the tests run. */
#define RUN_WITH_BOTH(tests)                                      \
    do {                                                          \
        hostile_start();                                          \
        has_moto = peer_start(&moto, "moto_peer.py");             \
        int failed = cmocka_run_group_tests((tests), NULL, NULL); \
        peer_stop(&bad);                                          \
        peer_stop(&moto);                                         \
        return failed;                                            \
    } while (0)
