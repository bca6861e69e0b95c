/* ids.c - the family `ids`: which number an id has.
 *
 * A load asks for all of its ids at once, in the order of their keys, so that neighbours share
 * blocks. What has no row is claimed (claims.c).
 *
 * The flag spares a reader the walk over all versions of a number: where it is missing, and the
 * version of the load that gave the number is visible, there is no other. Setting it too early does
 * no harm. Losing it would, and it can be lost: of two loads that bring the same new id, the one
 * that gave the number writes the row without the flag, the other one with it, and the file that is
 * taken in last wins. So the publication of the one that gave the number writes such rows once more
 * (claims_each_shared()), together with what makes its version visible. If that publication never
 * comes, its version is never visible, and a reader walks. A group of commits has no need of it: a
 * load that takes up a number of the group brings its row, with the flag, when the group's is
 * there, since both hold order.lock for it. */
#include "store/rocks/numbers/ids.h"

#include "store/rocks/rocks_private.h"

#include <assert.h>

#define FORM_TEXT 0
#define FORM_UUID 1
#define UUID_LEN  36u
#define AT_ONCE   256u /* rows of one call */

/* ---- bytes ---- */

/* Value + 1 of a lower-case hexadecimal digit, 0 of any other byte. */
static const unsigned char digit_of[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

static bool is_dash_at(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

static bool uuid_bytes(sv id, char out[16])
{
    static const unsigned char at[16] = {
        0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34
    };
    unsigned bad = 0;
    if (id.len != UUID_LEN || id.ptr[8] != '-' || id.ptr[13] != '-' || id.ptr[18] != '-' ||
        id.ptr[23] != '-')
        return false;
    for (size_t i = 0; i < 16; i++) {
        unsigned high = digit_of[(unsigned char)id.ptr[at[i]]];
        unsigned low = digit_of[(unsigned char)id.ptr[at[i] + 1]];
        bad |= high == 0 || low == 0;
        out[i] = (char)((high - 1) << 4 | (low - 1));
    }
    return !bad;
}

static void uuid_text(const char *bytes, char out[UUID_LEN])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0, n = 0; i < UUID_LEN;) {
        if (is_dash_at(i)) {
            out[i++] = '-';
            continue;
        }
        unsigned char c = (unsigned char)bytes[n++];
        out[i++] = digits[c >> 4];
        out[i++] = digits[c & 15];
    }
}

struct ids_key ids_key(fhir_type type, sv id)
{
    struct ids_key k = { .len = 2 + 16 };
    assert(id.len <= IDS_KEY_MAX - 2);
    k.ptr[0] = (char)type;
    k.ptr[1] = FORM_UUID;
    if (!uuid_bytes(id, k.ptr + 2)) {
        k.ptr[1] = FORM_TEXT;
        memcpy(k.ptr + 2, id.ptr, id.len);
        k.len = 2 + id.len;
    }
    return k;
}

bool ids_key_split(sv key, fhir_type *type, char id[64], size_t *id_len)
{
    char again[16];
    if (key.len < 3 || key.len > IDS_KEY_MAX)
        return false;
    *type = (fhir_type)(unsigned char)key.ptr[0];
    if (key.ptr[1] == FORM_UUID && key.len == 2 + 16) {
        uuid_text(key.ptr + 2, id);
        *id_len = UUID_LEN;
        return true;
    }
    *id_len = key.len - 2;
    memcpy(id, key.ptr + 2, *id_len);
    /* one id, one key */
    return key.ptr[1] == FORM_TEXT && fhir_id_ok(sv_make(id, *id_len)) &&
           !uuid_bytes(sv_make(id, *id_len), again);
}

void ids_value_put(store_number number, bool later, char out[IDS_VALUE_LEN])
{
    key_put_u64(out, number);
    out[NUMBER_BYTES] = later;
}

bool ids_value_split(sv value, store_number *number, bool *later)
{
    if (value.len != IDS_VALUE_LEN || (value.ptr[NUMBER_BYTES] & ~1) != 0)
        return false;
    *number = key_get_u64(value.ptr);
    *later = value.ptr[NUMBER_BYTES] == 1;
    return number_b(*number) != 0;
}

