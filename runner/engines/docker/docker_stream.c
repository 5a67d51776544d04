/* SPDX-License-Identifier: Apache-2.0 */
/* Demultiplexer of the Engine API's log stream and the reader's position in it. */
#include "runner/engines/docker/docker_stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define HEADER 8

/* Of a terminal's stream: the daemon's longest piece of a line, its form of a time, and
 * room for anybody's. */
enum { PIECE = 16384, TIME_LEN = 30, TIME_ROOM = 64, RAW_SLICE = 65536 };

void
docker_demux_init(struct docker_demux *d)
{
    *d = (struct docker_demux){0};
    str_init(&d->pending, HEADER + DOCKER_STREAM_ENTRY_MAX);
}

void
docker_demux_done(struct docker_demux *d)
{
    str_done(&d->pending);
}

void
docker_demux_reset(struct docker_demux *d)
{
    str_reset(&d->pending);
    d->known = d->raw = d->within = false;
}

static uint32_t
be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* Splits the timestamp off; without one the whole payload is the entry. */
static void
split_time(struct docker_entry *en)
{
    size_t scan = en->bytes.len < 64 ? en->bytes.len : 64;
    const char *space = memchr(en->bytes.ptr, ' ', scan);
    if (space == NULL)
        return;
    size_t n = (size_t)(space - en->bytes.ptr);
    int64_t ns;
    if (!clock_parse(en->bytes.ptr, n, &ns) || ns < 0)
        return;
    en->unix_ns = ns;
    en->bytes.ptr += n + 1;
    en->bytes.len -= n + 1;
}

static int
check_header(const char *h, uint32_t *ret_len, struct error *e)
{
    uint32_t len = be32(h + 4);
    if (h[0] < 0 || h[0] > 3 || h[1] != 0 || h[2] != 0 || h[3] != 0)
        return error_set(e, ERR_CORRUPT, "the log stream is not multiplexed");
    if (len > DOCKER_STREAM_ENTRY_MAX)
        return error_set(e, ERR_CORRUPT, "a log entry of %u bytes is over the bound",
                         len);
    *ret_len = len;
    return 0;
}

/* 3 is the daemon speaking: "Error grabbing logs: ...". */
static enum segment_stream
stream_of(char wire)
{
    return wire == 2 ? SEGMENT_STDERR : wire == 3 ? SEGMENT_MARK : SEGMENT_STDOUT;
}

/* Consumes whole entries from the span; what is left is an incomplete one. */
static int
take_entries(struct span *in, void (*on_entry)(void *arg, const struct docker_entry *en),
             void *arg, struct error *e)
{
    while (in->len >= HEADER) {
        uint32_t len = 0;
        int r = check_header(in->ptr, &len, e);
        if (r < 0)
            return r;
        if (in->len - HEADER < len)
            return 0;
        struct docker_entry en = {
            .stream = stream_of(in->ptr[0]),
            .bytes = {in->ptr + HEADER, len},
        };
        split_time(&en);
        in->ptr += HEADER + len;
        in->len -= HEADER + len;
        on_entry(arg, &en);
    }
    return 0;
}

/* Completes the pending entry from the new bytes; returns how many it took. */
static size_t
top_up(struct docker_demux *d, struct span in)
{
    size_t want = HEADER;
    if (d->pending.len >= HEADER)
        want += be32(d->pending.ptr + 4);
    size_t n = want - d->pending.len;
    n = n < in.len ? n : in.len;
    str_add(&d->pending, in.ptr, n);
    return n;
}

/* --- a terminal's stream --------------------------------------------------------------
 */

/* Where in a line a time in the daemon's form stands, not before min_ns; -1: nowhere. */
static ptrdiff_t
find_time(struct span s, int64_t min_ns)
{
    for (size_t i = 0; i + TIME_LEN < s.len; i++) {
        const char *p = s.ptr + i;
        int64_t ns;
        if (p[4] == '-' && p[10] == 'T' && p[TIME_LEN - 1] == 'Z' && p[TIME_LEN] == ' ' &&
            clock_parse(p, TIME_LEN, &ns) && ns >= min_ns)
            return (ptrdiff_t)i;
    }
    return -1;
}

/* Length of the entry's text, `all` being what is there of it; -1: more is needed. */
static ptrdiff_t
raw_text_len(const struct docker_demux *d, struct span all, int64_t ns, bool whole)
{
    struct span line = {all.ptr, all.len <= PIECE ? all.len : PIECE + 1};
    const char *end = memchr(line.ptr, '\n', line.len);
    bool enough = end != NULL || whole || all.len > PIECE + TIME_LEN + 1;

    if (!enough)
        return -1;
    if (end != NULL)
        line.len = (size_t)(end - line.ptr) + 1;
    else
        line.len = all.len;
    if (d->within) {
        ptrdiff_t next = find_time(line, ns);
        if (next >= 0 && next <= PIECE)
            return next;
    }
    return end == NULL && all.len > PIECE ? PIECE : (ptrdiff_t)line.len;
}

/* One entry from the span; 1, or 0 when it is not all there. */
static int
take_raw(struct docker_demux *d, struct span *in, bool whole,
         void (*on_entry)(void *arg, const struct docker_entry *en), void *arg,
         struct error *e)
{
    size_t scan = in->len < TIME_ROOM ? in->len : TIME_ROOM;
    const char *space = memchr(in->ptr, ' ', scan);
    struct docker_entry en = {.stream = SEGMENT_STDOUT};

