/* links.c - the text is walked beside its tree: the tree and the definitions say what a value
 * means, the text says where it stands. What is replaced is cut out of the text; everything else is
 * copied as it is. */
#include "fhir/links.h"

#include "base/limits.h"
#include "codec/json.h"
#include "codec/json_scan.h"
#include "fhir/definitions.h"

struct walk {
    struct fhir_links *l;
    struct json_scan s;
    const char *run; /* copied up to here */
    struct buf *out; /* or NULL */
    unsigned depth;
};

/* ---- output ---- */

/* What stands before `upto` is copied, what stands up to `on` is dropped. */
static err_code copy_to(struct walk *walk, const char *upto, const char *on, struct err *e)
{
    if (walk->out)
        TRY(buf_add(walk->out, sv_make(walk->run, (size_t)(upto - walk->run)), e));
    walk->run = on;
    return ERR_OK;
}

/* The inside of a JSON string. */
static err_code put_escaped(struct walk *walk, sv text, struct err *e)
{
    struct json_writer jw;
    CLEANUP_BUF struct buf b = BUF_INIT(LIMIT_RESOURCE_TEXT_BYTES);
    json_writer_init(&jw, &b);
    json_str(&jw, text);
    TRY(json_writer_end(&jw, e));
    return buf_add(walk->out, sv_make(b.ptr + 1, b.len - 2), e);
}

/* On an error's way up: the step above is put in front. */
static void at(struct walk *walk, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void at(struct walk *walk, const char *fmt, ...)
{
    char step[96], *path = walk->l->where;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(step, sizeof step, fmt, ap);
    va_end(ap);
    size_t len = strlen(path), k = n < 0 ? 0 : (size_t)n < sizeof step ? (size_t)n : 95;
    if (len + k >= FHIR_LINK_PATH_MAX)
        return;
    memmove(path + k, path, len + 1);
    memcpy(path, step, k);
}

/* ---- strings ---- */

static err_code string_link(struct walk *walk, fhir_link_kind kind, yyjson_val *v, struct err *e)
{
    sv now = SV_NONE, raw = json_scan_string(&walk->s);
    walk->l->raw = raw;
    TRY(walk->l->fn(walk->l->ctx, kind, json_string(v), &now, e));
    if (now.ptr == NULL || walk->out == NULL)
        return ERR_OK;
    TRY(copy_to(walk, raw.ptr, raw.ptr + raw.len, e));
    return put_escaped(walk, now, e);
}

struct twin { /* the same place in the raw string and in the one without escapes */
    const char *raw;
    size_t at;
};

static unsigned hex4(const char *p)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    return v;
}

static void twin_go(struct twin *t, size_t to)
{
    while (t->at < to) {
        if (*t->raw != '\\') {
            t->raw++;
            t->at++;
        } else if (t->raw[1] == 'u') {
            unsigned v = hex4(t->raw + 2);
            /* checked: the other half follows */
            bool pair = v >= 0xD800 && v < 0xDC00;
            t->raw += pair ? 12 : 6;
            t->at += pair ? 4 : v < 0x80 ? 1 : v < 0x800 ? 2 : 3;
        } else {
            t->raw += 2;
            t->at++;
        }
    }
}

static bool xml_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t find_text(sv t, size_t from, sv what)
{
    for (; from + what.len <= t.len; from++)
        if (memcmp(t.ptr + from, what.ptr, what.len) == 0)
            return from;
    return t.len;
}

/* The attribute at *i of a tag: its name and where its value stands. False at the tag's end. */
static bool attribute(sv t, size_t *i, sv *name, sv *value)
{
    while (*i < t.len && (xml_blank(t.ptr[*i]) || t.ptr[*i] == '/'))
        ++*i;
    size_t from = *i;
    while (*i < t.len && !xml_blank(t.ptr[*i]) && !strchr("=>/", t.ptr[*i]))
        ++*i;
    *name = sv_make(t.ptr + from, *i - from);
    *value = SV_NONE;
    while (*i < t.len && xml_blank(t.ptr[*i]))
        ++*i;
    if (*i < t.len && t.ptr[*i] == '=') {
        ++*i;
        while (*i < t.len && xml_blank(t.ptr[*i]))
            ++*i;
        if (*i < t.len && (t.ptr[*i] == '"' || t.ptr[*i] == '\'')) {
            char quote = t.ptr[(*i)++];
            from = *i;
            while (*i < t.len && t.ptr[*i] != quote)
                ++*i;
            *value = sv_make(t.ptr + from, *i - from);
            if (*i < t.len)
                ++*i;
        }
        return true;
    }
    return name->len > 0;
}

