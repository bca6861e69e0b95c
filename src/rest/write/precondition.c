/* precondition.c - If-Match, If-None-Match and If-Unmodified-Since of a write, and what is told of
 * an idempotency key that was used before.
 *
 *                        no version  current version           deleted
 *   If-Match: *          412         done                      412
 *   If-Match: tags       412         done when one is its tag  412
 *   If-None-Match: *     done        412                       412 (an id stays taken); DELETE: 204
 *   If-None-Match: tags  done        412 when one is its tag   done
 *   If-Unmodified-Since  done        412 when it is later      412 when it is later; DELETE: 204
 *
 * A tag is well formed or the request is refused (400); one that is none of ours is well formed and
 * matches nothing. Tags are compared byte by byte and always weakly: FHIR's own are weak. One
 * version asked for is left to the committer. Everything else is decided here, by the version that
 * was read, and the committer then makes sure that this is still the current one
 * (rest_pending.guarded).
 *
 * A condition that is there and empty is refused: to pass over it would do what its sender meant to
 * prevent. Not so If-Unmodified-Since: beside If-Match, or when it is no date, HTTP has it passed
 * over. Its date has seconds, so what was written within that second, before or after the read,
 * passes: If-Match is the one that loses nothing.
 * Source: RFC 9110 13.1.1, 13.1.2, 13.1.4; FHIR R4 http.html#concurrency. */
#include "rest/answer_private.h"
#include "rest/grant_private.h"
#include "rest/route_private.h"
#include "rest/write/write_private.h"

#include "codec/instant.h"

/* ---- tags ---- */

static bool is_digits(sv text)
{
    uint64_t ignored;
    return sv_to_u64(text, &ignored);
}

/* Cut the next tag and the comma behind it off *rest. A tag may have commas inside its quotes. */
static bool cut_tag(sv *rest, sv *out)
{
    sv t = sv_trim(*rest);
    if (sv_starts(t, SV_LIT("W/")))
        t = sv_tail(t, 2);
    size_t len;
    if (t.len && t.ptr[0] == '"') {
        size_t end = sv_find(sv_tail(t, 1), '"');
        if (end + 1 == t.len)
            return false;
        *out = sv_make(t.ptr + 1, end);
        for (size_t i = 0; i < end; i++)
            if ((unsigned char)out->ptr[i] < 0x21 || out->ptr[i] == 0x7F)
                return false;
        len = end + 2;
    } else {
        /* 3 or W/3: a version without its quotes */
        *out = sv_trim(sv_head(t, sv_find(t, ',')));
        if (!is_digits(*out))
            return false;
        len = sv_find(t, ',');
    }
    t = sv_trim(sv_tail(t, len));
    if (t.len && t.ptr[0] != ',')
        return false;
    *rest = sv_tail(t, 1);
    return true;
}

static err_code malformed(const char *name, struct err *e)
{
    return ERR(e, ERR_INVALID, "%s must be * or entity tags, which look like W/\"3\"", name);
}

err_code rest_tags_read(sv text, const char *name, struct arena *a, struct rest_tags *out,
                        struct err *e)
{
    struct rest_tags t = { .there = text.ptr != NULL };
    sv rest = sv_trim(text), one;
    size_t max = 1;
    if (t.there && rest.len == 0)
        return ERR(e, ERR_INVALID, "%s is empty: a condition must say something", name);
    for (size_t i = 0; i < rest.len; i++)
        max += rest.ptr[i] == ',';
    t.any = sv_eq(rest, SV_LIT("*"));
    if (!t.there || t.any) {
        *out = t;
        return ERR_OK;
    }
    sv *tags = arena_alloc(a, max * sizeof *tags);
    if (tags == NULL)
        return arena_oom(a, e);
    while (rest.len) {
        /* An empty item of the list is passed over. */
        if (rest.ptr[0] == ',') {
            rest = sv_trim(sv_tail(rest, 1));
            continue;
        }
        if (!cut_tag(&rest, &one))
            return malformed(name, e);
        tags[t.n++] = one;
        rest = sv_trim(rest);
    }
    if (t.n == 0)
        return malformed(name, e);
    t.tags = tags;
    *out = t;
    return ERR_OK;
}

bool rest_tags_have(const struct rest_tags *t, uint64_t version)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)version);
    for (size_t i = 0; i < t->n; i++)
        if (sv_eq(t->tags[i], sv_make(text, (size_t)n)))
            return true;
    return t->there && t->any;
}

/* ---- what a call says ---- */

bool rest_unmodified_read(sv text, int64_t *out_ms)
{
    if (instant_parse_http(text, out_ms)) {
        /* Last-Modified has seconds, and a client sends it back. */
        *out_ms += 999;
        return true;
    }
    /* An instant is taken too, as in If-Modified-Since: meta.lastUpdated has it. */
    return instant_parse(text, out_ms);
}

