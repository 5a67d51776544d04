/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a PriorityClass, and the rules about them. */
#include "api/priority.h"

#include <string.h>

#include "api/jtok.h"
#include "base/mem.h"

enum { NAME_SHOWN = 64, NAMES_SHOWN = 8, TEXT_MAX = 1024 };

static const char *
text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

static const char *
name_of(const json_t *class)
{
    return text(json_object_get(class, "metadata"), "name");
}

static json_int_t
value_of(const json_t *class)
{
    return json_integer_value(json_object_get(class, "value"));
}

static const char *
policy_of(const json_t *class)
{
    const char *policy = text(class, "preemptionPolicy");

    return policy[0] == '\0' ? "PreemptLowerPriority" : policy;
}

static bool
is_system(const char *name)
{
    return str_starts(name, PRIORITY_SYSTEM_PREFIX);
}

static const json_t *
find(const json_t *classes, const char *name)
{
    size_t i;
    const json_t *c;

    json_array_foreach (classes, i, c) {
        if (streq(name_of(c), name))
            return c;
    }
    return NULL;
}

static const json_t *
global_default(const json_t *classes)
{
    const json_t *found = NULL;
    size_t i;
    const json_t *c;

    json_array_foreach (classes, i, c) {
        if (!json_is_true(json_object_get(c, "globalDefault")) || is_system(name_of(c)))
            continue;
        if (found == NULL || value_of(c) < value_of(found) ||
            (value_of(c) == value_of(found) && strcmp(name_of(c), name_of(found)) < 0))
            found = c;
    }
    return found;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
no_such_class(const json_t *classes, const char *name, struct error *e)
{
    const char **names = xcalloc(json_array_size(classes) + 1, sizeof(*names));
    auto_str there = STR_INIT(TEXT_MAX);
    size_t n = 0;
    size_t i;
    const json_t *c;

    json_array_foreach (classes, i, c) {
        if (!is_system(name_of(c)))
            names[n++] = name_of(c);
    }
    qsort(names, n, sizeof(*names), by_name);
    for (i = 0; i < n && i < NAMES_SHOWN; i++)
        str_addf(&there, "%s%.*s", i > 0 ? ", " : "", NAME_SHOWN, names[i]);
    if (n > NAMES_SHOWN)
        str_addf(&there, " and %zu more", n - NAMES_SHOWN);
    free(names);
    return error_set(e, ERR_NOT_FOUND,
                     "spec.priorityClassName: there is no PriorityClass \"%.*s\"; %s%s",
                     NAME_SHOWN, name, n == 0 ? "there is none at all" : "there are ",
                     there.len > 0 ? there.ptr : "");
}

/* What the Run says beside the class must be the same. */
static int
agree(const json_t *spec, const json_t *class, struct error *e)
{
    const json_t *own = json_object_get(spec, "priority");
    const char *policy = text(spec, "preemptionPolicy");

    if (json_is_integer(own) && json_integer_value(own) != value_of(class))
        return error_set(e, ERR_INVALID,
                         "spec.priority: %lld is not the %lld of PriorityClass \"%.*s\"; "
                         "leave it out",
                         (long long)json_integer_value(own), (long long)value_of(class),
                         NAME_SHOWN, name_of(class));
    if (policy[0] != '\0' && !streq(policy, policy_of(class)))
        return error_set(e, ERR_INVALID,
                         "spec.preemptionPolicy: \"%.32s\" is not the \"%.32s\" of "
                         "PriorityClass \"%.*s\"; leave it out",
                         policy, policy_of(class), NAME_SHOWN, name_of(class));
    return 0;
}

int
priority_choose(const json_t *run_spec, const json_t *classes, json_t **ret,
                struct error *e)
{
    const char *name = text(run_spec, "priorityClassName");
    const json_t *found = NULL;

    *ret = NULL;
    if (name[0] == '\0') {
        if (json_is_integer(json_object_get(run_spec, "priority")))
            return 0;
        if ((found = global_default(classes)) == NULL)
            return 0;
    } else if (is_system(name)) {
        return error_set(e, ERR_INVALID,
                         "spec.priorityClassName: \"%.*s\" is for the system only",
                         NAME_SHOWN, name);
    } else if ((found = find(classes, name)) == NULL) {
        return no_such_class(classes, name, e);
    }
    if (name[0] != '\0') {
        int rc = agree(run_spec, found, e);
        if (rc < 0)
            return rc;
    }
    const char *own = text(run_spec, "preemptionPolicy");
    *ret = json_pack("{s:s, s:I, s:s}", "name", name_of(found), "value", value_of(found),
                     "preemptionPolicy", own[0] != '\0' ? own : policy_of(found));
    return 0;
}

json_t *
priority_merge(const json_t *run_spec, const json_t *chosen)
{
    json_t *spec = json_deep_copy(run_spec);

    json_object_set(spec, "priority", json_object_get(chosen, "value"));
    json_object_set(spec, "preemptionPolicy",
                    json_object_get(chosen, "preemptionPolicy"));
    return spec;
}

/* --- rules -------------------------------------------------------------------------- */

void
priority_class_admit(struct span object, struct violations *v)
{
    auto_str name = STR_INIT(512);
    struct span raw;

    if (jscan_path(object, "metadata.name", &raw) && jscan_string(raw, &name) &&
        is_system(name.ptr))
        violations_add(v, VIOLATION_FORBIDDEN, "metadata.name", NULL,
                       "priority class names with '" PRIORITY_SYSTEM_PREFIX
                       "' prefix are reserved for system use only");
}

static bool
same(struct span before, struct span after, const char *path)
{
    struct span a, b;
    bool had = jscan_path(before, path, &a), has = jscan_path(after, path, &b);

    return had == has && (!had || (a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0));
}

void
priority_class_update(struct span before, struct span after, struct violations *v)
{
    static const char *const fixed[] = {"value", "preemptionPolicy"};

    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        if (!same(before, after, fixed[i]))
            violations_add(v, VIOLATION_FORBIDDEN, fixed[i], NULL,
                           "may not be changed in an update.");
}

void
priority_run_update(struct span before, struct span after, struct violations *v)
{
    int64_t frozen, now;
    struct span raw;

    if (!jscan_path(before, "status.priorityClass.value", &raw) ||
        !jscan_int64(raw, &frozen) || same(before, after, "spec.priority") ||
        !jscan_path(after, "spec.priority", &raw) || !jscan_int64(raw, &now) ||
        now == frozen)
        return;
    violations_add(v, VIOLATION_FORBIDDEN, "spec.priority", NULL,
                   "the run has the priority %lld of its PriorityClass",
                   (long long)frozen);
}
