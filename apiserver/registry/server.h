/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: every kind served from the store by one generic path. It knows no sockets
 * (registry/request.h is its door), no tokens (auth/ installs hooks), no threads but its
 * loop and the compute pool.
 *
 * Threading: loop thread only. Loop rule: no call runs longer than 2 ms; lists are
 * collected in slices, apply and large bodies are computed on the pool. With pool NULL
 * everything is done at once, for tests and the simulation.
 */
#ifndef REGISTRY_SERVER_H
#define REGISTRY_SERVER_H

#include "apiserver/registry/compute.h"
#include "apiserver/registry/history.h"
#include "apiserver/registry/kinds.h"
#include "apiserver/registry/request.h"
#include "apiserver/store/store.h"
#include "io/loop.h"

struct api_server;
struct keyring;

struct authz_attributes {
    const struct api_user *user;
    const char *verb;
    /* resource requests */
    const char *group, *resource, *sub, *ns, *name;
    const char *label_selector, *field_selector; /* or NULL */
    /* The name in the body of an agent's create: rules of RBAC's kind do not see it, but
     * an agent may only create what carries its own name. NULL otherwise. */
    const char *body_name;
    /* others */
    const char *path; /* NULL for resource requests */
    bool explain;     /* say in reason why it is allowed */
};

/* A write that has been computed and not been committed. */
struct admit_request {
    struct api_user *user; /* NULL: the server itself */
    const struct kind *kind;
    enum write_type type;
    const char *sub;
    const struct object *live, *next; /* live NULL: created */
};

/* Installed by auth/; NULL members: everything is allowed, nothing is served. */
struct api_hooks {
    bool (*authorize)(void *arg, const struct authz_attributes *a, struct str *reason);
    /* Requests that are not the generic verbs (reviews, enrolment, tokens, streams,
     * health): true when it took the call. Called before the route is resolved. */
    bool (*serve)(void *arg, struct api_call *c);
    /* What a user may not write although the verb is allowed; dry runs too. Not asked for
     * internal writes. Less than 0 with p filled refuses. */
    int (*admit)(void *arg, const struct admit_request *r, struct problem *p);
    /* Called by api_server_prepare_close, and when other hooks take over. */
    void (*stop)(void *arg);
    void *arg;
};

/* What did not come as a request here: writes of the server's own and the mirror's, and
 * what drover-streams serves on its own port. */
struct api_observed {
    const char *user, *groups; /* comma separated */
    const char *verb, *path;   /* "create", "/api/v1/namespaces/x/configmaps/y" */
    struct span body;          /* empty for the server's own */
    int status;
    const char *source, *user_agent; /* NULL: this program */
};
typedef void api_observe_fn(void *arg, const struct api_observed *o);

struct api_server_opts {
    struct loop *loop;
    struct store *store;
    struct kinds *kinds;
    struct loop_pool *pool;        /* NULL: compute inline */
    const char *advertise_address; /* "host:port" for discovery; copied */
    const char *streams_address;   /* of drover-streams; NULL: none. Copied */
    struct history_limits history;
    const struct keyring
        *keys; /* borrowed; NULL: what is sealed is lost with the process */
};

int api_server_new(const struct api_server_opts *o, struct api_server **ret,
                   struct error *e) WARN_UNUSED;
void api_server_set_hooks(struct api_server *s, const struct api_hooks *h);
/* For the audit log. fn is called when a write is over. */
void api_server_set_observer(struct api_server *s, api_observe_fn *fn, void *arg);
void api_server_observed(const struct api_server *s, const struct api_observed *o);
/* Creates what every server has: the namespaces default and drover-system, and the CRD
 * objects. done comes on the loop, with NULL on success. */
void api_server_bootstrap(struct api_server *s,
                          void (*done)(void *arg, const struct error *e), void *arg);
/* Starts garbage collection, namespace termination and Event expiry. */
int api_server_start_loops(struct api_server *s, struct error *e) WARN_UNUSED;
/* Ends all watches cleanly; new ones are refused with 503. */
void api_server_stop_watches(struct api_server *s);
struct loop_pool *api_server_pool(const struct api_server *s); /* NULL: none */
/* Before the pool is freed: from here on everything is computed at once. NULL ok. */
void api_server_leave_pool(struct api_server *s);
/* Before store_close: drops what refers to the store (watches, snapshots, loops). Calls
 * whose commits complete in store_close are still answered. NULL ok. */
void api_server_prepare_close(struct api_server *s);
void api_server_free(struct api_server *s); /* NULL ok; no call may be open */

struct store *api_server_store(const struct api_server *s);
const struct kinds *api_server_kinds(const struct api_server *s);
struct loop *api_server_loop(const struct api_server *s);

/* --- writing, from a request or from the server itself --------------------------------
 */
struct write_req {
    const struct kind *kind;
    enum write_type type;
    const char *ns, *name, *sub; /* "" when not given; copied */
    struct span body;            /* copied */
    struct write_options opt;
    bool internal; /* the server's own: read-only kinds too, no namespace check */
    /* Who asks: for admit, and told as the author in the history. A reference is taken.
     * NULL: the server. */
    struct api_user *user;
};
struct write_result {
    struct object *obj; /* borrowed; NULL on failure */
    bool created, gone;
    const struct problem *problem; /* why not; on success its v holds the warnings */
};
typedef void write_done_fn(void *arg, const struct write_result *r);
/* done is called exactly once, maybe before this returns. */
void registry_write(struct api_server *s, const struct write_req *r, write_done_fn *done,
                    void *arg);
/* A cluster-scoped object of the server's own, by the manager drover-apiserver. */
void registry_write_own(struct api_server *s, const struct kind *kind,
                        enum write_type type, const char *name, const char *json,
                        write_done_fn *done, void *arg);
struct delete_req {
    const struct kind *kind;
    const char *ns, *name;
    const char *user; /* as above */
    struct delete_options opt;
    bool internal;
};
void registry_delete(struct api_server *s, const struct delete_req *r,
                     write_done_fn *done, void *arg);
/* Writes obj over live (same name) without the pipeline: gc and namespace termination.
 * gone: deletes instead, obj being the last state. ERR_CONFLICT when live moved. */
int registry_replace(struct api_server *s, const struct kind *kind,
                     const struct object *live, struct object *obj, bool gone,
                     struct error *e) WARN_UNUSED;

/* --- metrics --------------------------------------------------------------------------
 */
void api_server_metrics(const struct api_server *s, struct str *out);
/* A request that was answered before it became a call: refused, or served elsewhere. */
void api_server_count(struct api_server *s, const char *method, const char *path,
                      bool watch, int64_t started_ns, int status);

#endif
