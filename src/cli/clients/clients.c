/* clients.c - the command `fhirlake client`: registers clients for the token endpoint of a server,
 * lists and removes them.
 *
 * They stand in one file, which a running server reads again when it changes. What is written was
 * read back as the server reads it, and takes the place of the file before at one stroke; two
 * commands at a time come one after the other. Lines that people wrote stay as they are. */
#include "cli/clients/clients.h"

#include "auth/issue/issue.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/options.h"
#include "codec/jose/jose.h"
#include "codec/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (32u << 20)

struct options {
    const char *data, *file, *jwks, *jwks_url, *scope, *datastore, *name, *algorithms, *expires;
    const char *endpoint;
};
#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "data", "DIR", "the server's data folder [./fhirlake-data]", O(data) },
    { "file", "FILE", "as the server's --smart-clients [DATA/smart-clients]", O(file) },
    { "jwks", "FILE", "add: the client's public keys, a JWKS or one JWK", O(jwks) },
    { "jwks-url", "URL", "add: where it publishes them, https", O(jwks_url) },
    { "scope", "SCOPES", "add: what it may get, \"system/*.rs\"", O(scope) },
    { "datastore", "IDS", "add: in these data stores alone, blanks between", O(datastore) },
    { "name", "TEXT", "add: for people", O(name) },
    { "algorithms", "NAMES", "add: of its assertions [RS384 ES384]", O(algorithms) },
    { "expires", "INSTANT", "add: it gets no token from then on", O(expires) },
    { "endpoint", "URL", "add: the server, for what is printed [http://127.0.0.1:8080]",
      O(endpoint) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake client add ID --jwks FILE|--jwks-url URL --scope SCOPES [options]\n"
        "       fhirlake client list\n"
        "       fhirlake client remove ID\n"
        "       fhirlake client keygen FILE [--algorithm ES384|RS384]\n\n"
        "Clients that get access tokens of this server itself (SMART Backend Services). A running\n"
        "server takes what is added and removed at once; one that had no such file is started "
        "anew.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 it was done, 1 it was not, 2 wrong usage.\n\n"
                "Example:\n"
                "  fhirlake client keygen my-key.json\n"
                "  fhirlake client add nightly --jwks my-key.json.public --scope "
                "\"system/*.rs\"\n",
                f);
}

struct work {
    struct options o;
    struct arena *a;
    char path[PATH_MAX];
    bool fresh; /* there was no file */
    int lock;
    struct buf text;
    struct clients *clients; /* as the text has them */
};

/* ---- the file ---- */

/* The folder is locked, since the file itself is replaced. */
static err_code lock_folder(struct work *w, struct err *e)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", w->path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder ? 1 : 0] = 0;
    else
        (void)snprintf(folder, sizeof folder, ".");
    w->lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->lock < 0)
        return ERR(e, ERR_NOT_FOUND, "there is no folder %.200s: give the server's --data", folder);
    while (flock(w->lock, LOCK_EX) != 0)
        if (errno != EINTR)
            return file_os_err(e, "the folder cannot be locked");
    return ERR_OK;
}

static err_code load(struct work *w, struct err *e)
{
    const char *data = w->o.data ? w->o.data : "./fhirlake-data";
    int n = w->o.file ? snprintf(w->path, sizeof w->path, "%s", w->o.file)
                      : snprintf(w->path, sizeof w->path, "%s/smart-clients", data);
    if (n <= 0 || n >= PATH_MAX)
        return ERR(e, ERR_INVALID, "the file's path is too long");
    TRY(lock_folder(w, e));
    err_code rc = file_read_private(w->path, &w->text, e);
    w->fresh = rc == ERR_NOT_FOUND;
    if (!w->fresh)
        TRY(rc);
    return clients_parse(w->text.len ? buf_sv(&w->text) : SV_LIT(""), &w->clients, e);
}

static err_code store(struct work *w, struct err *e)
{
    CLEANUP(clients_free) struct clients *all = NULL;
    struct stat folder;
    TRY(clients_parse(w->text.len ? buf_sv(&w->text) : SV_LIT(""), &all, e));
    TRY(file_write_atomic(w->path, buf_sv(&w->text), e));
    /* root writes it for the server's user, whose folder it is */
    if (geteuid() == 0 && fstat(w->lock, &folder) == 0 && folder.st_uid != 0 &&
        chown(w->path, folder.st_uid, folder.st_gid) != 0)
        return file_os_err(e, "the file is written, and belongs to root: give it to the server's "
                              "user; its owner cannot be changed");
    return ERR_OK;
}

/* ---- add ---- */

static err_code key_check(yyjson_val *jwk, struct err *e)
{
    static const char *const secret[] = { "d", "p", "q", "k" };
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++)
        if (json_get(jwk, secret[i]))
            return ERR(e, ERR_INVALID,
                       "a key of --jwks is a private one: the client keeps that to itself, and "
                       "gives the public key alone");
    if (json_string(json_get(jwk, "kid")).len == 0)
        return ERR(e, ERR_INVALID, "a key of --jwks has no kid, by which assertions name it");
    return ERR_OK;
}

