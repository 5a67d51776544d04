/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a request failed, with all that a Kubernetes Status document says about it. A value
 * owned by whoever initialised it; crosses threads by hand-over.
 */
#ifndef REGISTRY_PROBLEM_H
#define REGISTRY_PROBLEM_H

#include "api/kind.h"
#include "api/managed.h"
#include "api/violations.h"

enum problem_form {
    PROBLEM_PLAIN,   /* message is e.msg */
    PROBLEM_INVALID, /* <Kind> "name" is invalid: violations */
    PROBLEM_STRICT,  /* strict decoding error: unknown and duplicate fields */
    PROBLEM_APPLY,   /* conflicts of a server-side apply */
};

struct problem {
    struct error e;
    enum problem_form form;
    const struct kind *kind; /* details; NULL: none. Lives as long as the server */
    char name[254];          /* details.name */
    struct violations v;
    struct managed_conflicts conflicts;
    const char *cause_reason, *cause_message; /* one more cause; static strings or NULL */
    char *cont;                               /* metadata.continue of an expired list */
    const char *reason;                       /* instead of the code's; static or NULL */
    char *text; /* the message when it may be longer than e.msg; or NULL */
};

void problem_init(struct problem *p, const struct kind *kind, const char *name);
void problem_done(struct problem *p);
static inline void
problem_done_ptr(struct problem *p)
{
    problem_done(p);
}
#define auto_problem CLEANUP(problem_done_ptr) struct problem

/* These return -code, to be returned in turn. */
int problem_set(struct problem *p, enum err_code code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
int problem_text(struct problem *p, enum err_code code,
                 const char *text); /* any length */
int problem_not_found(struct problem *p);
int problem_exists(struct problem *p);
int problem_modified(struct problem *p); /* the conflict text clients look for */
int problem_invalid(struct problem *p);  /* p->v has the reasons */
int problem_field(struct problem *p, enum violation_reason reason, const char *path,
                  const char *value_json, const char *text); /* one violation, invalid */

/* Appends the Status document; *ret_http is the status code to send. */
void problem_write(const struct problem *p, struct str *out, int *ret_http);
/* {"kind":"Status",...,"status":"Success","details":{...}} */
void status_success(const struct kind *kind, const char *name, const char *uid,
                    struct str *out);

#endif
