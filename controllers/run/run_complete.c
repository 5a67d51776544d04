/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/run/run_complete.h"

#include <string.h>

#include "base/mem.h"

int
run_with_spec(const struct object *run, json_t *spec, struct object **ret,
              struct error *e)
{
    json_t *object = object_json(run);

    json_object_set_new(object, "spec", spec);
    autofree char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        return error_set(e, ERR_INVALID, "run %s cannot be written as JSON", run->name);
    return object_from_json(NULL, text, strlen(text), ret, e);
}

int
run_keep(const struct reconcile_env *env, const struct object *run, json_t *status,
         struct error *e)
{
    struct object_key key = {run->ns, run->name};
    json_t *patch =
        json_pack("{s:{s:s}, s:o}", "metadata", "uid", run->uid, "status", status);
    int rc = reconcile_patch(env, &resource_runs, &key, "status", patch, e);

    json_decref(patch);
    if (rc == -ERR_NOT_FOUND)
        return error_set(e, ERR_CONFLICT, "run %s is gone", run->name);
    return rc;
}
