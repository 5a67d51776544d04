/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel says of a container's memory: the most it used, and whether it was its
 * own limit or the machine that ran out. The daemon has none of this, and takes the
 * cgroup away soon after the end. So the end is heard of by a pidfd on the container's
 * init and the cgroup is read at that moment, long before the runtime has been started to
 * remove it. What cannot be read (a very short job, a daemon in another pid namespace) is
 * not known, and nothing else depends on it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "runner/engines/docker/docker_job.h"
#include "runner/supervisor/cgroup.h"

#define FILE_MAX (64 * 1024)

struct docker_memory {
    struct loop_child *init;
    struct cgroup cgroup; /* of the memory controller only */
    struct docker_memory_end end;
};

static void
on_init_gone(void *arg, pid_t pid, int status)
{
    struct docker_memory *m = arg;
    UNUSED(pid);
    UNUSED(status);
    loop_child_free(m->init);
    m->init = NULL;
    m->end.peak = cgroup_memory_peak(&m->cgroup);
    m->end.kills = cgroup_oom_kills(&m->cgroup);
    m->end.own_limit = m->end.kills > 0 && cgroup_hit_own_limit(&m->cgroup);
}

/* The path after "<n>:<list with memory>:" or "0::", by version. */
static bool
find_path(const char *text, bool v2, char *ret, size_t size)
{
    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const char *list = memchr(line, ':', (size_t)(end - line));
        const char *path =
            list != NULL ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
        if (path != NULL) {
            char names[128];
            snprintf(names, sizeof(names), ",%.*s,", (int)(path - list - 1), list + 1);
            if (v2 ? streq(names, ",,") : strstr(names, ",memory,") != NULL) {
                snprintf(ret, size, "%.*s", (int)(end - path - 1), path + 1);
                return ret[0] == '/' && ret[1] != '\0';
            }
        }
        line = *end == '\0' ? end : end + 1;
    }
    return false;
}

static bool
find_cgroup(int64_t pid, struct cgroup *ret)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(FILE_MAX);
    char file[40];
    char path[256];
    struct cgroup_host host;
    if (cgroup_host_find(&host, &e) < 0 || host.mount[CGROUP_MEMORY][0] == '\0')
        return false;
    snprintf(file, sizeof(file), "/proc/%" PRId64 "/cgroup", pid);
    bool v2 = host.v2[CGROUP_MEMORY];
    if (fs_read(file, &text, &e) < 0 || !find_path(text.ptr, v2, path, sizeof(path)))
        return false;
    *ret = (struct cgroup){.n = 1, .host = host};
    for (int i = 0; i < CGROUP_N; i++)
        ret->of[i] = SIZE_MAX;
    ret->of[CGROUP_MEMORY] = 0;
    ret->v2[CGROUP_MEMORY] = v2;
    int n = snprintf(ret->dir[0], sizeof(ret->dir[0]), "%s%s", host.mount[CGROUP_MEMORY],
                     path);
    return n > 0 && (size_t)n < sizeof(ret->dir[0]);
}

struct docker_memory *
docker_memory_watch(struct loop *l, int64_t init_pid)
{
    struct error e = ERROR_INIT;
    struct docker_memory *m = xnew(struct docker_memory);
    if (init_pid > 1 && find_cgroup(init_pid, &m->cgroup) &&
        loop_child_add(l, "container", (pid_t)init_pid, on_init_gone, m, &m->init, &e) ==
            0) {
        snprintf(m->end.cgroup, sizeof(m->end.cgroup), "%.199s", m->cgroup.dir[0]);
        return m;
    }
    free(m);
    return NULL;
}

const struct docker_memory_end *
docker_memory_end(const struct docker_memory *m)
{
    static const struct docker_memory_end unknown;
    return m != NULL && m->init == NULL ? &m->end : &unknown;
}

void
docker_memory_free(struct docker_memory *m)
{
    if (m == NULL)
        return;
    loop_child_free(m->init);
    free(m);
}

/* --- in words ------------------------------------------------------------------------
 */

void
docker_memory_tell(const struct docker_memory_end *m, int64_t limit_mib,
                   struct engine_result *r)
{
    int64_t peak_mib = m->peak / (1024 * 1024);
    char by[160];
    r->memory_peak_bytes = m->peak;
    bool killed = r->exit_code == 128 + SIGKILL;
    if (r->reason != ENGINE_OOM && (m->kills == 0 || !killed))
        return;
    if (m->kills > 0 && !m->own_limit)
        snprintf(by, sizeof(by),
                 "because the machine ran out of memory (the job's peak: %" PRId64
                 " MiB)",
                 peak_mib);
    else if (m->peak > 0)
        snprintf(by, sizeof(by),
                 "by the memory limit of the job (limit %" PRId64 " MiB, peak %" PRId64
                 " MiB)",
                 limit_mib, peak_mib);
    else
        snprintf(by, sizeof(by), "by the memory limit of the job (limit %" PRId64 " MiB)",
                 limit_mib);
    if (m->kills > 0)
        snprintf(r->oom_cgroup, sizeof(r->oom_cgroup), "%s",
                 m->own_limit ? m->cgroup : "/");
    r->reason = ENGINE_OOM;
    r->signal = SIGKILL;
    snprintf(r->message, sizeof(r->message), "killed %s", by);
}
