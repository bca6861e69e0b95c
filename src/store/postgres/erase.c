/* erase.c - erasing is refused: what this engine could promise of disks is not built yet. */
#include "store/postgres/postgres_private.h"

err_code pg_erase(struct store *st, store_number number, uint64_t t, sv note, bool *any,
                  struct err *e)
{
    (void)st;
    (void)number;
    (void)t;
    (void)note;
    (void)any;
    return ERR(e, ERR_UNSUPPORTED, "nothing can be erased from a data store on PostgreSQL yet");
}

err_code pg_erase_finish(struct store *st, const atomic_bool *halt, struct err *e)
{
    bool any;
    (void)halt;
    return pg_erase(st, 0, 0, SV_NONE, &any, e);
}
