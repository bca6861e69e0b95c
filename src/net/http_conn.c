/* http_conn.c - who is connected, how many there may be, and what each may take.
 *
 * A connection has a place, or it is crowded. A crowded one may ask how the server is (GET /health)
 * and nothing else, and only a few of these are kept. So a caller who takes all places, or all that
 * one address may have, keeps neither a monitor nor everybody else out. When no place is free, the
 * connection that has waited longest between two requests gives up its own.
 *
 * The library closes sockets, behind http_conn_close(). So under the lock a socket in the list is
 * that of its connection, and any thread may shut it down. The connection's own thread then clears
 * it up.
 *
 * Bodies and answers take their shares of memory and files here as well (struct http_share): of all
 * connections, and of those of one address. An IPv6 address counts as its /64, which is what one
 * subscriber is given. Every limit that is 0 becomes that of base/limits.h. */
#include "net/http_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

/* ---- limits ---- */

void http_limits_complete(struct http_limits *limits)
{
    if (limits->n == 0)
        limits->n = LIMIT_CONNECTIONS;
    if (limits->n_per_address == 0)
        limits->n_per_address = limits->n / LIMIT_CONNECTIONS_SHARE > LIMIT_CONNECTIONS_LEAST
                                    ? limits->n / LIMIT_CONNECTIONS_SHARE
                                    : LIMIT_CONNECTIONS_LEAST;
    if (limits->n_crowded == 0)
        limits->n_crowded = LIMIT_CONNECTIONS_HEALTH;
    if (limits->head_us == 0)
        limits->head_us = LIMIT_HEAD_S * UINT64_C(1000000);
    if (limits->slow_us == 0)
        limits->slow_us = LIMIT_SLOW_S * UINT64_C(1000000);
    if (limits->slow_bytes == 0)
        limits->slow_bytes = LIMIT_SLOW_BYTES;
    if (limits->sweep_us == 0)
        limits->sweep_us = 500000;
    if (limits->bodies == 0)
        limits->bodies = LIMIT_BODIES_BYTES;
    if (limits->bodies_per_address == 0)
        limits->bodies_per_address = LIMIT_BODIES_ADDRESS_BYTES;
    if (limits->unproven == 0)
        limits->unproven = LIMIT_UNPROVEN_BYTES;
    if (limits->unproven_most == 0)
        limits->unproven_most = LIMIT_UNPROVEN_MOST_BYTES;
    if (limits->unproven_all == 0)
        limits->unproven_all = LIMIT_UNPROVEN_MEMORY_BYTES;
    if (limits->files == 0)
        limits->files = LIMIT_UNPROVEN_FILES_BYTES;
    if (limits->files_per_address == 0)
        limits->files_per_address = LIMIT_UNPROVEN_ADDRESS_FILES_BYTES;
    if (limits->n_files == 0)
        limits->n_files = LIMIT_UNPROVEN_FILES;
    if (limits->old_us == 0)
        limits->old_us = LIMIT_UNPROVEN_S * UINT64_C(1000000);
    if (limits->still_us == 0)
        limits->still_us = LIMIT_UNPROVEN_STILL_MS * UINT64_C(1000);
    if (limits->free_disk == 0)
        limits->free_disk = LIMIT_BODIES_FREE_DISK_BYTES;
    if (limits->answers == 0)
        limits->answers = LIMIT_ANSWERS_BYTES;
    if (limits->answer_files == 0)
        limits->answer_files = LIMIT_ANSWER_FILES_BYTES;
    if (limits->n_answer_files == 0)
        limits->n_answer_files = LIMIT_ANSWER_FILES;
}

struct http_peer {
    struct http_peer *next; /* of its slot */
    unsigned char address[16];
    unsigned n;        /* connections */
    unsigned n_places; /* of them with a place */
    struct http_share shares;
};

/* ---- addresses ---- */

