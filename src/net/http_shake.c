/* http_shake.c - TLS of one connection: its handshake, and whose certificate the caller showed.
 *
 * libmicrohttpd runs GnuTLS. It says nothing of a handshake that fails and sends no alert, so that
 * a caller could not tell an old TLS from a dead server. GnuTLS lets us see the messages and the
 * bytes under them. With that, a caller whose TLS is too old gets the alert that says so, and one
 * who speaks plain HTTP gets an answer in plain HTTP. What fails is counted, and told by the watch.
 *
 * A handshake that waits for the caller's next message would keep the library's thread busy: over
 * epoll it asks GnuTLS again and again until something comes (in 0.9.75 and 1.0.1). So the
 * connection is suspended from there on, and the watch has it go on when its socket has bytes or
 * an end:
 *
 *   handshake --no bytes--> suspended, socket in shake_fd (once) --bytes, end--> handshake
 *
 * A record costs a system call and more, and libmicrohttpd makes one of an answer's head and one of
 * its body; GnuTLS reads the five bytes in front of a record by themselves. So a small answer is
 * held until both are there, and the socket is read ahead.
 *
 * GnuTLS asks for a caller's certificate and takes any. So we look (http_trust.c), when the first
 * head of a connection is there, and again when the authorities have changed since. No authorities
 * are named in the request for a certificate, since they may change: callers send what they have.
 * The time of a handshake is that of the first head: both run from the connection.
 * Source: RFC 8446, sections 4.2.1 and 6.2; RFC 5280. */
#include "net/http_private.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

/* TLS 1.2 and 1.3, forward secrecy and authenticated encryption only. */
#define PRIORITIES                                                                        \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-AES-128-CBC:-AES-256-CBC:" \
    "-CAMELLIA-128-CBC:-CAMELLIA-256-CBC:-SHA1:%SERVER_PRECEDENCE"
#define AHEAD_BYTES 4096u
#define VERSIONS    43u /* the extension supported_versions */
#define VERSION_12  0x0303u
#define VERSION_13  0x0304u

static struct http_conn *conn_of(gnutls_session_t session)
{
    gnutls_transport_ptr_t in, out;
    gnutls_transport_get_ptr2(session, &in, &out);
    return in;
}

/* ---- what the library is told ---- */

/* For GnuTLS: which certificate is shown. */
static int show(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                const gnutls_pk_algorithm_t *kinds, int n_kinds, gnutls_pcert_st **chain,
                unsigned *n, gnutls_privkey_t *key)
{
    (void)authorities, (void)n_authorities, (void)kinds, (void)n_kinds;
    struct http_conn *conn = conn_of(session);
    /* asked twice of one handshake it is the same */
    if (conn->shake.pair == NULL)
        conn->shake.pair = http_pair_take(conn->all->tls);
    http_pair_show(conn->shake.pair, chain, n, key);
    return 0;
}

void http_shake_options(const struct http_tls *tls, struct MHD_OptionItem out[HTTP_SHAKE_OPTIONS])
{
    unsigned n = 0;
    if (tls) {
        gnutls_certificate_retrieve_function2 *fn = show;
        out[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
                                            (void *)(uintptr_t)PRIORITIES };
        out[n++] =
            (struct MHD_OptionItem){ MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)fn };
    }
    out[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
}

/* ---- callers who do not speak TLS ---- */

static void answer_in_plain(struct http_conn *conn)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n"
                               "Content-Type: application/json\r\n"
                               "Content-Length: 69\r\n"
                               "Connection: close\r\n\r\n"
                               "{\"message\":\"This port speaks HTTPS: begin the "
                               "address with https://\"}";
    /* who does not get it sees the connection end */
    (void)!send(conn->fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    conn->unread = true;
}

/* ---- waits ---- */

static void go_on(struct http_conn *conn)
{
    struct http_conns *all = conn->all;
    pthread_mutex_lock(&all->locked.lock);
    conn->shake.waits = false;
    pthread_mutex_unlock(&all->locked.lock);
    /* behind this call conn may be gone */
    MHD_resume_connection(conn->shake.library);
    pthread_mutex_lock(&all->locked.lock);
    if (--all->locked.n_waiting == 0)
        pthread_cond_broadcast(&all->locked.none_waits);
    pthread_mutex_unlock(&all->locked.lock);
}

