/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a container: its facts, the rest of its log, what they mean for the job, and
 * the removal. An end that may be the daemon's doing is told only after the daemon has
 * been asked what it saw.
 */
#include <signal.h>

#include "base/clock.h"
#include "base/mem.h"
#include "runner/engines/docker/docker_job.h"

#define LOG_PATIENCE_MS 30 /* how long an exit waits for the log, to be told with it */

/* --- telling -------------------------------------------------------------------------
 */

void
docker_job_tell_exit(struct docker_job *dj, const struct engine_result *r)
{
    docker_slot_release(dj);
    loop_timer_cancel(dj->timer);
    loop_timer_cancel(dj->kill_timer);
    dj->step = DOCKER_ENDED;
    if (dj->log_owed) { /* the end was told; there is no more of the log */
        dj->log_owed = false;
        if (dj->j->events->on_log_end != NULL)
            dj->j->events->on_log_end(dj->j);
        return;
    }
    dj->log_owed = r->log_follows;
    dj->j->events->on_exit(dj->j, r);
}

/* It never ran. */
void
docker_job_fail(struct docker_job *dj, enum engine_reason reason, const char *message)
{
    struct engine_result r = {.reason = reason, .exit_code = -1};
    r.finished_ns = clock_wall_ns();
    snprintf(r.message, sizeof(r.message), "%.*s", (int)sizeof(r.message) - 1, message);
    docker_job_tell_exit(dj, &r);
}

void
docker_job_tell_started(struct docker_job *dj)
{
    if (dj->started_told || !dj->facts.started)
        return;
    dj->started_told = true;
    dj->j->facts = dj->facts.job;
    dj->j->events->on_started(dj->j, dj->facts.started_ns);
}

/* --- the end -------------------------------------------------------------------------
 */

static const char by_stop[] =
    "the daemon was stopped, and its containers with it: it runs without live-restore";
static const char unseen[] =
    "it ended while the daemon was down, which does not know how";

static bool
killed_as_by_stop(const struct docker_job *dj)
{
    int code = dj->facts.exit_code;
    return !dj->en->live_restore && (code == 128 + SIGTERM || code == 128 + SIGKILL);
}

/* A daemon that finds a container ended whose end it did not see writes 0 or 255 for what
 * containerd cannot tell it any more, and the time at which it found out. One without
 * live-restore stops its containers. */
static bool
doubtful(const struct docker_job *dj, const struct engine_result *r)
{
    if (dj->stop_wanted || dj->en->podman ||
        (r->reason != ENGINE_EXITED && r->reason != ENGINE_SIGNALED))
        return false;
    return r->exit_code == 0 || r->exit_code == 255 || killed_as_by_stop(dj);
}

/* NULL: the job's own end. */
static const char *
fell_with_daemon(const struct docker_job *dj, const struct docker_seen *seen)
{
    int64_t since;
    if (killed_as_by_stop(dj))
        return dj->lost || (seen->whole && !seen->started) ? by_stop : NULL;
    if (seen->died || seen->started || (!seen->whole && !dj->lost))
        return NULL;
    since = docker_daemon_since(dj->en);
    return since > 0 && dj->facts.finished_ns < since ? NULL : unseen;
}

/* Nobody waits for the end of a job because much of its output is still to be read. Only
 * where the init's complaint may explain the exit code, the log comes first. */
static void
ended(struct docker_job *dj)
{
    struct engine_result r;
    int64_t boot_ns = clock_wall_ns() - clock_boot_ms() * 1000000;
    if (!dj->facts_known || (!dj->log_complete && (!dj->log_late || dj->log_owed)))
        return;
    docker_facts_result(&dj->facts, boot_ns, &r);
    bool log_tells =
        r.reason == ENGINE_EXITED && (r.exit_code == 126 || r.exit_code == 127 ||
                                      (dj->en->podman && r.exit_code == 1));
    if ((!dj->log_complete && log_tells) || (doubtful(dj, &r) && !dj->seen_known))
        return;
    r.log_follows = !dj->log_complete;
    if (dj->fell != NULL) {
        r.reason = ENGINE_RESTARTED;
        snprintf(r.message, sizeof(r.message), "%s", dj->fell);
    } else if (log_tells &&
               docker_log_exec_error(dj->log, r.message, sizeof(r.message))) {
        r.reason = ENGINE_START_FAILED;
    } else if (!dj->stop_wanted) {
        docker_memory_tell(docker_memory_end(dj->memory), dj->j->memory_limit_mib, &r);
    }
    docker_job_tell_started(dj);
    docker_job_tell_exit(dj, &r);
}

