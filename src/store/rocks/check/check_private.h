/* check_private.h - what the rooms of a check share.
 *
 *   check.c     opening, the order of the passes       report.c    what is told
 *   ledger.c    are two heaps of items the same?       commits.c   the family of commits
 *   families.c  ids, changes, search, counts           versions.c  versions, one by one
 *   group.c     all versions of one number
 *
 * Each pass reads one family in order. What two families must agree on goes into a ledger: one
 * family puts items in, the other one takes them out, and nothing may be left. Versions are one
 * side of every ledger. Where a ledger does not close, the two families are read again, to name
 * some of what is left (`again`).   Floor: store. */
#pragma once
#include "store/check.h"
#include "store/rocks/rocks_private.h"

/* ---- ledger.c ---- */
struct ledger_row {
    uint64_t hash[2];
    uint64_t what; /* as the caller says: a number, a commit, ... */
    uint64_t n_in, n_out;
};
struct ledger_sum {
    size_t bucket;
    uint64_t add[2];
};
enum { LEDGER_WAITING = 16 };
struct ledger {
    enum {
        LEDGER_SUMS,  /* it adds up */
        LEDGER_ROWS,  /* it keeps items of the buckets that were chosen */
        LEDGER_CLOSED /* it takes nothing */
    } state;
    bool loose;          /* what was put in need not come out, and may have been put in twice */
    uint64_t (*sums)[2]; /* by bucket, without what waits to be added: */
    struct ledger_sum waiting[LEDGER_WAITING];
    size_t n_waiting;
    uint64_t n_items;
    uint32_t first, behind; /* buckets that were chosen lie within; and of those: */
    bool *chosen;
    struct ledger_row *rows;
    size_t n, cap;
    bool full; /* there were more rows than fit: the rest is not there */
};
void ledger_init(struct ledger *l);
void ledger_done(struct ledger *l);
/* An item comes in (n > 0) or goes out (n < 0), so many times. */
void ledger_add(struct ledger *l, sv item, uint64_t what, int64_t n);
/* Buckets that do not add up. */
size_t ledger_differs(struct ledger *l);
/* Choose buckets that do not add up, few enough that their rows fit. Returns how many do not add up
 * and are not chosen. */
size_t ledger_choose(struct ledger *l);
/* Choose the next buckets, whatever they add up to, from 0 on. False: there are no more. */
bool ledger_choose_next(struct ledger *l);
/* What does not come out even, each `what` once; closes the ledger. Views end with it. */
size_t ledger_left(struct ledger *l, const struct ledger_row **out);

/* What an item is made of. */
struct item {
    size_t len;
    char bytes[256];
};
static inline void item_u64(struct item *x, uint64_t v)
{
    memcpy(x->bytes + x->len, &v, sizeof v);
    x->len += sizeof v;
}
static inline void item_text(struct item *x, sv text)
{
    memcpy(x->bytes + x->len, text.ptr, text.len);
    x->len += text.len;
}
static inline sv item_sv(const struct item *x)
{
    return sv_make(x->bytes, x->len);
}

/* ---- what is known ---- */
enum {
    LEDGER_NUMBERS, /* rows of ids in, numbers with their ids out */
    LEDGER_CHANGES, /* rows of changes in, versions that are no births out */
    LEDGER_BIRTHS,  /* rows of births in, versions that are births out, summed up */
    LEDGER_COMMITS, /* records of commits in, versions of commits out */
    LEDGER_ENTRIES, /* search entries in, those of the versions' bodies out */
    LEDGER_COUNTS,  /* sums in, current resources out */
    N_LEDGERS
};
struct check_load { /* beside the row of the table */
    uint64_t n_said, n_found;
    bool has_commit;
    uint32_t *marked; /* by type: what the sums still hold of replaced versions; NULL: settled */
};
struct check_group; /* group.c */
struct check {
    struct rocks r; /* open for reading; what it has of options, files and families */
    const struct store_check_told *told;
    struct store_checked *out;
    bool again; /* families are read once more: what was told is not told again */
    bool damaged[N_CFS];
    struct store_commit last;
    unsigned newest_form; /* of the entries of that commit; 0: it does not say */
    uint64_t handed_out;  /* numbers of loads */
    struct load_table *loads;
    struct check_load *of_load;
    struct buf blocks; /* uint64_t: loads of online births, ascending */
    bool indexed;      /* every version has entries of this form */
    struct ledger ledgers[N_LEDGERS];
    struct { /* numbers of loads that were never published, of one part */
        store_number *rows;
        size_t n;
        uint64_t n_all, part, n_parts;
    } unborn;
    struct check_group *group;
    struct buf load_rows; /* struct bulk_load, until the table is made */
    struct {              /* of versions.c */
        struct arena *arena;
        struct buf index, old_index;
    } body;
};

/* ---- report.c ---- */
void check_wrong(struct check *c, int family, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Of one resource. */
void check_number_wrong(struct check *c, int family, store_number number, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Every key of a family, in order. */
typedef void (*check_fn)(struct check *c, sv key, sv value);
void check_each(struct check *c, int family, check_fn fn);
/* Value of a key, appended. False: there is none, or it cannot be read. */
bool check_get(struct check *c, int family, sv key, struct buf *out);

/* ---- commits.c ---- */
void check_commits(struct check *c);
void check_commits_again(struct check *c);
/* NULL: the load is not published. */
struct check_load *check_load_find(struct check *c, uint64_t b, const struct bulk_load **row);
/* The commit of what load or commit n wrote; 0: it is not visible. */
uint64_t check_commit_of(struct check *c, key_kind kind, uint64_t n);
bool check_is_block(const struct check *c, uint64_t b);
/* All loads and commits have as many versions as they say. Behind the versions. */
void check_loads_full(struct check *c);

/* ---- families.c ---- */
void check_ids(struct check *c);
void check_changes(struct check *c);
void check_entries(struct check *c);
void check_counts(struct check *c);
void check_notes(struct check *c);

/* ---- group.c ---- */
struct check_version {
    store_number number;
    key_kind kind;
    uint64_t n, t; /* t 0: it is not visible */
    struct value_head head;
    sv index; /* its entries; of a deletion none */
};
/* A version that the sums still hold, though a load has replaced it. */
typedef void (*check_replaced_fn)(struct check *c, store_number number, key_kind kind, uint64_t n);
struct check_group *check_group_new(check_replaced_fn fn);
void check_group_free(struct check_group *g);
/* Versions in the order of their keys. Those of one number are over when another number comes, and
 * at the end. */
void check_group_add(struct check *c, const struct check_version *v);
void check_group_end(struct check *c);
/* One resource more that the sums should hold. */
void check_group_count(struct check *c, fhir_type type, sv index);

/* ---- versions.c ---- */
void check_versions(struct check *c);
