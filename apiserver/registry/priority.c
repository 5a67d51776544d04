/* SPDX-License-Identifier: Apache-2.0 */
/* New Runs and default classes against the PriorityClasses there are. */
#include "apiserver/registry/priority.h"

#include <jansson.h>
#include <string.h>

#include "api/jtok.h"
#include "api/priority.h"
#include "apiserver/registry/server_internal.h"

#define CLASSES "priorityclasses.scheduling.k8s.io"

/* The latest ones, or NULL for one that is being deleted for good. */
static struct object *
next_class(struct api_server *s, struct store_list *list)
{
    const struct object *visible;

    while ((visible = store_list_next(list)) != NULL) {
        struct store_key key = {CLASSES, "", visible->name};
        struct object *latest = store_peek(s->store, &key);
        if (latest != NULL)
            return latest;
    }
    return NULL;
}

static int
admit_run_class(struct api_server *s, const struct object *run, struct problem *p)
{
    struct store_list *list;
    struct object *class;
    struct error why = ERROR_INIT;
    struct span raw;

    if (!object_path(run, "spec.priorityClassName", &raw))
        return 0;
    json_t *classes = json_array(), *object = object_json(run), *chosen = NULL;
    list = store_list(s->store, CLASSES, "", NULL);
    while ((class = next_class(s, list)) != NULL)
        json_array_append_new(classes, object_json(class));
    store_list_free(list);
    int rc = priority_choose(json_object_get(object, "spec"), classes, &chosen, &why);
    json_decref(chosen);
    json_decref(object);
    json_decref(classes);
    if (rc == 0)
        return 0;
    /* "<path>: <what is wrong>" */
    autofree char *path = xstrdup(why.msg);
    char *text = strstr(path, ": ");
    if (text == NULL)
        return problem_set(p, ERR_INVALID, "%s", why.msg);
    *text = '\0';
    return problem_field(p, VIOLATION_INVALID, path, NULL, text + 2);
}

static bool
is_default(const struct object *class)
{
    struct span raw;

    return object_path(class, "globalDefault", &raw) && jscan_bool(raw);
}

static int
admit_default(struct api_server *s, const struct object *live, const struct object *next,
              struct problem *p)
{
    char other[sizeof(p->name)] = "";
    struct object *class;

    if (!is_default(next) || (live != NULL && is_default(live)))
        return 0;
    struct store_list *list = store_list(s->store, CLASSES, "", NULL);
    while (other[0] == '\0' && (class = next_class(s, list)) != NULL) {
        if (is_default(class) && !streq(class->name, next->name))
            snprintf(other, sizeof(other), "%s", class->name);
    }
    store_list_free(list);
    if (other[0] == '\0')
        return 0;
    return problem_set(p, ERR_FORBIDDEN,
                       "priorityclasses.scheduling.k8s.io \"%s\" is forbidden: "
                       "PriorityClass %s is already marked as default. Only one default "
                       "can exist",
                       next->name, other);
}

int
priority_admit(struct api_server *s, const struct kind *kind, const struct object *live,
               const struct object *next, struct problem *p)
{
    if (live == NULL && streq(kind->resource, "runs.drover.dev"))
        return admit_run_class(s, next, p);
    if (streq(kind->resource, CLASSES))
        return admit_default(s, live, next, p);
    return 0;
}
