/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine is: it runs one job in isolation on this machine and tells how it went.
 * One table per engine, listed in engines.c: docker (Engine API), process (namespaces and
 * cgroups, no image).
 *
 * Life of a job in an engine, always in this order, all calls and callbacks on the loop:
 *
 *   launch ──► on_state(PULLING|CREATING)* ──► on_started ──► on_exit ──► remove ──►
 * removed └────────────── on_exit with result.started == false ──┘
 *
 *   adopt takes launch's place after a restart of the agent, for every job of the journal
 *   that had been launched. It reports on_started (again, with the original time) and/or
 *   on_exit from what it finds; a job that was created but never started is started,
 * once; one of which nothing exists any more reports on_exit{started=unknown: reason
 * LOST}.
 *
 * At most one process start per job uid, ever: engines key everything on the machine by
 * uid (container name, cgroup, directories) and treat "exists already" as adopt.
 *
 * Output: the engine writes the job's stdout and stderr as frames (io/segment.h) into
 * <job->dir>/log, in order, and never blocks the job for it; when it had to drop bytes it
 * writes a SEGMENT_MARK frame saying how many. on_exit comes after the last frame is
 * written, so segment_stat() then gives the final logLength.
 *
 * Ownership: struct engine_job is owned by the agent and outlives the engine's use of it
 * (from launch/adopt until removed). Strings in it are borrowed by the engine. Secrets
 * are in env, in memory only: an engine never writes env to disk.
 */
#ifndef RUNNER_ENGINE_H
#define RUNNER_ENGINE_H

#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "io/loop.h"

struct engine;

struct engine_device {  /* an allocated GPU */
    const char *vendor; /* "nvidia", ... */
    const char *uuid;
    const char *const *paths; /* device nodes, NULL-terminated */
};

struct engine_mount {
    const char *source; /* directory of the machine, or a volume's name */
    bool volume, read_only, optional;
    const char *path; /* in the job */
};

struct engine_ulimit {
    const char *name;   /* "nofile" */
    int64_t soft, hard; /* -1: unlimited */
};

/* What opens the registry of the image. Each NULL when not given. */
struct engine_registry_auth {
    const char *username, *password, *identity_token;
};

struct engine_port {
    uint16_t container, host; /* host on 127.0.0.1; 0: not known yet */
};
#define ENGINE_PORTS_MAX 256

/* How the running job came out; filled in by the engine before on_started. */
struct engine_facts {
    int64_t pid; /* 0: not known */
    char user[80], working_dir[512];
    struct engine_port ports[ENGINE_PORTS_MAX];
    size_t n_ports;
};

struct engine_job {
    const char *uid, *ns, *name, *run_name;
    const char
        *dir; /* <agent dir>/jobs/<uid>, 0700, exists; log/ and engine files below */
    const char *image;       /* docker: required; process: NULL */
    const char *const *argv; /* NULL-terminated; empty: the image's entrypoint */
    const char *const *env;  /* "K=V", NULL-terminated, secrets included */
    const char *working_dir; /* NULL: image's / job directory */
    const char *user;        /* "user[:group]", NULL: default */
    int64_t cpu_request_milli, cpu_limit_milli; /* 0: none */
    int64_t memory_request_mib, memory_limit_mib, shm_mib;
    int64_t disk_limit_mib; /* process: of its own directories; 0: none */
    bool whole_instance;    /* has the machine for itself: no limits */
    bool privileged, bridge;
    /* A terminal: one stream, stdout, with what the line discipline makes of it. */
    uint16_t tty_columns, tty_rows; /* columns 0: none */
    /* The dead-man switch applies: an engine whose jobs outlive the agent stops this one
     * itself, with stop_ms of grace, when <agent dir>/renewed is older than it allows. */
    bool interruptible;
    int64_t stop_ms;
    const struct engine_device *devices;
    size_t n_devices;
    /* process: a directory of the machine that is the job's root, which it does not
     * change; NULL: the machine's programs are lent. */
    const char *rootfs;
    bool rootfs_kept; /* it is one that the agent keeps in its own directory */
    /* "<host path>:<path in the job>", NULL-terminated, or NULL: files and code. Without
     * a root the process engine finds them in the job's directory already. */
    const char *const *binds;
    struct engine_mount *mounts; /* an optional one that cannot be had loses its source */
    size_t n_mounts;
    const struct engine_ulimit *ulimits;
    size_t n_ulimits;
    const struct engine_port *ports; /* to publish, with bridge */
    size_t n_ports;
    const struct engine_registry_auth *registry_auth; /* NULL: none */
    const char *host_dir_mask[8]; /* directories no job may see (data dir, agent dir) */

    /* Callbacks, set by the agent before launch/adopt. */
    void *arg;
    const struct engine_events *events;
    void *engine_state; /* the engine's own */

    struct engine_facts facts;
};

enum engine_phase { ENGINE_PULLING, ENGINE_CREATING };
struct engine_progress {
    enum engine_phase phase;
    int64_t downloaded_bytes, total_bytes; /* pull; -1 unknown */
    unsigned layers_done, layers_total;
};

