/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the jobs that wait are expected to start: the queue played through on the machines
 * as they are, each job at the first time at which it fits beside all that runs and all
 * that is ahead of it, for as long as its maxDuration. It is computed by who asks, from
 * the lists; the scheduler keeps nothing per job. An estimate: jobs end earlier, others
 * with more priority come, machines too. Quotas and preemption are not looked into.
 */
#ifndef CLI_ESTIMATE_H
#define CLI_ESTIMATE_H

#include <jansson.h>
#include <stdint.h>

struct estimate {
    const json_t *job; /* borrowed from jobs */
    int64_t start_ns;  /* wall clock; 0: not known, and why */
    char why[256];
};
struct estimates;
/* jobs, instances: lists, of one namespace or of all. Work is bounded: beyond, starts are
 * not known. */
struct estimates *estimates_make(const json_t *jobs, const json_t *instances,
                                 int64_t wall_ns);
void estimates_free(struct estimates *e);
/* In the order of the queue; NULL: there are no more. */
const struct estimate *estimates_at(const struct estimates *e, size_t i);
/* NULL: it does not wait. */
const struct estimate *estimates_of(const struct estimates *e, const json_t *job);

#endif
