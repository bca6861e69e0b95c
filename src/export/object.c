/* object.c - the objects of a range, and the note of what the range came to.
 *
 * An object's name says the same for the same job, range and place, so a range that is written
 * again replaces what it wrote before. When an object is closed, its lines and bytes, which were
 * counted as they were made, must be those that left. */
#include "export/range_private.h"

#include "codec/hash.h"

/* <Type>/<Type>-<int64>-<digit>-<seq>.ndjson: the same for the same job, range and place. */
sv range_object_name(struct arena *a, const struct export_job *export, size_t range, bool deleted,
                     unsigned seq)
{
    unsigned char d[SHA256_LEN];
    const char *type = fhir_type_name(export->plan.items[range].range.type);
    const char *folder = export->plan.items[range].kind == EXPORT_BLOCKS ? "by-patient" : type;
    sv seed = arena_fmt(a, "%.*s/%s/%zu", SV_FMT(export->run->job->id), type, range);
    hash_sha256_of(seed, d);
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | d[i];
    n &= INT64_MAX;
    return arena_fmt(a, "%s/%s-%llu-%zu-%u.ndjson", deleted ? "deleted" : folder, type,
                     (unsigned long long)(n ? n : 1), range % 10, seq);
}

err_code range_object_open(struct export_range *g, struct err *e)
{
    g->count = g->written = g->newlines = g->entries = g->heads = 0;
    if (g->checks) {
        g->file = sink_file_nowhere();
        return ERR_OK;
    }
    g->name = range_object_name(g->a, g->export, g->range, g->deletions == DELETIONS_WRITTEN,
                                g->n_objects);
    TRY(export_object_take(g->export, e));
    return sink_file_create(g->export->sink, g->name, EXPORT_NDJSON, g->export->plan.object_bytes,
                            &g->file, e);
}

struct sent *range_sent_add(struct export_range *g)
{
    struct sent *s = arena_calloc(g->a, 1, sizeof *s);
    if (s) {
        *g->last_sent = s;
        g->last_sent = &s->next;
    }
    return s;
}

err_code range_object_close(struct export_range *g, struct err *e)
{
    uint64_t bytes;
    struct sent *s = range_sent_add(g);
    if (s == NULL)
        return arena_oom(g->a, e);
    if (!g->checks)
        TRY(export_share_holds(g->export, g->range, e));
    s->name = g->name;
    TRY(sink_file_send(&g->file, &bytes, &s->sending, e));
    if (g->newlines != g->count || bytes != g->written)
        return ERR(e, ERR_INTERNAL,
                   "an object holds %llu lines and %llu bytes where %llu and %llu were written",
                   (unsigned long long)g->newlines, (unsigned long long)bytes,
                   (unsigned long long)g->count, (unsigned long long)g->written);
    s->deleted = g->deletions == DELETIONS_WRITTEN;
    s->entries = g->entries;
    /* heads are no resources */
    s->count = g->count - g->heads;
    s->bytes = bytes;
    s->blocks = g->heads;
    if (g->blocks && g->phase == RANGE_OBJECT_FULL && range_same_block(g))
        s->continues = range_object_name(g->a, g->export, g->range, false, g->n_objects + 1);
    if (!s->deleted) {
        g->total += s->count;
        g->bytes += s->bytes;
    }
    g->n_objects++;
    return ERR_OK;
}

err_code range_sent_wait(struct export_range *g, struct sent *s, struct err *e)
{
    struct sink_object o;
    char hex[SHA256_HEX_LEN];
    TRY(sink_sending_wait(&s->sending, &o, &s->mark, e));
    /* of a copy it is known, and of what was written now */
    if (s->sha256.len)
        return ERR_OK;
    hash_hex(o.sha256, sizeof o.sha256, hex);
    s->sha256 = arena_sv(g->a, sv_make(hex, sizeof hex));
    return s->sha256.ptr ? ERR_OK : arena_oom(g->a, e);
}

