/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash map from a byte-string key (copied) to a pointer (borrowed unless a free function
 * is given). Keyed hash, so outside keys cannot degrade it. Not thread-safe. A cursor
 * stays valid across removal of the entry it just returned, not across insertions.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct map;
struct map_cursor {
    void *next;
};

/* free_value may be NULL. */
struct map *map_new(void (*free_value)(void *));
void map_free(struct map *m); /* NULL ok */
size_t map_len(const struct map *m);
/* NULL when absent. */
void *map_get(const struct map *m, const char *key);
void *map_getn(const struct map *m, const void *key, size_t len);
/* Replaces (and frees) an older value. */
void map_put(struct map *m, const char *key, void *value);
void map_putn(struct map *m, const void *key, size_t len, void *value);
/* Removes and frees the value; false when absent. */
bool map_del(struct map *m, const char *key);
bool map_deln(struct map *m, const void *key, size_t len);
/* Removes without freeing; NULL when absent. */
void *map_take(struct map *m, const char *key);
void map_clear(struct map *m);
/* Walks all entries in no particular order: MAP cursor c = {0}; first=true on start. */
struct map_cursor map_begin(const struct map *m);
/* False at the end. ret_key (may be NULL) is NUL-terminated and borrowed. */
bool map_next(struct map_cursor *c, const char **ret_key, void **ret_value);

static inline void
map_free_ptr(struct map **m)
{
    map_free(*m);
}
#define auto_map CLEANUP(map_free_ptr) struct map

#endif
