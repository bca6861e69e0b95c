/* reader.c - an object as a byte_reader.
 *
 * The transfer stands still while the caller works (the window is full, TCP pushes back), and goes
 * on inside read(). When it breaks, the next attempt asks for the bytes from where the last ended,
 * under If-Match on the first answer's ETag, so that bytes of two versions never meet. Progress
 * starts the count of attempts anew. */
#include "s3/s3_private.h"

struct reader {
    struct s3_client *client;
    struct s3_conn *conn; /* NULL when no transfer is on its way */
    struct curl_slist *headers;
    struct s3_attempts at;
    char *bucket_key; /* both, one after the other */
    sv bucket, key;
    char etag[200];    /* of the first answer; "" before it */
    uint64_t offset;   /* next byte that the caller gets */
    uint64_t size;     /* of the whole object, once known */
    bool known, began; /* this transfer's head was checked */
};

static void drop(struct reader *r)
{
    if (r->conn)
        s3_client_conn_give(r->client, r->conn);
    r->conn = NULL;
    curl_slist_free_all(r->headers);
    r->headers = NULL;
    r->began = false;
}

static err_code start(struct reader *r, struct err *e)
{
    char range[64];
    struct s3_request q = {
        .op = "GetObject", .method = "GET", .bucket = r->bucket, .key = r->key
    };
    if (r->offset) {
        int n = snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)r->offset);
        s3_request_header(&q, "range", sv_make(range, (size_t)n));
    }
    s3_request_header(&q, "if-match", sv_from(r->etag));
    r->conn = s3_client_conn_take(r->client);
    err_code rc = s3_request_start(r->client, &q, &r->at, true, r->conn, &r->headers, e);
    if (rc != ERR_OK)
        drop(r);
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
static err_code check_head(struct reader *r, struct err *e)
{
    sv etag = s3_conn_header(r->conn, "etag");
    uint64_t size = 0;
    if (etag.len >= sizeof r->etag)
        return ERR(e, ERR_PEER, "S3 GetObject: the ETag is too long");
    if (s3_conn_status(r->conn) == 206
            ? !range_fits(s3_conn_header(r->conn, "content-range"), r->offset, &size)
            : r->offset != 0 || !sv_to_u64(s3_conn_header(r->conn, "content-length"), &size))
        return ERR(e, ERR_PEER, "S3 GetObject: the answer is not the range that was asked for");
    if (r->known && (size != r->size || !sv_eq(etag, sv_from(r->etag))))
        return ERR(e, ERR_PEER, "S3 GetObject: the object changed while it was read");
    memcpy(r->etag, etag.ptr ? etag.ptr : "", etag.len);
    r->etag[etag.len] = 0;
    r->size = size;
    r->known = true;
    r->began = true;
    return ERR_OK;
}

/* A step of the transfer failed: wait for another attempt, or say why not. */
static err_code failed(struct reader *r, s3_conn_state st, struct err *e)
{
    s3_fault_of(r->conn, st, r->at.has_token, &r->at.last);
    long status = s3_conn_status(r->conn);
    drop(r);
    if (status == 412 && r->known)
        return ERR(e, ERR_PEER, "S3 GetObject: the object changed while it was read");
    if (status == 416 && !r->known)
        return ERR(e, ERR_EOF, "the offset is behind the end");
    return s3_request_next(r->client, "GetObject", r->bucket, &r->at, e);
}

/* Until there are bytes in the window, or the object ends (ERR_EOF), or nothing helps. With
 * head_only, until the head of the first answer is known. */
static err_code advance(struct reader *r, bool head_only, struct err *e)
{
    for (;;) {
        if (r->known && r->offset >= r->size) {
            /* let curl see the end: the connection can stay */
            if (r->conn)
                (void)s3_conn_step(r->conn);
            drop(r);
            return ERR(e, ERR_EOF, "end of object");
        }
        if (r->conn == NULL)
            TRY(start(r, e));
        s3_conn_state st = CONN_RUNNING;
        if (r->conn->window_to == r->conn->window_from)
            st = s3_conn_step(r->conn);
        long status = s3_conn_status(r->conn);
        bool good = status == 200 || status == 206;
        bool has = r->conn->window_to != r->conn->window_from;
        if (good && !r->began && (has || st == CONN_DONE)) {
            err_code rc = check_head(r, e);
            if (rc != ERR_OK) {
                drop(r);
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
        if (st == CONN_DONE && good && r->conn->result == CURLE_OK && r->offset >= r->size)
            continue;
        /* fewer bytes than the head promised */
        if (st == CONN_DONE && good && r->conn->result == CURLE_OK)
            r->conn->result = CURLE_PARTIAL_FILE;
        TRY(failed(r, st, e));
    }
}

static err_code reader_read(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    struct reader *r = ctx;
    if (r->conn)
        s3_conn_touch(r->conn);
    TRY(advance(r, false, e));
    uint64_t left = r->size - r->offset;
    size_t take = s3_conn_drain(r->conn, dst, left < cap ? (size_t)left : cap);
    r->offset += take;
    r->at = (struct s3_attempts){ .has_token = r->at.has_token };
    *n = take;
    return ERR_OK;
}

static void reader_close(void *ctx)
{
    struct reader *r = ctx;
    drop(r);
    free(r->bucket_key);
    free(r);
}

err_code s3_object_open(struct s3_client *c, sv bucket, sv key, uint64_t offset,
                        struct byte_reader *out, struct err *e)
{
    struct reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->client = c;
    r->offset = offset;
    r->bucket_key = malloc(bucket.len + key.len + 1);
    if (r->bucket_key == NULL)
        abort();
    memcpy(r->bucket_key, bucket.ptr, bucket.len);
    if (key.len)
        memcpy(r->bucket_key + bucket.len, key.ptr, key.len);
    r->bucket = sv_make(r->bucket_key, bucket.len);
    r->key = sv_make(r->bucket_key + bucket.len, key.len);
    struct err why = { 0 };
    err_code rc = advance(r, true, &why);
    /* 416: nothing from offset on, and nothing to resume */
    if (rc == ERR_EOF && !r->known) {
        r->known = true;
        r->size = offset;
        rc = ERR_OK;
    }
    /* an empty object: the first read says so */
    if (rc == ERR_EOF)
        rc = ERR_OK;
    if (rc != ERR_OK) {
        reader_close(r);
        return err_pass(e, &why);
    }
    *out = (struct byte_reader){ reader_read, reader_close, r };
    return ERR_OK;
}
