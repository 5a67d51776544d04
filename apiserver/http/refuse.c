/* SPDX-License-Identifier: Apache-2.0 */
/* Status answers to requests that never became a call. */
#include "apiserver/http/front.h"
#include "apiserver/registry/problem.h"

void
front_refuse(struct http_request *r, enum err_code code, const char *message)
{
    struct str body = STR_INIT(8192);
    auto_problem p;
    int status;

    problem_init(&p, NULL, NULL);
    problem_set(&p, code, "%s", message);
    if (code == ERR_BUSY) {
        p.e.retry_after_ms = 1000;
        http_add_header(r, "Retry-After", "1");
    }
    problem_write(&p, &body, &status);
    http_respond_str(r, status, "application/json", &body);
}
