/* text.c - functions of strings. Places and lengths are counted in characters of Unicode. A list
 * that is not empty and no string is an error. Source: FHIRPath N1, 5.6 "String Manipulation". */
#include "fhirpath/fn/fn_private.h"

#include <utf8proc.h>

err_code fp_two_texts(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in, sv *self,
                      sv *arg, bool *has, struct err *e)
{
    fp_item v = { 0 }, w = { 0 };
    struct fp_list l;
    bool p, q;
    TRY(fp_one_of(cx, in, FHIRPATH_STRING, &v, &p, e));
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &w, &q, e));
    *has = p && q;
    *self = p ? v.as.text : SV_NONE;
    *arg = w.as.text;
    return ERR_OK;
}

static err_code two(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in, sv *self,
                    sv *arg, bool *has, struct err *e)
{
    TRY(fp_two_texts(cx, n, in, self, arg, has, e));
    return *has ? fp_steps(cx, (self->len + arg->len) / 64, e) : ERR_OK;
}

static err_code one(struct fp_cx *cx, const struct fp_list *in, sv *self, bool *has, struct err *e)
{
    fp_item v = { 0 };
    TRY(fp_one_of(cx, in, FHIRPATH_STRING, &v, has, e));
    *self = v.as.text;
    return *has ? fp_steps(cx, v.as.text.len / 64, e) : ERR_OK;
}

static size_t characters(sv t)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += ((unsigned char)t.ptr[i] & 0xC0) != 0x80;
    return n;
}

/* The byte at which character i begins; the length when there are fewer. */
static size_t byte_of(sv t, int64_t i)
{
    size_t at = 0;
    for (; at < t.len; at++)
        if (((unsigned char)t.ptr[at] & 0xC0) != 0x80 && i-- == 0)
            break;
    return at;
}

static bool find(sv text, sv part, size_t from, size_t *at)
{
    if (part.len == 0) {
        *at = from;
        return true;
    }
    const char *p = NULL;
    if (from <= text.len && part.len == 1)
        p = memchr(text.ptr + from, part.ptr[0], text.len - from);
    else if (from <= text.len)
        p = memmem(text.ptr + from, text.len - from, part.ptr, part.len);
    if (p)
        *at = (size_t)(p - text.ptr);
    return p != NULL;
}

FN(index_of)
{
    sv t = SV_NONE, part = SV_NONE;
    bool has = false;
    size_t at;
    TRY(two(cx, n, in, &t, &part, &has, e));
    if (!has)
        return ERR_OK;
    return fp_put_integer(cx, out, find(t, part, 0, &at) ? (int64_t)characters(sv_head(t, at)) : -1,
                          e);
}

static char *turned(struct arena *a, sv t)
{
    char *to = arena_alloc(a, t.len + 1);
    for (size_t i = 0; to && i < t.len; i++)
        to[i] = t.ptr[t.len - 1 - i];
    return to;
}

/* The first place in the texts turned round is the last one: so it is found in a time that grows
 * with the text alone, whatever the two are. */
static err_code find_last(struct fp_cx *cx, sv t, sv part, size_t *at, bool *found, struct err *e)
{
    size_t turned_at = 0;
    *at = t.len;
    *found = part.len == 0;
    if (part.len == 0 || part.len > t.len)
        return ERR_OK;
    TRY(fp_steps(cx, (t.len + part.len) / 32, e));
    const char *text = turned(cx->a, t), *of = turned(cx->a, part);
    if (text == NULL || of == NULL)
        return arena_oom(cx->a, e);
    *found = find(sv_make(text, t.len), sv_make(of, part.len), 0, &turned_at);
    if (*found)
        *at = t.len - turned_at - part.len;
    return ERR_OK;
}

FN(last_index_of)
{
    sv t = SV_NONE, part = SV_NONE;
    bool has = false, found;
    size_t at;
    TRY(two(cx, n, in, &t, &part, &has, e));
    if (!has)
        return ERR_OK;
    TRY(find_last(cx, t, part, &at, &found, e));
    return fp_put_integer(cx, out, found ? (int64_t)characters(sv_head(t, at)) : -1, e);
}