void range_remove_late(struct export_range *g)
{
    const struct job_run *run = g->export->run;
    atomic_bool never = false;
    /* whoever is to stop does this yet */
    struct job_run still = { .world = run->world,
                             .job = run->job,
                             .place = run->place,
                             .store = run->store,
                             .halt = &never };
    struct sink *sink;
    struct err e;
    if (g->export->share == NULL || g->sent == NULL || export_share_has(g->export, g->range) ||
        !job_run_is_given_up(g->export->run) || export_sink_open(&still, &sink, &e) != ERR_OK)
        return;
    for (const struct sent *s = g->sent; s; s = s->next)
        if (s->name.len)
            IGNORE(sink_delete(sink, s->name, &e));
    sink_close(sink);
}

static void write_object(struct export_range *g, const struct sent *s)
{
    json_obj(&g->w);
    json_kv_str(&g->w, "name", s->name);
    if (s->deleted) {
        json_kv_bool(&g->w, "deleted", true);
        json_kv_u64(&g->w, "entries", s->entries);
    }
    json_kv_u64(&g->w, "count", s->count);
    json_kv_u64(&g->w, "bytes", s->bytes);
    json_kv_str(&g->w, "sha256", s->sha256);
    if (g->blocks)
        json_kv_u64(&g->w, "blocks", s->blocks);
    if (s->continues.len)
        json_kv_str(&g->w, "continues", s->continues);
    if (s->mark.len)
        json_kv_str(&g->w, "mark", sink_mark_sv(&s->mark));
    if (s->reused)
        json_kv_bool(&g->w, "reused", true);
    json_obj_end(&g->w);
}

static void write_sums(struct export_range *g, const struct export_type_sum *s)
{
    char hex[FHIR_DIGEST_HEX];
    fhir_digest_hex(&s->sum, hex);
    json_kv_str(&g->w, "sum", sv_make(hex, sizeof hex));
    if (s->n_rewritten == 0)
        return;
    const struct fhir_digest served = export_sum_served(s);
    json_kv_u64(&g->w, "rewritten", s->n_rewritten);
    fhir_digest_hex(&served, hex);
    json_kv_str(&g->w, "servedSum", sv_make(hex, sizeof hex));
}

static void write_types(struct export_range *g)
{
    json_key(&g->w, "types");
    json_arr(&g->w);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        if (g->types[t].n == 0)
            continue;
        json_obj(&g->w);
        json_kv_str(&g->w, "type", sv_from(fhir_type_name((fhir_type)t)));
        json_kv_u64(&g->w, "count", g->types[t].n);
        write_sums(g, &g->types[t]);
        json_obj_end(&g->w);
    }
    json_arr_end(&g->w);
}

err_code range_note_write(struct export_range *g, struct err *e)
{
    char name[32], hex[FHIR_DIGEST_HEX];
    json_writer_init(&g->w, &g->note);
    json_obj(&g->w);
    json_key(&g->w, "objects");
    json_arr(&g->w);
    for (const struct sent *s = g->sent; s; s = s->next)
        write_object(g, s);
    json_arr_end(&g->w);
    json_kv_u64(&g->w, "count", g->total);
    if (g->has_met)
        json_kv_u64(&g->w, "met", g->met);
    write_sums(g, &g->all);
    fhir_digest_hex(&g->deleted_sum, hex);
    json_kv_str(&g->w, "deletedSum", sv_make(hex, sizeof hex));
    if (g->types)
        write_types(g);
    if (!g->blocks)
        json_kv_str(&g->w, "type",
                    sv_from(fhir_type_name(g->export->plan.items[g->range].range.type)));
    TRY(export_instant_holds(g->export, e));
    /* over several nodes a range has its own place: then no two have one */
    const bool shared = g->export->share != NULL;
    size_t place = shared ? g->range : export_place_take(g->export);
    json_kv_u64(&g->w, "place", place);
    json_obj_end(&g->w);
    (void)snprintf(name, sizeof name, "done/%08zu", g->range);
    err_code rc = json_writer_end(&g->w, e);
    if (shared)
        return rc == ERR_OK ? export_share_note(g->export, g->range, buf_sv(&g->note), e) : rc;
    /* A note that the machine's end takes costs this range being written once more, to the same
     * names, so no worker waits for the disk; a place that a client has been told of must not be
     * given away. */
    if (rc == ERR_OK)
        rc = (g->export->params->partial_manifests ? job_run_note_put : job_run_note_put_unsynced)(
            g->export->run, sv_from(name), buf_sv(&g->note), e);
    if (rc != ERR_OK)
        export_place_give_back(g->export, place);
    return rc;
}
