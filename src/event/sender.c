/* sender.c - the thread that sends what waits: the oldest first, one at a time.
 *
 * An endpoint that does not take an event is asked again after a pause that doubles. The pause goes
 * by the failures in a row, so that an endpoint that is down for a day is asked every few minutes,
 * and only the events that were tried often enough become dead. Tries are counted in memory: a new
 * process begins anew.
 *
 * A dead event is written to the file before its record goes, so a kill in between leaves it in
 * both. A line that a kill has cut off is ended before the next one is written. */
#include "event/event_private.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define LOOK_MS 1000u /* at what other nodes did */

struct sender {
    struct events *events;
    struct buf key, body;
    char last[EVENT_KEY_MAX]; /* key of the event that was tried last */
    unsigned tries;           /* of that one */
    unsigned failures;        /* of the endpoint, in a row */
};

static void tell(const struct sender *s, int what, const char *why)
{
    const struct events *events = s->events;
    const struct events_news news = {
        .what = what, .why = why, .tries = s->tries, .n_waiting = event_outbox_waiting(events)
    };
    if (events->cfg.news)
        events->cfg.news(events->cfg.news_ctx, &news);
}

/* ---- waiting ---- */

/* Another token ends it. */
static void wait_ms(struct events *events, uint64_t ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000);
    int rc = 0;
    pthread_mutex_lock(&events->locked.lock);
    while (rc != ETIMEDOUT && !atomic_load(&events->stopping) && events->locked.token == NULL)
        rc = pthread_cond_timedwait(&events->locked.changed, &events->locked.lock, &until);
    pthread_mutex_unlock(&events->locked.lock);
}

/* What another node wrote is found by looking. */
static void wait_for_news(struct events *events)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + LOOK_MS * 1000ull);
    int rc = 0;
    pthread_mutex_lock(&events->locked.lock);
    while (rc != ETIMEDOUT && !events->locked.news && !atomic_load(&events->stopping))
        rc = events->leases
                 ? pthread_cond_timedwait(&events->locked.changed, &events->locked.lock, &until)
                 : pthread_cond_wait(&events->locked.changed, &events->locked.lock);
    events->locked.news = false;
    pthread_mutex_unlock(&events->locked.lock);
}

static uint64_t pause_ms(const struct sender *s, uint64_t asked_ms)
{
    const struct events_config *cfg = &s->events->cfg;
    uint64_t ms = cfg->first_wait_ms;
    for (unsigned i = 1; i < s->failures && ms < cfg->most_wait_ms; i++)
        ms *= 2;
    if (ms < asked_ms)
        ms = asked_ms;
    return ms < cfg->most_wait_ms ? ms : cfg->most_wait_ms;
}

/* ---- dead events ---- */

static err_code append_line(int fd, sv body, struct err *e)
{
    char last = '\n';
    off_t end = lseek(fd, 0, SEEK_END);
    if (end > 0 && pread(fd, &last, 1, end - 1) != 1)
        return file_os_err(e, "the file of dead events cannot be read");
    if (last != '\n')
        TRY(file_write_all(fd, SV_LIT("\n"), e));
    TRY(file_write_all(fd, body, e));
    TRY(file_write_all(fd, SV_LIT("\n"), e));
    return fsync(fd) == 0 ? ERR_OK : file_os_err(e, "the file of dead events cannot be synced");
}

static err_code bury(struct sender *s, struct err *e)
{
    struct events *events = s->events;
    int fd = open(events->cfg.dead_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_os_err(e, "the file of dead events cannot be opened");
    err_code rc = append_line(fd, buf_sv(&s->body), e);
    close(fd);
    TRY(rc);
    TRY(event_outbox_remove(events, buf_sv(&s->key), e));
    atomic_fetch_add(&events->n_dead, 1);
    return ERR_OK;
}

/* ---- one event ---- */

/* It was sent, or is dead, if rc is ERR_OK. Else the disk is to blame: it is tried again later. */
static void done(struct sender *s, err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    tell(s, EVENTS_ON_DISK, e->msg);
    wait_ms(s->events, s->events->cfg.most_wait_ms);
}

static void give_up(struct sender *s, const char *why)
{
    struct err e;
    err_code rc = bury(s, &e);
    if (rc == ERR_OK)
        tell(s, EVENTS_DEAD, why);
    done(s, rc, &e);
}

static void taken(struct sender *s)
{
    struct err e;
    atomic_fetch_add(&s->events->n_sent, 1);
    err_code rc = event_outbox_remove(s->events, buf_sv(&s->key), &e);
    if (s->failures)
        tell(s, EVENTS_WORKING, "-");
    s->failures = 0;
    done(s, rc, &e);
}

static void not_taken(struct sender *s, const struct event_answer *answer)
{
    atomic_fetch_add(&s->events->n_failures, 1);
    s->tries++;
    if (s->failures++ == 0)
        tell(s, EVENTS_FAILING, answer->why);
    if (s->tries >= s->events->cfg.tries)
        give_up(s, answer->why);
    wait_ms(s->events, pause_ms(s, answer->wait_ms));
}

static void take_token(struct events *events)
{
    pthread_mutex_lock(&events->locked.lock);
    char *token = events->locked.token;
    events->locked.token = NULL;
    pthread_mutex_unlock(&events->locked.lock);
    if (token)
        event_post_token(events->post, sv_from(token));
    event_token_free(token);
}

static void send_one(struct sender *s)
{
    struct events *events = s->events;
    struct event_answer answer;
    if (!sv_eq_cstr(buf_sv(&s->key), s->last)) {
        (void)snprintf(s->last, sizeof s->last, "%.*s", SV_FMT(buf_sv(&s->key)));
        s->tries = 0;
    }
    if (event_outbox_waiting(events) > events->cfg.most_waiting) {
        give_up(s, "too many wait");
        return;
    }
    take_token(events);
    event_post(events->post, buf_sv(&s->body), &events->stopping, &answer);
    if (answer.broken_off)
        return;
    if (answer.taken)
        taken(s);
    else
        not_taken(s, &answer);
}

void *event_sender(void *ctx)
{
    struct sender s = { .events = ctx,
                        .key = BUF_INIT(EVENT_KEY_MAX),
                        .body = BUF_INIT(EVENT_BODY_MAX) };
    while (!atomic_load(&s.events->stopping)) {
        struct err e;
        buf_clear(&s.key);
        buf_clear(&s.body);
        if (!event_outbox_mine(s.events)) {
            wait_for_news(s.events);
            continue;
        }
        err_code rc = event_outbox_head(s.events, &s.key, &s.body, &e);
        if (rc == ERR_OK)
            send_one(&s);
        else if (rc == ERR_NOT_FOUND)
            wait_for_news(s.events);
        else
            done(&s, rc, &e);
    }
    buf_done(&s.key);
    buf_done(&s.body);
    return NULL;
}
