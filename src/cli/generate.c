/* generate.c - units of the generator, sorted into one file per resource type.
 * Files are written under a temporary name and get their own when all are whole. */
#include "cli/generate.h"

#include "base/clock.h"
#include "base/file.h"
#include "gen/gen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#define MAX_TYPES   64u
#define FLUSH_BYTES (1u << 20)

struct type_file {
    char name[64];
    int fd;
    struct buf pending;
    uint64_t n_lines, bytes;
};

struct generate {
    const char *dir;
    uint64_t n_patients, seed;
    bool force, help;
    struct type_file files[MAX_TYPES];
    size_t n_files;
};

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake generate --out DIR [--patients N] [--seed S] [--force]\n\n"
        "Write N synthetic patients and all that belongs to them as FHIR R4 NDJSON, one file per\n"
        "resource type. The same N and S always give the same bytes. Nobody in it is real.\n\n"
        "  --out DIR       folder to write to; made if it is not there\n"
        "  --patients N    how many [100]; one has about 360 resources, 360 KB\n"
        "  --seed S        another number is another population [1]\n"
        "  --force         write into a folder that is not empty\n\n"
        "Examples:\n"
        "  fhirlake generate --out patients\n"
        "  fhirlake generate --patients 5000 --seed 7 --out /tmp/big\n",
        f);
}

static err_code read_options(struct generate *generate, int argc, char **argv, struct err *e)
{
    generate->n_patients = 100;
    generate->seed = 1;
    for (int i = 1; i < argc; i++) {
        sv arg = sv_from(argv[i]);
        if (sv_eq(arg, SV_LIT("--help")) || sv_eq(arg, SV_LIT("-h"))) {
            generate->help = true;
            return ERR_OK;
        }
        if (sv_eq(arg, SV_LIT("--force"))) {
            generate->force = true;
            continue;
        }
        bool out = sv_eq(arg, SV_LIT("--out")), n = sv_eq(arg, SV_LIT("--patients"));
        if (!out && !n && !sv_eq(arg, SV_LIT("--seed")))
            return ERR(e, ERR_INVALID, "option %s is not known; see fhirlake generate --help",
                       argv[i]);
        if (i + 1 == argc)
            return ERR(e, ERR_INVALID, "%s needs a value", argv[i]);
        sv v = sv_from(argv[++i]);
        if (out)
            generate->dir = argv[i];
        else if (!sv_to_u64(v, n ? &generate->n_patients : &generate->seed))
            return ERR(e, ERR_INVALID, "%s takes a number, it is \"%s\"", argv[i - 1], argv[i]);
    }
    if (generate->dir == NULL || generate->dir[0] == 0)
        return ERR(e, ERR_INVALID, "--out DIR is needed; see fhirlake generate --help");
    return ERR_OK;
}

static err_code check_folder(const struct generate *generate, struct err *e)
{
    const err_code made = file_mkdirs(generate->dir, e);
    if (made != ERR_OK) {
        err_context(e, "--out %.200s", generate->dir);
        return made;
    }
    DIR *d = opendir(generate->dir);
    if (d == NULL)
        return ERR(e, err_from_errno(errno), "%s cannot be read", generate->dir);
    bool empty = true;
    for (struct dirent *de; (de = readdir(d)) != NULL;)
        empty &= de->d_name[0] == '.';
    closedir(d);
    if (!empty && !generate->force)
        return ERR(e, ERR_EXISTS,
                   "%s is not empty: give another --out, or --force to write into it",
                   generate->dir);
    return ERR_OK;
}

static err_code flush(const struct type_file *f, struct err *e)
{
    return file_write_all(f->fd, buf_sv(&f->pending), e);
}

static void path_of(const struct generate *generate, const struct type_file *f, const char *suffix,
                    char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%s.ndjson%s", generate->dir, f->name, suffix);
}

static err_code file_of(struct generate *generate, sv type, struct type_file **out, struct err *e)
{
    for (size_t i = 0; i < generate->n_files; i++)
        if (sv_eq_cstr(type, generate->files[i].name)) {
            *out = &generate->files[i];
            return ERR_OK;
        }
    struct type_file *f = &generate->files[generate->n_files];
    char path[PATH_MAX];
    (void)snprintf(f->name, sizeof f->name, "%.*s", SV_FMT(type));
    path_of(generate, f, ".part", path);
    f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (f->fd < 0)
        return ERR(e, err_from_errno(errno), "cannot write to %s", generate->dir);
    buf_init(&f->pending, 256u << 20);
    generate->n_files++;
    *out = f;
    return ERR_OK;
}

