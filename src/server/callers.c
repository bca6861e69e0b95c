/* callers.c - who calls, as the other options see it: the rules that join the callers' files with
 * them, and the two files themselves, read again when they change (watch.c).
 *
 * What is read replaces the callers before at one stroke (auth/snapshot.c, auth/bearer/bearing.c),
 * after the checks of the start. */
#include "auth/bearer/bearer.h"
#include "base/clock.h"
#include "server/actions.h"
#include "server/serve_private.h"

/* A policy that confines a caller, and lets him pass a role, means that the role confines him too.
 * With a directory as s3:// and nothing that says what a role may touch, he could import what
 * others exported.
 *   section  of the file, whose policy lets him; SV_NONE: there is none */
static err_code check_passing(const struct server_config *c, sv section, const char *file,
                              struct err *e)
{
    if (section.ptr == NULL || c->roles || c->sts_endpoint || c->s3_endpoint)
        return ERR_OK;
    return ERR(e, ERR_INVALID,
               "section [%.*s] of %s has a policy that allows iam:PassRole, but "
               "nothing says what a role may touch, so that every role reads and writes every "
               "bucket: give --roles FILE or --sts-endpoint URL; or --roles none if that is meant",
               SV_FMT(section), file);
}

err_code callers_check(void *config, const struct credentials *credentials, struct err *e)
{
    const struct credential *who = credentials_could(credentials, SV_LIT("iam:PassRole"));
    return check_passing(config, who ? who->name : SV_NONE, "the credentials file", e);
}

/* A token whose audience nobody gave is held against the address of the data store. */
static void warn_of_audience(const struct server_config *config, const struct providers *providers)
{
    sv section = providers_by_endpoint(providers);
    if (section.ptr && config->public_url == NULL)
        LOG(LOG_WARN, "identity_provider", LOG_SV("section", section),
            LOG_STR("note", "its tokens are for whatever host a request names: give --public-url"));
}

err_code callers_check_roles(void *config, const struct providers *providers, struct err *e)
{
    TRY(check_passing(config, providers_role_could(providers, SV_LIT("iam:PassRole")),
                      "the file of --identity-providers", e));
    warn_of_audience(config, providers);
    return ERR_OK;
}

err_code callers_tell(void *state, const struct credentials *credentials, struct err *e)
{
    (void)e;
    LOG(LOG_INFO, "credentials", LOG_STR("state", state),
        LOG_INT("callers", credentials_count(credentials)),
        LOG_INT("expired", credentials_expired(credentials, clock_wall_ms())));
    actions_check(credentials);
    return ERR_OK;
}

err_code callers_tell_roles(void *state, const struct providers *providers, struct err *e)
{
    (void)e;
    LOG(LOG_INFO, "identity_providers", LOG_STR("state", state),
        LOG_INT("sections", providers_count(providers)));
    actions_check_roles(providers);
    return ERR_OK;
}

/* ---- read again ---- */

static bool credentials_same(void *callers, unsigned char look[SHA256_LEN])
{
    const struct callers *c = callers;
    return auth_as_read(c->auth, look);
}

static err_code read_credentials(void *callers, struct err *e)
{
    const struct callers *c = callers;
    TRY(auth_reload(c->auth, callers_check, c->config, e));
    return auth_show(c->auth, callers_tell, "read again", e);
}

static bool providers_same(void *callers, unsigned char look[SHA256_LEN])
{
    const struct callers *c = callers;
    return bearer_as_read(auth_bearer(c->auth), look);
}

static err_code read_providers(void *callers, struct err *e)
{
    const struct callers *c = callers;
    TRY(bearer_reload(auth_bearer(c->auth), callers_check_roles, c->config, e));
    return bearer_show(auth_bearer(c->auth), callers_tell_roles, "read again", e);
}

void callers_watch(struct callers *callers, const char *credentials, const char *providers,
                   struct watch *watch)
{
    const struct watch_files keys = { .event = "credentials",
                                      .note = "the callers before stay",
                                      .paths = { credentials },
                                      .as_read = credentials_same,
                                      .read = read_credentials,
                                      .ctx = callers };
    const struct watch_files tokens = { .event = "identity_providers",
                                        .note = "the providers before stay",
                                        .paths = { providers },
                                        .as_read = providers_same,
                                        .read = read_providers,
                                        .ctx = callers };
    if (!auth_is_open(callers->auth))
        watch_add(watch, &keys);
    if (auth_bearer(callers->auth))
        watch_add(watch, &tokens);
}
