/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mirror's files. No symbolic link is followed, not even in a directory; other file
 * systems below the root are not entered; a file appears whole or not at all and never
 * over contents that were not expected there. Blocking; one thread.
 */
#ifndef MIRROR_TREE_H
#define MIRROR_TREE_H

#include "apiserver/mirror/path.h"
#include "apiserver/mirror/state.h"
#include "base/error.h"

struct mirror_tree;
struct mirror_tree *mirror_tree_new(const char *root);
void mirror_tree_free(struct mirror_tree *t); /* NULL ok */
const char *mirror_tree_root(const struct mirror_tree *t);

/* Looks at the root again (call before each batch). ERR_NOT_FOUND: it is missing; other
 * errors: it cannot be read. */
int mirror_tree_open_root(struct mirror_tree *t, struct mirror_root *ret,
                          struct error *e) WARN_UNUSED;
/* Makes the root, 0700. */
int mirror_tree_make_root(struct mirror_tree *t, struct error *e) WARN_UNUSED;

enum mirror_found {
    MIRROR_FOUND_NONE,
    MIRROR_FOUND_FILE,
    MIRROR_FOUND_OTHER,   /* link, FIFO, directory, hard-linked, too large: e says */
    MIRROR_FOUND_UNKNOWN, /* could not be read: e says */
};
struct mirror_stat {
    uint64_t ino, size;
    int64_t mtime_ns, ctime_ns;
};
/* Appends the contents. A file with several hard links is FOUND_OTHER, with its contents.
 */
enum mirror_found mirror_tree_read(struct mirror_tree *t, const char *path,
                                   struct str *out, struct mirror_stat *st,
                                   struct error *e);
/* Without reading; false when there is no plain file. */
bool mirror_tree_stat(struct mirror_tree *t, const char *path, struct mirror_stat *st);

/* expect: hash of what is to be replaced, NULL: nothing may be there. ERR_CONFLICT: there
 * is something else; nothing was changed. */
int mirror_tree_write(struct mirror_tree *t, const char *path, struct span bytes,
                      const struct mirror_hash *expect, struct mirror_stat *ret,
                      struct error *e) WARN_UNUSED;
/* Same for removing; then the directories that are empty. Absent is success. */
int mirror_tree_remove(struct mirror_tree *t, const char *path,
                       const struct mirror_hash *expect, struct error *e) WARN_UNUSED;
/* Overwrites whatever is there: for *.error. */
int mirror_tree_put(struct mirror_tree *t, const char *path, struct span bytes,
                    struct error *e) WARN_UNUSED;
/* Waits until all of it is on the disk. */
int mirror_tree_sync(struct mirror_tree *t, struct error *e) WARN_UNUSED;

enum mirror_seen {
    MIRROR_SEEN_DIR,       /* a directory that may hold objects; path "" is the root */
    MIRROR_SEEN_OBJECT,    /* <ns>/<kind>/<name>.yaml, whatever it is */
    MIRROR_SEEN_ERROR,     /* *.yaml.error */
    MIRROR_SEEN_WEIRD,     /* cannot be an object's name */
    MIRROR_SEEN_MISPLACED, /* *.yaml where no object file belongs */
    MIRROR_SEEN_TEMP,      /* our temporary file */
    MIRROR_SEEN_UNREADABLE /* a directory; error text in `why` */
};
typedef void mirror_seen_fn(void *arg, enum mirror_seen what, const char *path,
                            const char *why);
/* Walks a directory ("" all, "ns", "ns/kind"). */
void mirror_tree_walk(struct mirror_tree *t, const char *dir, mirror_seen_fn *fn,
                      void *arg);

#endif
