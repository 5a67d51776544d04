/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify on the tree's directories, and on what holds a batch back: .git (index.lock).
 * Only ever a hint of where to look. One thread.
 */
#ifndef MIRROR_HINTS_H
#define MIRROR_HINTS_H

#include "base/error.h"
#include "base/str.h"

enum mirror_hint {
    MIRROR_HINT_FILE, /* path of a file whose name concerns us */
    MIRROR_HINT_DIR,  /* a directory came or went: look through it */
    MIRROR_HINT_ALL,  /* anything may have happened */
    MIRROR_HINT_GIT,  /* index.lock came or went */
};
typedef void mirror_hint_fn(void *arg, enum mirror_hint what, const char *path);

struct mirror_hints;
int mirror_hints_new(const char *root, struct mirror_hints **ret,
                     struct error *e) WARN_UNUSED;
void mirror_hints_free(struct mirror_hints *h); /* NULL ok */
int mirror_hints_fd(const struct mirror_hints *h);
/* Watches a directory of the tree ("" the root, with it .git and the root's parent).
 * Again: no harm. False: it cannot be watched (limits); said once in the log. */
bool mirror_hints_add(struct mirror_hints *h, const char *dir);
/* Reads all that is there. */
void mirror_hints_read(struct mirror_hints *h, mirror_hint_fn *fn, void *arg);
/* Whether git is writing the work tree. */
bool mirror_hints_git_locked(struct mirror_hints *h);

#endif
