/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do about a machine of an SSH fleet: a pure function of its Instance, the last
 * step taken on it, and the time. Installing is Probe, Copy if the program is another,
 * Start; then the agent reports (its Lease) and nothing more happens over SSH until it is
 * silent, its program or settings change, or the machine leaves the fleet.
 */
#ifndef CONTROLLERS_HOST_PLAN_H
#define CONTROLLERS_HOST_PLAN_H

#include "controllers/instance/host_pool.h"
#include "controllers/instance/instance_plan.h"

struct host_observed {
    bool deleting, forgotten;
    size_t jobs;               /* bound here and not over */
    bool pinned;               /* we have been there: a key is in status.host */
    bool boot_known;           /* status.host.bootID is there */
    const char *boot_id;       /* as in status.host */
    enum instance_phase phase; /* by the Lease, as it is now */
    struct host_seen seen;
    /* For the machine's architecture, "" while that is not known. */
    const char *want_program, *want_settings;
    const char *installed;  /* settings id in status.host */
    const char *blocked;    /* why it cannot be installed there, "Reason words"; NULL */
    bool owner_lives;       /* facts.owner is another Instance that exists */
    const char *owner_name; /* its name */
    const char *server_id;  /* ours, as in the mark of our machines */
    const char *take_over;  /* id of a server whose machines the fleet may take; or "" */
    int libc_minor;         /* the program needs glibc 2.<this>; 0: no matter */
    int64_t program_kib;    /* what it takes on the disk */
    int64_t now_ms;
};

enum { HOST_PLAN_TEXT = 512 };
struct host_words { /* of a condition; reason NULL: not touched */
    bool value;
    char reason_buf[HOST_REASON_MAX], message[HOST_PLAN_TEXT];
    const char *reason;
};

struct host_plan {
    enum host_step start; /* HOST_STEP_NONE: nothing */
    bool takes_over;      /* its mark replaces the one that the Probe found */
    bool take_facts;      /* write what the last Probe found, and the keys */
    bool mark_installed;  /* write status.host.installed */
    bool rebooted;
    bool well; /* the pool may forget failures */
    bool drop_finalizer;
    struct host_words connected, installed, removed;
    int64_t requeue_ms;
};
void host_plan_make(const struct host_observed *o, struct host_plan *ret);

#endif
