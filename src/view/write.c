/* write.c - a row as a line of CSV (RFC 4180, lines end with \n) or of NDJSON.
 *
 * NDJSON has null for nothing and an array for a collection. In CSV nothing is an empty field, an
 * empty text is "", and objects and collections are their JSON. Numbers of a resource keep their
 * digits. */
#include "view/view_private.h"

#define OBJECT_BYTES ((size_t)256 << 20)

static err_code put_quoted(sv text, struct buf *out, struct err *e)
{
    TRY(buf_add_char(out, '"', e));
    for (size_t at = 0; at < text.len;) {
        size_t n = sv_find(sv_tail(text, at), '"');
        TRY(buf_add(out, sv_make(text.ptr + at, n), e));
        at += n;
        if (at < text.len) {
            TRY(buf_add(out, SV_LIT("\"\""), e));
            at++;
        }
    }
    return buf_add_char(out, '"', e);
}

static err_code put_field(sv text, struct buf *out, struct err *e)
{
    bool quote = text.len == 0 || text.ptr[0] == ' ' || text.ptr[text.len - 1] == ' ';
    for (size_t i = 0; !quote && i < text.len; i++)
        quote =
            text.ptr[i] == ',' || text.ptr[i] == '"' || text.ptr[i] == '\n' || text.ptr[i] == '\r';
    return quote ? put_quoted(text, out, e) : buf_add(out, text, e);
}

static bool is_nothing(const struct fhirpath_list *cell)
{
    return cell->n == 0 || view_is_nothing(&cell->items[0]);
}

static bool is_object(const struct fhirpath_item *item)
{
    return item->kind == FHIRPATH_NODE && yyjson_is_ctn(item->json);
}

static void put_json(struct json_writer *w, const struct fhirpath_list *cell, bool collection,
                     struct arena *scratch)
{
    if (collection)
        json_arr(w);
    for (size_t i = 0; i < cell->n; i++)
        fhirpath_write(w, &cell->items[i], scratch);
    if (collection)
        json_arr_end(w);
}

static err_code put_csv(const struct fhirpath_list *cell, bool collection, struct arena *scratch,
                        struct buf *out, struct err *e)
{
    const struct fhirpath_item *item = cell->n ? &cell->items[0] : NULL;
    if (!collection && !(item && is_object(item))) {
        if (is_nothing(cell))
            return ERR_OK;
        sv text = fhirpath_text(item, scratch);
        return text.ptr ? put_field(text, out, e) : arena_oom(scratch, e);
    }
    CLEANUP_BUF struct buf json = BUF_INIT(out->max);
    struct json_writer w;
    json_writer_init(&w, &json);
    put_json(&w, cell, collection, scratch);
    TRY(json_writer_end(&w, e));
    return put_field(buf_sv(&json), out, e);
}

err_code view_text(const struct fhirpath_item *item, struct arena *scratch, sv *out, struct err *e)
{
    if (is_object(item)) {
        CLEANUP_BUF struct buf json = BUF_INIT(OBJECT_BYTES);
        struct json_writer w;
        json_writer_init(&w, &json);
        fhirpath_write(&w, item, scratch);
        TRY(json_writer_end(&w, e));
        *out = arena_sv(scratch, buf_sv(&json));
    } else {
        *out = fhirpath_text(item, scratch);
    }
    return out->ptr ? ERR_OK : arena_oom(scratch, e);
}

bool view_format_find(sv name, view_format *out)
{
    static const char *const names[] = {
        [VIEW_CSV] = "csv", [VIEW_NDJSON] = "ndjson", [VIEW_PARQUET] = "parquet"
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sv_eq_cstr(name, names[i])) {
            *out = (view_format)i;
            return true;
        }
    return false;
}

err_code view_write_head(const struct view *v, view_format format, struct buf *out, struct err *e)
{
    if (format != VIEW_CSV)
        return ERR_OK;
    for (size_t i = 0; i < v->n_columns; i++) {
        if (i)
            TRY(buf_add_char(out, ',', e));
        TRY(put_field(v->columns[i].name, out, e));
    }
    return buf_add_char(out, '\n', e);
}

static err_code put_object(const struct view *v, const struct fhirpath_list *cells,
                           struct arena *scratch, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    for (size_t i = 0; i < v->n_columns; i++) {
        bool collection = v->columns[i].collection;
        json_key(&w, v->keys[i]);
        if (!collection && is_nothing(&cells[i]))
            json_null(&w);
        else
            put_json(&w, &cells[i], collection, scratch);
    }
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code put_fields(const struct view *v, const struct fhirpath_list *cells,
                           struct arena *scratch, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < v->n_columns; i++) {
        if (i)
            TRY(buf_add_char(out, ',', e));
        TRY(put_csv(&cells[i], v->columns[i].collection, scratch, out, e));
    }
    return ERR_OK;
}

err_code view_write_row(const struct view *v, view_format format, const struct fhirpath_list *cells,
                        struct arena *scratch, struct buf *out, struct err *e)
{
    arena_mark mark = arena_mark_get(scratch);
    TRY(format == VIEW_CSV ? put_fields(v, cells, scratch, out, e)
                           : put_object(v, cells, scratch, out, e));
    arena_rewind(scratch, mark);
    return buf_add_char(out, '\n', e);
}
