/* s3_blackhole.c - an S3 endpoint for measurements: takes every PUT and throws the body away.
 *
 *   s3_blackhole [PORT [truncate|MB [CERT KEY]]] [copies=MS]
 *                                    on 127.0.0.1; prints "PORT n", runs until its input ends
 *
 * HTTP/1.1, over TLS if there is a certificate, a thread a connection, no signature checked. A body
 * is read into a buffer of 256 KiB, as any server has to; with "truncate" it is discarded inside
 * the kernel (recv with MSG_TRUNC), which takes as little of the machine as a peer can, and less
 * than a real one does.
 * With a number no connection's bodies come faster than that many MB/s, which is how S3 itself is
 * met: fast by connections, not by one. A checksum behind a body is repeated in the answer, and not
 * verified. HEAD says that the bucket is there, multipart uploads begin and complete. Of an object
 * its size is remembered, and the SHA-256 that its PUT was signed with: so it is listed, and a copy
 * of it is made at once, or in MS milliseconds, which is how S3 itself makes them. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX  65536
#define BODY_STEP (256u << 10)

static bool truncating;
static unsigned copy_ms;
static SSL_CTX *tls; /* NULL: plain */

struct client {
    int fd;
    SSL *ssl; /* NULL: plain */
};

static ssize_t take(struct client *c, char *to, size_t n)
{
    return c->ssl ? SSL_read(c->ssl, to, (int)n) : recv(c->fd, to, n, 0);
}

static ssize_t give(struct client *c, const char *from, size_t n)
{
    return c->ssl ? SSL_write(c->ssl, from, (int)n) : send(c->fd, from, n, MSG_NOSIGNAL);
}

static double bytes_per_us; /* of one connection; 0: as fast as it goes */

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Until so many bytes may have come since then. */
static void pace(double since_us, uint64_t bytes)
{
    double ahead_us = bytes_per_us > 0 ? (double)bytes / bytes_per_us - (now_us() - since_us) : 0;
    if (ahead_us > 1000)
        (void)usleep((useconds_t)ahead_us);
}

