/* manifest.c - the last object of an export: what is in it, and how to check it.
 *
 * The Bulk Data manifest with more members: per file its bytes and SHA-256, per type the count, the
 * commit that was exported, one digest over all files that does not depend on their order, and one
 * over the resources that does not depend on the files at all (docs/export-digest.md). What is not
 * named here is not part of the export. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define NOTES_MAX (1u << 30)

struct of_type {
    uint64_t count, bytes, entries; /* entries: deletions */
    uint64_t met;                   /* resources that the store holds, as far as all were met */
    bool all_met;
    struct fhir_digest sum, deleted; /* of the resources as they are stored */
    struct fhir_digest served;       /* as they stand in the files */
    uint64_t rewritten;              /* of which both differ */
};
struct gather {
    struct export_job *export;
    struct job_run *run;
    const struct export_plan *plan;
    struct of_type *types; /* by fhir_type */
    struct arena *a;
    struct buf objects; /* of struct export_object */
    bool *seen;
    err_code rc;
    struct err *e;
};

/* Digests of a range, or of a type within it. */
static err_code gather_sums(struct gather *gather, struct of_type *of, yyjson_val *from)
{
    struct fhir_digest sum, served;
    uint64_t rewritten;
    if (!fhir_digest_read(json_string(json_get(from, "sum")), &sum))
        return ERR(gather->e, ERR_CORRUPT, "the export's notes are damaged");
    served = sum;
    if (sv_to_u64(json_number(json_get(from, "rewritten")), &rewritten)) {
        if (!fhir_digest_read(json_string(json_get(from, "servedSum")), &served))
            return ERR(gather->e, ERR_CORRUPT, "the export's notes are damaged");
        of->rewritten += rewritten;
    }
    fhir_digest_add(&of->sum, &sum);
    fhir_digest_add(&of->served, &served);
    return ERR_OK;
}

/* What a range of blocks holds of each type. */
static err_code gather_types(struct gather *gather, yyjson_val *list, uint64_t said)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *v;
    uint64_t sum = 0;
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        fhir_type type = fhir_type_find(json_string(json_get(v, "type")));
        uint64_t n;
        if (type == FHIR_TYPE_NONE || !sv_to_u64(json_number(json_get(v, "count")), &n))
            return ERR(gather->e, ERR_CORRUPT, "the export's notes are damaged");
        gather->types[type].count += n;
        TRY(gather_sums(gather, &gather->types[type], v));
        sum += n;
    }
    return sum == said ? ERR_OK
                       : ERR(gather->e, ERR_INTERNAL, "a range's types do not add up to its count");
}

bool export_object_read(yyjson_val *v, bool organized, struct export_object *out)
{
    *out = (struct export_object){ .name = json_string(json_get(v, "name")),
                                   .deleted = json_get(v, "deleted") != NULL,
                                   .organized = organized,
                                   .continues = json_string(json_get(v, "continues")),
                                   .reused = json_get(v, "reused") != NULL,
                                   .sha256 = json_string(json_get(v, "sha256")) };
    return sv_to_u64(json_number(json_get(v, "count")), &out->count) &&
           sv_to_u64(json_number(json_get(v, "bytes")), &out->bytes) &&
           out->sha256.len == SHA256_HEX_LEN &&
           (!organized || (sv_to_u64(json_number(json_get(v, "blocks")), &out->blocks) &&
                           out->blocks <= out->count)) &&
           (!out->deleted || sv_to_u64(json_number(json_get(v, "entries")), &out->entries));
}

