/* SPDX-License-Identifier: Apache-2.0 */
/* Carrying out the plan of one job, and the engine's callbacks. */
#include "runner/job.h"

#include <inttypes.h>
#include <malloc.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/event.h"
#include "runner/trash.h"

LOG_MODULE(job);

#define REMOVE_MIN_MS 500
#define REMOVE_MAX_MS 30000
#define STEPS_MAX 32

static const struct engine_events engine_events;
static void on_remove_retry(void *arg);
static void on_acked(void *arg);

/* --- making and dropping -------------------------------------------------------------
 */

static struct job *
job_new(struct agent *a, const char *uid)
{
    struct job *j = xnew(struct job);
    j->a = a;
    snprintf(j->uid, sizeof(j->uid), "%s", uid);
    j->dir = xasprintf("%s/jobs/%s", a->opts->dir, uid);
    j->engine = JOB_ENGINE_CLEAN;
    j->remove_retry = loop_timer_new(a->loop, "job remove", on_remove_retry, j);
    report_init(j);
    map_put(a->jobs, uid, j);
    return j;
}

static void
release_run(struct job *j)
{
    job_run_done(&j->run);
    job_env_free(j->secret_env);
    j->secret_env = NULL;
    place_free_binds(j);
    free(j->root);
    j->root = NULL;
    registry_auth_done(&j->registry);
    j->ej.registry_auth = NULL;
    free(j->devices);
    j->devices = NULL;
    free(j->gpus);
    j->gpus = NULL;
    free(j->device_paths);
    j->device_paths = NULL;
}

void
job_free(void *job)
{
    struct job *j = job;
    secrets_cancel(j);
    place_cancel(j);
    shipper_free(j->shipper);
    job_diag_free(j);
    report_done(j);
    free(j->idle);
    loop_timer_free(j->remove_retry);
    release_run(j);
    json_decref(j->object);
    free(j->dir);
    free(j);
}

static void
free_later(void *arg)
{
    job_free(arg);
}

/* The caller may stand in a callback of this very job. */
static void
drop(struct job *j)
{
    if (j->dead)
        return;
    j->dead = true;
    map_take(j->a->jobs, j->uid);
    loop_post(j->a->loop, free_later, j);
}

/* Nothing will ever be done for it again. Its uid is kept until the server has no such
 * object: a late event of the watch, older than our last report, must not look like a new
 * job. */
static void
be_over(struct job *j)
{
    if (!j->absent)
        map_put(j->a->over, j->uid, j->a);
    drop(j);
}

void
job_take_object(struct job *j, const json_t *object)
{
    struct job_view v;
    struct error e = ERROR_INIT;
    if (job_view_parse(object, &v, &e) < 0 || !streq(v.uid, j->uid) ||
        (j->object != NULL && v.revision < j->view.revision))
        return;
    json_t *copy = json_deep_copy(object);
    json_decref(j->object);
    j->object = copy;
    j->view = v;
}

void
job_set_absent(struct job *j)
{
    j->absent = true;
}

void
job_seen(struct agent *a, json_t *object, const struct job_view *v)
{
    struct job *j = map_get(a->jobs, v->uid);
    if (map_get(a->over, v->uid) != NULL)
        return;
    if (j == NULL)
        j = job_new(a, v->uid);
    if (v->revision < j->view.revision)
        return;
    bool first = j->view.revision == 0;
    j->view = *v;
    json_decref(j->object);
    j->object = json_incref(object);
    if (j->shipper != NULL)
        shipper_set_quota(j->shipper, v->log_quota);
    if (first)
        report_first_view(j);
    job_step(j);
    usage_look(a->usage, j);
}

void
job_gone(struct agent *a, const char *uid)
{
    struct job *j = map_get(a->jobs, uid);
    map_del(a->over, uid);
    if (j == NULL)
        return;
    job_set_absent(j);
    job_step(j);
}

