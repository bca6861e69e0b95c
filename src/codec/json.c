/* json.c - reading and writing JSON.
 *
 * Reading is yyjson's, with an arena as its memory and a limit on depth. Depth is counted on
 * yyjson's document, because looking at every byte of the text would cost as much as parsing it.
 *
 * The writer appends to a buf. It keeps one bit for each open container (is a comma needed?) and
 * the first error, so a caller checks once, at the end. Strings are checked to be UTF-8 as they are
 * copied. json_indent() is for people: it adds line breaks to a text and changes nothing else. */
#include "codec/json.h"

#include <math.h>

#define LARGE_BYTES (256u << 10)
#define DEPTH_KNOWN 512u

/* ---- reading ---- */

static void *a_malloc(void *ctx, size_t size)
{
    return arena_alloc(ctx, size);
}

static void *a_realloc(void *ctx, void *ptr, size_t old_size, size_t size)
{
    return arena_grow(ctx, ptr, old_size, size);
}

static void a_free(void *ctx, void *ptr)
{
    (void)ctx;
    /* the arena goes as a whole */
    (void)ptr;
}

yyjson_alc json_allocator(struct arena *a)
{
    return (yyjson_alc){ a_malloc, a_realloc, a_free, a };
}

size_t json_tree_max(size_t text_len)
{
    /* values that outgrow a place that they share are left behind once */
    return 2 * yyjson_read_max_memory_usage(text_len, YYJSON_READ_NUMBER_AS_RAW) + (64u << 10);
}

/* Deepest nesting of brackets outside strings. The text need not be valid. */
static unsigned depth_of(sv text)
{
    unsigned depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest)
                deepest = depth;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return deepest;
}

/* The same of a document, whose values stand one behind the other, each container in front of what
 * it holds. */
static bool is_deeper(yyjson_doc *doc, unsigned max_depth)
{
    yyjson_val *ends[DEPTH_KNOWN], *v = yyjson_doc_get_root(doc);
    yyjson_val *end = v + yyjson_doc_get_val_count(doc);
    for (unsigned depth = 0; v < end; v++) {
        while (depth && v >= ends[depth - 1])
            depth--;
        if (!yyjson_is_ctn(v))
            continue;
        if (depth == max_depth)
            return true;
        ends[depth++] = unsafe_yyjson_get_next(v);
    }
    return false;
}

static err_code too_deep(unsigned max_depth, struct err *e)
{
    return ERR(e, ERR_TOO_LARGE, "JSON is nested deeper than %u levels", max_depth);
}

/* Looking at every byte for the depth costs as much as parsing, so the document tells it. A text
 * that is large or broken is looked at all the same: the one may be made to fill memory, and depth
 * is the better word for the other. */
err_code json_read(struct arena *a, sv text, unsigned max_depth, yyjson_doc **out, struct err *e)
{
    bool scan = text.len > LARGE_BYTES || max_depth > DEPTH_KNOWN;
    if (scan && depth_of(text) > max_depth)
        return too_deep(max_depth, e);
    if (text.len == 0)
        return ERR(e, ERR_INVALID, "JSON text is empty");
    yyjson_alc alc = json_allocator(a);
    yyjson_read_err re;
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.ptr, text.len,
                                       YYJSON_READ_NUMBER_AS_RAW, &alc, &re);
    if (doc == NULL) {
        if (!scan && depth_of(text) > max_depth)
            return too_deep(max_depth, e);
        if (re.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
            return arena_oom(a, e);
        return ERR(e, ERR_INVALID, "JSON is broken at byte %zu: %s", re.pos, re.msg);
    }
    /* of so few values there are no more levels */
    if (!scan && yyjson_doc_get_val_count(doc) > max_depth && is_deeper(doc, max_depth))
        return too_deep(max_depth, e);
    *out = doc;
    return ERR_OK;
}

sv json_string(yyjson_val *v)
{
    return yyjson_is_str(v) ? sv_make(yyjson_get_str(v), yyjson_get_len(v)) : SV_NONE;
}

bool json_has_text(yyjson_val *list, const char *text)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *one;
    while ((one = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq_cstr(json_string(one), text))
            return true;
    return false;
}

sv json_number(yyjson_val *v)
{
    return yyjson_is_raw(v) ? sv_make(yyjson_get_raw(v), yyjson_get_len(v)) : SV_NONE;
}

yyjson_val *json_get(yyjson_val *obj, const char *name)
{
    return yyjson_obj_get(obj, name);
}

static bool names_unique(yyjson_val *obj, sv *culprit)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    size_t i, n = yyjson_obj_size(obj);
    sv *names = n > 1 ? calloc(n, sizeof *names) : NULL;
    if (n < 2)
        return true;
    if (names == NULL)
        abort();
    for (i = 0; i < n; i++)
        names[i] = json_string(yyjson_obj_iter_next(&it));
    qsort(names, n, sizeof *names, sv_by_bytes);
    for (i = 1; i < n && !sv_eq(names[i - 1], names[i]);)
        i++;
    *culprit = i < n ? names[i] : *culprit;
    free(names);
    return i == n;
}

