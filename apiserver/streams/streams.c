/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of drover-streams, and error replies as Kubernetes Status. */
#include "apiserver/streams/streams.h"

#include <string.h>

#include "api/jtok.h"
#include "apiserver/streams/blobs.h"

#define PREFIX "/apis/streams.drover.dev/v1/namespaces/"

void
streams_error(struct http_request *r, const struct error *e)
{
    auto_str body = STR_INIT(4096);

    str_adds(&body, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
                    "\"status\":\"Failure\"");
    jput_member(&body, "message", e->msg);
    jput_member(&body, "reason", error_reason(e->code));
    str_addf(&body, ",\"code\":%d}\n", error_http_status(e->code));
    if (e->retry_after_ms > 0) {
        char seconds[16];
        snprintf(seconds, sizeof(seconds), "%u", (e->retry_after_ms + 999) / 1000);
        http_add_header(r, "Retry-After", seconds);
    }
    http_respond_str(r, error_http_status(e->code), "application/json", &body);
}

/* Copies the next path segment; false when it is empty, too long, or not a DNS name. The
 * namespace becomes a directory and both go into paths, so nothing else may pass. */
static bool
segment(const char **p, char out[STREAMS_NAME_MAX])
{
    size_t n = strspn(*p, "abcdefghijklmnopqrstuvwxyz0123456789-.");

    if (n == 0 || n >= STREAMS_NAME_MAX)
        return false;
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n;
    return true;
}

/* .../namespaces/<ns>/jobs/<job>/log */
static bool
parse_route(const char *path, struct route *ret)
{
    if (!str_starts(path, PREFIX))
        return false;
    const char *p = path + strlen(PREFIX);
    if (!segment(&p, ret->ns) || !str_starts(p, "/jobs/"))
        return false;
    p += strlen("/jobs/");
    if (!segment(&p, ret->job) || ret->ns[0] == '.' || ret->job[0] == '.')
        return false;
    return streq(p, "/log");
}

void
streams_handle(void *arg, struct http_request *r)
{
    struct streams *s = arg;
    struct error e = ERROR_INIT;
    struct route route;

    if (streq(http_path(r), "/livez") || streq(http_path(r), "/readyz")) {
        http_respond(r, 200, "text/plain", "ok", 2);
        return;
    }
    char ns[STREAMS_NAME_MAX];
    char hex[BLOB_HEX + 1];
    const char *path = http_path(r);
    if (str_starts(path, PREFIX) && blobs_parse_route(path + strlen(PREFIX), ns, hex)) {
        blobs_handle(s->blobs, r, ns, hex);
        return;
    }
    if (!parse_route(path, &route)) {
        error_set(&e, ERR_NOT_FOUND, "the server could not find the requested resource");
        streams_error(r, &e);
    } else if (streq(http_method(r), "GET")) {
        follow_handle(s, r, &route);
    } else if (streq(http_method(r), "POST")) {
        append_handle(s, r, &route);
    } else {
        error_set(&e, ERR_UNSUPPORTED,
                  "the server does not allow this method on the requested resource");
        streams_error(r, &e);
    }
}

int
streams_log_kind(const struct http_request *r, const char **ret_kind, struct error *e)
{
    const char *kind = http_query(r, "log");

    if (kind != NULL && !streq(kind, "diagnostics"))
        return error_set(e, ERR_BAD_REQUEST,
                         "query parameter log: use diagnostics, or leave it out");
    *ret_kind = kind;
    return 0;
}
