/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring a job's directories in slices; see the header for when and what. */
#include "runner/supervisor/diskuse.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/lower.h"
#include "runner/supervisor/rootfs.h"

enum {
    SLICE = 512,            /* entries of one turn */
    EVERY_MS = 1000,        /* between two walks at least */
    UNCHANGED_MS = 30000,   /* a walk after this time in any case */
    SHARE = 20,             /* a walk takes at most 1/SHARE of the time */
    LONGEST_PAUSE = 600000, /* ms */
};

/* What the job writes to. Its output is bounded by the spool. */
static const char *const parts[] = {ROOTFS_WORK, ROOTFS_TMP, LOWER_DIR};

void
diskuse_open(struct diskuse *d, const char *dir, int64_t limit_mib)
{
    *d = (struct diskuse){.dir = dir};
    if (limit_mib <= 0 || limit_mib > INT64_MAX / (1024 * 1024))
        return;
    d->limit = limit_mib * 1024 * 1024;
    d->next_ms = clock_now_ms() + EVERY_MS;
    d->next_part = ARRAY_LEN(parts); /* no walk is under way */
}

static void
drop_walk(struct diskuse *d)
{
    while (d->depth > 0)
        closedir(d->stack[--d->depth]);
    d->next_part = ARRAY_LEN(parts);
}

void
diskuse_close(struct diskuse *d)
{
    drop_walk(d);
    d->next_ms = 0;
}

/* False when nothing was written or freed on the whole file system since the last walk
 * began. Costs one system call. */
static bool
changed(struct diskuse *d, int64_t now)
{
    autofree char *path = fs_join(d->dir, parts[0]);
    struct statfs fs;

    if (statfs(path, &fs) < 0)
        return true;
    bool same = d->walked_ms != 0 && fs.f_bfree == d->free_blocks &&
                fs.f_ffree == d->free_nodes && now - d->walked_ms < UNCHANGED_MS;
    d->free_blocks = fs.f_bfree;
    d->free_nodes = fs.f_ffree;
    return !same;
}

static void
begin_walk(struct diskuse *d, int64_t now)
{
    d->walked_ms = now;
    d->sum = 0;
    d->next_part = 0;
}

static DIR *
open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (fd >= 0 && dir == NULL)
        close(fd);
    return dir;
}

static void
push_part(struct diskuse *d)
{
    autofree char *path = fs_join(d->dir, parts[d->next_part++]);
    struct stat st;
    DIR *dir = open_dir(AT_FDCWD, path);

    if (dir == NULL)
        return;
    if (fstat(dirfd(dir), &st) < 0) {
        closedir(dir);
        return;
    }
    d->dev = st.st_dev;
    d->stack[d->depth++] = dir;
}

/* One entry of the innermost directory. False: it leads too deep. */
static bool
take_entry(struct diskuse *d, const char *name)
{
    int at = dirfd(d->stack[d->depth - 1]);
    struct stat st;

    if (streq(name, ".") || streq(name, "..") ||
        fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return true;
    int64_t bytes = (int64_t)st.st_blocks * 512;
    if (!S_ISDIR(st.st_mode)) {
        /* All names of a file are in these trees: nobody else can link to it. */
        d->sum += st.st_nlink > 1 ? bytes / (int64_t)st.st_nlink : bytes;
        return true;
    }
    d->sum += bytes;
    if (st.st_dev != d->dev)
        return true;
    if (d->depth == DISKUSE_DEPTH_MAX)
        return false;
    DIR *dir = open_dir(at, name);
    if (dir != NULL)
        d->stack[d->depth++] = dir;
    return true;
}

static enum diskuse_verdict
end_walk(struct diskuse *d, bool too_deep)
{
    int64_t now = clock_now_ms();
    int64_t pause = (now - d->walked_ms) * SHARE;
    bool over = d->sum > d->limit;
    bool sure = d->suspect && over;

    drop_walk(d);
    d->used = d->sum;
    d->suspect = over;
    pause = pause < EVERY_MS ? EVERY_MS : pause > LONGEST_PAUSE ? LONGEST_PAUSE : pause;
    d->next_ms = now + pause;
    if (over && !sure) {
        d->next_ms = now;
        d->walked_ms = 0; /* measured again, changed or not */
    }
    return sure ? DISKUSE_OVER : too_deep ? DISKUSE_TOO_DEEP : DISKUSE_WITHIN;
}

enum diskuse_verdict
diskuse_turn(struct diskuse *d)
{
    int64_t now = clock_now_ms();

    if (d->next_ms == 0 || now < d->next_ms)
        return DISKUSE_WITHIN;
    if (d->depth == 0 && d->next_part == ARRAY_LEN(parts)) {
        if (!changed(d, now)) {
            d->next_ms = now + EVERY_MS;
            return DISKUSE_WITHIN;
        }
        begin_walk(d, now);
    }
    for (int i = 0; i < SLICE; i++) {
        if (d->depth == 0 && d->next_part == ARRAY_LEN(parts))
            return end_walk(d, false);
        if (d->depth == 0) {
            push_part(d);
            continue;
        }
        const struct dirent *de =            /* one reader per DIR */
            readdir(d->stack[d->depth - 1]); /* NOLINT(concurrency-mt-unsafe) */
        if (de == NULL)
            closedir(d->stack[--d->depth]);
        else if (!take_entry(d, de->d_name))
            return end_walk(d, true);
    }
    return DISKUSE_WITHIN;
}
