/* large.c - the members of a text, found without a tree. Nobody has checked the text, so no look
 * goes past its end. */
#include "fhir/large.h"

struct members { /* of one object */
    const char *p, *end;
    bool broken;
};

static void skip_blanks(struct members *m)
{
    while (m->p < m->end && (*m->p == ' ' || *m->p == '\t' || *m->p == '\n' || *m->p == '\r'))
        m->p++;
}

static bool members_open(struct members *m, sv text)
{
    *m = (struct members){ text.ptr, text.ptr + text.len, false };
    skip_blanks(m);
    if (m->p == m->end || *m->p != '{')
        return false;
    m->p++;
    return true;
}

/* From the opening quote to behind the closing one. */
static void skip_string(struct members *m)
{
    const char *from = m->p + 1, *p = from;
    while ((p = memchr(p, '"', (size_t)(m->end - p))) != NULL) {
        const char *b = p;
        while (b > from && b[-1] == '\\')
            b--;
        if ((p - b) % 2 == 0)
            break;
        /* The bytes in front of it were counted. */
        from = ++p;
    }
    m->broken |= p == NULL;
    m->p = p ? p + 1 : m->end;
}

static void skip_value(struct members *m)
{
    size_t depth = 0;
    while (m->p < m->end) {
        char c = *m->p;
        if (c == '"') {
            skip_string(m);
        } else if (c == '{' || c == '[') {
            depth++;
            m->p++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return;
            depth--;
            m->p++;
        } else if (depth == 0) {
            /* number, true, false, null */
            while (m->p < m->end && *m->p != ',' && *m->p != '}' && *m->p != ']')
                m->p++;
            return;
        } else {
            m->p++;
        }
        if (depth == 0)
            return;
    }
    m->broken = true;
}

/* The key is without its quotes, the value as it stands. */
static bool members_next(struct members *m, sv *key, sv *value)
{
    skip_blanks(m);
    if (m->p < m->end && *m->p == ',') {
        m->p++;
        skip_blanks(m);
    }
    if (m->p < m->end && *m->p == '}')
        return false;
    const char *at = m->p;
    m->broken |= m->p == m->end || *m->p != '"';
    if (m->broken)
        return false;
    skip_string(m);
    if (!m->broken)
        *key = sv_make(at + 1, (size_t)(m->p - at) - 2);
    skip_blanks(m);
    m->broken |= m->p == m->end || *m->p != ':';
    if (m->broken)
        return false;
    m->p++;
    skip_blanks(m);
    at = m->p;
    skip_value(m);
    *value = sv_make(at, (size_t)(m->p - at));
    return !m->broken;
}

bool fhir_is_large_binary(sv text, size_t rest_max)
{
    struct members m;
    sv key, value;
    size_t data = 0;
    bool named = false;
    if (!members_open(&m, text))
        return false;
    while (members_next(&m, &key, &value)) {
        if (sv_eq(key, SV_LIT("resourceType"))) {
            if (!sv_eq(sv_trim(value), SV_LIT("\"Binary\"")))
                return false;
            named = true;
        } else if (sv_eq(key, SV_LIT("data")) && value.len > data && value.ptr[0] == '"') {
            data = value.len;
        }
    }
    return named && !m.broken && text.len - data <= rest_max;
}

#define SUBSETTED                                          \
    "{\"system\":\"http://terminology.hl7.org/CodeSystem/" \
    "v3-ObservationValue\",\"code\":\"SUBSETTED\"}"

/* "meta":{HOLE"tag":[...], with what meta had. */
static err_code put_meta(sv meta, struct buf *out, struct fhir_body *cut, struct err *e)
{
    struct members m;
    sv key, value, tags = SV_NONE;
    TRY(buf_add(out, SV_LIT("\"meta\":{"), e));
    cut->hole = FHIR_HOLE_META;
    cut->hole_at = (uint32_t)out->len;
    bool there = meta.len && members_open(&m, meta);
    while (there && members_next(&m, &key, &value))
        if (sv_eq(key, SV_LIT("tag")) && value.len > 2 && value.ptr[0] == '[')
            tags = sv_make(value.ptr + 1, value.len - 2);
    TRY(buf_add(out, SV_LIT("\"tag\":["), e));
    if (tags.len) {
        TRY(buf_add(out, tags, e));
        TRY(buf_add_char(out, ',', e));
    }
    TRY(buf_add(out, SV_LIT(SUBSETTED "]"), e));
    there = meta.len && members_open(&m, meta);
    while (there && members_next(&m, &key, &value)) {
        /* an escaped name may be that of a tag */
        if (sv_eq(key, SV_LIT("tag")) || memchr(key.ptr, '\\', key.len))
            continue;
        TRY(buf_add(out, SV_LIT(",\""), e));
        TRY(buf_add(out, key, e));
        TRY(buf_add(out, SV_LIT("\":"), e));
        TRY(buf_add(out, value, e));
    }
    return buf_add_char(out, '}', e);
}

/* The hole says which member meta is, however its name is written. */
static bool is_meta(const struct fhir_body *b, sv value)
{
    size_t from = (size_t)(value.ptr - b->json.ptr);
    return b->hole != FHIR_HOLE_NO_META && from < b->hole_at && b->hole_at < from + value.len;
}

err_code fhir_body_cut(const struct fhir_body *b, struct buf *out, struct fhir_body *cut,
                       struct err *e)
{
    struct members m;
    sv key, value, meta = SV_NONE;
    *cut = (struct fhir_body){ 0 };
    buf_clear(out);
    TRY(buf_add_char(out, '{', e));
    bool there = members_open(&m, b->json);
    while (there && members_next(&m, &key, &value)) {
        size_t len = key.len + value.len;
        if (len > FHIR_CUT_MEMBER || out->len + len > FHIR_CUT_MAX)
            continue;
        if (is_meta(b, value)) {
            meta = value;
            continue;
        }
        TRY(buf_add_char(out, '"', e));
        TRY(buf_add(out, key, e));
        TRY(buf_add(out, SV_LIT("\":"), e));
        TRY(buf_add(out, value, e));
        TRY(buf_add_char(out, ',', e));
    }
    TRY(put_meta(meta, out, cut, e));
    TRY(buf_add_char(out, '}', e));
    cut->json = buf_sv(out);
    return ERR_OK;
}
