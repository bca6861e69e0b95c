/* partial.c - allowPartialManifests: the manifest of an export that still runs, as far as it will
 * not change.
 *
 * Ranges have places in the order in which they came in. A place that is taken may not be written
 * down yet, so what is shown ends at the first place that is not there: later ones wait for it. So
 * the list only grows at its end, over restarts too, and pages that were full stay as they are.
 * Deletions come with the complete manifest, which has them behind all else. */
#include "export/export_private.h"

#define NOTES_MAX (1u << 30)

struct shown {
    struct arena *a;
    struct buf objects; /* of struct export_object */
    struct buf places;  /* of uint64_t: of ranges, those without objects too */
    err_code rc;
    struct err *e;
};

static err_code add_range(struct shown *s, sv text)
{
    yyjson_doc *doc;
    uint64_t place, nth = 0;
    text = arena_sv(s->a, text);
    if (text.ptr == NULL)
        return arena_oom(s->a, s->e);
    if (json_read(s->a, text, 5, &doc, s->e) != ERR_OK)
        return ERR(s->e, ERR_CORRUPT, "the export's notes are damaged");
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    /* an older version's: with the complete manifest */
    if (!sv_to_u64(json_number(json_get(root, "place")), &place))
        return ERR_OK;
    sv type = json_string(json_get(root, "type"));
    TRY(buf_add(&s->places, sv_make(&place, sizeof place), s->e));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "objects"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        struct export_object o;
        if (!export_object_read(v, type.len == 0, &o))
            return ERR(s->e, ERR_CORRUPT, "the export's notes are damaged");
        o.type = fhir_type_find(type);
        o.place = place;
        o.nth = nth++;
        if (!o.deleted)
            TRY(buf_add(&s->objects, sv_make(&o, sizeof o), s->e));
    }
    return ERR_OK;
}

/* records_each_fn */
static bool each_note(void *ctx, sv key, sv value)
{
    struct shown *s = ctx;
    (void)key;
    s->rc = add_range(s, value);
    return s->rc == ERR_OK;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The first place that is not there. */
static uint64_t first_gap(struct buf *places)
{
    uint64_t *p = (uint64_t *)(void *)places->ptr;
    size_t n = places->len / sizeof *p, i = 0;
    if (n)
        qsort(p, n, sizeof *p, by_number);
    while (i < n && p[i] == i)
        i++;
    return i;
}

static err_code write_shown(struct shown *s, const struct job *j, struct buf *out, struct err *e)
{
    struct export_object *o = (struct export_object *)(void *)s->objects.ptr;
    size_t n = s->objects.len / sizeof *o, kept = 0;
    uint64_t gap = first_gap(&s->places);
    char instant[INSTANT_LEN];
    struct json_writer w;
    for (size_t i = 0; i < n; i++)
        if (o[i].place < gap)
            o[kept++] = o[i];
    if (kept)
        qsort(o, kept, sizeof *o, export_object_by_place);
    instant_format(j->transaction_ms, instant);
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "transactionTime", sv_make(instant, sizeof instant));
    if (j->params->organize_by_patient)
        json_kv_str(&w, "outputOrganizedBy", SV_LIT("Patient"));
    export_manifest_files(&w, "output", j, o, kept, false, s->a);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

err_code export_partial_manifest(struct records *r, const struct job *j, struct buf *out,
                                 struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(NOTES_MAX);
    struct shown s = { .a = a, .e = e };
    buf_init(&s.objects, NOTES_MAX);
    buf_init(&s.places, NOTES_MAX);
    sv prefix = arena_fmt(a, "jobnote/%.*s/done/", SV_FMT(j->id));
    err_code rc = records_scan(r, prefix, SV_NONE, each_note, &s, e);
    if (rc == ERR_OK)
        rc = s.rc;
    if (rc == ERR_OK)
        rc = write_shown(&s, j, out, e);
    buf_done(&s.objects);
    buf_done(&s.places);
    return rc;
}
