/* ranges.c - the ranges of an earlier export, as the changes since then left them.
 *
 * A resource keeps its number for ever, so a range of numbers that no change since then names has
 * the same resources in the same versions, and so the same bytes. It is taken as it is. Ranges that
 * changes touched are planned anew, neighbours together, between those that stay: what grew is cut
 * into objects of the usual size again. A small range beside them goes with them, so that cuts that
 * older plans left do not stay for ever. */
#include "export/reuse/reuse.h"

#include "codec/hash.h"

#define SMALL_PART 4u  /* a range of less than this part of an object is small */
#define CHECK_ONE  50u /* of so many ranges that could be copied, one is made and compared */

/* One of each CHECK_ONE ranges that follow each other, so that an export has neither none of many
 * nor several times its share. Which one: chosen by the job, so that it is the same after a crash,
 * and another in each job. */
static bool is_checked(const struct export_job *export, size_t nth)
{
    char text[128];
    unsigned char d[SHA256_LEN];
    int n = snprintf(text, sizeof text, "%.*s/%zu", SV_FMT(export->run->job->id), nth / CHECK_ONE);
    hash_sha256_of(sv_make(text, (size_t)n), d);
    return (unsigned)(d[0] << 8 | d[1]) % CHECK_ONE == nth % CHECK_ONE;
}

/* Do they cover all numbers, end to end? */
static bool is_whole(const struct export_earlier_range *r, size_t n)
{
    if (n == 0 || r[0].range.from != 0 || r[n - 1].range.to != 0)
        return false;
    for (size_t i = 1; i < n; i++)
        if (r[i].range.from != r[i - 1].range.to || r[i].range.from <= r[i - 1].range.from)
            return false;
    return true;
}

static err_code add_planned(const struct store_range *ranges, size_t n, export_item_fn add,
                            void *ctx, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        TRY(add(ctx, &(struct export_item){ .kind = EXPORT_SCAN, .range = ranges[i] }, e));
    return ERR_OK;
}

/* Which ranges are to be written. */
static err_code find_dirty(struct export_job *export, const struct export_earlier *earlier,
                           const struct export_earlier_range *r, size_t n, size_t target,
                           struct arena *a, bool **out, struct err *e)
{
    struct store_range *ranges = arena_alloc(a, n * sizeof *ranges);
    bool *touched = arena_calloc(a, n, sizeof *touched);
    bool *dirty = arena_calloc(a, n, sizeof *dirty);
    if (ranges == NULL || touched == NULL || dirty == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++)
        ranges[i] = r[i].range;
    TRY(store_touched(export->run->store, ranges, n, earlier->t, export->t, touched, e));
    for (size_t i = 0; i < n; i++)
        dirty[i] = touched[i] || (r[i].bytes < target / SMALL_PART &&
                                  ((i && touched[i - 1]) || (i + 1 < n && touched[i + 1])));
    *out = dirty;
    return ERR_OK;
}

err_code export_reuse_plan(struct export_job *export, const struct export_earlier *earlier,
                           fhir_type type, size_t target, struct arena *a, export_item_fn add,
                           void *ctx, struct err *e)
{
    const struct export_earlier_range *r = earlier->ranges;
    struct store_range *ranges;
    bool *dirty = NULL;
    size_t n = 0, n_ranges, last;
    while (r < earlier->ranges + earlier->n && r->range.type != type)
        r++;
    while (r + n < earlier->ranges + earlier->n && r[n].range.type == type)
        n++;
    if (!is_whole(r, n)) {
        TRY(store_plan(export->run->store, type, target, a, &ranges, &n_ranges, e));
        return add_planned(ranges, n_ranges, add, ctx, e);
    }
    TRY(find_dirty(export, earlier, r, n, target, a, &dirty, e));
    for (size_t i = 0; i < n; i = last) {
        last = i + 1;
        if (!dirty[i]) {
            TRY(add(ctx,
                    &(struct export_item){
                        .kind = EXPORT_SCAN,
                        .range = r[i].range,
                        .earlier = r[i].note,
                        .check = is_checked(export, (size_t)(&r[i] - earlier->ranges)) },
                    e));
            continue;
        }
        while (last < n && dirty[last])
            last++;
        const struct store_range part = { type, r[i].range.from, r[last - 1].range.to };
        TRY(store_plan_part(export->run->store, &part, target, a, &ranges, &n_ranges, e));
        TRY(add_planned(ranges, n_ranges, add, ctx, e));
    }
    return ERR_OK;
}
