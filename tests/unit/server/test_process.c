/* What the process takes, by the names that every Prometheus client has, and what a folder takes.
 * */
#include "test.h"

#include "base/clock.h"
#include "base/file.h"
#include "server/serve_private.h"

#include <unistd.h>

static double value(const char *text, const char *name)
{
    char line[128];
    double out = -1;
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    if (at == NULL)
        fail_msg("%s is not told", name);
    at += strlen(line);
    assert_true(sv_to_double(sv_make(at, strcspn(at, "\n")), &out));
    return out;
}

TEST(process, tells_what_it_takes)
{
    (void)state;
    static char text[8192];
    CLEANUP_BUF struct buf b = BUF_INIT(sizeof text - 1);
    struct prometheus p;
    double now_s = (double)clock_wall_ms() / 1000;
    prometheus_init(&p, &b);
    process_write(&p);
    OK(prometheus_end(&p, e));
    memcpy(text, b.ptr, b.len);
    text[b.len] = 0;
    assert_true(value(text, "process_cpu_seconds_total") >= 0);
    assert_true(value(text, "process_cpu_seconds_total") < 3600);
    double resident = value(text, "process_resident_memory_bytes");
    assert_true(resident > 65536 && resident <= value(text, "process_virtual_memory_bytes"));
    assert_true(value(text, "process_open_fds") >= 3);
    assert_true(value(text, "process_open_fds") <= value(text, "process_max_fds"));
    double began_s = value(text, "process_start_time_seconds");
    /* it began a while ago, and not before this machine's last hour of tests */
    assert_true(began_s <= now_s + 1 && began_s > now_s - 3600);
}

TEST(process, a_folder_takes_what_all_below_it_takes)
{
    (void)state;
    char dir[] = TEST_TMP "/fhirlake-process-XXXXXX", path[96];
    static char block[300000];
    assert_non_null(mkdtemp(dir));
    uint64_t empty = process_folder_bytes(dir);
    (void)snprintf(path, sizeof path, "%s/a/b", dir);
    OK(file_mkdirs(path, e));
    (void)snprintf(path, sizeof path, "%s/a/b/file", dir);
    memset(block, 'x', sizeof block);
    OK(file_write_atomic(path, sv_make(block, sizeof block), e));
    /* a link leads elsewhere, and counts as a link */
    (void)snprintf(path, sizeof path, "%s/a/usr", dir);
    assert_int_equal(symlink("/usr", path), 0);
    uint64_t full = process_folder_bytes(dir);
    assert_true(full >= empty + sizeof block && full < empty + 2 * sizeof block);
    OK(file_remove_tree(dir, e));
    assert_int_equal(process_folder_bytes(dir), 0);
}

TEST_MAIN(T(process, tells_what_it_takes), T(process, a_folder_takes_what_all_below_it_takes))
