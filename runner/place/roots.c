/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of unpacked root file systems; see the header. */
#include "runner/place/roots.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "runner/place/untar.h"

LOG_MODULE(roots);

enum { HEX = 64 };

struct root {
    char hex[HEX + 1];
    struct timespec used;
};
typedef vec(struct root) root_vec;

static const char *
hex_of(const char *blob)
{
    return str_starts(blob, "sha256:") ? blob + strlen("sha256:") : blob;
}

static bool
is_hex(const char *s)
{
    return strlen(s) == HEX && strspn(s, "0123456789abcdef") == HEX;
}

static char *
part(const char *agent_dir, const char *hex, const char *suffix)
{
    return xasprintf("%s/" ROOTS_DIR "/%s%s", agent_dir, hex, suffix);
}

char *
roots_path(const char *agent_dir, const char *blob)
{
    return part(agent_dir, hex_of(blob), "");
}

/* --- the lock of one -----------------------------------------------------------------
 */

/* Who removes a root removes its lock too, so a lock counts only while it has a name. */
static int
lock(const char *agent_dir, const char *hex, bool wait, int *ret_fd, struct error *e)
{
    autofree char *path = part(agent_dir, hex, ".lock");
    struct stat st;

    for (;;) {
        autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return error_errno(e, errno, "open %s", path);
        int rc;
        do
            rc = flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
        while (rc < 0 && errno == EINTR);
        if (rc < 0 && errno == EWOULDBLOCK)
            return error_set(e, ERR_BUSY, "%s is held", path);
        if (rc < 0 || fstat(fd, &st) < 0)
            return error_errno(e, errno, "lock %s", path);
        if (st.st_nlink > 0) {
            *ret_fd = move_fd(fd);
            return 0;
        }
    }
}

/* --- who uses what -------------------------------------------------------------------
 */

