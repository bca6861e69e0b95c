/* actions.h - the names of actions, and those that a policy names and that do not exist.
 * Floor: server. */
#pragma once
#include "auth/bearer/providers.h"

#define ACTIONS_MAX 256u
/* Names of what is served and of HealthLake's other operations, without "healthlake:", some of them
 * several times. They live as long as the process. Returns how many. */
size_t actions_names(const char **out, size_t max);
/* Does this Action of a policy, which may hold wildcards, name no action that exists?
 *   service, near  what may be meant; near is empty when no action is like it */
bool action_is_odd(sv pattern, sv *service, sv *near);
/* A warning in the log for each such action of each policy file, with file, statement and what may
 * be meant. */
void actions_check(const struct credentials *c);
/* Likewise of each policy of the roles of access tokens. */
void actions_check_roles(const struct providers *p);
