/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of a Run, one field or two at a time. Nodes, groups and arrays: admit_nodes.c. */
#include <string.h>

#include "api/admit.h"
#include "api/admit_internal.h"
#include "api/cron.h"
#include "api/profile.h"
#include "api/resources.h"
#include "api/values.h"
#include "base/mem.h"

enum { ENV_NAME_MAX = 256, UTILIZATION_WINDOW_MIN_S = 300 };

int
admit_absolute_path(const char *text, struct error *e)
{
    if (text[0] == '/' || streq(text, "~") || str_starts(text, "~/"))
        return 0;
    return error_set(e, ERR_INVALID, "must be an absolute path, e.g. /app");
}

static int
unix_user(const char *text, struct error *e)
{
    struct unix_user u;

    return value_unix_user(text, &u, e);
}

static int
image_reference(const char *text, struct error *e)
{
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            return error_set(e, ERR_INVALID,
                             "must be an image reference without spaces, e.g. "
                             "ubuntu:24.04 or registry:5000/team/image@sha256:...");
    }
    return 0;
}

static int
shell_program(const char *text, struct error *e)
{
    if (text[0] == '/' || streq(text, "sh") || streq(text, "bash"))
        return 0;
    return error_set(e, ERR_INVALID, "must be sh, bash or an absolute path");
}

static int
entrypoint_words(const char *text, struct error *e)
{
    char **words = NULL;

    if (shell_words(text, &words, e) < 0)
        return -(int)e->code;
    bool empty = words[0] == NULL;
    shell_words_free(words);
    if (empty)
        return error_set(e, ERR_INVALID, "must name a program");
    return 0;
}

static bool
env_name(const char *s, size_t n)
{
    if (n == 0 || n > ENV_NAME_MAX || (s[0] >= '0' && s[0] <= '9'))
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c != '_' && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z'))
            return false;
    }
    return true;
}

static void
check_env(const struct admission *a)
{
    struct span env;
    struct span key;
    struct span value;
    const char *cursor = NULL;

    if (!jscan_member(a->spec, "env", &env))
        return;
    while (jscan_next_member(env, &cursor, &key, &value)) {
        if (env_name(key.ptr, key.len))
            continue;
        autofree char *path = xasprintf("spec.env.%.*s", (int)(key.len & 0xff), key.ptr);
        violations_add(a->v, VIOLATION_INVALID, path, NULL,
                       "a variable name is letters, digits and underscores, and does not "
                       "start with a digit");
    }
}

/* --- what only a container has --------------------------------------------------------
 */

static const char *
mount_problem(const json_t *m, const char **ret_field)
{
    const char *host = json_string_value(json_object_get(m, "instancePath"));
    const char *volume = json_string_value(json_object_get(m, "volume"));
    const char *path = json_string_value(json_object_get(m, "path"));

    *ret_field = "";
    if ((host == NULL) == (volume == NULL))
        return "one of instancePath and volume is needed";
    *ret_field = ".volume";
    if (volume != NULL)
        return "there are no volumes yet; instancePath mounts a directory of the machine";
    *ret_field = ".instancePath";
    if (host[0] != '/' || strstr(host, "..") != NULL)
        return "must be an absolute path without ..";
    *ret_field = ".path";
    if (path[0] != '/' || strstr(path, "..") != NULL ||
        (path[1] != '\0' && str_ends(path, "/")))
        return "must be an absolute path without .. and without a slash at its end";
    return NULL;
}

static void
check_mounts(const struct admission *a)
{
    json_t *list = admit_field(a, "mounts");
    size_t i;
    const json_t *m;

    json_array_foreach (list, i, m) {
        const char *field;
        const char *why = mount_problem(m, &field);
        if (why == NULL)
            continue;
        autofree char *path = xasprintf("spec.mounts[%zu]%s", i, field);
        violations_add(a->v, VIOLATION_INVALID, path, NULL, "%s", why);
    }
    json_decref(list);
}

static void
check_terminal(const struct admission *a)
{
    json_t *tty = admit_field(a, "tty");

    if (!json_is_true(tty) && admit_given(a, "ttySize"))
        admit_refuse(a, "ttySize", "of no use without tty: true");
    json_decref(tty);
}

