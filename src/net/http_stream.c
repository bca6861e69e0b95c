/* http_stream.c - an answer that goes out while it is made, in chunks.
 *
 *   the maker          http_stream_put -> gzip, for who takes it -> room of HTTP_STREAM_ROOM bytes
 *                      -> the library
 *   room is full       the maker waits
 *   room is empty      the connection is suspended until the maker puts, and costs no thread
 *
 * The maker needs the exchange, its request and its arena to the end. So an exchange whose caller
 * has gone is kept until the maker ends the stream: of the exchange's end and the maker's the
 * second clears it up. The stream itself is freed by the last of three: exchange, maker, answer of
 * the library.
 *
 * A stream that ends before it is whole closes the connection without the last chunk, which every
 * client takes for an error.
 * Source: RFC 9112, section 7.1. */
#include "net/http_private.h"

#include "base/clock.h"

#define OWNERS      3
#define CHUNK_BYTES (64u << 10)
#define PIECE_BYTES (64u << 10) /* packed at a time */

struct http_stream {
    struct http_exchange *x;
    pthread_mutex_t lock;
    pthread_cond_t room; /* there is some, or the exchange is over */
    char *bytes;         /* a ring of HTTP_STREAM_ROOM */
    size_t at, len;
    struct http_packer *packer; /* the maker's; NULL: it goes out plain */
    struct buf packed;          /* the maker's: what came of a piece */
    struct buf over_room;       /* behind the ring: what was left of that; from over_at on */
    size_t over_at;
    bool waits; /* the connection is suspended until there is something to send */
    bool ended, whole;
    bool over; /* the exchange is: nobody reads any more */
    atomic_int n_owners;
};

static void drop(struct http_stream *stream)
{
    if (atomic_fetch_sub(&stream->n_owners, 1) > 1)
        return;
    pthread_cond_destroy(&stream->room);
    pthread_mutex_destroy(&stream->lock);
    http_packer_free(stream->packer);
    buf_done(&stream->packed);
    buf_done(&stream->over_room);
    free(stream->bytes);
    free(stream);
}

/* ---- the library's side ---- */

static bool is_over_room_locked(const struct http_stream *stream)
{
    return stream->over_at < stream->over_room.len;
}

static bool has_some_locked(const struct http_stream *stream)
{
    return stream->len || is_over_room_locked(stream);
}

static size_t take_locked(struct http_stream *stream, char *out, size_t max)
{
    if (stream->len == 0) {
        const sv left = sv_head(sv_tail(buf_sv(&stream->over_room), stream->over_at), max);
        memcpy(out, left.ptr, left.len);
        stream->over_at += left.len;
        return left.len;
    }
    size_t n = stream->len < max ? stream->len : max;
    size_t first = HTTP_STREAM_ROOM - stream->at < n ? HTTP_STREAM_ROOM - stream->at : n;
    memcpy(out, stream->bytes + stream->at, first);
    memcpy(out + first, stream->bytes, n - first);
    stream->at = (stream->at + n) % HTTP_STREAM_ROOM;
    stream->len -= n;
    return n;
}

static ssize_t stream_read(void *cls, uint64_t pos, char *out, size_t max)
{
    struct http_stream *stream = cls;
    struct http_conn *at = stream->x->at;
    ssize_t n;
    (void)pos;
    pthread_mutex_lock(&stream->lock);
    if (has_some_locked(stream)) {
        n = (ssize_t)take_locked(stream, out, max);
        pthread_cond_signal(&stream->room);
    } else if (stream->ended) {
        n = stream->whole ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
    } else {
        /* our own work has no deadline */
        http_conn_is_at(at, CONN_WORK, 0);
        stream->waits = true;
        MHD_suspend_connection(stream->x->conn);
        n = 0;
    }
    pthread_mutex_unlock(&stream->lock);
    return n;
}

static void stream_free(void *cls)
{
    drop(cls);
}

static void go_on_locked(struct http_stream *stream)
{
    if (!stream->waits)
        return;
    stream->waits = false;
    http_conn_is_at(stream->x->at, CONN_ANSWER, clock_mono_us());
    MHD_resume_connection(stream->x->conn);
}

/* http_exchange.stream_over */
static bool stream_over(struct http_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    stream->over = true;
    stream->waits = false;
    bool ended = stream->ended;
    pthread_cond_signal(&stream->room);
    pthread_mutex_unlock(&stream->lock);
    drop(stream);
    return ended;
}

/* http_exchange.stream_gone */
static bool stream_gone(struct http_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    bool gone = stream->over || http_conn_has_hung_up(stream->x->at);
    pthread_mutex_unlock(&stream->lock);
    return gone;
}

/* ---- the maker's side ---- */

bool http_may_stream(const struct http_exchange *exchange)
{
    return exchange->chunks;
}

