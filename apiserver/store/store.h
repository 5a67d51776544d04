/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The versioned store: one interface, two drivers beneath one core. files keeps the log
 * of this machine (docs/formats/store.md). etcd keeps the objects in an etcd cluster that
 * several API servers share (docs/formats/store-etcd.md); the core is then a cache that
 * follows it, always at one revision of the history.
 *
 * Keys are (resource, namespace, name), e.g. ("runs.drover.dev", "default", "hello"). A
 * revision is a global, strictly increasing 64-bit number, never reused; gaps are legal.
 * One commit may carry several operations; they share one revision.
 *
 * With files the local view is the truth. With etcd it may be behind what another server
 * has acknowledged: store_sync is the barrier for reads that must not be.
 *
 * Visibility: get, list and watch see a revision only once it is durable; only the
 * conflict check (expected revision) and store_peek see commits that wait for the disk.
 * Revisions become visible in order, without exception; completions and watch events come
 * on the loop in that order, and at most 64 callbacks in one go. A lazy commit is visible
 * at once unless older commits still wait for the disk: then it keeps its place behind
 * them. A memory commit does not wait even then: it takes a revision that was left free
 * below them.
 *
 * A failed write or fsync poisons the store: every later commit fails with ERR_IO,
 * on_fatal is called once, and the process is expected to exit. A full disk (ENOSPC
 * before anything of the batch became durable) is ERR_FULL for the commits of that batch
 * and is not fatal. Meanwhile memory commits go on, lazy commits stay visible but may be
 * lost with the process, and commits that only delete, or change objects that are being
 * deleted, may use a reserve of 256 KiB.
 *
 * With etcd every durability is DURABLE: an object that only one server knows would be no
 * truth. A commit is checked there: what the local view cannot refuse comes as
 * ERR_CONFLICT, ERR_EXISTS or ERR_NOT_FOUND in done, by which time the local view has the
 * state that won. ERR_UNAVAILABLE: it was not made and will not be. ERR_TIMEOUT: not
 * known, etcd did not answer. ERR_TOO_LARGE: more than etcd takes.
 *
 * Threading: all calls on the loop thread. Ownership: objects are refcounted; callbacks
 * borrow. Cost: get O(log n), put O(log n) amortised, list O(matches) with an O(leaves)
 * snapshot, event O(watchers that want it).
 */
#ifndef APISERVER_STORE_H
#define APISERVER_STORE_H

#include "api/object.h"
#include "io/loop.h"

struct store;
struct store_list;
struct store_watch;

struct store_key {
    const char *resource, *ns, *name; /* borrowed; ns "" when cluster-scoped */
};

struct store_etcd_opts;
struct keyring;

struct store_opts {
    const struct store_etcd_opts *etcd; /* not NULL: this driver (store_etcd.h) */
    const char *dir;                    /* data directory; log/ and snapshot/ below it */
    bool read_only; /* changes no file: no new segment, torn tails stay; only for tools */
    bool inline_sync; /* no writer thread: commits complete in store_flush (sim, tests) */
    uint32_t segment_bytes; /* of the log; 0: 16 MiB; tests have smaller ones */
    size_t ring_events;     /* retained for watches; 0: 100 000 */
    size_t ring_bytes;      /* 0: 64 MiB */
    /* Bytes of log since the last snapshot; 0: 64 MiB, or half of what the objects take
     * if that is more: writing a snapshot costs what they take. */
    uint64_t snapshot_after;
    /* Segments that a snapshot has made superfluous stay for watchers that are behind:
     * until their newest write is this old (0: 1 h, -1: at once), or they exceed this
     * many bytes (0: 256 MiB) or 256 files. They go at once when the disk is full. */
    int64_t retain_s;
    uint64_t retain_bytes;
    void (*on_fatal)(void *arg, const struct error *e);
    /* Facts depend on the kind; replay asks for it by resource. NULL result: kept without
     * columns and fields. A watch asks too: one of a lazy kind cannot resume from before
     * this start (ERR_EXPIRED), because what it saw may have been lost. */
    const struct kind *(*kind_of)(void *arg, const char *resource);
    void *arg;
    /* Values of Secrets are sealed with it wherever they leave memory (store_seal.h).
     * Borrowed. NULL: nothing is sealed or opened. */
    const struct keyring *seal;
    const struct store_fs_ops
        *fs; /* file operations; NULL: the real ones. Fault tests. */
};

