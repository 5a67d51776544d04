/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flattens instead of descending: a directory inside a directory is moved up to the top
 * and its turn comes later. So the depth that a job chose costs neither stack nor
 * descriptors nor path length.
 */
#include "runner/supervisor/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/lower.h"
#include "runner/supervisor/rootfs.h"

struct flatten {
    int top_fd;
    uint64_t next_name;
};

static DIR *
open_dir(int at, const char *name, int *ret_fd)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (fd >= 0 && d == NULL)
        close(fd);
    *ret_fd = fd;
    return d;
}

static bool
is_dots(const char *name)
{
    return streq(name, ".") || streq(name, "..");
}

/* A directory that cannot be unlinked goes to the top under a new name. */
static int
move_up(struct flatten *f, int dir_fd, const char *name, struct error *e)
{
    char fresh[40];

    for (;;) {
        snprintf(fresh, sizeof(fresh), ".removed-%" PRIu64, f->next_name++);
        if (renameat(dir_fd, name, f->top_fd, fresh) == 0)
            return 0;
        if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
            return error_errno(e, errno, "remove %s", name);
    }
}

static int
empty_dir(struct flatten *f, const char *name, struct error *e)
{
    const struct dirent *de;
    int rc = 0;
    int fd;
    DIR *d = open_dir(f->top_fd, name, &fd);

    if (d == NULL)
        return error_errno(e, errno, "remove %s", name);
    while (rc == 0 && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (is_dots(de->d_name) || unlinkat(fd, de->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (unlinkat(fd, de->d_name, AT_REMOVEDIR) < 0)
            rc = move_up(f, fd, de->d_name, e);
    }
    closedir(d);
    return rc;
}

/* One pass over the top. *ret_found: it was not empty. */
static int
pass(struct flatten *f, const char *path, bool *ret_found, struct error *e)
{
    const struct dirent *de;
    int rc = 0;

    *ret_found = false;
    DIR *d = open_dir(AT_FDCWD, path, &f->top_fd);
    if (d == NULL)
        return errno == ENOENT ? 0 : error_errno(e, errno, "remove %s", path);
    while (rc == 0 && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (is_dots(de->d_name))
            continue;
        *ret_found = true;
        if (unlinkat(f->top_fd, de->d_name, 0) == 0 || errno == ENOENT ||
            unlinkat(f->top_fd, de->d_name, AT_REMOVEDIR) == 0)
            continue;
        rc = empty_dir(f, de->d_name, e);
    }
    closedir(d);
    return rc;
}

int
tree_remove(const char *path, struct error *e)
{
    struct flatten f = {.top_fd = -1};
    bool found;
    int rc;

    do
        rc = pass(&f, path, &found, e);
    while (rc == 0 && found);
    if (rc == 0 && rmdir(path) < 0 && errno != ENOENT)
        rc = error_errno(e, errno, "remove %s", path);
    return rc;
}

int
tree_remove_job(const char *job_dir, struct error *e)
{
    static const char *const trees[] = {ROOTFS_WORK, ROOTFS_TMP, LOWER_DIR, ROOTFS_CODE};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(trees); i++) {
        autofree char *path = fs_join(job_dir, trees[i]);
        rc = tree_remove(path, e);
    }
    return rc;
}
