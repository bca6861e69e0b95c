/* portable.c - what the program brings itself so that it runs with an older glibc.
 *
 * Compiled with the option portable alone. libstdc++'s std::random_device asks glibc 2.36 and later
 * for arc4random(). It is the only thing of that age in the program when libstdc++ is linked into
 * it. This one takes its place there, and then the program needs no symbol of glibc after 2.34.
 * Nothing else calls it.
 * Source: arc4random(3): a number of 32 bits that nobody can foretell; it does not fail. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

uint32_t arc4random(void)
{
    uint32_t number;
    for (;;) {
        ssize_t n = getrandom(&number, sizeof number, 0);
        if (n == (ssize_t)sizeof number)
            return number;
        if (n < 0)
            abort(); /* a kernel without getrandom(): older than any that glibc runs on */
    }
}
