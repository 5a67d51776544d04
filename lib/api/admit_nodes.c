/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of a Run about how many of it there are and what each does. */
#include <string.h>

#include "api/admit_internal.h"
#include "api/interpolate.h"
#include "api/values.h"
#include "base/mem.h"

enum { NODES_MAX = 1024, GROUPS_MAX = 64, COMMAND_MAX = 1 << 20 };

/* Nodes of each group; without groups one group of all nodes. */
struct shape {
    int64_t nodes[GROUPS_MAX];
    size_t n_groups;
    int64_t total;
};

static void
read_shape(const json_t *groups, const json_t *nodes, struct shape *ret)
{
    size_t i;
    const json_t *g;

    *ret = (struct shape){0};
    json_array_foreach (groups, i, g) {
        const json_t *n = json_object_get(g, "nodes");
        if (ret->n_groups == GROUPS_MAX)
            break;
        ret->nodes[ret->n_groups++] = json_is_integer(n) ? json_integer_value(n) : 1;
    }
    if (ret->n_groups == 0)
        ret->nodes[ret->n_groups++] =
            json_is_integer(nodes) ? json_integer_value(nodes) : 1;
    for (i = 0; i < ret->n_groups; i++)
        ret->total += ret->nodes[i];
}

/* --- ${{ }} ---------------------------------------------------------------------------
 */

static int
check_name_of(void *arg, struct span name, struct str *out, struct error *e)
{
    const struct shape *s = arg;
    int64_t group, node;

    UNUSED(out);
    if (!interpolate_node(name, &group, &node))
        return error_set(e, ERR_INVALID,
                         "${{ %.*s }} is not known here: in commands there is "
                         "groups[i].nodes[j].IP_ADDRESS; $${{ stands for ${{ itself",
                         (int)(name.len < 64 ? name.len : 64), name.ptr);
    if (group >= (int64_t)s->n_groups || node >= s->nodes[group])
        return error_set(e, ERR_INVALID, "there is no groups[%lld].nodes[%lld]",
                         (long long)group, (long long)node);
    return 0;
}

static void
check_commands(const struct admission *a, const struct shape *s, const json_t *commands,
               const char *where)
{
    size_t i;
    const json_t *c;

    json_array_foreach (commands, i, c) {
        auto_str out = STR_INIT(COMMAND_MAX);
        struct error e = ERROR_INIT;
        const char *text = json_string_value(c);
        if (text == NULL || !interpolate_needed(text) ||
            interpolate(text, check_name_of, (void *)(uintptr_t)s, &out, &e) == 0)
            continue;
        autofree char *path = xasprintf("%s[%zu]", where, i);
        violations_add(a->v, VIOLATION_INVALID, path, NULL, "%s", e.msg);
    }
}

/* --- groups ---------------------------------------------------------------------------
 */

static bool
name_used(const json_t *groups, size_t before, const char *name)
{
    for (size_t i = 0; i < before; i++) {
        const json_t *g = json_array_get(groups, i);
        const char *other = json_string_value(json_object_get(g, "name"));
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        if (streq(other != NULL ? other : index, name))
            return true;
    }
    return false;
}

static void
check_group(const struct admission *a, const struct shape *s, const json_t *groups,
            size_t i)
{
    const json_t *g = json_array_get(groups, i);
    const json_t *commands = json_object_get(g, "commands");
    const char *name = json_string_value(json_object_get(g, "name"));
    autofree char *at = xasprintf("spec.groups[%zu]", i);
    autofree char *where = xasprintf("%s.commands", at);
    autofree char *resources = xasprintf("%s.resources", at);

    if (name != NULL && name_used(groups, i, name)) {
        autofree char *path = xasprintf("%s.name", at);
        violations_add(a->v, VIOLATION_DUPLICATE, path, NULL, "\"%s\"", name);
    }
    if (json_array_size(commands) == 0 && !admit_given(a, "image"))
        violations_add(a->v, VIOLATION_REQUIRED, where, NULL,
                       "a group needs commands, or an image that has its own");
    check_commands(a, s, commands, where);
    admit_resources(a, json_object_get(g, "resources"), resources);
}

static void
check_groups(const struct admission *a, const struct shape *s, const json_t *groups)
{
    static const char *const exclusive[] = {"nodes", "commands", "ports", "entrypoint"};
    struct span raw;

    for (size_t i = 0; i < ARRAY_LEN(exclusive); i++) {
        bool list = i == 1 || i == 2;
        if (list ? admit_given(a, exclusive[i]) : jscan_path(a->spec, exclusive[i], &raw))
            admit_refuse(a, exclusive[i], "with groups each group has its own");
    }
    for (size_t i = 0; i < json_array_size(groups) && i < GROUPS_MAX; i++)
        check_group(a, s, groups, i);
}

/* --- arrays and dependencies ----------------------------------------------------------
 */

static int
array_text(const char *text, struct error *e)
{
    struct run_array array;

    return value_array(text, &array, e);
}

static void
check_depends(const struct admission *a)
{
    json_t *list = admit_field(a, "dependsOn");
    struct span raw;
    auto_str own = STR_INIT(512);
    size_t i, k;
    const json_t *d;

    if (jscan_path(a->object, "metadata.name", &raw) && !jscan_string(raw, &own))
        str_reset(&own);
    json_array_foreach (list, i, d) {
        const char *run = json_string_value(json_object_get(d, "run"));
        autofree char *path = xasprintf("spec.dependsOn[%zu].run", i);
        if (run != NULL && streq(run, own.ptr))
            violations_add(a->v, VIOLATION_INVALID, path, NULL,
                           "a run cannot wait for itself");
        for (k = 0; run != NULL && k < i; k++) {
            const json_t *other = json_object_get(json_array_get(list, k), "run");
            if (streq(json_string_value(other), run))
                violations_add(a->v, VIOLATION_DUPLICATE, path, NULL, "\"%s\"", run);
        }
    }
    json_decref(list);
}

void
admit_nodes(const struct admission *a)
{
    json_t *groups = admit_field(a, "groups");
    json_t *nodes = admit_field(a, "nodes");
    json_t *commands = admit_field(a, "commands");
    struct span raw;
    struct shape s;

    read_shape(groups, nodes, &s);
    if (groups != NULL) {
        check_groups(a, &s, groups);
    } else {
        check_commands(a, &s, commands, "spec.commands");
        if (!admit_given(a, "commands") && !admit_given(a, "image") &&
            !admit_given(a, "entrypoint"))
            violations_add(
                a->v, VIOLATION_REQUIRED, "spec.commands", NULL,
                "a task needs commands, an entrypoint, or an image that has its own");
    }
    if (s.total > NODES_MAX)
        admit_refuse(a, "groups", "more than 1024 nodes together");
    if (s.total > 1 && jscan_path(a->spec, "networkMode", &raw) &&
        jscan_is(raw, "bridge"))
        admit_refuse(a, "networkMode",
                     "several nodes need the network of their machines");
    admit_string(a, "array", array_text);
    if (admit_given(a, "array") && admit_given(a, "schedule"))
        admit_refuse(a, "schedule", "not together with spec.array");
    check_depends(a);
    json_decref(groups);
    json_decref(nodes);
    json_decref(commands);
}
