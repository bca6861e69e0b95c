/* Authorization header and query of a request: "header line, then query line". */
#include "fuzz.h"

#include "codec/sigv4.h"

FUZZ(data)
{
    struct arena *a = arena_new(16u << 20);
    size_t nl = sv_find(data, '\n');
    struct sigv4_header headers[] = { { SV_LIT("Host"), SV_LIT("h") },
                                      { SV_LIT("X-Amz-Date"), SV_LIT("20261123T183000Z") },
                                      { SV_LIT("Authorization"), sv_head(data, nl) } };
    struct sigv4_request req = { .method = SV_LIT("POST"),
                                 .path = SV_LIT("/a/../b%20c//"),
                                 .query = sv_tail(data, nl + 1),
                                 .headers = headers,
                                 .n_headers = nl ? 3 : 2,
                                 .payload_hash = SV_LIT("UNSIGNED-PAYLOAD"),
                                 .normalize_path = true,
                                 .double_encode_path = true };
    struct sigv4_claim claim;
    struct err e;
    if (sigv4_claim_parse(a, &req, &claim, &e) == ERR_OK) {
        struct sigv4_expect x = { .region = SV_LIT("us-east-1"),
                                  .service = SV_LIT("healthlake"),
                                  .now_ms = 1795458600000,
                                  .skew_s = 900,
                                  .secret_key = SV_LIT("secret") };
        MUST(claim.signature.len == 64 && claim.scope.date.len == 8);
        MUST(sigv4_verify(a, &req, &claim, &x, &e) != ERR_INTERNAL);
    }
    arena_free(a);
}
