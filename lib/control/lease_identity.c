/* SPDX-License-Identifier: Apache-2.0 */
/* Who a process is, beyond its pid, and whether such a process still is there. */
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/fs.h"
#include "base/mem.h"
#include "control/lease.h"

/* Field 22 of /proc/<pid>/stat, behind the name in parentheses; 0: no such process. */
static unsigned long long
start_time(long pid)
{
    autofree char *path = xasprintf("/proc/%ld/stat", pid);
    auto_str text = STR_INIT(4096);
    struct error e = ERROR_INIT;

    if (fs_read(path, &text, &e) < 0)
        return 0;
    const char *p = strrchr(text.ptr, ')');
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

bool
lease_holder_gone(const char *identity)
{
    char here[LEASE_IDENTITY_MAX];
    char *end;

    world(here);
    if (!str_starts(identity, here) || strstr(here, "unknown") != NULL)
        return false;
    const char *p = identity + strlen(here);
    long pid = strtol(p, &end, 10);
    if (pid <= 0 || *end != '/')
        return false;
    unsigned long long start = strtoull(end + 1, NULL, 10);
    return start != 0 && start_time(pid) != start;
}
