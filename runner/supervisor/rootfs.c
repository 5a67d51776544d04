/* SPDX-License-Identifier: Apache-2.0 */
/* Building the root of a job: tmpfs skeleton, lent trees, private parts, masks. */
#include "runner/supervisor/rootfs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/tty.h"

#define NEW ROOTFS_NEW

enum { RESOLV_MAX = 64 * 1024, SHM_DEFAULT_MIB = 64, RUN_MIB = 64 };

static const char *const lent[] = {"usr",    "bin",    "sbin", "lib", "lib32", "lib64",
                                   "libx32", "libo32", "etc",  "opt", "nix"};

/* Inside the lent trees: credentials and sockets by convention. */
static const char *const always_masked[] = {
    "/etc/kubernetes", "/etc/rancher",     "/etc/docker",     "/etc/drover",
    "/etc/sudoers.d",  "/etc/ssl/private", "/opt/containerd",
};

static int
fail(struct error *e, const char *what, const char *path)
{
    return error_errno(e, errno, "prepare the job's file system: %s %s", what, path);
}

static int
make_dir(const char *path, mode_t mode, struct error *e)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return fail(e, "create", path);
    return 0;
}

static int
mount_fs(const char *type, const char *path, unsigned long flags, const char *opts,
         struct error *e)
{
    if (mount(type, path, type, flags, opts) < 0)
        return fail(e, "mount", path);
    return 0;
}

static int
restrict_mount(const char *path, uint64_t attrs, bool recursive, struct error *e)
{
    struct mount_attr attr = {.attr_set = attrs};

    if (mount_setattr(AT_FDCWD, path, recursive ? AT_RECURSIVE : 0, &attr, sizeof(attr)) <
        0)
        return fail(e, "restrict", path);
    return 0;
}

static int
lend(const char *name, struct error *e)
{
    autofree char *from = xasprintf("/%s", name);
    autofree char *to = xasprintf(NEW "/%s", name);
    char link[PATH_MAX];
    struct stat st;

    if (lstat(from, &st) < 0)
        return 0; /* not every machine has them all */
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(from, link, sizeof(link) - 1);
        link[n < 0 ? 0 : n] = '\0';
        return n < 0 || symlink(link, to) < 0 ? fail(e, "link", to) : 0;
    }
    int rc = make_dir(to, 0755, e);
    if (rc == 0 && mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
        rc = fail(e, "bind", to);
    if (rc == 0)
        rc = restrict_mount(to, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                            true, e);
    return rc;
}

/* A private directory of the job, taken while the machine's tree is still reachable. */
static int
attach(const struct rootfs *r, const char *name, const char *to, uid_t owner, mode_t mode,
       struct error *e)
{
    autofree char *from = fs_join(r->job_dir, name);

    if (r->own_namespace && (lchown(from, owner, owner) < 0 || chmod(from, mode) < 0))
        return fail(e, "hand over", from);
    int rc = make_dir(to, 0755, e);
    if (rc == 0 && mount(from, to, NULL, MS_BIND, NULL) < 0)
        rc = fail(e, "bind", to);
    if (rc == 0)
        rc = restrict_mount(to, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, false, e);
    return rc;
}

static int
attach_own(const struct rootfs *r, struct error *e)
{
    int rc = attach(r, ROOTFS_WORK, NEW ROOTFS_HOME, r->user, 0755, e);

    return rc != 0 ? rc : attach(r, ROOTFS_TMP, NEW "/tmp", r->base, 01777, e);
}

/* path without NEW is the machine's node of the same kind. */
static int
make_node(const struct rootfs *r, const char *path, unsigned maj, unsigned min,
          struct error *e)
{
    if (r->own_namespace) {
        autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0)
            return fail(e, "create", path);
        if (mount(path + strlen(NEW), path, NULL, MS_BIND, NULL) < 0)
            return fail(e, "bind device", path);
        return restrict_mount(path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, false, e);
    }
    if (mknod(path, S_IFCHR | 0666, makedev(maj, min)) < 0 || chmod(path, 0666) < 0)
        return fail(e, "create device", path);
    return 0;
}

static int
make_device(const struct rootfs *r, const char *host_path, struct error *e)
{
    struct stat st;

    if (!str_starts(host_path, "/dev/") || strstr(host_path, "/../") != NULL)
        return error_set(e, ERR_INVALID, "device %s is not below /dev", host_path);
    if (stat(host_path, &st) < 0)
        return error_errno(e, errno, "device %s", host_path);
    if (!S_ISCHR(st.st_mode))
        return error_set(e, ERR_INVALID, "device %s is not a character device",
                         host_path);
    autofree char *to = xasprintf(NEW "%s", host_path);
    if (access(to, F_OK) == 0)
        return 0; /* a basic one, or shared by several GPUs */
    char *slash = strrchr(to, '/');
    *slash = '\0';
    int rc = fs_mkdirs(to, 0755, e);
    *slash = '/';
    return rc != 0 ? rc : make_node(r, to, major(st.st_rdev), minor(st.st_rdev), e);
}