FN(substring)
{
    sv t = SV_NONE;
    fp_item from, many;
    struct fp_list l;
    bool has, has_from, has_many = false;
    TRY(one(cx, in, &t, &has, e));
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_INTEGER, &from, &has_from, e));
    if (n->n_args > 1) {
        TRY(fp_arg(cx, n, 1, &l, e));
        TRY(fp_one_of(cx, &l, FHIRPATH_INTEGER, &many, &has_many, e));
    }
    if (!has || !has_from || from.as.integer < 0)
        return ERR_OK;
    size_t at = byte_of(t, from.as.integer);
    if (at >= t.len)
        return ERR_OK;
    t = sv_tail(t, at);
    if (has_many)
        t = sv_head(t, many.as.integer <= 0 ? 0 : byte_of(t, many.as.integer));
    return fp_put_text(cx, out, t, e);
}

FN(starts_with)
{
    sv t = SV_NONE, part = SV_NONE;
    bool has = false;
    TRY(two(cx, n, in, &t, &part, &has, e));
    return has ? fp_put_boolean(cx, out, sv_starts(t, part), e) : ERR_OK;
}

FN(ends_with)
{
    sv t = SV_NONE, part = SV_NONE;
    bool has = false;
    TRY(two(cx, n, in, &t, &part, &has, e));
    return has ? fp_put_boolean(cx, out, sv_ends(t, part), e) : ERR_OK;
}

FN(contains)
{
    sv t = SV_NONE, part = SV_NONE;
    bool has = false;
    size_t at;
    TRY(two(cx, n, in, &t, &part, &has, e));
    return has ? fp_put_boolean(cx, out, find(t, part, 0, &at), e) : ERR_OK;
}

static err_code put_case(struct fp_cx *cx, const struct fp_list *in, bool upper,
                         struct fp_list *out, struct err *e)
{
    sv t = SV_NONE;
    bool has = false;
    TRY(one(cx, in, &t, &has, e));
    if (!has)
        return ERR_OK;
    TRY(fp_steps(cx, t.len / 4, e));
    /* a letter of two bytes may become one of three */
    char *to = arena_alloc(cx->a, t.len * 2 + 4);
    size_t len = 0;
    if (to == NULL)
        return arena_oom(cx->a, e);
    for (size_t at = 0; at < t.len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t w = utf8proc_iterate((const utf8proc_uint8_t *)t.ptr + at,
                                              (utf8proc_ssize_t)(t.len - at), &c);
        if (w <= 0)
            return fp_wrong(cx, e, "the text is not UTF-8");
        at += (size_t)w;
        c = upper ? utf8proc_toupper(c) : utf8proc_tolower(c);
        len += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)to + len);
    }
    return fp_put_text(cx, out, sv_make(to, len), e);
}

FN(upper)
{
    (void)n;
    return put_case(cx, in, true, out, e);
}

FN(lower)
{
    (void)n;
    return put_case(cx, in, false, out, e);
}

FN(length)
{
    (void)n;
    sv t = SV_NONE;
    bool has = false;
    TRY(one(cx, in, &t, &has, e));
    return has ? fp_put_integer(cx, out, (int64_t)characters(t), e) : ERR_OK;
}

FN(to_chars)
{
    (void)n;
    sv t = SV_NONE;
    bool has = false;
    TRY(one(cx, in, &t, &has, e));
    for (size_t at = 0; has && at < t.len;) {
        size_t w = byte_of(sv_tail(t, at), 1);
        TRY(fp_put_text(cx, out, sv_make(t.ptr + at, w), e));
        at += w;
    }
    return ERR_OK;
}

/* Where the next replacement begins: an empty pattern stands in front of each character and at the
 * end. */
static bool next_place(sv t, sv pattern, size_t from, size_t *at)
{
    if (pattern.len)
        return find(t, pattern, from, at);
    *at = from == 0 ? 0 : from;
    return from <= t.len;
}

