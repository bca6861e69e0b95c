/* process.c - what the process and the data folder take, as a monitor wants to know it. The names
 * are those that every Prometheus client has.
 *
 * A number that the system does not give is left out, so that nobody takes it for 0. */
#include "server/serve_private.h"

#include "base/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK  512u /* of st_blocks */
#define DEPTH  8u   /* of folders in the data folder */
#define CPU_US 1000000u

static void gauge(struct prometheus *out, const char *name, const char *help, uint64_t value)
{
    prometheus_family(out, name, "gauge", help);
    prometheus_u64(out, "", NULL, 0, value);
}

static void write_cpu(struct prometheus *out)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
        return;
    prometheus_family(out, "process_cpu_seconds_total", "counter", "Processor time of the process");
    prometheus_seconds(out, "", NULL, 0, (uint64_t)t.tv_sec * CPU_US + (uint64_t)t.tv_nsec / 1000);
}

/* The beginning of a small file of /proc. Its end, or NULL. */
static const char *read_proc(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return NULL;
    out[n] = 0;
    return out + n;
}

/* The n-th number of a text, from 0, numbers parted by one blank each. */
static bool number_of(sv text, unsigned n, uint64_t *out)
{
    sv one = SV_NONE;
    for (unsigned i = 0; i <= n; i++)
        if (!sv_cut(&text, ' ', &one))
            return false;
    return sv_to_u64(one, out);
}

static void write_memory(struct prometheus *out)
{
    char text[256];
    uint64_t virtual, resident, page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (read_proc("/proc/self/statm", text, sizeof text) == NULL ||
        !number_of(sv_from(text), 0, &virtual) || !number_of(sv_from(text), 1, &resident))
        return;
    gauge(out, "process_virtual_memory_bytes", "Address space of the process", virtual * page);
    gauge(out, "process_resident_memory_bytes", "Memory of the process", resident * page);
}

static void write_descriptors(struct prometheus *out)
{
    struct rlimit limit;
    uint64_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir) {
        for (const struct dirent *d; (d = readdir(dir)) != NULL;)
            n += d->d_name[0] != '.';
        closedir(dir);
        /* one of them was that of the folder */
        gauge(out, "process_open_fds", "File descriptors that are open", n ? n - 1 : 0);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        gauge(out, "process_max_fds", "File descriptors that may be open", limit.rlim_cur);
}

/* Behind the name of the program, which ends with a bracket, the first word is the 3rd of the line;
 * the 22nd is the start in ticks since the machine's own. */
static void write_start(struct prometheus *out)
{
    char text[1024];
    uint64_t ticks;
    struct timespec up;
    long per_second = sysconf(_SC_CLK_TCK);
    const char *end = read_proc("/proc/self/stat", text, sizeof text);
    const char *bracket = end ? strrchr(text, ')') : NULL;
    if (bracket == NULL || per_second <= 0 ||
        !number_of(sv_make(bracket + 1, (size_t)(end - bracket - 1)), 20, &ticks) ||
        clock_gettime(CLOCK_BOOTTIME, &up) != 0)
        return;
    uint64_t up_us = (uint64_t)up.tv_sec * CPU_US + (uint64_t)up.tv_nsec / 1000;
    uint64_t began_us = ticks * CPU_US / (uint64_t)per_second;
    uint64_t age_us = up_us > began_us ? up_us - began_us : 0;
    prometheus_family(out, "process_start_time_seconds", "gauge",
                      "When the process began, since 1970");
    prometheus_seconds(out, "", NULL, 0, (uint64_t)clock_wall_ms() * 1000 - age_us);
}

void process_write(struct prometheus *out)
{
    write_cpu(out);
    write_memory(out);
    write_descriptors(out);
    write_start(out);
}

/* Files come and go meanwhile: what is not there any more counts as nothing. fd is taken. */
static uint64_t bytes_below(int fd, unsigned depth)
{
    DIR *dir = fdopendir(fd);
    uint64_t sum = 0;
    if (dir == NULL) {
        close(fd);
        return 0;
    }
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
            fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        sum += (uint64_t)st.st_blocks * BLOCK;
        int below =
            S_ISDIR(st.st_mode) && depth
                ? openat(dirfd(dir), d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                : -1;
        if (below >= 0)
            sum += bytes_below(below, depth - 1);
    }
    closedir(dir);
    return sum;
}

uint64_t process_folder_bytes(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? 0 : bytes_below(fd, DEPTH);
}
