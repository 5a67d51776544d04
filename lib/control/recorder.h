/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes Events (core/v1). The same (object, type, reason, message) again raises count
 * and lastTimestamp of the one Event instead of making another. Bounded and lossy by
 * design: recorder_event never blocks and never fails; past the bounds, events are
 * dropped and counted. An Event informs people; no controller reads one.
 *
 * Threading: recorder_event from any thread; the rest on the owner's thread.
 */
#ifndef CONTROL_RECORDER_H
#define CONTROL_RECORDER_H

#include "control/async.h"

struct recorder;

enum recorder_type { RECORDER_NORMAL, RECORDER_WARNING };

struct recorder_opts {
    struct async_client *async; /* borrowed */
    struct loop *loop;          /* woken by events; NULL: recorder_step drains */
    int64_t (*wall_ns)(void);
    const char *component; /* "drover-controllers"; borrowed */
    const char *instance;  /* host name; borrowed */
};
struct recorder *recorder_new(const struct recorder_opts *o);
void recorder_free(struct recorder *r);

void recorder_event(struct recorder *r, const struct resource *kind,
                    const struct object *about, enum recorder_type type,
                    const char *reason, const char *fmt, ...) PRINTF_LIKE(6, 7);
/* Starts requests for what is waiting; false: nothing to do. */
bool recorder_step(struct recorder *r);
uint64_t recorder_dropped(const struct recorder *r);

#endif
