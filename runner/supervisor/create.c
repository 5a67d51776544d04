/* SPDX-License-Identifier: Apache-2.0 */
/* What a job needs on the machine, in the order in which it is taken. */
#include "runner/supervisor/create.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "runner/supervisor/idmap.h"
#include "runner/supervisor/lower.h"
#include "runner/supervisor/record.h"
#include "runner/supervisor/rootfs.h"

enum { PIDS_MAX = 32768, DEVICES_MAX = 256 };

static int
make_private_dir(const char *dir, const char *name, const struct usermap *map,
                 uid_t owner, mode_t mode, struct error *e)
{
    autofree char *path = fs_join(dir, name);

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_errno(e, errno, "create %s", path);
    if (map->needed)
        return 0; /* init hands it over, in the namespace where the owner exists */
    if (lchown(path, owner, owner) < 0 || chmod(path, mode) < 0)
        return error_errno(e, errno, "hand over %s", path);
    return 0;
}

static int
find_devices(const struct spec_list *paths, dev_t *out, struct error *e)
{
    if (paths->len > DEVICES_MAX)
        return error_set(e, ERR_TOO_LARGE, "%zu devices, more than %d", paths->len,
                         DEVICES_MAX);
    for (size_t i = 0; i < paths->len; i++) {
        struct stat st;
        if (stat(paths->items[i], &st) < 0)
            return error_errno(e, errno, "device %s", paths->items[i]);
        if (access(paths->items[i], R_OK | W_OK) < 0)
            return error_errno(e, errno, "device %s: not open to user %u",
                               paths->items[i], (unsigned)geteuid());
        out[i] = st.st_rdev;
    }
    return 0;
}

int
create_job(const struct spec *s, struct cgroup *cg, struct launch *ret, struct error *e)
{
    struct cgroup_host host;
    struct account account;
    struct usermap map;
    dev_t devices[DEVICES_MAX];
    autoclose int root = -1;
    autoclose int lower = -1;
    uid_t base = 0;

    if (s->argv.len == 0)
        return error_set(e, ERR_INVALID,
                         "no command: the process engine has no image to take it from");
    usermap_find(&map);
    int rc = s->rootfs == NULL ? 0 : lower_open(s, &root, e);
    if (rc == 0 && root >= 0 && map.needed)
        rc = error_set(e, ERR_UNSUPPORTED,
                       "root file system %.200s: only an agent that runs as root gives "
                       "jobs one",
                       s->rootfs);
    if (rc == 0)
        rc = account_find(root, s->user, &account, e);
    if (rc == 0)
        rc = account_fit(&account, &map, e);
    if (rc == 0)
        rc = find_devices(&s->devices, devices, e);
    if (rc == 0)
        rc = cgroup_host_find(&host, e);
    if (rc == 0)
        rc = cgroup_paths(&host, s->agent_id, s->uid, cg, e);
    if (rc == 0 && map.needed)
        base = usermap_base(&map);
    else if (rc == 0)
        rc = idmap_take(s->dir, &base, e);
    if (rc == 0)
        rc = make_private_dir(s->dir, ROOTFS_WORK, &map, base + account.uid, 0755, e);
    if (rc == 0)
        rc = make_private_dir(s->dir, ROOTFS_TMP, &map, base, 01777, e);
    if (rc == 0 && root >= 0)
        rc = lower_prepare(s, root, base, &lower, e);
    struct cgroup_limits limits = {
        .cpu_request_milli = s->cpu_request_milli,
        .cpu_limit_milli = s->cpu_limit_milli,
        .memory_limit_mib = s->memory_limit_mib,
        .pids_max = PIDS_MAX,
        .devices = devices,
        .n_devices = s->devices.len,
    };
    if (rc == 0 && map.needed)
        rc = record_prepare(s->dir, e);
    if (rc == 0 && map.needed)
        rc = cgroup_save(cg, s->dir, e);
    if (rc == 0)
        rc = cgroup_create(cg, &limits, e);
    struct launch_opts opts = {
        .spec = s, .account = &account, .cgroup = cg, .map = &map, .base = base};
    opts.lower_fd = lower;
    opts.pids_max = PIDS_MAX;
    return rc != 0 ? rc : launch_start(&opts, ret, e);
}