static void address_of(const struct sockaddr *from, unsigned char out[16])
{
    memset(out, 0, 16);
    if (from && from->sa_family == AF_INET) {
        /* IPv6 writes an IPv4 address like this. */
        out[10] = out[11] = 0xFF;
        memcpy(out + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    } else if (from && from->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
        memcpy(out, a, IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_LOOPBACK(a) ? 16 : 8);
    }
}

static struct http_peer **slot_of(struct http_conns *all, const unsigned char address[16])
{
    return &all->locked.peers[sv_hash(0, sv_make(address, 16)) % PEER_SLOTS];
}

static struct http_peer *peer_take_locked(struct http_conns *all, const struct sockaddr *from)
{
    unsigned char address[16];
    address_of(from, address);
    struct http_peer **slot = slot_of(all, address), *p = *slot;
    while (p && memcmp(p->address, address, 16) != 0)
        p = p->next;
    if (p == NULL) {
        if ((p = calloc(1, sizeof *p)) == NULL)
            abort();
        memcpy(p->address, address, 16);
        p->next = *slot;
        *slot = p;
    }
    p->n++;
    return p;
}

static void peer_drop_locked(struct http_conns *all, struct http_peer *p)
{
    if (--p->n)
        return;
    struct http_peer **at = slot_of(all, p->address);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free(p);
}

/* ---- places ---- */

static void place_give_up_locked(struct http_conn *conn)
{
    if (conn->has_place) {
        assert(conn->all->locked.n_places > 0 && conn->peer->n_places > 0);
        conn->all->locked.n_places--;
        conn->peer->n_places--;
    } else if (!conn->is_cut) {
        conn->all->locked.n_crowded--;
    }
    conn->has_place = false;
}

static void share_change_locked(struct http_conn *conn, struct http_share want)
{
    struct http_share *of[] = { &conn->all->locked.shares, &conn->peer->shares };
    for (size_t i = 0; i < 2; i++) {
        /* each sum holds this share; the difference is one modulo, and the sum is right */
        assert(of[i]->memory >= conn->share.memory && of[i]->unproven >= conn->share.unproven);
        assert(of[i]->file >= conn->share.file && of[i]->n_files >= conn->share.n_files);
        assert(of[i]->answer >= conn->share.answer &&
               of[i]->answer_file >= conn->share.answer_file);
        of[i]->memory += want.memory - conn->share.memory;
        of[i]->unproven += want.unproven - conn->share.unproven;
        of[i]->file += want.file - conn->share.file;
        of[i]->n_files += want.n_files - conn->share.n_files;
        of[i]->answer += want.answer - conn->share.answer;
        of[i]->answer_file += want.answer_file - conn->share.answer_file;
        of[i]->n_answer_files += want.n_answer_files - conn->share.n_answer_files;
    }
    conn->share = want;
}

void http_conn_cut_locked(struct http_conn *conn)
{
    if (conn->is_cut)
        return;
    place_give_up_locked(conn);
    /* its thread frees it in a moment */
    share_change_locked(conn, (struct http_share){ 0 });
    conn->is_cut = true;
    /* fails when the other side has ended it already */
    (void)shutdown(conn->fd, SHUT_RDWR);
}

/* Is longest in the phase; of this peer, or of all when it is NULL. */
static struct http_conn *oldest_in_locked(struct http_conns *all, const struct http_peer *p,
                                          conn_phase phase)
{
    struct http_conn *found = NULL;
    for (struct http_conn *conn = all->locked.first; conn; conn = conn->next)
        if (conn->has_place && (p == NULL || conn->peer == p) &&
            atomic_load(&conn->phase) == (int)phase &&
            (found == NULL || atomic_load(&conn->since_us) < atomic_load(&found->since_us)))
            found = conn;
    return found;
}

/* Whoever waits between two requests; else, where heads give way, who is slowest with one. */
static struct http_conn *to_end_locked(struct http_conns *all, const struct http_peer *p)
{
    struct http_conn *found = oldest_in_locked(all, p, CONN_IDLE);
    return found || !all->limits.heads_give_way ? found : oldest_in_locked(all, p, CONN_HEAD);
}

static bool place_find_locked(struct http_conns *all, struct http_peer *p)
{
    bool peer_full = p->n_places >= all->limits.n_per_address;
    if (!peer_full && all->locked.n_places < all->limits.n)
        return true;
    struct http_conn *conn = to_end_locked(all, peer_full ? p : NULL);
    if (conn == NULL)
        return false;
    http_conn_cut_locked(conn);
    return true;
}

static void crowded_keep_few_locked(struct http_conns *all)
{
    for (struct http_conn *conn = all->locked.first;
         conn && all->locked.n_crowded > all->limits.n_crowded; conn = conn->next)
        if (!conn->has_place && !conn->is_cut)
            http_conn_cut_locked(conn);
}

static bool place_take_locked(struct http_conn *conn)
{
    struct http_conns *all = conn->all;
    if (!place_find_locked(all, conn->peer))
        return false;
    all->locked.n_places++;
    conn->peer->n_places++;
    conn->has_place = true;
    return true;
}

bool http_conn_is_crowded(struct http_conn *conn)
{
    if (!conn->crowded)
        return false;
    pthread_mutex_lock(&conn->all->locked.lock);
    /* A place is free by now. */
    if (!conn->is_cut && place_take_locked(conn)) {
        conn->all->locked.n_crowded--;
        conn->crowded = false;
    }
    pthread_mutex_unlock(&conn->all->locked.lock);
    return conn->crowded;
}

/* ---- what bodies take ---- */

/* Does `sum`, in which c has its share, stay within max when that grows to want? */
static bool fits(uint64_t sum, uint64_t have, uint64_t want, uint64_t max)
{
    return want <= have || (sum - have <= max && want <= max - (sum - have));
}

static bool memory_fits_locked(const struct http_conn *conn, const struct http_share *want)
{
    const struct http_limits *limits = &conn->all->limits;
    const struct http_share *all = &conn->all->locked.shares, *peer = &conn->peer->shares;
    return fits(all->memory, conn->share.memory, want->memory, limits->bodies) &&
           fits(peer->memory, conn->share.memory, want->memory, limits->bodies_per_address) &&
           fits(all->unproven, conn->share.unproven, want->unproven, limits->unproven_all);
}

/* Whose file makes room: one that began long ago, or gets nothing; of these the one that waits
 * longest for more. */
static struct http_conn *file_to_end_locked(const struct http_conn *c, bool of_its_address)
{
    const struct http_limits *limits = &c->all->limits;
    uint64_t now_us = clock_mono_us();
    struct http_conn *found = NULL;
    for (struct http_conn *x = c->all->locked.first; x; x = x->next) {
        if (x == c || x->share.file == 0 || (of_its_address && x->peer != c->peer))
            continue;
        uint64_t came_us = atomic_load(&x->body_us);
        if ((atomic_load(&x->since_us) + limits->old_us <= now_us ||
             came_us + limits->still_us <= now_us) &&
            (found == NULL || came_us < atomic_load(&found->body_us)))
            found = x;
    }
    return found;
}

/* Bytes and descriptors of files. */
static bool file_fits(const struct http_share *sum, const struct http_conn *conn,
                      const struct http_share *want, uint64_t bytes, unsigned n_files)
{
    return fits(sum->file, conn->share.file, want->file, bytes) &&
           fits(sum->n_files, conn->share.n_files, want->n_files, n_files);
}

static bool files_fit_locked(struct http_conn *conn, const struct http_share *want)
{
    const struct http_limits *limits = &conn->all->limits;
    for (;;) {
        bool address = file_fits(&conn->peer->shares, conn, want, limits->files_per_address,
                                 (limits->n_files + 1) / 2);
        if (address &&
            file_fits(&conn->all->locked.shares, conn, want, limits->files, limits->n_files))
            return true;
        struct http_conn *other = file_to_end_locked(conn, !address);
        if (other == NULL)
            return false;
        http_conn_cut_locked(other);
    }
}

bool http_share_set(struct http_conn *conn, struct http_share want)
{
    pthread_mutex_lock(&conn->all->locked.lock);
    want.answer = conn->share.answer;
    want.answer_file = conn->share.answer_file;
    want.n_answer_files = conn->share.n_answer_files;
    bool empty = want.memory == 0 && want.unproven == 0 && want.file == 0;
    bool ok = empty ||
              (!conn->is_cut && memory_fits_locked(conn, &want) && files_fit_locked(conn, &want));
    if (ok && !conn->is_cut)
        share_change_locked(conn, want);
    pthread_mutex_unlock(&conn->all->locked.lock);
    return ok;
}

bool http_share_would_fit(struct http_conn *conn, uint64_t memory)
{
    pthread_mutex_lock(&conn->all->locked.lock);
    struct http_share want = { .memory = memory < SIZE_MAX ? (size_t)memory : SIZE_MAX };
    bool ok = memory_fits_locked(conn, &want);
    pthread_mutex_unlock(&conn->all->locked.lock);
    return ok;
}

/* ---- what answers take ---- */

static bool answer_fits(const struct http_share *sum, const struct http_conn *conn,
                        const struct http_share *want, const struct http_limits *limits,
                        unsigned part)
{
    return fits(sum->answer, conn->share.answer, want->answer, limits->answers / part) &&
           fits(sum->answer_file, conn->share.answer_file, want->answer_file,
                limits->answer_files / part) &&
           fits(sum->n_answer_files, conn->share.n_answer_files, want->n_answer_files,
                (limits->n_answer_files + part - 1) / part);
}

bool http_share_set_answer(struct http_conn *conn, size_t memory, uint64_t file)
{
    struct http_conns *all = conn->all;
    pthread_mutex_lock(&all->locked.lock);
    struct http_share want = conn->share;
    want.answer = memory;
    want.answer_file = file;
    want.n_answer_files = file > 0;
    bool ok = conn->is_cut || /* its thread drops what it gets */
              (answer_fits(&all->locked.shares, conn, &want, &all->limits, 1) &&
               answer_fits(&conn->peer->shares, conn, &want, &all->limits, 2));
    if (ok && !conn->is_cut)
        share_change_locked(conn, want);
    pthread_mutex_unlock(&all->locked.lock);
    return ok;
}

/* ---- connections ---- */

void http_conns_wake(const struct http_conns *all)
{
    const uint64_t one = 1;
    ssize_t n;
    do
        n = write(all->wake_fd, &one, sizeof one);
    /* EAGAIN: it is awake for long */
    while (n < 0 && errno == EINTR);
}

struct http_conn *http_conn_open(struct http_conns *all, int fd, const struct sockaddr *from)
{
    struct http_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        abort();
    conn->all = all;
    conn->fd = fd;
    atomic_init(&conn->phase, CONN_HEAD);
    atomic_init(&conn->since_us, clock_mono_us());
    pthread_mutex_lock(&all->locked.lock);
    conn->peer = peer_take_locked(all, from);
    conn->crowded = !place_take_locked(conn);
    all->locked.n_crowded += conn->crowded;
    conn->prev = all->locked.last;
    *(conn->prev ? &conn->prev->next : &all->locked.first) = conn;
    all->locked.last = conn;
    bool first = all->locked.n++ == 0;
    all->locked.n_taken++;
    pthread_cond_signal(&all->locked.taken);
    crowded_keep_few_locked(all);
    pthread_mutex_unlock(&all->locked.lock);
    if (first)
        http_conns_wake(all);
    return conn;
}

/* A handshake that came to nothing. */
static void note_handshake_locked(struct http_conn *conn, const char *why)
{
    struct http_handshakes *failed = &conn->all->locked.failed;
    const unsigned char *a = conn->peer->address;
    bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)a);
    failed->n++;
    atomic_fetch_add(&conn->all->n_unshaken, 1);
    failed->why = conn->is_cut ? "it took too long, or there was no place for it" : why;
    /* a binary address always has a text */
    (void)inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a + 12 : a, failed->peer, sizeof failed->peer);
}

