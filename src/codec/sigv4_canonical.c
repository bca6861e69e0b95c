#include "codec/sigv4.h"

#include "codec/hash.h"
#include "codec/instant.h"
#include "codec/uri.h"

#define MAX_PAIRS   128u
#define MAX_HEADERS 128u
#define AS_TEXT     65536u

#define CANONICAL_MAX (1u << 20)
#define USUAL_BYTES   1024u /* of a canonical request: taken at once */

#define ALGORITHM SV_LIT("AWS4-HMAC-SHA256")

static err_code keep(struct arena *a, struct buf *b, sv *out, struct err *e)
{
    *out = arena_sv(a, buf_sv(b));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

/* ---- canonical request ---- */

/* Path without empty, "." and ".." segments (RFC 3986, 5.2.4), a trailing slash kept. */
static err_code normalize(struct arena *a, sv path, sv *out, struct err *e)
{
    sv *parts = arena_alloc(a, (path.len + 1) * sizeof *parts);
    if (parts == NULL)
        return arena_oom(a, e);
    size_t n = 0;
    sv rest = path, part;
    bool slash_at_end = path.len == 0 || path.ptr[path.len - 1] == '/';
    while (sv_cut(&rest, '/', &part)) {
        bool dot = sv_eq(part, SV_LIT(".")), up = sv_eq(part, SV_LIT(".."));
        if (rest.ptr == NULL && (dot || up))
            slash_at_end = true;
        if (up && n)
            n--;
        else if (part.len && !dot && !up)
            parts[n++] = part;
    }
    CLEANUP_BUF struct buf b = BUF_INIT(path.len + 2);
    for (size_t i = 0; i < n; i++) {
        TRY(buf_add_char(&b, '/', e));
        TRY(buf_add(&b, parts[i], e));
    }
    if (n == 0 || slash_at_end)
        TRY(buf_add_char(&b, '/', e));
    return keep(a, &b, out, e);
}

/* Nothing in it that normalize() would take out. */
static bool is_normal(sv path)
{
    for (size_t i = 0; i + 1 < path.len; i++)
        if (path.ptr[i] == '/' && (path.ptr[i + 1] == '/' || path.ptr[i + 1] == '.'))
            return false;
    return path.ptr[0] == '/';
}

static err_code canonical_path(struct arena *a, const struct sigv4_request *req, struct buf *b,
                               struct err *e)
{
    sv path = req->path.len ? req->path : SV_LIT("/");
    if (req->normalize_path && !is_normal(path))
        TRY(normalize(a, path, &path, e));
    return req->double_encode_path ? uri_encode(path, true, b, e) : buf_add(b, path, e);
}

struct pair {
    sv name, value; /* encoded anew */
};

static int pair_cmp(const void *x, const void *y)
{
    const struct pair *p = x, *q = y;
    int c = sv_cmp(p->name, q->name);
    return c ? c : sv_cmp(p->value, q->value);
}

/* Decoded and encoded again, so that every way of writing a character comes out the same; a plus sign is a blank, as
 * for whoever reads the query, so that a text with another meaning has another signature. A text whose escapes are
 * broken is encoded as it stands. */
static err_code recode(struct arena *a, sv text, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf plain = BUF_INIT(AS_TEXT), coded = BUF_INIT(3 * AS_TEXT);
    if (uri_decode(text, true, &plain, NULL) == ERR_OK)
        text = buf_sv(&plain);
    TRY(uri_encode(text, false, &coded, e));
    return keep(a, &coded, out, e);
}

static err_code canonical_query(struct arena *a, sv query, struct buf *b, struct err *e)
{
    struct uri_pair *in;
    size_t n, k = 0;
    if (query.len == 0)
        return ERR_OK;
    TRY(uri_query_split(a, query, MAX_PAIRS, &in, &n, e));
    struct pair *pairs = arena_alloc(a, (n + 1) * sizeof *pairs);
    if (pairs == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++) {
        if (sv_eq(in[i].name, SV_LIT("X-Amz-Signature")))
            continue;
        TRY(recode(a, in[i].name, &pairs[k].name, e));
        TRY(recode(a, in[i].value, &pairs[k].value, e));
        k++;
    }
    qsort(pairs, k, sizeof *pairs, pair_cmp);
    for (size_t i = 0; i < k; i++) {
        if (i)
            TRY(buf_add_char(b, '&', e));
        TRY(buf_add(b, pairs[i].name, e));
        TRY(buf_add_char(b, '=', e));
        TRY(buf_add(b, pairs[i].value, e));
    }
    return ERR_OK;
}

/* Header value without outer blanks, inner runs of blanks as one. */
static err_code trimmed(sv value, struct buf *b, struct err *e)
{
    value = sv_trim(value);
    TRY(buf_reserve(b, value.len, e));
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
        if (blank && i && b->len && b->ptr[b->len - 1] == ' ')
            continue;
        b->ptr[b->len++] = blank ? ' ' : c;
    }
    return ERR_OK;
}

