/* input.c - the files that a view reads, and their lines. An export's manifest says which files
 * hold resources of a type, so that one that is missing is noticed, and files of deletions and
 * errors are left alone. Files are read in the order of their names, packed ones through
 * unpack. */
#include "cli/view/view_private.h"

#include <unistd.h>

#define MANIFEST_BYTES ((size_t)4 << 30)

struct input {
    struct served *served; /* NULL: files of a place */
    struct verify verify;
    fhir_type type;
    struct sv_list {
        sv *items;
        size_t n, cap;
    } names;
    bool has_manifest;
    size_t at; /* the file that is read, or comes next */
    const char *name;
    struct unpack *unpack;
    struct ndjson_reader *reader;
    uint64_t line; /* the next */
    bool failed;   /* no memory for a name */
};

static bool add_name(struct input *input, sv name)
{
    struct sv_list *l = &input->names;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        sv *more = arena_grow(input->verify.a, l->items, l->cap * sizeof(sv), cap * sizeof(sv));
        if (more == NULL)
            return false;
        l->items = more;
        l->cap = cap;
    }
    sv copy = arena_sv(input->verify.a, name);
    l->items[l->n] = copy;
    l->n += copy.ptr != NULL;
    return copy.ptr != NULL;
}

static bool each_name(void *ctx, sv name, uint64_t bytes)
{
    struct input *input = ctx;
    (void)bytes;
    if (sv_ends(name, SV_LIT(".ndjson")) || sv_ends(name, SV_LIT(".ndjson.gz")) ||
        sv_ends(name, SV_LIT(".ndjson.zst")))
        input->failed = !add_name(input, name) || input->failed;
    return !input->failed;
}

static err_code find_files(struct input *input, struct err *e)
{
    struct err why = { 0 };
    sv type = sv_from(fhir_type_name(input->type));
    err_code rc = verify_manifest_read(&input->verify, &why);
    if (rc == ERR_NOT_FOUND) {
        TRY(place_list(input->verify.place, each_name, input, e));
    } else if (rc != ERR_OK) {
        return err_pass(e, &why);
    } else {
        input->has_manifest = true;
        TRY(verify_manifest_files(&input->verify, e));
        for (size_t i = 0; i < input->verify.n_files; i++) {
            const struct verify_file *f = &input->verify.files[i];
            if (f->role == VERIFY_OUTPUT && (f->type.len == 0 || sv_eq(f->type, type)))
                input->failed = !add_name(input, f->name) || input->failed;
        }
    }
    if (input->failed)
        return arena_oom(input->verify.a, e);
    if (input->names.n)
        qsort(input->names.items, input->names.n, sizeof(sv), sv_by_bytes);
    return ERR_OK;
}

err_code input_open(const struct verify_options *o, const char *from, fhir_type type,
                    struct input **out, struct err *e)
{
    struct input *input = calloc(1, sizeof *input);
    if (input == NULL)
        abort();
    input->verify.o = *o;
    input->verify.a = arena_new(MANIFEST_BYTES);
    input->type = type;
    err_code rc = place_open(o, from, &input->verify.place, e);
    if (rc == ERR_OK)
        rc = find_files(input, e);
    if (rc != ERR_OK) {
        input_close(input);
        return rc;
    }
    *out = input;
    return ERR_OK;
}

struct input *input_of_served(struct served *served)
{
    struct input *input = calloc(1, sizeof *input);
    if (input == NULL)
        abort();
    input->served = served;
    input->has_manifest = true;
    return input;
}

static void close_file(struct input *input)
{
    ndjson_close(input->reader);
    unpack_close(input->unpack);
    input->reader = NULL;
    input->unpack = NULL;
}

void input_close(struct input *input)
{
    if (input == NULL)
        return;
    close_file(input);
    place_free(input->verify.place);
    arena_free(input->verify.a);
    free(input);
}

bool input_has_manifest(const struct input *input)
{
    return input->has_manifest;
}

size_t input_files(const struct input *input)
{
    return input->served ? served_files(input->served) : input->names.n;
}

static err_code open_file(struct input *input, struct err *e)
{
    struct byte_reader r;
    input->name = input->served ? "the export" : input->names.items[input->at].ptr;
    input->line = 1;
    TRY(input->served ? served_read(input->served, input->at, &r, e)
                      : place_read(input->verify.place, input->names.items[input->at], &r, e));
    err_code rc = unpack_open_file(r, sv_from(input->name), &input->unpack, e);
    if (rc != ERR_OK) {
        err_context(e, "%s", input->name);
        return rc;
    }
    TRY(ndjson_open(input->unpack, 0, VERIFY_LINE_MAX, &input->reader, e));
    return ndjson_skip_mark(input->reader, e);
}

err_code input_next(struct input *input, size_t bytes, struct buf *piece, const char **name,
                    uint64_t *line, struct err *e)
{
    for (;;) {
        bool too_long = false;
        uint64_t n = 0;
        if (input->reader == NULL) {
            if (input->at == input_files(input))
                return ERR_EOF;
            TRY(open_file(input, e));
        }
        err_code rc = ndjson_fill(input->reader, bytes, piece, &n, &too_long, e);
        if (rc == ERR_EOF) {
            close_file(input);
            input->at++;
            continue;
        }
        if (rc != ERR_OK) {
            err_context(e, "%s", input->name);
            return rc;
        }
        if (too_long)
            return ERR(e, ERR_TOO_LARGE, "%s, line %llu: a line has at most %u MiB", input->name,
                       (unsigned long long)(input->line + n), VERIFY_LINE_MAX >> 20);
        *name = input->name;
        *line = input->line;
        input->line += n;
        return ERR_OK;
    }
}
