/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One container's way: create (pull when the image is absent), start, wait, facts and the
 * rest of the log, exit told, removed.
 *
 * At most one start per uid. The container's name is the uid, so a second create finds
 * the first. Before the start request a mark is put into the job's directory: without the
 * mark no process can have run, so an absent container may be created anew; with it an
 * absent container means that the job is lost. With the mark and a container that is
 * still "created", an agent was killed around its start request, which the daemon may be
 * about to carry out: it gets SETTLE_MS for that before the start is asked for again.
 */
#include "runner/engines/docker/docker_job.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(docker);

#define SETTLE_MS 2000
#define CONFLICT_MS 100
#define CONFLICTS_MAX 300
#define PATIENCE_MS 30000
#define START_TIMEOUT_MS 120000
#define KILL_AGAIN_MAX 10 /* times the first pause between two */
#define KILLS_TO_TELL 4
#define START_MARK "docker.start"

static void job_start(struct docker_job *dj);
static void send_stop(struct docker_job *dj);
static void on_timer(void *arg);
static void on_kill_timer(void *arg);

/* --- helpers -------------------------------------------------------------------------
 */

struct docker_job *
docker_job_new(struct engine *en, struct engine_job *j)
{
    struct docker_job *dj = xnew(struct docker_job);
    dj->en = en;
    dj->j = j;
    dj->timer = loop_timer_new(en->loop, "docker job", on_timer, dj);
    dj->kill_timer = loop_timer_new(en->loop, "docker kill", on_kill_timer, dj);
    TAILQ_INSERT_TAIL(&en->jobs, dj, link);
    j->engine_state = dj;
    return dj;
}

void
docker_job_free(struct docker_job *dj)
{
    docker_call_cancel(&dj->call);
    docker_call_cancel(&dj->wait_call);
    docker_call_cancel(&dj->inspect_call);
    docker_call_cancel(&dj->kill_call);
    docker_slot_release(dj);
    loop_timer_free(dj->timer);
    loop_timer_free(dj->kill_timer);
    docker_job_pull_leave(dj);
    docker_witness_free(dj);
    docker_memory_free(dj->memory);
    docker_log_free(dj->log);
    TAILQ_REMOVE(&dj->en->jobs, dj, link);
    dj->j->engine_state = NULL;
    free(dj);
}

static bool
start_marked(const struct docker_job *dj)
{
    autofree char *path = fs_join(dj->j->dir, START_MARK);
    return access(path, F_OK) == 0;
}

/* Not synced: a crash of the machine ends the container too, and its state tells. */
static bool
mark_start(const struct docker_job *dj)
{
    autofree char *path = fs_join(dj->j->dir, START_MARK);
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd >= 0;
}

static bool
unmark_start(const struct docker_job *dj)
{
    autofree char *path = fs_join(dj->j->dir, START_MARK);
    return unlink(path) == 0;
}

void
docker_job_request(struct docker_job *dj, struct docker_call **slot, const char *method,
                   const char *action, docker_reply_fn *fn)
{
    auto_str path = STR_INIT(256);
    str_addf(&path, "/containers/%s%s", dj->j->uid, action);
    struct docker_request r = {
        .method = method, .path = path.ptr, .on_reply = fn, .arg = dj};
    if (streq(action, "/start"))
        r.timeout_ms = START_TIMEOUT_MS;
    else if (str_starts(action, "/wait"))
        r.timeout_ms = -1;
    docker_call_cancel(slot);
    docker_call_start(dj->en, slot, &r);
}

/* The daemon does not answer. `back` is called when it does again; after patience_ms
 * (0: endless) the job fails instead. */
void
docker_job_away(struct docker_job *dj, void (*back)(struct docker_job *dj),
                int64_t patience_ms)
{
    docker_slot_release(dj);
    docker_call_cancel(&dj->wait_call);
    docker_call_cancel(&dj->inspect_call);
    docker_witness_free(dj);
    if (dj->step == DOCKER_STARTING || dj->step == DOCKER_RUNNING ||
        dj->step == DOCKER_ENDING)
        dj->lost = true;
    if (dj->step == DOCKER_RUNNING)
        docker_log_daemon_away(dj->log);
    dj->step = DOCKER_AWAY;
    dj->back = back;
    loop_timer_cancel(dj->timer);
    if (patience_ms > 0)
        loop_timer_in(dj->timer, patience_ms);
    docker_engine_suspect(dj->en);
}

