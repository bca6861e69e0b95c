/* tokens.c - what tokens gave lately, under the SHA-256 of all that the answer hangs on.
 *
 * A table of slots; a new answer takes the place of the one in its slot. An answer is one block of
 * memory with its texts behind it. The key is a digest, so no token stands in memory here. */
#include "auth/bearer/providers_private.h"

#define TEXTS      8u          /* in struct token_facts */
#define ANSWER_MAX (20u << 10) /* bytes of texts; a larger answer is not kept */

struct kept {
    unsigned char key[32];
    uint64_t until_us;
    struct token_answer answer; /* its texts are behind it */
};

struct tokens {
    size_t n;
    struct {
        pthread_mutex_t lock;
        struct kept **slots;
    } locked;
};

struct tokens *tokens_new(size_t n_slots)
{
    struct tokens *t = calloc(1, sizeof *t);
    if (t == NULL || (t->locked.slots = calloc(n_slots, sizeof *t->locked.slots)) == NULL)
        abort();
    t->n = n_slots;
    pthread_mutex_init(&t->locked.lock, NULL);
    return t;
}

void tokens_free(struct tokens *tokens)
{
    if (tokens == NULL)
        return;
    for (size_t i = 0; i < tokens->n; i++)
        free(tokens->locked.slots[i]);
    pthread_mutex_destroy(&tokens->locked.lock);
    free(tokens->locked.slots);
    free(tokens);
}

static struct kept **slot_of(struct tokens *t, const unsigned char key[32])
{
    size_t at;
    memcpy(&at, key, sizeof at);
    return &t->locked.slots[at % t->n];
}

static void texts_of(struct token_facts *f, sv *out[TEXTS])
{
    out[0] = &f->scope;
    out[1] = &f->patient;
    out[2] = &f->user_type;
    out[3] = &f->user_id;
    out[4] = &f->issuer;
    out[5] = &f->client_id;
    out[6] = &f->subject;
    out[7] = &f->token_id;
}

static size_t bytes_of(struct token_facts *f)
{
    sv *text[TEXTS];
    size_t n = 0;
    texts_of(f, text);
    for (size_t i = 0; i < TEXTS; i++)
        n += text[i]->len;
    return n;
}

/* Copies the texts to to, and lets f point there. */
static void texts_move(struct token_facts *f, char *to)
{
    sv *text[TEXTS];
    texts_of(f, text);
    for (size_t i = 0; i < TEXTS; i++) {
        if (text[i]->len)
            memcpy(to, text[i]->ptr, text[i]->len);
        text[i]->ptr = to;
        to += text[i]->len;
    }
}

bool tokens_get(struct tokens *tokens, const unsigned char key[32], uint64_t now_us,
                struct arena *a, struct token_answer *out)
{
    bool found = false;
    pthread_mutex_lock(&tokens->locked.lock);
    struct kept *k = *slot_of(tokens, key);
    if (k && memcmp(k->key, key, sizeof k->key) == 0 && now_us < k->until_us) {
        struct token_answer an = k->answer;
        char *texts = arena_alloc(a, bytes_of(&an.facts) + 1);
        if (texts) {
            texts_move(&an.facts, texts);
            *out = an;
            found = true;
        }
    }
    pthread_mutex_unlock(&tokens->locked.lock);
    return found;
}

void tokens_put(struct tokens *tokens, const unsigned char key[32], uint64_t until_us,
                const struct token_answer *answer)
{
    struct token_answer an = *answer;
    size_t len = bytes_of(&an.facts);
    if (len > ANSWER_MAX)
        return;
    struct kept *k = malloc(sizeof *k + len), *old;
    if (k == NULL)
        abort();
    memcpy(k->key, key, sizeof k->key);
    k->until_us = until_us;
    texts_move(&an.facts, (char *)(k + 1));
    k->answer = an;
    pthread_mutex_lock(&tokens->locked.lock);
    struct kept **slot = slot_of(tokens, key);
    old = *slot;
    *slot = k;
    pthread_mutex_unlock(&tokens->locked.lock);
    free(old);
}
