/* SPDX-License-Identifier: Apache-2.0 */
/* openat2(2) with a root, and mount points below it. */
#include "runner/supervisor/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

int
inside_open(int root_fd, const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

FILE *
inside_read(int root_fd, const char *path)
{
    const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY;
    struct stat st;
    autoclose int fd =
        root_fd < 0 ? open(path, flags | O_CLOEXEC) : inside_open(root_fd, path, flags);

    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return NULL;
    }
    int own = move_fd(fd);
    FILE *f = fdopen(own, "re");
    if (f == NULL)
        close(own);
    return f;
}

/* name is one component below an open directory. */
static int
make(int dir_fd, const char *name, bool directory, uid_t owner, struct error *e)
{
    autoclose int file = -1;
    int rc;

    if (directory) {
        rc = mkdirat(dir_fd, name, 0755);
    } else {
        file = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      0644);
        rc = file < 0 ? -1 : 0;
    }
    if (rc == 0)
        rc = fchownat(dir_fd, name, owner, owner, AT_SYMLINK_NOFOLLOW);
    if (rc < 0)
        return error_errno(e, errno, "create %s", name);
    return 0;
}

int
inside_point(int root_fd, const char *path, bool directory, uid_t owner, int *ret_fd,
             struct error *e)
{
    char text[PATH_MAX];
    size_t len = strlen(path);
    autoclose int at = inside_open(root_fd, "/", O_PATH | O_DIRECTORY);

    while (len > 1 && path[len - 1] == '/')
        len--;
    if (at < 0 || len >= sizeof(text))
        return error_errno(e, at < 0 ? errno : ENAMETOOLONG, "%.200s", path);
    memcpy(text, path, len);
    text[len] = '\0';
    for (char *p = text; *p != '\0';) {
        char *name = p + strspn(p, "/");
        p = name + strcspn(name, "/");
        char end = *p;
        *p = '\0';
        bool dir = end != '\0' || directory;
        int flags = O_PATH | (dir ? O_DIRECTORY : 0);
        int next = inside_open(root_fd, text, flags);
        if (next < 0 && errno == ENOENT) {
            int rc = make(at, name, dir, owner, e);
            if (rc < 0)
                return error_prepend(e, "%.200s", path);
            next = inside_open(root_fd, text, flags);
        }
        if (next < 0)
            return error_errno(e, errno, "%.200s", text);
        close(at);
        at = next;
        *p = end;
    }
    *ret_fd = move_fd(at);
    return 0;
}
