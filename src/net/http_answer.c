/* http_answer.c - answers that are not read yet.
 *
 * An answer is made as a whole before its first byte goes out. It stays until its last byte is
 * taken, which a slow reader can make last. So large answers are counted: of all callers, and of
 * those of one address. An answer for which memory has no room goes into a file without a name and
 * is sent from there. When files have no room either, http_room() says no, and the handler answers
 * something small. Small answers are not counted: the number of connections bounds them.
 *
 * An answer that gzip has made smaller counts as the smaller one. */
#include "net/http_private.h"

#include "codec/crypt/cipher.h"

#include <unistd.h>

static void file_drop(struct http_answer *answer)
{
    /* The file has no name: closed, it is gone. */
    if (answer->in_file)
        (void)close(answer->fd);
    cipher_free(answer->cipher);
    answer->cipher = NULL;
    answer->in_file = false;
}

static bool file_take(struct http_answer *answer, struct http_conn *conn, const char *spool_dir,
                      size_t len)
{
    if (!answer->in_file && (answer->fd = http_spool_open(spool_dir, &answer->cipher)) < 0)
        return false;
    answer->in_file = true;
    return http_spool_has_room(answer->fd, len, conn->all->limits.free_disk);
}

bool http_answer_find_room(struct http_answer *answer, struct http_conn *conn,
                           const char *spool_dir, size_t len)
{
    if (len < HTTP_SMALL) {
        http_answer_done(answer, conn);
        return true;
    }
    answer->counted = true;
    if (http_share_set_answer(conn, len, 0)) {
        file_drop(answer);
        return true;
    }
    if (http_share_set_answer(conn, 0, len) && file_take(answer, conn, spool_dir, len))
        return true;
    http_answer_done(answer, conn);
    return false;
}

void http_answer_done(struct http_answer *answer, struct http_conn *conn)
{
    /* A share may always become smaller. */
    if (answer->counted)
        (void)http_share_set_answer(conn, 0, 0);
    answer->counted = false;
    file_drop(answer);
}

static struct MHD_Response *from_file(struct http_answer *answer, struct buf *body, bool secure)
{
    struct MHD_Response *r = NULL;
    const struct http_stored stored = { answer->fd, answer->cipher, 0, 0, body->len };
    if (http_spool_write(answer->fd, answer->cipher, 0, buf_sv(body)))
        r = http_stored(&stored, secure);
    if (r == NULL)
        return NULL;
    /* The answer closes the file. */
    answer->in_file = false;
    answer->cipher = NULL;
    buf_done(body);
    return r;
}

struct MHD_Response *http_answer_take(struct http_answer *answer, struct http_conn *conn,
                                      const char *spool_dir, struct buf *body)
{
    struct MHD_Response *r = NULL;
    if (body == NULL || body->len == 0) {
        buf_done(body);
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    }
    (void)http_answer_find_room(answer, conn, spool_dir, body->len);
    if (answer->in_file)
        r = from_file(answer, body, conn->shake.session != NULL);
    /* Also when the file could not be written: the answer is made, and it is one answer. */
    if (r == NULL) {
        r = MHD_create_response_from_buffer(body->len, body->ptr, MHD_RESPMEM_MUST_FREE);
        *body = BUF_INIT(body->max);
    }
    return r;
}
