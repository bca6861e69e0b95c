/* clients.c - the file of registered clients, line by line, and what its values mean.
 *
 * One table says which keys a section takes. A value goes to the end of its line. The whole file is
 * good or refused: a client with a mistyped scope must not get what is left of it. */
#include "auth/issue/clients.h"

#include "auth/bearer/providers_private.h"
#include "base/file.h"
#include "codec/instant.h"
#include "codec/uri.h"
#include "fhir/types.h"

#include <stddef.h>

#define CLIENTS_MEMORY (16u << 20)
#define NAME_LEN       256u

struct clients {
    struct arena *arena; /* holds this struct, the text and the items */
    struct client *items;
    size_t n;
};

bool client_id_ok(sv id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(".-", c))))
            return false;
    }
    return id.len > 0 && id.len <= CLIENT_ID_MAX;
}

/* ---- lines ---- */

static bool is_text(sv v, size_t max)
{
    for (size_t i = 0; i < v.len; i++)
        if ((unsigned char)v.ptr[i] < ' ' || v.ptr[i] == 0x7F)
            return false;
    return v.len > 0 && v.len <= max;
}

static const struct row {
    const char *name;
    size_t at; /* of struct client: an sv */
    size_t max;
} rows[] = {
    { "name", offsetof(struct client, name), NAME_LEN },
    { "jwks", offsetof(struct client, jwks), CLIENT_JWKS_MAX },
    { "jwks_url", offsetof(struct client, jwks_url), 2048 },
    { "scope", offsetof(struct client, scope), CLIENT_SCOPES_MAX },
    { "datastores", offsetof(struct client, datastores), 64u << 10 },
    { "algorithms", offsetof(struct client, algorithms), 256 },
    { "expires", offsetof(struct client, expires), 64 },
    { "disabled", offsetof(struct client, disabled), 8 },
};

static err_code key_take(struct client *c, size_t line, sv name, sv value, struct err *e)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sv *to = (sv *)(void *)((char *)c + rows[i].at);
        if (!sv_eq_cstr(name, rows[i].name))
            continue;
        if (to->len)
            return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: %s stands twice", line,
                       SV_FMT(c->id), rows[i].name);
        if (!is_text(value, rows[i].max))
            return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: %s has 1 to %zu bytes of text",
                       line, SV_FMT(c->id), rows[i].name, rows[i].max);
        *to = value;
        return ERR_OK;
    }
    return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: unknown key", line, SV_FMT(c->id));
}

static err_code section_open(struct clients *all, sv id, size_t line, struct err *e)
{
    if (!client_id_ok(id))
        return ERR(e, ERR_INVALID,
                   "line %zu: a section is [CLIENT ID], 1 to %u letters, digits, . and -", line,
                   CLIENT_ID_MAX);
    if (clients_find(all, id))
        return ERR(e, ERR_INVALID, "line %zu: section [%.*s] stands twice", line, SV_FMT(id));
    all->items[all->n++] = (struct client){ .id = id, .line = line };
    return ERR_OK;
}

static err_code line_take(struct clients *all, sv line, size_t n, struct err *e)
{
    size_t eq = sv_find(line, '=');
    if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';')
        return ERR_OK;
    if (line.ptr[0] == '[' && line.ptr[line.len - 1] == ']')
        return section_open(all, sv_trim(sv_make(line.ptr + 1, line.len - 2)), n, e);
    if (eq == line.len || line.ptr[0] == '[')
        return ERR(e, ERR_INVALID, "line %zu is neither [client id] nor key = value", n);
    if (all->n == 0)
        return ERR(e, ERR_INVALID, "line %zu stands before the first [client id]", n);
    return key_take(&all->items[all->n - 1], n, sv_trim(sv_head(line, eq)),
                    sv_trim(sv_tail(line, eq + 1)), e);
}

static err_code lines_read(struct clients *all, sv text, struct err *e)
{
    size_t most = 0, n = 0;
    sv rest = text, line;
    while (sv_cut(&rest, '\n', &line))
        most += sv_starts(sv_trim(line), SV_LIT("["));
    if (most > CLIENTS_MAX)
        return ERR(e, ERR_TOO_LARGE, "more than %u clients", CLIENTS_MAX);
    all->items = arena_calloc(all->arena, most + 1, sizeof *all->items);
    if (all->items == NULL)
        return arena_oom(all->arena, e);
    while (sv_cut(&text, '\n', &line)) {
        n++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        TRY(line_take(all, sv_trim(line), n, e));
    }
    return ERR_OK;
}

/* ---- values ---- */

#define WRONG(c, e, ...) wrong((c), (e), arena_fmt(all->arena, __VA_ARGS__))

static err_code wrong(const struct client *c, struct err *e, sv what)
{
    return ERR(e, ERR_INVALID, "section [%.*s] of line %zu: %.*s", SV_FMT(c->id), c->line,
               SV_FMT(sv_head(what, 300)));
}

