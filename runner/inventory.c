/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the machine: /proc, uname, statvfs, cgroup limits, os-release. */
#include "runner/inventory.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/cgroup.h"

enum { FILE_MAX = 4 * 1024 * 1024, CPU_MASK_MAX = 64 * 1024 };

/* Value of the first line that begins with key; "" when absent. Separators and blanks
 * around it, and quotes, are dropped. */
static void
find_value(const char *text, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);

    out[0] = '\0';
    for (const char *p = text; p != NULL && *p != '\0';) {
        const char *end = p + strcspn(p, "\n");
        if (strncmp(p, key, n) == 0) {
            const char *v = p + n;
            while (v < end && strchr(" \t:=\"", *v) != NULL)
                v++;
            while (end > v && strchr(" \t\"\r", end[-1]) != NULL)
                end--;
            snprintf(out, size, "%.*s", (int)(end - v), v);
            return;
        }
        p = *end == '\0' ? NULL : end + 1;
    }
}

static void
read_value(const char *path, const char *key, char *out, size_t size)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(FILE_MAX);

    out[0] = '\0';
    if (fs_read(path, &text, &ignored) == 0)
        find_value(text.ptr, key, out, size);
}

/* First number of a file below a cgroup mount; -1: absent or "max". */
static int64_t
cgroup_number(const struct cgroup_host *h, enum cgroup_ctl ctl, const char *file,
              char *ret_text, size_t size)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    autofree char *path = fs_join(h->mount[ctl], file);

    if (fs_read(path, &text, &ignored) != 0)
        return -1;
    if (ret_text != NULL)
        snprintf(ret_text, size, "%s", text.ptr);
    return text.ptr[0] >= '0' && text.ptr[0] <= '9' ? strtoll(text.ptr, NULL, 10) : -1;
}

static int64_t
affinity_cpus(void)
{
    /* The mask may be larger than cpu_set_t on big machines. */
    for (size_t cpus = 1024; cpus <= CPU_MASK_MAX; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        size_t size = CPU_ALLOC_SIZE(cpus);
        if (set == NULL)
            break;
        int rc = sched_getaffinity(0, size, set);
        int n = rc == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (n > 0)
            return n;
    }
    return sysconf(_SC_NPROCESSORS_ONLN);
}

static int64_t
count_cpus(const struct cgroup_host *h)
{
    int64_t n = affinity_cpus();
    char text[64] = "";
    int64_t quota = -1;
    int64_t period = -1;

    if (h != NULL && h->v2[CGROUP_CPU]) {
        quota = cgroup_number(h, CGROUP_CPU, "cpu.max", text, sizeof(text));
        const char *blank = strchr(text, ' ');
        period = blank == NULL ? -1 : strtoll(blank, NULL, 10);
    } else if (h != NULL) {
        quota = cgroup_number(h, CGROUP_CPU, "cpu.cfs_quota_us", NULL, 0);
        period = cgroup_number(h, CGROUP_CPU, "cpu.cfs_period_us", NULL, 0);
    }
    if (quota > 0 && period > 0 && quota / period < n)
        n = quota / period;
    return n < 1 ? 1 : n;
}

static int64_t
total_memory_mib(const struct cgroup_host *h)
{
    char text[64];

    read_value("/proc/meminfo", "MemTotal", text, sizeof(text));
    int64_t mib = strtoll(text, NULL, 10) / 1024;
    int64_t limit = -1;
    if (h != NULL)
        limit = cgroup_number(
            h, CGROUP_MEMORY,
            h->v2[CGROUP_MEMORY] ? "memory.max" : "memory.limit_in_bytes", NULL, 0);
    return limit >= 0 && limit / (1024 * 1024) < mib ? limit / (1024 * 1024) : mib;
}

static void
read_names(struct inventory *i)
{
    struct utsname u;

    if (uname(&u) == 0) {
        snprintf(i->hostname, sizeof(i->hostname), "%s", u.nodename);
        snprintf(i->kernel, sizeof(i->kernel), "%s", u.release);
        snprintf(i->arch, sizeof(i->arch), "%.31s", u.machine);
    }
    read_value("/etc/os-release", "PRETTY_NAME", i->os, sizeof(i->os));
    if (i->os[0] == '\0')
        read_value("/usr/lib/os-release", "PRETTY_NAME", i->os, sizeof(i->os));
    read_value("/proc/cpuinfo", "model name", i->cpu_model, sizeof(i->cpu_model));
    if (i->cpu_model[0] == '\0') /* arm64 */
        read_value("/proc/cpuinfo", "Model", i->cpu_model, sizeof(i->cpu_model));
    read_value("/proc/sys/kernel/random/boot_id", "", i->boot_id, sizeof(i->boot_id));
}

int
inventory_probe(const char *agent_dir, const struct gpu_config *gpus,
                struct inventory *ret, struct error *e)
{
    struct error ignored = ERROR_INIT;
    struct cgroup_host host;
    struct statvfs fs;

    memset(ret, 0, sizeof(*ret));
    if (statvfs(agent_dir, &fs) < 0)
        return error_errno(e, errno, "free space of %s", agent_dir);
    ret->disk_mib = (int64_t)(fs.f_bavail * (fs.f_frsize / 512) / 2048);
    bool have_cgroups = cgroup_host_find(&host, &ignored) == 0;
    read_names(ret);
    inventory_read_addresses(ret);
    ret->cpus = count_cpus(have_cgroups ? &host : NULL);
    ret->memory_mib = total_memory_mib(have_cgroups ? &host : NULL);
    return gpu_probe(gpus, &ret->gpus, e);
}

static void
set_text(json_t *o, const char *key, const char *text)
{
    json_t *v = json_string(text);

    if (v != NULL) /* else not UTF-8 */
        json_object_set_new(o, key, v);
}

json_t *
inventory_json(const struct inventory *i)
{
    json_t *o = json_object();

    set_text(o, "arch", i->arch);
    json_object_set_new(o, "cpus", json_integer(i->cpus));
    set_text(o, "cpuModel", i->cpu_model);
    json_object_set_new(o, "memoryMiB", json_integer(i->memory_mib));
    json_object_set_new(o, "diskMiB", json_integer(i->disk_mib));
    json_object_set_new(o, "gpuCount", json_integer((json_int_t)i->gpus.len));
    json_object_set_new(o, "gpus", gpu_list_json(&i->gpus));
    return o;
}

void
inventory_put_host(const struct inventory *i, json_t *agent)
{
    set_text(agent, "hostname", i->hostname);
    set_text(agent, "kernel", i->kernel);
    set_text(agent, "os", i->os);
    json_t *list = json_array();
    for (size_t k = 0; k < i->n_addresses; k++)
        json_array_append_new(list, json_string(i->addresses[k]));
    json_object_set_new(agent, "addresses", list);
    set_text(agent, "bootID", i->boot_id);
}
