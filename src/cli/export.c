/* export.c - an export from the command line: started over the AWS API, followed, and shown.
 *
 *   whole store            StartFHIRExportJob
 *   --type, --since ...    POST [base]/$export in HealthLake's dialect: the AWS operation takes no
 *                          filter
 *
 * The job is the server's: when this command ends early (Ctrl-C, a lost connection), it goes on,
 * and --follow takes it up again. Progress is what the job's Message says. */
#include "cli/export.h"

#include "base/clock.h"
#include "base/rng.h"
#include "cli/client.h"
#include "cli/export_show.h"
#include "cli/options.h"
#include "codec/json.h"
#include "codec/uri.h"

#include <signal.h>
#include <unistd.h>

#define ANSWER_DEPTH 16u /* nesting of an answer about a job */

struct options {
    struct client_options to;
    const char *datastore, *output, *role, *kms_key, *name;
    const char *type, *since, *until, *type_filter, *elements, *tag, *security, *group;
    const char *follow, *cancel;
    bool patient, no_follow;
};
#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "datastore", "ID", "the data store; needed", O(datastore) },
    { "output", "s3://BUCKET/..", "where the files go; needed to start", O(output) },
    { "role", "ARN", "DataAccessRoleArn [arn:aws:iam::000000000000:role/fhirlake]", O(role) },
    { "kms-key", "KEY", "KmsKeyId, an id, ARN or alias [alias/fhirlake]", O(kms_key) },
    { "name", "TEXT", "JobName", O(name) },
    { "type", "A,B", "only these resource types", O(type) },
    { "since", "INSTANT", "only what was changed after it; deletions too", O(since) },
    { "until", "INSTANT", "only what was changed until then", O(until) },
    { "type-filter", "QUERY", "Type?search; several, with a comma between", O(type_filter) },
    { "elements", "A,T.B", "only these root elements, and mandatory ones", O(elements) },
    { "tag", "SYS|CODE", "only resources with this meta.tag", O(tag) },
    { "security", "SYS|CODE", "only resources with this meta.security", O(security) },
    { "patient", NULL, "patients and what belongs to them, not the whole store", O(patient) },
    { "group", "ID", "the same of a Group's members", O(group) },
    { "follow", "JOB", "start nothing: follow a job that runs", O(follow) },
    { "cancel", "JOB", "start nothing: cancel a job", O(cancel) },
    { "no-follow", NULL, "start, print the job's id, and end", O(no_follow) },
    { "endpoint", "URL", "of the API [" CLIENT_DEFAULT_ENDPOINT "]", O(to.endpoint) },
    { "region", "NAME", "to sign for [AWS_REGION, else us-east-1]", O(to.region) },
    { "credentials", "FILE", "AWS shared format [AWS_* variables, else ~/.aws/credentials]",
      O(to.credentials) },
    { "profile", "NAME", "section of the credentials file [default]", O(to.profile) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake export --datastore ID --output s3://BUCKET/PREFIX [options]\n"
        "       fhirlake export --datastore ID --follow JOB | --cancel JOB [options]\n\n"
        "Start an export, follow it, and show the files it wrote with their counts and the\n"
        "rate. Ctrl-C ends the following, not the job.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs(
        "\nAWS_CA_BUNDLE=FILE in the environment: the authority of an https:// endpoint.\n\n"
        "Exit status: 0 completed, 1 failed or refused, 2 wrong usage, 3 cancelled,\n"
        "130 interrupted while the job goes on.\n\n"
        "Examples:\n"
        "  fhirlake export --credentials fhirlake-data/credentials --datastore ID \\\n"
        "      --output s3://output/nightly\n"
        "  fhirlake export --datastore ID --output s3://output/changes \\\n"
        "      --type Patient,Observation --since 2026-01-31T00:00:00Z\n",
        f);
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* ---- calls ---- */

struct run {
    struct options o;
    struct client *client;
    struct arena *arena;
    sv job; /* id */
};

