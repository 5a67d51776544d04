/* SPDX-License-Identifier: Apache-2.0 */
/* Users: plain refcounted records. */
#include <stdlib.h>

#include "apiserver/registry/request.h"
#include "base/mem.h"
#include "base/vec.h"

static size_t
list_len(char *const *list)
{
    size_t n = 0;

    while (list[n] != NULL)
        n++;
    return n;
}

static char **
list_add(char **list, const char *text)
{
    size_t n = list == NULL ? 0 : list_len(list);

    list = xreallocarray(list, n + 2, sizeof(*list));
    list[n] = xstrdup(text);
    list[n + 1] = NULL;
    return list;
}

static void
list_free(char **list)
{
    for (char **item = list; *item != NULL; item++)
        free(*item);
    free(list);
}

void
user_add_group(struct api_user *u, const char *group)
{
    u->groups = list_add(u->groups, group);
}

void
user_set_uid(struct api_user *u, const char *uid)
{
    free(u->uid);
    u->uid = xstrdup(uid);
}

void
user_add_extra(struct api_user *u, const char *key, const char *value)
{
    for (size_t i = 0; i < u->n_extra; i++) {
        if (streq(u->extra[i].key, key)) {
            u->extra[i].values = list_add(u->extra[i].values, value);
            return;
        }
    }
    u->extra = xreallocarray(u->extra, u->n_extra + 1, sizeof(*u->extra));
    u->extra[u->n_extra++] =
        (struct user_extra){.key = xstrdup(key), .values = list_add(NULL, value)};
}

struct api_user *
user_new(const char *name, const char *groups)
{
    struct api_user *u = xnew(struct api_user);

    u->refs = 1;
    u->name = xstrdup(name);
    u->uid = xstrdup("");
    u->groups = xcalloc(1, sizeof(*u->groups));
    while (*groups != '\0') {
        size_t n = strcspn(groups, ",");
        autofree char *group = xstrndup(groups, n);
        if (n > 0)
            user_add_group(u, group);
        groups += n + (groups[n] == ',');
    }
    u->instance_ns = xstrdup("");
    u->instance_name = xstrdup("");
    u->instance_uid = xstrdup("");
    u->join_ns = xstrdup("");
    u->join_fleet = xstrdup("");
    u->join_instance = xstrdup("");
    return u;
}

struct api_user *
user_ref(struct api_user *u)
{
    u->refs++;
    return u;
}

void
user_unref(struct api_user *u)
{
    if (u == NULL || --u->refs > 0)
        return;
    list_free(u->groups);
    for (size_t i = 0; i < u->n_extra; i++) {
        free(u->extra[i].key);
        list_free(u->extra[i].values);
    }
    free(u->extra);
    free(u->name);
    free(u->uid);
    free(u->instance_ns);
    free(u->instance_name);
    free(u->instance_uid);
    free(u->join_ns);
    free(u->join_fleet);
    free(u->join_instance);
    free(u);
}

bool
user_in_group(const struct api_user *u, const char *group)
{
    for (char **g = u->groups; *g != NULL; g++) {
        if (streq(*g, group))
            return true;
    }
    return false;
}
