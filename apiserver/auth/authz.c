/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a user may do. A chain of authorizers, each says yes or has no opinion:
 *
 *   masters   group system:masters: everything
 *   node      an agent: its Instance, its Lease, the jobs bound to it, the Secrets that
 *             jobs it has claimed refer to, Events (node.c)
 *   rbac      roles and bindings (rbac.c); those that every server has: bootstrap.c
 */
#include <string.h>

#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"

static bool
masters_allow(struct auth *a, const struct authz_attributes *t, struct str *reason)
{
    UNUSED(a);
    UNUSED(reason);
    return user_in_group(t->user, "system:masters");
}

static bool
rbac_allow(struct auth *a, const struct authz_attributes *t, struct str *reason)
{
    return a->rbac != NULL && rbac_authorize(a->rbac, t, reason);
}

static bool (*const authorizers[])(struct auth *a, const struct authz_attributes *t,
                                   struct str *reason) = {masters_allow, node_allow,
                                                          rbac_allow};

bool
auth_authorize(void *auth, const struct authz_attributes *t, struct str *reason)
{
    for (size_t i = 0; i < ARRAY_LEN(authorizers); i++) {
        if (authorizers[i](auth, t, reason))
            return true;
    }
    return false;
}

bool
auth_allowed(struct auth *a, struct api_call *c)
{
    const struct route *r = &c->route;
    struct authz_attributes t = {.user = c->user,
                                 .verb = c->verb,
                                 .group = r->group,
                                 .resource = r->plural,
                                 .sub = r->sub,
                                 .ns = r->ns,
                                 .name = r->name};
    auto_str reason = STR_INIT(256);

    if (auth_authorize(a, &t, &reason))
        return true;
    call_forbidden(c, reason.ptr);
    return false;
}
