/* SPDX-License-Identifier: Apache-2.0 */
/* Each Run that ends looks at the others of its namespace once. */
#include "controllers/run/run_history.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/vec.h"
#include "controllers/common/job_view.h"
#include "controllers/run/run_depends.h"

enum { KEEP_MAX = 1000000 };

bool
run_finished_key(const struct object *o, struct str *key)
{
    char text[32];

    object_get_string(o, "status.phase", text, sizeof(text));
    if (!phase_is_final(phase_parse(text)) || o->facts.deleting_s != 0)
        return false;
    str_adds(key, o->ns);
    return true;
}

/* -1: all. */
static int64_t
keep_of(const struct lister *l, const char *ns_name)
{
    auto_object *ns = lister_find(l, &resource_namespaces, "", ns_name);
    json_t *object = ns == NULL ? NULL : object_json(ns);
    const json_t *meta = json_object_get(object, "metadata");
    const char *text = json_string_value(
        json_object_get(json_object_get(meta, "annotations"), ANNOTATION_KEEP_FINISHED));
    int64_t keep = -1;

    if (text != NULL && *text != '\0' && strspn(text, "0123456789") == strlen(text))
        keep = strtoll(text, NULL, 10);
    json_decref(object);
    return keep > KEEP_MAX ? -1 : keep;
}

struct ended {
    const struct object *o;
    int64_t at_ns;
};

static int
younger_first(const void *a, const void *b)
{
    const struct ended *x = a, *y = b;

    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? 1 : -1;
    return strcmp(x->o->uid, y->o->uid);
}

int
run_history_prune(const struct reconcile_env *env, const struct object *run,
                  struct error *e)
{
    int64_t keep = keep_of(env->lister, run->ns);
    auto_object_list runs = {0};
    vec(struct ended) list = {0};
    int rc = 0;

    if (keep < 0)
        return 0;
    lister_index(env->lister, &resource_runs, INDEX_RUNS_FINISHED, run->ns, &runs);
    if ((int64_t)runs.list.len <= keep)
        return 0;
    vec_foreach (o, &runs.list) {
        struct ended x = {*o, object_get_time(*o, "status.finishedAt")};
        vec_push(&list, x);
    }
    qsort(list.items, list.len, sizeof(*list.items), younger_first);
    for (size_t i = (size_t)keep; i < list.len && rc == 0; i++) {
        if (run_depends_unseen(env->lister, list.items[i].o))
            continue; /* it is looked at again when that was seen */
        struct object_key key = {list.items[i].o->ns, list.items[i].o->name};
        rc = reconcile_delete(env, &resource_runs, &key, list.items[i].o->uid, e);
        if (rc == -ERR_NOT_FOUND)
            rc = 0;
    }
    vec_done(&list);
    return rc;
}

void
run_history_map(const struct lister *l, const struct object *ns, struct key_sink *keys)
{
    auto_object_list runs = {0};

    if (keep_of(l, ns->name) < 0)
        return;
    lister_index(l, &resource_runs, INDEX_RUNS_FINISHED, ns->name, &runs);
    if (runs.list.len > 0)
        keys->add(keys, runs.list.items[0]->ns, runs.list.items[0]->name);
}
