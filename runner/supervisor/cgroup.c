/* SPDX-License-Identifier: Apache-2.0 */
/* Job cgroups, versions 1 and 2, through their files. */
#include "runner/supervisor/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

enum {
    CPU_PERIOD_US = 100000,
    CREATE_ATTEMPTS = 5,
    SIGNAL_ROUNDS = 16,
    PROCS_MAX = 4 * 1024 * 1024
};

const char *const cgroup_ctl_names[CGROUP_N] = {
    [CGROUP_CPU] = "cpu",         [CGROUP_MEMORY] = "memory",
    [CGROUP_PIDS] = "pids",       [CGROUP_FREEZER] = "freezer",
    [CGROUP_DEVICES] = "devices", [CGROUP_CPUACCT] = "cpuacct",
};

bool
cgroup_lists(const char *list, size_t len, const char *word)
{
    size_t n = strlen(word);

    for (size_t at = 0; at + n <= len; at++) {
        bool starts = at == 0 || strchr(", \n", list[at - 1]) != NULL;
        bool ends = at + n == len || strchr(", \n", list[at + n]) != NULL;
        if (starts && ends && memcmp(list + at, word, n) == 0)
            return true;
    }
    return false;
}

static void
take_mount(struct cgroup_host *h, enum cgroup_ctl ctl, const char *mount, bool v2)
{
    /* A version 1 hierarchy that has the controller wins: it cannot be in both. */
    if (h->mount[ctl][0] != '\0' && !h->v2[ctl])
        return;
    snprintf(h->mount[ctl], sizeof(h->mount[ctl]), "%s", mount);
    h->v2[ctl] = v2;
}

static void
take_v2_mount(struct cgroup_host *h, const char *mount)
{
    struct error ignored = ERROR_INIT;
    auto_str list = STR_INIT(4096);
    autofree char *path = fs_join(mount, "cgroup.controllers");

    if (fs_read(path, &list, &ignored) != 0)
        return;
    for (int c = 0; c < CGROUP_DEVICES; c++) {
        if (c != CGROUP_FREEZER && cgroup_lists(list.ptr, list.len, cgroup_ctl_names[c]))
            take_mount(h, (enum cgroup_ctl)c, mount, true);
    }
    /* Freezing is built in, where this is the hierarchy that holds the limits. */
    if (h->v2[CGROUP_MEMORY])
        take_mount(h, CGROUP_FREEZER, mount, true);
}

/* One line of mountinfo: "id parent dev root mount opts ... - type source superopts". */
static void
take_line(struct cgroup_host *h, char *line)
{
    char *fields[6] = {0};
    char *save = NULL;
    char *tail = strstr(line, " - ");

    if (tail == NULL)
        return;
    *tail = '\0';
    char *p = line;
    for (size_t i = 0; i < 6 && (fields[i] = strtok_r(p, " ", &save)) != NULL; i++)
        p = NULL;
    char *type = strtok_r(tail + 3, " ", &save);
    char *source = strtok_r(NULL, " ", &save);
    const char *opts = strtok_r(NULL, " ", &save);
    if (fields[5] == NULL || type == NULL || source == NULL || opts == NULL ||
        strlen(fields[4]) >= sizeof(h->mount[0]))
        return;
    if (streq(type, "cgroup2"))
        take_v2_mount(h, fields[4]);
    for (int c = 0; streq(type, "cgroup") && c < CGROUP_N; c++) {
        if (cgroup_lists(opts, strlen(opts), cgroup_ctl_names[c]))
            take_mount(h, (enum cgroup_ctl)c, fields[4], false);
    }
}

