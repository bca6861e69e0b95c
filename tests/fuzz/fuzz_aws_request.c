/* A control-plane body against every shape: the first byte picks the operation. */
#include "fuzz.h"

#include "base/limits.h"
#include "service/shapes.h"

FUZZ(data)
{
    struct arena *a = arena_new(LIMIT_REQUEST_MEMORY);
    struct buf faults = BUF_INIT(256u << 10);
    yyjson_doc *doc;
    struct err e;
    shape_id id = data.len ? (shape_id)((unsigned char)data.ptr[0] % N_SHAPES) : (shape_id)0;
    sv text = arena_sv(a, sv_tail(data, 1));
    if (json_read(a, text, LIMIT_JSON_DEPTH, &doc, &e) == ERR_OK) {
        err_code rc = shape_check_input(id, yyjson_doc_get_root(doc), &faults, &e);
        MUST(rc == ERR_OK || rc == ERR_INVALID || rc == ERR_UNSUPPORTED);
        MUST((rc == ERR_INVALID) == (faults.len > 0));
        /* what was read can be written and read again */
        struct buf out = BUF_INIT(SIZE_MAX / 2);
        struct json_writer w;
        json_writer_init(&w, &out);
        json_val(&w, yyjson_doc_get_root(doc));
        if (json_writer_end(&w, &e) == ERR_OK)
            MUST(json_read(a, buf_sv(&out), LIMIT_JSON_DEPTH, &doc, &e) != ERR_INVALID);
        buf_done(&out);
    }
    buf_done(&faults);
    arena_free(a);
}
