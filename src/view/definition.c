/* definition.c - a ViewDefinition is read and compiled. Every fault is told with the member where
 * it stands: "select[0].column[2].path: line 1, column 5 of the expression: ...". Members that
 * would change the rows and are not known are refused; what only describes is passed over.
 * Source: SQL on FHIR 2, StructureDefinition-ViewDefinition, and its notes. */
#include "view/view_private.h"

#define PLACE_MAX   400u
#define MEMBERS_MAX 1000u /* of an object */

struct reading {
    struct arena *a;
    struct view *v;
    struct fhirpath_options options;
    char place[PLACE_MAX];
    size_t place_len, max_columns;
};

static err_code wrong(struct reading *r, struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4);
static err_code wrong(struct reading *r, struct err *e, const char *fmt, ...)
{
    char why[ERR_MSG_LEN - PLACE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return ERR(e, ERR_INVALID, "%s%s%s", r->place, r->place_len ? ": " : "", why);
}

/* One step further in; returns where it was. */
static size_t enter(struct reading *r, const char *name, long index)
{
    size_t was = r->place_len, room = PLACE_MAX - was;
    int n = index < 0 ? snprintf(r->place + was, room, "%s%s", was ? "." : "", name)
                      : snprintf(r->place + was, room, "%s%s[%ld]", was ? "." : "", name, index);
    r->place_len = n < 0 || (size_t)n >= room ? PLACE_MAX - 1 : was + (size_t)n;
    return was;
}

static void leave(struct reading *r, size_t was)
{
    r->place_len = was;
    r->place[was] = 0;
}

static err_code here(struct reading *r, const char **out, struct err *e)
{
    *out = arena_str(r->a, sv_make(r->place, r->place_len));
    return *out ? ERR_OK : arena_oom(r->a, e);
}

/* An expression at the place where the reading is. */
static err_code expression(struct reading *r, yyjson_val *v, const struct fhirpath **out,
                           struct err *e)
{
    struct err why = { 0 };
    if (!yyjson_is_str(v))
        return wrong(r, e, v ? "a FHIRPath expression stands in a string" : "it is missing");
    err_code rc = fhirpath_compile(json_string(v), &r->options, r->a, out, NULL, &why);
    if (rc != ERR_OK)
        return ERR(e, rc, "%s: %s", r->place, why.msg);
    return ERR_OK;
}

/* An array of objects, or nothing. */
static err_code array_of(struct reading *r, yyjson_val *obj, const char *name, yyjson_val **out,
                         size_t *n, struct err *e)
{
    yyjson_val *v = json_get(obj, name);
    size_t was = enter(r, name, -1);
    if (v && (!yyjson_is_arr(v) || yyjson_arr_size(v) == 0))
        return wrong(r, e, "an array of at least one object is asked for");
    *n = yyjson_arr_size(v);
    for (size_t i = 0; i < *n; i++)
        if (!yyjson_is_obj(yyjson_arr_get(v, i)))
            return wrong(r, e, "an array of objects is asked for");
    *out = v;
    leave(r, was);
    return ERR_OK;
}

/* A member with a bar in front has the id and extensions of a primitive. That may be missing
 * beside it where it decides nothing: forEach without a value is more likely "_forEach" by a slip
 * of the pen. Source: FHIR R4 json.html#primitive. */
static bool is_twin(yyjson_val *obj, yyjson_val *key, const char *const *names)
{
    const sv of = sv_tail(json_string(key), 1);
    yyjson_val *v = yyjson_obj_getn(obj, of.ptr, of.len);
    if (v == NULL && (sv_eq(of, SV_LIT("description")) || sv_eq(of, SV_LIT("type")))) {
        size_t i = 0;
        while (names[i] && !sv_eq_cstr(of, names[i]))
            i++;
        return names[i] && yyjson_is_obj(yyjson_obj_iter_get_val(key));
    }
    if (yyjson_is_arr(v))
        v = yyjson_arr_get_first(v);
    return v && !yyjson_is_ctn(v);
}

/* Only members of the list, each once: a slip of the pen would make other rows in silence. */
static err_code only(struct reading *r, yyjson_val *obj, const char *const *names, struct err *e)
{
    yyjson_obj_iter it;
    yyjson_val *key;
    yyjson_obj_iter_init(obj, &it);
    while ((key = yyjson_obj_iter_next(&it))) {
        sv k = json_string(key);
        size_t i = 0;
        if (k.len && k.ptr[0] == '_' && is_twin(obj, key, names))
            continue;
        while (names[i] && !sv_eq_cstr(k, names[i]))
            i++;
        if (names[i] == NULL)
            return wrong(r, e, "\"%.*s\" is not known here", (int)(k.len > 40 ? 40 : k.len), k.ptr);
    }
    return ERR_OK;
}

/* ---- constants ---- */

/* Source: SQL on FHIR 2, sql-name. */
static bool is_name(sv name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = sv_lower(name.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(i && ((c >= '0' && c <= '9') || c == '_')))
            return false;
    }
    return name.len > 0 && name.len <= 255;
}

