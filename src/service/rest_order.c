/* rest_order.c - the matches of a sorted page: all are walked, and a heap keeps the few that come next.
 *
 * A page begins behind the keys and the id of the last match before it, not at an offset: memory is that of one
 * page, however many match, and pages fit together without a list that stands between them. */
#include "service/rest_page.h"

#include "codec/hash.h"

struct slot { /* a row and the room of its texts */
    struct rest_row row;
    char room[PAGE_SORT_MAX * SEARCH_SORT_KEY_MAX + FHIR_ID_MAX];
};

struct rest_order {
    const struct rest_page *p;
    struct slot *slots; /* count + 1; the last one is that of the candidate */
    struct rest_row **heap;
    const struct rest_row **rows;
    struct rest_row_list list;
};

static int row_cmp(const struct rest_page *p, const struct rest_row *x, const struct rest_row *y)
{
    for (size_t i = 0; i < p->n_sort; i++) {
        if ((x->keys[i].len == 0) != (y->keys[i].len == 0))
            return x->keys[i].len == 0 ? 1 : -1; /* without a value: last, either way */
        int c = sv_cmp(x->keys[i], y->keys[i]);
        if (c)
            return p->sort[i].descending ? -c : c;
    }
    return search_id_cmp(&x->id, &y->id);
}

static int by_row(const void *a, const void *b, void *page)
{
    return row_cmp(page, *(const struct rest_row *const *)a, *(const struct rest_row *const *)b);
}

/* The greatest row stands at the top. */
static void sift_down(struct rest_order *o, size_t at)
{
    for (;;) {
        size_t top = at, l = 2 * at + 1, r = l + 1;
        if (l < o->list.n && row_cmp(o->p, o->heap[l], o->heap[top]) > 0)
            top = l;
        if (r < o->list.n && row_cmp(o->p, o->heap[r], o->heap[top]) > 0)
            top = r;
        if (top == at)
            return;
        struct rest_row *t = o->heap[at];
        o->heap[at] = o->heap[top];
        o->heap[top] = t;
        at = top;
    }
}

static void sift_up(struct rest_order *o, size_t at)
{
    while (at && row_cmp(o->p, o->heap[at], o->heap[(at - 1) / 2]) > 0) {
        struct rest_row *t = o->heap[at];
        o->heap[at] = o->heap[(at - 1) / 2];
        o->heap[(at - 1) / 2] = t;
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

static err_code fill(struct slot *s, const struct rest_page *p, const struct rest_match *m,
                     struct buf *key, struct err *e)
{
    const struct search_subject subject = { m->v.type, m->v.id, m->v.instant_ms, m->root };
    char *room = s->room;
    s->row.id = (struct search_id){ m->v.type, keep(&room, m->v.id) };
    for (size_t i = 0; i < p->n_sort; i++) {
        buf_clear(key);
        TRY(search_sort_key(p->sort[i].param, &subject, p->sort[i].descending, key, e));
        s->row.keys[i] = keep(&room, sv_head(buf_sv(key), SEARCH_SORT_KEY_MAX));
    }
    return ERR_OK;
}

/* The candidate stands in the last slot. */
static void offer(struct rest_order *o, struct rest_row **spare)
{
    struct rest_row_list *l = &o->list;
    struct rest_row *x = *spare;
    if (o->p->after && row_cmp(o->p, x, o->p->after) <= 0)
        return; /* on a page before this one */
    if (l->n < o->p->count) {
        o->heap[l->n] = x;
        sift_up(o, l->n++);
        *spare = l->n <= o->p->count ? &o->slots[l->n].row : NULL;
        return;
    }
    l->more = true;
    if (row_cmp(o->p, x, o->heap[0]) < 0) {
        *spare = o->heap[0];
        o->heap[0] = x;
        sift_down(o, 0);
    }
}

void rest_order_free(struct rest_order *o)
{
    if (o == NULL)
        return;
    free(o->slots);
    free(o->heap);
    free(o);
}

const struct rest_row_list *rest_order_rows(const struct rest_order *o)
{
    return &o->list;
}

static err_code gather(struct rest_order *o, struct err *e)
{
    CLEANUP(rest_walk_close) struct rest_walk *w = NULL;
    CLEANUP_BUF struct buf key = BUF_INIT(4096);
    struct rest_row *spare = &o->slots[0].row;
    struct rest_match m;
    err_code rc;
    TRY(rest_walk_open(&o->p->q, NULL, &w, e));
    while ((rc = rest_walk_next(w, 0, &m, e)) == ERR_OK) {
        /* a row is the first member of its slot */
        TRY(fill((struct slot *)(void *)spare, o->p, &m, &key, e));
        offer(o, &spare);
        o->list.total++;
    }
    if (rc == ERR_TIMEOUT)
        return ERR(
            e, rc,
            "Too many resources match to put them in an order in time: narrow the search, or "
            "drop _sort");
    return rc == ERR_EOF ? ERR_OK : rc;
}

err_code rest_order_find(struct rest_page *p, struct rest_order **out, struct err *e)
{
    CLEANUP(rest_order_free) struct rest_order *o = calloc(1, sizeof *o);
    if (o == NULL)
        abort();
    o->p = p;
    o->slots = calloc(p->count + 1, sizeof *o->slots);
    o->heap = calloc(p->count + 1, sizeof(struct rest_row *));
    if (o->slots == NULL || o->heap == NULL)
        abort();
    TRY(gather(o, e));
    qsort_r(o->heap, o->list.n, sizeof(struct rest_row *), by_row, p);
    o->list.rows = o->heap;
    *out = o;
    o = NULL;
    return ERR_OK;
}

/* ---- KEY.KEY-ID, keys in hexadecimal digits ---- */

sv rest_order_place(const struct rest_page *p, const struct rest_row *last)
{
    CLEANUP_BUF struct buf b = BUF_INIT(8192);
    char hex[2 * SEARCH_SORT_KEY_MAX];
    struct err ignored; /* the cap is far above what rows can hold */
    for (size_t i = 0; i < p->n_sort; i++) {
        hash_hex((const uint8_t *)last->keys[i].ptr, last->keys[i].len, hex);
        if ((i && buf_add_char(&b, '.', &ignored) != ERR_OK) ||
            buf_add(&b, sv_make(hex, 2 * last->keys[i].len), &ignored) != ERR_OK)
            return SV_NONE;
    }
    return arena_fmt(p->c->a, "%llu-s-%.*s-%.*s", (unsigned long long)p->as_of, SV_FMT(buf_sv(&b)),
                     SV_FMT(last->id.id));
}

static bool unhex(sv text, char *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        out[i / 2] = (char)(i % 2 ? out[i / 2] | v : v << 4);
    }
    return true;
}

bool rest_order_place_read(struct rest_page *p, sv text)
{
    sv keys, one;
    struct slot *s = arena_calloc(p->c->a, 1, sizeof *s);
    char *room = s ? s->room : NULL;
    if (s == NULL || !sv_cut(&text, '-', &keys) || !fhir_id_ok(text))
        return false;
    s->row.id = (struct search_id){ p->types[0], keep(&room, text) };
    for (; sv_cut(&keys, '.', &one); p->n_after++) {
        if (p->n_after == PAGE_SORT_MAX || one.len % 2 || one.len / 2 > SEARCH_SORT_KEY_MAX ||
            !unhex(one, room))
            return false;
        s->row.keys[p->n_after] = sv_make(room, one.len / 2);
        room += one.len / 2;
    }
    p->after = &s->row;
    return true;
}
