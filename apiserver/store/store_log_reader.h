/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading committed changes back out of the log, for watchers that are behind the ring.
 *
 *     log_back_open(dir, from, to, &b, &e)       revisions in (from, to]
 *     while (log_back_next(b, &change, &e) == 1) ...
 *     log_back_close(b)
 *
 * What is in the log: every durable and every lazy commit. What is not: memory commits
 * (renewals of Leases), so a watcher of such a kind cannot be served from here. A lazy
 * commit is visible a moment before it is in the files.
 *
 * Segments stay while they are within the retention (store.h); store_retained() is the
 * oldest `from` that can be read. A segment may be removed while it is read: then the
 * reader goes on if it has it open already, and gets ERR_EXPIRED if not.
 *
 * Threading: a reader belongs to one thread, any thread; it blocks on the disk, so not
 * the loop. It reads while the log writer appends. Memory: a window of 1 MiB (or one
 * record) and 16 bytes for each commit of a segment in which log_back_version looked.
 */
#ifndef APISERVER_STORE_LOG_READER_H
#define APISERVER_STORE_LOG_READER_H

#include "apiserver/store/store_log.h"

struct log_back;

struct log_change {
    uint64_t revision;
    uint64_t prev; /* revision of the version that was there before; 0: none */
    bool del, lazy;
    struct span resource, ns, name; /* borrowed until the next call */
    /* Canonical bytes as stored. Of a deletion the last state as watchers shall see it,
     * or nothing when it was large or made on a full disk: then log_back_version of prev
     * is the second best. */
    struct span object; /* of sealed resources: sealed, see store_seal.h */
};

/* log_dir is <data>/log. ERR_EXPIRED "too old resource version: N (M)": not retained. */
int log_back_open(const char *log_dir, uint64_t from, uint64_t to, struct log_back **ret,
                  struct error *e) WARN_UNUSED;
/* 1: *ret filled; 0: no more, see log_back_position; ERR_EXPIRED: the segment has gone;
 * ERR_CORRUPT naming file and offset. */
int log_back_next(struct log_back *b, struct log_change *ret, struct error *e);
/* Every change in the files up to this revision has been returned. `to` after the end of
 * a complete reading; less when the log ends before: memory commits, or lazy ones that
 * are not yet written. */
uint64_t log_back_position(const struct log_back *b);
/* Appends the bytes that a key had at exactly this revision (a change's prev).
 * 1: found; 0: not in what is retained. Cost: a pass over the heads of the records of one
 * segment, the first time. */
int log_back_version(struct log_back *b, const struct log_change *key, uint64_t revision,
                     struct str *out, struct error *e) WARN_UNUSED;
void log_back_close(struct log_back *b); /* NULL ok */

/* The oldest `from` of which every later change is in the segments of log_dir, going by
 * their heads. */
int log_back_oldest(const char *log_dir, uint64_t *ret, struct error *e) WARN_UNUSED;

#endif
