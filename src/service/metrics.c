/* metrics.c - requests counted by operation, outcome and time.
 *
 *   stripe   a row of counters for each operation; a thread keeps to one of STRIPES stripes
 *   place    of a data store: a row for each operation, shared by all threads
 *
 * A reader adds the stripes up. It reads counters while they move, so a page is not of one moment;
 * but no counter ever goes back, and what a histogram says of itself agrees, because its count is
 * the sum of its buckets.
 *
 * The operation of a name is found in a table by hash, and so is a data store. Its place is taken
 * under a lock at its first request, and is its own for as long as the process lives. */
#include "service/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define STRIPES    8u
#define N_SLOTS    256u /* of a table by hash: operations; data stores */
#define UNKNOWN    0u   /* the operation of a request that names none of ours */
#define NO_PLACE   0u   /* the place of requests that are about no data store */
#define PLACES     (METRICS_DATASTORES + 2u)
#define OTHER      (PLACES - 1)
#define CACHE_LINE 64
#define ID_LEN     32u

enum outcome { SUCCESS, USER_ERROR, SERVER_ERROR, THROTTLED, N_OUTCOMES };
static const char *const outcome_names[] = { "success", "user_error", "server_error", "throttled" };

/* Upper bounds. The first ones are for reads out of memory, the last ones for calls that end by
 * their clock. */
static const uint64_t bounds_us[] = { 100,     250,     500,     1000,     2500,     5000,
                                      10000,   25000,   50000,   100000,   250000,   500000,
                                      1000000, 2500000, 5000000, 10000000, 30000000, 60000000 };
static const char *const bound_names[] = { "0.0001", "0.00025", "0.0005", "0.001", "0.0025",
                                           "0.005",  "0.01",    "0.025",  "0.05",  "0.1",
                                           "0.25",   "0.5",     "1",      "2.5",   "5",
                                           "10",     "30",      "60" };
#define N_BOUNDS (sizeof bounds_us / sizeof bounds_us[0])

enum scheme { SIGV4, BEARER, MTLS, NO_SCHEME, N_SCHEMES };
static const char *const scheme_names[] = { "sigv4", "bearer", "mtls", "none" };

static const struct {
    err_code code;
    const char *reason;
} reasons[] = {
    { ERR_AUTH_MISSING, "missing" },         { ERR_AUTH_INCOMPLETE, "incomplete" },
    { ERR_AUTH_UNKNOWN_KEY, "unknown_key" }, { ERR_AUTH_EXPIRED, "expired" },
    { ERR_AUTH_SIGNATURE, "signature" },     { ERR_DENIED, "denied" },
    { ERR_TOKEN_REQUEST, "request" },        { ERR_UNAVAILABLE, "provider" },
    { ERR_AUTH_KEY_EXPIRED, "key_expired" }, { ERR_OK, "certificate" },
};
#define CERTIFICATE 9u /* of reasons[]: it has no code */
#define N_REASONS   (sizeof reasons / sizeof reasons[0])

struct row { /* of an operation in a stripe */
    _Alignas(CACHE_LINE) atomic_uint_fast64_t outcomes[N_OUTCOMES];
    atomic_uint_fast64_t buckets[N_BOUNDS + 1];
    atomic_uint_fast64_t sum_us;
};
struct place {
    char id[ID_LEN + 1];
    atomic_uint_fast64_t (*outcomes)[N_OUTCOMES]; /* by operation */
};

struct metrics {
    const char **names; /* by operation */
    size_t n;
    size_t slots[N_SLOTS]; /* of names: operation + 1; 0: none */
    struct row *rows;      /* stripe by stripe, n in each */
    atomic_uint_fast64_t refused[N_SCHEMES][N_REASONS];
    struct place *places; /* NULL: data stores are not counted one by one */
    /* of ids: place + 1; 0: none. Set once, after the place is whole */
    atomic_size_t place_slots[N_SLOTS];
    atomic_bool full; /* no place is left for another data store */
    struct {
        pthread_mutex_t lock;
        size_t n_places; /* beside those of none and of others */
    } locked;
};