static int
directory_path(const char *text, struct error *e)
{
    if (text[0] == '/' && strstr(text, "..") == NULL)
        return 0;
    return error_set(e, ERR_INVALID, "must be an absolute path without ..");
}

static void
check_rootfs(const struct admission *a)
{
    if (!admit_given(a, "rootfs"))
        return;
    if (admit_given(a, "image"))
        admit_refuse(a, "rootfs", "an image has its own root file system");
    bool path = admit_given(a, "rootfs.path");
    bool blob = admit_given(a, "rootfs.blob");
    bool archive = admit_given(a, "rootfs.archive");
    if (path && (blob || archive))
        admit_refuse(a, "rootfs", "path and archive exclude each other");
    else if (archive && !blob)
        admit_refuse(a, "rootfs.blob",
                     "missing: drover apply uploads the archive and fills it in");
    else if (!path && !blob)
        admit_refuse(a, "rootfs",
                     "needs path, a directory of the machine, or archive, a local tar "
                     "file");
    admit_string(a, "rootfs.path", directory_path);
}

static void
check_container(const struct admission *a)
{
    json_t *privileged = admit_field(a, "privileged");

    check_mounts(a);
    if (!admit_given(a, "image")) {
        if (json_is_true(privileged))
            admit_refuse(a, "privileged", "only a container is; spec.image is missing");
        if (admit_given(a, "registryAuth.secretRef"))
            admit_refuse(a, "registryAuth", "of no use without spec.image");
    }
    json_decref(privileged);
}

/* --- where it may run -----------------------------------------------------------------
 * As long as there are no clouds every machine is one of a fleet: backend and region are
 * "remote", it has no type and no reservation, and is never a spot machine.
 */

static void
check_remote(const struct admission *a, const char *field)
{
    json_t *list = admit_field(a, field);
    size_t i;
    const json_t *item;
    bool remote = json_array_size(list) == 0;

    json_array_foreach (list, i, item) {
        const char *text = json_string_value(item);
        remote |= text != NULL && streq(text, "remote");
    }
    if (!remote)
        admit_refuse(a, field,
                     "there are no clouds: all machines are of fleets, which is "
                     "\"remote\"");
    json_decref(list);
}

static void
check_instances(const struct admission *a)
{
    json_t *list = admit_field(a, "instances");
    size_t i;
    const json_t *item;

    json_array_foreach (list, i, item) {
        bool name = json_object_get(item, "name") != NULL;
        bool host = json_object_get(item, "hostname") != NULL;
        bool fleet = json_object_get(item, "fleet") != NULL;
        bool number = json_object_get(item, "instance") != NULL;
        if (name + host + fleet == 1 && fleet == number)
            continue;
        autofree char *path = xasprintf("spec.instances[%zu]", i);
        violations_add(a->v, VIOLATION_INVALID, path, NULL,
                       "must have name, hostname, or fleet together with instance");
    }
    json_decref(list);
}

static void
check_places(const struct admission *a)
{
    struct span raw;
    int64_t ignored;

    check_remote(a, "backends");
    check_remote(a, "regions");
    check_instances(a);
    if (admit_given(a, "instanceTypes"))
        admit_refuse(a, "instanceTypes",
                     "machines of fleets have no type; use instances or resources");
    if (admit_given(a, "reservation"))
        admit_refuse(a, "reservation", "there are no clouds to reserve from");
    if (jscan_path(a->spec, "spotPolicy", &raw) && jscan_is(raw, "spot"))
        admit_refuse(a, "spotPolicy",
                     "there are no spot machines; on-demand and auto fit");
    admit_duration(a, "idleDuration", true, &ignored);
}

/* --- times ----------------------------------------------------------------------------
 */

static int
cron_text(const char *text, struct error *e)
{
    struct cron c;

    return cron_parse(text, &c, e);
}

