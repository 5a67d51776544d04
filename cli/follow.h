/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching one object until a condition holds: get + watch, reconnecting by itself when
 * the server goes away for a while. Blocking.
 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include "cli/session.h"

/* object NULL: it does not exist (any more). Return true to stop. */
typedef bool follow_fn(void *arg, const json_t *object);
/* timeout_ms -1: none. ERR_TIMEOUT when it passes. A server that cannot be reached is
 * tried again for as long as the time-out allows, at least 60 s. */
int follow_object(struct session *s, const struct resource *r, const char *name,
                  int64_t timeout_ms, follow_fn *fn, void *arg,
                  struct error *e) WARN_UNUSED;

#endif