/* ---- rows ---- */

err_code ids_find(const struct ids_family *f, fhir_type type, sv id, bool *there,
                  store_number *number, bool *later, struct err *e)
{
    struct ids_key k = ids_key(type, id);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    rocksdb_pinnableslice_t *found = rocksdb_get_pinned_cf(f->db, ro, f->cf, k.ptr, k.len, &bad);
    rocksdb_readoptions_destroy(ro);
    err_code rc = rocks_error(bad, "reading the data store", e);
    *there = found != NULL;
    if (found) {
        const char *v = rocksdb_pinnableslice_value(found, &len);
        if (!ids_value_split(sv_make(v, len), number, later) || number_type(*number) != type)
            rc = rocks_damaged(e);
        rocksdb_pinnableslice_destroy(found);
    }
    return rc;
}

/* Keys of many ids, in order, each beside its ask. */
struct ids_keys {
    size_t n;
    const char **keys;
    size_t *lens;
    struct number_ask **asks;
    char *bytes;
};

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

/* Asked by an assertion alone. */
__attribute__((unused)) static bool in_order(const struct ids_keys *k)
{
    for (size_t i = 1; i < k->n; i++)
        if (sv_cmp(sv_make(k->keys[i - 1], k->lens[i - 1]), sv_make(k->keys[i], k->lens[i])) >= 0)
            return false;
    return true;
}

/* The keys of asks[from] and on that are of one type and have this form. */
static char *add_keys(struct ids_keys *k, struct number_ask *asks, size_t n, char form, char *to)
{
    for (size_t i = 0; i < n; i++) {
        struct ids_key key = ids_key(asks[i].type, asks[i].id);
        if (key.ptr[1] != form)
            continue;
        memcpy(to, key.ptr, key.len);
        k->keys[k->n] = to;
        k->lens[k->n] = key.len;
        k->asks[k->n++] = &asks[i];
        to += key.len;
    }
    return to;
}

/* Asks come by type and id. Of each type texts stand in front of UUIDs, and each of the two is in
 * the order of its bytes then. */
struct ids_keys *ids_keys_new(struct number_ask *asks, size_t n)
{
    struct ids_keys *k = must(calloc(1, sizeof *k));
    size_t room = 1;
    for (size_t i = 0; i < n; i++)
        room += 2 + asks[i].id.len;
    k->keys = must(malloc((n + 1) * sizeof(char *)));
    k->lens = must(malloc((n + 1) * sizeof(size_t)));
    k->asks = must(malloc((n + 1) * sizeof(struct number_ask *)));
    char *to = k->bytes = must(malloc(room));
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && asks[end].type == asks[i].type;)
            end++;
        to = add_keys(k, asks + i, end - i, FORM_TEXT, to);
        to = add_keys(k, asks + i, end - i, FORM_UUID, to);
    }
    assert(k->n == n && in_order(k));
    return k;
}

void ids_keys_free(struct ids_keys *k)
{
    if (k == NULL)
        return;
    free((void *)(uintptr_t)k->keys);
    free(k->lens);
    free((void *)(uintptr_t)k->asks);
    free(k->bytes);
    free(k);
}

static err_code take_row(struct number_ask *ask, rocksdb_pinnableslice_t *found, char *bad,
                         struct err *e)
{
    size_t len = 0;
    TRY(rocks_error(bad, "reading the data store", e));
    ask->how = found ? NUMBER_KNOWN : NUMBER_BORN;
    ask->later = false;
    if (found == NULL)
        return ERR_OK;
    const char *v = rocksdb_pinnableslice_value(found, &len);
    if (!ids_value_split(sv_make(v, len), &ask->number, &ask->later) ||
        number_type(ask->number) != ask->type)
        return rocks_damaged(e);
    return ERR_OK;
}

/* Rows that may be there, AT_ONCE at most. */
struct some {
    size_t n;
    const char *keys[AT_ONCE];
    size_t lens[AT_ONCE];
    struct number_ask *asks[AT_ONCE];
};