bool json_members_unique(yyjson_val *v, size_t most, sv *culprit)
{
    yyjson_arr_iter items = yyjson_arr_iter_with(v);
    yyjson_obj_iter members = yyjson_obj_iter_with(v);
    yyjson_val *one;
    if (yyjson_obj_size(v) > most) {
        *culprit = SV_NONE;
        return false;
    }
    if (!names_unique(v, culprit))
        return false;
    while ((one = yyjson_arr_iter_next(&items)) != NULL)
        if (!json_members_unique(one, most, culprit))
            return false;
    while ((one = yyjson_obj_iter_next(&members)) != NULL)
        if (!json_members_unique(yyjson_obj_iter_get_val(one), most, culprit))
            return false;
    return true;
}

/* ---- writing ---- */

void json_writer_init(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){ .out = out };
}

static void put(struct json_writer *w, sv bytes)
{
    if (w->rc == ERR_OK)
        w->rc = buf_add(w->out, bytes, &w->err);
}

static void indent(struct json_writer *w)
{
    put(w, SV_LIT("\n"));
    for (uint32_t i = 0; i < w->depth; i++)
        put(w, SV_LIT("  "));
}

static void before_value(struct json_writer *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0)
        return;
    uint64_t *has = &w->has_item[w->depth / 64], bit = 1ull << w->depth % 64;
    if (*has & bit)
        put(w, SV_LIT(","));
    *has |= bit;
    if (w->pretty)
        indent(w);
}

static void open_level(struct json_writer *w, sv bracket)
{
    before_value(w);
    put(w, bracket);
    if (w->depth == JSON_WRITER_DEPTH_MAX && w->rc == ERR_OK)
        w->rc = ERR(&w->err, ERR_INTERNAL, "JSON is written deeper than %u levels",
                    JSON_WRITER_DEPTH_MAX);
    if (w->rc == ERR_OK)
        w->depth++;
    w->has_item[w->depth / 64] &= ~(1ull << w->depth % 64);
}

static void close_level(struct json_writer *w, sv bracket)
{
    bool had = w->has_item[w->depth / 64] & (1ull << w->depth % 64);
    if (w->depth)
        w->depth--;
    if (had && w->pretty)
        indent(w);
    put(w, bracket);
}

void json_obj(struct json_writer *w)
{
    open_level(w, SV_LIT("{"));
}
void json_obj_end(struct json_writer *w)
{
    close_level(w, SV_LIT("}"));
}
void json_arr(struct json_writer *w)
{
    open_level(w, SV_LIT("["));
}
void json_arr_end(struct json_writer *w)
{
    close_level(w, SV_LIT("]"));
}

