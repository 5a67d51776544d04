/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process engine: jobs as confined processes of this machine, each under a supervisor
 * of its own (supervisor/supervisor.h). This side never touches a job directly. It reads
 * the supervisor's records, and everything it concludes comes from look(), which may be
 * called at any time: inotify, pidfds and the end of the spawned process only say "look
 * again". So launch, adopt after a restart, and missed or doubled events are one path.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "io/proc.h"
#include "runner/engines/process/process_internal.h"
#include "runner/supervisor/renewed.h"
#include "runner/supervisor/spec.h"
#include "runner/supervisor/supervisor.h"

LOG_MODULE(process);

/* ---- answers to the agent ---- */

static void
tell_started(struct process_job *p, int64_t started_ns)
{
    if (p->started_told || p->job == NULL)
        return;
    p->started_told = true;
    p->job->events->on_started(p->job, started_ns);
}

static void
tell_creating(struct process_job *p)
{
    struct engine_progress progress = {
        .phase = ENGINE_CREATING, .downloaded_bytes = -1, .total_bytes = -1};

    if (p->job != NULL && !p->started_told && !p->exit_told &&
        p->job->events->on_progress != NULL)
        p->job->events->on_progress(p->job, &progress);
}

/* The agent may call launch or remove from inside. */
static void
tell_exit(struct process_job *p, const struct engine_result *r)
{
    if (p->exit_told)
        return;
    p->exit_told = true;
    loop_io_free(move_ptr(p->supervisor_io));
    loop_io_free(move_ptr(p->init_io));
    loop_watch_free(move_ptr(p->watch));
    if (p->job != NULL)
        p->job->events->on_exit(p->job, r);
    else
        process_remove(p);
}

static void
tell_end(struct process_job *p, enum engine_reason reason, bool started,
         const char *message)
{
    struct engine_result r = {.reason = reason,
                              .started = started,
                              .exit_code = -1,
                              .finished_ns = clock_wall_ns()};

    snprintf(r.message, sizeof(r.message), "%s", message);
    tell_exit(p, &r);
}

static void
tell_record(struct process_job *p, const struct record_exit *x)
{
    static const enum engine_reason reasons[RECORD_N_ENDS] = {
        [RECORD_EXITED] = ENGINE_EXITED,
        [RECORD_SIGNALED] = ENGINE_SIGNALED,
        [RECORD_OOM] = ENGINE_OOM,
        [RECORD_DISK_QUOTA] = ENGINE_DISK_QUOTA,
        [RECORD_CREATE_FAILED] = ENGINE_CREATE_FAILED,
        [RECORD_START_FAILED] = ENGINE_START_FAILED,
    };
    struct engine_result r = {.reason = reasons[x->end],
                              .started = x->started,
                              .exit_code = x->exit_code,
                              .signal = x->signal,
                              .memory_peak_bytes = x->memory_peak,
                              .started_ns = x->started_ns,
                              .finished_ns = x->finished_ns};

    snprintf(r.message, sizeof(r.message), "%s", x->message);
    if (x->end == RECORD_OOM)
        snprintf(r.oom_cgroup, sizeof(r.oom_cgroup), "%s", x->oom_cgroup);
    if (x->started)
        tell_started(p, x->started_ns);
    tell_exit(p, &r);
}

/* ---- what the records say ---- */

static void look(struct process_job *p);

static void
on_supervisor_gone(void *arg, int fd, uint32_t events)
{
    struct process_job *p = arg;

    UNUSED(fd);
    UNUSED(events);
    p->supervisor_gone = true;
    loop_io_free(move_ptr(p->supervisor_io));
    look(p);
}

static void
on_init_gone(void *arg, int fd, uint32_t events)
{
    struct process_job *p = arg;

    UNUSED(fd);
    UNUSED(events);
    p->init_gone = true;
    loop_io_free(move_ptr(p->init_io));
    look(p);
}

/* Opens the pidfd of a process once and watches it; *gone when it no longer exists. */
static void
follow(struct process_job *p, const struct record_proc *proc, int *fd,
       struct loop_io **io, bool *gone, loop_io_fn *fn)
{
    struct error e = ERROR_INIT;

