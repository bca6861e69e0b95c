/* elsewhere.h - is what a data folder's server serves in the folder, or in a database?
 * Floor: store. */
#pragma once
#include "base/err.h"

#define STORE_ELSEWHERE_NAME "database" /* of a file of DATA: the number of its database */
/* ERR_UNSUPPORTED: in a database, so that a command on files has nothing to look at. */
MUST_USE err_code store_elsewhere(const char *data, struct err *e);
