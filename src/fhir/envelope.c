/* envelope.c - A resource becomes its stored form in two passes. yyjson checks grammar and UTF-8.
 * One walk over the text copies it without white space and meets the members of the first level on
 * the way.
 *
 * The walk trusts the first pass: brackets match and strings end. It copies in long runs. A run
 * ends only at white space outside of strings, and where something is taken out or put in. The copy
 * may be made over the text: it is never ahead of the walk, which uses no view of the text behind a
 * flush. */
#include "fhir/envelope.h"

#include "base/limits.h"

#include "codec/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct fhir_reader {
    size_t max_bytes;
    void *pool; /* yyjson's memory, reused for every parse */
    size_t pool_bytes;
    yyjson_doc *doc;     /* the last text; in pool, or in large */
    struct arena *large; /* NULL, or what holds doc */
};

struct fhir_reader *fhir_reader_new(size_t max_resource_bytes)
{
    struct fhir_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        abort();
    reader->max_bytes = max_resource_bytes;
    return reader;
}

static void drop_doc(struct fhir_reader *reader)
{
    arena_free(reader->large);
    reader->large = NULL;
    reader->doc = NULL;
}

yyjson_val *fhir_reader_root(const struct fhir_reader *reader)
{
    return yyjson_doc_get_root(reader->doc);
}

void fhir_reader_free(struct fhir_reader *reader)
{
    if (reader == NULL)
        return;
    drop_doc(reader);
    free(reader->pool);
    free(reader);
}

/* ---- first pass: grammar ---- */

/* yyjson may need 13 times the text in the worst case: a pool of that size serves ordinary
 * resources, a large one is parsed with memory of its own. */
#define POOL_TEXT_MAX (512u << 10) /* bytes */

/* True when text is one JSON object. */
static bool grammar_ok(struct fhir_reader *reader, sv text)
{
    yyjson_read_flag flags = YYJSON_READ_NUMBER_AS_RAW;
    /* not written to: the in-situ flag is off */
    char *ptr = (char *)(uintptr_t)text.ptr;
    drop_doc(reader);
    if (text.len > POOL_TEXT_MAX) {
        reader->large = arena_new(json_tree_max(text.len));
        yyjson_alc alc = json_allocator(reader->large);
        reader->doc = yyjson_read_opts(ptr, text.len, flags, &alc, NULL);
        return yyjson_is_obj(yyjson_doc_get_root(reader->doc));
    }
    size_t need = yyjson_read_max_memory_usage(text.len, flags);
    if (need > reader->pool_bytes) {
        free(reader->pool);
        reader->pool_bytes = need < 65536 ? 65536 : need + need / 2;
        reader->pool = malloc(reader->pool_bytes);
        if (reader->pool == NULL)
            abort();
    }
    yyjson_alc alc;
    if (!yyjson_alc_pool_init(&alc, reader->pool, reader->pool_bytes))
        return false;
    reader->doc = yyjson_read_opts(ptr, text.len, flags, &alc, NULL);
    return yyjson_is_obj(yyjson_doc_get_root(reader->doc));
}

/* ---- second pass: the walk ---- */

