/* versions.c - every version that was ever written, in one array in the order of t.
 *
 * The oracle answers each question by looking at all of it: slow, and obviously right. The tests
 * hold RocksDB's engine against it. One lock stands over everything. Beside each version stands a
 * mark of its resource: two whose marks differ are of two resources, and need no second look. */
#include "store/memory/memory_private.h"

#include "base/clock.h"

#include <assert.h>

void *mem_more(void *ptr, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return ptr;
    *cap = need * 2;
    ptr = realloc(ptr, *cap * size);
    if (ptr == NULL)
        abort();
    return ptr;
}

char *mem_copy(sv bytes)
{
    char *p = malloc(bytes.len ? bytes.len : 1);
    if (p == NULL)
        abort();
    if (bytes.len)
        memcpy(p, bytes.ptr, bytes.len);
    return p;
}

struct mem_version mem_version_of(fhir_type type, sv id, store_method method,
                                  const struct fhir_body *body, sv index)
{
    struct mem_version v = { .type = type, .id_len = id.len, .method = method };
    memcpy(v.id, id.ptr, id.len);
    if (method != STORE_METHOD_DELETE) {
        v.json = mem_copy(body->json);
        v.body = *body;
        v.body.json.ptr = v.json;
        v.index = mem_copy(index);
        v.index_len = index.len;
    }
    return v;
}

void mem_version_free(struct mem_version *v)
{
    free(v->json);
    free(v->index);
}

struct store_commit mem_last_locked(const struct memory *m)
{
    return m->n_commits ? m->commits[m->n_commits - 1] : (struct store_commit){ 0, 0 };
}

struct store_commit mem_next_locked(struct memory *m)
{
    struct store_commit c = mem_last_locked(m);
    int64_t now = m->again_ms ? *m->again_ms : clock_wall_ms();
    c.t++;
    c.instant_ms = now > c.instant_ms ? now : c.instant_ms;
    if (c.instant_ms <= m->floor_ms)
        c.instant_ms = m->floor_ms + 1;
    m->commits = mem_more(m->commits, &m->cap_commits, m->n_commits + 1, sizeof *m->commits);
    /* I3 */
    assert(c.instant_ms > m->floor_ms);
    m->commits[m->n_commits++] = c;
    return c;
}

static store_number born(struct memory *m, fhir_type type)
{
    uint64_t n = m->n_born++;
    return number_make(1 + n / NUMBER_K_MOST, type, (uint32_t)(n % NUMBER_K_MOST));
}

/* Source: FNV-1a, 64 bits. */
uint64_t mem_mark_of(fhir_type type, sv id)
{
    uint64_t h = 0xcbf29ce484222325u ^ (uint64_t)type;
    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (unsigned char)id.ptr[i]) * 0x100000001b3u;
    return h;
}

void mem_add_locked(struct memory *m, struct mem_version v, struct store_commit c)
{
    m->versions = mem_more(m->versions, &m->cap, m->n + 1, sizeof *m->versions);
    m->marks = mem_more(m->marks, &m->cap_marks, m->n + 1, sizeof *m->marks);
    /* I1 */
    assert(m->n == 0 || c.t >= m->versions[m->n - 1].commit.t);
    uint64_t rank;
    const struct mem_version *known = mem_find_locked(m, v.type, mem_id_of(&v), c.t, &rank);
    v.number = known ? known->number : born(m, v.type);
    v.commit = c;
    m->marks[m->n] = mem_mark_of(v.type, mem_id_of(&v));
    m->versions[m->n++] = v;
}

/* The first of n marks from i on that is this one; n: none. No sanitizer looks here: some tests do
 * hardly anything else. */
__attribute__((no_sanitize("address", "undefined", "thread"))) static size_t next_marked(
    const uint64_t *marks, size_t i, size_t n, uint64_t mark)
{
    while (i < n && marks[i] != mark)
        i++;
    return i;
}

const struct mem_version *mem_find_locked(const struct memory *m, fhir_type type, sv id,
                                          uint64_t as_of, uint64_t *rank)
{
    const struct mem_version *found = NULL;
    const uint64_t mark = mem_mark_of(type, id);
    *rank = 0;
    for (size_t i = 0; (i = next_marked(m->marks, i, m->n, mark)) < m->n; i++)
        if (mem_is_of(&m->versions[i], type, id) && m->versions[i].commit.t <= as_of) {
            found = &m->versions[i];
            ++*rank;
        }
    return found;
}
