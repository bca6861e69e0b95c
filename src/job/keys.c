/* keys.c - where the things of a job are in the records.
 *
 *   job/<datastore>/<kind>/<id>          the record, JSON (record.c)
 *   joblist/<datastore>/<kind>/<~order>  id; newest first
 *   jobactive/<order>                    "<kind>/<datastore>/<id>", until the job ends
 *   jobnote/<id>/<name>                  scratch of a run, until the job ends (run.c)
 *   jobparams/<id>                       what an export asks for, JSON (export_params.c)
 *   jobexpiry/<time>/<id>                data store; a served export's files go then (retention.c)
 *   jobmanifest/<id>                     manifest.json (manifest.c)
 *   jobearlier/<datastore>/<name>        what an export leaves to later ones (earlier.c)
 *   joborder                             place of the newest job, where there are several nodes
 *   jobdrop/<datastore>                  there too: its jobs are to end, and none comes in
 *   jobtoken/<account>/<kind>/<SHA-256>  who the client token of that digest stands for
 *                                        (client_token.c)
 *
 * Texts of callers are in values only. RocksDB writes the smallest and the largest key of a sorted
 * file into its list of files too, and nothing takes them away from there. */
#include "job/job_private.h"

#include "codec/hash.h"

sv job_key_record(struct arena *a, job_kind kind, sv datastore_id, sv id)
{
    return arena_fmt(a, "job/%.*s/%s/%.*s", SV_FMT(datastore_id), job_kind_name(kind), SV_FMT(id));
}

sv job_key_records(struct arena *a, sv datastore_id)
{
    return arena_fmt(a, "job/%.*s/", SV_FMT(datastore_id));
}

sv job_key_list(struct arena *a, job_kind kind, sv datastore_id)
{
    return arena_fmt(a, "joblist/%.*s/%s/", SV_FMT(datastore_id), job_kind_name(kind));
}

sv job_key_listed(struct arena *a, const struct job_record *record)
{
    return arena_fmt(a, "joblist/%.*s/%s/%016llx", SV_FMT(record->job.datastore_id),
                     job_kind_name(record->job.kind), (unsigned long long)~record->order);
}

sv job_key_active(struct arena *a, uint64_t order)
{
    return arena_fmt(a, JOB_KEYS_ACTIVE "%016llx", (unsigned long long)order);
}

sv job_key_note(struct arena *a, sv id, sv name)
{
    return arena_fmt(a, "jobnote/%.*s/%.*s", SV_FMT(id), SV_FMT(name));
}

sv job_key_params(struct arena *a, sv id)
{
    return arena_fmt(a, "jobparams/%.*s", SV_FMT(id));
}

sv job_key_drop(struct arena *a, sv datastore_id)
{
    return arena_fmt(a, JOB_KEYS_DROP "%.*s", SV_FMT(datastore_id));
}

sv job_key_expiry(struct arena *a, int64_t expire_ms, sv id)
{
    return arena_fmt(a, JOB_KEYS_EXPIRY "%016llx/%.*s", (unsigned long long)expire_ms, SV_FMT(id));
}

sv job_key_manifest(struct arena *a, sv id)
{
    return arena_fmt(a, "jobmanifest/%.*s", SV_FMT(id));
}

sv job_key_earlier(struct arena *a, sv datastore_id, sv name)
{
    return arena_fmt(a, "jobearlier/%.*s/%.*s", SV_FMT(datastore_id), SV_FMT(name));
}

sv job_key_token(struct arena *a, job_kind kind, sv account_id, sv token)
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_sha256_of(token, digest);
    hash_hex(digest, sizeof digest, hex);
    return job_key_token_plain(a, kind, account_id, sv_make(hex, sizeof hex));
}

sv job_key_token_plain(struct arena *a, job_kind kind, sv account_id, sv token)
{
    return arena_fmt(a, JOB_KEYS_TOKEN "%.*s/%s/%.*s", SV_FMT(account_id), job_kind_name(kind),
                     SV_FMT(token));
}

uint64_t job_key_number(sv hex)
{
    uint64_t n = 0;
    for (size_t i = 0; i < hex.len; i++)
        n = n << 4 | (uint64_t)(hex.ptr[i] <= '9' ? hex.ptr[i] - '0' : hex.ptr[i] - 'a' + 10);
    return n;
}

bool job_keys_add(void *ctx, sv key, sv value)
{
    struct job_keys *l = ctx;
    (void)value;
    l->keys[l->n++] = arena_sv(l->a, key);
    return l->n < JOB_KEYS_MAX;
}

void job_keys_delete(const struct job_keys *l, struct records_write del[JOB_KEYS_MAX])
{
    for (size_t i = 0; i < l->n; i++)
        del[i] = (struct records_write){ RECORDS_DELETE, l->keys[i], SV_NONE };
}
