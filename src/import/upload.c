/* upload.c - the outcome of files that have ended goes to the target, some files at a time.
 *
 * A spool is removed when its object is there, and the parts that had its lines. After a crash the
 * same objects are written again from what is left. */
#include "import/outcome_private.h"

#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#define UPLOADS 8u /* at a time: each waits for the disk or the peer, not for a processor */

static err_code upload_one(struct import_outcome *outcome, struct open_file *file, int kind,
                           struct err *e)
{
    char path[PATH_MAX];
    import_spool_path(outcome, file->file, kind, path);
    if (file->len[kind] == 0)
        return ERR_OK;
    /* uploaded before a crash, and its spool removed */
    if (file->fd[kind] < 0 && access(path, F_OK) != 0)
        return ERR_OK;
    /* after a restart: cut to the length that counts */
    TRY(import_spool_open(outcome, file, kind, e));
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    sv name = import_outcome_name(a, outcome->files, file->file, kind);
    TRY(sink_put_path(outcome->sink, name, SV_LIT("application/fhir+ndjson"), path,
                      store_ring(outcome->run->store), NULL, e));
    /* the folder goes with the job anyway */
    (void)unlink(path);
    return ERR_OK;
}

struct uploads { /* of the files that have ended */
    struct import_outcome *o;
    pthread_mutex_t lock;
    struct open_file *next; /* that nobody has looked at */
    err_code rc;            /* the first failure */
    struct err e;
};

static struct open_file *take_ended(struct uploads *u)
{
    struct open_file *file = NULL;
    pthread_mutex_lock(&u->lock);
    if (u->rc == ERR_OK) {
        for (file = u->next; file && !file->ended;)
            file = file->next;
        u->next = file ? file->next : NULL;
    }
    pthread_mutex_unlock(&u->lock);
    return file;
}

static void *upload_some(void *arg)
{
    struct uploads *u = arg;
    struct open_file *file;
    while ((file = take_ended(u)) != NULL) {
        struct err e;
        err_code rc = ERR_OK;
        for (int k = 0; k < IMPORT_N_KINDS && rc == ERR_OK; k++)
            rc = upload_one(u->o, file, k, &e);
        import_spool_close(file);
        if (rc == ERR_OK)
            continue;
        pthread_mutex_lock(&u->lock);
        if (u->rc == ERR_OK) {
            u->rc = rc;
            u->e = e;
        }
        pthread_mutex_unlock(&u->lock);
    }
    return NULL;
}

err_code import_outcome_upload(struct import_outcome *outcome, struct err *e)
{
    struct uploads u = { .o = outcome, .next = outcome->first };
    pthread_t threads[UPLOADS - 1];
    size_t n = 0, n_ended = 0;
    for (const struct open_file *f = outcome->first; f; f = f->next)
        n_ended += f->ended;
    if (n_ended == 0)
        return ERR_OK;
    pthread_mutex_init(&u.lock, NULL);
    while (n + 1 < n_ended && n < UPLOADS - 1 &&
           pthread_create(&threads[n], NULL, upload_some, &u) == 0)
        n++;
    (void)upload_some(&u);
    while (n)
        pthread_join(threads[--n], NULL);
    pthread_mutex_destroy(&u.lock);
    if (u.rc != ERR_OK)
        return err_pass(e, &u.e);
    for (struct open_file **p = &outcome->first; *p;) {
        struct open_file *f = *p;
        if (f->ended) {
            *p = f->next;
            free(f);
        } else {
            p = &f->next;
        }
    }
    /* at most the one that has not ended is left */
    outcome->last = outcome->first;
    return import_parts_drop(
        outcome->parts, outcome->first ? outcome->first->part : import_parts_at(outcome->parts), e);
}