void
job_from_entry(struct agent *a, const struct journal_entry *en)
{
    struct job *j = job_new(a, en->uid);
    j->engine = JOB_ENGINE_UNASKED;
    snprintf(j->view.uid, sizeof(j->view.uid), "%s", en->uid);
    snprintf(j->view.ns, sizeof(j->view.ns), "%s", en->ns);
    snprintf(j->view.name, sizeof(j->view.name), "%s", en->name);
    snprintf(j->view.run, sizeof(j->view.run), "%s", en->run);
    snprintf(j->view.engine, sizeof(j->view.engine), "%s", en->engine);
    j->view.stop_seconds = en->stop_seconds;
    j->view.interruptible = en->interruptible;
}

void
job_kick(struct job *j)
{
    report_kick(j);
    if (j->shipper != NULL)
        shipper_kick(j->shipper);
    job_diag_kick(j);
}

/* --- facts ---------------------------------------------------------------------------
 */

static bool
fits(struct job *j)
{
    const struct inventory *inv = j->a->inventory;
    const char *gpus[GPU_MAX];
    if (inv == NULL)
        return false;
    const char *low = diskroom_low(j->a->room);
    if (low != NULL) {
        snprintf(j->misfit, sizeof(j->misfit), "%s", low);
        return false;
    }
    for (size_t i = 0; i < inv->gpus.len; i++)
        gpus[i] = inv->gpus.items[i].uuid;
    struct journal_capacity have = {.cpu_milli = inv->cpus * 1000,
                                    .memory_mib = inv->memory_mib,
                                    .disk_mib = -1,
                                    .gpus = gpus,
                                    .n_gpus = inv->gpus.len};
    return journal_fits(j->a->journal, &have, &j->view.hold, j->misfit,
                        sizeof(j->misfit));
}

/* A device that went away under a running job is said while the job still hangs on it,
 * and again with its end. */
void
job_look_at_devices(struct job *j)
{
    const struct journal_hold *h = &j->view.hold;
    if (j->engine != JOB_ENGINE_BUSY || j->report.started_ns == 0)
        return;
    for (unsigned i = 0; i < h->n_gpus; i++) {
        if (gpu_find(&j->a->inventory->gpus, h->gpus[i]) == NULL) {
            log_err("device lost", "job=%s uid=%s device=%s", j->view.name, j->uid,
                    h->gpus[i]);
            report_device_lost(j, h->gpus[i]);
            return;
        }
    }
}

static enum job_engine_use
engine_use(struct job *j)
{
    j->on = agent_engine_by_name(j->a, j->view.engine);
    if (j->on == NULL)
        return JOB_ENGINE_MISSING;
    if (!j->on->probed || j->a->inventory == NULL)
        return JOB_ENGINE_UNKNOWN;
    return j->on->en != NULL && j->on->status.available ? JOB_ENGINE_USABLE
                                                        : JOB_ENGINE_MISSING;
}

static bool
logs_acked(const struct job *j)
{
    if (j->log_open || !job_diag_acked(j))
        return false;
    return j->shipper == NULL || shipper_gone(j->shipper) ||
           j->report.log_length <= (int64_t)shipper_acked(j->shipper);
}

static void
gather(struct job *j, struct job_facts *f)
{
    const struct job_view *v = &j->view;
    *f = (struct job_facts){
        .seen = j->object != NULL || v->revision > 0,
        .absent = j->absent,
        .deleting = v->deleting,
        .go = v->released,
        .desired = v->desired,
        .claim = v->claim_journal[0] == '\0'                          ? JOB_CLAIM_NONE
                 : streq(v->claim_journal, journal_id(j->a->journal)) ? JOB_CLAIM_OURS
                                                                      : JOB_CLAIM_OTHER,
        .server_terminal = v->agent_terminal,
        .server_freed = v->agent_freed,
        .entry = journal_find(j->a->journal, j->uid) != NULL,
        .engine_use = engine_use(j),
        .engine = j->engine,
        .claiming = j->claiming,
        .secrets = j->secrets,
        .secrets_failed = j->secrets_failed,
        .verdict = j->report.end_seq != 0,
        .end_acked = report_end_acked(j),
        .freed_acked = report_freed_acked(j),
        .log_open = j->log_open,
        .logs_acked = logs_acked(j),
        .dead_man = j->a->dead_man && v->interruptible,
        .stop_sent = j->stop_sent,
        .over_quota = j->shipper != NULL && shipper_over_quota(j->shipper),
    };
    f->engine_coming = j->on != NULL && !j->on->missing;
    f->fits = f->entry || f->engine_use == JOB_ENGINE_UNKNOWN || fits(j);
    f->needs_place = place_needed(j);
    f->placed = j->placed;
    f->place_failed = j->place_failed;
    f->needs_secrets = j->object != NULL && secrets_needed(j->object);
}

