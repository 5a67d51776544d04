/* SPDX-License-Identifier: Apache-2.0 */
/* Whole-file helpers. */
#include "base/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

int
fs_read(const char *path, struct str *out, struct error *e)
{
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_errno(e, errno, "open %s", path);
    for (;;) {
        char buf[16384];
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(e, errno, "read %s", path);
        if (n == 0)
            return 0;
        str_add(out, buf, (size_t)n);
        if (out->toobig)
            return error_set(e, ERR_TOO_LARGE, "%s: larger than %zu bytes", path,
                             out->max);
    }
}

int
fs_write_all(int fd, const void *bytes, size_t n, struct error *e)
{
    const char *p = bytes;

    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return error_errno(e, errno, "write");
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int
sync_parent(const char *path, struct error *e)
{
    autofree char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');

    if (slash == dir)
        slash[1] = '\0';
    else if (slash != NULL)
        *slash = '\0';
    autoclose int fd =
        open(slash == NULL ? "." : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(e, errno, "sync directory of %s", path);
    return 0;
}

int
fs_write_atomic(const char *path, const void *bytes, size_t n, mode_t mode,
                struct error *e)
{
    autofree char *tmp = xasprintf("%s.tmp.XXXXXX", path);
    autoclose int fd = mkostemp(tmp, O_CLOEXEC);

    if (fd < 0)
        return error_errno(e, errno, "create %s", tmp);
    int rc = fs_write_all(fd, bytes, n, e);
    if (rc == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
        rc = error_errno(e, errno, "sync");
    if (rc == 0 && rename(tmp, path) < 0)
        rc = error_errno(e, errno, "rename");
    if (rc != 0) {
        unlink(tmp);
        return error_prepend(e, "write %s", path);
    }
    return sync_parent(path, e);
}

int
fs_mkdirs(const char *path, mode_t mode, struct error *e)
{
    autofree char *p = xstrdup(path);

    for (char *s = p + 1;; s++) {
        char c = *s;
        if (c != '/' && c != '\0')
            continue;
        *s = '\0';
        if (mkdir(p, mode) < 0 && errno != EEXIST)
            return error_errno(e, errno, "create directory %s", p);
        *s = c;
        if (c == '\0')
            break;
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return error_errno(e, errno, "stat %s", path);
    if (!S_ISDIR(st.st_mode))
        return error_errno(e, ENOTDIR, "create directory %s", path);
    return 0;
}

static int
remove_at(int dirfd, const char *name, int depth, struct error *e)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return error_errno(e, errno, "remove %s", name);
    if (depth > 64)
        return error_set(e, ERR_IO, "remove %s: nested too deep", name);
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(e, errno, "open %s", name);
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        close(fd);
        return error_errno(e, errno, "open %s", name);
    }
    int rc = 0;
    const struct dirent *de;
    while (rc == 0 && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
            rc = remove_at(fd, de->d_name, depth + 1, e);
    }
    closedir(d);
    if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = error_errno(e, errno, "remove %s", name);
    return rc;
}

int
fs_remove_tree(const char *path, struct error *e)
{
    return remove_at(AT_FDCWD, path, 0, e);
}

int
fs_lock(const char *path, int *ret_fd, struct error *e)
{
    autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char buf[32];

    if (fd < 0)
        return error_errno(e, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return error_errno(e, errno, "lock %s", path);
        ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);
        buf[n > 0 ? n : 0] = '\0';
        buf[strcspn(buf, "\n")] = '\0';
        return error_set(e, ERR_BUSY, "%s is held by pid %s", path,
                         buf[0] != '\0' ? buf : "unknown");
    }
    int n = snprintf(buf, sizeof(buf), "%d\n", (int)getpid());
    /* The pid is a courtesy for messages; the lock itself is what counts, ignoring. */
    if (ftruncate(fd, 0) < 0 || pwrite(fd, buf, (size_t)n, 0) != n)
        errno = 0;
    *ret_fd = move_fd(fd);
    return 0;
}

char *
fs_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);

    while (n > 1 && dir[n - 1] == '/')
        n--;
    return xasprintf("%.*s/%s", (int)n, dir, name[0] == '/' ? name + 1 : name);
}
