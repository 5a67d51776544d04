/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `drover-apiserver store VERB`, which `drover store VERB` executes: tools for the
 * store's files while no server has them open; backup and compact also ask a running one
 * over its control socket. One file per verb; options are parsed by tool.c.
 */
#ifndef APISERVER_TOOL_H
#define APISERVER_TOOL_H

#include "apiserver/store/store.h"

struct tool {
    const char *data_dir, *target, *output, *resource, *ns, *name, *control;
    bool log, with_keys, finish;
    uint64_t from, to, revision; /* 0: not given */

    struct loop *loop;
    struct store *store;
    struct kinds *kinds;
    struct keyring *seal;
};

enum tool_mode {
    TOOL_RAW,  /* read; values of Secrets stay sealed */
    TOOL_READ, /* read; they are opened if there are keys */
    TOOL_WRITE,
};
/* Opens the store of data_dir into t; tool_close closes it. ERR_BUSY: a server has it.
 * Only TOOL_WRITE changes a file. */
int tool_open(struct tool *t, enum tool_mode mode, struct error *e) WARN_UNUSED;
void tool_close(struct tool *t);
/* malloc'd <data_dir>/<name> */
char *tool_path(const struct tool *t, const char *name);
/* One command to the server that has data_dir open; its answer is appended to out.
 * ERR_UNAVAILABLE: there is none. An answer "error: ..." is ERR_PROVIDER. */
int tool_ask(const struct tool *t, const char *command, struct str *out,
             struct error *e) WARN_UNUSED;
/* Copies a regular file, 0600, and syncs it. */
int tool_copy(const char *from, const char *to, struct error *e) WARN_UNUSED;
/* Copies the regular files of a directory into a new one (0700). Absent: nothing. */
int tool_copy_dir(const char *from, const char *to, struct error *e) WARN_UNUSED;
int tool_sync_dir(const char *dir, struct error *e) WARN_UNUSED;

/* A commit or compaction that was asked for with tool_done and &result, waited for. */
struct tool_result {
    bool done;
    struct error e;
};
void tool_done(void *arg, uint64_t revision, const struct error *e);
int tool_wait(struct tool *t, const struct tool_result *r, struct error *e) WARN_UNUSED;

/* Verbs return 0 or -code. */
int tool_check(struct tool *t, struct error *e) WARN_UNUSED;
int tool_dump(struct tool *t, struct error *e) WARN_UNUSED;
int tool_compact(struct tool *t, struct error *e) WARN_UNUSED;
/* Removes all that is older than the revision; t is open for writing. */
int tool_compact_now(struct tool *t, uint64_t revision, struct error *e) WARN_UNUSED;
int tool_rekey(struct tool *t, struct error *e) WARN_UNUSED;
int tool_backup(struct tool *t, struct error *e) WARN_UNUSED;
int tool_restore(struct tool *t, struct error *e) WARN_UNUSED;

/* A snapshot file, every byte of it checked. */
struct snapshot_facts {
    uint64_t revision, floor, objects, bytes;
};
int tool_verify_snapshot(const char *path, struct snapshot_facts *ret,
                         struct error *e) WARN_UNUSED;

/* argv[0] is "store". Returns the exit status. */
int tool_main(int argc, char **argv);

#endif
