/* segment.c - the file that is written: its begin, lines, its end, and the files before it.
 *
 * How a segment follows the one before; a process may end between any two of the steps:
 *
 *   1 its end is written and synced
 *   2 DIR/key has the next key, begun=false      the key of the segment that ended is forgotten
 *   3 the next file is made, with its begin
 *   4 DIR/key says begun=true                    from now on a missing file was removed
 *
 * A process that ends in good order does 1 and 2; the next one goes on with 3. */
#include "audit/audit_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "codec/instant.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME   "audit-%08" PRIu64 ".jsonl"
#define DAY_MS 86400000ll

void audit_segment_init(struct audit_segment *segment, const char *dir)
{
    *segment = (struct audit_segment){
        .dir = dir, .fd = -1, .lock_fd = -1, .out = BUF_INIT(AUDIT_BATCH_MAX + 4 * AUDIT_LINE_MAX)
    };
}

void audit_segment_drop(struct audit_segment *segment)
{
    if (segment->fd >= 0)
        close(segment->fd);
    if (segment->lock_fd >= 0)
        close(segment->lock_fd);
    buf_done(&segment->out);
    explicit_bzero(&segment->key, sizeof segment->key);
    explicit_bzero(&segment->chain, sizeof segment->chain);
    segment->fd = segment->lock_fd = -1;
}

void audit_now(char out[25])
{
    instant_format(clock_wall_ms(), out);
    out[INSTANT_LEN] = 0;
}

/* ---- which there are ---- */

err_code audit_segment_path(const char *dir, uint64_t n, char out[PATH_MAX], struct err *e)
{
    int len = snprintf(out, PATH_MAX, "%s/" NAME, dir, n);
    return len > 0 && len < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "too long a path");
}

bool audit_segment_is_there(const char *dir, uint64_t n)
{
    char path[PATH_MAX];
    return audit_segment_path(dir, n, path, NULL) == ERR_OK && access(path, F_OK) == 0;
}

