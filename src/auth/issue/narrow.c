/* narrow.c - what a client asks for, cut down to what it is registered for.
 *
 * A scope that is asked for meets each scope of the registration: the narrower type, the letters
 * that both have, the parameters of both. What all of it leaves is given in the words of the
 * request; else in words of its own, those of version 1 where the request used them and they say
 * it. Two queries of one parameter both have to hold, so nothing is given that the registration
 * does not give.
 * Source: SMART App Launch 2.2, "Scopes"; "Backend Services", "Issue Access Token". */
#include "auth/issue/issue_private.h"

static bool same_pair(const struct smart_pair *x, const struct smart_pair *y)
{
    return sv_eq(x->name, y->name) && sv_eq(x->value, y->value);
}

static bool has_pair(const struct smart_scope *s, const struct smart_pair *pair)
{
    for (size_t i = 0; i < s->n_pairs; i++)
        if (same_pair(&s->pairs[i], pair))
            return true;
    return false;
}

/* What both give; false: nothing, or more parameters than a scope may have.
 *   pairs  for its parameters: it has room for SMART_PAIRS_MAX */
static bool meet(const struct smart_scope *x, const struct smart_scope *y, struct smart_pair *pairs,
                 struct smart_scope *out)
{
    struct smart_scope both = { .level = SMART_SYSTEM,
                                .type = x->type.len ? x->type : y->type,
                                .letters = x->letters & y->letters,
                                .pairs = pairs };
    if (both.letters == 0 || (x->type.len && y->type.len && !sv_eq(x->type, y->type)))
        return false;
    for (size_t i = 0; i < x->n_pairs; i++)
        pairs[both.n_pairs++] = x->pairs[i];
    for (size_t i = 0; i < y->n_pairs; i++) {
        if (has_pair(x, &y->pairs[i]))
            continue;
        if (both.n_pairs == SMART_PAIRS_MAX)
            return false;
        pairs[both.n_pairs++] = y->pairs[i];
    }
    *out = both;
    return true;
}

static bool is_same(const struct smart_scope *x, const struct smart_scope *y)
{
    if (!sv_eq(x->type, y->type) || x->letters != y->letters || x->n_pairs != y->n_pairs)
        return false;
    for (size_t i = 0; i < x->n_pairs; i++)
        if (!has_pair(y, &x->pairs[i]))
            return false;
    return true;
}

/* "read", "write" or "*" of version 1; NULL: no word of it says this. */
static const char *v1_word(const struct smart_scope *s)
{
    const unsigned read = SMART_R | SMART_S, write = SMART_C | SMART_U | SMART_D;
    if (s->n_pairs)
        return NULL;
    return s->letters == read             ? "read"
           : s->letters == write          ? "write"
           : s->letters == (read | write) ? "*"
                                          : NULL;
}

bool narrow_is_v1(sv text)
{
    return sv_ends(text, SV_LIT(".read")) || sv_ends(text, SV_LIT(".write")) ||
           sv_ends(text, SV_LIT(".*"));
}

static bool stands(sv list, sv one)
{
    sv word;
    while (sv_cut(&list, ' ', &word))
        if (sv_eq(word, one))
            return true;
    return false;
}

static err_code add(struct buf *out, sv text, struct err *e)
{
    if (out->len && stands(buf_sv(out), text))
        return ERR_OK;
    if (out->len)
        TRY(buf_add_char(out, ' ', e));
    return buf_add(out, text, e);
}

static err_code add_met(struct buf *out, const struct smart_scope *met, bool by_v1, bool v2,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(CLIENT_SCOPES_MAX);
    const char *word = v1_word(met);
    if (word && (by_v1 || !v2)) {
        TRY(buf_add_fmt(&b, e, "system/%.*s.%s", met->type.len ? (int)met->type.len : 1,
                        met->type.len ? met->type.ptr : "*", word));
    } else if (v2) {
        TRY(smart_scope_write(met, &b, e));
    } else {
        /* a data store of version 1 has no word for it */
        return ERR_OK;
    }
    return add(out, buf_sv(&b), e);
}

static err_code narrow_one(struct arena *a, sv text, const struct client *client, bool v2,
                           struct buf *out, struct err *e)
{
    struct smart_pair pairs[SMART_PAIRS_MAX];
    struct smart_scope asked, met;
    bool good;
    TRY(smart_scope_read(text, a, &asked, &good, e));
    if (!good || asked.level != SMART_SYSTEM || (!v2 && !narrow_is_v1(text)))
        return ERR_OK;
    for (size_t i = 0; i < client->n_scopes; i++)
        if (meet(&asked, &client->scopes[i], pairs, &met) && is_same(&met, &asked))
            return add(out, text, e);
    for (size_t i = 0; i < client->n_scopes; i++)
        if (meet(&asked, &client->scopes[i], pairs, &met))
            TRY(add_met(out, &met, narrow_is_v1(text), v2, e));
    return ERR_OK;
}

err_code narrow(struct arena *a, sv asked, const struct client *client, bool v2, sv *out,
                struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(CLIENT_SCOPES_MAX);
    sv rest = asked, one;
    size_t n = 0;
    while (sv_cut(&rest, ' ', &one)) {
        if (one.len == 0)
            continue;
        if (++n > SMART_SCOPES_MAX)
            return ERR(e, ERR_TOO_LARGE, "more than %u scopes", SMART_SCOPES_MAX);
        TRY(narrow_one(a, one, client, v2, &b, e));
    }
    *out = b.len ? arena_sv(a, buf_sv(&b)) : SV_LIT("");
    return out->ptr ? ERR_OK : arena_oom(a, e);
}
