/* policy.c - the command `fhirlake policy test`: may a caller do an action, and which statement
 * says so?
 *
 * The credentials and the policies are read and asked as the server does it (auth/), so the answer
 * is the server's. A request of the server always has an address, a transport and a time. The time
 * is the present one unless it is given. An address and a transport cannot be guessed: a policy
 * that asks for one that was not given gets no answer. */
#include "cli/policy.h"

#include "auth/credentials.h"
#include "base/clock.h"
#include "cli/options.h"
#include "server/actions.h"

#include <stdlib.h>

enum { ALLOWED = 0, DENIED = 1, CANNOT = 2 };

#define FACTS_MAX    256u
#define KEY_IP       SV_LIT("aws:SourceIp")
#define KEY_SECURE   SV_LIT("aws:SecureTransport")
#define KEY_TIME     SV_LIT("aws:CurrentTime")
#define KEY_TAG_KEYS SV_LIT("aws:TagKeys")
#define REQUEST_TAG  SV_LIT("aws:RequestTag/")

struct options {
    const char *credentials, *caller, *action, *resource, *context;
};

#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "credentials", "FILE", "the callers' keys, as the server's --credentials", O(credentials) },
    { "caller", "NAME", "a section of it", O(caller) },
    { "action", "ACTION", "healthlake:ReadResource, iam:PassRole ...", O(action) },
    { "resource", "ARN", "of a data store or role; * for actions on none", O(resource) },
    { "context", "KEY=VALUE", "a condition key of the request; may be given again", O(context) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake policy test --credentials FILE --caller NAME --action ACTION --resource "
        "ARN\n"
        "                            [--context KEY=VALUE]...\n\n"
        "Say whether a caller may do an action, and by which statement of his policy. Nothing is\n"
        "asked of a server, and nothing is changed.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs(
        "\nKeys of --context\n"
        "  aws:SourceIp             address of the caller\n"
        "  aws:SecureTransport      true: over TLS, or false\n"
        "  aws:CurrentTime          an instant, a day, or seconds since 1970 [now]\n"
        "  aws:ResourceTag/TAG      a tag of the data store; those not given are not there\n"
        "  aws:RequestTag/TAG       a tag that the request sets; TAG is a key of aws:TagKeys, too\n"
        "  aws:TagKeys              a key that the request sets or removes; may be given again\n"
        "  iam:PassedToService      of iam:PassRole [healthlake.amazonaws.com]\n\n"
        "An entry of a Bundle needs the action of its interaction, a conditional form needs\n"
        "healthlake:SearchWithGet too, and a job needs iam:PassRole on its role.\n\n"
        "Exit status: 0 allowed, 1 denied, 2 it cannot be told: wrong usage, or a broken file.\n\n"
        "Example:\n"
        "  fhirlake policy test --credentials fhirlake-data/credentials --caller app \\\n"
        "      --action healthlake:ReadResource \\\n"
        "      --resource arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/ID \\\n"
        "      --context aws:SourceIp=192.0.2.7 --context aws:ResourceTag/team=a\n",
        f);
}

struct asked {
    struct options o;
    struct arena *a;
    struct policy_fact facts[2 * FACTS_MAX + 1];
    size_t n_facts;
    struct policy_origin origin;
    bool has_secure;
    const struct credential *caller;
    bool lacks_address, lacks_transport; /* the policy asks for one, and none was given */
    policy_decision decision;
};

/* ---- what is asked ---- */

static err_code add_fact(struct asked *asked, sv key, sv value, struct err *e)
{
    if (key.ptr == NULL)
        return arena_oom(asked->a, e);
    if (asked->n_facts + 2 > 2 * FACTS_MAX)
        return ERR(e, ERR_TOO_LARGE, "--context is given more than %u times", FACTS_MAX);
    asked->facts[asked->n_facts++] = (struct policy_fact){ key, value };
    return ERR_OK;
}

static err_code read_origin(struct asked *asked, sv key, sv value, bool *is_one, struct err *e)
{
    bool yes = sv_eq(value, SV_LIT("true"));
    *is_one = true;
    if (sv_eq_nocase(key, KEY_IP)) {
        asked->origin.address = value;
        if (!policy_is_address(value) || sv_find(value, '/') < value.len)
            return ERR(e, ERR_INVALID, "--context %.*s takes an address, not \"%.*s\"", SV_FMT(key),
                       SV_FMT(value));
    } else if (sv_eq_nocase(key, KEY_SECURE)) {
        asked->origin.secure = yes;
        asked->has_secure = true;
        if (!yes && !sv_eq(value, SV_LIT("false")))
            return ERR(e, ERR_INVALID, "--context %.*s takes true or false, not \"%.*s\"",
                       SV_FMT(key), SV_FMT(value));
    } else if (sv_eq_nocase(key, KEY_TIME)) {
        if (!policy_time_read(value, &asked->origin.now_ms))
            return ERR(e, ERR_INVALID,
                       "--context %.*s takes 2027-01-31T00:00:00Z, 2027-01-31 or seconds since "
                       "1970, not \"%.*s\"",
                       SV_FMT(key), SV_FMT(value));
    } else {
        *is_one = false;
    }
    return ERR_OK;
}

