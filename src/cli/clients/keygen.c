/* keygen.c - the command `fhirlake client keygen`: a key for a client's first try.
 *
 *   FILE         the private JWK, for the client's configuration; its owner's alone
 *   FILE.public  the public one, for `fhirlake client add --jwks` */
#include "cli/clients/clients.h"

#include "base/file.h"
#include "cli/options.h"
#include "codec/jose/jose.h"

#include <limits.h>
#include <unistd.h>

struct options {
    const char *algorithm;
};
static const struct cli_option table[] = {
    { "algorithm", "ES384|RS384", "of the key [ES384]", offsetof(struct options, algorithm) },
};

static err_code make(const char *path, const struct options *o, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    CLEANUP(jose_signer_free) struct jose_signer *s = NULL;
    char public[PATH_MAX];
    jose_alg alg = JOSE_ES384;
    sv secret, shown;
    if (o->algorithm &&
        (!jose_alg_find(sv_from(o->algorithm), &alg) || (alg != JOSE_ES384 && alg != JOSE_RS384)))
        return ERR(e, ERR_INVALID, "--algorithm takes ES384 or RS384");
    int n = snprintf(public, sizeof public, "%s.public", path);
    if (n <= 0 || n >= PATH_MAX)
        return ERR(e, ERR_INVALID, "the path is too long");
    if (access(path, F_OK) == 0 || access(public, F_OK) == 0)
        return ERR(e, ERR_EXISTS,
                   "%.200s or %.200s is there already; nothing is written over a key", path,
                   public);
    TRY(jose_signer_make(alg, &s, e));
    TRY(jose_signer_secret(s, a, &secret, e));
    TRY(jose_signer_public(s, a, &shown, e));
    sv private_text = ARENA_JOIN(a, secret, SV_LIT("\n"));
    sv public_text = ARENA_JOIN(a, SV_LIT("{\"keys\":["), shown, SV_LIT("]}\n"));
    if (private_text.ptr == NULL || public_text.ptr == NULL)
        return arena_oom(a, e);
    TRY(file_write_atomic(path, private_text, e));
    TRY(file_write_atomic(public, public_text, e));
    (void)printf("%s         the private key: the client keeps it, and nobody else\n"
                 "%s.public  the public key. Register the client with it:\n\n"
                 "  fhirlake client add ID --jwks %s.public --scope \"system/*.rs\"\n",
                 path, path, path);
    return ERR_OK;
}

int cli_keygen(int argc, char **argv)
{
    struct options o = { 0 };
    struct err e = { 0 };
    const char *path = NULL;
    size_t n;
    bool help;
    err_code rc = cli_options_read(table, 1, argc, argv, &o, &path, 1, &n, &help, &e);
    if (rc == ERR_OK && help) {
        (void)puts(
            "Usage: fhirlake client keygen FILE [--algorithm ES384|RS384]\n\n"
            "Write a new private key to FILE and its public part to FILE.public, as JWKs.\n");
        cli_options_print(table, 1, stdout);
        return 0;
    }
    if (rc == ERR_OK && n == 0)
        rc = ERR(&e, ERR_INVALID, "fhirlake client keygen takes the name of a new file");
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake client keygen: %s\n", e.msg);
        return 2;
    }
    if (make(path, &o, &e) == ERR_OK)
        return 0;
    (void)fprintf(stderr, "fhirlake client keygen: %s\n", e.msg);
    return 1;
}
