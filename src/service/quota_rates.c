/* quota_rates.c - the kinds of requests that are counted, and their rates.
 *
 * A kind of the data plane stands for several actions; each operation of the control plane is a
 * kind of its own. HealthLake publishes rates of an account and of a data store; the first are a
 * caller's here. It has none for Bundles as such: a Bundle is writing, by its size, and each entry
 * that reads or searches is counted as if it had come alone.
 *
 * A file of rates is read line by line, so that a message names the line. */
#include "service/quota_private.h"

#include "base/near.h"

#include <math.h>

#define MIN        (1.0 / 60) /* per second */
#define RATE_MAX   1000000000u
#define KIB        1024u
#define BUNDLE     SV_LIT("ProcessBundle")
#define KIND_WRITE 1u /* rows of kinds[] */

static const struct {
    const char *name;
    double caller, store; /* HealthLake's, per second; 0: none */
    bool on_store;        /* it is on a data store */
    bool by_size;         /* counted per KiB of its body */
} kinds[QUOTA_KINDS_MAX] = {
    { "read", 6000, 3000, true, false },
    [KIND_WRITE] = { "write", 6000, 3000, true, true },
    { "search-get", 200, 100, true, false },
    { "search-post", 200, 100, true, false },
    { "bundle", 0, 0, true, false },
    { "everything", 10, 0, true, false },
    { "validate", 2000, 1000, true, false },
    { "capabilities", 10, 0, true, false },
    { "discovery", 10 * MIN, 0, true, false },
    /* HealthLake gives no tokens: ours, of a client and of an address */
    { "token", 10, 0, true, false },
    { "export-get", 1, 0, true, false },
    { "export-post", 1, 0, true, false },
    { "export-status", 10, 0, true, false },
    { "export-cancel", 1, 0, true, false },
    { "export-file", 0, 10, true, false },
    { "StartFHIRBulkDeleteJob", 10, 0, true, false },
    { "DescribeFHIRBulkDeleteJob", 10, 0, true, false },
    { "CreateFHIRDatastore", MIN, 0, false, false },
    { "DeleteFHIRDatastore", MIN, 0, true, false },
    /* none is published: as a creation, and as whatever else changes a record */
    { "RestoreFHIRDatastore", MIN, 0, false, false },
    { "UpdateFHIRDatastore", 1, 0, true, false },
    { "DescribeFHIRDatastore", 10, 0, true, false },
    { "ListFHIRDatastores", 10, 0, false, false },
    { "StartFHIRExportJob", 1, 0, true, false },
    { "DescribeFHIRExportJob", 10, 0, true, false },
    { "ListFHIRExportJobs", 10, 0, true, false },
    { "StartFHIRImportJob", 25, 0, true, false },
    { "DescribeFHIRImportJob", 10, 0, true, false },
    { "ListFHIRImportJobs", 10, 0, true, false },
    { "TagResource", 10, 0, true, false },
    { "UntagResource", 10, 0, true, false },
    { "ListTagsForResource", 10, 0, true, false },
};

/* Actions that are not named as their kind. */
static const struct {
    const char *action, *kind;
} actions[] = {
    { "ReadResource", "read" },
    { "VersionReadResource", "read" },
    { "GetHistoryByResourceId", "read" },
    { "GetHistoryByResourceType", "read" },
    { "GetFullHistory", "read" },
    { "CreateResource", "write" },
    { "UpdateResource", "write" },
    { "PatchResource", "write" },
    { "DeleteResource", "write" },
    { "SearchWithGet", "search-get" },
    { "SearchWithPost", "search-post" },
    { "ProcessBundle", "bundle" },
    { "SearchEverything", "everything" },
    { "ValidateResource", "validate" },
    { "GetCapabilities", "capabilities" },
    { "Discovery", "discovery" },     /* no action of IAM's: GetCapabilities allows it */
    { "CreateAccessToken", "token" }, /* no action of IAM's: who proves to be a client gets one */
    { "StartFHIRExportJobWithGet", "export-get" },
    { "StartFHIRExportJobWithPost", "export-post" },
    { "DescribeFHIRExportJobWithGet", "export-status" },
    { "CancelFHIRExportJobWithDelete", "export-cancel" },
    { "GetExportedFile", "export-file" },
};

/* ---- kinds ---- */

static size_t kind_named(sv name)
{
    size_t i = 0;
    while (i < QUOTA_KINDS_MAX && !(kinds[i].name && sv_eq_cstr(name, kinds[i].name)))
        i++;
    return i;
}

const char *quota_kind_name(size_t i, bool *on_store)
{
    if (i >= QUOTA_KINDS_MAX)
        return NULL;
    *on_store = kinds[i].on_store;
    return kinds[i].name;
}

size_t quota_kind_of(sv action)
{
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (sv_eq_cstr(action, actions[i].action))
            return kind_named(sv_from(actions[i].kind));
    return kind_named(action);
}

struct quota_costs quota_costs_of(sv action, uint64_t bytes)
{
    struct quota_costs out = { .n = 0 };
    size_t kind = quota_kind_of(action);
    const uint64_t kib = (bytes + KIB - 1) / KIB;
    double size = bytes > KIB ? (double)kib : 1;
    if (kind == QUOTA_KINDS_MAX)
        return out;
    out.kinds[0] = kind;
    out.cost[0] = kinds[kind].by_size ? size : 1;
    out.n = 1;
    if (sv_eq(action, BUNDLE)) {
        out.kinds[1] = KIND_WRITE;
        out.cost[1] = size;
        out.n = 2;
    }
    return out;
}