/* One operation of the control plane. answer->body is the caller's. */
static err_code operation(struct run *r, const char *name, sv body, struct client_answer *answer,
                          struct err *e)
{
    struct client_call call = { .method = "POST",
                                .target = SV_LIT("/"),
                                .content_type = SV_LIT("application/x-amz-json-1.0"),
                                .amz_target = arena_fmt(r->arena, "HealthLake.%s", name),
                                .body = body };
    TRY(client_run(r->client, &call, answer, e));
    if (answer->status == 200)
        return ERR_OK;
    err_code rc = client_refusal(answer, e);
    buf_done(&answer->body);
    return rc;
}

static void kv(struct json_writer *w, const char *name, const char *value)
{
    if (value)
        json_kv_str(w, name, sv_from(value));
}

static void write_target(struct json_writer *w, const struct options *o)
{
    kv(w, "JobName", o->name);
    kv(w, "DataAccessRoleArn", o->role ? o->role : "arn:aws:iam::000000000000:role/fhirlake");
    json_key(w, "OutputDataConfig");
    json_obj(w);
    json_key(w, "S3Configuration");
    json_obj(w);
    kv(w, "S3Uri", o->output);
    kv(w, "KmsKeyId", o->kms_key ? o->kms_key : "alias/fhirlake");
    json_obj_end(w);
    json_obj_end(w);
}

static bool is_filtered(const struct options *o)
{
    return o->type || o->since || o->until || o->type_filter || o->elements || o->tag ||
           o->security || o->patient || o->group;
}

static err_code add_param(struct buf *target, const char *name, const char *value, struct err *e)
{
    if (value == NULL)
        return ERR_OK;
    TRY(buf_add_fmt(target, e, "%c%s=", memchr(target->ptr, '?', target->len) ? '&' : '?', name));
    return uri_encode(sv_from(value), false, target, e);
}

static err_code rest_target(const struct options *o, struct buf *out, struct err *e)
{
    TRY(buf_add_fmt(out, e, "/datastore/%s/r4/%s%s%s$export", o->datastore,
                    o->group     ? "Group/"
                    : o->patient ? "Patient/"
                                 : "",
                    o->group ? o->group : "", o->group ? "/" : ""));
    TRY(add_param(out, "_type", o->type, e));
    TRY(add_param(out, "_since", o->since, e));
    TRY(add_param(out, "_until", o->until, e));
    TRY(add_param(out, "_typeFilter", o->type_filter, e));
    TRY(add_param(out, "_elements", o->elements, e));
    TRY(add_param(out, "_tag", o->tag, e));
    return add_param(out, "_security", o->security, e);
}

static err_code start(struct run *r, struct err *e)
{
    const struct options *o = &r->o;
    CLEANUP_BUF struct buf body = BUF_INIT(64u << 10), target = BUF_INIT(64u << 10);
    struct json_writer w;
    struct client_answer answer;
    yyjson_doc *doc;
    char token[37];
    bool rest = is_filtered(o);
    rng_uuid(token);
    json_writer_init(&w, &body);
    json_obj(&w);
    if (!rest)
        kv(&w, "DatastoreId", o->datastore);
    write_target(&w, o);
    kv(&w, "ClientToken", token);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    if (rest) {
        TRY(rest_target(o, &target, e));
        struct client_call call = { .method = "POST",
                                    .target = buf_sv(&target),
                                    .content_type = SV_LIT("application/fhir+json"),
                                    .prefer = SV_LIT("respond-async"),
                                    .body = buf_sv(&body) };
        TRY(client_run(r->client, &call, &answer, e));
        if (answer.status != 202) {
            err_code rc = client_refusal(&answer, e);
            buf_done(&answer.body);
            return rc;
        }
    } else {
        TRY(operation(r, "StartFHIRExportJob", buf_sv(&body), &answer, e));
    }
    sv text = arena_sv(r->arena, buf_sv(&answer.body));
    buf_done(&answer.body);
    TRY(json_read(r->arena, text, ANSWER_DEPTH, &doc, e));
    r->job = json_string(json_get(yyjson_doc_get_root(doc), rest ? "jobId" : "JobId"));
    return r->job.len ? ERR_OK : ERR(e, ERR_PEER, "the endpoint's answer names no job");
}

