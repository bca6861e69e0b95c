/* client.h - calls to an endpoint of the HealthLake API, ours or another, signed with SigV4.
 *
 * Keys come from --credentials FILE [--profile NAME], else AWS_ACCESS_KEY_ID and its like, else
 * AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials; with none of them requests go out unsigned,
 * which a server with --auth none takes. One thread at a time.   Floor: cli. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct client_options { /* as on the command line; NULL: not given */
    const char *endpoint, *region, *credentials, *profile;
};
#define CLIENT_DEFAULT_ENDPOINT "http://127.0.0.1:8080"

struct client;
/* ERR_INVALID: endpoint or credentials file; the message says which. */
MUST_USE err_code client_new(const struct client_options *o, struct client **out, struct err *e);
void client_free(struct client *client);
DEFINE_CLEANUP(struct client, client_free)
bool client_is_signed(const struct client *client);
sv client_endpoint(const struct client *client); /* without a slash behind */
/* What --datastore was given stands in paths. ERR_INVALID: it is no id. */
MUST_USE err_code client_check_datastore(const char *id, struct err *e);

struct client_call {
    const char *method;
    sv target; /* path and query, encoded: "/datastore/ID/r4/export/JOB" */
    sv content_type, amz_target, prefer; /* empty: not sent */
    sv body;
    const int *into; /* a descriptor that the body of a 200 is written to as it comes; NULL: none */
    uint64_t most_s; /* seconds that all of it may take; 0: as long as something comes */
};
struct client_answer {
    long status;
    struct buf body; /* the caller's to empty with buf_done() */
    char location[1024], progress[128];
};
/* One exchange. ERR_PEER: no answer, or one that was cut off. A refusal is an answer: look at
 * status. */
MUST_USE err_code client_run(struct client *client, const struct client_call *call,
                             struct client_answer *out, struct err *e);
/* What an answer that is no success says, as an error: the text of an OperationOutcome or of an AWS
 * error. */
err_code client_refusal(const struct client_answer *a, struct err *e);

/* Questions that are asked until there is an answer, of a job that goes on. Zeroed in front of the
 * first one. */
struct client_poll {
    unsigned ms, n_lost;
};
/* After a question that ended as rc, and told of no end: is it asked again? Then the pause is over,
 * which grows from one to the next, and which a signal ends. False: rc is what there is to say. A
 * server that is busy is asked again, and one that does not answer ten times in a row is not. */
bool client_poll_again(struct client_poll *poll, err_code rc);
