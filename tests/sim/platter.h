/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that loses power: real files for whoever is running, and beside them a model of
 * what is on the platter. fdatasync of a file brings its bytes there, of a directory its
 * names. What was not synced is there in part after a power cut: of the names a prefix of
 * the changes, of the bytes any 512-byte sectors, in any mixture of old and new.
 */
#ifndef TESTS_PLATTER_H
#define TESTS_PLATTER_H

#include "apiserver/store/store.h"

struct platter;
/* random: returns [0, n). */
struct platter *platter_new(uint32_t (*random)(void *arg, uint32_t n), void *arg);
void platter_free(struct platter *p);
struct store_fs_ops platter_ops(struct platter *p);
/* Directories that are there from the beginning, before anything is opened below them. */
void platter_add_dir(struct platter *p, const char *path);

/* The power fails at the nth change from now (1: the next one): it and all later ones
 * fail, and do not reach the platter. 0: never. */
void platter_fail_in(struct platter *p, unsigned n);
bool platter_dead(const struct platter *p);
/* The next n writes and allocations find no space. */
void platter_fill(struct platter *p, unsigned n);
/* What a machine finds that is started after the cut, written to real files below the
 * known directories; the platter is that now, and the power is back. */
void platter_restart(struct platter *p);
uint64_t platter_changes(const struct platter *p);

#endif
