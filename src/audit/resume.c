/* resume.c - the log goes on where the process before has left it.
 *
 *   DIR/key says      the newest file         then
 *   nothing           none                    a new log begins
 *   not begun         not there               it is begun, behind the end of the one before
 *   either            has no end              what is torn is closed by a line, and it goes on
 *   either            has its end             the next one is begun
 *   begun             not there               refused: somebody has removed it
 *
 * A file whose lines do not follow from each other, but for a short tail, is refused as well. The
 * log would not be one any more if it went on behind that. */
#include "audit/audit_private.h"

#include "base/clock.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Has the folder anything but a log? A disk of its own has lost+found. */
static bool is_somebodys(const char *dir)
{
    char path[PATH_MAX];
    const struct dirent *one;
    bool found = false;
    if (snprintf(path, sizeof path, "%s/key", dir) >= PATH_MAX || access(path, F_OK) == 0)
        return false;
    DIR *d = opendir(dir);
    while (d && !found && (one = readdir(d)) != NULL)
        found = strcmp(one->d_name, ".") != 0 && strcmp(one->d_name, "..") != 0 &&
                strcmp(one->d_name, "lost+found") != 0;
    if (d)
        closedir(d);
    return found;
}

static err_code lock(struct audit_segment *segment, bool make, struct err *e)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/lock", segment->dir);
    if (n < 0 || n >= PATH_MAX)
        return ERR(e, ERR_INVALID, "too long a path");
    if (make)
        TRY(file_mkdirs(segment->dir, e));
    if (stat(segment->dir, &st) != 0)
        return file_os_err(e, "cannot look at the folder of the audit log");
    if ((st.st_mode & 077) && is_somebodys(segment->dir))
        return ERR(e, ERR_EXISTS,
                   "the folder has other files, and others may enter it, which they may not where "
                   "the audit log is: give it a folder of its own");
    if ((st.st_mode & 077) && chmod(segment->dir, 0700) != 0)
        return file_os_err(e, "cannot keep others out of the folder of the audit log");
    segment->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (segment->lock_fd < 0)
        return file_os_err(e, "cannot lock the audit log");
    if (flock(segment->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? ERR(e, ERR_EXISTS, "the audit log is written by another fhirlake")
                   : file_os_err(e, "cannot lock the audit log");
    return ERR_OK;
}

static err_code not_as_written(uint64_t segment, uint64_t line, struct err *e)
{
    return ERR(e, ERR_CORRUPT,
               "line %" PRIu64 " of segment %" PRIu64 " of the audit log is not as it was written; "
               "fhirlake audit verify says more. Keep that folder, and begin another one",
               line, segment);
}

/* ---- the end of the segment before ---- */

/* What segment n ended with. */
static err_code end_of(struct audit_segment *segment, uint64_t n, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(AUDIT_READ_MAX);
    struct audit_line line;
    TRY(audit_walk_read(segment->dir, n, &text, e));
    sv all = buf_sv(&text);
    if (all.len == 0 || all.ptr[all.len - 1] != '\n')
        return not_as_written(n, 1, e);
    all.len--;
    const char *at = memrchr(all.ptr, '\n', all.len);
    sv last = at ? sv_tail(all, (size_t)(at + 1 - all.ptr)) : all;
    if (!audit_line_read(last, &line) || !sv_eq(audit_line_log(&line), SV_LIT("end")))
        return ERR(e, ERR_CORRUPT, "segment %" PRIu64 " of the audit log has lost its end", n);
    memcpy(segment->chain.last, line.chain, SHA256_LEN);
    segment->chain.seq = line.seq + 1;
    return ERR_OK;
}

/* Where the chain of the newest segment begins: behind the end of the one before. That one may have
 * been removed by retention: then the segment's own begin says it.
 *   text  of the newest segment; empty: there is none */
static err_code begin_of(struct audit_segment *segment, sv text, struct err *e)
{
    const uint64_t n = segment->key.segment;
    struct audit_line line;
    memset(segment->chain.last, 0, SHA256_LEN);
    segment->chain.seq = 1;
    if (n == 1)
        return ERR_OK;
    if (audit_segment_is_there(segment->dir, n - 1))
        return end_of(segment, n - 1, e);
    if (!audit_line_read(sv_head(text, sv_find(text, '\n')), &line) ||
        !hash_unhex(audit_line_member(&line, "previous"), segment->chain.last, SHA256_LEN))
        return ERR(e, ERR_CORRUPT, "segment %" PRIu64 " of the audit log is not there", n - 1);
    segment->chain.seq = line.seq;
    return ERR_OK;
}

/* ---- the newest ---- */

static err_code close_tail(struct audit_segment *segment, sv tail, bool unfinished, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    char record[256], hex[SHA256_HEX_LEN], now[25];
    hash_sha256_of(tail, digest);
    hash_hex(digest, sizeof digest, hex);
    audit_now(now);
    int n = snprintf(record, sizeof record,
                     "{\"log\":\"recovered\",\"torn\":%zu,\"sha256\":\"%.64s\",\"time\":\"%s\"}",
                     tail.len, hex, now);
    if (unfinished || (tail.len && tail.ptr[tail.len - 1] != '\n'))
        TRY(buf_add(&segment->out, SV_LIT("\n"), e));
    TRY(audit_segment_add(segment, sv_make(record, (size_t)n), e));
    return audit_segment_write(segment, e);
}

static err_code go_on(struct audit_segment *segment, uint64_t *torn, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(AUDIT_READ_MAX);
    const uint64_t n = segment->key.segment;
    char path[PATH_MAX];
    TRY(audit_walk_read(segment->dir, n, &text, e));
    TRY(begin_of(segment, buf_sv(&text), e));
    hash_hmac_key_set(&segment->chain.key, sv_make(segment->key.key, AUDIT_KEY_LEN));
    struct audit_walk w = { .text = buf_sv(&text), .chain = segment->chain };
    segment->first_seq = w.chain.seq;
    bool ended = false;
    while (!ended && audit_walk_next(&w) == AUDIT_WALK_LINE)
        ended = sv_eq(audit_line_log(&w.line), SV_LIT("end"));
    sv tail = sv_tail(w.text, w.at);
    if (tail.len > AUDIT_TORN_MAX || (ended && (tail.len || w.unfinished)))
        return not_as_written(n, w.n_lines + 1, e);
    segment->chain = w.chain;
    segment->bytes = w.text.len;
    segment->begun_ms = clock_wall_ms();
    if (ended) {
        audit_key_next(segment->key.key);
        segment->key.segment++;
        segment->key.begun = false;
        TRY(audit_key_save(segment->dir, &segment->key, e));
        return audit_segment_begin(segment, e);
    }
    *torn = tail.len;
    TRY(audit_segment_path(segment->dir, n, path, e));
    segment->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (segment->fd < 0)
        return file_os_err(e, "cannot open the audit log");
    TRY(close_tail(segment, tail, w.unfinished, e));
    if (segment->key.begun)
        return ERR_OK;
    TRY(file_sync_dir(segment->dir, e));
    segment->key.begun = true;
    return audit_key_save(segment->dir, &segment->key, e);
}

err_code audit_resume(struct audit_segment *segment, bool make, bool *made, uint64_t *torn,
                      struct err *e)
{
    uint64_t *all = NULL;
    size_t n = 0;
    struct err why;
    *made = false;
    *torn = UINT64_MAX;
    TRY(lock(segment, make, e));
    TRY(audit_segment_list(segment->dir, &all, &n, e));
    const uint64_t newest = n ? all[n - 1] : 0;
    free(all);
    err_code rc = audit_key_load(segment->dir, &segment->key, &why);
    if (rc == ERR_NOT_FOUND && newest)
        return ERR(e, ERR_CORRUPT, "the file of the audit log's key is not there");
    if (rc == ERR_NOT_FOUND && make) {
        TRY(audit_key_make(segment->dir, &segment->key, e));
        *made = true;
    } else if (rc != ERR_OK) {
        return err_pass(e, &why);
    }
    if (newest > segment->key.segment)
        return ERR(e, ERR_CORRUPT,
                   "segment %" PRIu64 " of the audit log is newer than the file of its key",
                   newest);
    if (newest == segment->key.segment)
        return go_on(segment, torn, e);
    if (segment->key.begun)
        return ERR(e, ERR_CORRUPT, "segment %" PRIu64 " of the audit log is not there",
                   segment->key.segment);
    TRY(begin_of(segment, SV_NONE, e));
    return audit_segment_begin(segment, e);
}
