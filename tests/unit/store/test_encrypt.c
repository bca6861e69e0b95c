/* An encrypted data store is one like any other, for who has its key; its files say nothing to who
 * has not. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "codec/hash.h"
#include "fhir/envelope.h"
#include "store/checking.h"
#include "store/copy.h"
#include "store/data_keys.h"
#include "store/last.h"
#include "store/registry_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ID   "0123456789abcdef0123456789abcdef"
#define MARK "Zq5marker8of9this3test"

static char root[64], stores[128], keys[128];
static struct key_keeper *keeper;
static struct store_env *env;
static struct store_registry *registry;

static void write_keys(const char *lines)
{
    OK(file_write_atomic(keys, sv_from(lines), e));
}

static const char *line_of(char digit)
{
    static char lines[4][66];
    static unsigned n;
    char *line = lines[n++ % 4];
    memset(line, digit, 64);
    line[64] = '\n';
    line[65] = 0;
    return line;
}

static void begin(void)
{
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-encrypt-XXXXXX");
    assert_non_null(mkdtemp(root));
    (void)snprintf(stores, sizeof stores, "%s/stores", root);
    (void)snprintf(keys, sizeof keys, "%s/keys", root);
    write_keys(line_of('a'));
    OK(key_keeper_local(keys, &keeper, e));
    env = store_env_new(8 << 20, 1);
    store_env_keep(env, keeper);
    OK(store_registry_new(env, stores, &registry, e));
    registry->tick_ms = 5;
    registry->key_ticks = 1;
}

static void end(void)
{
    store_registry_free(registry);
    store_env_free(env);
    key_keeper_close(keeper);
    OK(file_remove_tree(root, e));
}

/* Anew, with the keys that the file has. */
static void restart(void)
{
    store_registry_free(registry);
    store_env_free(env);
    key_keeper_close(keeper);
    OK(key_keeper_local(keys, &keeper, e));
    env = store_env_new(8 << 20, 1);
    store_env_keep(env, keeper);
    OK(store_registry_new(env, stores, &registry, e));
}

/* It is closed. The janitor may hold it for a moment. */
static void rest(const char *id)
{
    struct store *st;
    store_registry_rest(registry, sv_from(id));
    while ((st = store_registry_try(registry, sv_from(id))) != NULL) {
        store_registry_release(registry, st);
        (void)sched_yield();
        store_registry_rest(registry, sv_from(id));
    }
}

static struct store *acquired(const char *id, bool create)
{
    struct store *st = NULL;
    OK(store_registry_acquire(registry, sv_from(id), create, &st, e));
    return st;
}

static struct fhir_body body_of(char out[256], const char *id)
{
    int n = snprintf(out, 256,
                     "{\"resourceType\":\"Patient\",\"id\":\"%s\",\"language\":\"" MARK "%s\"}", id,
                     id);
    return (struct fhir_body){ sv_make(out, (size_t)n), 25, FHIR_HOLE_NO_META };
}

/* By commits and by a load. */
static void fill(struct store *st, unsigned from, unsigned n)
{
    const fhir_type type = fhir_type_find(SV_LIT("Patient"));
    struct store_commit at;
    for (unsigned i = from; i < from + n; i++) {
        char id[24], json[256];
        (void)snprintf(id, sizeof id, "one-%u", i);
        struct store_write w = { .type = type,
                                 .id = sv_from(id),
                                 .method = STORE_METHOD_UPDATE,
                                 .body = body_of(json, id),
                                 .index = plain_index(type) };
        OK(store_commit(st, &w, 1, &at, e));
    }
    struct store_bulk_item items[64];
    char ids[64][24], texts[64][256];
    for (unsigned i = 0; i < 64; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "many-%u-%u", from, i);
        items[i] = (struct store_bulk_item){ .type = type,
                                             .id = sv_from(ids[i]),
                                             .body = body_of(texts[i], ids[i]),
                                             .seq = i,
                                             .index = plain_index(type) };
    }
    struct store_bulk *b = NULL;
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, 64, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &at, e));
}

