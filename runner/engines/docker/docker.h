/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the docker engine, shared by its own files only.
 *
 *   docker_engine.c  the table: open, probe, availability, slots, sweep
 *   docker_job.c     one container's way from launch or adopt to its end; stop
 *   docker_end.c     its end: facts, rest of the log, what they mean; removal
 *   docker_witness.c what the daemon has seen itself; strays that it does not know of
 *   docker_pull.c    the image, when it is absent or has to be fresh
 *   docker_space.c   room for images: which were used when, and their collection
 *   docker_prepare.c directories of the machine that are mounted, owners of devices
 *   docker_log.c     the daemon's log of a container copied into the job's segments
 *   docker_api.c     requests to the daemon
 *   docker_memory.c  the most memory a container used, and whose limit ended it
 *   docker_signal.c  a signal to every process of a container
 *   docker_image.c, docker_progress.c, docker_stream.c, docker_spec.c, docker_accel.c
 *                    pure parts
 *
 * Everything runs on the agent's loop. A daemon that goes away (upgrade, crash) is
 * normal: calls in flight end with an error, the engine probes until the daemon is back,
 * and each job then looks at its container again.
 */
#ifndef DOCKER_H
#define DOCKER_H

#include <jansson.h>
#include <sys/queue.h>

#include "io/http_client.h"
#include "runner/engines/docker/docker_image.h"
#include "runner/engines/docker/docker_spec.h"
#include "runner/engines/docker/docker_stream.h"
#include "runner/engines/engine.h"

/* --- requests ------------------------------------------------------------------------
 */
struct docker_call;
struct docker_reply {
    bool reached;        /* a reply came at all */
    bool refused;        /* there was no connection: certainly nothing was sent */
    int status;          /* HTTP */
    const json_t *doc;   /* NULL when the body is no JSON; borrowed for the callback */
    const char *message; /* the daemon's words, or why there is no reply; never NULL */
};
typedef void docker_reply_fn(void *arg, const struct docker_reply *r);
struct docker_request {
    const char *method;
    const char *path; /* after the version prefix; already percent-encoded */
    const json_t *body;
    const char *registry_auth; /* value of X-Registry-Auth, or NULL */
    int timeout_ms;            /* 0: 60 s; -1: none */
    bool unversioned;
    /* Body of a 2xx reply as it comes; doc is NULL then. */
    void (*on_data)(void *arg, const char *bytes, size_t n);
    docker_reply_fn *on_reply; /* once; *slot is NULL by then */
    void *arg;
};
/* *slot names the running call until its reply; cancel through it. */
void docker_call_start(struct engine *en, struct docker_call **slot,
                       const struct docker_request *r);
void docker_call_cancel(struct docker_call **slot); /* empty slot ok */
void docker_escape(struct str *out, const char *text);

/* --- engine --------------------------------------------------------------------------
 */
struct docker_job;
struct docker_fetch;
struct docker_space;
TAILQ_HEAD(docker_jobs, docker_job);
TAILQ_HEAD(docker_fetches, docker_fetch);

struct engine {
    struct loop *loop;
    struct http_multi *http;
    char *socket, *agent_id;
    char prefix[16]; /* "/v1.41"; "" until negotiated: the daemon then assumes its own */
    bool podman, nvidia;
    char version[64]; /* of the daemon that is being probed */
    struct engine_status status;

    void (*probe_done)(void *arg, const struct engine_status *s);
    void *probe_arg;
    bool probe_pending; /* an answer is owed even if nothing changed */
    struct docker_call *probe_call, *events_call, *sweep_call;
    bool live_restore;  /* containers outlive the daemon */
    char root_dir[512]; /* where the daemon keeps images; "": not known */
    const char *proxies[7];
    char *proxy_text[6];
    int64_t stall_ms, kill_again_ms;
    int64_t spool_bytes; /* of one log */
    struct docker_fetches fetches;
    struct docker_space *space;
    struct loop_watch *dir_watch;
    struct loop_timer *retry;
    unsigned n_retries;

    struct docker_jobs jobs;
    struct docker_jobs waiting; /* for a start slot, in order */
    unsigned slots_used;
    char **sweep_known; /* pending sweep, NULL-terminated; NULL: none */
    json_t *sweep_ids;  /* containers still to be removed */
};
/* A request got no reply: look whether the daemon is there. */
void docker_engine_suspect(struct engine *en);
/* Nobody accepts on the socket any more: a daemon that is told to stop closes it first,
 * then ends its containers, and answers on old connections until it exits. (A socket that
 * systemd holds for the daemon does not tell.) */
bool docker_engine_closed(const struct engine *en);
/* Creating and starting many at once only makes each slower. */
void docker_slot_acquire(struct docker_job *dj);
void docker_slot_release(struct docker_job *dj);

/* --- log -----------------------------------------------------------------------------
 */
#define DOCKER_SPOOL_BYTES (INT64_C(512) * 1024 * 1024)
struct docker_log;
struct docker_log *docker_log_new(struct engine *en, const struct engine_job *j);
void docker_log_free(struct docker_log *l);
/* Reads on from what is stored, live. Idempotent. */
void docker_log_follow(struct docker_log *l);
/* The daemon went while the container runs on. One that is told to stop goes on emptying
 * the container's output for a while without keeping it; so the log says where lines may
 * lack. */
void docker_log_daemon_away(struct docker_log *l);
/* The container has ended: reads what is left, then done(arg, reached); reached is false
 * when the daemon was not. */
void docker_log_finish(struct docker_log *l, void (*done)(void *arg, bool reached),
                       void *arg);
/* The init's own complaint that the job's program could not be executed; false: there is
 * none. */
bool docker_log_exec_error(const struct docker_log *l, char *ret, size_t size);

/* --- room for images ------------------------------------------------------------------
 */
struct docker_space *docker_space_new(struct engine *en, const struct engine_config *c);
void docker_space_free(struct docker_space *s);
/* Free and all bytes where the images are; false when that cannot be seen from here. */
bool docker_space_look(const struct docker_space *s, uint64_t *free_bytes,
                       uint64_t *all_bytes);
/* An image was pulled by us, or used by a job: only what we pulled is ever collected, the
 * longest unused first. */
void docker_space_pulled(struct docker_space *s, const struct docker_image *im);
void docker_space_used(struct docker_space *s, const struct docker_image *im);
/* Removes images until enough is free (at once when it is), then done; several may wait.
 */
struct docker_space_wait {
    TAILQ_ENTRY(docker_space_wait) link;
    void (*done)(struct docker_space_wait *w);
    bool waiting;
};
void docker_space_make(struct docker_space *s, struct docker_space_wait *w);
void docker_space_leave(struct docker_space *s, struct docker_space_wait *w);
/* Too little even for a small image? Then why. */
bool docker_space_short(const struct docker_space *s, char *why, size_t size);

/* --- what is on the machine -----------------------------------------------------------
 */
/* Makes the directories that are mounted; ERR_FORBIDDEN, ERR_IO ... */
int docker_prepare_mounts(struct engine_job *j, struct error *e) WARN_UNUSED;
#define DOCKER_GROUPS_MAX 8
/* Groups that own the job's device nodes; returns how many. */
size_t docker_prepare_groups(const struct engine_job *j,
                             unsigned groups[DOCKER_GROUPS_MAX]);

/* Signals every process of the container whose init is pid, but not the init itself.
 * Returns how many, or < 0 when the processes cannot be found from here. */
int docker_signal_all(int64_t init_pid, int signo, struct error *e) WARN_UNUSED;

#endif