static err_code describe(struct run *r, struct arena *a, struct export_state *out, struct err *e)
{
    CLEANUP_BUF struct buf body = BUF_INIT(4096);
    struct json_writer w;
    struct client_answer answer;
    yyjson_doc *doc;
    json_writer_init(&w, &body);
    json_obj(&w);
    kv(&w, "DatastoreId", r->o.datastore);
    json_kv_str(&w, "JobId", r->job);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    TRY(operation(r, "DescribeFHIRExportJob", buf_sv(&body), &answer, e));
    sv text = arena_sv(a, buf_sv(&answer.body));
    buf_done(&answer.body);
    TRY(json_read(a, text, ANSWER_DEPTH, &doc, e));
    yyjson_val *j = json_get(yyjson_doc_get_root(doc), "ExportJobProperties");
    out->status = json_string(json_get(j, "JobStatus"));
    out->message = json_string(json_get(j, "Message"));
    out->folder = json_string(
        json_get(json_get(json_get(j, "OutputDataConfig"), "S3Configuration"), "S3Uri"));
    /* A time that is not told stays 0. */
    IGNORE(!sv_to_double(json_number(json_get(j, "SubmitTime")), &out->submit_s));
    IGNORE(!sv_to_double(json_number(json_get(j, "EndTime")), &out->end_s));
    return out->status.len ? ERR_OK : ERR(e, ERR_PEER, "the endpoint's answer has no JobStatus");
}

/* ---- following ---- */

static void how_to_go_on(const struct run *r, const char *what_becomes)
{
    sv at = client_endpoint(r->client);
    (void)fprintf(stderr,
                  "%s. To follow or cancel it:\n"
                  "  fhirlake export --endpoint %.*s --datastore %s --follow %.*s\n"
                  "  fhirlake export --endpoint %.*s --datastore %s --cancel %.*s\n",
                  what_becomes, SV_FMT(at), r->o.datastore, SV_FMT(r->job), SV_FMT(at),
                  r->o.datastore, SV_FMT(r->job));
}

static bool is_final(sv status)
{
    return sv_starts(status, SV_LIT("COMPLETED")) || sv_eq(status, SV_LIT("FAILED")) ||
           sv_eq(status, SV_LIT("CANCEL_COMPLETED")) || sv_eq(status, SV_LIT("CANCEL_FAILED"));
}

/* Until the job has ended: *out is its last state, owned by a. ERR_CANCELLED: Ctrl-C. */
static err_code follow(struct run *r, struct arena *a, struct export_state *out, struct err *e)
{
    struct export_progress p = { .tty = isatty(STDERR_FILENO) };
    struct client_poll poll = { 0 };
    for (;;) {
        struct err why = { 0 };
        arena_reset(a);
        *out = (struct export_state){ 0 };
        if (interrupted)
            return ERR(e, ERR_CANCELLED, "interrupted");
        err_code rc = describe(r, a, out, &why);
        if (rc == ERR_OK) {
            export_progress_show(&p, out);
            if (is_final(out->status))
                break;
        }
        if (!client_poll_again(&poll, rc)) {
            export_progress_end(&p);
            return err_pass(e, &why);
        }
    }
    export_progress_end(&p);
    return ERR_OK;
}

static err_code show_result(struct run *r, const struct export_state *st, struct err *e)
{
    struct client_answer answer;
    struct client_call call = { .method = "GET",
                                .target = arena_fmt(r->arena, "/datastore/%s/r4/export/%.*s",
                                                    r->o.datastore, SV_FMT(r->job)) };
    TRY(client_run(r->client, &call, &answer, e));
    err_code rc = answer.status == 200 ? export_show_tree(buf_sv(&answer.body), st, stdout, e)
                                       : client_refusal(&answer, e);
    buf_done(&answer.body);
    return rc;
}

static int end(struct run *r, const struct export_state *st)
{
    struct err e = { 0 };
    if (sv_starts(st->status, SV_LIT("COMPLETED"))) {
        /* the export is whole; only its list cannot be had */
        if (show_result(r, st, &e) != ERR_OK)
            (void)printf("%.*s: the export is in %.*s (no list of it: %s)\n", SV_FMT(st->status),
                         SV_FMT(st->folder), e.msg);
        return 0;
    }
    (void)fprintf(stderr, "fhirlake export: job %.*s is %.*s%s%.*s\n", SV_FMT(r->job),
                  SV_FMT(st->status), st->message.len ? ": " : "", SV_FMT(st->message));
    return sv_starts(st->status, SV_LIT("CANCEL")) ? 3 : 1;
}

