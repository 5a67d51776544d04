/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the API server does by itself: garbage collection by ownerReferences, termination
 * of namespaces, expiry of Events. One pump reads the store's changes and offers each to
 * the loops that need it; they work from facts, in slices, and correct themselves by
 * looking again.
 */
#ifndef REGISTRY_LOOPS_H
#define REGISTRY_LOOPS_H

#include "apiserver/registry/server_internal.h"

void loops_stop(struct api_server *s);
/* Shows an object to the loops again: what they wanted of it did not come about. */
void loops_look(struct api_server *s, const char *resource, const struct object *o);

/* gc.c */
struct gc *gc_new(struct api_server *s);
void gc_free(struct gc *g);
void gc_object(struct gc *g, const char *resource, const struct object *o, bool deleted);

/* namespaces.c */
struct namespaces_loop *namespaces_new(struct api_server *s);
void namespaces_free(struct namespaces_loop *n);
void namespaces_object(struct namespaces_loop *n, const char *resource,
                       const struct object *o, bool deleted);

/* accounts.c */
void accounts_object(struct api_server *s, const char *resource, const struct object *o,
                     bool deleted);

/* events.c */
struct events_loop *events_new(struct api_server *s);
void events_free(struct events_loop *e);

/* crds.c: user-made kinds. crds_new loads those that the store has. */
struct crds;
struct crds *crds_new(struct api_server *s);
void crds_free(struct crds *c); /* NULL ok */
void crds_object(struct crds *c, const char *resource, const struct object *o,
                 bool deleted);

#endif
