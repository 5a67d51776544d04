/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One API request, independent of how it arrived: an HTTP connection or a caller in the
 * same process. Who serves it implements api_responder_ops; the registry answers exactly
 * once through it.
 *
 *     struct api_call *c = api_call_new(server, &request, &ops, ctx);
 *     ctx->call = c;            // before running: the answer may come at once
 *     api_call_run(c);          // later: ops->respond... was called, c is dead
 *     api_call_abort(c);        // or: the peer left first; nothing is called any more
 *
 * Threading: loop thread only.
 */
#ifndef REGISTRY_REQUEST_H
#define REGISTRY_REQUEST_H

#include "api/kind.h"
#include "base/str.h"
#include "io/http_server.h"

struct api_server;

/* Who asks. Refcounted (loop thread); strings owned. */
struct api_user {
    unsigned refs;
    char *name, *uid;
    char **groups; /* NULL-terminated */
    struct user_extra {
        char *key;
        char **values; /* NULL-terminated */
    } * extra;
    size_t n_extra;
    /* agents: the Instance they are; "" otherwise */
    char *instance_ns, *instance_name, *instance_uid;
    /* bearers of a join token: the fleet they may join; "" otherwise */
    char *join_ns, *join_fleet, *join_instance;
};
/* groups: comma separated; what comes from outside goes through user_add_group. */
struct api_user *user_new(const char *name, const char *groups);
/* Before the user is shared. */
void user_add_group(struct api_user *u, const char *group);
void user_add_extra(struct api_user *u, const char *key, const char *value);
void user_set_uid(struct api_user *u, const char *uid);
struct api_user *user_ref(struct api_user *u);
void user_unref(struct api_user *u); /* NULL ok */
bool user_in_group(const struct api_user *u, const char *group);

struct api_request {
    const char *method, *path; /* path decoded, without query */
    const char *(*query)(const void *src, const char *key);   /* NULL: absent */
    const char *(*header)(const void *src, const char *name); /* NULL: absent */
    const void *src;
    struct span body;
    struct api_user *user; /* authenticated; borrowed, the call takes a reference */
};

struct api_reader {
    http_read_fn *read;
    void (*free_arg)(void *);
    void *arg;
};
struct api_filler {
    http_fill_fn *fill;
    void (*free_arg)(void *);
    void *arg;
};

struct api_responder_ops {
    void (*header)(void *arg, const char *name, const char *value);
    /* Takes the buffer of body. */
    void (*respond)(void *arg, int status, const char *type, struct str *body);
    /* As http_respond_reader and http_respond_stream. The stream handle goes to wake. */
    void (*respond_reader)(void *arg, int status, const char *type, uint64_t length,
                           const struct api_reader *reader);
    void *(*respond_stream)(void *arg, int status, const char *type,
                            const struct api_filler *filler);
    void (*wake)(void *stream);
};

/* The route of a resource request: /api/v1/... and /apis/<group>/<version>/... */
#define ROUTE_SEGMENT_MAX 254
struct route {
    bool resource; /* false: a path outside the resources (version, healthz, ...) */
    const struct kind *kind; /* NULL: not served */
    char group[ROUTE_SEGMENT_MAX], version[64], plural[ROUTE_SEGMENT_MAX];
    char ns[ROUTE_SEGMENT_MAX], name[ROUTE_SEGMENT_MAX], sub[64];
};

struct api_call {
    struct api_server *server;
    const struct api_responder_ops *ops; /* NULL: answered, or the peer left */
    void *responder;
    struct api_request req; /* its pointers are valid while ops is not NULL */
    struct route route;
    struct api_user *user;
    struct kind *kind; /* holds route.kind */
    struct str body;   /* what a protobuf body became; req.body is that */
    const char *verb;  /* get, list, watch, create, update, patch, delete, ... */
    int64_t started_ns;
    bool cache_said; /* a Cache-Control of its own */
};

struct api_call *api_call_new(struct api_server *s, const struct api_request *req,
                              const struct api_responder_ops *ops, void *responder);
void api_call_run(struct api_call *c);
void api_call_abort(struct api_call *c);

/* --- answering: each ends the call and frees it; a call whose peer left is only freed.
 */
void call_respond(struct api_call *c, int status, const char *type, struct str *body);
void call_respond_reader(struct api_call *c, int status, const char *type,
                         uint64_t length, const struct api_reader *r);
/* Returns the stream handle for call_wake, NULL when the peer left (free_arg ran). */
void *call_respond_stream(struct api_call *c, int status, const char *type,
                          const struct api_filler *f,
                          const struct api_responder_ops **ret_ops);
void call_header(struct api_call *c, const char *name, const char *value);

static inline const char *
call_query(const struct api_call *c, const char *key)
{
    return c->req.query(c->req.src, key);
}
/* Absent, "0" and "false" are false; anything else, also "", is true. */
bool call_query_bool(const struct api_call *c, const char *key);
static inline const char *
call_header_in(const struct api_call *c, const char *name)
{
    return c->req.header(c->req.src, name);
}

#endif