/* --- actions -------------------------------------------------------------------------
 */

static void
start_shipper(struct job *j)
{
    if (j->shipper != NULL)
        return;
    autofree char *log = fs_join(j->dir, "log");
    struct shipped_log what = {
        .dir = log, .ns = j->view.ns, .name = j->view.name, .uid = j->uid};
    j->shipper = shipper_start(j->a->streams, &what, on_acked, j);
    shipper_set_quota(j->shipper, j->view.log_quota);
    job_diag_open(j, on_acked);
}

static int
make_dirs(const struct job *j, struct error *e)
{
    autofree char *log = fs_join(j->dir, "log");
    return fs_mkdirs(log, 0700, e);
}

/* An end that was decided without the engine. */
static void
say(struct job *j, const char *state, const char *reason, const char *message)
{
    if (journal_find(j->a->journal, j->uid) == NULL)
        report_nothing_held(j);
    report_end(j, state, reason, message);
}

static void
write_entry(struct job *j)
{
    const struct job_view *v = &j->view;
    struct error e = ERROR_INIT;
    struct journal_entry en = {.stop_seconds = v->stop_seconds,
                               .interruptible = v->interruptible,
                               .hold = v->hold};
    memcpy(en.uid, v->uid, sizeof(en.uid));
    memcpy(en.ns, v->ns, sizeof(en.ns));
    memcpy(en.name, v->name, sizeof(en.name));
    memcpy(en.run, v->run, sizeof(en.run));
    memcpy(en.engine, v->engine, sizeof(en.engine));
    snprintf(en.boot_id, sizeof(en.boot_id), "%s", j->a->boot_id);
    int r = journal_add(j->a->journal, &en, &e);
    if (r == 0)
        r = make_dirs(j, &e);
    if (r < 0) {
        log_err("job not taken", "job=%s uid=%s error=\"%s\"", v->name, j->uid, e.msg);
        say(j, "Rejected", "OutOfCapacity", e.msg);
        return;
    }
    start_shipper(j);
}

/* What the engine needs in any case. */
static void
fill_engine_job(struct job *j)
{
    j->ej.uid = j->uid;
    j->ej.ns = j->view.ns;
    j->ej.name = j->view.name;
    j->ej.run_name = j->view.run;
    j->ej.dir = j->dir;
    j->ej.interruptible = j->view.interruptible;
    j->ej.stop_ms = j->view.stop_seconds * 1000;
    j->ej.arg = j;
    j->ej.events = &engine_events;
    for (size_t i = 0; i < ARRAY_LEN(j->ej.host_dir_mask); i++) {
        j->ej.host_dir_mask[i] = j->a->masks[i];
        if (j->a->masks[i] == NULL)
            break;
    }
}

static void
adopt(struct job *j)
{
    struct error e = ERROR_INIT;
    if (make_dirs(j, &e) < 0)
        log_err("job directory", "uid=%s error=\"%s\"", j->uid, e.msg);
    fill_engine_job(j);
    start_shipper(j);
    j->engine = JOB_ENGINE_BUSY;
    log_info("adopting", "job=%s uid=%s engine=%s", j->view.name, j->uid, j->view.engine);
    j->on->ops->adopt(j->on->en, &j->ej);
}

static int
fill_devices(struct job *j, struct error *e)
{
    const struct journal_hold *h = &j->view.hold;
    size_t at = 0;
    j->devices = xcalloc(h->n_gpus + 1, sizeof(*j->devices));
    /* A copy: the inventory may be another one before the engine is done with these. */
    j->gpus = xcalloc(h->n_gpus + 1, sizeof(*j->gpus));
    j->device_paths = xcalloc(h->n_gpus * (GPU_PATHS + 1) + 1, sizeof(char *));
    for (unsigned i = 0; i < h->n_gpus; i++) {
        const struct gpu_device *found = gpu_find(&j->a->inventory->gpus, h->gpus[i]);
        if (found == NULL)
            return error_set(e, ERR_NOT_FOUND, "GPU %s is not on this machine",
                             h->gpus[i]);
        struct gpu_device *g = &j->gpus[i];
        *g = *found;
        /* No runtime hook of a vendor knows a pretended device: only its paths are given.
         */
        j->devices[i] = (struct engine_device){
            .vendor = j->a->opts->fake_gpus != NULL ? "fake" : g->vendor,
            .uuid = g->uuid,
            .paths = j->device_paths + at};
        for (size_t p = 0; p < g->n_paths; p++)
            j->device_paths[at++] = g->paths[p];
        at++;
    }
    j->ej.devices = j->devices;
    j->ej.n_devices = h->n_gpus;
    return 0;
}

