/* work.c - threads take pieces of the input in turn, make rows of them side by side, and write them
 * in the order of the pieces: so the output is the same whatever the number of threads. The first
 * failure, in the order of the input, ends all. Two locks, never one within the other: one for the
 * input, one for the turn to write. Memory: a piece, its rows and a resource for each thread. Of
 * Parquet a piece is a row group, or several where its rows take more than GROUP_BYTES. */
#include "cli/view/view_private.h"

#include "base/clock.h"
#include "base/file.h"

#include <pthread.h>

#define ROWS_BYTES    ((size_t)2 << 30)
#define RUN_BYTES     ((size_t)256 << 20) /* of the expressions over one resource */
#define SCRATCH_BYTES ((size_t)512 << 20)
#define THREADS_MAX   64u
#define PIECE_MAX     ((size_t)VERIFY_LINE_MAX + 2 * PIECE_BYTES_PARQUET)
#define KEEP_BYTES    ((size_t)8 << 20)
#define GROUP_BYTES   ((size_t)64 << 20) /* of Parquet, before it is packed */
#define GROUP_ROWS    ((size_t)1 << 20)
#define FOOTER_MAX    ((size_t)2 << 30)

struct work {
    struct work_form form;
    size_t piece_bytes;
    int fd;
    int64_t now_ms;
    struct {
        pthread_mutex_t lock;
        struct input *input;
        uint64_t next; /* number of the next piece */
        bool end;
    } from;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t turned;
        uint64_t turn; /* number of the piece that may be written */
        bool stop;
        struct err err;
        struct work_told told;
        struct parquet_footer *footer; /* NULL: not Parquet; its thread has the turn */
    } to;
};

struct one { /* a thread's */
    struct work *w;
    struct arena *tree, *a, *scratch;
    struct buf piece, rows;
    struct parquet_rows *parquet; /* NULL: not Parquet */
    struct work_told told;        /* of the piece */
};

static err_code put_row(void *ctx, const struct fhirpath_list *cells, struct err *e)
{
    struct one *one = ctx;
    const struct work_form *f = &one->w->form;
    one->told.rows++;
    if (one->parquet == NULL)
        return view_write_row(f->v, f->format, cells, one->scratch, &one->rows, e);
    TRY(view_parquet_row(f->v, f->columns, cells, one->scratch, one->parquet, e));
    if (parquet_rows_bytes(one->parquet) < GROUP_BYTES && parquet_rows_n(one->parquet) < GROUP_ROWS)
        return ERR_OK;
    return parquet_group(one->parquet, &one->rows, e);
}

static err_code put_line(struct one *one, sv line, struct err *e)
{
    yyjson_doc *doc;
    struct fhirpath_run run = { .arena = one->a, .now_ms = one->w->now_ms };
    arena_reset(one->tree);
    arena_reset(one->a);
    TRY(json_read(one->tree, line, VERIFY_DEPTH, &doc, e));
    run.resource = yyjson_doc_get_root(doc);
    sv type = json_string(json_get(run.resource, "resourceType"));
    if (type.len == 0)
        return ERR(e, ERR_INVALID, "the line is no FHIR resource: it has no resourceType");
    one->told.resources += sv_eq_cstr(type, fhir_type_name(view_type(one->w->form.v)));
    return view_rows(one->w->form.v, &run, put_row, one, e);
}

static err_code put_piece(struct one *one, const char *name, uint64_t line, struct err *e)
{
    sv rest = buf_sv(&one->piece), text;
    for (; ndjson_line(&rest, &text); line++) {
        err_code rc = sv_trim(text).len ? put_line(one, text, e) : ERR_OK;
        if (rc != ERR_OK) {
            err_context(e, "%s, line %llu", name, (unsigned long long)line);
            return rc;
        }
    }
    return one->parquet ? parquet_group(one->parquet, &one->rows, e) : ERR_OK;
}

/* False: there is no more. */
static bool take_piece(struct one *one, uint64_t *number, const char **name, uint64_t *line,
                       err_code *rc, struct err *e)
{
    struct work *w = one->w;
    buf_clear(&one->piece);
    pthread_mutex_lock(&w->from.lock);
    bool more = !w->from.end;
    if (more) {
        *rc = input_next(w->from.input, w->piece_bytes, &one->piece, name, line, e);
        more = *rc != ERR_EOF;
        w->from.end = *rc != ERR_OK;
        *number = w->from.next;
        w->from.next += more;
    }
    pthread_mutex_unlock(&w->from.lock);
    return more;
}

