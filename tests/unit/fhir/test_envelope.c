/* The stored form of a resource, against literal cases and against a slow second way: parse, edit
 * the tree, compare trees. */
#include "test.h"

#include "codec/json.h"
#include "fhir/envelope.h"

static struct fhir_reader *reader;

/* The same comes out where it is made over the text. */
static void check_here(const char *text, const struct fhir_envelope *want, const struct err *why)
{
    size_t len = strlen(text);
    char *own = malloc(len + 1);
    struct fhir_envelope env;
    struct err e = { 0 };
    assert_non_null(own);
    memcpy(own, text, len);
    err_code rc = fhir_envelope_read_here(reader, own, len, &env, &e);
    assert_int_equal(rc == ERR_OK, want != NULL);
    if (want) {
        assert_ptr_equal(env.body.json.ptr, own);
        assert_sv(env.body.json, want->body.json);
        assert_sv(env.id, want->id);
        assert_int_equal(env.type, want->type);
        assert_int_equal(env.body.hole, want->body.hole);
        assert_int_equal(env.body.hole_at, want->body.hole_at);
    } else {
        assert_string_equal(e.msg, why->msg);
    }
    free(own);
}

/* Stored form with its hole filled as version 7 at 2026-11-23T18:30:00.123Z, or the error's text.
 */
static const char *stored(const char *text, const char *set_id)
{
    static char out[65536];
    struct buf b = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    struct err e = { 0 };
    if (reader == NULL)
        reader = fhir_reader_new(1 << 20);
    if (fhir_envelope_read(reader, sv_from(text), sv_from(set_id), &b, &env, &e) != ERR_OK) {
        assert_int_equal(b.len, 0);
        (void)snprintf(out, sizeof out, "!%s", e.msg);
        if (set_id == NULL)
            check_here(text, NULL, &e);
    } else {
        assert_true(env.type != FHIR_TYPE_NONE);
        size_t n = fhir_body_write(&env.body, 7, 1795458600123, out);
        assert_true(n <= env.body.json.len + FHIR_SPLICE_MAX);
        out[n] = 0;
        /* the same when it stands in the place where it goes */
        static char place[65536];
        for (size_t gap = 0; gap < FHIR_SPLICE_MAX + 9; gap++) {
            struct fhir_body body = env.body;
            memcpy(place + gap, env.body.json.ptr, env.body.json.len);
            body.json.ptr = place + gap;
            assert_int_equal(fhir_body_write(&body, 7, 1795458600123, place), n);
            assert_memory_equal(place, out, n);
        }
        if (set_id == NULL)
            check_here(text, &env, NULL);
    }
    buf_done(&b);
    return out;
}
#define META "\"versionId\":\"7\",\"lastUpdated\":\"2026-11-23T18:30:00.123Z\""

TEST(envelope, puts_meta_behind_the_id_when_there_is_none)
{
    (void)state;
    assert_string_equal(
        stored("{\"resourceType\":\"Patient\",\"id\":\"p1\",\"active\":true}", NULL),
        "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"meta\":{" META "},\"active\":true}");
    assert_string_equal(stored("{\"id\":\"p1\",\"resourceType\":\"Patient\"}", NULL),
                        "{\"id\":\"p1\",\"meta\":{" META "},\"resourceType\":\"Patient\"}");
}

TEST(envelope, fills_a_meta_that_is_there)
{
    (void)state;
    assert_string_equal(
        stored("{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"profile\":[\"x\"]}}", NULL),
        "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{" META ",\"profile\":[\"x\"]}}");
    assert_string_equal(stored("{\"meta\":{},\"resourceType\":\"Patient\",\"id\":\"p\"}", NULL),
                        "{\"meta\":{" META "},\"resourceType\":\"Patient\",\"id\":\"p\"}");
}

