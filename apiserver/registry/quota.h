/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ResourceQuota by object count. A create that counts carries the raised status.used of
 * each quota in its own commit, with the quota's revision expected: two creates, or two
 * servers, never both take the last place. Deletions lower it later, by counting again.
 */
#ifndef REGISTRY_QUOTA_H
#define REGISTRY_QUOTA_H

#include "apiserver/registry/problem.h"
#include "apiserver/store/store.h"

#define QUOTAS_MAX 8 /* of one namespace */

struct api_server;
struct quotas;

/* "count/runs.drover.dev" -> "runs.drover.dev"; NULL: nothing that is counted. */
const char *quota_resource(const char *key);

/* What a create takes from the quotas of its namespace. */
struct quota_use {
    size_t n;
    struct object *live[QUOTAS_MAX], *next[QUOTAS_MAX]; /* references */
};
void quota_use_done(struct quota_use *u);
/* 403 in Kubernetes' words when a quota is used up. O(1) while there is no quota at all.
 */
int quota_admit(struct api_server *s, const struct kind *kind, const struct object *obj,
                struct quota_use *ret, struct problem *p) WARN_UNUSED;
struct store_op quota_op(const struct quota_use *u, size_t i);

/* The loop that counts. */
struct quotas *quotas_new(struct api_server *s);
void quotas_free(struct quotas *q); /* NULL ok */
void quotas_object(struct quotas *q, const char *resource, const struct object *o);

#endif
