/* dir_copy.c - one file of the directory store, made of an earlier one of the same bucket.
 *
 * Whether the earlier file still is who it was follows from its mark: device, inode, size, and the
 * times at which its bytes and its inode last changed, taken when it stood at its key. Nobody can
 * set the second time back. So a file that is edited, cut or replaced has another mark, whatever
 * its size. It is looked at before it is read and again behind that. Times go by the ticks of the
 * system's clock, so a change within some milliseconds of our own last one is not seen.
 *
 * A second name changes the inode's time too. Where files are given second names (links), the mark
 * does without it, and the folder is ours alone. A file that was not synced is known until the
 * machine ends: after that its size can be right and its bytes wrong. */
#include "codec/crypt/cipher.h"
#include "sink/sink_private.h"

#include <unistd.h>

/* The bytes of its file. An encrypted one is copied as it is: the key in front of it is wrapped for
 * the same data store. */
static uint64_t file_bytes(const struct sink *sink, const struct sink_earlier *from)
{
    return from->object.bytes + (sink->ring ? CIPHER_PREFIX : 0);
}

/* Is an open file who the mark says? */
static err_code check(const struct sink *sink, const struct sink_earlier *from, int fd,
                      struct err *e)
{
    struct sink_mark mark;
    struct stat st;
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size != file_bytes(sink, from))
        return ERR(e, ERR_PRECONDITION, "the earlier object has another size");
    dir_mark(sink->world, &st, &mark);
    return mark.len && sv_eq(sink_mark_sv(&mark), from->mark)
               ? ERR_OK
               : ERR(e, ERR_PRECONDITION, "the earlier object has changed");
}

err_code dir_copy(const struct sink *sink, const struct sink_earlier *from, sv key,
                  struct sink_mark *mark, struct err *e)
{
    struct dir_file *file = NULL;
    char leaf[256];
    int parent, fd;
    TRY(dir_open(sink, from->bucket, from->key, &parent, leaf, &fd, e));
    err_code rc = check(sink, from, fd, e);
    if (rc == ERR_OK && sink->world->links) {
        /* takes fd */
        rc = dir_file_link(sink, key, parent, leaf, fd, &file, e);
        fd = -1;
    } else if (rc == ERR_OK) {
        rc = dir_file_create(sink, key, &file, e);
        if (rc == ERR_OK)
            rc = dir_file_copy(file, fd, file_bytes(sink, from), e);
        if (rc == ERR_OK)
            rc = check(sink, from, fd, e);
    }
    if (rc == ERR_OK)
        rc = dir_file_commit(file, NULL, mark, e);
    dir_file_free(file);
    if (fd >= 0)
        close(fd);
    close(parent);
    return rc;
}
