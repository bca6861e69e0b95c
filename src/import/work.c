/* work.c - chunks of an import at the pool's workers.
 *
 * The reader goes ahead of the workers, but for a few chunks only. The memory of a chunk's text
 * goes to the next one as soon as the lines are parsed. */
#include "import/import_private.h"

#include "base/clock.h"

#include <malloc.h>

#define READ_AHEAD 1u /* chunks whose text waits for a worker */

/* Its lines are parsed: the text is another one's. */
static void finish_locked(struct import_job *import, struct import_chunk *chunk)
{
    chunk->finished = true;
    import->shared.texts[import->shared.n_texts++] = chunk->text;
    buf_init(&chunk->text, IMPORT_CHUNK_MAX);
    pthread_cond_signal(&import->shared.finished);
}

static void chunk_task(void *ctx, unsigned worker)
{
    struct import_chunk *chunk = ctx;
    struct import_job *import = chunk->owner;
    import_chunk_parse(chunk, worker);
    const uint64_t us = clock_mono_us() - chunk->read_us;
    pthread_mutex_lock(&import->shared.lock);
    import->shared.n_unparsed--;
    if (us > import->shared.slowest_us)
        import->shared.slowest_us = us;
    finish_locked(import, chunk);
    pthread_mutex_unlock(&import->shared.lock);
}

static unsigned most_unparsed(const struct import_job *import)
{
    return job_pool_n_workers(import->run->pool) + READ_AHEAD;
}

bool import_work_has_room(struct import_job *import)
{
    pthread_mutex_lock(&import->shared.lock);
    const bool has = import->shared.n_unparsed < most_unparsed(import);
    pthread_mutex_unlock(&import->shared.lock);
    return has;
}

bool import_work_is_idle(struct import_job *import, uint64_t *slowest_us)
{
    pthread_mutex_lock(&import->shared.lock);
    const bool is = import->shared.n_unparsed == 0;
    *slowest_us = import->shared.slowest_us;
    pthread_mutex_unlock(&import->shared.lock);
    return is;
}

void import_work_wait(struct import_job *import)
{
    pthread_mutex_lock(&import->shared.lock);
    while (import->shared.n_unparsed >= most_unparsed(import))
        pthread_cond_wait(&import->shared.finished, &import->shared.lock);
    pthread_mutex_unlock(&import->shared.lock);
}

void import_work_text(struct import_job *import, struct import_chunk *chunk)
{
    pthread_mutex_lock(&import->shared.lock);
    if (chunk->text.ptr == NULL && import->shared.n_texts)
        chunk->text = import->shared.texts[--import->shared.n_texts];
    pthread_mutex_unlock(&import->shared.lock);
}

void import_work_add(struct import_job *import, struct import_chunk *chunk)
{
    chunk->read_us = clock_mono_us();
    pthread_mutex_lock(&import->shared.lock);
    import->shared.n_unparsed++;
    pthread_mutex_unlock(&import->shared.lock);
    job_tasks_add(import->tasks, chunk_task, chunk);
}

void import_work_skip(struct import_job *import, struct import_chunk *chunk)
{
    pthread_mutex_lock(&import->shared.lock);
    finish_locked(import, chunk);
    pthread_mutex_unlock(&import->shared.lock);
}

size_t import_work_finished(struct import_job *import, uint64_t first, uint64_t end)
{
    size_t n = 0;
    pthread_mutex_lock(&import->shared.lock);
    while (!import->ring[first % import->n_ring].finished)
        pthread_cond_wait(&import->shared.finished, &import->shared.lock);
    while (first + n < end && import->ring[(first + n) % import->n_ring].finished)
        n++;
    pthread_mutex_unlock(&import->shared.lock);
    return n;
}

void import_work_give_memory_back(struct import_job *import)
{
    for (unsigned i = 0; i < job_pool_n_workers(import->run->pool); i++)
        import_worker_done(&import->workers[i]);
    while (import->shared.n_texts)
        buf_done(&import->shared.texts[--import->shared.n_texts]);
    for (unsigned i = 0; i < import->n_ring; i++)
        buf_done(&import->ring[i].text);
    /* a large part of it would stay with the allocator */
    (void)malloc_trim(0);
}
