/* SPDX-License-Identifier: Apache-2.0 */
/* Users: plain refcounted records. */
#include <stdlib.h>

#include "apiserver/registry/request.h"
#include "base/mem.h"
#include "base/vec.h"

static char **
split_groups(const char *groups)
{
    vec(char *) list = {0};

    while (*groups != '\0') {
        size_t n = strcspn(groups, ",");
        if (n > 0)
            vec_push(&list, xstrndup(groups, n));
        groups += n + (groups[n] == ',');
    }
    vec_push(&list, NULL);
    return list.items;
}

struct api_user *
user_new(const char *name, const char *groups)
{
    struct api_user *u = xnew(struct api_user);

    u->refs = 1;
    u->name = xstrdup(name);
    u->uid = xstrdup("");
    u->groups = split_groups(groups);
    u->instance_ns = xstrdup("");
    u->instance_name = xstrdup("");
    u->instance_uid = xstrdup("");
    u->join_ns = xstrdup("");
    u->join_fleet = xstrdup("");
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
    for (char **g = u->groups; *g != NULL; g++)
        free(*g);
    free(u->groups);
    free(u->name);
    free(u->uid);
    free(u->instance_ns);
    free(u->instance_name);
    free(u->instance_uid);
    free(u->join_ns);
    free(u->join_fleet);
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
