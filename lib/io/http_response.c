/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers. A response is made when the handler gives it and queued when MHD next looks at
 * the request: at once when the handler answered in its call, after a resume otherwise.
 * Never an iovec response (MHD aborts over 1 024 elements).
 */
#include <string.h>

#include "io/http_internal.h"
#include "io/http_pace.h"

enum {
    READER_BLOCK = 64 << 10,
    /* A stream is filled into the connection's own pool; this block serves HTTP/1.0. */
    STREAM_BLOCK = 512,
};

void
http_add_header(struct http_request *r, const char *name, const char *value)
{
    str_add(&r->headers, name, strlen(name) + 1);
    str_add(&r->headers, value, strlen(value) + 1);
}

static void
respond(struct http_request *r, int status, const char *content_type,
        struct MHD_Response *response)
{
    bug_if(r->responded || response == NULL);
    r->responded = true;
    r->status = (unsigned)status;
    r->response = response;
    if (content_type != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    /* A value that MHD refuses (a line break in it) is left out: better than split. */
    for (const char *p = r->headers.ptr; p < r->headers.ptr + r->headers.len;) {
        const char *value = p + strlen(p) + 1;
        MHD_add_response_header(response, p, value);
        p = value + strlen(value) + 1;
    }
    if (r->conn->shard->lean)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    http_resume_later(r);
}

enum MHD_Result
http_response_queue(struct http_request *r)
{
    http_hold_head(r, r->in_memory);
    enum MHD_Result rc = MHD_queue_response(r->conn->mhd, r->status, r->response);

    MHD_destroy_response(r->response);
    r->response = NULL;
    r->queued = true;
    return rc;
}

void
http_response_done(struct http_request *r)
{
    if (r->response != NULL)
        MHD_destroy_response(r->response);
    r->response = NULL;
    http_idle_end(r->conn->server, &r->stream);
    if (r->stream.free_arg != NULL)
        r->stream.free_arg(r->stream.arg);
    r->stream = (struct http_stream){0};
    if (r->reader.free_arg != NULL)
        r->reader.free_arg(r->reader.arg);
    r->reader = (struct http_reader){0};
}

void
http_respond(struct http_request *r, int status, const char *content_type,
             const void *body, size_t len)
{
    /* The cast drops const only for a signature; MUST_COPY does not write. */
    respond(r, status, content_type,
            MHD_create_response_from_buffer(len, (void *)(uintptr_t)body,
                                            MHD_RESPMEM_MUST_COPY));
}

void
http_respond_str(struct http_request *r, int status, const char *content_type,
                 struct str *body)
{
    size_t len = body->len;

    if (len == 0) {
        str_done(body);
        http_respond(r, status, content_type, "", 0);
        return;
    }
    r->in_memory = len;
    respond(
        r, status, content_type,
        MHD_create_response_from_buffer(len, str_detach(body), MHD_RESPMEM_MUST_FREE));
}

void
http_respond_status(struct http_request *r, int status, const char *reason,
                    const char *message)
{
    auto_str body = STR_INIT(1024);

    /* The texts are ours and need no escaping. */
    str_addf(&body,
             "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
             "\"status\":\"Failure\",\"message\":\"%s\",\"reason\":\"%s\",\"code\":%d}\n",
             message, reason, status);
    http_respond_str(r, status, "application/json", &body);
}

static ssize_t
read_known(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct http_request *r = cls;

    UNUSED(pos);
    if (r->aborted)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (http_pace_defer(r))
        return 0;
    ssize_t n = r->reader.read(r->reader.arg, buf, max);
    bug_if(n > (ssize_t)max);
    return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

void
http_respond_reader(struct http_request *r, int status, const char *content_type,
                    uint64_t length, http_read_fn *read, void (*free_arg)(void *),
                    void *arg)
{
    r->reader = (struct http_reader){.read = read, .free_arg = free_arg, .arg = arg};
    respond(r, status, content_type,
            MHD_create_response_from_callback(length, READER_BLOCK, read_known, r, NULL));
}

static ssize_t
read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct http_request *r = cls;

    UNUSED(pos);
    if (r->aborted)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (r->conn->server->closing)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (http_pace_defer(r))
        return 0;
    r->stream.woken = false;
    ssize_t n = r->stream.fill(r->stream.arg, buf, max);
    bug_if(n > (ssize_t)max);
    if (n < 0)
        return n == HTTP_FILL_ABORT ? MHD_CONTENT_READER_END_WITH_ERROR
                                    : MHD_CONTENT_READER_END_OF_STREAM;
    if (n > 0)
        return n;
    http_idle_begin(r->conn->server, &r->stream, buf, max);
    http_suspend(r);
    if (r->stream.woken) /* by fill() itself */
        http_resume_later(r);
    return 0;
}

struct http_stream *
http_respond_stream(struct http_request *r, int status, const char *content_type,
                    http_fill_fn *fill, void (*free_arg)(void *), void *arg)
{
    r->stream = (struct http_stream){.fill = fill, .free_arg = free_arg, .arg = arg};
    respond(r, status, content_type,
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream,
                                              r, NULL));
    return &r->stream;
}

void
http_stream_wake(struct http_stream *s)
{
    struct http_request *r = CONTAINER_OF(s, struct http_request, stream);

    s->woken = true;
    http_resume_later(r); /* unless it is not suspended: then fill() is coming anyway */
}
