/* main.c - the program: fhirlake COMMAND. Each command is a room of its own. */
#include "cli/audit.h"
#include "cli/backup/backup.h"
#include "cli/check.h"
#include "cli/clients/clients.h"
#include "cli/convert.h"
#include "cli/copy/copy.h"
#include "cli/export.h"
#include "cli/generate.h"
#include "cli/health.h"
#include "cli/nodes.h"
#include "cli/policy.h"
#include "cli/rewrap.h"
#include "cli/verify/verify.h"
#include "cli/view/view.h"
#include "server/serve.h"

#include "base/sv.h"

#include <string.h>

static int help(FILE *f)
{
    (void)fputs("fhirlake " FHIRLAKE_VERSION
                " - a FHIR R4 data store that speaks Amazon HealthLake's API\n\n"
                "Usage: fhirlake COMMAND [options]\n\n"
                "  serve      serve the API and run export and import jobs\n"
                "  export     start an export job, follow it, show what it wrote\n"
                "  generate   write synthetic patients as NDJSON, one file per resource type\n"
                "  verify     check an export against its manifest, and against a running store\n"
                "  view       make a table of an export, by a ViewDefinition of SQL on FHIR\n"
                "  check      check the files of data stores, while no server runs\n"
                "  backup     copy a data folder to another disk, also while a server runs\n"
                "  restore    make a data folder out of a backup\n"
                "  rewrap     wrap the keys of encrypted data stores by a new key\n"
                "  convert    bring a data folder of an older fhirlake to this one's layout\n"
                "  copy       copy data stores from a folder to a database, or back\n"
                "  nodes      show the servers of a database, and what each has in hand\n"
                "  health     ask a server whether it is well\n"
                "  policy     say whether a policy lets a caller do something, and why\n"
                "  client     register clients that get access tokens of a server itself\n"
                "  audit      check an audit log, or show its records\n"
                "  version    print the version\n"
                "  help       this text; fhirlake help COMMAND says more\n\n"
                "Start here:\n"
                "  fhirlake serve\n"
                "  AWS_SHARED_CREDENTIALS_FILE=fhirlake-data/credentials aws healthlake "
                "list-fhir-datastores \\\n"
                "      --endpoint-url http://127.0.0.1:8080 --region us-east-1\n",
                f);
    return f == stdout ? 0 : 2;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "serve", serve_main },    { "export", cli_export },  { "generate", cli_generate },
    { "verify", cli_verify },   { "check", cli_check },    { "backup", cli_backup },
    { "restore", cli_restore }, { "rewrap", cli_rewrap },  { "convert", cli_convert },
    { "policy", cli_policy },   { "client", cli_clients }, { "audit", cli_audit },
    { "view", cli_view },       { "nodes", cli_nodes },    { "copy", cli_copy },
    { "health", cli_health },
};

static int unknown(const char *command)
{
    (void)fprintf(stderr, "fhirlake: \"%s\" is not a command\n\n", command);
    return help(stderr);
}

/* Of one command, as fhirlake COMMAND --help. */
static int help_of(char *command)
{
    char option[] = "--help", *argv[] = { command, option, NULL };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(command, commands[i].name) == 0)
            return commands[i].run(2, argv);
    return unknown(command);
}

int main(int argc, char **argv)
{
    sv command = argc > 1 ? sv_from(argv[1]) : SV_NONE;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (sv_eq_cstr(command, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("version")) || sv_eq(command, SV_LIT("--version"))) {
        (void)puts("fhirlake " FHIRLAKE_VERSION);
        return 0;
    }
    if (sv_eq(command, SV_LIT("help")) && argc > 2)
        return help_of(argv[2]);
    if (sv_eq(command, SV_LIT("help")) || sv_eq(command, SV_LIT("--help")) ||
        sv_eq(command, SV_LIT("-h")))
        return help(stdout);
    return command.len ? unknown(argv[1]) : help(stderr);
}