    if (*fd >= 0 || *gone)
        return;
    *fd = record_proc_open(proc);
    if (*fd < 0)
        *gone = true;
    else if (loop_io_add(p->en->loop, "process", *fd, EPOLLIN, fn, p, io, &e) != 0)
        log_err("cannot watch a process", "job=%s error=%s", p->uid, e.msg);
}

bool
process_cgroup(const struct process_job *p, struct cgroup *ret)
{
    struct error ignored = ERROR_INIT;

    if (geteuid() != 0 && cgroup_load(p->dir, ret))
        return ret->n > 0;
    return p->en->have_cgroups &&
           cgroup_paths(&p->en->cgroups, p->en->agent_id, p->uid, ret, &ignored) == 0;
}

/* The supervisor died without an exit record. The kernel has killed the job with it; the
 * answer waits until nothing of it is left. */
static void
look_at_loss(struct process_job *p, const struct record_state *s)
{
    struct cgroup cg;

    if (s != NULL)
        follow(p, &s->init, &p->init_fd, &p->init_io, &p->init_gone, on_init_gone);
    if (s != NULL && !p->init_gone) {
        pidfd_send_signal(p->init_fd, SIGKILL, NULL, 0);
        return;
    }
    if (process_cgroup(p, &cg))
        cgroup_signal(&cg, SIGKILL); /* by rights empty */
    if (s == NULL || s->phase == RECORD_PREPARING) {
        tell_end(p, ENGINE_START_FAILED, false,
                 "the supervisor of the job died before the start");
        return;
    }
    struct engine_result r = {
        .reason = ENGINE_LOST,
        .started = true,
        .exit_code = -1,
        .started_ns = s->started_ns,
        .finished_ns = clock_wall_ns(),
        .message = "the supervisor of the job was killed, and the job with it"};
    if (s->phase == RECORD_RUNNING)
        tell_started(p, s->started_ns);
    tell_exit(p, &r);
}

static void
look_at_reboot(struct process_job *p, const struct record_state *s)
{
    bool started = s != NULL && s->phase != RECORD_PREPARING;
    struct engine_result r = {.reason = ENGINE_REBOOTED,
                              .started = started,
                              .exit_code = -1,
                              .started_ns = started ? s->started_ns : 0,
                              .finished_ns = clock_wall_ns()};

    snprintf(r.message, sizeof(r.message), "%s",
             started ? "the machine went down while the job was running"
                     : "the machine went down before the job was started");
    tell_exit(p, &r);
}

/* No supervisor has claimed the job. Taking the claim keeps one that is still on its way
 * from starting anything after this answer; launch gives it back. */
static void
answer_never_started(struct process_job *p)
{
    struct record_claim mine = {.supervisor = {.pid = 0}};
    struct engine_result r = {.reason = ENGINE_LOST,
                              .never_started = true,
                              .exit_code = -1,
                              .message = "the job was not started"};
    struct error e = ERROR_INIT;

    record_boot_id(mine.boot_id);
    int rc = record_prepare(p->dir, &e);
    if (rc == 0)
        rc = record_claim_make(p->dir, &mine, &e);
    if (rc == -ERR_EXISTS) {
        look(p);
        return;
    }
    if (rc != 0)
        log_err("cannot claim a job", "job=%s error=%s", p->uid, e.msg);
    r.never_started = rc == 0;
    tell_exit(p, &r);
}

static void
look_at_claim(struct process_job *p, const struct record_claim *c,
              const struct record_state *s)
{
    char boot_id[RECORD_BOOT_ID];

    record_boot_id(boot_id);
    if (c->supervisor.pid == 0 && s == NULL) {
        struct engine_result r = {.reason = ENGINE_START_FAILED,
                                  .never_started = p->adopting,
                                  .exit_code = -1,
                                  .finished_ns = clock_wall_ns(),
                                  .message = "stopped before the start"};
        tell_exit(p, &r);
        return;
    }
    if (!streq(c->boot_id, boot_id)) {
        look_at_reboot(p, s);
        return;
    }
    follow(p, &c->supervisor, &p->supervisor_fd, &p->supervisor_io, &p->supervisor_gone,
           on_supervisor_gone);
    if (p->job == NULL && p->supervisor_fd >= 0 && !p->supervisor_gone)
        pidfd_send_signal(p->supervisor_fd, SIGKILL, NULL, 0); /* the job dies with it */
}

