/* outbox.c - events as records, from the moment when they happen until the endpoint has them.
 *
 *   event/<order>   the event, JSON, as it is sent; of several nodes, its number stands behind
 *
 * order is the time in microseconds, made unique and growing, as 16 hexadecimal digits. So the
 * first key is the oldest event. A batch is written a little after its order was given; of two
 * events of different subjects the later one may be there first, and that does no harm: the sender
 * always takes the first that is there. */
#include "event/event_private.h"

#include "base/clock.h"
#include "codec/hash.h"
#include "codec/instant.h"
#include "store/lease.h"
#include "store/nodes.h"

#include <inttypes.h>

#define ORDER_LEN 16u /* hexadecimal digits */
#define NODE_LEN  8u  /* of a node's UUID */

/* ---- making ---- */

/* The same for the same subject and state, in the form of a UUID of version 4. */
static void id_of(const struct event *event, char out[37])
{
    unsigned char digest[SHA256_LEN];
    char hex[32];
    struct hash_sha256 *h = hash_sha256_new();
    hash_sha256_add(h, event->subject);
    hash_sha256_add(h, SV_LIT("/"));
    hash_sha256_add(h, event->state);
    hash_sha256_take(h, digest);
    hash_sha256_free(h);
    digest[6] = (unsigned char)((digest[6] & 0x0F) | 0x40);
    digest[8] = (unsigned char)((digest[8] & 0x3F) | 0x80);
    hash_hex(digest, 16, hex);
    (void)snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
}

/* The n-th part of an ARN: arn:aws:healthlake:<region>:<account>:... */
static sv arn_part(sv arn, unsigned n)
{
    sv part = SV_NONE;
    for (unsigned i = 0; i <= n; i++)
        if (!sv_cut(&arn, ':', &part))
            return SV_LIT("");
    return part;
}

static err_code print(const struct event *event, struct buf *out, struct err *e)
{
    char id[37], when[INSTANT_LEN];
    struct json_writer w;
    id_of(event, id);
    /* whole seconds, as EventBridge has them */
    instant_format(event->time_ms, when);
    when[19] = 'Z';
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "version", SV_LIT("0"));
    json_kv_str(&w, "id", sv_from(id));
    json_kv_str(&w, "detail-type", sv_from(event->detail_type));
    json_kv_str(&w, "source", SV_LIT("aws.healthlake"));
    json_kv_str(&w, "account", arn_part(event->resource, 4));
    json_kv_str(&w, "time", sv_make(when, 20));
    json_kv_str(&w, "region", arn_part(event->resource, 3));
    json_key(&w, "resources");
    json_arr(&w);
    json_str(&w, event->resource);
    json_arr_end(&w);
    json_key(&w, "detail");
    json_obj(&w);
    event->detail(event->of, &w);
    json_obj_end(&w);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static uint64_t next_order(struct events *events)
{
    uint64_t order = (uint64_t)clock_wall_ms() * 1000;
    pthread_mutex_lock(&events->locked.lock);
    if (order <= events->locked.last_order)
        order = events->locked.last_order + 1;
    events->locked.last_order = order;
    pthread_mutex_unlock(&events->locked.lock);
    return order;
}

/* Of several nodes, each has keys of its own. */
static sv key_of(struct events *events, struct arena *a)
{
    const sv node = sv_head(nodes_self(events->cfg.records), NODE_LEN);
    return arena_fmt(a, EVENT_KEYS "%016" PRIx64 "%.*s", next_order(events), SV_FMT(node));
}

err_code events_write(struct events *events, const struct event *event, struct arena *a,
                      struct records_write *out, struct err *e)
{
    CLEANUP_BUF struct buf body = BUF_INIT(EVENT_BODY_MAX);
    TRY(print(event, &body, e));
    struct records_write w = { .op = RECORDS_PUT,
                               .key = key_of(events, a),
                               .value = arena_sv(a, buf_sv(&body)) };
    if (w.key.ptr == NULL || w.value.ptr == NULL)
        return arena_oom(a, e);
    *out = w;
    return ERR_OK;
}

void events_written(struct events *events)
{
    atomic_fetch_add(&events->n_waiting, 1);
    pthread_mutex_lock(&events->locked.lock);
    events->locked.news = true;
    pthread_cond_signal(&events->locked.changed);
    pthread_mutex_unlock(&events->locked.lock);
}

/* ---- what waits ---- */

uint64_t event_outbox_waiting(const struct events *events)
{
    int_fast64_t n = atomic_load(&events->n_waiting);
    return n > 0 ? (uint64_t)n : 0;
}

static bool load_one(void *ctx, sv key, sv body)
{
    struct events *events = ctx;
    uint64_t order = 0;
    (void)body;
    sv hex = sv_head(sv_tail(key, sizeof EVENT_KEYS - 1), ORDER_LEN);
    for (size_t i = 0; i < hex.len; i++)
        order =
            order * 16 + (uint64_t)(hex.ptr[i] <= '9' ? hex.ptr[i] - '0' : hex.ptr[i] - 'a' + 10);
    events->locked.last_order = order;
    atomic_fetch_add(&events->n_waiting, 1);
    return true;
}

/* No other thread is there yet. */
err_code event_outbox_load(struct events *events, struct err *e)
{
    return records_scan(events->cfg.records, SV_LIT(EVENT_KEYS), SV_NONE, load_one, events, e);
}

static bool count_one(void *ctx, sv key, sv body)
{
    (void)key;
    (void)body;
    ++*(int_fast64_t *)ctx;
    return true;
}

bool event_outbox_mine(struct events *events)
{
    int_fast64_t n = 0;
    struct err ignored;
    if (events->leases == NULL || (events->lease && lease_is_held(events->lease)))
        return true;
    lease_release(events->lease);
    events->lease = NULL;
    if (lease_take(events->leases, SV_LIT("events"), NULL, NULL, &events->lease, &ignored) !=
        ERR_OK) {
        /* what this node writes is another one's to send */
        atomic_store(&events->n_waiting, 0);
        return false;
    }
    if (records_scan(events->cfg.records, SV_LIT(EVENT_KEYS), SV_NONE, count_one, &n, &ignored) ==
        ERR_OK)
        atomic_store(&events->n_waiting, n);
    return true;
}

struct head {
    struct buf *key, *body;
    bool found;
    err_code rc;
    struct err *e;
};

static bool take_head(void *ctx, sv key, sv body)
{
    struct head *head = ctx;
    head->found = true;
    head->rc = buf_add(head->key, key, head->e);
    if (head->rc == ERR_OK)
        head->rc = buf_add(head->body, body, head->e);
    return false;
}

err_code event_outbox_head(struct events *events, struct buf *key, struct buf *body, struct err *e)
{
    struct head head = { .key = key, .body = body, .e = e };
    TRY(records_scan(events->cfg.records, SV_LIT(EVENT_KEYS), SV_NONE, take_head, &head, e));
    TRY(head.rc);
    return head.found ? ERR_OK : ERR(e, ERR_NOT_FOUND, "no event waits");
}

err_code event_outbox_remove(struct events *events, sv key, struct err *e)
{
    struct records_write w = { RECORDS_DELETE, key, SV_NONE };
    TRY(records_write(events->cfg.records, &w, 1, e));
    atomic_fetch_sub(&events->n_waiting, 1);
    return ERR_OK;
}
