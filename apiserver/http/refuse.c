/* SPDX-License-Identifier: Apache-2.0 */
/* Status answers to requests that never became a call. */
#include "apiserver/http/front.h"
#include "apiserver/registry/problem.h"

static void
refuse(struct http_request *r, enum err_code code, unsigned retry_s, const char *message)
{
    struct str body = STR_INIT(8192);
    char seconds[16];
    auto_problem p;
    int status;

    problem_init(&p, NULL, NULL);
    problem_set(&p, code, "%s", message);
    if (retry_s > 0) {
        p.e.retry_after_ms = retry_s * 1000;
        snprintf(seconds, sizeof(seconds), "%u", retry_s);
        http_add_header(r, "Retry-After", seconds);
    }
    problem_write(&p, &body, &status);
    front_note(r, error_reason(code), message);
    http_respond_str(r, status, "application/json", &body);
}

void
front_refuse(struct http_request *r, enum err_code code, const char *message)
{
    refuse(r, code, code == ERR_BUSY ? 1 : 0, message);
}

void
front_refuse_busy(struct http_request *r, unsigned retry_s, const char *message)
{
    refuse(r, ERR_BUSY, retry_s, message);
}
