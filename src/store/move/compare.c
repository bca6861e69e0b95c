/* compare.c - do both stores hold the same?
 *
 * Each is read from its first commit to its last by a thread of its own. Every version counts with
 * type, id, t, instant, version number, method, place of meta and the hash of its body, in a sum
 * of its type that does not depend on the order. What each type has now is counted, too, and must
 * be what the store's own sums say (C1).
 *
 * The commits themselves are compared side by side: t, instant, whether it was a load. Counts of
 * versions may differ by what was erased. */
#include "store/move/move_private.h"

#include "codec/hash.h"

#include <stdlib.h>
#include <time.h>

struct side {
    struct store *st;
    atomic_bool *halt; /* the other one has failed */
    struct store_moved_type types[STORE_TYPES];
    uint64_t n_commits, n_versions, n_bytes;
    uint64_t n_said;     /* versions, by the records of the commits */
    uint64_t commits[2]; /* sum over them */
    atomic_ullong told_commits, told_versions, told_bytes;
    err_code rc;
    struct err why;
};

static void put_u64(char *out, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        out[i] = (char)(v >> (8 * i));
}

static void add_version(struct side *s, const struct store_version *v)
{
    char text[FHIR_ID_MAX + 64];
    struct store_moved_type *type = &s->types[v->type];
    uint64_t body[2];
    hash_xxh3_128(v->body.json, SV_NONE, body);
    const uint64_t numbers[] = { v->t,       (uint64_t)v->instant_ms,
                                 v->version, v->body.hole_at,
                                 body[0],    body[1] };
    size_t n = v->id.len;
    memcpy(text, v->id.ptr, n);
    text[n++] = 0;
    text[n++] = (char)v->type;
    text[n++] = (char)v->method;
    text[n++] = (char)v->body.hole;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++, n += 8)
        put_u64(text + n, numbers[i]);
    fhir_digest_text(&type->digest, sv_make(text, n));
    type->n_versions++;
    s->n_versions++;
    s->n_bytes += v->body.json.len;
}
_Static_assert(4 + 6 * 8 <= 64, "what stands behind an id fits");

/* n_versions: of a load, how many were found. */
static void add_commit(struct side *s, const struct store_commit_row *row, size_t n_versions)
{
    char text[17];
    uint64_t hash[2];
    put_u64(text, row->t);
    put_u64(text + 8, (uint64_t)row->instant_ms);
    /* a load of which all was erased is an empty commit in the copy */
    text[16] = (char)(row->is_load && n_versions);
    hash_xxh3_128(sv_make(text, sizeof text), SV_NONE, hash);
    s->commits[0] += hash[0];
    s->commits[1] += hash[1];
    s->n_said += row->count;
    s->n_commits++;
}

static err_code read_all(struct side *s, struct err *e)
{
    CLEANUP(past_close) struct past *p = past_open(s->st, 0);
    struct past_batch b;
    struct err why;
    err_code rc;
    while ((rc = past_next(p, &b, &why)) == ERR_OK) {
        for (size_t i = 0; i < b.n_versions; i++)
            add_version(s, &b.versions[i]);
        for (size_t i = 0; i < b.n_commits; i++)
            add_commit(s, &b.commits[i], b.n_versions);
        if (atomic_load(s->halt))
            return ERR(e, ERR_CANCELLED, "the other store could not be read");
        atomic_store(&s->told_commits, s->n_commits);
        atomic_store(&s->told_versions, s->n_versions);
        atomic_store(&s->told_bytes, s->n_bytes);
    }
    return rc == ERR_EOF ? ERR_OK : err_pass(e, &why);
}

static err_code count_all(struct side *s, struct err *e)
{
    struct store_commit at;
    for (unsigned type = 1; type <= fhir_n_types(); type++)
        if (s->types[type].n_versions)
            TRY(store_count(s->st, (fhir_type)type, 0, SV_NONE, &s->types[type].n_resources, &at,
                            e));
    return ERR_OK;
}

