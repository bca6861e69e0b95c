/* left.h - what an export left to later ones: found, and spoilt. */
#pragma once
#include "../test.h"

#include "store/records.h"

/* The one record of what exports left. */
struct left {
    struct buf key, value;
    unsigned n;
};

/* records_each_fn */
static bool left_take(void *ctx, sv key, sv value)
{
    struct left *l = ctx;
    l->n++;
    buf_clear(&l->key);
    buf_clear(&l->value);
    OK(buf_add(&l->key, key, e));
    OK(buf_add(&l->value, value, e));
    return true;
}

static void left_find(struct records *records, struct left *l)
{
    *l = (struct left){ BUF_INIT(1 << 20), BUF_INIT(64 << 20), 0 };
    OK(records_scan(records, SV_LIT("jobearlier/"), SV_NONE, left_take, l, e));
}

static void left_done(struct left *l)
{
    buf_done(&l->key);
    buf_done(&l->value);
}

/* What follows a member's name, another character, in all ranges; a digit stays one. */
static unsigned left_spoil(struct records *records, const char *member)
{
    struct left l;
    unsigned n = 0;
    size_t len = strlen(member);
    left_find(records, &l);
    assert_int_equal(l.n, 1);
    for (char *at = l.value.ptr;
         (at = memmem(at, l.value.len - (size_t)(at - l.value.ptr), member, len)) != NULL;
         at += len, n++)
        at[len] = at[len] == '1' ? '2' : '1';
    OK(records_put(records, buf_sv(&l.key), buf_sv(&l.value), e));
    left_done(&l);
    return n;
}
