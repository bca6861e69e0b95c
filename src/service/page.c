/* page.c - NextToken: where a list goes on, as text that only this service can have made.
 * base64url(position) '.' hex(HMAC(key, operation NUL scope NUL position)) */
#include "service/service_private.h"

#include "base/limits.h"
#include "codec/hash.h"

unsigned page_size(const struct call *c)
{
    uint64_t n;
    if (!sv_to_u64(json_number(call_member(c, "MaxResults")), &n))
        n = LIMIT_PAGE_DEFAULT;
    return (unsigned)n;
}

static sv mac(struct call *c, sv scope, sv position)
{
    unsigned char d[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    sv text = arena_fmt(c->a, "%s\n%.*s\n%.*s", c->op->name, SV_FMT(scope), SV_FMT(position));
    hash_hmac_sha256(sv_from(c->s->page_key), text, d);
    hash_hex(d, sizeof d, hex);
    return arena_sv(c->a, sv_make(hex, sizeof hex));
}

err_code page_token_make(struct call *c, sv scope, sv position, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(8192);
    TRY(hash_base64(position, &b, e));
    for (size_t i = 0; i < b.len; i++)
        b.ptr[i] = b.ptr[i] == '+' ? '-' : b.ptr[i] == '/' ? '_' : b.ptr[i];
    *out = arena_fmt(c->a, "%.*s.%.*s", SV_FMT(buf_sv(&b)), SV_FMT(mac(c, scope, position)));
    return out->ptr ? ERR_OK : arena_oom(c->a, e);
}

err_code page_token_read(struct call *c, sv scope, sv *position, struct err *e)
{
    sv token = call_text(c, "NextToken");
    *position = SV_NONE;
    if (token.ptr == NULL || token.len == 0)
        return ERR_OK;
    CLEANUP_BUF struct buf b = BUF_INIT(8192);
    size_t dot = sv_find(token, '.');
    sv body = arena_sv(c->a, sv_head(token, dot));
    char *p = (char *)(uintptr_t)body.ptr; /* our own copy */
    for (size_t i = 0; i < body.len; i++)
        p[i] = p[i] == '-' ? '+' : p[i] == '_' ? '/' : p[i];
    if (hash_base64_decode(body, &b, NULL) == ERR_OK) {
        sv found = arena_sv(c->a, buf_sv(&b));
        if (hash_equal(sv_tail(token, dot + 1), mac(c, scope, found))) {
            *position = found;
            return ERR_OK;
        }
    }
    return ERR(e, ERR_INVALID, "NextToken is not one that this list gave");
}