static void
fill_container(struct job *j)
{
    const struct job_run *r = &j->run;
    const struct registry_auth *a = &j->registry;
    j->ej.whole_instance = r->whole_instance;
    j->ej.privileged = r->privileged;
    j->ej.bridge = r->bridge;
    j->ej.mounts = r->mounts;
    j->ej.n_mounts = r->n_mounts;
    j->ej.ulimits = r->ulimits;
    j->ej.n_ulimits = r->n_ulimits;
    j->ej.ports = r->ports;
    j->ej.n_ports = r->n_ports;
    j->registry_view =
        (struct engine_registry_auth){a->username, a->password, a->identity_token};
    if (a->username != NULL || a->identity_token != NULL)
        j->ej.registry_auth = &j->registry_view;
}

/* Said with the job too, not only with the machine: a limit that is none. */
static void
tell_limitations(struct job *j)
{
    const char *lacks = j->on->status.limitations;

    if (j->ej.cpu_limit_milli > 0 && strstr(lacks, "CPULimit: ") != NULL)
        event_say(j, true, "LimitNotEnforced",
                  "the limit of cpu (%" PRId64 "m) is not enforced on this machine: its "
                  "agent does not run as root",
                  j->ej.cpu_limit_milli);
    if (j->ej.memory_limit_mib > 0 && strstr(lacks, "MemoryLimit: ") != NULL)
        event_say(j, true, "LimitNotEnforced",
                  "the limit of memory (%" PRId64 " MiB) holds for each process of the "
                  "job, not for their sum: the agent does not run as root",
                  j->ej.memory_limit_mib);
}

static void
launch(struct job *j)
{
    struct error e = ERROR_INIT;
    int r = job_run_build(j->object, (const char *const *)j->secret_env, &j->run, &e);
    const char *only = r == 0 ? job_container_only(&j->run) : NULL;
    bool process = streq(j->view.engine, "process");
    if (only != NULL && process)
        r = error_set(&e, ERR_UNSUPPORTED, "the process engine has no %s", only);
    else if (r == 0 && j->run.rootfs && !process)
        r = error_set(&e, ERR_UNSUPPORTED,
                      "a container has the root file system of its image, no rootfs");
    if (r == 0) {
        job_run_add_env(&j->run, j->a->job_env);
        r = fill_devices(j, &e);
    }
    if (r == 0)
        r = make_dirs(j, &e);
    if (r < 0) {
        report_end(j, "Failed", "CreateFailed", e.msg);
        return;
    }
    fill_engine_job(j);
    j->ej.image = j->run.image;
    j->ej.argv = (const char *const *)j->run.argv;
    j->ej.env = (const char *const *)j->run.env;
    j->ej.working_dir = j->run.working_dir;
    j->ej.user = j->run.user;
    place_find_root(j);
    j->ej.rootfs = j->root;
    j->ej.rootfs_kept = j->root != NULL && j->run.rootfs_kept;
    j->ej.cpu_request_milli = j->view.hold.cpu_milli;
    j->ej.cpu_limit_milli = j->run.cpu_limit_milli;
    j->ej.memory_request_mib = j->view.hold.memory_mib;
    j->ej.memory_limit_mib = j->run.memory_limit_mib;
    j->ej.disk_limit_mib = j->run.disk_limit_mib;
    j->ej.shm_mib = j->run.shm_mib;
    j->ej.tty_columns = j->run.tty_columns;
    j->ej.tty_rows = j->run.tty_rows;
    place_fill(j);
    fill_container(j);
    start_shipper(j);
    tell_limitations(j);
    j->engine = JOB_ENGINE_BUSY;
    j->on->ops->launch(j->on->en, &j->ej);
}

