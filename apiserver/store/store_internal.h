/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share; nothing here is for other folders. */
#ifndef APISERVER_STORE_INTERNAL_H
#define APISERVER_STORE_INTERNAL_H

#include <sys/queue.h>

#include "apiserver/store/store.h"
#include "apiserver/store/store_hub.h"
#include "apiserver/store/store_index.h"
#include "apiserver/store/store_log.h"
#include "base/map.h"
#include "base/vec.h"

struct store_writer;
struct snapshot_job;

#define STORE_MAGIC 0x53544f52u
/* Revisions are reserved this many at a time; the next block is asked for when half of
 * one is used, so that nothing ever waits for a floor. */
#define STORE_FLOOR_BLOCK (1u << 20)
/* Left free before each batch of durable commits, for renewals that must not wait. */
#define STORE_REVISION_GAP 64
/* Callbacks in one go: each may write an HTTP reply, and the loop must not stay away from
 * its other work for more than 2 ms. */
#define STORE_CALLBACKS 64
#define STORE_BATCH_COMMITS 256
#define STORE_RETAIN_S 3600
#define STORE_RETAIN_BYTES (256u << 20)
#define STORE_RETAIN_FILES 256
#define STORE_BATCH_BYTES (4u << 20)

struct store_resource {
    char *name;
    struct store_index index;
    bool lazy; /* has had commits that the log may have lost */
};

/* What a commit still waiting for the disk made of a key. obj NULL: deleted. */
struct store_overlay {
    uint64_t revision;
    struct object *obj;
};

/* A done() that is due. */
struct store_finish {
    store_done_fn *done;
    void *arg;
    uint64_t revision;
    struct error *e; /* owned; NULL: success */
};

/* A reader that waits for a revision, a barrier that waits for its driver. */
struct store_wait {
    TAILQ_ENTRY(store_wait) entry;
    uint64_t revision;
    int64_t deadline_ms;
    store_done_fn *done;
    void *arg;
};
TAILQ_HEAD(store_waits, store_wait);

/*
 * What a driver does: makes commits durable and tells the core of changes. The core (the
 * index with its facts, the hub, completions, lists, waiting readers) is the same for
 * all, and is a consistent cache: it shows the history up to one revision, never parts of
 * a commit.
 *
 *     store_apply          one change of the revision that becomes visible next
 *     store_set_visible    ... all of them are in
 *     store_finish_later   the end of a commit or barrier
 *     store_reset          history was lost on the way: all watchers get EXPIRED
 *
 * All on the loop thread. A function that a driver does not need is NULL.
 */
struct store_driver {
    const char *name;
    bool shared; /* others write too: see store_is_shared */
    int (*open)(struct store *s, struct error *e);
    void (*drain)(struct store *s); /* completes or fails what is under way */
    void (*close)(struct store *s); /* frees the driver's part */
    int (*commit)(struct store *s, const struct store_op *ops, size_t n,
                  enum store_durability durability, store_done_fn *done, void *arg,
                  uint64_t *ret_revision, struct error *e);
    struct object *(*peek)(const struct store *s, const struct store_key *k);
    bool (*sync)(struct store *s, store_done_fn *done, void *arg);
    void (*end_of_turn)(struct store *s); /* hands over what was collected */
    void (*collect)(struct store *s);     /* after store_kick */
    void (*flush)(struct store *s);
    void (*snapshot)(struct store *s, store_done_fn *done, void *arg);
    int (*compact)(struct store *s, uint64_t revision, store_done_fn *done, void *arg,
                   struct error *e);
    void (*stats)(const struct store *s, struct store_stats *ret);
};
extern const struct store_driver store_driver_files, store_driver_etcd;

/* The part of the files driver. */
struct store_files {
    char *dir, *log_dir, *snapshot_dir;
    struct store_fs_ops fs;
    int lock_fd;
    uint64_t last;        /* the greatest revision handed out */
    uint64_t floor;       /* durable: revisions up to here may be used */
    uint64_t floor_asked; /* will be, with a batch on its way or the next one */
    uint64_t floor_due;   /* for the next batch to reserve; 0: nothing */
    bool floor_try;       /* worth a batch of its own (one try per commit when full) */

    struct map *overlay;                              /* key -> struct store_overlay */
    TAILQ_HEAD(store_waiting, store_pending) waiting; /* not yet visible, by revision */
    struct store_pending_list collected;              /* not yet with the writer */
    size_t n_collected, collected_bytes, n_waiting, n_with_writer;
    bool collected_durable;
    bool full;     /* the last batch found no space */
    bool poisoned; /* the log is broken */
    struct error poison;

    struct store_writer *writer;
    struct loop_pool *pool;
    struct snapshot_job *job; /* the snapshot that runs */
    uint64_t log_since_snapshot, snapshot_retry_at, snapshot_revision;
    struct loop_pool *back_pool; /* reads the log for watchers that are behind */
    bool snapshot_by_size; /* when the log is half as large as what a snapshot holds */
    vec(struct store_finish) snapshot_next; /* asked for while one ran */
    uint64_t retained;  /* every logged change after this revision is in the segments */
    uint64_t compacted; /* nobody may read from before this one */
    bool release;       /* the disk is full: the next clean-up keeps nothing extra */
};

