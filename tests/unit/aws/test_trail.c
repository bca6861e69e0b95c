/* What a request leaves in the audit log, asked without sockets: a record, and when it is there. */
#include "service/world.h"

#include "aws/aws.h"

static const struct loopback_keys *no_keys;

struct audited {
    struct world w;
    char dir[128];
};

static void audited_open(struct audited *a)
{
    world_make(&a->w);
    (void)snprintf(a->dir, sizeof a->dir, "%s/audit", a->w.dir);
    const struct audit_config cfg = { .dir = a->dir };
    OK(audit_open(&cfg, &a->w.audit, e));
    world_open(&a->w, &aws_plane, true);
}

static void audited_close(struct audited *a)
{
    assert_int_equal(world_close(&a->w), 0);
}

static struct buf text_of(const struct audited *a)
{
    struct buf b = BUF_INIT(1u << 20);
    char path[200];
    (void)snprintf(path, sizeof path, "%s/audit-00000001.jsonl", a->dir);
    OK(file_read(path, &b, e));
    return b;
}

static unsigned ask(struct audited *a, const char *request, char id[37])
{
    struct loopback_answer answer;
    loopback_send(a->w.service, sv_from(request), no_keys, &answer);
    (void)snprintf(id, 37, "%.*s", SV_FMT(loopback_header(&answer, "x-amzn-RequestId")));
    unsigned status = answer.status;
    loopback_answer_done(&answer);
    return status;
}

static bool tells(const struct buf *b, const char *id, const char *what)
{
    sv rest = buf_sv(b), line;
    while (rest.len && sv_cut(&rest, '\n', &line))
        if (memmem(line.ptr, line.len, id, strlen(id)) &&
            memmem(line.ptr, line.len, what, strlen(what)))
            return true;
    return false;
}

#define OPERATION(name, body)                                                   \
    "POST / HTTP/1.1\nContent-Type: application/x-amz-json-1.0\nX-Amz-Target: " \
    "HealthLake." name "\n\n" body

TEST(trail, a_write_is_answered_when_its_record_is_in_the_file)
{
    (void)state;
    struct audited a;
    char id[37];
    audited_open(&a);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(
            ask(&a, OPERATION("CreateFHIRDatastore", "{\"DatastoreTypeVersion\":\"R4\"}"), id),
            200);
        struct buf b = text_of(&a);
        assert_true(tells(&b, id, "\"eventName\":\"CreateFHIRDatastore\""));
        assert_true(tells(&b, id, "\"readOnly\":false"));
        assert_true(tells(&b, id, "\"type\":\"Anonymous\""));
        buf_done(&b);
    }
    audited_close(&a);
}

TEST(trail, a_read_has_its_record_at_the_end)
{
    (void)state;
    struct audited a;
    char list[37], refused[37], nothing[37], health[37];
    audited_open(&a);
    assert_int_equal(ask(&a, OPERATION("ListFHIRDatastores", "{}"), list), 200);
    assert_int_equal(ask(&a, OPERATION("ListFHIRDatastores", "{\"MaxResults\":0}"), refused), 400);
    assert_int_equal(ask(&a, OPERATION("NoOperation", "{}"), nothing), 404);
    assert_int_equal(ask(&a, "GET /health HTTP/1.1\n\n", health), 200);
    world_stop(&a.w);
    struct buf b = text_of(&a);
    assert_true(tells(&b, list, "\"eventName\":\"ListFHIRDatastores\""));
    assert_true(tells(&b, list, "\"readOnly\":true"));
    assert_false(tells(&b, list, "errorCode"));
    assert_true(tells(&b, refused, "\"errorCode\":\"ValidationException\""));
    assert_true(tells(&b, nothing, "\"eventName\":\"UnknownOperation\""));
    assert_true(tells(&b, nothing, "\"errorCode\":\"UnknownOperationException\""));
    assert_false(tells(&b, health, ""));
    buf_done(&b);
    records_close(a.w.records);
    OK(file_remove_tree(a.w.dir, e));
}

TEST(trail, actions_that_read_are_known_by_their_names)
{
    (void)state;
    static const char *const writes[] = { "CreateResource", "ProcessBundle", "StartFHIRImportJob",
                                          "TagResource", "StartFHIRExportJobWithGet" };
    for (size_t i = 0; i < 5; i++)
        assert_false(trail_reads(writes[i]));
    for (size_t i = 0; rest_action_name(i); i++) {
        const char *name = rest_action_name(i);
        bool writes_it = strstr(name, "Create") || strstr(name, "Update") ||
                         strstr(name, "PatchR") || strstr(name, "Delete") ||
                         strstr(name, "Start") || strstr(name, "ProcessB");
        /* of what is written, too: DescribeFHIRBulkDeleteJob */
        bool tells_of_it = strstr(name, "Describe") != NULL;
        assert_int_equal(trail_reads(name), tells_of_it || !writes_it);
    }
    assert_false(trail_reads(NULL));
}

TEST_MAIN(T(trail, a_write_is_answered_when_its_record_is_in_the_file),
          T(trail, a_read_has_its_record_at_the_end),
          T(trail, actions_that_read_are_known_by_their_names))
