/* convert.c - the data stores of a data folder, one after the other, to this program's layout.
 *
 * The system's records are open meanwhile, so that no server can be. Jobs that would keep a data
 * store from being converted are looked for in all of them before the first one is begun: an older
 * program cannot open one that is done. Each is done for itself: one that fails keeps no other from
 * it, and a call that is cut off is made again.
 */
#include "cli/convert.h"

#include "base/clock.h"
#include "base/file.h"
#include "cli/options.h"
#include "job/job.h"
#include "store/convert.h"
#include "store/elsewhere.h"
#include "store/records.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_BYTES   ((size_t)64 << 20)
#define NAMES_BYTES   ((size_t)64 << 20)
#define TELL_EVERY_US 5000000u

struct folder {
    const char *data;
    char stores[sizeof "rocksdb:" + PATH_MAX]; /* URI */
    struct records *records;
    struct store_env *env;
    struct arena *arena;
    sv *names;
    size_t n;
};

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake convert DATA\n\n"
        "Convert the data stores of a data folder that an older fhirlake wrote, so that this one\n"
        "can open them. Resources, their versions, instants and commits stay what they are. DATA "
        "is\n"
        "what `fhirlake serve` has as --data, and no server may be running on it.\n\n"
        "Each data store is written anew beside the old one and compared with it, version by\n"
        "version. Then it takes its place. So the disk needs room for the largest data store once\n"
        "more. Whatever goes wrong before leaves the old one as it was. A call that was cut off\n"
        "is made again. Data stores that are converted already are passed over. When one cannot "
        "be\n"
        "converted, this is told, the others are converted, and the exit status is 1.\n\n"
        "Make a copy of DATA first: programs from before cannot open what is converted.\n\n"
        "Example:\n"
        "  fhirlake convert ./fhirlake-data && fhirlake serve --data ./fhirlake-data\n",
        f);
}

/* ---- one data store ---- */

struct teller {
    sv name;
    uint64_t told_us;
};

/* store_convert_fn */
static void tell(void *ctx, const struct store_converting *p)
{
    static const char *const words[] = { [STORE_CONVERT_WRITES] = "commits written",
                                         [STORE_CONVERT_COUNTS] = "counts are made",
                                         [STORE_CONVERT_CHECKS] = "versions compared" };
    struct teller *t = ctx;
    uint64_t now = clock_mono_us();
    if (now - t->told_us < TELL_EVERY_US)
        return;
    t->told_us = now;
    if (p->of)
        (void)printf("%.*s: %llu of %llu %s\n", SV_FMT(t->name), (unsigned long long)p->n,
                     (unsigned long long)p->of, words[p->step]);
    else
        (void)printf("%.*s: %s\n", SV_FMT(t->name), words[p->step]);
    (void)fflush(stdout);
}

static err_code uri_of(const struct folder *f, sv name, const char **out, struct err *e)
{
    *out = arena_fmt(f->arena, "%s/%.*s", f->stores, SV_FMT(name)).ptr;
    return *out ? ERR_OK : arena_oom(f->arena, e);
}

static err_code convert_one(const struct folder *f, sv name, struct store_converted *done,
                            struct err *e)
{
    const char *uri;
    char hex[FHIR_DIGEST_HEX];
    struct teller t = { name, clock_mono_us() };
    TRY(uri_of(f, name, &uri, e));
    if (store_needs_convert(uri))
        TRY(job_plans_drop(f->records, name, e));
    TRY(store_convert(f->env, uri, tell, &t, done, e));
    if (done->was_done) {
        (void)printf("%.*s: has this program's layout already\n", SV_FMT(name));
    } else if (done->completed) {
        (void)printf("%.*s: converted; the last steps of an earlier call are done\n", SV_FMT(name));
    } else {
        fhir_digest_hex(&done->digest, hex);
        (void)printf("%.*s: converted; %llu resources, %llu versions, %llu commits; all versions "
                     "compared, digest before and after %.*s\n",
                     SV_FMT(name), (unsigned long long)done->n_resources,
                     (unsigned long long)done->n_versions, (unsigned long long)done->n_commits,
                     FHIR_DIGEST_HEX, hex);
    }
    (void)fflush(stdout);
    return ERR_OK;
}

