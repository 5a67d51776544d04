/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors by value. A fallible function takes `struct error *e` last, returns 0 or a
 * negative error code, and leaves *e untouched on success. `e` is never NULL. The struct
 * owns nothing: it can be copied, dropped, sent between threads, and works under memory
 * pressure. The code decides behaviour (HTTP status, retry, exit status); control flow
 * never reads `msg`, and truncating it is acceptable.
 *
 * error_table in error.c is the only place that maps a code to an HTTP status, a
 * Kubernetes Status reason, a retry class and a CLI exit status.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

/* Stable: these appear in API replies. */
enum err_code {
    ERR_OK = 0,
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_CONFLICT,
    ERR_BAD_REQUEST,
    ERR_UNSUPPORTED, /* method not allowed */
    ERR_NOT_ACCEPTABLE,
    ERR_MEDIA_TYPE,
    ERR_INVALID,
    ERR_FULL, /* no space left; 507 */
    ERR_UNAUTHORIZED,
    ERR_FORBIDDEN,
    ERR_EXPIRED,
    ERR_TOO_LARGE,
    ERR_BUSY, /* 429 */
    ERR_TIMEOUT,
    ERR_IO,
    ERR_CORRUPT,
    ERR_PROVIDER,    /* a peer we drive (docker, cloud, peer server) failed */
    ERR_UNAVAILABLE, /* peer not reachable / shutting down; 503 */
    ERR_INTERNAL,
    ERR_N_CODES,
};

enum err_retry { ERR_RETRY_NEVER, ERR_RETRY_FRESH, ERR_RETRY_BACKOFF, ERR_RETRY_SLOW };

struct error {
    enum err_code code;
    int sys;                 /* errno, or 0 */
    uint32_t retry_after_ms; /* hint from the peer, or 0 */
    bool terminal;           /* retrying the same input cannot help */
    char msg[480];           /* "create run r1: write log: No space left on device" */
};
#define ERROR_INIT ((struct error){.code = ERR_OK})

/* Each returns -code so that `return error_set(...)` is one expression. */
int error_set(struct error *e, enum err_code code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Chooses the code from errno `sys` (ENOENT, EEXIST, ENOSPC, EACCES ...); appends
 * strerror. */
int error_errno(struct error *e, int sys, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "<text>: " before the message; keeps the code. */
int error_prepend(struct error *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

const char *error_code_name(enum err_code code); /* "NOT_FOUND" */
int error_http_status(enum err_code code);       /* 404 */
const char *error_reason(enum err_code code);    /* Status.reason: "NotFound" */
enum err_retry error_retry(enum err_code code);
int error_exit_status(enum err_code code);
/* The code for a reply from an API server, by HTTP status and Status.reason (may be
 * NULL). */
enum err_code error_from_http(int status, const char *reason);

/* A programming error: logs file, line and condition, then aborts. On in every build. */
#define bug_if(cond)                                                                     \
    do {                                                                                 \
        if (__builtin_expect(!!(cond), 0))                                               \
            bug_abort(__FILE__, __LINE__, #cond);                                        \
    } while (0)
_Noreturn void bug_abort(const char *file, int line, const char *cond);

#endif