TEST(envelope, takes_out_version_and_time_wherever_they_stand)
{
    (void)state;
    const char *want = "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{" META
                       ",\"source\":\"s\",\"tag\":[]},\"x\":1}";
    static const char *const metas[] = {
        "{\"versionId\":\"1\",\"source\":\"s\",\"tag\":[]}",
        "{\"source\":\"s\",\"versionId\":\"1\",\"lastUpdated\":\"t\",\"tag\":[]}",
        "{ \"source\" : \"s\" , \"tag\" : [ ] , \"lastUpdated\" : \"t\" }",
        "{\"\\u0076ersionId\":\"1\",\"source\":\"s\",\"tag\":[],\"lastUpdated\":{\"a\":[1,{}]}}",
    };
    for (size_t i = 0; i < sizeof metas / sizeof metas[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text,
                       " {\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":%s, \"x\":1}\t",
                       metas[i]);
        assert_string_equal(stored(text, NULL), want);
    }
    assert_string_equal(
        stored("{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"versionId\":\"1\"}}", NULL),
        "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{" META "}}");
}

TEST(envelope, keeps_numbers_strings_and_order_to_the_byte)
{
    (void)state;
    assert_string_equal(
        stored("{ \"z\" : 1.00 ,\n\"a\":-0.0e+10,\"resourceType\":\"Patient\",\"s\":\" a\\\" \\\\ "
               "\\u00e9 é \",\r\n"
               "\"id\":\"p\" , \"l\" : [ 1 , true , null , { \"b\" : \"\" } ] }",
               NULL),
        "{\"z\":1.00,\"a\":-0.0e+10,\"resourceType\":\"Patient\",\"s\":\" a\\\" \\\\ \\u00e9 é \","
        "\"id\":\"p\",\"meta\":{" META "},\"l\":[1,true,null,{\"b\":\"\"}]}");
}

TEST(envelope, sets_the_id_of_a_create)
{
    (void)state;
    assert_string_equal(stored("{\"resourceType\":\"Patient\",\"id\":\"old\",\"x\":1}", "new-id"),
                        "{\"resourceType\":\"Patient\",\"id\":\"new-id\",\"meta\":{" META
                        "},\"x\":1}");
    assert_string_equal(stored("{\"x\":1,\"resourceType\":\"Patient\",\"meta\":{\"a\":1}}", "n"),
                        "{\"x\":1,\"resourceType\":\"Patient\",\"id\":\"n\",\"meta\":{" META
                        ",\"a\":1}}");
    assert_string_equal(stored("{\"meta\":{\"a\":1},\"resourceType\":\"Patient\"}", "n"),
                        "{\"meta\":{" META ",\"a\":1},\"resourceType\":\"Patient\",\"id\":\"n\"}");
}

TEST(envelope, refuses_what_is_no_resource)
{
    (void)state;
    assert_string_equal(stored("{\"resourceType\":\"Patient\"}", NULL),
                        "!Missing required id field in resource json");
    static const char *const broken[] = { "",
                                          " ",
                                          "[]",
                                          "\"x\"",
                                          "{",
                                          "{}x",
                                          "{\"a\":01}",
                                          "{\"a\":\"\x01\"}",
                                          "{\"a\":\"\xff\"}",
                                          "{'a':1}",
                                          "{\"a\":1,}",
                                          "\xef\xbb\xbf{}" };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_string_equal(stored(broken[i], NULL), "!Invalid JSON found in input file");
    static const char *const wrong[] = {
        "{\"id\":\"x\"}",
        "{\"resourceType\":\"Martian\",\"id\":\"x\"}",
        "{\"resourceType\":1,\"id\":\"x\"}",
        "{\"resourceType\":\"Patient\",\"id\":1}",
        "{\"resourceType\":\"Patient\",\"id\":\"\"}",
        "{\"resourceType\":\"Patient\",\"id\":\"a_b\"}",
        "{\"resourceType\":\"patient\",\"id\":\"x\"}",
        "{\"resourceType\":\"Patient\",\"id\":\"x\",\"id\":\"x\"}",
        "{\"resourceType\":\"Patient\",\"resourceType\":\"Patient\",\"id\":\"x\"}",
        "{\"resourceType\":\"Patient\",\"id\":\"x\",\"meta\":[]}",
        "{\"resourceType\":\"Patient\",\"id\":\"x\",\"meta\":{},\"meta\":{}}",
        "{\"resourceType\":\"Basic\",\"id\":\"x\",\"meta\":{\"versionId\":1,\"versionId\":2}}",
        "{\"resourceType\":\"Patient\",\"\\u0069d\":\"x\",\"id\":\"x\"}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_true(stored(wrong[i], NULL)[0] == '!');
}

TEST(envelope, depth_has_a_limit_that_costs_no_stack)
{
    (void)state;
    char text[4096];
    for (int deep = 0; deep < 2; deep++) {
        /* the resource itself is the first */
        unsigned levels = deep ? 256 : 255;
        char *p =
            text + snprintf(text, sizeof text, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"x\":");
        for (unsigned i = 0; i < levels; i++)
            *p++ = '[';
        for (unsigned i = 0; i < levels; i++)
            *p++ = ']';
        *p++ = '}';
        *p = 0;
        assert_true((stored(text, NULL)[0] == '!') == (deep == 1));
    }
}

/* ---- random resources against a second way ---- */

static uint64_t rnd_state = 42;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}

