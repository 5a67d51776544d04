/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the store: names, directories, and the real file operations. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "apiserver/store/store_internal.h"
#include "base/fs.h"
#include "base/mem.h"

char *
store_files_path(const char *dir, uint64_t revision, const char *suffix)
{
    return xasprintf("%s/%0*" PRIu64 "%s", dir, STORE_NAME_DIGITS, revision, suffix);
}

static bool
parse_name(const char *name, const char *suffix, uint64_t *ret)
{
    uint64_t v = 0;

    for (int i = 0; i < STORE_NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(name[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = v;
    return streq(name + STORE_NAME_DIGITS, suffix);
}

static int
compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Calls fn for each entry until it is through. */
static int
each_entry(const char *dir, void (*fn)(void *arg, int dirfd, const char *name), void *arg,
           struct error *e)
{
    DIR *d = opendir(dir);

    if (d == NULL)
        return error_errno(e, errno, "open %s", dir);
    for (;;) {
        errno = 0;
        const struct dirent *de = readdir(d); /* NOLINT(concurrency-mt-unsafe) */
        if (de == NULL)
            break;
        fn(arg, dirfd(d), de->d_name);
    }
    int sys = errno;
    closedir(d);
    return sys == 0 ? 0 : error_errno(e, sys, "read %s", dir);
}

struct cleaning {
    const char *dir;
    const struct store_fs_ops *fs;
};

static void
remove_tmp(void *arg, int fd, const char *name)
{
    const struct cleaning *c = arg;

    UNUSED(fd);
    if (!str_ends(name, ".tmp"))
        return;
    autofree char *path = fs_join(c->dir, name);
    c->fs->unlink(c->fs->arg, path); /* it is written anew when it is needed */
}

int
store_files_clean(const char *dir, const struct store_fs_ops *fs, struct error *e)
{
    struct cleaning c = {dir, fs};

    return each_entry(dir, remove_tmp, &c, e);
}

struct listing {
    const char *suffix;
    store_revisions found;
};

static void
add_name(void *arg, int fd, const char *name)
{
    struct listing *l = arg;
    uint64_t v;

    UNUSED(fd);
    if (parse_name(name, l->suffix, &v))
        vec_push(&l->found, v);
}

int
store_files_list(const char *dir, const char *suffix, store_revisions *ret,
                 struct error *e)
{
    struct listing l = {.suffix = suffix};
    int rc = each_entry(dir, add_name, &l, e);

    if (rc < 0) {
        vec_done(&l.found);
        return rc;
    }
    if (l.found.len > 0)
        qsort(l.found.items, l.found.len, sizeof(l.found.items[0]), compare);
    *ret = l.found;
    return 0;
}

int
store_files_sync_dir(const char *dir, const struct store_fs_ops *fs, struct error *e)
{
    autoclose int fd = fs->open(fs->arg, dir, O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0)
        return error_errno(e, errno, "open %s", dir);
    if (fs->fdatasync(fs->arg, fd) < 0)
        return error_errno(e, errno, "sync %s", dir);
    return 0;
}

int
store_files_write(const struct store_fs_ops *fs, int fd, const char *p, size_t n,
                  struct error *e)
{
    while (n > 0) {
        ssize_t w = fs->write(fs->arg, fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return error_errno(e, w == 0 ? EIO : errno, "write");
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

/* --- the real operations --- */

static int
real_open(void *arg, const char *path, int flags, mode_t mode)
{
    UNUSED(arg);
    return open(path, flags | O_CLOEXEC, mode);
}

static ssize_t
real_pread(void *arg, int fd, void *buf, size_t n, off_t off)
{
    UNUSED(arg);
    return pread(fd, buf, n, off);
}

static ssize_t
real_write(void *arg, int fd, const void *buf, size_t n)
{
    UNUSED(arg);
    return write(fd, buf, n);
}

static int
real_fdatasync(void *arg, int fd)
{
    UNUSED(arg);
    return fdatasync(fd);
}

static int
real_fallocate(void *arg, int fd, off_t off, off_t len)
{
    UNUSED(arg);
    return fallocate(fd, 0, off, len);
}

static int
real_ftruncate(void *arg, int fd, off_t len)
{
    UNUSED(arg);
    return ftruncate(fd, len);
}

static int
real_rename(void *arg, const char *from, const char *to)
{
    UNUSED(arg);
    return rename(from, to);
}

static int
real_unlink(void *arg, const char *path)
{
    UNUSED(arg);
    return unlink(path);
}

const struct store_fs_ops store_fs_real = {
    .open = real_open,
    .pread = real_pread,
    .write = real_write,
    .fdatasync = real_fdatasync,
    .fallocate = real_fallocate,
    .ftruncate = real_ftruncate,
    .rename = real_rename,
    .unlink = real_unlink,
};

void
store_fs_fill(const struct store_fs_ops *some, struct store_fs_ops *ret)
{
    *ret = some == NULL ? store_fs_real : *some;
#define FILL(op) ret->op = ret->op == NULL ? store_fs_real.op : ret->op
    FILL(open);
    FILL(pread);
    FILL(write);
    FILL(fdatasync);
    FILL(fallocate);
    FILL(ftruncate);
    FILL(rename);
    FILL(unlink);
#undef FILL
}
