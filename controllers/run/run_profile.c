/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles from the cache; one that is named and not there is asked for at the server,
 * since the caches of Runs and of Profiles are not in step. */
#include "controllers/run/run_profile.h"

#include "api/profile.h"
#include "base/mem.h"

enum { PROFILE_NAME_MAX = 64 };

bool
profile_namespace_key(const struct object *o, struct str *key)
{
    str_adds(key, o->ns);
    return true;
}

static int
ask_server(const struct reconcile_env *env, const struct object *run, const char *name,
           json_t *profiles, struct error *e)
{
    auto_object *profile = NULL;
    int rc = client_get(env->client, &resource_profiles, run->ns, name, &profile, e);

    if (rc == 0)
        json_array_append_new(profiles, object_json(profile));
    return rc;
}

static int
choose(const struct reconcile_env *env, const struct object *run, json_t *profiles,
       const json_t *spec, const json_t **ret, struct error *e)
{
    char name[PROFILE_NAME_MAX];
    int rc = profile_choose(spec, profiles, ret, e);

    if (rc != -ERR_NOT_FOUND ||
        !object_get_string(run, "spec.profile", name, sizeof(name)))
        return rc;
    struct error asked = ERROR_INIT;
    int answer = ask_server(env, run, name, profiles, &asked);
    if (answer == -ERR_NOT_FOUND)
        return rc;
    if (answer < 0) {
        *e = asked;
        return answer;
    }
    return profile_choose(spec, profiles, ret, e);
}

static int
merged(const struct object *run, json_t *object, const json_t *profile,
       struct object **ret, struct error *e)
{
    json_t *spec =
        profile_merge(json_object_get(object, "spec"), json_object_get(profile, "spec"));

    json_object_set_new(object, "spec", spec);
    char *text = json_dumps(object, JSON_COMPACT);
    if (text == NULL)
        return error_set(e, ERR_INVALID, "run %s cannot be written as JSON", run->name);
    int rc = object_from_json(NULL, text, strlen(text), ret, e);
    free(text);
    return rc;
}

int
run_with_profile(const struct reconcile_env *env, const struct object *run,
                 struct object **ret, struct error *e)
{
    auto_object_list found = {0};
    char name[PROFILE_NAME_MAX];
    const json_t *chosen = NULL;

    lister_index(env->lister, &resource_profiles, INDEX_PROFILES, run->ns, &found);
    bool named = object_get_string(run, "spec.profile", name, sizeof(name));
    if (found.list.len == 0 && !named) {
        *ret = object_ref(run);
        return 0;
    }
    json_t *object = object_json(run), *profiles = json_array();
    vec_foreach (p, &found.list)
        json_array_append_new(profiles, object_json(*p));
    int rc = choose(env, run, profiles, json_object_get(object, "spec"), &chosen, e);
    if (rc == 0 && chosen == NULL)
        *ret = object_ref(run);
    else if (rc == 0)
        rc = merged(run, object, chosen, ret, e);
    json_decref(object);
    json_decref(profiles);
    return rc;
}
