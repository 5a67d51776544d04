/* SPDX-License-Identifier: Apache-2.0 */
/* The test's agent for the process engine. */
#include "tests/integration/engine_process_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/segment.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/record.h"

enum { WAIT_MS = 20000, LOG_MAX = 128 * 1024 * 1024 };

static void
on_progress(struct engine_job *j, const struct engine_progress *p)
{
    UNUSED(j);
    assert_int_equal(p->phase, ENGINE_CREATING);
}

static void
on_started(struct engine_job *ej, int64_t started_ns)
{
    struct job *j = ej->arg;

    assert_int_equal(j->n_exited, 0);
    assert_true(started_ns > 0);
    j->started_ns = started_ns;
    j->n_started++;
}

static void
on_exit_told(struct engine_job *ej, const struct engine_result *r)
{
    struct job *j = ej->arg;

    j->result = *r;
    j->n_exited++;
}

static void
on_removed(struct engine_job *ej, const struct error *e)
{
    struct job *j = ej->arg;

    if (e != NULL)
        j->removed = *e;
    j->n_removed++;
}

static const struct engine_events events = {on_progress, on_started, on_exit_told,
                                            on_removed,  NULL,       NULL};

void
world_engine_open(struct world *w)
{
    struct error e = ERROR_INIT;
    struct engine_config c = {
        .agent_dir = w->agent, .supervisor = "/proc/self/exe", .host_dir_mask = w->masks};

    if (engine_process.open(w->loop, &c, &w->en, &e) != 0)
        fail_msg("open: %s", e.msg);
}

void
world_engine_close(struct world *w)
{
    engine_process.close(w->en);
    w->en = NULL;
}

void
world_open(struct world *w)
{
    struct error e = ERROR_INIT;

    memset(w, 0, sizeof(*w));
    snprintf(w->root, sizeof(w->root), "/tmp/drover-engine-XXXXXX");
    assert_non_null(mkdtemp(w->root));
    snprintf(w->agent, sizeof(w->agent), "%s/agent", w->root);
    char jobs[200];
    snprintf(jobs, sizeof(jobs), "%s/jobs", w->agent);
    assert_int_equal(fs_mkdirs(jobs, 0700, &e), 0);
    w->masks[0] = w->root;
    w->masks[1] = w->agent;
    assert_int_equal(loop_new(&w->loop, &e), 0);
    world_engine_open(w);
}

void
world_agent_id(const struct world *w, char out[WORLD_AGENT_ID])
{
    char hash[65];

    id_hash_hex(w->agent, strlen(w->agent), hash);
    snprintf(out, WORLD_AGENT_ID, "%.12s", hash);
}

static void
assert_no_cgroup(void *arg, const char *uid)
{
    UNUSED(arg);
    fail_msg("a cgroup of job %s is left", uid);
}

static void
assert_no_leftovers(const struct world *w)
{
    struct error e = ERROR_INIT;
    struct cgroup_host host;
    auto_str mounts = STR_INIT(1024 * 1024);
    char id[WORLD_AGENT_ID];

    world_agent_id(w, id);
    assert_int_equal(cgroup_host_find(&host, &e), 0);
    cgroup_each(&host, id, assert_no_cgroup, NULL);
    assert_int_equal(fs_read("/proc/self/mountinfo", &mounts, &e), 0);
    assert_null(strstr(mounts.ptr, w->root));
    DIR *d = opendir("/run/drover/ids");
    const struct dirent *de;
    while (d != NULL && (de = readdir(d)) != NULL) {
        char target[4096];
        ssize_t n = readlinkat(dirfd(d), de->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        if (str_starts(target, w->root))
            fail_msg("id range %s of %s is left", de->d_name, target);
    }
    if (d != NULL)
        closedir(d);
    /* A supervisor ends a moment after its exit record. */
    int64_t until = clock_now_ms() + WAIT_MS;
    while (count_processes(w->root) != 0 && clock_now_ms() < until)
        poll(NULL, 0, 5);
    assert_int_equal(count_processes(w->root), 0);
}

void
world_close(struct world *w)
{
    struct error e = ERROR_INIT;

    world_engine_close(w);
    loop_free(w->loop);
    assert_no_leftovers(w);
    if (fs_remove_tree(w->root, &e) != 0)
        fail_msg("%s", e.msg);
}

/* "MARK=987<pid>", for `sleep $MARK`. */
static const char *
mark(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "MARK=987%d", (int)getpid());
    return text;
}

