/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many ended Runs a namespace keeps: as many as the annotation
 * drover.dev/keep-finished-runs of the Namespace says, the youngest. Without it all stay.
 */
#ifndef CONTROLLERS_RUN_HISTORY_H
#define CONTROLLERS_RUN_HISTORY_H

#include "control/controller.h"

#define ANNOTATION_KEEP_FINISHED "drover.dev/keep-finished-runs"
/* Index of Runs that are over, by namespace. */
#define INDEX_RUNS_FINISHED "finished"
bool run_finished_key(const struct object *o, struct str *key);

/* Deletes what is too many beside `run`, which is over. */
int run_history_prune(const struct reconcile_env *env, const struct object *run,
                      struct error *e) WARN_UNUSED;
/* One ended Run of a Namespace whose annotation may have changed. */
void run_history_map(const struct lister *l, const struct object *ns,
                     struct key_sink *keys);

#endif
