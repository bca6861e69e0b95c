/* file.h - small files and folders, private by default (0600 in 0700).   Floor: base. */
#pragma once
#include "base/buf.h"

/* An error with the text of errno behind `what`; returns its code. Messages can reach clients, so
 * paths stay out of them. */
err_code file_os_err(struct err *e, const char *what);
/* Whole file into *out (appended). ERR_NOT_FOUND, ERR_TOO_LARGE (out's cap), ERR_DENIED, ERR_IO. */
MUST_USE err_code file_read(const char *path, struct buf *out, struct err *e);
/* file_read() for keys and rules: only if nobody else can read or change the file. A link is
 * followed, and the file behind it is judged:
 *   - it belongs to us or to root, and group and others may not write it
 *   - they may not read it either, unless its folder keeps them out, or root lends it to our group
 *     (root:GROUP 0640)
 *   - not everybody may write its folder, unless the folder is like /tmp (sticky)
 * ERR_DENIED when somebody else can. The message says what to type. It holds the path, so it is for
 * the operator alone. */
MUST_USE err_code file_read_private(const char *path, struct buf *out, struct err *e);
/* Likewise, but others may read it: for what says whom to trust and is no secret. */
MUST_USE err_code file_read_guarded(const char *path, struct buf *out, struct err *e);
/* Replace path with bytes, all or nothing: temporary file beside it, fsync, rename, fsync of the
 * folder. */
MUST_USE err_code file_write_atomic(const char *path, sv bytes, struct err *e);
/* path and its missing parents, mode 0700. */
MUST_USE err_code file_mkdirs(const char *path, struct err *e);
/* Remove a file, or a folder with all below it; success too when there is nothing. Links are not
 * followed. */
MUST_USE err_code file_remove_tree(const char *path, struct err *e);
/* Bytes that the disk of a file or folder has free for us, and in all. */
MUST_USE err_code file_disk(const char *path, uint64_t *left, uint64_t *size, struct err *e);
/* What stat says of a file, so that two looks tell whether it was changed in between: replaced,
 * written, lent to others, removed. Links are followed. A pipe is never another one. */
#define FILE_LOOK    10u
#define FILE_IS_PIPE 2u /* out[0] of what is no regular file */
void file_look(const char *path, uint64_t out[FILE_LOOK]);
/* fsync a folder, so that names made in it survive a crash. */
MUST_USE err_code file_sync_dir(const char *path, struct err *e);
/* A lock on a file that others may share. Nobody gets it for himself meanwhile. It goes when *fd is
 * closed. ERR_EXISTS: somebody has it for himself. ERR_NOT_FOUND, ERR_DENIED, ERR_IO. */
MUST_USE err_code file_hold(const char *path, int *fd, struct err *e);
/* All of bytes to fd, through EINTR and short writes. */
MUST_USE err_code file_write_all(int fd, sv bytes, struct err *e);

/* A path as a shell takes it, for people who type it. out: PATH_MAX + 3 bytes. */
void file_quoted(const char *path, char *out);
