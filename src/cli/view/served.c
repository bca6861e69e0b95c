/* served.c - a data store of a running server, as of one instant: the server is asked for an export
 * of the view's type (the Bulk Data guide's $export). Its files are read as they come, and deleted
 * with the job in the end. So rows are exactly what an export holds, nothing of a patient lies on
 * this machine's disk but the table, and memory does not grow with the data store.
 *
 *   download thread: GET file -> pipe -> the reader, which waits for it at the end
 *
 * Source: FHIR Bulk Data Access, "Bulk Data Export Operation Request Flow". */
#include "cli/view/view_private.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define MEMORY ((size_t)4 << 30) /* of the manifest */

struct served {
    struct client *client; /* of one thread: ours, or the download's while there is one */
    struct arena *a;
    fhir_type type;
    sv job; /* path of its status; empty: there is none */
    sv instant;
    sv *files; /* paths */
    size_t n;
    struct download {
        pthread_t thread;
        bool runs;
        int from, to; /* of the pipe */
        struct client_call call;
        err_code rc;
        struct err err;
    } download;
};

/* ---- the export ---- */

/* A URL of the server's as a path of it, the arena's. */
static err_code path_of(struct served *s, sv url, sv *out, struct err *e)
{
    size_t at = 0;
    while (at < url.len && !sv_starts(sv_tail(url, at), SV_LIT("/datastore/")))
        at++;
    if (at == url.len)
        return ERR(e, ERR_PEER, "the endpoint's answer names no file of a data store");
    *out = arena_sv(s->a, sv_tail(url, at));
    return out->ptr ? ERR_OK : arena_oom(s->a, e);
}

static err_code kick_off(struct served *s, const char *datastore, struct err *e)
{
    struct client_answer answer;
    struct client_call call = { .method = "GET",
                                .target = arena_fmt(s->a, "/datastore/%s/r4/$export?_type=%s",
                                                    datastore, fhir_type_name(s->type)),
                                .prefer = SV_LIT("respond-async") };
    if (call.target.ptr == NULL)
        return arena_oom(s->a, e);
    TRY(client_run(s->client, &call, &answer, e));
    err_code rc = answer.status == 202 ? path_of(s, sv_from(answer.location), &s->job, e)
                                       : client_refusal(&answer, e);
    buf_done(&answer.body);
    return rc;
}

/* What an answer about the job says: *done, and then the manifest's text. */
static err_code look(struct served *s, bool *done, sv *manifest, struct err *e)
{
    struct client_answer answer;
    struct client_call call = { .method = "GET", .target = s->job };
    TRY(client_run(s->client, &call, &answer, e));
    err_code rc = ERR_OK;
    *done = answer.status == 200;
    if (*done) {
        *manifest = arena_sv(s->a, buf_sv(&answer.body));
        rc = manifest->ptr ? ERR_OK : arena_oom(s->a, e);
    } else if (answer.status != 202) {
        rc = client_refusal(&answer, e);
    }
    buf_done(&answer.body);
    return rc;
}

static err_code wait_for(struct served *s, sv *manifest, struct err *e)
{
    struct client_poll poll = { 0 };
    for (bool done = false;;) {
        struct err why = { 0 };
        err_code rc = look(s, &done, manifest, &why);
        if (rc == ERR_OK && done)
            return ERR_OK;
        /* it may be busy, or be restarted just now */
        if (!client_poll_again(&poll, rc))
            return err_pass(e, &why);
    }
}