static err_code cancel(struct run *r, struct err *e)
{
    struct client_answer answer;
    struct client_call call = { .method = "DELETE",
                                .target = arena_fmt(r->arena, "/datastore/%s/r4/export/%.*s",
                                                    r->o.datastore, SV_FMT(r->job)) };
    TRY(client_run(r->client, &call, &answer, e));
    err_code rc =
        answer.status == 202 || answer.status == 200 ? ERR_OK : client_refusal(&answer, e);
    buf_done(&answer.body);
    return rc;
}

/* ---- the command ---- */

static err_code check(const struct options *o, struct err *e)
{
    bool starts = o->follow == NULL && o->cancel == NULL;
    if (o->datastore == NULL)
        return ERR(e, ERR_INVALID, "--datastore ID is needed; see fhirlake export --help");
    TRY(client_check_datastore(o->datastore, e));
    if (o->follow && o->cancel)
        return ERR(e, ERR_INVALID, "--follow and --cancel exclude each other");
    if (starts && o->output == NULL)
        return ERR(e, ERR_INVALID, "--output s3://BUCKET/PREFIX is needed to start an export");
    if (!starts && (o->output || is_filtered(o)))
        return ERR(e, ERR_INVALID,
                   "--follow and --cancel take no --output and no filter: the job "
                   "has them already");
    return o->patient && o->group ? ERR(e, ERR_INVALID, "--patient and --group exclude each other")
                                  : ERR_OK;
}

static int run(struct run *r)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct export_state st = { 0 };
    struct err e = { 0 };
    const struct options *o = &r->o;
    err_code rc = client_new(&o->to, &r->client, &e);
    r->job = sv_from(o->cancel ? o->cancel : o->follow);
    if (rc == ERR_OK && o->cancel) {
        rc = cancel(r, &e);
        if (rc == ERR_OK)
            (void)printf("job %.*s is being cancelled\n", SV_FMT(r->job));
    } else if (rc == ERR_OK) {
        bool starts = o->follow == NULL;
        if (starts)
            rc = start(r, &e);
        if (rc == ERR_OK && o->no_follow) {
            (void)printf("%.*s\n", SV_FMT(r->job));
            return 0;
        }
        if (rc == ERR_OK && starts)
            (void)fprintf(stderr, "job %.*s\n", SV_FMT(r->job));
        if (rc == ERR_OK)
            rc = follow(r, a, &st, &e);
        if (rc == ERR_OK)
            return end(r, &st);
        if (rc == ERR_CANCELLED) {
            (void)fprintf(stderr, "\nfhirlake export: interrupted; ");
            how_to_go_on(r, "the job goes on");
            return 130;
        }
    }
    if (rc == ERR_OK)
        return 0;
    (void)fprintf(stderr, "fhirlake export: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
    if (rc == ERR_PEER && r->job.len && o->cancel == NULL)
        how_to_go_on(r, "the job goes on when the server is there again, or at another node of its "
                        "database, by that one's --endpoint");
    if (rc == ERR_DENIED && r->client && !client_is_signed(r->client) &&
        strstr(e.msg, "MissingAuthentication"))
        (void)fprintf(stderr, "no keys were found to sign with: give --credentials FILE, or "
                              "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY\n");
    return rc == ERR_INVALID && r->client == NULL ? 2 : 1;
}

int cli_export(int argc, char **argv)
{
    struct run r = { 0 };
    struct err e = { 0 };
    size_t n;
    bool help;
    if (cli_options_read(table, N_OPTIONS, argc, argv, &r.o, NULL, 0, &n, &help, &e) != ERR_OK ||
        (!help && check(&r.o, &e) != ERR_OK)) {
        (void)fprintf(stderr, "fhirlake export: %s\n", e.msg);
        return 2;
    }
    if (help) {
        usage(stdout);
        return 0;
    }
    struct sigaction sa = { .sa_handler = on_interrupt };
    (void)sigaction(SIGINT, &sa, NULL);
    (void)sigaction(SIGTERM, &sa, NULL);
    r.arena = arena_new(4u << 20);
    int status = run(&r);
    client_free(r.client);
    arena_free(r.arena);
    return status;
}