/* What FHIRPath calls by a name already: a constant of that name would hide it. */
static bool is_reserved(sv name)
{
    static const char *const names[] = { "resource", "rootResource", "context", "rowIndex",
                                         "ucum",     "sct",          "loinc" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sv_eq_cstr(name, names[i]))
            return true;
    return false;
}

static err_code value_fits(struct reading *r, fhir_primitive p, yyjson_val *v, struct err *e)
{
    int64_t i;
    fhir_json json = fhir_primitive_json(p);
    if (json == FHIR_JSON_STRING    ? !yyjson_is_str(v)
        : json == FHIR_JSON_BOOLEAN ? !yyjson_is_bool(v)
                                    : !yyjson_is_raw(v))
        return wrong(r, e, "its value is not of its type");
    if (json == FHIR_JSON_BOOLEAN)
        return ERR_OK;
    if (!fhir_primitive_ok(p, yyjson_is_str(v) ? json_string(v) : json_number(v)))
        return wrong(r, e, "its value is no %s", fhir_primitive_name(p));
    if (json == FHIR_JSON_NUMBER && p != FHIR_DECIMAL &&
        (!sv_to_i64(json_number(v), &i) || i < INT32_MIN || i > INT32_MAX))
        return wrong(r, e, "its value is beyond an %s", fhir_primitive_name(p));
    return ERR_OK;
}

static err_code constant(struct reading *r, yyjson_val *obj, struct fhirpath_constant *out,
                         struct err *e)
{
    static const char value[] = "value";
    static const char *const names[] = { "name", "id", "extension", NULL, NULL };
    yyjson_obj_iter it;
    yyjson_val *key;
    sv name = json_string(json_get(obj, "name"));
    struct fhirpath_constant c = { .name = name, .value = { .kind = FHIRPATH_NODE } };
    const char *known[sizeof names / sizeof names[0]];
    memcpy(known, names, sizeof names);
    if (!is_name(name))
        return wrong(r, e,
                     name.len ? "a constant's name is a letter, then letters, digits and _"
                              : "its name is missing");
    if (is_reserved(name))
        return wrong(r, e, "%%%.*s is FHIRPath's own", SV_FMT(name));
    yyjson_obj_iter_init(obj, &it);
    while ((key = yyjson_obj_iter_next(&it))) {
        sv k = json_string(key), type;
        char room[32];
        if (!sv_starts(k, SV_LIT(value)) || k.len > sizeof room)
            continue;
        type = sv_tail(k, sizeof value - 1);
        memcpy(room, type.ptr, type.len);
        room[0] = type.len ? sv_lower(room[0]) : 0;
        c.value.primitive = (uint8_t)fhir_primitive_find(sv_make(room, type.len));
        if (c.value.json)
            return wrong(r, e, "it has two values");
        c.value.json = yyjson_obj_iter_get_val(key);
        if (c.value.primitive == FHIR_NOT_PRIMITIVE)
            return wrong(r, e, "no constant has a %.*s", SV_FMT(k));
        known[3] = yyjson_get_str(key);
    }
    TRY(only(r, obj, known, e));
    if (c.value.json == NULL)
        return wrong(r, e, "its value is missing");
    TRY(value_fits(r, (fhir_primitive)c.value.primitive, c.value.json, e));
    *out = c;
    return ERR_OK;
}

static err_code constants(struct reading *r, yyjson_val *root, struct err *e)
{
    yyjson_val *list;
    size_t n;
    TRY(array_of(r, root, "constant", &list, &n, e));
    struct fhirpath_constant *all = arena_calloc(r->a, n + 1, sizeof *all);
    if (all == NULL)
        return arena_oom(r->a, e);
    for (size_t i = 0; i < n; i++) {
        size_t was = enter(r, "constant", (long)i);
        TRY(constant(r, yyjson_arr_get(list, i), &all[i], e));
        for (size_t k = 0; k < i; k++)
            if (sv_eq(all[i].name, all[k].name))
                return wrong(r, e, "another constant has this name");
        leave(r, was);
    }
    r->options.constants = all;
    r->options.n_constants = n;
    return ERR_OK;
}