static err_code read_some(const struct ids_family *f, rocksdb_readoptions_t *ro, struct some *some,
                          struct err *e)
{
    rocksdb_pinnableslice_t *found[AT_ONCE] = { NULL };
    char *bad[AT_ONCE] = { NULL };
    rocksdb_batched_multi_get_cf(f->db, ro, f->cf, some->n, some->keys, some->lens, found, bad,
                                 true);
    err_code rc = ERR_OK;
    for (size_t i = 0; i < some->n; i++) {
        if (rc == ERR_OK)
            rc = take_row(some->asks[i], found[i], bad[i], e);
        else
            rocksdb_free(bad[i]);
        if (found[i])
            rocksdb_pinnableslice_destroy(found[i]);
    }
    some->n = 0;
    return rc;
}

static err_code read_rows(const struct ids_family *f, const struct ids_keys *k, struct err *e)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    /* a load asks for each block once, and would push out what others have in the cache */
    rocksdb_readoptions_set_fill_cache(ro, 0);
    struct some some = { .n = 0 };
    err_code rc = ERR_OK;
    for (size_t i = 0; i < k->n && rc == ERR_OK; i++) {
        if (f->filter && !ids_filter_may_have(f->filter, sv_make(k->keys[i], k->lens[i]))) {
            k->asks[i]->how = NUMBER_BORN;
            k->asks[i]->later = false;
            continue;
        }
        some.keys[some.n] = k->keys[i];
        some.lens[some.n] = k->lens[i];
        some.asks[some.n++] = k->asks[i];
        if (some.n == AT_ONCE)
            rc = read_some(f, ro, &some, e);
    }
    if (rc == ERR_OK && some.n)
        rc = read_some(f, ro, &some, e);
    rocksdb_readoptions_destroy(ro);
    return rc;
}

err_code ids_fill_filter(const struct ids_family *f, struct err *e)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_readoptions_set_readahead_size(ro, 1u << 20);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(f->db, ro, f->cf);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t len;
        const char *k = rocksdb_iter_key(it, &len);
        ids_filter_add(f->filter, sv_make(k, len));
    }
    TRY(rocks_iterator_end(it, ro, ERR_OK, e));
    ids_filter_complete(f->filter);
    return ERR_OK;
}

err_code ids_number(const struct ids_family *f, struct claims_holder *h, struct number_source *from,
                    const struct ids_keys *keys, struct number_ask *asks, const uint32_t *order,
                    struct err *e)
{
    struct claims_look look;
    claims_look_begin(f->claims, &look);
    err_code rc = read_rows(f, keys, e);
    if (rc == ERR_OK)
        rc = claims_take(h, from, asks, keys->n, order, e);
    claims_look_end(f->claims, &look);
    return rc;
}

/* ---- the file of a load ---- */

static bool wants_row(const struct number_ask *ask)
{
    return ask->how != NUMBER_KNOWN || !ask->later;
}

err_code ids_write_file(const struct ids_family *f, const char *path, const struct ids_keys *keys,
                        bool *any, struct err *e)
{
    char *bad = NULL;
    *any = false;
    for (size_t i = 0; i < keys->n && !*any; i++)
        *any = wants_row(keys->asks[i]);
    if (!*any)
        return ERR_OK;
    rocksdb_envoptions_t *eo = rocksdb_envoptions_create();
    rocksdb_sstfilewriter_t *w = rocksdb_sstfilewriter_create(eo, f->options);
    rocksdb_sstfilewriter_open(w, path, &bad);
    for (size_t i = 0; i < keys->n && bad == NULL; i++) {
        const struct number_ask *ask = keys->asks[i];
        char value[IDS_VALUE_LEN];
        if (!wants_row(ask))
            continue;
        if (f->filter)
            ids_filter_add(f->filter, sv_make(keys->keys[i], keys->lens[i]));
        ids_value_put(ask->number, ask->how != NUMBER_BORN, value);
        rocksdb_sstfilewriter_put(w, keys->keys[i], keys->lens[i], value, sizeof value, &bad);
    }
    if (bad == NULL)
        rocksdb_sstfilewriter_finish(w, &bad);
    rocksdb_sstfilewriter_destroy(w);
    rocksdb_envoptions_destroy(eo);
    return rocks_error(bad, "writing a bulk load", e);
}
