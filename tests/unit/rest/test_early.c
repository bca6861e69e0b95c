/* A write and its record go to the disk at the same time, and the answer waits for both. The
 * fdatasync() of this file stands in the place of the C library's, for RocksDB and for the audit
 * log: so a test says when a sync begins, whether it fails, and what a disk holds that loses its
 * power. */
#include "service/world.h"

#include "aws/aws.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORE      "0123456789abcdef0123456789abcdef"
#define N_FILES    64u
#define N_ACKED    4096u
#define THREADS    6
#define TOO_LONG_S 60 /* a rendezvous that nobody comes to */

enum disk { DATA, AUDIT, OTHER };

/* What a test has to say about syncs; NULL: they are as ever. begin: 0, or what errno is. */
struct script {
    int (*begin)(enum disk disk);
    void (*end)(enum disk disk);
};
static const struct script *_Atomic script;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool began[2], ended[2], let[2], alone;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* How long each file was when it was synced, shared with the process that lives on. */
struct plug {
    atomic_uint n_syncs, n_data, at; /* the power fails at that sync of the log */
    atomic_uint n_files, n_acked;
    struct {
        char path[160];
        _Atomic(off_t) len;
    } files[N_FILES];
    struct {
        char id[24], request_id[37];
    } acked[N_ACKED];
    unsigned n_found;   /* of those, afterwards */
    struct world world; /* its names */
};
static struct plug *plug;

static enum disk disk_of(int fd, char path[160])
{
    char link[40];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 159);
    path[n > 0 ? n : 0] = 0;
    if (strstr(path, "/audit/audit-"))
        return AUDIT;
    return strstr(path, "/stores/") && sv_ends(sv_from(path), SV_LIT(".log")) ? DATA : OTHER;
}

static void note_len(const char *path, off_t len)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one);
    unsigned i = 0, n = atomic_load(&plug->n_files);
    while (i < n && strcmp(plug->files[i].path, path) != 0)
        i++;
    if (i == n && n < N_FILES) {
        (void)snprintf(plug->files[n].path, sizeof plug->files[n].path, "%s", path);
        atomic_store(&plug->n_files, n + 1);
    }
    /* of two syncs of a file the one that began first may end last */
    if (i < N_FILES && atomic_load(&plug->files[i].len) < len)
        atomic_store(&plug->files[i].len, len);
    pthread_mutex_unlock(&one);
}

int fdatasync(int fd)
{
    char path[160];
    struct stat st = { 0 };
    const struct script *s = atomic_load(&script);
    enum disk disk = s || plug ? disk_of(fd, path) : OTHER;
    int bad = s && disk != OTHER ? s->begin(disk) : 0;
    if (bad) {
        errno = bad;
        return -1;
    }
    /* what was written before the call */
    (void)fstat(fd, &st);
    int rc = (int)syscall(SYS_fdatasync, fd);
    if (rc == 0 && plug && disk != OTHER)
        note_len(path, st.st_size);
    if (s && disk != OTHER && s->end)
        s->end(disk);
    return rc;
}

/* ---- a service with an audit log ---- */

struct early {
    struct world w;
    char dir[128];
};

static void early_open_again(struct early *t)
{
    (void)snprintf(t->dir, sizeof t->dir, "%s/audit", t->w.dir);
    const struct audit_config cfg = { .dir = t->dir };
    OK(audit_open(&cfg, &t->w.audit, e));
    world_open(&t->w, &aws_plane, true);
}

static struct buf records_of(const struct early *t)
{
    struct buf b = BUF_INIT(16u << 20);
    char path[200];
    (void)snprintf(path, sizeof path, "%s/audit-00000001.jsonl", t->dir);
    OK(file_read(path, &b, e));
    return b;
}

/* The records of a request, behind each other. */
static unsigned told(sv log, const char *request_id, struct buf *out)
{
    sv line;
    unsigned n = 0;
    while (log.len && sv_cut(&log, '\n', &line))
        if (memmem(line.ptr, line.len, request_id, strlen(request_id))) {
            OK(buf_add(out, line, e));
            n++;
        }
    return n;
}

static bool has(const struct buf *b, const char *what)
{
    return b->len && memmem(b->ptr, b->len, what, strlen(what));
}

struct asked {
    struct early *t;
    const char *method, *id;
    unsigned status;
    char request_id[37], body[400];
    atomic_bool answered;
};

static void *ask(void *arg)
{
    struct asked *a = arg;
    struct loopback_answer answer;
    char raw[400];
    const bool put = strcmp(a->method, "PUT") == 0;
    (void)snprintf(raw, sizeof raw,
                   "%s /datastore/" STORE "/r4/Patient/%s HTTP/1.1\nContent-Type: "
                   "application/fhir+json\n\n%s%s%s",
                   a->method, a->id, put ? "{\"resourceType\":\"Patient\",\"id\":\"" : "",
                   put ? a->id : "", put ? "\"}" : "");
    loopback_send(a->t->w.service, sv_from(raw), NULL, &answer);
    atomic_store(&a->answered, true);
    a->status = answer.status;
    (void)snprintf(a->request_id, sizeof a->request_id, "%.*s",
                   SV_FMT(loopback_header(&answer, "x-amzn-RequestId")));
    (void)snprintf(a->body, sizeof a->body, "%.*s", SV_FMT(buf_sv(&answer.body)));
    loopback_answer_done(&answer);
    return NULL;
}