static struct store_sums sums_of(struct store *st)
{
    static struct store_sums sums;
    OK(store_sums(st, STORE_NOW, NULL, &sums, e));
    return sums;
}

static bool file_has(const char *path, const char *what)
{
    CLEANUP_BUF struct buf b = BUF_INIT(64 << 20);
    OK(file_read(path, &b, e));
    return b.len && memmem(b.ptr, b.len, what, strlen(what)) != NULL;
}

/* Files of a folder in which the marker can be read. */
static unsigned readable(const char *folder)
{
    unsigned n = 0;
    char path[512];
    struct dirent *x;
    DIR *d = opendir(folder);
    assert_non_null(d);
    while ((x = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, x->d_name);
        if (x->d_type == DT_REG && file_has(path, MARK))
            n++;
    }
    closedir(d);
    return n;
}

static const char *folder_of(const char *id)
{
    static char path[4][256];
    static unsigned n;
    char *out = path[n++ % 4];
    (void)snprintf(out, sizeof path[0], "%s/%s", stores, id);
    return out;
}

TEST(encrypt, what_is_written_is_read_again_and_by_no_one_else)
{
    (void)state;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    struct store *st = acquired(ID, true);
    assert_non_null(store_ring(st));
    fill(st, 0, 20);
    const struct store_sums was = sums_of(st);
    fhir_type differs;
    OK(st->ops->flush(st, e));
    fill(st, 100, 3);
    /* in the log, and in the files that were flushed and loaded */
    assert_int_equal(readable(folder_of(ID)), 0);
    store_registry_release(registry, st);
    restart();
    st = acquired(ID, false);
    const struct store_sums is = sums_of(st);
    assert_true(store_sums_differ(&was, &is, &differs));
    fill(st, 200, 3);
    store_registry_release(registry, st);
    restart();
    assert_checked(env, folder_of(ID));
    assert_int_equal(readable(folder_of(ID)), 0);
    end();
}

