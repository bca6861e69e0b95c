/* callers.c - the callers' files, watched while the server runs.
 *
 *   stat says the same as when they were read   nothing to do
 *   it says something else, twice in a row      nobody is writing any more: they are read
 *   SIGHUP                                      they are read at once
 *
 * A thread looks twice a second. It asks stat(2), which follows links and works on every file
 * system, so a secret that Kubernetes swaps and a file on NFS are seen, too. What is read replaces
 * the callers before at one stroke (auth/snapshot.c), after the checks of the start. What is broken
 * changes nothing, and each new fault is a line of the log. While it is broken the files are read
 * at each look: the fault may stand in a policy that the callers before do not name. */
#include "auth/bearer/bearer.h"
#include "base/clock.h"
#include "server/actions.h"
#include "server/serve_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LOOK_US 500000u

struct callers {
    struct auth *auth;
    const struct server_config *config;
    const char *path;
    pthread_t thread;
    /* of the thread alone */
    unsigned char last[SHA256_LEN]; /* the look before */
    struct err told;                /* the fault that the log has; its code is ERR_OK when none */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool asked, stop;
    } locked;
};

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

err_code callers_check_roles(const struct server_config *config, const struct auth *auth,
                             struct err *e)
{
    const struct bearer *b = auth_bearer(auth);
    sv role = b ? providers_role_could(bearer_providers(b), SV_LIT("iam:PassRole")) : SV_NONE;
    return check_passing(config, role, "the file of --identity-providers", e);
}

void callers_tell_roles(const struct server_config *config, const struct auth *auth)
{
    if (auth_bearer(auth) == NULL)
        return;
    const struct providers *p = bearer_providers(auth_bearer(auth));
    actions_check_roles(p);
    sv section = providers_by_endpoint(p);
    if (section.ptr && config->public_url == NULL)
        LOG(LOG_WARN, "identity_provider", LOG_SV("section", section),
            LOG_STR("note", "its tokens are for whatever host a request names: give --public-url"));
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

static bool is_told(const struct callers *callers, const struct err *e)
{
    return callers->told.code == e->code && strcmp(callers->told.msg, e->msg) == 0 &&
           strcmp(callers->told.ctx, e->ctx) == 0;
}

/* Opening a pipe again would wait for somebody who writes. */
static bool can_be_read_again(const char *path)
{
    struct stat st;
    return stat(path, &st) != 0 || S_ISREG(st.st_mode);
}

static void read_again(struct callers *callers)
{
    struct err e = { 0 };
    /* the member is no const, as a context is not; it is only read */
    void *config = (void *)(uintptr_t)callers->config;
    err_code rc = auth_reload(callers->auth, callers_check, config, &e);
    if (rc == ERR_OK) {
        callers->told.code = ERR_OK;
        IGNORE(auth_show(callers->auth, callers_tell, "read again", &e)); /* it has no errors */
        return;
    }
    e.code = rc;
    if (is_told(callers, &e))
        return;
    callers->told = e;
    LOG_ERR("credentials", &e, LOG_STR("state", "refused"), LOG_STR("file", callers->path),
            LOG_STR("note", "the callers before stay"));
}

static void look(struct callers *callers, bool asked)
{
    unsigned char now[SHA256_LEN];
    bool same = auth_as_read(callers->auth, now);
    bool quiet = memcmp(now, callers->last, sizeof now) == 0;
    bool broken = callers->told.code != ERR_OK;
    memcpy(callers->last, now, sizeof now);
    if (!asked && (!quiet || (same && !broken)))
        return;
    if (can_be_read_again(callers->path))
        read_again(callers);
    else
        LOG(LOG_WARN, "credentials", LOG_STR("state", "kept"), LOG_STR("file", callers->path),
            LOG_STR("note", "it is no regular file, and is read at the start alone"));
}

static void *watch(void *arg)
{
    struct callers *callers = arg;
    for (bool stop = false; !stop;) {
        const struct timespec until = clock_mono_at(clock_mono_us() + LOOK_US);
        pthread_mutex_lock(&callers->locked.lock);
        int rc = 0;
        while (rc == 0 && !callers->locked.asked && !callers->locked.stop)
            rc = pthread_cond_timedwait(&callers->locked.changed, &callers->locked.lock, &until);
        bool asked = callers->locked.asked;
        stop = callers->locked.stop;
        callers->locked.asked = false;
        pthread_mutex_unlock(&callers->locked.lock);
        if (!stop)
            look(callers, asked);
    }
    return NULL;
}

err_code callers_open(const struct server_config *config, struct auth *auth, const char *path,
                      struct callers **out, struct err *e)
{
    if (auth_is_open(auth))
        return ERR_OK;
    struct callers *callers = calloc(1, sizeof *callers);
    if (callers == NULL)
        abort();
    callers->auth = auth;
    callers->config = config;
    callers->path = path;
    pthread_mutex_init(&callers->locked.lock, NULL);
    clock_cond_init(&callers->locked.changed);
    if (pthread_create(&callers->thread, NULL, watch, callers) != 0) {
        pthread_cond_destroy(&callers->locked.changed);
        pthread_mutex_destroy(&callers->locked.lock);
        free(callers);
        return ERR(e, ERR_IO, "a thread cannot be started");
    }
    *out = callers;
    return ERR_OK;
}

static void signal_to(struct callers *callers, bool *what)
{
    pthread_mutex_lock(&callers->locked.lock);
    *what = true;
    pthread_cond_signal(&callers->locked.changed);
    pthread_mutex_unlock(&callers->locked.lock);
}

void callers_read_again(struct callers *callers)
{
    if (callers)
        signal_to(callers, &callers->locked.asked);
}

void callers_close(struct callers *callers)
{
    if (callers == NULL)
        return;
    signal_to(callers, &callers->locked.stop);
    pthread_join(callers->thread, NULL);
    pthread_cond_destroy(&callers->locked.changed);
    pthread_mutex_destroy(&callers->locked.lock);
    free(callers);
}
