/* keeper.h - KMS as the keeper of data stores' data keys.   Floor: kms (uses store). */
#pragma once
#include "store/keeper.h"

struct kms;
#define KEEPER_KMS "kms" /* its name in key files */
/* kms: borrowed until the keeper is closed. every_s: how often KMS is asked again for each key that
 * was opened; 0: KMS_WATCH_EVERY_S. A key that KMS does not give any more, or of which it has said
 * nothing for KMS_WATCH_GRACE_S, is ERR_DENIED from then on, until KMS gives it again. A key that
 * nobody unwraps for a minute is overwritten and forgotten when it is next due; KMS is asked for it
 * no more, until somebody unwraps it again. */
struct key_keeper *kms_keeper_new(struct kms *kms, unsigned every_s);
