/* recent.c - current versions that were read lately, shared by all stores of an environment.
 *
 * A point read in RocksDB makes an iterator, asks the filter of every sorted run and unpacks what
 * is not in the block cache; a version that stands here costs a copy. What must hold, whoever
 * writes meanwhile:
 *
 *   R1  an entry is the newest version of its resource, as of now: a hit answers any T at or behind
 *       the version's t.
 *   R2  a commit says its t (recent_begin_t), then drops what it wrote, then becomes visible. Only
 *       what was read as of that t or later is taken in, and that is asked under the shard's lock:
 *       what came before the commit said its t is dropped, what was read before and comes later is
 *       refused. A search that reads as of an older T is refused by the same rule.
 *   R3  a bulk load does not list its resources: all that was read before it is void (owner.since).
 *
 * Entries stand under the numbers of resources. Which number an id has is kept beside them, as a
 * guess by the id's hash: the entry that is found tells whether it was right. It is never void,
 * because an id keeps its number.
 *
 * Sets of WAYS entries; within a set the entry that was not asked for the longest goes, and past
 * the shard's bytes whatever stands at the hand. */
#include "store/store_private.h"

#include <assert.h>

#define SHARDS    64u
#define SETS      512u
#define WAYS      4u
#define NAMES     1024u /* sets of NAME_WAYS; the name that was put longest ago goes */
#define NAME_WAYS 2u
#define ENTRY_MAX (64u << 10) /* larger resources are read from the store each time */

struct entry {
    uint64_t owner;
    uint64_t read_t;        /* as of which it was read */
    uint64_t used;          /* the shard's clock when it was asked for last */
    struct store_version v; /* id and body.json point into bytes */
    size_t size;
    char bytes[];
};

struct name {
    uint64_t hash; /* of owner, type and id */
    store_number number;
};

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct name names[NAMES * NAME_WAYS];
    uint64_t clock;
    size_t bytes, hand;
    struct entry *slots[SETS * WAYS];
};

struct recent {
    size_t shard_bytes;
    struct shard shards[SHARDS];
};

struct recent *recent_new(size_t bytes)
{
    struct recent *r = aligned_alloc(64, (sizeof *r + 63) & ~(size_t)63);
    if (r == NULL)
        abort();
    memset(r, 0, sizeof *r);
    r->shard_bytes = bytes / SHARDS;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&r->shards[i].lock, NULL);
    return r;
}

void recent_free(struct recent *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        for (size_t k = 0; k < SETS * WAYS; k++)
            free(r->shards[i].slots[k]);
        pthread_mutex_destroy(&r->shards[i].lock);
    }
    free(r);
}

void recent_owner_init(struct recent_owner *o)
{
    static atomic_uint_fast64_t next = 1;
    o->number = atomic_fetch_add(&next, 1);
    atomic_init(&o->begun_t, 0);
    atomic_init(&o->since, 0);
}

static uint64_t mixed(uint64_t h)
{
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return h ^ h >> 32;
}

static uint64_t hash_of(uint64_t owner, store_number number)
{
    return mixed((number + 1) * 0x9E3779B97F4A7C15u ^ mixed(owner));
}

static uint64_t hash_of_id(uint64_t owner, fhir_type type, sv id)
{
    return mixed(sv_hash(0x9E3779B97F4A7C15u * (owner + 1) ^ type, id));
}

static struct entry **set_of(struct recent *r, uint64_t h, struct shard **s)
{
    *s = &r->shards[h % SHARDS];
    return &(*s)->slots[h / SHARDS % SETS * WAYS];
}

static struct name *names_of(struct recent *r, uint64_t h, struct shard **s)
{
    *s = &r->shards[h % SHARDS];
    return &(*s)->names[h / SHARDS % NAMES * NAME_WAYS];
}

static bool is_of(const struct entry *en, uint64_t owner, store_number number)
{
    return en && en->owner == owner && en->v.number == number;
}

static void remove_locked(struct shard *s, struct entry **slot)
{
    s->bytes -= (*slot)->size;
    free(*slot);
    *slot = NULL;
}

