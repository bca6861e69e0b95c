/* bench_disk.c - the bytes that a data store's column families take in sorted files. The store must
 * not be open.
 * Usage: bench_disk DIR   prints a line "name bytes" for each */
#include <rocksdb/c.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    char *bad = NULL;
    size_t n = 0;
    rocksdb_options_t *o = rocksdb_options_create();
    char **names = argc == 2 ? rocksdb_list_column_families(o, argv[1], &n, &bad) : NULL;
    if (names == NULL || bad) {
        (void)fprintf(stderr, "bench_disk: %s\n", bad ? bad : "usage: bench_disk DIR");
        return 1;
    }
    const rocksdb_options_t **opts = calloc(n, sizeof *opts);
    rocksdb_column_family_handle_t **cf = calloc(n, sizeof *cf);
    if (opts == NULL || cf == NULL)
        return 1;
    for (size_t i = 0; i < n; i++)
        opts[i] = o;
    rocksdb_t *db = rocksdb_open_for_read_only_column_families(
        o, argv[1], (int)n, (const char *const *)names, opts, cf, 0, &bad);
    if (bad) {
        (void)fprintf(stderr, "bench_disk: %s\n", bad);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = 0;
        (void)rocksdb_property_int_cf(db, cf[i], "rocksdb.total-sst-files-size", &bytes);
        (void)printf("%s %llu\n", names[i], (unsigned long long)bytes);
        rocksdb_column_family_handle_destroy(cf[i]);
    }
    rocksdb_close(db);
    rocksdb_list_column_families_destroy(names, n);
    rocksdb_options_destroy(o);
    free((void *)opts);
    free((void *)cf);
    return 0;
}
