/* pace.c - how many copies a peer is asked for at a time, by what its answers take.
 *
 * It begins with few. Where answers take long, there is one more for some answers, as long as
 * answers do not take longer by that: so a peer far away has many, and one that is busy, or that
 * answers at once, has no more than it can use. One that says that it is too much has half as many,
 * until it is found out anew. */
#include "s3/s3_private.h"

#define GROW    4u    /* answers for one more */
#define SHARE   8u    /* of the mean: what the last answer has, one of so many */
#define LONG_US 5000u /* a peer that takes so long takes long */
#define PLAY    4u    /* longer by one of so many parts is not longer */

void s3_pace_init(struct s3_pace *p)
{
    *p = (struct s3_pace){ .most = S3_PACE_FIRST };
}

bool s3_pace_takes_long(const struct s3_pace *p)
{
    return p->takes_us >= LONG_US;
}

void s3_pace_answer(struct s3_pace *p, uint64_t took_us)
{
    p->takes_us = p->takes_us ? (p->takes_us * (SHARE - 1) + took_us) / SHARE : took_us;
    p->n_answers++;
    if (p->first_us == 0) {
        p->first_us = p->n_answers == S3_PACE_FIRST ? p->takes_us : 0;
        return;
    }
    if (p->n_answers < GROW || p->most == S3_PACE_MOST || !s3_pace_takes_long(p) ||
        p->takes_us > p->first_us + p->first_us / PLAY)
        return;
    p->n_answers = 0;
    p->most++;
}

void s3_pace_too_much(struct s3_pace *p)
{
    p->most = p->most / 2 > S3_PACE_FIRST ? p->most / 2 : S3_PACE_FIRST;
    p->n_answers = 0;
}
