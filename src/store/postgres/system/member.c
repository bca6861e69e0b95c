/* member.c - this process among those that have the database.
 *
 * One connection of its own says each second that the process is there, and hears what the others
 * tell (LISTEN): words that make somebody look again. When it is lost, it is made again as soon as
 * the database can be reached; nothing else depends on it, since who waits for words looks by
 * himself now and then. */
#include "store/postgres/system/system_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOINING  "joining the database"
#define BEAT_MS  1000
#define WORD_MAX 200u

struct pg_member {
    char *conninfo;
    char schema[PG_SCHEMA_MAX];
    PGconn *c;           /* the thread's; NULL: it is lost */
    atomic_bool is_lost; /* the same, for others */
    int stop;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* of what stands below, and while told is called */
    records_told_fn told;
    void *told_ctx;
};

/* ---- at the database ---- */

/* This machine since its start, and the processes that see each other's numbers there. Empty: it
 * cannot be told. */
static void name_machine(char out[128])
{
    CLEANUP_BUF struct buf boot = BUF_INIT(64);
    struct stat ns;
    out[0] = 0;
    if (file_read("/proc/sys/kernel/random/boot_id", &boot, NULL) == ERR_OK &&
        stat("/proc/self/ns/pid", &ns) == 0)
        (void)snprintf(out, 128, "%.*s/%llu", SV_FMT(sv_trim(buf_sv(&boot))),
                       (unsigned long long)ns.st_ino);
}

static err_code beat(struct pg_member *m, struct err *e)
{
    char host[65] = "", pid[16], machine[128];
    name_machine(machine);
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    const char *args[] = { pg_process(), host, pid, FHIRLAKE_VERSION, machine };
    return pg_command(
        m->c,
        "insert into nodes as n (who, host, pid, version, machine, since, seen) values "
        "($1::uuid, $2::text, $3::int, $4::text, $5::text, clock_timestamp(), "
        "clock_timestamp()) on conflict (who) do update set seen = excluded.seen",
        5, args, JOINING, e);
}

static err_code bury(struct pg_member *m, const char *who, struct err *e)
{
    const char *args[] = { who };
    /* a note stays for who takes it */
    TRY(pg_command(m->c, "delete from leases where owner = $1::uuid and note is null", 1, args,
                   JOINING, e));
    TRY(pg_command(
        m->c, "update leases set until = least(until, clock_timestamp()) where owner = $1::uuid", 1,
        args, JOINING, e));
    return pg_command(m->c, "delete from nodes where who = $1::uuid", 1, args, JOINING, e);
}

/* Processes of this machine that are not there any more need no waiting for: whoever is started
 * again after a crash goes on at once. */
static err_code bury_dead(struct pg_member *m, struct err *e)
{
    char machine[128];
    const char *args[] = { machine };
    PGresult *r;
    name_machine(machine);
    if (machine[0] == 0)
        return ERR_OK;
    TRY(pg_ask(m->c, "select who::text, pid from nodes where machine = $1::text", 1, args, JOINING,
               &r, e));
    err_code rc = ERR_OK;
    for (int i = 0; i < PQntuples(r) && rc == ERR_OK; i++)
        if (kill((pid_t)pg_i64(r, i, 1), 0) != 0 && errno == ESRCH)
            rc = bury(m, PQgetvalue(r, i, 0), e);
    PQclear(r);
    return rc;
}

/* What is told there is not durable, and waits for no disk. */
static err_code settle(struct pg_member *m, struct err *e)
{
    char listen[PG_SCHEMA_MAX + 16];
    TRY(pg_connect_settle(m->c, PG_LOAD, m->schema, false, false, e));
    (void)snprintf(listen, sizeof listen, "listen %s", m->schema);
    /* longer than a transaction of one that is frozen can have rows (connect.c) */
    TRY(pg_do(m->c, "set statement_timeout = '30s'", JOINING, e));
    TRY(pg_do(m->c, listen, JOINING, e));
    TRY(beat(m, e));
    TRY(bury_dead(m, e));
    /* those that went without a word, long ago */
    return pg_do(m->c,
                 "delete from nodes where seen < clock_timestamp() - interval '1 day'; delete from "
                 "leases where until < clock_timestamp() - interval '1 day'",
                 JOINING, e);
}

static err_code join(struct pg_member *m, struct err *e)
{
    TRY(pg_connect(m->conninfo, &m->c, e));
    err_code rc = settle(m, e);
    if (rc != ERR_OK) {
        PQfinish(m->c);
        m->c = NULL;
    }
    return rc;
}

/* ---- words ---- */

/* "UUID WORD" */
static void hear(struct pg_member *m, sv text)
{
    sv who;
    if (!sv_cut(&text, ' ', &who) || sv_eq_cstr(who, pg_process()))
        return;
    pthread_mutex_lock(&m->lock);
    if (m->told)
        m->told(m->told_ctx, text);
    pthread_mutex_unlock(&m->lock);
}

static void hear_all(struct pg_member *m)
{
    PGnotify *n;
    while ((n = PQnotifies(m->c)) != NULL) {
        hear(m, sv_from(n->extra));
        PQfreemem(n);
    }
}

void pg_member_on_told(struct pg_member *m, records_told_fn told, void *ctx)
{
    pthread_mutex_lock(&m->lock);
    m->told = told;
    m->told_ctx = ctx;
    pthread_mutex_unlock(&m->lock);
}

