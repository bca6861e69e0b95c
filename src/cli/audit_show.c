/* audit_show.c - the command `fhirlake audit show DIR`: what an audit log says.
 *
 * Only lines that are as they were written are shown: the log is checked from its first key on, and
 * the first line that does not follow ends the list. Texts of callers (names, agents) may hold
 * anything, so what could command a terminal is shown as "?". */
#include "cli/audit.h"

#include "audit/audit.h"
#include "base/glob.h"
#include "cli/options.h"
#include "codec/instant.h"
#include "codec/json.h"
#include "fhir/types.h"

enum { OK_ALL = 0, WRONG = 1, USAGE = 2, CANNOT = 3 };

#define LINE_ARENA ((size_t)16 << 20)
#define DEPTH      16u

struct options {
    const char *first_key, *since, *until, *caller, *operation, *resource, *datastore;
    bool denied, json;
};
#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "since", "TIME", "from this time on: 2026-11-29, or 2026-11-29T10:00:00Z", O(since) },
    { "until", "TIME", "before this time", O(until) },
    { "caller", "NAME", "of this user, key, ARN or principal; * and ? match", O(caller) },
    { "operation", "NAME", "ReadResource; * and ? match", O(operation) },
    { "resource", "TYPE[/ID]", "about these resources", O(resource) },
    { "datastore", "ID", "about this data store", O(datastore) },
    { "denied", NULL, "refused because of who asked (401, 403)", O(denied) },
    { "json", NULL, "whole lines, as they are in the log", O(json) },
    { "first-key", "FILE", "the key of the first segment [DIR/first-key]", O(first_key) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

struct showing {
    const struct options *o;
    int64_t since_ms, until_ms;
    struct arena *a;
    uint64_t n_shown, n_unreadable;
};

static void usage(FILE *f)
{
    (void)fputs("Usage: fhirlake audit show DIR [options]\n\n"
                "Show the records of an audit log that are as they were written, one a line. All "
                "conditions\nthat are given must hold. Nothing is written. A server may be writing "
                "there.\n\n",
                f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs(
        "\nExit status: 0 all is well, 1 something is wrong (what is behind it is not shown),\n"
        "2 wrong usage, 3 it cannot be checked.\n\n"
        "Example:\n"
        "  fhirlake audit show /var/log/fhirlake-audit --resource Patient/p1 --since 2026-11-01\n",
        f);
}

static bool time_of(const char *text, int64_t *out_ms)
{
    char day[40];
    if (instant_parse(sv_from(text), out_ms))
        return true;
    int n = snprintf(day, sizeof day, "%sT00:00:00Z", text);
    return n > 0 && n < (int)sizeof day && instant_parse(sv_from(day), out_ms);
}

/* ---- which ---- */

static sv text_of(yyjson_val *object, const char *name)
{
    return json_string(json_get(object, name));
}

static sv number_of(yyjson_val *object, const char *name)
{
    return json_number(json_get(object, name));
}

static bool is_caller(yyjson_val *identity, const char *pattern)
{
    static const char *const names[] = { "userName", "accessKeyId", "arn", "principalId" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        sv said = text_of(identity, names[i]);
        if (said.len && glob_matches(sv_from(pattern), said, false))
            return true;
    }
    return false;
}

static bool is_resource(yyjson_val *parameters, const char *want)
{
    sv rest = sv_from(want), type;
    return sv_cut(&rest, '/', &type) && sv_eq(type, text_of(parameters, "resourceType")) &&
           (rest.ptr == NULL || sv_eq(rest, text_of(parameters, "resourceId")));
}

static sv datastore_of(yyjson_val *record)
{
    sv id = text_of(json_get(record, "requestParameters"), "datastoreId");
    return id.len ? id : text_of(json_get(record, "serviceEventDetails"), "datastoreId");
}

static bool is_meant(const struct showing *s, yyjson_val *record)
{
    const struct options *o = s->o;
    int64_t ms;
    if ((o->since || o->until) && (!instant_parse(text_of(record, "eventTime"), &ms) ||
                                   ms < s->since_ms || ms >= s->until_ms))
        return false;
    if (o->caller && !is_caller(json_get(record, "userIdentity"), o->caller))
        return false;
    if (o->operation && !glob_matches(sv_from(o->operation), text_of(record, "eventName"), true))
        return false;
    if (o->resource && !is_resource(json_get(record, "requestParameters"), o->resource))
        return false;
    if (o->datastore && !sv_eq_cstr(datastore_of(record), o->datastore))
        return false;
    sv status = number_of(json_get(record, "additionalEventData"), "httpStatus");
    return !o->denied || sv_eq_cstr(status, "401") || sv_eq_cstr(status, "403");
}

/* ---- a line ---- */

/* Bytes of UTF-8 but for control characters, those of C1 too. */
static void print_text(sv text)
{
    for (size_t i = 0; i < text.len; i++) {
        const unsigned char c = (unsigned char)text.ptr[i];
        const unsigned char next = i + 1 < text.len ? (unsigned char)text.ptr[i + 1] : 0;
        const bool c1 = c == 0xC2 && next >= 0x80 && next < 0xA0;
        (void)putchar(c < ' ' || c == 0x7F || c1 ? '?' : c);
        i += c1;
    }
}

static void print_member(const char *before, sv text)
{
    if (text.len == 0)
        return;
    (void)fputs(before, stdout);
    print_text(text);
}

static sv caller_of(yyjson_val *identity)
{
    static const char *const names[] = { "userName", "arn", "accessKeyId", "invokedBy", "type" };
    sv said = SV_NONE;
    for (size_t i = 0; said.len == 0 && i < sizeof names / sizeof names[0]; i++)
        said = text_of(identity, names[i]);
    return said;
}

static void print_record(yyjson_val *record)
{
    yyjson_val *parameters = json_get(record, "requestParameters");
    yyjson_val *job = json_get(record, "serviceEventDetails");
    sv status = number_of(json_get(record, "additionalEventData"), "httpStatus");
    print_text(text_of(record, "eventTime"));
    print_member(" ", status.len ? status : SV_LIT("-"));
    print_member(" ", text_of(record, "eventName"));
    print_member(" ", text_of(parameters, "resourceType"));
    print_member("/", text_of(parameters, "resourceId"));
    print_member("/_history/", text_of(parameters, "versionId"));
    print_member(" caller=", caller_of(json_get(record, "userIdentity")));
    print_member(" from=", text_of(record, "sourceIPAddress"));
    print_member(" datastore=", datastore_of(record));
    print_member(" job=", text_of(parameters, "jobId"));
    print_member(" job=", text_of(job, "jobId"));
    print_member(" status=", text_of(job, "jobStatus"));
    print_member(" error=", text_of(record, "errorCode"));
    print_member(" request=", text_of(record, "requestID"));
    (void)putchar('\n');
}

/* A gap is shown whatever is asked for: what is missing may have been meant. */
static void print_gap(yyjson_val *line)
{
    print_text(text_of(line, "to"));
    print_member(" gap: up to ", number_of(line, "records"));
    print_member(" records could not be written since ", text_of(line, "from"));
    (void)putchar('\n');
}

static void on_line(void *ctx, sv line, sv log)
{
    struct showing *s = ctx;
    yyjson_doc *doc;
    struct err ignored;
    const bool gap = sv_eq(log, SV_LIT("gap"));
    if (log.ptr && !gap)
        return;
    arena_reset(s->a);
    if (json_read(s->a, line, DEPTH, &doc, &ignored) != ERR_OK) {
        s->n_unreadable++;
        return;
    }
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!gap && !is_meant(s, root))
        return;
    s->n_shown++;
    if (s->o->json)
        (void)printf("%.*s\n", SV_FMT(line));
    else if (gap)
        print_gap(root);
    else
        print_record(root);
}

/* ---- the command ---- */

static void tell_fault(const struct audit_verdict *v)
{
    (void)fprintf(
        stderr, "fhirlake audit: WRONG: segment %llu, line %llu: %s; nothing behind it is shown\n",
        (unsigned long long)v->at_segment, (unsigned long long)v->at_line, v->how);
}

static err_code read_times(struct showing *s, struct err *e)
{
    const char *const given[] = { s->o->since, s->o->until };
    int64_t *const into[] = { &s->since_ms, &s->until_ms };
    for (size_t i = 0; i < 2; i++)
        if (given[i] && !time_of(given[i], into[i]))
            return ERR(e, ERR_INVALID, "--%s takes a day or an instant, 2026-11-29T10:00:00Z",
                       i ? "until" : "since");
    return ERR_OK;
}

/* A condition that no record can meet would pass for the proof that nobody was there. */
static err_code check_resource(const char *want, struct err *e)
{
    char why[FHIR_TYPE_NOT_LEN];
    sv rest = sv_from(want ? want : ""), type;
    if (want == NULL)
        return ERR_OK;
    (void)sv_cut(&rest, '/', &type);
    if (fhir_type_find(type) == FHIR_TYPE_NONE)
        return ERR(e, ERR_INVALID, "--resource takes TYPE or TYPE/ID: %s",
                   fhir_type_not(type, why));
    if (rest.ptr && (rest.len == 0 || sv_find(rest, '/') < rest.len))
        return ERR(e, ERR_INVALID, "--resource takes TYPE or TYPE/ID, such as Patient/p1");
    return ERR_OK;
}

static int show(const char *dir, const struct options *o)
{
    struct err e = { 0 };
    struct audit_verdict v;
    CLEANUP(arena_free) struct arena *a = arena_new(LINE_ARENA);
    struct showing s = { .o = o, .since_ms = INT64_MIN, .until_ms = INT64_MAX, .a = a };
    if (read_times(&s, &e) != ERR_OK || check_resource(o->resource, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake audit show: %s\n", e.msg);
        return USAGE;
    }
    if (audit_show(dir, o->first_key, on_line, &s, &v, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake audit show: %s: %s\n", dir, e.msg);
        return CANNOT;
    }
    if (fflush(stdout) != 0) {
        (void)fputs("fhirlake audit show: standard output cannot be written\n", stderr);
        return CANNOT;
    }
    if (v.wrong)
        tell_fault(&v);
    else if (s.n_shown == 0)
        (void)fprintf(stderr, "fhirlake audit show: %llu records were read, and none fits\n",
                      (unsigned long long)v.records);
    if (s.n_unreadable)
        (void)fprintf(stderr, "fhirlake audit show: %llu lines are proven, and no JSON\n",
                      (unsigned long long)s.n_unreadable);
    return v.wrong || s.n_unreadable ? WRONG : OK_ALL;
}

int cli_audit_show(int argc, char **argv)
{
    static char name[] = "audit show";
    struct options o = { 0 };
    const char *args[1];
    size_t n;
    bool help;
    struct err e = { 0 };
    argv[0] = name;
    if (cli_options_read(table, N_OPTIONS, argc, argv, &o, args, 1, &n, &help, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake audit show: %s\n", e.msg);
        return USAGE;
    }
    if (help || n != 1) {
        usage(help ? stdout : stderr);
        return help ? OK_ALL : USAGE;
    }
    return show(args[0], &o);
}
