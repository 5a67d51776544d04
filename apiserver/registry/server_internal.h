/* SPDX-License-Identifier: Apache-2.0 */
/* The server's struct and the functions its files share. */
#ifndef REGISTRY_SERVER_INTERNAL_H
#define REGISTRY_SERVER_INTERNAL_H

#include <sys/queue.h>

#include "apiserver/registry/answer.h"
#include "apiserver/registry/options.h"
#include "apiserver/registry/quota.h"
#include "apiserver/registry/server.h"
#include "base/map.h"

struct discovery;
struct openapi;
struct snapshots;
struct metrics;
struct crds;
struct watch_stream;
struct watch_pieces;
struct gc;
struct namespaces_loop;
struct events_loop;
struct pump;

TAILQ_HEAD(watch_streams, watch_stream);

struct api_server {
    uint32_t magic;
    struct loop *loop;
    struct store *store;
    struct kinds *kinds;
    struct loop_pool *pool;
    struct map *lines; /* write.c: objects with a computation on the pool */
    struct api_hooks hooks;
    char *advertise_address, *streams_address;
    struct discovery *discovery;
    struct openapi *openapi;
    struct snapshots *snapshots;
    struct metrics *metrics;
    struct crds *crds;
    struct watch_streams watches;
    struct watch_pieces *pieces; /* what they send */
    size_t n_watches;
    bool stopping;
    size_t open_calls;
    struct pump *pump; /* feeds gc, namespace termination */
    struct gc *gc;
    struct namespaces_loop *namespaces;
    struct events_loop *events;
    struct quotas *quotas;
    struct history *history;
    api_observe_fn *observe; /* or NULL */
    void *observe_arg;
};

/* observe.c: a write of the server itself is over. */
void observe_own(const struct api_server *s, const struct kind *kind, const char *verb,
                 const char *ns, const char *name, int status);

/* --- the verbs */
void verb_get(struct api_call *c);
void verb_list(struct api_call *c);
void verb_watch(struct api_call *c);
void verb_write(struct api_call *c); /* create, update, patch */
void verb_scale(struct api_call *c);
/* Warning: 299 - "text"; for several, call it several times. */
void call_warning(struct api_call *c, const char *text);
void verb_delete(struct api_call *c);
void verb_deletecollection(struct api_call *c);

/* --- read_wait.c: reads that need a view at least as new as ... */
/* True: what is visible will do. False: done comes later, on failure with an error for
 * read_problem. Without resourceVersion: as new as all that was acknowledged before (a
 * consistent read). 0: anything. N: not older than N, which is waited for. */
bool read_ready(struct api_server *s, const struct list_options *o, store_done_fn *done,
                void *arg) WARN_UNUSED;
/* Whether it can come to that; for callers that must set something aside first. */
static inline bool
read_may_wait(const struct api_server *s, const struct list_options *o)
{
    return o->rv_given ? o->rv > store_revision(s->store) : store_is_shared(s->store);
}
void read_problem(const struct api_server *s, const struct list_options *o,
                  const struct error *e, struct problem *p);

/* --- watch.c: ends the watches of kinds that are not in the table any more */
void watches_end_stale(struct api_server *s);

/* --- body_convert.c: turns the body into JSON, then goes on or answers */
typedef int body_convert_fn(struct span in, struct str *out, struct error *e);
/* How the body becomes JSON; NULL when it is that, as far as its type says. */
body_convert_fn *body_conversion(const struct api_call *c);
void body_convert(struct api_call *c, body_convert_fn *fn,
                  void (*then)(struct api_call *c));

/* --- representations: represent.c, table.c */
/* What a request for that version of the kind sees of a stored object: a reference. */
struct object *view_object(const struct kind *k, const struct object *o);
/* Appends the object as JSON or PartialObjectMetadata. */
void represent_object(const struct object *o, enum accept_form form, const char *version,
                      struct str *out);
void represent_partial(const struct object *o, const char *version, struct str *out);
void metadata_write(const struct object *o, struct str *out); /* with resourceVersion */
struct table_opts {
    const struct kind *kind;
    const char *version;
    enum include_object include;
    int64_t now_ns;
};
/* How long ago the time in a JSON string was, as a cell. */
void table_age(const struct table_opts *t, struct span raw, struct str *out);
/* --- builtin_tables.c: columns whose cells are worked out; NULL: those of the CRD */
struct table_column {
    const char *name, *type, *format;
    int priority;
    void (*cell)(const struct table_opts *t, const struct object *o, struct str *out);
};
const struct table_column *builtin_columns(const struct kind *k, size_t *ret_n);
/* `"columnDefinitions":[...]` */
void table_columns(const struct table_opts *t, struct str *out);
void table_row(const struct table_opts *t, const struct object *o, struct str *out);
/* {"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{...}, up to the rows. */
void table_head(const struct table_opts *t, const char *metadata, bool columns,
                struct str *out);

/* --- discovery.c, openapi*.c */
struct discovery *discovery_new(const struct api_server *s);
void discovery_free(struct discovery *d);
bool discovery_serve(struct api_call *c);
struct openapi *openapi_new(struct api_server *s);
void openapi_free(struct openapi *o);
/* The kinds have changed: built again when next asked for. */
void discovery_forget(struct api_server *s);
void openapi_forget(struct api_server *s);
bool openapi_serve(struct api_call *c);

/* --- snapshots.c: lists that go on, or may be asked for again */
struct snapshots *snapshots_new(void);
void snapshots_free(struct snapshots *s);
/* l: at its beginning; copied unless one of this scope and revision is there. done: the
 * last page went out. */
void snapshots_keep(struct snapshots *s, const struct store_list *l, const char *scope,
                    bool done, int64_t now_ms);
/* A new list, at its beginning; NULL when there is none of that revision. */
struct store_list *snapshots_find(struct snapshots *s, uint64_t revision,
                                  const char *scope, int64_t now_ms);

/* --- metrics.c */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
void metrics_request(struct metrics *m, const struct api_call *c, int status);
void metrics_watch_event(struct metrics *m);

/* --- watch.c */
void watches_write(const struct api_server *s, struct str *out); /* for /metrics */

/* --- namespaces.c */
/* A namespace that exists and is not terminating, or the reason against it. */
int namespace_check(const struct api_server *s, const char *ns, struct problem *p);

#endif
