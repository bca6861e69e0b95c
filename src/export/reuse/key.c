/* key.c - which exports have the same bytes for the same resources.
 *
 * A line follows from a version of a resource, from the members that were asked for, and from where
 * attachments are served. Where an object ends follows from the sizes that were asked for. Whether
 * a resource comes at all follows from level and types. So a digest of these is the name under
 * which an export is remembered. The place belongs to it: copies stay within a bucket. So does the
 * version of the program, because a later one may write a line otherwise. */
#include "export/reuse/reuse.h"

#include "codec/hash.h"

struct text {
    struct hash_sha256 *h;
};

/* With its length, so that no two lists of texts look the same. */
static void add(struct text *x, sv text)
{
    char n[32];
    int len = snprintf(n, sizeof n, "%zu:", text.len);
    hash_sha256_add(x->h, sv_make(n, (size_t)len));
    hash_sha256_add(x->h, text);
}

static void add_number(struct text *x, uint64_t n)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    add(x, sv_make(text, (size_t)len));
}

/* In whatever order they were asked for. */
static void add_list(struct text *x, const struct job_texts *t)
{
    sv *all = malloc((t->n + 1) * sizeof *all);
    if (all == NULL)
        abort();
    for (size_t i = 0; i < t->n; i++)
        all[i] = t->items[i];
    if (t->n)
        qsort(all, t->n, sizeof *all, sv_by_bytes);
    add_number(x, t->n);
    for (size_t i = 0; i < t->n; i++)
        add(x, all[i]);
    free(all);
}

/* Whoever adds a member asks here: does it decide which resources come, or the bytes of a line?
 * Then it belongs into the key, or its export is none that is remembered. */
_Static_assert(sizeof(struct job_export_params) == 264, "a parameter that the key does not know");

/* Of the whole store, or of all Patients, as it is now. */
static bool is_full(const struct export_job *export)
{
    const struct job_export_params *p = export->params;
    return p->level != JOB_EXPORT_GROUP && p->patients.n == 0 && p->since_ms == 0 &&
           p->until_ms == 0 && p->type_filters.n == 0 && p->security.n == 0 && p->tag.n == 0 &&
           p->associated == 0 && !p->organize_by_patient && p->scopes.n == 0;
}

bool export_reuse_key(const struct export_job *export, size_t object_bytes,
                      char out[SHA256_HEX_LEN])
{
    const struct job_export_params *p = export->params;
    const struct job *job = export->run->job;
    unsigned char digest[SHA256_LEN];
    /* s3://bucket/... */
    sv bucket = sv_tail(job->job_folder_uri, job->served ? job->job_folder_uri.len : 5);
    if (export->run->cfg->no_reuse || !is_full(export))
        return false;
    struct text x = { hash_sha256_new() };
    add_number(&x, EXPORT_LINE_FORM);
    add(&x, SV_LIT(FHIRLAKE_VERSION));
    add_number(&x, p->level);
    add_list(&x, &p->types);
    add_list(&x, &p->elements);
    add(&x, export_base(p));
    add(&x, p->attachment_base);
    add(&x, p->attachment_other);
    add_number(&x, object_bytes);
    add_number(&x, p->min_file_bytes);
    add_number(&x, p->max_file_bytes);
    add_number(&x, job->served);
    add(&x, sv_head(bucket, sv_find(bucket, '/')));
    hash_sha256_take(x.h, digest);
    hash_sha256_free(x.h);
    hash_hex(digest, sizeof digest, out);
    return true;
}

bool export_reuse_type(const struct export_job *export, fhir_type type)
{
    /* of all Patients, Provenance comes with what it is about (level.c) */
    return export->params->level == JOB_EXPORT_SYSTEM || !export_is_type(type, "Provenance");
}