static err_code narrative(struct walk *walk, yyjson_val *v, struct err *e)
{
    sv t = json_string(v), name, value;
    struct twin twin = { json_scan_string(&walk->s).ptr, 0 };
    size_t i = 0;
    while ((i = i + sv_find(sv_tail(t, i), '<')) < t.len) {
        if (sv_starts(sv_tail(t, i), SV_LIT("<!--"))) {
            i = find_text(t, i + 4, SV_LIT("-->"));
            continue;
        }
        if (sv_starts(sv_tail(t, i), SV_LIT("<![CDATA["))) {
            i = find_text(t, i + 9, SV_LIT("]]>"));
            continue;
        }
        size_t from = ++i;
        while (i < t.len && !xml_blank(t.ptr[i]) && !strchr("/><", t.ptr[i]))
            i++;
        sv tag = sv_make(t.ptr + from, i - from);
        const char *wanted = sv_eq(tag, SV_LIT("a"))     ? "href"
                             : sv_eq(tag, SV_LIT("img")) ? "src"
                                                         : NULL;
        while (wanted && attribute(t, &i, &name, &value)) {
            sv now = SV_NONE;
            if (value.len == 0 || !sv_eq_cstr(name, wanted))
                continue;
            TRY(walk->l->fn(walk->l->ctx, FHIR_LINK_NARRATIVE, value, &now, e));
            if (now.ptr == NULL || walk->out == NULL)
                continue;
            size_t at_value = (size_t)(value.ptr - t.ptr);
            twin_go(&twin, at_value);
            const char *raw = twin.raw;
            twin_go(&twin, at_value + value.len);
            TRY(copy_to(walk, raw, twin.raw, e));
            TRY(put_escaped(walk, now, e));
        }
    }
    return ERR_OK;
}

/* ---- the walk ---- */

static err_code object(struct walk *walk, yyjson_val *v, const struct fhir_structure *structure,
                       struct err *e);

static bool is_uri(fhir_primitive p)
{
    return p == FHIR_URI || p == FHIR_URL || p == FHIR_OID || p == FHIR_UUID;
}

/* The value of a member, or one item of it. member NULL: the twin of a primitive. */
static err_code one(struct walk *walk, yyjson_val *v, const struct fhir_member *member,
                    struct err *e)
{
    const struct fhir_structure *structure =
        member ? member->type : fhir_structure_find(SV_LIT("Element"));
    if (yyjson_is_obj(v) && structure) {
        if (structure->role == FHIR_ROLE_ANY_RESOURCE)
            structure = fhir_structure_of(fhir_type_find(json_string(json_get(v, "resourceType"))));
        return object(walk, v, structure, e);
    }
    if (yyjson_is_str(v) && member) {
        if (member->element->owner->role == FHIR_ROLE_REFERENCE &&
            sv_eq(member->name, SV_LIT("reference")))
            return string_link(walk, FHIR_LINK_REFERENCE, v, e);
        if (member->element->owner->role == FHIR_ROLE_ATTACHMENT &&
            sv_eq(member->name, SV_LIT("url")))
            return string_link(walk, FHIR_LINK_ATTACHMENT, v, e);
        if (is_uri(member->primitive))
            return string_link(walk, FHIR_LINK_URI, v, e);
        if (member->primitive == FHIR_XHTML)
            return narrative(walk, v, e);
    }
    (void)json_scan_value(&walk->s);
    return ERR_OK;
}

static err_code many(struct walk *walk, yyjson_val *v, const struct fhir_member *member,
                     struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    json_scan_open(&walk->s);
    for (size_t i = 0; json_scan_next(&walk->s); i++) {
        err_code rc = one(walk, yyjson_arr_iter_next(&it), member, e);
        if (rc != ERR_OK) {
            at(walk, "[%zu]", i);
            return rc;
        }
    }
    return ERR_OK;
}

static err_code object(struct walk *walk, yyjson_val *v, const struct fhir_structure *structure,
                       struct err *e)
{
    if (structure == NULL) {
        (void)json_scan_value(&walk->s);
        return ERR_OK;
    }
    if (++walk->depth > LIMIT_RESOURCE_DEPTH)
        return ERR(e, ERR_TOO_LARGE, "resource is nested deeper than %u levels",
                   LIMIT_RESOURCE_DEPTH);
    sv around = walk->l->full_url;
    if (structure->role == FHIR_ROLE_BUNDLE_ENTRY)
        walk->l->full_url = json_string(json_get(v, "fullUrl"));
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    json_scan_open(&walk->s);
    while (json_scan_next(&walk->s)) {
        yyjson_val *k = yyjson_obj_iter_next(&it), *x = yyjson_obj_iter_get_val(k);
        sv name = json_string(k);
        (void)json_scan_key(&walk->s);
        bool twin = name.len > 1 && name.ptr[0] == '_';
        const struct fhir_member *member =
            fhir_member_find(structure, twin ? sv_tail(name, 1) : name);
        if (member == NULL) {
            (void)json_scan_value(&walk->s);
            continue;
        }
        err_code rc = yyjson_is_arr(x) ? many(walk, x, twin ? NULL : member, e)
                                       : one(walk, x, twin ? NULL : member, e);
        if (rc != ERR_OK) {
            at(walk, ".%.*s", SV_FMT(member->name));
            return rc;
        }
    }
    walk->l->full_url = around;
    walk->depth--;
    return ERR_OK;
}

err_code fhir_links_rewrite(struct fhir_links *l, sv text, yyjson_val *resource, struct buf *out,
                            struct err *e)
{
    struct walk walk = { .l = l, .s = json_scan_of(text), .run = text.ptr, .out = out };
    const struct fhir_structure *structure =
        fhir_structure_of(fhir_type_find(json_string(json_get(resource, "resourceType"))));
    l->where[0] = 0;
    l->full_url = SV_NONE;
    json_scan_blank(&walk.s);
    if (yyjson_is_obj(resource))
        TRY(object(&walk, resource, structure, e));
    return copy_to(&walk, text.ptr + text.len, text.ptr + text.len, e);
}