/* ---- the folder ---- */

/* What the folder cannot be converted with, before anything is. */
static err_code check_jobs(const struct folder *f, struct err *e)
{
    const char *uri;
    for (size_t i = 0; i < f->n; i++) {
        TRY(uri_of(f, f->names[i], &uri, e));
        if (store_needs_convert(uri))
            TRY(job_plans_check(f->records, f->names[i], e));
    }
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

static err_code open_folder(struct folder *f, struct err *e)
{
    char system[sizeof f->stores];
    int n = snprintf(f->stores, sizeof f->stores, "rocksdb:%s/stores", f->data);
    int m = snprintf(system, sizeof system, "rocksdb:%s/system", f->data);
    /* so long that a name still fits behind it */
    if (n > PATH_MAX - 64 || m > PATH_MAX - 64)
        return ERR(e, ERR_INVALID, "the path of the data folder is too long");
    TRY(store_elsewhere(f->data, e));
    if (access(system + sizeof "rocksdb:" - 1, F_OK) != 0)
        return ERR(e, ERR_NOT_FOUND, "%.300s is no data folder: it has no folder named system",
                   f->data);
    err_code rc = records_open(system, &f->records, e);
    if (rc == ERR_EXISTS)
        return ERR(e, ERR_EXISTS, "data folder %.300s is in use: stop the server first", f->data);
    TRY(rc);
    TRY(store_convert_names(f->stores, f->arena, &f->names, &f->n, e));
    if (f->n)
        qsort(f->names, f->n, sizeof *f->names, by_name);
    return check_jobs(f, e);
}

static void tell_failed(const struct err *e)
{
    (void)fprintf(stderr, "fhirlake convert: %s%s%s\n", e->ctx, e->ctx[0] ? ": " : "", e->msg);
}

/* *n_failed: data stores that were not converted, each told. */
static err_code convert_all(struct folder *f, size_t *n_failed, struct err *e)
{
    uint64_t n_resources = 0, n_versions = 0;
    size_t n_done = 0, n_before = 0;
    TRY(open_folder(f, e));
    for (size_t i = 0; i < f->n; i++) {
        struct store_converted done = { 0 };
        struct err why = { 0 };
        if (convert_one(f, f->names[i], &done, &why) != ERR_OK) {
            err_context(&why, "data store %.*s", SV_FMT(f->names[i]));
            tell_failed(&why);
            ++*n_failed;
            continue;
        }
        n_before += done.was_done;
        n_done += !done.was_done;
        n_resources += done.n_resources;
        n_versions += done.n_versions;
    }
    (void)printf("%zu data stores converted (%llu resources, %llu versions), %zu had this layout "
                 "already\n",
                 n_done, (unsigned long long)n_resources, (unsigned long long)n_versions, n_before);
    if (*n_failed)
        (void)printf("%zu data stores could not be converted: put each back from a copy, and "
                     "convert again\n",
                     *n_failed);
    return ERR_OK;
}

int cli_convert(int argc, char **argv)
{
    static struct folder f;
    struct err e = { 0 };
    bool help = false;
    size_t n_args = 0, n_failed = 0;
    err_code rc = cli_options_read(NULL, 0, argc, argv, NULL, &f.data, 1, &n_args, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return 0;
    }
    if (rc == ERR_OK && (n_args == 0 || f.data[0] == 0))
        rc = ERR(&e, ERR_INVALID, "DATA is needed; see fhirlake convert --help");
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake convert: %s\n", e.msg);
        return 2;
    }
    /* for what RocksDB makes */
    (void)umask(077);
    f.env = store_env_new(CACHE_BYTES, 2);
    f.arena = arena_new(NAMES_BYTES);
    rc = convert_all(&f, &n_failed, &e);
    records_close(f.records);
    store_env_free(f.env);
    arena_free(f.arena);
    if (rc != ERR_OK)
        tell_failed(&e);
    return rc != ERR_OK || n_failed;
}
