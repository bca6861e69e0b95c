/* copy.c - dispatch: snapshots and copies are the matter of the engine. */
#include "store/store_private.h"

err_code store_sums(struct store *st, uint64_t as_of_t, const atomic_bool *halt,
                    struct store_sums *out, struct err *e)
{
    return st->ops->sums ? st->ops->sums(st, as_of_t, halt, out, e)
                         : ERR(e, ERR_UNSUPPORTED, "this store engine gives no sums");
}

err_code store_sums_of(struct store_env *env, const char *uri, struct store_sums *out,
                       struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(uri, &engine, &place, e));
    if (engine->sums == NULL)
        return ERR(e, ERR_UNSUPPORTED, "store engine %s has no files", engine->scheme);
    return engine->sums(env, store_engine_own(env, engine), place, out, e);
}

err_code store_snapshot(struct store *st, const char *folder, struct store_commit *at,
                        struct err *e)
{
    return st->ops->snapshot ? st->ops->snapshot(st, folder, at, e)
                             : ERR(e, ERR_UNSUPPORTED, "this store engine has no files");
}

err_code store_copy(struct store_env *env, struct store *st, const char *uri, uint64_t t,
                    const atomic_bool *halt, struct store_sums *out, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(uri, &engine, &place, e));
    if (engine->copy == NULL || st->ops->snapshot == NULL)
        return ERR(e, ERR_UNSUPPORTED, "store engine %s has no files", engine->scheme);
    return engine->copy(env, store_engine_own(env, engine), st, place, t, halt, out, e);
}
