/* peer.h - a Python peer for a C test: started as a child, described by the JSON line that it
 * prints, ended by closing its input. No Python, or a peer that says "skip": the test skips. */
#pragma once
#include "base/arena.h"
#include "codec/json.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* A call that is given up is another answer: where it is not the time that is tested, it is not,
 * however busy a machine is. */
#define NEVER_MS 3600000u

struct peer {
    pid_t pid;
    int in, out;
    struct arena *arena;
    yyjson_val *says; /* its line */
};

static inline sv peer_text(const struct peer *p, const char *name)
{
    return json_string(json_get(p->says, name));
}

static inline void peer_stop(struct peer *p)
{
    if (p->pid <= 0)
        return;
    close(p->in);
    close(p->out);
    for (int i = 0; i < 200 && waitpid(p->pid, NULL, WNOHANG) == 0; i++) {
        if (i == 100)
            (void)kill(p->pid, SIGKILL);
        (void)usleep(50000);
    }
    arena_free(p->arena);
    p->pid = 0;
}

/* script: file in tests/peers. False: not to be had here; says why on standard error. */
static inline bool peer_start(struct peer *p, const char *script)
{
    char path[4096], line[4096];
    const char *source = getenv("FHIRLAKE_SOURCE");
    int to[2], from[2];
    (void)snprintf(path, sizeof path, "%s/tests/peers/%s", source ? source : ".", script);
    *p = (struct peer){ .pid = -1 };
    if (access(path, R_OK) != 0 || pipe(to) != 0 || pipe(from) != 0) {
        (void)fprintf(stderr, "# no peer: %s\n", script);
        return false;
    }
    p->pid = fork();
    if (p->pid == 0) {
        (void)dup2(to[0], 0);
        (void)dup2(from[1], 1);
        for (int fd = 3; fd < 256; fd++)
            close(fd);
        (void)execlp("python3", "python3", path, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    p->in = to[1];
    p->out = from[0];
    p->arena = arena_new(1u << 20);
    size_t len = 0;
    struct pollfd pfd = { .fd = p->out, .events = POLLIN };
    while (len < sizeof line - 1 && poll(&pfd, 1, 60000) > 0) {
        ssize_t n = read(p->out, line + len, sizeof line - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        if (line[len - 1] == '\n')
            break;
    }
    yyjson_doc *doc = NULL;
    struct err e = { 0 };
    if (json_read(p->arena, sv_trim(sv_make(line, len && line[len - 1] == '\n' ? len - 1 : len)), 8,
                  &doc, &e) == ERR_OK)
        p->says = yyjson_doc_get_root(doc);
    if (p->says == NULL || json_get(p->says, "skip") != NULL) {
        (void)fprintf(stderr, "# no peer: %s: %.*s\n", script, SV_FMT(peer_text(p, "skip")));
        peer_stop(p);
        return false;
    }
    return true;
}
