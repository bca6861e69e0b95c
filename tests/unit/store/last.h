/* last.h - the newest commit of a data store that can be asked. In any thread. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "store/store.h"

static inline struct store_commit last_of(struct store *st)
{
    struct store_commit c;
    struct err e;
    if (store_last(st, &c, &e) != ERR_OK) {
        (void)fprintf(stderr, "store_last: %s\n", e.msg);
        abort();
    }
    return c;
}
