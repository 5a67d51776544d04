/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root that the job brings: an overlay of it and of a layer of the job's own, with the
 * same private parts, devices, /proc and /sys over it as any other job has. Nothing in it
 * is trusted: mount points are looked up with it as their root, or are plain directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/inside.h"
#include "runner/supervisor/lower.h"
#include "runner/supervisor/rootfs_internal.h"

enum { TEXT_MAX = 1024 * 1024 };

static int
mount_overlay(const struct rootfs *r, struct error *e)
{
    autofree char *dir = fs_join(r->job_dir, LOWER_DIR);

    if (chdir(dir) < 0 ||
        move_mount(r->lower_fd, "", AT_FDCWD, "lower", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return error_errno(e, errno, "mount the root file system");
    /* Relative paths: no character of a directory's name means anything to overlayfs. */
    if (mount("overlay", ROOTFS_NEW, "overlay", MS_NOSUID | MS_NODEV,
              "lowerdir=lower,upperdir=upper,workdir=work") < 0)
        return error_errno(e, errno,
                           "lay the job's files over its root file system (needs "
                           "overlayfs on the agent's directory)");
    return 0;
}

/* A directory right below the root; a link there is refused, not followed. */
static int
point(const struct rootfs *r, const char *path, struct error *e)
{
    struct stat st;

    if (mkdir(path, 0755) == 0) {
        if (lchown(path, r->base, r->base) < 0)
            return error_errno(e, errno, "hand over %s", path);
        return 0;
    }
    if (errno != EEXIST || lstat(path, &st) < 0)
        return error_errno(e, errno, "create %s", path);
    if (!S_ISDIR(st.st_mode))
        return error_set(e, ERR_INVALID, "%s of the root file system is not a directory",
                         path + strlen(ROOTFS_NEW));
    return 0;
}

/* The machine's text in place of what was there, for the job to change if it wants. */
static int
lend_text(const struct rootfs *r, int root_fd, const char *name, struct error *e)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(TEXT_MAX);
    autofree char *from = xasprintf("/etc/%s", name);
    autoclose int dir = -1;

    if (fs_read(from, &text, &ignored) != 0)
        return 0;
    int rc = inside_point(root_fd, "/etc", true, r->base, &dir, e);
    if (rc != 0)
        return rc;
    /* O_PATH descriptors are good for the *at calls. */
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return error_errno(e, errno, "replace /etc/%s", name);
    autoclose int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fchown(fd, r->base, r->base) < 0)
        return error_errno(e, errno, "create /etc/%s", name);
    return fs_write_all(fd, text.ptr, text.len, e);
}

static int
bind_one(const struct rootfs *r, int root_fd, const char *bind, struct error *e)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    const char *colon = strrchr(bind, ':');
    autofree char *from =
        colon != NULL ? xstrndup(bind, (size_t)(colon - bind)) : xstrdup("");
    autoclose int to = -1;
    struct stat st;

    autoclose int tree = open_tree(
        AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    if (tree < 0 || fstat(tree, &st) < 0)
        return error_errno(e, errno, "bring %.200s into the job", bind);
    int rc = inside_point(root_fd, colon + 1, S_ISDIR(st.st_mode), r->base, &to, e);
    if (rc != 0)
        return rc;
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
        move_mount(tree, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
            0)
        return error_errno(e, errno, "bring %.200s into the job", colon + 1);
    return 0;
}

int
rootfs_build_own(const struct rootfs *r, struct error *e)
{
    static const char *const points[] = {ROOTFS_NEW "/dev", ROOTFS_NEW "/proc",
                                         ROOTFS_NEW "/sys", ROOTFS_NEW "/tmp",
                                         ROOTFS_NEW ROOTFS_HOME};
    static const char *const texts[] = {"resolv.conf", "hosts"};
    int rc = mount_overlay(r, e);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(points); i++)
        rc = point(r, points[i], e);
    autoclose int root =
        rc == 0 ? open(ROOTFS_NEW, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (rc == 0 && root < 0)
        rc = error_errno(e, errno, "open the root file system");
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(texts); i++)
        rc = lend_text(r, root, texts[i], e);
    return rc;
}

int
rootfs_bind_own(const struct rootfs *r, struct error *e)
{
    autoclose int root = open(ROOTFS_NEW, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc = root < 0 ? error_errno(e, errno, "open the root file system") : 0;

    for (size_t i = 0; rc == 0 && i < r->n_binds; i++)
        rc = bind_one(r, root, r->binds[i], e);
    return rc;
}