struct walk {
    const char *p, *end; /* of the source */
    const char *run;     /* copied up to here */
    char *out;           /* in dst */
    unsigned depth;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void flush_run(struct walk *walk)
{
    size_t n = (size_t)(walk->p - walk->run);
    if (walk->out != walk->run)
        memmove(walk->out, walk->run, n);
    walk->out += n;
    walk->run = walk->p;
}

/* Take what stands between the last flush and p out of the copy. */
static void drop_run(struct walk *walk)
{
    walk->run = walk->p;
}

static void skip_blank(struct walk *walk)
{
    if (walk->p < walk->end && !blank(*walk->p))
        return;
    flush_run(walk);
    while (walk->p < walk->end && blank(*walk->p))
        walk->p++;
    drop_run(walk);
}

/* p stands on the opening quote; afterwards behind the closing one. Returns the raw inside. */
static sv string(struct walk *walk)
{
    const char *p = walk->p + 1, *from = p;
    for (;;) {
#ifdef __SSE2__
        while (walk->end - p >= 16) {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
            int hit = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                                     _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
            if (hit) {
                p += __builtin_ctz((unsigned)hit);
                break;
            }
            p += 16;
        }
#endif
        if (*p == '"')
            break;
        p += *p == '\\' ? 2 : 1;
    }
    walk->p = p + 1;
    return sv_make(from, (size_t)(p - from));
}

/* A whole value, copied (later, by flush) without its white space. False when too deep. */
static bool value(struct walk *walk)
{
    unsigned base = walk->depth;
    do {
        skip_blank(walk);
        char c = *walk->p;
        if (c == '"') {
            (void)string(walk);
        } else if (c == '{' || c == '[') {
            if (++walk->depth > LIMIT_RESOURCE_DEPTH)
                return false;
            walk->p++;
        } else if (c == '}' || c == ']') {
            walk->depth--;
            walk->p++;
        } else if (c == ',' || c == ':') {
            walk->p++;
        } else {
            /* number, true, false, null */
            while (walk->p < walk->end && !blank(*walk->p) && *walk->p != ',' && *walk->p != '}' &&
                   *walk->p != ']')
                walk->p++;
        }
    } while (walk->depth > base);
    return true;
}

/* Member name as it is meant: "\u0069d" is "id". Only escapes that spell ASCII matter here. In tmp;
 * of one that is longer than any that is asked for the length alone is of use. */
static sv unescape_key(sv raw, char tmp[64])
{
    size_t n = 0;
    if (memchr(raw.ptr, '\\', raw.len) == NULL) {
        if (raw.len > 64)
            return raw;
        memcpy(tmp, raw.ptr, raw.len);
        return sv_make(tmp, raw.len);
    }
    for (size_t i = 0; i < raw.len && n < 64; i++) {
        char c = raw.ptr[i];
        if (c == '\\' && i + 5 < raw.len && raw.ptr[i + 1] == 'u') {
            unsigned v = 0;
            for (size_t k = 2; k < 6; k++) {
                char h = raw.ptr[i + k];
                v = v << 4 | (unsigned)(h <= '9' ? h - '0' : (h | 32) - 'a' + 10);
            }
            c = v < 0x80 ? (char)v : '\x7F';
            i += 5;
        } else if (c == '\\' && i + 1 < raw.len) {
            c = raw.ptr[++i] == '/' ? '/' : '\x7F';
        }
        tmp[n++] = c;
    }
    return sv_make(tmp, n);
}

/* Key at p, then the colon; p behind it. The key stays in the run. */
static sv key(struct walk *walk, char tmp[64])
{
    sv name = unescape_key(string(walk), tmp);
    skip_blank(walk);
    /* over the colon */
    walk->p++;
    return name;
}

static void put(struct walk *walk, sv text)
{
    flush_run(walk);
    memcpy(walk->out, text.ptr, text.len);
    walk->out += text.len;
}

/* The object at p (behind its '{'): copy its members but versionId and lastUpdated. p behind '}'.
 * The hole is right behind '{'. */
static err_code meta_members(struct walk *walk, const char *base, struct fhir_body *b,
                             struct err *e)
{
    unsigned seen_version = 0, seen_updated = 0, kept = 0;
    flush_run(walk);
    b->hole_at = (uint32_t)(walk->out - base);
    for (;;) {
        skip_blank(walk);
        /* commas are written anew */
        if (*walk->p == ',') {
            flush_run(walk);
            walk->p++;
            drop_run(walk);
            continue;
        }
        if (*walk->p == '}')
            break;
        char tmp[64];
        flush_run(walk);
        char *member_out = walk->out;
        if (kept)
            put(walk, SV_LIT(","));
        sv name = key(walk, tmp);
        bool version = sv_eq(name, SV_LIT("versionId"));
        bool updated = sv_eq(name, SV_LIT("lastUpdated"));
        if (!value(walk))
            return ERR(e, ERR_INVALID, "resource is nested deeper than %u levels",
                       LIMIT_RESOURCE_DEPTH);
        if (version || updated) {
            if ((version ? ++seen_version : ++seen_updated) > 1)
                return ERR(e, ERR_INVALID, "meta holds versionId or lastUpdated twice");
            walk->out = member_out;
            drop_run(walk);
        } else {
            kept++;
        }
    }
    flush_run(walk);
    /* the bracket stays in the run */
    walk->p++;
    b->hole = kept ? FHIR_HOLE_META : FHIR_HOLE_META_EMPTY;
    return ERR_OK;
}

static err_code bad_type(struct err *e)
{
    return ERR(e, ERR_INVALID,
               "1 validation error detected: Value at 'resourceType' failed to satisfy constraint: "
               "Member must satisfy regular expression pattern: [A-Za-z]{1,256}");
}

static err_code bad_id(sv id, struct err *e)
{
    static const char pattern[] = "Value at 'resourceId' failed to satisfy constraint: Member must "
                                  "satisfy regular expression pattern: [A-Za-z0-9-.]{1,64}";
    if (id.len == 0)
        return ERR(e, ERR_INVALID,
                   "2 validation errors detected: %s; Value at 'resourceId' failed to satisfy "
                   "constraint: Member must have length greater than or equal to 1",
                   pattern);
    return ERR(e, ERR_INVALID, "1 validation error detected: %s", pattern);
}

static err_code find_type(sv name, fhir_type *out, struct err *e)
{
    bool letters = name.len >= 1 && name.len <= 256;
    for (size_t i = 0; letters && i < name.len; i++)
        letters = (name.ptr[i] | 32) >= 'a' && (name.ptr[i] | 32) <= 'z';
    if (!letters)
        return bad_type(e);
    *out = fhir_type_find(name);
    if (*out == FHIR_TYPE_NONE)
        return ERR(e, ERR_INVALID, "Resource type is not a resource type of FHIR R4");
    return ERR_OK;
}

struct found {
    bool type, id, meta;
    char *after_type, *after_id, *id_value; /* in dst */
    size_t id_len;
};

/* One member of the first level; p on its key. */
static err_code member(struct walk *walk, const char *base, sv set_id, struct found *f,
                       struct fhir_envelope *env, struct err *e)
{
    char tmp[64];
    sv name = key(walk, tmp);
    skip_blank(walk);
    bool is_type = sv_eq(name, SV_LIT("resourceType")), is_id = sv_eq(name, SV_LIT("id"));
    if (is_type || is_id) {
        if (is_type ? f->type : f->id)
            return ERR(e, ERR_INVALID, "resource holds %s twice", is_type ? "resourceType" : "id");
        if (*walk->p != '"')
            return is_type ? bad_type(e) : bad_id(SV_LIT("?"), e);
        flush_run(walk);
        char *at = walk->out + 1;
        sv text = string(walk);
        /* the caller's id in its place */
        if (is_id && set_id.len) {
            drop_run(walk);
            put(walk, SV_LIT("\""));
            put(walk, set_id);
            put(walk, SV_LIT("\""));
            text = set_id;
        }
        flush_run(walk);
        text.ptr = at;
        if (is_type) {
            TRY(find_type(text, &env->type, e));
            f->type = true;
            f->after_type = walk->out;
        } else {
            if (!fhir_id_ok(text))
                return bad_id(text, e);
            f->id = true;
            f->id_value = at;
            f->id_len = text.len;
            f->after_id = walk->out;
        }
        return ERR_OK;
    }
    if (sv_eq(name, SV_LIT("meta"))) {
        if (f->meta)
            return ERR(e, ERR_INVALID, "resource holds meta twice");
        if (*walk->p != '{')
            return ERR(e, ERR_INVALID, "meta is not an object");
        f->meta = true;
        walk->p++;
        return meta_members(walk, base, &env->body, e);
    }
    if (!value(walk))
        return ERR(e, ERR_INVALID, "resource is nested deeper than %u levels",
                   LIMIT_RESOURCE_DEPTH);
    return ERR_OK;
}

/* Make room for n bytes at `at` inside what was written. */
static void insert(char *at, char **end, sv text)
{
    memmove(at + text.len, at, (size_t)(*end - at));
    memcpy(at, text.ptr, text.len);
    *end += text.len;
}

static err_code walk_resource(sv text, sv set_id, char *base, char **end, struct fhir_envelope *env,
                              struct err *e)
{
    struct walk walk = {
        .p = text.ptr, .end = text.ptr + text.len, .run = text.ptr, .out = base, .depth = 1
    };
    struct found f = { 0 };
    skip_blank(&walk);
    /* over the bracket */
    walk.p++;
    for (;;) {
        skip_blank(&walk);
        if (*walk.p == '}')
            break;
        if (*walk.p == ',') {
            walk.p++;
            skip_blank(&walk);
        }
        TRY(member(&walk, base, set_id, &f, env, e));
    }
    walk.p++;
    flush_run(&walk);
    if (!f.type)
        return ERR(e, ERR_INVALID, "Missing required resourceType field in resource json");
    if (!f.id) {
        if (set_id.len == 0)
            return ERR(e, ERR_INVALID, "Missing required id field in resource json");
        char piece[FHIR_ID_MAX + 16];
        int n = snprintf(piece, sizeof piece, ",\"id\":\"%.*s\"", SV_FMT(set_id));
        insert(f.after_type, &walk.out, sv_make(piece, (size_t)n));
        f.id_value = f.after_type + 7;
        f.id_len = set_id.len;
        f.after_id = f.after_type + n;
        if (f.meta && base + env->body.hole_at >= f.after_type)
            env->body.hole_at += (uint32_t)n;
    }
    if (!f.meta) {
        env->body.hole = FHIR_HOLE_NO_META;
        env->body.hole_at = (uint32_t)(f.after_id - base);
    }
    env->id = sv_make(f.id_value, f.id_len);
    *end = walk.out;
    return ERR_OK;
}

/* May it be walked? */
static err_code check_text(struct fhir_reader *reader, sv text, sv set_id, struct err *e)
{
    if (text.len > reader->max_bytes)
        return ERR(e, ERR_TOO_LARGE, "resource is larger than %zu bytes", reader->max_bytes);
    if (set_id.len && !fhir_id_ok(set_id))
        return bad_id(set_id, e);
    if (!grammar_ok(reader, text))
        return ERR(e, ERR_INVALID, "Invalid JSON found in input file");
    return ERR_OK;
}

/* The stored form, from base on. */
static err_code write_form(sv text, sv set_id, char *base, struct fhir_envelope *out, struct err *e)
{
    struct fhir_envelope env = { 0 };
    char *end = NULL;
    TRY(walk_resource(text, set_id, base, &end, &env, e));
    env.body.json = sv_make(base, (size_t)(end - base));
    *out = env;
    return ERR_OK;
}

err_code fhir_envelope_read_here(struct fhir_reader *reader, char *text, size_t len,
                                 struct fhir_envelope *out, struct err *e)
{
    const sv source = sv_make(text, len);
    TRY(check_text(reader, source, SV_NONE, e));
    return write_form(source, SV_NONE, text, out, e);
}

err_code fhir_envelope_read(struct fhir_reader *reader, sv text, sv set_id, struct buf *dst,
                            struct fhir_envelope *out, struct err *e)
{
    TRY(check_text(reader, text, set_id, e));
    /* the copy is never longer than the text plus an id */
    TRY(buf_reserve(dst, text.len + FHIR_ID_MAX + 64, e));
    TRY(write_form(text, set_id, dst->ptr + dst->len, out, e));
    dst->len += out->body.json.len;
    return ERR_OK;
}