/* False when there is none. One that cannot be read was cut by a power failure: claims of
 * this boot are complete before they get their name. */
static bool
read_claim(const struct process_job *p, struct record_claim *ret)
{
    struct error e = ERROR_INIT;

    if (record_claim_read(p->dir, ret, &e) == 0)
        return true;
    if (e.code == ERR_CORRUPT) {
        autofree char *path = xasprintf("%s/" RECORD_DIR "/" RECORD_CLAIM, p->dir);
        unlink(path);
    }
    return false;
}

/* One that cannot be read belongs to another boot, and may stand for a start. */
static bool
read_state(const struct process_job *p, struct record_state *ret)
{
    struct error e = ERROR_INIT;

    if (record_state_read(p->dir, ret, &e) == 0)
        return true;
    *ret = (struct record_state){.phase = RECORD_STARTING};
    return e.code == ERR_CORRUPT;
}

static void
look(struct process_job *p)
{
    struct error ignored = ERROR_INIT;
    struct record_claim claim;
    struct record_state state;
    struct record_exit x;

    if (p->exit_told)
        return;
    bool have_claim = read_claim(p, &claim);
    bool have_state = read_state(p, &state);
    if (!have_claim && have_state) { /* a claim is not forced to disk, `starting` is */
        memcpy(claim.boot_id, state.boot_id, sizeof(claim.boot_id));
        claim.supervisor = state.supervisor;
        have_claim = true;
    }
    /* The exit record last: it is written last, so nothing older can hide it. */
    if (record_exit_read(p->dir, &x, &ignored) == 0) {
        tell_record(p, &x);
        return;
    }
    if (!have_claim) {
        if (p->adopting)
            answer_never_started(p);
        return;
    }
    bool was_gone = p->supervisor_gone;
    look_at_claim(p, &claim, have_state ? &state : NULL);
    if (p->exit_told)
        return;
    if (have_state && state.phase == RECORD_RUNNING && !p->supervisor_gone)
        tell_started(p, state.started_ns);
    if (p->supervisor_gone && !was_gone)
        look(p); /* it may have written everything between our reads and its end */
    else if (p->supervisor_gone)
        look_at_loss(p, have_state ? &state : NULL);
}

static void
on_watch(void *arg, uint32_t mask, const char *name)
{
    UNUSED(mask);
    if (streq(name, "") || streq(name, RECORD_CLAIM) || streq(name, RECORD_STATE) ||
        streq(name, RECORD_EXIT))
        look(arg);
}

static void give_up(struct process_job *p, enum engine_reason reason,
                    const char *message);
static void stop_now(struct process_job *p);

/* What a call of the agent asked for, done from the loop: no answer comes from inside the
 * call itself. */
static void
on_kick(void *arg)
{
    struct process_job *p = arg;

    if (p->removing) {
        process_remove_now(p);
        return;
    }
    if (p->launch_failed) {
        p->launch_failed = false;
        give_up(p, ENGINE_CREATE_FAILED, p->failure);
        return;
    }
    look(p);
    if (p->stop_wanted && !p->exit_told)
        stop_now(p);
}

/* Put off to the loop: the caller may stand in a callback of this very job. */
void
process_remove(struct process_job *p)
{
    p->removing = true;
    loop_timer_in(p->kick, 0);
}

/* ---- jobs ---- */

static struct process_job *
job_new(struct engine *en, const char *uid, char *dir)
{
    struct process_job *p = xnew(struct process_job);

    p->en = en;
    p->uid = xstrdup(uid);
    p->dir = dir;
    p->spawn_stderr = p->supervisor_fd = p->init_fd = -1;
    p->kick = loop_timer_new(en->loop, "process job", on_kick, p);
    LIST_INSERT_HEAD(&en->jobs, p, link);
    return p;
}

struct process_job *
process_job_get(struct engine *en, struct engine_job *j)
{
    struct process_job *p = j->engine_state;

    if (p == NULL) {
        char *real = realpath(j->dir, NULL);
        p = job_new(en, j->uid, real != NULL ? real : xstrdup(j->dir));
        p->job = j;
        j->engine_state = p;
    }
    return p;
}

