/* SPDX-License-Identifier: Apache-2.0 */
/* Pipe to segment log. */
#include "runner/supervisor/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum {
    ROOM_EVERY = 8 << 20,
    MARK_MAX = 256,
    FRAMES_MAX = SEGMENT_FRAME_MAX + 2 * SEGMENT_HEADER + MARK_MAX
};

struct output {
    struct segment_log *log;
    char *dir;
    int64_t spool_bytes;
    uint64_t first;   /* oldest offset on disk, as last looked up */
    uint64_t room_at; /* length at which the disk's room was last looked at */
    bool no_room;
    uint64_t pending;  /* bytes lost since the last marker */
    uint64_t dropped;  /* in all */
    char why[160];     /* of the pending loss */
    struct str frames; /* scratch */
    char buf[SEGMENT_FRAME_MAX];
};

int
output_open(const char *log_dir, int64_t spool_bytes, struct output **ret,
            struct error *e)
{
    struct segment_log *log;
    int rc = segment_open(log_dir, &log, e);

    if (rc != 0)
        return rc;
    struct output *o = xnew(struct output);
    o->log = log;
    o->dir = xstrdup(log_dir);
    o->spool_bytes = spool_bytes > 0 ? spool_bytes : OUTPUT_SPOOL_BYTES;
    str_init(&o->frames, FRAMES_MAX);
    *ret = o;
    return 0;
}

/* The agent trims what the server has; look again only when the bound seems reached. */
static bool
spool_full(struct output *o)
{
    struct error ignored = ERROR_INIT;
    uint64_t length = segment_length(o->log);
    uint64_t on_disk;

    if (o->no_room || length - o->room_at >= ROOM_EVERY) {
        o->room_at = length;
        o->no_room = !segment_room(o->dir);
    }
    if (o->no_room)
        return true;
    if (length - o->first < (uint64_t)o->spool_bytes)
        return false;
    if (segment_stat(o->dir, &o->first, &on_disk, &ignored) != 0)
        return true;
    return length - o->first >= (uint64_t)o->spool_bytes;
}

/* Appends what is in o->frames. */
static bool
append(struct output *o)
{
    struct error e = ERROR_INIT;
    uint64_t length;

    if (segment_append(o->log, segment_length(o->log), o->frames.ptr, o->frames.len,
                       &length, &e) == 0)
        return true;
    snprintf(o->why, sizeof(o->why), "%.150s", e.msg);
    return false;
}

static void
put_mark(struct output *o, int64_t now_ns)
{
    char text[MARK_MAX];

    if (o->pending == 0)
        return;
    int n =
        snprintf(text, sizeof(text), "%" PRIu64 " bytes dropped: %s", o->pending, o->why);
    segment_frame_put(&o->frames, now_ns, SEGMENT_MARK, text, (size_t)n);
}

static void
write_frame(struct output *o, enum segment_stream stream, size_t n)
{
    int64_t now_ns = clock_wall_ns();

    str_reset(&o->frames);
    put_mark(o, now_ns);
    segment_frame_put(&o->frames, now_ns, stream, o->buf, n);
    bool full = spool_full(o);
    if (full)
        snprintf(o->why, sizeof(o->why), "%s",
                 "the machine holds too much output that was not collected");
    if (!full && append(o)) {
        o->pending = 0;
        return;
    }
    o->pending += n;
    o->dropped += n;
}

bool
output_pump(struct output *o, int fd, enum segment_stream stream, bool *ret_end)
{
    ssize_t n;

    do
        n = read(fd, o->buf, sizeof(o->buf));
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        write_frame(o, stream, (size_t)n);
        return true;
    }
    if (n == 0 || errno != EAGAIN)
        *ret_end = true;
    return false;
}

void
output_close(struct output *o, int64_t *ret_length, int64_t *ret_dropped)
{
    if (o == NULL)
        return;
    str_reset(&o->frames);
    put_mark(o, clock_wall_ns());
    /* A marker that does not fit is still in the exit record's count. */
    if (o->pending > 0 && append(o))
        o->pending = 0;
    *ret_length = (int64_t)segment_length(o->log);
    *ret_dropped = (int64_t)o->dropped;
    segment_close(o->log);
    str_done(&o->frames);
    free(o->dir);
    free(o);
}
