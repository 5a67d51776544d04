/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to what a reader asked for: text, lines with times, or the last lines only. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/streams/streams.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/vec.h"
#include "io/segment.h"

static void
put_lines(struct log_format *f, const struct segment_frame *frame, struct str *out)
{
    const char *p = frame->bytes.ptr;
    const char *end = p + frame->bytes.len;
    char ts[CLOCK_RFC3339_US_LEN];

    clock_format_us(frame->unix_ns, ts);
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = nl == NULL ? (size_t)(end - p) : (size_t)(nl + 1 - p);
        if (f->at_line_start) {
            str_adds(out, ts);
            str_addc(out, ' ');
        }
        str_add(out, p, n);
        f->at_line_start = nl != NULL;
        p += n;
    }
}

ssize_t
text_render(struct log_format *f, struct span in, uint64_t offset, struct str *out)
{
    size_t used = 0;

    for (;;) {
        struct segment_frame frame;
        struct error e = ERROR_INIT;
        int rc =
            segment_frame_get(in.ptr + used, in.len - used, offset + used, &frame, &e);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return (ssize_t)used;
        used += SEGMENT_HEADER + frame.bytes.len;
        if (frame.unix_ns < f->since_ns)
            continue;
        if (f->timestamps)
            put_lines(f, &frame, out);
        else
            str_add(out, frame.bytes.ptr, frame.bytes.len);
        if (out->toobig)
            return -1;
    }
}

/* --- the last lines
 * ---------------------------------------------------------------------- */

typedef vec(uint64_t) offset_list;

static int
by_offset(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* First offsets of the segment files: the only places where a frame is known to start. */
static int
segment_starts(const char *dir, offset_list *ret, struct error *e)
{
    DIR *d = opendir(dir);
    const struct dirent *de;

    if (d == NULL)
        return error_errno(e, errno, "open %s", dir);
    while ((de = readdir(d)) != NULL) {
        char *end;
        uint64_t off = strtoull(de->d_name, &end, 16);
        if (end == de->d_name + 16 && streq(end, ".seg"))
            vec_push(ret, off);
    }
    closedir(d);
    if (ret->len > 1)
        qsort(ret->items, ret->len, sizeof(ret->items[0]), by_offset);
    return 0;
}

int
text_since(const char *dir, int64_t since_ns, uint64_t *ret_offset, struct error *e)
{
    offset_list starts = {0};
    int rc = segment_starts(dir, &starts, e);

    for (size_t i = starts.len; rc == 0 && i-- > 0;) {
        auto_str buf = STR_INIT(SEGMENT_FRAME_MAX + SEGMENT_HEADER);
        struct segment_frame frame;
        rc = segment_read(dir, starts.items[i], &buf, buf.max, e);
        if (rc == 0 &&
            segment_frame_get(buf.ptr, buf.len, starts.items[i], &frame, e) == 1 &&
            frame.unix_ns < since_ns) {
            *ret_offset = starts.items[i];
            break;
        }
    }
    vec_done(&starts);
    return rc;
}

/* The last `lines` line starts of a stretch, as a ring. */
struct line_start {
    uint64_t offset; /* of the frame */
    size_t skip;     /* bytes of its payload before the line */
};
struct line_ring {
    struct line_start *items;
    uint64_t cap, count;
    bool at_line_start;
};

static void
note_lines(struct line_ring *ring, const struct segment_frame *frame)
{
    for (size_t i = 0; i < frame->bytes.len; i++) {
        if (ring->at_line_start) {
            ring->items[ring->count % ring->cap] = (struct line_start){frame->offset, i};
            ring->count++;
        }
        ring->at_line_start = frame->bytes.ptr[i] == '\n';
    }
}

static int
scan(const char *dir, uint64_t from, uint64_t to, struct line_ring *ring, struct error *e)
{
    auto_str buf = STR_INIT(2 * (SEGMENT_FRAME_MAX + SEGMENT_HEADER));

    while (from < to) {
        str_reset(&buf);
        if (segment_read(dir, from, &buf, buf.max, e) < 0)
            return -(int)e->code;
        size_t used = 0;
        for (;;) {
            struct segment_frame frame;
            int rc =
                segment_frame_get(buf.ptr + used, buf.len - used, from + used, &frame, e);
            if (rc < 0)
                return rc;
            if (rc == 0 || frame.offset >= to)
                break;
            note_lines(ring, &frame);
            used += SEGMENT_HEADER + frame.bytes.len;
        }
        if (used == 0)
            return 0;
        from += used;
    }
    return 0;
}

int
text_tail(const char *dir, uint64_t lines, uint64_t *ret_offset, size_t *ret_skip,
          struct error *e)
{
    offset_list starts = {0};
    uint64_t first;
    uint64_t length;

    if (segment_stat(dir, &first, &length, e) < 0)
        return -(int)e->code;
    *ret_offset = length;
    *ret_skip = 0;
    if (lines == 0)
        return 0;
    int rc = segment_starts(dir, &starts, e);
    struct line_ring ring = {.cap = lines};
    ring.items = xcalloc(lines, sizeof(*ring.items));
    /* From the last segment backwards until enough lines are behind the start. */
    for (size_t i = starts.len; rc == 0 && i-- > 0;) {
        ring.count = 0;
        ring.at_line_start = true;
        rc = scan(dir, starts.items[i], length, &ring, e);
        if (ring.count > lines || i == 0)
            break;
    }
    if (rc == 0 && ring.count > 0) {
        uint64_t oldest = ring.count > lines ? ring.count - lines : 0;
        *ret_offset = ring.items[oldest % lines].offset;
        *ret_skip = ring.items[oldest % lines].skip;
    }
    free(ring.items);
    vec_done(&starts);
    return rc;
}
