/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a unix socket, 0600, one command per connection and line, the
 * answer as text until the end. For operators and tests. Commands: help, stats, loop, log
 * SPEC; snapshot (answers the revision of the snapshot that is then on the disk), compact
 * REVISION (0: the current one); keys (those of tokens, a line each), keys rotate, keys
 * reload (answer the key that signs then); mirror COMMAND. A failure is answered as
 * "error: <text>".
 */
#ifndef HTTP_CONTROL_H
#define HTTP_CONTROL_H

#include "apiserver/auth/auth.h"
#include "apiserver/registry/server.h"
#include "io/loop.h"

struct control;
int control_start(struct loop *l, const char *path, struct api_server *s,
                  struct control **ret, struct error *e) WARN_UNUSED;
/* Whose keys "keys" is about. */
void control_set_auth(struct control *c, struct auth *a);
/* Who answers "mirror COMMAND"; fn appends the answer. */
void control_set_mirror(struct control *c,
                        void (*fn)(void *arg, const char *command, struct str *out),
                        void *arg);
void control_free(struct control *c); /* NULL ok */

#endif
