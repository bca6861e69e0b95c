/* elsewhere.c - is what a data folder's server serves in the folder, or in a database? */
#include "store/elsewhere.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

err_code store_elsewhere(const char *data, struct err *e)
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/" STORE_ELSEWHERE_NAME, data);
    /* a path that is too long is refused by who opens it */
    if (n < 0 || n >= PATH_MAX || access(path, F_OK) != 0)
        return ERR_OK;
    return ERR(e, ERR_UNSUPPORTED,
               "the data stores of %.150s are in a database (serve --store postgresql://): this "
               "command is for files, and a database has tools of its own",
               data);
}
