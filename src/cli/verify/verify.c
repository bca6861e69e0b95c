/* verify.c - the command `fhirlake verify`: is an export what its manifest says, and is that what
 * the store held? The other verify_* rooms look; this one reads the options, calls them in order,
 * and gives the verdict. */
#include "cli/verify/verify.h"

#include "cli/options.h"
#include "cli/verify/verify_private.h"

#define O(member) offsetof(struct verify_options, member)
static const struct cli_option table[] = {
    { "objects", "DIR", "s3:// is this folder, as for fhirlake serve", O(objects) },
    { "s3-endpoint", "URL", "s3:// is at this endpoint", O(s3_endpoint) },
    { "s3-credentials", "FILE", "keys for it, AWS shared format [AWS_* variables]",
      O(s3_credentials) },
    { "s3-addressing", "auto|path|virtual", "how a bucket stands in URLs [auto]",
      O(s3_addressing) },
    { "against", "URL", "compare with a running store as of the export's commit:", O(against) },
    { "full", NULL, "with --against: every resource, not a sample", O(full) },
    { "sample", "N", "with --against: how many resources to compare [200]", O(sample) },
    { "credentials", "FILE", "callers' keys for --against [AWS_* variables, ~/.aws/credentials]",
      O(to.credentials) },
    { "profile", "NAME", "section of that file [default]", O(to.profile) },
    { "region", "NAME", "to sign for [AWS_REGION, else us-east-1]", O(to.region) },
    { "quiet", NULL, "tell differences only", O(quiet) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake verify s3://BUCKET/FOLDER | DIR [options]\n\n"
        "Check an export against its manifest.json: every file is there with its count, bytes and\n"
        "SHA-256, each line is a resource of the file's type, no resource is there twice or both\n"
        "exported and deleted, nothing stands beside what is named, and sums and the digests over\n"
        "all are right. With --against, also whether that is what the store held at the export's\n"
        "instant, whatever was written since. In a served export whose urls of Attachments were "
        "made\n"
        "absolute, the files have a digest of their own, and the store's urls are made absolute\n"
        "likewise before they are compared.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs(
        "\n--against takes http(s)://HOST:PORT or http(s)://HOST:PORT/datastore/ID/r4. The "
        "authority\n"
        "of https:// is in the file that AWS_CA_BUNDLE names in the environment.\n\n"
        "Exit status: 0 no difference, 1 differences (each told), 2 wrong usage,\n"
        "3 something cannot be read.\n\n"
        "Examples:\n"
        "  fhirlake verify export/ID-FHIR_EXPORT-JOB\n"
        "  fhirlake verify s3://output/ID-FHIR_EXPORT-JOB --objects fhirlake-data/objects \\\n"
        "      --against http://127.0.0.1:8080 --credentials fhirlake-data/credentials\n",
        f);
}

static err_code run(struct verify *verify, const char *target, struct err *e)
{
    uint64_t n = 200;
    if (verify->o.sample && (!sv_to_u64(sv_from(verify->o.sample), &n) || n > 100000))
        return ERR(e, ERR_INVALID, "--sample takes a number from 0 to 100000");
    verify->max_samples = verify->o.against && !verify->o.full ? (size_t)n : 0;
    verify->samples = arena_calloc(verify->a, verify->max_samples + 1, sizeof *verify->samples);
    if (verify->samples == NULL)
        return arena_oom(verify->a, e);
    TRY(place_open(&verify->o, target, &verify->place, e));
    TRY(verify_manifest_read(verify, e));
    TRY(verify_manifest_files(verify, e));
    TRY(verify_files(verify, e));
    return verify->o.against ? verify_against(verify, e) : ERR_OK;
}

static int verdict(const struct verify *verify)
{
    if (verify->differences > VERIFY_TOLD_MAX)
        (void)printf("differs: and %llu more\n",
                     (unsigned long long)(verify->differences - VERIFY_TOLD_MAX));
    (void)printf("%s: %zu files, %llu resources, %llu bytes as of %.*s%s; %llu difference%s\n",
                 verify->differences ? "NOT VERIFIED" : "verified", verify->n_files,
                 (unsigned long long)verify->resources, (unsigned long long)verify->bytes,
                 SV_FMT(verify->instant), verify->o.against ? ", compared with the store" : "",
                 (unsigned long long)verify->differences, verify->differences == 1 ? "" : "s");
    return verify->differences ? 1 : 0;
}

int cli_verify(int argc, char **argv)
{
    struct verify verify = { .deleted = BUF_INIT((size_t)4 << 30) };
    struct err e = { 0 };
    const char *target = NULL;
    size_t n;
    bool help;
    err_code rc =
        cli_options_read(table, N_OPTIONS, argc, argv, &verify.o, &target, 1, &n, &help, &e);
    if (rc == ERR_OK && !help && n == 0)
        rc = ERR(&e, ERR_INVALID,
                 "say what to verify: s3://BUCKET/FOLDER or DIR; see fhirlake "
                 "verify --help");
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake verify: %s\n", e.msg);
        return 2;
    }
    if (help) {
        usage(stdout);
        return 0;
    }
    verify.a = arena_new((size_t)4 << 30);
    rc = run(&verify, target, &e);
    int status = rc == ERR_OK ? verdict(&verify) : 3;
    if (rc != ERR_OK)
        (void)fprintf(stderr, "fhirlake verify: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
    verify_content_end(&verify);
    place_free(verify.place);
    buf_done(&verify.deleted);
    arena_free(verify.a);
    return status;
}