static err_code gather_range(struct gather *gather, uint64_t range, sv text)
{
    yyjson_doc *doc;
    text = arena_sv(gather->a, text);
    if (text.ptr == NULL)
        return arena_oom(gather->a, gather->e);
    if (json_read(gather->a, text, 5, &doc, gather->e) != ERR_OK)
        return ERR(gather->e, ERR_CORRUPT, "the export's notes are damaged");
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "objects"));
    uint64_t sum = 0, said = 0, place = 0, nth = 0;
    /* an older version's: 0 */
    IGNORE(!sv_to_u64(json_number(json_get(root, "place")), &place));
    const struct export_item *item = &gather->plan->items[range];
    struct of_type *of = &gather->types[item->range.type];
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        struct export_object o;
        if (!export_object_read(v, item->kind == EXPORT_BLOCKS, &o))
            return ERR(gather->e, ERR_CORRUPT, "the export's notes are damaged");
        o.type = item->range.type;
        o.place = place;
        o.nth = nth++;
        sum += o.deleted ? 0 : o.count;
        of->bytes += o.deleted ? 0 : o.bytes;
        of->entries += o.entries;
        TRY(buf_add(&gather->objects, sv_make(&o, sizeof o), gather->e));
    }
    if (!sv_to_u64(json_number(json_get(root, "count")), &said) || said != sum)
        return ERR(gather->e, ERR_INTERNAL, "a range's objects do not add up to its count");
    if (item->kind == EXPORT_BLOCKS)
        return gather_types(gather, json_get(root, "types"), said);
    struct fhir_digest gone;
    TRY(gather_sums(gather, of, root));
    if (!fhir_digest_read(json_string(json_get(root, "deletedSum")), &gone))
        return ERR(gather->e, ERR_CORRUPT, "the export's notes are damaged");
    fhir_digest_add(&of->deleted, &gone);
    of->count += said;
    uint64_t met;
    if (sv_to_u64(json_number(json_get(root, "met")), &met)) {
        if (said > met)
            return ERR(gather->e, ERR_INTERNAL, "a range holds more than the data store");
        of->met += met;
        of->all_met = true;
    }
    return ERR_OK;
}

static bool each_note(void *ctx, sv key, sv value)
{
    struct gather *gather = ctx;
    uint64_t range;
    if (!sv_to_u64(sv_tail(key, key.len - 8), &range) || range >= gather->plan->n) {
        gather->rc = ERR(gather->e, ERR_CORRUPT, "the export's notes are damaged");
    } else {
        gather->seen[range] = true;
        gather->rc = gather_range(gather, range, value);
    }
    return gather->rc == ERR_OK;
}

/* Every range is in; those of a type and kind cover all numbers, or all members: from the start,
 * end to end, to the end. (The Group of a Group export is a range of one number.) */
static err_code check_ranges(const struct gather *gather, struct err *e)
{
    const struct export_item *x = gather->plan->items;
    const char *what = "the export's ranges leave a gap or overlap";
    for (size_t i = 0; i < gather->plan->n; i++) {
        bool first = i == 0 || x[i - 1].range.type != x[i].range.type || x[i - 1].kind != x[i].kind;
        bool last = i + 1 == gather->plan->n || x[i + 1].range.type != x[i].range.type ||
                    x[i + 1].kind != x[i].kind;
        const struct store_range *r = &x[i].range;
        if (!gather->seen[i])
            return ERR(e, ERR_INTERNAL, "range %zu of the export is missing", i);
        if (x[i].kind == EXPORT_MEMBERS || x[i].kind == EXPORT_MOVED) {
            size_t n =
                x[i].kind == EXPORT_MOVED ? gather->export->moved.n : gather->export->now.members.n;
            if (x[i].first != (first ? 0 : x[i - 1].last) || x[i].last <= x[i].first ||
                (last && x[i].last != n))
                return ERR(e, ERR_INTERNAL, "%s", what);
            continue;
        }
        bool is_group =
            gather->export->params->level == JOB_EXPORT_GROUP && export_is_type(r->type, "Group");
        if (!is_group && ((first ? r->from != 0 : r->from != x[i - 1].range.to) ||
                          (last ? r->to != 0 : r->to == 0)))
            return ERR(e, ERR_INTERNAL, "%s", what);
    }
    return ERR_OK;
}

