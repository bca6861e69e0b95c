/* attachments.c - urls of Attachments are made absolute in two steps: a scan that lets almost every
 * resource pass unread, and the walk of links.h for the others.
 *
 * The scan looks for `"url":"` with a value that would change. Extensions have urls too, and some
 * of these are relative ("ombCategory"); so a member that holds an Attachment must be named in
 * front of the url. Names may be spelled with escapes, which nobody does: a text with escaped
 * letters is read. */
#include "fhir/attachments.h"

#include "base/limits.h"
#include "fhir/definitions.h"
#include "fhir/links.h"

#include <pthread.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* ---- what becomes of a url ---- */

static bool is_below(sv url, sv base)
{
    return base.len && sv_starts(url, base) &&
           (url.len == base.len || memchr("/?#", url.ptr[base.len], 3) != NULL);
}

static bool is_web(sv url)
{
    sv scheme = sv_head(url, sv_find(url, ':'));
    return sv_eq_nocase(scheme, SV_LIT("http")) || sv_eq_nocase(scheme, SV_LIT("https"));
}

/* "http://host:port" of "http://host:port/path". */
static sv origin_of(sv base)
{
    /* Behind "://". */
    size_t at = sv_find(base, ':') + 3;
    return sv_head(base, at + sv_find(sv_tail(base, at), '/'));
}

/* "." or "..", of which clients take "%2e" for a spelling. */
static bool is_dots(sv segment)
{
    size_t n = 0;
    for (; segment.len; n++) {
        bool encoded = sv_eq_nocase(sv_head(segment, 3), SV_LIT("%2e"));
        if (!encoded && segment.ptr[0] != '.')
            return false;
        segment = sv_tail(segment, encoded ? 3 : 1);
    }
    return n == 1 || n == 2;
}

/* Characters of a URI, no scheme, no segment that is "." or "..". */
static bool is_plain_path(sv url)
{
    bool in_path = true, first = true;
    /* where the one at hand begins */
    size_t segment = 0;
    for (size_t i = 0; i <= url.len; i++) {
        char c = i < url.len ? url.ptr[i] : '#';
        bool letter = ((unsigned char)c | 32) >= 'a' && ((unsigned char)c | 32) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') &&
            (c == 0 || strchr("-._~:/?#[]@!$&'()*+,;=%", c) == NULL))
            return false;
        if (c == ':' && first)
            return false;
        if (!in_path || !strchr("/?#", c))
            continue;
        if (is_dots(sv_make(url.ptr + segment, i - segment)))
            return false;
        in_path = c == '/';
        first = false;
        segment = i + 1;
    }
    return true;
}

/* Does url become head and tail? around: the fullUrl of the entry that it stands in. */
static bool moves(const struct fhir_attachments *attachments, sv url, sv around, sv *head, sv *tail)
{
    *head = attachments->base;
    if (is_below(url, attachments->other) && !is_below(url, attachments->base)) {
        *tail = sv_tail(url, attachments->other.len);
        return is_plain_path(*tail);
    }
    while (sv_starts(url, SV_LIT("./")))
        url = sv_tail(url, 2);
    if (url.len == 0 || strchr("#?", url.ptr[0]) || sv_starts(url, SV_LIT("//")) ||
        !is_plain_path(url))
        return false;
    /* The url is relative to the place that the entry comes from. */
    if (is_web(around) && !is_below(around, attachments->base) &&
        !is_below(around, attachments->other))
        return false;
    *tail = url;
    if (url.ptr[0] != '/')
        return true;
    sv path = sv_tail(url, 1), origin = origin_of(attachments->base);
    if (is_below(url, sv_tail(attachments->base, origin.len)) ||
        fhir_type_find(sv_head(path, sv_find(path, '/'))) == FHIR_TYPE_NONE)
        *head = origin;
    return true;
}

/* ---- members that hold an Attachment ---- */

#define NAMES_MAX      64u
#define STRUCTURES_MAX 1024u

