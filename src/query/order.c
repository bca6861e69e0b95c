/* order.c - the matches of a sorted page: all are walked, and a heap keeps the few that come next.
 *
 * A page begins behind the keys and the number of the last match of the page before, not at an
 * offset.
 * So memory is that of one page, however many resources match, and pages fit together without a
 * list that is kept between them. */
#include "query/query_private.h"

struct slot { /* a row, and the memory of its texts */
    struct query_row row;
    char room[QUERY_SORT_MAX * SEARCH_SORT_KEY_MAX + FHIR_ID_MAX];
};

struct query_order {
    const struct query *q;
    const struct query_order_by *by;
    struct slot *slots; /* count + 1: one of them is free for the candidate */
    struct query_row **heap;
    const struct query_row **rows;
    struct query_row_list list;
};

static int row_cmp(const struct query_order_by *by, const struct query_row *x,
                   const struct query_row *y)
{
    for (size_t i = 0; i < by->n_sort; i++) {
        /* A row without a value comes last in both directions. */
        if ((x->keys[i].len == 0) != (y->keys[i].len == 0))
            return x->keys[i].len == 0 ? 1 : -1;
        int c = sv_cmp(x->keys[i], y->keys[i]);
        if (c)
            return by->sort[i].descending ? -c : c;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

static int by_row(const void *a, const void *b, void *order_by)
{
    return row_cmp(order_by, *(const struct query_row *const *)a,
                   *(const struct query_row *const *)b);
}

/* The heap has its greatest row on top: the first to give way. */
static void sift_down(struct query_order *order, size_t at)
{
    for (;;) {
        size_t top = at, l = 2 * at + 1, r = l + 1;
        if (l < order->list.n && row_cmp(order->by, order->heap[l], order->heap[top]) > 0)
            top = l;
        if (r < order->list.n && row_cmp(order->by, order->heap[r], order->heap[top]) > 0)
            top = r;
        if (top == at)
            return;
        struct query_row *t = order->heap[at];
        order->heap[at] = order->heap[top];
        order->heap[top] = t;
        at = top;
    }
}

static void sift_up(struct query_order *order, size_t at)
{
    while (at && row_cmp(order->by, order->heap[at], order->heap[(at - 1) / 2]) > 0) {
        struct query_row *t = order->heap[at];
        order->heap[at] = order->heap[(at - 1) / 2];
        order->heap[(at - 1) / 2] = t;
        at = (at - 1) / 2;
    }
}

static sv keep(char **room, sv text)
{
    char *to = *room;
    if (text.len)
        memcpy(to, text.ptr, text.len);
    *room += text.len;
    return sv_make(to, text.len);
}

static err_code fill(struct slot *s, const struct query_order_by *by, const struct query_match *m,
                     struct buf *key, struct err *e)
{
    const struct search_subject subject = { m->v.type, m->v.id, m->v.instant_ms, m->root };
    char *room = s->room;
    s->row.id = (struct search_id){ m->v.type, keep(&room, m->v.id) };
    s->row.number = m->v.number;
    for (size_t i = 0; i < by->n_sort; i++) {
        buf_clear(key);
        TRY(search_sort_key(by->sort[i].param, &subject, by->sort[i].descending, key, e));
        s->row.keys[i] = keep(&room, sv_head(buf_sv(key), SEARCH_SORT_KEY_MAX));
    }
    return ERR_OK;
}

/* Put the candidate, which is in the spare slot, among the rows if it belongs there. *spare becomes
 * the slot that is free then. */
static void offer(struct query_order *order, struct query_row **spare)
{
    struct query_row_list *l = &order->list;
    struct query_row *x = *spare;
    /* It was on an earlier page. */
    if (order->by->after && row_cmp(order->by, x, order->by->after) <= 0)
        return;
    if (l->n < order->by->count) {
        order->heap[l->n] = x;
        sift_up(order, l->n++);
        *spare = l->n <= order->by->count ? &order->slots[l->n].row : NULL;
        return;
    }
    l->more = true;
    if (row_cmp(order->by, x, order->heap[0]) < 0) {
        *spare = order->heap[0];
        order->heap[0] = x;
        sift_down(order, 0);
    }
}

void query_order_free(struct query_order *order)
{
    if (order == NULL)
        return;
    free(order->slots);
    free(order->heap);
    free(order);
}

const struct query_row_list *query_order_rows(const struct query_order *order)
{
    return &order->list;
}

static err_code gather(struct query_order *order, struct err *e)
{
    CLEANUP(query_walk_close) struct query_walk *walk = NULL;
    CLEANUP_BUF struct buf key = BUF_INIT(4096);
    struct query_row *spare = &order->slots[0].row;
    struct query_match m;
    err_code rc;
    TRY(query_walk_open(order->q, NULL, &walk, e));
    while ((rc = query_walk_next(walk, 0, &m, e)) == ERR_OK) {
        /* The row is the first member of its slot. */
        TRY(fill((struct slot *)(void *)spare, order->by, &m, &key, e));
        offer(order, &spare);
        order->list.total++;
    }
    if (rc == ERR_TIMEOUT)
        return ERR(
            e, rc,
            "Too many resources match to put them in an order in time: narrow the search, or "
            "drop _sort");
    return rc == ERR_EOF ? ERR_OK : rc;
}

err_code query_order_find(const struct query *query, const struct query_order_by *by,
                          struct query_order **out, struct err *e)
{
    CLEANUP(query_order_free) struct query_order *order = calloc(1, sizeof *order);
    if (order == NULL)
        abort();
    order->q = query;
    order->by = by;
    order->slots = calloc(by->count + 1, sizeof *order->slots);
    order->heap = calloc(by->count + 1, sizeof(struct query_row *));
    if (order->slots == NULL || order->heap == NULL)
        abort();
    TRY(gather(order, e));
    qsort_r(order->heap, order->list.n, sizeof(struct query_row *), by_row, (void *)(uintptr_t)by);
    order->list.rows = order->heap;
    *out = order;
    order = NULL;
    return ERR_OK;
}
