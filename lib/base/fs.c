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
fs_temp(const char *prefix, char **ret_path, int *ret_fd, struct error *e)
{
    const char *dir = getenv("TMPDIR");
    autofree char *path =
        xasprintf("%s/%s-XXXXXX", dir != NULL && *dir == '/' ? dir : "/tmp", prefix);
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0)
        return error_errno(e, errno, "create %s", path);
    *ret_path = move_ptr(path);
    *ret_fd = fd;
    return 0;
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

    if (*path == '\0')
        return error_errno(e, ENOENT, "create directory \"\"");
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

enum { REMOVE_DEPTH = 64 };

struct removal {
    int top_fd;     /* the tree's root directory */
    unsigned moved; /* directories moved up into it */
};

static int remove_entry(struct removal *r, int parent, const char *name, int depth,
                        struct error *e);

static int
remove_contents(struct removal *r, DIR *d, int depth, struct error *e)
{
    const struct dirent *de;

    while ((de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (streq(de->d_name, ".") || streq(de->d_name, ".."))
            continue;
        int rc = remove_entry(r, dirfd(d), de->d_name, depth + 1, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int
remove_dir(struct removal *r, int parent, const char *name, int depth, struct error *e)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return error_errno(e, errno, "open %s", name);
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        int sys = errno;
        close(fd);
        return error_errno(e, sys, "open %s", name);
    }
    if (depth == 0)
        r->top_fd = fd;
    int rc;
    unsigned moved;
    do { /* again for what was moved up into the root */
        moved = r->moved;
        rewinddir(d);
        rc = remove_contents(r, d, depth, e);
    } while (rc == 0 && depth == 0 && r->moved != moved);
    closedir(d);
    if (rc == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = error_errno(e, errno, "remove %s", name);
    return rc;
}

/* Whoever filled the tree may have nested it without end; what lies too deep is moved up,
 * so that neither stack nor descriptors run out. */
static int
move_up(struct removal *r, int parent, const char *name, struct error *e)
{
    char top_name[32];

    for (;;) {
        snprintf(top_name, sizeof(top_name), ".remove-%u", r->moved++);
        if (renameat2(parent, name, r->top_fd, top_name, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EEXIST)
            return error_errno(e, errno, "remove %s", name);
    }
}

static int
remove_entry(struct removal *r, int parent, const char *name, int depth, struct error *e)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return error_errno(e, errno, "remove %s", name);
    if (depth > REMOVE_DEPTH)
        return move_up(r, parent, name, e);
    return remove_dir(r, parent, name, depth, e);
}

int
fs_remove_tree(const char *path, struct error *e)
{
    struct removal r = {.top_fd = -1};

    return remove_entry(&r, AT_FDCWD, path, 0, e);
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

    while (*name == '/')
        name++;
    if (n == 0)
        return xstrdup(name);
    while (n > 0 && dir[n - 1] == '/')
        n--;
    return xasprintf("%.*s/%s", (int)n, dir, name);
}