/* What is left of the grace when an earlier life has already begun to stop it. */
static int64_t
grace_ms(const struct job *j)
{
    int64_t ms = j->view.stop_seconds * 1000;
    if (streq(j->view.agent_state, "Stopping") && j->view.agent_since_ns > 0) {
        int64_t gone = (clock_wall_ns() - j->view.agent_since_ns) / 1000000;
        ms -= gone > 0 ? gone : 0;
    }
    return ms > 0 ? ms : 0;
}

static void
stop(struct job *j, enum job_desired how)
{
    int64_t ms = how == JOB_ABORT ? 0 : grace_ms(j);
    j->stop_sent = how;
    j->silenced = how == JOB_STOP && j->a->dead_man && j->view.interruptible &&
                  j->view.desired == JOB_RUN;
    log_info("stopping", "job=%s uid=%s grace_ms=%" PRId64, j->view.name, j->uid, ms);
    report_state(j, "Stopping");
    j->on->ops->stop(j->on->en, &j->ej, ms);
}

static void
remove_now(struct job *j)
{
    place_cancel(j);
    if (j->on == NULL || j->on->en == NULL) {
        j->engine = JOB_ENGINE_REMOVED; /* no engine, nothing of it */
        journal_free_hold(j->a->journal, j->uid);
        return;
    }
    j->engine = JOB_ENGINE_REMOVING;
    fill_engine_job(j);
    j->on->ops->remove(j->on->en, &j->ej);
}

static void
finish(struct job *j)
{
    struct error e = ERROR_INIT;
    shipper_free(j->shipper);
    j->shipper = NULL;
    job_diag_close(j);
    trash_put(j->a->trash, j->dir, j->uid);
    if (journal_remove(j->a->journal, j->uid, &e) < 0)
        log_err("journal entry not removed", "uid=%s error=\"%s\"", j->uid, e.msg);
    log_info("finished", "job=%s uid=%s", j->view.name, j->uid);
    be_over(j);
    if (journal_len(j->a->journal) == 0)
        malloc_trim(0); /* idle again: what a burst of jobs took goes back */
}

static void
say_cancelled(struct job *j)
{
    say(j, "Cancelled", j->view.stop_reason[0] != '\0' ? j->view.stop_reason : "Stopped",
        "stopped before the start");
}

static void
say_no_engine(struct job *j)
{
    char text[300];
    if (j->on == NULL)
        snprintf(text, sizeof(text), "this machine has no engine \"%s\"", j->view.engine);
    else
        snprintf(text, sizeof(text), "engine %s: %s", j->view.engine,
                 j->on->status.message);
    say(j, "Rejected", "EngineMissing", text);
}

/* False when there is nothing more to do now. */
static bool
act(struct job *j, enum job_action action)
{
    switch (action) {
    case JOB_WAIT:
    case JOB_N_ACTIONS:
        return false;
    case JOB_FORGET:
        be_over(j);
        return false;
    case JOB_CLAIM:
        report_claim(j);
        return true;
    case JOB_WRITE_ENTRY:
        write_entry(j);
        return true;
    case JOB_ADOPT:
        if (j->on == NULL || j->on->en == NULL)
            return false;
        adopt(j);
        return true;
    case JOB_FETCH_SECRETS:
        if (j->fetch != NULL)
            return false;
        report_state(j, "Preparing");
        secrets_fetch(j);
        return true;
    case JOB_PLACE:
        if (j->place != NULL)
            return false;
        place_start(j);
        return true;
    case JOB_LAUNCH:
        launch(j);
        return true;
    case JOB_STOP_ENGINE:
        stop(j, JOB_STOP);
        return true;
    case JOB_KILL_ENGINE:
        stop(j, JOB_ABORT);
        return true;
    case JOB_SAY_LOST:
        say(j, "Lost", "JournalLost",
            "the machine's journal was lost after it had claimed the job");
        return true;
    case JOB_SAY_MISFIT:
        say(j, "Rejected", "OutOfCapacity", j->misfit);
        return true;
    case JOB_SAY_NO_ENGINE:
        say_no_engine(j);
        return true;
    case JOB_SAY_CANCELLED:
        say_cancelled(j);
        return true;
    case JOB_SAY_NO_SECRET:
        if (j->denied)
            say(j, "Rejected", "SecurityDenied", j->secrets_message);
        else
            say(j, "Failed", "SecretMissing", j->secrets_message);
        return true;
    case JOB_SAY_NOT_PLACED:
        say(j, "Failed", "FilesNotPlaced", j->place_message);
        return true;
    case JOB_REMOVE:
        remove_now(j);
        return true;
    case JOB_SAY_FREED:
        if (j->report.freed_seq != 0)
            return false;
        report_freed(j);
        return true;
    case JOB_FINISH:
        finish(j);
        return false;
    }
    return false;
}

