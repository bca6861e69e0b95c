/* html.c - htmlChecks(): is the text of a narrative the XHTML that FHIR allows?
 *
 * One div, whole as XML; elements and attributes of the list; something to see: text that is no
 * blank, or an image; entities of HTML's names. Names are read without their namespaces, as a
 * parser that resolves them copies a long one for each attribute that has its prefix: the div and
 * all in it must be XHTML by default, and a prefix is refused.
 * Source: FHIR R4 narrative.html, rules txt-1 and txt-2. */
#include "fhirpath/fn/fn_private.h"

#include <expat.h>

#define XHTML       "http://www.w3.org/1999/xhtml"
#define DEPTH_MAX   200u
#define PARSER_COST 200u /* steps */

/* In the order of their bytes. */
static const char *const elements[] = {
    "a",   "abbr",     "acronym", "b",     "big",  "blockquote", "br",  "caption", "cite",  "code",
    "col", "colgroup", "dd",      "dfn",   "div",  "dl",         "dt",  "em",      "h1",    "h2",
    "h3",  "h4",       "h5",      "h6",    "hr",   "i",          "img", "li",      "ol",    "p",
    "pre", "q",        "samp",    "small", "span", "strong",     "sub", "sup",     "table", "tbody",
    "td",  "tfoot",    "th",      "thead", "tr",   "tt",         "ul",  "var",
};
static const char *const attributes[] = {
    "abbr",       "accesskey",   "align",       "alt",        "axis",   "bgcolor", "border",
    "cellhalign", "cellpadding", "cellspacing", "cellvalign", "char",   "charoff", "charset",
    "cite",       "class",       "colspan",     "compact",    "coords", "dir",     "frame",
    "headers",    "height",      "href",        "hreflang",   "hspace", "id",      "lang",
    "longdesc",   "name",        "nowrap",      "rel",        "rev",    "rowspan", "rules",
    "scope",      "shape",       "span",        "src",        "start",  "style",   "summary",
    "tabindex",   "title",       "type",        "valign",     "value",  "vspace",  "width",
};

static const char *const entities[] = {
    "AElig",   "Aacute",  "Acirc",  "Agrave",  "Alpha",    "Aring",  "Atilde", "Auml",   "Beta",
    "Ccedil",  "Chi",     "Dagger", "Delta",   "ETH",      "Eacute", "Ecirc",  "Egrave", "Epsilon",
    "Eta",     "Euml",    "Gamma",  "Iacute",  "Icirc",    "Igrave", "Iota",   "Iuml",   "Kappa",
    "Lambda",  "Mu",      "Ntilde", "Nu",      "OElig",    "Oacute", "Ocirc",  "Ograve", "Omega",
    "Omicron", "Oslash",  "Otilde", "Ouml",    "Phi",      "Pi",     "Prime",  "Psi",    "Rho",
    "Scaron",  "Sigma",   "THORN",  "Tau",     "Theta",    "Uacute", "Ucirc",  "Ugrave", "Upsilon",
    "Uuml",    "Xi",      "Yacute", "Yuml",    "Zeta",     "aacute", "acirc",  "acute",  "aelig",
    "agrave",  "alefsym", "alpha",  "amp",     "and",      "ang",    "aring",  "asymp",  "atilde",
    "auml",    "bdquo",   "beta",   "brvbar",  "bull",     "cap",    "ccedil", "cedil",  "cent",
    "chi",     "circ",    "clubs",  "cong",    "copy",     "crarr",  "cup",    "curren", "dArr",
    "dagger",  "darr",    "deg",    "delta",   "diams",    "divide", "eacute", "ecirc",  "egrave",
    "empty",   "emsp",    "ensp",   "epsilon", "equiv",    "eta",    "eth",    "euml",   "euro",
    "exist",   "fnof",    "forall", "frac12",  "frac14",   "frac34", "frasl",  "gamma",  "ge",
    "gt",      "hArr",    "harr",   "hearts",  "hellip",   "iacute", "icirc",  "iexcl",  "igrave",
    "image",   "infin",   "int",    "iota",    "iquest",   "isin",   "iuml",   "kappa",  "lArr",
    "lambda",  "lang",    "laquo",  "larr",    "lceil",    "ldquo",  "le",     "lfloor", "lowast",
    "loz",     "lrm",     "lsaquo", "lsquo",   "lt",       "macr",   "mdash",  "micro",  "middot",
    "minus",   "mu",      "nabla",  "nbsp",    "ndash",    "ne",     "ni",     "not",    "notin",
    "nsub",    "ntilde",  "nu",     "oacute",  "ocirc",    "oelig",  "ograve", "oline",  "omega",
    "omicron", "oplus",   "or",     "ordf",    "ordm",     "oslash", "otilde", "otimes", "ouml",
    "para",    "part",    "permil", "perp",    "phi",      "pi",     "piv",    "plusmn", "pound",
    "prime",   "prod",    "prop",   "psi",     "quot",     "rArr",   "radic",  "rang",   "raquo",
    "rarr",    "rceil",   "rdquo",  "real",    "reg",      "rfloor", "rho",    "rlm",    "rsaquo",
    "rsquo",   "sbquo",   "scaron", "sdot",    "sect",     "shy",    "sigma",  "sigmaf", "sim",
    "spades",  "sub",     "sube",   "sum",     "sup",      "sup1",   "sup2",   "sup3",   "supe",
    "szlig",   "tau",     "there4", "theta",   "thetasym", "thinsp", "thorn",  "tilde",  "times",
    "trade",   "uArr",    "uacute", "uarr",    "ucirc",    "ugrave", "uml",    "upsih",  "upsilon",
    "uuml",    "weierp",  "xi",     "yacute",  "yen",      "yuml",   "zeta",   "zwj",    "zwnj",
};

