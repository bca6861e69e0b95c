/* ids.c - a set of ids in a buf: one byte of length, then the id.
 *
 * Ids are added as they are found. export_ids_sort() puts them into the order of their bytes, each once,
 * which is the order in which the store has them. */
#include "export/export_private.h"

err_code export_ids_add(struct buf *ids, sv id, struct err *e)
{
    TRY(buf_add_char(ids, (char)id.len, e));
    return buf_add(ids, id, e);
}

bool export_ids_next(const struct buf *ids, size_t *at, sv *out)
{
    if (*at >= ids->len)
        return false;
    *out = sv_make(ids->ptr + *at + 1, (unsigned char)ids->ptr[*at]);
    *at += 1 + out->len;
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

void export_ids_sort(struct buf *ids)
{
    size_t n = 0, at = 0, k = 0, len = 0;
    sv id;
    while (export_ids_next(ids, &at, &id))
        n++;
    sv *rows = malloc((n + 1) * sizeof *rows);
    char *sorted = malloc(ids->len + 1);
    if (rows == NULL || sorted == NULL)
        abort();
    for (at = 0; export_ids_next(ids, &at, &rows[k]);)
        k++;
    qsort(rows, n, sizeof *rows, by_bytes);
    for (size_t i = 0; i < n; i++) {
        if (i && sv_eq(rows[i - 1], rows[i]))
            continue;
        sorted[len++] = (char)rows[i].len;
        memcpy(sorted + len, rows[i].ptr, rows[i].len);
        len += rows[i].len;
    }
    if (len)
        memcpy(ids->ptr, sorted, len);
    ids->len = len;
    free(sorted);
    free(rows);
}
