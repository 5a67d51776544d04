/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job's log: one framed byte sequence kept in segment files of one directory.
 *
 * Frame:  u32le length of bytes | u64le unix nanoseconds | u8 stream | bytes
 * Stream: 1 stdout, 2 stderr, 3 marker (text written by drover: "12 bytes dropped", ...)
 * Offset: byte position in the frame sequence (headers included). File names are the
 *         16-digit hex offset of their first byte + ".seg". The same bytes are stored by
 * the agent's spool and by drover-streams; appends carry the offset.
 *
 * Append at offset < length is an idempotent skip of what is already there; > length is
 * ERR_CONFLICT with the length in ret_length. A torn last frame (after a crash) is cut at
 * open. Single writer per directory; readers use pread on the same files and may live in
 * other processes. Bounds: frame bytes <= 64 KiB, segment <= 8 MiB before rolling.
 */
#ifndef IO_SEGMENT_H
#define IO_SEGMENT_H

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"

#define SEGMENT_HEADER 13
#define SEGMENT_FRAME_MAX (64 * 1024)
#define SEGMENT_BYTES (8 * 1024 * 1024)
enum segment_stream { SEGMENT_STDOUT = 1, SEGMENT_STDERR = 2, SEGMENT_MARK = 3 };

struct segment_frame {
    uint64_t offset; /* of the header */
    int64_t unix_ns;
    enum segment_stream stream;
    struct span bytes;
};

void segment_frame_put(struct str *out, int64_t unix_ns, enum segment_stream s,
                       const void *bytes, size_t n);
/* 1: one frame decoded from the start of buf; 0: needs more bytes; < 0: malformed. */
int segment_frame_get(const char *buf, size_t n, uint64_t offset,
                      struct segment_frame *ret, struct error *e);

/* How many bytes of buf are whole frames. 0, or < 0 when what follows them is malformed.
 */
int segment_whole(const char *buf, size_t n, uint64_t offset, size_t *ret_whole,
                  struct error *e);

struct segment_log;
/* Creates the directory when absent; finds the length; cuts a torn tail. */
int segment_open(const char *dir, struct segment_log **ret, struct error *e) WARN_UNUSED;
void segment_close(struct segment_log *s);
uint64_t segment_length(const struct segment_log *s);
uint64_t segment_first(const struct segment_log *s); /* oldest retained offset */
/* Whole frames only. *ret_length: the length afterwards, also on ERR_CONFLICT. */
int segment_append(struct segment_log *s, uint64_t offset, const void *frames, size_t n,
                   uint64_t *ret_length, struct error *e) WARN_UNUSED;
int segment_sync(struct segment_log *s, struct error *e) WARN_UNUSED; /* fdatasync */
/* What is written and not synced, to be synced by another thread while the writer goes
 * on. After the first take, rolling to a new file does not sync the old one any more: it
 * comes with the next take. Descriptors of its own. */
struct segment_file {
    int fd;
    uint64_t start;
};
struct segment_dirty {
    vec(struct segment_file) files;
    int dir_fd; /* -1: no file was made */
};
#define SEGMENT_DIRTY_INIT ((struct segment_dirty){.dir_fd = -1})
/* Adds to *d. On failure nothing is taken. */
int segment_take_dirty(struct segment_log *s, struct segment_dirty *d,
                       struct error *e) WARN_UNUSED;
/* Moves all of *from to *to. */
void segment_dirty_join(struct segment_dirty *to, struct segment_dirty *from);
int segment_dirty_sync(const struct segment_dirty *d, struct error *e) WARN_UNUSED;
void segment_dirty_done(struct segment_dirty *d); /* closes; empty afterwards */
/* Appends up to max bytes of the sequence at offset to out; none at the end. From any
 * process. While a frame is being written its first part may be seen: take whole frames
 * only (segment_whole) and come back. ERR_EXPIRED before the first retained offset. */
int segment_read(const char *dir, uint64_t offset, struct str *out, size_t max,
                 struct error *e) WARN_UNUSED;
/* Length of the sequence as on disk now (a frame being written counts in part), without
 * opening for write. ERR_NOT_FOUND when there is no directory. */
int segment_stat(const char *dir, uint64_t *ret_first, uint64_t *ret_length,
                 struct error *e) WARN_UNUSED;
/* fdatasync of the n newest files. */
int segment_sync_newest(const char *dir, size_t n, struct error *e) WARN_UNUSED;
/* Cuts the sequence off at a length, a frame's beginning; nobody has it open. */
int segment_cut(const char *dir, uint64_t length, struct error *e) WARN_UNUSED;
/* Whether logs may still be written to the file system of dir: 5 % of it, but not more
 * than 512 MiB, stay free. True when that cannot be found out. */
bool segment_room(const char *dir);
/* Drops whole segments before offset. */
int segment_trim(struct segment_log *s, uint64_t offset, struct error *e) WARN_UNUSED;

#endif
