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
 * comes, its version is never visible, and a reader walks. */
#include "store/rocks/numbers/ids.h"

#include "store/rocks/rocks_private.h"

#include <assert.h>

#define FORM_TEXT 0
#define FORM_UUID 1
#define UUID_LEN  36u
#define AT_ONCE   256u /* rows of one call */

/* ---- bytes ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_dash_at(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

static bool uuid_bytes(sv id, char out[16])
{
    size_t n = 0;
    if (id.len != UUID_LEN)
        return false;
    for (size_t i = 0; i < UUID_LEN;) {
        if (is_dash_at(i)) {
            if (id.ptr[i++] != '-')
                return false;
            continue;
        }
        int high = hex_digit(id.ptr[i]), low = hex_digit(id.ptr[i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[n++] = (char)(high << 4 | low);
        i += 2;
    }
    return true;
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

struct keyed {
    struct ids_key key;
    struct number_ask *ask;
};

static int by_key(const void *a, const void *b)
{
    const struct keyed *x = *(const struct keyed *const *)a, *y = *(const struct keyed *const *)b;
    return sv_cmp(sv_make(x->key.ptr, x->key.len), sv_make(y->key.ptr, y->key.len));
}

/* The keys of asks for which `want` says yes, in order. *keys: n of them, the caller frees both. */
static size_t keys_in_order(const struct number_ask *asks, size_t n,
                            bool (*want)(const struct number_ask *), struct keyed **keys,
                            const struct keyed ***order)
{
    size_t k = 0;
    *keys = malloc((n ? n : 1) * sizeof **keys);
    *order = malloc((n ? n : 1) * sizeof(struct keyed *));
    if (*keys == NULL || *order == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        if (want(&asks[i])) {
            (*keys)[k].key = ids_key(asks[i].type, asks[i].id);
            (*keys)[k].ask = (struct number_ask *)(uintptr_t)&asks[i];
            (*order)[k] = &(*keys)[k];
            k++;
        }
    qsort((void *)(uintptr_t)*order, k, sizeof(struct keyed *), by_key);
    return k;
}

static bool any_ask(const struct number_ask *ask)
{
    (void)ask;
    return true;
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

/* Rows of up to AT_ONCE asks whose keys are in order. */
static err_code read_some(const struct ids_family *f, rocksdb_readoptions_t *ro,
                          const struct keyed *const *order, size_t n, struct err *e)
{
    const char *keys[AT_ONCE];
    size_t lens[AT_ONCE];
    rocksdb_pinnableslice_t *found[AT_ONCE] = { NULL };
    char *bad[AT_ONCE] = { NULL };
    for (size_t i = 0; i < n; i++) {
        keys[i] = order[i]->key.ptr;
        lens[i] = order[i]->key.len;
    }
    rocksdb_batched_multi_get_cf(f->db, ro, f->cf, n, keys, lens, found, bad, true);
    err_code rc = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        if (rc == ERR_OK)
            rc = take_row(order[i]->ask, found[i], bad[i], e);
        else
            rocksdb_free(bad[i]);
        if (found[i])
            rocksdb_pinnableslice_destroy(found[i]);
    }
    return rc;
}

static err_code read_rows(const struct ids_family *f, struct number_ask *asks, size_t n,
                          struct err *e)
{
    struct keyed *keys;
    const struct keyed **order;
    size_t n_keys = keys_in_order(asks, n, any_ask, &keys, &order);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    err_code rc = ERR_OK;
    for (size_t i = 0, some; i < n_keys && rc == ERR_OK; i += some) {
        some = n_keys - i < AT_ONCE ? n_keys - i : AT_ONCE;
        rc = read_some(f, ro, order + i, some, e);
    }
    rocksdb_readoptions_destroy(ro);
    free((void *)(uintptr_t)order);
    free(keys);
    return rc;
}

err_code ids_number(const struct ids_family *f, struct claims_holder *h, struct number_source *from,
                    struct number_ask *asks, size_t n, struct err *e)
{
    struct claims_look look;
    claims_look_begin(f->claims, &look);
    err_code rc = read_rows(f, asks, n, e);
    if (rc == ERR_OK)
        rc = claims_take(h, from, asks, n, e);
    claims_look_end(f->claims, &look);
    return rc;
}

/* ---- the file of a load ---- */

static bool wants_row(const struct number_ask *ask)
{
    return ask->how != NUMBER_KNOWN || !ask->later;
}

err_code ids_write_file(const struct ids_family *f, const char *path, const struct number_ask *asks,
                        size_t n, bool *any, struct err *e)
{
    struct keyed *keys;
    const struct keyed **order;
    char *bad = NULL;
    size_t n_keys = keys_in_order(asks, n, wants_row, &keys, &order);
    *any = n_keys != 0;
    if (n_keys) {
        rocksdb_envoptions_t *eo = rocksdb_envoptions_create();
        rocksdb_sstfilewriter_t *w = rocksdb_sstfilewriter_create(eo, f->options);
        rocksdb_sstfilewriter_open(w, path, &bad);
        for (size_t i = 0; i < n_keys && bad == NULL; i++) {
            const struct number_ask *ask = order[i]->ask;
            char value[IDS_VALUE_LEN];
            ids_value_put(ask->number, ask->how != NUMBER_BORN, value);
            rocksdb_sstfilewriter_put(w, order[i]->key.ptr, order[i]->key.len, value, sizeof value,
                                      &bad);
        }
        if (bad == NULL)
            rocksdb_sstfilewriter_finish(w, &bad);
        rocksdb_sstfilewriter_destroy(w);
        rocksdb_envoptions_destroy(eo);
    }
    free((void *)(uintptr_t)order);
    free(keys);
    return rocks_error(bad, "writing a bulk load", e);
}
