/* options.h - the options of a command: one table for reading and for --help.   Floor: cli. */
#pragma once
#include "base/arena.h"

#include <stdio.h>

struct cli_option {
    const char *name;  /* "endpoint", without the dashes */
    const char *value; /* "URL"; NULL: a flag */
    const char *text;  /* what --help says */
    size_t offset;     /* of a const char *, or of a bool for a flag, in the command's struct */
    bool many;         /* it may come several times; the struct gets the last */
};
/* argv[0] is the command. What is no option goes to args (at most max). ERR_INVALID names what is
 * wrong; two values of one option are. *help: --help was there, and nothing else was looked at. */
MUST_USE err_code cli_options_read(const struct cli_option *table, size_t n, int argc, char **argv,
                                   void *into, const char **args, size_t max, size_t *n_args,
                                   bool *help, struct err *e);
/* One line an option. */
void cli_options_print(const struct cli_option *table, size_t n, FILE *f);