/* Length of the valid UTF-8 sequence at p (1..4), or 0. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : p[0] >= 0xC2 ? 2 : 0;
    if (n == 0 || n > left || p[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

static void put_escaped(struct json_writer *w, sv text)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t from = 0;
    for (size_t i = 0; i < text.len;) {
        unsigned char c = p[i];
        size_t n = utf8_len(p + i, text.len - i);
        if (n && c >= 0x20 && c != '"' && c != '\\') {
            i += n;
            continue;
        }
        put(w, sv_make(text.ptr + from, i - from));
        char esc[8];
        if (n == 0)
            put(w, SV_LIT("\xEF\xBF\xBD"));
        else if (c == '"' || c == '\\')
            put(w, sv_make((const char[]){ '\\', (char)c }, 2));
        else if (c == '\n')
            put(w, SV_LIT("\\n"));
        else if (c == '\t')
            put(w, SV_LIT("\\t"));
        else if (c == '\r')
            put(w, SV_LIT("\\r"));
        else
            put(w, sv_make(esc, (size_t)snprintf(esc, sizeof esc, "\\u%04x", c)));
        from = ++i;
    }
    put(w, sv_tail(text, from));
}

void json_str(struct json_writer *w, sv text)
{
    before_value(w);
    put(w, SV_LIT("\""));
    put_escaped(w, text);
    put(w, SV_LIT("\""));
}

static void key_sv(struct json_writer *w, sv name)
{
    json_str(w, name);
    put(w, w->pretty ? SV_LIT(": ") : SV_LIT(":"));
    w->after_key = true;
}

void json_key(struct json_writer *w, const char *name)
{
    key_sv(w, sv_from(name));
}

void json_raw(struct json_writer *w, sv json)
{
    before_value(w);
    put(w, json);
}

void json_i64(struct json_writer *w, int64_t v)
{
    char t[32];
    json_raw(w, sv_make(t, (size_t)snprintf(t, sizeof t, "%lld", (long long)v)));
}

void json_u64(struct json_writer *w, uint64_t v)
{
    char t[32];
    json_raw(w, sv_make(t, (size_t)snprintf(t, sizeof t, "%llu", (unsigned long long)v)));
}

void json_fixed(struct json_writer *w, double v, int decimals)
{
    char t[352];
    if (!isfinite(v))
        v = 0;
    json_raw(w, sv_make(t, (size_t)snprintf(t, sizeof t, "%.*f", decimals, v)));
}

void json_bool(struct json_writer *w, bool v)
{
    json_raw(w, v ? SV_LIT("true") : SV_LIT("false"));
}

void json_null(struct json_writer *w)
{
    json_raw(w, SV_LIT("null"));
}

void json_val(struct json_writer *w, yyjson_val *v)
{
    yyjson_val *key, *item;
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_RAW:
        json_raw(w, sv_make(yyjson_get_raw(v), yyjson_get_len(v)));
        break;
    case YYJSON_TYPE_BOOL:
        json_bool(w, yyjson_get_bool(v));
        break;
    case YYJSON_TYPE_STR:
        json_str(w, json_string(v));
        break;
    case YYJSON_TYPE_ARR: {
        json_arr(w);
        yyjson_arr_iter it = yyjson_arr_iter_with(v);
        while ((item = yyjson_arr_iter_next(&it)) != NULL)
            json_val(w, item);
        json_arr_end(w);
        break;
    }
    case YYJSON_TYPE_OBJ: {
        json_obj(w);
        yyjson_obj_iter it = yyjson_obj_iter_with(v);
        while ((key = yyjson_obj_iter_next(&it)) != NULL) {
            key_sv(w, json_string(key));
            json_val(w, yyjson_obj_iter_get_val(key));
        }
        json_obj_end(w);
        break;
    }
    default:
        json_null(w);
    }
}

void json_epoch_ms(struct json_writer *w, int64_t ms)
{
    char t[32];
    uint64_t u = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    json_raw(w, sv_make(t, (size_t)snprintf(t, sizeof t, "%s%llu.%03u", ms < 0 ? "-" : "",
                                            (unsigned long long)(u / 1000), (unsigned)(u % 1000))));
}

void json_kv_str(struct json_writer *w, const char *name, sv text)
{
    json_key(w, name);
    json_str(w, text);
}

void json_kv_u64(struct json_writer *w, const char *name, uint64_t v)
{
    json_key(w, name);
    json_u64(w, v);
}

void json_kv_i64(struct json_writer *w, const char *name, int64_t v)
{
    json_key(w, name);
    json_i64(w, v);
}

void json_kv_bool(struct json_writer *w, const char *name, bool v)
{
    json_key(w, name);
    json_bool(w, v);
}

void json_kv_given(struct json_writer *w, const char *name, yyjson_val *v)
{
    if (v == NULL)
        return;
    json_key(w, name);
    json_val(w, v);
}

err_code json_writer_end(struct json_writer *w, struct err *e)
{
    if (w->rc == ERR_OK && (w->depth || w->after_key))
        return ERR(e, ERR_INTERNAL, "JSON was not finished");
    if (w->rc != ERR_OK && e)
        *e = w->err;
    return w->rc;
}

/* ---- for people ---- */

static err_code line_break(struct buf *out, size_t depth, struct err *e)
{
    TRY(buf_reserve(out, 1 + 2 * depth, e));
    out->ptr[out->len++] = '\n';
    memset(out->ptr + out->len, ' ', 2 * depth);
    out->len += 2 * depth;
    return ERR_OK;
}

/* Length of the string that begins at at, with its quotes. */
static size_t string_len(sv json, size_t at)
{
    size_t i = at + 1;
    while (i < json.len && json.ptr[i] != '"')
        i += json.ptr[i] == '\\' ? 2 : 1;
    return (i < json.len ? i + 1 : json.len) - at;
}

err_code json_indent(sv json, struct buf *out, struct err *e)
{
    size_t depth = 0;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        bool close = c == '}' || c == ']';
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
            continue;
        if (c == '"') {
            size_t n = string_len(json, i);
            TRY(buf_add(out, sv_make(json.ptr + i, n), e));
            i += n - 1;
            continue;
        }
        char before = out->len ? out->ptr[out->len - 1] : 0;
        if (close && depth)
            depth--;
        /* {} and [] stay together */
        if (close && before != '{' && before != '[')
            TRY(line_break(out, depth, e));
        TRY(buf_add_char(out, c, e));
        if (c == ':')
            TRY(buf_add_char(out, ' ', e));
        if (c == ',' || ((c == '{' || c == '[') && i + 1 < json.len && json.ptr[i + 1] != '}' &&
                         json.ptr[i + 1] != ']')) {
            depth += c != ',';
            TRY(line_break(out, depth, e));
        } else if (c == '{' || c == '[') {
            depth++;
        }
    }
    return buf_add_char(out, '\n', e);
}
