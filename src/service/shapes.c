/* shapes.c - AWS JSON is checked against the table of shapes (shapes.inc).
 *
 * A request is walked along its shape. Each broken constraint is a fault, told with the path of its
 * member as AWS writes it ("outputDataConfig.s3Configuration.s3Uri"). The walk goes on behind a
 * fault, so that the caller learns of all faults at once. A value of a wrong JSON type ends the
 * walk: that is no broken constraint, but a request that cannot be read. An answer is walked in the
 * same way, and any fault in it is our bug.
 *
 * Patterns are compiled once, and matched with a limit on their steps. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "service/shapes.h"

#include "codec/instant.h"

#include <pcre2.h>
#include <pthread.h>

#define MATCH_LIMIT    1000000u /* steps of a pattern; past it a text does not match */
#define SHOWN_MAX      128u     /* bytes of a wrong value that are shown */
#define FAULTS_MAX     50u      /* faults that are told; more are counted */
#define PATH_MAX_BYTES 512u
#define ANSWER_DEPTH   16u /* nesting of an answer: ListFHIRDatastores has 5 */

enum shape_kind {
    SHAPE_KIND_STRING,
    SHAPE_KIND_INTEGER,
    SHAPE_KIND_LONG,
    SHAPE_KIND_DOUBLE,
    SHAPE_KIND_BOOLEAN,
    SHAPE_KIND_TIMESTAMP,
    SHAPE_KIND_STRUCTURE,
    SHAPE_KIND_UNION,
    SHAPE_KIND_LIST,
};
struct shape_member {
    const char *name;
    shape_id shape;
    bool required;
    /* NULL: this server honours the member. Else the values that ask for nothing, separated by
     * blanks; any other value is a fault. */
    const char *off;
};
struct shape {
    const char *name;
    enum shape_kind kind;
    long min, max; /* length, value or number of items; -1: none */
    const char *pattern;
    const char *const *values;
    const struct shape_member *members;
    size_t n_members;
    shape_id item;
    bool secret; /* its value is never shown */
};
#define SHAPE_TABLES
#include "service/shapes.inc"
#undef SHAPE_TABLES

