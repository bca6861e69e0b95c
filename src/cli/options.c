/* options.c - options of a command, read by its table: --name VALUE, --name=VALUE, and flags. */
#include "cli/options.h"

#include <assert.h>

#define OPTIONS_MAX 64u

static const struct cli_option *find(const struct cli_option *table, size_t n, sv name)
{
    for (size_t i = 0; i < n; i++)
        if (sv_eq_cstr(name, table[i].name))
            return &table[i];
    return NULL;
}

err_code cli_options_read(const struct cli_option *table, size_t n, int argc, char **argv,
                          void *into, const char **args, size_t max, size_t *n_args, bool *help,
                          struct err *e)
{
    const bool yes = true;
    bool seen[OPTIONS_MAX] = { false };
    *n_args = 0;
    *help = false;
    assert(n <= OPTIONS_MAX);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
            return ERR_OK;
        }
    for (int i = 1; i < argc; i++) {
        sv arg = sv_from(argv[i]);
        if (!sv_starts(arg, SV_LIT("--"))) {
            if (*n_args == max)
                return ERR(e, ERR_INVALID,
                           "\"%s\" is one argument too many; see fhirlake %s --help", argv[i],
                           argv[0]);
            args[(*n_args)++] = argv[i];
            continue;
        }
        size_t eq = sv_find(arg, '=');
        const struct cli_option *o = find(table, n, sv_tail(sv_head(arg, eq), 2));
        if (o == NULL)
            return ERR(e, ERR_INVALID, "option %.*s is not known; see fhirlake %s --help",
                       SV_FMT(sv_head(arg, eq)), argv[0]);
        char *at = (char *)into + o->offset;
        if (o->value == NULL) {
            if (eq < arg.len)
                return ERR(e, ERR_INVALID, "--%s takes no value", o->name);
            memcpy(at, &yes, sizeof yes);
            continue;
        }
        const char *v = eq < arg.len ? argv[i] + eq + 1 : i + 1 < argc ? argv[++i] : "";
        if (v[0] == 0)
            return ERR(e, ERR_INVALID, "--%s needs a value: %s", o->name, o->value);
        if (seen[o - table] && !o->many)
            return ERR(e, ERR_INVALID, "--%s is given twice", o->name);
        seen[o - table] = true;
        memcpy(at, &v, sizeof v);
    }
    return ERR_OK;
}

void cli_options_print(const struct cli_option *table, size_t n, FILE *f)
{
    for (size_t i = 0; i < n; i++) {
        char left[40];
        (void)snprintf(left, sizeof left, "--%s%s%s", table[i].name, table[i].value ? " " : "",
                       table[i].value ? table[i].value : "");
        (void)fprintf(f, "  %-24s %s\n", left, table[i].text);
    }
}
