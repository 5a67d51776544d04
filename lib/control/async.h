/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests whose answers come later on the owner's thread: for batch loops with many
 * requests in flight (scheduler), for events and leases. Two transports: an API server
 * over http_multi, and a plain client called when stepped (simulation).
 */
#ifndef CONTROL_ASYNC_H
#define CONTROL_ASYNC_H

#include "client/client.h"

struct async_client;

/* e->code ERR_OK: 2xx and its body. Otherwise as client_do fails. */
typedef void async_done_fn(void *arg, struct span body, const struct error *e);

/* target is copied, the multi is borrowed. */
struct async_client *async_http_new(struct http_multi *m,
                                    const struct http_target *target);
/* c is borrowed. Calls are answered by async_step, in order. */
struct async_client *async_local_new(struct client *c);
/* Drops what is in flight; its callbacks are not called. NULL ok. */
void async_free(struct async_client *a);

/* Everything in r is copied. done is called exactly once, never from inside this call. */
void async_start(struct async_client *a, const struct client_request *r,
                 async_done_fn *done, void *arg);
/* The same with a JSON body, which is serialised here; r->body is not looked at. */
void async_json(struct async_client *a, const struct client_request *r,
                const json_t *body, async_done_fn *done, void *arg);
size_t async_in_flight(const struct async_client *a);
/* Local transport: answers the oldest call; false: there is none. */
bool async_step(struct async_client *a);

#endif
