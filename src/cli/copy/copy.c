/* copy.c - data stores copied from a folder to a database, and back.
 *
 * Nobody serves from either meanwhile. The records of both are open, which locks a folder; and both
 * have marks, at which no server starts. Before anything is written the target's say which data
 * stores are half copied. Each is made again and compared. When all
 * are there, their records come, and with the last of these the marks go. So a server refuses a
 * target that is not whole, and a call that was cut off is made again. */
#include "cli/copy/copy.h"

#include "base/clock.h"
#include "cli/copy/copy_private.h"
#include "cli/options.h"
#include "store/move.h"
#include "store/registry.h"

#include <sys/stat.h>
#include <unistd.h>

#define CACHE_BYTES   ((size_t)64 << 20)
#define PLAN_BYTES    ((size_t)256 << 20)
#define IDS_MOST      1000u
#define HALF_MOST     1000u
#define TELL_EVERY_US 5000000u

struct options {
    const char *from, *to, *datastore;
    bool abandon;
};

static const struct cli_option table[] = {
    { "from", "DATA|URI", "what is copied", offsetof(struct options, from) },
    { "to", "DATA|URI", "where it is copied to", offsetof(struct options, to) },
    { "datastore", "ID", "this one alone; may be given several times",
      offsetof(struct options, datastore), true },
    { "abandon", NULL, "remove what a call that was cut off left: half of the data, marks",
      offsetof(struct options, abandon) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

struct command {
    struct options o;
    const char *ids[IDS_MOST];
    size_t n_ids;
    struct copy_place from, to;
    struct copy_plan plan;
    struct store_source source;
    bool has_begun; /* something was written */
    struct store_env *env;
};

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake copy --from DATA --to postgresql://HOST/DATABASE [--datastore ID]..\n"
        "       fhirlake copy --from postgresql://HOST/DATABASE --to DATA [--datastore ID]..\n"
        "       fhirlake copy --abandon [--from DATA|URI] [--to DATA|URI]\n\n"
        "Copy data stores from a data folder to a database, or back: all versions of all\n"
        "resources with their ids, commits and instants, and the records of data stores, of\n"
        "ended jobs and of client tokens. DATA is what `fhirlake serve` has as --data, the URI "
        "what\n"
        "it has as --store. No server may be running on either, and no job may be under way.\n\n"
        "Each data store is read back from both and compared. A call that was killed is made\n"
        "again, and goes on where it was; until it has ended no server takes the target or the\n"
        "source. The source stays what it is. Keys, certificates and other files of a folder are\n"
        "not copied; the last lines say which. Encrypted data stores are refused.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExample:\n"
                "  fhirlake copy --from ./fhirlake-data --to postgresql://db.example/fhirlake &&\n"
                "  fhirlake serve --data ./node-data --store postgresql://db.example/fhirlake\n",
                f);
}

static void tell_failed(const struct err *e)
{
    (void)fprintf(stderr, "fhirlake copy: %s%s%s\n", e->ctx, e->ctx[0] ? ": " : "", e->msg);
}

/* ---- one data store ---- */

struct teller {
    sv name;
    store_move_step step;
    uint64_t begun_us, told_us;
};

static uint64_t rate(uint64_t n, uint64_t us)
{
    return us ? (uint64_t)((double)n * 1e6 / (double)us) : 0;
}

/* store_move_fn */
static void tell(void *ctx, const struct store_moving *p)
{
    struct teller *t = ctx;
    const uint64_t now = clock_mono_us();
    if (p->step != t->step) {
        t->step = p->step;
        t->begun_us = t->told_us = now;
    }
    if (now - t->told_us < TELL_EVERY_US)
        return;
    t->told_us = now;
    (void)printf("%.*s: %llu of %llu commits %s; %llu versions, %llu a second\n", SV_FMT(t->name),
                 (unsigned long long)p->n, (unsigned long long)p->of,
                 p->step == STORE_MOVE_WRITES ? "copied" : "compared",
                 (unsigned long long)p->n_versions,
                 (unsigned long long)rate(p->n_versions, now - t->begun_us));
    (void)fflush(stdout);
}

