/* SPDX-License-Identifier: Apache-2.0 */
/* Trying it is the only reliable answer: kernels, containers and security modules have
 * too many ways to forbid a part. */
#include "runner/supervisor/probe.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/create.h"
#include "runner/supervisor/idmap.h"
#include "runner/supervisor/supervisor.h"
#include "runner/supervisor/tree.h"
#include "runner/supervisor/usermap.h"

enum { TRIAL_MS = 10000, TRIAL_MEMORY_MIB = 64 };

/* Waits for the first word of main or init. */
static int
await_ready(const struct launch *l, struct error *e)
{
    struct pollfd p[] = {{.fd = l->exec_fd, .events = POLLIN},
                         {.fd = l->report_fd, .events = POLLIN}};
    struct launch_msg msg;

    if (poll(p, ARRAY_LEN(p), TRIAL_MS) <= 0)
        return error_set(e, ERR_TIMEOUT, "a trial job was not ready in time");
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        if (read(p[i].fd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
            continue;
        if (msg.kind == LAUNCH_READY)
            return 0;
        msg.text[sizeof(msg.text) - 1] = '\0';
        return error_set(e, ERR_UNSUPPORTED, "%s", msg.text);
    }
    return error_set(e, ERR_UNSUPPORTED, "a trial job ended before it was ready");
}

static void
take_away(const struct launch *l, const struct cgroup *cg, const char *dir, bool root)
{
    struct error ignored = ERROR_INIT;

    if (l->init_pid > 0) {
        launch_kill(l);
        while (waitpid(l->init_pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    for (int i = 0; cg->n > 0 && i < 100; i++) {
        if (cgroup_remove(cg, &ignored) == 0)
            break;
        cgroup_wait(cg, 10);
    }
    int rc = tree_remove(dir, &ignored);
    UNUSED(rc); /* an empty directory in /tmp */
    if (root)
        idmap_release(dir);
}

static int
trial(bool root, struct error *e)
{
    const char *argv[] = {"true", NULL};
    char dir[] = "/tmp/drover-probe-XXXXXX";
    char id[32];
    struct launch l = LAUNCH_INIT;
    struct cgroup cg = {0};

    if (mkdtemp(dir) == NULL)
        return error_errno(e, errno, "create %s", dir);
    /* Not our pid: agents in containers may share the cgroups and have equal ones. */
    snprintf(id, sizeof(id), "probe-%s", strrchr(dir, '-') + 1);
    struct spec s = {.dir = dir,
                     .uid = "trial",
                     .agent_id = id,
                     .argv = {argv, 1},
                     .cpu_request_milli = 100,
                     .cpu_limit_milli = 1000,
                     .memory_limit_mib = TRIAL_MEMORY_MIB};
    int rc = create_job(&s, &cg, &l, e);
    if (rc == 0)
        rc = await_ready(&l, e);
    take_away(&l, &cg, dir, root);
    return rc;
}

/* What jobs here do not have of what they have under an agent that is root: a line each.
 */
static void
say_limitations(const struct usermap *map, const struct cgroup_host *host)
{
    if (!map->needed)
        return;
    if (map->count == 0)
        printf("OneUser: jobs have one user, which is user %u of the machine: %s\n",
               (unsigned)map->uid, map->why);
    else
        printf("SharedIDs: jobs share the %u sub-ids of user %u\n", map->count,
               (unsigned)map->uid);
    if (host->mount[CGROUP_CPU][0] == '\0')
        puts("CPULimit: a limit of cpu is not enforced: the agent's cgroup is not "
             "delegated");
    if (host->mount[CGROUP_MEMORY][0] == '\0')
        puts("MemoryLimit: a limit of memory holds for each process, not for the job: "
             "the agent's "
             "cgroup is not delegated");
    if (host->mount[CGROUP_PIDS][0] == '\0')
        puts("Processes: processes are counted by the resource limit of the user "
             "(RLIMIT_NPROC)");
    puts("RootFileSystem: jobs have no root file system of their own");
    puts("Devices: devices need permissions for the agent's user or for everybody");
}

int
probe_main(void)
{
    struct error e = ERROR_INIT;
    struct cgroup_host host;
    struct usermap map;

    usermap_find(&map); /* now: the trial leads into a namespace with a root */
    /* The usual causes by name, then the whole. */
    int status = launch_probe(&e) != 0              ? SUPERVISOR_PROBE_NAMESPACES
                 : cgroup_host_find(&host, &e) != 0 ? SUPERVISOR_PROBE_CGROUPS
                 : trial(!map.needed, &e) != 0      ? SUPERVISOR_PROBE_TRIAL
                                                    : SUPERVISOR_PROBE_OK;
    if (status != SUPERVISOR_PROBE_OK)
        puts(e.msg);
    else
        say_limitations(&map, &host);
    return status;
}