TEST(encrypt, a_store_without_keys_is_plain_as_ever)
{
    (void)state;
    begin();
    struct store *st = acquired(ID, true);
    assert_null(store_ring(st));
    fill(st, 0, 20);
    OK(st->ops->flush(st, e));
    assert_true(readable(folder_of(ID)) > 0);
    store_registry_release(registry, st);
    /* and stays so: it has data */
    FAILS(ERR_CONFLICT,
          store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    end();
}

TEST(encrypt, another_key_none_and_a_changed_key_file_are_refused)
{
    (void)state;
    char path[300];
    struct store *st;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    st = acquired(ID, true);
    fill(st, 0, 5);
    store_registry_release(registry, st);
    write_keys(line_of('b'));
    restart();
    FAILS(ERR_DENIED, store_registry_acquire(registry, SV_LIT(ID), false, &st, e));
    store_env_keep(env, NULL);
    FAILS(ERR_DENIED, store_registry_acquire(registry, SV_LIT(ID), false, &st, e));
    write_keys(line_of('a'));
    restart();
    (void)snprintf(path, sizeof path, "%s/" DATA_KEYS_NAME, folder_of(ID));
    CLEANUP_BUF struct buf good = BUF_INIT(1 << 20);
    OK(file_read(path, &good, e));
    /* each byte that says something */
    for (size_t i = 0; i < good.len; i++) {
        const char was = good.ptr[i];
        good.ptr[i] = was == '0' ? '1' : was == 'x' ? 'y' : (char)(was ^ 1);
        OK(file_write_atomic(path, buf_sv(&good), e));
        good.ptr[i] = was;
        struct err why;
        err_code rc = store_registry_acquire(registry, SV_LIT(ID), false, &st, &why);
        /* names and times are told to nobody but people */
        if (rc == ERR_OK)
            store_registry_release(registry, st);
        else
            assert_true(rc == ERR_CORRUPT || rc == ERR_DENIED || rc == ERR_UNSUPPORTED);
        rest(ID);
    }
    assert_int_equal(unlink(path), 0);
    FAILS(ERR_CORRUPT, store_registry_acquire(registry, SV_LIT(ID), false, &st, e));
    OK(file_write_atomic(path, buf_sv(&good), e));
    store_registry_release(registry, acquired(ID, false));
    end();
}

TEST(encrypt, a_key_file_of_another_store_opens_nothing)
{
    (void)state;
    char from[300], to[300];
    static const char other[] = "ffffffffffffffffffffffffffffffff";
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    struct store *st;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    OK(store_registry_encrypt(registry, sv_from(other), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    st = acquired(ID, true);
    fill(st, 0, 5);
    store_registry_release(registry, st);
    rest(ID);
    (void)snprintf(from, sizeof from, "%s/" DATA_KEYS_NAME, folder_of(other));
    (void)snprintf(to, sizeof to, "%s/" DATA_KEYS_NAME, folder_of(ID));
    OK(file_read(from, &b, e));
    OK(file_write_atomic(to, buf_sv(&b), e));
    FAILS(ERR_CORRUPT, store_registry_acquire(registry, SV_LIT(ID), false, &st, e));
    end();
}

/* Who may ask one data store would be given another's. */
TEST(encrypt, a_whole_folder_of_another_store_opens_nothing)
{
    (void)state;
    static const char other[] = "ffffffffffffffffffffffffffffffff";
    struct store *st;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    st = acquired(ID, true);
    fill(st, 0, 5);
    store_registry_release(registry, st);
    rest(ID);
    assert_int_equal(rename(folder_of(ID), folder_of(other)), 0);
    FAILS(ERR_CORRUPT, store_registry_acquire(registry, sv_from(other), false, &st, e));
    assert_int_equal(rename(folder_of(other), folder_of(ID)), 0);
    store_registry_release(registry, acquired(ID, false));
    end();
}

TEST(encrypt, keys_are_wrapped_anew_and_the_old_one_goes)
{
    (void)state;
    char both[200];
    bool changed = false;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    struct store *st = acquired(ID, true);
    fill(st, 0, 5);
    (void)snprintf(both, sizeof both, "# new\n%s\n# old\n%s", line_of('c'), line_of('a'));
    write_keys(both);
    OK(data_keys_rewrap(folder_of(ID), keeper, &changed, e));
    assert_true(changed);
    /* what a call that was cut off left is wrapped by a key that is to be of no use any more */
    char left[300];
    (void)snprintf(left, sizeof left, "%s/" DATA_KEYS_NAME ".0123456789abcdef.tmp", folder_of(ID));
    OK(file_write_atomic(left, SV_LIT("{}"), e));
    OK(data_keys_rewrap(folder_of(ID), keeper, &changed, e));
    assert_false(changed);
    assert_int_equal(access(left, F_OK), -1);
    /* it was open meanwhile */
    fill(st, 100, 5);
    store_registry_release(registry, st);
    write_keys(line_of('c'));
    restart();
    st = acquired(ID, false);
    fill(st, 200, 5);
    store_registry_release(registry, st);
    write_keys(line_of('a'));
    restart();
    FAILS(ERR_DENIED, store_registry_acquire(registry, SV_LIT(ID), false, &st, e));
    end();
}

/* The janitor asks every 5 ms; it has been there when this answers. */
static err_code until(err_code wanted)
{
    struct store *st;
    struct err why;
    for (;;) {
        err_code rc = store_registry_acquire(registry, SV_LIT(ID), false, &st, &why);
        if (rc == ERR_OK)
            store_registry_release(registry, st);
        if (rc == wanted)
            return rc;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
}

TEST(encrypt, a_revoked_key_closes_the_store_for_who_comes_and_for_who_holds_it)
{
    (void)state;
    struct store_commit at;
    char json[256];
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    struct store *st = acquired(ID, true);
    fill(st, 0, 5);
    write_keys(line_of('b'));
    assert_int_equal(until(ERR_DENIED), ERR_DENIED);
    assert_null(store_registry_try(registry, SV_LIT(ID)));
    struct store_write w = { .type = 1,
                             .id = SV_LIT("late"),
                             .method = STORE_METHOD_UPDATE,
                             .body = body_of(json, "late"),
                             .index = plain_index(1) };
    FAILS(ERR_DENIED, store_commit(st, &w, 1, &at, e));
    /* the key comes back */
    write_keys(line_of('a'));
    assert_int_equal(until(ERR_OK), ERR_OK);
    OK(store_commit(st, &w, 1, &at, e));
    /* a file that is broken revokes nothing, and one that is gone revokes all */
    write_keys("nonsense\n");
    assert_int_equal(until(ERR_OK), ERR_OK);
    /* nor does one that cannot be looked at */
    unsigned char key[CIPHER_KEY_LEN];
    CLEANUP_BUF struct buf used = BUF_INIT(4096), blob = BUF_INIT(4096);
    char loop[160];
    (void)snprintf(loop, sizeof loop, "%s.loop", keys);
    assert_int_equal(symlink(keys, loop), 0);
    /* in one step: the janitor looks at any moment */
    assert_int_equal(rename(loop, keys), 0);
    OK(keeper->ops->wrap(keeper, SV_NONE, SV_LIT(ID), (const unsigned char *)line_of('d'), &used,
                         &blob, e));
    OK(keeper->ops->unwrap(keeper, buf_sv(&used), buf_sv(&blob), SV_LIT(ID), key, e));
    store_registry_release(registry, st);
    assert_int_equal(unlink(keys), 0);
    assert_int_equal(until(ERR_DENIED), ERR_DENIED);
    /* what is not needed any more is removed without a key */
    OK(store_registry_remove(registry, SV_LIT(ID), e));
    end();
}

/* A key service, as it answers; the registry's janitor asks it, too. */
static _Atomic(err_code) answer = ERR_OK;
/* What it answers to a key instead of the wrapped one; NULL: that. */
static const char *_Atomic wraps;

static err_code service_wrap(struct key_keeper *k, sv key_id, sv datastore_id,
                             const unsigned char key[CIPHER_KEY_LEN], struct buf *used,
                             struct buf *blob, struct err *e)
{
    char hex[2 * CIPHER_KEY_LEN];
    const char *instead = wraps;
    (void)k;
    if (answer != ERR_OK)
        return ERR(e, answer, "the key service says no");
    hash_hex(key, CIPHER_KEY_LEN, hex);
    TRY(buf_add_fmt(used, e, "arn:%.*s", SV_FMT(key_id)));
    TRY(buf_add(blob, datastore_id, e));
    if (instead)
        return buf_add(blob, sv_from(instead), e);
    return buf_add(blob, sv_make(hex, sizeof hex), e);
}

static err_code service_unwrap(struct key_keeper *k, sv key_id, sv blob, sv datastore_id,
                               unsigned char key[CIPHER_KEY_LEN], struct err *e)
{
    (void)k;
    if (answer != ERR_OK)
        return ERR(e, answer, "the key service says no");
    if (!sv_starts(blob, datastore_id) || !sv_starts(key_id, SV_LIT("arn:")) ||
        !hash_unhex(sv_tail(blob, datastore_id.len), key, CIPHER_KEY_LEN))
        return ERR(e, ERR_CORRUPT, "not for this");
    return ERR_OK;
}

static void service_close(struct key_keeper *k)
{
    free(k);
}

TEST(encrypt, a_key_service_wraps_beside_the_file_and_is_not_taken_at_silence)
{
    (void)state;
    static const struct key_keeper_ops ops = { "kms", service_wrap, service_unwrap, service_close };
    static const char copy[] = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
    static struct store_sums sums;
    begin();
    assert_false(store_registry_keeps(registry, SV_LIT("kms")));
    FAILS(ERR_DENIED, store_registry_encrypt(registry, SV_LIT(ID), SV_LIT("kms"), SV_NONE, e));
    keeper->next = calloc(1, sizeof *keeper);
    keeper->next->ops = &ops;
    assert_true(store_registry_keeps(registry, SV_LIT("kms")));
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT("kms"), SV_LIT("alias/x"), e));
    struct store *st = acquired(ID, true);
    fill(st, 0, 5);
    OK(store_registry_copy(registry, st, sv_from(copy), last_of(st).t, NULL, &sums, e));
    store_registry_release(registry, st);
    /* without the file's keys */
    write_keys(line_of('b'));
    store_registry_release(registry, acquired(ID, false));
    store_registry_release(registry, acquired(copy, false));
    answer = ERR_UNAVAILABLE;
    assert_int_equal(until(ERR_OK), ERR_OK);
    answer = ERR_DENIED;
    assert_int_equal(until(ERR_DENIED), ERR_DENIED);
    answer = ERR_OK;
    assert_int_equal(until(ERR_OK), ERR_OK);
    end();
}

/* An answer may be anything: what is written down in place of a good key must open. */
TEST(encrypt, a_wrapped_key_that_does_not_open_replaces_none)
{
    (void)state;
    static const struct key_keeper_ops ops = { "kms", service_wrap, service_unwrap, service_close };
    static const char other[] = "dddddddddddddddddddddddddddddddd";
    static const char *const bad[] = {
        "", "rubbish", "00000000000000000000000000000000000000000000000000000000000000aa"
    };
    CLEANUP_BUF struct buf was = BUF_INIT(1 << 20), is = BUF_INIT(1 << 20);
    char path[300];
    bool changed;
    begin();
    keeper->next = calloc(1, sizeof *keeper);
    keeper->next->ops = &ops;
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT("kms"), SV_LIT("alias/x"), e));
    struct store *st = acquired(ID, true);
    fill(st, 0, 5);
    store_registry_release(registry, st);
    rest(ID);
    (void)snprintf(path, sizeof path, "%s/" DATA_KEYS_NAME, folder_of(ID));
    OK(file_read(path, &was, e));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wraps = bad[i];
        FAILS(ERR_CORRUPT, data_keys_rewrap(folder_of(ID), keeper, &changed, e));
        FAILS(ERR_CORRUPT,
              store_registry_encrypt(registry, sv_from(other), SV_LIT("kms"), SV_LIT("k"), e));
        assert_false(data_keys_there(folder_of(other)));
        buf_clear(&is);
        OK(file_read(path, &is, e));
        assert_sv(buf_sv(&is), buf_sv(&was));
    }
    wraps = NULL;
    store_registry_release(registry, acquired(ID, false));
    end();
}

