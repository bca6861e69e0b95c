/* next_token.c - NextToken: the position where a list goes on, sealed.
 *
 *   token = seal( time in ms (8 bytes, little-endian), position )
 *
 * The seal is bound to the operation, the caller, and all members of the request but NextToken and
 * MaxResults. So nobody can make a token, and a token is good for its caller and his request alone.
 * It is good for 24 hours. */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/seal.h"

#define HOURS   24u         /* a token is good for */
#define SKEW_MS 60000       /* a token from the future: the clock was set back a little */
#define MEMBERS 16u         /* the most members of a request */
#define TEXT    (64u << 10) /* bytes of the members as text */
#define SEALED  8192u       /* the most bytes of a token, and of its content */

unsigned page_size(const struct call *call)
{
    uint64_t n;
    if (!sv_to_u64(json_number(call_member(call, "MaxResults")), &n))
        n = LIMIT_PAGE_DEFAULT;
    return (unsigned)n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(yyjson_get_str(*(yyjson_val *const *)a), yyjson_get_str(*(yyjson_val *const *)b));
}

/* The text to which a token is bound. Its members are sorted: their order in a request is of no
 * matter. */
static err_code asked(struct call *call, struct buf *out, struct err *e)
{
    yyjson_val *names[MEMBERS];
    size_t n = 0, i, max;
    yyjson_val *k, *v;
    TRY(buf_add_fmt(out, e, "%s\n%.*s\n", call->op->name, SV_FMT(call->caller.arn)));
    yyjson_obj_foreach(call->input, i, max, k, v)
    {
        sv name = json_string(k);
        if (sv_eq_cstr(name, "NextToken") || sv_eq_cstr(name, "MaxResults") || yyjson_is_null(v))
            continue;
        if (n == MEMBERS)
            return ERR(e, ERR_TOO_LARGE, "Too many members");
        names[n++] = k;
    }
    if (n)
        qsort(names, n, sizeof names[0], by_name);
    for (i = 0; i < n; i++) {
        struct json_writer w;
        json_writer_init(&w, out);
        json_str(&w, json_string(names[i]));
        TRY(json_writer_end(&w, e));
        json_writer_init(&w, out);
        /* in memory the value of a name comes right behind it */
        json_val(&w, unsafe_yyjson_get_next(names[i]));
        TRY(json_writer_end(&w, e));
    }
    return ERR_OK;
}

err_code next_token_make(struct call *call, sv position, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf about = BUF_INIT(TEXT), plain = BUF_INIT(SEALED),
                           text = BUF_INIT(SEALED);
    uint64_t now = (uint64_t)clock_wall_ms();
    char when[8];
    for (unsigned i = 0; i < 8; i++)
        when[i] = (char)(now >> 8 * i);
    TRY(asked(call, &about, e));
    TRY(buf_add(&plain, sv_make(when, sizeof when), e));
    TRY(buf_add(&plain, position, e));
    TRY(seal_close(call->service->cursor_key, buf_sv(&about), buf_sv(&plain), &text, e));
    *out = arena_sv(call->a, buf_sv(&text));
    return out->ptr ? ERR_OK : arena_oom(call->a, e);
}

err_code next_token_read(struct call *call, sv *position, struct err *e)
{
    sv token = call_text(call, "NextToken");
    *position = SV_NONE;
    if (token.ptr == NULL || token.len == 0)
        return ERR_OK;
    CLEANUP_BUF struct buf about = BUF_INIT(TEXT), plain = BUF_INIT(SEALED);
    TRY(asked(call, &about, e));
    if (seal_open(call->service->cursor_key, buf_sv(&about), token, &plain, NULL) != ERR_OK ||
        plain.len < 8)
        return ERR(e, ERR_INVALID,
                   "NextToken is not one that this list gave to this caller for this request");
    uint64_t made = 0;
    for (unsigned i = 0; i < 8; i++)
        made |= (uint64_t)(unsigned char)plain.ptr[i] << 8 * i;
    int64_t age_ms = clock_wall_ms() - (int64_t)made;
    if (age_ms < -SKEW_MS || age_ms > (int64_t)HOURS * 3600 * 1000)
        return ERR(e, ERR_INVALID, "NextToken is older than 24 hours; list anew without it");
    *position = arena_sv(call->a, sv_tail(buf_sv(&plain), 8));
    return position->ptr ? ERR_OK : arena_oom(call->a, e);
}
