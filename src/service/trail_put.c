/* trail_put.c - texts and numbers of a record are written. */
#include "service/trail_private.h"

#include "codec/json.h"

void trail_put_slow(struct trail_out *o, sv text)
{
    if (o->rc == ERR_OK)
        o->rc = buf_add(o->buf, text, o->e);
}

void trail_put_u64(struct trail_out *o, uint64_t n)
{
    char text[24], *p = text + sizeof text;
    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    put(o, sv_make(p, (size_t)(text + sizeof text - p)));
}

void trail_put_escaped(struct trail_out *o, sv text)
{
    struct json_writer w;
    if (o->rc != ERR_OK)
        return;
    json_writer_init(&w, o->buf);
    json_str(&w, text);
    o->rc = json_writer_end(&w, o->e);
}
