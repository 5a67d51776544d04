/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is asking and what may they do. Bearer tokens:
 *
 *   admin        <data>/admin.token, compared by hash; user admin, group system:masters
 *   parts        hashes in the file given by --parts-tokens-file
 *   static       hashes in the file given by --token-auth-file
 *   agents       EdDSA tokens bound to the uid of an Instance; void when it is gone
 *   accounts     the same for ServiceAccounts (account.c)
 *   join tokens  drj_..., hashes in Secrets of type drover.dev/join-token
 *
 * Client certificates and anonymous requests are the front's (http/identity.c).
 *
 * The parts: authn.c (token -> user), token.c (signed tokens), join.c (join tokens),
 * tickets.c
 * (drover-streams' questions), rotate.c (keys change while
 * the server runs), enroll.c (endpoints that hand out tokens), authz.c (the chain of
 * authorizers), rbac*.c (roles and bindings), node*.c (agents), bootstrap.c (what every
 * server has), aggregate.c, escalate.c (who may write roles), reviews.c (the review
 * kinds). Loop thread only.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "apiserver/registry/server.h"

struct auth;

#define AUTH_ISSUER_DEFAULT "https://drover.default.svc"

struct auth_opts {
    struct api_server *server;
    const char *data_dir;     /* admin.token and keys/ below it; NULL: no admin token */
    const char *parts_tokens; /* file, or NULL */
    const char *user_tokens;  /* another one of the same form, or NULL */
    const char *issuer;       /* of ServiceAccount tokens; NULL: AUTH_ISSUER_DEFAULT */
    bool rotate_key;          /* sign with a new key from now on */
    const char *ca_hash;      /* told to who gets a join token; "" without TLS. Copied */
};
/* Makes the admin token and the signing key when they are missing (0600). */
int auth_new(const struct auth_opts *o, struct auth **ret, struct error *e) WARN_UNUSED;
void auth_free(struct auth *a);
/* Lets go of the store; before store_close. Called through the hooks. */
void auth_stop(void *auth);
/* Creates or completes the roles and bindings that every server has. done comes once,
 * with NULL on success. */
void auth_bootstrap(struct auth *a, void (*done)(void *arg, const struct error *e),
                    void *arg);
/* With a shared store: that this server has the same keys as the others. done comes once,
 * with NULL on success, maybe before this returns. */
void auth_check_keys(struct auth *a, void (*done)(void *arg, const struct error *e),
                     void *arg);
/* Takes a new key for signing (it is on the disk before the first token of it), or reads
 * the keys' file again. done comes once, on the loop, with the key that signs, or with
 * why it stays as it was. Tokens of former keys verify until they expire. */
typedef void auth_keys_fn(void *arg, const char *kid, const struct error *e);
void auth_rotate_keys(struct auth *a, auth_keys_fn *done, void *arg);
void auth_reload_keys(struct auth *a, auth_keys_fn *done, void *arg);
void auth_list_keys(const struct auth *a, struct str *out); /* a line each */
/* The plain admin token, for the kubeconfig; wiped by auth_forget_admin. */
const char *auth_admin_token(const struct auth *a);
void auth_forget_admin(struct auth *a);

/* From the value of an Authorization header (NULL ok). A reference, or NULL and
 * ERR_UNAUTHORIZED. */
struct api_user *auth_bearer(struct auth *a, const char *authorization, struct error *e);
struct api_user *auth_token(struct auth *a, const char *token, struct error *e);

/* A token for the user that drover-streams alone can look up by TokenReview, until it is
 * dropped: how our proxy says who sends a request. ID_TOKEN_MAX bytes. */
void auth_ticket_new(struct auth *a, struct api_user *u, char *out);
void auth_ticket_drop(struct auth *a, const char *ticket);

/* Who `by` becomes by its Impersonate-* headers (others are ignored; at least one must be
 * there). 0 and a reference, or p says why not. */
struct auth_header {
    const char *name, *value;
};
int auth_impersonate(struct auth *a, const struct api_user *by,
                     const struct auth_header *list, size_t n, struct api_user **ret,
                     struct problem *p) WARN_UNUSED;

/* The hooks to install: authorize, and serve for the endpoints of this module. */
struct api_hooks auth_hooks(struct auth *a);
bool auth_authorize(void *auth, const struct authz_attributes *a, struct str *reason);
bool auth_serve(void *auth, struct api_call *c);

#endif