TEST(encrypt, a_copy_has_a_key_of_its_own_for_what_it_writes)
{
    (void)state;
    static const char copy[] = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
    struct cipher_ring one, two;
    static struct store_sums sums;
    fhir_type differs;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    struct store *st = acquired(ID, true);
    fill(st, 0, 10);
    const uint64_t t = last_of(st).t;
    const struct store_sums was = sums_of(st);
    fill(st, 100, 10);
    OK(store_registry_copy(registry, st, sv_from(copy), t, NULL, &sums, e));
    assert_false(store_sums_differ(&was, &sums, &differs));
    OK(data_keys_read(folder_of(ID), keeper, &one, e));
    OK(data_keys_read(folder_of(copy), keeper, &two, e));
    assert_int_equal(one.n, 1);
    assert_int_equal(two.n, 2);
    assert_memory_equal(&two.keys[1], &one.keys[0], sizeof one.keys[0]);
    assert_memory_not_equal(&two.keys[0], &one.keys[0], sizeof one.keys[0]);
    store_registry_release(registry, st);
    OK(store_registry_remove(registry, SV_LIT(ID), e));
    st = acquired(copy, false);
    fill(st, 200, 10);
    OK(st->ops->flush(st, e));
    store_registry_release(registry, st);
    rest(copy);
    assert_checked(env, folder_of(copy));
    assert_int_equal(readable(folder_of(copy)), 0);
    end();
}