    if (space == NULL && in->len < TIME_ROOM && !whole)
        return 0;
    if (space == NULL || !clock_parse(in->ptr, (size_t)(space - in->ptr), &en.unix_ns) ||
        en.unix_ns < 0)
        return error_set(e, ERR_CORRUPT, "the log stream has a line without a time");
    size_t head = (size_t)(space - in->ptr) + 1;
    ptrdiff_t n =
        raw_text_len(d, (struct span){in->ptr + head, in->len - head}, en.unix_ns, whole);
    if (n < 0)
        return 0;
    en.bytes = (struct span){in->ptr + head, (size_t)n};
    d->within = n > 0 && en.bytes.ptr[n - 1] != '\n' && n == PIECE;
    in->ptr += head + (size_t)n;
    in->len -= head + (size_t)n;
    on_entry(arg, &en);
    return 1;
}

static int
feed_raw(struct docker_demux *d, struct span in,
         void (*on_entry)(void *arg, const struct docker_entry *en), void *arg,
         struct error *e)
{
    while (in.len > 0) {
        size_t n = in.len < RAW_SLICE ? in.len : RAW_SLICE;
        int rc = 1;
        str_add(&d->pending, in.ptr, n);
        in.ptr += n;
        in.len -= n;
        struct span left = {d->pending.ptr, d->pending.len};
        while (rc == 1 && left.len > 0)
            rc = take_raw(d, &left, false, on_entry, arg, e);
        if (rc < 0)
            return rc;
        if (left.len > 0)
            memmove(d->pending.ptr, left.ptr, left.len);
        str_truncate(&d->pending, left.len);
    }
    return 0;
}

void
docker_demux_end(struct docker_demux *d,
                 void (*on_entry)(void *arg, const struct docker_entry *en), void *arg)
{
    struct error ignored = ERROR_INIT;
    struct span left = {d->pending.ptr, d->pending.len};

    while (d->raw && left.len > 0 &&
           take_raw(d, &left, true, on_entry, arg, &ignored) == 1)
        ;
    str_reset(&d->pending);
}

int
docker_demux_feed(struct docker_demux *d, const char *bytes, size_t n,
                  void (*on_entry)(void *arg, const struct docker_entry *en), void *arg,
                  struct error *e)
{
    struct span in = {bytes, n};
    if (!d->known && n > 0) {
        d->known = true;
        d->raw = bytes[0] >= '0' && bytes[0] <= '9';
    }
    if (d->raw)
        return feed_raw(d, in, on_entry, arg, e);
    while (d->pending.len > 0 && in.len > 0) {
        size_t took = top_up(d, in);
        in.ptr += took;
        in.len -= took;
        struct span whole = {d->pending.ptr, d->pending.len};
        int r = take_entries(&whole, on_entry, arg, e);
        if (r < 0)
            return r;
        if (whole.len == 0)
            str_reset(&d->pending);
    }
    if (d->pending.len > 0)
        return 0;
    int r = take_entries(&in, on_entry, arg, e);
    if (r < 0)
        return r;
    str_add(&d->pending, in.ptr, in.len);
    return 0;
}

void
docker_cursor_note(struct docker_cursor *c, enum segment_stream s, int64_t unix_ns,
                   struct span bytes)
{
    if (s == SEGMENT_MARK)
        return;
    c->streams[s].any = true;
    c->streams[s].ns = unix_ns;
    c->streams[s].open = bytes.len == 0 || bytes.ptr[bytes.len - 1] != '\n';
    if (c->n_cuts > 0 && unix_ns < c->cut[c->n_cuts - 1].ns)
        c->disorder = true;
    bool later = unix_ns > c->max_ns;
    bool spaced =
        c->n_cuts == 0 || unix_ns - c->cut[c->n_cuts - 1].ns >= DOCKER_CURSOR_MARGIN_NS;
    if (later && spaced) {
        if (c->n_cuts == 2)
            c->cut[0] = c->cut[1];
        unsigned at = c->n_cuts == 0 ? 0 : 1;
        c->cut[at].ns = unix_ns;
        c->cut[at].index = c->frames;
        c->n_cuts = at + 1;
    }
    if (later)
        c->max_ns = unix_ns;
    c->frames++;
}

void
docker_cursor_gap(struct docker_cursor *c)
{
    c->unseen = 1;
    c->n_cuts = 0;
    c->disorder = false;
    c->frames = 0;
}

bool
docker_cursor_needs_newline(const struct docker_cursor *c, const struct docker_entry *en)
{
    return en->stream != SEGMENT_MARK && c->streams[en->stream].any &&
           c->streams[en->stream].open && c->streams[en->stream].ns != en->unix_ns;
}

void
docker_cursor_resume(const struct docker_cursor *c, int64_t now_wall_ns,
                     struct docker_resume *ret)
{
    *ret = (struct docker_resume){.skip = c->frames};
    bool stepped = c->disorder || now_wall_ns < c->max_ns;
    /* The newest cut that is a margin older than the newest entry. */
    for (unsigned i = c->n_cuts; i > 0 && !stepped; i--) {
        if (c->max_ns - c->cut[i - 1].ns < DOCKER_CURSOR_MARGIN_NS)
            continue;
        ret->since_ns = c->cut[i - 1].ns;
        ret->skip = c->frames - c->cut[i - 1].index;
        ret->exact = true;
        return;
    }
    if (c->unseen == 0)
        return;
    /* The start is not known: only a time is left to go by. */
    ret->since_ns = c->max_ns + 1;
    ret->skip = 0;
    if (!stepped && c->n_cuts > 0) {
        ret->since_ns = c->cut[0].ns;
        ret->skip = c->frames - c->cut[0].index;
        ret->exact = true;
    }
}

void
docker_since_text(int64_t ns, char out[DOCKER_SINCE_LEN])
{
    if (ns < 0)
        ns = 0;
    snprintf(out, DOCKER_SINCE_LEN, "%" PRId64 ".%09" PRId64, ns / 1000000000,
             ns % 1000000000);
}
