/* SPDX-License-Identifier: Apache-2.0 */
/* Answering a call, for those who serve endpoints of their own beside the registry. */
#ifndef REGISTRY_ANSWER_H
#define REGISTRY_ANSWER_H

#include "apiserver/registry/problem.h"
#include "apiserver/registry/request.h"

/* Each ends the call. */
void call_problem(struct api_call *c, const struct problem *p);
void call_error(struct api_call *c, enum err_code code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void call_json(struct api_call *c, int status, struct str *body); /* takes the buffer */
/* 403 in Kubernetes' words, from c->verb and c->route (or the path). */
void call_forbidden(struct api_call *c, const char *reason);

/* False when the path is not one of resources: /api/v1/..., /apis/<group>/<version>/...
 */
struct kinds;
bool route_parse(const struct kinds *kinds, const char *path, struct route *ret);
/* The verb of a request in the words of authorization: "list", "create"; of a path its
 * method in lower case. */
const char *call_verb_of(const char *method, const struct route *r, bool watch);
/* metadata.name in the body of a create, "" when there is none. Malloc'd. */
char *body_name(struct span body, char **ret_generate_base);

#endif