void pg_tell(struct records *base, sv word)
{
    struct pg_records *r = (struct pg_records *)base;
    char text[WORD_MAX];
    struct err ignored;
    PGconn *c;
    PGresult *got;
    (void)snprintf(text, sizeof text, "%s %.*s", pg_process(), SV_FMT(word));
    const char *args[] = { r->schema, text };
    /* it may get lost */
    if (pg_pool_take(r->pool, PG_LOAD, &c, &ignored) != ERR_OK)
        return;
    if (pg_ask(c, "select pg_notify($1::text, $2::text)", 2, args, "telling the other nodes", &got,
               &ignored) == ERR_OK)
        PQclear(got);
    pg_pool_give(r->pool, PG_LOAD, c);
}

/* ---- the thread ---- */

/* False: it is to stop. */
static bool wait_for_news(const struct pg_member *m)
{
    struct pollfd both[2] = { { .fd = m->stop, .events = POLLIN },
                              { .fd = m->c ? PQsocket(m->c) : -1, .events = POLLIN } };
    return poll(both, m->c ? 2 : 1, BEAT_MS) >= 0 ? both[0].revents == 0 : errno == EINTR;
}

static void *attend(void *arg)
{
    struct pg_member *m = arg;
    uint64_t next_us = 0;
    while (wait_for_news(m)) {
        struct err why;
        const uint64_t now_us = clock_mono_us();
        if (m->c == NULL && now_us >= next_us) {
            next_us = now_us + BEAT_MS * 1000;
            if (join(m, &why) != ERR_OK)
                continue;
            LOG(LOG_INFO, "database", LOG_STR("state", "reached again"));
        }
        atomic_store(&m->is_lost, m->c == NULL);
        if (m->c == NULL)
            continue;
        bool ok = PQconsumeInput(m->c) && PQstatus(m->c) == CONNECTION_OK;
        if (ok && now_us >= next_us) {
            next_us = now_us + BEAT_MS * 1000;
            ok = beat(m, &why) == ERR_OK;
        }
        if (ok) {
            hear_all(m);
            continue;
        }
        LOG(LOG_WARN, "database", LOG_STR("state", "lost"),
            LOG_STR("note", "the connection that listens has ended; it is made again when the "
                            "database can be reached"));
        PQfinish(m->c);
        m->c = NULL;
        atomic_store(&m->is_lost, true);
    }
    return NULL;
}

bool pg_member_reaches(const struct pg_member *m)
{
    return !atomic_load(&m->is_lost);
}

/* ---- life ---- */

err_code pg_member_join(const char *conninfo, const char *schema, struct pg_member **out,
                        struct err *e)
{
    struct pg_member *m = calloc(1, sizeof *m);
    if (m == NULL || (m->conninfo = strdup(conninfo)) == NULL)
        abort();
    (void)snprintf(m->schema, sizeof m->schema, "%s", schema);
    pthread_mutex_init(&m->lock, NULL);
    m->stop = eventfd(0, EFD_CLOEXEC);
    err_code rc = join(m, e);
    if (rc == ERR_OK) {
        m->has_thread = m->stop >= 0 && pthread_create(&m->thread, NULL, attend, m) == 0;
        if (!m->has_thread)
            rc = ERR(e, ERR_IO, "a thread cannot be started");
    }
    if (rc != ERR_OK)
        pg_member_leave(m);
    else
        *out = m;
    return rc;
}

void pg_member_leave(struct pg_member *m)
{
    const uint64_t one = 1;
    const char *args[] = { pg_process() };
    struct err ignored;
    PGresult *r;
    if (m == NULL)
        return;
    if (m->has_thread) {
        /* it has room */
        (void)!write(m->stop, &one, sizeof one);
        (void)pthread_join(m->thread, NULL);
    }
    if (m->c && pg_ask(m->c, "delete from nodes where who = $1::uuid", 1, args, JOINING, &r,
                       &ignored) == ERR_OK)
        PQclear(r);
    if (m->stop >= 0)
        (void)close(m->stop);
    if (m->c)
        PQfinish(m->c);
    pthread_mutex_destroy(&m->lock);
    free(m->conninfo);
    free(m);
}

/* ---- all of them ---- */

err_code pg_nodes(struct records *base, node_each_fn each, void *ctx, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    bool go_on = true;
    PGresult *got;
    TRY(pg_pool_ask(r->pool, PG_READ,
                    "select who::text, host, pid, version, (extract(epoch from since) * "
                    "1000)::bigint, (extract(epoch from clock_timestamp() - seen) * "
                    "1000)::bigint from nodes order by since, who",
                    0, NULL, NULL, NULL, "reading the nodes", &got, e));
    for (int i = 0; i < PQntuples(got) && go_on; i++) {
        const struct node_seen seen = { .who = pg_bytes(got, i, 0),
                                        .host = pg_bytes(got, i, 1),
                                        .pid = pg_i64(got, i, 2),
                                        .version = pg_bytes(got, i, 3),
                                        .since_ms = pg_i64(got, i, 4),
                                        .quiet_ms = pg_i64(got, i, 5),
                                        .is_self = sv_eq_cstr(pg_bytes(got, i, 0), pg_process()) };
        go_on = each(ctx, &seen);
    }
    PQclear(got);
    return ERR_OK;
}