void
docker_job_engine_back(struct docker_job *dj)
{
    if (dj->step != DOCKER_AWAY)
        return;
    loop_timer_cancel(dj->timer);
    dj->back(dj);
}

static void
fail_stopped(struct docker_job *dj)
{
    docker_job_fail(dj, ENGINE_START_FAILED, "stopped before the start");
}

/* --- create and start ----------------------------------------------------------------
 */

static void
on_created(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!r->reached)
        docker_job_away(dj, docker_job_create, PATIENCE_MS);
    else if (dj->stop_wanted)
        fail_stopped(dj);
    else if (r->status == 201) {
        const char *id = json_string_value(json_object_get(r->doc, "Id"));
        snprintf(dj->facts.id, sizeof(dj->facts.id), "%s", id != NULL ? id : "");
        job_start(dj);
    } else if (r->status == 409) {
        dj->conflict = true; /* exists: ours from before */
        docker_job_inspect(dj);
    } else if (r->status == 404 && !dj->pulled) {
        docker_slot_release(dj);
        docker_job_pull(dj);
    } else
        docker_job_fail(dj, r->status == 404 ? ENGINE_IMAGE_PULL : ENGINE_CREATE_FAILED,
                        r->message);
}

/* Its registry can refresh it, or it was built here and can only be taken as it is. */
static void
on_image(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!r->reached) {
        docker_job_away(dj, docker_job_create, PATIENCE_MS);
        return;
    }
    if (dj->stop_wanted) {
        fail_stopped(dj);
        return;
    }
    if (r->status == 200 &&
        json_array_size(json_object_get(r->doc, "RepoDigests")) == 0) {
        dj->pulled = true;
        docker_job_create(dj);
        return;
    }
    docker_slot_release(dj);
    docker_job_pull(dj);
}

static void
look_at_image(struct docker_job *dj)
{
    auto_str path = STR_INIT(1024);
    dj->step = DOCKER_LOOKING;
    str_addf(&path, "/images/%s:%s/json", dj->image.name, dj->image.tag);
    struct docker_request r = {
        .method = "GET", .path = path.ptr, .on_reply = on_image, .arg = dj};
    docker_call_start(dj->en, &dj->call, &r);
}

static void
fill_env(const struct docker_job *dj, struct docker_spec_env *env)
{
    *env = (struct docker_spec_env){
        .agent_id = dj->en->agent_id,
        .podman = dj->en->podman,
        .nvidia = dj->en->nvidia,
        .infiniband = access("/dev/infiniband", F_OK) == 0,
        .hugepages_1g = access("/dev/hugepages-1G", F_OK) == 0,
        .proxies = dj->en->proxies,
        .no_display = dj->no_display,
        .no_memlock = dj->no_memlock,
    };
}

void
docker_job_create(struct docker_job *dj)
{
    struct docker_spec_env env;
    struct error e = ERROR_INIT;
    unsigned groups[DOCKER_GROUPS_MAX];
    struct engine_progress p = {
        .phase = ENGINE_CREATING, .downloaded_bytes = -1, .total_bytes = -1};
    auto_str path = STR_INIT(256);

    if (dj->image.refresh && !dj->pulled) {
        look_at_image(dj);
        return;
    }
    if (docker_prepare_mounts(dj->j, &e) < 0) {
        docker_job_fail(dj, ENGINE_CREATE_FAILED, e.msg);
        return;
    }
    fill_env(dj, &env);
    env.groups = groups;
    env.n_groups = docker_prepare_groups(dj->j, groups);
    docker_space_used(dj->en->space, &dj->image);
    dj->step = DOCKER_CREATING;
    if (!dj->pulled)
        dj->j->events->on_progress(dj->j, &p);
    str_addf(&path, "/containers/create?name=%s", dj->j->uid);
    json_t *body = docker_spec_create(dj->j, &env);
    struct docker_request r = {.method = "POST",
                               .path = path.ptr,
                               .body = body,
                               .on_reply = on_created,
                               .arg = dj};
    docker_call_start(dj->en, &dj->call, &r);
    json_decref(body);
}

