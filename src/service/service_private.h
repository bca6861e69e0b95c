/* service_private.h - what service.c asks of door.c, console.c and monitor.c.   Floor: service. */
#pragma once
#include "service/plane.h"

/* Answers x if it is refused before anybody asks who calls. False: x goes on to its plane. */
bool door_refuses(struct service *service, struct http_exchange *x, const char *request_id);
/* Is x what a monitor asks? Then it is answered. */
bool monitor_answers(struct http_exchange *x, const char *request_id);
/* Is x for the console? Then it is answered; there is none unless service_config.console. */
bool console_answers(struct service *service, struct http_exchange *x, const char *request_id);
/* Is it a page of the console that a browser may ask for, wherever the link to it stood? */
bool console_asked(const struct http_request *req);
