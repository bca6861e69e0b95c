/* verify.c - a whole log is checked: every line of every segment, from the first key on.
 *
 * The first line that does not follow is told, with the reason that its neighbours make likely:
 * a line behind it that would follow in its place was there before it came (inserted); a number
 * that jumps means that lines are missing (removed); else its text or its chain is not what was
 * written (changed). A segment without its end was cut off, unless it is the newest. Nothing behind
 * the first fault can be checked. */
#include "audit/audit_private.h"

#include "codec/instant.h"

#include <inttypes.h>

struct verifying {
    const char *dir;
    struct audit_verdict *v;
    struct audit_key key; /* of DIR/key; segment 0: there is none */
    struct audit_chain chain;
    audit_line_fn show; /* NULL: nobody wants to see them */
    void *ctx;
    unsigned char segment_key[AUDIT_KEY_LEN];
};

static void PRINTF_LIKE(4, 5)
    fault(struct audit_verdict *v, uint64_t segment, uint64_t line, const char *fmt, ...)
{
    va_list ap;
    v->wrong = true;
    v->at_segment = segment;
    v->at_line = line;
    va_start(ap, fmt);
    (void)vsnprintf(v->how, sizeof v->how, fmt, ap);
    va_end(ap);
}

/* ---- a line that does not follow ---- */

static bool line_at(sv *rest, struct audit_line *out, bool *whole)
{
    sv one;
    *whole = rest->ptr && sv_find(*rest, '\n') < rest->len;
    return rest->ptr && rest->len && sv_cut(rest, '\n', &one) && audit_line_read(one, out);
}

static void explain(const struct audit_walk *w, uint64_t segment, struct audit_verdict *v)
{
    sv rest = sv_tail(w->text, w->at);
    struct audit_line one, next;
    bool whole, next_whole;
    const bool is_line = line_at(&rest, &one, &whole);
    const bool has_next = line_at(&rest, &next, &next_whole);
    const uint64_t line = w->n_lines + 1, want = w->chain.seq;
    if (has_next && next.seq == want && audit_line_follows(&w->chain.key, w->chain.last, &next))
        fault(v, segment, line, "inserted: the line behind it follows from the one before it");
    else if (!whole)
        fault(v, segment, line, "cut off: it ends in the middle");
    else if (is_line && one.seq > want && !(has_next && next.seq == want + 1))
        fault(v, segment, line, "removed: %" PRIu64 " lines in front of it are missing",
              one.seq - want);
    else
        fault(v, segment, line, "changed: it is not what was written there");
}

/* ---- a segment ---- */

static void count(struct audit_verdict *v, const struct audit_walk *w)
{
    const struct audit_line *line = &w->line;
    sv log = audit_line_log(line), time = audit_line_member(line, log.ptr ? "time" : "eventTime");
    uint64_t n = 0;
    int64_t ms;
    v->lines++;
    if (time.len && instant_parse(time, &ms)) {
        v->last_ms = ms;
        if (v->first_ms == 0)
            v->first_ms = ms;
    }
    if (log.ptr == NULL) {
        v->records++;
    } else if (sv_eq(log, SV_LIT("gap"))) {
        v->gaps++;
        if (sv_to_u64(audit_line_member(line, "records"), &n))
            v->lost += n;
    } else if (sv_eq(log, SV_LIT("retired"))) {
        if (sv_to_u64(audit_line_member(line, "to"), &n) && n > v->retired_to)
            v->retired_to = n;
    }
    v->torn += w->torn > 0;
}

/* The chain in front of a segment whose predecessor is gone: as its own begin says. */
static bool begins(struct verifying *x, sv text)
{
    struct audit_line line;
    if (!audit_line_read(sv_head(text, sv_find(text, '\n')), &line) ||
        !hash_unhex(audit_line_member(&line, "previous"), x->chain.last, SHA256_LEN))
        return false;
    x->chain.seq = line.seq;
    return true;
}

/* Does the newest segment have to have an end? */
static bool may_be_open(const struct verifying *x, uint64_t n, bool newest)
{
    return newest && (x->v->no_key || n == x->key.segment);
}

