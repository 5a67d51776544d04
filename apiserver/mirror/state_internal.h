/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by state.c and state_load.c. */
#ifndef MIRROR_STATE_INTERNAL_H
#define MIRROR_STATE_INTERNAL_H

#include "apiserver/mirror/state.h"

#define STATE_MAGIC "drover mirror state 1\n"
enum { RECORD_HEAD = 8, RECORD_MAX = 16 << 20, BOOT_ID_LEN = 40 };

struct mirror_state {
    int fd;
    char *path;
    uint64_t size, compacted; /* bytes; after the last rewrite */
    struct map *paths;        /* -> struct mirror_base */
    size_t n_set;
    struct mirror_root root;
    char boot[BOOT_ID_LEN];
    bool broken, dirty;
    struct str buf;
};

void mirror_base_free(void *p);
struct mirror_base *mirror_base_make(struct mirror_state *s, const char *path);
void mirror_base_applying(struct mirror_state *s, const char *path, uint64_t off);
void mirror_base_refused(struct mirror_state *s, const char *path);
void mirror_base_settle_now(struct mirror_state *s, struct mirror_base *b,
                            const struct mirror_mark *m);

#endif
