/* engines.c - which engines there are, and opening a store by a URI.
 *
 * A URI is a scheme, a colon and a place; a path without a scheme means RocksDB. The table below is
 * the only place that names the engines: a new one is a folder beside rocks/ and a row here. What
 * open stores share is made for every engine at the start, and freed when all of them are
 * closed. */
#include "store/store_private.h"

#define RECENT_MAX (64u << 20) /* of the cache's bytes: for whole versions */

static const struct store_engine engines[] = {
    { .scheme = "rocksdb",
      .form = "rocksdb:PATH (or a path alone)",
      .env_new = rocks_env_new,
      .env_free = rocks_env_free,
      .open = rocks_open,
      .root_make = rocks_root_make,
      .root_count = rocks_root_count,
      .exists = rocks_exists,
      .n_files = rocks_n_files,
      .remove = rocks_remove,
      .check = rocks_check,
      .convert = rocks_convert,
      .needs_convert = rocks_needs_convert,
      .convert_names = rocks_convert_names,
      .copy = rocks_copy,
      .sums = rocks_sums_of,
      .encrypt = rocks_encrypt,
      .keys = rocks_keys,
      .open_records = rocks_records_open },
    { .scheme = "memory",
      .form = "memory:",
      .open = memory_open,
      .open_records = rocks_records_in_memory },
#ifdef HAVE_POSTGRES
    { .scheme = "postgresql",
      .form = "postgresql://HOST/DATABASE/NAME",
      .open = pg_open,
      .root_make = pg_root_make,
      .root_count = pg_root_count,
      .exists = pg_exists,
      .n_files = pg_n_files,
      .remove = pg_remove,
      .open_records = pg_records_open,
      .ready = pg_ready,
      .reach = pg_reach,
      .link = pg_link_set },
#endif
};
#define N_ENGINES (sizeof engines / sizeof engines[0])
_Static_assert(N_ENGINES <= STORE_ENGINES, "each has its place in an env");

/* Length of the scheme in front of a colon; 0: there is none. */
static size_t scheme_len(const char *uri)
{
    size_t n = strspn(uri, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    return uri[n] == ':' ? n : 0;
}

err_code store_engine_of(const char *uri, const struct store_engine **out, const char **place,
                         struct err *e)
{
    char forms[160] = "";
    size_t n = scheme_len(uri), len = 0;
    if (n == 0) {
        *out = &engines[0];
        *place = uri;
        return ERR_OK;
    }
    for (unsigned i = 0; i < N_ENGINES; i++) {
        if (sv_eq_cstr(sv_make(uri, n), engines[i].scheme)) {
            *out = &engines[i];
            *place = uri + n + 1;
            return ERR_OK;
        }
        len += (size_t)snprintf(forms + len, sizeof forms - len, "%s%s", i ? ", " : "",
                                engines[i].form);
    }
    return ERR(e, ERR_INVALID, "no store engine has the name \"%.*s\"; there are: %s",
               SV_FMT(sv_head(sv_make(uri, n), 32)), forms);
}

/* ---- engines of a server elsewhere ---- */

err_code store_ready(const char *root, const struct store_link *link, struct store_readiness *out,
                     struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    struct store_readiness found = { 0 };
    TRY(store_engine_of(root, &engine, &place, e));
    if (engine->link)
        engine->link(link);
    if (engine->ready)
        TRY(engine->ready(place, &found, e));
    *out = found;
    return ERR_OK;
}

err_code store_reach(const char *root, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(root, &engine, &place, e));
    return engine->reach ? engine->reach(place, e) : ERR_OK;
}

bool store_has_files(const char *root)
{
    const struct store_engine *engine;
    const char *place;
    struct err ignored;
    return store_engine_of(root, &engine, &place, &ignored) == ERR_OK && engine->ready == NULL;
}

void *store_engine_own(const struct store_env *env, const struct store_engine *engine)
{
    return env ? env->own[engine - engines] : NULL;
}

err_code store_open_with(struct store_env *env, const char *uri, bool create, unsigned n_files,
                         struct store **out, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(uri, &engine, &place, e));
    return engine->open(env, store_engine_own(env, engine), place, create, n_files, out, e);
}

err_code store_open(struct store_env *env, const char *uri, bool create, struct store **out,
                    struct err *e)
{
    return store_open_with(env, uri, create, STORE_FILES_MAX, out, e);
}

err_code store_check(struct store_env *env, const char *uri, const struct store_check_told *told,
                     struct store_checked *out, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(uri, &engine, &place, e));
    if (engine->check == NULL)
        return ERR(e, ERR_UNSUPPORTED, "there is nothing on disk to check");
    return engine->check(env, env->own[engine - engines], place, told, out, e);
}

/* ---- what open stores share ---- */

struct store_env *store_env_new(size_t cache_bytes, unsigned n_background)
{
    struct store_env *env = calloc(1, sizeof *env);
    if (env == NULL)
        abort();
    size_t recent = cache_bytes / 4 < RECENT_MAX ? cache_bytes / 4 : RECENT_MAX;
    env->cache_bytes = cache_bytes - recent;
    env->n_background = n_background;
    env->recent = recent_new(recent);
    gate_init(&env->gate, LIMIT_LARGE_READERS, LIMIT_LARGE_READERS_STORE);
    gate_init(&env->alone, 1, 1);
    for (unsigned i = 0; i < N_ENGINES; i++)
        env->own[i] = engines[i].env_new ? engines[i].env_new(env) : NULL;
    return env;
}

void store_env_on_reindex(struct store_env *env, store_reindex_fn fn, void *ctx)
{
    env->on_reindex = fn;
    env->on_reindex_ctx = ctx;
}

void store_env_keep(struct store_env *env, struct key_keeper *keeper)
{
    env->keeper = keeper;
}

void store_env_free(struct store_env *env)
{
    if (env == NULL)
        return;
    for (unsigned i = 0; i < N_ENGINES; i++)
        if (engines[i].env_free)
            engines[i].env_free(env->own[i]);
    gate_done(&env->alone);
    gate_done(&env->gate);
    recent_free(env->recent);
    free(env);
}