/* What a daemon that died had begun to start is there, and this one does not know of it.
 */
static bool
says_half_started(const char *message)
{
    return streq(message, "id already in use") ||
           (strstr(message, "task ") != NULL &&
            strstr(message, ": already exists") != NULL);
}

static void
on_undone(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!r->reached)
        docker_job_away(dj, docker_job_create, PATIENCE_MS);
    else if (dj->stop_wanted)
        fail_stopped(dj);
    else
        docker_job_create(dj); /* a container that is still there is found by its name */
}

static void
make_anew(struct docker_job *dj)
{
    dj->step = DOCKER_REDOING;
    docker_job_request(dj, &dj->call, "DELETE", "?force=1&v=1", on_undone);
}

/* The daemon would not start it with something that it can do without: no process of it
 * ran, so it is made anew. The mark goes first: from then on an absent container means
 * that nothing ran, which is so. */
static bool
redo(struct docker_job *dj, const char *message)
{
    struct docker_spec_env env;
    fill_env(dj, &env);
    if (dj->stop_wanted || !docker_accel_retry(message, dj->j, &env) || !unmark_start(dj))
        return false;
    log_info("once more without what was refused", "uid=%s message=\"%s\"", dj->j->uid,
             message);
    dj->no_display = env.no_display;
    dj->no_memlock = env.no_memlock;
    make_anew(dj);
    return true;
}

/* Maybe it ran, maybe it still does: not for long, and never twice. */
static void
half_started(struct docker_job *dj)
{
    if (docker_stray_kill(dj->facts.id) && !dj->stop_wanted && unmark_start(dj)) {
        log_info("once more: the daemon died before the job was started", "uid=%s",
                 dj->j->uid);
        make_anew(dj);
        return;
    }
    docker_job_fail(
        dj, ENGINE_RESTARTED,
        "the daemon died while it started the job; whether its program ran is "
        "not known");
}

static void
on_resized(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    /* It may have ended already. */
    if (r->reached && r->status != 200 && r->status != 409)
        log_debug("terminal not resized", "uid=%s status=%d message=\"%s\"", dj->j->uid,
                  r->status, r->message);
}

/* What a daemon that knows no ConsoleSize has left at 0x0. */
static void
resize(struct docker_job *dj)
{
    char action[64];
    if (dj->j->tty_columns == 0)
        return;
    snprintf(action, sizeof(action), "/resize?h=%u&w=%u", dj->j->tty_rows,
             dj->j->tty_columns);
    docker_job_request(dj, &dj->call, "POST", action, on_resized);
}

static void
on_started(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    docker_slot_release(dj);
    if (r->refused)
        unmark_start(dj);
    if (!r->reached) /* unless refused, it may or may not have happened */
        docker_job_away(dj, docker_job_inspect, 0);
    else if (r->status == 204 || r->status == 304) {
        docker_job_running(dj);
        resize(dj);
    } else if (says_half_started(r->message))
        half_started(dj);
    else if (!redo(dj, r->message))
        docker_job_fail(dj, ENGINE_START_FAILED, r->message);
}

static void
job_start(struct docker_job *dj)
{
    if (!mark_start(dj)) {
        docker_job_fail(dj, ENGINE_CREATE_FAILED, "the job's directory is not writable");
        return;
    }
    dj->step = DOCKER_STARTING;
    docker_job_request(dj, &dj->call, "POST", "/start", on_started);
}

void
docker_job_slot_granted(struct docker_job *dj)
{
    if (dj->step == DOCKER_QUEUED)
        docker_job_create(dj);
}

