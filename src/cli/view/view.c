/* view.c - the command `fhirlake view`: a ViewDefinition of SQL on FHIR over the files of an
 * export, as CSV, NDJSON or Parquet. Rows go to standard output, or to a file that is there when
 * all of them are in it. What is told beside them goes to standard error. */
#include "cli/view/view.h"

#include "base/file.h"
#include "cli/options.h"
#include "cli/view/view_private.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OK_ALL = 0, FAILED = 1, USAGE = 2 };

struct options {
    const char *view, *from, *datastore, *format, *to, *threads;
    struct verify_options s3;
    bool quiet;
};

#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "view", "FILE", "the ViewDefinition, as JSON", O(view) },
    { "from", "PLACE", "the export: a folder, or s3://BUCKET/FOLDER", O(from) },
    { "datastore", "ID", "in place of it: a data store of a server, as it is now", O(datastore) },
    { "format", "csv|ndjson|parquet", "of the table [ndjson]", O(format) },
    { "to", "FILE", "write there, all or nothing [standard output]", O(to) },
    { "threads", "N", "1 to 64 [processors]", O(threads) },
    { "objects", "DIR", "s3:// is this folder, as for fhirlake serve", O(s3.objects) },
    { "s3-endpoint", "URL", "s3:// is at this endpoint", O(s3.s3_endpoint) },
    { "s3-credentials", "FILE", "keys for it, AWS shared format [AWS_* variables]",
      O(s3.s3_credentials) },
    { "s3-addressing", "auto|path|virtual", "how a bucket stands in URLs [auto]",
      O(s3.s3_addressing) },
    { "endpoint", "URL", "of the server that has it [" CLIENT_DEFAULT_ENDPOINT "]",
      O(s3.to.endpoint) },
    { "credentials", "FILE", "keys for it, AWS shared format [AWS_*, else ~/.aws/credentials]",
      O(s3.to.credentials) },
    { "profile", "NAME", "section of that file [default]", O(s3.to.profile) },
    { "region", "NAME", "to sign for [AWS_REGION, else us-east-1]", O(s3.to.region) },
    { "quiet", NULL, "nothing but failures on standard error", O(quiet) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake view --view FILE --from PLACE [options]\n"
        "       fhirlake view --view FILE --datastore ID [options]\n\n"
        "Make a table of the resources of an export, by a ViewDefinition of SQL on FHIR 2. Where\n"
        "the folder has a manifest.json, the files that it names are read, and one that is "
        "missing\n"
        "is a failure; else every file below it whose name ends in .ndjson, .ndjson.gz or\n"
        ".ndjson.zst. Resources of other types are passed over. Rows come in the order of the\n"
        "files' names and lines, however many threads there are. Of a data store the server is\n"
        "asked for an export of the view's type, which is read as it comes and deleted then.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs(
        "\nExit status: 0 all rows are written, 1 something cannot be read or a resource "
        "does not fit\n"
        "the view (told with file and line), 2 wrong usage, or no ViewDefinition.\n\n"
        "Example:\n"
        "  fhirlake view --view patients.json --from export/ID-FHIR_EXPORT-JOB --format csv "
        "--to patients.csv\n"
        "  fhirlake view --view patients.json --datastore ID --format parquet --to "
        "patients.parquet\n",
        f);
}

static int tell(int status, const struct err *e)
{
    (void)fprintf(stderr, "fhirlake view: %s%s%s\n", e->ctx, e->ctx[0] ? ": " : "", e->msg);
    return status;
}

/* ---- options ---- */

static err_code read_format(const struct options *o, view_format *out, struct err *e)
{
    *out = VIEW_NDJSON;
    if (o->format && !view_format_find(sv_from(o->format), out))
        return ERR(e, ERR_INVALID, "--format takes csv, ndjson or parquet");
    return ERR_OK;
}

static err_code read_threads(const struct options *o, unsigned *out, struct err *e)
{
    uint64_t n;
    if (o->threads == NULL) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        *out = cpus < 1 ? 1 : cpus > 64 ? 64 : (unsigned)cpus;
        return ERR_OK;
    }
    if (!sv_to_u64(sv_from(o->threads), &n) || n < 1 || n > 64)
        return ERR(e, ERR_INVALID, "--threads takes a number from 1 to 64");
    *out = (unsigned)n;
    return ERR_OK;
}

static err_code read_view(const struct options *o, struct arena *a, struct work_form *out,
                          struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(VIEW_BYTES_MAX);
    err_code rc = file_read(o->view, &text, e);
    if (rc == ERR_OK)
        rc = view_compile(buf_sv(&text), a, &out->v, e);
    if (rc == ERR_OK && out->format == VIEW_PARQUET)
        rc = view_parquet_columns(out->v, a, &out->columns, e);
    if (rc != ERR_OK)
        err_context(e, "%s", o->view);
    return rc;
}

/* ---- the file ---- */