void
docker_job_log_late(struct docker_job *dj)
{
    dj->log_late = true;
    ended(dj);
}

static void
on_seen(struct docker_job *dj, const struct docker_seen *seen)
{
    if (!seen->reached) {
        docker_job_away(dj, docker_job_ending, 0);
        return;
    }
    dj->seen_known = true;
    dj->fell = fell_with_daemon(dj, seen);
    if (dj->fell == unseen)
        docker_stray_kill(dj->facts.id); /* containerd may still keep the task */
    ended(dj);
}

/* Beside the log, which takes longer. */
static void
ask_what_was_seen(struct docker_job *dj)
{
    struct engine_result r;
    docker_facts_result(&dj->facts, clock_wall_ns() - clock_boot_ms() * 1000000, &r);
    if (!doubtful(dj, &r))
        return;
    dj->seen_known = killed_as_by_stop(dj) && docker_engine_closed(dj->en);
    if (dj->seen_known)
        dj->fell = by_stop;
    else
        docker_witness_ask(dj, on_seen);
}

static void
on_end_facts(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!docker_job_facts(dj, r))
        return;
    if (dj->facts.running) {
        docker_job_running(dj); /* not our end: somebody started it again by hand */
        return;
    }
    dj->facts_known = true;
    ask_what_was_seen(dj);
    ended(dj);
}

static void
on_log_complete(void *arg, bool reached)
{
    struct docker_job *dj = arg;
    if (dj->step != DOCKER_ENDING && !dj->log_owed)
        return;
    if (!reached) {
        docker_job_away(dj, docker_job_ending, 0);
        return;
    }
    dj->log_complete = true;
    ended(dj);
}

void
docker_job_ending(struct docker_job *dj)
{
    docker_slot_release(dj);
    dj->step = DOCKER_ENDING;
    dj->facts_known = dj->log_complete = dj->log_late = dj->seen_known = false;
    dj->fell = NULL;
    docker_witness_free(dj);
    loop_timer_in(dj->timer, LOG_PATIENCE_MS);
    docker_call_cancel(&dj->wait_call);
    if (dj->log == NULL)
        dj->log = docker_log_new(dj->en, dj->j);
    docker_job_request(dj, &dj->inspect_call, "GET", "/json", on_end_facts);
    docker_log_finish(dj->log, on_log_complete, dj);
}

/* --- removal -------------------------------------------------------------------------
 */

static void
on_removed(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    struct engine_job *j = dj->j;
    struct engine *en = dj->en;
    struct error e = ERROR_INIT;

    bool gone = r->reached && (r->status == 204 || r->status == 200 || r->status == 404);
    if (!gone)
        error_set(&e, r->reached ? ERR_PROVIDER : ERR_UNAVAILABLE,
                  "remove container %s: %s", j->uid, r->message);
    docker_job_free(dj);
    if (!r->reached)
        docker_engine_suspect(en);
    j->events->on_removed(j, gone ? NULL : &e);
}

void
docker_job_remove(struct engine *en, struct engine_job *j)
{
    struct docker_job *dj = j->engine_state;
    if (dj == NULL)
        dj = docker_job_new(en, j);
    if (dj->step == DOCKER_REMOVING)
        return;
    dj->step = DOCKER_REMOVING;
    dj->log_owed = false;
    docker_log_free(dj->log);
    dj->log = NULL;
    docker_job_request(dj, &dj->call, "DELETE", "?force=1&v=1", on_removed);
}
