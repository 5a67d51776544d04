/* SPDX-License-Identifier: Apache-2.0 */
/* Directory trees by descriptor, one component at a time, never through a link. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/str.h"
#include "runner/place/place.h"

enum { DEPTH_MAX = 512, NAME_ROOM = 256 };
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW)

static int
enter(int dir, const char *name, const struct place_owner *o, int *ret, struct error *e)
{
    bool made = mkdirat(dir, name, 0755) == 0;
    int fd = openat(dir, name, DIR_FLAGS | O_CLOEXEC);

    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return error_set(e, ERR_INVALID, "\"%.200s\" is there and is no directory", name);
    if (fd < 0)
        return error_errno(e, errno, "make directory \"%.200s\"", name);
    if (made && (fchown(fd, o->uid, o->gid) < 0 || fchmod(fd, 0755) < 0)) {
        int sys = errno;
        close(fd);
        return error_errno(e, sys, "hand over \"%.200s\"", name);
    }
    *ret = fd;
    return 0;
}

int
tree_open(int root_fd, const char *path, const struct place_owner *o, int *ret_fd,
          struct error *e)
{
    char name[NAME_ROOM];
    autoclose int at = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);

    if (at < 0)
        return error_errno(e, errno, "open directory");
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        if (n >= sizeof(name))
            return error_set(e, ERR_INVALID, "a name has over 255 bytes");
        memcpy(name, path, n);
        name[n] = '\0';
        path += n + (path[n] == '/');
        if (n == 0 || streq(name, "."))
            continue;
        if (streq(name, ".."))
            return error_set(e, ERR_INVALID, "a path leads out by \"..\"");
        int next = -1;
        if (enter(at, name, o, &next, e) < 0)
            return -(int)e->code;
        close(at);
        at = next;
    }
    *ret_fd = move_fd(at);
    return 0;
}

static int
chown_at(int dir, const char *name, const struct place_owner *o, int depth,
         struct error *e)
{
    struct stat st;

    if (depth > DEPTH_MAX)
        return error_set(e, ERR_INVALID, "directories are over %d deep", DEPTH_MAX);
    if (fchownat(dir, name, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_errno(e, errno, "hand over \"%.200s\"", name);
    if (!S_ISDIR(st.st_mode))
        return 0;
    int fd = openat(dir, name, DIR_FLAGS | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL)
        return error_errno(e, errno, "open \"%.200s\"", name);
    const struct dirent *de;
    int rc = 0;
    while (rc == 0 && (de = readdir(d)) != NULL) {
        if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
            rc = chown_at(fd, de->d_name, o, depth + 1, e);
    }
    closedir(d);
    return rc;
}

int
tree_chown(int dir_fd, const char *name, const struct place_owner *o, struct error *e)
{
    return chown_at(dir_fd, name, o, 0, e);
}

static int
remove_at(int dir, const char *name, int depth, struct error *e)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return error_errno(e, errno, "remove \"%.200s\"", name);
    if (depth > DEPTH_MAX)
        return error_set(e, ERR_INVALID, "directories are over %d deep", DEPTH_MAX);
    int fd = openat(dir, name, DIR_FLAGS | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL)
        return error_errno(e, errno, "open \"%.200s\"", name);
    const struct dirent *de;
    int rc = 0;
    while (rc == 0 && (de = readdir(d)) != NULL) {
        if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
            rc = remove_at(fd, de->d_name, depth + 1, e);
    }
    closedir(d);
    if (rc == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0)
        rc = error_errno(e, errno, "remove \"%.200s\"", name);
    return rc;
}

int
tree_remove_at(int dir_fd, const char *name, struct error *e)
{
    return remove_at(dir_fd, name, 0, e);
}
