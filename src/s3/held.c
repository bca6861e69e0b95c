/* held.c - a key pair that another may take the place of while calls go on.
 *
 * Each call copies the pair into its own memory, so nobody is in the middle of one when it changes.
 * What went is overwritten. */
#include "s3/s3.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct s3_held {
    struct {
        pthread_mutex_t lock;
        char *text; /* of cred, in one piece */
        size_t len;
        struct s3_credentials cred;
    } locked; /* touch only while holding locked.lock */
};

struct s3_held *s3_held_new(const struct s3_credentials *first)
{
    struct s3_held *held = calloc(1, sizeof *held);
    if (held == NULL)
        abort();
    pthread_mutex_init(&held->locked.lock, NULL);
    s3_held_set(held, first);
    return held;
}

static void wipe(char *text, size_t len)
{
    if (text)
        explicit_bzero(text, len);
    free(text);
}

void s3_held_free(struct s3_held *held)
{
    if (held == NULL)
        return;
    wipe(held->locked.text, held->locked.len);
    pthread_mutex_destroy(&held->locked.lock);
    free(held);
}

void s3_held_set(struct s3_held *held, const struct s3_credentials *now)
{
    const sv from[] = { now->access_key_id, now->secret_key, now->session_token };
    struct s3_credentials cred = { .expires_ms = now->expires_ms };
    sv *to[] = { &cred.access_key_id, &cred.secret_key, &cred.session_token };
    const size_t len = from[0].len + from[1].len + from[2].len;
    char *text = malloc(len + 1), *at = text;
    if (text == NULL)
        abort();
    for (size_t i = 0; i < 3; i++) {
        if (from[i].len)
            memcpy(at, from[i].ptr, from[i].len);
        *to[i] = sv_make(at, from[i].len);
        at += from[i].len;
    }
    pthread_mutex_lock(&held->locked.lock);
    char *before = held->locked.text;
    const size_t before_len = held->locked.len;
    held->locked.text = text;
    held->locked.len = len;
    held->locked.cred = cred;
    pthread_mutex_unlock(&held->locked.lock);
    wipe(before, before_len);
}

err_code s3_held_give(void *ctx, sv refused_key_id, struct arena *a, struct s3_credentials *out,
                      struct err *e)
{
    struct s3_held *held = ctx;
    (void)refused_key_id;
    pthread_mutex_lock(&held->locked.lock);
    const struct s3_credentials *from = &held->locked.cred;
    const struct s3_credentials cred = { arena_sv(a, from->access_key_id),
                                         arena_sv(a, from->secret_key),
                                         arena_sv(a, from->session_token), from->expires_ms };
    pthread_mutex_unlock(&held->locked.lock);
    if (!cred.access_key_id.ptr || !cred.secret_key.ptr || !cred.session_token.ptr)
        return arena_oom(a, e);
    *out = cred;
    return ERR_OK;
}
