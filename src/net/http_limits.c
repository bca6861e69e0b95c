/* http_limits.c - what connections may take when nobody says otherwise: every limit that is 0
 * becomes that of base/limits.h. */
#include "net/http_private.h"

#include "base/limits.h"

void http_limits_complete(struct http_limits *l)
{
    if (l->n == 0)
        l->n = LIMIT_CONNECTIONS;
    if (l->n_per_address == 0)
        l->n_per_address = l->n / LIMIT_CONNECTIONS_SHARE > LIMIT_CONNECTIONS_LEAST
                               ? l->n / LIMIT_CONNECTIONS_SHARE
                               : LIMIT_CONNECTIONS_LEAST;
    if (l->n_crowded == 0)
        l->n_crowded = LIMIT_CONNECTIONS_HEALTH;
    if (l->head_us == 0)
        l->head_us = LIMIT_HEAD_S * UINT64_C(1000000);
    if (l->slow_us == 0)
        l->slow_us = LIMIT_SLOW_S * UINT64_C(1000000);
    if (l->slow_bytes == 0)
        l->slow_bytes = LIMIT_SLOW_BYTES;
    if (l->sweep_us == 0)
        l->sweep_us = 500000;
    if (l->bodies == 0)
        l->bodies = LIMIT_BODIES_BYTES;
    if (l->bodies_per_address == 0)
        l->bodies_per_address = LIMIT_BODIES_ADDRESS_BYTES;
    if (l->unproven == 0)
        l->unproven = LIMIT_UNPROVEN_BYTES;
    if (l->unproven_most == 0)
        l->unproven_most = LIMIT_UNPROVEN_MOST_BYTES;
    if (l->unproven_all == 0)
        l->unproven_all = LIMIT_UNPROVEN_MEMORY_BYTES;
    if (l->files == 0)
        l->files = LIMIT_UNPROVEN_FILES_BYTES;
    if (l->files_per_address == 0)
        l->files_per_address = LIMIT_UNPROVEN_ADDRESS_FILES_BYTES;
    if (l->n_files == 0)
        l->n_files = LIMIT_UNPROVEN_FILES;
    if (l->old_us == 0)
        l->old_us = LIMIT_UNPROVEN_S * UINT64_C(1000000);
    if (l->still_us == 0)
        l->still_us = LIMIT_UNPROVEN_STILL_MS * UINT64_C(1000);
    if (l->free_disk == 0)
        l->free_disk = LIMIT_BODIES_FREE_DISK_BYTES;
    if (l->answers == 0)
        l->answers = LIMIT_ANSWERS_BYTES;
    if (l->answer_files == 0)
        l->answer_files = LIMIT_ANSWER_FILES_BYTES;
    if (l->n_answer_files == 0)
        l->n_answer_files = LIMIT_ANSWER_FILES;
}