void
docker_job_launch(struct engine *en, struct engine_job *j)
{
    struct docker_job *dj = j->engine_state;
    if (dj == NULL)
        dj = docker_job_new(en, j);
    bug_if(dj->step != DOCKER_QUEUED && dj->step != DOCKER_ENDED);
    struct error e = ERROR_INIT;
    dj->step = DOCKER_QUEUED;
    dj->pulled = false;
    if (docker_image_parse(j->image != NULL ? j->image : "", &dj->image, &e) < 0) {
        docker_job_fail(dj, ENGINE_IMAGE_PULL, e.msg);
        return;
    }
    docker_slot_acquire(dj);
}

/* --- looking at what is there --------------------------------------------------------
 */

static void
adopt_absent(struct docker_job *dj)
{
    if (dj->conflict && !start_marked(dj) && ++dj->n_conflicts < CONFLICTS_MAX) {
        /* The name is taken by nothing: an earlier create is still under way. */
        dj->step = DOCKER_SETTLING;
        loop_timer_in(dj->timer, CONFLICT_MS);
        return;
    }
    struct engine_result r = {.reason = ENGINE_LOST, .exit_code = -1};
    r.started = start_marked(dj);
    r.never_started = !r.started;
    snprintf(r.message, sizeof(r.message), "%s",
             r.started ? "the container is gone" : "no container was made");
    docker_job_tell_exit(dj, &r);
}

static void
start_unless_stopped(struct docker_job *dj)
{
    if (dj->stop_wanted)
        fail_stopped(dj);
    else
        job_start(dj);
}

/* The daemon may be about to carry out the start that it was asked for. */
static void
settle_then_start(struct docker_job *dj)
{
    if (dj->step == DOCKER_SETTLING) {
        start_unless_stopped(dj);
        return;
    }
    dj->step = DOCKER_SETTLING;
    loop_timer_in(dj->timer, SETTLE_MS);
}

static void
on_witness(struct docker_job *dj, const struct docker_seen *seen)
{
    if (!seen->reached) {
        docker_job_away(dj, docker_job_inspect, 0);
    } else if (!seen->created) {
        half_started(dj);
    } else {
        settle_then_start(dj);
    }
}

/* Created, and not started as far as the daemon knows. That is the truth unless we asked
 * for the start and the daemon was replaced since: then only its files say so. */
static void
adopt_created(struct docker_job *dj)
{
    if (says_half_started(dj->facts.error)) {
        half_started(dj);
    } else if (dj->facts.error[0] != '\0') {
        docker_job_fail(dj, ENGINE_START_FAILED, dj->facts.error);
    } else if (start_marked(dj) && !dj->en->podman) {
        docker_witness_ask(dj, on_witness);
    } else if (start_marked(dj)) {
        settle_then_start(dj);
    } else {
        start_unless_stopped(dj);
    }
}

/* A daemon died while it removed it, which it does not take up again. What was never
 * started is removed by us, and made anew. */
static void
adopt_dead(struct docker_job *dj)
{
    if (dj->stop_wanted)
        fail_stopped(dj);
    else if (start_marked(dj))
        half_started(dj);
    else if (++dj->n_conflicts < CONFLICTS_MAX)
        make_anew(dj);
    else
        docker_job_fail(dj, ENGINE_CREATE_FAILED,
                        "a dead container of the job cannot be removed");
}

/* Reads the facts of the reply; false when it was dealt with otherwise. */
bool
docker_job_facts(struct docker_job *dj, const struct docker_reply *r)
{
    struct error e = ERROR_INIT;
    if (!r->reached) {
        docker_job_away(dj, docker_job_inspect, 0);
        return false;
    }
    if (r->status == 404) {
        adopt_absent(dj);
        return false;
    }
    if (r->status != 200 || docker_facts_parse(r->doc, &dj->facts, &e) < 0) {
        log_warn_rl("inspect failed", "uid=%s status=%d message=\"%s\"", dj->j->uid,
                    r->status, r->message);
        docker_job_away(dj, docker_job_inspect, 0);
        return false;
    }
    if (!streq(dj->facts.job_uid, dj->j->uid)) {
        docker_job_fail(dj, ENGINE_CREATE_FAILED,
                        "a container that is not drover's has the job's name");
        return false;
    }
    return true;
}

