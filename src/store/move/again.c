/* again.c - dispatch: commits of another store made once more. */
#include "store/move/move_private.h"

err_code store_commits(struct store *st, uint64_t after_t, struct store_commit_row *out, size_t max,
                       size_t *n, struct err *e)
{
    return st->ops->commits(st, after_t, out, max, n, e);
}

static err_code check_instant(int64_t before_ms, int64_t instant_ms, struct err *e)
{
    /* I1 */
    return instant_ms >= before_ms
               ? ERR_OK
               : ERR(e, ERR_CONFLICT, "a commit is in front of those that are there");
}

err_code store_again(struct store *st, struct store_again *commits, size_t n, struct err *e)
{
    struct store_commit last;
    assert(n && n <= STORE_AGAIN_MOST);
    TRY(store_last(st, &last, e));
    int64_t before_ms = last.instant_ms;
    for (size_t i = 0; i < n; i++) {
        TRY(check_instant(before_ms, commits[i].instant_ms, e));
        TRY(store_writes_check(commits[i].writes, commits[i].n, e));
        before_ms = commits[i].instant_ms;
    }
    return st->ops->again(st, commits, n, e);
}

err_code store_again_load(struct store *st, struct store_bulk **b, int64_t instant_ms,
                          struct store_commit *out, struct err *e)
{
    err_code rc = st->ops->again_load(st, b, instant_ms, out, e);
    store_bulk_abort(*b);
    *b = NULL;
    return rc;
}

err_code store_again_end(struct store *st, int64_t floor_ms, struct err *e)
{
    return st->ops->again_end(st, floor_ms, e);
}
