/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The durable list of jobs that hold something on this machine.
 *
 *   <dir>/journal/id            the journalID, made with the journal
 *   <dir>/journal/<uid>.json    one entry, whole or absent (temp, fsync, rename, fsync)
 *
 * An entry is written before the first resource is taken and deleted after the last trace
 * of the job is gone: so after any crash every resource has an entry. An entry says only
 * who holds what; how far the job got is asked from the engine, and what was reported
 * from the server, so there is no third truth to keep in step.
 *
 * The journal is also the last arbiter: what does not fit beside its entries never
 * starts.
 */
#ifndef RUNNER_JOURNAL_H
#define RUNNER_JOURNAL_H

#include <stdint.h>

#include "base/error.h"
#include "base/id.h"

#define JOURNAL_GPUS_MAX 64
struct journal_hold { /* of the machine */
    int64_t cpu_milli, memory_mib, disk_mib;
    char gpus[JOURNAL_GPUS_MAX][64]; /* UUIDs */
    unsigned n_gpus;
};

struct journal_entry {
    char uid[64], ns[64], name[256], run[256], engine[16];
    char boot_id[64];
    int64_t stop_seconds;
    bool interruptible;
    struct journal_hold hold;
    bool freed; /* in memory only: holds nothing any more, waits for its last reports */
};

struct journal;
/* Makes it when absent. A file that is no entry is an error: a resource might hide behind
 * it. */
int journal_open(const char *dir, struct journal **ret, struct error *e) WARN_UNUSED;
void journal_close(struct journal *j);
const char *journal_id(const struct journal *j);
/* Durable when it returns 0. The entry is copied. */
int journal_add(struct journal *j, const struct journal_entry *entry,
                struct error *e) WARN_UNUSED;
int journal_remove(struct journal *j, const char *uid, struct error *e) WARN_UNUSED;
/* Its resources are free, the entry stays. */
void journal_free_hold(struct journal *j, const char *uid);
const struct journal_entry *journal_find(const struct journal *j, const char *uid);
size_t journal_len(const struct journal *j);
const struct journal_entry *journal_at(const struct journal *j, size_t i);

/* What the machine has; gpus: UUIDs. */
struct journal_capacity {
    int64_t cpu_milli, memory_mib, disk_mib; /* disk -1: not known, not checked */
    const char *const *gpus;
    size_t n_gpus;
};
/* True when `want` fits beside the entries; why not goes to reason. */
bool journal_fits(const struct journal *j, const struct journal_capacity *have,
                  const struct journal_hold *want, char *reason, size_t size);

#endif