FN(replace)
{
    sv t = SV_NONE, pattern = SV_NONE;
    fp_item by;
    struct fp_list l;
    bool has, has_by;
    TRY(two(cx, n, in, &t, &pattern, &has, e));
    TRY(fp_arg(cx, n, 1, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &by, &has_by, e));
    if (!has || !has_by)
        return ERR_OK;
    /* first how long it becomes */
    size_t places = 0, at, from = 0;
    while (next_place(t, pattern, from, &at)) {
        places++;
        from = at + (pattern.len ? pattern.len : at < t.len ? byte_of(sv_tail(t, at), 1) : 1);
    }
    if (by.as.text.len && places > (SIZE_MAX / 4) / by.as.text.len)
        return fp_wrong(cx, e, "the text would be too long");
    size_t most = t.len - places * pattern.len + places * by.as.text.len, len = 0;
    TRY(fp_steps(cx, most / 64 + places, e));
    char *to = arena_alloc(cx->a, most + 1);
    if (to == NULL)
        return arena_oom(cx->a, e);
    size_t copied = 0;
    from = 0;
    while (next_place(t, pattern, from, &at)) {
        memcpy(to + len, t.ptr + copied, at - copied);
        len += at - copied;
        if (by.as.text.len)
            memcpy(to + len, by.as.text.ptr, by.as.text.len);
        len += by.as.text.len;
        copied = at + pattern.len;
        from = at + (pattern.len ? pattern.len : at < t.len ? byte_of(sv_tail(t, at), 1) : 1);
    }
    memcpy(to + len, t.ptr + copied, t.len - copied);
    return fp_put_text(cx, out, sv_make(to, len + t.len - copied), e);
}

FN(split)
{
    sv t = SV_NONE, by = SV_NONE;
    bool has = false;
    size_t at;
    TRY(two(cx, n, in, &t, &by, &has, e));
    if (!has)
        return ERR_OK;
    if (by.len == 0)
        return fp_put_text(cx, out, t, e);
    while (find(t, by, 0, &at)) {
        TRY(fp_put_text(cx, out, sv_head(t, at), e));
        t = sv_tail(t, at + by.len);
    }
    return fp_put_text(cx, out, t, e);
}

FN(join)
{
    struct fp_list l;
    fp_item by = { .as.text = SV_LIT("") }, v;
    bool has = false;
    if (n->n_args) {
        TRY(fp_arg(cx, n, 0, &l, e));
        TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &by, &has, e));
    }
    sv between = has ? by.as.text : SV_LIT(""), *parts;
    size_t many = 0;
    parts = arena_alloc(cx->a, (in->n * 2 + 1) * sizeof(sv));
    if (parts == NULL)
        return arena_oom(cx->a, e);
    for (uint32_t i = 0; i < in->n; i++) {
        if (!fp_value(cx->a, &in->items[i], &v))
            continue;
        if (v.kind != FHIRPATH_STRING)
            return fp_wrong(cx, e, "join() asks for strings, not %s", fp_kind_name(v.kind));
        if (many)
            parts[many++] = between;
        parts[many++] = v.as.text;
    }
    sv text = arena_join(cx->a, parts, many);
    return text.ptr ? fp_put_text(cx, out, text, e) : arena_oom(cx->a, e);
}

FN(trim)
{
    (void)n;
    sv t = SV_NONE;
    bool has = false;
    TRY(one(cx, in, &t, &has, e));
    if (!has)
        return ERR_OK;
    while (t.len && (t.ptr[0] == ' ' || (t.ptr[0] >= '\t' && t.ptr[0] <= '\r')))
        t = sv_tail(t, 1);
    while (t.len &&
           (t.ptr[t.len - 1] == ' ' || (t.ptr[t.len - 1] >= '\t' && t.ptr[t.len - 1] <= '\r')))
        t.len--;
    return fp_put_text(cx, out, t, e);
}
