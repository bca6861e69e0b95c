/* one_range.h - an export without an engine: a store in memory, a folder for its objects, one
 * plan. */
#pragma once
#include "job/fixture.h"

#include "export/export_private.h"
#include "store/last.h"

struct one_range {
    struct fx f;
    struct store *st;
    struct arena *a;
    struct job job;
    struct job_engine_config cfg;
    struct job_run run;
    struct export_job x;
    atomic_bool halt;
    struct export_item items[4];
    bool done[4], places[5];
};

static void one_open(struct one_range *o, const struct job_export_params *params)
{
    memset(o, 0, sizeof *o);
    fx_open(&o->f);
    OK(store_open(NULL, "memory:", true, &o->st, e));
    o->a = arena_new(16 << 20);
    o->job = (struct job){ .id = SV_LIT("0123456789abcdef0123456789abcdef"),
                           .role_arn = FX_ROLE,
                           .kms_key_id = FX_KEY,
                           .job_folder_uri = SV_LIT("s3://out/p/") };
    o->cfg = (struct job_engine_config){ .records = o->f.records };
    o->run = (struct job_run){
        .job = &o->job, .store = o->st, .world = o->f.world, .cfg = &o->cfg, .halt = &o->halt
    };
    job_run_init(&o->run);
    o->x = (struct export_job){ .run = &o->run, .params = params };
    o->x.plan = (struct export_plan){ o->items, o->done, 0, 1 << 20 };
    o->x.shared.places = o->places;
    pthread_mutex_init(&o->x.shared.lock, NULL);
    OK(export_sink_open(&o->run, &o->x.sink, e));
}

static void one_close(struct one_range *o)
{
    sink_close(o->x.sink);
    pthread_mutex_destroy(&o->x.shared.lock);
    job_run_done(&o->run);
    arena_free(o->a);
    store_close(o->st);
    fx_close(&o->f);
}

/* As of now, the whole store; with since_t what changed after that commit. */
static void one_view(struct one_range *o, bool window, uint64_t since_t)
{
    struct export_job *x = &o->x;
    x->t = last_of(o->st).t;
    x->window = window;
    x->since_t = since_t;
    x->now = (struct export_view){ .store = o->st, .t = x->t, .members = { .all = true } };
    x->before = x->now;
    x->before.t = since_t;
    OK(store_changed_types(o->st, 0, x->t, x->present, e));
    OK(store_changed_types(o->st, since_t, x->t, x->changed, e));
}

static inline store_number one_number(struct store *st, fhir_type type, const char *id)
{
    store_number number = 0;
    OK(store_number_of(st, type, sv_from(id), &number, e));
    return number;
}

static void one_delete(struct store *st, fhir_type type, const char *id)
{
    struct store_commit c;
    struct store_write w = { .type = type, .id = sv_from(id), .method = STORE_METHOD_DELETE };
    OK(store_commit(st, &w, 1, &c, e));
}

static fhir_type patients(void)
{
    return fhir_type_find(SV_LIT("Patient"));
}

/* A plan of one range of Patients. */
static void one_item(struct one_range *o, export_kind kind, size_t object_bytes)
{
    o->items[0] = (struct export_item){ .kind = kind, .range = { .type = patients() } };
    o->x.plan.n = 1;
    o->x.plan.object_bytes = object_bytes;
}

/* A range of the plan, from its opening to its note. */
static struct export_tally one_write(struct one_range *o, size_t range)
{
    CLEANUP_BUF struct buf block = BUF_INIT(EXPORT_BLOCK_MAX);
    CLEANUP(export_range_free) struct export_range *g = NULL;
    struct export_tally tally = { 0 };
    struct err err;
    err_code rc = ERR_OK;
    OK(export_range_open(&o->x, range, &block, &g, e));
    while (rc == ERR_OK) {
        OK(export_range_fill(g, e));
        rc = export_range_flush(g, &err);
    }
    assert_int_equal(rc, ERR_EOF);
    OK(export_range_finish(g, &tally, e));
    return tally;
}