static int
build_dev(const struct rootfs *r, struct error *e)
{
    static const struct {
        const char *path;
        unsigned maj, min;
    } nodes[] = {{NEW "/dev/null", 1, 3},    {NEW "/dev/zero", 1, 5},
                 {NEW "/dev/full", 1, 7},    {NEW "/dev/random", 1, 8},
                 {NEW "/dev/urandom", 1, 9}, {NEW "/dev/tty", 5, 0}};
    static const char *const links[][2] = {{"/proc/self/fd", NEW "/dev/fd"},
                                           {"/proc/self/fd/0", NEW "/dev/stdin"},
                                           {"/proc/self/fd/1", NEW "/dev/stdout"},
                                           {"/proc/self/fd/2", NEW "/dev/stderr"},
                                           {"pts/ptmx", NEW "/dev/ptmx"}};
    char opts[64];
    char pts[64];
    int rc = make_dir(NEW "/dev", 0755, e);

    if (rc == 0)
        rc = mount_fs("tmpfs", NEW "/dev", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k", e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(nodes); i++)
        rc = make_node(r, nodes[i].path, nodes[i].maj, nodes[i].min, e);
    for (size_t i = 0; rc == 0 && i < r->n_devices; i++)
        rc = make_device(r, r->devices[i], e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(links); i++) {
        if (symlink(links[i][0], links[i][1]) < 0)
            rc = fail(e, "link", links[i][1]);
    }
    if (rc == 0)
        rc = make_dir(NEW "/dev/pts", 0755, e);
    snprintf(pts, sizeof(pts), "newinstance,ptmxmode=0666,mode=0620,gid=%u",
             (unsigned)r->base + (r->ids > TTY_GROUP ? TTY_GROUP : 0));
    if (rc == 0)
        rc = mount_fs("devpts", NEW "/dev/pts", MS_NOSUID | MS_NOEXEC, pts, e);
    if (rc == 0)
        rc = make_dir(NEW "/dev/shm", 01777, e);
    snprintf(opts, sizeof(opts), "mode=1777,size=%lldm",
             (long long)(r->shm_mib > 0 ? r->shm_mib : SHM_DEFAULT_MIB));
    if (rc == 0)
        rc = mount_fs("tmpfs", NEW "/dev/shm", MS_NOSUID | MS_NODEV, opts, e);
    if (rc == 0)
        rc = restrict_mount(NEW "/dev", MOUNT_ATTR_RDONLY, false, e);
    return rc;
}

/* Covers a file or directory of the new root; absent is success. */
static int
cover(const char *inside, struct error *e)
{
    autofree char *path = xasprintf(NEW "%s", inside);
    struct stat st;

    if (lstat(path, &st) < 0 || S_ISLNK(st.st_mode))
        return 0;
    if (S_ISDIR(st.st_mode))
        return mount_fs("tmpfs", path, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                        "mode=000,size=4k,nr_inodes=2", e);
    if (mount(NEW "/dev/null", path, NULL, MS_BIND, NULL) < 0)
        return fail(e, "cover", path);
    return 0;
}

static int
build_proc(struct error *e)
{
    static const char *const covered[] = {
        "/proc/kcore",         "/proc/keys",          "/proc/key-users",
        "/proc/kmsg",          "/proc/timer_list",    "/proc/sched_debug",
        "/proc/sysrq-trigger", "/proc/latency_stats", "/proc/acpi",
        "/proc/scsi",          "/proc/kpagecount",    "/proc/kpageflags",
        "/proc/kpagecgroup",   "/proc/kallsyms",      "/proc/modules",
        "/proc/mtrr",
    };
    static const char *const read_only[] = {"/proc/sys", "/proc/irq", "/proc/bus",
                                            "/proc/fs", "/proc/asound"};
    struct stat st;
    int rc = make_dir(NEW "/proc", 0555, e);

    if (rc == 0)
        rc = mount_fs("proc", NEW "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(covered); i++)
        rc = cover(covered[i], e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(read_only); i++) {
        autofree char *path = xasprintf(NEW "%s", read_only[i]);
        if (stat(path, &st) < 0)
            continue;
        if (mount(path, path, NULL, MS_BIND, NULL) < 0)
            rc = fail(e, "bind", path);
        else
            rc = restrict_mount(path, MOUNT_ATTR_RDONLY, false, e);
    }
    return rc;
}

static int
build_sys(const struct rootfs *r, struct error *e)
{
    static const char *const covered[] = {"/sys/firmware", "/sys/fs/cgroup",
                                          "/sys/kernel/security", "/sys/fs/bpf"};
    int rc = make_dir(NEW "/sys", 0555, e);

    /* What the machine has mounted below it cannot be left out by a namespace that does
     * not own it. */
    if (rc == 0 && mount("/sys", NEW "/sys", NULL,
                         MS_BIND | (r->own_namespace ? MS_REC : 0), NULL) < 0)
        rc = fail(e, "bind", NEW "/sys");
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(covered); i++)
        rc = cover(covered[i], e);
    if (rc == 0)
        rc = restrict_mount(NEW "/sys",
                            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                MOUNT_ATTR_NOEXEC,
                            r->own_namespace, e);
    return rc;
}

/* Name resolution is often a link into /run; its text is lent, its neighbours are not. */
static int
lend_resolver(struct error *e)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(RESOLV_MAX);
    char real[PATH_MAX];

    if (realpath("/etc/resolv.conf", real) == NULL || !str_starts(real, "/run/") ||
        fs_read(real, &text, &ignored) != 0)
        return 0;
    autofree char *to = xasprintf(NEW "%s", real);
    char *slash = strrchr(to, '/');
    *slash = '\0';
    int rc = fs_mkdirs(to, 0755, e);
    *slash = '/';
    if (rc != 0)
        return rc;
    autoclose int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd < 0 ? fail(e, "create", to) : fs_write_all(fd, text.ptr, text.len, e);
}

