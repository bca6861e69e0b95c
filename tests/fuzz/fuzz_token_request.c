/* A form for the token endpoint, and the same text as a file of clients. Nobody here can sign, so
 * there is never a token. */
#include "fuzz.h"

#include "auth/issue/issue.h"
#include "base/file.h"
#include "codec/jose/jose.h"

static char folder[64] = "/tmp/fhirlake-fuzz-XXXXXX", file[80], keys[80];

static void clean_up(void)
{
    struct err ignored;
    IGNORE(file_remove_tree(folder, &ignored));
}

static struct issue *open_once(void)
{
    static struct issue *issue;
    struct records *records;
    struct err e;
    if (issue)
        return issue;
    MUST(mkdtemp(folder) != NULL && atexit(clean_up) == 0);
    (void)snprintf(keys, sizeof keys, "%s/keys", folder);
    (void)snprintf(file, sizeof file, "%s/clients", folder);
    MUST(
        file_write_atomic(file,
                          SV_LIT("[app]\njwks = {\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
                                 "\"kid\":\"k\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
                                 "\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}\n"
                                 "scope = system/*.rs\nalgorithms = ES256 ES384\n"),
                          &e) == ERR_OK);
    MUST(records_open(NULL, &records, &e) == ERR_OK);
    const struct issue_config cfg = { .clients = file, .keys = keys, .records = records };
    MUST(issue_open(&cfg, 1800000000000, &issue, &e) == ERR_OK);
    return issue;
}

FUZZ(data)
{
    static uint64_t now_us;
    struct arena *a = arena_new(16u << 20);
    struct clients *clients;
    struct issue_answer out;
    struct err e = { 0 };
    /* so that no failure before this one counts */
    now_us += 61000000;
    const struct issue_ask ask = { .base = SV_LIT("http://h/datastore/d/r4"),
                                   .datastore_id = SV_LIT("d"),
                                   .v2 = true,
                                   .peer = SV_LIT("192.0.2.1"),
                                   .content_type = SV_LIT("application/x-www-form-urlencoded"),
                                   .query = SV_LIT(""),
                                   .form = data,
                                   .now_ms = 1800000000000,
                                   .mono_us = now_us };
    issue_token(open_once(), a, &ask, &out);
    MUST(out.error && out.description && out.why && out.token.len == 0);
    MUST(out.status == 400 || out.status == 401);
    if (clients_parse(data, &clients, &e) == ERR_OK) {
        for (size_t i = 0; i < clients_count(clients); i++) {
            const struct client *c = clients_at(clients, i);
            MUST(c->n_scopes && c->algs && c->ring && clients_find(clients, c->id) == c);
        }
        clients_free(clients);
    } else {
        MUST(e.msg[0]);
    }
    arena_free(a);
}
