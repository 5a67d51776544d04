/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a job is not placed, in words: its place in the queue, and for each instance what
 * it lacks, nearest first. Computed by the reader when asked; nothing of it
 * is stored. The same lib/api function decides in the scheduler.
 */
#ifndef CLI_PLACEMENT_H
#define CLI_PLACEMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

bool placement_waits(const json_t *job);
/* Condition Scheduled=False of a job or run; NULL: nothing has said so yet. */
const json_t *placement_unscheduled(const json_t *o);
/* Below 0: a leaves the queue before b. The scheduler's order. */
int placement_order(const json_t *a, const json_t *b);

/* The same reading as the scheduler's. */
struct resource_have;
void placement_capacity(const json_t *instance, struct resource_have *ret);
/* As the scheduler counts: until it is over, and what was claimed until it is free. */
bool placement_holds(const json_t *job);
/* The instance takes the job, were it empty and large enough. */
bool placement_usable(const json_t *instance, const json_t *job);

/* job: the waiting Job; jobs, instances: the lists of its namespace. */
void placement_explain(const json_t *job, const json_t *jobs, const json_t *instances,
                       FILE *out);

struct placement_verdict {
    size_t ahead; /* jobs before it in the queue */
    size_t room;  /* instances that could take it now */
};
/* The same, and what came of it. */
void placement_judge(const json_t *job, const json_t *jobs, const json_t *instances,
                     FILE *out, struct placement_verdict *ret);

/* Nodes that start together: each on an instance of its own, all in one fleet. */
struct placement_group {
    json_t *job; /* what each of its nodes is */
    int64_t nodes;
};
enum { PLACEMENT_GROUPS_MAX = 64 };
/* Says where they would go now, or how many each fleet has room for. True: all fit. */
bool placement_gang(const struct placement_group *groups, size_t n, const json_t *jobs,
                    const json_t *instances, FILE *out);

#endif