int
count_sleepers(void)
{
    autofree char *word = xasprintf("sleep %s ", mark() + strlen("MARK="));

    return count_processes(word);
}

static void
fill(struct job *j)
{
    j->j = (struct engine_job){.uid = j->uid,
                               .ns = "default",
                               .name = "job",
                               .run_name = "run",
                               .dir = j->dir,
                               .argv = j->argv,
                               .env = j->env,
                               .arg = j,
                               .events = &events};
}

void
job_init(struct world *w, struct job *j, const char *script)
{
    struct error e = ERROR_INIT;

    memset(j, 0, sizeof(*j));
    id_uuid4(j->uid);
    snprintf(j->dir, sizeof(j->dir), "%s/jobs/%s", w->agent, j->uid);
    assert_int_equal(fs_mkdirs(j->dir, 0700, &e), 0);
    j->argv[0] = "sh";
    j->argv[1] = "-c";
    j->argv[2] = script;
    j->env[0] = mark();
    fill(j);
}

void
job_argv(struct job *j, const char *const *argv)
{
    memset(j->argv, 0, sizeof(j->argv));
    for (size_t i = 0; argv[i] != NULL; i++)
        j->argv[i] = argv[i];
}

void
job_again(struct job *to, const struct job *from)
{
    memset(to, 0, sizeof(*to));
    memcpy(to->argv, from->argv, sizeof(to->argv));
    memcpy(to->env, from->env, sizeof(to->env));
    memcpy(to->uid, from->uid, sizeof(to->uid));
    memcpy(to->dir, from->dir, sizeof(to->dir));
    fill(to);
}

void
world_until(struct world *w, bool (*cond)(void *), void *arg, int timeout_ms)
{
    int64_t until = clock_now_ms() + timeout_ms;

    while (!cond(arg)) {
        int64_t left = until - clock_now_ms();
        if (left <= 0)
            fail_msg("nothing happened for %d ms", timeout_ms);
        loop_turn(w->loop, left > 50 ? 50 : (int)left);
    }
}

static bool
has_started(void *arg)
{
    const struct job *j = arg;

    return j->n_started > 0 || j->n_exited > 0;
}

static bool
has_exited(void *arg)
{
    return ((const struct job *)arg)->n_exited > 0;
}

static bool
is_removed(void *arg)
{
    return ((const struct job *)arg)->n_removed > 0;
}

void
job_launch(struct world *w, struct job *j)
{
    engine_process.launch(w->en, &j->j);
}

void
job_adopt(struct world *w, struct job *j)
{
    engine_process.adopt(w->en, &j->j);
}

void
job_stop(struct world *w, struct job *j, int64_t grace_ms)
{
    engine_process.stop(w->en, &j->j, grace_ms);
}

void
job_wait_started(struct world *w, struct job *j)
{
    world_until(w, has_started, j, WAIT_MS);
    if (j->n_started != 1)
        fail_msg("not started: %s", j->result.message);
}

void
job_wait_exit(struct world *w, struct job *j)
{
    world_until(w, has_exited, j, WAIT_MS);
    assert_int_equal(j->n_exited, 1);
}

void
job_run(struct world *w, struct job *j)
{
    job_launch(w, j);
    job_wait_exit(w, j);
}

void
job_remove(struct world *w, struct job *j)
{
    engine_process.remove(w->en, &j->j);
    world_until(w, is_removed, j, WAIT_MS);
    if (j->removed.code != ERR_OK)
        fail_msg("remove: %s", j->removed.msg);
}

