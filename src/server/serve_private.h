/* serve_private.h - what the rooms of the server share.
 *
 *   callers.c  the callers' files, watched
 *   config.c   the options
 *   guard.c    what others on this machine can see
 *   machine.c  what this machine gives
 *   serve.c    the process: all rooms up, a signal, all rooms down
 * Floor: server. */
#pragma once
#include "auth/auth.h"
#include "server/config.h"
#include "store/registry.h"

#include <sys/types.h>

/* ---- callers.c ---- */
struct callers;
/* Starts the thread that reads auth's files again when they change. *out stays as it is when auth
 * is open. What is given is borrowed until callers_close(). */
MUST_USE err_code callers_open(const struct server_config *config, struct auth *auth,
                               const char *path, struct callers **out, struct err *e);
void callers_close(struct callers *callers);
/* Reads them, changed or not. Accepts NULL. */
void callers_read_again(struct callers *callers);
/* For auth_show() and auth_reload(): do the callers go with the other options? A line of the log
 * about them, and one for each action of their policies that is none. */
err_code callers_check(void *config, const struct credentials *credentials, struct err *e);
err_code callers_tell(void *state, const struct credentials *credentials, struct err *e);

/* ---- guard.c ---- */
/* Memory holds keys and patients' data: no core file, and no look into it by others of the same
 * user, unless core_dumps. */
void guard_memory(bool core_dumps);
/* A folder that only this program uses is its owner's alone from now on. name: for the log. */
void guard_folder(const char *path, const char *name);
/* Tells when a folder that was never a data folder holds something else. Before anything is made in
 * it. */
void guard_first_use(const char *path, const char *system_path);
/* Tells when others may write into the data folder, which may be shared on purpose. */
void guard_data_folder(const char *path);

/* ---- machine.c ---- */
struct machine_files { /* how descriptors are shared out */
    unsigned n_bodies, n_answers;
    struct store_bounds stores;
};
/* Of n descriptors at most a quarter are the connections', some are the jobs' and the door's, and
 * the rest is the data stores'. */
struct machine_files machine_share(unsigned n, unsigned *max_connections);
/* Takes all descriptors that the process may have. max_connections becomes less when they
 * are few; then the log says so. */
struct machine_files machine_share_files(struct server_config *config);
/* Tells of options that this machine cannot meet; they may be made for a larger one. */
void machine_check_sizes(const struct server_config *config);