void
job_step(struct job *j)
{
    if (j->dead)
        return;
    if (j->stepping) {
        j->again = true;
        return;
    }
    j->stepping = true;
    for (int n = 0;; n++) {
        struct job_facts f;
        bug_if(n > STEPS_MAX);
        j->again = false;
        gather(j, &f);
        enum job_action action = job_plan(&f);
        if (action != JOB_WAIT)
            log_debug("plan", "job=%s uid=%s action=\"%s\"", j->view.name, j->uid,
                      job_action_name(action));
        bool more = act(j, action);
        if (j->dead || (!more && !j->again))
            break;
    }
    j->stepping = false;
}

/* --- the engine's answers ------------------------------------------------------------
 */

static void
on_progress(struct engine_job *ej, const struct engine_progress *p)
{
    struct job *j = ej->arg;
    if (p->phase == ENGINE_PULLING)
        report_pull(j, p);
    else
        report_state(j, "Creating");
}

static void
on_started(struct engine_job *ej, int64_t started_ns)
{
    struct job *j = ej->arg;
    log_info("started", "job=%s uid=%s", j->view.name, j->uid);
    report_started(j, started_ns);
    usage_look(j->a->usage, j);
}

static void
on_exit_(struct engine_job *ej, const struct engine_result *r)
{
    struct job *j = ej->arg;
    if (r->never_started && r->reason == ENGINE_LOST) {
        j->engine = JOB_ENGINE_CLEAN;
        job_step(j);
        return;
    }
    log_info("ended", "job=%s uid=%s reason=%s exit=%d signal=%d", j->view.name, j->uid,
             engine_reason_name(r->reason), r->exit_code, r->signal);
    j->engine = JOB_ENGINE_ENDED;
    j->log_open = r->log_follows;
    if (!j->log_open)
        report_log_length(j);
    if (!j->view.agent_terminal)
        report_result(j, r);
    job_step(j);
}

static void
on_log_end(struct engine_job *ej)
{
    struct job *j = ej->arg;
    j->log_open = false;
    report_log_end(j);
    job_step(j);
}

static void
on_remove_retry(void *arg)
{
    struct job *j = arg;
    if (j->engine == JOB_ENGINE_REMOVING)
        remove_now(j);
}

static void
on_removed(struct engine_job *ej, const struct error *e)
{
    struct job *j = ej->arg;
    if (e != NULL && e->code != ERR_OK) {
        log_warn("not removed yet", "job=%s uid=%s error=\"%s\"", j->view.name, j->uid,
                 e->msg);
        loop_timer_in(j->remove_retry,
                      backoff_next_ms(&j->remove_backoff, REMOVE_MIN_MS, REMOVE_MAX_MS));
        return;
    }
    j->engine = JOB_ENGINE_REMOVED;
    journal_free_hold(j->a->journal, j->uid);
    release_run(j);
    const char *state = j->report.state;
    job_diag_end(j, state != NULL && (j->report.failed || !streq(state, "Exited")));
    job_step(j);
}

static void
on_acked(void *arg)
{
    job_step(arg);
}

static void
on_stuck(struct engine_job *ej, const char *message)
{
    report_stuck(ej->arg, message);
}

static const struct engine_events engine_events = {.on_progress = on_progress,
                                                   .on_started = on_started,
                                                   .on_exit = on_exit_,
                                                   .on_removed = on_removed,
                                                   .on_log_end = on_log_end,
                                                   .on_stuck = on_stuck};