/* The file's keys on one line; one JWK alone becomes a set. */
static err_code keys_line(struct work *w, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(CLIENT_JWKS_MAX), line = BUF_INIT(CLIENT_JWKS_MAX);
    struct json_writer j;
    yyjson_doc *doc;
    yyjson_val *one;
    err_code rc = file_read(w->o.jwks, &b, e);
    if (rc != ERR_OK)
        return ERR(e, rc, "--jwks %.200s cannot be read, or has more than %u bytes", w->o.jwks,
                   CLIENT_JWKS_MAX);
    struct err why;
    if (json_read(w->a, buf_sv(&b), JOSE_DEPTH, &doc, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "--jwks %.200s is no JSON: %.100s", w->o.jwks, why.msg);
    yyjson_val *root = yyjson_doc_get_root(doc), *keys = json_get(root, "keys");
    yyjson_arr_iter it = yyjson_arr_iter_with(keys);
    while ((one = yyjson_arr_iter_next(&it)) != NULL)
        TRY(key_check(one, e));
    if (keys == NULL)
        TRY(key_check(root, e));
    json_writer_init(&j, &line);
    json_obj(&j);
    json_key(&j, "keys");
    if (keys == NULL)
        json_arr(&j);
    json_val(&j, keys ? keys : root);
    if (keys == NULL)
        json_arr_end(&j);
    json_obj_end(&j);
    TRY(json_writer_end(&j, e));
    *out = arena_sv(w->a, buf_sv(&line));
    return out->ptr ? ERR_OK : arena_oom(w->a, e);
}

static err_code line_add(struct work *w, const char *name, sv value, struct err *e)
{
    if (value.len == 0)
        return ERR_OK;
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] == '\n' || value.ptr[i] == '\r')
            return ERR(e, ERR_INVALID, "%s has a line break", name);
    TRY(buf_add(&w->text, sv_from(name), e));
    TRY(buf_add(&w->text, SV_LIT(" = "), e));
    TRY(buf_add(&w->text, value, e));
    return buf_add_char(&w->text, '\n', e);
}

static err_code section_add(struct work *w, sv id, struct err *e)
{
    const struct options *o = &w->o;
    sv keys = SV_NONE;
    if (o->jwks)
        TRY(keys_line(w, &keys, e));
    if (w->fresh)
        TRY(buf_add(&w->text,
                    SV_LIT("# Clients that get access tokens of this server: fhirlake client\n"),
                    e));
    else if (w->text.len && w->text.ptr[w->text.len - 1] != '\n')
        TRY(buf_add_char(&w->text, '\n', e));
    TRY(buf_add_fmt(&w->text, e, "\n[%.*s]\n", SV_FMT(id)));
    TRY(line_add(w, "name", sv_from(o->name), e));
    TRY(line_add(w, "jwks", keys, e));
    TRY(line_add(w, "jwks_url", sv_from(o->jwks_url), e));
    TRY(line_add(w, "scope", sv_from(o->scope), e));
    TRY(line_add(w, "datastores", sv_from(o->datastore), e));
    TRY(line_add(w, "algorithms", sv_from(o->algorithms), e));
    return line_add(w, "expires", sv_from(o->expires), e);
}

static void say_added(const struct work *w, const struct client *c)
{
    const char *server = w->o.endpoint ? w->o.endpoint : "http://127.0.0.1:8080";
    sv first = c->datastores, id;
    if (!sv_cut(&first, ' ', &id) || id.len == 0)
        id = SV_LIT("DATASTORE-ID");
    (void)printf("%.*s stands in %s now. %s\n\n", SV_FMT(c->id), w->path,
                 w->fresh ? "The file is new: start the server anew once, and it has a token "
                            "endpoint."
                          : "A running server knows it at once.");
    (void)printf("What the client is told:\n"
                 "  client id   %.*s\n"
                 "  FHIR URL    %s/datastore/%.*s/r4\n"
                 "  token URL   %s/datastore/%.*s/r4/" ISSUE_PATH "\n"
                 "  scope       %.*s\n"
                 "  algorithms  %.*s\n",
                 SV_FMT(c->id), server, SV_FMT(id), server, SV_FMT(id), SV_FMT(c->scope),
                 SV_FMT(c->algorithms.len ? c->algorithms : SV_LIT("RS384 ES384")));
    (void)printf("\nA data store takes its tokens when it was made with\n"
                 "  --identity-provider-configuration AuthorizationStrategy=SMART_ON_FHIR\n");
}

