/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `drover-apiserver store rebuild`: a new store from the mirror's files alone, for when
 * log and snapshots are lost. Every object is created anew (new uids, generation 1), by
 * the same way as an edit of a file. keys/secrets.keys is needed if there are Secrets.
 */
#ifndef MIRROR_REBUILD_H
#define MIRROR_REBUILD_H

/* argv[0] is "rebuild". Returns the exit status. */
int rebuild_main(int argc, char **argv);

#endif
