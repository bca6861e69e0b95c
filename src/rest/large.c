/* large.c - large resources that are read as a whole: few at a time.
 *
 * A room that reads many resources gets large ones cut (store_get_light). When one of them is to be
 * sent, the whole is fetched here. The call waits until few enough others hold a large one, and
 * gives its own back as soon as it is part of the answer. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/rest_private.h"

#include "base/limits.h"

err_code rest_large_get(struct rest_call *call, const struct store_version *cut,
                        struct rest_large *out, struct err *e)
{
    struct service *service = call->service;
    *out = (struct rest_large){ 0 };
    rest_let_go(call);
    pthread_mutex_lock(&service->rest->large.lock);
    while (service->rest->large.n == LIMIT_LARGE_AT_A_TIME)
        pthread_cond_wait(&service->rest->large.fewer, &service->rest->large.lock);
    service->rest->large.n++;
    pthread_mutex_unlock(&service->rest->large.lock);
    out->service = service;
    out->a = arena_new(query_whole_len(cut) + (64u << 10));
    return store_get(call->st, cut->type, cut->id, cut->t, out->a, &out->v, e);
}

void rest_large_done(struct rest_large *l)
{
    if (l->service == NULL)
        return;
    arena_free(l->a);
    pthread_mutex_lock(&l->service->rest->large.lock);
    l->service->rest->large.n--;
    pthread_cond_signal(&l->service->rest->large.fewer);
    pthread_mutex_unlock(&l->service->rest->large.lock);
    *l = (struct rest_large){ 0 };
}

/* Three bytes of content come out of four bytes of base64, so an answer has at least so many. */
err_code rest_large_answer(struct rest_call *call, const struct store_version *cut, bool content,
                           struct rest_large *out, struct err *e)
{
    size_t whole = query_whole_len(cut), least = content ? whole / 4 * 3 : whole + FHIR_SPLICE_MAX;
    if (least > call->out.body.max)
        return ERR(e, ERR_TOO_LARGE,
                   "This %s has %zu bytes, and an answer at most %zu: an export holds it",
                   fhir_type_name(cut->type), whole, call->out.body.max);
    return rest_large_get(call, cut, out, e);
}

static bool fits_behind(const struct rest_call *call, const struct store_version *v, size_t there)
{
    there += REST_PAGE_FRAME;
    return v->left_out == 0 ||
           (there < call->out.body.max && query_whole_len(v) <= call->out.body.max - there);
}

bool rest_fits(const struct rest_call *call, const struct store_version *v)
{
    return fits_behind(call, v, call->out.body.len);
}

bool rest_fits_alone(const struct rest_call *call, const struct store_version *v)
{
    return !rest_fits(call, v) && fits_behind(call, v, 0);
}

err_code rest_version_put(struct rest_call *call, const struct store_version *v,
                          struct json_writer *w, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(query_whole_len(v) + FHIR_SPLICE_MAX);
    CLEANUP_LARGE struct rest_large l = { 0 };
    bool whole = v->left_out == 0 || rest_fits(call, v);
    TRY(rest_may_grow(call, w->out->len + (whole ? query_whole_len(v) : v->body.json.len), e));
    if (v->left_out && whole) {
        TRY(rest_large_get(call, v, &l, e));
        v = &l.v;
    }
    TRY(rest_version_write(v, &b, e));
    /* The text is in b now: room for the next copy. */
    arena_free(l.a);
    l.a = NULL;
    json_raw(w, buf_sv(&b));
    return ERR_OK;
}