/* Locks the directory (ERR_BUSY names the holder's pid), replays, cuts a torn tail of the
 * last segment with a warning; a bad record elsewhere is ERR_CORRUPT naming file and
 * offset. */
int store_open(struct loop *l, const struct store_opts *opts, struct store **ret,
               struct error *e) WARN_UNUSED;
/* Waits for pending commits, writes nothing new. */
void store_close(struct store *s);

/* Whether others write to the same store. */
bool store_is_shared(const struct store *s);

uint64_t store_revision(const struct store *s); /* last visible */
uint64_t store_oldest(const struct store *s);   /* watches from before this get EXPIRED */
/* Every logged change after this revision can be read back (store_log_reader.h). */
uint64_t store_retained(const struct store *s);

/* Borrowed until the next loop turn; ref it to keep it. NULL: absent. */
struct object *store_get(const struct store *s, const struct store_key *k);
/* The latest including commits not yet durable: what a read-modify-write starts from. */
struct object *store_peek(const struct store *s, const struct store_key *k);

enum store_op_type { STORE_PUT, STORE_DELETE };
struct store_op {
    enum store_op_type type;
    struct store_key key;
    uint64_t expect; /* revision of what is there (peek); 0: must be absent */
    /* PUT: the new object, reference taken on success, its revision is set by the store
     * before done at the latest. DELETE: the last state as watchers shall see it (e.g.
     * with deletionTimestamp), or NULL for the stored one. etcd: always the stored one.
     */
    struct object *obj;
};
enum store_durability {
    STORE_DURABLE, /* done after fdatasync */
    STORE_LAZY,    /* logged, not waited for */
    STORE_MEMORY,  /* not logged: Lease renewals */
};
/* e is NULL on success. revision: the commit's. */
typedef void store_done_fn(void *arg, uint64_t revision, const struct error *e);
/* Returns ERR_CONFLICT / ERR_EXISTS / ERR_NOT_FOUND at once from the expectation;
 * otherwise done is called exactly once, later, never from inside this call (LAZY and
 * MEMORY: at the end of the turn). done may be NULL. *ret_revision: 0 with etcd, which
 * gives the revision to done. */
int store_commit(struct store *s, const struct store_op *ops, size_t n,
                 enum store_durability durability, store_done_fn *done, void *arg,
                 uint64_t *ret_revision, struct error *e) WARN_UNUSED;
/*
 * The barrier of a consistent read: true when the local view is at least as new as every
 * write that any server acknowledged before this call (files: always; done is not
 * called). False: done is called once, later, when it is; or with ERR_UNAVAILABLE or
 * ERR_TIMEOUT after a bounded time.
 */
bool store_sync(struct store *s, store_done_fn *done, void *arg) WARN_UNUSED;
/* True when `revision` is visible. False: done is called once, later, when it is; with
 * ERR_TIMEOUT when it is not after timeout_ms (with inline_sync: at once). */
bool store_reach(struct store *s, uint64_t revision, int64_t timeout_ms,
                 store_done_fn *done, void *arg) WARN_UNUSED;
/* Only with inline_sync: writes and completes all pending commits now. */
void store_flush(struct store *s);

/* A consistent snapshot at store_revision(), sorted by (namespace, name) bytewise; holds
 * references to leaves, not a copy; other writes go on. ns NULL: all namespaces.
 * start_after
 * ("ns/name") NULL: from the beginning. */
struct store_list *store_list(struct store *s, const char *resource, const char *ns,
                              const char *start_after);
/* Another list of the same snapshot, at the same place. O(leaves). */
struct store_list *store_list_copy(const struct store_list *l);
/* Goes on past start_after ("ns/name"), never backwards. O(leaves). */
void store_list_seek(struct store_list *l, const char *start_after);
uint64_t store_list_revision(const struct store_list *l);
struct object *
store_list_next(struct store_list *l); /* borrowed until list free; NULL: end */
size_t store_list_remaining(const struct store_list *l); /* upper bound, no selector */
void store_list_free(struct store_list *l);
size_t store_count(const struct store *s, const char *resource);
/* Calls fn for each resource name present. */
void store_resources(struct store *s, void (*fn)(void *arg, const char *resource),
                     void *arg);

