/* credentials_private.h - sections of a file of credentials, as credentials_file.c reads them.
 *
 *   credentials.c       the table of callers
 *   credentials_file.c  lines and sections of a file
 *   credentials_own.c   key pairs of our own: made on the first start, and for calling out
 * Floor: auth. */
#pragma once
#include "auth/credentials.h"

struct section {
    struct credential c;
    sv policy_name;
    size_t line;
};
/* The file's sections, their text kept in a. */
MUST_USE err_code credentials_sections_read(const char *path, bool private, struct arena *a,
                                            struct section **out, size_t *n_out, struct err *e);
