/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by resources_*.c: the table of known accelerators and the GPU grammar. */
#ifndef API_RESOURCES_INTERNAL_H
#define API_RESOURCES_INTERNAL_H

#include "api/resources.h"

#define GPU_MEMORY_SIZES 4

struct gpu_known {
    const char *name;
    enum gpu_vendor vendor;
    int compute_major, compute_minor; /* 0: not a CUDA device */
    int memory_gib[GPU_MEMORY_SIZES]; /* 0 ends the list */
};

/* By name, without regard to case; TPU slices ("v5litepod-8") included. NULL: unknown. */
const struct gpu_known *gpu_known_find(const char *name);
/* "nvidia", "tpu", ...; false when the word names no vendor. */
bool gpu_vendor_from_word(struct span word, enum gpu_vendor *ret);
const char *gpu_vendor_word(enum gpu_vendor v); /* "" for GPU_VENDOR_ANY */
/* The vendor that all names share; GPU_VENDOR_ANY when one is unknown or they differ. */
enum gpu_vendor gpu_vendor_of_names(const struct gpu_req *g);

/* Count as it stands when a GPU is asked for without one. */
#define GPU_COUNT_DEFAULT ((struct range){1, INT64_MAX})

/* "A100:80GB:2" */
int gpu_parse_text(struct span in, struct gpu_req *ret, struct error *e) WARN_UNUSED;
/* Any form; problems go to violations under path. */
void gpu_parse(const json_t *v, const char *path, struct gpu_req *ret,
               struct violations *violations);
/* 7.5, "7.5", [7, 5] */
int gpu_parse_compute(const json_t *v, struct gpu_req *ret, struct error *e) WARN_UNUSED;
/* Fills in what follows from the rest (vendor); refuses contradictions. */
int gpu_finish(struct gpu_req *g, struct error *e) WARN_UNUSED;

/* Adds "Invalid value: <v>: <e->msg>" at path. */
void resources_violation(struct violations *violations, const char *path, const json_t *v,
                         const struct error *e);
/* "camelCase" or "snake_case" spelling of one key. */
bool resources_key_is(const char *key, const char *camel, const char *snake);

#endif