static int
build_private(const struct rootfs *r, struct error *e)
{
    static const char *const dirs[] = {NEW "/var",       NEW "/var/lib",   NEW "/var/log",
                                       NEW "/var/cache", NEW "/var/spool", NEW "/home",
                                       NEW "/mnt",       NEW "/run"};
    /* /root: root's home for programs that do not ask HOME, as ssh */
    static const char *const links[][2] = {{ROOTFS_HOME, NEW "/root"},
                                           {"/run", NEW "/var/run"},
                                           {"/run/lock", NEW "/var/lock"},
                                           {"/tmp", NEW "/var/tmp"}};
    char opts[96];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(dirs); i++)
        rc = make_dir(dirs[i], 0755, e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(links); i++) {
        if (symlink(links[i][0], links[i][1]) < 0)
            rc = fail(e, "link", links[i][1]);
    }
    snprintf(opts, sizeof(opts), "mode=755,size=%dm,uid=%u,gid=%u", RUN_MIB,
             (unsigned)r->base, (unsigned)r->base);
    if (rc == 0)
        rc = mount_fs("tmpfs", NEW "/run", MS_NOSUID | MS_NODEV | MS_NOEXEC, opts, e);
    if (rc == 0)
        rc = lend_resolver(e);
    return rc != 0 ? rc : attach_own(r, e);
}

static int
cover_masks(const struct rootfs *r, struct error *e)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(always_masked); i++)
        rc = cover(always_masked[i], e);
    for (size_t i = 0; rc == 0 && i < r->n_masks; i++)
        rc = cover(r->masks[i], e);
    return rc;
}

static int
pivot(bool read_only, struct error *e)
{
    if (chdir(NEW) < 0)
        return fail(e, "enter", NEW);
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return fail(e, "pivot to", NEW);
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return fail(e, "detach", "the machine's root");
    return read_only ? restrict_mount("/", MOUNT_ATTR_RDONLY, false, e) : 0;
}

/* Masks as they really are, before the machine's links become unreachable. */
static void
resolve_masks(const struct rootfs *r, const char **out)
{
    for (size_t i = 0; i < r->n_masks; i++) {
        char *real = realpath(r->masks[i], NULL); /* kept: the process execs or exits */
        out[i] = real != NULL ? real : r->masks[i];
    }
}

/* The machine's programs, or the job's. */
static int
build_base(const struct rootfs *r, struct error *e)
{
    if (r->lower_fd >= 0) {
        int own = rootfs_build_own(r, e);
        return own != 0 ? own : attach_own(r, e);
    }
    int rc = mount_fs("tmpfs", NEW, MS_NOSUID | MS_NODEV, "mode=755,size=1m", e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(lent); i++)
        rc = lend(lent[i], e);
    return rc != 0 ? rc : build_private(r, e);
}

int
rootfs_enter(const struct rootfs *r, struct error *e)
{
    autofree const char **masks = xcalloc(r->n_masks + 1, sizeof(char *));
    struct rootfs resolved = *r;
    bool own = r->lower_fd >= 0;

    umask(0);
    resolve_masks(r, masks);
    resolved.masks = masks;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return fail(e, "make private", "/");
    int rc = build_base(&resolved, e);
    if (rc == 0)
        rc = build_dev(&resolved, e);
    if (rc == 0)
        rc = build_proc(e);
    if (rc == 0)
        rc = build_sys(&resolved, e);
    if (rc == 0)
        rc = own ? rootfs_bind_own(r, e) : cover_masks(&resolved, e);
    if (rc == 0)
        rc = pivot(!own, e);
    umask(022);
    return rc;
}