static void
read_mounts(char *mountinfo, struct cgroup_host *h)
{
    char *save = NULL;

    memset(h, 0, sizeof(*h));
    for (char *line = strtok_r(mountinfo, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        take_line(h, line);
}

int
cgroup_host_parse(char *mountinfo, struct cgroup_host *ret, struct error *e)
{
    struct cgroup_host h;

    read_mounts(mountinfo, &h);
    for (int c = CGROUP_CPU; c <= CGROUP_PIDS; c++) {
        if (h.mount[c][0] == '\0')
            return error_set(e, ERR_UNSUPPORTED, "no cgroup controller \"%s\" is mounted",
                             cgroup_ctl_names[c]);
    }
    *ret = h;
    return 0;
}

int
cgroup_host_find(struct cgroup_host *ret, struct error *e)
{
    auto_str text = STR_INIT(1024 * 1024);
    auto_str self = STR_INIT(64 * 1024);
    struct cgroup_host h;
    int rc = fs_read("/proc/self/mountinfo", &text, e);

    if (rc != 0)
        return rc;
    if (geteuid() == 0)
        return cgroup_host_parse(text.ptr, ret, e);
    rc = fs_read("/proc/self/cgroup", &self, e);
    if (rc != 0)
        return rc;
    read_mounts(text.ptr, &h);
    cgroup_own(&h, self.ptr, false);
    *ret = h;
    return 0;
}

void
cgroup_host_prepare(void)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(1024 * 1024);
    auto_str self = STR_INIT(64 * 1024);
    struct cgroup_host h;

    if (geteuid() == 0 || fs_read("/proc/self/mountinfo", &text, &ignored) != 0 ||
        fs_read("/proc/self/cgroup", &self, &ignored) != 0)
        return;
    read_mounts(text.ptr, &h);
    cgroup_own(&h, self.ptr, true);
}

int
cgroup_paths(const struct cgroup_host *h, const char *agent_id, const char *uid,
             struct cgroup *ret, struct error *e)
{
    struct cgroup c = {.host = *h};

    if (uid[0] == '\0' || uid[0] == '.' || strchr(uid, '/') != NULL)
        return error_set(e, ERR_INVALID, "job uid \"%s\" is not a file name", uid);
    snprintf(c.parent, sizeof(c.parent), "drover-%s", agent_id);
    for (int i = 0; i < CGROUP_N; i++) {
        c.of[i] = SIZE_MAX;
        c.v2[i] = h->v2[i];
        if (h->mount[i][0] == '\0')
            continue;
        char path[CGROUP_PATH];
        int n = snprintf(path, sizeof(path), "%s/%s/%s", h->mount[i], c.parent, uid);
        if (n < 0 || (size_t)n >= sizeof(path))
            return error_set(e, ERR_TOO_LARGE, "cgroup path of job %s", uid);
        for (size_t k = 0; k < c.n && c.of[i] == SIZE_MAX; k++)
            c.of[i] = streq(c.dir[k], path) ? k : SIZE_MAX;
        if (c.of[i] == SIZE_MAX) {
            c.of[i] = c.n;
            memcpy(c.dir[c.n++], path, sizeof(path));
        }
    }
    *ret = c;
    return 0;
}

static int
write_value(const char *dir, const char *file, const char *text, struct error *e)
{
    autofree char *path = fs_join(dir, file);
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return error_errno(e, errno, "open %s", path);
    if (write(fd, text, strlen(text)) < 0)
        return error_errno(e, errno, "write \"%s\" to %s", text, path);
    return 0;
}

static int
write_number(const char *dir, const char *file, int64_t value, struct error *e)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, value);
    return write_value(dir, file, text, e);
}

/* Gives the children of dir the controllers that version 2 keeps off by default. */
static int
enable_v2(const struct cgroup *c, const char *dir, struct error *e)
{
    for (int i = CGROUP_CPU; i <= CGROUP_PIDS; i++) {
        char word[32];
        snprintf(word, sizeof(word), "+%s", cgroup_ctl_names[i]);
        if (c->v2[i] && write_value(dir, "cgroup.subtree_control", word, e) != 0)
            return -(int)e->code;
    }
    return 0;
}

