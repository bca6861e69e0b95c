/* prometheus.c - Prometheus' text format: a family's two comments, then its lines.
 *
 * Values of labels are between quotes, so a quote, a backslash and a line's end are escaped in
 * them; in the text of HELP the last two are. */
#include "codec/prometheus.h"

#include <inttypes.h>

void prometheus_init(struct prometheus *p, struct buf *out)
{
    *p = (struct prometheus){ .out = out, .name = "" };
}

static void add(struct prometheus *p, sv text)
{
    if (p->rc == ERR_OK)
        p->rc = buf_add(p->out, text, &p->err);
}

static void add_escaped(struct prometheus *p, sv text, bool quotes)
{
    for (size_t i = 0; i < text.len && p->rc == ERR_OK; i++) {
        char c = text.ptr[i];
        if (c == '\n')
            add(p, SV_LIT("\\n"));
        else if (c == '\\' || (quotes && c == '"'))
            add(p, sv_make((const char[]){ '\\', c }, 2));
        else
            add(p, sv_make(&c, 1));
    }
}

void prometheus_family(struct prometheus *p, const char *name, const char *type, const char *help)
{
    p->name = name;
    add(p, SV_LIT("# HELP "));
    add(p, sv_from(name));
    add(p, SV_LIT(" "));
    add_escaped(p, sv_from(help), false);
    add(p, SV_LIT("\n# TYPE "));
    add(p, sv_from(name));
    add(p, SV_LIT(" "));
    add(p, sv_from(type));
    add(p, SV_LIT("\n"));
}

/* Everything of a line in front of its value. */
static void begin(struct prometheus *p, const char *suffix, const struct prometheus_label *labels,
                  size_t n)
{
    add(p, sv_from(p->name));
    add(p, sv_from(suffix));
    for (size_t i = 0; i < n; i++) {
        add(p, i ? SV_LIT(",") : SV_LIT("{"));
        add(p, sv_from(labels[i].name));
        add(p, SV_LIT("=\""));
        add_escaped(p, labels[i].value, true);
        add(p, SV_LIT("\""));
    }
    add(p, n ? SV_LIT("} ") : SV_LIT(" "));
}

void prometheus_u64(struct prometheus *p, const char *suffix, const struct prometheus_label *labels,
                    size_t n_labels, uint64_t value)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRIu64 "\n", value);
    begin(p, suffix, labels, n_labels);
    add(p, sv_make(text, (size_t)len));
}

void prometheus_seconds(struct prometheus *p, const char *suffix,
                        const struct prometheus_label *labels, size_t n_labels, uint64_t us)
{
    char text[32];
    int len =
        snprintf(text, sizeof text, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
    begin(p, suffix, labels, n_labels);
    add(p, sv_make(text, (size_t)len));
}

err_code prometheus_end(struct prometheus *p, struct err *e)
{
    return p->rc == ERR_OK ? ERR_OK : err_pass(e, &p->err);
}
