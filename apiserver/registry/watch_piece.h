/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events as they go over the wire, written once for all watchers that send them. A piece
 * is refcounted; the cache remembers the newest ones by object, type and representation,
 * within a bound of bytes. Cost of an event: one encoding per representation, one copy
 * into the connection's buffer per watcher.
 *
 * Threading: loop thread.
 */
#ifndef REGISTRY_WATCH_PIECE_H
#define REGISTRY_WATCH_PIECE_H

#include "api/object.h"
#include "apiserver/registry/options.h"

struct watch_piece {
    unsigned refs;
    size_t len;
    char bytes[];
};
struct watch_pieces;

struct watch_pieces *watch_pieces_new(void);
void watch_pieces_free(struct watch_pieces *c); /* NULL ok; pieces live on */
/* A reference. type: a string constant; form: not a Table. */
struct watch_piece *watch_pieces_get(struct watch_pieces *c, const char *type,
                                     const struct object *o, const struct accept *as);
void watch_piece_unref(struct watch_piece *p); /* NULL ok */

#endif
