/* seal.h - texts that we hand out and get back, and that nobody in between can read or change:
 * AES-256-GCM under a key of ours, a fresh nonce each time, as base64url (RFC 4648, section 5,
 * without padding).
 *
 *   nonce (12 bytes), ciphertext, tag (16 bytes)
 *
 * One key may seal some 2^32 texts. Source: NIST SP 800-38D.   Floor: codec. */
#pragma once
#include "base/buf.h"

#define SEAL_KEY_LEN 32u
#define SEAL_EXTRA   28u /* bytes beside the plain text, before base64url */

/* Appended to out. about: what the text is for; it opens for the same alone. */
MUST_USE err_code seal_close(const unsigned char key[SEAL_KEY_LEN], sv about, sv plain,
                             struct buf *out, struct err *e);
/* The plain text, appended. ERR_INVALID: not sealed by this key for this purpose, or changed
 * since. */
MUST_USE err_code seal_open(const unsigned char key[SEAL_KEY_LEN], sv about, sv text,
                            struct buf *plain, struct err *e);
