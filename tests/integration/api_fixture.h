/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole API server in this process: store in a temporary directory (commits complete in
 * store_flush), registry, authentication, the background loops. Requests go through the
 * local client, so that what is tested is what an HTTP client gets.
 */
#ifndef TESTS_API_FIXTURE_H
#define TESTS_API_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>

#include "apiserver/auth/auth.h"
#include "apiserver/local_client.h"

#define RUNS "/apis/drover.dev/v1/namespaces/default/runs"
#define JOBS "/apis/drover.dev/v1/namespaces/default/jobs"
#define FLEETS "/apis/drover.dev/v1/namespaces/default/fleets"
#define INSTANCES "/apis/drover.dev/v1/namespaces/default/instances"
#define SECRETS "/api/v1/namespaces/default/secrets"
#define MERGE "application/merge-patch+json"
#define APPLY "application/apply-patch+yaml"
#define JSON_PATCH "application/json-patch+json"

struct api_fixture {
    char *dir;
    struct loop *loop;
    struct kinds *kinds;
    struct keyring *keys;
    struct store *store;
    struct api_server *server;
    struct auth *auth;
    struct api_user *admin;
    struct client *client;
    struct http_reply reply; /* of the last request */
    json_t *json;            /* its body; NULL when it is not JSON */
    const char *accept;      /* Accept of the next request; NULL: JSON */
    struct history_limits history;
};

int api_setup(void **state); /* cmocka; *state is a struct api_fixture */
int api_setup_history(void **state, const struct history_limits *history);
int api_teardown(void **state);
/* Stops the server and starts it again on the same data. */
void api_restart(struct api_fixture *f);

/* One request as the admin (or as user); returns the status. */
int api_do(struct api_fixture *f, const char *method, const char *path, const char *type,
           const char *body);
int api_do_as(struct api_fixture *f, struct api_user *user, const char *method,
              const char *path, const char *type, const char *body);
/* As api_do, and fails with the reply when the status is another. */
void api_ok(struct api_fixture *f, int status, const char *method, const char *path,
            const char *type, const char *body);
/* "metadata.labels.a", "items.0.metadata.name" in the last reply. "" when absent. Keys
 * with dots: a '/' instead of a '.' may be used as the separator everywhere. */
const char *api_text(const struct api_fixture *f, const char *path);
int64_t api_int(const struct api_fixture *f, const char *path); /* -1 when absent */
const json_t *api_at(const struct api_fixture *f, const char *path);
/* Turns loop and store until nothing is to be done, at most `turns` times. */
void api_settle(struct api_fixture *f, unsigned turns);
/* A run document; spec: members to add, e.g. ",\"priority\":5". Static buffer. */
const char *api_run(const char *name, const char *spec);

#endif