static struct quota_rate rate_of(double per_s)
{
    double burst = per_s >= 1 ? per_s : round(per_s / MIN);
    return (struct quota_rate){ per_s, burst };
}

void quota_rates_healthlake(struct quota_rates *out)
{
    for (size_t i = 0; i < QUOTA_KINDS_MAX; i++) {
        out->of[i][QUOTA_CALLER] = rate_of(kinds[i].caller);
        out->of[i][QUOTA_STORE] = rate_of(kinds[i].store);
    }
}

/* ---- a file ---- */

/* "100/s", "1/min", "none". */
static bool read_rate(sv text, struct quota_rate *out)
{
    size_t slash = sv_find(text, '/');
    sv unit = sv_tail(text, slash + 1);
    uint64_t n;
    if (sv_eq(text, SV_LIT("none"))) {
        *out = (struct quota_rate){ 0, 0 };
        return true;
    }
    if (!sv_to_u64(sv_head(text, slash), &n) || n < 1 || n > RATE_MAX)
        return false;
    bool minute = sv_eq(unit, SV_LIT("min"));
    if (!minute && !sv_eq(unit, SV_LIT("s")))
        return false;
    *out = (struct quota_rate){ minute ? (double)n / 60 : (double)n, (double)n };
    return true;
}

static sv known_kind(const void *ctx, size_t i)
{
    (void)ctx;
    return i < QUOTA_KINDS_MAX ? sv_from(kinds[i].name) : SV_NONE;
}

struct reading {
    struct quota_rates rates;
    enum quota_scope scope;
    bool in_section, based;
    bool seen[QUOTA_KINDS_MAX][QUOTA_N_SCOPES];
    size_t line;
};

static err_code read_section(struct reading *r, sv line, struct err *e)
{
    if (sv_eq(line, SV_LIT("[caller]")))
        r->scope = QUOTA_CALLER;
    else if (sv_eq(line, SV_LIT("[datastore]")))
        r->scope = QUOTA_STORE;
    else
        return ERR(e, ERR_INVALID, "line %zu: sections are [caller] and [datastore]", r->line);
    r->in_section = true;
    return ERR_OK;
}

static err_code read_base(struct reading *r, sv name, sv value, struct err *e)
{
    if (!sv_eq(name, SV_LIT("base")))
        return ERR(e, ERR_INVALID, "line %zu: rates stand below [caller] or [datastore]", r->line);
    if (r->based)
        return ERR(e, ERR_INVALID, "line %zu: base stands twice", r->line);
    r->based = true;
    if (sv_eq(value, SV_LIT("healthlake")))
        quota_rates_healthlake(&r->rates);
    else if (!sv_eq(value, SV_LIT("none")))
        return ERR(e, ERR_INVALID, "line %zu: base is healthlake or none", r->line);
    return ERR_OK;
}

static err_code read_kind(struct reading *r, sv name, sv value, struct err *e)
{
    size_t kind = kind_named(name);
    if (kind == QUOTA_KINDS_MAX) {
        sv near = near_name(name, known_kind, NULL);
        return ERR(e, ERR_INVALID, "line %zu: \"%.*s\" is no kind of request%s%.*s%s", r->line,
                   SV_FMT(sv_head(name, 64)), near.len ? "; is \"" : "", SV_FMT(near),
                   near.len ? "\" meant?" : "");
    }
    if (r->scope == QUOTA_STORE && !kinds[kind].on_store)
        return ERR(e, ERR_INVALID, "line %zu: %s is on no data store; give its rate to [caller]",
                   r->line, kinds[kind].name);
    if (r->seen[kind][r->scope])
        return ERR(e, ERR_INVALID, "line %zu: %s stands twice", r->line, kinds[kind].name);
    r->seen[kind][r->scope] = true;
    if (!read_rate(value, &r->rates.of[kind][r->scope]))
        return ERR(e, ERR_INVALID, "line %zu: %s takes a rate such as 100/s or 1/min, or none",
                   r->line, kinds[kind].name);
    return ERR_OK;
}

err_code quota_rates_parse(sv text, struct quota_rates *out, struct err *e)
{
    struct reading r = { .line = 0 };
    sv line;
    if (text.len > QUOTA_FILE_MAX)
        return ERR(e, ERR_TOO_LARGE, "the file is larger than %u bytes", QUOTA_FILE_MAX);
    while (sv_cut(&text, '\n', &line)) {
        r.line++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        line = sv_trim(line);
        if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';')
            continue;
        if (line.ptr[0] == '[') {
            TRY(read_section(&r, line, e));
            continue;
        }
        size_t eq = sv_find(line, '=');
        if (eq == line.len)
            return ERR(e, ERR_INVALID, "line %zu is neither [section] nor name = rate", r.line);
        sv name = sv_trim(sv_head(line, eq)), value = sv_trim(sv_tail(line, eq + 1));
        TRY(r.in_section ? read_kind(&r, name, value, e) : read_base(&r, name, value, e));
    }
    *out = r.rates;
    return ERR_OK;
}