struct survey {
    const struct export_object **objects; /* by name */
    size_t n, n_good;
    bool *good; /* is there with the size it was written with; by its place among the objects */
    const struct export_object *first;
    struct job_run *run;
};

static int by_name(const void *a, const void *b)
{
    const struct export_object *const *x = a, *const *y = b;
    return sv_cmp((*x)->name, (*y)->name);
}

static bool survey_one(void *ctx, sv name, uint64_t bytes)
{
    struct survey *s = ctx;
    struct export_object wanted = { .name = name };
    const struct export_object *key = &wanted, **found;
    struct err ignored;
    found = bsearch(&key, s->objects, s->n, sizeof(const struct export_object *), by_name);
    if (found && (*found)->bytes == bytes && !s->good[*found - s->first]) {
        s->good[*found - s->first] = true;
        s->n_good++;
    }
    return s->n_good < s->n && export_goes_on(s->run, &ignored) == ERR_OK;
}

/* Lists tell of most objects in few requests. What they leave out is asked for one by one. */
static void survey(struct gather *gather, struct sink *sink, bool *good)
{
    const struct export_object *o = (const struct export_object *)(const void *)gather->objects.ptr;
    size_t n = gather->objects.len / sizeof *o;
    struct err ignored = { 0 };
    struct survey s = { .objects = calloc(n + 1, sizeof(const struct export_object *)),
                        .n = n,
                        .good = good,
                        .first = o,
                        .run = gather->run };
    if (s.objects == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        s.objects[i] = &o[i];
    qsort(s.objects, n, sizeof(const struct export_object *), by_name);
    IGNORE(sink_survey(sink, survey_one, &s, &ignored));
    free(s.objects);
}

static err_code ask_for_objects(struct gather *gather, struct sink *sink, const bool *good,
                                struct err *e)
{
    const struct export_object *o = (const struct export_object *)(const void *)gather->objects.ptr;
    for (size_t i = 0; i < gather->objects.len / sizeof *o; i++) {
        uint64_t bytes;
        TRY(export_goes_on(gather->run, e));
        if (good[i])
            continue;
        err_code rc = sink_stat(sink, o[i].name, &bytes, e);
        /* the role may write but not look; the peer acknowledged the object */
        if (rc == ERR_DENIED)
            continue;
        if (rc == ERR_NOT_FOUND)
            return ERR(e, ERR_PEER,
                       "an exported object was removed before the job ended; start a new job");
        TRY(rc);
        if (bytes != o[i].bytes)
            return ERR(e, ERR_PEER, "an exported object has another size than was written");
    }
    return ERR_OK;
}

/* Each object is there with the size it was written with. */
static err_code check_objects(struct gather *gather, struct sink *sink, struct err *e)
{
    bool *good = calloc(gather->objects.len / sizeof(struct export_object) + 1, sizeof *good);
    if (good == NULL)
        abort();
    survey(gather, sink, good);
    err_code rc = ask_for_objects(gather, sink, good, e);
    free(good);
    return rc;
}

static int by_type_then_name(const void *a, const void *b)
{
    const struct export_object *x = a, *y = b;
    return x->type != y->type ? (int)x->type - (int)y->type : sv_cmp(x->name, y->name);
}

int export_object_by_place(const void *a, const void *b)
{
    const struct export_object *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return x->nth < y->nth ? -1 : x->nth > y->nth;
}

/* SHA-256 over the files' SHA-256 in hex, sorted, each with a newline. */
static void digest_of_all(const struct export_object *o, size_t n, char out[SHA256_HEX_LEN])
{
    sv *all = malloc((n ? n : 1) * sizeof *all);
    unsigned char d[SHA256_LEN];
    struct hash_sha256 *h = hash_sha256_new();
    if (all == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        all[i] = o[i].sha256;
    qsort(all, n, sizeof *all, sv_by_bytes);
    for (size_t i = 0; i < n; i++) {
        hash_sha256_add(h, all[i]);
        hash_sha256_add(h, SV_LIT("\n"));
    }
    hash_sha256_take(h, d);
    hash_sha256_free(h);
    hash_hex(d, sizeof d, out);
    free(all);
}

void export_manifest_files(struct json_writer *w, const char *name, const struct job *j,
                           const struct export_object *o, size_t n, bool deleted, struct arena *a)
{
    json_key(w, name);
    json_arr(w);
    for (size_t i = 0; i < n; i++) {
        if (o[i].deleted != deleted)
            continue;
        json_obj(w);
        if (!o[i].organized)
            json_kv_str(w, "type", deleted ? SV_LIT("Bundle") : sv_from(fhir_type_name(o[i].type)));
        json_kv_str(w, "url",
                    arena_fmt(a, "%.*s%.*s", SV_FMT(j->job_folder_uri), SV_FMT(o[i].name)));
        json_kv_u64(w, "count", o[i].count);
        if (deleted)
            json_kv_u64(w, "entries", o[i].entries);
        json_kv_u64(w, "bytes", o[i].bytes);
        json_kv_str(w, "sha256", o[i].sha256);
        if (o[i].reused)
            json_kv_bool(w, "reused", true);
        if (o[i].organized)
            json_kv_u64(w, "blocks", o[i].blocks);
        if (o[i].continues.len)
            json_kv_str(
                w, "continuesInFile",
                arena_fmt(a, "%.*s%.*s", SV_FMT(j->job_folder_uri), SV_FMT(o[i].continues)));
        json_obj_end(w);
    }
    json_arr_end(w);
}

static void write_counts(struct json_writer *w, const struct gather *gather)
{
    uint64_t count = 0, bytes = 0, deletions = 0;
    json_key(w, "countPerType");
    json_obj(w);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct of_type *of = &gather->types[t];
        if (of->count)
            json_kv_u64(w, fhir_type_name((fhir_type)t), of->count);
        count += of->count;
        bytes += of->bytes;
        deletions += of->entries;
    }
    json_obj_end(w);
    json_key(w, "storeCountPerType");
    json_obj(w);
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        if (gather->types[t].all_met)
            json_kv_u64(w, fhir_type_name((fhir_type)t), gather->types[t].met);
    json_obj_end(w);
    json_kv_u64(w, "count", count);
    json_kv_u64(w, "bytes", bytes);
    json_kv_u64(w, "deletions", deletions);
}

/* contentPerType and contentDigest, of the resources as they are stored or as they stand in the
 * files; of the latter only the types that differ are listed. The types stand in the order of their
 * numbers, which is that of the definitions and never changes. */
static void write_digest(struct json_writer *w, const struct gather *gather, bool served)
{
    struct hash_sha256 *h = hash_sha256_new();
    unsigned char d[SHA256_LEN];
    char sum[FHIR_DIGEST_HEX], hex[SHA256_HEX_LEN];
    json_key(w, "contentPerType");
    json_obj(w);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct of_type *of = &gather->types[t];
        const char *type = fhir_type_name((fhir_type)t);
        if (of->count) {
            fhir_digest_hex(served ? &of->served : &of->sum, sum);
            if (!served || of->rewritten)
                json_kv_str(w, type, sv_make(sum, sizeof sum));
            fhir_digest_line(h, "", type, of->count, served ? &of->served : &of->sum);
        }
        if (of->entries)
            fhir_digest_line(h, "DELETE ", type, of->entries, &of->deleted);
    }
    json_obj_end(w);
    hash_sha256_take(h, d);
    hash_sha256_free(h);
    hash_hex(d, sizeof d, hex);
    json_kv_str(w, "contentDigest", sv_make(hex, sizeof hex));
}

