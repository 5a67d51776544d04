/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log stream of the Engine API, taken apart, and the position in it. Pure: bytes in,
 * frames out.
 *
 * Wire (no tty, timestamps=1): 8-byte header (stream, 0, 0, 0, u32be length), then
 * "2026-01-02T03:04:05.123456789Z " and the bytes of one log entry, newline included. An
 * entry is one line, or 16 KiB of a longer one; the pieces of one line carry one
 * timestamp. Older daemons drop the newline that ended a line of several pieces: it is
 * put back in front of the stream's next entry.
 *
 * With a tty there are no headers, and everything is stdout: time, space, line; the first
 * byte tells (a year's digit). A line without an end is followed by a time only after
 * 16 KiB, or where the newline of a line of several pieces was dropped. There a time in
 * the daemon's own fixed form that is not before the piece's is taken for the next
 * entry's: in lines of over 16 KiB a job can be mistaken for its daemon.
 */
#ifndef DOCKER_STREAM_H
#define DOCKER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "io/segment.h"

struct docker_entry {
    enum segment_stream stream;
    int64_t unix_ns; /* 0 when the line carried no timestamp */
    struct span bytes;
};

#define DOCKER_STREAM_ENTRY_MAX (1024 * 1024)
struct docker_demux {
    struct str pending; /* incomplete entry */
    bool known, raw;    /* the stream has begun; it is that of a terminal */
    bool within;        /* raw: a piece of a line came, and its rest has not */
};
void docker_demux_init(struct docker_demux *d);
void docker_demux_done(struct docker_demux *d);
/* The next bytes are those of a new stream. */
void docker_demux_reset(struct docker_demux *d);
/* Calls on_entry for each whole entry, in order; the span is valid during the call.
 * ERR_CORRUPT for a header that is none or an entry over the bound. */
int docker_demux_feed(struct docker_demux *d, const char *bytes, size_t n,
                      void (*on_entry)(void *arg, const struct docker_entry *en),
                      void *arg, struct error *e) WARN_UNUSED;
/* The stream is whole: only now a last line of a terminal without a newline is known to
 * be one. */
void docker_demux_end(struct docker_demux *d,
                      void (*on_entry)(void *arg, const struct docker_entry *en),
                      void *arg);

/*
 * Where a reader stands, so that it can go on in a new stream (after a restart of the
 * agent or the daemon) with no entry twice and none left out.
 *
 * A daemon can only be asked for "entries from a time on". Old ones filter each entry by
 * its time, new ones start at the first that matches; both give the same entries when
 * asked for the time of a cut: an entry later than all before it and, by a margin of at
 * least DOCKER_CURSOR_MARGIN_NS, than those still to come could be off. So the resume
 * point is (time of a cut, how many of the frames from it on are already stored). When
 * the clock has stepped back there is no cut: resume from the start and skip all.
 *
 * The unit is the stored frame. Drover's own marks are not part of the daemon's sequence.
 */
#define DOCKER_CURSOR_MARGIN_NS INT64_C(1000000000)
struct docker_cursor {
    uint64_t frames; /* noted so far */
    uint64_t unseen; /* frames before the first noted one are not counted: 1, else 0 */
    int64_t max_ns;
    struct {
        int64_t ns;
        uint64_t index; /* of the cut's frame, counted from 0 */
    } cut[2];           /* [0] older */
    unsigned n_cuts;
    bool disorder; /* an entry came that is older than a cut */
    struct {
        int64_t ns;
        bool any, open; /* last entry did not end in a newline */
    } streams[3];
};

/* One stored frame, in order. */
void docker_cursor_note(struct docker_cursor *c, enum segment_stream s, int64_t unix_ns,
                        struct span bytes);
/* The frames before this point are not all known (trimmed, or dropped on purpose). */
void docker_cursor_gap(struct docker_cursor *c);
/* True when "\n" belongs in front of this entry (see the top). */
bool docker_cursor_needs_newline(const struct docker_cursor *c,
                                 const struct docker_entry *en);

struct docker_resume {
    int64_t since_ns; /* 0: from the start */
    uint64_t skip;    /* frames already stored */
    bool exact;       /* the first entry must carry since_ns, else some are lost */
};
void docker_cursor_resume(const struct docker_cursor *c, int64_t now_wall_ns,
                          struct docker_resume *ret);
/* "1700000000.000000123" for the query. */
#define DOCKER_SINCE_LEN 40
void docker_since_text(int64_t ns, char out[DOCKER_SINCE_LEN]);

#endif
