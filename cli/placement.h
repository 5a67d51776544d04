/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a job is not placed, in words: its place in the queue, and for each instance what
 * it lacks, nearest first. Computed by the reader when asked; nothing of it
 * is stored. The same lib/api function decides in the scheduler.
 */
#ifndef CLI_PLACEMENT_H
#define CLI_PLACEMENT_H

#include <jansson.h>
#include <stdio.h>

/* job: the waiting Job; jobs, instances: the lists of its namespace. */
void placement_explain(const json_t *job, const json_t *jobs, const json_t *instances,
                       FILE *out);

#endif