static int
by_use(const void *a, const void *b)
{
    const struct root *x = a;
    const struct root *y = b;

    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* All that are whole, the least recently used one first. */
static void
list_roots(const char *agent_dir, root_vec *out)
{
    autofree char *dir = fs_join(agent_dir, ROOTS_DIR);
    DIR *d = opendir(dir);
    const struct dirent *de;
    struct stat st;

    while (d != NULL && (de = readdir(d)) != NULL) {
        struct root r = {0};
        if (!is_hex(de->d_name))
            continue;
        memcpy(r.hex, de->d_name, HEX);
        autofree char *path = part(agent_dir, r.hex, ".lock");
        if (stat(path, &st) == 0)
            r.used = st.st_mtim;
        vec_push(out, r);
    }
    if (d != NULL)
        closedir(d);
    if (out->len > 1)
        qsort(out->items, out->len, sizeof(struct root), by_use);
}

static struct map *
used_roots(const char *agent_dir)
{
    static char present;
    struct map *used = map_new(NULL);
    autofree char *dir = fs_join(agent_dir, "jobs");
    DIR *d = opendir(dir);
    const struct dirent *de;
    char hex[HEX + 1];

    while (d != NULL && (de = readdir(d)) != NULL) {
        autofree char *path = xasprintf("%s/" ROOTS_LINK, de->d_name);
        if (readlinkat(dirfd(d), path, hex, sizeof(hex)) == HEX) {
            hex[HEX] = '\0';
            map_put(used, hex, &present);
        }
    }
    if (d != NULL)
        closedir(d);
    return used;
}

static int
mark_used(const struct roots_take *t, const char *hex, int lock_fd, struct error *e)
{
    autofree char *path = fs_join(t->job_dir, ROOTS_LINK);

    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(e, errno, "replace %s", path);
    if (symlink(hex, path) < 0 || futimens(lock_fd, NULL) < 0)
        return error_errno(e, errno, "keep %s", path);
    return 0;
}

/* --- removal -------------------------------------------------------------------------
 */

static int
remove_root(const char *agent_dir, const char *hex, bool *ret, struct error *e)
{
    struct error busy = ERROR_INIT;
    autoclose int fd = -1;

    if (lock(agent_dir, hex, false, &fd, &busy) < 0)
        return 0; /* somebody takes it */
    auto_map *used = used_roots(agent_dir);
    if (map_get(used, hex) != NULL)
        return 0;
    autofree char *path = part(agent_dir, hex, "");
    autofree char *lock_path = part(agent_dir, hex, ".lock");
    autofree char *gone =
        xasprintf("%s/" ROOTS_DIR "/%s.%d.gone", agent_dir, hex, (int)getpid());
    if (rename(path, gone) < 0)
        return errno == ENOENT ? 0 : error_errno(e, errno, "remove %s", path);
    unlink(lock_path);
    *ret = true;
    return fs_remove_tree(gone, e);
}

int
roots_collect(const char *agent_dir, bool *ret, struct error *e)
{
    root_vec roots = {0};
    int rc = 0;

    *ret = false;
    list_roots(agent_dir, &roots);
    auto_map *used = used_roots(agent_dir);
    vec_foreach (r, &roots) {
        if (rc < 0 || *ret || map_get(used, r->hex) != NULL)
            continue;
        rc = remove_root(agent_dir, r->hex, ret, e);
        if (*ret)
            log_info("root file system collected", "blob=sha256:%.16s", r->hex);
    }
    vec_done(&roots);
    return rc;
}

static void
sweep_one(const char *agent_dir, const char *name)
{
    struct error e = ERROR_INIT;
    autofree char *path = part(agent_dir, name, "");
    char hex[HEX + 1] = "";
    autoclose int fd = -1;

    snprintf(hex, sizeof(hex), "%s", name);
    if (!is_hex(hex) || name[HEX] != '.')
        return;
    if (str_ends(name, ".gone")) {
        if (fs_remove_tree(path, &e) < 0)
            log_warn("root file system not removed", "error=\"%s\"", e.msg);
        return;
    }
    if (lock(agent_dir, hex, false, &fd, &e) < 0)
        return; /* at work */
    autofree char *tmp = part(agent_dir, hex, ".tmp");
    autofree char *whole = part(agent_dir, hex, "");
    autofree char *lock_path = part(agent_dir, hex, ".lock");
    if (fs_remove_tree(tmp, &e) < 0)
        log_warn("root file system not removed", "error=\"%s\"", e.msg);
    if (access(whole, F_OK) < 0)
        unlink(lock_path);
}

void
roots_sweep(const char *agent_dir)
{
    autofree char *dir = fs_join(agent_dir, ROOTS_DIR);
    vec(char *) names = {0};
    DIR *d = opendir(dir);
    const struct dirent *de;

    while (d != NULL && (de = readdir(d)) != NULL) {
        char *name = xstrdup(de->d_name);
        vec_push(&names, name);
    }
    if (d != NULL)
        closedir(d);
    vec_foreach (name, &names) {
        sweep_one(agent_dir, *name);
        free(*name);
    }
    vec_done(&names);
}

/* --- unpacking -----------------------------------------------------------------------
 */

struct unpacking {
    const struct roots_take *t;
    int dir_fd;
    int64_t bytes, max;
};

static int
on_room(void *arg, int64_t bytes, struct error *e)
{
    struct unpacking *u = arg;
    struct statvfs fs;

    if (bytes > u->max - u->bytes)
        return error_set(e, ERR_TOO_LARGE,
                         "unpacked it takes over %" PRId64 " MiB, which is the bound",
                         u->max >> 20);
    u->bytes += bytes;
    for (;;) {
        bool removed = false;
        if (fstatvfs(u->dir_fd, &fs) < 0)
            return error_errno(e, errno, "look at the disk");
        int64_t left = (int64_t)(fs.f_bavail * fs.f_frsize);
        if (left - bytes >= u->t->floor_bytes)
            return 0;
        if (roots_collect(u->t->agent_dir, &removed, e) < 0)
            return -(int)e->code;
        if (!removed)
            return error_set(e, ERR_FULL,
                             "unpacked it takes over %" PRId64
                             " MiB; the disk has %" PRId64 " MiB left, and %" PRId64
                             " MiB are kept free",
                             u->bytes >> 20, left >> 20, u->t->floor_bytes >> 20);
    }
}

static int
unpack_into(const struct roots_take *t, const char *tmp, struct error *e)
{
    autoclose int fd = -1;
    int rc = fetch_blob(t->fetch, t->blob, &fd, e);

    if (rc < 0)
        return rc;
    if (mkdir(tmp, 0755) < 0)
        return error_errno(e, errno, "create %s", tmp);
    autoclose int dir = open(tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return error_errno(e, errno, "open %s", tmp);
    struct unpacking u = {
        .t = t, .dir_fd = dir, .max = t->max_bytes > 0 ? t->max_bytes : ROOTS_MAX_BYTES};
    struct untar_root r = {.fd = fd, .dir_fd = dir, .room = on_room, .arg = &u};
    rc = untar_root(&r, e);
    /* Once for all of it: after a power cut a name means a whole root. */
    if (rc == 0 && syncfs(dir) < 0)
        rc = error_errno(e, errno, "write %s to the disk", tmp);
    return rc;
}

/* With the lock held. */
static int
unpack(const struct roots_take *t, const char *hex, const char *whole, struct error *e)
{
    struct error ignored = ERROR_INIT;
    autofree char *dir = fs_join(t->agent_dir, ROOTS_DIR);
    autofree char *tmp = part(t->agent_dir, hex, ".tmp");
    int rc = fs_remove_tree(tmp, e);

    if (rc == 0)
        rc = unpack_into(t, tmp, e);
    if (rc == 0 && rename(tmp, whole) < 0)
        rc = error_errno(e, errno, "keep %s", whole);
    if (rc < 0) {
        (void)!fs_remove_tree(tmp, &ignored);
        return rc;
    }
    autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(e, errno, "write %s to the disk", dir);
    fetch_forget(t->fetch, t->blob);
    log_info("root file system unpacked", "blob=sha256:%.16s", hex);
    return 0;
}

int
roots_take(const struct roots_take *t, struct error *e)
{
    const char *hex = hex_of(t->blob);
    autofree char *dir = fs_join(t->agent_dir, ROOTS_DIR);
    autofree char *whole = part(t->agent_dir, hex, "");
    autoclose int fd = -1;

    if (!is_hex(hex))
        return error_set(e, ERR_INVALID, "\"%.100s\" is no sha256:<64 hex digits>",
                         t->blob);
    int rc = fs_mkdirs(dir, 0700, e);
    if (rc == 0)
        rc = lock(t->agent_dir, hex, true, &fd, e);
    if (rc == 0 && access(whole, F_OK) < 0)
        rc = unpack(t, hex, whole, e);
    return rc < 0 ? rc : mark_used(t, hex, fd, e);
}
