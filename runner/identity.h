/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who this agent is to the control plane: kept in <dir>/identity.json (0600), so that a
 * restart needs no join token.
 */
#ifndef RUNNER_IDENTITY_H
#define RUNNER_IDENTITY_H

#include "base/error.h"
#include "base/str.h"

struct identity {
    char *url;                     /* of the API server */
    char *ca_pem;                  /* NULL: plain HTTP */
    char *ns, *name, *uid, *fleet; /* of the Instance; fleet may be NULL */
    char *token;
    int64_t token_issued_ns, token_expires_ns; /* wall */
};
void identity_done(struct identity *id);
/* ERR_NOT_FOUND: never enrolled. ERR_CORRUPT: not readable as an identity. */
int identity_load(const char *dir, struct identity *ret, struct error *e) WARN_UNUSED;
int identity_save(const char *dir, const struct identity *id,
                  struct error *e) WARN_UNUSED;

#endif