/* "name:v1,v2\n" for every name in signed_headers; a name that the request lacks is an error. The session token alone
 * may be signed and absent: it counts as empty, which is what curl signs when it is given an empty one, and does not
 * send. */
static err_code canonical_headers(const struct sigv4_request *req, sv signed_headers, struct buf *b,
                                  struct err *e)
{
    sv rest = signed_headers, name;
    while (sv_cut(&rest, ';', &name)) {
        bool found = false;
        for (size_t i = 0; i < req->n_headers; i++) {
            if (!sv_eq_nocase(req->headers[i].name, name))
                continue;
            if (!found) {
                TRY(buf_add(b, name, e));
                TRY(buf_add_char(b, ':', e));
            } else {
                TRY(buf_add_char(b, ',', e));
            }
            TRY(trimmed(req->headers[i].value, b, e));
            found = true;
        }
        if (!found && sv_eq(name, SV_LIT("x-amz-security-token"))) {
            TRY(buf_add(b, SV_LIT("x-amz-security-token:\n"), e));
            continue;
        }
        if (!found)
            return ERR(e, ERR_AUTH_SIGNATURE, "signed header '%.*s' is not in the request",
                       SV_FMT(sv_head(name, 64)));
        TRY(buf_add_char(b, '\n', e));
    }
    return ERR_OK;
}

