/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of auth/. */
#ifndef AUTH_AUTH_INTERNAL_H
#define AUTH_AUTH_INTERNAL_H

#include <jansson.h>

#include "apiserver/auth/auth.h"
#include "apiserver/auth/rbac.h"

#define JOIN_PREFIX "drj_"
#define JOIN_TYPE "drover.dev/join-token"
#define LABEL_INSTANCE "drover.dev/instance"
#define LABEL_MACHINE "drover.dev/machine"
#define LABEL_FLEET "drover.dev/fleet"
#define ANNOTATION_FLEET "drover.dev/fleet"
#define ANNOTATION_EXPIRES "drover.dev/expires-at"
#define ANNOTATION_INSTANCE "drover.dev/instance"
#define ANNOTATION_JOURNAL "drover.dev/journal-id"
#define AGENT_ISSUER "drover"
enum {
    AGENT_TOKEN_S = 24 * 3600,
    ACCOUNT_TOKEN_MAX_S = 365 * 24 * 3600, /* longer ones are cut to this */
    TOKEN_MAX_BYTES = 8192,
};

struct signer;
struct node_index;
struct aggregation;

struct part_token {
    char hash[65];
    struct api_user *user;
};
struct auth {
    struct api_server *server;
    char admin_hash[65]; /* "" when there is none */
    char *admin_token;   /* until auth_forget_admin */
    struct api_user *admin;
    vec(struct part_token) parts;
    struct signer *signer;
    struct loop_timer *key_age; /* NULL: keys are not rotated by age */
    bool rotating;
    struct map *tickets; /* text -> struct api_user; NULL until there is one */
    char *ca_hash;
    struct node_index *nodes; /* these three until auth_stop */
    struct rbac *rbac;
    struct aggregation *aggregation;
};

/* --- token.c: JWT, alg EdDSA */
enum token_kind { TOKEN_AGENT, TOKEN_ACCOUNT };
struct token_claims {
    enum token_kind kind;
    char ns[254], name[254], uid[64];      /* of the Instance or ServiceAccount */
    char secret_name[254], secret_uid[64]; /* accounts: bound to; "" to none */
    char jti[40];                          /* accounts */
    json_t *audiences;                     /* accounts: strings; owned */
    int64_t issued_s, expires_s;
};
void token_claims_done(struct token_claims *c);
struct signer_opts {
    const char *dir; /* the key is made when its file is missing; NULL: of this process */
    const char *issuer;
    bool rotate; /* as if the key were too old */
    bool keep;   /* however old: servers that share a store share it */
};
int signer_new(const struct signer_opts *o, struct signer **ret,
               struct error *e) WARN_UNUSED;
/* For a rotation while the server runs: what signs next, with a new key and the present
 * one among those that verify; not in the file yet. */
struct signer *signer_rotated(const struct signer *s, int64_t now_s);
int signer_write(const struct signer *s,
                 struct error *e) WARN_UNUSED; /* waits for disk */
/* What the file holds now. */
int signer_read(const struct signer *s, struct signer **ret, struct error *e) WARN_UNUSED;
bool signer_is_old(const struct signer *s);
/* "<kid> signs, made <time>", "<kid> verifies until <time>", a line each. */
void signer_list(const struct signer *s, struct str *out);
const char *signer_kid(const struct signer *s); /* the fingerprint of what signs */
bool signer_knows(const struct signer *s, const char *kid); /* former ones too */
void signer_free(struct signer *s);
const char *signer_issuer(const struct signer *s);
void signer_jwks(const struct signer *s, struct str *out); /* {"keys":[...]} */
void signer_sign(const struct signer *s, const struct token_claims *c, struct str *out);
void signer_sign_payload(const struct signer *s, const char *payload, size_t n,
                         struct str *out); /* for the fuzzer */
/* Signature, algorithm, issuer and expiry are right, or ERR_UNAUTHORIZED. */
int signer_verify(const struct signer *s, const char *token, int64_t now_s,
                  struct token_claims *ret, struct error *e) WARN_UNUSED;

/* --- tickets.c */
/* Whose ticket that is, for drover-streams; a reference, or NULL. */
struct api_user *ticket_user(struct auth *a, const struct api_user *by,
                             const char *token);
/* An access review by drover-streams of who came to its own port. */
void streams_note_access(struct auth *a, const struct api_user *by, const json_t *spec,
                         bool allowed);

/* --- rotate.c */
void rotation_start(struct auth *a);

/* --- account.c */
struct api_user *account_user(const char *ns, const char *name, const char *uid);
/* NULL and ERR_UNAUTHORIZED when what the token is bound to is gone. */
struct api_user *account_of_token(struct auth *a, const struct token_claims *c,
                                  struct error *e);
void account_token(struct auth *a,
                   struct api_call *c); /* .../serviceaccounts/<s>/token */
/* /.well-known/openid-configuration, /openid/v1/jwks. False: another path. */
bool issuer_serve(struct auth *a, struct api_call *c);

/* --- join.c */
struct join_token {
    char ns[254], fleet[254];
    char instance[254]; /* name of the one that it is for; "": a new one */
};
/* Finds a live join token by its plain text. */
int join_find(struct auth *a, const char *token, struct join_token *ret,
              struct error *e) WARN_UNUSED;
/* POST .../fleets/<fleet>/jointoken */
void join_create(struct auth *a, struct api_call *c);

/* --- enroll.c */
void enroll(struct auth *a, struct api_call *c);      /* .../enroll */
void renew_token(struct auth *a, struct api_call *c); /* .../instances/<name>/token */

/* --- reviews.c: false when the route is none of them */
bool reviews_serve(struct auth *a, struct api_call *c);

/* --- node.c, node_index.c */
bool node_allow(struct auth *a, const struct authz_attributes *t, struct str *reason);
int node_index_new(struct loop *l, struct store *s, struct node_index **ret,
                   struct error *e) WARN_UNUSED;
void node_index_free(struct node_index *n); /* NULL ok */
/* Whether an unfinished job that the Instance has claimed refers to the Secret. */
bool node_index_reads(struct node_index *n, const char *uid, const char *ns,
                      const char *secret);
/* "<ns>/<name>" of the Instance with this uid; NULL when there is none. */
const char *node_index_instance(struct node_index *n, const char *uid);

/* --- aggregate.c: writes the rules of ClusterRoles with an aggregationRule */
struct aggregation *aggregation_new(struct auth *a);
void aggregation_free(struct aggregation *g); /* NULL ok */
void aggregation_wake(void *aggregation);

/* --- escalate.c: who may write roles and bindings */
int auth_admit(void *auth, const struct admit_request *r, struct problem *p);

/* --- agent_writes.c: an agent changes status.agent of what is its own, nothing else */
int agent_admit(const struct admit_request *r, struct problem *p);

/* --- authz.c */
/* True; or the call was answered with 403. */
bool auth_allowed(struct auth *a, struct api_call *c);

/* --- authn.c */
/* As auth_token, for the audiences asked for (NULL, not an array or empty: this server);
 * those that it has in common with the token go to *ret (a new reference). */
struct api_user *auth_token_for(struct auth *a, const char *token,
                                const json_t *audiences, json_t **ret, struct error *e);
/* Fills instance_* of a user named system:agent:<uid>. False when it is gone. */
bool auth_resolve_agent(struct auth *a, struct api_user *u);

/* --- body.c: small JSON bodies of these endpoints */
/* A tree of the body; NULL and the call answered with 400/415. Caller decrefs. */
json_t *body_tree(struct api_call *c);
const char *body_text(const json_t *tree, const char *key); /* "" when absent */

#endif