TEST(encrypt, a_log_that_is_cut_in_its_beginning_holds_nothing_and_stops_nothing)
{
    (void)state;
    char path[600];
    struct dirent *x;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    struct store *st = acquired(ID, true);
    fill(st, 0, 5);
    OK(st->ops->flush(st, e));
    const struct store_sums was = sums_of(st);
    store_registry_release(registry, st);
    rest(ID);
    /* the newest log as a machine's end can leave it: made, and not written yet */
    DIR *d = opendir(folder_of(ID));
    unsigned n = 0;
    while ((x = readdir(d)) != NULL)
        n += sv_ends(sv_from(x->d_name), SV_LIT(".log"));
    closedir(d);
    assert_true(n > 0);
    (void)snprintf(path, sizeof path, "%s/999999.log", folder_of(ID));
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, CIPHER_MAGIC, 8), 8);
    close(fd);
    st = acquired(ID, false);
    const struct store_sums is = sums_of(st);
    fhir_type differs;
    assert_false(store_sums_differ(&was, &is, &differs));
    store_registry_release(registry, st);
    end();
}

/* RocksDB cuts off what it reserved behind the newest log, before it has written down that the log
 * is not needed any more. What ends the process in between must find the log whole. */
TEST(encrypt, an_opening_that_is_cut_off_finds_the_log_whole)
{
    (void)state;
    char log[300] = "", kept[300];
    struct dirent *x;
    struct stat was, is;
    begin();
    OK(store_registry_encrypt(registry, SV_LIT(ID), SV_LIT(KEEPER_LOCAL), SV_NONE, e));
    struct store *st = acquired(ID, true);
    fill(st, 0, 20);
    store_registry_release(registry, st);
    rest(ID);
    DIR *d = opendir(folder_of(ID));
    while ((x = readdir(d)) != NULL)
        if (sv_ends(sv_from(x->d_name), SV_LIT(".log")) && strcmp(x->d_name, log) > 0)
            (void)snprintf(log, sizeof log, "%s/%s", folder_of(ID), x->d_name);
    closedir(d);
    /* the opening removes the name */
    (void)snprintf(kept, sizeof kept, "%s/kept", root);
    assert_int_equal(link(log, kept), 0);
    assert_int_equal(stat(kept, &was), 0);
    assert_true(was.st_size > (off_t)(2 * CIPHER_PREFIX));
    store_registry_release(registry, acquired(ID, false));
    assert_int_equal(stat(kept, &is), 0);
    assert_int_equal(is.st_size, was.st_size);
    end();
}

TEST_MAIN(T(encrypt, what_is_written_is_read_again_and_by_no_one_else),
          T(encrypt, a_store_without_keys_is_plain_as_ever),
          T(encrypt, another_key_none_and_a_changed_key_file_are_refused),
          T(encrypt, a_key_file_of_another_store_opens_nothing),
          T(encrypt, a_whole_folder_of_another_store_opens_nothing),
          T(encrypt, keys_are_wrapped_anew_and_the_old_one_goes),
          T(encrypt, a_revoked_key_closes_the_store_for_who_comes_and_for_who_holds_it),
          T(encrypt, a_key_service_wraps_beside_the_file_and_is_not_taken_at_silence),
          T(encrypt, a_wrapped_key_that_does_not_open_replaces_none),
          T(encrypt, a_copy_has_a_key_of_its_own_for_what_it_writes),
          T(encrypt, a_log_that_is_cut_in_its_beginning_holds_nothing_and_stops_nothing),
          T(encrypt, an_opening_that_is_cut_off_finds_the_log_whole))
