/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an agent needs of an API server and of drover-streams, in the test's own process
 * and on its loop, with faults on demand. One namespace, one instance.
 */
#ifndef TESTS_RUNNER_FAKE_API_H
#define TESTS_RUNNER_FAKE_API_H

#include <jansson.h>

#include "io/http_server.h"

struct fake_api {
    struct loop *loop;
    struct http_server *server;
    char url[64];
    uint64_t revision;
    json_t *jobs;    /* name -> Job */
    json_t *told;    /* name -> states that were told of it, "Claimed Running" */
    json_t *logs;    /* uid -> base64 of the frames */
    json_t *secrets; /* name -> Secret */
    json_t *lease, *instance_status;
    json_t *posted; /* Events, in order */
    const char *lost_after;
    const char *security; /* spec.security of the fleet, JSON; NULL: absent */

    struct http_stream *watch;
    struct str events; /* lines not yet sent */
    bool watch_end;

    /* faults */
    unsigned fail;     /* that many requests are answered 500 */
    unsigned lose;     /* that many status patches are carried out, then answered 500 */
    unsigned conflict; /* before that many claims the job changes */
    bool down;         /* everything is answered 503 */
    unsigned n_enrol, n_lists, n_patches, n_lease;
};

void fake_api_start(struct fake_api *api, struct loop *l);
void fake_api_stop(struct fake_api *api);
/* A Job bound to the instance; extra (may be NULL) is merged over it. */
void fake_api_bind(struct fake_api *api, const char *name, const char *uid,
                   const char *extra_json);
void fake_api_patch(struct fake_api *api, const char *name, const char *patch_json);
void fake_api_delete(struct fake_api *api, const char *name);
void fake_api_expire_watch(struct fake_api *api); /* 410 inside the stream */
/* String or number at a path of status.agent as text; "" when absent. */
const char *fake_api_agent(const struct fake_api *api, const char *name,
                           const char *field);
/* The payload of the frames stored for a job. */
void fake_api_log(const struct fake_api *api, const char *uid, struct str *out);

#define FAKE_INSTANCE_UID "6a1f5fd0-98c1-4b15-8f0e-0d6c9d0f4c11"

#endif