static void
on_inspected(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!docker_job_facts(dj, r))
        return;
    if (!dj->facts.started &&
        (dj->facts.error[0] != '\0' || streq(dj->facts.status, "created") ||
         streq(dj->facts.status, "configured"))) {
        adopt_created(dj);
        return;
    }
    if (dj->facts.running)
        docker_job_running(dj);
    else if (!dj->facts.started &&
             (streq(dj->facts.status, "dead") || streq(dj->facts.status, "removing")))
        adopt_dead(dj);
    else
        docker_job_ending(dj);
}

void
docker_job_inspect(struct docker_job *dj)
{
    if (dj->step != DOCKER_SETTLING)
        dj->step = DOCKER_INSPECTING;
    docker_job_request(dj, &dj->call, "GET", "/json", on_inspected);
}

void
docker_job_adopt(struct engine *en, struct engine_job *j)
{
    bug_if(j->engine_state != NULL);
    docker_job_inspect(docker_job_new(en, j));
}

/* --- running -------------------------------------------------------------------------
 */

static void
on_wait(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!r->reached || r->status != 200)
        docker_job_away(dj, docker_job_inspect, 0);
    else
        docker_job_ending(dj);
}

static void
on_running_facts(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    struct error e = ERROR_INIT;
    if (!r->reached || r->status != 200 || docker_facts_parse(r->doc, &dj->facts, &e) < 0)
        return; /* the wait call sees the same daemon */
    if (dj->memory == NULL)
        dj->memory = docker_memory_watch(dj->en->loop, dj->facts.pid);
    docker_job_tell_started(dj);
    if (dj->stop_wanted && dj->step == DOCKER_RUNNING)
        send_stop(dj);
}

void
docker_job_running(struct docker_job *dj)
{
    docker_slot_release(dj);
    dj->step = DOCKER_RUNNING;
    dj->lost = false;
    docker_job_request(dj, &dj->wait_call, "POST", "/wait?condition=not-running",
                       on_wait);
    if (dj->log == NULL)
        dj->log = docker_log_new(dj->en, dj->j);
    docker_log_follow(dj->log);
    docker_job_request(dj, &dj->inspect_call, "GET", "/json", on_running_facts);
}

/* --- stop ----------------------------------------------------------------------------
 */

static void
on_killed(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    /* 404, 409: it has ended meanwhile, which the wait call tells. */
    if (!r->reached)
        docker_engine_suspect(dj->en);
}

/* The daemon's word that the signal was sent is not an end: a container in a storm of
 * forks may outlive one, and a busy daemon forget it. Asked again until the wait call
 * tells. */
static void
on_sigkilled(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    int64_t ms = dj->en->kill_again_ms;
    char text[200];

    on_killed(arg, r);
    if (dj->step != DOCKER_RUNNING)
        return;
    dj->n_kills++;
    loop_timer_in(dj->kill_timer,
                  ms * (dj->n_kills < 4 ? 1 << (dj->n_kills - 1) : KILL_AGAIN_MAX));
    if (dj->n_kills != KILLS_TO_TELL)
        return;
    snprintf(
        text, sizeof(text),
        "the container does not end: it was sent SIGKILL %u times, and docker %s%.100s",
        dj->n_kills, r->message[0] != '\0' ? "said: " : "took each", r->message);
    log_warn("stuck", "uid=%s message=\"%s\"", dj->j->uid, text);
    if (dj->j->events->on_stuck != NULL)
        dj->j->events->on_stuck(dj->j, text);
}

