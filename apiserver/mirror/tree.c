/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing the mirror's files. */
#include "apiserver/mirror/tree_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/yaml.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

enum { TEMP_RANDOM = 12, READ_BYTES = 16 * 1024 };

struct mirror_tree *
mirror_tree_new(const char *root)
{
    struct mirror_tree *t = xnew(struct mirror_tree);

    t->root = xstrdup(root);
    t->root_fd = t->dir_fd = -1;
    return t;
}

static void
forget_dir(struct mirror_tree *t)
{
    if (t->dir_fd >= 0)
        close(t->dir_fd);
    t->dir_fd = -1;
    free(t->dir);
    t->dir = NULL;
}

void
mirror_tree_free(struct mirror_tree *t)
{
    if (t == NULL)
        return;
    forget_dir(t);
    if (t->root_fd >= 0)
        close(t->root_fd);
    free(t->root);
    free(t);
}

const char *
mirror_tree_root(const struct mirror_tree *t)
{
    return t->root;
}

int
mirror_tree_open_root(struct mirror_tree *t, struct mirror_root *ret, struct error *e)
{
    struct stat st;

    forget_dir(t);
    if (t->root_fd >= 0)
        close(t->root_fd);
    t->root_fd = open(t->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (t->root_fd < 0 || fstat(t->root_fd, &st) != 0)
        return error_errno(e, errno, "%s", t->root);
    t->dev = st.st_dev;
    *ret = (struct mirror_root){true, st.st_dev, st.st_ino};
    return 0;
}

int
mirror_tree_make_root(struct mirror_tree *t, struct error *e)
{
    return fs_mkdirs(t->root, 0700, e);
}

/* --- directories
 * ------------------------------------------------------------------------- */

static int
open_below(const struct mirror_tree *t, int at, const char *name, bool make,
           struct error *e)
{
    struct stat st;

    if (make && mkdirat(at, name, 0700) != 0 && errno != EEXIST)
        return error_errno(e, errno, "make the directory %s", name);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(e, errno, "%s", name);
    if (fstat(fd, &st) != 0 || st.st_dev != t->dev) {
        close(fd);
        return error_set(e, ERR_FORBIDDEN, "%s is on another file system", name);
    }
    return fd;
}

int
mirror_tree_open_dir(struct mirror_tree *t, const char *path, bool make, int *ret,
                     struct error *e)
{
    char buf[2 * MIRROR_SEGMENT_MAX + 2];
    int at = t->root_fd;

    if (at < 0)
        return error_set(e, ERR_UNAVAILABLE, "the root is not open");
    if (snprintf(buf, sizeof(buf), "%s", path) >= (int)sizeof(buf))
        return error_set(e, ERR_INVALID, "%s: too long", path);
    for (char *next = NULL, *p = buf; p != NULL; p = next) {
        next = strchr(p, '/');
        if (next != NULL)
            *next++ = '\0';
        int fd = open_below(t, at, *p == '\0' ? "." : p, make && *p != '\0', e);
        if (at != t->root_fd)
            close(at);
        if (fd < 0)
            return -(int)e->code;
        at = fd;
    }
    *ret = at;
    return 0;
}

/* The directory of a file, kept open for the next one of it. *ret_name points into path.
 */
static int
dir_of(struct mirror_tree *t, const char *path, bool make, int *ret,
       const char **ret_name, struct error *e)
{
    const char *slash = strrchr(path, '/');
    autofree char *dir = xstrndup(path, slash == NULL ? 0 : (size_t)(slash - path));
    struct stat st;

    *ret_name = slash == NULL ? path : slash + 1;
    /* A directory that was removed has no links left. */
    if (t->dir_fd >= 0 && streq(t->dir, dir) && fstat(t->dir_fd, &st) == 0 &&
        st.st_nlink > 0) {
        *ret = t->dir_fd;
        return 0;
    }
    forget_dir(t);
    if (mirror_tree_open_dir(t, dir, make, &t->dir_fd, e) < 0)
        return -(int)e->code;
    t->dir = move_ptr(dir);
    *ret = t->dir_fd;
    return 0;
}

/* --- reading
 * ----------------------------------------------------------------------------- */

static void
keep_stat(const struct stat *st, struct mirror_stat *ret)
{
    *ret = (struct mirror_stat){
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec,
        .ctime_ns = st->st_ctim.tv_sec * 1000000000LL + st->st_ctim.tv_nsec};
}

bool
mirror_tree_stat(struct mirror_tree *t, const char *path, struct mirror_stat *ret)
{
    struct error e = ERROR_INIT;
    struct stat st;
    const char *name;
    int dir = -1;

    if (dir_of(t, path, false, &dir, &name, &e) < 0 ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return false;
    keep_stat(&st, ret);
    return true;
}

static int
read_all(int fd, struct str *out, struct error *e)
{
    for (;;) {
        size_t room = out->max - out->len;
        char beyond;
        if (room > READ_BYTES)
            room = READ_BYTES;
        bool fits = room > 0 && str_reserve(out, room);
        ssize_t n = fits ? read(fd, out->ptr + out->len, room) : read(fd, &beyond, 1);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(e, errno, "read");
        if (!fits)
            return error_set(e, ERR_TOO_LARGE, "the file is larger than %zu bytes",
                             out->max);
        out->len += (size_t)n;
        out->ptr[out->len] = '\0';
    }
}

static enum mirror_found
found_error(int err, struct error *e)
{
    if (err == ENOENT || err == ENOTDIR)
        return MIRROR_FOUND_NONE;
    if (err == ELOOP) {
        error_set(e, ERR_INVALID, "it is a symbolic link, which is not followed");
        return MIRROR_FOUND_OTHER;
    }
    error_errno(e, err, "cannot be read");
    return MIRROR_FOUND_UNKNOWN;
}

static enum mirror_found
read_open(int fd, struct str *out, struct mirror_stat *ret, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return found_error(errno, e);
    if (!S_ISREG(st.st_mode)) {
        error_set(e, ERR_INVALID, "it is not a plain file");
        return MIRROR_FOUND_OTHER;
    }
    if (read_all(fd, out, e) < 0)
        return e->code == ERR_TOO_LARGE ? MIRROR_FOUND_OTHER : MIRROR_FOUND_UNKNOWN;
    if (st.st_nlink > 1) {
        error_set(e, ERR_INVALID, "it has another name too (a hard link)");
        return MIRROR_FOUND_OTHER;
    }
    keep_stat(&st, ret);
    return MIRROR_FOUND_FILE;
}

enum mirror_found
mirror_tree_read(struct mirror_tree *t, const char *path, struct str *out,
                 struct mirror_stat *st, struct error *e)
{
    const char *name;
    int dir = -1;

    if (dir_of(t, path, false, &dir, &name, e) < 0) {
        if (e->code == ERR_NOT_FOUND || e->sys == ENOTDIR)
            return MIRROR_FOUND_NONE;
        return MIRROR_FOUND_UNKNOWN;
    }
    autoclose int fd =
        openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return found_error(errno, e);
    return read_open(fd, out, st, e);
}

/* --- writing
 * ----------------------------------------------------------------------------- */

static bool
is_expected(int dir, const char *name, const struct mirror_hash *expect)
{
    auto_str bytes = STR_INIT(YAML_MAX_BYTES + 1);
    struct error e = ERROR_INIT;
    autoclose int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || read_all(fd, &bytes, &e) < 0)
        return false;
    return mirror_hash_eq(mirror_hash_of(bytes.ptr, bytes.len), *expect);
}

static int
changed(struct error *e)
{
    return error_set(e, ERR_CONFLICT, "the file is not what it was");
}

/* Puts temp in place of name. The exchange shows what was there at that very moment; what
 * nobody expected goes back. */
static int
swap_in(int dir, const char *temp, const char *name, const struct mirror_hash *expect,
        struct error *e)
{
    if (expect == NULL) {
        if (renameat2(dir, temp, dir, name, RENAME_NOREPLACE) == 0)
            return 0;
        return errno == EEXIST ? changed(e) : error_errno(e, errno, "rename");
    }
    if (renameat2(dir, temp, dir, name, RENAME_EXCHANGE) == 0) {
        bool fine = is_expected(dir, temp, expect);
        if (!fine && renameat2(dir, temp, dir, name, RENAME_EXCHANGE) != 0)
            return error_errno(e, errno, "rename back");
        unlinkat(dir, temp, 0);
        return fine ? 0 : changed(e);
    }
    if (errno == ENOENT)
        return changed(e);
    if (errno != EINVAL)
        return error_errno(e, errno, "rename");
    /* A file system without exchange: the check comes a moment before. */
    if (!is_expected(dir, name, expect))
        return changed(e);
    return renameat(dir, temp, dir, name) == 0 ? 0 : error_errno(e, errno, "rename");
}

static int
write_temp(int dir, struct span bytes, char temp[64], struct mirror_stat *ret,
           struct error *e)
{
    char random[TEMP_RANDOM + 1];
    struct stat st;

    id_suffix(random, TEMP_RANDOM);
    snprintf(temp, 64, MIRROR_TEMP_PREFIX "%s.tmp", random);
    autoclose int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(e, errno, "create a temporary file");
    if (fs_write_all(fd, bytes.ptr, bytes.len, e) < 0) {
        unlinkat(dir, temp, 0);
        return -(int)e->code;
    }
    if (fstat(fd, &st) == 0)
        keep_stat(&st, ret);
    return 0;
}

int
mirror_tree_write(struct mirror_tree *t, const char *path, struct span bytes,
                  const struct mirror_hash *expect, struct mirror_stat *ret,
                  struct error *e)
{
    char temp[64];
    const char *name;
    int dir = -1;

    if (dir_of(t, path, true, &dir, &name, e) < 0 ||
        write_temp(dir, bytes, temp, ret, e) < 0)
        return -(int)e->code;
    if (swap_in(dir, temp, name, expect, e) < 0) {
        unlinkat(dir, temp, 0);
        return -(int)e->code;
    }
    mirror_tree_stat(t, path, ret); /* the rename moved ctime */
    return 0;
}

int
mirror_tree_put(struct mirror_tree *t, const char *path, struct span bytes,
                struct error *e)
{
    struct mirror_stat st;
    char temp[64];
    const char *name;
    int dir = -1;

    if (dir_of(t, path, false, &dir, &name, e) < 0 ||
        write_temp(dir, bytes, temp, &st, e) < 0)
        return -(int)e->code;
    if (renameat(dir, temp, dir, name) == 0)
        return 0;
    error_errno(e, errno, "rename");
    unlinkat(dir, temp, 0);
    return -(int)e->code;
}

static void
remove_empty_dirs(struct mirror_tree *t, const char *path)
{
    autofree char *dir = xstrdup(path);
    char *slash;

    forget_dir(t);
    while ((slash = strrchr(dir, '/')) != NULL) {
        *slash = '\0';
        if (unlinkat(t->root_fd, dir, AT_REMOVEDIR) != 0)
            return;
    }
}

int
mirror_tree_remove(struct mirror_tree *t, const char *path,
                   const struct mirror_hash *expect, struct error *e)
{
    struct error gone = ERROR_INIT;
    const char *name;
    int dir = -1;

    if (dir_of(t, path, false, &dir, &name, &gone) < 0) {
        if (gone.code == ERR_NOT_FOUND)
            return 0;
        *e = gone;
        return -(int)e->code;
    }
    if (expect != NULL && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
        !is_expected(dir, name, expect))
        return changed(e);
    if (unlinkat(dir, name, 0) != 0 && errno != ENOENT)
        return error_errno(e, errno, "remove %s", path);
    remove_empty_dirs(t, path);
    return 0;
}

int
mirror_tree_sync(struct mirror_tree *t, struct error *e)
{
    if (t->root_fd >= 0 && syncfs(t->root_fd) != 0)
        return error_errno(e, errno, "sync %s", t->root);
    return 0;
}