static pcre2_code *patterns[N_SHAPES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void compile_all(void)
{
    for (int i = 0; i < N_SHAPES; i++) {
        if (shapes[i].pattern == NULL)
            continue;
        int code;
        size_t at;
        patterns[i] = pcre2_compile((PCRE2_SPTR)shapes[i].pattern, PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_ENDANCHORED |
                                        PCRE2_DOLLAR_ENDONLY,
                                    &code, &at, NULL);
        if (patterns[i] == NULL)
            abort();
    }
}

void shapes_init(void)
{
    pthread_once(&once, compile_all);
}

static bool matches(shape_id id, sv text)
{
    pcre2_match_data *md = pcre2_match_data_create(1, NULL);
    pcre2_match_context *mc = pcre2_match_context_create(NULL);
    if (md == NULL || mc == NULL)
        abort();
    pcre2_set_match_limit(mc, MATCH_LIMIT);
    pcre2_set_depth_limit(mc, MATCH_LIMIT);
    int rc =
        pcre2_match(patterns[id], (PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, 0, 0, md, mc);
    pcre2_match_data_free(md);
    pcre2_match_context_free(mc);
    return rc >= 0;
}

/* ---- faults ---- */

struct check {
    struct buf *out; /* items joined by "; " */
    unsigned n;
    char path[PATH_MAX_BYTES];
    size_t path_len;
    struct err *e;
};

static err_code fault(struct check *check, const struct shape *s, sv value, const char *constraint)
{
    if (++check->n > FAULTS_MAX)
        return ERR_OK;
    if (check->n > 1)
        TRY(buf_add(check->out, SV_LIT("; "), check->e));
    if (value.len == 0 || s->secret) {
        TRY(buf_add(check->out, SV_LIT("Value"), check->e));
    } else {
        TRY(buf_add(check->out, SV_LIT("Value '"), check->e));
        size_t n = value.len < SHOWN_MAX ? value.len : SHOWN_MAX;
        while (n < value.len && n && ((unsigned char)value.ptr[n] & 0xC0) == 0x80)
            /* never cut inside a character */
            n--;
        for (size_t i = 0; i < n; i++)
            TRY(buf_add_char(check->out, (unsigned char)value.ptr[i] < ' ' ? ' ' : value.ptr[i],
                             check->e));
        TRY(buf_add(check->out, n < value.len ? SV_LIT("...'") : SV_LIT("'"), check->e));
    }
    return buf_add_fmt(check->out, check->e, " at '%.*s' failed to satisfy constraint: %s",
                       (int)check->path_len, check->path, constraint);
}

PRINTF_LIKE(4, 5)
static err_code fault_fmt(struct check *check, const struct shape *s, sv value, const char *fmt,
                          ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    /* a long text is cut */
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fault(check, s, value, text);
}

/* Goes down to a member; "OutputDataConfig" is shown as "outputDataConfig". Returns the length of
 * the path before, for leave(). */
static size_t enter(struct check *check, const char *name, bool lower)
{
    size_t back = check->path_len;
    int n = snprintf(check->path + back, sizeof check->path - back, "%s%s", back ? "." : "", name);
    size_t at = back + (back ? 1 : 0);
    if (lower && at < sizeof check->path && check->path[at] >= 'A' && check->path[at] <= 'Z')
        check->path[at] = (char)(check->path[at] + 32);
    check->path_len =
        back + (size_t)n < sizeof check->path ? back + (size_t)n : sizeof check->path - 1;
    return back;
}

static void leave(struct check *check, size_t back)
{
    check->path_len = back;
}

/* ---- kinds ---- */

static size_t code_points(sv text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
    return n;
}

static err_code wrong_type(struct check *check, const char *want)
{
    return ERR(check->e, ERR_UNSUPPORTED, "Value at '%.*s' is not a %s", (int)check->path_len,
               check->path, want);
}

static err_code check_string(struct check *check, shape_id id, yyjson_val *v)
{
    const struct shape *s = &shapes[id];
    if (!yyjson_is_str(v))
        return wrong_type(check, "string");
    sv text = json_string(v);
    size_t n = code_points(text);
    if (s->max >= 0 && n > (size_t)s->max)
        TRY(fault_fmt(check, s, text, "Member must have length less than or equal to %ld", s->max));
    if (s->min >= 0 && n < (size_t)s->min)
        TRY(fault_fmt(check, s, text, "Member must have length greater than or equal to %ld",
                      s->min));
    if (s->pattern && !matches(id, text))
        TRY(fault_fmt(check, s, text, "Member must satisfy regular expression pattern: %s",
                      s->pattern));
    if (s->values) {
        char list[512];
        size_t len = 0;
        bool known = false;
        for (size_t i = 0; s->values[i]; i++) {
            known |= sv_eq_cstr(text, s->values[i]);
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "",
                                    s->values[i]);
        }
        if (!known)
            TRY(fault_fmt(check, s, text, "Member must satisfy enum value set: [%s]", list));
    }
    return ERR_OK;
}

static err_code check_number(struct check *check, shape_id id, yyjson_val *v)
{
    const struct shape *s = &shapes[id];
    int64_t n;
    double d;
    sv text = json_number(v);
    if (s->kind == SHAPE_KIND_DOUBLE)
        return sv_to_double(text, &d) ? ERR_OK : wrong_type(check, "number");
    if (!sv_to_i64(text, &n))
        return wrong_type(check, "whole number");
    if (s->max >= 0 && n > s->max)
        return fault_fmt(check, s, text, "Member must have value less than or equal to %ld",
                         s->max);
    if (s->min >= 0 && n < s->min)
        return fault_fmt(check, s, text, "Member must have value greater than or equal to %ld",
                         s->min);
    return ERR_OK;
}

static err_code check_value(struct check *check, shape_id id, yyjson_val *v);

static err_code check_list(struct check *check, shape_id id, yyjson_val *v)
{
    const struct shape *s = &shapes[id];
    if (!yyjson_is_arr(v))
        return wrong_type(check, "list");
    size_t n = yyjson_arr_size(v), i = 1;
    if (s->max >= 0 && n > (size_t)s->max)
        return fault_fmt(check, s, SV_NONE, "Member must have length less than or equal to %ld",
                         s->max);
    if (s->min >= 0 && n < (size_t)s->min)
        return fault_fmt(check, s, SV_NONE, "Member must have length greater than or equal to %ld",
                         s->min);
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    yyjson_val *item;
    while ((item = yyjson_arr_iter_next(&it)) != NULL) {
        char name[40];
        (void)snprintf(name, sizeof name, "%zu.member", i++);
        size_t back = enter(check, name, false);
        TRY(yyjson_is_null(item) ? fault(check, s, SV_NONE, "Member must not be null")
                                 : check_value(check, s->item, item));
        leave(check, back);
    }
    return ERR_OK;
}

static bool listed(const char *words, sv word)
{
    sv rest = sv_from(words), one;
    while (sv_cut(&rest, ' ', &one))
        if (sv_eq(one, word))
            return true;
    return false;
}

/* Does the value of a member that is not honoured ask for nothing? So do an empty structure or
 * list, and the values of `off`. */
static bool asks_nothing(yyjson_val *v, const char *off)
{
    if (yyjson_is_bool(v))
        return listed(off, yyjson_get_bool(v) ? SV_LIT("true") : SV_LIT("false"));
    if (yyjson_is_arr(v))
        return yyjson_arr_size(v) == 0;
    if (!yyjson_is_obj(v))
        return false;
    sv status = json_string(json_get(v, "Status"));
    if (status.len && listed(off, status))
        return true;
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        yyjson_val *member = yyjson_obj_iter_get_val(key);
        if (!yyjson_is_null(member) && !asks_nothing(member, off))
            return false;
    }
    return true;
}

