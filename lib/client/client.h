/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client of an API server (drover's, or any Kubernetes API server with our CRDs). One
 * request description, one transport table: client_http.c talks HTTP over TCP or a unix
 * socket; client_local.c (tests/sim) calls a registry in the same process. Typed helpers
 * build paths and turn Status replies into struct error, keeping the Status' causes.
 *
 * Threading: one struct client is used by one thread at a time (it owns a connection);
 * make one per worker with client_clone.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <jansson.h>

#include "api/object.h"
#include "base/str.h"
#include "io/http_client.h"

/* Which collection: a static table for our kinds (client_resource_*), or from discovery.
 */
struct resource {
    const char *group, *version, *plural, *kind; /* group "" for core */
    bool namespaced;
};
extern const struct resource resource_runs, resource_jobs, resource_fleets,
    resource_instances, resource_secrets, resource_events, resource_leases,
    resource_namespaces, resource_configmaps, resource_crds, resource_quotas,
    resource_queuestates, resource_profiles, resource_priorityclasses;

struct client_request {
    const char *method;       /* "GET", ... */
    const char *path;         /* "/apis/drover.dev/v1/namespaces/default/runs?x=y" */
    const char *content_type; /* NULL without body */
    const char *accept;       /* NULL: application/json */
    const void *body;
    size_t body_len;
    int timeout_ms; /* 0: 30 s */
};

struct client;
struct client_ops {
    /* Fills reply (status, body). An error: no reply. */
    int (*request)(void *self, const struct client_request *r, struct http_reply *reply,
                   struct error *e);
    void *(*clone)(void *self);
    void (*free)(void *self);
};
struct client *client_new(const struct client_ops *ops, void *self); /* takes self */
struct client *client_http_new(const struct http_target *target);
struct client *client_clone(const struct client *c);
void client_free(struct client *c);
static inline void
client_free_ptr(struct client **c)
{
    client_free(*c);
}
#define auto_client CLEANUP(client_free_ptr) struct client

/* Any status is a success here; for pass-through (get --raw). */
int client_raw(struct client *c, const struct client_request *r, struct http_reply *ret,
               struct error *e) WARN_UNUSED;
/* A non-2xx reply becomes an error from its Status (code, message, retryAfterSeconds).
 * The last failed Status document stays readable until the next call, for causes. */
int client_do(struct client *c, const struct client_request *r, struct str *ret_body,
              struct error *e) WARN_UNUSED;
const json_t *client_last_status(const struct client *c); /* NULL: none */

/* "/apis/<g>/<v>[/namespaces/<ns>]/<plural>[/<name>][/<sub>]"; percent-encodes. */
void client_path(struct str *out, const struct resource *r, const char *ns,
                 const char *name, const char *subresource);

/* Appends text percent-encoded for a path segment or a query value. */
void client_escape(struct str *out, const char *text);

int client_get(struct client *c, const struct resource *r, const char *ns,
               const char *name, struct object **ret, struct error *e) WARN_UNUSED;
/* query: "labelSelector=..." already encoded, or NULL. Pages through limit=500 by itself
 * and calls fn (which may ref) per item; revision of the list in *ret_revision (may be
 * NULL). */
int client_list(struct client *c, const struct resource *r, const char *ns,
                const char *query, void (*fn)(void *arg, struct object *o), void *arg,
                uint64_t *ret_revision, struct error *e) WARN_UNUSED;
/* One page of a list document: calls fn per item (borrowed unless ref'ed), appends the
 * continue token ("" on the last page). Any server's JSON. */
int client_parse_list(struct span body, void (*fn)(void *arg, struct object *o),
                      void *arg, struct str *ret_continue, uint64_t *ret_revision,
                      struct error *e) WARN_UNUSED;
/* Error code, message and retry hint of a non-2xx reply. Returns -code. */
int client_reply_error(int status, struct span body, struct error *e);

int client_create(struct client *c, const struct resource *r, const char *ns,
                  const json_t *body, struct object **ret, struct error *e) WARN_UNUSED;
int client_update(struct client *c, const struct resource *r, const char *ns,
                  const char *name, const json_t *body, struct object **ret,
                  struct error *e) WARN_UNUSED;
enum client_patch { CLIENT_PATCH_MERGE, CLIENT_PATCH_JSON, CLIENT_PATCH_APPLY };
struct client_patch_opts {
    enum client_patch type;
    const char *subresource; /* NULL, "status" */
    const char *manager;     /* fieldManager; required for APPLY */
    bool force, dry_run;
    bool strict; /* fieldValidation=Strict: unknown fields are errors */
};
int client_patch(struct client *c, const struct resource *r, const char *ns,
                 const char *name, const struct client_patch_opts *o, const json_t *patch,
                 struct object **ret, struct error *e) WARN_UNUSED;
/* Merge patch of the status subresource; ret may be NULL. */
int client_patch_status(struct client *c, const struct resource *r, const char *ns,
                        const char *name, const json_t *patch, struct object **ret,
                        struct error *e) WARN_UNUSED;
/* uid NULL: no precondition. policy NULL: "Background". */
int client_delete(struct client *c, const struct resource *r, const char *ns,
                  const char *name, const char *uid, const char *policy,
                  struct error *e) WARN_UNUSED;

/* --- contexts: where the server is and who I am
 * ----------------------------------------- */
/*
 * A kubeconfig file (the same that kubectl reads): --kubeconfig, $DROVER_CONFIG,
 * $KUBECONFIG, ~/.drover/config, ~/.kube/config, in this order; current-context or the
 * named one. Holds what http_target borrows.
 */
struct client_context {
    char *file, *name, *server, *unix_socket, *ca_pem, *token, *token_file, *ns;
    char *cert_file, *key_file; /* client certificate, or NULL */
    bool insecure;
};
int client_context_load(const char *file, const char *context, struct client_context *ret,
                        struct error *e) WARN_UNUSED;
void client_context_done(struct client_context *c);
void client_context_target(const struct client_context *c, struct http_target *ret);
/* Writes a one-context kubeconfig, 0600. */
int client_context_write(const char *file, const struct client_context *c,
                         struct error *e) WARN_UNUSED;

#endif
