/* actions.h - the actions that policies may name, and a word about those that are none.   Floor: service. */
#pragma once
#include "auth/credentials.h"

/* Is this Action of a policy (wildcards and all) one that names nothing here, though it means to?
 *   service, near  what may be meant; near is empty when nothing is like it */
bool action_is_odd(sv pattern, sv *service, sv *near);
/* A warning in the log for each such action of each policy file, with file, statement and what may be meant. */
void actions_check(const struct credentials *c);
