/* trace.c - notes every function that a program enters and leaves.
 *
 * It is preloaded into a program that was compiled with -finstrument-functions; tools/walk.py does
 * that and reads the notes.
 *
 *   SIGUSR1   begin anew
 *   SIGUSR2   write the notes to the file that WALK_OUT names
 *
 * A note is the thread, the function's address, and whether it was entered. Addresses are counted
 * from where the program was loaded, so that they are those of its symbol table. */
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define QUIET   __attribute__((no_instrument_function))
#define NOTES   (8u << 20)
#define ENTERED 1u

struct note {
    uint32_t thread, entered;
    uint64_t function;
};
static struct note notes[NOTES];
static atomic_uint n_notes;
static uintptr_t base;

static QUIET void add(void *function, uint32_t entered)
{
    unsigned i = atomic_fetch_add(&n_notes, 1);
    if (i < NOTES)
        notes[i] = (struct note){ (uint32_t)gettid(), entered, (uintptr_t)function - base };
}

void __cyg_profile_func_enter(void *function, void *from);
void __cyg_profile_func_exit(void *function, void *from);

QUIET void __cyg_profile_func_enter(void *function, void *from)
{
    (void)from;
    add(function, ENTERED);
}

QUIET void __cyg_profile_func_exit(void *function, void *from)
{
    (void)from;
    add(function, 0);
}

static QUIET int first(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    base = info->dlpi_addr; /* the program itself comes first */
    return 1;
}

static QUIET void begin(int sig)
{
    (void)sig;
    atomic_store(&n_notes, 0);
}

static QUIET void dump(int sig)
{
    (void)sig;
    unsigned n = atomic_load(&n_notes);
    int fd = open(getenv("WALK_OUT"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    size_t left = (n < NOTES ? n : NOTES) * sizeof notes[0];
    const char *at = (const char *)notes;
    while (fd >= 0 && left) {
        ssize_t done = write(fd, at, left);
        if (done <= 0)
            break;
        at += done;
        left -= (size_t)done;
    }
    (void)close(fd);
}

__attribute__((constructor)) static QUIET void start(void)
{
    (void)dl_iterate_phdr(first, NULL);
    (void)signal(SIGUSR1, begin);
    (void)signal(SIGUSR2, dump);
}