static int
make_dirs(const struct cgroup *c, struct error *e)
{
    for (size_t i = 0; i < CGROUP_N; i++) {
        if (c->of[i] == SIZE_MAX)
            continue;
        autofree char *parent = fs_join(c->host.mount[i], c->parent);
        if (mkdir(parent, 0755) < 0 && errno != EEXIST)
            return error_errno(e, errno, "create cgroup %s", parent);
        if (c->v2[i] && i == CGROUP_MEMORY &&
            (enable_v2(c, c->host.mount[i], e) != 0 || enable_v2(c, parent, e) != 0))
            return -(int)e->code;
        if (mkdir(c->dir[c->of[i]], 0755) < 0 && errno != EEXIST)
            return error_errno(e, errno, "create cgroup %s", c->dir[c->of[i]]);
    }
    return 0;
}

bool
cgroup_has(const struct cgroup *c, enum cgroup_ctl ctl)
{
    return c->of[ctl] < c->n;
}

static int
limit_memory(const struct cgroup *c, int64_t mib, struct error *e)
{
    struct error ignored = ERROR_INIT;
    int64_t bytes = mib * 1024 * 1024;

    if (mib <= 0 || !cgroup_has(c, CGROUP_MEMORY))
        return 0;
    const char *dir = c->dir[c->of[CGROUP_MEMORY]];
    if (c->v2[CGROUP_MEMORY]) {
        int rc = write_number(dir, "memory.max", bytes, e);
        /* Absent without swap accounting; then there is none to give. */
        if (rc == 0 && write_number(dir, "memory.swap.max", 0, &ignored) != 0 &&
            ignored.code != ERR_NOT_FOUND)
            rc = error_set(e, ignored.code, "%s", ignored.msg);
        return rc;
    }
    int rc = write_number(dir, "memory.limit_in_bytes", bytes, e);
    if (rc != 0)
        return rc;
    /* Memory and swap together: the same bound means no swap. Without swap accounting
     * the file is absent; then at least prefer not to swap. */
    rc = write_number(dir, "memory.memsw.limit_in_bytes", bytes, &ignored);
    if (rc != 0 && ignored.code != ERR_NOT_FOUND)
        return error_set(e, ignored.code, "%s", ignored.msg);
    if (rc != 0 && write_number(dir, "memory.swappiness", 0, &ignored) != 0)
        return error_set(e, ignored.code, "%s", ignored.msg);
    return 0;
}

static int
limit_cpu(const struct cgroup *c, const struct cgroup_limits *l, struct error *e)
{
    int64_t shares = l->cpu_request_milli * 1024 / 1000;
    int64_t quota = l->cpu_limit_milli * (CPU_PERIOD_US / 1000);
    char text[64];
    int rc = 0;

    if (!cgroup_has(c, CGROUP_CPU))
        return 0;
    const char *dir = c->dir[c->of[CGROUP_CPU]];
    shares = shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
    if (c->v2[CGROUP_CPU]) {
        if (l->cpu_request_milli > 0)
            rc = write_number(dir, "cpu.weight", 1 + (shares - 2) * 9999 / 262142, e);
        snprintf(text, sizeof(text), "%" PRId64 " %d", quota, CPU_PERIOD_US);
        if (rc == 0 && quota > 0)
            rc = write_value(dir, "cpu.max", text, e);
        return rc;
    }
    if (l->cpu_request_milli > 0)
        rc = write_number(dir, "cpu.shares", shares, e);
    if (rc == 0 && quota > 0)
        rc = write_number(dir, "cpu.cfs_period_us", CPU_PERIOD_US, e);
    if (rc == 0 && quota > 0)
        rc = write_number(dir, "cpu.cfs_quota_us", quota, e);
    return rc;
}

/* Version 1 only. On version 2 the job's user namespace alone keeps it from making
 * device nodes, and its /dev has no others. */