/* Rebuilds the facts of a resource's objects under the kind that kind_of gives now: after
 * a start for kinds that are objects themselves, and when a kind has changed. No
 * revision, no event. Takes some 10 us per object whose facts are of another shape. */
int store_refresh(struct store *s, const char *resource, struct error *e) WARN_UNUSED;
/* The same for up to max objects of a list of the resource, leaving out those that were
 * written or deleted since. 1: there may be more; 0: that was all. */
int store_refresh_some(struct store *s, const char *resource, struct store_list *l,
                       size_t max, struct error *e) WARN_UNUSED;

/* --- watch --- */
enum store_event_type { STORE_ADDED, STORE_MODIFIED, STORE_DELETED };
struct store_event {
    uint64_t revision;
    enum store_event_type type;
    const char *resource;
    const struct object *obj;  /* new state; for DELETED the last state at `revision` */
    const struct object *prev; /* state before, NULL for ADDED: selector transitions */
};
/*
 * A watcher is a cursor over the ring: it costs no memory per event. One that is behind
 * the ring, from the start or because it was slow, reads the log, a batch of 64 events or
 * 1 MiB at a time, and gets ERR_EXPIRED only past the retention; kinds with commits that
 * are not logged (Leases, Events), and watches of all resources, get it past the ring.
 * wake() is called on the loop when there may be an event for it (at most once until it
 * calls store_watch_next). resource NULL: all resources. ns NULL: all. name NULL: all.
 * label_key/value: optional exact label demanded (indexed: an event wakes only watchers
 * that want it).
 */
struct store_watch_opts {
    const char *resource, *ns, *name;
    const char *label_key, *label_value;
    uint64_t from; /* events with revision > from */
    void (*wake)(void *arg);
    void *arg;
};
/* ERR_EXPIRED: from is older than what is retained; message "too old resource version: N
 * (M)". */
int store_watch(struct store *s, const struct store_watch_opts *opts,
                struct store_watch **ret, struct error *e) WARN_UNUSED;
/* 1: *ret filled (valid until the next call); 0: nothing now; < 0 ERR_EXPIRED: fell
 * behind, or (etcd) the store lost sight of the history. */
int store_watch_next(struct store_watch *w, struct store_event *ret, struct error *e);
/* All events up to this revision have been seen by the watcher (for bookmarks). */
uint64_t store_watch_position(const struct store_watch *w);
void store_watch_free(struct store_watch *w);

struct store_stats {
    uint64_t revision, oldest, floor;
    uint64_t commits, fsyncs, fsync_us_max, log_bytes, snapshot_revision;
    size_t objects, object_bytes, watchers, pending;
    bool full; /* the last write that was tried found no space */
    /* etcd: commits lost to another server, commits that had no answer at first, times
     * that everything was read again. */
    uint64_t lost_races, unknown_outcomes, reloads;
};
void store_stats(const struct store *s, struct store_stats *ret);
/* Starts a snapshot in the background if none runs; done on the loop. etcd:
 * ERR_UNSUPPORTED. */
void store_snapshot(struct store *s, store_done_fn *done, void *arg);

/*
 * Forgets what was before `revision`: watches from earlier ones get ERR_EXPIRED, and the
 * segments that hold only earlier ones are removed after a snapshot; then done is called.
 * ERR_BAD_REQUEST: in the future; ERR_EXPIRED: already forgotten. After a restart older
 * revisions may be served again if the segment that holds them has newer ones too.
 */
int store_compact(struct store *s, uint64_t revision, store_done_fn *done, void *arg,
                  struct error *e) WARN_UNUSED;

/* File operations of the log and snapshots, so that tests can fail the Nth one. A NULL
 * member: the real one. */
struct store_fs_ops {
    int (*open)(void *arg, const char *path, int flags, mode_t mode);
    ssize_t (*pread)(void *arg, int fd, void *buf, size_t n, off_t off);
    ssize_t (*write)(void *arg, int fd, const void *buf, size_t n);
    int (*fdatasync)(void *arg, int fd);
    int (*fallocate)(void *arg, int fd, off_t off, off_t len);
    int (*ftruncate)(void *arg, int fd, off_t len);
    int (*rename)(void *arg, const char *from, const char *to);
    int (*unlink)(void *arg, const char *path);
    void *arg;
};

#endif
