/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of the review kinds and of TokenRequest against a whole server. The first byte
 * says which; the rest is the body. Every answer is a JSON document with a status, and
 * nobody is authenticated by what is not a token of this server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include "integration/api_fixture.h"

#include <stdlib.h>

static struct api_fixture *fixture;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const paths[] = {
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
    "/api/v1/namespaces/default/serviceaccounts/default/token",
};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *state = NULL;

    if (fixture == NULL) {
        if (api_setup(&state) != 0)
            abort();
        fixture = state;
        api_settle(fixture, 20);
    }
    if (size == 0)
        return 0;
    autofree char *body = xstrndup((const char *)data + 1, size - 1);
    int status = api_do(fixture, "POST", paths[data[0] % ARRAY_LEN(paths)], NULL, body);
    if (fixture->json == NULL || status < 200 || status >= 500)
        abort();
    if (json_is_true(api_at(fixture, "status.authenticated")))
        abort();
    return 0;
}
