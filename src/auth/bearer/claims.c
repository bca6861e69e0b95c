/* claims.c - what a token says is held against what it must say: issuer, audience, time.
 *
 * A JWT's payload, a server's answer about a token and a function's payload are read by the same
 * rules. A reason is one of few fixed texts: it goes into the context of the error, for the log.
 * Source: RFC 7519, 4.1; RFC 9068; SMART App Launch 2.2, "Launch context". */
#include "auth/bearer/providers_private.h"

#include "codec/hash.h"
#include "fhir/types.h"

#define TIME_MOST 100000000000.0 /* seconds: the year 5138 */
#define TEXT_MAX  (16u << 10)    /* of all scopes */
#define NAME_HEX  16u            /* of a caller's name */

err_code claims_refused(struct err *e, const char *why)
{
    err_code rc = ERR(e, ERR_AUTH_SIGNATURE, "The access token is not accepted");
    err_context(e, "%s", why);
    return rc;
}

static err_code expired(struct err *e)
{
    err_code rc = ERR(e, ERR_AUTH_EXPIRED, "The access token has expired");
    err_context(e, "exp");
    return rc;
}

/* ---- time ---- */

/* A NumericDate; false: the member is there and is none. */
static bool time_of(yyjson_val *claims, const char *name, bool *there, int64_t *out)
{
    yyjson_val *v = json_get(claims, name);
    double seconds;
    *there = v != NULL;
    if (v == NULL)
        return true;
    if (!sv_to_double(json_number(v), &seconds) || !(seconds >= 0 && seconds < TIME_MOST))
        return false;
    *out = (int64_t)seconds;
    return true;
}

static err_code check_time(yyjson_val *claims, const struct claims_wanted *want, int64_t *exp_s,
                           struct err *e)
{
    int64_t now_s = want->now_ms / 1000, until = 0, from = 0, made = 0;
    bool has_until, has_from, has_made;
    if (!time_of(claims, "exp", &has_until, &until) || !has_until)
        return claims_refused(e, "exp is missing, or no time");
    if (!time_of(claims, "nbf", &has_from, &from) || (want->needs_start && !has_from))
        return claims_refused(e, "nbf is missing, or no time");
    if (!time_of(claims, "iat", &has_made, &made))
        return claims_refused(e, "iat is no time");
    if (until + CLAIMS_LEEWAY_S <= now_s)
        return expired(e);
    if ((has_from && from - CLAIMS_LEEWAY_S > now_s) ||
        (has_made && made - CLAIMS_LEEWAY_S > now_s))
        return claims_refused(e, "not yet valid");
    *exp_s = until;
    return ERR_OK;
}

/* ---- for whom, from whom ---- */

static sv without_slash(sv url)
{
    return url.len && url.ptr[url.len - 1] == '/' ? sv_head(url, url.len - 1) : url;
}

static bool is_ours(const struct claims_wanted *want, sv audience)
{
    sv rest = want->audience.len ? want->audience : want->endpoint, one;
    while (sv_cut(&rest, ' ', &one))
        if (one.len && sv_eq(without_slash(one), without_slash(audience)))
            return true;
    return false;
}

static err_code check_parties(yyjson_val *claims, const struct claims_wanted *want, struct err *e)
{
    yyjson_val *iss = json_get(claims, "iss"), *aud = json_get(claims, "aud"), *one;
    bool lacks = iss == NULL && want->may_lack_issuer;
    if (want->issuer.ptr && !lacks && !sv_eq(json_string(iss), want->issuer))
        return claims_refused(e, "iss");
    bool ours = is_ours(want, json_string(aud));
    yyjson_arr_iter it = yyjson_arr_iter_with(aud);
    while (!ours && (one = yyjson_arr_iter_next(&it)) != NULL)
        ours = is_ours(want, json_string(one));
    return ours ? ERR_OK : claims_refused(e, "aud");
}

/* ---- what it gives ---- */