static err_code read_manifest(struct served *s, sv text, struct err *e)
{
    yyjson_doc *doc;
    TRY(json_read(s->a, text, VERIFY_DEPTH, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc), *list = json_get(root, "output"), *one;
    yyjson_arr_iter it;
    s->instant = json_string(json_get(root, "transactionTime"));
    if (s->instant.ptr == NULL || !yyjson_is_arr(list))
        return ERR(e, ERR_PEER, "the endpoint's answer is no manifest of an export");
    if (yyjson_arr_size(json_get(root, "error")))
        return ERR(e, ERR_PEER, "the export tells of errors, so it may not be whole");
    s->files = arena_calloc(s->a, yyjson_arr_size(list) + 1, sizeof *s->files);
    if (s->files == NULL)
        return arena_oom(s->a, e);
    yyjson_arr_iter_init(list, &it);
    while ((one = yyjson_arr_iter_next(&it)) != NULL) {
        if (!sv_eq_cstr(json_string(json_get(one, "type")), fhir_type_name(s->type)))
            continue;
        TRY(path_of(s, json_string(json_get(one, "url")), &s->files[s->n], e));
        s->n++;
    }
    return ERR_OK;
}

err_code served_open(const struct client_options *o, const char *datastore, fhir_type type,
                     struct served **out, struct err *e)
{
    struct served *s = calloc(1, sizeof *s);
    sv manifest = SV_NONE;
    if (s == NULL)
        abort();
    s->a = arena_new(MEMORY);
    s->type = type;
    err_code rc = client_new(o, &s->client, e);
    if (rc == ERR_OK)
        rc = kick_off(s, datastore, e);
    if (rc == ERR_OK)
        rc = wait_for(s, &manifest, e);
    if (rc == ERR_OK)
        rc = read_manifest(s, manifest, e);
    if (rc != ERR_OK) {
        served_close(s);
        return rc;
    }
    *out = s;
    return ERR_OK;
}

sv served_instant(const struct served *served)
{
    return served->instant;
}

size_t served_files(const struct served *served)
{
    return served->n;
}

/* ---- a file ---- */

static void *download(void *arg)
{
    struct served *s = arg;
    struct download *d = &s->download;
    struct client_answer answer;
    sigset_t pipe;
    /* a reader that has left ends the download, and not the program */
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    d->err = (struct err){ 0 };
    d->rc = client_run(s->client, &d->call, &answer, &d->err);
    if (d->rc == ERR_OK) {
        if (answer.status != 200)
            d->rc = client_refusal(&answer, &d->err);
        buf_done(&answer.body);
    }
    (void)close(d->to);
    return NULL;
}

static void join(struct download *d)
{
    if (d->runs)
        (void)pthread_join(d->thread, NULL);
    d->runs = false;
}

static err_code read_some(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    struct served *s = ctx;
    ssize_t got;
    while ((got = read(s->download.from, dst, cap)) < 0 && errno == EINTR) {
    }
    if (got < 0)
        return file_os_err(e, "a pipe cannot be read");
    *n = (size_t)got;
    if (got > 0)
        return ERR_OK;
    /* the end is one when the whole file came */
    join(&s->download);
    return s->download.rc == ERR_OK ? ERR_EOF : err_pass(e, &s->download.err);
}

static void close_reader(void *ctx)
{
    struct served *s = ctx;
    (void)close(s->download.from);
    join(&s->download);
}

err_code served_read(struct served *served, size_t i, struct byte_reader *out, struct err *e)
{
    struct download *d = &served->download;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return file_os_err(e, "a pipe cannot be made");
    d->from = ends[0];
    d->to = ends[1];
    d->call = (struct client_call){ .method = "GET", .target = served->files[i], .into = &d->to };
    int failed = pthread_create(&d->thread, NULL, download, served);
    if (failed) {
        (void)close(d->from);
        (void)close(d->to);
        return ERR(e, err_from_errno(failed), "a thread cannot be made");
    }
    d->runs = true;
    *out = (struct byte_reader){ read_some, close_reader, served };
    return ERR_OK;
}

/* ---- the end ---- */

void served_close(struct served *served)
{
    if (served == NULL)
        return;
    if (served->job.len) {
        struct client_call call = { .method = "DELETE", .target = served->job };
        struct client_answer answer;
        struct err ignored;
        /* a job that stays goes when its time is over */
        if (client_run(served->client, &call, &answer, &ignored) == ERR_OK)
            buf_done(&answer.body);
    }
    client_free(served->client);
    arena_free(served->a);
    free(served);
}
