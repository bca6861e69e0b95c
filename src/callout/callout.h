/* callout.h - what each call to another server by libcurl keeps to, whatever that server sends.
 *
 * libcurl's own limits leave two gaps, and a peer of any kind could use them:
 *
 *   heads   Lines of heads and trailers are kept, and nothing bounds their number, or how many
 *           interim answers (1xx) come before the answer. Here their sum has a limit.
 *   turns   A call into libcurl ends when its socket has no more bytes. TLS's own messages
 *           (KeyUpdate, HelloRequest, tickets) are read on and on within it: who sends them faster
 *           than they are read keeps the thread there, behind each timeout and each cancel, and in
 *           a handshake without any certificate. So a thread of this process looks at turns that
 *           take long, and shuts the sockets of those that have to end: libcurl reads their end.
 *
 * One callout per easy handle, or per multi handle that has one easy handle at a time. It outlives
 * both, since connections that are kept are closed through it. Of one thread at a time.
 * Source: RFC 8446, 4.6 and 5; RFC 5246, 7.4.1.1.   Floor: callout (uses base). */
#pragma once
#include "base/sv.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>

#define CALLOUT_HEAD_MAX (64u << 10) /* bytes: of all heads and trailers of an answer together */
#define CALLOUT_TURN_MS  10000u      /* the longest turn of who sets no other end */

struct callout;
struct callout *callout_new(void); /* never NULL */
void callout_free(struct callout *callout);
/* May a connection be made to this address? */
typedef bool (*callout_may_fn)(void *ctx, const struct sockaddr *to);
/* Sets options of libcurl's, which curl_easy_reset() takes away: of the header function, and those
 * of sockets. A new exchange begins. may: NULL: to any address. */
void callout_arm(struct callout *callout, CURL *easy, callout_may_fn may, void *ctx);
/* Whom a TLS peer has to be known by: the authorities of a PEM file, or the system's where ca_file
 * is NULL. Sets options of libcurl's, as callout_arm(). A file that is replaced counts from the
 * next connection on, also of this handle. With one that cannot be read a connection ends with
 * CURLE_SSL_CACERT_BADFILE. */
void callout_trust(CURL *easy, const char *ca_file);

/* The exchange was ended because its heads were too long. */
bool callout_head_is_too_long(const struct callout *callout);

/* Those that libcurl has open, at most `most` of them. */
unsigned callout_sockets(struct callout *callout, int *fds, unsigned most);

/* Around what may read from or write to a socket: curl_multi_perform, curl_easy_perform,
 * curl_multi_remove_handle, curl_easy_pause, and the cleanups. It ends soon after *stop is set, or
 * most_ms have passed; what was under way has then failed. stop: may be NULL. */
void callout_enter(struct callout *callout, const atomic_bool *stop, unsigned most_ms);
void callout_leave(struct callout *callout);