static struct {
    pthread_once_t once;
    sv text[NAMES_MAX]; /* "photo" */
    size_t n;
    bool ends[256]; /* last bytes of names */
    const struct fhir_structure *seen[STRUCTURES_MAX];
    size_t n_seen;
} names = { .once = PTHREAD_ONCE_INIT };

static void add_name(sv name)
{
    for (size_t i = 0; i < names.n; i++)
        if (sv_eq(names.text[i], name))
            return;
    /* the definitions have outgrown this table */
    if (names.n == NAMES_MAX)
        abort();
    names.text[names.n++] = name;
    names.ends[(unsigned char)name.ptr[name.len - 1]] = true;
}

/* As deep as the definitions are. */
static void visit(const struct fhir_structure *structure)
{
    for (size_t i = 0; i < names.n_seen; i++)
        if (names.seen[i] == structure)
            return;
    if (names.n_seen == STRUCTURES_MAX)
        abort();
    names.seen[names.n_seen++] = structure;
    for (size_t i = 0; i < structure->n_members; i++) {
        const struct fhir_structure *type = structure->members[i].type;
        if (type && type->role == FHIR_ROLE_ATTACHMENT)
            add_name(structure->members[i].name);
        if (type)
            visit(type);
    }
}

static void find_names(void)
{
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        if (fhir_structure_of((fhir_type)t))
            visit(fhir_structure_of((fhir_type)t));
}

/* ---- the scan ---- */

struct scan {
    const struct fhir_attachments *f;
    sv text;
    size_t named; /* as far, no member that holds an Attachment is named */
};
typedef bool (*scan_fn)(struct scan *s, size_t at);

/* fn for each place where two bytes stand one behind the other, a and a2 or b and b2, until it
 * answers true. A place may be given twice. */
static bool scan_bytes(struct scan *s, size_t from, size_t to, const char p[4], scan_fn fn)
{
    for (size_t i = from; i + 1 < to; i++) {
        const char *at = s->text.ptr + i;
        if (((at[0] == p[0] && at[1] == p[1]) || (at[0] == p[2] && at[1] == p[3])) && fn(s, i))
            return true;
    }
    return false;
}

#ifdef __x86_64__
#define VECTOR 32u
__attribute__((target("avx2"), always_inline)) static inline __m256i pairs_at(const char *at,
                                                                              const __m256i p[4])
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i next = _mm256_loadu_si256((const __m256i *)(const void *)(at + 1));
    return _mm256_or_si256(
        _mm256_and_si256(_mm256_cmpeq_epi8(v, p[0]), _mm256_cmpeq_epi8(next, p[1])),
        _mm256_and_si256(_mm256_cmpeq_epi8(v, p[2]), _mm256_cmpeq_epi8(next, p[3])));
}

