/* alg.c - the table of algorithms. One that is not in it does not exist for us: none and HS256 have
 * no row, so no token can ask for them. */
#include "codec/jose/jose_private.h"

const struct jose_form jose_forms[JOSE_N_ALGS] = {
    [JOSE_RS256] = { "RS256", JOSE_RSA, "SHA256", NULL, NULL, 0 },
    [JOSE_RS384] = { "RS384", JOSE_RSA, "SHA384", NULL, NULL, 0 },
    [JOSE_RS512] = { "RS512", JOSE_RSA, "SHA512", NULL, NULL, 0 },
    [JOSE_PS256] = { "PS256", JOSE_RSA_PSS, "SHA256", NULL, NULL, 0 },
    [JOSE_PS384] = { "PS384", JOSE_RSA_PSS, "SHA384", NULL, NULL, 0 },
    [JOSE_PS512] = { "PS512", JOSE_RSA_PSS, "SHA512", NULL, NULL, 0 },
    [JOSE_ES256] = { "ES256", JOSE_EC, "SHA256", "P-256", "prime256v1", 32 },
    [JOSE_ES384] = { "ES384", JOSE_EC, "SHA384", "P-384", "secp384r1", 48 },
    [JOSE_ES512] = { "ES512", JOSE_EC, "SHA512", "P-521", "secp521r1", 66 },
    [JOSE_EDDSA] = { "EdDSA", JOSE_ED25519, NULL, "Ed25519", NULL, 32 },
};

bool jose_alg_find(sv name, jose_alg *out)
{
    for (unsigned i = 0; i < JOSE_N_ALGS; i++)
        if (sv_eq_cstr(name, jose_forms[i].name)) {
            *out = (jose_alg)i;
            return true;
        }
    return false;
}
