/* packed.c - text of an import in the job's notes, packed: most of it repeats itself. */
#include "import/import_private.h"

#include <zstd.h>

#define LEVEL 1

err_code import_pack(sv text, struct buf *out, struct err *e)
{
    const size_t most = ZSTD_compressBound(text.len);
    TRY(buf_reserve(out, most, e));
    const size_t n = ZSTD_compress(out->ptr + out->len, most, text.ptr, text.len, LEVEL);
    if (ZSTD_isError(n))
        return ERR(e, ERR_IO, "a text of the import cannot be packed");
    out->len += n;
    return ERR_OK;
}

err_code import_packed_put(struct job_run *run, sv name, sv text, struct err *e)
{
    CLEANUP_BUF struct buf packed = BUF_INIT(ZSTD_compressBound(text.len));
    TRY(import_pack(text, &packed, e));
    return job_run_note_put_unsynced(run, name, buf_sv(&packed), e);
}

err_code import_packed_get(struct job_run *run, sv name, struct buf *out, struct err *e)
{
    CLEANUP_BUF struct buf packed = BUF_INIT(ZSTD_compressBound(IMPORT_PACKED_MAX));
    TRY(job_run_note_get(run, name, &packed, e));
    const unsigned long long n = ZSTD_getFrameContentSize(packed.ptr, packed.len);
    if (n > IMPORT_PACKED_MAX)
        return ERR(e, ERR_CORRUPT, "a note of the import is damaged");
    TRY(buf_reserve(out, (size_t)n, e));
    if (ZSTD_decompress(out->ptr + out->len, (size_t)n, packed.ptr, packed.len) != n)
        return ERR(e, ERR_CORRUPT, "a note of the import is damaged");
    out->len += (size_t)n;
    return ERR_OK;
}
