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

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- limits ---- */

void http_limits_complete(struct http_limits *l)
{
    if (l->n == 0)
        l->n = LIMIT_CONNECTIONS;
    if (l->n_per_address == 0)
        l->n_per_address = l->n / LIMIT_CONNECTIONS_SHARE > LIMIT_CONNECTIONS_LEAST
                               ? l->n / LIMIT_CONNECTIONS_SHARE
                               : LIMIT_CONNECTIONS_LEAST;
    if (l->n_crowded == 0)
        l->n_crowded = LIMIT_CONNECTIONS_HEALTH;
    if (l->head_us == 0)
        l->head_us = LIMIT_HEAD_S * UINT64_C(1000000);
    if (l->slow_us == 0)
        l->slow_us = LIMIT_SLOW_S * UINT64_C(1000000);
    if (l->slow_bytes == 0)
        l->slow_bytes = LIMIT_SLOW_BYTES;
    if (l->sweep_us == 0)
        l->sweep_us = 500000;
    if (l->bodies == 0)
        l->bodies = LIMIT_BODIES_BYTES;
    if (l->bodies_per_address == 0)
        l->bodies_per_address = LIMIT_BODIES_ADDRESS_BYTES;
    if (l->unproven == 0)
        l->unproven = LIMIT_UNPROVEN_BYTES;
    if (l->unproven_most == 0)
        l->unproven_most = LIMIT_UNPROVEN_MOST_BYTES;
    if (l->unproven_all == 0)
        l->unproven_all = LIMIT_UNPROVEN_MEMORY_BYTES;
    if (l->files == 0)
        l->files = LIMIT_UNPROVEN_FILES_BYTES;
    if (l->files_per_address == 0)
        l->files_per_address = LIMIT_UNPROVEN_ADDRESS_FILES_BYTES;
    if (l->n_files == 0)
        l->n_files = LIMIT_UNPROVEN_FILES;
    if (l->old_us == 0)
        l->old_us = LIMIT_UNPROVEN_S * UINT64_C(1000000);
    if (l->still_us == 0)
        l->still_us = LIMIT_UNPROVEN_STILL_MS * UINT64_C(1000);
    if (l->free_disk == 0)
        l->free_disk = LIMIT_BODIES_FREE_DISK_BYTES;
    if (l->answers == 0)
        l->answers = LIMIT_ANSWERS_BYTES;
    if (l->answer_files == 0)
        l->answer_files = LIMIT_ANSWER_FILES_BYTES;
    if (l->n_answer_files == 0)
        l->n_answer_files = LIMIT_ANSWER_FILES;
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

static void place_give_up_locked(struct http_conn *c)
{
    if (c->has_place) {
        assert(c->all->locked.n_places > 0 && c->peer->n_places > 0);
        c->all->locked.n_places--;
        c->peer->n_places--;
    } else if (!c->is_cut) {
        c->all->locked.n_crowded--;
    }
    c->has_place = false;
}

static void share_change_locked(struct http_conn *c, struct http_share want)
{
    struct http_share *of[] = { &c->all->locked.shares, &c->peer->shares };
    for (size_t i = 0; i < 2; i++) {
        /* each sum holds this share; the difference is one modulo, and the sum is right */
        assert(of[i]->memory >= c->share.memory && of[i]->unproven >= c->share.unproven);
        assert(of[i]->file >= c->share.file && of[i]->n_files >= c->share.n_files);
        assert(of[i]->answer >= c->share.answer && of[i]->answer_file >= c->share.answer_file);
        of[i]->memory += want.memory - c->share.memory;
        of[i]->unproven += want.unproven - c->share.unproven;
        of[i]->file += want.file - c->share.file;
        of[i]->n_files += want.n_files - c->share.n_files;
        of[i]->answer += want.answer - c->share.answer;
        of[i]->answer_file += want.answer_file - c->share.answer_file;
        of[i]->n_answer_files += want.n_answer_files - c->share.n_answer_files;
    }
    c->share = want;
}

void http_conn_cut_locked(struct http_conn *c)
{
    if (c->is_cut)
        return;
    place_give_up_locked(c);
    /* its thread frees it in a moment */
    share_change_locked(c, (struct http_share){ 0 });
    c->is_cut = true;
    /* fails when the other side has ended it already */
    (void)shutdown(c->fd, SHUT_RDWR);
}

/* Waits longest between two requests; of this peer, or of all when it is NULL. */
static struct http_conn *oldest_idle_locked(struct http_conns *all, const struct http_peer *p)
{
    struct http_conn *found = NULL;
    for (struct http_conn *c = all->locked.first; c; c = c->next)
        if (c->has_place && (p == NULL || c->peer == p) && atomic_load(&c->phase) == CONN_IDLE &&
            (found == NULL || atomic_load(&c->since_us) < atomic_load(&found->since_us)))
            found = c;
    return found;
}

static bool place_find_locked(struct http_conns *all, struct http_peer *p)
{
    bool peer_full = p->n_places >= all->limits.n_per_address;
    if (!peer_full && all->locked.n_places < all->limits.n)
        return true;
    struct http_conn *c = oldest_idle_locked(all, peer_full ? p : NULL);
    if (c == NULL)
        return false;
    http_conn_cut_locked(c);
    return true;
}

static void crowded_keep_few_locked(struct http_conns *all)
{
    for (struct http_conn *c = all->locked.first;
         c && all->locked.n_crowded > all->limits.n_crowded; c = c->next)
        if (!c->has_place && !c->is_cut)
            http_conn_cut_locked(c);
}

static bool place_take_locked(struct http_conn *c)
{
    struct http_conns *all = c->all;
    if (!place_find_locked(all, c->peer))
        return false;
    all->locked.n_places++;
    c->peer->n_places++;
    c->has_place = true;
    return true;
}

bool http_conn_is_crowded(struct http_conn *c)
{
    if (!c->crowded)
        return false;
    pthread_mutex_lock(&c->all->locked.lock);
    /* A place is free by now. */
    if (!c->is_cut && place_take_locked(c)) {
        c->all->locked.n_crowded--;
        c->crowded = false;
    }
    pthread_mutex_unlock(&c->all->locked.lock);
    return c->crowded;
}

/* ---- what bodies take ---- */

/* Does `sum`, in which c has its share, stay within max when that grows to want? */
static bool fits(uint64_t sum, uint64_t have, uint64_t want, uint64_t max)
{
    return want <= have || (sum - have <= max && want <= max - (sum - have));
}

static bool memory_fits_locked(const struct http_conn *c, const struct http_share *want)
{
    const struct http_limits *l = &c->all->limits;
    const struct http_share *all = &c->all->locked.shares, *peer = &c->peer->shares;
    return fits(all->memory, c->share.memory, want->memory, l->bodies) &&
           fits(peer->memory, c->share.memory, want->memory, l->bodies_per_address) &&
           fits(all->unproven, c->share.unproven, want->unproven, l->unproven_all);
}

/* Whose file makes room: one that began long ago, or gets nothing; of these the one that waits
 * longest for more. */
static struct http_conn *file_to_end_locked(const struct http_conn *c, bool of_its_address)
{
    const struct http_limits *l = &c->all->limits;
    uint64_t now_us = clock_mono_us();
    struct http_conn *found = NULL;
    for (struct http_conn *x = c->all->locked.first; x; x = x->next) {
        if (x == c || x->share.file == 0 || (of_its_address && x->peer != c->peer))
            continue;
        uint64_t came_us = atomic_load(&x->body_us);
        if ((atomic_load(&x->since_us) + l->old_us <= now_us || came_us + l->still_us <= now_us) &&
            (found == NULL || came_us < atomic_load(&found->body_us)))
            found = x;
    }
    return found;
}

/* Bytes and descriptors of files. */
static bool file_fits(const struct http_share *sum, const struct http_conn *c,
                      const struct http_share *want, uint64_t bytes, unsigned n_files)
{
    return fits(sum->file, c->share.file, want->file, bytes) &&
           fits(sum->n_files, c->share.n_files, want->n_files, n_files);
}

static bool files_fit_locked(struct http_conn *c, const struct http_share *want)
{
    const struct http_limits *l = &c->all->limits;
    for (;;) {
        bool address =
            file_fits(&c->peer->shares, c, want, l->files_per_address, (l->n_files + 1) / 2);
        if (address && file_fits(&c->all->locked.shares, c, want, l->files, l->n_files))
            return true;
        struct http_conn *other = file_to_end_locked(c, !address);
        if (other == NULL)
            return false;
        http_conn_cut_locked(other);
    }
}

bool http_share_set(struct http_conn *c, struct http_share want)
{
    pthread_mutex_lock(&c->all->locked.lock);
    want.answer = c->share.answer;
    want.answer_file = c->share.answer_file;
    want.n_answer_files = c->share.n_answer_files;
    bool empty = want.memory == 0 && want.unproven == 0 && want.file == 0;
    bool ok = empty || (!c->is_cut && memory_fits_locked(c, &want) && files_fit_locked(c, &want));
    if (ok && !c->is_cut)
        share_change_locked(c, want);
    pthread_mutex_unlock(&c->all->locked.lock);
    return ok;
}

bool http_share_would_fit(struct http_conn *c, uint64_t memory)
{
    pthread_mutex_lock(&c->all->locked.lock);
    struct http_share want = { .memory = memory < SIZE_MAX ? (size_t)memory : SIZE_MAX };
    bool ok = memory_fits_locked(c, &want);
    pthread_mutex_unlock(&c->all->locked.lock);
    return ok;
}

/* ---- what answers take ---- */

static bool answer_fits(const struct http_share *sum, const struct http_conn *c,
                        const struct http_share *want, const struct http_limits *l, unsigned part)
{
    return fits(sum->answer, c->share.answer, want->answer, l->answers / part) &&
           fits(sum->answer_file, c->share.answer_file, want->answer_file,
                l->answer_files / part) &&
           fits(sum->n_answer_files, c->share.n_answer_files, want->n_answer_files,
                (l->n_answer_files + part - 1) / part);
}

bool http_share_set_answer(struct http_conn *c, size_t memory, uint64_t file)
{
    struct http_conns *all = c->all;
    pthread_mutex_lock(&all->locked.lock);
    struct http_share want = c->share;
    want.answer = memory;
    want.answer_file = file;
    want.n_answer_files = file > 0;
    bool ok = c->is_cut || /* its thread drops what it gets */
              (answer_fits(&all->locked.shares, c, &want, &all->limits, 1) &&
               answer_fits(&c->peer->shares, c, &want, &all->limits, 2));
    if (ok && !c->is_cut)
        share_change_locked(c, want);
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
    struct http_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->all = all;
    c->fd = fd;
    atomic_init(&c->phase, CONN_HEAD);
    atomic_init(&c->since_us, clock_mono_us());
    pthread_mutex_lock(&all->locked.lock);
    c->peer = peer_take_locked(all, from);
    c->crowded = !place_take_locked(c);
    all->locked.n_crowded += c->crowded;
    c->prev = all->locked.last;
    *(c->prev ? &c->prev->next : &all->locked.first) = c;
    all->locked.last = c;
    bool first = all->locked.n++ == 0;
    crowded_keep_few_locked(all);
    pthread_mutex_unlock(&all->locked.lock);
    if (first)
        http_conns_wake(all);
    return c;
}

/* A socket that is closed while bytes still come is reset, and what the other side has not read by
 * then, the refusal, is lost to it. So the watch keeps the socket open, its end being said behind
 * the answer, and reads on. */
static bool linger_locked(struct http_conn *c)
{
    struct http_conns *all = c->all;
    int waiting = 0;
    if (c->is_cut || all->locked.n_lingering == LINGER_MAX || all->locked.stop ||
        (!c->unread && atomic_load(&c->phase) != CONN_HEAD &&
         (ioctl(c->fd, FIONREAD, &waiting) != 0 || waiting == 0)))
        return false;
    int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    /* no descriptors left: it is closed as it is */
    if (fd < 0)
        return false;
    /* the library does it behind an answer, not where it makes none */
    (void)shutdown(fd, SHUT_WR);
    all->locked.lingering[all->locked.n_lingering++] = fd;
    return true;
}

void http_conn_close(struct http_conn *c)
{
    struct http_conns *all = c->all;
    pthread_mutex_lock(&all->locked.lock);
    bool lingers = linger_locked(c);
    share_change_locked(c, (struct http_share){ 0 });
    place_give_up_locked(c);
    *(c->prev ? &c->prev->next : &all->locked.first) = c->next;
    *(c->next ? &c->next->prev : &all->locked.last) = c->prev;
    all->locked.n--;
    peer_drop_locked(all, c->peer);
    pthread_mutex_unlock(&all->locked.lock);
    if (lingers)
        http_conns_wake(all);
    free(c);
}

void http_conn_is_at(struct http_conn *c, conn_phase phase, uint64_t now_us)
{
    /* CONN_WORK has no time. A thread that still sees the phase before must not find 0 for its
     * time. */
    if (phase != CONN_WORK)
        atomic_store_explicit(&c->since_us, now_us, memory_order_relaxed);
    /* A thread that sees the phase sees its time too. */
    atomic_store_explicit(&c->phase, phase, memory_order_release);
}
