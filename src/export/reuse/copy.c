/* copy.c - a range made of the objects of an earlier export, and the check of some of them.
 *
 * The plan says which ranges can be copied. Names are those that the range would be written to, so
 * a run after a crash comes to the same names, whichever way it goes. A copy that does not come
 * about is no failure: the plan's item loses its earlier note, and the range is written (turns.c).
 *
 * Some ranges are made of the data store before they are copied, into files that stand nowhere, and
 * their digests and sums are compared with the note. A difference means that what is remembered is
 * wrong: the export fails, and the next one writes everything. When the endpoint refuses copies, a
 * range is written, and that is compared. */
#include "export/range_private.h"
#include "export/reuse/reuse.h"

#include "codec/hash.h"

static bool number(yyjson_val *v, const char *name, uint64_t *out)
{
    return sv_to_u64(json_number(json_get(v, name)), out);
}

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "what an earlier export left is damaged");
}

/* The sums that the note has, as if its resources had been written. */
static err_code take_sums(struct export_range *g, yyjson_val *note, struct err *e)
{
    struct export_type_sum *all = &g->all;
    uint64_t said;
    if (!fhir_digest_read(json_string(json_get(note, "sum")), &all->sum) ||
        !number(note, "count", &said) || said != g->total)
        return damaged(e);
    all->n = said;
    if (number(note, "rewritten", &all->n_rewritten)) {
        all->was = all->sum;
        if (!fhir_digest_read(json_string(json_get(note, "servedSum")), &all->is))
            return damaged(e);
    }
    g->has_met = number(note, "met", &g->met);
    return ERR_OK;
}

static err_code copy_object(struct export_range *g, yyjson_val *v, struct err *e)
{
    struct export_job *export = g->export;
    struct export_object o;
    struct sink_earlier from = { .bucket = export->plan.earlier_bucket,
                                 .mark = json_string(json_get(v, "mark")) };
    struct sent *s = range_sent_add(g);
    if (s == NULL)
        return arena_oom(g->a, e);
    if (!export_object_read(v, false, &o) || o.deleted ||
        !hash_unhex(o.sha256, from.object.sha256, sizeof from.object.sha256))
        return damaged(e);
    from.key = arena_fmt(g->a, "%.*s%.*s", SV_FMT(export->plan.earlier_folder), SV_FMT(o.name));
    from.object.bytes = o.bytes;
    s->name = range_object_name(g->a, export, g->range, false, g->n_objects);
    s->sha256 = o.sha256;
    s->count = o.count;
    s->bytes = o.bytes;
    s->reused = true;
    if (from.key.ptr == NULL || s->name.ptr == NULL)
        return arena_oom(g->a, e);
    TRY(sink_copy_send(export->sink, &from, s->name, EXPORT_NDJSON, &s->sending, e));
    g->n_objects++;
    g->total += o.count;
    g->bytes += o.bytes;
    return ERR_OK;
}

err_code range_copy_begin(struct export_range *g, struct err *e)
{
    yyjson_val *note = g->export->plan.items[g->range].earlier, *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(note, "objects"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        TRY(export_goes_on(g->export->run, e));
        TRY(export_share_holds(g->export, g->range, e));
        TRY(copy_object(g, v, e));
    }
    TRY(take_sums(g, note, e));
    g->phase = RANGE_COPIED;
    return ERR_OK;
}

err_code range_copy_end(struct export_range *g, struct err *e)
{
    for (const struct sent *s = g->sent; s; s = s->next) {
        TRY(export_object_take(g->export, e));
        TRY(export_room_take(g->export, s->bytes, e));
    }
    export_progress_reused(g->export, g->n_objects, g->bytes);
    g->told_lines = g->total;
    g->told_bytes = g->bytes;
    export_progress_add(g->export, (int64_t)g->total, (int64_t)g->bytes);
    return ERR_OK;
}

/* ---- the check ---- */

static bool same_text(yyjson_val *note, const char *name, const struct fhir_digest *digest)
{
    char hex[FHIR_DIGEST_HEX];
    fhir_digest_hex(digest, hex);
    return sv_eq(json_string(json_get(note, name)), sv_make(hex, sizeof hex));
}

/* What is told of resources that were served otherwise than they are stored. */
static bool same_served(yyjson_val *note, const struct export_type_sum *all)
{
    uint64_t rewritten;
    if (number(note, "rewritten", &rewritten) != (all->n_rewritten > 0))
        return false;
    const struct fhir_digest served = export_sum_served(all);
    return all->n_rewritten == 0 ||
           (rewritten == all->n_rewritten && same_text(note, "servedSum", &served));
}

static bool is_same(const struct export_range *g, yyjson_val *note)
{
    yyjson_val *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(note, "objects"));
    const struct sent *s = g->sent;
    uint64_t met = 0;
    for (; (v = yyjson_arr_iter_next(&it)) != NULL; s = s->next) {
        struct export_object o;
        if (s == NULL || !export_object_read(v, false, &o) || o.deleted || o.count != s->count ||
            o.bytes != s->bytes || !sv_eq(o.sha256, s->sha256))
            return false;
    }
    return s == NULL && same_text(note, "sum", &g->all.sum) && same_served(note, &g->all) &&
           number(note, "met", &met) == g->has_met && (!g->has_met || met == g->met);
}

err_code range_copy_check(struct export_range *g, struct err *e)
{
    const struct export_item *item = &g->export->plan.items[g->range];
    if (!export_item_awaits_check(item) || is_same(g, item->earlier))
        return ERR_OK;
    export_reuse_forget(g->export);
    return ERR(e, ERR_INTERNAL,
               "an object that an earlier export wrote is not what the data store holds, though "
               "nothing has changed in it; nothing of that export is used any more: start a new "
               "job");
}

err_code range_check_end(struct export_range *g, struct err *e)
{
    for (struct sent *s = g->sent; s; s = s->next)
        TRY(range_sent_wait(g, s, e));
    TRY(range_copy_check(g, e));
    /* the range is one worker's alone */
    g->export->plan.items[g->range].checked = true;
    g->checks = false;
    g->sent = NULL;
    g->last_sent = &g->sent;
    g->n_objects = 0;
    g->total = g->bytes = g->met = 0;
    g->has_met = false;
    g->all = (struct export_type_sum){ 0 };
    return range_copy_begin(g, e);
}
