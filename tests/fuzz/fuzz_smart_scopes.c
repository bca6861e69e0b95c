/* The scopes of a token: what is read is within its limits, and reads as it was when written. */
#include "fuzz.h"

#include "auth/smart.h"

FUZZ(data)
{
    struct arena *a = arena_new(8u << 20);
    struct buf one = BUF_INIT(8 * SMART_TEXT_MAX), two = BUF_INIT(8 * SMART_TEXT_MAX);
    const struct smart_scope *all;
    struct smart_scope again;
    size_t n;
    bool good;
    struct err e;
    if (smart_scopes_read(data, a, &all, &n, &e) == ERR_OK) {
        MUST(n <= SMART_SCOPES_MAX);
        for (size_t i = 0; i < n; i++) {
            MUST(all[i].letters > 0 && all[i].letters < 32 && all[i].n_pairs <= SMART_PAIRS_MAX);
            buf_clear(&one);
            buf_clear(&two);
            MUST(smart_scope_write(&all[i], &one, &e) == ERR_OK);
            /* The arena may be full. */
            if (smart_scope_read(buf_sv(&one), a, &again, &good, &e) != ERR_OK)
                break;
            MUST(good);
            MUST(smart_scope_write(&again, &two, &e) == ERR_OK);
            MUST(sv_eq(buf_sv(&one), buf_sv(&two)));
        }
    }
    buf_done(&one);
    buf_done(&two);
    arena_free(a);
}
