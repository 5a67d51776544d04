/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk of the simulated API server: real files, whose writes can be torn, refused for
 * lack of space, or lost because the power failed before they were synced.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/sim.h"

static uint64_t
inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static void
note_unsynced(struct sim_disk *d, int fd, int64_t off, size_t n)
{
    if (d->n_unsynced == ARRAY_LEN(d->unsynced)) /* one range is enough to lose */
        memmove(d->unsynced, d->unsynced + 1, --d->n_unsynced * sizeof(d->unsynced[0]));
    d->unsynced[d->n_unsynced].fd = fd;
    d->unsynced[d->n_unsynced].inode = inode_of(fd);
    d->unsynced[d->n_unsynced].off = off;
    d->unsynced[d->n_unsynced++].len = n;
}

static bool
comes_due(unsigned *counter)
{
    return *counter > 0 && --*counter == 0;
}

static ssize_t
disk_write(void *arg, int fd, const void *buf, size_t n)
{
    struct sim_disk *d = arg;
    int64_t off = lseek(fd, 0, SEEK_CUR);

    errno = EIO;
    if (d->dead)
        return -1;
    if (d->full > 0) {
        d->full--;
        d->n_full++;
        errno = ENOSPC;
        return -1;
    }
    bool torn = comes_due(&d->torn_in);
    ssize_t rc = write(fd, buf, torn ? n / 2 : n);
    if (rc > 0)
        note_unsynced(d, fd, off, (size_t)rc);
    if (!torn)
        return rc;
    d->n_torn++;
    d->dead = true;
    errno = EIO;
    return -1;
}

static int
disk_sync(void *arg, int fd)
{
    struct sim_disk *d = arg;
    uint64_t inode = inode_of(fd);

    errno = EIO;
    if (d->dead)
        return -1;
    if (comes_due(&d->sync_dies_in)) {
        d->dead = true;
        errno = EIO;
        return -1;
    }
    if (d->lying)
        return 0;
    for (size_t i = 0; i < d->n_unsynced;) {
        if (d->unsynced[i].inode == inode)
            d->unsynced[i] = d->unsynced[--d->n_unsynced];
        else
            i++;
    }
    return 0;
}

static int
disk_rename(void *arg, const char *from, const char *to)
{
    const struct sim_disk *d = arg;

    errno = EIO;
    return d->dead ? -1 : rename(from, to);
}

static int
disk_fallocate(void *arg, int fd, off_t off, off_t len)
{
    UNUSED(arg);
    UNUSED(fd);
    UNUSED(off);
    UNUSED(len);
    errno = EOPNOTSUPP; /* so that an unsynced tail can be cut off */
    return -1;
}

void
sim_disk_ops(struct sim_disk *d, struct store_fs_ops *ret)
{
    *ret = (struct store_fs_ops){.write = disk_write,
                                 .fdatasync = disk_sync,
                                 .rename = disk_rename,
                                 .fallocate = disk_fallocate,
                                 .arg = d};
}

void
sim_disk_power_off(struct sim_disk *d)
{
    for (size_t i = 0; i < d->n_unsynced; i++) {
        if (inode_of(d->unsynced[i].fd) != d->unsynced[i].inode)
            continue; /* closed: a file that was given up */
        struct stat st;
        if (fstat(d->unsynced[i].fd, &st) == 0 && st.st_size > d->unsynced[i].off &&
            ftruncate(d->unsynced[i].fd, d->unsynced[i].off) == 0)
            d->n_lost++;
    }
    d->n_unsynced = 0;
}
