/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles from the cache; one that is named and not there is asked for at the server,
 * since the caches of Runs and of Profiles are not in step. */
#include "controllers/run/run_profile.h"

#include "api/profile.h"
#include "base/mem.h"
#include "controllers/run/run_complete.h"

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

/* values is borrowed. */
static int
merged(const struct object *run, const json_t *values, struct object **ret,
       struct error *e)
{
    json_t *object = object_json(run);
    json_t *spec = profile_merge(json_object_get(object, "spec"), values);

    json_decref(object);
    return run_with_spec(run, spec, ret, e);
}

static int
choose_and_keep(const struct reconcile_env *env, const struct object *run,
                json_t *profiles, struct object **ret, struct error *e)
{
    const json_t *chosen = NULL;
    json_t *object = object_json(run);
    int rc = choose(env, run, profiles, json_object_get(object, "spec"), &chosen, e);

    json_decref(object);
    if (rc < 0)
        return rc;
    if (chosen == NULL) {
        *ret = object_ref(run);
        return 0;
    }
    json_t *values = profile_values(json_object_get(chosen, "spec"));
    json_t *name = json_object_get(json_object_get(chosen, "metadata"), "name");
    rc = run_keep(env, run,
                  json_pack("{s:O, s:O}", "profile", name, "profileValues", values), e);
    if (rc == 0)
        rc = merged(run, values, ret, e);
    json_decref(values);
    return rc;
}

int
run_with_profile(const struct reconcile_env *env, const struct object *run, bool begun,
                 struct object **ret, struct error *e)
{
    auto_object_list found = {0};
    char name[PROFILE_NAME_MAX];
    struct span raw;
    int rc;

    if (object_path(run, "status.profileValues", &raw)) {
        json_t *values = json_loadb(raw.ptr, raw.len, 0, NULL);
        rc = merged(run, values, ret, e);
        json_decref(values);
        return rc;
    }
    lister_index(env->lister, &resource_profiles, INDEX_PROFILES, run->ns, &found);
    bool named = object_get_string(run, "spec.profile", name, sizeof(name));
    /* Nothing was kept at the first look, which has left a phase: none applied. */
    if (begun || object_path(run, "status.phase", &raw) ||
        (found.list.len == 0 && !named)) {
        *ret = object_ref(run);
        return 0;
    }
    json_t *profiles = json_array();
    vec_foreach (p, &found.list)
        json_array_append_new(profiles, object_json(*p));
    rc = choose_and_keep(env, run, profiles, ret, e);
    json_decref(profiles);
    return rc;
}