static void wait_for_bytes(struct http_conn *conn)
{
    struct http_conns *all = conn->all;
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = conn };
    pthread_mutex_lock(&all->locked.lock);
    bool waits = conn->shake.waits = !all->locked.no_waits;
    all->locked.n_waiting += waits;
    pthread_mutex_unlock(&all->locked.lock);
    if (!waits)
        return;
    int how = conn->shake.watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    conn->shake.watched = true;
    /* in this order: the watch must not resume what is not suspended */
    MHD_suspend_connection(conn->shake.library);
    if (epoll_ctl(all->shake_fd, how, conn->fd, &event) != 0)
        go_on(conn);
}

void http_shake_go_on(struct http_conns *all)
{
    struct epoll_event events[64];
    int n = epoll_wait(all->shake_fd, events, 64, 0);
    for (int i = 0; i < n; i++)
        go_on(events[i].data.ptr);
}

/* ---- bytes ---- */

/* What is longer than what is read ahead goes straight to its place. */
static ssize_t read_ahead(struct http_conn *conn, void *out, size_t size)
{
    struct http_shake *shake = &conn->shake;
    size_t left = shake->ahead_len - shake->ahead_at;
    if (left == 0) {
        bool direct = size >= AHEAD_BYTES;
        ssize_t n = recv(conn->fd, direct ? out : shake->ahead, direct ? size : AHEAD_BYTES, 0);
        if (n <= 0 || direct)
            return n;
        shake->ahead_at = 0;
        left = shake->ahead_len = (size_t)n;
    }
    size_t n = size < left ? size : left;
    memcpy(out, shake->ahead + shake->ahead_at, n);
    shake->ahead_at += n;
    return (ssize_t)n;
}

/* For GnuTLS: bytes of the socket. The first one tells TLS from HTTP. */
static ssize_t pull(gnutls_transport_ptr_t from, void *out, size_t size)
{
    struct http_conn *conn = from;
    ssize_t n = read_ahead(conn, out, size);
    if (n < 0 && errno == EAGAIN && !conn->shake.done) {
        wait_for_bytes(conn);
        errno = EAGAIN;
    }
    if (n <= 0 || conn->shake.heard)
        return n;
    conn->shake.heard = true;
    char first = *(const char *)out;
    if (first < 'A' || first > 'Z')
        return n;
    conn->shake.why = "it speaks plain HTTP";
    answer_in_plain(conn);
    errno = EPROTO;
    return -1;
}

/* GnuTLS holds records until they are released, and then nobody would come back for what the socket
 * does not take. So only when it is empty: it takes a small answer then, whoever reads or not. */
void http_shake_hold(struct http_conn *conn)
{
    int queued = 0;
    if (conn->shake.session == NULL || ioctl(conn->fd, SIOCOUTQ, &queued) != 0 || queued)
        return;
    gnutls_record_cork(conn->shake.session);
    conn->shake.held = true;
}

void http_shake_release(struct http_conn *conn)
{
    if (!conn->shake.held)
        return;
    conn->shake.held = false;
    /* The kernel has no memory for it, or the caller is gone: the connection ends. */
    if (gnutls_record_uncork(conn->shake.session, 0) < 0)
        (void)shutdown(conn->fd, SHUT_RDWR);
    /* The library keeps the socket corked, and has pushed before this record was there. The option
     * is set already: to set it pushes (tcp(7)). */
    int one = 1;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* ---- handshakes ---- */

struct versions {
    bool told, taken;
};

static int on_extension(void *ctx, unsigned kind, const unsigned char *data, unsigned size)
{
    struct versions *v = ctx;
    if (kind != VERSIONS)
        return 0;
    v->told = true;
    for (unsigned i = 1; i + 1 < size; i += 2) {
        unsigned version = (unsigned)data[i] << 8 | data[i + 1];
        v->taken |= version == VERSION_12 || version == VERSION_13;
    }
    return 0;
}

/* Does the ClientHello offer a version that we take? */
static bool is_new_enough(const gnutls_datum_t *hello)
{
    struct versions v = { 0 };
    if (hello->size < 2)
        return true; /* GnuTLS refuses it */
    unsigned version = (unsigned)hello->data[0] << 8 | hello->data[1];
    /* an error: there are none, or GnuTLS finds it as well */
    (void)gnutls_ext_raw_parse(&v, on_extension, hello, GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO);
    return v.told ? v.taken : version >= VERSION_12;
}

/* For GnuTLS: a message of the handshake, before and behind its own work. */
static int on_message(gnutls_session_t session, unsigned kind, unsigned post, unsigned incoming,
                      const gnutls_datum_t *message)
{
    struct http_conn *conn = conn_of(session);
    if (!incoming)
        return 0;
    if (kind == GNUTLS_HANDSHAKE_FINISHED && post == GNUTLS_HOOK_POST && !conn->shake.done) {
        conn->shake.done = true;
        atomic_fetch_add(&conn->all->n_shaken, 1);
    }
    if (kind != GNUTLS_HANDSHAKE_CLIENT_HELLO || post != GNUTLS_HOOK_PRE || is_new_enough(message))
        return 0;
    conn->shake.why = "its TLS is older than 1.2";
    /* who does not get it sees the connection end */
    (void)gnutls_alert_send(session, GNUTLS_AL_FATAL, GNUTLS_A_PROTOCOL_VERSION);
    return GNUTLS_E_UNSUPPORTED_VERSION_PACKET;
}

void http_shake_begin(struct http_conn *conn, struct MHD_Connection *library,
                      gnutls_session_t session)
{
    if ((conn->shake.ahead = malloc(AHEAD_BYTES)) == NULL)
        abort();
    conn->shake.library = library;
    conn->shake.session = session;
    gnutls_transport_set_ptr2(session, conn, (gnutls_transport_ptr_t)(intptr_t)conn->fd);
    gnutls_transport_set_pull_function(session, pull);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH, on_message);
    if (http_tls_asks(conn->all->tls))
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
}

