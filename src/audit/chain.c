/* chain.c - a line of the log: a record between its number and its chain.
 *
 *   {"seq":7,"eventVersion":"1.11", ... ,"chain":"64 hexadecimal digits"}
 *
 * The chain covers the line before, by its chain, and this line up to `,"chain"`. A line is taken
 * apart by its two ends, without reading it as JSON: what a line says is never what proves it. */
#include "audit/audit_private.h"

#define HEAD "{\"seq\":"
#define TAIL ",\"chain\":\""
#define LOG  "\"log\":\""

static void mac(const struct hash_hmac_key *key, const unsigned char before[SHA256_LEN], sv text,
                unsigned char out[SHA256_LEN])
{
    hash_hmac_sha256_two(key, sv_make(before, SHA256_LEN), text, out);
}

/* A number, by hand: there is one in every line. */
static sv digits_of(uint64_t n, char out[24])
{
    char *p = out + 24;
    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    return sv_make(p, (size_t)(out + 24 - p));
}

err_code audit_line_add(struct audit_chain *chain, sv record, struct buf *out, struct err *e)
{
    char digits[24];
    unsigned char made[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    const size_t from = out->len;
    if (record.len < 3 || record.ptr[0] != '{' || record.ptr[record.len - 1] != '}' ||
        memchr(record.ptr, '\n', record.len))
        return ERR(e, ERR_INVALID, "a record of the audit log is one line, and an object");
    TRY(buf_reserve(out, record.len + AUDIT_TAIL + 40, e));
    TRY(buf_add(out, SV_LIT(HEAD), e));
    TRY(buf_add(out, digits_of(chain->seq, digits), e));
    TRY(buf_add_char(out, ',', e));
    TRY(buf_add(out, sv_make(record.ptr + 1, record.len - 2), e));
    mac(&chain->key, chain->last, sv_make(out->ptr + from, out->len - from), made);
    hash_hex(made, sizeof made, hex);
    TRY(buf_add(out, SV_LIT(TAIL), e));
    TRY(buf_add(out, sv_make(hex, sizeof hex), e));
    TRY(buf_add(out, SV_LIT("\"}\n"), e));
    memcpy(chain->last, made, sizeof made);
    chain->seq++;
    return ERR_OK;
}

bool audit_line_read(sv line, struct audit_line *out)
{
    if (line.len < sizeof HEAD + AUDIT_TAIL || !sv_starts(line, SV_LIT(HEAD)))
        return false;
    sv text = sv_head(line, line.len - AUDIT_TAIL), tail = sv_tail(line, text.len), rest, digits;
    if (!sv_starts(tail, SV_LIT(TAIL)) || !sv_ends(tail, SV_LIT("\"}")) ||
        !hash_unhex(sv_make(tail.ptr + sizeof TAIL - 1, SHA256_HEX_LEN), out->chain, SHA256_LEN))
        return false;
    rest = sv_tail(text, sizeof HEAD - 1);
    digits = sv_head(rest, sv_find(rest, ','));
    out->text = text;
    return digits.len < rest.len && sv_to_u64(digits, &out->seq);
}

bool audit_line_follows(const struct hash_hmac_key *key, const unsigned char before[SHA256_LEN],
                        const struct audit_line *line)
{
    unsigned char want[SHA256_LEN];
    mac(key, before, line->text, want);
    return hash_equal(sv_make(want, sizeof want), sv_make(line->chain, sizeof line->chain));
}

sv audit_line_log(const struct audit_line *line)
{
    sv rest = sv_tail(line->text, sv_find(line->text, ',') + 1);
    if (!sv_starts(rest, SV_LIT(LOG)))
        return SV_NONE;
    rest = sv_tail(rest, sizeof LOG - 1);
    return sv_head(rest, sv_find(rest, '"'));
}

sv audit_line_member(const struct audit_line *line, const char *name)
{
    char want[40];
    size_t n = (size_t)snprintf(want, sizeof want, ",\"%s\":", name);
    const char *at = memmem(line->text.ptr, line->text.len, want, n);
    if (at == NULL)
        return SV_NONE;
    sv rest = sv_tail(line->text, (size_t)(at - line->text.ptr) + n);
    if (sv_starts(rest, SV_LIT("\""))) {
        rest = sv_tail(rest, 1);
        return sv_head(rest, sv_find(rest, '"'));
    }
    return sv_head(rest, sv_find(rest, ','));
}
