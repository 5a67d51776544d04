/* SPDX-License-Identifier: Apache-2.0 */
/* spec.dependsOn: looks the other Runs up in the cache. */
#ifndef CONTROLLERS_RUN_DEPENDS_H
#define CONTROLLERS_RUN_DEPENDS_H

#include "control/controller.h"
#include "controllers/run/run_plan.h"

/* Index of Runs that wait for others, by namespace. */
#define INDEX_RUNS_WAITING "waiting"
bool run_waiting_key(const struct object *o, struct str *key);

/* message: whom it waits for, or whose end was not the one asked for. *seen: what
 * status.dependencies is to be, the caller decrefs; NULL: it depends on nothing. */
enum depends run_depends(const struct lister *l, const struct object *run,
                         char message[MESSAGE_MAX_LEN], json_t **seen);
/* A Run waits for this one, which ended, and has not noted how. */
bool run_depends_unseen(const struct lister *l, const struct object *run);
/* Runs that wait for one that came, ended or went; those that were kept for one that
 * waits no more. */
void run_depends_map(const struct lister *l, const struct object *before,
                     const struct object *now, struct key_sink *keys);

#endif