static void
check_schedule(const struct admission *a)
{
    json_t *list = admit_field(a, "schedule.cron");
    size_t i;
    const json_t *item;

    json_array_foreach (list, i, item) {
        struct error e = ERROR_INIT;
        if (cron_text(json_string_value(item), &e) == 0)
            continue;
        autofree char *path = xasprintf("spec.schedule.cron[%zu]", i);
        autofree char *shown = json_dumps(item, JSON_ENCODE_ANY);
        violations_add(a->v, VIOLATION_INVALID, path, shown, "%s", e.msg);
    }
    json_decref(list);
}

int
admit_idle_window(const json_t *value, int64_t *ret_s, struct error *e)
{
    int64_t seconds;
    int rc = value_duration(value, false, &seconds, e);

    if (rc == 0 && seconds < UTILIZATION_WINDOW_MIN_S)
        rc = error_set(e, ERR_INVALID, "must be 5m or more");
    if (rc == 0)
        *ret_s = seconds;
    return rc;
}

bool
admit_wants_gpu(const json_t *resources)
{
    struct resource_req req;
    auto_violations ignored = {0};
    struct error e = ERROR_INIT;

    return resources != NULL &&
           resources_parse(resources, "resources", &req, &ignored, &e) == 0 &&
           req.gpu.given && req.gpu.count.max > 0;
}

static void
check_idle_window(const struct admission *a)
{
    json_t *window = admit_field(a, "utilizationPolicy.timeWindow");
    struct error e = ERROR_INIT;
    int64_t ignored;

    if (window != NULL && admit_idle_window(window, &ignored, &e) < 0)
        admit_refuse(a, "utilizationPolicy.timeWindow", e.msg);
    json_decref(window);
}

/* Of the Run itself; a profile's policy fills in where there are GPUs. */
static void
check_idle_gpus(const struct admission *a, const json_t *resources)
{
    json_t *groups = admit_field(a, "groups");
    bool wanted = admit_wants_gpu(resources);
    size_t i;
    const json_t *g;

    json_array_foreach (groups, i, g)
        wanted |= admit_wants_gpu(json_object_get(g, "resources"));
    if (!wanted && admit_given(a, "utilizationPolicy"))
        admit_refuse(a, "utilizationPolicy",
                     "the resources ask for no GPU, so it could never act");
    json_decref(groups);
}

static void
check_times(const struct admission *a)
{
    int64_t ignored = 0;

    admit_duration(a, "maxDuration", true, &ignored);
    admit_duration(a, "stopDuration", true, &ignored);
    admit_duration(a, "retry.duration", false, &ignored);
    admit_duration(a, "ttlAfterFinished", true, &ignored);
    check_idle_window(a);
    check_schedule(a);
}

static void
check_name(const struct admission *a)
{
    struct span raw;
    auto_str name = STR_INIT(512);
    char show[SHOWN_VALUE_MAX];

    if (!jscan_path(a->object, "metadata.name", &raw) || !jscan_string(raw, &name) ||
        value_is_run_name(name.ptr, name.len))
        return;
    admit_shown(raw, show);
    violations_add(a->v, VIOLATION_INVALID, "metadata.name", show,
                   "a run name is 2 to 41 lower-case letters, digits and dashes, "
                   "starts with a letter and does not end with a dash");
}

void
admit_run(const struct admission *a)
{
    json_t *resources = admit_field(a, "resources");

    check_name(a);
    admit_nodes(a);
    admit_string(a, "image", image_reference);
    admit_string(a, "user", unix_user);
    admit_string(a, "workingDir", admit_absolute_path);
    admit_string(a, "shell", shell_program);
    admit_string(a, "entrypoint", entrypoint_words);
    check_times(a);
    check_env(a);
    admit_resources(a, resources, "spec.resources");
    check_idle_gpus(a, resources);
    check_container(a);
    check_terminal(a);
    check_rootfs(a);
    check_places(a);
    json_decref(resources);
}

/* The values that a profile fills in are held to the rules of a run. */
void
admit_profile(const struct admission *a)
{
    struct span raw;

    if (jscan_path(a->object, "metadata.name", &raw) && jscan_is(raw, PROFILE_NONE))
        violations_add(a->v, VIOLATION_INVALID, "metadata.name", "\"" PROFILE_NONE "\"",
                       "stands for no profile where a run names one");
    check_times(a);
    check_places(a);
}
