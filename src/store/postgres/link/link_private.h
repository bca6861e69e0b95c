/* link_private.h - what the rooms of the way to the database share.
 *
 *   connect.c  one connection, and its settings
 *   talk.c     what is sent, and its answer waited for
 *   pool.c     the connections of this process to one database
 *   standby.c  batches of exports from a standby
 *   ready.c    a database looked at before a server begins
 * Floor: store. */
#pragma once
#include "store/postgres/postgres_private.h"

/* ---- connect.c ---- */
/* In whatever state; PQfinish() ends it. NULL: no memory. */
PGconn *pg_connect_raw(const char *conninfo);
/* Seconds that a statement of a read or a write may take, of connections that are set up now. */
void pg_connect_timeout(unsigned seconds);
/* Where standbys are, of data stores that are opened from now on. NULL: there are none. */
void pg_connect_read_from_set(const char *uri);
const char *pg_connect_read_from(void);

/* ---- talk.c ---- on a connection that does not block; behind ms it is cut off */
/* Of what was sent: the last result, or the one that begins a COPY; the caller's. NULL: none. */
PGresult *pg_talk_answer(PGconn *c, unsigned ms);
/* The same of a statement that takes as long as it takes. *halt (NULL: never) cuts the connection
 * off. */
PGresult *pg_talk_long(PGconn *c, const atomic_bool *halt);
/* Of a COPY to the server. False: the connection has ended, or the server the COPY. */
bool pg_talk_put(PGconn *c, sv bytes, unsigned ms);
bool pg_talk_put_end(PGconn *c, const char *why, unsigned ms); /* why: NULL, or it is given up */
int pg_talk_get(PGconn *c, char **row, unsigned ms); /* as PQgetCopyData(); of a COPY from it */

/* ---- pool.c ---- */
unsigned pg_link_most(void); /* connections of this process to one database */
