/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: records in segment files, written by one thread (store_writer.h) and read once
 * at the start (store_reader.h, store_replay.c). store_log.c opens with the format.
 *
 * Threading: a log belongs to the thread that appends. Commits are handed to it by batch;
 * while they are with it, nobody changes them.
 */
#ifndef APISERVER_STORE_LOG_H
#define APISERVER_STORE_LOG_H

#include <sys/queue.h>

#include "apiserver/store/store.h"
#include "base/str.h"

#define LOG_VERSION 3 /* 1 and 2 are read too: see store_log.c */
#define LOG_ID_BYTES 16
#define LOG_SUM_BYTES 16
#define LOG_HEAD_BYTES 80
#define LOG_RECORD_HEAD 40
#define LOG_OP_HEAD 24
#define LOG_ALIGN 8
#define LOG_SEGMENT_BYTES (16u << 20)
#define LOG_RESERVE_BYTES (256u << 10)
#define LOG_BODY_MAX (8u << 20)
#define LOG_OPS_MAX 1024
/* A delete carries the last state unless that is larger. */
#define LOG_LAST_STATE_MAX (16u << 10)
#define LOG_MAGIC "DROVLOG1"
#define LOG_SNAP_MAGIC "DROVSNP1"

/* The real file operations. */
extern const struct store_fs_ops store_fs_real;

enum log_type { LOG_COMMIT = 1, LOG_FLOOR, LOG_SEAL, LOG_ITEMS, LOG_END };
#define LOG_FLAG_LAZY 1u

/* The head of a segment or snapshot. */
struct log_head {
    unsigned char id[LOG_ID_BYTES];
    unsigned version; /* 0: the current one, which is what is written */
    uint64_t first;   /* snapshot: its revision */
    uint64_t floor;
    uint64_t prev_first, prev_end; /* the segment before, 0: this is the first */
};

struct log_op {
    bool del;
    struct span resource, ns, name, object;
    struct span facts; /* in a snapshot */
    uint64_t revision; /* in a commit: of what was there before, 0: nothing */
};

/* --- encoding --- */

void log_head_write(const struct log_head *h, const char magic[8],
                    char out[LOG_HEAD_BYTES]);
/* What a record with these operations takes in a file, padding included. */
size_t log_op_size(size_t resource, size_t ns, size_t name, size_t object);
size_t log_record_size(size_t body);
/* begin, any number of ops, end; `at` is the file offset of out's first byte. */
size_t log_record_begin(struct str *out, enum log_type type, unsigned flags,
                        uint64_t revision);
void log_record_op(struct str *out, const struct log_op *op);
void log_record_end(struct str *out, size_t begin, unsigned n_ops, uint64_t group,
                    const struct log_head *h, uint64_t at);
void log_record_sum(const struct log_head *h, const char *rec, size_t size, uint64_t off,
                    unsigned char out[LOG_SUM_BYTES]);
void log_put32(char *p, uint32_t v);
void log_put64(char *p, uint64_t v);
void log_add64(struct str *out, uint64_t v);
uint32_t log_get32(const char *p);
uint64_t log_get64(const char *p);

/* --- appending --- */

/* One operation of a commit, as the writer and the loop share it. */
struct store_change {
    enum store_op_type type;
    struct store_resource *resource;
    uint64_t expect;
    bool bare;          /* a delete that is logged without the last state */
    struct object *obj; /* a reference; for a delete the state that watchers shall see */
    char *sealed;       /* what is logged instead of obj's bytes; NULL: they are */
    size_t sealed_len;
};
struct store_pending {
    uint64_t revision;
    enum store_durability durability;
    bool applied;        /* visible already (lazy) */
    bool reclaim;        /* deletes only: may use the reserve of the segment */
    store_done_fn *done; /* NULL: none, or called already */
    void *arg;
    size_t n;
    size_t size;                      /* of its record; 0: not logged */
    STAILQ_ENTRY(store_pending) link; /* in a batch, or collected */
    TAILQ_ENTRY(store_pending) wait;  /* while not applied */
    struct store_change changes[];
};
STAILQ_HEAD(store_pending_list, store_pending);

enum log_outcome { LOG_UNTRIED, LOG_WRITTEN, LOG_SYNCED, LOG_FAILED };
struct log_batch {
    struct store_pending_list commits;
    size_t size;    /* of all records */
    uint64_t floor; /* to be reserved by it; 0: none */
    uint64_t last;  /* the greatest revision in use when it was made */
    bool sync;      /* somebody waits for it */
    bool reclaim;   /* of reclaiming commits only */
    enum log_outcome outcome;
    STAILQ_ENTRY(log_batch) link;
};
STAILQ_HEAD(log_batch_list, log_batch);

struct log_counters {
    uint64_t fsyncs, fsync_us_max, bytes;
};

struct store_log;
/* Starts a new segment after the one that `prev` names, with room reserved up to floor.
 * dir is copied; fs is borrowed. ERR_FULL, ERR_IO. */
int store_log_open(const char *dir, const struct store_fs_ops *fs, uint32_t segment_bytes,
                   const struct log_head *start, struct store_log **ret,
                   struct error *e) WARN_UNUSED;
/* Makes what was written but not waited for durable, unless the log is broken. */
void store_log_close(struct store_log *log);
/*
 * Writes the batches in order with one write and one fdatasync, more only where a new
 * segment must be begun, and sets each batch's outcome. On ERR_FULL the batches marked
 * LOG_FAILED have left no trace and the log goes on; those before are as marked. On
 * ERR_IO the log is broken for good.
 */
int store_log_append(struct store_log *log, struct log_batch_list *batches,
                     struct error *e) WARN_UNUSED;
/* Attests that all before is durable (see the format), when there is news. */
int store_log_seal(struct store_log *log, struct error *e) WARN_UNUSED;
bool store_log_wants_seal(const struct store_log *log);
void store_log_counters(const struct store_log *log, struct log_counters *ret);

#endif