/* Which urls of Attachments were written otherwise than they are stored, and what the files hold by
 * that. */
static void write_attachments(struct json_writer *w, const struct gather *gather,
                              const struct job_export_params *params)
{
    uint64_t rewritten = 0;
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        rewritten += gather->types[t].rewritten;
    if (rewritten == 0)
        return;
    json_key(w, "extension");
    json_obj(w);
    json_key(w, "attachmentUrls");
    json_obj(w);
    json_kv_str(w, "base", params->attachment_base);
    if (params->attachment_other.len)
        json_kv_str(w, "otherBase", params->attachment_other);
    json_kv_u64(w, "resources", rewritten);
    write_digest(w, gather, true);
    json_obj_end(w);
    json_obj_end(w);
}

static err_code write_manifest(struct gather *gather, const struct job *j,
                               const struct export_object *errors, struct buf *out, struct err *e)
{
    struct export_object *o = (struct export_object *)(void *)gather->objects.ptr;
    size_t n = gather->objects.len / sizeof *o;
    char instant[INSTANT_LEN], digest[SHA256_HEX_LEN];
    struct json_writer w;
    /* pages of it: the order stays */
    bool shown = j->params && j->params->partial_manifests;
    if (n)
        qsort(o, n, sizeof *o, shown ? export_object_by_place : by_type_then_name);
    instant_format(j->transaction_ms, instant);
    digest_of_all(o, n, digest);
    json_writer_init(&w, out);
    w.pretty = true;
    json_obj(&w);
    json_kv_str(&w, "transactionTime", sv_make(instant, sizeof instant));
    json_kv_str(&w, "request",
                j->params && j->params->request_url.len ? j->params->request_url
                                                        : SV_LIT("StartFHIRExportJob"));
    json_kv_bool(&w, "requiresAccessToken", false);
    if (j->params && j->params->organize_by_patient)
        json_kv_str(&w, "outputOrganizedBy", SV_LIT("Patient"));
    export_manifest_files(&w, "output", j, o, n, false, gather->a);
    export_manifest_files(&w, "deleted", j, o, n, true, gather->a);
    export_manifest_files(&w, "error", j, errors, errors ? 1 : 0, false, gather->a);
    json_kv_str(&w, "datastoreId", j->datastore_id);
    json_kv_str(&w, "jobId", j->id);
    if (j->job_name.len)
        json_kv_str(&w, "jobName", j->job_name);
    json_kv_u64(&w, "asOfCommit", j->as_of_t);
    write_counts(&w, gather);
    write_digest(&w, gather, false);
    write_attachments(&w, gather, gather->export->params);
    json_kv_str(&w, "sha256", sv_make(digest, sizeof digest));
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return buf_add_char(out, '\n', e);
}

err_code export_manifest(struct export_job *export, const struct export_object *errors,
                         struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(NOTES_MAX);
    struct job_run *run = export->run;
    struct gather gather = { .export = export, .run = run, .plan = &export->plan, .a = a, .e = e };
    struct job j = *run->job;
    /* this run may have fixed them, after it began */
    j.as_of_t = export->t;
    j.transaction_ms = export->instant_ms;
    buf_init(&gather.objects, NOTES_MAX);
    gather.seen = arena_calloc(a, export->plan.n + 1, sizeof *gather.seen);
    gather.types = arena_calloc(a, fhir_n_types() + 1, sizeof *gather.types);
    err_code rc = gather.seen && gather.types ? ERR_OK : arena_oom(a, e);
    if (rc == ERR_OK)
        rc = job_run_note_scan(run, SV_LIT("done/"), each_note, &gather, e);
    if (rc == ERR_OK)
        rc = gather.rc;
    if (rc == ERR_OK)
        rc = check_ranges(&gather, e);
    if (rc == ERR_OK)
        rc = check_objects(&gather, export->sink, e);
    if (rc == ERR_OK)
        rc = write_manifest(&gather, &j, errors, out, e);
    buf_done(&gather.objects);
    return rc;
}
