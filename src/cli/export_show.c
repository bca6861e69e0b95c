/* export_show.c - what people see of an export. While it runs: a bar on a terminal, or a line
 * whenever the text changes. At its end: the files of the manifest as a tree, with counts, sizes
 * and the rate. */
#include "cli/export_show.h"

#include "codec/json.h"

#define BAR_WIDTH  30u
#define FILES_SHOW 8u /* files of a type that are listed one by one */

/* ---- progress ---- */

/* The number in front of the first percent sign, or -1. */
static int percent_of(sv text)
{
    size_t at = sv_find(text, '%'), from = at;
    uint64_t n;
    while (from && text.ptr[from - 1] >= '0' && text.ptr[from - 1] <= '9')
        from--;
    if (at == text.len || !sv_to_u64(sv_make(text.ptr + from, at - from), &n))
        return -1;
    return n > 100 ? 100 : (int)n;
}

void export_progress_show(struct export_progress *p, const struct export_state *st)
{
    char text[sizeof p->last];
    bool done = st->end_s > 0;
    sv said = st->message.len && !done ? st->message : st->status;
    (void)snprintf(text, sizeof text, "%.*s", SV_FMT(said));
    if (p->tty) {
        int percent = done ? 100 : percent_of(st->message);
        char bar[BAR_WIDTH + 1];
        unsigned full = percent < 0 ? 0 : (unsigned)percent * BAR_WIDTH / 100;
        memset(bar, '.', BAR_WIDTH);
        memset(bar, '#', full);
        bar[BAR_WIDTH] = 0;
        (void)fprintf(stderr, "\r\033[K[%s] %.80s", bar, text);
        p->shown = true;
    } else if (strcmp(text, p->last) != 0) {
        (void)fprintf(stderr, "%s\n", text);
    }
    memcpy(p->last, text, sizeof text);
}

void export_progress_end(struct export_progress *p)
{
    if (p->shown)
        (void)fputs("\r\033[K", stderr);
    p->shown = false;
}

/* ---- the tree ---- */

struct file {
    sv section, type, name;
    uint64_t count, bytes;
    bool copied; /* from an earlier export */
};

static int by_place(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    /* output, error, deleted */
    int c = sv_cmp(y->section, x->section);
    c = c ? c : sv_cmp(x->type, y->type);
    return c ? c : sv_cmp(x->name, y->name);
}

static sv last_part(sv url)
{
    size_t at = url.len;
    while (at && url.ptr[at - 1] != '/')
        at--;
    return sv_tail(url, at);
}

static void size_text(uint64_t bytes, char out[24])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    double v = (double)bytes;
    unsigned u = 0;
    while (v >= 1000 && u < 4) {
        v /= 1000;
        u++;
    }
    (void)snprintf(out, 24, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

static size_t gather(yyjson_val *root, struct file *out)
{
    static const char *const sections[] = { "output", "deleted", "error" };
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) {
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, sections[i]));
        yyjson_val *v;
        while ((v = yyjson_arr_iter_next(&it)) != NULL) {
            struct file *f = &out[n++];
            *f = (struct file){ .section = sv_from(sections[i]),
                                .type = json_string(json_get(v, "type")),
                                .name = last_part(json_string(json_get(v, "url"))) };
            f->copied = json_get(v, "reused") != NULL;
            if (f->type.len == 0 && json_get(v, "blocks"))
                f->type = SV_LIT("by patient");
            /* A number that is not told stays 0. */
            IGNORE(!sv_to_u64(json_number(json_get(v, "count")), &f->count));
            IGNORE(!sv_to_u64(json_number(json_get(v, "bytes")), &f->bytes));
        }
    }
    qsort(out, n, sizeof *out, by_place);
    return n;
}

static void print_type(const struct file *f, size_t n, bool last, FILE *out)
{
    uint64_t count = 0, bytes = 0;
    char size[24], left[80];
    for (size_t i = 0; i < n; i++) {
        count += f[i].count;
        bytes += f[i].bytes;
    }
    size_text(bytes, size);
    bool plain = sv_eq(f->section, SV_LIT("output"));
    (void)snprintf(left, sizeof left, "%.*s%s%s%s", SV_FMT(f->type), plain ? "" : " (",
                   plain ? "" : f->section.ptr, plain ? "" : ")");
    (void)fprintf(out, "%s %-34s %12llu %12s  %zu file%s\n", last ? "└──" : "├──", left,
                  (unsigned long long)count, size, n, n == 1 ? "" : "s");
    for (size_t i = 0; i < n && i < FILES_SHOW; i++) {
        size_text(f[i].bytes, size);
        bool end = i + 1 == n;
        (void)fprintf(out, "%s   %s %-50.*s %9llu %10s\n", last ? " " : "│", end ? "└──" : "├──",
                      SV_FMT(f[i].name), (unsigned long long)f[i].count, size);
    }
    if (n > FILES_SHOW)
        (void)fprintf(out, "%s   └── and %zu more\n", last ? " " : "│", n - FILES_SHOW);
}

err_code export_show_tree(sv manifest, const struct export_state *st, FILE *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)1 << 30);
    yyjson_doc *doc;
    uint64_t count = 0, bytes = 0;
    char size[24];
    TRY(json_read(a, manifest, EXPORT_MANIFEST_DEPTH, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_arr(json_get(root, "output")))
        return ERR(e, ERR_INVALID, "the endpoint's answer is no manifest");
    size_t most = yyjson_arr_size(json_get(root, "output")) +
                  yyjson_arr_size(json_get(root, "deleted")) +
                  yyjson_arr_size(json_get(root, "error"));
    struct file *f = arena_calloc(a, most + 1, sizeof *f);
    if (f == NULL)
        return arena_oom(a, e);
    size_t n = gather(root, f), n_copied = 0;
    (void)fprintf(out, "%.*s\n", SV_FMT(st->folder));
    for (size_t i = 0, to; i < n; i = to) {
        for (to = i; to < n && sv_eq(f[to].type, f[i].type) && sv_eq(f[to].section, f[i].section);
             to++) {
            count += sv_eq(f[to].section, SV_LIT("output")) ? f[to].count : 0;
            bytes += f[to].bytes;
            n_copied += f[to].copied;
        }
        print_type(&f[i], to - i, to == n, out);
    }
    double seconds = st->end_s > st->submit_s ? st->end_s - st->submit_s : 0;
    size_text(bytes, size);
    (void)fprintf(out, "%llu resources, %s in %zu file%s", (unsigned long long)count, size, n,
                  n == 1 ? "" : "s");
    if (n_copied)
        (void)fprintf(out, " (%zu unchanged, copied from an earlier export)", n_copied);
    (void)fprintf(out, " as of %.*s", SV_FMT(json_string(json_get(root, "transactionTime"))));
    if (seconds > 0) {
        size_text((uint64_t)((double)bytes / seconds), size);
        (void)fprintf(out, "; %.2f s, %.0f resources/s, %s/s", seconds, (double)count / seconds,
                      size);
    }
    (void)fputc('\n', out);
    return ERR_OK;
}
