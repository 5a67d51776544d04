/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's files: small flat JSON objects. */
#include "runner/supervisor/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum { RECORD_MAX = 16 * 1024, RESERVE_BYTES = 64 * 1024 };

static const char *const end_names[RECORD_N_ENDS] = {
    [RECORD_EXITED] = "Exited",
    [RECORD_SIGNALED] = "Signaled",
    [RECORD_OOM] = "OutOfMemory",
    [RECORD_DISK_QUOTA] = "DiskQuotaExceeded",
    [RECORD_CREATE_FAILED] = "CreateFailed",
    [RECORD_START_FAILED] = "StartFailed",
};

static const char *const phase_names[] = {
    [RECORD_PREPARING] = "preparing",
    [RECORD_STARTING] = "starting",
    [RECORD_RUNNING] = "running",
};

static char *
record_path(const char *dir, const char *name)
{
    return xasprintf("%s/" RECORD_DIR "/%s", dir, name);
}

int
record_prepare(const char *dir, struct error *e)
{
    autofree char *path = record_path(dir, "");

    path[strlen(path) - 1] = '\0';
    /* Not fs_mkdirs: when the job's directory is gone, the job is gone. */
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_errno(e, errno, "create %s", path);
    return 0;
}

void
record_reserve(const char *dir)
{
    autofree char *path = record_path(dir, RECORD_RESERVE);
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || posix_fallocate(fd, 0, RESERVE_BYTES) != 0)
        unlink(path); /* already full: then the record has what it has */
}

static int
load(const char *dir, const char *name, json_t **ret, struct error *e)
{
    auto_str text = STR_INIT(RECORD_MAX);
    autofree char *path = record_path(dir, name);
    json_error_t je;

    int rc = fs_read(path, &text, e);
    if (rc != 0)
        return rc;
    json_t *j = json_loadb(text.ptr, text.len, 0, &je);
    if (!json_is_object(j)) {
        json_decref(j);
        return error_set(e, ERR_CORRUPT, "%s: not a record of a job", path);
    }
    *ret = j;
    return 0;
}

static int64_t
number(const json_t *j, const char *key)
{
    return json_integer_value(json_object_get(j, key));
}

static void
text_to(const json_t *j, const char *key, char *out, size_t size)
{
    const char *s = json_string_value(json_object_get(j, key));

    snprintf(out, size, "%s", s == NULL ? "" : s);
}

static struct record_proc
proc_of(const json_t *j, const char *pid_key, const char *ticks_key)
{
    return (struct record_proc){.pid = (pid_t)number(j, pid_key),
                                .ticks = (uint64_t)number(j, ticks_key)};
}

/* Takes j. Temp file and rename: whole or not at all for every reader of this boot. */
static int
save(const char *dir, const char *name, json_t *j, bool durable, struct error *e)
{
    autofree char *path = record_path(dir, name);
    autofree char *text = j == NULL ? NULL : json_dumps(j, JSON_COMPACT);

    json_decref(j);
    if (text == NULL)
        return error_set(e, ERR_INTERNAL, "encode %s", path);
    if (durable)
        return fs_write_atomic(path, text, strlen(text), 0600, e);
    autofree char *tmp = xasprintf("%s.new", path);
    autoclose int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(e, errno, "create %s", tmp);
    int rc = fs_write_all(fd, text, strlen(text), e);
    if (rc == 0 && rename(tmp, path) < 0)
        rc = error_errno(e, errno, "rename %s", tmp);
    return rc;
}

int
record_claim_make(const char *dir, const struct record_claim *c, struct error *e)
{
    char name[64];

    snprintf(name, sizeof(name), RECORD_CLAIM ".%d.%d", (int)getpid(),
             (int)c->supervisor.pid);
    json_t *j = json_pack("{s:s, s:I, s:I}", "bootID", c->boot_id, "pid",
                          (json_int_t)c->supervisor.pid, "ticks",
                          (json_int_t)c->supervisor.ticks);
    int rc = save(dir, name, j, false, e);
    if (rc != 0)
        return rc;
    autofree char *from = record_path(dir, name);
    autofree char *to = record_path(dir, RECORD_CLAIM);
    if (link(from, to) < 0)
        rc = error_errno(e, errno, "claim the job");
    unlink(from);
    return rc;
}

int
record_claim_read(const char *dir, struct record_claim *ret, struct error *e)
{
    json_t *j;
    int rc = load(dir, RECORD_CLAIM, &j, e);

    if (rc != 0)
        return rc;
    *ret = (struct record_claim){.supervisor = proc_of(j, "pid", "ticks")};
    text_to(j, "bootID", ret->boot_id, sizeof(ret->boot_id));
    json_decref(j);
    return 0;
}