void
job_output(const struct job *j, int stream, struct str *out)
{
    struct error e = ERROR_INIT;
    auto_str raw = STR_INIT(LOG_MAX);
    autofree char *dir = fs_join(j->dir, "log");
    struct segment_frame f;
    uint64_t offset = 0;

    str_init(out, LOG_MAX);
    for (;;) {
        size_t before = raw.len;
        if (segment_read(dir, before, &raw, 1024 * 1024, &e) != 0)
            fail_msg("read log: %s", e.msg);
        if (raw.len == before)
            break;
    }
    while (offset < raw.len) {
        int rc = segment_frame_get(raw.ptr + offset, raw.len - offset, offset, &f, &e);
        if (rc == 0)
            break; /* the writer is in the middle of it */
        assert_int_equal(rc, 1);
        if ((int)f.stream == stream)
            str_add(out, f.bytes.ptr, f.bytes.len);
        offset += SEGMENT_HEADER + f.bytes.len;
    }
    assert_false(out->toobig);
}

struct wanted {
    const struct job *j;
    const char *text;
};

static bool
has_output(void *arg)
{
    const struct wanted *w = arg;
    struct stat st;
    autofree char *dir = fs_join(w->j->dir, "log");

    if (stat(dir, &st) < 0)
        return false;
    auto_str out = STR_INIT(1);
    job_output(w->j, SEGMENT_STDOUT, &out);
    return strstr(out.ptr, w->text) != NULL;
}

void
job_wait_output(struct world *w, struct job *j, const char *text)
{
    struct wanted wanted = {j, text};

    world_until(w, has_output, &wanted, WAIT_MS);
}

void
job_assert_exit(const struct job *j, int code)
{
    if (j->result.reason != ENGINE_EXITED || j->result.exit_code != code)
        fail_msg("reason %d exit %d signal %d: %s", (int)j->result.reason,
                 j->result.exit_code, j->result.signal, j->result.message);
    assert_true(j->result.started);
    assert_int_equal(j->result.signal, 0);
    assert_true(j->result.started_ns > 0);
    assert_true(j->result.finished_ns >= j->result.started_ns);
}

pid_t
job_supervisor_pid(const struct job *j)
{
    struct error e = ERROR_INIT;
    struct record_claim c;

    assert_int_equal(record_claim_read(j->dir, &c, &e), 0);
    return c.supervisor.pid;
}

pid_t
job_init_pid(const struct job *j)
{
    struct error e = ERROR_INIT;
    struct record_state s;

    assert_int_equal(record_state_read(j->dir, &s, &e), 0);
    return s.init.pid;
}

bool
pid_exists(pid_t pid)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (fs_read(path, &text, &e) != 0)
        return false;
    const char *p = strrchr(text.ptr, ')');
    return p != NULL && p[1] == ' ' && p[2] != 'Z' && p[2] != 'X';
}

void
pid_wait_gone(pid_t pid, int timeout_ms)
{
    autoclose int fd = pidfd_open(pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (fd >= 0)
        assert_int_equal(poll(&p, 1, timeout_ms), 1);
}

int
count_processes(const char *word)
{
    DIR *d = opendir("/proc");
    const struct dirent *de;
    int n = 0;

    assert_non_null(d);
    while ((de = readdir(d)) != NULL) {
        char path[300];
        char buf[4096];
        if (de->d_name[0] < '0' || de->d_name[0] > '9')
            continue;
        snprintf(path, sizeof(path), "/proc/%s/cmdline", de->d_name);
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);
        if (len <= 0 || strtol(de->d_name, NULL, 10) == getpid())
            continue;
        for (ssize_t i = 0; i < len; i++)
            buf[i] = buf[i] == '\0' ? ' ' : buf[i];
        buf[len] = '\0';
        n += strstr(buf, word) != NULL;
    }
    closedir(d);
    return n;
}
