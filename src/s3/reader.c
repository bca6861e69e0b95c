/* reader.c - an object as a byte_reader.
 *
 * The transfer stands still while the caller works (the window is full, TCP pushes back), and goes
 * on inside read(). When it breaks, the next attempt asks for the bytes from where the last ended,
 * under If-Match on the first answer's ETag, so that bytes of two versions never meet. Progress
 * starts the count of attempts anew, if it is more than drops; and who gives drops only, while the
 * caller waits, has stalled. */
#include "s3/s3_private.h"

#include "base/clock.h"

struct reader {
    struct s3_client *client;
    struct s3_conn *conn; /* NULL when no transfer is on its way */
    struct curl_slist *headers;
    struct s3_attempts at;
    char *bucket_key; /* both, one after the other */
    sv bucket, key;
    struct s3_whole whole; /* as the first answer said; its ETag is "" before */
    uint64_t offset;       /* next byte that the caller gets */
    uint64_t end;          /* behind the last one that he wants; UINT64_MAX: the object's */
    uint64_t got;          /* bytes since the attempts were counted anew */
    uint64_t waited_us;    /* for bytes, since then, by this transfer */
    bool known, began;     /* this transfer's head was checked */
};

/* Behind the last byte that there is to get. */
static uint64_t stop_of(const struct reader *reader)
{
    return reader->end < reader->whole.bytes ? reader->end : reader->whole.bytes;
}

static void drop(struct reader *reader)
{
    if (reader->conn)
        s3_client_conn_give(reader->client, reader->conn);
    reader->conn = NULL;
    curl_slist_free_all(reader->headers);
    reader->headers = NULL;
    reader->began = false;
    reader->waited_us = 0;
}

static err_code start(struct reader *reader, struct err *e)
{
    char range[64];
    struct s3_request request = {
        .op = "GetObject", .method = "GET", .bucket = reader->bucket, .key = reader->key
    };
    int n = 0;
    if (reader->end != UINT64_MAX)
        n = snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)reader->offset,
                     (unsigned long long)reader->end - 1);
    else if (reader->offset)
        n = snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)reader->offset);
    s3_request_header(&request, "range", sv_make(range, (size_t)n));
    s3_request_header(&request, "if-match", sv_from(reader->whole.etag));
    reader->conn = s3_client_conn_take(reader->client);
    err_code rc = s3_request_start(reader->client, &request, &reader->at, NULL, true, reader->conn,
                                   &reader->headers, e);
    if (rc != ERR_OK)
        drop(reader);
    return rc;
}

/* "bytes 5-9/10" has to begin at from; *size is what stands behind the slash. */
static bool range_fits(sv range, uint64_t from, uint64_t *size)
{
    sv unit, first;
    uint64_t at;
    return sv_cut(&range, ' ', &unit) && sv_eq_cstr(unit, "bytes") && sv_cut(&range, '-', &first) &&
           sv_to_u64(first, &at) && at == from && sv_cut(&range, '/', &first) &&
           sv_to_u64(range, size);
}

/* The head of a 2xx answer: length, ETag, place. ERR_PEER here is final: the object changed, or the
 * server does not keep to the protocol. */
static err_code check_head(struct reader *reader, struct err *e)
{
    sv etag = s3_conn_header(reader->conn, "etag");
    uint64_t size = 0;
    if (etag.len >= sizeof reader->whole.etag)
        return ERR(e, ERR_PEER, "S3 GetObject: the ETag is too long");
    if (s3_conn_status(reader->conn) == 206
            ? !range_fits(s3_conn_header(reader->conn, "content-range"), reader->offset, &size)
            : reader->offset != 0 ||
                  !sv_to_u64(s3_conn_header(reader->conn, "content-length"), &size))
        return ERR(e, ERR_PEER, "S3 GetObject: the answer is not the range that was asked for");
    if (reader->known && (size != reader->whole.bytes || !sv_eq(etag, sv_from(reader->whole.etag))))
        return ERR(e, ERR_PEER, "S3 GetObject: the object changed while it was read");
    memcpy(reader->whole.etag, etag.ptr ? etag.ptr : "", etag.len);
    reader->whole.etag[etag.len] = 0;
    reader->whole.bytes = size;
    reader->known = true;
    reader->began = true;
    return ERR_OK;
}

/* A step of the transfer failed: wait for another attempt, or say why not. */
static err_code failed(struct reader *reader, s3_conn_state st, struct err *e)
{
    s3_fault_of(reader->conn, st, reader->at.has_token, &reader->at.last);
    long status = s3_conn_status(reader->conn);
    drop(reader);
    if (status == 412 && reader->known)
        return ERR(e, ERR_PEER, "S3 GetObject: the object changed while it was read");
    if (status == 416 && !reader->known)
        return ERR(e, ERR_EOF, "the offset is behind the end");
    return s3_request_next(reader->client, "GetObject", reader->bucket, &reader->at, e);
}

