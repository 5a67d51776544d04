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
#include "runner/engines/docker/docker.h"

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
#define LOG_PATIENCE_MS 30 /* how long an exit waits for the log, to be told with it */
#define START_TIMEOUT_MS 120000
#define START_MARK "docker.start"

static void job_start(struct docker_job *dj);
static void job_inspect(struct docker_job *dj);
static void job_running(struct docker_job *dj);
static void job_ending(struct docker_job *dj);
static void send_stop(struct docker_job *dj);
static void on_timer(void *arg);
static void on_kill_timer(void *arg);

/* --- helpers -------------------------------------------------------------------------
 */

static struct docker_job *
job_new(struct engine *en, struct engine_job *j)
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

static void
request(struct docker_job *dj, struct docker_call **slot, const char *method,
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
tell_exit(struct docker_job *dj, const struct engine_result *r)
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
    tell_exit(dj, &r);
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
    else if (r->status == 201)
        job_start(dj);
    else if (r->status == 409) {
        dj->conflict = true; /* exists: ours from before */
        job_inspect(dj);
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

/* "task <id>: already exists", "id already in use": what a daemon that died had begun to
 * start is there, and the next one does not know of it. */
static bool
half_started(const char *message)
{
    return strstr(message, "task ") != NULL &&
           strstr(message, ": already exists") != NULL;
}

static void
fail_half_started(struct docker_job *dj)
{
    docker_job_fail(dj, ENGINE_RESTARTED, "the daemon died while it started the job");
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

/* The daemon would not start it with something that it can do without: no process of it
 * ran, so it is made anew. The mark goes first: from then on an absent container means
 * that nothing ran, which is so. */
static bool
redo(struct docker_job *dj, const char *message)
{
    struct docker_spec_env env;
    autofree char *mark = fs_join(dj->j->dir, START_MARK);
    fill_env(dj, &env);
    if (dj->stop_wanted || !docker_accel_retry(message, dj->j, &env) || unlink(mark) < 0)
        return false;
    log_info("once more without what was refused", "uid=%s message=\"%s\"", dj->j->uid,
             message);
    dj->no_display = env.no_display;
    dj->no_memlock = env.no_memlock;
    dj->step = DOCKER_REDOING;
    request(dj, &dj->call, "DELETE", "?force=1&v=1", on_undone);
    return true;
}

static void
on_started(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    docker_slot_release(dj);
    if (!r->reached) /* it may or may not have happened */
        docker_job_away(dj, job_inspect, 0);
    else if (r->status == 204 || r->status == 304)
        job_running(dj);
    else if (half_started(r->message))
        fail_half_started(dj);
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
    request(dj, &dj->call, "POST", "/start", on_started);
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
        dj = job_new(en, j);
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
    tell_exit(dj, &r);
}

/* Created, and not started as far as the daemon knows. */
static void
adopt_created(struct docker_job *dj)
{
    if (half_started(dj->facts.error)) {
        fail_half_started(dj);
    } else if (dj->facts.error[0] != '\0') {
        docker_job_fail(dj, ENGINE_START_FAILED, dj->facts.error);
    } else if (start_marked(dj) && dj->step != DOCKER_SETTLING) {
        dj->step = DOCKER_SETTLING;
        loop_timer_in(dj->timer, SETTLE_MS);
    } else if (dj->stop_wanted) {
        fail_stopped(dj);
    } else {
        job_start(dj);
    }
}

static void
tell_started(struct docker_job *dj)
{
    if (dj->started_told || !dj->facts.started)
        return;
    dj->started_told = true;
    dj->j->facts = dj->facts.job;
    dj->j->events->on_started(dj->j, dj->facts.started_ns);
}

/* Reads the facts of the reply; false when it was dealt with otherwise. */
static bool
take_facts(struct docker_job *dj, const struct docker_reply *r)
{
    struct error e = ERROR_INIT;
    if (!r->reached) {
        docker_job_away(dj, job_inspect, 0);
        return false;
    }
    if (r->status == 404) {
        adopt_absent(dj);
        return false;
    }
    if (r->status != 200 || docker_facts_parse(r->doc, &dj->facts, &e) < 0) {
        log_warn_rl("inspect failed", "uid=%s status=%d message=\"%s\"", dj->j->uid,
                    r->status, r->message);
        docker_job_away(dj, job_inspect, 0);
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
    if (!take_facts(dj, r))
        return;
    if (!dj->facts.started &&
        (dj->facts.error[0] != '\0' || streq(dj->facts.status, "created") ||
         streq(dj->facts.status, "configured"))) {
        adopt_created(dj);
        return;
    }
    if (dj->facts.running)
        job_running(dj);
    else
        job_ending(dj);
}

static void
job_inspect(struct docker_job *dj)
{
    if (dj->step != DOCKER_SETTLING)
        dj->step = DOCKER_INSPECTING;
    request(dj, &dj->call, "GET", "/json", on_inspected);
}

void
docker_job_adopt(struct engine *en, struct engine_job *j)
{
    bug_if(j->engine_state != NULL);
    job_inspect(job_new(en, j));
}

/* --- running -------------------------------------------------------------------------
 */

static void
on_wait(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!r->reached || r->status != 200)
        docker_job_away(dj, job_inspect, 0);
    else
        job_ending(dj);
}

static void
on_running_facts(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    struct error e = ERROR_INIT;
    if (!r->reached || r->status != 200 || docker_facts_parse(r->doc, &dj->facts, &e) < 0)
        return; /* the wait call sees the same daemon */
    tell_started(dj);
    if (dj->stop_wanted && dj->step == DOCKER_RUNNING)
        send_stop(dj);
}

static void
job_running(struct docker_job *dj)
{
    docker_slot_release(dj);
    dj->step = DOCKER_RUNNING;
    dj->lost = false;
    request(dj, &dj->wait_call, "POST", "/wait?condition=not-running", on_wait);
    if (dj->log == NULL)
        dj->log = docker_log_new(dj->en, dj->j);
    docker_log_follow(dj->log);
    request(dj, &dj->inspect_call, "GET", "/json", on_running_facts);
}

/* --- the end -------------------------------------------------------------------------
 */

/* Its end is the daemon's doing, or nobody's knowledge: the next daemon writes 255 for
 * one whose end it did not see, and one without live-restore stops its containers when it
 * had gone or takes no more requests. NULL: the job's own end. */
static const char *
fell_with_daemon(const struct docker_job *dj)
{
    const struct docker_facts *f = &dj->facts;
    int code = f->exit_code;
    if (dj->stop_wanted || f->oom)
        return NULL;
    if (code == 255 && dj->lost)
        return "it ended while the daemon was down, which does not know how";
    if (!dj->en->live_restore && (code == 128 + SIGTERM || code == 128 + SIGKILL) &&
        (dj->lost || docker_engine_closed(dj->en)))
        return "the daemon was stopped, and its containers with it: it runs without "
               "live-restore";
    return NULL;
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
    if (!dj->log_complete && log_tells)
        return;
    r.log_follows = !dj->log_complete;
    const char *fell = fell_with_daemon(dj);
    if (fell != NULL) {
        r.reason = ENGINE_RESTARTED;
        snprintf(r.message, sizeof(r.message), "%s", fell);
    }
    const char *exec_error = docker_log_exec_error(dj->log);
    if (log_tells && exec_error[0] != '\0' && r.reason == ENGINE_EXITED) {
        r.reason = ENGINE_START_FAILED;
        snprintf(r.message, sizeof(r.message), "%s", exec_error);
    }
    tell_started(dj);
    tell_exit(dj, &r);
}

static void
on_end_facts(void *arg, const struct docker_reply *r)
{
    struct docker_job *dj = arg;
    if (!take_facts(dj, r))
        return;
    if (dj->facts.running) {
        job_running(dj); /* not our end: somebody started it again by hand */
        return;
    }
    dj->facts_known = true;
    ended(dj);
}

static void
on_log_complete(void *arg, bool reached)
{
    struct docker_job *dj = arg;
    if (dj->step != DOCKER_ENDING && !dj->log_owed)
        return;
    if (!reached) {
        docker_job_away(dj, job_ending, 0);
        return;
    }
    dj->log_complete = true;
    ended(dj);
}

static void
job_ending(struct docker_job *dj)
{
    docker_slot_release(dj);
    dj->step = DOCKER_ENDING;
    dj->facts_known = dj->log_complete = dj->log_late = false;
    loop_timer_in(dj->timer, LOG_PATIENCE_MS);
    docker_call_cancel(&dj->wait_call);
    if (dj->log == NULL)
        dj->log = docker_log_new(dj->en, dj->j);
    request(dj, &dj->inspect_call, "GET", "/json", on_end_facts);
    docker_log_finish(dj->log, on_log_complete, dj);
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

static void
send_kill(struct docker_job *dj)
{
    /* The death of its init takes the whole pid namespace with it. */
    request(dj, &dj->kill_call, "POST", "/kill?signal=SIGKILL", on_killed);
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
    request(dj, &dj->kill_call, "POST", "/kill?signal=SIGTERM", on_killed);
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
    if (dj->step == DOCKER_RUNNING)
        send_kill(dj);
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
            request(dj, &dj->inspect_call, "GET", "/json", on_running_facts);
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
            job_inspect(dj);
        }
        break;
    case DOCKER_AWAY:
        docker_job_fail(dj, ENGINE_UNAVAILABLE, dj->en->status.message);
        break;
    case DOCKER_ENDING:
        dj->log_late = true;
        ended(dj);
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
        dj = job_new(en, j);
    if (dj->step == DOCKER_REMOVING)
        return;
    dj->step = DOCKER_REMOVING;
    dj->log_owed = false;
    docker_log_free(dj->log);
    dj->log = NULL;
    request(dj, &dj->call, "DELETE", "?force=1&v=1", on_removed);
}
