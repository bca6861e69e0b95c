/* service_private.h - what the rooms of the service share.   Floor: service. */
#pragma once
#include "service/plane.h"

/* Answers x when it is refused before anybody asks who calls. */
bool door_refuses(struct service *s, struct http_exchange *x, const char *request_id);
/* What is kept of records goes; at the end. */
void datastores_forget_all(struct service *s);
