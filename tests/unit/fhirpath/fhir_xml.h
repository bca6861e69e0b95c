/* fhir_xml.h - XML files of tests: a tree of elements, and FHIR's XML as its JSON, by the
 * definitions. For tests: what does not fit ends the test. */
#pragma once
#include "test.h"

#include "fhirpath/fhirpath.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>

struct element {
    char *name, *value, *id, *url;
    const char **attributes; /* name, value, ..., NULL */
    struct buf text;
    struct element *parent, *first, *last, *next;
};

struct xml {
    struct arena *a;
    struct element *root, *at;
};

static void XMLCALL xml_start(void *ctx, const char *name, const char **attributes)
{
    struct xml *x = ctx;
    struct element *el = ARENA_NEW(x->a, struct element);
    el->name = arena_str(x->a, sv_from(name));
    buf_init(&el->text, 1u << 20);
    size_t n = 0;
    while (attributes[n])
        n++;
    el->attributes = arena_calloc(x->a, n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        el->attributes[i] = arena_str(x->a, sv_from(attributes[i]));
    for (size_t i = 0; i < n; i += 2) {
        char *v = arena_str(x->a, sv_from(attributes[i + 1]));
        if (strcmp(attributes[i], "value") == 0)
            el->value = v;
        else if (strcmp(attributes[i], "id") == 0)
            el->id = v;
        else if (strcmp(attributes[i], "url") == 0)
            el->url = v;
    }
    el->parent = x->at;
    if (x->at == NULL)
        x->root = el;
    else if (x->at->last)
        x->at->last->next = el;
    else
        x->at->first = el;
    if (x->at)
        x->at->last = el;
    x->at = el;
}

static void XMLCALL xml_end(void *ctx, const char *name)
{
    (void)name;
    struct xml *x = ctx;
    struct element *el = x->at;
    sv text = arena_sv(x->a, buf_sv(&el->text));
    buf_done(&el->text);
    el->text = (struct buf){ (char *)(uintptr_t)text.ptr, text.len, 0, 0 };
    x->at = el->parent;
}

static void XMLCALL xml_text(void *ctx, const char *text, int len)
{
    struct xml *x = ctx;
    OK(buf_add(&x->at->text, sv_make(text, (size_t)len), e));
}

static inline sv read_whole(const char *path, struct arena *a)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return SV_NONE;
    struct buf b = BUF_INIT(8u << 20);
    char room[4096];
    for (size_t n; (n = fread(room, 1, sizeof room, f)) > 0;)
        OK(buf_add(&b, sv_make(room, n), e));
    (void)fclose(f);
    sv text = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return text;
}

static inline struct element *xml_read(sv text, struct arena *a)
{
    struct xml x = { .a = a };
    XML_Parser p = XML_ParserCreate(NULL);
    XML_SetUserData(p, &x);
    XML_SetElementHandler(p, xml_start, xml_end);
    XML_SetCharacterDataHandler(p, xml_text);
    if (XML_Parse(p, text.ptr, (int)text.len, 1) != XML_STATUS_OK)
        fail_msg("no XML: %s", XML_ErrorString(XML_GetErrorCode(p)));
    XML_ParserFree(p);
    return x.root;
}

static inline const char *xml_attribute(const struct element *el, const char *name)
{
    for (size_t i = 0; el->attributes[i]; i += 2)
        if (strcmp(el->attributes[i], name) == 0)
            return el->attributes[i + 1];
    return NULL;
}

/* ---- FHIR ---- */

static void xml_object(struct json_writer *w, const struct fhir_structure *s,
                       const struct element *el, bool twin);

static void xml_value(struct json_writer *w, const struct fhir_member *m, const struct element *el)
{
    if (m->type && m->type->role == FHIR_ROLE_ANY_RESOURCE) {
        xml_object(w, fhir_structure_find(sv_from(el->first->name)), el->first, false);
    } else if (m->type) {
        xml_object(w, m->type, el, false);
    } else if (m->primitive == FHIR_XHTML) {
        json_str(w, SV_LIT("<div>text</div>"));
    } else if (el->value == NULL) {
        json_null(w);
    } else if (fhir_primitive_json(m->primitive) == FHIR_JSON_STRING) {
        json_str(w, sv_from(el->value));
    } else {
        json_raw(w, sv_from(el->value));
    }
}

static void xml_member(struct json_writer *w, const struct fhir_member *m,
                       const struct element *first)
{
    bool value = m->type != NULL || m->primitive == FHIR_XHTML, more = false;
    for (const struct element *el = first; el; el = el->next) {
        if (strcmp(el->name, first->name) != 0)
            continue;
        value = value || el->value;
        more = more || (m->type == NULL && m->primitive != FHIR_XHTML && (el->id || el->first));
    }
    char name[160];
    for (int twin = 0; twin < 2; twin++) {
        if (twin ? !more : !value)
            continue;
        (void)snprintf(name, sizeof name, "%s%s", twin ? "_" : "", first->name);
        json_key(w, name);
        if (m->element->many)
            json_arr(w);
        for (const struct element *el = first; el; el = el->next) {
            if (strcmp(el->name, first->name) != 0)
                continue;
            if (!twin)
                xml_value(w, m, el);
            else if (el->id || el->first)
                xml_object(w, fhir_structure_find(SV_LIT("Element")), el, true);
            else
                json_null(w);
        }
        if (m->element->many)
            json_arr_end(w);
    }
}

static void xml_object(struct json_writer *w, const struct fhir_structure *s,
                       const struct element *el, bool twin)
{
    (void)twin;
    assert_non_null(s);
    json_obj(w);
    if (s->kind == FHIR_RESOURCE)
        json_kv_str(w, "resourceType", s->name);
    if (el->id)
        json_kv_str(w, "id", sv_from(el->id));
    if (el->url)
        json_kv_str(w, "url", sv_from(el->url));
    for (const struct element *c = el->first; c; c = c->next) {
        bool seen = false;
        for (const struct element *d = el->first; d != c; d = d->next)
            seen = seen || strcmp(c->name, d->name) == 0;
        const struct fhir_member *m = fhir_member_find(s, sv_from(c->name));
        if (m == NULL)
            fail_msg("%.*s has no %s", SV_FMT(s->name), c->name);
        if (!seen)
            xml_member(w, m, c);
    }
    json_obj_end(w);
}

static inline sv xml_to_json(sv text, struct arena *a)
{
    struct element *root = xml_read(text, a);
    struct buf b = BUF_INIT(8u << 20);
    struct json_writer w;
    json_writer_init(&w, &b);
    xml_object(&w, fhir_structure_find(sv_from(root->name)), root, false);
    OK(json_writer_end(&w, e));
    sv json = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return json;
}
