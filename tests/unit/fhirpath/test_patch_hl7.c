/* test_patch_hl7.c - HL7's cases of FHIRPath Patch (patch/fhir-patch-tests.xml of r4, and that of
 * r5 beside it as fhir-patch-tests-r5.xml): all of them pass. They are in
 * $FHIRLAKE_SHARED/data/fhirpath, else in ../shared beside the project; without them the test is
 * skipped. Narratives are not compared, since the reader of XML here has none. */
#include "fhir_xml.h"

#include "codec/json_equal.h"
#include "fhirpath/patch.h"

static yyjson_val *resource(const struct element *parent, struct arena *a)
{
    struct buf b = BUF_INIT(1u << 20);
    struct json_writer w;
    yyjson_doc *doc;
    json_writer_init(&w, &b);
    xml_object(&w, fhir_structure_find(sv_from(parent->first->name)), parent->first, false);
    OK(json_writer_end(&w, e));
    OK(json_read(a, arena_sv(a, buf_sv(&b)), 64, &doc, e));
    buf_done(&b);
    return yyjson_doc_get_root(doc);
}

static const struct element *child(const struct element *parent, const char *name)
{
    const struct element *c = parent->first;
    while (c && strcmp(c->name, name) != 0)
        c = c->next;
    return c;
}

static bool same(sv have, yyjson_val *want, struct arena *a)
{
    yyjson_doc *doc;
    yyjson_alc alc = json_allocator(a);
    bool equal;
    OK(json_read(a, have, 64, &doc, e));
    yyjson_mut_doc *m = yyjson_doc_mut_copy(doc, &alc);
    yyjson_mut_val *root = yyjson_mut_doc_get_root(m);
    if (yyjson_mut_obj_get(root, "text"))
        yyjson_mut_obj_put(yyjson_mut_obj_get(root, "text"), yyjson_mut_str(m, "div"),
                           yyjson_mut_str(m, "<div>text</div>"));
    OK(json_equal(root, want, a, &equal, e));
    return equal;
}

static bool passes(const struct element *test, struct arena *a, struct err *err)
{
    const struct fhirpath_patch_limits limits = { .depth = 64, .memory_bytes = 4u << 20 };
    const struct element *error = child(test, "error");
    CLEANUP_BUF struct buf out = BUF_INIT(1u << 20);
    err_code rc = fhirpath_patch(resource(child(test, "input"), a),
                                 resource(child(test, "diff"), a), a, &limits, &out, err);
    if (rc != ERR_OK)
        return error != NULL;
    err_set(err, ERR_INTERNAL, __FILE__, __LINE__, "%.*s", SV_FMT(buf_sv(&out)));
    return error == NULL && same(buf_sv(&out), resource(child(test, "output"), a), a);
}

static unsigned run(const char *name, unsigned *faults)
{
    const char *shared = getenv("FHIRLAKE_SHARED"), *source = getenv("FHIRLAKE_SOURCE");
    struct arena *a = arena_new(256u << 20);
    unsigned n = 0;
    sv path = arena_fmt(a, "%s%s/data/fhirpath/%s",
                        shared   ? shared
                        : source ? source
                                 : ".",
                        shared ? "" : "/../shared", name);
    sv text = read_whole(path.ptr, a);
    struct element *root = text.ptr ? xml_read(text, a) : NULL;
    for (const struct element *t = root ? root->first : NULL; t; t = t->next, n++) {
        struct err err = { 0 };
        if (passes(t, a, &err))
            continue;
        print_message("# %s: %s: %s\n", name, xml_attribute(t, "name"), err.msg);
        ++*faults;
    }
    arena_free(a);
    return n;
}

TEST(patch, does_what_hl7s_cases_ask)
{
    (void)state;
    unsigned faults = 0;
    unsigned n = run("fhir-patch-tests.xml", &faults) + run("fhir-patch-tests-r5.xml", &faults);
    if (n == 0) {
        print_message("# HL7's cases of FHIRPath Patch are not there\n");
        skip();
    }
    print_message("# %u of %u cases pass\n", n - faults, n);
    assert_int_equal(faults, 0);
}

TEST_MAIN(T(patch, does_what_hl7s_cases_ask))