int
record_state_write(const char *dir, const struct record_state *s, bool durable,
                   struct error *e)
{
    json_t *j = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "state", phase_names[s->phase], "bootID",
        s->boot_id, "pid", (json_int_t)s->supervisor.pid, "ticks",
        (json_int_t)s->supervisor.ticks, "initPid", (json_int_t)s->init.pid, "initTicks",
        (json_int_t)s->init.ticks, "startedNs", (json_int_t)s->started_ns);

    return save(dir, RECORD_STATE, j, durable, e);
}

int
record_state_read(const char *dir, struct record_state *ret, struct error *e)
{
    char state[16];
    json_t *j;
    int rc = load(dir, RECORD_STATE, &j, e);

    if (rc != 0)
        return rc;
    text_to(j, "state", state, sizeof(state));
    *ret = (struct record_state){.supervisor = proc_of(j, "pid", "ticks"),
                                 .init = proc_of(j, "initPid", "initTicks"),
                                 .phase = RECORD_STARTING,
                                 .started_ns = number(j, "startedNs")};
    for (size_t i = 0; i < ARRAY_LEN(phase_names); i++) {
        if (streq(state, phase_names[i]))
            ret->phase = (enum record_phase)i;
    }
    text_to(j, "bootID", ret->boot_id, sizeof(ret->boot_id));
    json_decref(j);
    return 0;
}

int
record_exit_write(const char *dir, const struct record_exit *x, struct error *e)
{
    autofree char *reserve = record_path(dir, RECORD_RESERVE);
    json_t *j = json_pack(
        "{s:s, s:b, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "end", end_names[x->end],
        "started", (int)x->started, "exitCode", x->exit_code, "signal", x->signal,
        "startedNs", (json_int_t)x->started_ns, "finishedNs", (json_int_t)x->finished_ns,
        "oomKills", (json_int_t)x->oom_kills, "memoryPeak", (json_int_t)x->memory_peak,
        "logLength", (json_int_t)x->log_length, "droppedBytes",
        (json_int_t)x->dropped_bytes);

    /* Apart, because a job can put bytes that are not UTF-8 into a path. */
    json_t *msg = json_string(x->message);
    if (j != NULL && msg == NULL)
        msg = json_string("(message is not UTF-8)");
    if (j != NULL)
        json_object_set_new(j, "message", msg);
    if (j != NULL && x->oom_cgroup[0] != '\0')
        json_object_set_new(j, "oomCgroup", json_string(x->oom_cgroup));
    unlink(reserve);
    return save(dir, RECORD_EXIT, j, true, e);
}

int
record_exit_read(const char *dir, struct record_exit *ret, struct error *e)
{
    char end[32];
    json_t *j;
    int rc = load(dir, RECORD_EXIT, &j, e);

    if (rc != 0)
        return rc;
    *ret = (struct record_exit){
        .end = RECORD_N_ENDS,
        .started = json_is_true(json_object_get(j, "started")),
        .exit_code = (int)number(j, "exitCode"),
        .signal = (int)number(j, "signal"),
        .started_ns = number(j, "startedNs"),
        .finished_ns = number(j, "finishedNs"),
        .oom_kills = number(j, "oomKills"),
        .memory_peak = number(j, "memoryPeak"),
        .log_length = number(j, "logLength"),
        .dropped_bytes = number(j, "droppedBytes"),
    };
    text_to(j, "message", ret->message, sizeof(ret->message));
    text_to(j, "oomCgroup", ret->oom_cgroup, sizeof(ret->oom_cgroup));
    text_to(j, "end", end, sizeof(end));
    json_decref(j);
    for (int i = 0; i < RECORD_N_ENDS; i++) {
        if (streq(end, end_names[i]))
            ret->end = (enum record_end)i;
    }
    if (ret->end == RECORD_N_ENDS)
        return error_set(e, ERR_CORRUPT, "%s/" RECORD_DIR "/" RECORD_EXIT ": end \"%s\"",
                         dir, end);
    return 0;
}

void
record_boot_id(char out[RECORD_BOOT_ID])
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(128);

    out[0] = '\0';
    if (fs_read("/proc/sys/kernel/random/boot_id", &text, &ignored) != 0)
        return;
    snprintf(out, RECORD_BOOT_ID, "%.*s", (int)strcspn(text.ptr, "\n"), text.ptr);
}

uint64_t
record_proc_ticks(pid_t pid)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (fs_read(path, &text, &ignored) != 0)
        return 0;
    /* The name in field 2 may hold anything; it ends at the last parenthesis. */
    const char *p = strrchr(text.ptr, ')');
    for (int field = 2; p != NULL && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p == NULL ? 0 : strtoull(p + 1, NULL, 10);
}

int
record_proc_open(const struct record_proc *p)
{
    if (p->pid <= 0)
        return -1;
    autoclose int fd = pidfd_open(p->pid, 0);
    /* The pidfd first: what it names cannot change while the time is compared. */
    if (fd < 0 || record_proc_ticks(p->pid) != p->ticks)
        return -1;
    return move_fd(fd);
}
