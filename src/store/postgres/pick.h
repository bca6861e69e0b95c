/* pick.h - which version of a resource is current as of a commit, as SQL.
 *
 * Online commits stand in the order of t, so the newest of them is one step in the index; its row
 * says its version number. Of loads only those behind it count: each is one version more (I5), and
 * the last of them is current. Floor: store. */
#pragma once

/* A row source for `cross join lateral`: n, t, instant_ms, version; no row when there is none.
 * type, number and as_of are SQL. */
#define PG_PICK(type, number, as_of)                                                             \
    "(select coalesce(x.n, w.n) as n, coalesce(x.t, w.n) as t, coalesce(x.instant_ms, "          \
    "w.instant_ms) as instant_ms, coalesce(w.version, 0) + coalesce(x.k, 0) as version "         \
    "from (select 1) one left join lateral (select v.n, v.version, v.instant_ms from "           \
    "versions v where v.type = " type " and v.number = " number " and v.n > 0 and v.n <= " as_of \
    " order by v.n desc limit 1) w on true left join lateral (select v.n, c.t, "                 \
    "c.instant_ms, count(*) over () as k from versions v join commits c on c.load = -v.n "       \
    "and c.load > 0 where v.type = " type " and v.number = " number " and v.n < 0 and c.t "      \
    "<= " as_of " and c.t > coalesce(w.n, 0) order by c.t desc limit 1) x on true where "        \
    "coalesce(x.n, w.n) is not null)"
