/* versions.c - every version by itself, what a look at its body says, and what the sums should be.
 *
 * Each visible version is read, and its search entries are made anew. group.c looks at the versions
 * of one number together. */
#include "store/rocks/check/check_private.h"

static bool make_index(struct check *c, fhir_type type, sv json, struct buf *index)
{
    struct err e;
    yyjson_doc *doc;
    arena_reset(c->body.arena);
    buf_clear(index);
    return json_read(c->body.arena, json, LIMIT_RESOURCE_DEPTH + 1, &doc, &e) == ERR_OK &&
           search_index(type, yyjson_doc_get_root(doc), index, &e) == ERR_OK;
}

static void take_entries_out(struct check *c, const struct check_version *v)
{
    uint16_t param;
    sv value;
    struct item x = { 0 };
    if (!c->indexed)
        return;
    item_u64(&x, v->number);
    item_u64(&x, v->n);
    item_u64(&x, v->kind == KEY_ONLINE);
    x.bytes[x.len++] = (char)number_type(v->number);
    const size_t head = x.len;
    for (sv rest = v->index; search_index_next(&rest, &param, &value); x.len = head) {
        x.bytes[x.len++] = (char)(param >> 8);
        x.bytes[x.len++] = (char)param;
        item_text(&x, value);
        ledger_add(&c->ledgers[LEDGER_ENTRIES], item_sv(&x), v->number, -1);
    }
}

static const char *fault_of(const struct check *c, const struct check_version *v)
{
    const struct value_head *h = &v->head;
    const bool online = v->kind == KEY_ONLINE, deleted = h->method == STORE_METHOD_DELETE;
    const unsigned type = number_type(v->number);
    if (type == 0 || type > fhir_n_types())
        return "its type is none";
    if (number_b(v->number) >= c->handed_out)
        return "the number of its load was never handed out";
    if (online ? v->n == 0 || v->n > c->last.t : v->n == 0 || v->n >= c->handed_out)
        return "a version of a commit or load that never was";
    if (h->online != online || (!online && !h->erased && h->method != STORE_METHOD_IMPORT))
        return "the header of a version is one of another kind";
    if (!h->erased && !fhir_id_ok(h->id))
        return "the id in the header of a version is none";
    if (deleted != (h->body.json.len == 0))
        return "a version is a deletion and has a body, or neither";
    return NULL;
}

static void see_version(struct check *c, sv key, sv value)
{
    struct key_version_parts p;
    struct check_version v = { 0 };
    if (!key_version_split(key, &p)) {
        check_wrong(c, CF_VERSIONS, "a key is damaged");
        return;
    }
    v.number = p.number;
    v.kind = p.kind;
    v.n = p.n;
    const char *fault =
        value_split(value, &v.head) ? fault_of(c, &v) : "the value of a version is damaged";
    if (fault) {
        check_number_wrong(c, CF_VERSIONS, v.number, "%s", fault);
        return;
    }
    v.t = check_commit_of(c, v.kind, v.n);
    if (v.t && v.head.method != STORE_METHOD_DELETE) {
        if (make_index(c, number_type(v.number), v.head.body.json, &c->body.index))
            v.index = buf_sv(&c->body.index);
        else
            check_number_wrong(c, CF_VERSIONS, v.number, "the JSON of a version cannot be read");
        take_entries_out(c, &v);
    }
    check_group_add(c, &v);
}

/* ---- what sums still hold ---- */

static void see_replaced(struct check *c, store_number number, key_kind kind, uint64_t n)
{
    struct key_bytes key = key_version(number, kind, n);
    CLEANUP_BUF struct buf value = BUF_INIT(ROCKS_BODY_MAX);
    struct value_head h;
    if (check_get(c, CF_VERSIONS, sv_make(key.ptr, key.len), &value) &&
        value_split(buf_sv(&value), &h) &&
        make_index(c, number_type(number), h.body.json, &c->body.old_index))
        check_group_count(c, number_type(number), buf_sv(&c->body.old_index));
}

void check_versions(struct check *c)
{
    c->body.arena = arena_new(json_tree_max(ROCKS_BODY_MAX));
    buf_init(&c->body.index, SEARCH_ENTRIES_MAX);
    buf_init(&c->body.old_index, SEARCH_ENTRIES_MAX);
    c->group = check_group_new(see_replaced);
    check_each(c, CF_VERSIONS, see_version);
    check_group_end(c);
    check_group_free(c->group);
    c->group = NULL;
    buf_done(&c->body.old_index);
    buf_done(&c->body.index);
    arena_free(c->body.arena);
}
