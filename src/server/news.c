/* news.c - the sender of events: begun as the options ask for it, and what it has to say, in the
 * log; and what data stores do on their own, there too.
 *
 * An endpoint that does not take events is told once, and so is that it takes them again. Each
 * event that was given up is told. */
#include "server/serve_private.h"

#include "base/clock.h"

#include <limits.h>

static void on_news(void *ctx, const struct events_news *news)
{
    static const char *const states[] = { "failing", "working", "dead", "on disk" };
    static const char *const notes[] = {
        "the endpoint does not take events: they wait, and are sent again",
        "the endpoint takes events again",
        "an event was given up: it is a line of DATA/events-dead.ndjson",
        "events wait until the disk of the data folder can be read and written",
    };
    (void)ctx;
    LOG(news->what == EVENTS_WORKING ? LOG_INFO : LOG_WARN, "events",
        LOG_STR("state", states[news->what]), LOG_STR("why", news->why),
        LOG_INT("tries", news->tries), LOG_INT("waiting", news->n_waiting),
        LOG_STR("note", notes[news->what]));
}

static err_code read_token(void *ctx, struct err *e)
{
    const struct news *news = ctx;
    TRY(events_read_token(news->events, news->token_file, e));
    LOG(LOG_INFO, "events_token", LOG_STR("state", "read again"),
        LOG_STR("file", news->token_file));
    return ERR_OK;
}

err_code news_start(const struct server_config *config, struct records *records,
                    struct watch *watch, struct news *out, struct err *e)
{
    const struct watch_files token = { .event = "events_token",
                                       .note = "the token before is sent on",
                                       .paths = { config->events_token_file },
                                       .read = read_token,
                                       .ctx = out };
    char dead[PATH_MAX];
    struct err why;
    int n = snprintf(dead, sizeof dead, "%s/events-dead.ndjson", config->data);
    struct events_config ec = { .records = records,
                                .url = config->events_url,
                                .token_file = config->events_token_file,
                                .dead_path = dead,
                                .tries = config->events_tries,
                                .news = on_news };
    if (config->events_url == NULL)
        return ERR_OK;
    if (n <= 0 || n >= PATH_MAX)
        return ERR(e, ERR_INVALID, "--data is too long a path");
    out->token_file = config->events_token_file;
    if (out->token_file)
        watch_add(watch, &token);
    err_code rc = events_start(&ec, &out->events, &why);
    if (rc != ERR_OK)
        return ERR(e, rc, "%s: %s",
                   config->events_token_file ? "--events-url, --events-token-file" : "--events-url",
                   why.msg);
    if (config->public_url == NULL)
        LOG(LOG_INFO, "events",
            LOG_STR("note", "without --public-url they have no datastoreEndpoint"));
    return ERR_OK;
}

/* ---- what data stores do on their own ---- */

#define REINDEX_LOG_US (30u * 1000000u) /* progress is worth a line that often */

void news_reindex(void *ctx, const struct store_reindex *r)
{
    static const char *const states[] = { "begun", "under way", "done", "stopped", "failed" };
    /* When progress of any data store was told last. */
    static _Atomic uint64_t last_us;
    (void)ctx;
    if (r->state == STORE_REINDEX_UNDER_WAY && clock_mono_us() - last_us < REINDEX_LOG_US)
        return;
    last_us = clock_mono_us();
    if (r->state == STORE_REINDEX_FAILED) {
        LOG_ERR("search-index", r->why, LOG_SV("datastore", r->store), LOG_STR("state", "failed"),
                LOG_INT("versions", r->n_done),
                LOG_STR("note", "searches read resources until the server is started again"));
        return;
    }
    LOG(LOG_INFO, "search-index", LOG_SV("datastore", r->store), LOG_STR("state", states[r->state]),
        LOG_INT("versions", r->n_done), LOG_STR("note", "entries of an older form are made anew"));
}