static err_code scopes_of(struct clients *all, struct client *c, struct err *e)
{
    sv rest = c->scope, one;
    size_t n = 0;
    struct smart_scope *scopes = arena_calloc(all->arena, SMART_SCOPES_MAX, sizeof *scopes);
    if (scopes == NULL)
        return arena_oom(all->arena, e);
    while (sv_cut(&rest, ' ', &one)) {
        bool good;
        if (one.len == 0)
            continue;
        if (n == SMART_SCOPES_MAX)
            return WRONG(c, e, "scope has more than %u scopes", SMART_SCOPES_MAX);
        TRY(smart_scope_read(one, all->arena, &scopes[n], &good, e));
        if (!good || scopes[n].level != SMART_SYSTEM)
            return WRONG(c, e, "scope \"%.*s\" is none that is given here; it takes %s",
                         SV_FMT(sv_head(one, 100)), CLIENT_SCOPES_SAID);
        if (scopes[n].type.len && fhir_type_find(scopes[n].type) == FHIR_TYPE_NONE)
            return WRONG(c, e, "scope \"%.*s\": %s", SV_FMT(sv_head(one, 100)),
                         fhir_type_not(scopes[n].type, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        n++;
    }
    if (n == 0)
        return WRONG(c, e, "scope is missing; it takes %s", CLIENT_SCOPES_SAID);
    c->scopes = scopes;
    c->n_scopes = n;
    return ERR_OK;
}

static err_code algs_of(struct clients *all, struct client *c, struct err *e)
{
    sv rest = c->algorithms, word;
    jose_alg alg;
    if (rest.len == 0)
        c->algs = JOSE_BIT(JOSE_RS384) | JOSE_BIT(JOSE_ES384);
    while (rest.len && sv_cut(&rest, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (!jose_alg_find(word, &alg))
            return WRONG(c, e, "algorithms takes of %s", JOSE_ALGS_SAID);
        c->algs |= JOSE_BIT(alg);
    }
    return ERR_OK;
}

/* https to anywhere, http to this machine: keys that come over a wire in the clear can be changed
 * there. */
static bool is_url(sv v)
{
    struct uri_http u;
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] <= ' ' || v.ptr[i] >= 0x7F)
            return false;
    if (sv_find(v, '#') < v.len || uri_http_parse(sv_head(v, sv_find(v, '?')), &u, NULL) != ERR_OK)
        return false;
    return sv_eq_cstr(u.scheme, "https") || sv_eq_nocase(u.host, SV_LIT("localhost")) ||
           sv_eq_cstr(u.host, "[::1]") || uri_is_loopback_v4(u.host);
}

static err_code keys_of(struct clients *all, struct client *c, struct err *e)
{
    struct jose_keys *keys;
    struct err why;
    if ((c->jwks.len != 0) == (c->jwks_url.len != 0))
        return WRONG(c, e, "one of jwks and jwks_url is needed");
    if (c->jwks_url.len) {
        if (!is_url(c->jwks_url))
            return WRONG(c, e, "jwks_url takes an https URL, or http to loopback");
        c->from = fetcher_new(c->jwks_url, FETCH_MS);
        c->ring = key_ring_new(&c->from);
        return ERR_OK;
    }
    if (jose_keys_read(c->jwks, &keys, &why) != ERR_OK)
        return WRONG(c, e, "jwks: %.200s", why.msg);
    c->ring = key_ring_fixed(&keys);
    return ERR_OK;
}

static err_code client_make(struct clients *all, struct client *c, struct err *e)
{
    sv rest = c->datastores, id;
    TRY(scopes_of(all, c, e));
    TRY(algs_of(all, c, e));
    while (rest.len && sv_cut(&rest, ' ', &id))
        if (id.len && !sv_is_hex(id, 32))
            return WRONG(c, e, "datastores takes ids of data stores, 32 hexadecimal digits each");
    if (c->expires.len && (!instant_parse(c->expires, &c->expires_ms) || c->expires_ms <= 0))
        return WRONG(c, e, "expires takes an instant such as 2027-01-31T00:00:00Z");
    c->is_disabled = sv_eq_cstr(c->disabled, "yes");
    if (c->disabled.len && !c->is_disabled && !sv_eq_cstr(c->disabled, "no"))
        return WRONG(c, e, "disabled takes yes or no");
    return keys_of(all, c, e);
}

/* ---- the whole ---- */

err_code clients_parse(sv text, struct clients **out, struct err *e)
{
    struct arena *a = arena_new(CLIENTS_MEMORY);
    CLEANUP(clients_free) struct clients *all = ARENA_NEW(a, struct clients);
    /* a fresh arena has room for it */
    if (all == NULL)
        abort();
    all->arena = a;
    sv copy = arena_sv(a, text);
    if (copy.ptr == NULL)
        return arena_oom(a, e);
    TRY(lines_read(all, copy, e));
    for (size_t i = 0; i < all->n; i++)
        TRY(client_make(all, &all->items[i], e));
    *out = all;
    all = NULL;
    return ERR_OK;
}

err_code clients_load(const char *path, struct clients **out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(CLIENTS_MAX_BYTES);
    TRY(file_read_private(path, &b, e));
    return clients_parse(b.len ? buf_sv(&b) : SV_LIT(""), out, e);
}

void clients_free(struct clients *clients)
{
    if (clients == NULL)
        return;
    for (size_t i = 0; clients->items && i < clients->n; i++) {
        key_ring_free(clients->items[i].ring);
        fetcher_free(clients->items[i].from);
    }
    arena_free(clients->arena);
}

size_t clients_count(const struct clients *clients)
{
    return clients->n;
}

const struct client *clients_at(const struct clients *clients, size_t i)
{
    return &clients->items[i];
}

const struct client *clients_find(const struct clients *clients, sv id)
{
    for (size_t i = 0; i < clients->n; i++)
        if (sv_eq(clients->items[i].id, id))
            return &clients->items[i];
    return NULL;
}

bool client_may(const struct client *client, sv datastore_id, int64_t now_ms)
{
    sv rest = client->datastores, id;
    if (client->is_disabled || (client->expires_ms && now_ms >= client->expires_ms))
        return false;
    if (rest.len == 0)
        return true;
    while (sv_cut(&rest, ' ', &id))
        if (sv_eq(id, datastore_id))
            return true;
    return false;
}
