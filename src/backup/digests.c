/* digests.c - a record of the hashes of files that never change, so that they are read once.
 *
 *   fhirlake-digests-1
 *   <SHA-256> <bytes> <device> <inode> <changed ns> <born ns>     a file
 *   ...
 *   <SHA-256 of all before>
 *
 * A file is known again by its device, inode, size, and the times of its last change and its birth:
 * links of it in snapshots have them too, and a copy of the data folder does not. Whether a known
 * hash may be used is decided where the object of that hash is there already, so a record that is
 * wrong costs at most a file that was hashed anyway. A record that is not as it was written is
 * none. */
#include "backup/backup_private.h"

#include "base/file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORD_MAX ((size_t)512 << 20)
#define HEAD       SV_LIT("fhirlake-digests-1\n")

struct row {
    uint64_t device, inode, bytes;
    int64_t changed_ns, born_ns;
    char sha[SHA256_HEX_LEN];
};
struct backup_digests {
    const char *path;       /* NULL: nothing is remembered; borrowed */
    struct buf known, seen; /* rows; known: sorted */
};

/* Of the file behind fd; its hash is not. */
static bool look(int fd, struct row *out)
{
    struct statx s;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &s) != 0)
        return false;
    memset(out, 0, sizeof *out);
    out->device = (uint64_t)s.stx_dev_major << 32 | s.stx_dev_minor;
    out->inode = s.stx_ino;
    out->bytes = s.stx_size;
    out->changed_ns = (int64_t)s.stx_mtime.tv_sec * 1000000000 + s.stx_mtime.tv_nsec;
    if (s.stx_mask & STATX_BTIME)
        out->born_ns = (int64_t)s.stx_btime.tv_sec * 1000000000 + s.stx_btime.tv_nsec;
    return true;
}

static int by_file(const void *a, const void *b)
{
    return memcmp(a, b, offsetof(struct row, sha));
}

/* ---- reading ---- */

static bool read_row(sv line, struct row *out)
{
    sv sha, bytes, device, inode, changed;
    memset(out, 0, sizeof *out);
    if (!sv_cut(&line, ' ', &sha) || !sv_cut(&line, ' ', &bytes) || !sv_cut(&line, ' ', &device) ||
        !sv_cut(&line, ' ', &inode) || !sv_cut(&line, ' ', &changed) ||
        !sv_is_hex(sha, SHA256_HEX_LEN) || !sv_to_u64(bytes, &out->bytes) ||
        !sv_to_u64(device, &out->device) || !sv_to_u64(inode, &out->inode) ||
        !sv_to_i64(changed, &out->changed_ns) || !sv_to_i64(line, &out->born_ns))
        return false;
    memcpy(out->sha, sha.ptr, sizeof out->sha);
    return true;
}

/* Ends with its own hash? *rows: what stands between. */
static bool is_whole(sv text, sv *rows)
{
    unsigned char sha[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    const size_t tail = SHA256_HEX_LEN + 1;
    if (!sv_starts(text, HEAD) || text.len < HEAD.len + tail)
        return false;
    const sv before = sv_head(text, text.len - tail);
    hash_sha256_of(before, sha);
    hash_hex(sha, sizeof sha, hex);
    *rows = sv_tail(before, HEAD.len);
    return memcmp(text.ptr + before.len, hex, sizeof hex) == 0;
}

static void load(struct backup_digests *d)
{
    CLEANUP_BUF struct buf text = BUF_INIT(RECORD_MAX);
    struct row row;
    struct err why;
    sv rows, line;
    if (file_read(d->path, &text, &why) != ERR_OK || !is_whole(buf_sv(&text), &rows))
        return;
    while (rows.len && sv_cut(&rows, '\n', &line))
        if (!read_row(line, &row) ||
            buf_add(&d->known, sv_make(&row, sizeof row), &why) != ERR_OK) {
            buf_clear(&d->known);
            return;
        }
    if (d->known.len)
        qsort(d->known.ptr, d->known.len / sizeof row, sizeof row, by_file);
}

struct backup_digests *backup_digests_open(const char *path)
{
    struct backup_digests *d = calloc(1, sizeof *d);
    if (d == NULL)
        abort();
    d->path = path;
    buf_init(&d->known, RECORD_MAX);
    buf_init(&d->seen, RECORD_MAX);
    if (path)
        load(d);
    return d;
}

void backup_digests_free(struct backup_digests *d)
{
    if (d == NULL)
        return;
    buf_done(&d->known);
    buf_done(&d->seen);
    free(d);
}

/* ---- asking ---- */

bool backup_digests_find(struct backup_digests *d, int fd, struct backup_file *out)
{
    struct row row;
    if (d->known.len == 0 || !look(fd, &row))
        return false;
    const struct row *found =
        bsearch(&row, d->known.ptr, d->known.len / sizeof row, sizeof row, by_file);
    if (found == NULL)
        return false;
    out->bytes = found->bytes;
    memcpy(out->sha, found->sha, sizeof out->sha);
    return true;
}

void backup_digests_note(struct backup_digests *d, int fd, const struct backup_file *file)
{
    struct row row;
    struct err why;
    if (d->path == NULL || !look(fd, &row) || row.bytes != file->bytes)
        return;
    memcpy(row.sha, file->sha, sizeof row.sha);
    /* what has no room is hashed again */
    IGNORE(buf_add(&d->seen, sv_make(&row, sizeof row), &why));
}

err_code backup_digests_save(const struct backup_digests *d, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(RECORD_MAX);
    unsigned char sha[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    struct row row;
    if (d->path == NULL)
        return ERR_OK;
    TRY(buf_add(&text, HEAD, e));
    for (size_t at = 0; at < d->seen.len; at += sizeof row) {
        memcpy(&row, d->seen.ptr + at, sizeof row);
        TRY(buf_add_fmt(&text, e,
                        "%.*s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 "\n",
                        (int)sizeof row.sha, row.sha, row.bytes, row.device, row.inode,
                        row.changed_ns, row.born_ns));
    }
    hash_sha256_of(buf_sv(&text), sha);
    hash_hex(sha, sizeof sha, hex);
    TRY(buf_add_fmt(&text, e, "%.*s\n", (int)sizeof hex, hex));
    return file_write_atomic(d->path, buf_sv(&text), e);
}
