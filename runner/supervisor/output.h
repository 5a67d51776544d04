/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job's output on its way from pipes to the framed log (io/segment.h). Never fails
 * towards the job: what cannot be written (full disk, spool bound) is counted, and a
 * marker frame with the count stands where it is missing.
 */
#ifndef SUPERVISOR_OUTPUT_H
#define SUPERVISOR_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/segment.h"

#define OUTPUT_SPOOL_BYTES (1024LL * 1024 * 1024)

struct output;
/* spool_bytes: kept on disk and not yet trimmed by the agent; 0: OUTPUT_SPOOL_BYTES. */
int output_open(const char *log_dir, int64_t spool_bytes, struct output **ret,
                struct error *e) WARN_UNUSED;
/* Moves one read of at most a frame. False when fd has nothing more for now; *ret_end is
 * set when it will never have (end of file or error). */
bool output_pump(struct output *o, int fd, enum segment_stream stream, bool *ret_end);
/* Writes the last marker if one is due, and closes. NULL ok. */
void output_close(struct output *o, int64_t *ret_length, int64_t *ret_dropped);

#endif
