/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All time goes through here, so that tests and the simulation can set it. Monotonic time
 * is CLOCK_MONOTONIC; boot time (CLOCK_BOOTTIME) also counts suspend and is what lease
 * safety margins use. State machines take `now` as an argument instead of calling these.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t clock_now_ms(void);  /* monotonic */
int64_t clock_now_ns(void);  /* monotonic */
int64_t clock_boot_ms(void); /* monotonic, counts suspend */
int64_t clock_wall_ns(void); /* since the Unix epoch */

/* From here on every reading is `ns` plus nothing, until moved again. Process-wide. */
void clock_fake_set(int64_t mono_ns, int64_t wall_ns);
void clock_fake_advance(int64_t ns);
void clock_fake_stop(void);

/* RFC 3339 UTC. Buffers: 21 bytes for seconds, 28 for microseconds
 * ("...T15:04:05.000000Z"). */
#define CLOCK_RFC3339_LEN 21
#define CLOCK_RFC3339_US_LEN 28
void clock_format(int64_t wall_ns, char out[CLOCK_RFC3339_LEN]);
void clock_format_us(int64_t wall_ns, char out[CLOCK_RFC3339_US_LEN]);
/* Accepts fractions and offsets; false when not RFC 3339. */
bool clock_parse(const char *text, size_t len, int64_t *ret_wall_ns);
/* "5m", "3d2h" as kubectl prints ages. Buffer of at least 16 bytes. */
void clock_human(int64_t seconds, char *out, size_t size);

#endif
