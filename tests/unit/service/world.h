/* world.h - a service in a folder of its own, with all that it stands on: records, data stores,
 * jobs, callers. What is linked with tests/peers/loopback.c asks it without sockets. */
#pragma once
#include "test.h"

#include "../../peers/loopback.h"
#include "base/file.h"
#include "export/export.h"
#include "import/import.h"
#include "rest/rest.h"

struct world {
    char dir[64], system[128], stores[128], spool[128], served[128], objects[128], credentials[128];
    /* between world_make() and world_open(); 0: the defaults */
    unsigned max_datastores, preload_patients;
    bool park; /* a Describe* may wait for the end of what it tells of */
    struct records *records;
    struct store_env *env;
    struct store_registry *registry;
    struct sink_world *world;
    struct parking *parking;
    struct audit *audit; /* before world_open(); NULL: no audit log */
    struct job_engine *jobs;
    struct auth *auth;
    struct service *service;
};

static inline void world_put_file(struct world *w, const char *name, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", w->dir, name);
    OK(file_write_atomic(path, sv_from(text), e));
}

/* The folder and the records: a test may put something into them before world_open(). */
static inline void world_make(struct world *w)
{
    *w = (struct world){ .dir = TEST_TMP "/fhirlake-world-XXXXXX" };
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->system, sizeof w->system, "%s/system", w->dir);
    (void)snprintf(w->stores, sizeof w->stores, "%s/stores", w->dir);
    (void)snprintf(w->spool, sizeof w->spool, "%s/jobs", w->dir);
    (void)snprintf(w->served, sizeof w->served, "%s/exports", w->dir);
    (void)snprintf(w->objects, sizeof w->objects, "%s/objects", w->dir);
    (void)snprintf(w->credentials, sizeof w->credentials, "%s/credentials", w->dir);
    OK(file_mkdirs(w->stores, e));
    OK(file_mkdirs(w->spool, e));
    OK(records_open(w->system, &w->records, e));
}

static inline void world_job_ended(void *parking, const struct job_end *end)
{
    parking_wake(parking, end->id);
}

/* Starts the service. open: everybody may do all; else the callers are those of the file
 * `credentials`. */
static inline void world_open(struct world *w, const struct service_plane *control, bool open)
{
    w->env = store_env_new(8u << 20, 1);
    OK(store_registry_new(w->env, w->stores, &w->registry, e));
    struct sink_config sc = { .objects_dir = w->objects, .make_buckets = true };
    OK(sink_world_new(&sc, &w->world, e));
    /* longer than any end takes */
    struct parking_config pc = { .max = 8, .wait_us = 120u * 1000000u };
    w->parking = NULL;
    if (w->park)
        OK(parking_new(&pc, &w->parking, e));
    struct job_engine_config jc = {
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = w->records,
        .stores = w->registry,
        .world = w->world,
        .spool_dir = w->spool,
        .served_dir = w->served,
        .n_workers = 1,
        .ended = w->park ? world_job_ended : NULL,
        .ended_ctx = w->parking
    };
    OK(job_engine_start(&jc, &w->jobs, e));
    struct auth_config ac = { .open = open,
                              .credentials_path = w->credentials,
                              .region = SV_LIT("us-east-1"),
                              .account_id = SV_LIT("000000000000") };
    OK(auth_new(&ac, &w->auth, e));
    struct service_config cfg = { .control = control,
                                  .data = &rest_plane,
                                  .records = w->records,
                                  .stores = w->registry,
                                  .jobs = w->jobs,
                                  .auth = w->auth,
                                  .parking = w->parking,
                                  .audit = w->audit,
                                  .region = SV_LIT("us-east-1"),
                                  .account_id = SV_LIT("000000000000"),
                                  .n_workers = 1,
                                  .max_datastores = w->max_datastores,
                                  .preload_patients = w->preload_patients };
    OK(service_new(&cfg, &w->service, e));
}

/* Stops the service; world_open() starts it again on the same records. */
static inline void world_stop(struct world *w)
{
    if (w->parking)
        parking_close(w->parking);
    service_free(w->service);
    audit_close(w->audit);
    job_engine_stop(w->jobs);
    if (w->parking)
        parking_free(w->parking);
    store_registry_free(w->registry);
    store_env_free(w->env);
    sink_world_free(w->world);
    auth_free(w->auth);
}

static inline int world_close(struct world *w)
{
    world_stop(w);
    records_close(w->records);
    return file_remove_tree(w->dir, NULL);
}

/* The record of a data store, which is made new; more: further members behind a comma, or "". */
static inline void world_put_record(struct world *w, const char *id, const char *more)
{
    char record[700], key[64];
    int n = snprintf(record, sizeof record,
                     "{\"id\":\"%s\",\"status\":\"ACTIVE\",\"order\":1,\"created\":1%s}", id, more);
    assert_in_range(n, 1, sizeof record - 1);
    (void)snprintf(key, sizeof key, "datastore/%s", id);
    OK(records_put(w->records, sv_from(key), sv_from(record), e));
    datastore_forget(w->service, sv_from(id));
}