static void ws(struct buf *b)
{
    static const char *const blanks[] = { "", "", "", "", " ", "\n", "\t\r ", "  " };
    OK(buf_add(b, sv_from(blanks[rnd(8)]), e));
}

static void random_value(struct buf *b, unsigned depth)
{
    static const char *const atoms[] = {
        "1.50",      "-0",   "true",
        "null",      "\"\"", "\"a\\\"b\"",
        "\"é\\\\\"", "1e-7", "\"long enough to cross a block of sixteen bytes \\n\""
    };
    ws(b);
    unsigned kind = depth ? rnd(4) : 3;
    if (kind >= 2) {
        OK(buf_add(b, sv_from(atoms[rnd(9)]), e));
    } else {
        unsigned n = rnd(4);
        OK(buf_add_char(b, kind ? '[' : '{', e));
        for (unsigned i = 0; i < n; i++) {
            ws(b);
            if (i)
                OK(buf_add_char(b, ',', e));
            if (!kind) {
                ws(b);
                OK(buf_add_fmt(b, e, "\"%s%u\"", rnd(3) ? "k" : "id", i));
                ws(b);
                OK(buf_add_char(b, ':', e));
            }
            random_value(b, depth - 1);
        }
        ws(b);
        OK(buf_add_char(b, kind ? ']' : '}', e));
    }
    ws(b);
}

static void random_resource(struct buf *b)
{
    unsigned at_type = rnd(5), at_id = rnd(5), at_meta = rnd(7);
    ws(b);
    OK(buf_add_char(b, '{', e));
    for (unsigned i = 0, n = 0; i < 15; i++) {
        const char *name = i % 3 == 0 && i / 3 == at_type   ? "resourceType"
                           : i % 3 == 1 && i / 3 == at_id   ? "id"
                           : i % 3 == 2 && i / 3 == at_meta ? "meta"
                                                            : NULL;
        char other[16];
        if (name == NULL && rnd(3))
            continue;
        (void)snprintf(other, sizeof other, "m%u", i);
        if (n++)
            OK(buf_add_char(b, ',', e));
        ws(b);
        OK(buf_add_fmt(b, e, "\"%s\"", name ? name : other));
        ws(b);
        OK(buf_add_char(b, ':', e));
        if (name == NULL) {
            random_value(b, 3);
        } else if (name[0] == 'm') {
            OK(buf_add(b, SV_LIT("{"), e));
            unsigned k = 0;
            for (unsigned j = 0; j < 4; j++) {
                static const char *const m[] = { "versionId", "profile", "lastUpdated", "tag" };
                if (rnd(2))
                    continue;
                if (k++)
                    OK(buf_add(b, SV_LIT(","), e));
                ws(b);
                OK(buf_add_fmt(b, e, "\"%s\":", m[j]));
                random_value(b, 2);
            }
            ws(b);
            OK(buf_add(b, SV_LIT("}"), e));
        } else {
            ws(b);
            OK(buf_add(b, name[0] == 'r' ? SV_LIT("\"Observation\"") : SV_LIT("\"o-1\""), e));
        }
    }
    ws(b);
    OK(buf_add_char(b, '}', e));
    ws(b);
}

