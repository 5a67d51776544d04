/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry called from inside its process: the transport of struct client without a
 * socket, and watches as lines. For the simulation and tests, with a server whose pool is
 * NULL and whose store is inline_sync: a request is answered before client_* returns.
 *
 * Threading: the loop's thread.
 */
#ifndef APISERVER_LOCAL_CLIENT_H
#define APISERVER_LOCAL_CLIENT_H

#include "apiserver/registry/server.h"
#include "client/client.h"

/* Acts as the user (a reference is taken). client_free and client_clone as usual. */
struct client *local_client_new(struct api_server *s, struct api_user *user);

struct local_watch;
/* path: "/apis/.../jobs?watch=true&resourceVersion=7". wake(arg): there may be a line. A
 * refusal (410, ...) is the error. */
int local_watch_open(struct api_server *s, struct api_user *user, const char *path,
                     void (*wake)(void *arg), void *arg, struct local_watch **ret,
                     struct error *e) WARN_UNUSED;
/* 1: one {"type":...,"object":...} line without its newline; 0: nothing now; -1: over. */
int local_watch_next(struct local_watch *w, struct str *ret_line);
void local_watch_close(struct local_watch *w); /* NULL ok */

#endif