struct http_stream *http_stream_begin(struct http_exchange *exchange, unsigned status,
                                      const struct http_header *headers, size_t n_headers,
                                      bool may_gzip)
{
    struct http_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL || (stream->bytes = malloc(HTTP_STREAM_ROOM)) == NULL)
        abort();
    stream->x = exchange;
    atomic_init(&stream->n_owners, OWNERS);
    pthread_mutex_init(&stream->lock, NULL);
    clock_cond_init(&stream->room);
    /* it may take long from here on, and what the caller sent was read */
    http_body_done(&exchange->body, exchange->at);
    exchange->req.body = SV_NONE;
    buf_init(&stream->packed, SIZE_MAX / 2);
    buf_init(&stream->over_room, SIZE_MAX / 2);
    if (may_gzip && http_takes_gzip(http_header_get(&exchange->req, "Accept-Encoding")))
        stream->packer = http_packer_new();
    exchange->stream = stream;
    exchange->stream_over = stream_over;
    exchange->stream_gone = stream_gone;
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK_BYTES,
                                                               stream_read, stream, stream_free);
    if (r && may_gzip)
        MHD_add_response_header(r, "Vary", "Accept-Encoding");
    if (r && stream->packer)
        MHD_add_response_header(r, "Content-Encoding", "gzip");
    http_exchange_answer(exchange, status, headers, n_headers, r);
    return stream;
}

static size_t give_locked(struct http_stream *stream, sv bytes)
{
    size_t room = HTTP_STREAM_ROOM - stream->len, n = bytes.len < room ? bytes.len : room;
    size_t end = (stream->at + stream->len) % HTTP_STREAM_ROOM;
    size_t first = HTTP_STREAM_ROOM - end < n ? HTTP_STREAM_ROOM - end : n;
    memcpy(stream->bytes + end, bytes.ptr, first);
    memcpy(stream->bytes, bytes.ptr + first, n - first);
    stream->len += n;
    return n;
}

/* All of it: what the ring has no room for stands behind it. */
static void give_all_locked(struct http_stream *stream, sv bytes)
{
    struct err e;
    if (!is_over_room_locked(stream)) {
        bytes = sv_tail(bytes, give_locked(stream, bytes));
        buf_clear(&stream->over_room);
        stream->over_at = 0;
    }
    if (buf_add(&stream->over_room, bytes, &e) != ERR_OK)
        abort();
}

static bool is_full_locked(const struct http_stream *stream)
{
    return stream->len == HTTP_STREAM_ROOM || is_over_room_locked(stream);
}

static bool is_full(struct http_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    const bool full = is_full_locked(stream);
    pthread_mutex_unlock(&stream->lock);
    return full;
}

static void pack(struct http_stream *stream, sv piece, bool last)
{
    buf_clear(&stream->packed);
    http_packer_add(stream->packer, piece, last, &stream->packed);
}

/* There is room: nobody but the maker takes it. */
static size_t give(struct http_stream *stream, sv bytes)
{
    const sv piece = sv_head(bytes, stream->packer ? PIECE_BYTES : bytes.len);
    size_t n = piece.len;
    if (stream->packer)
        pack(stream, piece, false);
    pthread_mutex_lock(&stream->lock);
    if (stream->packer)
        give_all_locked(stream, buf_sv(&stream->packed));
    else
        n = give_locked(stream, piece);
    go_on_locked(stream);
    pthread_mutex_unlock(&stream->lock);
    return n;
}

err_code http_stream_put(struct http_stream *stream, sv bytes, unsigned wait_ms, size_t *taken,
                         struct err *e)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + wait_ms * UINT64_C(1000));
    int timed_out = 0;
    *taken = 0;
    pthread_mutex_lock(&stream->lock);
    while (wait_ms && !stream->over && is_full_locked(stream) && !timed_out)
        timed_out = pthread_cond_timedwait(&stream->room, &stream->lock, &until);
    const bool over = stream->over;
    pthread_mutex_unlock(&stream->lock);
    if (over)
        return ERR(e, ERR_CANCELLED, "the caller has hung up");
    for (size_t n = 1; n && *taken < bytes.len; *taken += n)
        n = is_full(stream) ? 0 : give(stream, sv_tail(bytes, *taken));
    return ERR_OK;
}

void http_stream_drop(struct http_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    stream->len = 0;
    buf_clear(&stream->over_room);
    stream->over_at = 0;
    pthread_mutex_unlock(&stream->lock);
}

void http_stream_end(struct http_stream *stream, bool whole)
{
    struct http_exchange *exchange = stream->x;
    /* of one that is not whole the end of gzip's form is missing, too */
    if (stream->packer && whole)
        pack(stream, SV_LIT(""), true);
    pthread_mutex_lock(&stream->lock);
    if (stream->packer && whole)
        give_all_locked(stream, buf_sv(&stream->packed));
    stream->ended = true;
    stream->whole = whole;
    const bool over = stream->over;
    go_on_locked(stream);
    pthread_mutex_unlock(&stream->lock);
    if (over)
        http_exchange_leave(exchange);
    drop(stream);
}
