/* SPDX-License-Identifier: Apache-2.0 */
/* One request at the front; the tag of its http_request. Private to http/. */
#ifndef HTTP_VISIT_H
#define HTTP_VISIT_H

#include "apiserver/http/front.h"

#define VISIT_ID_MAX 64

struct visit {
    struct front *front;
    struct http_request *r;
    struct api_call *call;      /* until it is answered */
    struct api_user *user, *by; /* by: who he is, when he acts as user */
    struct limits_slot slot;
    struct audit_event *audit;
    bool long_running;
    bool watch, called; /* called: it became a call, which counts itself */
    int64_t started_ns;
    char id[VISIT_ID_MAX + 1];
    char reason[64];   /* of a refusal: Status.reason */
    char message[256]; /* of a failure of ours: Status.message */
};
/* Gives it an id, tells that to the client, and tags r. */
struct visit *visit_new(struct front *f, struct http_request *r);
void visit_free(struct visit *v);
/* A line when it failed or took long; for every request at debug. */
void visit_log(const struct visit *v, int status, bool aborted);
/* Cluster administrators and our own programs, agents, all others. */
enum limits_lane visit_lane(const struct api_user *u);

#endif
