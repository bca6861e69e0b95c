#include "service/rest_private.h"

bool rest_is_conditional(const struct rest_call *c)
{
    (void)c;
    return false;
}

err_code rest_conditional(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    (void)p;
    if (c->in.if_none_exist.len)
        return ERR(e, ERR_UNSUPPORTED, "If-None-Exist is not offered yet");
    return ERR_OK;
}