struct process_job *
process_job_orphan(struct engine *en, const char *uid)
{
    return job_new(en, uid, xasprintf("%s/jobs/%s", en->agent_dir, uid));
}

void
process_job_orphan_end(struct process_job *p)
{
    p->adopting = true; /* no claim: take it, so that none comes */
    loop_timer_in(p->kick, 0);
}

void
process_job_free(struct process_job *p)
{
    if (p == NULL)
        return;
    LIST_REMOVE(p, link);
    if (p->job != NULL)
        p->job->engine_state = NULL;
    loop_io_free(p->supervisor_io);
    loop_io_free(p->init_io);
    loop_watch_free(p->watch);
    loop_child_free(p->spawned);
    loop_timer_free(p->kick);
    cleanup_close_ptr(&p->supervisor_fd);
    cleanup_close_ptr(&p->init_fd);
    cleanup_close_ptr(&p->spawn_stderr);
    free(p->uid);
    free(p->dir);
    free(p);
}

static int
watch_records(struct process_job *p, struct error *e)
{
    autofree char *path = fs_join(p->dir, RECORD_DIR);

    if (p->watch != NULL)
        return 0;
    int rc = record_prepare(p->dir, e);
    if (rc == 0)
        rc = loop_watch_add(p->en->loop, path, IN_CREATE | IN_MOVED_TO, on_watch, p,
                            &p->watch, e);
    return rc;
}

/* ---- launch ---- */

typedef vec(const char *) text_vec;

static void
add_text(text_vec *v, const char *text)
{
    vec_push(v, text);
}

static void
add_texts(text_vec *v, const char *const *texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        add_text(v, texts[i]);
}

static struct spec_list
list_of(const text_vec *v)
{
    return (struct spec_list){v->items, v->len};
}

/* Absolute and without links, while the agent's own view counts; owned by the list. */
static void
add_mask(text_vec *v, const char *path)
{
    char *real = realpath(path, NULL);

    add_text(v, real != NULL ? real : xstrdup(path));
}

static void
add_masks(text_vec *v, const struct process_job *p)
{
    add_mask(v, p->en->agent_dir);
    for (size_t i = 0; i < ARRAY_LEN(p->job->host_dir_mask); i++) {
        if (p->job->host_dir_mask[i] != NULL)
            add_mask(v, p->job->host_dir_mask[i]);
    }
    for (size_t i = 0; i < p->en->n_masks; i++)
        add_mask(v, p->en->masks[i]);
}

static void
free_masks(const text_vec *v)
{
    for (size_t i = 0; i < v->len; i++)
        free((void *)(uintptr_t)v->items[i]);
}

static int
make_spec(const struct process_job *p, int *ret_fd, struct error *e)
{
    enum { ARGV, ENV, MASKS, DEVICES, BINDS, N };
    const struct engine_job *j = p->job;
    text_vec lists[N] = {0};
    autofree char *renewed = fs_join(p->en->agent_dir, RENEWED_FILE);

    add_texts(&lists[ARGV], j->argv);
    add_texts(&lists[ENV], j->env);
    add_masks(&lists[MASKS], p);
    if (j->rootfs != NULL)
        add_texts(&lists[BINDS], j->binds);
    for (size_t i = 0; i < j->n_devices; i++)
        add_texts(&lists[DEVICES], j->devices[i].paths);
    struct spec s = {
        .dir = p->dir,
        .uid = p->uid,
        .agent_id = p->en->agent_id,
        .working_dir = j->working_dir,
        .user = j->user,
        .renewed = j->interruptible ? renewed : NULL,
        .rootfs = j->rootfs,
        .rootfs_kept = j->rootfs_kept,
        .binds = list_of(&lists[BINDS]),
        .stop_ms = j->stop_ms,
        .argv = list_of(&lists[ARGV]),
        .env = list_of(&lists[ENV]),
        .masks = list_of(&lists[MASKS]),
        .devices = list_of(&lists[DEVICES]),
        .cpu_request_milli = j->cpu_request_milli,
        .cpu_limit_milli = j->cpu_limit_milli,
        .memory_limit_mib = j->memory_limit_mib,
        .shm_mib = j->shm_mib,
        .tty_columns = j->tty_columns,
        .tty_rows = j->tty_rows,
        .disk_limit_mib = j->disk_limit_mib,
        .spool_bytes = p->en->spool_bytes,
    };
    int rc = spec_memfd(&s, ret_fd, e);
    free_masks(&lists[MASKS]);
    for (size_t i = 0; i < N; i++)
        vec_done(&lists[i]);
    return rc;
}

