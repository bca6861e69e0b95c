/* audit.c - the command `fhirlake audit verify DIR`: is an audit log as it was written?
 * audit_show.c has `fhirlake audit show`. */
#include "cli/audit.h"

#include "audit/audit.h"
#include "cli/options.h"
#include "codec/instant.h"

enum { OK_ALL = 0, WRONG = 1, USAGE = 2, CANNOT = 3 };

struct options {
    const char *first_key;
};
#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "first-key", "FILE", "the key of the first segment [DIR/first-key]", O(first_key) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs("Usage: fhirlake audit verify DIR [options]\n"
                "       fhirlake audit show DIR [options], see fhirlake audit show --help\n\n"
                "Check an audit log: every line follows from the one before, every file from the "
                "one\nbefore, and none is missing. Nothing is written. A server may be writing "
                "there.\n\n",
                f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 all is well, 1 something is wrong (the first fault is told),\n"
                "2 wrong usage, 3 it cannot be checked.\n\n"
                "Example:\n"
                "  fhirlake audit verify /var/log/fhirlake-audit --first-key ~/first-key\n",
                f);
}

static void print_time(const char *before, int64_t ms)
{
    char text[INSTANT_LEN];
    instant_format(ms, text);
    (void)printf("%s%.*s", before, (int)INSTANT_LEN, text);
}

static void tell(const char *dir, const struct audit_verdict *v)
{
    (void)printf("%s: %llu records in %llu lines of %llu segments", dir,
                 (unsigned long long)v->records, (unsigned long long)v->lines,
                 (unsigned long long)v->segments);
    if (v->first_ms) {
        print_time(", from ", v->first_ms);
        print_time(" to ", v->last_ms);
    }
    (void)puts("");
    if (v->retired_to)
        (void)printf("note: segments 1 to %llu were removed because they were old\n",
                     (unsigned long long)v->retired_to);
    if (v->torn)
        (void)printf("note: %llu times a process ended within a line; what it left is not a "
                     "record\n",
                     (unsigned long long)v->torn);
    if (v->gaps)
        (void)printf("note: %llu gaps, in which up to %llu records could not be written\n",
                     (unsigned long long)v->gaps, (unsigned long long)v->lost);
    if (v->open)
        (void)printf("note: the last segment has no end: a server writes it, or was killed "
                     "(%llu bytes of an unfinished line)\n",
                     (unsigned long long)v->open_bytes);
    if (v->no_key)
        (void)puts("note: the file `key` is not there, so whether the end is missing is not known");
    if (!v->wrong)
        (void)puts("ok");
    else if (v->at_line)
        (void)printf("WRONG: segment %llu, line %llu: %s\n", (unsigned long long)v->at_segment,
                     (unsigned long long)v->at_line, v->how);
    else if (v->at_segment)
        (void)printf("WRONG: segment %llu: %s\n", (unsigned long long)v->at_segment, v->how);
    else
        (void)printf("WRONG: %s\n", v->how);
}

int cli_audit(int argc, char **argv)
{
    struct options o = { 0 };
    const char *args[2];
    size_t n;
    bool help;
    struct err e = { 0 };
    if (argc > 1 && strcmp(argv[1], "show") == 0)
        return cli_audit_show(argc - 1, argv + 1);
    if (cli_options_read(table, N_OPTIONS, argc, argv, &o, args, 2, &n, &help, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake audit: %s\n", e.msg);
        return USAGE;
    }
    if (help) {
        usage(stdout);
        return OK_ALL;
    }
    if (n != 2 || strcmp(args[0], "verify") != 0) {
        usage(stderr);
        return USAGE;
    }
    struct audit_verdict v;
    if (audit_verify(args[1], o.first_key, &v, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake audit: %s: %s\n", args[1], e.msg);
        return CANNOT;
    }
    tell(args[1], &v);
    return v.wrong ? WRONG : OK_ALL;
}
