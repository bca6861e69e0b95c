/* rates.c - the rates of --quotas: HealthLake's own, or a file that is read again when it changes.
 *
 * What a caller has taken stays taken when the rates change; a caller who was never limited begins
 * with full buckets. A request that was let in is not asked again. */
#include "server/serve_private.h"

#include "base/file.h"
#include "service/service.h"

static err_code read_file(const char *path, struct quota_rates *out, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(QUOTA_FILE_MAX);
    err_code rc = file_read(path, &text, e);
    if (rc == ERR_OK)
        rc = quota_rates_parse(buf_sv(&text), out, e);
    if (rc != ERR_OK)
        err_context(e, "--quotas is none, healthlake or a file of rates; %.180s", path);
    return rc;
}

static err_code read_again(void *ctx, struct err *e)
{
    const struct rates *rates = ctx;
    struct quota_rates now;
    TRY(read_file(rates->which, &now, e));
    service_set_quotas(rates->service, &now);
    LOG(LOG_INFO, "quotas", LOG_STR("state", "read again"), LOG_STR("file", rates->which));
    return ERR_OK;
}

err_code rates_open(struct rates *rates, const char *which, struct watch *watch, struct err *e)
{
    const struct watch_files file = { .event = "quotas",
                                      .note = "the rates before stay",
                                      .paths = { which },
                                      .read = read_again,
                                      .ctx = rates };
    rates->which = which;
    rates->given = strcmp(which, "none") != 0;
    if (!rates->given)
        return ERR_OK;
    if (strcmp(which, "healthlake") == 0) {
        quota_rates_healthlake(&rates->first);
        return ERR_OK;
    }
    watch_add(watch, &file);
    return read_file(which, &rates->first, e);
}
