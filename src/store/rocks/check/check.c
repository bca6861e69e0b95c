/* check.c - a store is opened for reading, its families are read one after the other, and what does
 * not come out even is named.
 *
 * RocksDB takes no lock for a reader, so its lock file is held here, as others may hold it who only
 * read. What the log of the database has beyond its files is read into memory; nothing is
 * written. */
#include "store/rocks/check/check_private.h"

#include "base/file.h"
#include "store/rocks/crypt/crypt.h"

#include <limits.h>
#include <unistd.h>

#define FILES_OPEN 512

/* ---- opening ---- */

static err_code read_layout(rocksdb_t *db, rocksdb_column_family_handle_t *cf, struct err *e)
{
    struct key_bytes k = key_commit('v', 0);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(db, ro, cf, k.ptr, k.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    const uint64_t layout = v && len == 8 ? key_get_u64(v) : 0;
    rocksdb_free(v);
    TRY(rocks_error(bad, "reading the data store", e));
    return layout == ROCKS_LAYOUT
               ? ERR_OK
               : ERR(e, ERR_UNSUPPORTED,
                     "data store has layout version %llu, this program reads version %u",
                     (unsigned long long)layout, ROCKS_LAYOUT);
}

/* The families of another layout are other ones: its version is read first, with what every layout
 * has. */
static err_code look_at_layout(struct check *c, const char *place, struct err *e)
{
    static const int few[] = { CF_DEFAULT, CF_COMMITS };
    const rocksdb_options_t *options[2] = { c->r.options, c->r.options };
    const char *names[2];
    rocksdb_column_family_handle_t *cf[2] = { NULL };
    char *bad = NULL;
    for (size_t i = 0; i < 2; i++)
        names[i] = rocks_family_names[few[i]];
    rocksdb_t *db = rocksdb_open_for_read_only_column_families(c->r.options, place, 2, names,
                                                               options, cf, 0, &bad);
    TRY(rocks_error(bad, "opening the data store", e));
    err_code rc = read_layout(db, cf[1], e);
    for (size_t i = 0; i < 2; i++)
        rocksdb_column_family_handle_destroy(cf[i]);
    rocksdb_close(db);
    return rc;
}

static err_code open_families(struct check *c, const char *place,
                              const rocksdb_options_t *const *options, struct err *e)
{
    char *bad = NULL;
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(c->r.options, 0);
    /* how many keys there are, for who waits */
    rocksdb_options_set_skip_stats_update_on_db_open(c->r.options, 0);
    TRY(look_at_layout(c, place, e));
    c->r.db = rocksdb_open_for_read_only_column_families(
        c->r.options, place, N_CFS, rocks_family_names, options, c->r.cf, 0, &bad);
    return rocks_error(bad, "opening the data store", e);
}

static void close_families(struct check *c)
{
    for (int i = 0; i < N_CFS; i++)
        if (c->r.cf[i])
            rocksdb_column_family_handle_destroy(c->r.cf[i]);
    if (c->r.db)
        rocksdb_close(c->r.db);
}

/* ---- what does not come out even ---- */

static const struct {
    int family;
    void (*read)(struct check *c);
} sides[N_LEDGERS] = {
    [LEDGER_NUMBERS] = { CF_IDS, check_ids },
    [LEDGER_CHANGES] = { CF_CHANGES, check_changes },
    [LEDGER_BIRTHS] = { CF_CHANGES, check_changes },
    [LEDGER_COMMITS] = { CF_COMMITS, check_commits_again },
    [LEDGER_ENTRIES] = { CF_SEARCH, check_entries },
    [LEDGER_COUNTS] = { CF_COUNTS, check_counts },
};

static bool has_versions(struct check *c, store_number number)
{
    const struct key_bytes key = key_number(number);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    size_t len;
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(c->r.db, ro, c->r.cf[CF_VERSIONS]);
    rocksdb_iter_seek(it, key.ptr, key.len);
    const char *k = rocksdb_iter_valid(it) ? rocksdb_iter_key(it, &len) : NULL;
    const bool found = k && len >= key.len && memcmp(k, key.ptr, key.len) == 0;
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    return found;
}

static void tell_number(struct check *c, const struct ledger_row *row)
{
    if (row->n_out && row->n_in)
        check_number_wrong(c, CF_IDS, row->what, "its row is one of another id");
    else if (row->n_out)
        check_number_wrong(c, CF_IDS, row->what, "there is no row for it");
    else if (has_versions(c, row->what))
        check_number_wrong(c, CF_IDS, row->what, "two ids have this number");
    /* a commit that failed may have given it to a load that was never published */
    else if (!check_is_block(c, number_b(row->what)))
        check_number_wrong(c, CF_IDS, row->what, "a row, and no version");
}

static void tell_entry(struct check *c, const struct ledger_row *row)
{
    check_number_wrong(c, CF_SEARCH, row->what,
                       "entries: %llu are missing, %llu are there that its versions do not have",
                       (unsigned long long)row->n_out, (unsigned long long)row->n_in);
}

static void tell_count(struct check *c, const struct ledger_row *row)
{
    const uint16_t param = (uint16_t)row->what;
    const fhir_type type = (fhir_type)(row->what >> 16);
    size_t n;
    const struct search_param *const *all = search_params_of(type, &n);
    for (size_t i = 0; i < n; i++)
        if (param && all[i]->number == param) {
            check_wrong(c, CF_COUNTS, "%s: a sum of parameter %.*s is not what a count gives",
                        fhir_type_name(type), SV_FMT(all[i]->code));
            return;
        }
    check_wrong(c, CF_COUNTS, "%s: the sum of the type is not what a count gives",
                fhir_type_name(type));
}

static void tell_row(struct check *c, int which, const struct ledger_row *row)
{
    switch (which) {
    case LEDGER_NUMBERS:
        tell_number(c, row);
        break;
    case LEDGER_CHANGES:
        check_number_wrong(c, CF_CHANGES, row->what,
                           "%llu rows are missing, %llu are there of which there is no version",
                           (unsigned long long)row->n_out, (unsigned long long)row->n_in);
        break;
    case LEDGER_BIRTHS:
        check_number_wrong(c, CF_CHANGES, row->what,
                           "the births that begin here are not as many, or as large, as its row "
                           "says");
        break;
    case LEDGER_COMMITS:
        check_wrong(c, CF_COMMITS,
                    "commit %llu says another instant, or another number of versions, than these "
                    "do",
                    (unsigned long long)row->what);
        break;
    case LEDGER_ENTRIES:
        tell_entry(c, row);
        break;
    default:
        tell_count(c, row);
    }
}

static void tell_left(struct check *c, int which, size_t n_more)
{
    const struct ledger_row *rows;
    size_t n = ledger_left(&c->ledgers[which], &rows);
    for (size_t i = 0; i < n; i++)
        tell_row(c, which, &rows[i]);
    if (n_more || c->ledgers[which].full)
        check_wrong(c, sides[which].family, "and more that was not looked at");
    c->out->n_wrong += n_more;
}

/* Both sides of the ledger once more. */
static void read_again(struct check *c, int which)
{
    c->again = true;
    sides[which].read(c);
    check_versions(c);
    c->again = false;
}

/* Entries of an older form stand beside those that were found later. So only whether some are
 * missing can be told, and not by sums: the items themselves are looked at, a part at a time. */
static void look_at_loose(struct check *c, int which)
{
    while (ledger_choose_next(&c->ledgers[which])) {
        read_again(c, which);
        tell_left(c, which, 0);
    }
}

static void close_ledger(struct check *c, int which)
{
    struct ledger *l = &c->ledgers[which];
    l->state = LEDGER_CLOSED;
    if (c->damaged[sides[which].family] || c->damaged[CF_VERSIONS] || c->damaged[CF_COMMITS] ||
        (which == LEDGER_ENTRIES && !c->indexed) || ledger_differs(l) == 0)
        return;
    if (l->loose) {
        look_at_loose(c, which);
        return;
    }
    size_t n_more = ledger_choose(l);
    read_again(c, which);
    tell_left(c, which, n_more);
}

static bool is_log(sv name)
{
    return sv_ends(name, SV_LIT(".log"));
}

/* RocksDB makes one whenever it opens a database, and begins a new one before an old one goes. */
static void look_at_log(struct check *c, const char *place)
{
    if (rocks_root_count(place, is_log) == 0)
        check_wrong(c, CF_COMMITS,
                    "its log is gone (a file *.log), and with it what was written last");
}

static void look(struct check *c, const char *place)
{
    look_at_log(c, place);
    check_commits(c);
    check_ids(c);
    check_versions(c);
    check_changes(c);
    check_entries(c);
    check_counts(c);
    check_notes(c);
    check_loads_full(c);
    for (int i = 0; i < N_LEDGERS; i++)
        close_ledger(c, i);
}

static void done(struct check *c)
{
    for (size_t i = 0; c->loads && i < c->loads->n; i++)
        free(c->of_load[i].marked);
    free(c->of_load);
    load_table_unref(c->loads);
    buf_done(&c->blocks);
    for (int i = 0; i < N_LEDGERS; i++)
        ledger_done(&c->ledgers[i]);
}

err_code rocks_check(struct store_env *env, void *own, const char *place,
                     const struct store_check_told *told, struct store_checked *out, struct err *e)
{
    struct check c = { .told = told, .out = out, .r = { .env = env, .shared = own } };
    const rocksdb_options_t *options[N_CFS];
    char path[PATH_MAX];
    struct err why;
    int lock;
    *out = (struct store_checked){ 0 };
    if ((size_t)snprintf(path, sizeof path, "%s/LOCK", place) >= sizeof path)
        return ERR(e, ERR_INVALID, "the name of the folder is too long");
    if (access(place, F_OK) == 0 && !rocks_has_data(place)) {
        out->unmade = true;
        return ERR_OK;
    }
    TRY(file_hold(path, &lock, e));
    err_code rc = rocks_crypt_open(&c.r, place, &why);
    rocks_options_make(&c.r, false, FILES_OPEN, options);
    if (rc == ERR_OK)
        rc = open_families(&c, place, options, &why);
    if (rc == ERR_OK) {
        for (int i = 0; i < N_LEDGERS; i++)
            ledger_init(&c.ledgers[i]);
        look(&c, place);
        done(&c);
    }
    close_families(&c);
    rocks_options_done(&c.r);
    rocks_crypt_close(&c.r);
    (void)close(lock);
    /* without its key nobody can tell */
    if (rc == ERR_OK || rc == ERR_UNSUPPORTED || rc == ERR_DENIED || rc == ERR_UNAVAILABLE)
        return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
    /* no failure: it is what was to be found out */
    out->n_wrong++;
    told->wrong(told->ctx, sv_from(why.msg));
    return ERR_OK;
}
