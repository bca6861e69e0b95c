/* restore.c - the command `fhirlake restore`: a backup becomes a new data folder. */
#include "cli/backup/backup.h"

#include "cli/backup/options.h"

#include <sys/stat.h>

struct options {
    const char *from, *data, *backup;
    struct cli_backups of;
};
#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "from", "PLACE", "where backups stand: a folder, or s3://bucket/prefix", O(from) },
    { "data", "DIR", "the new data folder: nothing is there yet, or an empty folder", O(data) },
    { "backup", "NAME", "which backup: a name in PLACE/backups (default: the newest)", O(backup) },
    CLI_BACKUPS_OPTIONS(O(of)),
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs("Usage: fhirlake restore --from PLACE --data NEW [--backup NAME]\n\n"
                "Make a new data folder out of a backup. Each file is compared with the manifest, "
                "and so\n"
                "is what each data store holds, type by type. Until all is as it must be, there is "
                "nothing\n"
                "at NEW. Jobs that had not ended when the backup was taken end FAILED.\n\n",
                f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 all is well, 1 it failed, 2 wrong usage.\n\n"
                "Example:\n"
                "  fhirlake restore --from /mnt/backup --data fhirlake-data && fhirlake check "
                "fhirlake-data\n",
                f);
}

int cli_restore(int argc, char **argv)
{
    CLEANUP(cli_keys_close) struct cli_keyring *ring = NULL;
    struct options o = { 0 };
    struct backup_done done = { 0 };
    struct err e = { 0 };
    bool help = false;
    size_t n;
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &o, NULL, 0, &n, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return 0;
    }
    if (rc == ERR_OK && (!o.from || !o.data || o.from[0] == 0 || o.data[0] == 0))
        rc = ERR(&e, ERR_INVALID,
                 "--from PLACE and --data NEW are needed; see fhirlake restore --help");
    struct backup_place *place = NULL;
    if (rc == ERR_OK)
        rc = cli_place_open(o.from, &o.of.place, &place, &e);
    if (rc == ERR_OK)
        rc = cli_keys_open(&o.of.keys, &ring, &e);
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake restore: %s\n", e.msg);
        return 2;
    }
    (void)umask(077);
    struct store_env *env = store_env_new(BACKUPS_CACHE_BYTES, 1);
    store_env_keep(env, cli_keys_keeper(ring));
    rc = backup_restore(env, place, o.backup, o.data, &done, &e);
    store_env_free(env);
    backup_place_free(place);
    if (rc == ERR_NOT_FOUND)
        err_context(&e, "%.300s", o.from);
    if (rc == ERR_EXISTS)
        err_context(&e, "%.300s", o.data);
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake restore: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
        return 1;
    }
    (void)printf("%s: %llu data stores, %llu resources, %llu versions, as the manifest says; "
                 "%llu files of %.1f MB\n",
                 done.name, (unsigned long long)done.n_stores, (unsigned long long)done.n_resources,
                 (unsigned long long)done.n_versions, (unsigned long long)done.n_files,
                 (double)done.bytes / 1e6);
    return 0;
}
