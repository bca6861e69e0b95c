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

static bool is_help(sv word)
{
    return sv_eq(word, SV_LIT("help")) || sv_eq(word, SV_LIT("--help")) ||
           sv_eq(word, SV_LIT("-h"));
}

static bool is_version(sv word)
{
    return sv_eq(word, SV_LIT("version")) || sv_eq(word, SV_LIT("--version"));
}

/* help COMMAND [WORD] is what COMMAND [WORD] --help says. These two have nothing more to say than
 * the list of commands: help and version. */
static int help_of(int argc, char **argv)
{
    static char option[] = "--help";
    if (argc == 1 || is_help(sv_from(argv[1])) || is_version(sv_from(argv[1])))
        return help(stdout);
    memmove(argv, argv + 1, (size_t)(argc - 1) * sizeof *argv);
    argv[argc - 1] = option;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[0], commands[i].name) == 0)
            return commands[i].run(argc, argv);
    return unknown(argv[0]);
}

int main(int argc, char **argv)
{
    sv command = argc > 1 ? sv_from(argv[1]) : SV_NONE;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (sv_eq_cstr(command, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    if (is_help(command))
        return help_of(argc - 1, argv + 1);
    if (is_version(command) && (argc == 2 || !is_help(sv_from(argv[2])))) {
        (void)puts("fhirlake " FHIRLAKE_VERSION);
        return 0;
    }
    return is_version(command) ? help(stdout) : command.len ? unknown(argv[1]) : help(stderr);
}
