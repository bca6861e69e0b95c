/* rewrap.c - the command `fhirlake rewrap`: the data keys of a data folder are wrapped anew, by the
 * first key of the key file.
 *
 * Key files alone are written, each of them whole, so a call that was cut off is called again. The
 * server may run meanwhile: it reads a key file when it opens a data store, and looks at it now and
 * then. */
#include "cli/rewrap.h"

#include "cli/keys.h"
#include "cli/options.h"
#include "store/copy.h"
#include "store/data_keys.h"
#include "store/elsewhere.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>

struct options {
    struct cli_keys keys;
};
#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    CLI_KEYS_OPTIONS(O(keys)),
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake rewrap DATA --encryption-key-file FILE\n\n"
        "Wrap the data keys of all encrypted data stores of a server's folder (its --data) "
        "by the\n"
        "first key of FILE. Older keys must stand behind it, until this has ended. No data "
        "is\n"
        "written anew, and a server may run meanwhile. What it has done, a call that is cut "
        "off\n"
        "has done.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 all data keys are wrapped by the first key, 1 some are not "
                "(each\n"
                "told), 2 wrong usage.\n\n"
                "Example:\n"
                "  fhirlake rewrap fhirlake-data --encryption-key-file keys\n",
                f);
}

static int fail(const char *subject, const struct err *e)
{
    (void)fprintf(stderr, "fhirlake rewrap: %s%s%s\n", subject, subject[0] ? ": " : "", e->msg);
    return 1;
}

/* All folders of data stores, and those of copies that are not done. */
static int keep(const struct dirent *entry)
{
    return entry->d_name[0] != '.' || sv_ends(sv_from(entry->d_name), SV_LIT(STORE_HALF_COPIED));
}

struct pass {
    struct key_keeper *keeper;
    bool first, changed;
};

static int rewrap_one(struct pass *p, const char *folder, const char *id)
{
    struct err e;
    bool changed;
    if (!data_keys_there(folder)) {
        if (p->first)
            (void)printf("%s: is not encrypted\n", id);
        return 0;
    }
    if (data_keys_rewrap(folder, p->keeper, &changed, &e) != ERR_OK)
        return fail(id, &e);
    if (p->first || changed)
        (void)printf("%s: %s\n", id, changed ? "wrapped anew" : "was wrapped by this key");
    p->changed |= changed;
    return 0;
}

/* The server writes the key file of a copy that is under way, so nobody else does; and it may have
 * taken the wrapped keys of the source before these were wrapped anew. */
static int half_copied(const char *data)
{
    struct err e;
    (void)ERR(
        &e, ERR_CONFLICT,
        "a restore is under way, or was cut off and goes on when the server is started: older "
        "keys are still needed; call this again when it has ended");
    return fail(data, &e);
}

static int rewrap_pass(struct pass *p, const char *data)
{
    char path[PATH_MAX];
    struct dirent **all;
    struct err e;
    int status = 0;
    if (store_elsewhere(data, &e) != ERR_OK)
        return fail("", &e);
    (void)snprintf(path, sizeof path, "%s/stores", data);
    int n = scandir(path, &all, keep, alphasort);
    if (n < 0) {
        (void)ERR(&e, ERR_NOT_FOUND, "it has no folder of data stores");
        return fail(data, &e);
    }
    bool half = false;
    for (int i = 0; i < n; i++) {
        if (all[i]->d_name[0] == '.')
            half = true;
        else if ((size_t)snprintf(path, sizeof path, "%s/stores/%s", data, all[i]->d_name) <
                 sizeof path)
            status |= rewrap_one(p, path, all[i]->d_name);
        free(all[i]);
    }
    free((void *)all);
    return half ? half_copied(data) : status;
}

/* Until a pass finds nothing to do: a data store may have been restored meanwhile, with what its
 * source's keys were. */
static int rewrap_all(const char *data, struct key_keeper *keeper)
{
    struct pass p = { .keeper = keeper, .first = true };
    int status;
    do {
        p.changed = false;
        status = rewrap_pass(&p, data);
        p.first = false;
    } while (status == 0 && p.changed);
    return status;
}

int cli_rewrap(int argc, char **argv)
{
    CLEANUP(cli_keys_close) struct cli_keyring *ring = NULL;
    struct options o = { 0 };
    struct err e;
    const char *data = NULL;
    size_t n;
    bool help;
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &o, &data, 1, &n, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return 0;
    }
    if (rc == ERR_OK && n == 0)
        rc = ERR(&e, ERR_INVALID, "say which folder: DATA; see fhirlake rewrap --help");
    if (rc == ERR_OK)
        rc = cli_keys_open(&o.keys, &ring, &e);
    if (rc == ERR_OK && cli_keys_keeper(ring) == NULL)
        rc = ERR(&e, ERR_INVALID, "say which keys: --encryption-key-file FILE");
    if (rc != ERR_OK) {
        (void)fail("", &e);
        return 2;
    }
    return rewrap_all(data, cli_keys_keeper(ring));
}