struct store_etcd;

struct store {
    uint32_t magic;
    struct loop *loop;
    struct store_opts opts;
    const struct store_driver *driver;
    struct store_files *files; /* the driver's part: one of them */
    struct store_etcd *etcd;

    struct map *resources; /* name -> struct store_resource; entries are never removed */
    size_t n_objects, object_bytes;
    struct store_hub hub;
    uint64_t visible;     /* what get, list and watch show */
    uint64_t start_floor; /* of this start; revisions up to here may have been lost */
    uint64_t commits;

    struct loop_hook *hook;
    int kick_fd; /* makes the loop take another turn, for work due at its end */
    struct loop_io *kick_io;
    bool kicked;
    vec(struct store_finish) finished; /* in the order of revisions; the first ... */
    size_t n_called;                   /* ... of them have been called */
    vec(struct object *) graveyard;    /* replaced lately; borrowers may still look */
    size_t n_old_graves;               /* of the turn before: nobody can */
    struct store_waits waits;          /* by revision */
    struct loop_timer *wait_timer;
    int64_t wait_due_ms;
};

/* store.c */
struct store_resource *store_resource_get(struct store *s, const char *name);
const struct kind *store_kind(const struct store *s, const char *resource);
/* Applies one change to the index and, with an event, to the hub. */
void store_apply(struct store *s, uint64_t revision, const struct store_change *ch);
void store_set_visible(struct store *s, uint64_t revision);
/* The history between what is visible and `revision` is not known: nobody can watch from
 * before, and all watchers that are there get ERR_EXPIRED. The index is the caller's to
 * bring up to date. */
void store_reset(struct store *s, uint64_t revision);
/* Keeps a replaced object (takes the reference) until nobody can look at it any more. */
void store_bury(struct store *s, struct object *o);
/* What a commit demands of what is there (have; NULL: nothing), with the same words in
 * every driver: ERR_NOT_FOUND, ERR_EXISTS, ERR_CONFLICT. */
int store_check_expect(const struct store_key *k, enum store_op_type type,
                       uint64_t expect, const struct object *have,
                       struct error *e) WARN_UNUSED;
/* There is work for the end of the turn: makes sure that the turn ends soon. */
void store_kick(struct store *s);
void store_finish_later(struct store *s, store_done_fn *done, void *arg,
                        uint64_t revision, const struct error *e);
/* Calls what was due before the call, at most `limit`. */
void store_run_finished(struct store *s, size_t limit);

/* store_wait.c */
void store_wait_check(struct store *s); /* those that are due get their completion */
void store_wait_stop(struct store *s);  /* closing: all fail */

/* store_driver_files.c */
void store_overlay_free(void *arg);

/* store_commit.c */
int store_files_commit(struct store *s, const struct store_op *ops, size_t n,
                       enum store_durability durability, store_done_fn *done, void *arg,
                       uint64_t *ret_revision, struct error *e) WARN_UNUSED;
struct object *store_files_peek(const struct store *s, const struct store_key *k);
/* Hands what has been collected to the writer. */
void store_submit(struct store *s);
/* Takes the writer's results: makes revisions visible, completes or fails commits.
 * Callbacks are left to store_run_finished and hub_wake. */
void store_collect(struct store *s);
bool store_has_unwritten(const struct store *s);

/* store_replay.c: fills the empty store and says where the log goes on. */
int store_replay(struct store *s, struct log_head *ret_start,
                 struct error *e) WARN_UNUSED;

/* store_snapshot.c */
void store_files_snapshot(struct store *s, store_done_fn *done, void *arg);
int store_files_compact(struct store *s, uint64_t revision, store_done_fn *done,
                        void *arg, struct error *e) WARN_UNUSED;
/* Writes all that is visible as <dir>/<revision>.snap, on this thread. For tools. */
int store_snapshot_export(struct store *s, const char *dir, struct error *e) WARN_UNUSED;
void store_snapshot_maybe(struct store *s);
void store_snapshot_stop(struct store *s);
/* Removes what is retained only for watchers: there is no space. */
void store_snapshot_release(struct store *s);

/* store_files.c */
enum { STORE_NAME_DIGITS = 20 };
/* Removes what an interrupted start left behind. Before anybody writes. */
int store_files_clean(const char *dir, const struct store_fs_ops *fs,
                      struct error *e) WARN_UNUSED;
/* The operations of `some`, which may be NULL, with the real ones where it has none. */
void store_fs_fill(const struct store_fs_ops *some, struct store_fs_ops *ret);
/* Revisions of the files <20 digits><suffix> in dir, ascending; others are ignored. */
typedef vec(uint64_t) store_revisions;
int store_files_list(const char *dir, const char *suffix, store_revisions *ret,
                     struct error *e) WARN_UNUSED;
/* malloc'd path. */
char *store_files_path(const char *dir, uint64_t revision, const char *suffix);
int store_files_sync_dir(const char *dir, const struct store_fs_ops *fs,
                         struct error *e) WARN_UNUSED;
/* All bytes, retrying short writes and EINTR. Leaves errno in e->sys. */
int store_files_write(const struct store_fs_ops *fs, int fd, const char *p, size_t n,
                      struct error *e) WARN_UNUSED;

#endif