static void early_open(struct early *t)
{
    atomic_store(&script, NULL);
    memset(seen.began, 0, sizeof seen.began);
    memset(seen.ended, 0, sizeof seen.ended);
    memset(seen.let, 0, sizeof seen.let);
    seen.alone = false;
    world_make(&t->w);
    early_open_again(t);
    world_put_record(&t->w, STORE, "");
    struct store *st;
    OK(store_registry_acquire(t->w.registry, SV_LIT(STORE), true, &st, e));
    store_registry_release(t->w.registry, st);
    /* the first commit of an opening syncs more than itself */
    struct asked a = { .t = t, .method = "PUT", .id = "first" };
    ask(&a);
    assert_int_equal(a.status, 201);
}

static unsigned get(struct early *t, const char *id)
{
    struct asked a = { .t = t, .method = "GET", .id = id };
    ask(&a);
    return a.status;
}

/* ---- both at once ---- */

static void await_locked(const bool *what)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TOO_LONG_S;
    while (!*what && !seen.alone)
        if (pthread_cond_timedwait(&seen.changed, &seen.lock, &until) == ETIMEDOUT)
            seen.alone = true;
}

static int meet(enum disk disk)
{
    pthread_mutex_lock(&seen.lock);
    seen.began[disk] = true;
    pthread_cond_broadcast(&seen.changed);
    await_locked(&seen.began[disk == DATA ? AUDIT : DATA]);
    pthread_mutex_unlock(&seen.lock);
    return 0;
}

TEST(early, a_write_and_its_record_are_synced_at_the_same_time)
{
    (void)state;
    struct early t;
    early_open(&t);
    static const struct script s = { meet, NULL };
    atomic_store(&script, &s);
    struct asked a = { .t = &t, .method = "PUT", .id = "p" };
    ask(&a);
    atomic_store(&script, NULL);
    assert_int_equal(a.status, 201);
    assert_false(seen.alone);
    struct buf log = records_of(&t), of = BUF_INIT(1 << 20);
    assert_int_equal(told(buf_sv(&log), a.request_id, &of), 1);
    assert_true(has(&of, "\"httpStatus\":201"));
    assert_true(has(&of, "\"versionId\":\"1\""));
    assert_true(has(&of, "\"eventName\":\"UpdateResource\""));
    buf_done(&log);
    buf_done(&of);
    assert_int_equal(world_close(&t.w), 0);
}

/* ---- the answer waits for the slower one ---- */

static int wait_until_let(enum disk disk)
{
    pthread_mutex_lock(&seen.lock);
    seen.began[disk] = true;
    pthread_cond_broadcast(&seen.changed);
    while (!seen.let[disk])
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
    return 0;
}

static void note_end(enum disk disk)
{
    pthread_mutex_lock(&seen.lock);
    seen.ended[disk] = true;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void let(enum disk disk)
{
    pthread_mutex_lock(&seen.lock);
    seen.let[disk] = true;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void wait_for(const bool *what)
{
    pthread_mutex_lock(&seen.lock);
    await_locked(what);
    pthread_mutex_unlock(&seen.lock);
    assert_false(seen.alone);
}

TEST(early, the_answer_waits_for_the_slower_disk)
{
    (void)state;
    static const struct script s = { wait_until_let, note_end };
    for (enum disk slow = DATA; slow <= AUDIT; slow++) {
        const enum disk fast = slow == DATA ? AUDIT : DATA;
        struct early t;
        pthread_t thread;
        early_open(&t);
        atomic_store(&script, &s);
        let(fast);
        struct asked a = { .t = &t, .method = "PUT", .id = "p" };
        assert_int_equal(pthread_create(&thread, NULL, ask, &a), 0);
        wait_for(&seen.began[slow]);
        wait_for(&seen.ended[fast]);
        /* what the data store has is read meanwhile */
        for (int n = 0; slow == AUDIT && n < 50;)
            n += get(&t, "p") == 200;
        assert_false(atomic_load(&a.answered));
        let(slow);
        pthread_join(thread, NULL);
        assert_int_equal(a.status, 201);
        atomic_store(&script, NULL);
        assert_int_equal(world_close(&t.w), 0);
    }
}

/* ---- a disk fails ---- */

static int fail_audit(enum disk disk)
{
    return disk == AUDIT ? EIO : 0;
}
static int fail_data(enum disk disk)
{
    return disk == DATA ? ENOSPC : 0;
}

TEST(early, a_record_that_is_not_on_disk_is_no_answer)
{
    (void)state;
    struct early t;
    early_open(&t);
    static const struct script s = { fail_audit, NULL };
    atomic_store(&script, &s);
    struct asked a = { .t = &t, .method = "PUT", .id = "p" };
    ask(&a);
    atomic_store(&script, NULL);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "may have been done"));
    assert_int_equal(audit_counts(t.w.audit).lost, 1);
    assert_int_equal(get(&t, "p"), 200);
    assert_int_equal(world_close(&t.w), 0);
}

