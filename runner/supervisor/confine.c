/* SPDX-License-Identifier: Apache-2.0 */
/* Identity, limits and scopes of a job's first process; the filter is in seccomp.c. */
#include "runner/supervisor/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the system headers of this year, only the newest know these. */
#define SCOPE_ABI 6
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)

enum { NOFILE_SOFT = 65536, NOFILE_HARD = 1048576 };

/* What root of a container has: power over its own files and processes, nothing else. */
static const int kept[] = {CAP_CHOWN,      CAP_DAC_OVERRIDE, CAP_FOWNER,
                           CAP_FSETID,     CAP_KILL,         CAP_SETGID,
                           CAP_SETUID,     CAP_SETPCAP,      CAP_SETFCAP,
                           CAP_SYS_CHROOT, CAP_AUDIT_WRITE,  CAP_NET_BIND_SERVICE};

static uint64_t
kept_mask(void)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        mask |= 1ULL << kept[i];
    return mask;
}

static int
drop_bounding(struct error *e)
{
    uint64_t keep = kept_mask();

    for (int cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
            break; /* past the last one that this kernel has */
        if ((keep >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return error_errno(e, errno, "drop capability %d", cap);
    }
    return 0;
}

static int
set_capabilities(uint64_t mask, struct error *e)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)mask, .permitted = (uint32_t)mask},
        {.effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32)}};

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &head, data) < 0)
        return error_errno(e, errno, "set capabilities");
    return 0;
}

int
confine_identity(const struct account *a, struct error *e)
{
    int rc = drop_bounding(e);

    if (rc != 0)
        return rc;
    if (!a->fixed_groups && setgroups(a->n_groups, a->groups) < 0)
        return error_errno(e, errno, "set groups");
    if (setresgid(a->gid, a->gid, a->gid) < 0)
        return error_errno(e, errno, "become group %u", (unsigned)a->gid);
    if (setresuid(a->uid, a->uid, a->uid) < 0)
        return error_errno(e, errno, "become user %u", (unsigned)a->uid);
    rc = set_capabilities(a->uid == 0 ? kept_mask() : 0, e);
    if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        rc = error_errno(e, errno, "set no_new_privs");
    return rc;
}

/* As much as wanted, or as the machine allows (root of a container may be bounded). */
static int
limit(int which, const char *name, rlim_t soft, rlim_t hard, struct error *e)
{
    struct rlimit rl = {.rlim_cur = soft, .rlim_max = hard};
    struct rlimit now;

    if (setrlimit((__rlimit_resource_t)which, &rl) == 0)
        return 0;
    int sys = errno;
    if (sys != EPERM || getrlimit((__rlimit_resource_t)which, &now) < 0)
        return error_errno(e, sys, "set limit %s", name);
    rl.rlim_max = now.rlim_max;
    rl.rlim_cur = soft < now.rlim_max ? soft : now.rlim_max;
    if (setrlimit((__rlimit_resource_t)which, &rl) < 0)
        return error_errno(e, errno, "set limit %s", name);
    return 0;
}

int
confine_process(const struct confine_limits *l, struct error *e)
{
    rlim_t nproc = l->processes > 0 ? (rlim_t)l->processes : RLIM_INFINITY;
    sigset_t none;

    for (int signo = 1; signo < NSIG; signo++) {
        struct sigaction sa = {.sa_handler = SIG_DFL};
        if (signo != SIGKILL && signo != SIGSTOP)
            sigaction(signo, &sa, NULL); /* fails for those that libc keeps, ignoring */
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(022);
    autoclose int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    /* Who is not root may not go below what he was started with, and need not. */
    if ((fd < 0 || write(fd, "0", 1) != 1) && !l->without_root)
        return error_errno(e, errno, "reset the out-of-memory score");
    int rc = limit(RLIMIT_CORE, "core", 0, 0, e);
    if (rc == 0)
        rc = limit(RLIMIT_NOFILE, "nofile", NOFILE_SOFT, NOFILE_HARD, e);
    if (rc == 0) /* counts against the memory limit all the same */
        rc = limit(RLIMIT_MEMLOCK, "memlock", RLIM_INFINITY, RLIM_INFINITY, e);
    if (rc == 0) /* counted per user namespace; else the pids cgroup is the bound */
        rc = limit(RLIMIT_NPROC, "nproc", nproc, nproc, e);
    return rc;
}

int
confine_memory(int64_t bytes, struct error *e)
{
    return bytes <= 0 ? 0 : limit(RLIMIT_DATA, "data", (rlim_t)bytes, (rlim_t)bytes, e);
}

int
confine_scope(struct error *e)
{
    /* struct landlock_ruleset_attr as of ABI 6. */
    struct {
        uint64_t handled_access_fs, handled_access_net, scoped;
    } attr = {.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL};
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    if (abi < SCOPE_ABI)
        return 0; /* older kernel, or built without: the other walls stand alone */
    autoclose int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return error_errno(e, errno, "restrict sockets and signals to the job");
    return 0;
}