/* ---- columns ---- */

/* The SQL type that a tag asks for: "ansi/type". */
static err_code sql_type(struct reading *r, yyjson_val *obj, sv *out, struct err *e)
{
    yyjson_val *tags;
    size_t n;
    TRY(array_of(r, obj, "tag", &tags, &n, e));
    *out = SV_NONE;
    for (size_t i = 0; i < n; i++) {
        yyjson_val *tag = yyjson_arr_get(tags, i);
        if (sv_eq_cstr(json_string(json_get(tag, "name")), "ansi/type"))
            *out = json_string(json_get(tag, "value"));
    }
    return ERR_OK;
}

static err_code column(struct reading *r, yyjson_val *obj, size_t at, struct view_cell *out,
                       struct err *e)
{
    static const char *const names[] = { "name", "path",        "type",      "collection", "tag",
                                         "id",   "description", "extension", NULL };
    yyjson_val *collection = json_get(obj, "collection"), *type = json_get(obj, "type");
    TRY(only(r, obj, names, e));
    sv name = json_string(json_get(obj, "name"));
    if (!is_name(name))
        return wrong(r, e,
                     name.len ? "a column's name is a letter, then letters, digits and _"
                              : "its name is missing");
    if ((collection && !yyjson_is_bool(collection)) || (type && !yyjson_is_str(type)))
        return wrong(r, e, "collection is true or false, and type a string");
    TRY(here(r, &out->place, e));
    out->collection = yyjson_get_bool(collection);
    size_t was = enter(r, "path", -1);
    TRY(expression(r, json_get(obj, "path"), &out->path, e));
    leave(r, was);
    out->row_index = sv_eq_cstr(sv_trim(json_string(json_get(obj, "path"))), "%rowIndex");
    struct view_column c = { name, json_string(type), SV_NONE, out->collection };
    TRY(sql_type(r, obj, &c.sql_type, e));
    r->v->columns[at] = c;
    return ERR_OK;
}

static err_code columns(struct reading *r, yyjson_val *obj, struct view_select *s, struct err *e)
{
    yyjson_val *list;
    TRY(array_of(r, obj, "column", &list, &s->n_cells, e));
    s->cells = arena_calloc(r->a, s->n_cells + 1, sizeof *s->cells);
    if (s->cells == NULL)
        return arena_oom(r->a, e);
    for (size_t i = 0; i < s->n_cells; i++) {
        size_t was = enter(r, "column", (long)i);
        if (s->first + i >= r->max_columns)
            return ERR(e, ERR_TOO_LARGE, "%s: a view has at most %u columns", r->place,
                       VIEW_COLUMNS_MAX);
        TRY(column(r, yyjson_arr_get(list, i), s->first + i, &s->cells[i], e));
        leave(r, was);
    }
    s->n_columns = s->n_cells;
    return ERR_OK;
}

/* ---- selects ---- */

static err_code paths(struct reading *r, yyjson_val *obj, struct view_select *s, struct err *e)
{
    static const struct {
        const char *name;
        view_how how;
    } kinds[] = { { "forEach", VIEW_EACH },
                  { "forEachOrNull", VIEW_EACH_OR_NULL },
                  { "repeat", VIEW_REPEAT } };
    yyjson_val *v = NULL;
    for (size_t i = 0; i < 3; i++) {
        if (json_get(obj, kinds[i].name) == NULL)
            continue;
        if (v)
            return wrong(r, e, "forEach, forEachOrNull and repeat exclude each other");
        v = json_get(obj, kinds[i].name);
        s->how = kinds[i].how;
        size_t was = enter(r, kinds[i].name, -1);
        bool list = s->how == VIEW_REPEAT;
        if (list && (!yyjson_is_arr(v) || yyjson_arr_size(v) == 0))
            return wrong(r, e, "an array of expressions is asked for");
        s->n_paths = list ? yyjson_arr_size(v) : 1;
        s->paths = arena_calloc(r->a, s->n_paths, sizeof *s->paths);
        if (s->paths == NULL)
            return arena_oom(r->a, e);
        for (size_t k = 0; k < s->n_paths; k++)
            TRY(expression(r, list ? yyjson_arr_get(v, k) : v, &s->paths[k], e));
        leave(r, was);
    }
    return ERR_OK;
}