static err_code add(struct work *w, sv id, struct err *e)
{
    if (!client_id_ok(id))
        return ERR(e, ERR_INVALID, "an id has 1 to %u letters, digits, . and -", CLIENT_ID_MAX);
    if ((w->o.jwks == NULL) == (w->o.jwks_url == NULL))
        return ERR(e, ERR_INVALID, "give one of --jwks FILE and --jwks-url URL");
    if (w->o.scope == NULL)
        return ERR(e, ERR_INVALID, "--scope is missing; it takes %s", CLIENT_SCOPES_SAID);
    if (clients_find(w->clients, id))
        return ERR(e, ERR_EXISTS, "%.*s is there already; fhirlake client remove %.*s first",
                   SV_FMT(id), SV_FMT(id));
    TRY(section_add(w, id, e));
    TRY(store(w, e));
    CLEANUP(clients_free) struct clients *now = NULL;
    TRY(clients_parse(buf_sv(&w->text), &now, e));
    say_added(w, clients_find(now, id));
    return ERR_OK;
}

/* ---- list, remove ---- */

static err_code list(const struct work *w)
{
    const int64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < clients_count(w->clients); i++) {
        const struct client *c = clients_at(w->clients, i);
        (void)printf("%.*s\n", SV_FMT(c->id));
        if (c->name.len)
            (void)printf("  name        %.*s\n", SV_FMT(c->name));
        (void)printf(
            "  scope       %.*s\n  datastores  %.*s\n  keys        %.*s\n", SV_FMT(c->scope),
            SV_FMT(c->datastores.len ? c->datastores : SV_LIT("all that use the token endpoint")),
            SV_FMT(c->jwks_url.len ? c->jwks_url : SV_LIT("in the file")));
        if (c->algorithms.len)
            (void)printf("  algorithms  %.*s\n", SV_FMT(c->algorithms));
        if (c->expires.len)
            (void)printf("  expires     %.*s%s\n", SV_FMT(c->expires),
                         now_ms >= c->expires_ms ? " (it has)" : "");
        if (c->is_disabled)
            (void)printf("  disabled\n");
    }
    if (clients_count(w->clients) == 0)
        (void)printf("There are no clients in %s\n", w->path);
    return ERR_OK;
}

static err_code remove_one(struct work *w, sv id, struct err *e)
{
    CLEANUP_BUF struct buf left = BUF_INIT(CLIENTS_MAX_BYTES);
    sv rest = buf_sv(&w->text), line;
    bool inside = false;
    if (clients_find(w->clients, id) == NULL)
        return ERR(e, ERR_NOT_FOUND, "%.*s is not in %.200s; fhirlake client list shows who is",
                   SV_FMT(sv_head(id, CLIENT_ID_MAX)), w->path);
    while (sv_cut(&rest, '\n', &line)) {
        sv text = sv_trim(line);
        if (text.len && text.ptr[text.len - 1] == '\r')
            text.len--;
        if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
            inside = sv_eq(sv_trim(sv_make(text.ptr + 1, text.len - 2)), id);
        if (inside)
            continue;
        TRY(buf_add(&left, line, e));
        if (rest.ptr)
            TRY(buf_add_char(&left, '\n', e));
    }
    buf_clear(&w->text);
    TRY(buf_add(&w->text, buf_sv(&left), e));
    TRY(store(w, e));
    (void)printf("%.*s is removed: it gets no token, and those that it has are refused by a "
                 "running server\n",
                 SV_FMT(id));
    return ERR_OK;
}

/* ---- the command ---- */

static err_code run(struct work *w, const char *const *args, size_t n, struct err *e)
{
    sv what = sv_from(args[0]), id = n > 1 ? sv_from(args[1]) : SV_NONE;
    TRY(load(w, e));
    if (sv_eq_cstr(what, "list"))
        return list(w);
    return sv_eq_cstr(what, "add") ? add(w, id, e) : remove_one(w, id, e);
}

static err_code check_usage(const char *const *args, size_t n, struct err *e)
{
    sv what = n ? sv_from(args[0]) : SV_NONE;
    bool lists = sv_eq_cstr(what, "list");
    if (!lists && !sv_eq_cstr(what, "add") && !sv_eq_cstr(what, "remove"))
        return ERR(e, ERR_INVALID,
                   "type: fhirlake client add, list, remove or keygen; see fhirlake client --help");
    if (n != (lists ? 1 : 2))
        return ERR(e, ERR_INVALID, "fhirlake client %s takes %s", args[0],
                   lists ? "no id" : "the client's id");
    return ERR_OK;
}

int cli_clients(int argc, char **argv)
{
    struct work w = { .lock = -1, .text = BUF_INIT(CLIENTS_MAX_BYTES) };
    struct err e = { 0 };
    const char *args[2];
    size_t n;
    bool help;
    if (argc > 1 && strcmp(argv[1], "keygen") == 0)
        return cli_keygen(argc - 1, argv + 1);
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &w.o, args, 2, &n, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return 0;
    }
    if (rc == ERR_OK)
        rc = check_usage(args, n, &e);
    int status = rc == ERR_OK ? 0 : 2;
    w.a = arena_new(MEMORY);
    if (rc == ERR_OK && run(&w, args, n, &e) != ERR_OK)
        status = 1;
    if (status)
        (void)fprintf(stderr, "fhirlake client: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
    clients_free(w.clients);
    buf_done(&w.text);
    arena_free(w.a);
    if (w.lock >= 0)
        (void)close(w.lock);
    return status;
}
