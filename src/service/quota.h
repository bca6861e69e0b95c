/* quota.h - how often a caller may ask, and how often a data store may be asked.
 *
 *   kind        what is counted together: "read", "write", "StartFHIRExportJob"
 *   of a caller all that he asks for, on whatever data store
 *   of a store  all that is asked of one data store, by whatever caller
 *
 * A request is let through when each bucket that it needs has enough, and then takes from all of
 * them. A request that is refused takes from none, so nobody's refusals cost others. A bucket holds
 * a second's worth (a minute's for rates per minute). What costs more than a bucket holds passes
 * when the bucket is full, and leaves it in debt. A write, and a Bundle, costs one for each KiB of
 * its body; all else costs one.
 *
 * Memory: the QUOTA_KNOWN callers and data stores that asked last have buckets; one that comes anew
 * has full ones. Callers are counted when they have proved who they are, and data stores when they
 * exist. Thread-safe.
 * Source: HealthLake endpoints and quotas.   Floor: service. */
#pragma once
#include "base/buf.h"

#define QUOTA_KNOWN     16384u /* callers and data stores; 500 bytes each */
#define QUOTA_KINDS_MAX 32u
#define QUOTA_FILE_MAX  (64u << 10) /* bytes */

enum quota_scope { QUOTA_CALLER, QUOTA_STORE, QUOTA_N_SCOPES };

struct quota_rate {
    double per_s; /* 0: not limited */
    double burst;
};
struct quota_rates {
    struct quota_rate of[QUOTA_KINDS_MAX][QUOTA_N_SCOPES];
};

/* HealthLake's own. Its rates of an account are those of a caller here, so that no caller takes
 * what another needs. */
void quota_rates_healthlake(struct quota_rates *out);
/* Those of a file:
 *
 *   base = healthlake      the rates that the file does not name; or none, which is the default
 *   [caller]
 *   read = 100/s
 *   CreateFHIRDatastore = 1/min
 *   [datastore]
 *   write = none           not limited
 *
 * Lines that begin with '#' or ';' are comments. ERR_INVALID, ERR_TOO_LARGE name the line; for a
 * name that is none, what may be meant. */
MUST_USE err_code quota_rates_parse(sv text, struct quota_rates *out, struct err *e);
/* The i-th kind; NULL: there are no more. on_store: it may be limited for a data store. */
const char *quota_kind_name(size_t i, bool *on_store);
/* The kind of an action ("ReadResource"); QUOTA_KINDS_MAX: it has none. */
size_t quota_kind_of(sv action);

struct quota;
struct quota *quota_new(const struct quota_rates *rates);
void quota_free(struct quota *quota);
/* Other rates from now on. What was taken stays taken: a bucket keeps what it holds, as far as it
 * holds as much, and a debt stays. */
void quota_set(struct quota *quota, const struct quota_rates *rates);

struct quota_ask {
    const char *action; /* "ReadResource"; one without a kind always passes */
    sv caller;          /* his ARN; empty: his buckets are not asked */
    sv store;           /* id of a data store that exists; empty: likewise */
    uint64_t bytes;     /* of the body */
    bool begun;         /* part of something that has begun: it passes, and leaves debts */
};
/* May it be done now? quota may be NULL: then anything may.
 *   now_us  monotonic
 *   wait_s  when it is refused: seconds until it may pass, at least 1
 * ERR_THROTTLED: not now. The message says which rate. */
MUST_USE err_code quota_take(struct quota *quota, const struct quota_ask *ask, uint64_t now_us,
                             unsigned *wait_s, struct err *e);
/* How many callers and data stores have buckets. */
size_t quota_known(struct quota *quota);
