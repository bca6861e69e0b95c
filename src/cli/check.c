/* check.c - the command `fhirlake check`: is what stands in a data folder as it must be?
 *
 * Every data store below DATA/stores is opened for reading, one after the other, and store_check()
 * looks. The system's records are held meanwhile, so that no server begins to use the folder. They
 * are read, too: a data store that they have as ACTIVE must have its folder. */
#include "cli/check.h"

#include "base/clock.h"
#include "base/file.h"
#include "cli/check_records.h"
#include "cli/keys.h"
#include "cli/options.h"
#include "store/check.h"
#include "store/convert.h"
#include "store/elsewhere.h"

#include <dirent.h>
#include <limits.h>
#include <unistd.h>

#define TELL_EVERY_US 10000000u
#define CACHE_BYTES   ((size_t)64 << 20)
#define RECORDS_BYTES ((size_t)256 << 20)

enum { OK_ALL = 0, WRONG = 1, USAGE = 2, CANNOT = 3 };

struct options {
    const char *store;
    struct cli_keys keys;
    bool quiet;
};

#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "store", "ID", "this data store alone", O(store) },
    CLI_KEYS_OPTIONS(O(keys)),
    { "quiet", NULL, "no progress on the standard error", O(quiet) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

struct checking {
    const struct options *o;
    const char *data;
    struct store_env *env;
    struct arena *arena; /* of the records */
    struct check_records records;
    bool has_records;  /* and they could be read */
    const char *store; /* under way */
    uint64_t told_us;
};

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake check DATA [options]\n\n"
        "Check the files of all data stores in a server's folder (its --data), while no server\n"
        "uses it: each id has one number and each number one id; versions, changes, search "
        "entries\n"
        "and sums go together. Each data store that the system's records have as ACTIVE has its\n"
        "folder; a folder that they do not know is noted. Nothing is written. What is wrong is "
        "told with its family of keys,\n"
        "the type of the resource, and its number, written LOAD:PLACE. Ids and what resources say\n"
        "are not told.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 all is well, 1 something is wrong (each told), 2 wrong usage,\n"
                "3 it cannot be looked at: a server uses it, there is none, another layout.\n\n"
                "Example:\n"
                "  fhirlake check fhirlake-data\n",
                f);
}

static void tell_wrong(void *ctx, sv line)
{
    const struct checking *c = ctx;
    (void)printf("%s: wrong: %.*s\n", c->store, SV_FMT(line));
}

static void tell_progress(void *ctx, const char *family, uint64_t done, uint64_t about)
{
    struct checking *c = ctx;
    const uint64_t now = clock_mono_us();
    if (c->o->quiet || now - c->told_us < TELL_EVERY_US)
        return;
    c->told_us = now;
    (void)fprintf(stderr, "%s: %s: %llu keys", c->store, family, (unsigned long long)done);
    /* an estimate */
    if (about > done)
        (void)fprintf(stderr, " of about %llu", (unsigned long long)about);
    (void)fputs("\n", stderr);
}

static void tell_verdict(const struct checking *c, const struct store_checked *x)
{
    if (x->n_wrong > STORE_CHECK_LINES)
        (void)printf("%s: wrong: and %llu more\n", c->store,
                     (unsigned long long)(x->n_wrong - STORE_CHECK_LINES));
    (void)printf("%s: %s: %llu resources, %llu versions, %llu loads, %llu search entries", c->store,
                 x->n_wrong ? "WRONG" : "ok", (unsigned long long)x->n_resources,
                 (unsigned long long)x->n_versions, (unsigned long long)x->n_loads,
                 (unsigned long long)x->n_entries);
    if (x->n_wrong)
        (void)printf("; %llu wrong", (unsigned long long)x->n_wrong);
    (void)puts("");
    (void)fflush(stdout);
}

static int tell_wrong_alone(sv store, const char *why)
{
    (void)printf("%.*s: wrong: %s\n%.*s: WRONG\n", SV_FMT(store), why, SV_FMT(store));
    (void)fflush(stdout);
    return WRONG;
}

static int cannot(const char *subject, const char *why)
{
    (void)fprintf(stderr, "fhirlake check: %s: %s\n", subject, why);
    return CANNOT;
}

/* Of one that is being made or deleted, or could not be made, nothing need be there. */
static bool must_be_there(const struct check_record *record)
{
    return sv_eq(record->status, SV_LIT("ACTIVE"));
}

static int tell_unmade(const struct checking *c, const char *id)
{
    const struct check_record *record = check_records_find(&c->records, sv_from(id));
    if (record && must_be_there(record))
        return tell_wrong_alone(sv_from(id), "the system's records have it as ACTIVE, and its "
                                             "folder holds no data");
    (void)printf("%s: ok: its making was cut off, and it holds no data\n", id);
    return OK_ALL;
}

static int tell_older(const struct checking *c, const char *id, const char *why)
{
    char shown[PATH_MAX + 3];
    file_quoted(c->data, shown);
    (void)fprintf(stderr, "fhirlake check: %s: %s. Type: fhirlake convert %s\n", id, why, shown);
    return CANNOT;
}