void http_conn_close(struct http_conn *conn)
{
    struct http_conns *all = conn->all;
    const char *why = http_shake_end(conn);
    pthread_mutex_lock(&all->locked.lock);
    if (why)
        note_handshake_locked(conn, why);
    bool lingers = http_linger_locked(conn);
    share_change_locked(conn, (struct http_share){ 0 });
    place_give_up_locked(conn);
    *(conn->prev ? &conn->prev->next : &all->locked.first) = conn->next;
    *(conn->next ? &conn->next->prev : &all->locked.last) = conn->prev;
    all->locked.n--;
    peer_drop_locked(all, conn->peer);
    pthread_mutex_unlock(&all->locked.lock);
    if (lingers)
        http_conns_wake(all);
    free(conn);
}

void http_conns_end_waits(struct http_conns *all)
{
    pthread_mutex_lock(&all->locked.lock);
    all->locked.no_waits = true;
    for (struct http_conn *conn = all->locked.first; conn; conn = conn->next)
        if (conn->shake.waits)
            http_conn_cut_locked(conn);
    /* the watch sees the ends of their sockets */
    while (all->locked.n_waiting)
        pthread_cond_wait(&all->locked.none_waits, &all->locked.lock);
    pthread_mutex_unlock(&all->locked.lock);
}

bool http_conn_has_hung_up(const struct http_conn *conn)
{
    struct pollfd p = { .fd = conn->fd, .events = POLLRDHUP };
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void http_conn_is_at(struct http_conn *conn, conn_phase phase, uint64_t now_us)
{
    /* CONN_WORK has no time. A thread that still sees the phase before must not find 0 for its
     * time. */
    if (phase != CONN_WORK)
        atomic_store_explicit(&conn->since_us, now_us, memory_order_relaxed);
    /* A thread that sees the phase sees its time too. */
    atomic_store_explicit(&conn->phase, phase, memory_order_release);
}
