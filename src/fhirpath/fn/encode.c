/* encode.c - texts written as other texts: hexadecimal, base64, and the escapes of HTML and JSON.
 * Source: FHIRPath 2.1 (STU), 5.6 "Additional String Functions". */
#include "fhirpath/fn/fn_private.h"

#include "codec/hash.h"

#include <utf8proc.h>

static err_code two(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in, sv *self,
                    sv *how, bool *has, struct err *e)
{
    TRY(fp_two_texts(cx, n, in, self, how, has, e));
    return fp_steps(cx, self->len / 16, e);
}

static void swap(char *text, size_t len, const char *from, const char *to)
{
    for (size_t i = 0; i < len; i++)
        for (size_t k = 0; from[k]; k++)
            if (text[i] == from[k]) {
                text[i] = to[k];
                break;
            }
}

static err_code put_copy(struct fp_cx *cx, struct buf *b, struct fp_list *out, struct err *e)
{
    sv text = arena_sv(cx->a, buf_sv(b));
    return text.ptr ? fp_put_text(cx, out, text, e) : arena_oom(cx->a, e);
}

FN(encode)
{
    sv t = SV_NONE, how = SV_NONE;
    bool has = false;
    TRY(two(cx, n, in, &t, &how, &has, e));
    if (!has)
        return ERR_OK;
    if (sv_eq_cstr(how, "hex")) {
        char *to = arena_alloc(cx->a, t.len * 2 + 1);
        if (to == NULL)
            return arena_oom(cx->a, e);
        hash_hex((const unsigned char *)t.ptr, t.len, to);
        return fp_put_text(cx, out, sv_make(to, t.len * 2), e);
    }
    bool url = sv_eq_cstr(how, "urlbase64");
    if (!url && !sv_eq_cstr(how, "base64"))
        return ERR_OK;
    CLEANUP_BUF struct buf b = BUF_INIT(t.len * 2 + 16);
    TRY(hash_base64(t, &b, e));
    if (url)
        swap(b.ptr, b.len, "+/", "-_");
    return put_copy(cx, &b, out, e);
}

FN(decode)
{
    sv t = SV_NONE, how = SV_NONE;
    bool has = false;
    struct err why;
    TRY(two(cx, n, in, &t, &how, &has, e));
    if (!has)
        return ERR_OK;
    CLEANUP_BUF struct buf b = BUF_INIT(t.len + 16);
    bool url = sv_eq_cstr(how, "urlbase64"), ok = false;
    if (sv_eq_cstr(how, "hex")) {
        TRY(buf_reserve(&b, t.len / 2 + 1, e));
        CLEANUP_BUF struct buf low = BUF_INIT(t.len + 16);
        for (size_t i = 0; i < t.len; i++)
            TRY(buf_add_char(&low, sv_lower(t.ptr[i]), e));
        ok = hash_unhex(buf_sv(&low), b.ptr, t.len / 2);
        b.len = ok ? t.len / 2 : 0;
    } else if (url || sv_eq_cstr(how, "base64")) {
        CLEANUP_BUF struct buf copy = BUF_INIT(t.len + 16);
        TRY(buf_add(&copy, t, e));
        if (url)
            swap(copy.ptr, copy.len, "-_", "+/");
        ok = hash_base64_decode(buf_sv(&copy), &b, &why) == ERR_OK;
    }
    /* bytes that are no text are nothing that FHIRPath can hold */
    utf8proc_int32_t c;
    for (size_t at = 0; ok && at < b.len;) {
        utf8proc_ssize_t w = utf8proc_iterate((const utf8proc_uint8_t *)b.ptr + at,
                                              (utf8proc_ssize_t)(b.len - at), &c);
        ok = w > 0;
        at += ok ? (size_t)w : 0;
    }
    return ok ? put_copy(cx, &b, out, e) : ERR_OK;
}

static const struct {
    char c;
    const char *html, *json;
} escapes[] = {
    { '"', "&quot;", "\\\"" }, { '&', "&amp;", NULL }, { '<', "&lt;", NULL }, { '>', "&gt;", NULL },
    { '\'', "&#39;", NULL },   { '\\', NULL, "\\\\" }, { '\n', NULL, "\\n" }, { '\r', NULL, "\\r" },
    { '\t', NULL, "\\t" },     { '\f', NULL, "\\f" },  { '\b', NULL, "\\b" },
};

static err_code put_escaped(struct fp_cx *cx, sv t, bool html, bool back, struct fp_list *out,
                            struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(t.len * 6 + 16);
    TRY(fp_steps(cx, t.len, e));
    while (t.len) {
        size_t took = 1;
        sv put = sv_head(t, 1);
        for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
            sv text = sv_from(html ? escapes[i].html : escapes[i].json);
            if (text.ptr == NULL || (back ? !sv_starts(t, text) : t.ptr[0] != escapes[i].c))
                continue;
            put = back ? sv_make(&escapes[i].c, 1) : text;
            took = back ? text.len : 1;
            break;
        }
        TRY(buf_add(&b, put, e));
        t = sv_tail(t, took);
    }
    return put_copy(cx, &b, out, e);
}

static err_code escaping(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                         bool back, struct fp_list *out, struct err *e)
{
    sv t = SV_NONE, how = SV_NONE;
    bool has = false;
    TRY(two(cx, n, in, &t, &how, &has, e));
    if (!has || !(sv_eq_cstr(how, "html") || sv_eq_cstr(how, "json")))
        return ERR_OK;
    return put_escaped(cx, t, sv_eq_cstr(how, "html"), back, out, e);
}

FN(escape)
{
    return escaping(cx, n, in, false, out, e);
}

FN(unescape)
{
    return escaping(cx, n, in, true, out, e);
}