static bool number_of(const char *name, uint64_t *n)
{
    char again[64];
    sv digits = sv_from(name);
    if (!sv_starts(digits, SV_LIT("audit-")) || !sv_ends(digits, SV_LIT(".jsonl")) ||
        digits.len < sizeof "audit-.jsonl")
        return false;
    digits = sv_make(digits.ptr + 6, digits.len - 12);
    if (digits.len > 8 || !sv_to_u64(digits, n) || *n == 0)
        return false;
    (void)snprintf(again, sizeof again, NAME, *n);
    return strcmp(again, name) == 0;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

err_code audit_segment_list(const char *dir, uint64_t **out, size_t *n, struct err *e)
{
    DIR *d = opendir(dir);
    const struct dirent *one;
    uint64_t *all = NULL, number;
    size_t cap = 0;
    *n = 0;
    if (d == NULL)
        return file_os_err(e, "cannot read the folder of the audit log");
    while ((one = readdir(d)) != NULL) {
        if (!number_of(one->d_name, &number))
            continue;
        if (*n == cap) {
            cap = cap ? 2 * cap : 64;
            if ((all = reallocarray(all, cap, sizeof *all)) == NULL)
                abort();
        }
        all[(*n)++] = number;
    }
    closedir(d);
    if (*n)
        qsort(all, *n, sizeof *all, by_number);
    *out = all;
    return ERR_OK;
}

/* ---- writing ---- */

err_code audit_segment_add(struct audit_segment *segment, sv record, struct err *e)
{
    return audit_line_add(&segment->chain, record, &segment->out, e);
}

/* Somebody may have removed the file, or its folder: what is written then is lost. */
static err_code check_there(const struct audit_segment *segment, struct err *e)
{
    char path[PATH_MAX];
    struct stat mine, there;
    TRY(audit_segment_path(segment->dir, segment->key.segment, path, e));
    if (fstat(segment->fd, &mine) != 0 || stat(path, &there) != 0)
        return file_os_err(e, "the audit log's file is not in its folder any more");
    if (mine.st_ino != there.st_ino || mine.st_dev != there.st_dev)
        return ERR(e, ERR_IO, "the audit log's file is not in its folder any more");
    return ERR_OK;
}

err_code audit_segment_write(struct audit_segment *segment, struct err *e)
{
    if (segment->out.len == 0)
        return ERR_OK;
    if (segment->fd < 0)
        return ERR(e, ERR_IO, "the audit log is not open");
    TRY(check_there(segment, e));
    TRY(file_write_all(segment->fd, buf_sv(&segment->out), e));
    if (fdatasync(segment->fd) != 0)
        return file_os_err(e, "the audit log cannot be written");
    segment->bytes += segment->out.len;
    buf_clear(&segment->out);
    return ERR_OK;
}

/* ---- begin and end ---- */

static err_code add_begin(struct audit_segment *segment, struct err *e)
{
    char record[256], hex[SHA256_HEX_LEN], now[25];
    hash_hex(segment->chain.last, SHA256_LEN, hex);
    audit_now(now);
    int n = snprintf(record, sizeof record,
                     "{\"log\":\"begin\",\"segment\":%" PRIu64
                     ",\"time\":\"%s\",\"previous\":\"%.64s\"}",
                     segment->key.segment, now, hex);
    segment->first_seq = segment->chain.seq;
    segment->begun_ms = clock_wall_ms();
    return audit_segment_add(segment, sv_make(record, (size_t)n), e);
}

err_code audit_segment_begin(struct audit_segment *segment, struct err *e)
{
    char path[PATH_MAX];
    TRY(audit_segment_path(segment->dir, segment->key.segment, path, e));
    hash_hmac_key_set(&segment->chain.key, sv_make(segment->key.key, AUDIT_KEY_LEN));
    segment->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (segment->fd < 0)
        return file_os_err(e, "cannot make a file of the audit log");
    segment->bytes = 0;
    buf_clear(&segment->out);
    TRY(add_begin(segment, e));
    TRY(audit_segment_write(segment, e));
    TRY(file_sync_dir(segment->dir, e));
    segment->key.begun = true;
    return audit_key_save(segment->dir, &segment->key, e);
}

err_code audit_segment_end(struct audit_segment *segment, struct err *e)
{
    char record[256], now[25];
    audit_now(now);
    int n = snprintf(record, sizeof record,
                     "{\"log\":\"end\",\"segment\":%" PRIu64 ",\"time\":\"%s\",\"first\":%" PRIu64
                     ",\"lines\":%" PRIu64 "}",
                     segment->key.segment, now, segment->first_seq,
                     segment->chain.seq - segment->first_seq + 1);
    TRY(audit_segment_add(segment, sv_make(record, (size_t)n), e));
    TRY(audit_segment_write(segment, e));
    close(segment->fd);
    segment->fd = -1;
    audit_key_next(segment->key.key);
    segment->key.segment++;
    segment->key.begun = false;
    return audit_key_save(segment->dir, &segment->key, e);
}

/* ---- retention ---- */

static bool ended_before(const char *dir, uint64_t n, int64_t ms)
{
    char path[PATH_MAX];
    struct stat st;
    return audit_segment_path(dir, n, path, NULL) == ERR_OK && stat(path, &st) == 0 &&
           (int64_t)st.st_mtim.tv_sec * 1000 < ms;
}

err_code audit_segment_retire(struct audit_segment *segment, unsigned days, struct err *e)
{
    char record[128], now[25], path[PATH_MAX];
    uint64_t *all = NULL, to = 0;
    size_t n = 0;
    if (days == 0)
        return ERR_OK;
    TRY(audit_segment_list(segment->dir, &all, &n, e));
    for (size_t i = 0; i < n && all[i] < segment->key.segment; i++) {
        if (!ended_before(segment->dir, all[i], clock_wall_ms() - days * DAY_MS))
            break;
        to = all[i];
    }
    err_code rc = ERR_OK;
    if (to) {
        audit_now(now);
        int len = snprintf(record, sizeof record,
                           "{\"log\":\"retired\",\"to\":%" PRIu64 ",\"time\":\"%s\"}", to, now);
        rc = audit_segment_add(segment, sv_make(record, (size_t)len), e);
        if (rc == ERR_OK)
            rc = audit_segment_write(segment, e);
    }
    for (size_t i = 0; rc == ERR_OK && i < n && all[i] <= to; i++) {
        rc = audit_segment_path(segment->dir, all[i], path, e);
        if (rc == ERR_OK && unlink(path) != 0)
            rc = file_os_err(e, "cannot remove an old file of the audit log");
    }
    free(all);
    return rc;
}
