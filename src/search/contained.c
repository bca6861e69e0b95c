/* contained.c - the resources that stand inside another, by id, and which of them a chain has
 * looked at.
 * Source: FHIR R4 references.html#contained; search.html 3.1.1.5.5 (chains look inside). */
#include "search/search_private.h"

struct contained_answer {
    struct contained_answer *next;
    const void *criterion;
    bool asked[]; /* by item */
};

void contained_init(struct contained *contained, yyjson_val *holder)
{
    *contained = (struct contained){ .holder = holder };
}

void contained_done(struct contained *contained)
{
    for (size_t i = 0; i < contained->n; i++)
        buf_done(&contained->items[i].entries);
    free(contained->items);
    for (struct contained_answer *a = contained->answers, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    *contained = (struct contained){ 0 };
}

static int by_id(const void *a, const void *b)
{
    const struct contained_item *x = a, *y = b;
    int c = sv_cmp(x->id, y->id);
    /* as they stand */
    return c ? c : (x->root > y->root) - (x->root < y->root);
}

static void find_all(struct contained *contained)
{
    yyjson_val *list = json_get(contained->holder, "contained"), *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    size_t n = yyjson_is_arr(list) ? yyjson_arr_size(list) : 0;
    contained->ready = true;
    if (n == 0)
        return;
    contained->items = calloc(n, sizeof *contained->items);
    if (contained->items == NULL)
        abort();
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        struct contained_item x = { .id = json_string(json_get(v, "id")),
                                    .type =
                                        fhir_type_find(json_string(json_get(v, "resourceType"))),
                                    .root = v };
        buf_init(&x.entries, CONTAINED_BYTES_MAX);
        if (x.id.len && x.type)
            contained->items[contained->n++] = x;
    }
    qsort(contained->items, contained->n, sizeof *contained->items, by_id);
}

struct contained_item *contained_find(struct contained *contained, sv reference)
{
    if (reference.len < 2 || reference.ptr[0] != '#')
        return NULL;
    if (!contained->ready)
        find_all(contained);
    sv id = sv_tail(reference, 1);
    size_t lo = 0, hi = contained->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (sv_cmp(contained->items[mid].id, id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < contained->n && sv_eq(contained->items[lo].id, id) ? &contained->items[lo] : NULL;
}

bool contained_asked(struct contained *contained, const struct contained_item *item,
                     const void *criterion)
{
    struct contained_answer *a = contained->answers;
    while (a && a->criterion != criterion)
        a = a->next;
    if (a == NULL) {
        a = calloc(1, sizeof *a + contained->n * sizeof a->asked[0]);
        if (a == NULL)
            abort();
        a->criterion = criterion;
        a->next = contained->answers;
        contained->answers = a;
    }
    bool asked = a->asked[item - contained->items];
    a->asked[item - contained->items] = true;
    return asked;
}
