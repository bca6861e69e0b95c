/* preload.c - PreloadDataConfig SYNTHEA: a new data store is filled with generated patients.
 *
 * Patients are generated until there is a chunk of text, and each chunk goes into the store by the
 * same bulk load that an import uses. The seed is fixed: all such data stores hold the same
 * patients. */
#include "aws/aws_private.h"

#include "base/limits.h"
#include "codec/ndjson.h"
#include "gen/gen.h"

#define CHUNK_BYTES  (8u << 20)   /* of text: then it is published */
#define TEXT_BYTES   (64u << 20)  /* the most text of one chunk; a patient is never so large */
#define STORED_BYTES (128u << 20) /* bodies of a chunk as they are stored */
#define STORED_MORE  4096u        /* ... are at most so much longer than its text */
#define SEED         1u

struct preload { /* one chunk */
    const atomic_bool *stopping;
    struct store *st;
    const struct lease *lease;
    struct fhir_reader *reader;
    struct buf text, stored, items, index;
};

static err_code go_on(const struct preload *p, struct err *e)
{
    return atomic_load(p->stopping) ? ERR(e, ERR_CANCELLED, "the service is stopping") : ERR_OK;
}

static err_code publish(struct preload *p, struct err *e)
{
    CLEANUP(store_bulk_abort) struct store_bulk *b = NULL;
    struct store_commit at;
    sv rest = buf_sv(&p->text), line;
    buf_clear(&p->stored);
    buf_clear(&p->items);
    buf_clear(&p->index);
    /* items hold views of it, so it must not move */
    TRY(buf_reserve(&p->stored, p->text.len + STORED_MORE, e));
    while (ndjson_line(&rest, &line)) {
        struct fhir_envelope env;
        TRY(go_on(p, e));
        TRY(fhir_envelope_read(p->reader, line, SV_NONE, &p->stored, &env, e));
        size_t index_at = p->index.len;
        TRY(search_index(env.type, fhir_reader_root(p->reader), &p->index, e));
        struct store_bulk_item it = { .type = env.type,
                                      .id = env.id,
                                      .body = env.body,
                                      .index = { NULL, p->index.len - index_at } };
        TRY(buf_add(&p->items, sv_make(&it, sizeof it), e));
    }
    struct store_bulk_item *items = (struct store_bulk_item *)(void *)p->items.ptr;
    size_t n = p->items.len / sizeof *items;
    /* the index text is whole and moves no more: now each item can have its view of it */
    const char *index = p->index.ptr;
    for (size_t i = 0; i < n; index += items[i++].index.len)
        items[i].index.ptr = index;
    TRY(store_bulk_begin(p->st, &b, e));
    TRY(store_bulk_fill(b, items, n, e));
    TRY(go_on(p, e));
    buf_clear(&p->text);
    struct store_bulk *one = b;
    /* taken in every case */
    b = NULL;
    return store_bulk_publish_under(p->lease, &one, 1, SV_NONE, SV_NONE, &at, e);
}

static err_code fill(struct preload *p, struct gen *g, struct err *e)
{
    for (uint64_t i = 0; i < gen_n_units(g); i++) {
        TRY(go_on(p, e));
        TRY(gen_unit(g, i, &p->text, e));
        if (p->text.len >= CHUNK_BYTES)
            TRY(publish(p, e));
    }
    return p->text.len ? publish(p, e) : ERR_OK;
}

err_code preload_run(struct service *service, struct store *st, const struct lease *lease,
                     struct err *e)
{
    struct preload p = { .stopping = &service->stopping,
                         .st = st,
                         .lease = lease,
                         .reader = fhir_reader_new(LIMIT_DATA_BODY_BYTES) };
    struct gen *g = NULL;
    buf_init(&p.text, TEXT_BYTES);
    buf_init(&p.stored, STORED_BYTES);
    buf_init(&p.items, TEXT_BYTES);
    buf_init(&p.index, TEXT_BYTES);
    err_code rc = gen_new(SEED, service->cfg.preload_patients, &g, e);
    if (rc == ERR_OK)
        rc = fill(&p, g, e);
    gen_free(g);
    fhir_reader_free(p.reader);
    buf_done(&p.text);
    buf_done(&p.stored);
    buf_done(&p.items);
    buf_done(&p.index);
    return rc;
}
