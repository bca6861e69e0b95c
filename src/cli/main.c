/* main.c - the program: fhirlake COMMAND. Each command is a room of its own. */
#include "cli/audit.h"
#include "cli/backup/backup.h"
#include "cli/check.h"
#include "cli/clients/clients.h"
#include "cli/convert.h"
#include "cli/export.h"
#include "cli/generate.h"
#include "cli/policy.h"
#include "cli/rewrap.h"
#include "cli/verify/verify.h"
#include "server/serve.h"

#include "base/sv.h"

static int help(FILE *f)
{
    (void)fputs("fhirlake " FHIRLAKE_VERSION
                " - a FHIR R4 data store that speaks Amazon HealthLake's API\n\n"
                "Usage: fhirlake COMMAND [options]\n\n"
                "  serve      serve the API and run export and import jobs\n"
                "  export     start an export job, follow it, show what it wrote\n"
                "  generate   write synthetic patients as NDJSON, one file per resource type\n"
                "  verify     check an export against its manifest, and against a running store\n"
                "  check      check the files of data stores, while no server runs\n"
                "  backup     copy a data folder to another disk, also while a server runs\n"
                "  restore    make a data folder out of a backup\n"
                "  rewrap     wrap the keys of encrypted data stores by a new key\n"
                "  convert    bring a data folder of an older fhirlake to this one's layout\n"
                "  policy     say whether a policy lets a caller do something, and why\n"
                "  client     register clients that get access tokens of a server itself\n"
                "  audit      check an audit log, or show its records\n"
                "  version    print the version\n"
                "  help       this text; fhirlake COMMAND --help says more\n\n"
                "Start here:\n"
                "  fhirlake serve\n"
                "  AWS_SHARED_CREDENTIALS_FILE=fhirlake-data/credentials aws healthlake "
                "list-fhir-datastores \\\n"
                "      --endpoint-url http://127.0.0.1:8080 --region us-east-1\n",
                f);
    return f == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    sv command = argc > 1 ? sv_from(argv[1]) : SV_NONE;
    if (sv_eq(command, SV_LIT("serve")))
        return serve_main(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("generate")))
        return cli_generate(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("export")))
        return cli_export(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("verify")))
        return cli_verify(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("check")))
        return cli_check(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("backup")))
        return cli_backup(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("restore")))
        return cli_restore(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("rewrap")))
        return cli_rewrap(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("convert")))
        return cli_convert(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("policy")))
        return cli_policy(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("client")))
        return cli_clients(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("audit")))
        return cli_audit(argc - 1, argv + 1);
    if (sv_eq(command, SV_LIT("version")) || sv_eq(command, SV_LIT("--version"))) {
        (void)puts("fhirlake " FHIRLAKE_VERSION);
        return 0;
    }
    if (sv_eq(command, SV_LIT("help")) || sv_eq(command, SV_LIT("--help")) ||
        sv_eq(command, SV_LIT("-h")))
        return help(stdout);
    if (command.len)
        (void)fprintf(stderr, "fhirlake: \"%s\" is not a command\n\n", argv[1]);
    return help(stderr);
}
