/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader election by a coordination.k8s.io/v1 Lease. The state machine does no I/O and
 * reads no clock: it says what to do next and is told what came of it.
 *
 * Safety: a holder counts its time from the moment a renewal was *sent*; a candidate
 * counts the other's from the moment it *saw* a change, both by their own monotonic
 * clocks, so clocks of machines are never compared. A lease does not fence writes; those
 * that must not race carry a resourceVersion.
 *
 * A holder on the same machine whose process is gone need not be waited for: the identity
 * names host, boot, pid namespace, pid and the process' start time (lease_identity).
 */
#ifndef CONTROL_LEASE_H
#define CONTROL_LEASE_H

#include "control/async.h"

struct lease_opts {
    const char *ns, *name; /* borrowed */
    const char *identity;  /* borrowed; lease_identity */
    int64_t duration_ms;   /* 15000: what is written as leaseDurationSeconds */
    int64_t renew_ms;      /* 5000: between renewals while held */
    int64_t give_up_ms;    /* 10000: held no longer without a renewal */
    int64_t retry_ms;      /* 1000: after a failure */
    /* True when the process behind another identity is certainly gone. NULL: never. */
    bool (*holder_gone)(const char *identity);
};

enum lease_do { LEASE_WAIT, LEASE_GET, LEASE_CREATE, LEASE_UPDATE };

/* Plain data; zero it and set opts. */
struct lease {
    struct lease_opts opts;
    bool known;        /* what follows was read or written */
    bool absent;       /* there is no such object */
    uint64_t revision; /* of the object as known */
    char holder[256];
    char acquired[32]; /* spec.acquireTime of the holder */
    int64_t holder_ms; /* leaseDurationSeconds of the holder */
    int64_t seen_ms;   /* when that revision was first seen */
    int64_t transitions;
    bool held;
    int64_t sent_ms;       /* of the last acknowledged renewal */
    int64_t pending_ms;    /* when the request in flight was sent */
    int64_t not_before_ms; /* no request before */
};

/* What to do now; for LEASE_WAIT *ret_wake_ms says when to ask again. */
enum lease_do lease_next(struct lease *l, int64_t now, int64_t *ret_wake_ms);
/* The object to POST or PUT; caller decrefs. Call at the moment of sending. */
json_t *lease_body(struct lease *l, int64_t now, int64_t wall_ns);
/* Gives the lease back: the body of a PUT that lets anybody take it at once. */
json_t *lease_release_body(const struct lease *l, int64_t wall_ns);
/* Result of a GET; o NULL: NOT_FOUND. */
void lease_got(struct lease *l, const struct object *o, int64_t now);
/* The POST or PUT succeeded. */
void lease_wrote(struct lease *l, const struct object *o, int64_t now);
void lease_failed(struct lease *l, const struct error *e, int64_t now);
bool lease_held(const struct lease *l, int64_t now);

/* "<host>/<boot id>/<pid namespace>/<pid>/<start time>" of this process. */
#define LEASE_IDENTITY_MAX 200
void lease_identity(char out[LEASE_IDENTITY_MAX]);
/* For lease_opts.holder_gone. */
bool lease_holder_gone(const char *identity);
/* A descriptor that becomes readable when the holder, a process of this machine, ends;
 * -1: it is none, or gone. The caller closes it. */
int lease_holder_pidfd(const char *identity);

/* --- on a loop ------------------------------------------------------------------------
 */
struct lease_runner;
struct lease_runner_opts {
    struct lease_opts lease;
    struct loop *loop;
    struct async_client *async;
    void (*on_acquired)(void *arg);
    /* Held and lost: stop acting at once. */
    void (*on_lost)(void *arg);
    void *arg;
};
struct lease_runner *lease_runner_start(const struct lease_runner_opts *o);
/* Stops; gives a held lease back by one blocking call of c (NULL: does not). */
void lease_runner_stop(struct lease_runner *r, struct client *c);

#endif
