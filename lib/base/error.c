/* SPDX-License-Identifier: Apache-2.0 */
/* Error values and the one table that says what each code means to the outside. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct error_row {
    const char *name;
    int http;
    const char *reason;
    enum err_retry retry;
    int exit_status;
} error_table[ERR_N_CODES] = {
    [ERR_OK] = {"OK", 200, "", ERR_RETRY_NEVER, 0},
    [ERR_NOT_FOUND] = {"NOT_FOUND", 404, "NotFound", ERR_RETRY_BACKOFF, 3},
    [ERR_EXISTS] = {"EXISTS", 409, "AlreadyExists", ERR_RETRY_FRESH, 4},
    [ERR_CONFLICT] = {"CONFLICT", 409, "Conflict", ERR_RETRY_FRESH, 4},
    [ERR_BAD_REQUEST] = {"BAD_REQUEST", 400, "BadRequest", ERR_RETRY_NEVER, 2},
    [ERR_UNSUPPORTED] = {"UNSUPPORTED", 405, "MethodNotAllowed", ERR_RETRY_NEVER, 2},
    [ERR_NOT_ACCEPTABLE] = {"NOT_ACCEPTABLE", 406, "NotAcceptable", ERR_RETRY_NEVER, 2},
    [ERR_MEDIA_TYPE] = {"MEDIA_TYPE", 415, "UnsupportedMediaType", ERR_RETRY_NEVER, 2},
    [ERR_INVALID] = {"INVALID", 422, "Invalid", ERR_RETRY_NEVER, 2},
    [ERR_FULL] = {"FULL", 507, "InsufficientStorage", ERR_RETRY_BACKOFF, 6},
    [ERR_UNAUTHORIZED] = {"UNAUTHORIZED", 401, "Unauthorized", ERR_RETRY_SLOW, 5},
    [ERR_FORBIDDEN] = {"FORBIDDEN", 403, "Forbidden", ERR_RETRY_SLOW, 5},
    [ERR_EXPIRED] = {"EXPIRED", 410, "Expired", ERR_RETRY_FRESH, 6},
    [ERR_TOO_LARGE] = {"TOO_LARGE", 413, "RequestEntityTooLarge", ERR_RETRY_NEVER, 2},
    [ERR_BUSY] = {"BUSY", 429, "TooManyRequests", ERR_RETRY_BACKOFF, 6},
    [ERR_TIMEOUT] = {"TIMEOUT", 504, "Timeout", ERR_RETRY_BACKOFF, 6},
    [ERR_IO] = {"IO", 500, "InternalError", ERR_RETRY_BACKOFF, 6},
    [ERR_CORRUPT] = {"CORRUPT", 500, "InternalError", ERR_RETRY_NEVER, 70},
    [ERR_PROVIDER] = {"PROVIDER", 502, "InternalError", ERR_RETRY_BACKOFF, 6},
    [ERR_UNAVAILABLE] = {"UNAVAILABLE", 503, "ServiceUnavailable", ERR_RETRY_BACKOFF, 6},
    [ERR_INTERNAL] = {"INTERNAL", 500, "InternalError", ERR_RETRY_NEVER, 70},
};

static const struct error_row *
row(enum err_code code)
{
    bug_if((int)code < 0 || code >= ERR_N_CODES);
    return &error_table[code];
}

int
error_set(struct error *e, enum err_code code, const char *fmt, ...)
{
    char text[sizeof(e->msg)]; /* an argument may be e->msg itself */
    va_list ap;

    e->code = code;
    e->sys = 0;
    e->retry_after_ms = 0;
    e->terminal = row(code)->retry == ERR_RETRY_NEVER;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    memcpy(e->msg, text, strlen(text) + 1);
    return -(int)code;
}

static enum err_code
code_from_errno(int sys)
{
    switch (sys) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_FORBIDDEN;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECONNREFUSED:
        return ERR_UNAVAILABLE;
    case EMSGSIZE:
    case EFBIG:
        return ERR_TOO_LARGE;
    default:
        return ERR_IO;
    }
}

int
error_errno(struct error *e, int sys, const char *fmt, ...)
{
    char text[sizeof(e->msg)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    const char *desc = strerrordesc_np(sys);
    error_set(e, code_from_errno(sys), "%s: %s", text, desc == NULL ? "?" : desc);
    e->sys = sys;
    return -(int)e->code;
}

int
error_prepend(struct error *e, const char *fmt, ...)
{
    char text[sizeof(e->msg)];
    char old[sizeof(e->msg)];
    va_list ap;

    memcpy(old, e->msg, sizeof(old));
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t n = strnlen(text, sizeof(text) - 3);
    memcpy(e->msg, text, n);
    memcpy(e->msg + n, ": ", 2);
    n += 2;
    size_t m = strnlen(old, sizeof(e->msg) - 1 - n);
    memcpy(e->msg + n, old, m);
    e->msg[n + m] = '\0';
    return -(int)e->code;
}

const char *
error_code_name(enum err_code code)
{
    return row(code)->name;
}

int
error_http_status(enum err_code code)
{
    return row(code)->http;
}

const char *
error_reason(enum err_code code)
{
    return row(code)->reason;
}

enum err_retry
error_retry(enum err_code code)
{
    return row(code)->retry;
}

int
error_exit_status(enum err_code code)
{
    return row(code)->exit_status;
}

enum err_code
error_from_http(int status, const char *reason)
{
    if (status >= 200 && status < 300)
        return ERR_OK;
    if (status == 409 && reason != NULL && strcmp(reason, "AlreadyExists") == 0)
        return ERR_EXISTS;
    if (status == 409)
        return ERR_CONFLICT;
    if (status == 500)
        return ERR_IO;
    for (int c = ERR_OK + 1; c < ERR_N_CODES; c++) {
        if (error_table[c].http == status)
            return (enum err_code)c;
    }
    return status >= 500 ? ERR_PROVIDER : ERR_BAD_REQUEST;
}

void
bug_abort(const char *file, int line, const char *cond)
{
    fprintf(stderr, "BUG %s:%d: %s\n", file, line, cond);
    abort();
}
