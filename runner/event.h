/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of jobs that only their agent saw: steps of a pull, an end for lack of memory, a
 * daemon that went and took the job along, a lost device. Best effort: a few may be on
 * their way at a time, further ones are dropped, and none is repeated. What must be known
 * is in Job.status.agent. Loop thread only.
 */
#ifndef RUNNER_EVENT_H
#define RUNNER_EVENT_H

#include <stdbool.h>

struct agent;
struct events;
struct events *events_new(struct agent *a);
void events_free(struct events *ev); /* NULL ok */

struct job;
/* reason: CamelCase. Only the first 1000 bytes of the message go. */
void event_say(struct job *j, bool warning, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
