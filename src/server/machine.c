/* machine.c - what this machine gives: descriptors, disk, memory. Descriptors are shared out among
 * connections, jobs and data stores before anything is opened. What is too little is told in the
 * log and does not stop the server. */
#include "server/serve_private.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILES_USUAL   1024u /* of a process, where the system does not say */
#define FILES_OF_JOBS 160u  /* and of everything else */
/* Beside connections: what lingers, is cut, or is the file of a body or an answer. */
#define FILES_OF_DOOR 352u
#define FILES_GOOD    2048u /* of data stores: a lower number is told */

/* ---- descriptors ---- */

static unsigned raise_fd_limit(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
        return FILES_USUAL;
    if (rl.rlim_cur < rl.rlim_max) {
        rlim_t before = rl.rlim_cur;
        rl.rlim_cur = rl.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &rl) != 0)
            rl.rlim_cur = before;
    }
    return rl.rlim_cur < UINT_MAX / 2 ? (unsigned)rl.rlim_cur : UINT_MAX / 2;
}

struct machine_files machine_share(unsigned n, unsigned *max_connections)
{
    unsigned jobs = FILES_OF_JOBS < n / 4 ? FILES_OF_JOBS : n / 4;
    unsigned door = FILES_OF_DOOR < n / 8 ? FILES_OF_DOOR : n / 8;
    if (*max_connections > n / 4)
        *max_connections = n / 4;
    unsigned left = n - jobs - door - *max_connections;
    return (struct machine_files){
        .n_bodies = door * LIMIT_UNPROVEN_FILES / FILES_OF_DOOR + 1,
        .n_answers = door * LIMIT_ANSWER_FILES / FILES_OF_DOOR + 1,
        .stores = { .n_files = left < LIMIT_STORE_FILES ? left : LIMIT_STORE_FILES,
                    .idle_ms = LIMIT_STORE_IDLE_S * 1000ull,
                    .write_bytes = LIMIT_UNWRITTEN_BYTES,
                    .wait_ms = LIMIT_STORE_WAIT_S * 1000ull },
    };
}

struct machine_files machine_share_files(struct server_config *config)
{
    unsigned n = raise_fd_limit(), wanted = config->max_connections;
    struct machine_files f = machine_share(n, &config->max_connections);
    bool low = config->max_connections < wanted || f.stores.n_files < FILES_GOOD;
    LOG(low ? LOG_WARN : LOG_INFO, "descriptors", LOG_INT("limit", n),
        LOG_INT("connections", config->max_connections), LOG_INT("stores", f.stores.n_files),
        LOG_STR("note", low ? "few: data stores are closed and opened again when others are used, "
                              "and fewer connections are taken; raise ulimit -n"
                            : "-"));
    return f;
}

/* What a machine cannot give is no fault of the options, which may be made for a larger one; but it
 * is told. */
void machine_check_sizes(const struct server_config *config)
{
    uint64_t left, disk, memory;
    /* a disk that cannot be asked: jobs ask again, and say so */
    struct err ignored;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (config->min_free_mib && file_disk(config->data, &left, &disk, &ignored) == ERR_OK &&
        config->min_free_mib >= disk >> 20)
        LOG(LOG_WARN, "min_free", LOG_INT("mib", config->min_free_mib),
            LOG_INT("disk_mib", disk >> 20),
            LOG_STR("note", "--min-free-mib is the whole disk of the data folder or more: no job "
                            "is taken"));
    memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    if (memory && config->cache_mib >= memory >> 20)
        LOG(LOG_WARN, "cache", LOG_INT("mib", config->cache_mib),
            LOG_INT("memory_mib", memory >> 20),
            LOG_STR("note", "--cache-mib is all the memory of this machine or more"));
}