TEST(early, a_write_that_fails_behind_its_record_has_a_second_one)
{
    (void)state;
    struct early t;
    early_open(&t);
    static const struct script s = { fail_data, NULL };
    atomic_store(&script, &s);
    struct asked a = { .t = &t, .method = "PUT", .id = "p" };
    ask(&a);
    atomic_store(&script, NULL);
    assert_true(a.status >= 500);
    struct buf log = records_of(&t), of = BUF_INIT(1 << 20);
    char status[40];
    (void)snprintf(status, sizeof status, "\"httpStatus\":%u", a.status);
    assert_int_equal(told(buf_sv(&log), a.request_id, &of), 2);
    assert_true(has(&of, "\"httpStatus\":201"));
    assert_true(has(&of, status));
    assert_true(has(&of, "\"errorCode\":"));
    buf_done(&log);
    buf_done(&of);
    assert_int_equal(world_close(&t.w), 0);
}

/* ---- the power fails ---- */

/* The log's disk is slow: what answers without it has the time to. */
static int pull(enum disk disk)
{
    if (disk == DATA) {
        atomic_fetch_add(&plug->n_data, 1);
        return 0;
    }
    unsigned was = atomic_load(&plug->n_data);
    for (int i = 0; i < 20000 && atomic_load(&plug->n_data) < was + 2; i++)
        sched_yield();
    if (atomic_fetch_add(&plug->n_syncs, 1) + 1 == atomic_load(&plug->at))
        (void)kill(getpid(), SIGKILL);
    return 0;
}

static void *write_on(void *arg)
{
    struct early *t = arg;
    static atomic_uint next;
    for (;;) {
        char id[24];
        (void)snprintf(id, sizeof id, "p%u", atomic_fetch_add(&next, 1));
        struct asked a = { .t = t, .method = "PUT", .id = id };
        ask(&a);
        unsigned at = atomic_load(&plug->n_acked);
        if (a.status != 201 || at >= N_ACKED)
            _exit(1);
        at = atomic_fetch_add(&plug->n_acked, 1);
        memcpy(plug->acked[at].id, id, sizeof id);
        memcpy(plug->acked[at].request_id, a.request_id, sizeof a.request_id);
    }
    return NULL;
}

static void live_until_the_power_fails(void)
{
    static struct early t;
    pthread_t threads[THREADS];
    early_open(&t);
    plug->world = t.w;
    static const struct script s = { pull, NULL };
    atomic_store(&script, &s);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, write_on, &t) != 0)
            _exit(2);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* Of each file there is what was synced. */
static void lose_the_rest(void)
{
    for (unsigned i = 0; i < atomic_load(&plug->n_files); i++)
        if (access(plug->files[i].path, F_OK) == 0)
            assert_int_equal(truncate(plug->files[i].path, atomic_load(&plug->files[i].len)), 0);
}

static void look_for_what_was_acknowledged(void)
{
    struct early t = { .w = plug->world };
    lose_the_rest();
    OK(records_open(t.w.system, &t.w.records, e));
    early_open_again(&t);
    struct buf log = records_of(&t);
    for (unsigned n = 0; n < N_ACKED && plug->acked[n].request_id[0]; n++) {
        struct buf of = BUF_INIT(1 << 20);
        assert_int_equal(get(&t, plug->acked[n].id), 200);
        assert_int_equal(told(buf_sv(&log), plug->acked[n].request_id, &of), 1);
        assert_true(has(&of, "\"httpStatus\":201"));
        buf_done(&of);
        plug->n_found = n + 1;
    }
    buf_done(&log);
    struct audit_verdict v;
    OK(audit_verify(t.dir, NULL, &v, e));
    assert_false(v.wrong);
    assert_int_equal(world_close(&t.w), 0);
    _exit(0);
}

/* A process of its own, which leaves no threads here: ThreadSanitizer takes no fork among them. */
static int in_a_process(void (*fn)(void))
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fn();
        _exit(3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

TEST(early, what_was_acknowledged_is_there_with_its_record_after_a_power_loss)
{
    (void)state;
    plug = mmap(NULL, sizeof *plug, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(plug != MAP_FAILED);
    unsigned n = 0;
    for (unsigned at = 1; at <= (test_is_long() ? 60 : 6); at++) {
        memset(plug, 0, sizeof *plug);
        atomic_store(&plug->at, at);
        int status = in_a_process(live_until_the_power_fails);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(in_a_process(look_for_what_was_acknowledged), 0);
        n += plug->n_found;
    }
    assert_true(n > 0);
    (void)munmap(plug, sizeof *plug);
    plug = NULL;
}

TEST_MAIN(T(early, what_was_acknowledged_is_there_with_its_record_after_a_power_loss),
          T(early, a_write_and_its_record_are_synced_at_the_same_time),
          T(early, the_answer_waits_for_the_slower_disk),
          T(early, a_record_that_is_not_on_disk_is_no_answer),
          T(early, a_write_that_fails_behind_its_record_has_a_second_one))
