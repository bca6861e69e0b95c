/* pick.h - which version of a resource is current as of a commit, as SQL.
 *
 * Online commits stand in the order of t, so the newest of them is one step in the index; its row
 * says its version number. Of loads only those behind it count: each is one version more (I5), and
 * the last of them is current. Floor: store. */
#pragma once

/* The pack that has a number, if one does: then first + count > number. A row source; one that
 * reads nothing where `if` is false. */
#define PG_PACK(type, number, if)                                                           \
    "(select z.first, z.count, z.raw_len, z.body from packs z where z.type = " type " and " \
    "z.first <= " number " and " if " order by z.first desc limit 1)"

/* A version p.n of a number and what is stored of it: v in a row of its own, or k in a pack. */
#define PG_STORED(type, number)                                                             \
    " left join versions v on v.type = " type " and v.number = " number " and v.n = p.n "   \
    "left join lateral " PG_PACK(type, number,                                              \
                                 "p.n = -(" number " >> 28)") " k on "                      \
                                                              "k.first + k.count > " number \
                                                              " and v.n is null "

/* A row source for `cross join lateral`: n, t, instant_ms, version; no row when there is none.
 * type, number and as_of are SQL. */
#define PG_PICK(type, number, as_of)                                                             \
    "(select coalesce(x.n, w.n) as n, coalesce(x.t, w.n) as t, coalesce(x.instant_ms, "          \
    "w.instant_ms) as instant_ms, coalesce(w.version, 0) + coalesce(x.k, 0) as version "         \
    "from (select 1) one left join lateral (select v.n, v.version, v.instant_ms from "           \
    "versions v where v.type = " type " and v.number = " number " and v.n > 0 and v.n <= " as_of \
    " order by v.n desc limit 1) w on true left join lateral (select v.n, c.t, "                 \
    "c.instant_ms, count(*) over () as k from (select y.n from versions y where y.type = " type  \
    " and y.number = " number " and y.n < 0 union all select -(" number " >> 28) from " PG_PACK( \
        type, number,                                                                            \
        "true") " k where k.first + k.count > " number                                           \
                ") v join commits c on c.load = -v.n and c.load > 0 where c.t <= " as_of         \
                " and c.t > coalesce(w.n, 0) order by c.t desc limit 1) x on true where "        \
                "coalesce(x.n, w.n) is not null)"