static err_code read_select(struct reading *r, yyjson_val *obj, size_t first, unsigned depth,
                            struct view_select *s, struct err *e);

/* The branches fill the same columns: of the same names, in the same order. */
static err_code unions(struct reading *r, yyjson_val *obj, unsigned depth, struct view_select *s,
                       struct err *e)
{
    yyjson_val *list;
    size_t at = s->first + s->n_columns, n_before = 0;
    TRY(array_of(r, obj, "unionAll", &list, &s->n_unions, e));
    s->unions = arena_calloc(r->a, s->n_unions + 1, sizeof *s->unions);
    if (s->unions == NULL)
        return arena_oom(r->a, e);
    struct view_column *before = arena_alloc(r->a, VIEW_COLUMNS_MAX * sizeof *before);
    for (size_t i = 0; i < s->n_unions; i++) {
        size_t was = enter(r, "unionAll", (long)i);
        if (before == NULL)
            return arena_oom(r->a, e);
        TRY(read_select(r, yyjson_arr_get(list, i), at, depth - 1, &s->unions[i], e));
        size_t n = s->unions[i].n_columns;
        bool same = i == 0 || n == n_before;
        for (size_t k = 0; same && i && k < n; k++)
            same = sv_eq(before[k].name, r->v->columns[at + k].name) &&
                   before[k].collection == r->v->columns[at + k].collection;
        if (!same)
            return wrong(r, e, "its columns are not those of unionAll[0], in their order");
        if (i == 0)
            memcpy(before, r->v->columns + at, n * sizeof *before);
        n_before = n;
        leave(r, was);
    }
    if (s->n_unions)
        memcpy(r->v->columns + at, before, n_before * sizeof *before);
    s->n_columns += n_before;
    return ERR_OK;
}

static err_code read_selects(struct reading *r, yyjson_val *obj, size_t first, unsigned depth,
                             struct view_select **out, size_t *n, size_t *n_columns, struct err *e)
{
    yyjson_val *list;
    TRY(array_of(r, obj, "select", &list, n, e));
    struct view_select *all = arena_calloc(r->a, *n + 1, sizeof *all);
    if (all == NULL)
        return arena_oom(r->a, e);
    for (size_t i = 0; i < *n; i++) {
        size_t was = enter(r, "select", (long)i);
        TRY(read_select(r, yyjson_arr_get(list, i), first + *n_columns, depth, &all[i], e));
        *n_columns += all[i].n_columns;
        leave(r, was);
    }
    *out = all;
    return ERR_OK;
}

static err_code read_select(struct reading *r, yyjson_val *obj, size_t first, unsigned depth,
                            struct view_select *s, struct err *e)
{
    static const char *const names[] = { "column",  "select",        "unionAll",
                                         "forEach", "forEachOrNull", "repeat",
                                         "id",      "extension",     NULL };
    if (depth == 0)
        return ERR(e, ERR_TOO_LARGE, "%s: at most %u stand in each other", r->place,
                   VIEW_DEPTH_MAX);
    TRY(only(r, obj, names, e));
    *s = (struct view_select){ .how = VIEW_ONCE, .first = first };
    TRY(here(r, &s->place, e));
    TRY(paths(r, obj, s, e));
    TRY(columns(r, obj, s, e));
    TRY(read_selects(r, obj, first, depth - 1, &s->selects, &s->n_selects, &s->n_columns, e));
    TRY(unions(r, obj, depth, s, e));
    if (s->n_columns == 0)
        return wrong(r, e, "it makes no column: column, select or unionAll is missing");
    return ERR_OK;
}

/* ---- the whole ---- */