/* Equal trees when `got` minus the two meta members (and a meta that held only them) is `want`
 * minus the same. */
static void normal(struct json_writer *w, yyjson_val *v)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    yyjson_val *k;
    json_obj(w);
    while ((k = yyjson_obj_iter_next(&it)) != NULL) {
        yyjson_val *item = yyjson_obj_iter_get_val(k);
        if (!yyjson_equals_str(k, "meta")) {
            json_key(w, yyjson_get_str(k));
            json_val(w, item);
            continue;
        }
        yyjson_obj_iter m = yyjson_obj_iter_with(item);
        yyjson_val *mk;
        bool any = false;
        while ((mk = yyjson_obj_iter_next(&m)) != NULL) {
            if (yyjson_equals_str(mk, "versionId") || yyjson_equals_str(mk, "lastUpdated"))
                continue;
            if (!any) {
                json_key(w, "meta");
                json_obj(w);
            }
            any = true;
            json_key(w, yyjson_get_str(mk));
            json_val(w, yyjson_obj_iter_get_val(mk));
        }
        if (any)
            json_obj_end(w);
    }
    json_obj_end(w);
}

TEST(envelope, random_resources_come_out_as_a_second_way_says)
{
    (void)state;
    struct arena *a = arena_new(16 << 20);
    for (int round = 0; round < 4000; round++) {
        struct buf in = BUF_INIT(1 << 20), x = BUF_INIT(1 << 20), y = BUF_INIT(1 << 20);
        random_resource(&in);
        OK(buf_add_char(&in, 0, e));
        const char *got = stored(in.ptr, NULL);
        assert_true(got[0] == '{');
        yyjson_doc *want_doc, *got_doc;
        struct json_writer w;
        OK(json_read(a, sv_make(in.ptr, in.len - 1), 300, &want_doc, e));
        OK(json_read(a, sv_from(got), 300, &got_doc, e));
        yyjson_val *meta = json_get(yyjson_doc_get_root(got_doc), "meta");
        assert_sv(json_string(json_get(meta, "versionId")), SV_LIT("7"));
        assert_sv(json_string(json_get(meta, "lastUpdated")), SV_LIT("2026-11-23T18:30:00.123Z"));
        json_writer_init(&w, &x);
        normal(&w, yyjson_doc_get_root(want_doc));
        OK(json_writer_end(&w, e));
        json_writer_init(&w, &y);
        normal(&w, yyjson_doc_get_root(got_doc));
        OK(json_writer_end(&w, e));
        assert_sv(buf_sv(&y), buf_sv(&x));
        buf_done(&in);
        buf_done(&x);
        buf_done(&y);
        arena_reset(a);
    }
    arena_free(a);
}

TEST(types, every_name_is_found_under_its_number_and_others_are_not)
{
    (void)state;
    assert_int_equal(fhir_n_types(), 146);
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        assert_int_equal(fhir_type_find(sv_from(fhir_type_name((fhir_type)t))), t);
    assert_int_equal(fhir_type_find(SV_LIT("Resource")), 0);
    assert_int_equal(fhir_type_find(SV_LIT("")), 0);
    assert_int_equal(fhir_type_find(SV_LIT("Patients")), 0);
    assert_string_equal(fhir_type_name(0), "");
    assert_string_equal(fhir_type_name(147), "");
}

TEST_MAIN(T(envelope, puts_meta_behind_the_id_when_there_is_none),
          T(envelope, fills_a_meta_that_is_there),
          T(envelope, takes_out_version_and_time_wherever_they_stand),
          T(envelope, keeps_numbers_strings_and_order_to_the_byte),
          T(envelope, sets_the_id_of_a_create), T(envelope, refuses_what_is_no_resource),
          T(envelope, depth_has_a_limit_that_costs_no_stack),
          T(envelope, random_resources_come_out_as_a_second_way_says),
          T(types, every_name_is_found_under_its_number_and_others_are_not))