const char *http_shake_end(struct http_conn *conn)
{
    struct http_shake *shake = &conn->shake;
    const char *why = shake->why ? shake->why : "it was not finished";
    bool failed = shake->session && shake->heard && !shake->done;
    if (shake->watched)
        (void)epoll_ctl(conn->all->shake_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    free(shake->ahead);
    http_pair_drop(shake->pair);
    http_trust_drop(shake->met);
    shake->pair = NULL;
    shake->met = NULL;
    shake->session = NULL;
    return failed ? why : NULL;
}

/* ---- whose certificate ---- */

/* Text that is shown and compared: no control bytes, nothing past ASCII. */
static bool is_plain(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] < ' ' || text[i] > '~')
            return false;
    return n > 0;
}

/* The first alternative name of a kind. */
static bool find_name(gnutls_x509_crt_t crt, int kind, char *out, size_t size)
{
    for (unsigned i = 0;; i++) {
        size_t n = size - 1;
        int r = gnutls_x509_crt_get_subject_alt_name(crt, i, out, &n, NULL);
        if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return false;
        if (r != kind || !is_plain(out, n))
            continue;
        out[n] = 0;
        return true;
    }
}

/* URI, else name, else subject: what is narrowest first. */
static bool name_of(const gnutls_datum_t *der, char *out, size_t size)
{
    gnutls_x509_crt_t crt;
    size_t n = size;
    if (gnutls_x509_crt_init(&crt) != 0)
        abort();
    bool ok = gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER) == 0 &&
              (find_name(crt, GNUTLS_SAN_URI, out, size) ||
               find_name(crt, GNUTLS_SAN_DNSNAME, out, size) ||
               (gnutls_x509_crt_get_dn(crt, out, &n) == 0 && is_plain(out, n)));
    gnutls_x509_crt_deinit(crt);
    return ok;
}

static const char *version_of(gnutls_session_t session)
{
    switch (gnutls_protocol_get_version(session)) {
    case GNUTLS_TLS1_3:
        return "TLSv1.3";
    case GNUTLS_TLS1_2:
        return "TLSv1.2";
    default:
        return NULL;
    }
}

void http_shake_meet(struct http_conn *conn)
{
    struct http_shake *shake = &conn->shake;
    if (shake->session && shake->version == NULL) {
        shake->version = version_of(shake->session);
        shake->cipher = gnutls_ciphersuite_get(shake->session);
    }
    if (shake->session == NULL || !http_tls_asks(conn->all->tls))
        return;
    struct http_trust *trust = http_trust_take(conn->all->tls);
    /* it is the same one, and does not go: it is held */
    bool again = shake->met == trust;
    http_trust_drop(shake->met);
    shake->met = trust;
    if (again)
        return;
    unsigned n;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(shake->session, &n);
    shake->stranger = chain && n ? http_trust_judge(trust, chain, n)
                                 : "This server takes callers with a client certificate only";
    shake->name[0] = 0;
    if (shake->stranger == NULL && !name_of(&chain[0], shake->name, sizeof shake->name))
        shake->stranger = "The client certificate names nobody, or in more than 255 characters";
}