static err_code canonical_write(struct arena *a, const struct sigv4_request *req, sv signed_headers,
                                struct buf *b, struct err *e)
{
    TRY(buf_reserve(b, USUAL_BYTES, e));
    TRY(buf_add(b, req->method, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(canonical_path(a, req, b, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(canonical_query(a, req->query, b, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(canonical_headers(req, signed_headers, b, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(buf_add(b, signed_headers, e));
    TRY(buf_add_char(b, '\n', e));
    return buf_add(b, req->payload_hash, e);
}

err_code sigv4_canonical_request(struct arena *a, const struct sigv4_request *req,
                                 sv signed_headers, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(CANONICAL_MAX);
    TRY(canonical_write(a, req, signed_headers, &b, e));
    return keep(a, &b, out, e);
}

/* ---- string to sign, key, signature ---- */

err_code sigv4_string_to_sign(struct arena *a, sv amz_date, const struct sigv4_scope *scope,
                              sv canonical_request, sv *out, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_sha256_of(canonical_request, digest);
    hash_hex(digest, SHA256_LEN, hex);
    const sv parts[] = { SV_LIT("AWS4-HMAC-SHA256\n"),
                         amz_date,
                         SV_LIT("\n"),
                         scope->date,
                         SV_LIT("/"),
                         scope->region,
                         SV_LIT("/"),
                         scope->service,
                         SV_LIT("/aws4_request\n"),
                         sv_make(hex, sizeof hex) };
    *out = arena_join(a, parts, sizeof parts / sizeof parts[0]);
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

void sigv4_signing_key(sv secret, const struct sigv4_scope *scope, unsigned char out[32])
{
    char first[256] = "AWS4"; /* AWS secrets have 40 characters; the credentials file allows 200 */
    size_t n = secret.len < sizeof first - 4 ? secret.len : sizeof first - 4;
    unsigned char k[SHA256_LEN];
    memcpy(first + 4, secret.ptr ? secret.ptr : "", n);
    hash_hmac_sha256(sv_make(first, n + 4), scope->date, k);
    hash_hmac_sha256(sv_make(k, sizeof k), scope->region, k);
    hash_hmac_sha256(sv_make(k, sizeof k), scope->service, k);
    hash_hmac_sha256(sv_make(k, sizeof k), SV_LIT("aws4_request"), out);
    memset(first, 0, sizeof first);
}

void sigv4_signature(const unsigned char key[32], sv string_to_sign, char out[64])
{
    unsigned char mac[SHA256_LEN];
    hash_hmac_sha256(sv_make(key, 32), string_to_sign, mac);
    hash_hex(mac, sizeof mac, out);
}

static err_code signature_of(struct arena *a, const struct sigv4_request *req, sv signed_headers,
                             sv amz_date, const struct sigv4_scope *scope, sv secret,
                             const struct hash_hmac_key *known_key, char out[64], struct err *e)
{
    CLEANUP_BUF struct buf canonical = BUF_INIT(CANONICAL_MAX);
    sv to_sign;
    unsigned char key[32], mac[SHA256_LEN];
    struct hash_hmac_key made;
    TRY(canonical_write(a, req, signed_headers, &canonical, e));
    TRY(sigv4_string_to_sign(a, amz_date, scope, buf_sv(&canonical), &to_sign, e));
    if (known_key == NULL) {
        sigv4_signing_key(secret, scope, key);
        hash_hmac_key_set(&made, sv_make(key, sizeof key));
        known_key = &made;
    }
    hash_hmac_sha256_with(known_key, to_sign, mac);
    hash_hex(mac, sizeof mac, out);
    return ERR_OK;
}

/* ---- signing ---- */

static int sv_order(const void *x, const void *y)
{
    return sv_cmp(*(const sv *)x, *(const sv *)y);
}

/* Lower-case names of all headers of req, sorted, each once, joined by ';'. */
static err_code header_names(struct arena *a, const struct sigv4_request *req, sv *out,
                             struct err *e)
{
    sv *names = arena_alloc(a, (req->n_headers + 1) * sizeof *names);
    if (names == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < req->n_headers; i++) {
        char *s = arena_str(a, req->headers[i].name);
        if (s == NULL)
            return arena_oom(a, e);
        for (char *p = s; *p; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p + 32);
        names[i] = sv_from(s);
    }
    qsort(names, req->n_headers, sizeof *names, sv_order);
    CLEANUP_BUF struct buf b = BUF_INIT(AS_TEXT);
    for (size_t i = 0; i < req->n_headers; i++) {
        if (i && sv_eq(names[i], names[i - 1]))
            continue;
        if (i)
            TRY(buf_add_char(&b, ';', e));
        TRY(buf_add(&b, names[i], e));
    }
    return keep(a, &b, out, e);
}

err_code sigv4_sign(struct arena *a, const struct sigv4_request *req, sv amz_date,
                    const struct sigv4_scope *scope, const struct sigv4_credentials *cred,
                    sv *out_authorization, struct err *e)
{
    sv names;
    char signature[64];
    TRY(header_names(a, req, &names, e));
    TRY(signature_of(a, req, names, amz_date, scope, cred->secret_key, NULL, signature, e));
    *out_authorization = arena_fmt(
        a,
        "AWS4-HMAC-SHA256 Credential=%.*s/%.*s/%.*s/%.*s/aws4_request, SignedHeaders=%.*s, "
        "Signature=%.*s",
        SV_FMT(cred->access_key_id), SV_FMT(scope->date), SV_FMT(scope->region),
        SV_FMT(scope->service), SV_FMT(names), 64, signature);
    return out_authorization->ptr ? ERR_OK : arena_oom(a, e);
}

/* ---- reading a claim ---- */

static sv header(const struct sigv4_request *req, const char *name)
{
    for (size_t i = 0; i < req->n_headers; i++)
        if (sv_eq_nocase(req->headers[i].name, sv_from(name)))
            return sv_trim(req->headers[i].value);
    return SV_NONE;
}

/* "AKID/20261123/us-east-1/healthlake/aws4_request". The key id itself may not hold a slash. */
static err_code parse_credential(sv text, struct sigv4_claim *c, struct err *e)
{
    sv rest = text, last = SV_NONE;
    bool ok = sv_cut(&rest, '/', &c->access_key_id) && sv_cut(&rest, '/', &c->scope.date) &&
              sv_cut(&rest, '/', &c->scope.region) && sv_cut(&rest, '/', &c->scope.service) &&
              sv_cut(&rest, '/', &last);
    uint64_t n;
    if (!ok || rest.ptr || !sv_eq(last, SV_LIT("aws4_request")) || c->access_key_id.len == 0 ||
        c->access_key_id.len > 128 || c->scope.date.len != 8 || !sv_to_u64(c->scope.date, &n))
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Credential must have exactly 5 slash-delimited elements, "
                   "keyid/date/region/service/aws4_request");
    return ERR_OK;
}

/* Lower-case names; their order is the signer's affair, the signature covers it. */
static bool header_list_ok(sv list)
{
    sv rest = list, name;
    size_t n = 0;
    while (sv_cut(&rest, ';', &name)) {
        if (name.len == 0 || ++n > MAX_HEADERS)
            return false;
        for (size_t i = 0; i < name.len; i++)
            if (name.ptr[i] <= ' ' || (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z') ||
                name.ptr[i] == ':' || (unsigned char)name.ptr[i] >= 0x7F)
                return false;
    }
    return n > 0;
}

static err_code finish_claim(struct sigv4_claim *c, struct err *e)
{
    if (!sv_is_hex(c->signature, 64))
        return ERR(e, ERR_AUTH_INCOMPLETE, "Signature must be 64 lower-case hexadecimal digits");
    if (!header_list_ok(c->signed_headers))
        return ERR(e, ERR_AUTH_INCOMPLETE, "SignedHeaders must be lower-case names joined by ';'");
    if (!instant_parse_basic(c->amz_date, &c->date_ms))
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Date must be in ISO-8601 'basic format', as in 20260131T235959Z");
    if (!sv_eq(sv_head(c->amz_date, 8), c->scope.date))
        return ERR(e, ERR_AUTH_SIGNATURE,
                   "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
                   "from HTTP");
    return ERR_OK;
}

/* The Date header, in HTTP's own form or the basic one; the string to sign always has the basic one. */
static err_code date_header(struct arena *a, const struct sigv4_request *req, sv *out,
                            struct err *e)
{
    int64_t ms;
    char basic[16];
    sv date = header(req, "date");
    if (!instant_parse_http(date, &ms)) {
        *out = date;
        return ERR_OK;
    }
    instant_format_basic(ms, basic);
    *out = arena_sv(a, sv_make(basic, sizeof basic));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

static err_code parse_header(struct arena *a, const struct sigv4_request *req, sv auth,
                             struct sigv4_claim *c, struct err *e)
{
    sv credential = SV_NONE;
    size_t blank = sv_find(auth, ' ');
    if (!sv_eq(sv_head(auth, blank), ALGORITHM))
        return ERR(e, ERR_AUTH_INCOMPLETE, "Authorization header must begin with AWS4-HMAC-SHA256");
    sv rest = sv_tail(auth, blank), part;
    while (sv_cut(&rest, ',', &part)) {
        part = sv_trim(part);
        size_t eq = sv_find(part, '=');
        sv name = sv_head(part, eq), value = sv_trim(sv_tail(part, eq + 1));
        sv *slot = sv_eq(name, SV_LIT("Credential"))      ? &credential
                   : sv_eq(name, SV_LIT("SignedHeaders")) ? &c->signed_headers
                   : sv_eq(name, SV_LIT("Signature"))     ? &c->signature
                                                          : NULL;
        if (slot == NULL || slot->ptr != NULL || eq == part.len)
            return ERR(e, ERR_AUTH_INCOMPLETE,
                       "Authorization header must hold Credential, SignedHeaders and Signature, "
                       "each once, joined by ','");
        *slot = value;
    }
    if (credential.len == 0)
        return ERR(e, ERR_AUTH_INCOMPLETE, "Authorization header requires 'Credential' parameter");
    if (c->signature.len == 0)
        return ERR(e, ERR_AUTH_INCOMPLETE, "Authorization header requires 'Signature' parameter");
    if (c->signed_headers.len == 0)
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Authorization header requires 'SignedHeaders' parameter");
    c->amz_date = header(req, "x-amz-date");
    if (c->amz_date.ptr == NULL)
        TRY(date_header(a, req, &c->amz_date, e));
    if (c->amz_date.ptr == NULL)
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' "
                   "header");
    c->session_token = header(req, "x-amz-security-token");
    TRY(parse_credential(credential, c, e));
    return finish_claim(c, e);
}

static err_code decoded(struct arena *a, sv text, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(AS_TEXT);
    if (uri_decode(text, false, &b, NULL) != ERR_OK)
        return ERR(e, ERR_AUTH_INCOMPLETE, "signature parameters in the query are badly encoded");
    return keep(a, &b, out, e);
}

static err_code parse_query(struct arena *a, const struct uri_pair *pairs, size_t n,
                            struct sigv4_claim *c, struct err *e)
{
    struct {
        const char *name;
        sv value;
        bool optional;
    } want[] = { { "X-Amz-Algorithm", SV_NONE, false },     { "X-Amz-Credential", SV_NONE, false },
                 { "X-Amz-Date", SV_NONE, false },          { "X-Amz-Expires", SV_NONE, false },
                 { "X-Amz-SignedHeaders", SV_NONE, false }, { "X-Amz-Signature", SV_NONE, false },
                 { "X-Amz-Security-Token", SV_NONE, true } };
    enum { ALG, CRED, DATE, EXPIRES, NAMES, SIG, TOKEN, N };
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < N; k++)
            if (sv_eq_cstr(pairs[i].name, want[k].name)) {
                if (want[k].value.ptr)
                    return ERR(e, ERR_AUTH_INCOMPLETE, "query parameter %s stands twice",
                               want[k].name);
                TRY(decoded(a, pairs[i].value, &want[k].value, e));
            }
    for (size_t k = 0; k < N; k++)
        if (want[k].value.len == 0 && !want[k].optional)
            return ERR(e, ERR_AUTH_INCOMPLETE, "AWS query-string parameters must include '%s'",
                       want[k].name);
    if (!sv_eq(want[ALG].value, ALGORITHM))
        return ERR(e, ERR_AUTH_INCOMPLETE, "X-Amz-Algorithm must be AWS4-HMAC-SHA256");
    uint64_t expires;
    if (!sv_to_u64(want[EXPIRES].value, &expires) || expires < 1 || expires > 604800)
        return ERR(e, ERR_AUTH_INCOMPLETE, "X-Amz-Expires must be a number from 1 to 604800");
    c->presigned = true;
    c->expires_s = (uint32_t)expires;
    c->amz_date = want[DATE].value;
    c->signed_headers = want[NAMES].value;
    c->signature = want[SIG].value;
    c->session_token = want[TOKEN].value;
    TRY(parse_credential(want[CRED].value, c, e));
    return finish_claim(c, e);
}

err_code sigv4_claim_parse(struct arena *a, const struct sigv4_request *req,
                           struct sigv4_claim *out, struct err *e)
{
    struct sigv4_claim c = { 0 };
    struct uri_pair *pairs;
    size_t n;
    TRY(uri_query_split(a, req->query, MAX_PAIRS, &pairs, &n, e));
    bool in_query = false;
    for (size_t i = 0; i < n; i++)
        in_query |= sv_eq(pairs[i].name, SV_LIT("X-Amz-Signature")) ||
                    sv_eq(pairs[i].name, SV_LIT("X-Amz-Algorithm"));
    sv auth = header(req, "authorization");
    if (auth.ptr && in_query)
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "request is signed both by header and in the query; use one");
    if (!auth.ptr && !in_query)
        return ERR(e, ERR_AUTH_MISSING, "Missing Authentication Token");
    TRY(in_query ? parse_query(a, pairs, n, &c, e) : parse_header(a, req, auth, &c, e));
    *out = c;
    return ERR_OK;
}

/* ---- verifying ---- */

bool sigv4_is_signed(const struct sigv4_claim *c, sv name)
{
    sv rest = c->signed_headers, one;
    while (sv_cut(&rest, ';', &one))
        if (sv_eq_nocase(one, name))
            return true;
    return false;
}

/* What a caller may not leave unsigned: the host, and everything of AWS's own that changes meaning.
 */
static err_code check_coverage(const struct sigv4_request *req, const struct sigv4_claim *c,
                               struct err *e)
{
    if (!sigv4_is_signed(c, SV_LIT("host")))
        return ERR(e, ERR_AUTH_SIGNATURE, "'Host' must be a signed header");
    for (size_t i = 0; i < req->n_headers; i++) {
        sv name = req->headers[i].name;
        bool must = sv_eq_nocase(sv_head(name, 6), SV_LIT("x-amz-"));
        /* some clients sign neither; what they say is compared with the body or the key below */
        if (sv_eq_nocase(name, SV_LIT("x-amz-content-sha256")) ||
            sv_eq_nocase(name, SV_LIT("x-amz-user-agent")))
            must = false;
        if (must && !sigv4_is_signed(c, name))
            return ERR(e, ERR_AUTH_SIGNATURE, "header '%.*s' must be signed",
                       SV_FMT(sv_head(name, 64)));
    }
    return ERR_OK;
}

static err_code check_clock(const struct sigv4_claim *c, const struct sigv4_expect *x,
                            struct err *e)
{
    char now[16];
    int64_t skew_ms = x->skew_s * 1000;
    int64_t life_ms = c->presigned ? (int64_t)c->expires_s * 1000 : skew_ms;
    if (c->date_ms + life_ms >= x->now_ms && c->date_ms - skew_ms <= x->now_ms)
        return ERR_OK;
    instant_format_basic(x->now_ms, now);
    if (c->date_ms + life_ms < x->now_ms)
        return ERR(e, ERR_AUTH_EXPIRED, "Signature expired: %.*s is now earlier than %.16s",
                   SV_FMT(c->amz_date), now);
    return ERR(e, ERR_AUTH_EXPIRED, "Signature not yet current: %.*s is still later than %.16s",
               SV_FMT(c->amz_date), now);
}

static bool has_run_of_slashes(sv path)
{
    for (size_t i = 0; i + 1 < path.len; i++)
        if (path.ptr[i] == '/' && path.ptr[i + 1] == '/')
            return true;
    return false;
}

err_code sigv4_precheck(const struct sigv4_request *req, const struct sigv4_claim *claim,
                        const struct sigv4_expect *x, struct err *e)
{
    if (!sv_eq(claim->scope.region, x->region))
        return ERR(e, ERR_AUTH_SIGNATURE,
                   "Credential should be scoped to a valid region, which here is '%.*s'",
                   SV_FMT(x->region));
    if (!sv_eq(claim->scope.service, x->service))
        return ERR(e, ERR_AUTH_SIGNATURE, "Credential should be scoped to correct service: '%.*s'",
                   SV_FMT(x->service));
    if (!hash_equal(claim->session_token, x->session_token))
        return ERR(e, ERR_AUTH_UNKNOWN_KEY,
                   "The security token included in the request is invalid");
    TRY(check_clock(claim, x, e));
    return check_coverage(req, claim, e);
}

static err_code fits(struct arena *a, const struct sigv4_request *req,
                     const struct sigv4_claim *claim, const struct sigv4_expect *x, bool *out,
                     struct err *e)
{
    char want[64];
    TRY(signature_of(a, req, claim->signed_headers, claim->amz_date, &claim->scope, x->secret_key,
                     x->signing_key, want, e));
    *out = hash_equal(sv_make(want, 64), claim->signature);
    return ERR_OK;
}

/* Some signers take what normalize() takes out of a path out of what they sign, and some (curl) do not. Both are taken
 * for a path with runs of slashes, which are one to whoever reads it; so no two meanings share a signature. */
err_code sigv4_verify(struct arena *a, const struct sigv4_request *req,
                      const struct sigv4_claim *claim, const struct sigv4_expect *x, struct err *e)
{
    bool good;
    TRY(sigv4_precheck(req, claim, x, e));
    TRY(fits(a, req, claim, x, &good, e));
    if (!good && req->normalize_path && has_run_of_slashes(req->path)) {
        struct sigv4_request raw = *req;
        raw.normalize_path = false;
        TRY(fits(a, &raw, claim, x, &good, e));
    }
    if (!good)
        return ERR(e, ERR_AUTH_SIGNATURE,
                   "The request signature we calculated does not match the signature you provided; "
                   "check your AWS secret access key and signing method");
    return ERR_OK;
}