/* A text, or a list of texts with blanks between. */
static err_code words_of(struct arena *a, yyjson_val *v, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(TEXT_MAX);
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    yyjson_val *one;
    if (yyjson_is_str(v)) {
        *out = json_string(v);
        return ERR_OK;
    }
    while ((one = yyjson_arr_iter_next(&it)) != NULL) {
        if (!yyjson_is_str(one))
            return claims_refused(e, "scope");
        if (buf_add(&b, json_string(one), NULL) != ERR_OK || buf_add_char(&b, ' ', NULL) != ERR_OK)
            return claims_refused(e, "scope");
    }
    *out = arena_sv(a, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

/* A member by its name; where there is none, by the names of a path ("ext.patient"). */
static yyjson_val *claim_of(yyjson_val *claims, sv name)
{
    yyjson_val *v = yyjson_obj_getn(claims, name.ptr, name.len);
    sv rest = name, part;
    if (v)
        return v;
    for (v = claims; v && sv_cut(&rest, '.', &part);)
        v = yyjson_obj_getn(v, part.ptr, part.len);
    return v;
}

/* "Patient/p1", also below [base]. */
static bool reference_of(sv text, sv endpoint, sv *type, sv *id)
{
    sv base = without_slash(endpoint), rest = text;
    if (base.len && sv_starts(text, base) && text.len > base.len && text.ptr[base.len] == '/')
        rest = sv_tail(text, base.len + 1);
    return sv_cut(&rest, '/', type) && rest.ptr && fhir_type_find(*type) != FHIR_TYPE_NONE &&
           fhir_id_ok(*id = rest);
}

static void context_of(yyjson_val *claims, const struct claims_wanted *want,
                       struct token_facts *out)
{
    sv patient = json_string(claim_of(claims, want->patient_claim));
    sv user = json_string(claim_of(claims, want->user_claim)), type, id;
    if (fhir_id_ok(patient))
        out->patient = patient;
    else if (reference_of(patient, want->endpoint, &type, &id) && sv_eq_cstr(type, "Patient"))
        out->patient = id;
    if (reference_of(user, want->endpoint, &type, &id)) {
        out->user_type = type;
        out->user_id = id;
    }
}

static sv first_of(yyjson_val *claims, const char *const *names)
{
    sv found = SV_NONE;
    for (size_t i = 0; names[i] && found.len == 0; i++)
        found = json_string(json_get(claims, names[i]));
    return found;
}

/* Client and subject are put side by side, with a newline between, where they say whose an export
 * is. RFC 6749 has none of these in a client_id. */
static bool has_control(sv text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7F)
            return true;
    return false;
}

err_code claims_read(struct arena *a, yyjson_val *claims, const struct claims_wanted *want,
                     struct token_facts *out, struct err *e)
{
    static const char *const client[] = { "client_id", "azp", "cid", NULL };
    static const char *const subject[] = { "sub", NULL }, *const told[] = { "sub", "uid", NULL };
    struct token_facts facts = { 0 };
    sv twice;
    if (!yyjson_is_obj(claims) || !json_members_unique(claims, JOSE_MEMBERS_MAX * 4, &twice))
        return claims_refused(e, "claims are no object whose members stand once");
    TRY(check_parties(claims, want, e));
    TRY(check_time(claims, want, &facts.exp_s, e));
    yyjson_val *scope = json_get(claims, "scope");
    TRY(words_of(a, scope ? scope : json_get(claims, "scp"), &facts.scope, e));
    context_of(claims, want, &facts);
    facts.issuer = want->issuer.len ? want->issuer : json_string(json_get(claims, "iss"));
    facts.client_id = first_of(claims, client);
    facts.subject = first_of(claims, want->may_have_uid ? told : subject);
    facts.token_id = json_string(json_get(claims, "jti"));
    if (has_control(facts.issuer) || has_control(facts.client_id) || has_control(facts.subject))
        return claims_refused(e, "a control character in the client or the subject");
    *out = facts;
    return ERR_OK;
}

err_code token_name_caller(struct arena *a, const struct token_facts *f, sv role, sv account_id,
                           struct auth_caller *out, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    char hex[2 * SHA256_LEN];
    sv who = ARENA_JOIN(a, f->issuer, SV_LIT("\n"), f->client_id, SV_LIT("\n"), f->subject);
    if (who.ptr == NULL)
        return arena_oom(a, e);
    hash_sha256_of(who, digest);
    hash_hex(digest, sizeof digest, hex);
    out->access_key_id = arena_fmt(a, "bearer:%.*s", (int)NAME_HEX, hex);
    out->arn = arena_fmt(a, "arn:aws:sts::%.*s:assumed-role/%.*s/%.*s", SV_FMT(account_id),
                         SV_FMT(role), (int)NAME_HEX, hex);
    return out->access_key_id.ptr && out->arn.ptr ? ERR_OK : arena_oom(a, e);
}