/* When it is its turn: what was made, or why it failed. False: all is over. */
static bool give_piece(struct one *one, uint64_t number, err_code rc, const struct err *why)
{
    struct work *w = one->w;
    struct err e = { 0 };
    pthread_mutex_lock(&w->to.lock);
    while (w->to.turn != number && !w->to.stop)
        pthread_cond_wait(&w->to.turned, &w->to.lock);
    bool stop = w->to.stop;
    pthread_mutex_unlock(&w->to.lock);
    if (stop)
        return false;
    /* nobody else has the turn, so the file is this thread's */
    err_code written = file_write_all(w->fd, buf_sv(&one->rows), &e);
    if (written == ERR_OK && rc == ERR_OK && w->to.footer)
        written = parquet_footer_take(w->to.footer, one->parquet, &e);
    pthread_mutex_lock(&w->to.lock);
    w->to.told.resources += one->told.resources;
    w->to.told.rows += one->told.rows;
    if (rc != ERR_OK || written != ERR_OK) {
        w->to.stop = true;
        w->to.err = rc != ERR_OK ? *why : e;
    }
    stop = w->to.stop;
    w->to.turn++;
    pthread_cond_broadcast(&w->to.turned);
    pthread_mutex_unlock(&w->to.lock);
    return !stop;
}

static void *work(void *arg)
{
    struct one one = { .w = arg,
                       .tree = arena_new(json_tree_max(VERIFY_LINE_MAX)),
                       .a = arena_new(RUN_BYTES),
                       .scratch = arena_new(SCRATCH_BYTES),
                       .piece = BUF_INIT(PIECE_MAX),
                       .rows = BUF_INIT(ROWS_BYTES) };
    const struct work_form *f = &one.w->form;
    size_t n_columns;
    (void)view_columns(f->v, &n_columns);
    if (f->format == VIEW_PARQUET)
        one.parquet = parquet_rows_new(f->columns, n_columns, ROWS_BYTES);
    uint64_t number = 0, line = 0;
    const char *name = NULL;
    for (bool more = true; more;) {
        struct err e = { 0 };
        err_code rc = ERR_OK;
        if (!take_piece(&one, &number, &name, &line, &rc, &e))
            break;
        one.told = (struct work_told){ 0, 0 };
        buf_clear(&one.rows);
        if (rc == ERR_OK)
            rc = put_piece(&one, name, line, &e);
        more = give_piece(&one, number, rc, &e);
        buf_shrink(&one.piece, KEEP_BYTES);
        buf_shrink(&one.rows, KEEP_BYTES);
    }
    parquet_rows_free(one.parquet);
    buf_done(&one.piece);
    buf_done(&one.rows);
    arena_free(one.tree);
    arena_free(one.a);
    arena_free(one.scratch);
    return NULL;
}

static void run_threads(struct work *w, unsigned threads)
{
    pthread_t all[THREADS_MAX];
    unsigned n = 0;
    pthread_mutex_init(&w->from.lock, NULL);
    pthread_mutex_init(&w->to.lock, NULL);
    pthread_cond_init(&w->to.turned, NULL);
    /* this thread is one of them, so that it goes on where the machine has no more */
    while (n + 1 < threads && n < THREADS_MAX && pthread_create(&all[n], NULL, work, w) == 0)
        n++;
    (void)work(w);
    while (n > 0)
        (void)pthread_join(all[--n], NULL);
    pthread_cond_destroy(&w->to.turned);
    pthread_mutex_destroy(&w->to.lock);
    pthread_mutex_destroy(&w->from.lock);
}

err_code work_run(struct input *input, const struct work_form *form, unsigned threads, int fd,
                  struct work_told *told, struct err *e)
{
    const bool parquet = form->format == VIEW_PARQUET;
    struct work w = { .form = *form, .fd = fd, .now_ms = clock_wall_ms() };
    size_t n_columns;
    CLEANUP_BUF struct buf text = BUF_INIT(FOOTER_MAX);
    CLEANUP(parquet_footer_free) struct parquet_footer *footer = NULL;
    (void)view_columns(form->v, &n_columns);
    TRY(parquet ? parquet_head(&text, e) : view_write_head(form->v, form->format, &text, e));
    TRY(file_write_all(fd, buf_sv(&text), e));
    if (parquet)
        w.to.footer = footer = parquet_footer_new(form->columns, n_columns);
    w.piece_bytes = parquet ? PIECE_BYTES_PARQUET : PIECE_BYTES;
    w.from.input = input;
    run_threads(&w, threads);
    *told = w.to.told;
    if (w.to.stop)
        return err_pass(e, &w.to.err);
    buf_clear(&text);
    if (parquet)
        TRY(parquet_footer_end(footer, &text, e));
    return file_write_all(fd, buf_sv(&text), e);
}
