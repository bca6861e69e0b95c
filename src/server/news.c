/* news.c - the sender of events: begun as the options ask for it, and what it has to say, in the
 * log.
 *
 * An endpoint that does not take events is told once, and so is that it takes them again. Each
 * event that was given up is told. */
#include "server/serve_private.h"

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

err_code news_start(const struct server_config *config, struct records *records,
                    struct events **out, struct err *e)
{
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
    err_code rc = events_start(&ec, out, &why);
    if (rc != ERR_OK)
        return ERR(e, rc, "%s: %s",
                   config->events_token_file ? "--events-url, --events-token-file" : "--events-url",
                   why.msg);
    if (config->public_url == NULL)
        LOG(LOG_INFO, "events",
            LOG_STR("note", "without --public-url they have no datastoreEndpoint"));
    return ERR_OK;
}