__attribute__((target("avx2"))) static bool scan_vectors(struct scan *s, size_t from, size_t to,
                                                         const char pairs[4], scan_fn fn)
{
    const __m256i p[4] = { _mm256_set1_epi8(pairs[0]), _mm256_set1_epi8(pairs[1]),
                           _mm256_set1_epi8(pairs[2]), _mm256_set1_epi8(pairs[3]) };
    for (size_t i = from; i + 1 < to; i += 2 * VECTOR) {
        /* the last step ends with the text, over what was seen */
        if (i + 2 * VECTOR + 1 > to)
            i = to - 2 * VECTOR - 1;
        __m256i low = pairs_at(s->text.ptr + i, p), high = pairs_at(s->text.ptr + i + VECTOR, p);
        __m256i both = _mm256_or_si256(low, high);
        if (_mm256_testz_si256(both, both))
            continue;
        uint64_t hits = (uint32_t)_mm256_movemask_epi8(low) |
                        (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << VECTOR;
        for (; hits; hits &= hits - 1)
            if (fn(s, i + (unsigned)__builtin_ctzll(hits)))
                return true;
    }
    return false;
}
#endif

static bool scan(struct scan *s, size_t from, size_t to, const char pairs[4], scan_fn fn)
{
#ifdef __x86_64__
    if (to - from > 2 * VECTOR && __builtin_cpu_supports("avx2"))
        return scan_vectors(s, from, to, pairs, fn);
#endif
    return scan_bytes(s, from, to, pairs, fn);
}

/* A name ends at i with its quote: is it one of those? */
static bool is_named(struct scan *s, size_t i)
{
    if (i == 0 || !names.ends[(unsigned char)s->text.ptr[i - 1]])
        return false;
    for (size_t k = 0; k < names.n; k++) {
        sv name = names.text[k];
        if (i > name.len && s->text.ptr[i - name.len - 1] == '"' &&
            memcmp(s->text.ptr + i - name.len, name.ptr, name.len) == 0)
            return true;
    }
    return false;
}

/* "rl" or "\u" at i: the end of a url that would move, in what may be an Attachment, or a letter
 * that is spelled as an escape (\u0041 to \u007a)? */
static bool may_move(struct scan *s, size_t i)
{
    static const sv member = { "\"url\":\"", sizeof "\"url\":\"" - 1 };
    sv head, tail, rest = sv_tail(s->text, i);
    if (*rest.ptr == '\\')
        return rest.len > 5 && rest.ptr[2] == '0' && rest.ptr[3] == '0' && rest.ptr[4] >= '4' &&
               rest.ptr[4] <= '7';
    if (i < 2 || i <= s->named || !sv_starts(sv_tail(s->text, i - 2), member))
        return false;
    rest = sv_tail(s->text, i - 2 + member.len);
    sv url = sv_head(rest, sv_find(rest, '"'));
    if (memchr(url.ptr, '\\', url.len) == NULL && !moves(s->f, url, SV_NONE, &head, &tail))
        return false;
    pthread_once(&names.once, find_names);
    /* in front of it: the Attachment has a name */
    if (scan(s, s->named, i, "\":\":", is_named))
        return true;
    s->named = i;
    return false;
}

bool fhir_attachments_may(const struct fhir_attachments *attachments, sv text)
{
    struct scan s = { .f = attachments, .text = text };
    return scan(&s, 0, text.len, "rl\\u", may_move);
}

/* ---- the walk ---- */

struct rewriting {
    const struct fhir_attachments *f;
    const struct fhir_links *links;
    struct buf url; /* what fn gave last */
    const char *hole;
    size_t before; /* bytes more in front of the hole; wraps where they are fewer */
    size_t n;
};

static err_code each_link(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e)
{
    struct rewriting *w = ctx;
    sv head, tail;
    if (kind != FHIR_LINK_ATTACHMENT || !moves(w->f, text, w->links->full_url, &head, &tail))
        return ERR_OK;
    buf_clear(&w->url);
    TRY(buf_add(&w->url, head, e));
    if (tail.len && !memchr("/?#", tail.ptr[0], 3))
        TRY(buf_add_char(&w->url, '/', e));
    TRY(buf_add(&w->url, tail, e));
    *out = buf_sv(&w->url);
    w->n++;
    /* The new url has no characters that JSON escapes, so its length is that of its text. */
    if (w->links->raw.ptr < w->hole)
        w->before += out->len - w->links->raw.len;
    return ERR_OK;
}

err_code fhir_attachments_absolute(const struct fhir_attachments *attachments,
                                   const struct fhir_body *body, yyjson_val *root, struct buf *out,
                                   struct fhir_body *now, size_t *n, struct err *e)
{
    struct fhir_links links = { .fn = each_link };
    struct rewriting w = { .f = attachments,
                           .links = &links,
                           .url = BUF_INIT(LIMIT_RESOURCE_TEXT_BYTES),
                           .hole = body->json.ptr + body->hole_at };
    size_t before = out->len;
    links.ctx = &w;
    err_code rc = fhir_links_rewrite(&links, body->json, root, out, e);
    buf_done(&w.url);
    TRY(rc);
    *n = w.n;
    if (w.n)
        *now = (struct fhir_body){ sv_tail(buf_sv(out), before),
                                   (uint32_t)(body->hole_at + w.before), body->hole };
    return ERR_OK;
}