static err_code check_segment(struct verifying *x, uint64_t n, bool first, bool newest,
                              struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(AUDIT_READ_MAX);
    struct audit_verdict *v = x->v;
    TRY(audit_walk_read(x->dir, n, &text, e));
    hash_hmac_key_set(&x->chain.key, sv_make(x->segment_key, AUDIT_KEY_LEN));
    if (first && n > 1 && !begins(x, buf_sv(&text))) {
        fault(v, n, 1, "changed: it is not what was written there");
        return ERR_OK;
    }
    struct audit_walk w = { .text = buf_sv(&text), .chain = x->chain };
    audit_walk_step step;
    bool ended = false;
    while ((step = audit_walk_next(&w)) == AUDIT_WALK_LINE) {
        if (ended) {
            fault(v, n, w.n_lines, "inserted: it stands behind the segment's end");
            return ERR_OK;
        }
        sv log = audit_line_log(&w.line);
        ended = sv_eq(log, SV_LIT("end"));
        count(v, &w);
        if (x->show)
            x->show(x->ctx, sv_make(w.line.text.ptr, w.line.text.len + AUDIT_TAIL), log);
    }
    x->chain = w.chain;
    v->segments++;
    sv tail = sv_tail(w.text, w.at);
    bool open = may_be_open(x, n, newest) && !ended;
    if (open && (step == AUDIT_WALK_END || sv_find(tail, '\n') == tail.len)) {
        v->open = true;
        v->open_bytes = tail.len;
    } else if (step == AUDIT_WALK_BAD) {
        explain(&w, n, v);
    } else if (!ended || w.unfinished) {
        fault(v, n, w.n_lines + 1, "cut off: the segment has no end");
    }
    return ERR_OK;
}

/* ---- the whole ---- */

/* Does DIR/key follow from the first key? */
static bool key_follows(const struct verifying *x, const unsigned char first[AUDIT_KEY_LEN])
{
    unsigned char key[AUDIT_KEY_LEN];
    memcpy(key, first, sizeof key);
    for (uint64_t i = 1; i < x->key.segment; i++)
        audit_key_next(key);
    bool ok = hash_equal(sv_make(key, sizeof key), sv_make(x->key.key, AUDIT_KEY_LEN));
    explicit_bzero(key, sizeof key);
    return ok;
}

/* Is the end there, as far as the key's file knows? */
static void check_end(const struct verifying *x, uint64_t newest)
{
    const uint64_t n = x->key.segment;
    if (x->v->wrong || x->v->no_key)
        return;
    if (newest < n - !x->key.begun)
        fault(x->v, newest + 1, 0, "cut off: the segment is not there");
    else if (newest > n)
        fault(x->v, newest, 0, "the file of the key is older than this segment");
}

static err_code check_all(struct verifying *x, const uint64_t *all, size_t n,
                          const unsigned char first[AUDIT_KEY_LEN], struct err *e)
{
    memcpy(x->segment_key, first, AUDIT_KEY_LEN);
    for (uint64_t i = 1; i < all[0]; i++)
        audit_key_next(x->segment_key);
    x->chain = (struct audit_chain){ .seq = 1 };
    for (size_t i = 0; i < n && !x->v->wrong; i++) {
        if (i && all[i] != all[i - 1] + 1) {
            fault(x->v, all[i - 1] + 1, 0, "removed: the segment is not there");
            break;
        }
        TRY(check_segment(x, all[i], i == 0, i + 1 == n, e));
        audit_key_next(x->segment_key);
    }
    check_end(x, all[n - 1]);
    if (!x->v->wrong && x->v->retired_to + 1 < all[0])
        fault(x->v, x->v->retired_to + 1, 0, "removed: the segment is not there");
    return ERR_OK;
}

err_code audit_verify(const char *dir, const char *first_key_path, struct audit_verdict *out,
                      struct err *e)
{
    return audit_show(dir, first_key_path, NULL, NULL, out, e);
}

err_code audit_show(const char *dir, const char *first_key_path, audit_line_fn fn, void *ctx,
                    struct audit_verdict *out, struct err *e)
{
    unsigned char first[AUDIT_KEY_LEN];
    char path[PATH_MAX];
    uint64_t *all = NULL;
    size_t n = 0;
    *out = (struct audit_verdict){ 0 };
    struct verifying x = { .dir = dir, .v = out, .show = fn, .ctx = ctx };
    TRY(audit_segment_list(dir, &all, &n, e));
    if (n == 0) {
        free(all);
        return ERR(e, ERR_NOT_FOUND, "there is no audit log in this folder");
    }
    if (snprintf(path, sizeof path, "%s/first-key", dir) >= (int)sizeof path)
        path[0] = 0;
    struct err why;
    err_code rc = audit_first_key_load(first_key_path ? first_key_path : path, first, &why);
    if (rc != ERR_OK) {
        rc = ERR(e, rc, "the first key: %.300s%s", why.msg,
                 first_key_path ? "" : "; when it is kept elsewhere, give --first-key FILE");
    } else {
        err_code has = audit_key_load(dir, &x.key, &why);
        out->no_key = has == ERR_NOT_FOUND;
        if (has == ERR_CORRUPT || (has == ERR_OK && !key_follows(&x, first)))
            fault(out, 0, 0, "DIR/key does not follow from the first key");
        else if (has != ERR_OK && has != ERR_NOT_FOUND)
            rc = err_pass(e, &why);
        else
            rc = check_all(&x, all, n, first, e);
    }
    explicit_bzero(first, sizeof first);
    explicit_bzero(x.segment_key, sizeof x.segment_key);
    explicit_bzero(&x.key, sizeof x.key);
    free(all);
    return rc;
}