/* The fault of a member that this server does not honour: to say yes and not do it would be
 * worse. */
static err_code not_honoured(struct check *check, const struct shape_member *m)
{
    char hint[128] = "leave it out";
    sv rest = sv_from(m->off), word;
    for (size_t n = strlen(hint); sv_cut(&rest, ' ', &word) && word.len; n = strlen(hint))
        /* it fits: such values are few and short */
        (void)snprintf(hint + n, sizeof hint - n, ", or say %.*s", SV_FMT(word));
    return fault_fmt(check, &shapes[m->shape], SV_NONE,
                     "Member must not be set: %s is not offered by this server; %s", m->name, hint);
}

/* Faults of members that the shape does not have: they are mistyped, or of a newer model. Null is
 * no value, and no fault. */
static err_code check_unknown(struct check *check, const struct shape *s, yyjson_val *v)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        size_t i = 0;
        while (i < s->n_members && !sv_eq_cstr(json_string(key), s->members[i].name))
            i++;
        if (i < s->n_members || yyjson_is_null(yyjson_obj_iter_get_val(key)))
            continue;
        size_t back = enter(check, yyjson_get_str(key), false);
        TRY(fault(check, s, SV_NONE, "Member must not be set: this server does not know it"));
        leave(check, back);
    }
    return ERR_OK;
}

static err_code check_members(struct check *check, shape_id id, yyjson_val *v)
{
    const struct shape *s = &shapes[id];
    size_t n_set = 0;
    if (!yyjson_is_obj(v))
        return wrong_type(check, "structure");
    for (size_t i = 0; i < s->n_members; i++) {
        const struct shape_member *m = &s->members[i];
        yyjson_val *member = yyjson_obj_get(v, m->name);
        bool absent = member == NULL || yyjson_is_null(member);
        size_t back = enter(check, m->name, true);
        n_set += !absent;
        if (!absent)
            TRY(check_value(check, m->shape, member));
        else if (m->required)
            TRY(fault(check, s, SV_NONE, "Member must not be null"));
        if (!absent && m->off && !asks_nothing(member, m->off))
            TRY(not_honoured(check, m));
        leave(check, back);
    }
    if (s->kind == SHAPE_KIND_UNION && n_set != 1)
        TRY(fault_fmt(check, s, SV_NONE, "Member must have exactly one of its members set: %s",
                      s->members[0].name));
    return check_unknown(check, s, v);
}