/* id: what it must be; empty: whatever it is. */
static bool get(struct recent *r, struct recent_owner *o, store_number number, sv id,
                uint64_t as_of_t, struct arena *a, struct store_version *out)
{
    struct shard *s;
    struct entry **set = set_of(r, hash_of(o->number, number), &s);
    bool found = false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < WAYS && !found; i++) {
        struct entry *en = set[i];
        if (!is_of(en, o->number, number) || en->v.t > as_of_t)
            continue;
        /* R3 */
        if (en->read_t < atomic_load(&o->since)) {
            remove_locked(s, &set[i]);
            break;
        }
        if (id.len && !sv_eq(id, en->v.id))
            break;
        struct store_version v = en->v;
        v.id = arena_sv(a, v.id);
        v.body.json = arena_sv(a, v.body.json);
        en->used = ++s->clock;
        /* an arena that is full: the store will say so */
        found = v.id.ptr && v.body.json.ptr;
        if (found)
            *out = v;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool recent_get(struct recent *r, struct recent_owner *o, store_number number, uint64_t as_of_t,
                struct arena *a, struct store_version *out)
{
    return get(r, o, number, SV_NONE, as_of_t, a, out);
}

bool recent_get_id(struct recent *r, struct recent_owner *o, fhir_type type, sv id,
                   uint64_t as_of_t, struct arena *a, struct store_version *out)
{
    struct shard *s;
    uint64_t h = hash_of_id(o->number, type, id);
    const struct name *names = names_of(r, h, &s);
    store_number number = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < NAME_WAYS && number == 0; i++)
        if (names[i].hash == h)
            number = names[i].number;
    pthread_mutex_unlock(&s->lock);
    return number && number_type(number) == type && get(r, o, number, id, as_of_t, a, out);
}

static void put_name(struct recent *r, struct recent_owner *o, const struct store_version *v)
{
    struct shard *s;
    uint64_t h = hash_of_id(o->number, v->type, v->id);
    struct name *names = names_of(r, h, &s);
    pthread_mutex_lock(&s->lock);
    if (names[0].hash != h) {
        memmove(names + 1, names, (NAME_WAYS - 1) * sizeof *names);
        names[0].hash = h;
    }
    names[0].number = v->number;
    pthread_mutex_unlock(&s->lock);
}

bool recent_has(struct recent *r, struct recent_owner *o, store_number number)
{
    struct shard *s;
    struct entry **set = set_of(r, hash_of(o->number, number), &s);
    bool found = false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < WAYS && !found; i++)
        found = is_of(set[i], o->number, number);
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void make_room_locked(const struct recent *r, struct shard *s, size_t size)
{
    while (s->bytes && s->bytes + size > r->shard_bytes) {
        s->hand = (s->hand + 1) % (SETS * WAYS);
        if (s->slots[s->hand])
            remove_locked(s, &s->slots[s->hand]);
    }
}

void recent_put(struct recent *r, struct recent_owner *o, uint64_t read_t,
                const struct store_version *v)
{
    struct shard *s;
    size_t size = sizeof(struct entry) + v->id.len + v->body.json.len;
    if (size > ENTRY_MAX || size > r->shard_bytes || v->method == STORE_METHOD_DELETE)
        return;
    /* R1 */
    assert(v->t <= read_t);
    struct entry *en = malloc(size);
    if (en == NULL)
        abort();
    *en = (struct entry){ .owner = o->number, .read_t = read_t, .size = size, .v = *v };
    memcpy(en->bytes, v->id.ptr, v->id.len);
    memcpy(en->bytes + v->id.len, v->body.json.ptr, v->body.json.len);
    en->v.id.ptr = en->bytes;
    en->v.body.json.ptr = en->bytes + v->id.len;
    put_name(r, o, v);
    struct entry **set = set_of(r, hash_of(o->number, v->number), &s);
    pthread_mutex_lock(&s->lock);
    /* R2 */
    if (read_t >= atomic_load(&o->begun_t)) {
        make_room_locked(r, s, size);
        struct entry **slot = &set[0];
        for (size_t i = 0; i < WAYS; i++) {
            if (is_of(set[i], o->number, v->number)) {
                slot = &set[i];
                break;
            }
            if (*slot && (set[i] == NULL || set[i]->used < (*slot)->used))
                slot = &set[i];
        }
        if (*slot)
            remove_locked(s, slot);
        en->used = ++s->clock;
        s->bytes += size;
        *slot = en;
        en = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    free(en);
}

void recent_begin_t(struct recent_owner *o, uint64_t t, bool bulk)
{
    /* R2: whoever assigns t says it, in order */
    assert(t >= atomic_load(&o->begun_t));
    atomic_store(&o->begun_t, t);
    if (bulk)
        atomic_store(&o->since, t);
}

void recent_drop(struct recent *r, struct recent_owner *o, store_number number)
{
    struct shard *s;
    struct entry **set = set_of(r, hash_of(o->number, number), &s);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < WAYS; i++)
        if (is_of(set[i], o->number, number))
            remove_locked(s, &set[i]);
    pthread_mutex_unlock(&s->lock);
}
