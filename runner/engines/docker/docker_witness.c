/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon that answers now has seen of a container itself, and the end of what
 * it does not know of.
 *
 * A daemon that was killed leaves its containers' files as they were last written, and
 * the next one takes them for the truth: "created" for a container that it had just
 * started (and that may have run to its end), exit code 255 or even 0 for one whose end
 * it had seen and not written down. Nothing in the files tells these from the real thing.
 * But every daemon keeps the last 256 events of its own life in memory only: what is not
 * among them it has from its predecessor. (moby, daemon/events: eventsLimit.)
 */
#include "runner/engines/docker/docker_job.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/unix_socket.h"

LOG_MODULE(docker);

#define EVENTS_MAX (1024 * 1024)
#define EVENTS_KEPT 256
#define TIMEOUT_MS 10000
#define CMDLINE_MAX 4096
#define STOP_LOOKS 1000

struct docker_witness {
    struct docker_job *dj;
    struct docker_call *call;
    struct str lines;
    bool all; /* the second question: not this container's events only */
    void (*done)(struct docker_job *dj, const struct docker_seen *s);
};

static void ask(struct docker_witness *w);

static void
take_event(const struct docker_job *dj, const json_t *event, struct docker_seen *s)
{
    const json_t *actor = json_object_get(event, "Actor");
    const char *type = json_string_value(json_object_get(event, "Type"));
    const char *id = json_string_value(json_object_get(actor, "ID"));
    const char *action = json_string_value(json_object_get(event, "Action"));
    if (type == NULL || id == NULL || action == NULL || !streq(type, "container") ||
        !streq(id, dj->facts.id))
        return;
    s->created |= streq(action, "create");
    s->started |= streq(action, "start");
    s->died |= streq(action, "die");
}

static void
take_events(const struct docker_witness *w, struct docker_seen *s)
{
    size_t n = 0;
    for (const char *p = w->lines.ptr; *p != '\0';) {
        const char *end = strchrnul(p, '\n');
        json_t *event = json_loadb(p, (size_t)(end - p), 0, NULL);
        if (json_is_object(event)) {
            take_event(w->dj, event, s);
            n++;
        }
        json_decref(event);
        p = *end == '\0' ? end : end + 1;
    }
    s->whole = w->all && n < EVENTS_KEPT;
}

static void
on_events(void *arg, const char *bytes, size_t n)
{
    struct docker_witness *w = arg;
    str_add(&w->lines, bytes, n);
}

static void
on_end(void *arg, const struct docker_reply *r)
{
    struct docker_witness *w = arg;
    struct docker_job *dj = w->dj;
    struct docker_seen seen = {.reached = r->reached && r->status == 200};
    void (*done)(struct docker_job * dj, const struct docker_seen *s) = w->done;
    if (seen.reached)
        take_events(w, &seen);
    else if (r->reached)
        log_warn_rl("events not readable", "uid=%s status=%d message=\"%s\"", dj->j->uid,
                    r->status, r->message);
    /* Not its beginning: is that because the daemon is younger? */
    if (seen.reached && !w->all && !seen.started && !seen.created) {
        w->all = true;
        ask(w);
        return;
    }
    docker_witness_free(dj);
    done(dj, &seen);
}

static void
ask(struct docker_witness *w)
{
    auto_str path = STR_INIT(1024);
    auto_str filter = STR_INIT(256);
    int64_t now = clock_wall_ns();
    str_reset(&w->lines);
    /* `until` in the past: what is kept, and no more. */
    str_addf(&path, "/events?since=1&until=%" PRId64 ".%09" PRId64, now / 1000000000,
             now % 1000000000);
    str_addf(&filter, "{\"type\":[\"container\"],\"container\":[\"%s\"]}",
             w->dj->facts.id);
    if (!w->all) {
        str_adds(&path, "&filters=");
        docker_escape(&path, filter.ptr);
    }
    struct docker_request r = {.method = "GET",
                               .path = path.ptr,
                               .timeout_ms = TIMEOUT_MS,
                               .on_data = on_events,
                               .on_reply = on_end,
                               .arg = w};
    docker_call_start(w->dj->en, &w->call, &r);
}

void
docker_witness_ask(struct docker_job *dj,
                   void (*done)(struct docker_job *dj, const struct docker_seen *s))
{
    docker_witness_free(dj);
    struct docker_witness *w = dj->witness = xnew(struct docker_witness);
    w->dj = dj;
    w->done = done;
    str_init(&w->lines, EVENTS_MAX);
    ask(w);
}

void
docker_witness_free(struct docker_job *dj)
{
    struct docker_witness *w = dj->witness;
    if (w == NULL)
        return;
    dj->witness = NULL;
    docker_call_cancel(&w->call);
    str_done(&w->lines);
    free(w);
}

/* --- the daemon's age ----------------------------------------------------------------
 */

/* The process that made the socket: the daemon, unless systemd did it for it. */
static pid_t
socket_maker(const struct engine *en)
{
    struct ucred peer;
    socklen_t n = sizeof(peer);
    autoclose int fd = unix_connect(en->socket, SOCK_NONBLOCK);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
        return 0;
    return peer.pid;
}

static pid_t
pid_of_file(const char *path)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(64);
    return fs_read(path, &text, &e) == 0 ? (pid_t)strtol(text.ptr, NULL, 10) : 0;
}