enum engine_reason { /* why it ended, names as in Job.status.agent.reason */
                     ENGINE_EXITED,        /* exit_code is valid */
                     ENGINE_SIGNALED,      /* signal is valid */
                     ENGINE_OOM,           /* killed by the memory limit; signal too */
                     ENGINE_DISK_QUOTA,    /* stopped: it kept more on the disk than
                                              its limit; exit_code, signal too */
                     ENGINE_IMAGE_PULL,    /* ImagePullFailed */
                     ENGINE_CREATE_FAILED, /* CreateContainerFailed: bad user, no such
                                              directory ... */
                     ENGINE_START_FAILED,  /* command not found, not executable ... */
                     ENGINE_UNAVAILABLE,   /* engine gone before the start */
                     ENGINE_LOST,      /* was started; nothing is known about its end */
                     ENGINE_REBOOTED,  /* was running when the machine went down */
                     ENGINE_RESTARTED, /* the engine's daemon was stopped, and it with it
                                        */
};
const char *engine_reason_name(enum engine_reason r);

struct engine_result {
    enum engine_reason reason;
    bool started;
    /* Answer to adopt only: the engine is sure that no process of this uid ever ran, so
     * launch may be called. */
    bool never_started;
    int exit_code;                   /* -1: none */
    int signal;                      /* 0: none */
    int64_t started_ns, finished_ns; /* wall */
    char message[400];               /* for people; "" when there is nothing to add */
    /* Of an OOM: the cgroup whose limit it was; "/": the machine ran out; "": not known.
     */
    char oom_cgroup[200];
    int64_t memory_peak_bytes; /* 0: not known */
    bool log_follows; /* the last frames are not on disk yet; on_log_end comes then */
};

struct engine_events {
    void (*on_progress)(struct engine_job *j, const struct engine_progress *p);
    void (*on_started)(struct engine_job *j, int64_t started_ns);
    void (*on_exit)(struct engine_job *j, const struct engine_result *r);
    void (*on_removed)(struct engine_job *j, const struct error *e); /* e NULL: done */
    /* Once, after an exit with log_follows. May be NULL. */
    void (*on_log_end)(struct engine_job *j);
    /* It was killed several times and is still there; tried again until it ends. May be
     * NULL. */
    void (*on_stuck)(struct engine_job *j, const char *message);
};

#define ENGINE_LIMITATIONS 1024
struct engine_status {
    bool available;
    char version[64]; /* "20.10.24", "linux 6.1" */
    char reason[32];  /* CamelCase code when not available: "SocketMissing" */
    char message[240];
    /* What jobs go without here although the engine is available; "Code: text", a line
     * each. */
    char limitations[ENGINE_LIMITATIONS];
};

struct engine_config {
    const char *agent_dir;
    const char *agent_id; /* names this agent on the machine; survives a lost journal */
    const char *docker_socket; /* NULL: $DOCKER_HOST or /var/run/docker.sock */
    int64_t pull_stall_ms;     /* 0: 5 minutes */
    int64_t kill_again_ms; /* docker, between SIGKILLs, doubling to 10 of it; 0: 1 s */
    /* Images are collected when less than this part of their file system is free;
     * 0: 5 %. */
    unsigned image_low_percent;
    uint64_t image_min_free; /* bytes under which nothing is pulled; 0: 256 MiB */
    int64_t spool_bytes;     /* of a job's log not yet trimmed by the agent; 0: 512 MiB */
    const char *supervisor;  /* path of the drover-runner binary, re-executed per job */
    const char *const *host_dir_mask;
};

struct engine_ops {
    const char *name;
    int (*open)(struct loop *l, const struct engine_config *c, struct engine **ret,
                struct error *e);
    void (*close)(struct engine *en); /* jobs go on running */
    /* Looks whether the engine is usable now; answers by callback. Called at start and
     * when the agent is told that something changed (the socket appeared). on_change (may
     * be NULL) stays registered and is called when availability changed by itself. */
    void (*probe)(struct engine *en,
                  void (*done)(void *arg, const struct engine_status *s), void *arg);
    void (*launch)(struct engine *en, struct engine_job *j);
    void (*adopt)(struct engine *en, struct engine_job *j);
    /* SIGTERM to the whole job now, SIGKILL to the whole job after grace_ms (0: at once).
     * May be called in any phase, also while pulling (on_exit with started=false
     * follows). Calling again only shortens the grace. */
    void (*stop)(struct engine *en, struct engine_job *j, int64_t grace_ms);
    /* After on_exit: removes container, cgroup, mounts. Idempotent. */
    void (*remove)(struct engine *en, struct engine_job *j);
    /* Removes everything on the machine that carries our agent id and a uid that is not
     * in the list (NULL-terminated): leftovers of a lost journal. */
    void (*sweep)(struct engine *en, const char *const *known_uids);
};

extern const struct engine_ops engine_docker, engine_process;

#endif