err_code rest_conditions_read(struct rest_call *call, struct rest_conditions *out, struct err *e)
{
    const struct rest_request *in = &call->in;
    bool create = call->it->shape == REST_TYPE && sv_eq_cstr(in->method, "POST");
    if (in->if_none_exist.ptr && sv_trim(in->if_none_exist).len == 0)
        return ERR(e, ERR_INVALID, "If-None-Exist is empty: a condition must say something");
    if (in->if_none_exist.ptr && !create)
        return ERR(e, ERR_INVALID, "If-None-Exist is a condition of a create");
    if (in->if_none_exist_twice)
        return ERR(e, ERR_INVALID, "If-None-Exist stands in the request twice");
    TRY(rest_tags_read(in->if_match, "If-Match", call->a, &out->match, e));
    TRY(rest_tags_read(in->if_none_match, "If-None-Match", call->a, &out->none_match, e));
    out->dated = !out->match.there && rest_unmodified_read(in->if_unmodified_since, &out->until_ms);
    if (out->match.there && create)
        return ERR(e, ERR_INVALID, "If-Match asks for a version, and a create has none");
    return out->match.there && out->none_match.there
               ? ERR(e, ERR_INVALID, "If-Match and If-None-Match contradict each other")
               : ERR_OK;
}

/* ---- against what is there ---- */

static err_code fails(const char *name, uint64_t version, struct err *e)
{
    return version
               ? ERR(e, ERR_PRECONDITION, "The resource is at version %llu, which %s refuses",
                     (unsigned long long)version, name)
               : ERR(e, ERR_PRECONDITION, "There is no current version, which %s asks for", name);
}

static bool one_version(const struct rest_tags *t, uint64_t *out)
{
    return !t->any && t->n == 1 && sv_to_u64(t->tags[0], out) && rest_tags_have(t, *out);
}

struct now {
    store_condition is; /* STORE_IF_ABSENT: there is no version */
    uint64_t version;
    int64_t instant_ms;
};

/* The version that the conditions are about. A conditional form has found it already, and only its
 * date is missing. When the resource has changed since, the commit fails and the write is made
 * again. */
static err_code find_current(struct rest_call *call, const struct rest_pending *pending,
                             const struct store_version *now, struct now *out, struct err *e)
{
    struct store_version v;
    struct err why;
    err_code rc = ERR_OK;
    *out = (struct now){ .is = STORE_IF_VERSION, .version = pending->matched };
    if (pending->matched && !pending->conditions.dated)
        return ERR_OK;
    if (now)
        v = *now;
    else
        rc = rest_version_before(call, call->id, &v, &why);
    if (rc == ERR_NOT_FOUND) {
        out->is = STORE_IF_ABSENT;
        return ERR_OK;
    }
    if (rc != ERR_OK)
        return err_pass(e, &why);
    out->instant_ms = v.instant_ms;
    if (pending->matched)
        return ERR_OK;
    out->is = v.method == STORE_METHOD_DELETE ? STORE_IF_DELETED : STORE_IF_VERSION;
    out->version = v.version;
    return ERR_OK;
}

/* A deletion is a change too; but a DELETE of what is deleted has nothing left to do. */
static err_code check_date(const struct rest_call *call, const struct rest_conditions *k,
                           const struct now *n, struct err *e)
{
    bool gone = n->is == STORE_IF_DELETED;
    if (!k->dated || n->is == STORE_IF_ABSENT || n->instant_ms <= k->until_ms ||
        (gone && sv_eq_cstr(call->in.method, "DELETE")))
        return ERR_OK;
    return ERR(e, ERR_PRECONDITION, "The resource was %s later than If-Unmodified-Since says",
               gone ? "deleted" : "changed");
}

err_code rest_conditions_apply(struct rest_call *call, const struct store_version *now,
                               struct rest_pending *pending, struct err *e)
{
    const struct rest_conditions *k = &pending->conditions;
    const struct rest_tags *match = &k->match, *none = &k->none_match;
    struct now n;
    uint64_t version;
    if (!match->there && !none->there && !k->dated)
        return ERR_OK;
    if (none->any) {
        pending->w.condition = STORE_IF_ABSENT;
        return ERR_OK;
    }
    if (pending->matched == 0 && one_version(match, &version)) {
        pending->w.condition = STORE_IF_VERSION;
        pending->w.if_version = version;
        return ERR_OK;
    }
    TRY(find_current(call, pending, now, &n, e));
    bool current = n.is == STORE_IF_VERSION;
    if (match->there && !(current && rest_tags_have(match, n.version)))
        return fails("If-Match", current ? n.version : 0, e);
    TRY(check_date(call, k, &n, e));
    if (none->there && current && rest_tags_have(none, n.version))
        return fails("If-None-Match", n.version, e);
    pending->w.condition = n.is;
    pending->w.if_version = n.version;
    pending->guarded = true;
    return ERR_OK;
}

/* ---- idempotency keys ---- */

/* Either letter will do: who may create and not read was told the id when he created it. */
static bool is_given(struct rest_call *call, const struct store_version *v)
{
    static const unsigned letters[] = { SMART_R, SMART_C };
    struct err ignored;
    bool sees = false;
    for (size_t i = 0; !sees && i < 2; i++)
        sees = rest_sees(call, letters[i], v, &sees, &ignored) == ERR_OK && sees;
    return sees;
}

err_code rest_key_is_used(struct rest_call *call, const struct rest_pending *pending, struct err *e)
{
    struct store_version v;
    struct err ignored;
    if (rest_version_before(call, pending->w.id, &v, &ignored) == ERR_OK && is_given(call, &v)) {
        call->out.location = true;
        call->out.type = pending->w.type;
        call->out.id = pending->w.id;
        call->out.version = 1;
    }
    return ERR(e, ERR_EXISTS, "A resource was already created with this idempotency key");
}
