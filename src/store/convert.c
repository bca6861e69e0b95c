/* convert.c - dispatch: data stores of an older layout are the matter of their engine. */
#include "store/store_private.h"

#include <limits.h>

err_code store_convert(struct store_env *env, const char *uri, store_convert_fn tell, void *ctx,
                       struct store_converted *out, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(uri, &engine, &place, e));
    if (engine->convert == NULL)
        return ERR(e, ERR_UNSUPPORTED, "store engine %s has one layout alone", engine->scheme);
    return engine->convert(env, store_engine_own(env, engine), place, tell, ctx, out, e);
}

err_code store_convert_names(const char *root, struct arena *a, sv **out, size_t *n, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(root, &engine, &place, e));
    if (engine->convert_names == NULL)
        return ERR(e, ERR_UNSUPPORTED, "store engine %s has one layout alone", engine->scheme);
    return engine->convert_names(place, store_name_ok, a, out, n, e);
}

err_code store_convert_look(const char *uri, bool *needed, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    *needed = false;
    TRY(store_engine_of(uri, &engine, &place, e));
    return engine->needs_convert ? engine->needs_convert(place, needed, e) : ERR_OK;
}

bool store_needs_convert(const char *uri)
{
    bool needed;
    struct err why;
    return store_convert_look(uri, &needed, &why) == ERR_OK && needed;
}