static void tell_moved(sv id, const struct store_moved *m, uint64_t us)
{
    char hex[FHIR_DIGEST_HEX];
    for (unsigned type = 1; type <= fhir_n_types(); type++) {
        const struct store_moved_type *x = &m->types[type];
        if (x->n_versions == 0)
            continue;
        fhir_digest_hex(&x->digest, hex);
        (void)printf("%.*s: %s: %llu resources, %llu versions, digest of both %.*s\n", SV_FMT(id),
                     fhir_type_name((fhir_type)type), (unsigned long long)x->n_resources,
                     (unsigned long long)x->n_versions, FHIR_DIGEST_HEX, hex);
    }
    if (m->n_erased)
        (void)printf("%.*s: %llu versions that were erased stay behind\n", SV_FMT(id),
                     (unsigned long long)m->n_erased);
    (void)printf("%.*s: copied; %llu resources, %llu versions, %llu commits, %llu MB of JSON in "
                 "%.1f s; all versions compared\n",
                 SV_FMT(id), (unsigned long long)m->n_resources, (unsigned long long)m->n_versions,
                 (unsigned long long)m->n_commits, (unsigned long long)(m->n_bytes / 1000000),
                 (double)us / 1e6);
    (void)fflush(stdout);
}

static err_code move_one(struct command *c, sv id, struct err *e)
{
    CLEANUP(store_close) struct store *from = NULL, *to = NULL;
    const uint64_t begun = clock_mono_us();
    struct teller t = { .name = id, .begun_us = begun, .told_us = begun };
    const char *from_uri = copy_place_uri(&c->from, c->plan.a, id);
    const char *to_uri = copy_place_uri(&c->to, c->plan.a, id);
    struct store_moved *m = arena_alloc(c->plan.a, sizeof *m);
    if (from_uri == NULL || to_uri == NULL || m == NULL)
        return arena_oom(c->plan.a, e);
    TRY(store_open(c->env, from_uri, false, &from, e));
    TRY(store_open(c->env, to_uri, true, &to, e));
    TRY(store_move(from, to, tell, &t, m, e));
    if (m->n_before)
        (void)printf("%.*s: %llu commits were there from an earlier call\n", SV_FMT(id),
                     (unsigned long long)m->n_before);
    tell_moved(id, m, clock_mono_us() - begun);
    return ERR_OK;
}

static err_code mark(struct command *c, sv id, bool done, struct err *e)
{
    const sv from = c->from.is_remote ? SV_NONE : sv_from(c->from.given);
    struct records_write w;
    TRY(store_half_write(c->plan.a, id, from, done ? sv_from(c->source.mark) : SV_NONE, &w, e));
    return records_write(c->to.records, &w, 1, e);
}

static err_code move_data(struct command *c, struct err *e)
{
    struct copy_plan *plan = &c->plan;
    for (size_t i = 0; i < plan->n; i++)
        if (!plan->stores[i].was_done && !plan->stores[i].kept)
            TRY(mark(c, plan->stores[i].id, false, e));
    /* a server that started before it could see them */
    TRY(copy_place_alone(&c->to, e));
    for (size_t i = 0; i < plan->n; i++) {
        const struct copy_store *s = &plan->stores[i];
        if (s->was_done)
            (void)printf("%.*s: was copied and compared by an earlier call\n", SV_FMT(s->id));
        if (s->was_done || !s->has_data)
            continue;
        err_code rc = move_one(c, s->id, e);
        if (rc != ERR_OK) {
            err_context(e, "data store %.*s", SV_FMT(s->id));
            return rc;
        }
        TRY(mark(c, s->id, true, e));
    }
    return ERR_OK;
}

/* ---- what stays behind ---- */