static void *run(void *arg)
{
    struct side *s = arg;
    s->rc = read_all(s, &s->why);
    if (s->rc == ERR_OK)
        s->rc = count_all(s, &s->why);
    if (s->rc != ERR_OK)
        atomic_store(s->halt, true);
    return NULL;
}

static err_code differs(const char *what, struct err *e)
{
    return ERR(e, ERR_CORRUPT, "the copy is not the same: %s", what);
}

static err_code compare(const struct side *from, const struct side *to, struct err *e)
{
    if (from->n_commits != to->n_commits || from->commits[0] != to->commits[0] ||
        from->commits[1] != to->commits[1])
        return differs("its commits are others", e);
    for (unsigned type = 1; type < STORE_TYPES; type++) {
        const struct store_moved_type *x = &from->types[type], *y = &to->types[type];
        if (x->n_versions == y->n_versions && x->n_resources == y->n_resources &&
            x->digest.w[0] == y->digest.w[0] && x->digest.w[1] == y->digest.w[1])
            continue;
        return ERR(e, ERR_CORRUPT,
                   "the copy is not the same: of %s the source has %llu versions and %llu "
                   "resources, the copy %llu and %llu, or some of them are others. Was a single "
                   "version erased in the source?",
                   fhir_type_name((fhir_type)type), (unsigned long long)x->n_versions,
                   (unsigned long long)x->n_resources, (unsigned long long)y->n_versions,
                   (unsigned long long)y->n_resources);
    }
    return ERR_OK;
}

/* ---- both ---- */

static void tell_both(const struct side *s, uint64_t of, store_move_fn tell, void *ctx)
{
    struct store_moving p = { .step = STORE_MOVE_CHECKS, .of = 2 * of };
    for (unsigned i = 0; i < 2 && tell; i++) {
        p.n += atomic_load(&s[i].told_commits);
        p.n_versions += atomic_load(&s[i].told_versions);
        p.n_bytes += atomic_load(&s[i].told_bytes);
    }
    if (tell)
        tell(ctx, &p);
}

static void read_both(struct side *s, uint64_t of, store_move_fn tell, void *ctx)
{
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run, &s[i]) != 0)
            abort();
    for (unsigned i = 0; i < 2;) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        if (pthread_timedjoin_np(threads[i], NULL, &until) == 0)
            i++;
        tell_both(s, of, tell, ctx);
    }
}

static err_code end_both(const struct side *s, struct store_moved *out, struct err *e)
{
    /* the one that was told to stop says nothing of interest */
    for (unsigned i = 0; i < 2; i++)
        if (s[i].rc != ERR_OK && s[i].rc != ERR_CANCELLED) {
            IGNORE(err_pass(e, &s[i].why));
            err_context(e, "reading %s", i ? "the copy" : "the source");
            return s[i].rc;
        }
    TRY(compare(&s[0], &s[1], e));
    if (s[1].n_said != s[1].n_versions)
        return differs("its commits have other numbers of versions", e);
    memcpy(out->types, s[1].types, sizeof out->types);
    out->n_commits = s[1].n_commits;
    out->n_versions = s[1].n_versions;
    out->n_bytes = s[1].n_bytes;
    out->n_erased = s[0].n_said - s[0].n_versions;
    for (unsigned type = 0; type < STORE_TYPES; type++)
        out->n_resources += out->types[type].n_resources;
    return ERR_OK;
}

err_code move_compare(struct store *from, struct store *to, store_move_fn tell, void *ctx,
                      struct store_moved *out, struct err *e)
{
    atomic_bool halt = false;
    struct store_commit last;
    TRY(store_last(to, &last, e));
    struct side *s = calloc(2, sizeof *s);
    if (s == NULL)
        abort();
    s[0].st = from;
    s[1].st = to;
    s[0].halt = s[1].halt = &halt;
    read_both(s, last.t, tell, ctx);
    err_code rc = end_both(s, out, e);
    free(s);
    return rc;
}
