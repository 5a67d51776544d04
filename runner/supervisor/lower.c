/* SPDX-License-Identifier: Apache-2.0 */
/* mount_setattr(2) and open_tree(2) on the directory of a root file system. */
#include "runner/supervisor/lower.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/idmap.h"

static bool
within(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    while (n > 0 && dir[n - 1] == '/')
        n--;
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/' || n == 0);
}

static int
check_masks(const struct spec *s, struct error *e)
{
    autofree char *real = realpath(s->rootfs, NULL);

    if (real == NULL)
        return error_errno(e, errno, "root file system %.200s", s->rootfs);
    for (size_t i = 0; i < s->masks.len; i++) {
        autofree char *mask = realpath(s->masks.items[i], NULL);
        if (mask != NULL && (within(real, mask) || within(mask, real)))
            return error_set(e, ERR_UNSUPPORTED,
                             "root file system %.200s is or holds drover's own files",
                             s->rootfs);
    }
    return 0;
}

int
lower_open(const struct spec *s, int *ret_fd, struct error *e)
{
    if (s->rootfs[0] != '/')
        return error_set(e, ERR_INVALID, "root file system %.200s is not absolute",
                         s->rootfs);
    autoclose int fd = open(s->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOTDIR)
        return error_set(e, ERR_INVALID, "root file system %.200s is not a directory",
                         s->rootfs);
    if (fd < 0)
        return error_errno(e, errno, "root file system %.200s", s->rootfs);
    int rc = s->rootfs_kept == 1 ? 0 : check_masks(s, e);
    if (rc == 0)
        *ret_fd = move_fd(fd);
    return rc;
}

/* In the child: lives until the parent has what it wants. */
static _Noreturn void
hold_namespace(int ready_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWUSER) < 0 || write(ready_fd, "r", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

/* A user namespace whose ids are the job's range, as a descriptor. */
static int
range_namespace(uid_t base, int *ret_fd, struct error *e)
{
    int ready[2];
    char path[64];
    char byte;

    if (pipe2(ready, O_CLOEXEC) < 0)
        return error_errno(e, errno, "create pipe");
    pid_t pid = fork();
    if (pid == 0)
        hold_namespace(ready[1]);
    close(ready[1]);
    autoclose int ready_fd = ready[0];
    if (pid < 0)
        return error_errno(e, errno, "map the root file system");
    int rc = 0;
    if (read(ready_fd, &byte, 1) != 1)
        rc = error_set(e, ERR_UNSUPPORTED, "new user namespace");
    if (rc == 0)
        rc = idmap_write(pid, base, IDMAP_SIZE, e);
    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    int fd = rc == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (rc == 0 && fd < 0)
        rc = error_errno(e, errno, "map the root file system");
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (rc == 0)
        *ret_fd = fd;
    return rc;
}

static int
clone_tree(int root_fd, uid_t base, int *ret_fd, struct error *e)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                          MOUNT_ATTR_NODEV};
    struct mount_attr map = {.attr_set = MOUNT_ATTR_IDMAP};
    autoclose int ns = -1;
    autoclose int fd =
        open_tree(root_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

    if (fd < 0)
        return error_errno(e, errno, "mount the root file system");
    int rc = range_namespace(base, &ns, e);
    if (rc != 0)
        return rc;
    map.userns_fd = (uint64_t)ns;
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &map, sizeof(map)) < 0)
        errno = 0; /* a file system that cannot be mapped, see the header */
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return error_errno(e, errno, "restrict the root file system");
    *ret_fd = move_fd(fd);
    return 0;
}

int
lower_prepare(const struct spec *s, int root_fd, uid_t base, int *ret_fd, struct error *e)
{
    static const char *const parts[] = {"", "/lower", "/upper", "/work"};
    struct stat st;

    if (fstat(root_fd, &st) < 0)
        return error_errno(e, errno, "root file system %.200s", s->rootfs);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        autofree char *dir = xasprintf("%s/" LOWER_DIR "%s", s->dir, parts[i]);
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
            return error_errno(e, errno, "create %s", dir);
        if (i != 2)
            continue;
        /* The job's root directory is this one. */
        if (lchown(dir, base, base) < 0 || chmod(dir, st.st_mode & 0777) < 0)
            return error_errno(e, errno, "hand over %s", dir);
    }
    return clone_tree(root_fd, base, ret_fd, e);
}