static err_code head(struct reading *r, yyjson_val *root, struct err *e)
{
    char near[FHIR_TYPE_NOT_LEN];
    yyjson_val *versions = json_get(root, "fhirVersion");
    sv type = json_string(json_get(root, "resourceType")),
       resource = json_string(json_get(root, "resource"));
    bool r4 = versions == NULL;
    if (versions && !yyjson_is_arr(versions))
        return wrong(r, e, "fhirVersion is a list");
    if (type.ptr && !sv_eq_cstr(type, "ViewDefinition"))
        return wrong(r, e, "resourceType is not ViewDefinition");
    if (resource.len == 0)
        return wrong(r, e, "resource is missing: the type of the resources that it reads");
    r->v->type = fhir_type_find(resource);
    if (r->v->type == FHIR_TYPE_NONE)
        return wrong(r, e, "resource: %s", fhir_type_not(sv_head(resource, 40), near));
    for (size_t i = 0; i < yyjson_arr_size(versions); i++)
        r4 = r4 || sv_starts(json_string(yyjson_arr_get(versions, i)), SV_LIT("4.0"));
    if (!r4 && yyjson_arr_size(versions))
        return wrong(r, e, "fhirVersion: the view is for other versions of FHIR than 4.0");
    return ERR_OK;
}

static err_code where(struct reading *r, yyjson_val *root, struct err *e)
{
    static const char *const names[] = { "path", "description", "id", "extension", NULL };
    yyjson_val *list;
    TRY(array_of(r, root, "where", &list, &r->v->n_where, e));
    r->v->where = arena_calloc(r->a, r->v->n_where + 1, sizeof *r->v->where);
    if (r->v->where == NULL)
        return arena_oom(r->a, e);
    for (size_t i = 0; i < r->v->n_where; i++) {
        size_t was = enter(r, "where", (long)i);
        TRY(only(r, yyjson_arr_get(list, i), names, e));
        (void)enter(r, "path", -1);
        TRY(expression(r, json_get(yyjson_arr_get(list, i), "path"), &r->v->where[i], e));
        leave(r, was);
    }
    return ERR_OK;
}

static err_code names_apart(struct reading *r, struct err *e)
{
    const struct view *v = r->v;
    for (size_t i = 0; i < v->n_columns; i++)
        for (size_t k = 0; k < i; k++)
            if (sv_eq_nocase(v->columns[i].name, v->columns[k].name))
                return wrong(r, e, "two columns are called %.*s%s", SV_FMT(v->columns[i].name),
                             sv_eq(v->columns[i].name, v->columns[k].name)
                                 ? ""
                                 : ", but for capital letters, which SQL does not tell apart");
    for (size_t i = 0; i < v->n_columns; i++) {
        r->v->keys[i] = arena_str(r->a, v->columns[i].name);
        if (v->keys[i] == NULL)
            return arena_oom(r->a, e);
    }
    return ERR_OK;
}

err_code view_compile(sv text, struct arena *a, const struct view **out, struct err *e)
{
    struct reading r = { .a = a,
                         .options = { .row_index = true },
                         .max_columns = VIEW_COLUMNS_MAX };
    yyjson_doc *doc;
    if (text.len > VIEW_BYTES_MAX)
        return ERR(e, ERR_TOO_LARGE, "a ViewDefinition has at most %u bytes", VIEW_BYTES_MAX);
    sv copy = arena_sv(a, text);
    r.v = ARENA_NEW(a, struct view);
    if (copy.ptr == NULL || r.v == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, copy, 4 * VIEW_DEPTH_MAX, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    r.v->columns = arena_calloc(a, VIEW_COLUMNS_MAX + 1, sizeof *r.v->columns);
    r.v->keys = arena_calloc(a, VIEW_COLUMNS_MAX + 1, sizeof *r.v->keys);
    if (r.v->columns == NULL || r.v->keys == NULL)
        return arena_oom(a, e);
    sv twice = SV_NONE;
    if (!yyjson_is_obj(root))
        return wrong(&r, e, "a ViewDefinition is a JSON object");
    if (!json_members_unique(root, MEMBERS_MAX, &twice))
        return wrong(&r, e, "\"%.*s\" is there twice in an object",
                     (int)(twice.len > 40 ? 40 : twice.len), twice.ptr ? twice.ptr : "");
    TRY(head(&r, root, e));
    TRY(constants(&r, root, e));
    TRY(where(&r, root, e));
    TRY(read_selects(&r, root, 0, VIEW_DEPTH_MAX, &r.v->selects, &r.v->n_selects, &r.v->n_columns,
                     e));
    if (r.v->n_selects == 0)
        return wrong(&r, e, "select is missing");
    TRY(names_apart(&r, e));
    *out = r.v;
    return ERR_OK;
}

fhir_type view_type(const struct view *v)
{
    return v->type;
}

const struct view_column *view_columns(const struct view *v, size_t *n)
{
    *n = v->n_columns;
    return v->columns;
}
