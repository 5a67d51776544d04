/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded list of problems with fields of an object. Reasons and message forms are
 * Kubernetes' field errors, so that kubectl prints one bullet per problem. Plain owner of
 * its strings; not thread-safe.
 */
#ifndef API_VIOLATIONS_H
#define API_VIOLATIONS_H

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"

#define VIOLATIONS_MAX 64

enum violation_reason {
    VIOLATION_REQUIRED,      /* "Required value: ..." */
    VIOLATION_INVALID,       /* "Invalid value: <v>: ..." */
    VIOLATION_NOT_SUPPORTED, /* "Unsupported value: <v>: supported values: ..." */
    VIOLATION_DUPLICATE,
    VIOLATION_FORBIDDEN,
    VIOLATION_TOO_LONG,
    VIOLATION_TOO_MANY,
    VIOLATION_TYPE, /* FieldValueTypeInvalid */
    VIOLATION_NOT_FOUND,
    VIOLATION_UNKNOWN,       /* unknown field; strict decoding, not a 422 cause */
    VIOLATION_DUPLICATE_KEY, /* same JSON key twice; strict decoding */
};

struct violation {
    enum violation_reason reason;
    char *path;    /* "spec.resources.gpu", "spec.env[3]" */
    char *message; /* whole message, e.g. "Invalid value: \"x\": must be ..." */
};

struct violations {
    vec(struct violation) list;
    size_t dropped; /* more than VIOLATIONS_MAX */
};

void violations_done(struct violations *v);
static inline void
violations_done_ptr(struct violations *v)
{
    violations_done(v);
}
#define auto_violations CLEANUP(violations_done_ptr) struct violations

/* value_json: the offending value as JSON text, cut to a readable length, or NULL. The
 * reason's prefix ("Invalid value: ") is put before the text. */
void violations_add(struct violations *v, enum violation_reason reason, const char *path,
                    const char *value_json, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* A copy of one of another list. */
void violations_take(struct violations *v, const struct violation *x);
const char *violation_reason_name(enum violation_reason r); /* "FieldValueInvalid" */
/* Number of problems that are not of the strict-decoding kind. */
size_t violations_errors(const struct violations *v);
/* "path: err" or "[path1: err1, path2: err2]" as in Kubernetes messages, bounded. With
 * strict_only: `unknown field "a", duplicate field "b"`, without brackets. */
void violations_join(const struct violations *v, bool strict_only, struct str *out);

#endif
