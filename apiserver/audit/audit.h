/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log: who asked for what, and what came of it, one Event of audit.k8s.io/v1
 * per line. The policy says how much of it (policy.h); its file is followed.
 *
 * Events are made on the loop and written by a thread of their own: nothing waits for the
 * disk. What waits to be written is bounded; what does not fit is dropped and counted.
 * Bodies are turned into JSON by the writer. Credentials are never in it: headers are not
 * written at all but User-Agent.
 *
 *     ev = audit_begin(a, &request);            // NULL: the policy does not want it
 *     audit_response(ev, body, len);            // for RequestResponse
 *     audit_started(ev, status);                // streams only
 *     audit_complete(ev, status, reason);       // frees
 *
 * Loop thread only, but for the writer inside.
 */
#ifndef AUDIT_AUDIT_H
#define AUDIT_AUDIT_H

#include "apiserver/audit/policy.h"
#include "apiserver/registry/request.h"
#include "io/loop.h"

struct audit;
struct audit_event;

struct audit_opts {
    struct loop *loop;
    const char *policy_file;
    const char *log_file; /* its directory is made */
    int64_t max_bytes;    /* then a new file is begun */
    int64_t backups;      /* older files kept, by number */
    int64_t max_age_s;    /* ... and by age; 0: no limit */
    size_t buffer_bytes;  /* waiting to be written; 0: 16 MiB */
};
int audit_open(const struct audit_opts *o, struct audit **ret,
               struct error *e) WARN_UNUSED;
/* Writes what is waiting. No event may be open. NULL ok. */
void audit_close(struct audit *a);

struct audit_request {
    const char *id;
    const char *verb;                /* "list" */
    const struct route *route;       /* resource false: a path */
    const char *path;                /* decoded */
    const char *uri;                 /* as sent */
    const char *user_agent, *source; /* or NULL */
    const struct api_user *user;     /* who is asking; NULL: nobody knows */
    const struct api_user *as;       /* as whom he acts, or NULL */
    struct span body;
};
/* Everything is copied. a NULL: NULL. */
struct audit_event *audit_begin(struct audit *a, const struct audit_request *r);
/* Each: ev NULL ok. */
bool audit_wants_response(const struct audit_event *ev);
void audit_response(struct audit_event *ev, const char *body, size_t n);
void audit_annotate(struct audit_event *ev, const char *key, const char *value);
void audit_started(struct audit_event *ev, int status);
/* status 0: the client left before an answer. */
void audit_complete(struct audit_event *ev, int status, const char *reason);

struct audit_stats {
    uint64_t events, dropped, errors, rotations;
    size_t waiting; /* bytes */
};
struct audit_stats audit_stats(const struct audit *a);
/* Calls fn when all that was said so far is in the file. */
void audit_flush(struct audit *a, void (*fn)(void *arg), void *arg);
void audit_metrics(const struct audit *a, struct str *out); /* a NULL ok */

#endif
