/* SPDX-License-Identifier: Apache-2.0 */
/* Who a process is, beyond its pid, and whether such a process still is there. */
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "base/fs.h"
#include "base/mem.h"
#include "control/lease.h"

/* Field 22 of /proc/<pid>/stat, behind the name in parentheses; 0: no such process, or
 * one that has ended and only waits to be reaped. */
static unsigned long long
start_time(long pid)
{
    autofree char *path = xasprintf("/proc/%ld/stat", pid);
    auto_str text = STR_INIT(4096);
    struct error e = ERROR_INIT;

    if (fs_read(path, &text, &e) < 0)
        return 0;
    const char *p = strrchr(text.ptr, ')');
    if (p == NULL || str_starts(p, ") Z") || str_starts(p, ") X"))
        return 0;
    for (int field = 2; p != NULL && field < 22; field++) {
        p = strchr(p, ' ');
        p = p == NULL ? NULL : p + 1;
    }
    return p == NULL ? 0 : strtoull(p, NULL, 10);
}

/* "<host>/<boot id>/<pid namespace>/": equal prefixes see the same pids. */
static void
world(char out[LEASE_IDENTITY_MAX])
{
    auto_str boot = STR_INIT(64);
    struct error e = ERROR_INIT;
    struct utsname un;
    struct stat st;

    if (fs_read("/proc/sys/kernel/random/boot_id", &boot, &e) < 0)
        str_adds(&boot, "unknown");
    boot.ptr[strcspn(boot.ptr, "\n")] = '\0';
    uname(&un);
    unsigned long ns = stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
    snprintf(out, LEASE_IDENTITY_MAX, "%.63s/%s/%lu/", un.nodename, boot.ptr, ns);
}

void
lease_identity(char out[LEASE_IDENTITY_MAX])
{
    world(out);
    size_t n = strlen(out);
    snprintf(out + n, LEASE_IDENTITY_MAX - n, "%ld/%llu", (long)getpid(),
             start_time(getpid()));
}

/* The pid and start time of an identity of this world; false: of another one. */
static bool
local_process(const char *identity, long *ret_pid, unsigned long long *ret_start)
{
    char here[LEASE_IDENTITY_MAX];
    char *end;

    world(here);
    if (!str_starts(identity, here) || strstr(here, "unknown") != NULL)
        return false;
    *ret_pid = strtol(identity + strlen(here), &end, 10);
    if (*ret_pid <= 0 || *end != '/')
        return false;
    *ret_start = strtoull(end + 1, NULL, 10);
    return *ret_start != 0;
}

bool
lease_holder_gone(const char *identity)
{
    unsigned long long start;
    long pid;

    return local_process(identity, &pid, &start) && start_time(pid) != start;
}

int
lease_holder_pidfd(const char *identity)
{
    unsigned long long start;
    long pid;

    if (!local_process(identity, &pid, &start) || start_time(pid) != start)
        return -1;
    return (int)syscall(SYS_pidfd_open, (pid_t)pid, 0); /* close-on-exec by itself */
}