static int
limit_devices(const struct cgroup *c, const struct cgroup_limits *l, struct error *e)
{
    static const char *const basic[] = {"c 1:3 rwm", "c 1:5 rwm",  "c 1:7 rwm",
                                        "c 1:8 rwm", "c 1:9 rwm",  "c 5:0 rwm",
                                        "c 5:2 rwm", "c 136:* rwm"};
    if (!cgroup_has(c, CGROUP_DEVICES) || geteuid() != 0)
        return 0; /* the kernel lets root alone write these lists */
    const char *dir = c->dir[c->of[CGROUP_DEVICES]];
    int rc = write_value(dir, "devices.deny", "a", e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(basic); i++)
        rc = write_value(dir, "devices.allow", basic[i], e);
    for (size_t i = 0; rc == 0 && i < l->n_devices; i++) {
        char text[64];
        snprintf(text, sizeof(text), "c %u:%u rw", major(l->devices[i]),
                 minor(l->devices[i]));
        rc = write_value(dir, "devices.allow", text, e);
    }
    return rc;
}

int
cgroup_create(const struct cgroup *c, const struct cgroup_limits *l, struct error *e)
{
    int rc = make_dirs(c, e);

    /* Removing another job's cgroup may take the shared parent away in between. */
    for (int i = 1; rc == -ERR_NOT_FOUND && i < CREATE_ATTEMPTS; i++)
        rc = make_dirs(c, e);
    if (rc == 0)
        rc = limit_memory(c, l->memory_limit_mib, e);
    if (rc == 0)
        rc = limit_cpu(c, l, e);
    if (rc == 0 && l->pids_max > 0 && cgroup_has(c, CGROUP_PIDS))
        rc = write_number(c->dir[c->of[CGROUP_PIDS]], "pids.max", l->pids_max, e);
    if (rc == 0)
        rc = limit_devices(c, l, e);
    return rc;
}

int
cgroup_open_procs(const struct cgroup *c, int fds[CGROUP_N], struct error *e)
{
    for (size_t i = 0; i < c->n; i++) {
        autofree char *path = fs_join(c->dir[i], "cgroup.procs");
        fds[i] = open(path, O_WRONLY | O_CLOEXEC);
        if (fds[i] < 0) {
            int sys = errno;
            while (i > 0)
                close(fds[--i]);
            return error_errno(e, sys, "open %s", path);
        }
    }
    return (int)c->n;
}

static void
freeze(const struct cgroup *c, bool on)
{
    struct error ignored = ERROR_INIT;

    if (!cgroup_has(c, CGROUP_FREEZER))
        return;
    const char *dir = c->dir[c->of[CGROUP_FREEZER]];
    int rc = c->v2[CGROUP_FREEZER]
                 ? write_value(dir, "cgroup.freeze", on ? "1" : "0", &ignored)
                 : write_value(dir, "freezer.state", on ? "FROZEN" : "THAWED", &ignored);
    UNUSED(rc); /* freezing only narrows a race that the rounds below close */
}

typedef vec(pid_t) pid_vec;

static bool
has_pid(const pid_vec *v, pid_t pid)
{
    for (size_t i = 0; i < v->len; i++) {
        if (v->items[i] == pid)
            return true;
    }
    return false;
}

static void
signal_once(pid_vec *sent, pid_t pid, int signo)
{
    vec_push(sent, pid);
    kill(pid, signo);
}

/* One look at the list; true when it had processes that were not in sent. */
static bool
signal_new(const char *path, int signo, pid_vec *sent)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(PROCS_MAX);
    size_t before = sent->len;
    char *end;

    if (fs_read(path, &text, &ignored) != 0)
        return false;
    for (const char *p = text.ptr; *p != '\0'; p = end + strspn(end, "\n")) {
        pid_t pid = (pid_t)strtol(p, &end, 10);
        if (end == p)
            break;
        if (pid > 1 && !has_pid(sent, pid))
            signal_once(sent, pid, signo);
    }
    return sent->len > before;
}