static err_code check_value(struct check *check, shape_id id, yyjson_val *v)
{
    int64_t ms;
    switch (shapes[id].kind) {
    case SHAPE_KIND_STRING:
        return check_string(check, id, v);
    case SHAPE_KIND_INTEGER:
    case SHAPE_KIND_LONG:
    case SHAPE_KIND_DOUBLE:
        return check_number(check, id, v);
    case SHAPE_KIND_BOOLEAN:
        return yyjson_is_bool(v) ? ERR_OK : wrong_type(check, "boolean");
    case SHAPE_KIND_TIMESTAMP:
        return shape_timestamp_ms(v, &ms) ? ERR_OK : wrong_type(check, "timestamp");
    case SHAPE_KIND_LIST:
        return check_list(check, id, v);
    default:
        return check_members(check, id, v);
    }
}

bool shape_timestamp_ms(yyjson_val *v, int64_t *out_ms)
{
    double d;
    if (yyjson_is_str(v))
        return instant_parse(json_string(v), out_ms);
    if (!sv_to_double(json_number(v), &d) || d < -62135596800.0 || d > 253402300799.0)
        return false;
    *out_ms = (int64_t)(d * 1000 + (d < 0 ? -0.5 : 0.5));
    return true;
}

err_code shape_check_input(shape_id id, yyjson_val *root, struct buf *faults, struct err *e)
{
    CLEANUP_BUF struct buf items = BUF_INIT(SHAPE_FAULTS_BYTES);
    struct check check = { .out = &items, .e = e };
    shapes_init();
    TRY(check_value(&check, id, root));
    if (check.n == 0)
        return ERR_OK;
    TRY(buf_add_fmt(faults, e, "%u validation error%s detected: ", check.n,
                    check.n == 1 ? "" : "s"));
    TRY(buf_add(faults, buf_sv(&items), e));
    return ERR(e, ERR_INVALID, "the request breaks constraints of its shape");
}

/* ---- answers ---- */

/* Does the value hold only what its shape declares? */
static err_code check_declared(shape_id id, yyjson_val *v, struct err *e)
{
    const struct shape *s = &shapes[id];
    if (s->kind == SHAPE_KIND_LIST) {
        yyjson_arr_iter it = yyjson_arr_iter_with(v);
        yyjson_val *item;
        while ((item = yyjson_arr_iter_next(&it)) != NULL)
            TRY(check_declared(s->item, item, e));
    }
    if (s->kind != SHAPE_KIND_STRUCTURE && s->kind != SHAPE_KIND_UNION)
        return ERR_OK;
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        size_t i = 0;
        while (i < s->n_members && !sv_eq_cstr(json_string(key), s->members[i].name))
            i++;
        if (i == s->n_members)
            return ERR(e, ERR_INTERNAL, "answer holds %s, which %s does not declare",
                       yyjson_get_str(key), s->name);
        TRY(check_declared(s->members[i].shape, yyjson_obj_iter_get_val(key), e));
    }
    return ERR_OK;
}

err_code shape_check_output(shape_id id, sv json, struct arena *a, struct err *e)
{
    CLEANUP_BUF struct buf faults = BUF_INIT(SHAPE_FAULTS_BYTES);
    struct check check = { .out = &faults, .e = e };
    yyjson_doc *doc;
    shapes_init();
    TRY(json_read(a, json, ANSWER_DEPTH, &doc, e));
    TRY(check_declared(id, yyjson_doc_get_root(doc), e));
    TRY(check_value(&check, id, yyjson_doc_get_root(doc)));
    if (check.n)
        return ERR(e, ERR_INTERNAL, "answer is not of its shape: %.*s", SV_FMT(buf_sv(&faults)));
    return ERR_OK;
}