static err_code read_context(struct asked *asked, const char *text, struct err *e)
{
    sv pair = sv_from(text), tag = REQUEST_TAG;
    size_t eq = sv_find(pair, '=');
    sv key = sv_head(pair, eq), value = sv_tail(pair, eq + 1);
    bool done;
    if (eq == pair.len)
        return ERR(e, ERR_INVALID, "--context takes KEY=VALUE, not \"%.64s\"", text);
    if (!policy_key_is_known(key))
        return ERR(e, ERR_INVALID,
                   "\"%.*s\" is no condition key; fhirlake policy --help lists them",
                   SV_FMT(sv_head(key, 64)));
    TRY(read_origin(asked, key, value, &done, e));
    if (done)
        return ERR_OK;
    TRY(add_fact(asked, key, value, e));
    /* as in a request */
    return sv_eq_nocase(sv_head(key, tag.len), tag)
               ? add_fact(asked, KEY_TAG_KEYS, sv_tail(key, tag.len), e)
               : ERR_OK;
}

static err_code check_action(struct asked *asked, struct err *e)
{
    sv action = sv_from(asked->o.action), service, near;
    bool wild = sv_find(action, '*') < action.len || sv_find(action, '?') < action.len;
    size_t colon = sv_find(action, ':');
    sv of = sv_head(action, colon);
    bool ours = sv_eq_nocase(of, SV_LIT("healthlake")) || sv_eq_nocase(of, SV_LIT("iam"));
    bool odd = action_is_odd(action, &service, &near);
    bool pass = sv_eq_nocase(action, SV_LIT("iam:PassRole"));
    bool grant = sv_eq_nocase(action, SV_LIT("kms:CreateGrant"));
    if (wild)
        return ERR(e, ERR_INVALID, "--action takes one action, without * and ?");
    if (odd && near.len)
        return ERR(e, ERR_INVALID, "there is no action \"%.*s\"; is %.*s:%.*s meant?",
                   SV_FMT(sv_head(action, 96)), SV_FMT(service), SV_FMT(near));
    if (!grant &&
        (odd || !ours || colon == action.len || (sv_eq_nocase(of, SV_LIT("iam")) && !pass)))
        return ERR(e, ERR_INVALID,
                   "there is no action \"%.*s\": fhirlake asks for healthlake:NAME, iam:PassRole "
                   "and kms:CreateGrant",
                   SV_FMT(sv_head(action, 96)));
    if (!pass)
        return ERR_OK;
    for (size_t i = 0; i < asked->n_facts; i++)
        if (sv_eq_nocase(asked->facts[i].key, SV_LIT("iam:PassedToService")))
            return ERR_OK;
    return add_fact(asked, SV_LIT("iam:PassedToService"), SV_LIT("healthlake.amazonaws.com"), e);
}

static err_code check_resource(const char *text, struct err *e)
{
    sv rest = sv_from(text), part;
    size_t n = 0;
    bool arn = sv_starts(rest, SV_LIT("arn:"));
    while (sv_cut(&rest, ':', &part))
        n++;
    if (strcmp(text, "*") != 0 && (!arn || n < 6))
        return ERR(e, ERR_INVALID, "--resource takes an ARN of six parts, or *, not \"%.96s\"",
                   text);
    return ERR_OK;
}

/* --context may come again, which options of the table may not: it is taken out of argv first. */
static err_code read_contexts(struct asked *asked, int *argc, char **argv, struct err *e)
{
    int n = 1;
    for (int i = 1; i < *argc; i++) {
        sv arg = sv_from(argv[i]), with = SV_LIT("--context=");
        if (sv_starts(arg, with)) {
            TRY(read_context(asked, argv[i] + with.len, e));
        } else if (strcmp(argv[i], "--context") == 0 && i + 1 < *argc) {
            TRY(read_context(asked, argv[++i], e));
        } else {
            argv[n++] = argv[i];
        }
    }
    *argc = n;
    return ERR_OK;
}

static err_code read_all(struct asked *asked, int argc, char **argv, bool *help, struct err *e)
{
    const char *what = NULL;
    size_t n = 0;
    *help = false;
    for (int i = 1; i < argc; i++)
        *help |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    if (*help)
        return ERR_OK;
    TRY(read_contexts(asked, &argc, argv, e));
    TRY(cli_options_read(table, N_OPTIONS, argc, argv, &asked->o, &what, 1, &n, help, e));
    if (n == 0 || strcmp(what, "test") != 0)
        return ERR(e, ERR_INVALID, "type: fhirlake policy test; see fhirlake policy --help");
    const char *lacks = asked->o.credentials == NULL ? "--credentials FILE"
                        : asked->o.caller == NULL    ? "--caller NAME"
                        : asked->o.action == NULL    ? "--action ACTION"
                        : asked->o.resource == NULL  ? "--resource ARN"
                                                     : NULL;
    if (lacks)
        return ERR(e, ERR_INVALID, "%s is missing; see fhirlake policy --help", lacks);
    TRY(check_action(asked, e));
    return check_resource(asked->o.resource, e);
}