void
cgroup_signal(const struct cgroup *c, int signo)
{
    pid_vec sent = {0};

    if (c->n == 0)
        return;
    autofree char *path = fs_join(c->dir[0], "cgroup.procs"); /* all are in each */
    freeze(c, true);
    for (int round = 0; round < SIGNAL_ROUNDS; round++) {
        if (!signal_new(path, signo, &sent))
            break;
    }
    freeze(c, false);
    vec_done(&sent);
}

void
cgroup_wait(const struct cgroup *c, int max_ms)
{
    for (size_t i = 0; i < c->n; i++) {
        struct error ignored = ERROR_INIT;
        auto_str text = STR_INIT(PROCS_MAX);
        autofree char *path = fs_join(c->dir[i], "cgroup.procs");
        if (fs_read(path, &text, &ignored) != 0 || text.len == 0)
            continue;
        autoclose int fd = pidfd_open((pid_t)strtol(text.ptr, NULL, 10), 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (fd >= 0 && poll(&p, 1, max_ms) >= 0)
            return;
    }
    /* Empty, but the kernel has not let go yet (it does so after the last switch away
     * from a dead process): give it a moment. */
    poll(NULL, 0, 1);
}

/* The number after key in a file of the memory controller, or the first of the file when
 * key is "". 0: absent. */
static int64_t
memory_number(const struct cgroup *c, const char *file, const char *key)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(64 * 1024);

    if (!cgroup_has(c, CGROUP_MEMORY))
        return 0;
    autofree char *path = fs_join(c->dir[c->of[CGROUP_MEMORY]], file);
    if (fs_read(path, &text, &ignored) != 0)
        return 0;
    const char *p = strstr(text.ptr, key);
    return p == NULL ? 0 : strtoll(p + strlen(key), NULL, 10);
}

int64_t
cgroup_oom_kills(const struct cgroup *c)
{
    return memory_number(c, c->v2[CGROUP_MEMORY] ? "memory.events" : "memory.oom_control",
                         "oom_kill ");
}

bool
cgroup_hit_own_limit(const struct cgroup *c)
{
    if (c->v2[CGROUP_MEMORY])
        return memory_number(c, "memory.events", "oom ") > 0;
    /* Some kernels never count. With the same bound for memory and for memory and swap,
     * either may come first. */
    return memory_number(c, "memory.failcnt", "") > 0 ||
           memory_number(c, "memory.memsw.failcnt", "") > 0 ||
           memory_number(c, "memory.max_usage_in_bytes", "") + 4096 >=
               memory_number(c, "memory.limit_in_bytes", "");
}

int64_t
cgroup_memory_peak(const struct cgroup *c)
{
    return memory_number(
        c, c->v2[CGROUP_MEMORY] ? "memory.peak" : "memory.max_usage_in_bytes", "");
}

int
cgroup_remove(const struct cgroup *c, struct error *e)
{
    int rc = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (rmdir(c->dir[i]) < 0 && errno != ENOENT)
            rc = errno == EBUSY ? error_set(e, ERR_BUSY, "cgroup %s is in use", c->dir[i])
                                : error_errno(e, errno, "remove cgroup %s", c->dir[i]);
        char *slash = strrchr(c->dir[i], '/');
        autofree char *parent = xstrndup(c->dir[i], (size_t)(slash - c->dir[i]));
        if (rmdir(parent) < 0)
            errno = 0; /* other jobs are in it, or it is gone */
    }
    return rc;
}

void
cgroup_each(const struct cgroup_host *h, const char *agent_id,
            void (*fn)(void *arg, const char *uid), void *arg)
{
    for (size_t i = 0; i < CGROUP_N; i++) {
        if (h->mount[i][0] == '\0')
            continue;
        autofree char *path = xasprintf("%s/drover-%s", h->mount[i], agent_id);
        DIR *d = opendir(path);
        const struct dirent *de;
        while (d != NULL && (de = readdir(d)) != NULL) {
            if (de->d_type == DT_DIR && de->d_name[0] != '.')
                fn(arg, de->d_name);
        }
        if (d != NULL)
            closedir(d);
    }
}
