/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step on a machine of an SSH fleet, and what came of it. host_ssh.c carries it out
 * with ssh as a child; a test may carry it out some other way.
 */
#ifndef CONTROLLERS_HOST_TASK_H
#define CONTROLLERS_HOST_TASK_H

#include "controllers/instance/host_view.h"

enum host_step {
    HOST_STEP_NONE,
    HOST_PROBE,    /* log in; what there is */
    HOST_COPY,     /* the agent's program */
    HOST_START,    /* settings, token, service */
    HOST_DIAGNOSE, /* the last words of an agent that does not report */
    HOST_REMOVE,
};

struct host_task {
    enum host_step step;
    struct host_endpoint to, jump;
    bool has_jump;
    char *identity, *jump_identity; /* private keys, PEM */
    char *keys, *jump_keys; /* pinned public keys, one a line; "": first contact */
    char *instance_uid;
    /* COPY, START */
    char *program_id;
    char *mark;  /* text that says whose the machine is; its first line instance_uid */
    char *prior; /* uid in an earlier mark that may be replaced; "": none */
    /* COPY */
    char *program; /* archive (host_bundle.h) */
    /* START */
    char *agent_url, *token, *ca_hash, *name, *settings_id;
    char *job_env; /* JSON object: variables of every job there */
};
void host_task_free(struct host_task *t); /* NULL ok; wipes the keys */

enum { HOST_REASON_MAX = 48, HOST_MESSAGE_MAX = 400, HOST_LINE_MAX = 256 };

struct host_facts { /* of a PROBE */
    char arch[HOST_ID_MAX], boot_id[HOST_ID_MAX];
    /* Of the mark: uid of the Instance, the API server's id, the fleet in words; "". */
    char owner[HOST_ID_MAX], owner_server[HOST_ID_MAX], owner_words[HOST_LINE_MAX];
    char libc[HOST_LINE_MAX]; /* what ldd or getconf say; "": neither is there */
    char program_id[HOST_ID_MAX], settings_id[HOST_ID_MAX]; /* "": none there */
    bool systemd, active;
    int64_t free_kib; /* where the agent lives; -1: not known */
};

struct host_result {
    enum host_step step;
    bool ok;
    bool reached; /* logged in, whatever came of it then */
    char reason[HOST_REASON_MAX], message[HOST_MESSAGE_MAX]; /* unless ok */
    struct host_facts facts;
    char last[HOST_LINE_MAX]; /* of a DIAGNOSE */
    /* Keys that the machine (and its jump host) showed: "type base64", "": not seen. */
    char key[4096], jump_key[4096];
    int64_t ended_ms;
};

/* Fails it before it was tried. */
void host_result_fail(struct host_result *r, enum host_step step, const char *reason,
                      const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif
