/* one_outcome.h - the outcome of a few input files, without an import: a folder for the spools, a
 * place for the objects. */
#pragma once
#include "one_import.h"

#define N_INPUTS 6u

struct one_outcome {
    struct fx f;
    struct job job;
    struct job_engine_config cfg;
    struct job_run r;
    struct sink *sink;
    struct import_file inputs[N_INPUTS];
    char names[N_INPUTS][16];
    struct import_files files;
};

static const struct import_bounds wide = { .file_failures = 1u << 30,
                                           .job_failures = 1u << 30,
                                           .file_bytes = 1u << 30,
                                           .job_bytes = 1u << 30,
                                           .ends_bytes = 1u << 20,
                                           .ratio = 1,
                                           .job_unpacked = 1u << 30 };

/* bounds: borrowed. Objects go below s3://out/p. */
static void outcome_open(struct one_outcome *o, const struct import_bounds *bounds)
{
    memset(o, 0, sizeof *o);
    fx_open(&o->f);
    OK(file_mkdirs(o->f.spool, e));
    o->job = (struct job){ .id = SV_LIT(JOB) };
    o->r = (struct job_run){ .job = &o->job, .spool_dir = o->f.spool, .import_bounds = bounds };
    for (unsigned i = 0; i < N_INPUTS; i++) {
        (void)snprintf(o->names[i], sizeof o->names[i], "o%u.ndjson", i);
        o->inputs[i].key = o->inputs[i].out_name = sv_from(o->names[i]);
    }
    o->files = (struct import_files){ o->inputs, N_INPUTS, 0 };
    const struct sink_target t = { .uri = SV_LIT("s3://out/p"),
                                   .role_arn = FX_ROLE,
                                   .kms_key_id = FX_KEY };
    OK(sink_open(o->f.world, &t, &o->sink, e));
}

/* Whoever takes it up may be another machine. */
static void outcome_open_shared(struct one_outcome *o, const struct import_bounds *bounds)
{
    outcome_open(o, bounds);
    o->cfg = (struct job_engine_config){ .records = o->f.records, .many_machines = true };
    o->r.cfg = &o->cfg;
}

static bool count_note(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    ++*(size_t *)ctx;
    return true;
}

/* Notes of the job whose names begin so. */
static size_t notes(struct one_outcome *o, const char *name)
{
    size_t n = 0;
    OK(job_run_note_scan(&o->r, sv_from(name), count_note, &n, e));
    return n;
}

/* A machine that has nothing of the one before. */
static void another_machine(struct one_outcome *o)
{
    OK(file_remove_tree(o->f.spool, e));
    OK(file_mkdirs(o->f.spool, e));
}

static void outcome_close(struct one_outcome *o)
{
    sink_close(o->sink);
    fx_close(&o->f);
}

static void put_spool(struct one_outcome *o, const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", o->f.spool, name);
    FILE *s = fopen(path, "wb");
    assert_non_null(s);
    assert_int_equal(fwrite(text, 1, strlen(text), s), strlen(text));
    assert_int_equal(fclose(s), 0);
}

/* Files in the folder of the spools. */
static size_t spools(const struct one_outcome *o)
{
    CLEANUP_BUF struct buf tree = BUF_INIT(FX_MOST);
    size_t n = 0;
    fx_tree_below(o->f.spool, "", &tree);
    sv rest = buf_sv(&tree), line;
    while (rest.len && sv_cut(&rest, '\n', &line))
        n += sv_starts(line, SV_LIT("== "));
    return n;
}