/* A device or a pipe is written to, as there is nothing to put in its place. */
static err_code write_into(const char *to, struct input *input, const struct work_form *form,
                           unsigned threads, struct work_told *told, struct err *e)
{
    int fd = open(to, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return file_os_err(e, "--to cannot be written to");
    err_code rc = work_run(input, form, threads, fd, told, e);
    if (close(fd) != 0 && rc == ERR_OK)
        rc = file_os_err(e, "--to cannot be written to");
    return rc;
}

/* What is made and has not its name yet; "" or not. A run that is ended by a signal leaves none. */
static char unnamed[PATH_MAX];

static void on_end(int sig)
{
    if (unnamed[0])
        (void)unlink(unnamed);
    (void)raise(sig); /* SA_RESETHAND: it ends the process now */
}

static void watch_ends(void)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
    const struct sigaction does = { .sa_handler = on_end, .sa_flags = (int)SA_RESETHAND };
    struct sigaction was;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (sigaction(ends[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN)
            (void)sigaction(ends[i], &does, NULL);
}

/* A new file takes the place of the old one when it is whole; a link stays, and leads to it. */
static err_code write_to(const struct options *o, struct input *input, const struct work_form *form,
                         unsigned threads, struct work_told *told, struct err *e)
{
    char part[PATH_MAX], real[PATH_MAX];
    struct stat st;
    if (o->to == NULL)
        return work_run(input, form, threads, STDOUT_FILENO, told, e);
    const bool there = stat(o->to, &st) == 0;
    if (!there && lstat(o->to, &st) == 0)
        return ERR(e, ERR_INVALID, "--to is a link that leads nowhere");
    if (there && S_ISDIR(st.st_mode))
        return ERR(e, ERR_INVALID, "--to is a folder: name a file in it");
    if (there && !S_ISREG(st.st_mode))
        return write_into(o->to, input, form, threads, told, e);
    const char *to = there ? realpath(o->to, real) : o->to;
    if (to == NULL)
        return file_os_err(e, "--to cannot be found");
    if ((size_t)snprintf(part, sizeof part, "%s.part-XXXXXX", to) >= sizeof part)
        return ERR(e, ERR_INVALID, "the name of the file is too long");
    /* for its owner alone: what is in it is of patients; a name of its own: two may run */
    sigset_t all, was;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &was);
    int fd = mkostemp(part, O_CLOEXEC);
    if (fd >= 0)
        memcpy(unnamed, part, strlen(part) + 1);
    watch_ends();
    (void)pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (fd < 0) {
        const err_code made = file_os_err(e, "the file cannot be made");
        err_context(e, "--to %.200s", o->to);
        return made;
    }
    err_code rc = work_run(input, form, threads, fd, told, e);
    if (rc == ERR_OK && fsync(fd) != 0)
        rc = file_os_err(e, "the file cannot be written");
    if (close(fd) != 0 && rc == ERR_OK)
        rc = file_os_err(e, "the file cannot be written");
    if (rc == ERR_OK && rename(part, to) != 0)
        rc = file_os_err(e, "the file cannot have its name");
    if (rc != ERR_OK)
        (void)unlink(part);
    unnamed[0] = 0;
    return rc;
}

static err_code run(const struct options *o, const struct work_form *form, unsigned threads,
                    struct err *e)
{
    CLEANUP(served_close) struct served *served = NULL;
    CLEANUP(input_close) struct input *input = NULL;
    struct work_told told = { 0, 0 };
    fhir_type type = view_type(form->v);
    if (o->datastore) {
        TRY(served_open(&o->s3.to, o->datastore, type, &served, e));
        input = input_of_served(served);
    } else {
        TRY(input_open(&o->s3, o->from, type, &input, e));
    }
    if (!input_has_manifest(input) && input_files(input) == 0)
        return ERR(e, ERR_NOT_FOUND, "there is no manifest.json and no .ndjson file in %s",
                   o->from);
    if (!input_has_manifest(input) && !o->quiet)
        (void)fprintf(stderr,
                      "fhirlake view: there is no manifest.json, so all of %zu files are read\n",
                      input_files(input));
    TRY(write_to(o, input, form, threads, &told, e));
    if (o->quiet)
        return ERR_OK;
    (void)fprintf(stderr, "fhirlake view: %llu resources of type %s, %llu rows",
                  (unsigned long long)told.resources, fhir_type_name(type),
                  (unsigned long long)told.rows);
    if (served)
        (void)fprintf(stderr, ", as of %.*s", SV_FMT(served_instant(served)));
    (void)fprintf(stderr, "\n");
    return ERR_OK;
}

/* What must be given, and what excludes each other. */
static err_code check(const struct options *o, struct err *e)
{
    if (o->view == NULL || (o->from == NULL && o->datastore == NULL))
        return ERR(e, ERR_INVALID,
                   "--view FILE and --from PLACE or --datastore ID are asked for; see fhirlake "
                   "view --help");
    if (o->from && o->datastore)
        return ERR(e, ERR_INVALID, "--from and --datastore exclude each other");
    if (o->datastore && (o->s3.objects || o->s3.s3_endpoint || o->s3.s3_credentials))
        return ERR(e, ERR_INVALID, "--objects and --s3-... are of --from alone");
    if (o->from && (o->s3.to.endpoint || o->s3.to.credentials || o->s3.to.profile))
        return ERR(e, ERR_INVALID, "--endpoint, --credentials and --profile are of --datastore");
    return o->datastore ? client_check_datastore(o->datastore, e) : ERR_OK;
}

int cli_view(int argc, char **argv)
{
    struct options o = { 0 };
    struct err e = { 0 };
    struct work_form form = { .format = VIEW_NDJSON };
    unsigned threads = 1;
    size_t n;
    bool help;
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &o, NULL, 0, &n, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return OK_ALL;
    }
    if (rc == ERR_OK)
        rc = check(&o, &e);
    if (rc == ERR_OK)
        rc = read_format(&o, &form.format, &e);
    if (rc == ERR_OK)
        rc = read_threads(&o, &threads, &e);
    CLEANUP(arena_free) struct arena *a = arena_new(VIEW_MEMORY);
    if (rc == ERR_OK)
        rc = read_view(&o, a, &form, &e);
    if (rc != ERR_OK)
        return tell(USAGE, &e);
    rc = run(&o, &form, threads, &e);
    return rc == ERR_OK ? OK_ALL : tell(FAILED, &e);
}
