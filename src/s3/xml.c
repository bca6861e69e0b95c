/* xml.c - answers as a walk over element ends.
 * The peer is not trusted: a document type (and with it every entity of its own) is refused, depth,
 * path and text are bounded, and nothing is kept but the path and one text. */
#include "s3/s3_private.h"

#include <expat.h>

#define XML_DEPTH_MAX 16
#define XML_PATH_MAX  256
#define XML_TEXT_MAX  8192 /* an escaped key of 1,024 bytes, a session token */

struct walk {
    XML_Parser parser;
    s3_xml_fn fn;
    void *ctx;
    struct err *e;
    err_code rc;
    char path[XML_PATH_MAX];
    size_t path_len;
    size_t cut[XML_DEPTH_MAX]; /* length of the path before each open element */
    unsigned depth;
    char text[XML_TEXT_MAX];
    size_t text_len;
};

static void stop(struct walk *w, err_code rc)
{
    w->rc = rc;
    /* fails only when already stopped */
    (void)XML_StopParser(w->parser, XML_FALSE);
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attrs)
{
    struct walk *w = ctx;
    (void)attrs;
    if (w->rc != ERR_OK)
        return;
    const char *colon = strrchr(name, ':');
    sv local = sv_from(colon ? colon + 1 : name);
    if (w->depth == XML_DEPTH_MAX || local.len + 1 > sizeof w->path - w->path_len) {
        stop(w, ERR(w->e, ERR_PEER, "an answer is nested too deep"));
        return;
    }
    w->cut[w->depth++] = w->path_len;
    if (w->path_len)
        w->path[w->path_len++] = '/';
    memcpy(w->path + w->path_len, local.ptr, local.len);
    w->path_len += local.len;
    w->text_len = 0;
}

static void on_text(void *ctx, const XML_Char *text, int len)
{
    struct walk *w = ctx;
    if (w->rc != ERR_OK)
        return;
    if ((size_t)len > sizeof w->text - w->text_len) {
        stop(w, ERR(w->e, ERR_PEER, "an answer holds too long a text"));
        return;
    }
    memcpy(w->text + w->text_len, text, (size_t)len);
    w->text_len += (size_t)len;
}

static void on_end(void *ctx, const XML_Char *name)
{
    struct walk *w = ctx;
    (void)name;
    if (w->rc != ERR_OK)
        return;
    err_code rc = w->fn(w->ctx, sv_make(w->path, w->path_len), sv_make(w->text, w->text_len), w->e);
    w->path_len = w->cut[--w->depth];
    w->text_len = 0;
    if (rc != ERR_OK)
        stop(w, rc);
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *sysid,
                       const XML_Char *pubid, int has_internal)
{
    struct walk *w = ctx;
    (void)name;
    (void)sysid;
    (void)pubid;
    (void)has_internal;
    stop(w, ERR(w->e, ERR_PEER, "an answer holds a document type"));
}

err_code s3_xml_parse(sv xml, s3_xml_fn fn, void *ctx, struct err *e)
{
    struct walk *w = calloc(1, sizeof *w);
    XML_Parser p = XML_ParserCreate(NULL);
    /* out of memory; the length is bounded where the answer is read */
    if (w == NULL || p == NULL || xml.len > S3_LIST_ANSWER_MAX)
        abort();
    w->parser = p;
    w->fn = fn;
    w->ctx = ctx;
    w->e = e;
    XML_SetUserData(p, w);
    XML_SetElementHandler(p, on_start, on_end);
    XML_SetCharacterDataHandler(p, on_text);
    XML_SetStartDoctypeDeclHandler(p, on_doctype);
    enum XML_Status st = XML_Parse(p, xml.ptr ? xml.ptr : "", (int)xml.len, 1);
    err_code rc = w->rc;
    if (rc == ERR_OK && st != XML_STATUS_OK)
        rc = ERR(e, ERR_PEER, "an answer is not well-formed XML");
    XML_ParserFree(p);
    free(w);
    return rc;
}