static int check_one(struct checking *c, const char *id)
{
    const struct store_check_told told = { tell_wrong, tell_progress, c };
    struct store_checked x;
    struct err e;
    char uri[PATH_MAX];
    const struct check_record *record = check_records_find(&c->records, sv_from(id));
    /* any part of it may be gone */
    if (record && sv_eq(record->status, SV_LIT("DELETING"))) {
        (void)printf("%s: ok: it is being deleted, and the next start goes on\n", id);
        return OK_ALL;
    }
    c->store = id;
    c->told_us = clock_mono_us();
    if ((size_t)snprintf(uri, sizeof uri, "rocksdb:%s/stores/%s", c->data, id) >= sizeof uri)
        return cannot(id, "the name of its folder is too long");
    err_code rc = store_check(c->env, uri, &told, &x, &e);
    if (rc == ERR_EXISTS)
        return cannot(id, "it is in use by another process: stop that server first");
    if (rc == ERR_UNSUPPORTED && store_needs_convert(uri))
        return tell_older(c, id, e.msg);
    if (rc == ERR_OK && x.unmade)
        return tell_unmade(c, id);
    if (rc != ERR_OK)
        return cannot(id, rc == ERR_NOT_FOUND ? "there is no such data store" : e.msg);
    tell_verdict(c, &x);
    return x.n_wrong ? WRONG : OK_ALL;
}

static int keep(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* ---- what the system's records say ---- */

/* n_stores: folders that there are. */
static int read_records(struct checking *c, int n_stores)
{
    struct err e;
    err_code rc = check_records_read(c->data, c->arena, &c->records, &e);
    c->has_records = rc == ERR_OK;
    if (rc == ERR_NOT_FOUND && n_stores == 0)
        return OK_ALL;
    if (rc == ERR_NOT_FOUND)
        return tell_wrong_alone(SV_LIT("system"),
                                "there are no system's records, and no server knows these data "
                                "stores: put the folder system back from a copy");
    return rc == ERR_OK ? OK_ALL : tell_wrong_alone(SV_LIT("system"), e.msg);
}

static int tell_lost(const struct checking *c)
{
    int status = OK_ALL;
    for (size_t i = 0; i < c->records.n; i++) {
        const struct check_record *record = &c->records.all[i];
        if (record->seen || !must_be_there(record))
            continue;
        status = tell_wrong_alone(record->id,
                                  "the system's records have it as ACTIVE, and it has no folder");
    }
    return status;
}

/* Its folder is there. */
static void see(const struct checking *c, sv id)
{
    struct check_record *record = check_records_find(&c->records, id);
    if (record)
        record->seen = true;
    if (c->has_records && sv_is_hex(id, 32) &&
        (record == NULL || (sv_eq(record->status, SV_LIT("DELETED")) && !record->kept)))
        (void)printf("%.*s: note: no data store of the system's records has this folder\n",
                     SV_FMT(id));
}

/* By name. */
static int check_all(struct checking *c)
{
    char path[PATH_MAX];
    struct dirent **all;
    (void)snprintf(path, sizeof path, "%s/stores", c->data);
    int n = scandir(path, &all, keep, alphasort);
    if (n < 0)
        return cannot(c->data, "it has no folder of data stores");
    int status = read_records(c, n);
    for (int i = 0; i < n; i++) {
        see(c, sv_from(all[i]->d_name));
        int one = check_one(c, all[i]->d_name);
        /* what cannot be looked at weighs more than what is wrong */
        status = one > status ? one : status;
        free(all[i]);
    }
    free((void *)all);
    int lost = tell_lost(c);
    return lost > status ? lost : status;
}

static int check_named(struct checking *c)
{
    /* of one data store they only say what state it is in; what is wrong with them is not asked */
    struct err ignored;
    IGNORE(check_records_read(c->data, c->arena, &c->records, &ignored));
    return check_one(c, c->o->store);
}

static int run(const struct options *o, const char *data)
{
    CLEANUP(cli_keys_close) struct cli_keyring *ring = NULL;
    struct checking c = { .o = o, .data = data };
    char path[PATH_MAX];
    struct err e;
    int lock = -1;
    if ((size_t)snprintf(path, sizeof path, "%s/system/LOCK", data) >= sizeof path)
        return cannot(data, "the name is too long");
    if (store_elsewhere(data, &e) != ERR_OK)
        return cannot(data, e.msg);
    if (cli_keys_open(&o->keys, &ring, &e) != ERR_OK)
        return cannot(data, e.msg);
    err_code rc = file_hold(path, &lock, &e);
    if (rc == ERR_EXISTS)
        return cannot(data, "it is in use by another process: stop that server first");
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return cannot(data, e.msg);
    c.env = store_env_new(CACHE_BYTES, 1);
    store_env_keep(c.env, cli_keys_keeper(ring));
    c.arena = arena_new(RECORDS_BYTES);
    int status = o->store ? check_named(&c) : check_all(&c);
    arena_free(c.arena);
    store_env_free(c.env);
    if (lock >= 0)
        (void)close(lock);
    return status;
}

/* It becomes part of a path. */
static bool is_id(const char *store)
{
    return store[0] && store[0] != '.' && strchr(store, '/') == NULL;
}

int cli_check(int argc, char **argv)
{
    struct options o = { 0 };
    struct err e;
    const char *data = NULL;
    size_t n;
    bool help;
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &o, &data, 1, &n, &help, &e);
    if (rc == ERR_OK && !help && n == 0)
        rc = ERR(&e, ERR_INVALID, "say which folder: DATA; see fhirlake check --help");
    if (rc == ERR_OK && !help && o.store && !is_id(o.store))
        rc = ERR(&e, ERR_INVALID, "--store takes the id of a data store");
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake check: %s\n", e.msg);
        return USAGE;
    }
    if (help) {
        usage(stdout);
        return OK_ALL;
    }
    return run(&o, data);
}
