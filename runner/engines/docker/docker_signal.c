/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signal to every process of a container. The daemon's own kill reaches the init only,
 * and docker-init forwards to its child only; a job's background processes would never
 * hear of the stop. Membership is told by the cgroup path that the processes share with
 * the container's init, on cgroup v1 and v2 alike. A pidfd is taken before the check, so
 * that a reused pid is never signalled.
 */
#include "runner/engines/docker/docker.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

#define CGROUP_FILE_MAX (64 * 1024)
#define MAX_PASSES 4

/* The longest path in /proc/<pid>/cgroup: below every controller's root that the
 * container was put under, and at least one is its own. */
static int
cgroup_path(const char *pid, struct str *ret, struct error *e)
{
    auto_str text = STR_INIT(CGROUP_FILE_MAX);
    auto_str file = STR_INIT(64);
    str_addf(&file, "/proc/%s/cgroup", pid);
    int r = fs_read(file.ptr, &text, e);
    if (r < 0)
        return r;
    const char *best = "";
    size_t best_len = 0;
    for (const char *line = text.ptr; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const char *colon = memchr(line, ':', (size_t)(end - line));
        const char *path =
            colon != NULL ? memchr(colon + 1, ':', (size_t)(end - colon - 1)) : NULL;
        if (path != NULL && (size_t)(end - path - 1) > best_len) {
            best = path + 1;
            best_len = (size_t)(end - path - 1);
        }
        line = *end == '\0' ? end : end + 1;
    }
    str_add(ret, best, best_len);
    return 0;
}

static bool
same_or_below(const struct str *path, const struct str *parent)
{
    return path->len >= parent->len && memcmp(path->ptr, parent->ptr, parent->len) == 0 &&
           (path->len == parent->len || path->ptr[parent->len] == '/');
}

/* Signals one process if it belongs; true when it was signalled. */
static bool
signal_member(const char *name, const struct str *container, int signo)
{
    struct error e = ERROR_INIT;
    auto_str path = STR_INIT(CGROUP_FILE_MAX);
    pid_t pid = (pid_t)strtol(name, NULL, 10);
    autoclose int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || cgroup_path(name, &path, &e) < 0 || !same_or_below(&path, container))
        return false;
    return syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0) == 0;
}

struct pids {
    int64_t items[4096];
    size_t n;
};

static bool
pids_have(const struct pids *p, int64_t pid)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->items[i] == pid)
            return true;
    }
    return false;
}

/* One walk over /proc; returns how many were signalled that were not before. */
static int
signal_pass(const struct str *container, int64_t init_pid, int signo, struct pids *seen)
{
    int n = 0;
    DIR *d = opendir("/proc");
    struct dirent *de;
    while (d != NULL && (de = readdir(d)) != NULL) {
        char *end;
        int64_t pid = strtol(de->d_name, &end, 10);
        if (*end != '\0' || pid <= 0 || pid == init_pid)
            continue;
        if (seen->n == ARRAY_LEN(seen->items) || pids_have(seen, pid) ||
            !signal_member(de->d_name, container, signo))
            continue;
        seen->items[seen->n++] = pid;
        n++;
    }
    if (d != NULL)
        closedir(d);
    return n;
}

int
docker_signal_all(int64_t init_pid, int signo, struct error *e)
{
    char name[24];
    auto_str container = STR_INIT(CGROUP_FILE_MAX);
    auto_str own = STR_INIT(CGROUP_FILE_MAX);

    if (init_pid <= 1)
        return error_set(e, ERR_NOT_FOUND, "the container has no process here");
    snprintf(name, sizeof(name), "%" PRId64, init_pid);
    int r = cgroup_path(name, &container, e);
    if (r < 0)
        return r;
    r = cgroup_path("self", &own, e);
    if (r < 0)
        return r;
    /* Not a cgroup of its own (nested namespaces): it would reach others. */
    if (container.len < 2 || same_or_below(&own, &container))
        return error_set(e, ERR_UNSUPPORTED, "the container has no cgroup of its own");
    struct pids *seen = xnew(struct pids);
    int total = 0;
    /* A process that forks while we walk leaves a child behind: walk until none is new.
     */
    for (int pass = 0; pass < MAX_PASSES; pass++) {
        int n = signal_pass(&container, init_pid, signo, seen);
        total += n;
        if (n == 0)
            break;
    }
    free(seen);
    return total;
}