static void bump(atomic_uint_fast64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static uint64_t value(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- names ---- */

static size_t slot_after(size_t slot)
{
    return (slot + 1) % N_SLOTS;
}

/* The operation of this name, or UNKNOWN; *free_slot is where the name would stand. */
static size_t operation_find_slot(const struct metrics *m, sv name, size_t *free_slot)
{
    size_t slot = sv_hash(0, name) % N_SLOTS;
    for (; m->slots[slot]; slot = slot_after(slot))
        if (sv_eq_cstr(name, m->names[m->slots[slot] - 1]))
            return m->slots[slot] - 1;
    if (free_slot)
        *free_slot = slot;
    return UNKNOWN;
}

static size_t operation_of(const struct metrics *m, const char *name)
{
    return name ? operation_find_slot(m, sv_from(name), NULL) : UNKNOWN;
}

static void name_add(struct metrics *m, const char *name)
{
    size_t slot = 0;
    /* a table that is half full is fast, and never without an end */
    if (m->n == N_SLOTS / 2 ||
        (m->n > UNKNOWN && operation_find_slot(m, sv_from(name), &slot) != UNKNOWN))
        return;
    m->names[m->n++] = name;
    m->slots[slot] = m->n;
}

/* ---- data stores ---- */

static size_t place_find(const struct metrics *m, sv id, size_t *free_slot)
{
    size_t slot = sv_hash(1, id) % N_SLOTS, at;
    while ((at = atomic_load_explicit(&m->place_slots[slot], memory_order_acquire)) != 0) {
        if (sv_eq(id, sv_make(m->places[at - 1].id, ID_LEN)))
            return at - 1;
        slot = slot_after(slot);
    }
    if (free_slot)
        *free_slot = slot;
    return NO_PLACE;
}

static size_t place_make(struct metrics *m, sv id)
{
    size_t slot = 0;
    pthread_mutex_lock(&m->locked.lock);
    size_t at = place_find(m, id, &slot);
    if (at == NO_PLACE && m->locked.n_places == METRICS_DATASTORES) {
        atomic_store_explicit(&m->full, true, memory_order_relaxed);
        at = OTHER;
    } else if (at == NO_PLACE) {
        at = ++m->locked.n_places;
        memcpy(m->places[at].id, id.ptr, ID_LEN);
        atomic_store_explicit(&m->place_slots[slot], at + 1, memory_order_release);
    }
    pthread_mutex_unlock(&m->locked.lock);
    return at;
}

static size_t place_of(struct metrics *m, sv id)
{
    if (id.len != ID_LEN)
        return NO_PLACE;
    size_t at = place_find(m, id, NULL);
    if (at != NO_PLACE)
        return at;
    return atomic_load_explicit(&m->full, memory_order_relaxed) ? OTHER : place_make(m, id);
}

/* ---- life ---- */

static void *make(size_t n, size_t size)
{
    void *p = aligned_alloc(CACHE_LINE, (n * size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (p == NULL)
        abort();
    memset(p, 0, n * size);
    return p;
}

struct metrics *metrics_new(const struct metrics_config *cfg)
{
    struct metrics *m = make(1, sizeof *m);
    m->names = make(N_SLOTS / 2, sizeof *m->names);
    m->names[m->n++] = "unknown";
    for (size_t i = 0; i < cfg->n_operations; i++)
        name_add(m, cfg->operations[i]);
    m->rows = make(m->n * STRIPES, sizeof *m->rows);
    pthread_mutex_init(&m->locked.lock, NULL);
    if (cfg->per_datastore) {
        m->places = make(PLACES, sizeof *m->places);
        for (size_t i = 0; i < PLACES; i++)
            m->places[i].outcomes = make(m->n, sizeof *m->places[i].outcomes);
        (void)snprintf(m->places[OTHER].id, sizeof m->places[OTHER].id, "other");
    }
    return m;
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; m->places && i < PLACES; i++)
        free(m->places[i].outcomes);
    pthread_mutex_destroy(&m->locked.lock);
    free(m->places);
    free(m->rows);
    free((void *)m->names);
    free(m);
}

/* ---- counting ---- */

static enum outcome outcome_of(unsigned status)
{
    return status == 429   ? THROTTLED
           : status >= 500 ? SERVER_ERROR
           : status >= 400 ? USER_ERROR
                           : SUCCESS;
}

/* Threads get their stripes in turn. */
static size_t stripe_of_thread(void)
{
    static atomic_uint next;
    static _Thread_local unsigned mine = STRIPES;
    if (mine == STRIPES)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % STRIPES;
    return mine;
}

void metrics_request(struct metrics *m, const char *operation, sv datastore, unsigned status,
                     uint64_t us)
{
    if (m == NULL)
        return;
    size_t op = operation_of(m, operation), bucket = 0;
    enum outcome outcome = outcome_of(status);
    struct row *row = &m->rows[stripe_of_thread() * m->n + op];
    while (bucket < N_BOUNDS && us > bounds_us[bucket])
        bucket++;
    bump(&row->outcomes[outcome], 1);
    bump(&row->buckets[bucket], 1);
    bump(&row->sum_us, us);
    if (m->places)
        bump(&m->places[place_of(m, datastore)].outcomes[op][outcome], 1);
}

static enum scheme scheme_of(const struct http_request *req, err_code code)
{
    sv said = http_header_get(req, "Authorization");
    if (sv_eq_nocase(sv_head(said, 7), SV_LIT("Bearer ")))
        return BEARER;
    return code == ERR_AUTH_MISSING ? NO_SCHEME : SIGV4;
}

void metrics_stranger(struct metrics *m)
{
    if (m)
        bump(&m->refused[MTLS][CERTIFICATE], 1);
}

void metrics_refused(struct metrics *m, const struct http_request *req, err_code code)
{
    if (m == NULL || code == ERR_OK)
        return;
    for (size_t i = 0; i < N_REASONS; i++)
        if (reasons[i].code == code)
            bump(&m->refused[scheme_of(req, code)][i], 1);
}

/* ---- the page ---- */

/* Of all stripes; first: the counter in the first one. */
static uint64_t sum(const struct metrics *m, const atomic_uint_fast64_t *first)
{
    const char *at = (const char *)first;
    uint64_t all = 0;
    for (size_t i = 0; i < STRIPES; i++, at += m->n * sizeof *m->rows)
        all += value((const atomic_uint_fast64_t *)(const void *)at);
    return all;
}

static bool was_asked(const struct metrics *m, size_t op)
{
    for (size_t i = 0; i < N_OUTCOMES; i++)
        if (sum(m, &m->rows[op].outcomes[i]))
            return true;
    return false;
}

static void write_outcomes(const struct metrics *m, struct prometheus *out)
{
    for (size_t op = 0; op < m->n; op++)
        for (size_t i = 0; i < N_OUTCOMES && was_asked(m, op); i++)
            prometheus_u64(
                out, "",
                (const struct prometheus_label[]){ { "operation", sv_from(m->names[op]) },
                                                   { "outcome", sv_from(outcome_names[i]) } },
                2, sum(m, &m->rows[op].outcomes[i]));
}

static void write_place(const struct metrics *m, const struct place *place, struct prometheus *out)
{
    for (size_t op = 0; op < m->n; op++) {
        uint64_t n[N_OUTCOMES], all = 0;
        for (size_t i = 0; i < N_OUTCOMES; i++)
            all += n[i] = value(&place->outcomes[op][i]);
        for (size_t i = 0; i < N_OUTCOMES && all; i++)
            prometheus_u64(
                out, "",
                (const struct prometheus_label[]){ { "operation", sv_from(m->names[op]) },
                                                   { "datastore", sv_from(place->id) },
                                                   { "outcome", sv_from(outcome_names[i]) } },
                3, n[i]);
    }
}

static void write_places(struct metrics *m, struct prometheus *out)
{
    pthread_mutex_lock(&m->locked.lock);
    size_t n = m->locked.n_places;
    pthread_mutex_unlock(&m->locked.lock);
    for (size_t i = 0; i <= n; i++)
        write_place(m, &m->places[i], out);
    write_place(m, &m->places[OTHER], out);
}

static void write_times(const struct metrics *m, struct prometheus *out)
{
    for (size_t op = 0; op < m->n; op++) {
        struct prometheus_label labels[] = { { "operation", sv_from(m->names[op]) },
                                             { "le", SV_NONE } };
        uint64_t so_far = 0;
        if (!was_asked(m, op))
            continue;
        for (size_t i = 0; i <= N_BOUNDS; i++) {
            so_far += sum(m, &m->rows[op].buckets[i]);
            labels[1].value = i < N_BOUNDS ? sv_from(bound_names[i]) : SV_LIT("+Inf");
            prometheus_u64(out, "_bucket", labels, 2, so_far);
        }
        prometheus_seconds(out, "_sum", labels, 1, sum(m, &m->rows[op].sum_us));
        prometheus_u64(out, "_count", labels, 1, so_far);
    }
}

void metrics_write(struct metrics *m, struct prometheus *out)
{
    prometheus_family(out, "fhirlake_requests_total", "counter",
                      "Requests that were answered, by IAM action and outcome");
    if (m->places)
        write_places(m, out);
    else
        write_outcomes(m, out);
    prometheus_family(out, "fhirlake_request_duration_seconds", "histogram",
                      "From a request's first byte until its answer is ready, by IAM action");
    write_times(m, out);
    prometheus_family(out, "fhirlake_auth_failures_total", "counter",
                      "Callers who were refused, by how they said who they are, and why");
    for (size_t s = 0; s < N_SCHEMES; s++)
        for (size_t i = 0; i < N_REASONS; i++)
            prometheus_u64(
                out, "",
                (const struct prometheus_label[]){ { "scheme", sv_from(scheme_names[s]) },
                                                   { "reason", sv_from(reasons[i].reason) } },
                2, value(&m->refused[s][i]));
}
