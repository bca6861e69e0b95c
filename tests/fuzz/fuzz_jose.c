/* A token, or a set of keys and a token behind a line break: headers, keys, base64url. */
#include "fuzz.h"

#include "codec/jose/jose.h"

FUZZ(data)
{
    struct arena *a = arena_new(4u << 20);
    struct jose_keys *keys = NULL;
    struct jose_jws jws;
    struct err e;
    sv rest = data, first, bytes, text;
    if (sv_cut(&rest, '\n', &first) && jose_keys_read(first, &keys, &e) == ERR_OK)
        MUST(jose_keys_count(keys) > 0 && jose_keys_count(keys) <= JOSE_KEYS_MAX);
    if (jose_jws_read(a, rest.ptr ? rest : data, &jws, &e) == ERR_OK) {
        MUST(jws.alg < JOSE_N_ALGS);
        /* no key of the fuzzer's has a private half */
        if (keys)
            MUST(jose_jws_verify(&jws, keys, JOSE_ALGS_ALL, &e) != ERR_OK || jws.signature.len);
    }
    if (jose_base64url_decode(a, data, &bytes, &e) == ERR_OK) {
        MUST(jose_base64url(a, bytes, &text, &e) == ERR_OK);
        MUST(sv_eq(text, data));
    }
    jose_keys_free(keys);
    arena_free(a);
}
