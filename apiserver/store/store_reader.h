/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the files that store_log.c describes. All bytes are untrusted: every length is
 * checked before it is used, and a record is shown only when its checksum holds.
 *
 * Threading: a reader belongs to one thread. Memory: a window of 1 MiB, or one record.
 */
#ifndef APISERVER_STORE_READER_H
#define APISERVER_STORE_READER_H

#include "apiserver/store/store_log.h"

struct log_reader {
    const struct store_fs_ops *fs;
    int fd;
    char *path;
    uint64_t size;
    struct log_head head;
    uint32_t version;
    uint64_t pos; /* of the next record */
    char *window;
    uint64_t window_at;
    size_t window_len, window_cap;
};

struct log_record {
    enum log_type type;
    unsigned flags, n_ops;
    uint64_t revision, group, offset;
    const char *body; /* borrowed until the next call */
    size_t body_len;
};

/* fs is borrowed; store_fs_real. Takes fd over, also on failure. ERR_CORRUPT: the head is
 * not what magic asks for. */
int log_reader_init(struct log_reader *r, const struct store_fs_ops *fs, int fd,
                    const char *path, const char magic[8], struct error *e) WARN_UNUSED;
int log_reader_open(struct log_reader *r, const struct store_fs_ops *fs, const char *path,
                    const char magic[8], struct error *e) WARN_UNUSED;
void log_reader_done(struct log_reader *r);

enum log_read { LOG_READ_RECORD, LOG_READ_END, LOG_READ_BAD };
/* END: nothing but zeros from pos on. BAD: no valid record at pos, and not the end. */
int log_reader_next(struct log_reader *r, struct log_record *ret, enum log_read *ret_what,
                    struct error *e) WARN_UNUSED;
/* The same from the record's head alone: without a body, and unchecked. For finding one's
 * way; BAD and END are not told apart. */
int log_reader_peek(struct log_reader *r, struct log_record *ret, enum log_read *ret_what,
                    struct error *e) WARN_UNUSED;
/* Whether a valid record after pos shows that the bytes at pos were durable once. */
int log_reader_attested(struct log_reader *r, bool *ret, struct error *e) WARN_UNUSED;

struct log_ops {
    const char *p, *end;
    unsigned left;
};
void log_ops_init(struct log_ops *c, const struct log_record *rec);
/* 1: *ret filled, borrowing from the record; 0: end; ERR_CORRUPT. */
int log_ops_next(struct log_ops *c, struct log_op *ret, struct error *e) WARN_UNUSED;

#endif
