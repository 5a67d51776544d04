/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the vendor files. */
#ifndef GPU_GPU_INTERNAL_H
#define GPU_GPU_INTERNAL_H

#include "base/str.h"
#include "runner/gpu/gpu.h"

/* NULL when the list is full. Zeroed, healthy, index and vendor set. */
struct gpu_device *gpu_add(struct gpu_list *l, const char *vendor);
void gpu_add_path(struct gpu_device *d, const char *path);
void gpu_add_node(struct gpu_device *d, const char *prefix, unsigned long number);
bool gpu_exists(const struct gpu_config *c, const char *path);
/* First line of a small file, "" when absent. */
void gpu_read_line(const struct gpu_config *c, const char *path, char *out, size_t size);
/* What follows the key on its line ("Device Minor:   3"), "" when absent. */
void gpu_read_field(const struct gpu_config *c, const char *path, const char *key,
                    char *out, size_t size);
/* 0 when absent or not a number; base 0 accepts 0x. */
uint64_t gpu_read_number(const struct gpu_config *c, const char *path);
/* Calls fn for each entry of a directory, sorted by name with numbers in order. */
void gpu_each(const struct gpu_config *c, const char *dir,
              void (*fn)(void *arg, const char *name), void *arg);
/* Copies without surrounding blanks; placeholders ("[N/A]", "Unknown") become "". */
void gpu_text(char *out, size_t size, const char *text, size_t n);

/* Runs a vendor's tool to its end, for at most GPU_TOOL_MS. */
int gpu_tool(const char *const *argv, struct str *out, struct error *e) WARN_UNUSED;

int gpu_fake_probe(const char *file, struct gpu_list *l, struct error *e) WARN_UNUSED;
int gpu_fake_load(const char *file, struct gpu_loads *l, struct error *e) WARN_UNUSED;

/* --- gpu_load.c -------------------------------------------------------------------- */
/* NULL when the list is full. Nothing is told yet. */
struct gpu_load *gpu_load_add(struct gpu_loads *l, const char *uuid);
/* "40", "40 %": 0..100; else -1. */
int gpu_percent(const char *text);
/* A number of `unit` bytes, in MiB; -1 when it is none. */
int64_t gpu_used_mib(const char *text, int64_t unit);
/* A tool's lines "<key>, <percent>, <MiB>". A line that is of another form is skipped:
 * its GPU tells nothing. Returns how many were taken. */
size_t gpu_loads_parse(const char *text, struct gpu_loads *l);

#endif
