/* move.c - a data store made once more: its commits, the floor of later instants, a comparison.
 *
 * Each commit is in `to` as a whole or not at all, and has the t that it had. So a call that was
 * cut off left the first commits of `from`, and the next one goes on behind them. */
#include "store/move/move_private.h"

#include <string.h>

/* What `to` has already are the first commits of `from`. */
static err_code check_begin(struct store *from, struct store *to, uint64_t *after_t, struct err *e)
{
    struct store_commit last;
    struct store_commit_row row;
    size_t n = 0;
    TRY(store_last(to, &last, e));
    *after_t = last.t;
    if (last.t == 0)
        return ERR_OK;
    TRY(store_commits(from, last.t - 1, &row, 1, &n, e));
    return n == 1 && row.instant_ms == last.instant_ms
               ? ERR_OK
               : ERR(e, ERR_CONFLICT, "what is there is no copy of this data store");
}

static err_code write_all(struct store *from, struct store *to, store_move_fn tell, void *ctx,
                          struct store_moved *out, struct err *e)
{
    CLEANUP(past_close) struct past *past = NULL;
    CLEANUP(move_writer_free) struct move_writer *w = move_writer_new(to);
    struct store_moving p = { .step = STORE_MOVE_WRITES };
    struct store_commit last;
    struct past_batch b;
    struct err why;
    err_code rc;
    TRY(store_last(from, &last, e));
    p.of = last.t;
    TRY(check_begin(from, to, &out->n_before, e));
    past = past_open(from, out->n_before);
    p.n = out->n_before;
    while ((rc = past_next(past, &b, &why)) == ERR_OK) {
        TRY(move_write(w, &b, e));
        p.n += b.n_commits;
        p.n_versions += b.n_versions;
        p.n_bytes += b.n_bytes;
        if (tell)
            tell(ctx, &p);
    }
    return rc == ERR_EOF ? ERR_OK : err_pass(e, &why);
}

err_code store_move(struct store *from, struct store *to, store_move_fn tell, void *ctx,
                    struct store_moved *out, struct err *e)
{
    struct store_commit floor;
    memset(out, 0, sizeof *out);
    TRY(write_all(from, to, tell, ctx, out, e));
    TRY(store_horizon(from, &floor, e));
    TRY(store_again_end(to, floor.instant_ms, e));
    TRY(store_counts_settle(to, NULL, e));
    return move_compare(from, to, tell, ctx, out, e);
}
