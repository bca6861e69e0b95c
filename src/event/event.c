/* event.c - the life of the events: what the operator asks for is checked, what waits since earlier
 * processes is counted, and the sender is started and stopped. */
#include "event/event_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "codec/uri.h"
#include "store/lease.h"

#include <stdlib.h>

#define FIRST_WAIT_MS 1000u
#define MOST_WAIT_MS  300000u
#define TIMEOUT_MS    10000u

err_code events_check_url(const char *url, struct err *e)
{
    struct uri_http u;
    TRY(uri_http_parse(sv_from(url), &u, e));
    if (sv_eq(u.scheme, SV_LIT("https")) || sv_eq_nocase(u.host, SV_LIT("localhost")) ||
        sv_eq(u.host, SV_LIT("[::1]")) || uri_is_loopback_v4(u.host))
        return ERR_OK;
    return ERR(e, ERR_INVALID, "plain http is for this machine alone: give https://");
}

/* A word of visible characters, so that it can stand in a header. */
static err_code read_token(const char *path, struct buf *out, struct err *e)
{
    TRY(file_read_private(path, out, e));
    while (out->len && strchr("\r\n \t", out->ptr[out->len - 1]))
        out->len--;
    for (size_t i = 0; i < out->len; i++)
        if (out->ptr[i] <= ' ' || out->ptr[i] > '~')
            return ERR(e, ERR_INVALID,
                       "the token is one word of visible characters, on one line alone");
    return out->len ? ERR_OK : ERR(e, ERR_INVALID, "the file of the token is empty");
}

static char *copy(const char *text)
{
    char *s = strdup(text);
    if (s == NULL)
        abort();
    return s;
}

static void configure(struct events *events, const struct events_config *cfg)
{
    events->cfg = *cfg;
    events->cfg.url = copy(cfg->url);
    events->cfg.dead_path = copy(cfg->dead_path);
    events->cfg.token_file = NULL;
    if (cfg->tries == 0)
        events->cfg.tries = EVENTS_TRIES;
    if (cfg->most_waiting == 0)
        events->cfg.most_waiting = EVENTS_WAITING;
    if (cfg->first_wait_ms == 0)
        events->cfg.first_wait_ms = FIRST_WAIT_MS;
    if (cfg->most_wait_ms == 0)
        events->cfg.most_wait_ms = MOST_WAIT_MS;
    if (cfg->timeout_ms == 0)
        events->cfg.timeout_ms = TIMEOUT_MS;
}

static void done(struct events *events)
{
    lease_release(events->lease);
    leases_close(events->leases);
    event_token_free(events->locked.token);
    event_post_free(events->post);
    pthread_mutex_destroy(&events->locked.lock);
    pthread_cond_destroy(&events->locked.changed);
    free((void *)(uintptr_t)events->cfg.url);
    free((void *)(uintptr_t)events->cfg.dead_path);
    free(events);
}

static err_code start(struct events *events, sv token, struct err *e)
{
    TRY(event_outbox_load(events, e));
    if (records_shared(events->cfg.records))
        TRY(leases_open(events->cfg.records, 0, &events->leases, e));
    events->post = event_post_new(events->cfg.url, token, events->cfg.timeout_ms);
    if (pthread_create(&events->thread, NULL, event_sender, events) != 0)
        return ERR(e, ERR_IO, "the thread that sends events cannot be started");
    return ERR_OK;
}

err_code events_start(const struct events_config *cfg, struct events **out, struct err *e)
{
    CLEANUP_BUF struct buf token = BUF_INIT(EVENTS_TOKEN_MAX);
    TRY(events_check_url(cfg->url, e));
    if (cfg->token_file)
        TRY(read_token(cfg->token_file, &token, e));
    struct events *events = calloc(1, sizeof *events);
    if (events == NULL)
        abort();
    configure(events, cfg);
    pthread_mutex_init(&events->locked.lock, NULL);
    clock_cond_init(&events->locked.changed);
    err_code rc = start(events, buf_sv(&token), e);
    if (token.ptr)
        explicit_bzero(token.ptr, token.cap);
    if (rc != ERR_OK) {
        done(events);
        return rc;
    }
    *out = events;
    return ERR_OK;
}

err_code events_read_token(struct events *events, const char *path, struct err *e)
{
    CLEANUP_BUF struct buf token = BUF_INIT(EVENTS_TOKEN_MAX);
    err_code rc = read_token(path, &token, e);
    char *now = rc == ERR_OK ? strndup(token.ptr, token.len) : NULL;
    if (token.ptr)
        explicit_bzero(token.ptr, token.cap);
    TRY(rc);
    if (now == NULL)
        abort();
    pthread_mutex_lock(&events->locked.lock);
    char *before = events->locked.token;
    events->locked.token = now;
    pthread_cond_broadcast(&events->locked.changed);
    pthread_mutex_unlock(&events->locked.lock);
    event_token_free(before);
    return ERR_OK;
}

void events_stop(struct events *events)
{
    if (events == NULL)
        return;
    pthread_mutex_lock(&events->locked.lock);
    atomic_store(&events->stopping, true);
    pthread_cond_broadcast(&events->locked.changed);
    pthread_mutex_unlock(&events->locked.lock);
    event_post_wake(events->post);
    (void)pthread_join(events->thread, NULL);
    done(events);
}

void events_count(struct events *events, struct events_counts *out)
{
    *out = (struct events_counts){ .waiting = event_outbox_waiting(events),
                                   .sent = atomic_load(&events->n_sent),
                                   .failures = atomic_load(&events->n_failures),
                                   .dead = atomic_load(&events->n_dead) };
}