/* Takes the claim so that no supervisor can come late, then answers. */
static void
give_up(struct process_job *p, enum engine_reason reason, const char *message)
{
    struct record_claim mine = {.supervisor = {.pid = 0}};
    struct error e = ERROR_INIT;

    record_boot_id(mine.boot_id);
    int rc = record_claim_make(p->dir, &mine, &e);
    if (rc == -ERR_EXISTS) {
        look(p);
        return;
    }
    if (rc != 0)
        log_err("cannot claim a job", "job=%s error=%s", p->uid, e.msg);
    tell_end(p, reason, false, message);
}

static void
on_spawned(void *arg, pid_t pid, int status)
{
    struct process_job *p = arg;
    char text[300] = "";

    UNUSED(pid);
    loop_child_free(move_ptr(p->spawned));
    if (p->spawn_stderr >= 0) {
        ssize_t n = read(p->spawn_stderr, text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        close(move_fd(p->spawn_stderr));
    }
    if (WIFEXITED(status) &&
        (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SUPERVISOR_CLAIMED)) {
        tell_creating(p);
        look(p);
        return;
    }
    char how[64];
    proc_status_text(status, how, sizeof(how));
    char message[sizeof(text) + sizeof(how) + 32];
    snprintf(message, sizeof(message), "supervisor %s: %s", how, text);
    give_up(p, ENGINE_CREATE_FAILED, message);
}

static int
spawn_supervisor(struct process_job *p, struct error *e)
{
    const char *argv[] = {p->en->supervisor, SUPERVISOR_FLAG, p->dir, NULL};
    struct proc_opts opts = PROC_OPTS_INIT;
    autoclose int spec_fd = -1;
    int pair[2];
    pid_t pid;

    int rc = make_spec(p, &spec_fd, e);
    if (rc != 0)
        return rc;
    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(e, errno, "create pipe");
    opts.argv = argv;
    opts.extra_fd = spec_fd;
    opts.stderr_fd = pair[1];
    opts.new_session = true;
    rc = proc_spawn(&opts, &pid, e);
    close(pair[1]);
    if (rc == 0)
        rc =
            loop_child_add(p->en->loop, "supervisor", pid, on_spawned, p, &p->spawned, e);
    if (rc != 0) {
        close(pair[0]);
        return error_prepend(e, "start the supervisor");
    }
    p->spawn_stderr = pair[0];
    return 0;
}

/* A claim of our own (answer_never_started) is given back; anybody else's stays. */
static bool
claimed_by_supervisor(struct process_job *p)
{
    struct record_claim c;

    if (!read_claim(p, &c))
        return false;
    if (c.supervisor.pid != 0)
        return true;
    autofree char *path = xasprintf("%s/" RECORD_DIR "/" RECORD_CLAIM, p->dir);
    return unlink(path) < 0;
}

static void
process_launch(struct engine *en, struct engine_job *j)
{
    struct process_job *p = process_job_get(en, j);
    struct error e = ERROR_INIT;
    struct record_exit x;

    if (p->removing)
        return;
    p->adopting = false;
    p->exit_told = p->started_told = false;
    int rc = watch_records(p, &e);
    bool exists = rc == 0 && (claimed_by_supervisor(p) ||
                              record_exit_read(p->dir, &x, &(struct error){0}) == 0);
    if (rc == 0 && !exists && p->spawned == NULL)
        rc = spawn_supervisor(p, &e);
    if (rc != 0) {
        p->launch_failed = true;
        snprintf(p->failure, sizeof(p->failure), "%.*s", (int)sizeof(p->failure) - 1,
                 e.msg);
    }
    loop_timer_in(p->kick, 0);
}

static void
process_adopt(struct engine *en, struct engine_job *j)
{
    struct process_job *p = process_job_get(en, j);
    struct error e = ERROR_INIT;

    p->adopting = true;
    if (watch_records(p, &e) != 0)
        log_warn("cannot watch a job", "job=%s error=%s", p->uid, e.msg);
    loop_timer_in(p->kick, 0);
}

static void
stop_now(struct process_job *p)
{
    siginfo_t si;

    if (p->supervisor_fd < 0 && !p->supervisor_gone)
        give_up(p, ENGINE_START_FAILED, "stopped before the start");
    if (p->exit_told || p->supervisor_fd < 0)
        return; /* answered, or about to be */
    p->stop_wanted = false;
    memset(&si, 0, sizeof(si));
    si.si_signo = SUPERVISOR_STOP;
    si.si_code = SI_QUEUE;
    si.si_pid = getpid();
    si.si_value.sival_int = p->stop_grace_ms;
    if (pidfd_send_signal(p->supervisor_fd, SUPERVISOR_STOP, &si, 0) < 0 &&
        errno != ESRCH)
        log_err("cannot signal a supervisor", "job=%s errno=%d", p->uid, errno);
}

static void
process_stop(struct engine *en, struct engine_job *j, int64_t grace_ms)
{
    struct process_job *p = process_job_get(en, j);
    int grace = grace_ms < 0 ? 0 : grace_ms > INT32_MAX ? INT32_MAX : (int)grace_ms;

    if (p->exit_told || p->removing)
        return;
    if (!p->stop_wanted || grace < p->stop_grace_ms)
        p->stop_grace_ms = grace;
    p->stop_wanted = true;
    loop_timer_in(p->kick, 0);
}

static void
process_remove_job(struct engine *en, struct engine_job *j)
{
    process_remove(process_job_get(en, j));
}

/* ---- the engine ---- */

static int
process_open(struct loop *l, const struct engine_config *c, struct engine **ret,
             struct error *e)
{
    struct error ignored = ERROR_INIT;
    char hash[65];
    char *real = realpath(c->agent_dir, NULL);

    if (real == NULL)
        return error_errno(e, errno, "agent directory %s", c->agent_dir);
    struct engine *en = xnew(struct engine);
    en->loop = l;
    en->agent_dir = real;
    id_hash_hex(real, strlen(real), hash);
    en->agent_id = c->agent_id != NULL ? xstrdup(c->agent_id) : xasprintf("%.12s", hash);
    en->spool_bytes = c->spool_bytes;
    en->supervisor = xstrdup(c->supervisor != NULL ? c->supervisor : "/proc/self/exe");
    for (size_t i = 0; c->host_dir_mask != NULL && c->host_dir_mask[i] != NULL; i++) {
        en->masks = xreallocarray(en->masks, i + 1, sizeof(char *));
        en->masks[i] = xstrdup(c->host_dir_mask[i]);
        en->n_masks = i + 1;
    }
    cgroup_host_prepare();
    /* Without cgroups nothing was ever started here; the probe says so. */
    en->have_cgroups = cgroup_host_find(&en->cgroups, &ignored) == 0;
    *ret = en;
    return 0;
}

static void
process_close(struct engine *en)
{
    if (en == NULL)
        return;
    for (struct process_job *p = LIST_FIRST(&en->jobs), *next; p != NULL; p = next) {
        next = LIST_NEXT(p, link);
        process_job_free(p);
    }
    process_probes_cancel(en);
    process_removals_detach(en);
    if (en->pool != NULL)
        loop_pool_free(en->pool);
    for (size_t i = 0; i < en->n_masks; i++)
        free(en->masks[i]);
    free(en->masks);
    free(en->agent_dir);
    free(en->agent_id);
    free(en->supervisor);
    free(en);
}

const struct engine_ops engine_process = {
    .name = "process",
    .open = process_open,
    .close = process_close,
    .probe = process_probe,
    .launch = process_launch,
    .adopt = process_adopt,
    .stop = process_stop,
    .remove = process_remove_job,
    .sweep = process_sweep,
};
