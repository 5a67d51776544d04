/* SPDX-License-Identifier: Apache-2.0 */
/* PriorityClasses from the cache; one that is named and not there is asked for at the
 * server, since the caches of Runs and of classes are not in step. */
#include "controllers/run/run_priority.h"

#include "api/priority.h"
#include "base/mem.h"
#include "controllers/run/run_complete.h"

enum { CLASS_NAME_MAX = 254 };

static int
choose(const struct reconcile_env *env, const struct object *run, const json_t *spec,
       json_t *classes, json_t **ret, struct error *e)
{
    char name[CLASS_NAME_MAX];
    auto_object *class = NULL;
    struct error asked = ERROR_INIT;
    int rc = priority_choose(spec, classes, ret, e);

    if (rc != -ERR_NOT_FOUND ||
        !object_get_string(run, "spec.priorityClassName", name, sizeof(name)))
        return rc;
    int answer =
        client_get(env->client, &resource_priorityclasses, "", name, &class, &asked);
    if (answer == -ERR_NOT_FOUND)
        return rc;
    if (answer < 0) {
        *e = asked;
        return answer;
    }
    json_array_append_new(classes, object_json(class));
    *e = ERROR_INIT;
    return priority_choose(spec, classes, ret, e);
}

/* chosen is borrowed. */
static int
merged(const struct object *run, const json_t *chosen, struct object **ret,
       struct error *e)
{
    json_t *object = object_json(run);
    json_t *spec = priority_merge(json_object_get(object, "spec"), chosen);

    json_decref(object);
    return run_with_spec(run, spec, ret, e);
}

static int
choose_and_keep(const struct reconcile_env *env, const struct object *run,
                const struct object_list *found, struct object **ret, struct error *e)
{
    json_t *classes = json_array(), *chosen = NULL;
    json_t *object = object_json(run);

    vec_foreach (c, &found->list)
        json_array_append_new(classes, object_json(*c));
    int rc = choose(env, run, json_object_get(object, "spec"), classes, &chosen, e);
    if (rc == 0 && chosen == NULL)
        *ret = object_ref(run);
    if (chosen != NULL)
        rc = run_keep(env, run, json_pack("{s:O}", "priorityClass", chosen), e);
    if (rc == 0 && chosen != NULL)
        rc = merged(run, chosen, ret, e);
    json_decref(chosen);
    json_decref(object);
    json_decref(classes);
    return rc;
}

int
run_with_priority(const struct reconcile_env *env, const struct object *run, bool begun,
                  struct object **ret, struct error *e)
{
    auto_object_list found = {0};
    struct span raw;

    if (object_path(run, "status.priorityClass", &raw)) {
        json_t *chosen = json_loadb(raw.ptr, raw.len, 0, NULL);
        int rc = merged(run, chosen, ret, e);
        json_decref(chosen);
        return rc;
    }
    informer_all(lister_informer(env->lister, &resource_priorityclasses), &found);
    /* Nothing was kept at the first look, which has left a phase: none applied. */
    if (begun || object_path(run, "status.phase", &raw) ||
        (found.list.len == 0 && !object_path(run, "spec.priorityClassName", &raw))) {
        *ret = object_ref(run);
        return 0;
    }
    return choose_and_keep(env, run, &found, ret, e);
}
