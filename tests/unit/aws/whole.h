/* whole.h - a whole service in a folder of its own: data stores, jobs, callers, and requests that
 * are answered into memory. A Describe* waits for the end of what it tells of, so nobody polls. */
#pragma once
#include "test.h"

#include "aws/aws.h"
#include "base/clock.h"
#include "service/world.h"

/* not every test file needs every helper */
#pragma GCC diagnostic ignored "-Wunused-function"

#define ID "0123456789abcdef0123456789abcdef"

static struct world w;

#define KEYS(name, more) \
    "[" name "]\naws_access_key_id = " name "\naws_secret_access_key = s\n" more

static void put_file(const char *name, const char *text)
{
    world_put_file(&w, name, text);
}

/* The folder, and the records in it. */
static void begin_all(void)
{
    world_make(&w);
    w.park = true;
}

/* Starts the service. The file of credentials is there. */
static void open_all(void)
{
    world_open(&w, &aws_plane, false);
}

/* Stops the service; open_all() starts it again on the same records. */
static void close_all(void)
{
    world_stop(&w);
}

static int end_all(void)
{
    return world_close(&w);
}

/* A record of the data store ID with this status and this member more (NULL: none). */
static void put_record(const char *status, const char *member, const char *value)
{
    char record[700];
    (void)snprintf(record, sizeof record,
                   "{\"id\":\"" ID "\",\"status\":\"%s\",\"order\":1,\"created\":1%s%s%s%s}",
                   status, member ? ",\"" : "", member ? member : "", member ? "\":" : "",
                   member ? value : "");
    OK(records_put(w.records, SV_LIT("datastore/" ID), sv_from(record), e));
    OK(records_put(w.records, SV_LIT("datastorelist/fffffffffffffffe"), SV_LIT(ID), e));
}

/* The data store ID, ACTIVE, with one Patient. */
static void put_store(const char *member, const char *value)
{
    struct store *st;
    struct store_commit c;
    sv json = SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"p\"}");
    struct store_write one = { .type = fhir_type_find(SV_LIT("Patient")),
                               .id = SV_LIT("p"),
                               .body = { json, (uint32_t)json.len - 1, FHIR_HOLE_NO_META } };
    put_record("ACTIVE", member, value);
    datastore_forget(w.service, SV_LIT(ID));
    OK(store_registry_acquire(w.registry, SV_LIT(ID), true, &st, e));
    OK(store_commit(st, &one, 1, &c, e));
    store_registry_release(w.registry, st);
}

/* ---- requests ---- */

/* The answer's status; says: what its body must hold, or NULL. */
static unsigned ask_as(const char *who, const char *raw, const char *says)
{
    struct loopback_answer a;
    struct loopback_keys k = { sv_from(who), SV_LIT("s"), SV_LIT("us-east-1"), clock_wall_ms() };
    loopback_send(w.service, sv_from(raw), &k, &a);
    unsigned status = a.status;
    if (says && memmem(a.body.ptr, a.body.len, says, strlen(says)) == NULL)
        fail_msg("%s: %.*s", raw, SV_FMT(buf_sv(&a.body)));
    loopback_answer_done(&a);
    return status;
}

static unsigned ask(const char *raw, const char *says)
{
    return ask_as("admin", raw, says);
}

#define CALL(operation, body)                                                   \
    "POST / HTTP/1.1\nContent-Type: application/x-amz-json-1.0\nX-Amz-Target: " \
    "HealthLake." operation "\n\n" body
#define ARN "arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/" ID

/* What an operation answers to admin, who gives members in which ' stands for ". It must be 200. */
static yyjson_val *answered(struct arena *a, const char *operation, const char *members)
{
    struct loopback_answer got;
    struct loopback_keys k = { SV_LIT("admin"), SV_LIT("s"), SV_LIT("us-east-1"), clock_wall_ms() };
    yyjson_doc *doc;
    char raw[2000];
    int n = snprintf(raw, sizeof raw, CALL("%s", "{%s}"), operation, members);
    assert_in_range(n, 1, sizeof raw - 1);
    for (char *q = raw; *q; q++)
        *q = *q == '\'' ? '"' : *q;
    loopback_send(w.service, sv_from(raw), &k, &got);
    sv body = arena_sv(a, buf_sv(&got.body));
    if (got.status != 200)
        fail_msg("%s: %u %.*s", raw, got.status, SV_FMT(body));
    loopback_answer_done(&got);
    OK(json_read(a, body, 16, &doc, e));
    return yyjson_doc_get_root(doc);
}

/* The text at a path of members, by dots; a number as it is written. */
static sv text_at(yyjson_val *v, const char *path)
{
    for (const char *dot; (dot = strchr(path, '.')) != NULL; path = dot + 1)
        v = yyjson_obj_getn(v, path, (size_t)(dot - path));
    v = json_get(v, path);
    return yyjson_is_str(v) ? json_string(v) : json_number(v);
}