/* Field 22 of /proc/<pid>/stat, in ticks since the machine's start, rounded down. */
static int64_t
process_since(pid_t pid)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(CMDLINE_MAX);
    auto_str file = STR_INIT(64);
    long long ticks = 0;
    str_addf(&file, "/proc/%d/stat", (int)pid);
    if (pid <= 1 || fs_read(file.ptr, &text, &e) < 0)
        return 0;
    char *p = strrchr(text.ptr, ')');
    for (int field = 2; p != NULL && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p != NULL)
        ticks = strtoll(p + 1, NULL, 10);
    int64_t boot_ns = clock_wall_ns() - clock_boot_ms() * 1000000;
    return ticks <= 0 ? 0 : boot_ns + ticks * (1000000000 / sysconf(_SC_CLK_TCK));
}

int64_t
docker_daemon_since(const struct engine *en)
{
    pid_t pid = socket_maker(en);
    if (pid == 1)
        pid = pid_of_file("/run/docker.pid");
    return process_since(pid);
}

/* --- strays --------------------------------------------------------------------------
 */

/* "containerd-shim-runc-v2 -namespace moby -id <container> ...", but not the one that
 * containerd runs with "delete" to clean up behind a dead one. */
static bool
is_shim_of(const char *pid, const char *id)
{
    struct error e = ERROR_INIT;
    auto_str cmdline = STR_INIT(CMDLINE_MAX);
    auto_str file = STR_INIT(64);
    str_addf(&file, "/proc/%s/cmdline", pid);
    if (fs_read(file.ptr, &cmdline, &e) < 0 || cmdline.len == 0)
        return false;
    const char *name = strrchr(cmdline.ptr, '/');
    if (!str_starts(name != NULL ? name + 1 : cmdline.ptr, "containerd-shim"))
        return false;
    const char *end = cmdline.ptr + cmdline.len;
    const char *before = "";
    bool ours = false;
    for (const char *p = cmdline.ptr; p < end; p += strlen(p) + 1) {
        ours |= streq(before, "-id") && streq(p, id);
        before = p;
    }
    return ours && !streq(before, "delete");
}

/* A cgroup of the container: its id is a component of the path, or ends one
 * ("docker-<id>.scope"). */
static bool
is_in_cgroup_of(const char *pid, const char *id)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(64 * 1024);
    auto_str file = STR_INIT(64);
    str_addf(&file, "/proc/%s/cgroup", pid);
    return fs_read(file.ptr, &text, &e) == 0 && strstr(text.ptr, id) != NULL;
}

/* The runtime's own process, which waits for the word to execute the job's program. */
static bool
is_runtime_init(const char *pid)
{
    static const char want[] = "runc\0init";
    struct error e = ERROR_INIT;
    auto_str cmdline = STR_INIT(CMDLINE_MAX);
    auto_str file = STR_INIT(64);
    str_addf(&file, "/proc/%s/cmdline", pid);
    return fs_read(file.ptr, &cmdline, &e) == 0 && cmdline.len == sizeof(want) &&
           memcmp(cmdline.ptr, want, sizeof(want)) == 0;
}

/* Stopped, so that it executes nothing between a look at it and its end. */
static bool
stop_process(int pidfd, const char *pid)
{
    auto_str file = STR_INIT(64);
    str_addf(&file, "/proc/%s/stat", pid);
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGSTOP, NULL, 0) < 0)
        return false;
    for (int i = 0; i < STOP_LOOKS; i++) {
        struct error e = ERROR_INIT;
        auto_str text = STR_INIT(CMDLINE_MAX);
        if (fs_read(file.ptr, &text, &e) < 0)
            return false;
        const char *state = strrchr(text.ptr, ')');
        if (state != NULL && strchr("TtZX", state[2]) != NULL)
            return state[2] == 'T' || state[2] == 't';
        sched_yield();
    }
    return false;
}

struct stray {
    const char *id;
    unsigned n_killed;
    unsigned n_waiting, n_ran; /* of the container's own processes */
};

static void
look_at_process(struct stray *s, const char *pid)
{
    /* Taken before the look, so that a reused pid is never signalled. */
    autoclose int fd = (int)syscall(SYS_pidfd_open, (pid_t)strtol(pid, NULL, 10), 0);
    if (fd < 0)
        return;
    if (is_in_cgroup_of(pid, s->id)) {
        if (stop_process(fd, pid) && is_runtime_init(pid))
            s->n_waiting++;
        else
            s->n_ran++;
    } else if (!is_shim_of(pid, s->id)) {
        return;
    }
    if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0)
        s->n_killed++;
}

bool
docker_stray_kill(const char *id)
{
    struct stray s = {.id = id};
    if (strlen(id) != 64) /* whatever else it is, it may be part of something */
        return false;
    DIR *d = opendir("/proc");
    struct dirent *de;
    while (d != NULL && (de = readdir(d)) != NULL) {
        char *end;
        long pid = strtol(de->d_name, &end, 10);
        if (*end == '\0' && pid > 1 && pid != getpid())
            look_at_process(&s, de->d_name);
    }
    if (d != NULL)
        closedir(d);
    if (s.n_killed > 0)
        log_info("processes that the daemon did not know of were killed",
                 "container=%.12s processes=%u", id, s.n_killed);
    return s.n_waiting > 0 && s.n_ran == 0;
}
