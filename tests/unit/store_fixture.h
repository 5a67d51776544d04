/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store's tests share: a store in a temporary directory with its loop, objects,
 * commits that are waited for, a reference model of the contents, directory copies that
 * stand for crashes, and file operations of which the Nth fails.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apiserver/store/store.h"
#include "base/map.h"

#define RUNS "runs.drover.dev"

struct fixture {
    char *root; /* removed at the end */
    char *dir;  /* the data directory, below root */
    struct loop *loop;
    struct store *store;
    struct store_opts opts;
    int fatal; /* calls of on_fatal */
    unsigned copies;
};

/* Real files, but nothing waits for the disk: no test here cuts the power. */
extern const struct store_fs_ops fx_no_sync;

/* cmocka's setup and teardown: an open inline store, ids from the seed. */
int fx_setup(void **state, const char *seed);
int fx_teardown(void **state);
/* After fx_setup: reopens with the writer thread and the real file operations. */
int fx_go_threaded(void **state);

/* Not opened yet. Inline stores use fx_no_sync, threaded ones the real operations. What a
 * snapshot replaces is not retained. */
void fx_init(struct fixture *f, bool inline_sync);
void fx_done(struct fixture *f);
void fx_open(struct fixture *f);
/* The code of the failure, e filled; 0 when it opened. */
int fx_try_open(struct fixture *f, struct error *e);
void fx_close(struct fixture *f);
/* Drops the store as kill -9 would: what is in the files stays, nothing more is written.
 */
void fx_reopen(struct fixture *f);

/* Canonical object with metadata.labels.app = app (NULL: none) and spec.n = n; `pad` more
 * bytes in spec. */
struct object *fx_object(const char *ns, const char *name, const char *app, int64_t n,
                         size_t pad);
int64_t fx_value(const struct object *o); /* spec.n */

struct fx_result {
    bool done;
    uint64_t revision;
    struct error e; /* code OK: success */
};
/* store_done_fn for a struct fx_result. */
void fx_on_done(void *arg, uint64_t revision, const struct error *e);
/* Turns the loop (or flushes) until r->done. */
void fx_wait(struct fixture *f, const struct fx_result *r);
/* Commits and waits; expectation from store_peek. Revision, or 0 with *e. */
uint64_t fx_put(struct fixture *f, const char *resource, const char *ns, const char *name,
                const char *app, int64_t n);
uint64_t fx_delete(struct fixture *f, const char *resource, const char *ns,
                   const char *name);
/* Not waited for. r may be NULL. */
int fx_start_put(struct fixture *f, const char *ns, const char *name, int64_t n,
                 enum store_durability d, struct fx_result *r);
int fx_start_delete(struct fixture *f, const char *ns, const char *name,
                    struct fx_result *r);
struct object *fx_get(const struct fixture *f, const char *ns, const char *name);

/* All objects as text, one line each: resource ns/name@revision=n. malloc'd. */
char *fx_dump(struct store *s);

/* Copies the data directory to <root>/copy<N>; malloc'd path. */
char *fx_copy(struct fixture *f);
void fx_copy_tree(const char *from, const char *to);
/* Opens a copy, dumps, closes. */
char *fx_dump_dir(struct fixture *f, const char *dir, uint64_t *ret_revision);
/* The newest file with the suffix below dir/sub; malloc'd. */
char *fx_newest(const char *dir, const char *sub, const char *suffix);
size_t fx_count_files(const char *dir, const char *sub, const char *suffix);

/* File operations that count, fail the Nth call, and call back before each that changes
 * something. */
enum fx_op {
    FX_WRITE,
    FX_SYNC,
    FX_RENAME,
    FX_ALLOC,
    FX_TRUNCATE,
    FX_UNLINK,
    FX_OPEN,
    FX_READ,
    FX_OPS
};
struct fx_fault {
    unsigned calls[FX_OPS];
    unsigned fail_from[FX_OPS];  /* this call (from 1) ... */
    unsigned fail_count[FX_OPS]; /* ... and so many in all; 0: none */
    int error[FX_OPS];
    bool short_write; /* the failing write writes half first */
    bool no_sync;     /* fdatasync does nothing: quicker, no test here cuts the power */
    unsigned hits;
    void (*before)(void *arg);
    void *arg;
};
struct store_fs_ops fx_fault_ops(struct fx_fault *fault);

#endif
