/* SPDX-License-Identifier: Apache-2.0 */
/* Run.spec.instances as names of Instances: what its Jobs have, and a plan goes by. */
#ifndef API_RUN_INSTANCES_H
#define API_RUN_INSTANCES_H

#include <jansson.h>

/* A new array of names, empty for NULL. A machine's name comes from its host name; one
 * given by its fleet and number is "<fleet>-<number>". */
json_t *run_instance_names(const json_t *instances);

#endif
