/* walk.c - the lines of a segment, each held against the one before.
 *
 * A process that is killed may leave a part of a line. The next one puts a newline behind it and
 * then the line
 *
 *   {"seq":7,"log":"recovered","torn":123,"sha256":"...", ... }
 *
 * which follows from the last whole line, and says how many bytes stand between the two and what
 * they are. So what was torn is passed over, and still cannot be changed. */
#include "audit/audit_private.h"

#include "base/file.h"

/* What stands from at to `to`, with or without the newline that was put behind it: is it what the
 * recovered line says? */
static bool says(const struct audit_walk *w, size_t to, const struct audit_line *line, size_t *torn)
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    uint64_t n;
    if (!sv_to_u64(audit_line_member(line, "torn"), &n) || n == 0)
        return false;
    const size_t there = to - w->at;
    if (n != there && n + 1 != there)
        return false;
    hash_sha256_of(sv_make(w->text.ptr + w->at, (size_t)n), digest);
    hash_hex(digest, sizeof digest, hex);
    *torn = (size_t)n;
    return sv_eq(audit_line_member(line, "sha256"), sv_make(hex, sizeof hex));
}

/* The recovered line behind what is torn at `at`; its first byte. SIZE_MAX: there is none. */
static size_t recovered_at(const struct audit_walk *w, struct audit_line *line, size_t *torn)
{
    char head[64];
    size_t n = (size_t)snprintf(head, sizeof head, "\n{\"seq\":%llu,\"log\":\"recovered\",",
                                (unsigned long long)w->chain.seq);
    sv rest = sv_head(sv_tail(w->text, w->at), AUDIT_TORN_MAX + AUDIT_LINE_MAX);
    for (const char *p = rest.ptr; p;) {
        p = memmem(p, rest.len - (size_t)(p - rest.ptr), head, n);
        if (p == NULL)
            break;
        const size_t from = (size_t)(p + 1 - w->text.ptr);
        sv one = sv_tail(w->text, from);
        if (audit_line_read(sv_head(one, sv_find(one, '\n')), line) &&
            audit_line_follows(&w->chain.key, w->chain.last, line) && says(w, from, line, torn))
            return from;
        p++;
    }
    return SIZE_MAX;
}

audit_walk_step audit_walk_next(struct audit_walk *walk)
{
    sv rest = sv_tail(walk->text, walk->at);
    if (rest.len == 0)
        return AUDIT_WALK_END;
    struct audit_line line;
    size_t from = walk->at, torn = 0;
    sv one = sv_head(rest, sv_find(rest, '\n'));
    if (!audit_line_read(one, &line) || line.seq != walk->chain.seq ||
        !audit_line_follows(&walk->chain.key, walk->chain.last, &line)) {
        from = recovered_at(walk, &line, &torn);
        if (from == SIZE_MAX)
            return AUDIT_WALK_BAD;
        one = sv_tail(walk->text, from);
        one = sv_head(one, sv_find(one, '\n'));
        walk->n_lines++;
    }
    walk->line = line;
    walk->torn = torn;
    walk->unfinished = from + one.len == walk->text.len;
    walk->at = from + one.len + !walk->unfinished;
    walk->n_lines++;
    walk->chain.seq++;
    memcpy(walk->chain.last, line.chain, SHA256_LEN);
    return AUDIT_WALK_LINE;
}

err_code audit_walk_read(const char *dir, uint64_t n, struct buf *text, struct err *e)
{
    char path[PATH_MAX];
    TRY(audit_segment_path(dir, n, path, e));
    return file_read(path, text, e);
}
