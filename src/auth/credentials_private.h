/* credentials_private.h - a credentials file as its lines say it, before it is a table of callers.
 *
 *   credentials.c      lines and sections of a file; the table of callers, with their policies
 *   credentials_own.c  the first key pair is made; the pair for calling out is found
 * Floor: auth. */
#pragma once
#include "auth/credentials.h"

struct section { /* of the file */
    struct credential c;
    sv expires; /* as it is written */
    size_t line;
};

/* Reads the sections of a file, in its order; their texts are owned by the arena.
 *   private  refuse a file that others can read or change */
MUST_USE err_code credentials_sections_read(const char *path, bool private, struct arena *a,
                                            struct section **out, size_t *n_out, struct err *e);
