/* lexer.c - an expression, token by token. Blanks and comments are passed over; escapes of texts
 * are resolved, and moments read, so that the parser sees values.
 * Source: FHIRPath N1, appendix "Formal specifications", grammar. */
#include "fhirpath/fhirpath_private.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static char peek(const struct fp_lexer *x, size_t more)
{
    return x->at + more < x->text.len ? x->text.ptr[x->at + more] : 0;
}

static err_code bad(struct fp_lexer *x, size_t at, struct err *e, const char *why)
{
    x->bad = at;
    return ERR(e, ERR_INVALID, "%s", why);
}

/* Behind blanks and comments. */
static err_code skip(struct fp_lexer *x, struct err *e)
{
    for (;;) {
        char c = peek(x, 0);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            x->at++;
        } else if (c == '/' && peek(x, 1) == '/') {
            while (x->at < x->text.len && peek(x, 0) != '\n')
                x->at++;
        } else if (c == '/' && peek(x, 1) == '*') {
            size_t from = x->at;
            x->at += 2;
            while (x->at < x->text.len && !(peek(x, 0) == '*' && peek(x, 1) == '/'))
                x->at++;
            if (x->at >= x->text.len)
                return bad(x, from, e, "a comment does not end");
            x->at += 2;
        } else {
            return ERR_OK;
        }
    }
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xC0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xE0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xF0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

static bool hex4(const struct fp_lexer *x, size_t more, uint32_t *out)
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = sv_lower(peek(x, more + i));
        if (!is_digit(c) && !(c >= 'a' && c <= 'f'))
            return false;
        v = v << 4 | (uint32_t)(is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    *out = v;
    return true;
}

/* One escape, x->at behind the backslash. Returns how many bytes it made, 0: it is none. */
static size_t escape(struct fp_lexer *x, char *to)
{
    static const char from[] = "'\"`\\/frnt", into[] = "'\"`\\/\f\r\n\t";
    char c = peek(x, 0);
    uint32_t u, low;
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        x->at++;
        *to = into[at - from];
        return 1;
    }
    if (c != 'u' || !hex4(x, 1, &u))
        return 0;
    x->at += 5;
    if (u >= 0xD800 && u < 0xDC00) {
        if (peek(x, 0) != '\\' || peek(x, 1) != 'u' || !hex4(x, 2, &low) || low < 0xDC00 ||
            low > 0xDFFF)
            return 0;
        x->at += 6;
        u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
    }
    return u == 0 || (u >= 0xD800 && u < 0xE000) ? 0 : put_utf8(to, u);
}

static err_code quoted(struct fp_lexer *x, char quote, struct fp_token *t, struct err *e)
{
    size_t from = x->at++, to_len = from + 1, n = 0;
    while (to_len < x->text.len && x->text.ptr[to_len] != quote)
        to_len += x->text.ptr[to_len] == '\\' ? 2 : 1;
    /* an escape is never shorter than what it makes */
    char *to = arena_alloc(x->a, to_len - from);
    if (to == NULL)
        return arena_oom(x->a, e);
    for (;;) {
        if (x->at >= x->text.len)
            return bad(x, from, e, "a text does not end");
        char c = x->text.ptr[x->at];
        if (c == quote)
            break;
        x->at++;
        if (c != '\\') {
            to[n++] = c;
            continue;
        }
        size_t at = x->at - 1, made = escape(x, to + n);
        if (made == 0)
            return bad(x, at, e, "no such escape in a text");
        n += made;
    }
    x->at++;
    t->text = sv_make(to, n);
    return ERR_OK;
}

static void digits(struct fp_lexer *x)
{
    while (is_digit(peek(x, 0)))
        x->at++;
}

static void number(struct fp_lexer *x)
{
    digits(x);
    if (peek(x, 0) == '.' && is_digit(peek(x, 1))) {
        x->at++;
        digits(x);
    }
}

/* @2015-02-04T14:34:28.123+10:00, @T14:34 */
static err_code moment(struct fp_lexer *x, struct fp_token *t, struct err *e)
{
    size_t from = x->at++;
    fhirpath_kind kind = FHIRPATH_DATE;
    while (is_digit(peek(x, 0)) || (peek(x, 0) == '-' && is_digit(peek(x, 1))))
        x->at++;
    if (peek(x, 0) == 'T') {
        kind = x->at == from + 1 ? FHIRPATH_TIME : FHIRPATH_DATETIME;
        x->at++;
        while (is_digit(peek(x, 0)) || (peek(x, 0) == ':' && is_digit(peek(x, 1))) ||
               (peek(x, 0) == '.' && is_digit(peek(x, 1))))
            x->at++;
        if (peek(x, 0) == 'Z') {
            x->at++;
        } else if ((peek(x, 0) == '+' || peek(x, 0) == '-') && is_digit(peek(x, 1)) &&
                   is_digit(peek(x, 2)) && peek(x, 3) == ':' && kind == FHIRPATH_DATETIME &&
                   x->text.ptr[x->at - 1] != 'T') {
            x->at += 4;
            digits(x);
        }
    }
    sv text = sv_make(x->text.ptr + from + 1, x->at - from - 1);
    if (kind == FHIRPATH_TIME)
        text = sv_tail(text, 1);
    else if (kind == FHIRPATH_DATETIME && sv_ends(text, SV_LIT("T")))
        text.len--;
    if (!fp_moment_read(text, kind, &t->value.as.moment))
        return bad(x, from, e, "no date or time");
    t->value.kind = (uint8_t)kind;
    return ERR_OK;
}

static size_t sign_len(const struct fp_lexer *x)
{
    char c = peek(x, 0), d = peek(x, 1);
    if ((c == '!' && (d == '=' || d == '~')) || ((c == '<' || c == '>') && d == '='))
        return 2;
    return c && strchr("()[]{}.,+-*/|&=~<>%", c) ? 1 : 0;
}

err_code fp_lex(struct fp_lexer *x, struct fp_token *out, struct err *e)
{
    struct fp_token t = { .kind = FP_END };
    TRY(skip(x, e));
    t.at = x->at;
    char c = peek(x, 0);
    if (x->at >= x->text.len) {
        t.text = sv_tail(x->text, x->at);
    } else if (is_letter(c)) {
        t.kind = FP_NAME;
        while (is_letter(peek(x, 0)) || is_digit(peek(x, 0)))
            x->at++;
    } else if (is_digit(c)) {
        t.kind = FP_NUMBER;
        number(x);
    } else if (c == '\'' || c == '`') {
        t.kind = c == '\'' ? FP_TEXT : FP_QUOTED;
        TRY(quoted(x, c, &t, e));
    } else if (c == '@') {
        t.kind = FP_MOMENT;
        TRY(moment(x, &t, e));
    } else if (c == '$' && is_letter(peek(x, 1))) {
        t.kind = FP_DOLLAR;
        x->at++;
        while (is_letter(peek(x, 0)))
            x->at++;
    } else if (sign_len(x)) {
        t.kind = FP_SIGN;
        x->at += sign_len(x);
    } else {
        return bad(x, x->at, e, "a character that begins nothing");
    }
    if (t.text.ptr == NULL)
        t.text = sv_make(x->text.ptr + t.at, x->at - t.at);
    if (t.kind == FP_DOLLAR)
        t.text = sv_tail(t.text, 1);
    t.end = x->at;
    *out = t;
    return ERR_OK;
}