/* What PUT brought, by path: /bucket/key. */
#define OBJECTS  (1u << 16)
#define HEX_LEN  64
#define LIST_MAX 1000u
struct object {
    char *path; /* NULL: a free row */
    uint64_t bytes;
    char sha256[HEX_LEN + 1]; /* empty: nobody has said it */
};
static struct {
    pthread_mutex_t lock;
    struct object rows[OBJECTS];
} objects = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct object *row_locked(const char *path)
{
    uint64_t h = 1469598103934665603u;
    for (const char *p = path; *p; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    size_t i = h % OBJECTS;
    while (objects.rows[i].path && strcmp(objects.rows[i].path, path) != 0)
        i = (i + 1) % OBJECTS;
    return &objects.rows[i];
}

static struct object object_of(const char *path)
{
    pthread_mutex_lock(&objects.lock);
    struct object found = *row_locked(path);
    pthread_mutex_unlock(&objects.lock);
    return found;
}

static void object_put(const char *path, uint64_t bytes, const char *sha256)
{
    pthread_mutex_lock(&objects.lock);
    struct object *o = row_locked(path);
    if (o->path == NULL && (o->path = strdup(path)) == NULL)
        abort();
    o->bytes = bytes;
    (void)snprintf(o->sha256, sizeof o->sha256, "%s", strlen(sha256) == HEX_LEN ? sha256 : "");
    pthread_mutex_unlock(&objects.lock);
}

/* Of a request's head, without the blanks around it; empty: there is none, or it is longer. */
static void header_of(const char *head, const char *name, char *out, size_t cap)
{
    size_t len = strlen(name), n;
    out[0] = 0;
    for (const char *p = strchr(head, '\n'); p && p[1] != '\r'; p = strchr(p + 1, '\n')) {
        if (strncasecmp(p + 1, name, len) != 0 || p[1 + len] != ':')
            continue;
        p += len + 2;
        p += strspn(p, " ");
        n = strcspn(p, "\r\n");
        if (n < cap) {
            memcpy(out, p, n);
            out[n] = 0;
        }
        return;
    }
}

/* The objects of /bucket?...&prefix=... */
static char *listing(const char *path)
{
    char below[2048] = "", *text = NULL;
    size_t len, n = 0, bucket = strcspn(path, "?");
    unsigned c;
    const char *p = strstr(path, "prefix=");
    FILE *f = open_memstream(&text, &len);
    if (f == NULL)
        abort();
    bucket -= bucket && path[bucket - 1] == '/';
    n = (size_t)snprintf(below, sizeof below, "%.*s/", (int)(bucket < 256 ? bucket : 256), path);
    for (p = p ? p + 7 : ""; *p && *p != '&' && n + 1 < sizeof below; below[n++] = (char)c)
        if (*p == '%' && sscanf(p, "%%%2x", &c) == 1)
            p += 3;
        else
            c = (unsigned char)*p++;
    below[n] = 0;
    (void)fputs("<ListBucketResult><IsTruncated>false</IsTruncated>", f);
    pthread_mutex_lock(&objects.lock);
    for (size_t i = 0, met = 0; i < OBJECTS && met < LIST_MAX; i++) {
        const struct object *o = &objects.rows[i];
        if (o->path == NULL || strncmp(o->path, below, n) != 0)
            continue;
        (void)fprintf(f, "<Contents><Key>%s</Key><Size>%llu</Size></Contents>",
                      o->path + bucket + 1, (unsigned long long)o->bytes);
        met++;
    }
    pthread_mutex_unlock(&objects.lock);
    (void)fputs("</ListBucketResult>", f);
    (void)fclose(f);
    return text;
}

/* An object made of another one. NULL: that is not there. */
static const char *copy(const char *path, const char *source, char *out, size_t cap)
{
    char from[2049], sum[HEX_LEN];
    unsigned char raw[HEX_LEN / 2];
    (void)snprintf(from, sizeof from, "/%s", source);
    const struct object o = object_of(from);
    if (o.path == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof raw; i++)
        if (o.sha256[0] == 0 || sscanf(o.sha256 + i * 2, "%2hhx", &raw[i]) != 1)
            return NULL;
    object_put(path, o.bytes, o.sha256);
    (void)EVP_EncodeBlock((unsigned char *)sum, raw, sizeof raw);
    (void)snprintf(out, cap,
                   "<CopyObjectResult><ETag>x</ETag><ChecksumSHA256>%s</ChecksumSHA256>"
                   "</CopyObjectResult>",
                   sum);
    return out;
}

static bool send_all(struct client *c, const char *text)
{
    size_t len = strlen(text);
    while (len) {
        ssize_t n = give(c, text, len);
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

/* trailer: "name:value", or empty. */
static bool answer(struct client *c, const char *head, uint64_t body_bytes, const char *trailer)
{
    char path[2048], source[2048], sha256[HEX_LEN + 1], made[256], *out, *list = NULL;
    const char *body = "", *status = "200 OK", *at = strchr(head, ' ');
    uint64_t length = 0;
    (void)snprintf(path, sizeof path, "%.*s", at ? (int)strcspn(at + 1, " \r") : 0,
                   at ? at + 1 : "");
    header_of(head, "x-amz-copy-source", source, sizeof source);
    header_of(head, "x-amz-content-sha256", sha256, sizeof sha256);
    if (strncmp(head, "DELETE", 6) == 0)
        return send_all(c, "HTTP/1.1 204 No Content\r\n\r\n");
    if (strncmp(head, "PUT", 3) == 0 && source[0]) {
        (void)usleep(copy_ms * 1000);
        body = copy(path, source, made, sizeof made);
        status = body ? status : "404 Not Found";
        body = body ? body : "<Error><Code>NoSuchKey</Code></Error>";
    } else if (strncmp(head, "PUT", 3) == 0)
        object_put(path, body_bytes, sha256);
    else if (strncmp(head, "HEAD", 4) == 0)
        length = object_of(path).bytes;
    else if (strncmp(head, "POST", 4) == 0)
        body = strstr(path, "uploads") ? "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
                                         "</InitiateMultipartUploadResult>"
                                       : "<CompleteMultipartUploadResult><ETag>x</ETag>"
                                         "</CompleteMultipartUploadResult>";
    else if (strncmp(head, "GET", 3) == 0)
        body = list = listing(path);
    if (asprintf(&out,
                 "HTTP/1.1 %s\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\n"
                 "%s%sContent-Length: %llu\r\n\r\n%s",
                 status, trailer, trailer[0] ? "\r\n" : "",
                 (unsigned long long)(length ? length : strlen(body)), body) < 0)
        abort();
    const bool sent = send_all(c, out);
    free(out);
    free(list);
    return sent;
}

static uint64_t content_length(const char *head)
{
    for (const char *p = head; p && *p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncasecmp(p, "content-length:", 15) == 0)
            return strtoull(p + 15, NULL, 10);
        if (*p == '\r')
            break;
    }
    return 0;
}

/* The last bytes of a body, as they come. */
#define TAIL 128
static void keep_tail(char tail[TAIL + 1], const char *piece, size_t n)
{
    size_t had = strlen(tail), more = n < TAIL ? n : TAIL;
    size_t stays = had + more > TAIL ? TAIL - more : had;
    memmove(tail, tail + had - stays, stays);
    memcpy(tail + stays, piece + n - more, more);
    tail[stays + more] = 0;
}

/* CRLF 0 CRLF name:value CRLF CRLF: name:value. A body that is none may hold zero bytes. */
static const char *trailer_of(char tail[TAIL + 1])
{
    char *from = strstr(tail, "\r\n0\r\nx-amz-checksum-"), *end;
    if (from == NULL)
        return "";
    from += 5;
    end = strstr(from, "\r\n");
    if (end)
        *end = 0;
    return from;
}

static void *serve(void *ctx)
{
    struct client at = { .fd = (int)(intptr_t)ctx }, *c = &at;
    int fd = c->fd;
    char *head = malloc(HEAD_MAX + 1), *body = malloc(BODY_STEP);
    size_t len = 0;
    if (tls &&
        ((c->ssl = SSL_new(tls)) == NULL || !SSL_set_fd(c->ssl, fd) || SSL_accept(c->ssl) != 1))
        goto out;
    while (head && body) {
        char *end;
        head[len] = 0;
        while ((end = strstr(head, "\r\n\r\n")) == NULL) {
            ssize_t n = len < HEAD_MAX ? take(c, head + len, HEAD_MAX - len) : -1;
            if (n <= 0)
                goto out;
            len += (size_t)n;
            head[len] = 0;
        }
        uint64_t said = content_length(head), left = said;
        size_t behind = len - (size_t)(end + 4 - head);
        size_t eaten = behind < left ? behind : (size_t)left;
        bool framed = strcasestr(head, "\r\nx-amz-trailer:") != NULL &&
                      strcasestr(head, "\r\nx-amz-trailer:") < end;
        char tail[TAIL + 1] = "";
        if (framed)
            keep_tail(tail, end + 4, eaten);
        double since_us = now_us();
        for (left -= eaten; left;) {
            size_t most = left < BODY_STEP ? (size_t)left : BODY_STEP;
            ssize_t n = truncating ? recv(fd, NULL, most, MSG_TRUNC) : take(c, body, most);
            if (n <= 0)
                goto out;
            left -= (uint64_t)n;
            if (framed)
                keep_tail(tail, body, (size_t)n);
            pace(since_us, said - left);
        }
        if (!answer(c, head, said, framed ? trailer_of(tail) : ""))
            goto out;
        /* what is there of the next request */
        len = behind - eaten;
        memmove(head, end + 4 + eaten, len);
    }
out:
    SSL_free(c->ssl);
    free(head);
    free(body);
    close(fd);
    return NULL;
}

static void *accept_all(void *ctx)
{
    int listener = (int)(intptr_t)ctx, on = 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t t;
        if (fd < 0)
            continue;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&t, NULL, serve, (void *)(intptr_t)fd) == 0)
            (void)pthread_detach(t);
        else
            close(fd);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port =
                                 htons((uint16_t)(argc > 1 ? strtoul(argv[1], NULL, 10) : 0)) };
    socklen_t len = sizeof a;
    pthread_t t;
    char drop[256];
    if (argc > 1 && strncmp(argv[argc - 1], "copies=", 7) == 0)
        copy_ms = (unsigned)strtoul(argv[--argc] + 7, NULL, 10);
    truncating = argc == 3 && strcmp(argv[2], "truncate") == 0;
    if (argc > 4) {
        (void)signal(SIGPIPE, SIG_IGN);
        tls = SSL_CTX_new(TLS_server_method());
        if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, argv[3]) != 1 ||
            SSL_CTX_use_PrivateKey_file(tls, argv[4], SSL_FILETYPE_PEM) != 1) {
            (void)fprintf(stderr, "s3_blackhole: no certificate\n");
            return 1;
        }
    }
    bytes_per_us = argc > 2 && !truncating ? strtod(argv[2], NULL) : 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0 ||
        pthread_create(&t, NULL, accept_all, (void *)(intptr_t)fd) != 0) {
        perror("s3_blackhole");
        return 1;
    }
    (void)printf("PORT %u\n", (unsigned)ntohs(a.sin_port));
    (void)fflush(stdout);
    while (read(0, drop, sizeof drop) > 0) {
    }
    return 0;
}