static void
send_kill(struct docker_job *dj)
{
    struct error e = ERROR_INIT;

    /* The death of its init takes the whole pid namespace with it; with the machine's pid
     * namespace, or when that did not do, the others are killed one by one. */
    if (dj->n_kills > 0 && docker_signal_all(dj->facts.pid, SIGKILL, &e) < 0)
        log_debug("killed by docker only", "uid=%s reason=\"%s\"", dj->j->uid, e.msg);
    docker_job_request(dj, &dj->kill_call, "POST", "/kill?signal=SIGKILL", on_sigkilled);
}

static void
send_term(struct docker_job *dj)
{
    struct error e = ERROR_INIT;
    int n = docker_signal_all(dj->facts.pid, SIGTERM, &e);
    dj->term_sent = true;
    if (n > 0)
        return;
    /* Its processes are out of reach from here: at least the main one hears it. */
    if (n < 0)
        log_info("stop reaches the main process only", "uid=%s reason=\"%s\"", dj->j->uid,
                 e.msg);
    docker_job_request(dj, &dj->kill_call, "POST", "/kill?signal=SIGTERM", on_killed);
}

/* In RUNNING, with facts. */
static void
send_stop(struct docker_job *dj)
{
    if (dj->kill_now)
        send_kill(dj);
    else if (!dj->term_sent)
        send_term(dj);
}

static void
on_kill_timer(void *arg)
{
    struct docker_job *dj = arg;
    dj->kill_now = true;
    if (dj->step != DOCKER_RUNNING)
        return;
    if (dj->n_kills == 0)
        send_kill(dj);
    else
        docker_job_inspect(dj); /* with the pid of now, should it still run */
}

void
docker_job_stop(struct engine *en, struct engine_job *j, int64_t grace_ms)
{
    struct docker_job *dj = j->engine_state;
    UNUSED(en);
    if (dj == NULL || dj->step == DOCKER_ENDED || dj->step == DOCKER_REMOVING)
        return;
    if (!dj->stop_wanted || loop_now_ms(en->loop) + grace_ms < dj->kill_at_ms) {
        dj->kill_at_ms = loop_now_ms(en->loop) + grace_ms;
        if (grace_ms <= 0)
            dj->kill_now = true;
        else
            loop_timer_at(dj->kill_timer, dj->kill_at_ms);
    }
    dj->stop_wanted = true;
    switch (dj->step) {
    case DOCKER_QUEUED:
    case DOCKER_PULLING:
    case DOCKER_LOOKING:
        docker_call_cancel(&dj->call);
        docker_job_pull_leave(dj);
        fail_stopped(dj);
        break;
    case DOCKER_AWAY:
        if (dj->back == docker_job_create)
            fail_stopped(dj);
        break;
    case DOCKER_RUNNING:
        if (dj->kill_now)
            send_kill(dj);
        else if (!dj->term_sent) /* with the pid of now */
            docker_job_request(dj, &dj->inspect_call, "GET", "/json", on_running_facts);
        break;
    case DOCKER_CREATING: /* these look at stop_wanted when they have their answer */
    case DOCKER_STARTING:
    case DOCKER_REDOING:
    case DOCKER_INSPECTING:
    case DOCKER_SETTLING:
    case DOCKER_ENDING:
    case DOCKER_ENDED:
    case DOCKER_REMOVING:
        break;
    }
}

static void
on_timer(void *arg)
{
    struct docker_job *dj = arg;
    switch (dj->step) {
    case DOCKER_SETTLING:
        if (dj->conflict && !dj->facts.started && !start_marked(dj)) {
            dj->conflict = false;
            docker_job_create(dj);
        } else {
            docker_job_inspect(dj);
        }
        break;
    case DOCKER_AWAY:
        docker_job_fail(dj, ENGINE_UNAVAILABLE, dj->en->status.message);
        break;
    case DOCKER_ENDING:
        docker_job_log_late(dj);
        break;
    case DOCKER_QUEUED:
    case DOCKER_LOOKING:
    case DOCKER_PULLING:
    case DOCKER_CREATING:
    case DOCKER_STARTING:
    case DOCKER_REDOING:
    case DOCKER_INSPECTING:
    case DOCKER_RUNNING:
    case DOCKER_ENDED:
    case DOCKER_REMOVING:
        break;
    }
}
