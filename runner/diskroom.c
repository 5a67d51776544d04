/* SPDX-License-Identifier: Apache-2.0 */
#include "runner/diskroom.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "base/mem.h"
#include "runner/agent.h"
#include "runner/roots_keep.h"

LOG_MODULE(disk);

enum { LOOK_MS = 30000, DEFAULT_MIB = 1024, DEFAULT_PART = 20 };

struct diskroom {
    struct agent *a;
    struct loop_timer *timer;
    bool low;
    int64_t floor_mib;
    char text[160];
};

int64_t
diskroom_floor_mib(int64_t total_mib, int64_t wanted_mib)
{
    int64_t part = total_mib / DEFAULT_PART;

    if (wanted_mib >= 0)
        return wanted_mib;
    return part < DEFAULT_MIB ? part : DEFAULT_MIB;
}

bool
diskroom_is_low(bool was, int64_t free_mib, int64_t floor_mib)
{
    return free_mib < (was ? floor_mib + floor_mib / 4 : floor_mib);
}

/* True when the answer is another one than before. */
static bool
look(struct diskroom *d)
{
    struct statvfs fs;
    bool was = d->low;

    if (statvfs(d->a->opts->dir, &fs) < 0)
        return false; /* nothing is known; the old answer stays */
    int64_t unit = (int64_t)fs.f_frsize;
    int64_t free_mib = (int64_t)fs.f_bavail * (unit / 512) / 2048;
    int64_t total_mib = (int64_t)fs.f_blocks * (unit / 512) / 2048;
    int64_t floor = diskroom_floor_mib(total_mib, d->a->opts->min_free_mib);
    d->floor_mib = floor;
    d->low = diskroom_is_low(was, free_mib, floor);
    roots_keep_look(d->a->roots, free_mib, floor);
    if (d->low)
        snprintf(d->text, sizeof(d->text),
                 "the disk has %" PRId64 " MiB free, and %" PRId64
                 " MiB are kept free of new jobs",
                 free_mib, floor);
    if (d->low == was)
        return false;
    if (d->low)
        log_warn("disk pressure", "what=\"%s\"", d->text);
    else
        log_info("the disk has room again", "free_mib=%" PRId64, free_mib);
    status_changed(d->a->status);
    return true;
}

void
diskroom_look(struct diskroom *d)
{
    if (d != NULL && look(d))
        agent_step_all(d->a);
}

int64_t
diskroom_floor(const struct diskroom *d)
{
    return d == NULL ? 0 : d->floor_mib;
}

static void
on_timer(void *arg)
{
    struct diskroom *d = arg;

    diskroom_look(d);
    if (d->low || journal_len(d->a->journal) > 0)
        loop_timer_in(d->timer, LOOK_MS);
}

const char *
diskroom_low(struct diskroom *d)
{
    look(d);
    loop_timer_in(d->timer, LOOK_MS);
    return diskroom_last(d);
}

const char *
diskroom_last(const struct diskroom *d)
{
    return d != NULL && d->low ? d->text : NULL;
}

struct diskroom *
diskroom_start(struct agent *a)
{
    struct diskroom *d = xnew(struct diskroom);

    d->a = a;
    d->timer = loop_timer_new(a->loop, "disk room", on_timer, d);
    look(d);
    loop_timer_in(d->timer, LOOK_MS);
    return d;
}

void
diskroom_free(struct diskroom *d)
{
    if (d == NULL)
        return;
    loop_timer_free(d->timer);
    free(d);
}
