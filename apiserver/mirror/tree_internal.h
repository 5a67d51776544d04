/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by tree.c and tree_walk.c. */
#ifndef MIRROR_TREE_INTERNAL_H
#define MIRROR_TREE_INTERNAL_H

#include "apiserver/mirror/tree.h"

struct mirror_tree {
    char *root;
    int root_fd; /* -1: not open */
    dev_t dev;
    char *dir; /* the directory used last, and its descriptor */
    int dir_fd;
};

/* The caller closes *ret. */
int mirror_tree_open_dir(struct mirror_tree *t, const char *path, bool make, int *ret,
                         struct error *e) WARN_UNUSED;

#endif