/* Lines of a unit to the files of their types. */
static err_code distribute(struct generate *generate, sv text, struct err *e)
{
    sv rest = text, line;
    while (rest.len && sv_cut(&rest, '\n', &line)) {
        sv tail = sv_tail(line, sizeof "{\"resourceType\":\"" - 1);
        struct type_file *f = NULL;
        TRY(file_of(generate, sv_head(tail, sv_find(tail, '"')), &f, e));
        TRY(buf_add(&f->pending, sv_make(line.ptr, line.len + 1), e));
        f->n_lines++;
        f->bytes += line.len + 1;
        if (f->pending.len >= FLUSH_BYTES) {
            TRY(flush(f, e));
            buf_clear(&f->pending);
        }
    }
    return ERR_OK;
}

static err_code finish_files(struct generate *generate, struct err *e)
{
    for (size_t i = 0; i < generate->n_files; i++) {
        char from[PATH_MAX], to[PATH_MAX];
        struct type_file *f = &generate->files[i];
        TRY(flush(f, e));
        path_of(generate, f, ".part", from);
        path_of(generate, f, "", to);
        int bad = close(f->fd);
        f->fd = -1;
        if (bad || rename(from, to) != 0)
            return ERR(e, err_from_errno(errno), "cannot write to %s", generate->dir);
    }
    return ERR_OK;
}

static err_code run(struct generate *generate, struct err *e)
{
    CLEANUP(gen_free) struct gen *gen = NULL;
    CLEANUP_BUF struct buf unit = BUF_INIT(1u << 30);
    bool tty = isatty(STDERR_FILENO);
    TRY(gen_new(generate->seed, generate->n_patients, &gen, e));
    TRY(check_folder(generate, e));
    for (uint64_t i = 0; i < gen_n_units(gen); i++) {
        buf_clear(&unit);
        TRY(gen_unit(gen, i, &unit, e));
        TRY(distribute(generate, buf_sv(&unit), e));
        if (tty && i % 64 == 0)
            (void)fprintf(stderr, "\r%llu of %llu patients", (unsigned long long)i,
                          (unsigned long long)generate->n_patients);
    }
    if (tty)
        (void)fprintf(stderr, "\r\033[K");
    return finish_files(generate, e);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct type_file *)a)->name, ((const struct type_file *)b)->name);
}

static void print_table(struct generate *generate, double seconds)
{
    uint64_t lines = 0, bytes = 0;
    qsort(generate->files, generate->n_files, sizeof generate->files[0], by_name);
    for (size_t i = 0; i < generate->n_files; i++) {
        (void)printf("%-26s %10llu resources %12.3f MB\n", generate->files[i].name,
                     (unsigned long long)generate->files[i].n_lines,
                     (double)generate->files[i].bytes / 1e6);
        lines += generate->files[i].n_lines;
        bytes += generate->files[i].bytes;
    }
    (void)printf("%-26s %10llu resources %12.3f MB in %.2f s, %.0f MB/s\n", "all",
                 (unsigned long long)lines, (double)bytes / 1e6, seconds,
                 (double)bytes / 1e6 / (seconds > 0 ? seconds : 1e-9));
}

static void clean_up(struct generate *generate, bool failed)
{
    for (size_t i = 0; i < generate->n_files; i++) {
        char path[PATH_MAX];
        struct type_file *f = &generate->files[i];
        buf_done(&f->pending);
        if (!failed)
            continue;
        if (f->fd >= 0)
            close(f->fd);
        path_of(generate, f, ".part", path);
        /* best effort: the failure is told already */
        (void)unlink(path);
    }
}

int cli_generate(int argc, char **argv)
{
    /* large for a stack */
    static struct generate generate;
    struct err e = { 0 };
    if (read_options(&generate, argc, argv, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake generate: %s\n", e.msg);
        return 2;
    }
    if (generate.help) {
        usage(stdout);
        return 0;
    }
    uint64_t start = clock_mono_us();
    err_code rc = run(&generate, &e);
    if (rc == ERR_OK)
        print_table(&generate, (double)(clock_mono_us() - start) / 1e6);
    else
        (void)fprintf(stderr, "fhirlake generate: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
    clean_up(&generate, rc != ERR_OK);
    return rc == ERR_OK ? 0 : rc == ERR_INVALID ? 2 : 1;
}