/* A step of the transfer, which may wait for the peer. */
static s3_conn_state step(struct reader *reader)
{
    const uint64_t from_us = clock_mono_us();
    s3_conn_state st = s3_conn_step(reader->conn);
    reader->waited_us += clock_mono_us() - from_us;
    return st == CONN_RUNNING && reader->waited_us > (uint64_t)reader->client->timeout_ms * 1000
               ? CONN_STALLED
               : st;
}

/* Until there are bytes in the window, or the object ends (ERR_EOF), or nothing helps. With
 * head_only, until the head of the first answer is known. */
static err_code advance(struct reader *reader, bool head_only, struct err *e)
{
    for (;;) {
        if (reader->known && reader->offset >= stop_of(reader)) {
            /* let curl see the end: the connection can stay */
            if (reader->conn)
                (void)s3_conn_step(reader->conn);
            drop(reader);
            return ERR(e, ERR_EOF, "end of object");
        }
        if (reader->conn == NULL)
            TRY(start(reader, e));
        s3_conn_state st = CONN_RUNNING;
        if (reader->conn->window_to == reader->conn->window_from)
            st = step(reader);
        long status = s3_conn_status(reader->conn);
        bool good = status == 200 || status == 206;
        bool has = reader->conn->window_to != reader->conn->window_from;
        if (good && !reader->began && (has || st == CONN_DONE)) {
            err_code rc = check_head(reader, e);
            if (rc != ERR_OK) {
                drop(reader);
                return rc;
            }
            if (head_only)
                return ERR_OK;
        }
        if (has && st != CONN_CANCELLED)
            return ERR_OK;
        if (st == CONN_RUNNING)
            continue;
        /* the end, seen above */
        if (st == CONN_DONE && good && reader->conn->result == CURLE_OK &&
            reader->offset >= stop_of(reader))
            continue;
        /* fewer bytes than the head promised */
        if (st == CONN_DONE && good && reader->conn->result == CURLE_OK)
            reader->conn->result = CURLE_PARTIAL_FILE;
        TRY(failed(reader, st, e));
    }
}

static err_code reader_read(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    struct reader *reader = ctx;
    if (reader->conn)
        s3_conn_touch(reader->conn);
    TRY(advance(reader, false, e));
    uint64_t left = stop_of(reader) - reader->offset;
    size_t take = s3_conn_drain(reader->conn, dst, left < cap ? (size_t)left : cap);
    reader->offset += take;
    reader->got += take;
    if (reader->got >= S3_PACE_BYTES) {
        reader->at = (struct s3_attempts){ .has_token = reader->at.has_token };
        reader->got = reader->waited_us = 0;
    }
    *n = take;
    return ERR_OK;
}

static void reader_close(void *ctx)
{
    struct reader *reader = ctx;
    drop(reader);
    free(reader->bucket_key);
    free(reader);
}

static err_code open_to(struct s3_client *client, sv bucket, sv key, uint64_t offset, uint64_t end,
                        struct byte_reader *out, struct s3_whole *whole, struct err *e)
{
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        abort();
    reader->client = client;
    reader->offset = offset;
    reader->end = end;
    reader->bucket_key = malloc(bucket.len + key.len + 1);
    if (reader->bucket_key == NULL)
        abort();
    memcpy(reader->bucket_key, bucket.ptr, bucket.len);
    if (key.len)
        memcpy(reader->bucket_key + bucket.len, key.ptr, key.len);
    reader->bucket = sv_make(reader->bucket_key, bucket.len);
    reader->key = sv_make(reader->bucket_key + bucket.len, key.len);
    struct err why = { 0 };
    err_code rc = advance(reader, true, &why);
    /* 416: nothing from offset on, and nothing to resume */
    if (rc == ERR_EOF && !reader->known) {
        reader->known = true;
        reader->whole.bytes = offset;
        rc = ERR_OK;
    }
    /* an empty object: the first read says so */
    if (rc == ERR_EOF)
        rc = ERR_OK;
    if (rc != ERR_OK) {
        reader_close(reader);
        return err_pass(e, &why);
    }
    *out = (struct byte_reader){ reader_read, reader_close, reader };
    *whole = reader->whole;
    return ERR_OK;
}

err_code s3_object_open(struct s3_client *client, sv bucket, sv key, uint64_t offset,
                        struct byte_reader *out, struct err *e)
{
    struct s3_whole whole;
    return open_to(client, bucket, key, offset, UINT64_MAX, out, &whole, e);
}

err_code s3_object_open_part(struct s3_client *client, sv bucket, sv key, uint64_t offset,
                             uint64_t len, struct byte_reader *out, struct s3_whole *whole,
                             struct err *e)
{
    assert(len > 0);
    return open_to(client, bucket, key, offset,
                   len < UINT64_MAX - offset ? offset + len : UINT64_MAX, out, whole, e);
}