/* ---- the answer ---- */

static void print_condition(const struct policy_said_condition *c)
{
    (void)printf("    %.*s %.*s = ", SV_FMT(c->operator), SV_FMT(c->key));
    for (size_t i = 0; i < c->n_values; i++)
        (void)printf("%s\"%.*s\"", i ? ", " : "", SV_FMT(c->values[i]));
    (void)printf(": %s%s\n", c->holds ? "holds" : "does not hold",
                 c->known ? "" : " (the request has no such key)");
}

/* The statements that decide: the first that denies, all that allow; when there is none, those
 * whose conditions kept them from allowing. */
static void print_said(void *ctx, const struct policy_said *said)
{
    struct asked *asked = ctx;
    bool decides = asked->decision == POLICY_DENIED    ? said->deny && said->covers
                   : asked->decision == POLICY_ALLOWED ? !said->deny && said->covers
                                                       : !said->deny;
    if (!decides)
        return;
    (void)printf("  %s of %.*s, statement %zu%s%.*s%s\n",
                 said->deny     ? "Deny"
                 : said->covers ? "Allow"
                                : "no Allow",
                 SV_FMT(asked->caller->policy_name), said->statement, said->sid.len ? " \"" : "",
                 SV_FMT(said->sid), said->sid.len ? "\"" : "");
    for (size_t i = 0; i < said->n_conditions; i++)
        print_condition(&said->conditions[i]);
}

static void find_lacks(void *ctx, const struct policy_said *said)
{
    struct asked *asked = ctx;
    for (size_t i = 0; i < said->n_conditions; i++) {
        sv key = said->conditions[i].key;
        asked->lacks_address |= asked->origin.address.len == 0 && sv_eq_nocase(key, KEY_IP);
        asked->lacks_transport |= !asked->has_secure && sv_eq_nocase(key, KEY_SECURE);
    }
}

static int tell(const struct asked *asked, const char *why)
{
    bool ok = asked->decision == POLICY_ALLOWED;
    (void)printf("%s: %s on %s for %s%s\n", ok ? "allowed" : "denied", asked->o.action,
                 asked->o.resource, asked->o.caller, why);
    return ok ? ALLOWED : DENIED;
}

static int answer(struct asked *asked)
{
    sv action = sv_from(asked->o.action), resource = sv_from(asked->o.resource);
    const struct credential *caller = asked->caller;
    const struct policy_context context = { asked->facts, asked->n_facts, false, &asked->origin };
    if (credential_is_expired(caller, asked->origin.now_ms)) {
        asked->decision = POLICY_DENIED;
        return tell(asked, ": the key has expired (ExpiredTokenException)");
    }
    if (caller->policy == NULL) {
        asked->decision = credential_decide(caller, action, resource, &context);
        return tell(asked, ": the section has no policy, so the caller may do everything");
    }
    (void)policy_explain(caller->policy, action, resource, &context, find_lacks, asked);
    if (asked->lacks_address || asked->lacks_transport) {
        (void)fprintf(stderr, "fhirlake policy: %.*s has a condition on it: give --context %s\n",
                      SV_FMT(caller->policy_name),
                      asked->lacks_address ? "aws:SourceIp=ADDRESS"
                                           : "aws:SecureTransport=true (or false)");
        return CANNOT;
    }
    asked->decision = policy_decide(caller->policy, action, resource, &context);
    int status =
        tell(asked, asked->decision == POLICY_NOT_ALLOWED ? ": no statement allows it" : "");
    (void)policy_explain(caller->policy, action, resource, &context, print_said, asked);
    return status;
}

static int cannot(const struct err *e)
{
    (void)fprintf(stderr, "fhirlake policy: %s%s%s\n", e->ctx, e->ctx[0] ? ": " : "", e->msg);
    return CANNOT;
}

static int ask(struct asked *asked)
{
    CLEANUP(credentials_free) struct credentials *credentials = NULL;
    struct err e = { 0 };
    if (credentials_load(asked->o.credentials, &credentials, &e) != ERR_OK) {
        err_context(&e, "%.200s", asked->o.credentials);
        return cannot(&e);
    }
    asked->caller = credentials_named(credentials, sv_from(asked->o.caller));
    if (asked->caller == NULL) {
        (void)fprintf(stderr, "fhirlake policy: %s has no section [%s]\n", asked->o.credentials,
                      asked->o.caller);
        return CANNOT;
    }
    return answer(asked);
}

int cli_policy(int argc, char **argv)
{
    /* facts make it large for a stack */
    static struct asked asked;
    struct err e = { 0 };
    bool help;
    asked.a = arena_new(64u << 10);
    asked.origin.now_ms = clock_wall_ms();
    int status = CANNOT;
    if (read_all(&asked, argc, argv, &help, &e) != ERR_OK) {
        status = cannot(&e);
    } else if (help) {
        usage(stdout);
        status = 0;
    } else {
        status = ask(&asked);
    }
    arena_free(asked.a);
    return status;
}
