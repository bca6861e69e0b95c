/* filled.h - a data store whose content is known: Patients and Groups that were written, changed
 * and deleted. */
#pragma once
#include "job/fixture.h"

enum { N_PATIENTS = 1500, N_GROUPS = 300 };

/* 2000 characters that do not compress away: a range is no smaller than a block on disk. */
static const char *pad(int i)
{
    static char text[2001];
    uint64_t x = (uint64_t)i + 1;
    for (int k = 0; k < 2000; k++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        text[k] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"[x >> 58];
    }
    return text;
}

/* One commit: ids <letter>0000 ... with a step; member x says which writing it was. */
static void write_some(struct store *st, const char *type, int n, int step, store_method method,
                       const char *x)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(16 << 20);
    struct store_write *w = arena_calloc(a, (size_t)n, sizeof *w);
    struct store_commit c;
    size_t k = 0;
    OK(buf_reserve(&b, 8 << 20, e));
    for (int i = 0; i < n; i += step, k++) {
        struct fhir_envelope env;
        sv text = arena_fmt(a, "{\"resourceType\":\"%s\",\"id\":\"r%05d\",\"x\":\"%s%s\"}", type, i,
                            x, pad(i));
        OK(fhir_envelope_read(r, text, SV_NONE, &b, &env, e));
        w[k] = (struct store_write){
            .type = env.type, .id = env.id, .method = method, .body = env.body
        };
    }
    OK(store_commit(st, w, k, &c, e));
}

static void fill(struct store *st)
{
    write_some(st, "Patient", N_PATIENTS, 1, STORE_METHOD_CREATE, "first");
    write_some(st, "Group", N_GROUPS, 1, STORE_METHOD_CREATE, "first");
    write_some(st, "Patient", N_PATIENTS, 3, STORE_METHOD_UPDATE, "second");
    write_some(st, "Patient", N_PATIENTS, 5, STORE_METHOD_DELETE, "");
}
