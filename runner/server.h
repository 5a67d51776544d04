/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API server as the agent talks to it: authenticated JSON requests whose answers come
 * on the loop. One request runs at a time, and up to SERVER_IN_FLIGHT while many wait; so
 * an agent holds two connections, that and the watch's, and a few more for the length of
 * a crowd. What goes to drover-streams does not count among these. Loop thread only.
 */
#ifndef RUNNER_SERVER_H
#define RUNNER_SERVER_H

#include <jansson.h>

#include "base/error.h"
#include "io/http_client.h"

#define SERVER_IN_FLIGHT 4
#define STREAMS_IN_FLIGHT 8

/* Retry delays: doubling between min and max, with up to a quarter of jitter on top. */
struct backoff {
    unsigned failures;
};
int64_t backoff_next_ms(struct backoff *b, int64_t min_ms, int64_t max_ms);

struct server;
struct server *server_new(struct loop *l, struct http_multi *m);
void server_free(struct server *s); /* drops what is in flight; no callback */

/* Where it is and who we are. Copied; NULL leaves the old value. */
void server_set(struct server *s, const char *url, const char *ca_pem,
                const char *bearer);
/* The target as it is now, borrowed until the next server_set. */
void server_target(const struct server *s, struct http_target *ret);
struct http_multi *server_multi(struct server *s);
/* How long a connection may be idle before the next request closes it. */
void server_set_idle(struct server *s, int seconds);
/* No request was started in the last turns of the loop, so none is still connecting. */
bool server_settled(const struct server *s);
/* Called when the server says that our token is not (any more) good. */
void server_on_unauthorized(struct server *s, void (*fn)(void *arg), void *arg);

struct server_reply {
    int status;         /* 0: no reply */
    const json_t *doc;  /* NULL: none; borrowed for the callback */
    struct error error; /* ERR_OK for 2xx; else code and message of Status, or why there
                           is no reply */
};
static inline bool
server_ok(const struct server_reply *r)
{
    return r->error.code == ERR_OK;
}
typedef void server_reply_fn(void *arg, const struct server_reply *r);

struct server_request {
    const char *method, *path;
    const char *content_type; /* NULL: application/json */
    const json_t *body;       /* or: */
    const void *bytes;        /* raw body, copied; or: */
    void *owned_bytes;        /* raw body, malloc'd, freed by the call */
    size_t n_bytes;
    const char *bearer;               /* instead of ours (enrolment), or NULL */
    const struct http_target *target; /* other server, or NULL */
    int timeout_ms;                   /* 0: 15 s */
    bool urgent;                      /* does not wait for others */
    server_reply_fn *on_reply;        /* once; never from inside server_call */
    void *arg;
};
struct server_call;
/* *slot (may not be NULL) names the call until its reply. */
void server_call(struct server *s, struct server_call **slot,
                 const struct server_request *r);
/* The reply will not be heard; what is already sent may still happen. Empty slot ok. */
void server_call_cancel(struct server_call **slot);

#define SERVER_MERGE_PATCH "application/merge-patch+json"

/* "/apis/<group>/<version>/namespaces/<ns>/<plural>[/<name>[/<sub>]]", escaped. */
struct resource;
struct str;
void server_path(struct str *out, const struct resource *r, const char *ns,
                 const char *name, const char *sub);

#endif