struct looking {
    XML_Parser parser;
    unsigned depth;
    bool ok, visible;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_among(const char *name, const char *const *list, size_t n)
{
    return bsearch(&name, list, n, sizeof *list, by_name) != NULL;
}

static void refuse(struct looking *l)
{
    l->ok = false;
    /* fails only when already stopped */
    (void)XML_StopParser(l->parser, XML_FALSE);
}

static bool is_attribute(const char *name, const char *value)
{
    if (strcmp(name, "xmlns") == 0)
        return strcmp(value, XHTML) == 0;
    /* xml:lang, as XHTML has it */
    return strcmp(name, "xml:lang") == 0 ||
           is_among(name, attributes, sizeof attributes / sizeof attributes[0]);
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attrs)
{
    struct looking *l = ctx;
    bool source = false, xhtml = l->depth > 0;
    if (l->depth == DEPTH_MAX || !is_among(name, elements, sizeof elements / sizeof elements[0]) ||
        (l->depth == 0 && strcmp(name, "div") != 0)) {
        refuse(l);
        return;
    }
    l->depth++;
    for (; *attrs; attrs += 2) {
        if (!is_attribute(attrs[0], attrs[1])) {
            refuse(l);
            return;
        }
        xhtml |= strcmp(attrs[0], "xmlns") == 0;
        source |= strcmp(attrs[0], "src") == 0;
    }
    l->visible |= source && strcmp(name, "img") == 0;
    if (!xhtml)
        refuse(l);
}

static void on_end(void *ctx, const XML_Char *name)
{
    struct looking *l = ctx;
    (void)name;
    l->depth--;
}

static void on_text(void *ctx, const XML_Char *text, int len)
{
    struct looking *l = ctx;
    for (int i = 0; i < len && !l->visible; i++)
        l->visible = text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n';
}

/* An entity of HTML's, such as &nbsp;: it is a character. */
static void on_entity(void *ctx, const XML_Char *name, int is_parameter)
{
    struct looking *l = ctx;
    l->visible |= !is_parameter;
    if (is_parameter || !is_among(name, entities, sizeof entities / sizeof entities[0]))
        refuse(l);
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public, int has_internal)
{
    (void)name, (void)system, (void)public, (void)has_internal;
    refuse(ctx);
}

static bool is_allowed(sv text)
{
    struct looking l = { .parser = XML_ParserCreate("UTF-8"), .ok = true };
    if (l.parser == NULL)
        abort();
    XML_SetUserData(l.parser, &l);
    XML_SetElementHandler(l.parser, on_start, on_end);
    XML_SetCharacterDataHandler(l.parser, on_text);
    XML_SetSkippedEntityHandler(l.parser, on_entity);
    XML_SetStartDoctypeDeclHandler(l.parser, on_doctype);
    /* entities that nobody declared are told of, and are no fault */
    (void)XML_UseForeignDTD(l.parser, XML_TRUE);
    bool whole = text.len <= INT32_MAX &&
                 XML_Parse(l.parser, text.ptr, (int)text.len, XML_TRUE) == XML_STATUS_OK;
    XML_ParserFree(l.parser);
    return whole && l.ok && l.visible;
}

FN(html_checks)
{
    (void)n;
    fp_item v;
    if (in->n != 1 || in->items[0].kind != FHIRPATH_NODE || in->items[0].primitive != FHIR_XHTML ||
        in->items[0].structure || !fp_value(cx->a, &in->items[0], &v) || v.kind != FHIRPATH_STRING)
        return ERR_OK;
    TRY(fp_steps(cx, PARSER_COST + v.as.text.len / 4, e));
    return fp_put_boolean(cx, out, is_allowed(v.as.text), e);
}