static void tell_folder(const struct command *c)
{
    static const struct {
        const char *name, *what;
    } files[] = {
        { "credentials", "the callers' keys" },
        { "smart-clients", "clients of the token endpoint" },
        { "token-keys", "keys that sign tokens" },
        { "tls", "the certificate of --tls self-signed" },
        { "objects", "objects of s3:// in the folder" },
        { "exports", "files of served exports" },
        { "events-dead.ndjson", "events that no endpoint took" },
    };
    char path[PATH_MAX];
    if (c->from.is_remote) {
        (void)puts("not copied: the --data folder of the servers on that database (callers' keys, "
                   "certificates, files of served exports), and the keys that sign tokens");
        return;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (snprintf(path, sizeof path, "%s/%s", c->from.given, files[i].name) < PATH_MAX &&
            access(path, F_OK) == 0)
            (void)printf("not copied: %s (%s)\n", path, files[i].what);
}

static void tell_left(const struct command *c, const struct copied_records *r)
{
    for (size_t i = 0; i < c->plan.n; i++)
        if (c->plan.stores[i].kept)
            (void)printf("not copied: %.*s, which is deleted and kept for restores\n",
                         SV_FMT(c->plan.stores[i].id));
    if (r->n_unknown)
        (void)printf("not copied: %llu records that this program does not know (%s..)\n",
                     (unsigned long long)r->n_unknown, r->unknown);
    tell_folder(c);
    (void)puts("not copied: the key of page tokens, so NextTokens and pages from before end; what "
               "exports leave to later ones, so the next one writes all of its files");
}

/* ---- the command ---- */

static err_code copy_marked(struct command *c, struct err *e)
{
    struct copied_records r;
    size_t n = 0;
    TRY(copy_look_from(&c->from, c->to.is_remote, c->env, c->ids, c->n_ids, &c->plan, e));
    TRY(copy_place_open(&c->to, true, e));
    TRY(copy_look_to(&c->to, c->env, &c->plan, e));
    c->has_begun = true;
    TRY(move_data(c, e));
    TRY(copy_records(&c->from, &c->to, &c->plan, &r, e));
    for (size_t i = 0; i < c->plan.n; i++)
        n += c->plan.stores[i].has_data;
    (void)printf("%zu data stores copied, with the records of %llu jobs, %llu client tokens and "
                 "%llu events\n",
                 n, (unsigned long long)r.n_jobs, (unsigned long long)r.n_tokens,
                 (unsigned long long)r.n_events);
    tell_left(c, &r);
    return ERR_OK;
}

/* The source is marked, then looked at: a server that starts later is refused. */
static err_code copy(struct command *c, struct err *e)
{
    struct err ignored;
    TRY(copy_place_open(&c->from, false, e));
    TRY(store_source_take(c->from.records, &c->source, e));
    c->plan.mark = c->source.mark;
    err_code rc = copy_place_alone(&c->from, e);
    if (rc == ERR_OK)
        rc = copy_marked(c, e);
    if (rc == ERR_OK)
        return store_source_end(&c->source, e);
    if (!c->has_begun)
        store_source_leave(&c->source);
    /* it may be served as before; what this call has compared is compared again */
    IGNORE(store_source_end(&c->source, &ignored));
    return rc;
}

/* Records come when all data are there. Then the way on is the shorter one. */
static err_code check_abandon(struct command *c, sv id, struct err *e)
{
    CLEANUP_BUF struct buf record = BUF_INIT(4u << 20);
    struct err why;
    const sv key = arena_fmt(c->plan.a, "datastore/%.*s", SV_FMT(id));
    if (key.ptr == NULL)
        return arena_oom(c->plan.a, e);
    err_code rc = records_get(c->to.records, key, &record, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    return ERR(e, ERR_CONFLICT,
               "all data of data store %.*s are there, and its records were being written: call "
               "the copy again",
               SV_FMT(sv_head(id, 64)));
}

/* Data first: as long as the mark is there it can be done again. */
static err_code abandon_one(struct command *c, struct store_registry *stores, sv id, struct err *e)
{
    struct records_write w;
    err_code rc = store_registry_remove(stores, id, e);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return rc;
    TRY(store_half_end(c->plan.a, id, &w, e));
    TRY(records_write(c->to.records, &w, 1, e));
    (void)printf("%.*s: removed\n", SV_FMT(id));
    return ERR_OK;
}

static err_code abandon_all(struct command *c, struct store_registry *stores, struct err *e)
{
    struct store_half *half = arena_calloc(c->plan.a, HALF_MOST, sizeof *half);
    size_t n;
    if (half == NULL)
        return arena_oom(c->plan.a, e);
    do {
        TRY(store_half_find(c->to.records, c->plan.a, half, HALF_MOST, &n, e));
        for (size_t i = 0; i < n; i++)
            TRY(check_abandon(c, half[i].id, e));
        for (size_t i = 0; i < n; i++)
            TRY(abandon_one(c, stores, half[i].id, e));
    } while (n == HALF_MOST);
    if (n == 0)
        (void)puts("nothing is half copied there");
    return ERR_OK;
}

static err_code abandon_from(struct command *c, struct err *e)
{
    bool was_there;
    TRY(copy_place_open(&c->from, false, e));
    TRY(store_source_free(c->from.records, &was_there, e));
    (void)puts(was_there ? "the source can be served again" : "no copy from there was cut off");
    return ERR_OK;
}

static err_code abandon_to(struct command *c, struct err *e)
{
    struct store_registry *stores;
    TRY(copy_place_open(&c->to, false, e));
    TRY(store_registry_new(c->env, c->to.stores, &stores, e));
    err_code rc = abandon_all(c, stores, e);
    store_registry_free(stores);
    return rc;
}

static err_code abandon(struct command *c, struct err *e)
{
    if (c->o.to)
        TRY(abandon_to(c, e));
    return c->o.from ? abandon_from(c, e) : ERR_OK;
}

/* --datastore may come several times, of which the table keeps the last. */
static err_code read_ids(struct command *c, int argc, char **argv, struct err *e)
{
    for (int i = 1; i < argc; i++) {
        const sv arg = sv_from(argv[i]), name = SV_LIT("--datastore");
        const char *id = sv_eq(arg, name) && i + 1 < argc         ? argv[++i]
                         : sv_starts(arg, SV_LIT("--datastore=")) ? argv[i] + name.len + 1
                                                                  : NULL;
        if (id == NULL)
            continue;
        if (!sv_is_hex(sv_from(id), 32))
            return ERR(e, ERR_INVALID, "--datastore takes an id of 32 hexadecimal digits");
        if (c->n_ids == IDS_MOST)
            return ERR(e, ERR_INVALID, "--datastore can be given %u times", IDS_MOST);
        c->ids[c->n_ids++] = id;
    }
    return ERR_OK;
}

static err_code read_all(struct command *c, int argc, char **argv, bool *help, struct err *e)
{
    size_t n;
    TRY(cli_options_read(table, N_OPTIONS, argc, argv, &c->o, NULL, 0, &n, help, e));
    if (*help)
        return ERR_OK;
    TRY(read_ids(c, argc, argv, e));
    if (c->o.abandon && c->n_ids)
        return ERR(e, ERR_INVALID, "--abandon is of all data stores, and not of a --datastore");
    if (c->o.from || c->o.to == NULL || !c->o.abandon)
        TRY(copy_place_read(&c->from, "--from", c->o.from, e));
    if (c->o.to || !c->o.abandon)
        TRY(copy_place_read(&c->to, "--to", c->o.to, e));
    if (c->o.from && c->o.to && strcmp(c->from.stores, c->to.stores) == 0)
        return ERR(e, ERR_INVALID, "--from and --to are the same place");
    return ERR_OK;
}

int cli_copy(int argc, char **argv)
{
    static struct command c;
    struct err e = { 0 };
    bool help = false;
    err_code rc = read_all(&c, argc, argv, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return 0;
    }
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake copy: %s\n", e.msg);
        return 2;
    }
    /* for what RocksDB makes */
    (void)umask(077);
    c.env = store_env_new(CACHE_BYTES, 2);
    c.plan.a = arena_new(PLAN_BYTES);
    rc = c.o.abandon ? abandon(&c, &e) : copy(&c, &e);
    copy_place_close(&c.to);
    copy_place_close(&c.from);
    arena_free(c.plan.a);
    store_env_free(c.env);
    if (rc != ERR_OK)
        tell_failed(&e);
    return rc != ERR_OK;
}
