/* postgres.h - a PostgreSQL server of a test program's own.
 *
 * The first who asks has initdb make a cluster in a folder of its own, in memory where there is
 * room, else below /tmp, and starts it on a socket there, as a plain user: root becomes `postgres`,
 * or `nobody`. It does not sync, and ends with the program, however that ends.
 * FHIRLAKE_POSTGRES=URI takes a server that is there instead. Where PostgreSQL is not installed, or
 * the engine is not built, what needs it is skipped and says so. */
#pragma once
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/store_private.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    bool asked;
    char uri[160]; /* empty: there is none */
    char dir[64];
    pid_t pid;
} pg_server;

/* Who runs it. False: this user. */
static bool pg_plain_user(struct passwd **out)
{
    if (getuid() != 0)
        return false;
    *out = getpwnam("postgres");
    if (*out == NULL)
        *out = getpwnam("nobody");
    return *out != NULL;
}

/* A child with its output at fd, as a plain user; ended with this program. */
static pid_t pg_server_run(char *const argv[], int fd)
{
    struct passwd *user = NULL;
    const bool change = pg_plain_user(&user);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    if (change &&
        (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getenv("PGOPTIONS"))
        (void)unsetenv("PGOPTIONS");
    execv(argv[0], argv);
    _exit(127);
}

/* Folder of the newest server that is installed; false: there is none. */
static bool pg_find_bin(char *out, size_t cap)
{
    glob_t g;
    int best = 0;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++) {
            int version = (int)strtol(g.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL, 10);
            if (version > best) {
                best = version;
                (void)snprintf(out, cap, "/usr/lib/postgresql/%d/bin", version);
            }
        }
    globfree(&g);
    return best >= 14;
}

/* In memory where there is room for some more of them: what does not sync gains nothing on a
 * disk. */
static const char *pg_swift_folder(void)
{
    struct statvfs there;
    unsigned long free_kb = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lu kB", &free_kb) == 1)
            break;
    if (f)
        fclose(f);
    const bool room = statvfs("/dev/shm", &there) == 0 && access("/dev/shm", W_OK) == 0 &&
                      there.f_bavail * there.f_frsize >> 30 >= 6 && free_kb >> 20 >= 6;
    return room ? "/dev/shm" : "/tmp";
}

static void pg_server_stop(void)
{
    if (pg_server.pid <= 0)
        return;
    int status;
    (void)kill(pg_server.pid, SIGQUIT);
    (void)waitpid(pg_server.pid, &status, 0);
    pg_server.pid = 0;
    IGNORE(file_remove_tree(pg_server.dir, NULL));
}

/* The log up to the line that says it is ready. False: it ended before. */
static bool pg_wait_ready(int fd)
{
    char log[1 << 14];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof log - 1 && (got = read(fd, log + n, sizeof log - 1 - n)) > 0) {
        n += (size_t)got;
        log[n] = 0;
        if (strstr(log, "ready to accept connections"))
            return true;
    }
    print_message("%s\n", log);
    return false;
}

static bool pg_server_start(const char *bin)
{
    char initdb[96], server[96], data[80], log[80];
    int fds[2], status;
    struct passwd *user = NULL;
    (void)snprintf(pg_server.dir, sizeof pg_server.dir, "%s/fhirlake-pg-%016llx", pg_swift_folder(),
                   (unsigned long long)rng_u64());
    (void)snprintf(initdb, sizeof initdb, "%s/initdb", bin);
    (void)snprintf(server, sizeof server, "%s/postgres", bin);
    (void)snprintf(data, sizeof data, "%s/data", pg_server.dir);
    (void)snprintf(log, sizeof log, "%s/log", pg_server.dir);
    assert_int_equal(mkdir(pg_server.dir, 0755), 0);
    if (pg_plain_user(&user))
        assert_int_equal(chown(pg_server.dir, user->pw_uid, user->pw_gid), 0);
    FILE *f = fopen(log, "w");
    assert_non_null(f);
    char *make[] = { initdb,          (char *)"-D",       data,
                     (char *)"-U",    (char *)"fhirlake", (char *)"-A",
                     (char *)"trust", (char *)"-N",       (char *)"--no-locale",
                     (char *)"-E",    (char *)"UTF8",     NULL };
    pid_t pid = pg_server_run(make, fileno(f));
    fclose(f);
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        print_message("initdb failed; %s says why\n", log);
        return false;
    }
    char *run[] = { server,
                    (char *)"-D",
                    data,
                    (char *)"-k",
                    pg_server.dir,
                    (char *)"-c",
                    (char *)"listen_addresses=",
                    (char *)"-c",
                    (char *)"fsync=off",
                    (char *)"-c",
                    (char *)"shared_buffers=32MB",
                    NULL };
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pg_server.pid = pg_server_run(run, fds[1]);
    close(fds[1]);
    const bool ready = pg_wait_ready(fds[0]);
    /* it goes on without a log */
    close(fds[0]);
    if (!ready)
        pg_server_stop();
    return ready;
}

/* URI of a database, to which a slash and a name make a data store; NULL: there is none. */
static const char *pg_server_uri(void)
{
    struct err why;
    const struct store_engine *engine;
    const char *place, *given = getenv("FHIRLAKE_POSTGRES");
    char bin[64];
    if (!pg_server.asked) {
        pg_server.asked = true;
        if (store_engine_of("postgresql://x/y/z", &engine, &place, &why) != ERR_OK)
            print_message("skipped: the engine on PostgreSQL is not built (libpq-dev)\n");
        else if (given)
            (void)snprintf(pg_server.uri, sizeof pg_server.uri, "%s", given);
        else if (!pg_find_bin(bin, sizeof bin))
            print_message("skipped: PostgreSQL 14 or later is not installed (postgresql)\n");
        else if (atexit(pg_server_stop) == 0 && pg_server_start(bin))
            (void)snprintf(pg_server.uri, sizeof pg_server.uri,
                           "postgresql://fhirlake@/postgres?host=%s", pg_server.dir);
        else
            fail_msg("PostgreSQL did not start");
    }
    return pg_server.uri[0] ? pg_server.uri : NULL;
}

/* URI of a new data store's place; false: there is no server. */
static bool pg_new_place(char *out, size_t cap)
{
    const char *uri = pg_server_uri();
    char name[33];
    if (uri == NULL)
        return false;
    rng_hex32(name);
    (void)snprintf(out, cap, "%s/%s", uri, name);
    return true;
}

/* The data store at a URI goes. */
static void pg_drop(const char *uri)
{
    const struct store_engine *engine;
    const char *place;
    OK(store_engine_of(uri, &engine, &place, e));
    OK(engine->remove(place, e));
}
